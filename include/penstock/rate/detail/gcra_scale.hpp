// penstock/rate/detail/gcra_scale.hpp: the arithmetic of a token bucket, without its state.
//
// The scale counts tokens virtually issued since an epoch, in a unit that is a part of a token. What one bucket has used up is a number on this
// scale, so its level is issued(now) - used, the time at which it is full is where used + burst has been issued, and a whole bucket is one number:
// the virtual scheduling algorithm (GCRA) of ITU-T I.371 and the ATM Forum's Traffic Management 4.0, with the scale laid out in tokens instead of time.
//
// Unit        if the rate is N tokens in D ns (lowest terms), the unit is 1/D of a token where that fits: N units are issued in each ns and everything is
//             exact. It fits if N <= 1024 and burst * D <= 2^45. Otherwise the unit is as small as these bounds allow: what is issued in at the
//             most 1 ns if the bucket fills within 4.8 hours, else in at the most 2^-44 of the time in which it fills: 8.6 s, of the slowest that there are.
// Rounding    issued() is computed from the epoch each time: no error adds up but at a change, and when the epoch moves on. It is rounded down, what is used
//             is rounded up, and only when a full bucket is met. So a window of t never sees more than burst + rate * t; and steady demand gets that, less
//             what is not a whole token, three units, and two more for each change and each move of the epoch.
// Ratio       units per ns as a fixed-point number with 53 bits behind the point, rounded down: one multiplication and no division. That is less than half a
//             unit until the epoch moves, after 2^52 ns (52 days) or 2^46 units. So in the long run the rate is too low by two units in that time
//             at the most: a part of 3e-14 if a unit takes 64 ns or less, and else of 4.4e-16 for each ns of it: 3e-11 for 1,000 tokens at 1,000 a
//             month, 4e-7 for 2^45 tokens at one a second, and 4e-6 at the very worst.
// Range       of issued() with the fast form: times up to 2^52 ns (52 days) after the epoch; whoever uses it must move the epoch on before.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

#include <penstock/core/detail/sync.hpp>
#include <penstock/rate/rate.hpp>

namespace penstock::inline v0_1::detail {

struct gcra_scale {
  nanoseconds_point epoch = 0;
  std::uint64_t ratio = 0;  // units in a ns, times 2^53
  std::int64_t unit = 1;    // units in a token
  std::int64_t burst = 1;   // tokens

  static constexpr std::int64_t most_units = std::int64_t{1} << 45;  // in a full bucket
  static constexpr std::int64_t longest = std::int64_t{1} << 52;     // after the epoch, for the fast form
  static constexpr std::int64_t most_issued = std::int64_t{1} << 46;

  /// How much was issued: whole units, and whether there is a part of one beyond.
  struct amount {
    std::int64_t whole;
    bool part;
  };

  /// Where a bucket stands: `used` is rounded up, and a request may take it up to `limit`.
  struct position {
    std::int64_t used;
    std::int64_t limit;
  };

  /// Throws std::invalid_argument unless 1 <= burst <= 2^45, and if the bucket would take more than ten million years to fill.
  template <class = void>
  static constexpr gcra_scale make(const rate& r, std::int64_t burst, nanoseconds_point epoch, const char* who) {
    if (burst < 1 || burst > most_units) {
      throw std::invalid_argument{std::string{"penstock::"} + who + ": burst is " + std::to_string(burst)};
    }
    const std::uint64_t n = r.tokens();
    const std::uint64_t d = r.nanoseconds();
    gcra_scale s;
    s.epoch = epoch;
    s.burst = burst;
    const auto finest = std::min(uint128{static_cast<std::uint64_t>(most_units / burst)}, uint128{d} * 1024 / n);
    s.unit = static_cast<std::int64_t>(std::min(finest, uint128{d}));
    const uint128 product = uint128{n} * static_cast<std::uint64_t>(s.unit);
    s.ratio = static_cast<std::uint64_t>(product / d << 53) + static_cast<std::uint64_t>((product % d << 53) / d);
    if (s.ratio < (std::uint64_t{1} << 20)) {
      throw std::invalid_argument{std::string{"penstock::"} + who + ": such a bucket takes ten million years to fill"};
    }
    return s;
  }

  /// Times before the epoch count as the epoch.
  [[nodiscard]] constexpr std::uint64_t elapsed(nanoseconds_point now) const noexcept {
    return now > epoch ? static_cast<std::uint64_t>(now) - static_cast<std::uint64_t>(epoch) : 0;
  }
  /// Whether issued() may be used for this time, and its result leaves room for what is used.
  [[nodiscard]] static constexpr bool in_range(std::uint64_t elapsed) noexcept {
    return elapsed <= static_cast<std::uint64_t>(longest);
  }
  [[nodiscard]] constexpr amount issued(std::uint64_t elapsed) const noexcept {
    const uint128 product = uint128{elapsed << 11} * ratio;
    return {static_cast<std::int64_t>(product >> 64), static_cast<std::uint64_t>(product) != 0};
  }
  /// For any time; what would not fit counts as 2^62.
  [[nodiscard]] constexpr amount issued_ever(std::uint64_t elapsed) const noexcept {
    const uint128 product = uint128{elapsed} * ratio;
    const uint128 whole = product >> 53;
    constexpr std::int64_t most = std::int64_t{1} << 62;
    if (whole >= static_cast<std::uint64_t>(most)) return {most, false};
    return {static_cast<std::int64_t>(whole), (product & ((std::uint64_t{1} << 53) - 1)) != 0};
  }

  /// What comes before the epoch, at which counting begins: what is owed yet of a debt that a change put there; units, rounded up.
  [[nodiscard]] constexpr std::int64_t owed(nanoseconds_point now) const noexcept {
    if (now >= epoch) return 0;
    const amount before = issued_ever(static_cast<std::uint64_t>(epoch) - static_cast<std::uint64_t>(now));
    return before.whole + before.part;
  }

  [[nodiscard]] constexpr std::int64_t full() const noexcept { return burst * unit; }

  [[nodiscard]] constexpr position place(std::int64_t used, amount issued) const noexcept {
    const std::int64_t when_full = issued.whole - full();
    // A full bucket: what is used is the real number issued - burst, and the next number above it is kept.
    if (used <= when_full) return {when_full + issued.part, issued.whole + issued.part};
    return {used, issued.whole};
  }

  /// When `units` have been issued: the first ns at which issued() says so.
  [[nodiscard]] constexpr nanoseconds_point time_of(std::int64_t units) const noexcept {
    if (units <= 0) return epoch;
    const uint128 after = ((uint128{static_cast<std::uint64_t>(units)} << 53) + ratio - 1) / ratio;
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return saturating_add(epoch, static_cast<std::int64_t>(after < most ? static_cast<std::uint64_t>(after) : most));
  }

  /// The earliest time from `now` on at which n can be had; `never` if n > burst.
  [[nodiscard]] constexpr nanoseconds_point ready_at(std::int64_t used, nanoseconds_point now, std::int64_t n) const noexcept {
    if (n > burst) return never;
    const position p = place(used, issued_ever(elapsed(now)));
    if (p.used + n * unit <= p.limit) return now;
    return time_of(p.used + n * unit);
  }

  [[nodiscard]] constexpr std::int64_t available(std::int64_t used, nanoseconds_point now) const noexcept {
    const position p = place(used, issued_ever(elapsed(now)));
    const std::int64_t level = p.limit - p.used;
    return (level > 0 ? level : level - owed(now)) / unit;
  }
};

}  // namespace penstock::inline v0_1::detail
