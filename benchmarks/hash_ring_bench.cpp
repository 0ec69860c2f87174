// A key to its node: 1,000 nodes of 160 points, 16-byte keys, the hash included, against the ways that are written by hand. "distinct" goes
// through a million keys, "hot" through 1,024; the peers hash with the same function and hold the same points.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <string_view>
#include <thread>
#include <vector>

#include <penstock/route/concurrent_hash_ring.hpp>
#include <penstock/route/hash_ring.hpp>

#include "thread_counts.hpp"

namespace {

using penstock::stable_hash;
using node = std::uint32_t;
using key = std::array<char, 16>;

std::vector<key> keys_of(std::size_t n) {
  std::vector<key> keys(n);
  for (std::size_t i = 0; i < n; ++i) {
    std::array<char, 24> text{};
    std::snprintf(text.data(), text.size(), "user-%011zu", i * 7919 % 100'000'000'000);
    std::copy_n(text.begin(), keys[i].size(), keys[i].begin());
  }
  return keys;
}

template <class Use>
void each_point(node nodes, Use use) {
  for (node n = 0; n < nodes; ++n) {
    for (std::uint32_t i = 0; i < 160; ++i) use(stable_hash(i, stable_hash(n)), n);
  }
}

struct penstock_ring {
  explicit penstock_ring(node nodes) {
    std::vector<node> all(nodes);
    for (node n = 0; n < nodes; ++n) all[n] = n;
    ring.insert_range(all);
  }
  const node* find(std::string_view k) const { return ring.find(k); }
  penstock::hash_ring<node> ring;
};

struct std_map {
  explicit std_map(node nodes) : names(nodes) {
    each_point(nodes, [&](std::uint64_t hash, node n) { points.emplace(hash, n); });
  }
  const node* find(std::string_view k) const {
    const auto at = points.lower_bound(stable_hash(k));
    return &names[at == points.end() ? points.begin()->second : at->second];
  }
  std::map<std::uint64_t, node> points;
  std::vector<node> names;
};

struct sorted_vector {
  struct point {
    std::uint64_t hash;
    node owner;
    bool operator<(const point& other) const { return hash < other.hash; }
  };
  explicit sorted_vector(node nodes) : names(nodes) {
    each_point(nodes, [&](std::uint64_t hash, node n) { points.push_back({hash, n}); });
    std::sort(points.begin(), points.end());
  }
  const node* find(std::string_view k) const {
    const auto at = std::lower_bound(points.begin(), points.end(), point{stable_hash(k), 0});
    return &names[at == points.end() ? points.front().owner : at->owner];
  }
  // One node's points into the others: what a careful hand does instead of sorting anew.
  void merge(node n) {
    std::vector<point> fresh;
    for (std::uint32_t i = 0; i < 160; ++i) fresh.push_back({stable_hash(i, stable_hash(n)), n});
    std::sort(fresh.begin(), fresh.end());
    std::vector<point> all(points.size() + fresh.size());
    std::merge(points.begin(), points.end(), fresh.begin(), fresh.end(), all.begin());
    points.swap(all);
  }
  void erase(node n) {
    std::erase_if(points, [n](const point& p) { return p.owner == n; });
  }
  std::vector<point> points;
  std::vector<node> names;
};

// Hashes and nodes in arrays of their own, and where each of 2^18 prefixes begins.
struct prefix_index {
  static constexpr int bits = 18;
  explicit prefix_index(node nodes) : begin((1u << bits) + 1), names(nodes) {
    const sorted_vector sorted{nodes};
    for (const auto& p : sorted.points) {
      hashes.push_back(p.hash);
      owners.push_back(p.owner);
      ++begin[(p.hash >> (64 - bits)) + 1];
    }
    for (std::size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
  }
  const node* find(std::string_view k) const {
    const std::uint64_t hash = stable_hash(k);
    std::uint32_t i = begin[hash >> (64 - bits)];
    while (i < hashes.size() && hashes[i] < hash) ++i;
    return &names[owners[i == hashes.size() ? 0 : i]];
  }
  std::vector<std::uint64_t> hashes;
  std::vector<node> owners;
  std::vector<std::uint32_t> begin;
  std::vector<node> names;
};

template <class Find>
void through(benchmark::State& state, const std::vector<key>& keys, Find find, std::size_t i = 0) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(find(std::string_view{keys[i].data(), keys[i].size()}));
    if (++i == keys.size()) i = 0;
  }
}

template <class Ring>
void BM_find(benchmark::State& state) {
  const Ring ring{static_cast<node>(state.range(0))};
  const auto keys = keys_of(static_cast<std::size_t>(state.range(1)));
  through(state, keys, [&](std::string_view k) { return ring.find(k); });
}

void BM_hash_alone(benchmark::State& state) {
  const auto keys = keys_of(static_cast<std::size_t>(state.range(0)));
  through(state, keys, [](std::string_view k) { return stable_hash(k); });
}

void BM_find_n_3(benchmark::State& state) {
  const penstock_ring ring{1000};
  const auto keys = keys_of(static_cast<std::size_t>(state.range(0)));
  through(state, keys, [&](std::string_view k) {
    std::array<const node*, 3> found{};
    return ring.ring.find_n(k, std::span<const node*>{found}) + *found[2];
  });
}

void BM_acquire(benchmark::State& state) {
  const penstock_ring ring{1000};
  const auto keys = keys_of(1 << 20);
  through(state, keys, [&](std::string_view k) { return *ring.ring.acquire(k); });
}

void BM_add_and_remove(benchmark::State& state) {
  const auto nodes = static_cast<node>(state.range(0));
  penstock_ring ring{nodes};
  node next = nodes;
  for (auto _ : state) {
    ring.ring.insert(next);
    ring.ring.erase(next++);
  }
}

void BM_add_and_remove_sorted_vector(benchmark::State& state) {
  const auto nodes = static_cast<node>(state.range(0));
  sorted_vector ring{nodes};
  node next = nodes;
  for (auto _ : state) {
    ring.merge(next);
    ring.erase(next++);
  }
}

// Readers, while another thread adds and removes a node all the time (1) or nobody does (0). All is built before the readers' threads begin.
struct changing_ring {
  changing_ring(std::int64_t key_count, bool changing) : keys{keys_of(static_cast<std::size_t>(key_count))} {
    if (!changing) return;
    writer = std::jthread{[this](std::stop_token stop) {
      for (node next = 1000; !stop.stop_requested(); ++next, changes += 2) {
        ring.insert(next);
        ring.erase(next);
      }
    }};
  }
  penstock::concurrent_hash_ring<node> ring{penstock_ring{1000}.ring};
  std::vector<key> keys;
  std::size_t changes = 0;
  std::jthread writer;
};
std::unique_ptr<changing_ring> read_by_all;

void BM_concurrent_find(benchmark::State& state) {
  changing_ring& r = *read_by_all;
  auto reader = r.ring.reader();
  const std::size_t begin =
      r.keys.size() / static_cast<std::size_t>(state.threads()) * static_cast<std::size_t>(state.thread_index());
  through(state, r.keys, [&](std::string_view k) { return reader.find(k); }, begin);
  if (state.thread_index() != 0) return;
  r.writer = {};
  state.counters["changes/s"] = benchmark::Counter(static_cast<double>(r.changes), benchmark::Counter::kIsRate);
}

void BM_concurrent_add_and_remove(benchmark::State& state) {
  penstock::concurrent_hash_ring<node> ring{penstock_ring{1000}.ring};
  node next = 1000;
  for (auto _ : state) {
    ring.insert(next);
    ring.erase(next++);
  }
}

void BM_copy(benchmark::State& state) {
  const penstock_ring ring{1000};
  for (auto _ : state) benchmark::DoNotOptimize(penstock::hash_ring<node>{ring.ring});
}

constexpr std::int64_t distinct = 1'000'000;
constexpr std::int64_t hot = 1'024;

BENCHMARK(BM_hash_alone)->Name("BM_ring_hash_alone<reference: the hash>")->Arg(distinct)->Arg(hot);
BENCHMARK(BM_find<penstock_ring>)
    ->Name("BM_ring_find<penstock::hash_ring>")
    ->Args({1000, distinct})
    ->Args({1000, hot})
    ->Args({10'000, distinct});
BENCHMARK(BM_find<prefix_index>)->Name("BM_ring_find<prefix index>")->Args({1000, distinct})->Args({1000, hot});
BENCHMARK(BM_find<sorted_vector>)->Name("BM_ring_find<sorted vector>")->Args({1000, distinct})->Args({1000, hot});
BENCHMARK(BM_find<std_map>)->Name("BM_ring_find<std::map>")->Args({1000, distinct})->Args({1000, hot});
BENCHMARK(BM_find_n_3)->Name("BM_ring_find_n_3<penstock::hash_ring>")->Arg(distinct)->Arg(hot);
BENCHMARK(BM_acquire)->Name("BM_ring_acquire<penstock::hash_ring>");
[[maybe_unused]] const bool concurrent_find_added = [] {
  for (const int threads : thread_counts::up_to_twice()) {
    auto* const added =
        benchmark::RegisterBenchmark("BM_ring_concurrent_find<penstock::concurrent_hash_ring>", BM_concurrent_find)
            ->ArgsProduct({{distinct, hot}, {0, 1}});
    added->Setup([](const benchmark::State& s) { read_by_all = std::make_unique<changing_ring>(s.range(0), s.range(1) == 1); });
    added->Teardown([](const benchmark::State&) { read_by_all.reset(); })->UseRealTime();
    if (threads > 1) added->Threads(threads);
  }
  return true;
}();
BENCHMARK(BM_concurrent_add_and_remove)
    ->Name("BM_ring_add_and_remove_concurrent<penstock::concurrent_hash_ring>")
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_add_and_remove)->Name("BM_ring_add_and_remove<penstock::hash_ring>")->Arg(1000)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_add_and_remove_sorted_vector)
    ->Name("BM_ring_add_and_remove<sorted vector, merged and filtered>")
    ->Arg(1000)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_copy)->Name("BM_ring_copy<penstock::hash_ring>")->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
