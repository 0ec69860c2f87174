// penstock/core/clock_ref.hpp: any clock that can end waits, in one word.
//
//   supervise_options options{.clock = clock};                        // a manual_clock, which must outlive what reads it
//   co_await (ready.async_wait() | with_timeout(10ms, clock_ref{}));  // the default: the steady clock
//
// For options structs, whose type shall not depend on the clock.
//
// Thread safety  a value; now() may be called concurrently.
#pragma once

#include <chrono>
#include <concepts>
#include <type_traits>

#include <penstock/core/deadline.hpp>

namespace penstock::inline v0_1 {

class clock_ref {
 public:
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<clock_ref, duration>;
  static constexpr bool is_steady = false;  // it may refer to one that is not

  /// The steady clock.
  clock_ref() noexcept = default;
  /// One that has timers of its own, as manual_clock has, or an object of one of std's.
  template <class Clock>
    requires(!std::same_as<std::remove_cv_t<Clock>, clock_ref> && detail::timed_clock<Clock>)
  clock_ref(Clock& c) : timers_{&detail::timers_of(c)} {}

  /// Since the epoch of the clock that is referred to.
  [[nodiscard]] time_point now() const noexcept {
    return time_point{duration{timers_ != nullptr ? timers_->now() : detail::std_sync::now()}};
  }

  /// The timers that wait for the clock. Of the steady clock: throws nothing, and starts its thread with the first timer.
  [[nodiscard]] timer_queue& timers() const { return timers_ != nullptr ? *timers_ : detail::std_sync::steady_timers(); }

 private:
  timer_queue* timers_ = nullptr;
};

}  // namespace penstock::inline v0_1
