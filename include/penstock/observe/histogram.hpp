// penstock/observe/histogram.hpp: the distribution of a value (a latency in nanoseconds, a size in bytes), in fixed memory.
//
//   penstock::histogram latency;
//   latency.record(finish - start);                        // any thread
//   auto s = latency.snapshot();                           // a plain value: merge it with others, take intervals
//   report(s.count(), s.quantile(0.5), s.quantile(0.999), s.max());
//
// The idea: buckets that are linear within each power of two, log-linear overall. With Precision p, each [2^e, 2^(e+1)) is cut
// into 2^p buckets, so that no bucket is wider than 2^-p of the values in it; values below 2^(p+1) have a bucket each. The index
// of a bucket is a shift and an addition, no search.
//
// Error          a reported value lies in the bucket of the true one, at most 2^-p of it away (0.79 % by default), and is exact
//                below 2^(p+1). quantile() never understates. count() is exact. min() and max() are exact once the threads that
//                record have been joined (but for the case at record()), and lie in the true one's bucket before. sum() and
//                mean() take each value for the middle of its bucket (within 2^-(p+1), 0.4 %): an exact sum would cost each
//                record() a second read-modify-write, and one that all threads contend for (measured: twice the time on one
//                thread, three to five times on two).
// Range          0 … 2^MaxBits - 1 (by default 2^42 ns = 73 minutes). A greater value is recorded as the greatest, and counted
//                in clamped().
// Memory         8 bytes a bucket, (MaxBits - p + 1) * 2^p of them and one: 36,872 bytes by default, and a cache line or two.
//                Only snapshot() allocates. An object of this size belongs in a component, not on a small stack.
// Thread safety  every member may be called concurrently. Threads that record similar values share a cache line; where that
//                shows, give each thread a histogram and merge the snapshots.
// Consistency    a snapshot holds every record() that happened before it, and each one running at the same time wholly or not at
//                all: count() is the sum of the buckets, so quantiles always fit it, and min() <= quantile() <= max().
// Cost           record() is wait-free: one read-modify-write and two loads (below 10 ns alone, benchmarks/observe_bench.cpp).
//                snapshot(), merge(), since(), quantile(), sum(), mean(): linear in the buckets up to the greatest value.
// Algorithm      G. Tene, HdrHistogram (http://hdrhistogram.org); here the width of the buckets is a power of two.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <penstock/core/detail/sync.hpp>
#include <penstock/observe/metric_distribution.hpp>

namespace penstock::inline v0_1 {

template <unsigned Precision, unsigned MaxBits>
class basic_histogram;

namespace detail {

inline constexpr std::uint64_t u64_max = std::numeric_limits<std::uint64_t>::max();

[[nodiscard]] constexpr std::uint64_t sum_or_max(std::uint64_t a, std::uint64_t b) noexcept {
  return a > u64_max - b ? u64_max : a + b;
}

[[nodiscard]] constexpr std::uint64_t product_or_max(std::uint64_t a, std::uint64_t b) noexcept {
  return b != 0 && a > u64_max / b ? u64_max : a * b;
}

// Which values share a bucket.
template <unsigned Precision, unsigned MaxBits>
struct log_linear {
  static_assert(Precision >= 1 && Precision <= 16 && Precision < MaxBits && MaxBits <= 64);

  static constexpr std::uint64_t greatest = u64_max >> (64 - MaxBits);
  static constexpr std::size_t overflow = std::size_t{MaxBits - Precision + 1}
                                          << Precision;  // the bucket of what is greater still
  static constexpr std::size_t size = overflow + 1;

  [[nodiscard]] static constexpr std::size_t index(std::uint64_t value) noexcept {
    if (value > greatest) return overflow;
    // The value's leading Precision + 1 bits are value >> shift; each step of shift moves on by 2^Precision buckets. The bit that
    // is or-ed in gives all values below 2^Precision the shift 0 without a branch.
    const auto shift = static_cast<unsigned>(std::bit_width(value | (std::uint64_t{1} << Precision))) - (Precision + 1);
    return (std::size_t{shift} << Precision) + static_cast<std::size_t>(value >> shift);
  }

  [[nodiscard]] static constexpr std::uint64_t least_of(std::size_t index) noexcept {
    if (index == overflow) return greatest;
    const std::size_t shift = shift_of(index);
    return std::uint64_t{index - (shift << Precision)} << shift;
  }

  [[nodiscard]] static constexpr std::uint64_t greatest_of(std::size_t index) noexcept {
    return index == overflow ? greatest : least_of(index) + ((std::uint64_t{1} << shift_of(index)) - 1);
  }

