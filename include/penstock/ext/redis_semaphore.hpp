// penstock/ext/redis_semaphore.hpp: permits that processes on many machines share, through a Redis server.
//
//   penstock::redis_semaphore licences{{.host = "10.0.0.7"}, "licences:solver", 8};          // 8 at a time, whoever asks
//   auto permit = licences.acquire_permit({.deadline = deadline::after(1min)});
//   if (!permit) return permit.error();
//   solve(problem, permit->lost());                    // a stop token: the permit could not be kept
//   storage.write(result, permit->fence());            // the storage refuses a number that is less than one it has seen
//
// A permit is a lease, which a thread of this object renews however busy its holder is, and which ends by itself on the server if the process dies
// or the network fails. The server never has more leases than permits. But a process that stands still for longer than a lease (a debugger, a
// suspended machine) works on without knowing; that is what the fencing token is for: each permit's is greater than all before, and whoever is
// protected by the semaphore refuses lesser ones.
//
// Fairness       none between processes; within one, who waits asks in turns.
// Waiting        asks again when this object has given one back, when a lease ends, and each `poll`.
// Lost data      a server that has started less than a lease (and a second or two) ago gives no permit: holders that it may have forgotten say until
//                then that they hold one, so a restart does not break the law. (What takes over from a failed server without having all of its data,
//                or FLUSHALL, may.) All users of a name must say the same `permits` and `lease`.
// Time           leases end by the server's clock: set forward it ends them early, and somebody else may have a permit before its holder is told.
// Loss           is told by lost() a sixth of a lease before the server forgets the permit, and is final.
// Thread safety  every member may be called concurrently; acquiring takes turns at one connection. A permit belongs to one thread at a time. No
//                permit may outlive its semaphore, whose destructor gives back what was released; destroy it when no member runs.
// Errors         redis_errc. What was taken and not heard of (connection_lost, timeout) is given back in the background, or ends by itself.
// Cost           one round trip to acquire; release() is done in the background. Two connections and a thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>

#include <penstock/core/backoff.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/fresh_seed.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/core/task.hpp>
#include <penstock/ext/detail/redis_lease_keeper.hpp>
#include <penstock/ext/detail/redis_semaphore_scripts.hpp>
#include <penstock/ext/detail/redis_session.hpp>
#include <penstock/ext/redis_connection.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1 {

struct redis_semaphore_options {
  std::chrono::nanoseconds lease = std::chrono::seconds{30};  ///< renewed each third of it; at least 30 ms
  std::chrono::nanoseconds poll =
      std::chrono::milliseconds{50};  ///< how long who waits does without asking, less up to a half by chance
};

/// Of one object; other processes have their own. A snapshot.
struct redis_semaphore_stats {
  std::int64_t held = 0;        ///< permits that this object has given out
  std::int64_t limit = 0;       ///< permits in all, of all processes
  std::size_t waiting = 0;      ///< who waits here
  std::uint64_t granted = 0;    ///< since the beginning, as those below
  std::uint64_t refused = 0;    ///< by try_acquire_permit(): none was free
  std::uint64_t abandoned = 0;  ///< waits that ended before: errc::timeout, errc::cancelled or errc::closed
  std::uint64_t failed = 0;     ///< the server did not do what it should
  std::uint64_t lost = 0;       ///< permits that could not be kept
};

/// What a registry sees of a redis_semaphore (observe/registry.hpp): what goes through this object.
template <class = void>
void describe(const redis_semaphore_stats& s, metric_sink& to) {
  to.kind("redis_semaphore");
  to.gauge(metrics::depth, s.waiting);
  to.gauge(metrics::in_flight, s.held);
  to.gauge(metrics::limit, s.limit);
  to.counter(metrics::accepted, s.granted);
  to.counter(metrics::rejected, s.refused, {"reason", "empty"});
  to.counter(metrics::rejected, s.abandoned, {"reason", "abandoned"});
  to.counter(metrics::failed, s.failed);
  to.counter({"lost", "Permits that could not be kept."}, s.lost);
}

