// penstock/rate/adaptive_limit.hpp: at most so many calls in flight as the service answers without a queue, found out from their latency.
//
//   penstock::adaptive_limit limit{{.partitions = {{"live", 90}, {"batch", 10}}}, penstock::gradient2_limit{}};
//   const auto live = limit.partition("live");
//   if (auto permit = limit.try_acquire(live)) answer(request);   // its end is the end of the scope: the time between is a sample
//   else refuse(request);
//
// The idea       a service that is given more than it can do at a time queues the rest, so its latency grows; a limit that is set by hand is wrong as
//                soon as the service changes. Here the limit follows what the calls take (rate/limit_algorithm.hpp has the algorithms).
// Bounds         lowest <= limit <= highest; it grows only while at least half of it is used. Lowering it takes nothing from who holds a permit: as
//                many as are too many are not given out again.
// Partitions     each has `percent` of the limit (rounded down, at least 1) at any time, and borrows beyond that what nobody uses. So more than the
//                limit are in flight where one claims its own while others have borrowed it: at most by what it owns, and until they come back. The
//                percentages add up to 100 at the most. Who names no partition only borrows.
// Fairness       first come, first served, of those who can be; a freed place is handed to the first in line.
// Thread safety  every member may be called concurrently. It may be destroyed when no member runs, every wait has ended (a coroutine's when it has gone
//                on) and every permit was given back.
// Cancellation   a wait that is stopped or times out takes nothing.
// Cost           acquiring: one lock and one look at the clock; ending: the same. Waiting does not allocate. Ending looks at each partition. A try that is
//                refused takes no lock, but for a counter::add(), on a cache line that others seldom use.
// The target     `.target = pool` (or a semaphore): set_limit() of it is called with each new limit, by the call that changed it, outside the lock;
//                the last value is always told, and what it throws is counted (target_failures()): the next change tries again. A permit whose
//                end changed the limit is given back when that is told, so set_limit() should not wait. Where the work is limited elsewhere
//                altogether, sample() takes what was measured there.
#pragma once

#include <atomic>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/observe/counter.hpp>
#include <penstock/rate/adaptive_limit_options.hpp>
#include <penstock/rate/adaptive_permit.hpp>
#include <penstock/rate/detail/limit_meter.hpp>
#include <penstock/rate/detail/share_line.hpp>
#include <penstock/rate/limit_algorithm.hpp>

namespace penstock::inline v0_1 {

/// A partition of an adaptive_limit; by default none.
struct partition_id {
  std::size_t index = 0;
};

template <limit_algorithm Algorithm = gradient2_limit>
class adaptive_limit final : detail::permit_source {
  using line = detail::share_line<detail::dependent<detail::std_sync, Algorithm>>;

 public:
  using count = std::ptrdiff_t;
  using permit = adaptive_permit;

  /// Throws std::invalid_argument if an option makes no sense: unless 1 <= lowest <= initial <= highest <= 2^40, window > 0, min_samples > 0,
  /// percentages as above, names that differ. Throws what the target throws.
  explicit adaptive_limit(adaptive_limit_options options = {}, Algorithm algorithm = Algorithm{})
      : partitions_{std::move(options.partitions)},
        clock_{options.clock},
        target_{options.target},
        meter_{checked(options), std::move(algorithm)},
        line_{fractions(partitions_).data(), partitions_.size(), options.initial} {
    if (target_) target_.set_limit(options.initial);
  }
  adaptive_limit(const adaptive_limit&) = delete;
  adaptive_limit& operator=(const adaptive_limit&) = delete;
  ~adaptive_limit() { assert(line_.in_flight() == 0 && "an adaptive_limit was destroyed while permits are out"); }

  /// Waits for a place. errc::closed if it is or gets closed.
  result<permit> acquire(partition_id p = {}) { return acquire(wait_limits{}, p); }
  /// Also ends when stop is requested, with errc::cancelled; at once, and without a permit, if it was before the call.
  result<permit> acquire(const std::stop_token& stop, partition_id p = {}) { return acquire(wait_limits{.stop = stop}, p); }
  /// Also ends at a deadline, with errc::timeout. What is free is taken even if the deadline has passed.
  result<permit> acquire(const wait_limits& limits, partition_id p = {}) {
    return own(detail::blocking_wait<line, typename line::request>{line_, checked(p)}.run(limits.stop, limits.deadline), p.index);
  }
  /// Never waits: errc::full if the limit is reached.
  result<permit> try_acquire(partition_id p = {}) {
    const detail::outcome how = line_.enter(checked(p));
    if (how == detail::outcome::pending) {
      full_.add();
      return errc::full;
    }
    return own(how, p.index);
  }
  /// Waits at the most for `timeout`, by the limit's clock: errc::timeout after that, and never before.
  template <class Rep, class Period>
  result<permit> try_acquire_for(std::chrono::duration<Rep, Period> timeout, partition_id p = {}) {
    return acquire({.deadline = clock_.after(timeout)}, p);
  }
  result<permit> try_acquire_until(deadline until, partition_id p = {}) { return acquire({.deadline = until}, p); }
  /// `auto permit = co_await limit.async_acquire();` is a result<permit>; observes the coroutine's stop token; takes with_timeout, with_stop and via.
  auto async_acquire(partition_id p = {}) {
    return detail::async_operation<line, permit_request, adaptive_limit*, std::size_t>{line_, this, checked(p)};
  }