  [[nodiscard]] static constexpr std::uint64_t middle_of(std::size_t index) noexcept {
    return least_of(index) + (greatest_of(index) - least_of(index)) / 2;
  }

 private:
  [[nodiscard]] static constexpr std::size_t shift_of(std::size_t index) noexcept {
    return index >> Precision == 0 ? 0 : (index >> Precision) - 1;
  }
};

}  // namespace detail

/// The values recorded up to one moment, or within an interval: a plain value, not thread-safe. A default-constructed one is
/// empty. It takes 8 bytes for each bucket up to the greatest value's. Copying, merge() and since() may throw std::bad_alloc.
template <unsigned Precision, unsigned MaxBits>
class basic_histogram_snapshot {
  using layout = detail::log_linear<Precision, MaxBits>;

 public:
  /// The number of values; stays at 2^64 - 1 if a merge exceeds it.
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

  /// How many of them were greater than the histogram can hold, and count as the greatest that it can.
  [[nodiscard]] std::uint64_t clamped() const noexcept {
    return counts_.size() > layout::overflow ? counts_[layout::overflow] : 0;
  }

  /// The least and the greatest value; 0 if there is none.
  [[nodiscard]] std::uint64_t min() const noexcept { return min_; }
  [[nodiscard]] std::uint64_t max() const noexcept { return max_; }

  /// The sum of the values, each taken for the middle of its bucket; stays at 2^64 - 1 if it exceeds that. Never decreases from
  /// one snapshot of a histogram to the next.
  [[nodiscard]] std::uint64_t sum() const noexcept {
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      total = detail::sum_or_max(total, detail::product_or_max(counts_[i], layout::middle_of(i)));
    }
    return total;
  }

  /// The arithmetic mean, also where sum() has reached its limit; 0 if there is no value.
  [[nodiscard]] double mean() const noexcept {
    double total = 0;
    double number = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      total += static_cast<double>(counts_[i]) * static_cast<double>(layout::middle_of(i));
      number += static_cast<double>(counts_[i]);
    }
    return number == 0 ? 0 : std::clamp(total / number, static_cast<double>(min_), static_cast<double>(max_));
  }

  /// The value that at least the share q of all values do not exceed: 0.5 gives the median, 0.999 P99.9, 0 the least and 1 the
  /// greatest value. At least the exact quantile (the ceil(q * count)-th least value), and at most 2^-Precision more. 0 if there
  /// is no value. Of more than 2^53 values, which a double cannot count, the rank is within 2^-52 of the count of the exact one.
  /// Throws std::invalid_argument unless 0 <= q <= 1.
  [[nodiscard]] std::uint64_t quantile(double q) const {
    if (!(q >= 0 && q <= 1))
      throw std::invalid_argument{"penstock::histogram: quantile " + std::to_string(q) + " is not in [0, 1]"};
    if (count_ == 0 || q == 0) return min_;
    const std::uint64_t rank = detail::rank_of_quantile(q, count_);
    std::uint64_t passed = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      passed = detail::sum_or_max(passed, counts_[i]);
      if (passed >= rank) return std::clamp(layout::greatest_of(i), min_, max_);
    }
    return max_;
  }

  /// Adds the values of another snapshot, as if all had been recorded in one histogram.
  void merge(const basic_histogram_snapshot& other) {
    if (other.count_ == 0) return;
    if (counts_.size() < other.counts_.size()) counts_.resize(other.counts_.size());
    for (std::size_t i = 0; i < other.counts_.size(); ++i) counts_[i] = detail::sum_or_max(counts_[i], other.counts_[i]);
    min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
    max_ = std::max(max_, other.max_);
    count_ = detail::sum_or_max(count_, other.count_);
  }

  /// The values recorded after `earlier`, which is an earlier snapshot of the same histogram (or of the same ones, merged). Its
  /// min() and max() are then known within 2^-Precision only.
  [[nodiscard]] basic_histogram_snapshot since(const basic_histogram_snapshot& earlier) const {
    basic_histogram_snapshot interval{*this};
    const std::size_t common = std::min(counts_.size(), earlier.counts_.size());
    for (std::size_t i = 0; i < common; ++i) {
      assert(counts_[i] >= earlier.counts_[i] && "penstock::histogram: since() a snapshot that is not an earlier one");
      interval.counts_[i] -= std::min(counts_[i], earlier.counts_[i]);
    }
    interval.settle();
    return interval;
  }

  /// The same in the form that is one for all precisions. Throws std::bad_alloc.
  [[nodiscard]] metric_distribution distribution() const {
    std::vector<metric_bucket> filled;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] != 0) filled.push_back({layout::least_of(i), layout::greatest_of(i), counts_[i]});
    }
    return {std::move(filled), min_, max_};
  }

  friend bool operator==(const basic_histogram_snapshot&, const basic_histogram_snapshot&) = default;

 private:
  friend class basic_histogram<Precision, MaxBits>;

  // Makes the rest fit counts_: the count is its sum, and min_ and max_, on entry bounds from a greater set, lie in its outer
  // buckets.
  void settle() noexcept {
    while (!counts_.empty() && counts_.back() == 0) counts_.pop_back();
    count_ = 0;
    for (const std::uint64_t n : counts_) count_ = detail::sum_or_max(count_, n);
    if (count_ == 0) {
      min_ = max_ = 0;
      return;
    }
    const auto first =
        static_cast<std::size_t>(std::find_if(counts_.begin(), counts_.end(), [](auto n) { return n != 0; }) - counts_.begin());
    const std::size_t last = counts_.size() - 1;
    min_ = std::clamp(min_, layout::least_of(first), layout::greatest_of(first));
    max_ = std::clamp(max_, layout::least_of(last), layout::greatest_of(last));
  }

  std::vector<std::uint64_t> counts_;  // by bucket; the last is not zero
  std::uint64_t count_ = 0;
  std::uint64_t min_ = 0;
  std::uint64_t max_ = 0;
};