/// A permit of a redis_semaphore. Giving it back does not wait for the server.
template <class Keeper>
class [[nodiscard]] basic_redis_permit {
 public:
  /// Owns nothing.
  basic_redis_permit() noexcept = default;
  basic_redis_permit(Keeper& keeper, std::shared_ptr<detail::redis_lease> lease) noexcept
      : keeper_{&keeper}, lease_{std::move(lease)} {}
  basic_redis_permit(basic_redis_permit&& other) noexcept : keeper_{other.keeper_}, lease_{std::move(other.lease_)} {}
  basic_redis_permit& operator=(basic_redis_permit&& other) noexcept {
    if (this != &other) {
      release();
      keeper_ = other.keeper_;
      lease_ = std::move(other.lease_);
    }
    return *this;
  }
  ~basic_redis_permit() { release(); }

  explicit operator bool() const noexcept { return lease_ != nullptr; }
  /// Greater than that of any permit of the same name before. Precondition, as for what follows: it owns something.
  [[nodiscard]] std::int64_t fence() const noexcept { return lease_->fence; }
  /// Stop is requested when the lease could not be renewed, by a thread that must not be blocked for long.
  [[nodiscard]] std::stop_token lost() const noexcept { return lease_->lost.get_token(); }
  [[nodiscard]] bool is_lost() const noexcept {
    return lease_->lost.stop_requested() || expires_in() <= std::chrono::nanoseconds{0};
  }
  /// How long the server keeps it yet, at least, if it is not renewed.
  [[nodiscard]] std::chrono::nanoseconds expires_in() const noexcept {
    // acquire: pairs with the release in redis_lease_keeper
    return std::chrono::nanoseconds{lease_->good_until.load(std::memory_order_acquire) - detail::std_sync::now()};
  }

  /// Gives it back now.
  void release() noexcept {
    if (const auto lease = std::exchange(lease_, nullptr)) keeper_->release(*lease);
  }

 private:
  Keeper* keeper_ = nullptr;
  std::shared_ptr<detail::redis_lease> lease_;
};

template <redis_transport Transport = redis_connection>
class basic_redis_semaphore {
  using keeper = detail::redis_lease_keeper<Transport>;

 public:
  using count = std::int64_t;
  using permit = basic_redis_permit<keeper>;

  /// `name` is a key, and begins another one, name:fence; in a cluster put {} around a part of it. Throws std::invalid_argument unless permits >= 1,
  /// lease is 30 ms to a year and poll >= 1 ms; std::system_error if the thread cannot be started.
  basic_redis_semaphore(const redis_options& server, std::string name, count permits, redis_semaphore_options options = {})
      : options_{checked(options, permits)},
        name_{std::move(name)},
        fence_name_{name_ + ":fence"},
        permits_{permits},
        session_{server},
        keeper_{server, name_, permits, options.lease} {
    std::random_device chance;
    for (int i = 0; i < 4; ++i) self_ += std::to_string(chance()) + '-';
  }

  result<permit> acquire_permit() { return acquire_permit(wait_limits{}); }
  result<permit> acquire_permit(const std::stop_token& stop) { return acquire_permit(wait_limits{.stop = stop}); }
  /// Also ends with errc::cancelled, errc::timeout, and errc::closed after close(). One that can be had at once is had even if the deadline has
  /// passed.
  result<permit> acquire_permit(const wait_limits& limits) { return counted(acquire(limits)); }

  /// Never waits for a permit: errc::empty.
  result<permit> try_acquire_permit() {
    std::chrono::nanoseconds pause{};
    return counted(ask({}, pause));
  }
  template <class Rep, class Period>
  result<permit> try_acquire_permit_for(std::chrono::duration<Rep, Period> timeout) {
    return acquire_permit(wait_limits{.deadline = deadline::after(timeout)});
  }

