// penstock/core/any_clock.hpp: a clock as a value that options can carry, whatever its type.
//
//   penstock::manual_clock clock;
//   penstock::worker_pool pool{{.threads = 1, .clock = clock}};   // the steady clock, if nothing is said
//
// It refers to a clock, which must outlive what it was given to. A cached_clock is refused: its timers are the steady clock's, and their time is not
// what it has cached.
//
// Thread safety  as any value; now() and after() as often at a time as one likes.
// Cost           now(): for the steady clock, that clock's own; for others one virtual call more. Nothing allocates.
#pragma once

#include <chrono>
#include <concepts>
#include <type_traits>

#include <penstock/core/deadline.hpp>

namespace penstock::inline v0_1 {

template <class Sync>
class basic_cached_clock;

class any_clock {
 public:
  /// The steady clock.
  constexpr any_clock() noexcept = default;
  template <detail::timed_clock Clock>
    requires(!std::same_as<std::remove_cv_t<Clock>, any_clock> &&
             !std::same_as<std::remove_cv_t<Clock>, basic_cached_clock<detail::std_sync>>)
  any_clock(Clock& clock) {
    if constexpr (!std::same_as<std::remove_cv_t<Clock>, std::chrono::steady_clock>) timers_ = &detail::timers_of(clock);
  }

  /// In nanoseconds since the epoch of that clock.
  [[nodiscard]] detail::nanoseconds_point now() const noexcept {
    return timers_ != nullptr ? timers_->now() : detail::std_sync::now();
  }

  /// `timeout` from now. Durations that overflow mean never; negative ones have passed.
  template <class Rep, class Period>
  [[nodiscard]] deadline after(std::chrono::duration<Rep, Period> timeout) const noexcept {
    if (timers_ == nullptr) return deadline::after(timeout);
    return {detail::saturating_add(timers_->now(), detail::saturating_nanoseconds(timeout)), *timers_};
  }

 private:
  timer_queue* timers_ = nullptr;  // null: the steady clock
};

}  // namespace penstock::inline v0_1