template <unsigned Precision = 7, unsigned MaxBits = 42>
class basic_histogram {
  using layout = detail::log_linear<Precision, MaxBits>;

 public:
  using snapshot_type = basic_histogram_snapshot<Precision, MaxBits>;

  /// The greatest value that is held as it is; greater ones count as this one.
  static constexpr std::uint64_t max_value = layout::greatest;

  basic_histogram() noexcept = default;
  basic_histogram(const basic_histogram&) = delete;
  basic_histogram& operator=(const basic_histogram&) = delete;

  /// Records one value. Wait-free: a new extreme that other threads overtake eight times in a row is given up, and min() or max()
  /// may then be off by its bucket's width.
  void record(std::uint64_t value) noexcept { record_n(value, 1); }

  /// Records a duration in nanoseconds; a negative one (a clock stepped back) counts as 0.
  void record(std::chrono::nanoseconds elapsed) noexcept {
    record(static_cast<std::uint64_t>(std::max<std::chrono::nanoseconds::rep>(elapsed.count(), 0)));
  }

  /// Records the same value n times, at the cost of one. Precondition: no bucket gets more than 2^64 - 1 values.
  void record_n(std::uint64_t value, std::uint64_t n) noexcept {
    if (n == 0) return;
    const std::uint64_t held = std::min(value, max_value);
    raise(max_, held);
    raise(inverted_min_, ~held);
    // release: pairs with the acquire in snapshot(): who sees the value counted sees the extremes that it made.
    [[maybe_unused]] const std::uint64_t before = counts_[layout::index(value)].fetch_add(n, std::memory_order_release);
    assert(before <= detail::u64_max - n && "penstock::histogram: more than 2^64 - 1 values in one bucket");
  }

  /// What has been recorded so far (see "Consistency" above). Throws std::bad_alloc.
  [[nodiscard]] snapshot_type snapshot() const {
    snapshot_type s;
    std::size_t size = layout::size;
    while (size > 0 && counts_[size - 1].load(std::memory_order_relaxed) == 0) --size;  // relaxed: read again below
    s.counts_.reserve(size);
    for (std::size_t i = 0; i < size; ++i) {
      s.counts_.push_back(counts_[i].load(std::memory_order_acquire));  // acquire: pairs with the release in record_n()
    }
    // relaxed: ordered by the acquires before. They may belong to values that were not counted yet: settle() bounds them.
    s.min_ = ~inverted_min_.load(std::memory_order_relaxed);
    s.max_ = max_.load(std::memory_order_relaxed);
    s.settle();
    return s;
  }

 private:
  static void raise(std::atomic<std::uint64_t>& extreme, std::uint64_t value) noexcept {
    std::uint64_t seen = extreme.load(std::memory_order_relaxed);  // relaxed: published by the release in record_n()
    for (int attempt = 0; value > seen && attempt < 8; ++attempt) {
      if (extreme.compare_exchange_strong(seen, value, std::memory_order_relaxed)) return;
    }
  }

  // The extremes have a line of their own: every record() reads them, and few write them.
  alignas(detail::cache_line) std::atomic<std::uint64_t> max_{0};
  std::atomic<std::uint64_t> inverted_min_{0};  // ~min, so that both extremes only rise
  alignas(detail::cache_line) std::array<std::atomic<std::uint64_t>, layout::size> counts_{};
};

using histogram = basic_histogram<>;
using histogram_snapshot = histogram::snapshot_type;

}  // namespace penstock::inline v0_1
