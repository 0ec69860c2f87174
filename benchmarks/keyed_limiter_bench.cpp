// A check of a key's limit: a million keys at random, a thousand hot ones, and keys that never come twice.
//
// Peer: a mutex around an unordered_map of buckets in floating point, which is what most services have (and which grows for ever). A time is
// per check, over all threads, the clock's own included: BM_keyed_limiter_clock. BM_keyed_limiter_clock_and_line is what no check of as many keys can be faster than: a random line
// of as much memory is fetched while the clock is read, and changed.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include <penstock/rate/keyed_limiter.hpp>

#include "thread_counts.hpp"

namespace {

using namespace std::chrono_literals;

template <class Key>
struct penstock_keyed {
  explicit penstock_keyed(std::size_t keys) : limits{penstock::rate{100, 1s}, 10, {.max_keys = 2 * keys}} {}
  bool check(const Key& key) { return limits.try_acquire(key).has_value(); }
  penstock::keyed_limiter<Key> limits;
};

template <class Key>
struct mutex_and_map {
  explicit mutex_and_map(std::size_t keys) { buckets.reserve(keys); }
  bool check(const Key& key) {
    const double now = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    std::scoped_lock guard{lock};
    auto [at, fresh] = buckets.try_emplace(key, bucket{10, now});
    bucket& b = at->second;
    b.tokens = std::min(10.0, b.tokens + (now - b.last) * 100);
    b.last = now;
    if (b.tokens < 1) return false;
    b.tokens -= 1;
    return true;
  }
  struct bucket {
    double tokens;
    double last;
  };
  std::mutex lock;
  std::unordered_map<Key, bucket> buckets;
};

template <class Key>
Key key_of(std::uint64_t i) {
  if constexpr (std::is_integral_v<Key>) {
    return static_cast<Key>(i);
  } else {
    return "user-" + std::to_string(i);
  }
}

template <class Limiter, class Key>
void known_keys(benchmark::State& state) {
  const auto keys = static_cast<std::size_t>(state.range(0));
  static std::unique_ptr<Limiter> limiter;
  static std::vector<Key> names;
  if (state.thread_index() == 0) {
    limiter = std::make_unique<Limiter>(keys);
    names.clear();
    for (std::size_t i = 0; i < keys; ++i) names.push_back(key_of<Key>(i));
    for (const Key& name : names) limiter->check(name);
  }
  std::uint64_t random = 0x9e3779b97f4a7c15 * static_cast<std::uint64_t>(state.thread_index() + 1);
  for (auto _ : state) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    const std::uint64_t i = (random >> 32) * keys >> 32;
    if constexpr (std::is_integral_v<Key>) {
      benchmark::DoNotOptimize(limiter->check(static_cast<Key>(i)));
    } else {
      benchmark::DoNotOptimize(limiter->check(names[i]));
    }
  }
  if (state.thread_index() == 0) limiter.reset();
}

template <template <class> class Limiter>
void BM_keyed_limiter_numbers(benchmark::State& state) {
  known_keys<Limiter<std::uint64_t>, std::uint64_t>(state);
}
template <template <class> class Limiter>
void BM_keyed_limiter_strings(benchmark::State& state) {
  known_keys<Limiter<std::string>, std::string>(state);
}

// All places hold keys by the time when it is measured.
void BM_keyed_limiter_new_keys(benchmark::State& state) {
  penstock_keyed<std::uint64_t> limiter{1'000'000};
  std::uint64_t i = 0;
  for (; i < 4'000'000; ++i) limiter.check(i);
  for (auto _ : state) benchmark::DoNotOptimize(limiter.check(++i));
}

void BM_keyed_limiter_clock_and_line(benchmark::State& state) {
  const auto lines = static_cast<std::size_t>(state.range(0));
  std::vector<std::uint64_t, penstock::detail::huge_page_allocator<std::uint64_t>> memory(lines * 8);
  std::uint64_t random = 0x9e3779b97f4a7c15;
  for (auto _ : state) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    std::uint64_t& line = memory[((random >> 32) * lines >> 32) * 8];
    __builtin_prefetch(&line, 1);
    line += static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  }
}

void BM_keyed_limiter_clock(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(std::chrono::steady_clock::now());
}

#define FEW_AND_MANY(workload, Limiter) BENCHMARK(workload<Limiter>)->Arg(1'000)->Arg(1'000'000)->UseRealTime()

BENCHMARK(BM_keyed_limiter_clock)->Name("BM_keyed_limiter_clock<reference: the clock>");
BENCHMARK(BM_keyed_limiter_clock_and_line)
    ->Name("BM_keyed_limiter_clock_and_line<reference: the clock and memory>")
    ->Arg(1'000)
    ->Arg(1'000'000);
FEW_AND_MANY(BM_keyed_limiter_numbers, penstock_keyed)->Apply(thread_counts::apply<>);
FEW_AND_MANY(BM_keyed_limiter_numbers, mutex_and_map)->Apply(thread_counts::apply<>);
FEW_AND_MANY(BM_keyed_limiter_strings, penstock_keyed);
FEW_AND_MANY(BM_keyed_limiter_strings, mutex_and_map);
BENCHMARK(BM_keyed_limiter_new_keys)->Name("BM_keyed_limiter_new_keys<penstock_keyed>")->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
