// penstock/core/clock.hpp: time as a parameter.
//
// Whatever reads a clock takes one, so that a test can hand in a manual_clock and move the time itself. A clock is an *instance*: std's
// clocks, whose now() is static, are used through any object of their type.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace penstock::inline v0_1 {

/// What std::chrono calls a clock, but now() may need an object.
template <class C>
concept clock = requires(const C& c) {
  typename C::duration;
  typename C::time_point;
  { c.now() } -> std::convertible_to<typename C::time_point>;
};

namespace detail {

/// A clock whose objects all tell the same time, as std's do.
template <class C>
concept static_clock = clock<C> && std::default_initializable<C> && requires {
  { C::now() } -> std::convertible_to<typename C::time_point>;
};

/// Any duration in nanoseconds, rounded up (a wait never ends early), clamped to what 64 bits hold (`hours::max()` means "for ever" and
/// does not wrap round to the past). Not a number counts as zero.
template <class Rep, class Period>
[[nodiscard]] constexpr std::int64_t saturating_nanoseconds(std::chrono::duration<Rep, Period> d) noexcept {
  constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
  if constexpr (std::is_same_v<std::chrono::duration<Rep, Period>, std::chrono::nanoseconds>) {
    return d.count();
  } else {
    // The bounds in the duration's own unit, a little inside the range so that rounding in floating point cannot step over it.
    using wide = std::chrono::duration<long double, std::nano>;
    const wide exact = d;
    if (exact.count() != exact.count()) return 0;
    if (exact.count() >= 9.223372036854775e18L) return highest;
    if (exact.count() <= -9.223372036854775e18L) return lowest;
    return std::chrono::ceil<std::chrono::nanoseconds>(d).count();
  }
}

[[nodiscard]] constexpr std::int64_t saturating_add(std::int64_t a, std::int64_t b) noexcept {
  constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
  if (b > 0 && a > highest - b) return highest;
  if (b < 0 && a < lowest - b) return lowest;
  return a + b;
}
[[nodiscard]] constexpr std::int64_t saturating_difference(std::int64_t a, std::int64_t b) noexcept {
  constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
  if (b < 0 && a > highest + b) return highest;
  if (b > 0 && a < lowest + b) return lowest;
  return a - b;
}

}  // namespace detail

}  // namespace penstock::inline v0_1
