// penstock/core/detail/clock_handle.hpp: a clock as a member: nothing for std's, whose objects all tell the same time, a pointer to any other.
#pragma once

#include <chrono>
#include <memory>
#include <type_traits>

#include <penstock/core/clock.hpp>
#include <penstock/core/timer_service.hpp>

namespace penstock::inline v0_1::detail {

template <clock Clock>
class clock_handle {
 public:
  explicit clock_handle(Clock& clock) noexcept : clock_{std::addressof(clock)} {}

  /// In nanoseconds since the epoch of the clock.
  [[nodiscard]] nanoseconds_point now() const noexcept { return saturating_nanoseconds(clock_->now().time_since_epoch()); }
  /// The timers that fire by this clock.
  [[nodiscard]] auto& timers() const noexcept { return clock_->timers(); }

 private:
  Clock* clock_;
};

template <static_clock Clock>
class clock_handle<Clock> {
 public:
  clock_handle() = default;
  explicit clock_handle(const Clock&) noexcept {}

  [[nodiscard]] static nanoseconds_point now() noexcept { return saturating_nanoseconds(Clock::now().time_since_epoch()); }
  [[nodiscard]] static timer_queue& timers() noexcept { return timer_service<std::remove_cv_t<Clock>>::shared(); }
};

/// A point in nanoseconds as the clock's own time point, not earlier than it.
template <clock Clock>
[[nodiscard]] constexpr typename Clock::time_point time_point_of(nanoseconds_point at) noexcept {
  using duration = typename Clock::duration;
  if (at == never) return Clock::time_point::max();
  return typename Clock::time_point{std::chrono::ceil<duration>(std::chrono::nanoseconds{at})};
}

}  // namespace penstock::inline v0_1::detail
