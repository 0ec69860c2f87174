// penstock/route/peak_ewma.hpp: the policy that looks at latency: the cheaper of two, by latency times leases.
//
//   penstock::balancer<backend, penstock::peak_ewma> backends{{}, penstock::peak_ewma{.decay = 10s}};
//
// Cost of an endpoint   its latency × (leases + 1) / (weight × the part that it counts for). The latency is an average that forgets exponentially
//                       in time; a call that took longer than the average is believed at once (the peak), one that took less with time.
// Never called yet      is taken first, but for `unknown` once it has leases that have not ended.
// Failures              of an endpoint of which nothing is known count as `unknown`, however quick; later a quick one changes the average no more than
//                       the time since the last call does. And an endpoint that fails counts for less (balancer_options.hpp).
// Cost                  no lock to pick; the clock once, and once at the end of the lease, where a lock is taken for a few instructions.
// Source                Twitter's Finagle, com.twitter.finagle.loadbalancer.p2c.P2CPeakEwma (2015): its formulas, written anew. Failures and weights are ours.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>

#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/route/detail/endpoint_use.hpp>
#include <penstock/route/least_connections.hpp>

namespace penstock::inline v0_1 {

struct peak_ewma {
  std::chrono::nanoseconds decay = std::chrono::seconds{10};   ///< what was measured so long ago counts for 1/e; > 0
  std::chrono::nanoseconds unknown = std::chrono::seconds{1};  ///< stands for a latency of which nothing is known; > 0

  template <class Sync>
  class picker : public detail::plain_picker {
   public:
    static constexpr bool measures_latency = true;

    picker(const peak_ewma& options, std::size_t capacity)
        : decay_{static_cast<double>(options.decay.count())},
          unknown_{static_cast<double>(options.unknown.count())},
          meters_{std::make_unique<meter[]>(capacity)} {
      if (options.decay.count() <= 0) throw std::invalid_argument{"penstock::peak_ewma: decay must be positive"};
      if (options.unknown.count() <= 0) throw std::invalid_argument{"penstock::peak_ewma: unknown must be positive"};
    }

    template <class Table, class Context>
    [[nodiscard]] std::uint32_t choose(const Table& table, Context& c) noexcept {
      return detail::better_of_two(table, c, [&](std::uint32_t place) {
        const double leases = detail::endpoint_use<Sync>::in_flight(table.load(place));
        const double average = latency(place, c.now());
        if (average <= 0) return leases == 0 ? 0 : unknown_ + leases;
        return average * (leases + 1) / (table.weight(place) * table.share(place, c));
      });
    }

    void placed(std::uint32_t place, std::uint64_t) noexcept {
      std::scoped_lock guard{meters_[place].lock};
      meters_[place].average.store(0, std::memory_order_relaxed);  // relaxed: an estimate
    }
    void ended(std::uint32_t place, detail::nanoseconds_point now, std::chrono::nanoseconds took, bool success) noexcept {
      meter& m = meters_[place];
      const auto measured = static_cast<double>(took.count());
      std::scoped_lock guard{m.lock};
      const double before = latency(place, now);
      double after = std::max(before, measured);
      if (!success && before <= 0) {
        after = std::max(unknown_, measured);
      } else if (measured < before) {
        // relaxed, all: an estimate; written under the lock only
        after = before + measured * (1 - weight_of(m.at.load(std::memory_order_relaxed), now));
      }
      m.at.store(now, std::memory_order_relaxed);
      m.average.store(after, std::memory_order_relaxed);
    }

   private:
    struct alignas(detail::cache_line) meter {
      detail::polled_mutex<Sync> lock;
      typename Sync::template atomic<double> average{0};  // nanoseconds, as it was at `at`; 0: nothing is known
      typename Sync::template atomic<detail::nanoseconds_point> at{0};
    };

    [[nodiscard]] double weight_of(detail::nanoseconds_point at, detail::nanoseconds_point now) const noexcept {
      const auto age = static_cast<double>(std::max<std::int64_t>(0, detail::saturating_difference(now, at)));
      return age == 0 ? 1 : std::exp(-age / decay_);
    }
    // As Finagle's: what is not measured again fades, so a slow endpoint is tried again.
    [[nodiscard]] double latency(std::uint32_t place, detail::nanoseconds_point now) const noexcept {
      const double average =
          meters_[place].average.load(std::memory_order_relaxed);  // relaxed, both: two neighbouring moments are as good as one
      return average <= 0 ? 0 : average * weight_of(meters_[place].at.load(std::memory_order_relaxed), now);
    }

    const double decay_;
    const double unknown_;
    const std::unique_ptr<meter[]> meters_;  // by place
  };
};

}  // namespace penstock::inline v0_1
