// A key to its node by the ring's relatives: 16-byte keys, the hash included, against the same methods written by hand as the papers have them.
// "distinct" goes through a million keys, "hot" through 1,024. benchmarks/route_quality.cpp compares more than speed.
#include <benchmark/benchmark.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <string_view>
#include <vector>

#include <penstock/route/anchor_hash.hpp>
#include <penstock/route/hash_ring.hpp>
#include <penstock/route/jump.hpp>
#include <penstock/route/maglev.hpp>
#include <penstock/route/rendezvous.hpp>

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

std::vector<node> nodes_of(std::size_t n) {
  std::vector<node> nodes(n);
  std::iota(nodes.begin(), nodes.end(), node{0});
  return nodes;
}

template <class Placement>
Placement filled(Placement p, std::size_t nodes, bool weights = false) {
  for (node n = 0; n < nodes; ++n) p.insert(n, {.weight = weights ? 1.0 + n % 4 : 1.0});
  return p;
}

struct ring : penstock::hash_ring<node> {
  explicit ring(std::size_t nodes) { insert_range(nodes_of(nodes)); }
};
struct maglev : penstock::maglev<node> {
  explicit maglev(std::size_t nodes) { insert_range(nodes_of(nodes)); }
};
struct rendezvous : penstock::rendezvous<node> {
  explicit rendezvous(std::size_t nodes) : penstock::rendezvous<node>{filled(penstock::rendezvous<node>{}, nodes)} {}
};
struct weighted_rendezvous : penstock::rendezvous<node> {
  explicit weighted_rendezvous(std::size_t nodes)
      : penstock::rendezvous<node>{filled(penstock::rendezvous<node>{}, nodes, true)} {}
};
struct jump : penstock::jump<node> {
  explicit jump(std::size_t nodes) : penstock::jump<node>{filled(penstock::jump<node>{}, nodes)} {}
};
struct jump_back : penstock::jump<node> {
  explicit jump_back(std::size_t nodes)
      : penstock::jump<node>{filled(penstock::jump<node>{{.method = penstock::jump_method::jump_back}}, nodes)} {}
};
struct anchor : penstock::anchor_hash<node> {
  explicit anchor(std::size_t nodes)
      : penstock::anchor_hash<node>{
            filled(penstock::anchor_hash<node>{{.capacity = static_cast<std::uint32_t>(2 * nodes)}}, nodes)} {}
};

// As the papers have them.
struct plain_jump {
  explicit plain_jump(std::size_t n) : names(nodes_of(n)) {}
  const node* find(std::string_view k) const {
    std::uint64_t hash = stable_hash(k);
    std::int64_t b = -1, j = 0;
    while (j < static_cast<std::int64_t>(names.size())) {
      b = j;
      hash = hash * 2862933555777941757u + 1;
      j = static_cast<std::int64_t>(static_cast<double>(b + 1) *
                                    (static_cast<double>(std::int64_t{1} << 31) / static_cast<double>((hash >> 33) + 1)));
    }
    return &names[static_cast<std::size_t>(b)];
  }
  std::vector<node> names;
};
struct plain_maglev {
  explicit plain_maglev(std::size_t n) : names(nodes_of(n)) { fill(); }
  void fill() {
    table.assign(slots, -1);
    std::vector<std::uint64_t> offset, skip, next(names.size(), 0);
    for (const node n : names) {
      offset.push_back(stable_hash(n) % slots);
      skip.push_back(stable_hash(n, 1) % (slots - 1) + 1);
    }
    for (std::size_t filled_slots = 0;;) {
      for (std::size_t i = 0; i < names.size(); ++i) {
        std::uint64_t c = (offset[i] + next[i] * skip[i]) % slots;
        while (table[c] >= 0) {
          ++next[i];
          c = (offset[i] + next[i] * skip[i]) % slots;
        }
        table[c] = static_cast<int>(i);
        ++next[i];
        if (++filled_slots == slots) return;
      }
    }
  }
  const node* find(std::string_view k) const { return &names[static_cast<std::size_t>(table[stable_hash(k) % slots])]; }
  static constexpr std::uint64_t slots = 65'537;
  std::vector<int> table;
  std::vector<node> names;
};
struct plain_rendezvous {
  explicit plain_rendezvous(std::size_t n) : names(nodes_of(n)) {
    for (const node i : names) {
      hashes.push_back(stable_hash(i));
      weights.push_back(1.0 + i % 4);
    }
  }
  const node* find(std::string_view k) const {
    const std::uint64_t hash = stable_hash(k);
    std::size_t best = 0;
    double highest = -1;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const std::uint64_t mixed = penstock::detail::mixed(hash ^ hashes[i]);
      const double score = -weights[i] / std::log((static_cast<double>(mixed >> 11) + 0.5) * 0x1p-53);
      if (score <= highest) continue;
      highest = score;
      best = i;
    }
    return &names[best];
  }
  std::vector<node> names;
  std::vector<std::uint64_t> hashes;
  std::vector<double> weights;
};

