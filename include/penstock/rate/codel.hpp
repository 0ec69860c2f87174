// penstock/rate/codel.hpp: which of those that waited in a queue are to be refused, so that the rest need not wait for long.
//
//   penstock::codel shed{{.target = 5ms, .interval = 100ms}};
//   while (auto job = queue.pop()) {
//     if (shed.admit(clock.now() - job->queued_at)) run(*job);
//     else job->refuse();                       // it has waited, but so would all those behind it
//   }
//
// The idea       a burst makes a queue that drains by itself; an overload makes one that stays. What tells them apart is the *least* wait within an
//                interval: while even that is above the target, the queue stands, and items are refused, at first one an interval, then faster
//                and faster (by the square root of how many there were), until one has waited for less than the target. Nor does a queue stand
//                that was empty in between: where an item came in after the last one was taken out, the interval begins anew. For that the items
//                are to be taken out in the order in which they came.
// With try_acquire  where nobody queues there is no wait to look at: put it behind what waits. In front of an adaptive_limit: acquire() with a
//                deadline, and ask admit() with what that took; permit.ignored() for what is refused.
// Thread safety  every member may be called concurrently.
// Cost           one lock and one look at the clock. Nothing allocates.
// Source         K. Nichols, V. Jacobson, A. McGregor, J. Iyengar, "Controlled Delay Active Queue Management", RFC 8289 (2018), section 5, one call
//                for each item that is taken out. Not taken over: that a queue of less than one packet's bytes is never dropped from; say
//                admit(wait, true) of an item that was the last one.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

struct codel_options {
  /// A wait that is well for ever; 5 to 10 % of the interval.
  std::chrono::nanoseconds target = std::chrono::milliseconds{5};
  /// The longest that a burst may last; at least what one call takes.
  std::chrono::nanoseconds interval = std::chrono::milliseconds{100};
  /// The steady clock, if nothing is said.
  any_clock clock = {};
};

class codel {
 public:
  /// Throws std::invalid_argument unless 0 < target < interval.
  explicit codel(codel_options options = {})
      : clock_{options.clock}, target_{options.target.count()}, interval_{options.interval.count()} {
    if (target_ <= 0 || interval_ <= target_) {
      throw std::invalid_argument{"penstock::codel: target is " + std::to_string(target_) + " ns, interval " +
                                  std::to_string(interval_) + " ns"};
    }
  }
  codel(const codel&) = delete;
  codel& operator=(const codel&) = delete;

  /// An item that has waited for so long is taken out now. False: refuse it. `last`: nothing is left in the queue, so it does not stand.
  template <class Rep, class Period>
  [[nodiscard]] bool admit(std::chrono::duration<Rep, Period> waited, bool last = false) {
    const detail::nanoseconds_point now = clock_.now();
    std::scoped_lock guard{lock_};
    if (!queue_stands(now, detail::saturating_nanoseconds(waited), last)) {
      dropping_ = false;
      return true;
    }
    if (dropping_) {
      if (now < next_drop_) return true;
      ++count_;
      // Who has not looked for long owes no more than one interval's refusals.
      next_drop_ = after(std::max(next_drop_, detail::saturating_difference(now, interval_)));
    } else {
      dropping_ = true;
      // Soon after the last time it goes on where it was: that rate was not enough, or nearly.
      const std::uint64_t since = count_ - count_at_start_;
      count_ = since > 1 && detail::saturating_difference(now, next_drop_) / 16 < interval_ ? since : 1;
      count_at_start_ = count_;
      next_drop_ = after(now);
    }
    ++refused_;
    return false;
  }

  /// Whether it refuses items now.
  [[nodiscard]] bool shedding() const noexcept {
    std::scoped_lock guard{lock_};
    return dropping_;
  }
  /// How many it has refused.
  [[nodiscard]] std::uint64_t refused() const noexcept {
    std::scoped_lock guard{lock_};
    return refused_;
  }

 private:
  // Whether the wait has been above the target for an interval.
  bool queue_stands(detail::nanoseconds_point now, std::int64_t waited, bool last) noexcept {
    // It came in after the last one was taken out, so that left the queue empty.
    const bool was_empty = detail::saturating_difference(now, waited) > std::exchange(last_look_, now);
    if (waited < target_ || last) {
      above_since_ = none;
      return false;
    }
    if (above_since_ == none || was_empty || now < above_since_) {  // the last: the clock stepped back
      above_since_ = now;
      return false;
    }
    return detail::saturating_difference(now, above_since_) >= interval_;
  }
  [[nodiscard]] detail::nanoseconds_point after(detail::nanoseconds_point t) const noexcept {
    return detail::saturating_add(
        t, static_cast<std::int64_t>(static_cast<double>(interval_) / std::sqrt(static_cast<double>(count_))));
  }

  static constexpr detail::nanoseconds_point none = detail::never;

  const any_clock clock_;
  const std::int64_t target_;    // ns
  const std::int64_t interval_;  // ns
  mutable std::mutex lock_;
  // Guarded by lock_.
  detail::nanoseconds_point above_since_ = none;
  detail::nanoseconds_point last_look_ = none;
  detail::nanoseconds_point next_drop_ = 0;
  std::uint64_t count_ = 0;           // refused since it began to, with what it began with
  std::uint64_t count_at_start_ = 0;  // what it began with
  std::uint64_t refused_ = 0;
  bool dropping_ = false;
};

template <class = void>
void describe(const codel& c, metric_sink& to) {
  to.kind("codel");
  to.gauge({"shedding", "1 while a queue stands, else 0."}, c.shedding());
  to.counter(metrics::rejected, c.refused(), {"reason", "waited"});
}

}  // namespace penstock::inline v0_1
