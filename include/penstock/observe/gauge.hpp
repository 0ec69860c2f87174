// penstock/observe/gauge.hpp: a number that goes up and down (a depth, items in flight), and the highest that it has been.
//
//   penstock::gauge depth;
//   depth.add();  depth.sub();                             // any thread
//   auto [now, peak] = depth.snapshot();
//
// Invariants     peak() is at least every value that an add() or set() which happened before has made, and at least 0.
// Thread safety  every member may be called concurrently.
// Cost           add(): one relaxed read-modify-write and a load; a new peak adds a compare-and-swap, repeated only while other
//                threads raise the peak at the same time, each time higher (lock-free). sub(): one read-modify-write. Not
//                striped, since the peak of a sum is not to be had from its parts.
// Memory         two cache lines: as a rule add() only reads the peak, and finds it although others change the value.
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstdint>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1 {

class metric_sink;

/// A gauge at one moment: a plain value. A gauge has no interval: the difference of two peaks means nothing.
struct gauge_snapshot {
  std::int64_t value = 0;
  std::int64_t peak = 0;

  /// Adds what another component had. The values add up; the sum of the peaks is an upper bound of the peak of the sum, for the
  /// two need not have been at their highest at the same time.
  void merge(const gauge_snapshot& other) noexcept {
    value += other.value;
    peak += other.peak;
  }

  friend bool operator==(const gauge_snapshot&, const gauge_snapshot&) = default;
};

/// As text (observe/metric_text.hpp, ext/fmt.hpp).
template <std::same_as<metric_sink> Sink>
void describe(const gauge_snapshot& s, Sink& to) {
  to.kind("gauge");
  to.gauge({"value", "How much there is now."}, s.value);
  to.gauge({"peak", "The most that there has been."}, s.peak);
}

class gauge {
 public:
  gauge() noexcept = default;
  gauge(const gauge&) = delete;
  gauge& operator=(const gauge&) = delete;

  /// Raises the value by n >= 0. Precondition: the value stays below 2^63.
  void add(std::int64_t n = 1) noexcept {
    // relaxed, here and below: a statistic publishes nothing. Each add() sees its own result in the order of modifications, so
    // that no value in between escapes the peak.
    raise_peak(value_.fetch_add(n, std::memory_order_relaxed) + n);
  }

  /// Lowers the value by n >= 0.
  void sub(std::int64_t n = 1) noexcept { value_.fetch_sub(n, std::memory_order_relaxed); }

  /// Makes the value n, whatever it was.
  void set(std::int64_t n) noexcept {
    value_.store(n, std::memory_order_relaxed);  // relaxed: as in add()
    raise_peak(n);
  }

  // relaxed: a statistic publishes nothing
  [[nodiscard]] std::int64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

  /// The highest value since construction; 0 if it was never above.
  [[nodiscard]] std::int64_t peak() const noexcept { return peak_.load(std::memory_order_relaxed); }

  /// Value and peak. While others change the gauge they may be of slightly different moments; the peak is never below the value.
  [[nodiscard]] gauge_snapshot snapshot() const noexcept {
    const std::int64_t now = value();
    return {now, std::max(now, peak())};
  }

 private:
  void raise_peak(std::int64_t candidate) noexcept {
    // relaxed, both: a statistic publishes nothing
    std::int64_t seen = peak_.load(std::memory_order_relaxed);
    while (candidate > seen && !peak_.compare_exchange_weak(seen, candidate, std::memory_order_relaxed)) {
    }
  }

  alignas(detail::cache_line) std::atomic<std::int64_t> value_{0};
  alignas(detail::cache_line) std::atomic<std::int64_t> peak_{0};
};

}  // namespace penstock::inline v0_1
