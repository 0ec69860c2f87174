// penstock/core/deadline.hpp: when to give up, and by which clock.
//
//   lease.acquire({.stop = token, .deadline = deadline::after(50ms)});
//   lease.acquire({.deadline = {clock.now() + 50ms, clock}});            // a manual_clock
//   lease.acquire({.deadline = std::chrono::system_clock::now() + 50ms});
//
// A deadline is a point in time, once: passing it on through several waits does not lengthen it, as a timeout would.
// The steady clock needs no timer for a blocking wait; every other clock interrupts the wait from its own timer queue.
#pragma once

#include <chrono>
#include <concepts>
#include <stop_token>
#include <type_traits>

#include <penstock/core/clock.hpp>
#include <penstock/core/timer_service.hpp>

namespace penstock::inline v0_1 {

namespace detail {

template <class C>
concept clock_with_timers = clock<C> && requires(C& c) {
  { c.timers() } -> std::convertible_to<timer_queue&>;
};
/// A clock that can end waits: it has timers of its own, or its time is the same for all its objects, so that one thread can serve them.
template <class C>
concept timed_clock = clock_with_timers<C> || static_clock<std::remove_cv_t<C>>;

/// The timers of a clock: its own (`timers()`), or the thread that serves all objects of its type.
template <timed_clock Clock>
[[nodiscard]] timer_queue& timers_of(Clock& c) {
  if constexpr (clock_with_timers<Clock>) {
    return c.timers();
  } else {
    static_cast<void>(c);
    return timer_service<std::remove_cv_t<Clock>>::shared();
  }
}

template <class Sync = std_sync>
class basic_deadline {
 public:
  using queue_type = basic_timer_queue<Sync>;

  /// Never.
  constexpr basic_deadline() noexcept = default;

  template <class Duration>
  constexpr basic_deadline(std::chrono::time_point<std::chrono::steady_clock, Duration> when) noexcept
      : when_{saturating_nanoseconds(when.time_since_epoch())} {}

  /// By another clock whose now() is static, such as std::chrono::system_clock; so std's lock guards take its time points for ours.
  template <static_clock Clock, class Duration>
    requires(!std::is_same_v<Clock, std::chrono::steady_clock>)
  basic_deadline(std::chrono::time_point<Clock, Duration> when) noexcept
      : when_{saturating_nanoseconds(when.time_since_epoch())}, queue_{&timer_service<Clock>::shared()} {}

  /// By a clock that has a timer queue of its own, such as manual_clock; or by one of std's other clocks.
  template <timed_clock Clock, class Duration>
    requires(!std::is_same_v<Clock, std::chrono::steady_clock>)
  basic_deadline(std::chrono::time_point<Clock, Duration> when, Clock& c)
      : when_{saturating_nanoseconds(when.time_since_epoch())}, queue_{&timers_of(c)} {}

  basic_deadline(nanoseconds_point when, queue_type& queue) noexcept : when_{when}, queue_{&queue} {}

  /// `timeout` from now on the steady clock. Durations that overflow mean never; negative ones have passed.
  template <class Rep, class Period>
  [[nodiscard]] static basic_deadline after(std::chrono::duration<Rep, Period> timeout) noexcept {
    basic_deadline d;
    d.when_ = saturating_add(Sync::now(), saturating_nanoseconds(timeout));
    return d;
  }

  /// `timeout` from now on the given clock.
  template <class Rep, class Period, timed_clock Clock>
  [[nodiscard]] static basic_deadline after(std::chrono::duration<Rep, Period> timeout, Clock& c) {
    if constexpr (std::is_same_v<std::remove_cv_t<Clock>, std::chrono::steady_clock>) {
      return after(timeout);
    } else {
      queue_type& queue = timers_of(c);
      return {saturating_add(queue.now(), saturating_nanoseconds(timeout)), queue};
    }
  }

  /// In nanoseconds since the epoch of its clock.
  [[nodiscard]] constexpr nanoseconds_point when() const noexcept { return when_; }
  [[nodiscard]] constexpr bool is_never() const noexcept { return when_ == never; }
  /// The clock's timers; null for the steady clock.
  [[nodiscard]] constexpr queue_type* queue() const noexcept { return queue_; }
  [[nodiscard]] bool passed() const noexcept { return !is_never() && (queue_ != nullptr ? queue_->now() : Sync::now()) >= when_; }

 private:
  nanoseconds_point when_ = never;
  queue_type* queue_ = nullptr;
};

}  // namespace detail

using deadline = detail::basic_deadline<>;

/// What ends a wait before its time: `acquire({.stop = token, .deadline = deadline::after(1s)})`.
struct wait_limits {
  std::stop_token stop = {};
  penstock::deadline deadline = {};
};

}  // namespace penstock::inline v0_1
