// penstock/rate/rate.hpp: how many in which time.
//
//   penstock::rate a_second{100, 1s};          penstock::rate an_hour{5000, 1h};          penstock::rate every_other_minute{0.5, 1min};
//
// Kept as a fraction of integers, tokens per nanoseconds in lowest terms, so that nothing is lost before anybody counts: 3 a second are 3 in
// 1,000,000,000 ns and not one each 333,333,333 ns. A count in floating point is the simplest fraction that has this value: 0.1 is 1/10.
//
// Thread safety  a value.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <type_traits>

#include <penstock/core/clock.hpp>

namespace penstock::inline v0_1 {

namespace detail {
__extension__ typedef unsigned __int128 uint128;  // __extension__: no warning under -Wpedantic
}  // namespace detail

class rate {
 public:
  /// `count` per `period`. Throws std::invalid_argument unless both are positive numbers and the rate is at most 10^12 a second. Periods that
  /// overflow are 292 years; a rate below one in 292 years is refused.
  template <class Count, class Rep, class Period>
    requires(std::integral<Count> || std::floating_point<Count>)
  constexpr rate(Count count, std::chrono::duration<Rep, Period> period) {
    const std::int64_t length = detail::saturating_nanoseconds(period);
    if (!(count > 0)) refuse("the count", count);
    if (length <= 0) refuse("the period in ns", length);
    if constexpr (std::integral<Count>) {
      set(static_cast<std::uint64_t>(count), 1, static_cast<std::uint64_t>(length));
    } else {
      if (!(count <= static_cast<Count>(9.2e18))) refuse("the count", count);
      set_fraction(static_cast<double>(count), static_cast<std::uint64_t>(length));
    }
  }

  /// The rate is tokens() in each nanoseconds(): integers without a common divisor.
  [[nodiscard]] constexpr std::uint64_t tokens() const noexcept { return tokens_; }
  [[nodiscard]] constexpr std::uint64_t nanoseconds() const noexcept { return nanoseconds_; }
  [[nodiscard]] constexpr double per_second() const noexcept {
    return static_cast<double>(tokens_) / static_cast<double>(nanoseconds_) * 1e9;
  }

  friend constexpr bool operator==(const rate&, const rate&) noexcept = default;

 private:
  template <class Value>
  [[noreturn]] static void refuse(const char* what, Value value) {
    throw std::invalid_argument{std::string{"penstock::rate: "} + what + " is " + std::to_string(value)};
  }

  // top / below tokens in `length` ns.
  constexpr void set(std::uint64_t top, std::uint64_t below, std::uint64_t length) {
    const std::uint64_t common = std::gcd(top, length);
    top /= common;
    length /= common;
    const detail::uint128 time = detail::uint128{below} * length;
    constexpr std::uint64_t longest = std::uint64_t{1} << 63;
    if (time <= longest) {
      tokens_ = top;
      nanoseconds_ = static_cast<std::uint64_t>(time);
    } else {  // fewer digits, the time rounded up: the rate is never above the one that was asked for
      int shift = 0;
      while ((time >> shift) >= longest) ++shift;
      tokens_ = top >> shift;
      if (tokens_ == 0) throw std::invalid_argument{"penstock::rate: less than one in 292 years"};
      nanoseconds_ = static_cast<std::uint64_t>((time * tokens_ + top - 1) / top);
    }
    const std::uint64_t again = std::gcd(tokens_, nanoseconds_);
    tokens_ /= again;
    nanoseconds_ /= again;
    if (tokens_ > detail::uint128{nanoseconds_} * 1000) {
      throw std::invalid_argument{"penstock::rate: " + std::to_string(per_second()) + " a second are more than 10^12"};
    }
  }

  // The first convergent of the continued fraction that is the very same floating point number.
  constexpr void set_fraction(double count, std::uint64_t length) {
    constexpr double largest = 9.2e18;
    std::uint64_t top = 1;
    std::uint64_t below = 0;
    std::uint64_t top_before = 0;
    std::uint64_t below_before = 1;
    for (double rest = count;;) {
      if (!(rest <= largest)) break;
      const auto digit = static_cast<std::uint64_t>(rest);
      const auto whole = static_cast<double>(digit);
      if (whole * static_cast<double>(top) + static_cast<double>(top_before) > largest ||
          whole * static_cast<double>(below) + static_cast<double>(below_before) > largest) {
        break;
      }
      const std::uint64_t next_top = digit * top + top_before;
      const std::uint64_t next_below = digit * below + below_before;
      top_before = top;
      below_before = below;
      top = next_top;
      below = next_below;
      if (static_cast<double>(top) / static_cast<double>(below) == count || rest == whole) break;
      rest = 1 / (rest - whole);
    }
    if (top == 0 || below == 0) throw std::invalid_argument{"penstock::rate: less than one in 292 years"};
    set(top, below, length);
  }

  std::uint64_t tokens_ = 1;
  std::uint64_t nanoseconds_ = 1;
};

}  // namespace penstock::inline v0_1
