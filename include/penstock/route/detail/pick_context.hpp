// penstock/route/detail/pick_context.hpp: what one pick may ask: whose turn it is, chance, the time, and what was tried before.
//
// Turns and chance are kept by thread, as far as there are stripes, so that picks on different threads write to no common cache line. Each thread
// goes round by itself; threads that meet on a stripe may take the same turn, which favours nobody.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <penstock/core/backoff.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/detail/clock_handle.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/observe/detail/stripe.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class pick_stripes {
 public:
  static constexpr std::size_t count = 16;
  struct alignas(cache_line) stripe {
    typename Sync::template atomic<std::uint32_t> turn{0};
    typename Sync::template atomic<std::uint64_t> random{0};
  };

  explicit pick_stripes(std::uint64_t seed) noexcept {
    splitmix64 seeds{seed};
    for (stripe& s : stripes_) s.random.store(seeds(), std::memory_order_relaxed);  // relaxed: not yet shared
  }
  [[nodiscard]] stripe& mine() noexcept { return stripes_[stripe_of_this_thread() % count]; }

 private:
  std::array<stripe, count> stripes_;
};

template <class Clock, class Sync>
class pick_context {
 public:
  pick_context(typename pick_stripes<Sync>::stripe& stripe, const clock_handle<Clock>& time, std::uint64_t key,
               std::span<const std::uint32_t> tried) noexcept
      : stripe_{stripe}, time_{time}, key_{key}, tried_{tried} {}

  /// 0 to n - 1, one after the other; n > 0.
  [[nodiscard]] std::uint32_t turn(std::uint32_t n) noexcept {
    std::uint32_t mine = stripe_.turn.load(std::memory_order_relaxed);  // relaxed, here and below: see above
    if (mine >= n) mine = 0;
    next_turn(mine + 1);
    return mine;
  }
  void next_turn(std::uint32_t turn) noexcept { stripe_.turn.store(turn, std::memory_order_relaxed); }

  [[nodiscard]] std::uint64_t random() noexcept {
    // relaxed, both: threads that meet on a stripe may draw the same number
    const std::uint64_t state = stripe_.random.load(std::memory_order_relaxed);
    stripe_.random.store(state + golden, std::memory_order_relaxed);
    return splitmix64{state}();
  }
  /// 0 to n - 1, by D. Lemire's multiplication (2019); from 32 random bits, so without a bias that anybody could measure at this n.
  [[nodiscard]] static std::uint32_t below(std::uint32_t n, std::uint32_t random) noexcept {
    return static_cast<std::uint32_t>((std::uint64_t{random} * n) >> 32);
  }
  [[nodiscard]] std::uint32_t below(std::uint32_t n) noexcept { return below(n, static_cast<std::uint32_t>(random() >> 32)); }
  [[nodiscard]] bool happens(double probability) noexcept { return static_cast<double>(random() >> 11) * 0x1p-53 < probability; }

  [[nodiscard]] nanoseconds_point now() noexcept {
    if (!looked_) now_ = time_.now();
    looked_ = true;
    return now_;
  }
  [[nodiscard]] std::uint64_t key() const noexcept { return key_; }
  [[nodiscard]] bool first_attempt() const noexcept { return tried_.empty(); }
  [[nodiscard]] bool tried(std::uint32_t place) const noexcept {
    return std::find(tried_.begin(), tried_.end(), place) != tried_.end();
  }

 private:
  static constexpr std::uint64_t golden = 0x9e3779b97f4a7c15;  // what splitmix64 adds

  typename pick_stripes<Sync>::stripe& stripe_;
  const clock_handle<Clock>& time_;
  std::uint64_t key_;
  std::span<const std::uint32_t> tried_;
  nanoseconds_point now_ = 0;
  bool looked_ = false;
};

/// No place: nobody can be picked.
inline constexpr std::uint32_t no_place = ~std::uint32_t{0};

/// When a key's endpoint comes, of several the first. Exponentially distributed, with the weight as its rate: the first of several such is each with a
/// probability as its weight.
[[nodiscard]] inline double waiting_time(std::uint64_t key, std::uint64_t name, double weight) noexcept {
  return -std::log((static_cast<double>(splitmix64{key ^ name}() >> 11) + 0.5) * 0x1p-53) / weight;
}

/// What a policy's picker need not care for.
struct plain_picker {
  static constexpr bool keyed = false;             ///< picks by key
  static constexpr bool measures_latency = false;  ///< wants ended() with latencies
  static constexpr bool spreads = true;  ///< goes to endpoints in no order: their counts are kept on cache lines of their own
  static constexpr bool places = false;  ///< has insert(), erase(), reweight(), which may throw
  void placed(std::uint32_t, std::uint64_t) noexcept {}
  void ended(std::uint32_t, nanoseconds_point, std::chrono::nanoseconds, bool) noexcept {}
};

/// The first that accepts in the order of `next`, as slow starts and failures have it; of those tried in vain the one with the greatest share.
template <class Table, class Context, class Next>
[[nodiscard]] std::uint32_t first_to_accept(const Table& table, Context& c, std::uint32_t n, Next next) noexcept {
  std::uint32_t best = no_place;
  double best_share = 0;
  for (std::uint32_t i = 0; i < n; ++i) {
    const std::uint32_t place = table.at(next());
    if (c.tried(place)) continue;
    const double share = table.share(place, c);
    if (share >= 1 || c.happens(share)) return place;
    if (share > best_share) {
      best = place;
      best_share = share;
    }
  }
  return best;
}

}  // namespace penstock::inline v0_1::detail
