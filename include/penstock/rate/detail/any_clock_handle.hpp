// penstock/rate/detail/any_clock_handle.hpp: a clock that an option carries, as a member.
#pragma once

#include <chrono>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/deadline.hpp>

namespace penstock::inline v0_1::detail {

/// As clock_handle (core/detail/clock_handle.hpp).
class any_clock_handle {
 public:
  explicit any_clock_handle(const any_clock& clock) noexcept : clock_{clock} {}

  [[nodiscard]] nanoseconds_point now() const noexcept { return clock_.now(); }
  template <class = void>
  [[nodiscard]] timer_queue& timers() const noexcept {
    timer_queue* const own = clock_.after(std::chrono::nanoseconds{0}).queue();
    return own != nullptr ? *own : std_sync::steady_timers();
  }

 private:
  any_clock clock_;
};

}  // namespace penstock::inline v0_1::detail
