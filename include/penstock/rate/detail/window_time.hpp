// penstock/rate/detail/window_time.hpp: where windows begin, and shares of a count, in whole numbers.
#pragma once

#include <cstdint>

#include <penstock/core/clock.hpp>
#include <penstock/rate/rate.hpp>

namespace penstock::inline v0_1::detail {

/// The latest multiple of `length` (> 0) that is not after `now`, for times before the clock's epoch too.
[[nodiscard]] constexpr std::int64_t begin_of_window(std::int64_t now, std::int64_t length) noexcept {
  const std::int64_t since = now % length;
  return saturating_add(now, since < 0 ? -since - length : -since);
}

/// count * part / whole, rounded down, exact whatever their size; 0 <= count, 0 <= part <= whole, 0 < whole.
[[nodiscard]] constexpr std::int64_t share_of(std::int64_t count, std::int64_t part, std::int64_t whole) noexcept {
  return static_cast<std::int64_t>(uint128{static_cast<std::uint64_t>(count)} * static_cast<std::uint64_t>(part) /
                                   static_cast<std::uint64_t>(whole));
}

}  // namespace penstock::inline v0_1::detail
