// penstock/rate/detail/bucket_account.hpp: a token bucket in twelve bytes, for tables of millions of them, guarded by somebody else's lock.
//
// An account is the time at which the bucket is full again, in units of 2^-32 ns; taking moves it on (the virtual scheduling algorithm of ITU-T
// I.371 and the ATM Forum's Traffic Management 4.0). A time needs no epoch that has to be moved on as a count of tokens does, and a bucket that is full
// again is known by comparing two numbers. The time between two tokens is rounded up to that unit: the rate is kept within 2^-32 ns a token
// and never exceeded.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

#include <penstock/core/detail/sync.hpp>
#include <penstock/rate/rate.hpp>

namespace penstock::inline v0_1::detail {

__extension__ using int128 = __int128;

/// What an account is held to.
struct bucket_terms {
  int128 interval = 0;  // between two tokens, in 2^-32 ns
  int128 span = 0;      // in which an empty bucket fills
  std::int64_t burst = 0;

  friend bool operator==(const bucket_terms&, const bucket_terms&) = default;

  /// Throws std::invalid_argument unless 1 <= burst <= 2^45 and the bucket fills within 146 years.
  template <class = void>
  static bucket_terms make(const rate& r, std::int64_t burst, const char* who) {
    if (burst < 1 || burst > std::int64_t{1} << 45) {
      throw std::invalid_argument{std::string{"penstock::"} + who + ": burst is " + std::to_string(burst)};
    }
    const uint128 interval = ((uint128{r.nanoseconds()} << 32) + r.tokens() - 1) / r.tokens();
    constexpr uint128 longest = uint128{1} << (62 + 32);
    if (interval > longest / static_cast<std::uint64_t>(burst)) {
      throw std::invalid_argument{std::string{"penstock::"} + who + ": such a bucket takes 146 years to fill"};
    }
    return {static_cast<int128>(interval), static_cast<int128>(interval * static_cast<std::uint64_t>(burst)), burst};
  }
};

struct bucket_account {
  std::int64_t full_at = std::numeric_limits<std::int64_t>::min();
  std::uint32_t part = 0;  // of a ns more

  [[nodiscard]] bool is_full(std::int64_t now) const noexcept { return full_at < now || (full_at == now && part == 0); }

  bool try_take(const bucket_terms& terms, std::int64_t now, std::int64_t n) noexcept {
    if (n != 1 && n > terms.burst) return false;  // before it is multiplied, which could overflow
    const int128 at = fine(now, 0);
    const int128 then = std::max(at, fine(full_at, part)) + (n == 1 ? terms.interval : n * terms.interval);
    if (then > at + terms.span) return false;
    set(then);
    return true;
  }

  /// The earliest time from `now` on at which n can be had; `never` if n > burst.
  [[nodiscard]] std::int64_t ready_at(const bucket_terms& terms, std::int64_t now, std::int64_t n) const noexcept {
    if (n > terms.burst) return never;
    const int128 at = std::max(fine(now, 0), fine(full_at, part)) + n * terms.interval - terms.span;
    const int128 rounded = (at + 0xffff'ffff) >> 32;
    return std::max(now, static_cast<std::int64_t>(rounded));
  }

  [[nodiscard]] std::int64_t available(const bucket_terms& terms, std::int64_t now) const noexcept {
    const int128 left = fine(now, 0) + terms.span - fine(full_at, part);
    return left <= 0 ? 0 : left >= terms.span ? terms.burst : static_cast<std::int64_t>(left / terms.interval);
  }

  void give_back(const bucket_terms& terms, std::int64_t now, std::int64_t n) noexcept {
    set(std::max(fine(now, 0), fine(full_at, part) - std::min(n, terms.burst) * terms.interval));
  }

  /// What was taken stays taken, parts of a token too, rounded up to 2^-32 ns (to 2^-30 of a token where an interval is longer than a year or so); more than
  /// the new burst does not. The same terms change nothing, however often.
  void change(const bucket_terms& from, const bucket_terms& to, std::int64_t now) noexcept {
    if (is_full(now) || from == to) return;
    const int128 used = fine(full_at, part) - fine(now, 0);
    const int128 tokens = used / from.interval;
    int128 issue = to.span;
    if (tokens < to.burst) issue = tokens * to.interval + scaled(used % from.interval, from.interval, to.interval);
    set(fine(now, 0) + std::min(issue, to.span));
  }

 private:
  static int width(int128 x) noexcept {
    const auto high = static_cast<std::uint64_t>(x >> 64);
    return high != 0 ? 128 - std::countl_zero(high) : 64 - std::countl_zero(static_cast<std::uint64_t>(x));
  }
  // part * to / from, rounded up, for 0 <= part < from. Both factors are below 2^95, so their product may be too long.
  static int128 scaled(int128 part_of_from, int128 from, int128 to) noexcept {
    const int drop = std::max(0, width(from) + width(to) - 126);
    const int128 shorter = (part_of_from + (int128{1} << drop) - 1) >> drop;
    const int128 divisor = from >> drop;
    return std::min(to, (shorter * to + divisor - 1) / divisor);
  }
  static int128 fine(std::int64_t ns, std::uint32_t part_of_one) noexcept {
    return static_cast<int128>(static_cast<uint128>(static_cast<int128>(ns)) << 32) | part_of_one;
  }
  void set(int128 value) noexcept {
    full_at = static_cast<std::int64_t>(value >> 32);
    part = static_cast<std::uint32_t>(value);
  }
};

}  // namespace penstock::inline v0_1::detail