  /// A call that was limited elsewhere has ended: how long it took, and how many were in flight with it. A success of less than 0 is ignored.
  void sample(std::chrono::nanoseconds latency, count in_flight, call_outcome how = call_outcome::success) {
    finish(latency.count(), how, in_flight, no_share);
  }

  /// Throws std::invalid_argument if there is none of that name.
  [[nodiscard]] partition_id partition(std::string_view name) const {
    for (std::size_t i = 0; i < partitions_.size(); ++i) {
      if (partitions_[i].name == name) return {i + 1};
    }
    throw std::invalid_argument{"penstock::adaptive_limit: no partition is called " + std::string{name}};
  }

  /// Every wait ends with errc::closed, now and from now on. Permits that are out are given back as ever. Idempotent.
  void close() noexcept {
    detail::wait_list<detail::std_sync> won;
    {
      std::scoped_lock guard{line_.wait_lock()};
      line_.close(won);
    }
    won.complete_all();
  }

  [[nodiscard]] bool is_closed() const noexcept {
    return locked([&] { return line_.closed(); });
  }
  [[nodiscard]] count limit() const noexcept {
    return locked([&] { return meter_.limit(); });
  }
  /// How many permits are out: of all, of a partition.
  [[nodiscard]] count in_flight() const noexcept {
    return locked([&] { return line_.in_flight(); });
  }
  [[nodiscard]] count in_flight(partition_id p) const {
    return locked([&, s = checked(p)] { return line_.in_flight(s); });
  }
  /// What the partition has of its own now.
  [[nodiscard]] count guaranteed(partition_id p) const {
    return locked([&, s = checked(p)] { return line_.guaranteed(s); });
  }
  [[nodiscard]] std::size_t waiters() const noexcept {
    return locked([&] { return line_.waiting(); });
  }
  /// What a call takes without a queue, as far as that is known; 0 before the first window has ended.
  [[nodiscard]] std::chrono::nanoseconds baseline() const noexcept {
    return std::chrono::nanoseconds{locked([&] { return meter_.baseline(); })};
  }
  /// Whether half of what was in flight is the limit now, to measure the baseline.
  [[nodiscard]] bool probing() const noexcept {
    return locked([&] { return meter_.probing(); });
  }
  /// How often the target threw.
  [[nodiscard]] std::size_t target_failures() const noexcept {
    return target_failures_.load(std::memory_order_relaxed);  // relaxed: only a count
  }
  [[nodiscard]] adaptive_limit_stats stats() const noexcept {
    adaptive_limit_stats s = locked([&] {
      return adaptive_limit_stats{.limit = meter_.limit(),
                                  .in_flight = line_.in_flight(),
                                  .waiting = line_.waiting(),
                                  .baseline = std::chrono::nanoseconds{meter_.baseline()},
                                  .probing = meter_.probing(),
                                  .accepted = line_.entered(),
                                  .refused = refused_,
                                  .target_failures = target_failures()};
    });
    s.refused.full = full_.value();
    return s;
  }

 private:
  static constexpr std::size_t no_share = std::numeric_limits<std::size_t>::max();

  struct permit_request : line::request {
    permit_request(adaptive_limit* t, std::size_t s) noexcept : line::request{s}, origin{t} {}
    result<permit> take_result(detail::outcome decided) const noexcept { return origin->own(decided, this->share); }

    adaptive_limit* origin;
  };

