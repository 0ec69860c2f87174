// penstock/observe/metric_distribution.hpp: what a histogram held, whatever its precision: the form in which snapshots of a registry keep it.
//
//   penstock::metric_distribution d = latency.snapshot().distribution();
//   d.quantile(0.99);                                      // as the snapshot's own
//   d.since(earlier);                                      // the values between two of them
//
// A plain value: the buckets that are not empty, in order. Units are the histogram's (nanoseconds for times).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace penstock::inline v0_1 {

namespace detail {

/// Which of `count` values, the least being number 1, is the least that the share q of all do not exceed: ceil(q * count), within 1 … count.
/// The double below q keeps a product like 0.07 * 100 = 7.000000000000001 from becoming 8.
[[nodiscard]] inline std::uint64_t rank_of_quantile(double q, std::uint64_t count) noexcept {
  const double rank = std::ceil(std::nextafter(q, 0.0) * static_cast<double>(count));
  if (q == 1 || rank >= static_cast<double>(count)) return count;
  return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(rank));
}

}  // namespace detail

/// `count` values of which each is `least` … `greatest`.
struct metric_bucket {
  std::uint64_t least = 0;
  std::uint64_t greatest = 0;
  std::uint64_t count = 0;

  friend bool operator==(const metric_bucket&, const metric_bucket&) = default;
};

class metric_distribution {
 public:
  metric_distribution() = default;
  /// Of buckets that are not empty, in order, and of the least and greatest value.
  metric_distribution(std::vector<metric_bucket> buckets, std::uint64_t min, std::uint64_t max) noexcept
      : buckets_{std::move(buckets)}, min_{min}, max_{max} {
    for (const metric_bucket& b : buckets_) count_ += b.count;
  }

  [[nodiscard]] const std::vector<metric_bucket>& buckets() const noexcept { return buckets_; }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// 0 if there is no value.
  [[nodiscard]] std::uint64_t min() const noexcept { return min_; }
  [[nodiscard]] std::uint64_t max() const noexcept { return max_; }

  /// Each value is taken for the middle of its bucket.
  template <class = void>
  [[nodiscard]] double sum() const noexcept {
    double total = 0;
    for (const metric_bucket& b : buckets_) {
      total += static_cast<double>(b.count) * (static_cast<double>(b.least) + static_cast<double>(b.greatest - b.least) / 2);
    }
    return total;
  }
  /// 0 if there is no value.
  template <class = void>
  [[nodiscard]] double mean() const noexcept {
    return count_ == 0 ? 0
                       : std::clamp(sum() / static_cast<double>(count_), static_cast<double>(min_), static_cast<double>(max_));
  }

  /// As basic_histogram_snapshot::quantile().
  template <class = void>
  [[nodiscard]] std::uint64_t quantile(double q) const {
    if (!(q >= 0 && q <= 1)) {
      throw std::invalid_argument{"penstock::metric_distribution: quantile " + std::to_string(q) + " is not in [0, 1]"};
    }
    if (count_ == 0 || q == 0) return min_;
    const std::uint64_t rank = detail::rank_of_quantile(q, count_);
    std::uint64_t passed = 0;
    for (const metric_bucket& b : buckets_) {
      passed += b.count;
      if (passed >= rank) return std::clamp(b.greatest, min_, max_);
    }
    return max_;
  }

  /// What was added after `earlier`, one of the same histogram. min() and max() are then known by their bucket only. Of another histogram (one that has
  /// less in a bucket than `earlier`): all that it has.
  template <class = void>
  [[nodiscard]] metric_distribution since(const metric_distribution& earlier) const {
    std::vector<metric_bucket> left;
    auto before = earlier.buckets_.begin();
    for (const metric_bucket& b : buckets_) {
      metric_bucket rest = b;
      if (before != earlier.buckets_.end() && before->least == b.least) {
        if (before->count > b.count) return *this;
        rest.count -= before->count;
        ++before;
      } else if (before != earlier.buckets_.end() && before->least < b.least) {
        return *this;
      }
      if (rest.count != 0) left.push_back(rest);
    }
    if (before != earlier.buckets_.end()) return *this;
    if (left.empty()) return {};
    const std::uint64_t least = std::clamp(min_, left.front().least, left.front().greatest);
    const std::uint64_t greatest = std::clamp(max_, left.back().least, left.back().greatest);
    return {std::move(left), least, greatest};
  }

  friend bool operator==(const metric_distribution&, const metric_distribution&) = default;

 private:
  std::vector<metric_bucket> buckets_;
  std::uint64_t count_ = 0;
  std::uint64_t min_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace penstock::inline v0_1
