// How long something took, time after time, as counters that scripts/bench_report.py knows: quantiles, which are compared, and a histogram, which
// scripts/bench_page.py draws.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <penstock/observe/histogram.hpp>

namespace latencies {

using bars = penstock::basic_histogram<2, 40>;  // four for each doubling

/// A counter for each bar that is not empty, named by the least and the greatest of its nanoseconds: "224..255 ns".
template <unsigned Precision, unsigned MaxBits>
void show_histogram(benchmark::State& state, const penstock::basic_histogram_snapshot<Precision, MaxBits>& all) {
  bars coarser;
  const penstock::metric_distribution finer = all.distribution();
  for (const penstock::metric_bucket& b : finer.buckets()) coarser.record_n(b.least + (b.greatest - b.least) / 2, b.count);
  const penstock::metric_distribution told = coarser.snapshot().distribution();
  for (const penstock::metric_bucket& b : told.buckets()) {
    state.counters[std::to_string(b.least) + ".." + std::to_string(b.greatest) + " ns"] = static_cast<double>(b.count);
  }
}

/// Of some dozens of times, in nanoseconds: the median, the 90th percentile and the histogram. They are sorted.
inline void show(benchmark::State& state, std::vector<double>& times) {
  std::sort(times.begin(), times.end());
  state.counters["P50"] = times[times.size() / 2];
  state.counters["P90"] = times[times.size() * 9 / 10];
  bars all;
  for (const double ns : times) all.record(static_cast<std::uint64_t>(std::max(ns, 0.0)));
  show_histogram(state, all.snapshot());
}

}  // namespace latencies
