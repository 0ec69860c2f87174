// How many threads the benchmarks use: from one to twice as many as there are processors, so that the same program tells how a primitive scales, and what it
// does where not all of its threads can run. Pools and whatever else has workers of its own: up to as many as there are processors.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include <penstock/pool/sizing.hpp>

namespace thread_counts {

constexpr int most = 64;  // some benchmarks have a place for each thread

/// What this process may use, or what the environment names in PENSTOCK_BENCH_PROCESSORS instead; at most half of `most`.
inline int processors() {
  const char* const named = std::getenv("PENSTOCK_BENCH_PROCESSORS");
  return std::clamp(named != nullptr ? std::atoi(named) : static_cast<int>(penstock::available_processors()), 1, most / 2);
}

/// 1, 2, 4 and so on up to all processors; at least 1 and 2; and `Also`. In order.
template <int... Also>
std::vector<int> up_to_all() {
  std::vector<int> counts{1, 2, Also...};
  const int all = processors();
  for (int n = 4; n < all; n *= 2) counts.push_back(n);
  counts.push_back(all);
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  return counts;
}

/// And twice as many as there are processors.
template <int... Also>
std::vector<int> up_to_twice() {
  std::vector<int> counts = up_to_all<Also...>();
  const int twice = 2 * processors();
  const auto at = std::lower_bound(counts.begin(), counts.end(), twice);
  if (at == counts.end() || *at != twice) counts.insert(at, twice);
  return counts;
}

/// BENCHMARK(…)->Apply(thread_counts::apply<>): Threads() for each of these.
template <int... Also>
void apply(benchmark::internal::Benchmark* b) {
  for (const int n : up_to_twice<Also...>()) b->Threads(n);
}

}  // namespace thread_counts