  /// `co_await x.async_acquire_permit(pool)` is a result<permit>, of a task that moves to the pool to ask the server, and blocks one of its threads
  /// for that time, but not while it waits. Observes the coroutine's stop token. The pool and *this must outlive it.
  template <class Context>
  [[nodiscard]] task<result<permit>> async_acquire_permit(Context& pool) {
    return acquire_on(any_scheduler{pool});
  }

  /// How many could be had now; a snapshot.
  result<count> available() {
    auto reply = session_.ask({}, [&](const detail::redis_run& run, redis_commands& commands) {
      commands.add_script(detail::redis_semaphore_look(), {{name_, fence_name_}},
                          {{"", permits_, lease_in_microseconds(), run.started}});
    });
    if (!reply) return failed(reply.error());
    return (*reply)[1].integer() > 0 ? 0 : std::max<count>(0, permits_ - (*reply)[0].integer());
  }

  /// Every wait for a permit ends with errc::closed, now and from now on. Permits that are held stay so. Idempotent.
  void close() noexcept {
    closed_.set();
    session_.interrupt();
    keeper_.freed().set();
  }
  [[nodiscard]] bool is_closed() const noexcept { return closed_.is_set(); }

  [[nodiscard]] count limit() const noexcept { return permits_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] redis_semaphore_stats stats() {
    const auto kept = keeper_.kept();
    return {.held = kept.held,
            .limit = permits_,
            // relaxed, all: numbers, each for itself
            .waiting = waiting_.load(std::memory_order_relaxed),
            .granted = granted_.load(std::memory_order_relaxed),
            .refused = refused_.load(std::memory_order_relaxed),
            .abandoned = abandoned_.load(std::memory_order_relaxed),  // relaxed: as above
            .failed = failed_.load(std::memory_order_relaxed),
            .lost = kept.lost};
  }
  /// What the server, or the system, said of the last error in acquiring.
  [[nodiscard]] std::string last_error_text() const { return session_.last_error_text(); }

 private:
  static redis_semaphore_options checked(redis_semaphore_options options, count permits) {
    using namespace std::chrono_literals;
    if (permits < 1) throw std::invalid_argument{"penstock::redis_semaphore: permits is " + std::to_string(permits)};
    if (options.lease < 30ms || options.lease > std::chrono::years{1} || options.poll < 1ms) {
      throw std::invalid_argument{"penstock::redis_semaphore: a lease of " + std::to_string(options.lease.count()) +
                                  " ns, asking each " + std::to_string(options.poll.count()) + " ns"};
    }
    return options;
  }
  [[nodiscard]] std::int64_t lease_in_microseconds() const noexcept {
    return std::chrono::duration_cast<std::chrono::microseconds>(options_.lease).count();
  }

  result<permit> acquire(const wait_limits& limits) {
    splitmix64 chance{detail::fresh_seed()};
    for (;;) {
      if (limits.stop.stop_requested()) return errc::cancelled;
      std::chrono::nanoseconds pause{};
      auto had = ask({.stop = limits.stop}, pause);
      if (had || had.error() != errc::empty) return had;
      if (limits.deadline.passed()) return errc::timeout;
      const wait_limits until{.stop = limits.stop, .deadline = sooner(limits.deadline, shorter(pause, chance))};
      const one_more waits{waiting_};
      if (auto woken = keeper_.freed().wait(until); !woken && woken.error() != errc::timeout) return woken.error();
    }
  }
  // Of those who wait.
  struct one_more {
    // relaxed, both, as all that stats() tells: a number
    explicit one_more(std::atomic<std::size_t>& n) noexcept : number{n} { number.fetch_add(1, std::memory_order_relaxed); }
    one_more(const one_more&) = delete;
    one_more& operator=(const one_more&) = delete;
    // relaxed: as above
    ~one_more() { number.fetch_sub(1, std::memory_order_relaxed); }
    std::atomic<std::size_t>& number;
  };
  result<permit> counted(result<permit> r) noexcept {
    auto& one = r                                                                                         ? granted_
                : r.error() == errc::empty                                                                ? refused_
                : r.error() == errc::timeout || r.error() == errc::cancelled || r.error() == errc::closed ? abandoned_
                                                                                                          : failed_;
    one.fetch_add(1, std::memory_order_relaxed);  // relaxed: a number
    return r;
  }

