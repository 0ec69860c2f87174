// penstock/rate/detail/window_line.hpp: what fixed and sliding windows have in common: a limit, a length, and the line of those who wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <penstock/core/clock.hpp>
#include <penstock/rate/detail/timed_line.hpp>

namespace penstock::inline v0_1::detail {

template <class Shape, clock Clock, class Sync>
class window_line : public timed_line<Shape, Clock, Sync> {
  using line = timed_line<Shape, Clock, Sync>;

 public:
  using typename line::count;

  /// Throws std::invalid_argument unless 1 <= limit <= Shape::most and 1 ns <= length.
  template <class Rep, class Period>
    requires static_clock<Clock>
  window_line(count limit, std::chrono::duration<Rep, Period> length)
      : line{clock_handle<Clock>{}, checked(limit), checked(length)} {}
  /// By a clock that must outlive the window.
  template <class Rep, class Period>
  window_line(count limit, std::chrono::duration<Rep, Period> length, Clock& clock)
      : line{clock_handle<Clock>{clock}, checked(limit), checked(length)} {}

  /// From now on another limit and length. What passed before counts as it did, so it is no present, and a cut leaves no debt that lasts for more than
  /// two lengths. Requests that wait for more than the limit now is end with errc::rejected. Serves who waits; may run resumed coroutines on
  /// this thread unless they have a scheduler. Throws as the constructor does; then nothing has changed.
  template <class Rep, class Period>
  void set_limit(count limit, std::chrono::duration<Rep, Period> length) {
    const std::int64_t ns = checked(length);
    checked(limit);
    this->change([limit, ns](Shape& shape, nanoseconds_point now) { shape.set_limit(now, limit, ns); });
  }

  [[nodiscard]] count limit() const noexcept { return this->shape().largest(); }
  [[nodiscard]] std::chrono::nanoseconds length() const noexcept { return std::chrono::nanoseconds{this->shape().length()}; }

 private:
  static count checked(count limit) {
    if (limit < 1 || limit > Shape::most) refuse("the limit", limit);
    return limit;
  }
  template <class Rep, class Period>
  static std::int64_t checked(std::chrono::duration<Rep, Period> length) {
    const std::int64_t ns = saturating_nanoseconds(length);
    if (ns < 1) refuse("the length in ns", ns);
    return ns;
  }
  [[noreturn]] static void refuse(const char* what, std::int64_t value) {
    throw std::invalid_argument{std::string{"penstock::"} + Shape::name + ": " + what + " is " + std::to_string(value)};
  }
};

}  // namespace penstock::inline v0_1::detail