template <class Placement>
void BM_find(benchmark::State& state) {
  const Placement placement{static_cast<std::size_t>(state.range(0))};
  const auto keys = keys_of(static_cast<std::size_t>(state.range(1)));
  std::size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(placement.find(std::string_view{keys[i].data(), keys[i].size()}));
    if (++i == keys.size()) i = 0;
  }
}

// One node comes and goes: two changes.
template <class Placement>
void BM_add_and_remove(benchmark::State& state) {
  const auto nodes = static_cast<node>(state.range(0));
  Placement placement{nodes};
  node next = nodes;
  for (auto _ : state) {
    placement.insert(next);
    placement.erase(next++);
  }
}

void BM_maglev_table(benchmark::State& state) {
  const auto nodes = nodes_of(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    penstock::maglev<node> placement;
    placement.insert_range(nodes);
    benchmark::DoNotOptimize(placement.find(0));
  }
}
void BM_maglev_table_plain(benchmark::State& state) {
  plain_maglev placement{static_cast<std::size_t>(state.range(0))};
  for (auto _ : state) placement.fill();
}

constexpr std::int64_t distinct = 1'000'000;
constexpr std::int64_t hot = 1'024;

BENCHMARK(BM_find<ring>)->Name("BM_placement_ring<penstock::hash_ring>")->Args({1000, distinct})->Args({1000, hot});
BENCHMARK(BM_find<maglev>)->Name("BM_placement_maglev<penstock::maglev>")->Args({1000, distinct})->Args({1000, hot});
BENCHMARK(BM_find<plain_maglev>)->Name("BM_placement_maglev<as in the paper>")->Args({1000, distinct})->Args({1000, hot});
BENCHMARK(BM_find<jump>)->Name("BM_placement_jump<penstock::jump>")->Args({1000, distinct})->Args({1000, hot});
BENCHMARK(BM_find<plain_jump>)->Name("BM_placement_jump<as in the paper>")->Args({1000, distinct})->Args({1000, hot});
BENCHMARK(BM_find<jump_back>)->Name("BM_placement_jump<penstock::jump, jump_back>")->Args({1000, distinct})->Args({1000, hot});
BENCHMARK(BM_find<anchor>)->Name("BM_placement_anchor_hash<penstock::anchor_hash>")->Args({1000, distinct})->Args({1000, hot});
BENCHMARK(BM_find<rendezvous>)
    ->Name("BM_placement_rendezvous<penstock::rendezvous, equal weights>")
    ->Args({10, hot})
    ->Args({1000, hot});
BENCHMARK(BM_find<weighted_rendezvous>)
    ->Name("BM_placement_rendezvous<penstock::rendezvous>")
    ->Args({10, hot})
    ->Args({1000, hot});
BENCHMARK(BM_find<plain_rendezvous>)->Name("BM_placement_rendezvous<as in the paper>")->Args({10, hot})->Args({1000, hot});
BENCHMARK(BM_maglev_table)->Name("BM_placement_maglev_table<penstock::maglev>")->Arg(10)->Arg(1000);
BENCHMARK(BM_maglev_table_plain)->Name("BM_placement_maglev_table<as in the paper>")->Arg(10)->Arg(1000);
BENCHMARK(BM_add_and_remove<ring>)->Name("BM_placement_add_and_remove<penstock::hash_ring>")->Arg(1000);
BENCHMARK(BM_add_and_remove<rendezvous>)->Name("BM_placement_add_and_remove<penstock::rendezvous>")->Arg(1000);
BENCHMARK(BM_add_and_remove<jump>)->Name("BM_placement_add_and_remove<penstock::jump>")->Arg(1000);
BENCHMARK(BM_add_and_remove<anchor>)->Name("BM_placement_add_and_remove<penstock::anchor_hash>")->Arg(1000);

}  // namespace

BENCHMARK_MAIN();
