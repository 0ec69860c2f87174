// penstock/route/detail/endpoint_health.hpp: what an endpoint's failures make of its share, and when they eject it.
//
// A server that fails at once is the least busy and the fastest of all, so counting connections or latency alone sends it everything (brpc#3340).
// Here each failure halves what the endpoint counts for, long before the failures are enough to eject it.
//
// Invariants     0 < share() <= 1.
// Thread safety  share() at any time; the rest under `lock`.
// Time           a clock that steps back makes nothing recover, and nothing worse.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/route/balancer_options.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class endpoint_health {
 public:
  polled_mutex<Sync> lock;

  /// The part of its weight that the endpoint counts for now.
  [[nodiscard]] double share(nanoseconds_point now, const balancer_options& options) const noexcept {
    // relaxed, all: a share of two neighbouring moments is as good as any
    double result = recovered(now, options);
    const nanoseconds_point warm_since = warm_since_.load(std::memory_order_relaxed);
    if (warm_since != never) {
      const double whole = static_cast<double>(options.slow_start.duration.count());
      const double gone = static_cast<double>(std::max<std::int64_t>(0, saturating_difference(now, warm_since)));
      if (gone < whole) result *= std::max(options.slow_start.minimum, gone / whole);
    }
    return std::max(result, least);
  }

  /// Begins anew: a new endpoint, or one that comes back (with so many successes to prove it). True: it is to be watched.
  bool begin(nanoseconds_point now, const balancer_options& options, bool returns, std::uint32_t probation) noexcept {
    const bool warms = options.slow_start.duration.count() > 0;
    good_.store(1, std::memory_order_relaxed);  // relaxed, both: see share()
    warm_since_.store(warms ? now : never, std::memory_order_relaxed);
    in_a_row_ = window_failures_ = 0;
    window_end_ = lowest;
    returns_ = returns;
    probation_ = probation;
    return warms || returns;
  }

  /// True: so it has earned to be ejected. `ended`: the calls that ended before this one (but those to be ignored), modulo 2^32.
  bool fail(nanoseconds_point now, const balancer_options& options, std::uint32_t ended) noexcept {
    const double good = recovered(now, options);
    good_at_.store(now, std::memory_order_relaxed);  // relaxed, both: see share()
    good_.store(std::max(least, good / 2), std::memory_order_relaxed);
    const ejection_options& e = options.ejection;
    ++in_a_row_;
    if (now >= window_end_) {
      window_end_ = saturating_add(now, e.window.count());
      window_failures_ = 0;
      window_began_ = ended;
    }
    ++window_failures_;
    const std::uint32_t calls = ended - window_began_ + 1;
    const bool often = e.failure_rate > 0 && calls >= e.minimum_calls && window_failures_ >= e.failure_rate * calls;
    const bool on_probation = probation_ > 0;
    const bool again = e.consecutive_failures > 0 && in_a_row_ >= e.consecutive_failures;
    return often || again || on_probation;
  }

  struct improvement {
    bool settled;  // nothing is left to be watched
    bool passed;   // it has come back for good
  };
  improvement succeed(nanoseconds_point now, const balancer_options& options) noexcept {
    const double good = recovered(now, options);
    const double better = good + (1 - good) / 8;
    good_at_.store(now, std::memory_order_relaxed);  // relaxed, all: see share()
    good_.store(better, std::memory_order_relaxed);
    in_a_row_ = 0;
    if (probation_ > 0) --probation_;
    const bool passed = probation_ == 0 && std::exchange(returns_, false);
    const nanoseconds_point warm_since = warm_since_.load(std::memory_order_relaxed);  // relaxed, below, too: see share()
    const bool warm = warm_since == never || saturating_difference(now, warm_since) >= options.slow_start.duration.count();
    if (warm) warm_since_.store(never, std::memory_order_relaxed);
    const bool settled = warm && probation_ == 0 && better > 0.99;
    if (settled) good_.store(1, std::memory_order_relaxed);
    return {settled, passed};
  }

 private:
  static constexpr double least = 0.01;
  static constexpr nanoseconds_point lowest = std::numeric_limits<nanoseconds_point>::min();

  [[nodiscard]] double recovered(nanoseconds_point now, const balancer_options& options) const noexcept {
    const double good = good_.load(std::memory_order_relaxed);  // relaxed: see share()
    if (good >= 1) return 1;
    const auto gone = std::max<std::int64_t>(0, saturating_difference(now, good_at_.load(std::memory_order_relaxed)));
    return 1 - (1 - good) * std::exp2(-static_cast<double>(gone) / static_cast<double>(options.recovery.count()));
  }

  template <class T>
  using atomic = typename Sync::template atomic<T>;

  atomic<double> good_{1};  // less after failures, at the time good_at_
  atomic<nanoseconds_point> good_at_{0};
  atomic<nanoseconds_point> warm_since_{never};
  bool returns_ = false;  // it has come back, and has not proved itself yet; this and the rest: guarded by lock
  std::uint32_t in_a_row_ = 0;
  std::uint32_t probation_ = 0;
  std::uint32_t window_failures_ = 0;
  std::uint32_t window_began_ = 0;  // the calls that had ended then
  nanoseconds_point window_end_ = lowest;
};

}  // namespace penstock::inline v0_1::detail
