// penstock/rate/detail/window_time.hpp: where windows begin, and shares of a count, in whole numbers.
#pragma once

#include <cstdint>

#include <penstock/core/clock.hpp>

namespace penstock::inline v0_1::detail {

/// The latest multiple of `length` (> 0) that is not after `now`, for times before the clock's epoch too.
[[nodiscard]] constexpr std::int64_t begin_of_window(std::int64_t now, std::int64_t length) noexcept {
  const std::int64_t since = now % length;
  return saturating_add(now, since < 0 ? -since - length : -since);
}

/// count * part / whole, rounded down, exact whatever their size; 0 <= count, 0 <= part <= whole, 0 < whole.
[[nodiscard]] constexpr std::int64_t share_of(std::int64_t count, std::int64_t part, std::int64_t whole) noexcept {
#if defined(__SIZEOF_INT128__)
  __extension__ using wide = __int128;
  return static_cast<std::int64_t>(static_cast<wide>(count) * part / whole);
#else
  // Digit by digit, in base two: quotient * whole + rest is the product of the digits so far and `part`.
  std::int64_t quotient = 0;
  std::uint64_t rest = 0;
  const auto divisor = static_cast<std::uint64_t>(whole);
  const auto carry = [&] {
    if (rest >= divisor) {
      rest -= divisor;
      ++quotient;
    }
  };
  for (int digit = 62; digit >= 0; --digit) {
    quotient *= 2;
    rest *= 2;
    carry();
    if ((count >> digit & 1) != 0) rest += static_cast<std::uint64_t>(part);
    carry();
  }
  return quotient;
#endif
}

}  // namespace penstock::inline v0_1::detail