  static detail::limit_meter_options checked(const adaptive_limit_options& o) {
    const auto refuse = [](const char* what, auto value) {
      throw std::invalid_argument{std::string{"penstock::adaptive_limit: "} + what + " is " + std::to_string(value)};
    };
    if (o.lowest < 1) refuse("lowest", o.lowest);
    if (o.highest < o.lowest || static_cast<std::int64_t>(o.highest) > (std::int64_t{1} << 40)) refuse("highest", o.highest);
    if (o.initial < o.lowest || o.initial > o.highest) refuse("initial", o.initial);
    if (o.window.count() <= 0) refuse("window (ns)", o.window.count());
    if (o.min_samples == 0) refuse("min_samples", o.min_samples);
    return {.initial = static_cast<double>(o.initial),
            .lowest = static_cast<double>(o.lowest),
            .highest = static_cast<double>(o.highest),
            .window = o.window.count(),
            .min_samples = o.min_samples,
            .probe_every = o.probe_every};
  }
  static std::vector<detail::dependent<double, Algorithm>> fractions(const std::vector<limit_partition>& partitions) {
    std::vector<detail::dependent<double, Algorithm>> all;
    double sum = 0;
    for (const limit_partition& p : partitions) {
      sum += p.percent;
      if (!(p.percent > 0) || !(sum <= 100.000001)) {
        throw std::invalid_argument{"penstock::adaptive_limit: partition " + p.name + " has " + std::to_string(p.percent) +
                                    " % of " + std::to_string(sum) + " % in all"};
      }
      for (const limit_partition& other : partitions) {
        if (&other != &p && other.name == p.name)
          throw std::invalid_argument{"penstock::adaptive_limit: two partitions are called " + p.name};
      }
      all.push_back(p.percent / 100);
    }
    return all;
  }
  std::size_t checked(partition_id p) const {
    if (p.index > partitions_.size()) [[unlikely]] {
      throw std::invalid_argument{"penstock::adaptive_limit: there is no partition " + std::to_string(p.index)};
    }
    return p.index;
  }

  template <class F>
  auto locked(F f) const noexcept {
    std::scoped_lock guard{line_.wait_lock()};
    return f();
  }

  // On the thread that goes on with the permit: its work begins now, and not when the place was handed over.
  result<permit> own(detail::outcome how, std::size_t share) noexcept {
    if (how != detail::outcome::granted) [[unlikely]]
      return refused(how);
    return permit{*this, share, clock_.now()};
  }

  [[gnu::noinline]] std::error_code refused(detail::outcome how) noexcept {
    std::scoped_lock guard{line_.wait_lock()};
    ++(how == detail::outcome::timeout  ? refused_.timeout
       : how == detail::outcome::closed ? refused_.closed
                                        : refused_.cancelled);
    return detail::to_result(how).error();
  }

  void end_call(std::size_t share, detail::nanoseconds_point began, call_outcome how) noexcept override {
    const detail::nanoseconds_point now = clock_.now();
    finish(now, detail::saturating_difference(now, began), how, 0, share);
  }
  void finish(std::int64_t latency, call_outcome how, count in_flight, std::size_t share) noexcept {
    finish(clock_.now(), latency, how, in_flight, share);
  }

  void finish(detail::nanoseconds_point now, std::int64_t latency, call_outcome how, count in_flight,
              std::size_t share) noexcept {
    detail::wait_list<detail::std_sync> won;
    bool tell = false;
    {
      std::scoped_lock guard{line_.wait_lock()};
      // A success that ended before it began: the clock was set back meanwhile, so nobody knows what it took.
      if (how == call_outcome::dropped || (how == call_outcome::success && latency >= 0)) {
        const count before = meter_.limit();
        meter_.record(now, latency, share == no_share ? in_flight : line_.in_flight(), how == call_outcome::dropped);
        if (const count limit = meter_.limit(); limit != before) {
          line_.set_limit(limit, won);
          tell = target_ && !telling_;
          telling_ = telling_ || tell;
        }
      }
      if (share != no_share && !tell) line_.leave(share, won);
    }
    if (tell) {
      tell_target();
      if (share != no_share) {  // only now: once nothing is in flight, *this may be destroyed
        std::scoped_lock guard{line_.wait_lock()};
        line_.leave(share, won);
      }
    }
    won.complete_all();  // the last touch: who goes on may destroy *this
  }

  // One thread at a time, so that the last value is told last.
  void tell_target() noexcept {
    for (count told = 0;;) {
      {
        std::scoped_lock guard{line_.wait_lock()};
        if (meter_.limit() == told) {
          telling_ = false;
          return;
        }
        told = meter_.limit();
      }
      try {
        target_.set_limit(told);
      } catch (...) {
        target_failures_.fetch_add(1, std::memory_order_relaxed);  // relaxed: only a count
      }
    }
  }

  const std::vector<limit_partition> partitions_;
  const any_clock clock_;
  const adjustable_ref target_;
  std::atomic<std::size_t> target_failures_{0};
  counter full_;
  // Guarded by the line's lock.
  bool telling_ = false;
  adaptive_limit_refusals refused_;  // but for those in full_
  detail::limit_meter<Algorithm> meter_;
  line line_;
};

template <class Algorithm>
void describe(const adaptive_limit<Algorithm>& l, metric_sink& to) {
  describe(l.stats(), to);
}

}  // namespace penstock::inline v0_1
