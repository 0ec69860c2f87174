#include <penstock/observe/histogram.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../../support/catch.hpp"

namespace {

using penstock::histogram;
using penstock::histogram_snapshot;
using namespace std::chrono_literals;

using values = std::vector<std::uint64_t>;

constexpr auto u64_max = std::numeric_limits<std::uint64_t>::max();

struct distribution {
  std::string name;
  std::function<std::uint64_t(std::mt19937_64&)> draw;
};

std::vector<distribution> distributions() {
  return {
      {"uniform", [](auto& rng) { return std::uniform_int_distribution<std::uint64_t>{0, 10'000'000}(rng); }},
      {"lognormal", [](auto& rng) { return static_cast<std::uint64_t>(std::lognormal_distribution<>{11, 2}(rng)); }},
      {"constant", [](auto&) { return std::uint64_t{123'457}; }},
      {"bimodal",
       [](auto& rng) {
         const double centre = std::bernoulli_distribution{0.01}(rng) ? 5e8 : 2e4;
         return static_cast<std::uint64_t>(std::max(0.0, std::normal_distribution<>{centre, centre / 10}(rng)));
       }},
      {"small", [](auto& rng) { return std::uniform_int_distribution<std::uint64_t>{0, 3}(rng); }},
      {"every magnitude",
       [](auto& rng) { return (rng() & histogram::max_value) >> std::uniform_int_distribution<>{0, 41}(rng); }},
  };
}

values draw(const distribution& d, std::size_t n, std::uint64_t seed) {
  std::mt19937_64 rng{seed};
  values drawn(n);
  std::generate(drawn.begin(), drawn.end(), [&] { return d.draw(rng); });
  return drawn;
}

template <class Histogram = histogram>
auto snapshot_of(const values& recorded) {
  const auto h = std::make_unique<Histogram>();
  for (const auto v : recorded) h->record(v);
  return h->snapshot();
}

// The per_million * n / 10^6-th least value, rounded up, in integers.
std::uint64_t exact_quantile(const values& sorted, std::uint64_t per_million) {
  const std::uint64_t rank = (per_million * sorted.size() + 999'999) / 1'000'000;
  return sorted[std::max<std::uint64_t>(rank, 1) - 1];
}

bool within(double reported, double exact, double relative_error) { return std::abs(reported - exact) <= exact * relative_error; }

template <unsigned Precision>
void check_against_exact(values recorded) {
  const auto s = snapshot_of<penstock::basic_histogram<Precision, 42>>(recorded);
  std::sort(recorded.begin(), recorded.end());
  const double bound = std::ldexp(1.0, -static_cast<int>(Precision));

  CHECK(s.count() == recorded.size());
  CHECK(s.min() == recorded.front());
  CHECK(s.max() == recorded.back());
  for (const std::uint64_t per_million :
       {0u, 1u, 1'000u, 10'000u, 70'000u, 250'000u, 500'000u, 900'000u, 950'000u, 990'000u, 999'000u, 999'900u, 1'000'000u}) {
    const auto exact = exact_quantile(recorded, per_million);
    const auto reported = s.quantile(static_cast<double>(per_million) / 1e6);
    INFO("quantile " << per_million << " / 10^6: exact " << exact << ", reported " << reported);
    CHECK(reported >= exact);
    CHECK(within(static_cast<double>(reported), static_cast<double>(exact), bound));
  }
  const auto sum = std::accumulate(recorded.begin(), recorded.end(), std::uint64_t{0});
  CHECK(within(static_cast<double>(s.sum()), static_cast<double>(sum), bound / 2));
  CHECK(within(s.mean(), static_cast<double>(sum) / static_cast<double>(recorded.size()), bound / 2));
}

}  // namespace

TEST_CASE("histogram: an empty one reports zeros", "[histogram]") {
  const histogram h;
  const auto s = h.snapshot();
  CHECK(s == histogram_snapshot{});
  CHECK(s.count() == 0);
  CHECK(s.min() == 0);
  CHECK(s.max() == 0);
  CHECK(s.sum() == 0);
  CHECK(s.mean() == 0.0);
  CHECK(s.quantile(0.5) == 0);
  CHECK(s.clamped() == 0);
}

TEST_CASE("histogram: every bucket follows the one before it without a gap and is narrow enough", "[histogram]") {
  using layout = penstock::detail::log_linear<7, 42>;
  std::uint64_t next = 0;
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < layout::overflow; ++i) {
    const auto least = layout::least_of(i);
    const auto greatest = layout::greatest_of(i);
    const bool right = least == next && greatest >= least && layout::index(least) == i && layout::index(greatest) == i &&
                       layout::middle_of(i) >= least && layout::middle_of(i) <= greatest && (greatest - least) * 128 <= least;
    wrong += right ? 0 : 1;
    next = greatest + 1;
  }
  CHECK(wrong == 0);
  CHECK(next == std::uint64_t{1} << 42);
  CHECK(layout::index(next) == layout::overflow);
  CHECK(layout::index(u64_max) == layout::overflow);
  CHECK(penstock::detail::log_linear<7, 64>::index(u64_max) == penstock::detail::log_linear<7, 64>::overflow - 1);
  CHECK(penstock::detail::log_linear<7, 64>::greatest_of(penstock::detail::log_linear<7, 64>::overflow - 1) == u64_max);
}

TEST_CASE("histogram: occupies the memory that its documentation states", "[histogram]") {
  STATIC_REQUIRE(sizeof(histogram) <= 36'872 + 2 * penstock::detail::cache_line);
}

TEST_CASE("histogram: quantiles, extremes, sum and mean agree with the exact ones of seeded data", "[histogram]") {
  for (const auto& d : distributions()) {
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
      INFO(d.name << ", seed " << seed);
      check_against_exact<7>(draw(d, 100'000, seed));
      check_against_exact<4>(draw(d, 1'009, seed));
    }
  }
}

TEST_CASE("histogram: the sum of many values is not biased by the width of the buckets", "[histogram]") {
  const auto recorded = draw(distributions()[0], 100'000, 4);
  const auto exact = std::accumulate(recorded.begin(), recorded.end(), std::uint64_t{0});
  CHECK(within(static_cast<double>(snapshot_of(recorded).sum()), static_cast<double>(exact), 0.0002));
}

TEST_CASE("histogram: a single value is reported exactly whatever its size", "[histogram]") {
  for (const std::uint64_t v :
       {std::uint64_t{0}, std::uint64_t{255}, std::uint64_t{256}, std::uint64_t{1'000'003}, histogram::max_value}) {
    const auto s = snapshot_of({v});
    CHECK(s.min() == v);
    CHECK(s.max() == v);
    CHECK(s.quantile(0.0) == v);
    CHECK(s.quantile(0.5) == v);
    CHECK(s.quantile(1.0) == v);
    CHECK(s.mean() == Approx(static_cast<double>(v)));
  }
}

TEST_CASE("histogram: the rank of a quantile is not pushed up by rounding", "[histogram]") {
  values hundred(100);
  std::iota(hundred.begin(), hundred.end(), 1);
  const auto s = snapshot_of(hundred);
  for (std::uint64_t percent = 1; percent <= 100; ++percent) {
    CHECK(s.quantile(static_cast<double>(percent) / 100) == percent);  // 0.07 * 100 is 7.000000000000001
  }
}

TEST_CASE("histogram: a quantile outside 0 to 1 is an invalid argument", "[histogram]") {
  const auto s = snapshot_of({1, 2, 3});
  CHECK_THROWS_AS(s.quantile(-0.1), std::invalid_argument);
  CHECK_THROWS_AS(s.quantile(1.1), std::invalid_argument);
  CHECK_THROWS_AS(s.quantile(std::numeric_limits<double>::quiet_NaN()), std::invalid_argument);
}

TEST_CASE("histogram: values above the range are clamped and counted", "[histogram]") {
  const auto s = snapshot_of({10, histogram::max_value, histogram::max_value + 1, u64_max});
  CHECK(s.count() == 4);
  CHECK(s.clamped() == 2);
  CHECK(s.max() == histogram::max_value);
  CHECK(s.quantile(1.0) == histogram::max_value);
  CHECK(s.quantile(0.5) == histogram::max_value);
  CHECK(s.quantile(0.25) == 10);
}

TEST_CASE("histogram: a whole 64-bit range has nothing to clamp", "[histogram]") {
  const auto s = snapshot_of<penstock::basic_histogram<5, 64>>({0, u64_max});
  CHECK(s.clamped() == 0);
  CHECK(s.max() == u64_max);
  CHECK(s.quantile(1.0) == u64_max);
}

TEST_CASE("histogram: durations count in nanoseconds and negative ones as zero", "[histogram]") {
  histogram h;
  h.record(3us);
  h.record(-5ns);
  const auto s = h.snapshot();
  CHECK(s.max() == 3'000);
  CHECK(s.min() == 0);
}

TEST_CASE("histogram: recording n at once equals recording n times", "[histogram]") {
  histogram at_once;
  histogram one_by_one;
  at_once.record_n(777, 1'000);
  at_once.record_n(5, 0);  // nothing: it must not become the least value
  for (int i = 0; i < 1'000; ++i) one_by_one.record(777);
  CHECK(at_once.snapshot() == one_by_one.snapshot());
  CHECK(at_once.snapshot().min() == 777);
}

TEST_CASE("histogram: merging parts equals recording everything", "[histogram]") {
  for (const auto& d : distributions()) {
    INFO(d.name);
    const auto all = draw(d, 30'000, 7);
    histogram_snapshot merged;
    for (std::size_t part = 0; part < 3; ++part) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(part * 10'000);
      merged.merge(snapshot_of({begin, begin + 10'000}));
    }
    merged.merge(histogram_snapshot{});
    CHECK(merged == snapshot_of(all));
  }
}

TEST_CASE("histogram: the order of merging makes no difference", "[histogram]") {
  const auto low = snapshot_of({1, 2, 3});
  const auto high = snapshot_of({1'000'000, 2'000'000});
  auto low_first = low;
  low_first.merge(high);
  auto high_first = high;
  high_first.merge(low);
  CHECK(low_first == high_first);
  CHECK(low_first.min() == 1);
  CHECK(low_first.max() == 2'000'000);
}

TEST_CASE("histogram: an interval holds what was recorded between two snapshots", "[histogram]") {
  histogram h;
  for (std::uint64_t v = 0; v < 1'000; ++v) h.record(v * 1'000);
  const auto before = h.snapshot();
  values later;
  for (std::uint64_t v = 0; v < 1'000; ++v) later.push_back(200'000 + v * 10);
  for (const auto v : later) h.record(v);

  const auto interval = h.snapshot().since(before);
  const auto expected = snapshot_of(later);
  CHECK(interval.count() == 1'000);
  CHECK(interval.sum() == expected.sum());
  CHECK(interval.sum() == h.snapshot().sum() - before.sum());
  CHECK(within(static_cast<double>(interval.min()), 200'000, 0.0079));
  CHECK(within(static_cast<double>(interval.max()), 209'990, 0.0079));
  CHECK(interval.quantile(0.5) == expected.quantile(0.5));
  CHECK(interval.quantile(0.99) == expected.quantile(0.99));
}

TEST_CASE("histogram: an interval that brought a new greatest value has it exactly, and an idle one is empty", "[histogram]") {
  histogram h;
  h.record(100'000);
  const auto before = h.snapshot();
  h.record(765'432);
  const auto after = h.snapshot();
  CHECK(after.since(before).max() == 765'432);
  CHECK(h.snapshot().since(after) == histogram_snapshot{});
}

TEST_CASE("histogram: sum and count saturate instead of wrapping, and the mean stays right", "[histogram]") {
  histogram h;
  h.record_n(histogram::max_value, std::uint64_t{1} << 63);
  auto s = h.snapshot();
  CHECK(s.sum() == u64_max);
  CHECK(s.mean() == Approx(static_cast<double>(histogram::max_value)));

  const auto once = s;
  s.merge(once);
  s.merge(once);
  CHECK(s.count() == u64_max);
  CHECK(s.quantile(1.0) == histogram::max_value);
}

TEST_CASE("histogram: nothing is lost between threads, and their own histograms merge to the same", "[histogram]") {
  constexpr std::size_t threads = 4;
  histogram shared;
  std::vector<histogram> own(threads);
  values all;
  std::vector<values> parts;
  for (std::size_t t = 0; t < threads; ++t) {
    parts.push_back(draw(distributions()[1], 20'000, t));
    all.insert(all.end(), parts.back().begin(), parts.back().end());
  }
  {
    std::vector<std::jthread> running;
    for (std::size_t t = 0; t < threads; ++t) {
      running.emplace_back([&, t] {
        for (const auto v : parts[t]) {
          shared.record(v);
          own[t].record(v);
        }
      });
    }
  }
  histogram_snapshot merged;
  for (const auto& h : own) merged.merge(h.snapshot());
  const auto expected = snapshot_of(all);
  CHECK(merged == expected);
  // The shared one may have given up an extreme, and then has it within its bucket.
  const auto together = shared.snapshot();
  CHECK(together.since({}).count() == expected.count());
  CHECK(together.sum() == expected.sum());
  CHECK(within(static_cast<double>(together.min()), static_cast<double>(expected.min()), 0.0079));
  CHECK(within(static_cast<double>(together.max()), static_cast<double>(expected.max()), 0.0079));
  CHECK(together.quantile(0.99) == expected.quantile(0.99));
}

TEST_CASE("histogram: a snapshot taken during recording is consistent in itself and never goes back", "[histogram]") {
  histogram h;
  std::size_t inconsistent = 0;
  std::size_t went_back = 0;
  {
    std::jthread writer{[&](std::stop_token stop) {
      std::mt19937_64 rng{1};
      for (std::uint64_t i = 0; !stop.stop_requested(); ++i) h.record(1'000 + (rng() >> 40) + i);  // the extremes move as well
    }};
    histogram_snapshot last;
    for (int i = 0; i < 500; ++i) {
      const auto s = h.snapshot();
      const auto interval = s.since(last);
      if (s.count() != 0) {
        const bool ordered = s.min() >= 1'000 && s.min() <= s.quantile(0.5) && s.quantile(0.5) <= s.quantile(0.99) &&
                             s.quantile(0.99) <= s.max() && s.mean() >= static_cast<double>(s.min()) &&
                             s.mean() <= static_cast<double>(s.max());
        inconsistent += ordered ? 0 : 1;
      }
      went_back += s.count() >= last.count() && s.sum() >= last.sum() && interval.count() == s.count() - last.count() ? 0 : 1;
      last = s;
    }
  }
  CHECK(inconsistent == 0);
  CHECK(went_back == 0);
}