  // errc::empty: come again after `pause` at the latest.
  result<permit> ask(const wait_limits& limits, std::chrono::nanoseconds& pause) {
    if (is_closed()) {
      keeper_.freed().set();  // for the next one who waits
      return errc::closed;
    }
    auto lease = std::make_shared<detail::redis_lease>();
    // relaxed: it need only be different
    lease->owner = self_ + std::to_string(number_.fetch_add(1, std::memory_order_relaxed));
    detail::nanoseconds_point sent = 0;
    auto reply = session_.ask(limits, [&](const detail::redis_run& run, redis_commands& commands) {
      if (sent == 0) sent = detail::std_sync::now();
      commands.add_script(detail::redis_semaphore_acquire(), {{name_, fence_name_}},
                          {{lease->owner, permits_, lease_in_microseconds(), run.started}});
    });
    if (!reply) {
      if (sent != 0 && !was_not_executed(reply.error())) {  // perhaps it was entered
        lease->released = true;
        keeper_.keep(std::move(lease), detail::std_sync::now());
      }
      return failed(reply.error());
    }
    if ((*reply)[0].integer() == 0) {
      pause = std::min<std::chrono::nanoseconds>(options_.poll, std::chrono::microseconds{(*reply)[1].integer()});
      return errc::empty;
    }
    lease->fence = (*reply)[1].integer();
    keeper_.keep(lease, sent);
    return permit{keeper_, std::move(lease)};
  }

  std::error_code failed(std::error_code error) const noexcept { return is_closed() ? make_error_code(errc::closed) : error; }

  // So that those who wait for the same thing do not all ask at once.
  static std::chrono::nanoseconds shorter(std::chrono::nanoseconds pause, splitmix64& chance) {
    return std::max<std::chrono::nanoseconds>(backoff::fixed(pause).with_jitter(jitter::equal).next_delay(1, chance),
                                              std::chrono::milliseconds{1});
  }
  static deadline sooner(const deadline& limit, std::chrono::nanoseconds pause) noexcept {
    const deadline next = deadline::after(pause);
    return limit.queue() == nullptr && limit.when() < next.when() ? limit : next;
  }

  task<result<permit>> acquire_on(any_scheduler pool) {
    const std::stop_token stop = co_await this_task::get_stop_token();
    const one_more counted_as_waiting{waiting_};
    splitmix64 chance{detail::fresh_seed()};
    for (;;) {
      co_await pool.schedule();
      if (stop.stop_requested()) co_return counted(errc::cancelled);
      std::chrono::nanoseconds pause{};
      auto had = ask({.stop = stop}, pause);
      if (had || had.error() != errc::empty) co_return counted(std::move(had));
      const result<void> woken = co_await (keeper_.freed().async_wait() | with_timeout(shorter(pause, chance)));
      if (!woken && woken.error() != errc::timeout) co_return counted(woken.error());
    }
  }

  const redis_semaphore_options options_;
  const std::string name_;
  const std::string fence_name_;
  const count permits_;
  std::string self_;
  std::atomic<std::uint64_t> number_{0};
  std::atomic<std::uint64_t> granted_{0}, refused_{0}, abandoned_{0}, failed_{0};
  std::atomic<std::size_t> waiting_{0};
  event closed_;
  detail::redis_session<Transport> session_;
  keeper keeper_;
};

using redis_semaphore = basic_redis_semaphore<>;
using redis_permit = redis_semaphore::permit;

}  // namespace penstock::inline v0_1
