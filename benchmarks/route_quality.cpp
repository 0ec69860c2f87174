// What a placement costs and how well it places: for the ring and its relatives, of 10 to 10,000 equal nodes, as CSV.
//
//   build/release/benchmarks/penstock_route_quality > quality.csv && scripts/plot_route.py quality.csv
//
// find_ns        a lookup of a key among a million (fewer where it is slow), hashed before
// change_us      half of: one node comes, and goes
// bytes          what the placement has allocated
// moved_add      keys that move when a node comes, as a multiple of those that must, which are the new node's
// moved_remove   keys that move when a node goes that is not the last one, as a multiple of those that must, which were its own
// peak           the keys of the node that has most, as a multiple of the average (of its fair share, with weights)
// chance         the same if each key had a node by lot: with that few keys a node no placement of perfect shares does better
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <numeric>
#include <vector>

#include <malloc.h>
#include <time.h>

#include <penstock/route/anchor_hash.hpp>
#include <penstock/route/hash_ring.hpp>
#include <penstock/route/jump.hpp>
#include <penstock/route/maglev.hpp>
#include <penstock/route/rendezvous.hpp>

namespace {
std::size_t allocated = 0;
volatile std::uint32_t found = 0;  // what would not be computed if nobody could see it
}  // namespace

void* operator new(std::size_t size) {
  void* const p = std::malloc(size);
  if (p == nullptr) throw std::bad_alloc{};
  allocated += malloc_usable_size(p);
  return p;
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto a = static_cast<std::size_t>(alignment);
  void* const p = std::aligned_alloc(a, (size + a - 1) / a * a);
  if (p == nullptr) throw std::bad_alloc{};
  allocated += malloc_usable_size(p);
  return p;
}
void operator delete(void* p) noexcept {
  if (p != nullptr) allocated -= malloc_usable_size(p);
  std::free(p);
}
void operator delete(void* p, std::size_t) noexcept { operator delete(p); }
void operator delete(void* p, std::align_val_t) noexcept { operator delete(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { operator delete(p); }

namespace {

using penstock::ready_hash;
using node = std::uint32_t;

double weight_of(node n, bool weights) { return weights ? 1.0 + n % 4 : 1.0; }

template <class Placement>
std::vector<node> owners(const Placement& p, const std::vector<std::uint64_t>& keys) {
  std::vector<node> all;
  all.reserve(keys.size());
  for (const std::uint64_t k : keys) all.push_back(*p.find(ready_hash{k}));
  return all;
}

// Keys that moved, as a multiple of those that belong to `one` in `with`.
double moved(const std::vector<node>& without, const std::vector<node>& with, node one) {
  std::size_t all = 0, must = 0;
  for (std::size_t i = 0; i < with.size(); ++i) {
    all += without[i] != with[i];
    must += with[i] == one;
  }
  return static_cast<double>(all) / static_cast<double>(must);
}

double peak(const std::vector<node>& owners, std::size_t nodes, bool weights) {
  std::vector<double> load(nodes);
  for (const node n : owners) load[n] += 1;
  double sum = 0, most = 0;
  for (node n = 0; n < nodes; ++n) sum += weight_of(n, weights);
  for (node n = 0; n < nodes; ++n) most = std::max(most, load[n] / weight_of(n, weights));
  return most * sum / static_cast<double>(owners.size());
}

double processor_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// The fastest of some runs, in processor time: what else the machine does only adds.
template <class Run>
double nanoseconds(std::size_t times, Run run) {
  double least = 1e18;
  for (int i = 0; i < 5; ++i) {
    const double begin = processor_nanoseconds();
    run();
    least = std::min(least, (processor_nanoseconds() - begin) / static_cast<double>(times));
  }
  return least;
}

template <class Placement, class Options>
void measure(const char* name, std::size_t nodes, std::size_t most_keys, const Options& options, bool weights = false) {
  const std::size_t before = allocated;
  Placement p{options};
  if constexpr (requires(std::vector<node> all) { p.insert_range(all); }) {
    std::vector<node> all(nodes);
    std::iota(all.begin(), all.end(), node{0});
    p.insert_range(all);
  } else {
    for (node n = 0; n < nodes; ++n) p.insert(n, {.weight = weight_of(n, weights)});
  }
  const std::size_t bytes = allocated - before;

  std::vector<std::uint64_t> keys(std::clamp(1000 * nodes, std::size_t{200'000}, most_keys));
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = penstock::stable_hash(i, 1);

  const std::size_t looked_up = std::min(keys.size(), std::min(std::size_t{1'000'000}, most_keys / 10));
  node sum = 0;
  const double find = nanoseconds(looked_up, [&] {
    for (std::size_t i = 0; i < looked_up; ++i) sum += *p.find(ready_hash{keys[i]});
  });
  found = sum;
  const auto next = static_cast<node>(nodes);
  const double change = nanoseconds(20, [&] {
    for (node n = next; n < next + 10; ++n) {
      p.insert(n);
      p.erase(n);
    }
  });

  const std::vector<node> at_first = owners(p, keys);
  p.insert(next);
  const double moved_add = moved(at_first, owners(p, keys), next);
  p.erase(next);
  const auto some = static_cast<node>(nodes / 3);
  p.erase(some);
  const double moved_remove = moved(owners(p, keys), at_first, some);
  std::vector<node> lots(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    lots[i] = static_cast<node>(penstock::stable_hash(i, 2) % nodes);
  }
  std::printf("%s,%zu,%.2f,%.3f,%zu,%.3f,%.3f,%.4f,%.4f,%zu\n", name, nodes, find, change / 1000, bytes, moved_add, moved_remove,
              peak(at_first, nodes, weights), peak(lots, nodes, false), keys.size() / nodes);
  std::fflush(stdout);
}

}  // namespace

int main() {
  std::puts("placement,nodes,find_ns,change_us,bytes,moved_add,moved_remove,peak,chance,keys_per_node");
  constexpr std::size_t many = 10'000'000;
  for (const std::size_t nodes : {10u, 100u, 1000u, 10'000u}) {
    measure<penstock::hash_ring<node>>("hash_ring", nodes, many, penstock::hash_ring_options{});
    measure<penstock::maglev<node>>("maglev", nodes, many, penstock::maglev_options{});
    measure<penstock::maglev<node>>("maglev (655373 slots)", nodes, many, penstock::maglev_options{.slots = 655'373});
    measure<penstock::jump<node>>("jump", nodes, many, penstock::jump_options{});
    measure<penstock::jump<node>>("jump_back", nodes, many, penstock::jump_options{.method = penstock::jump_method::jump_back});
    measure<penstock::anchor_hash<node>>("anchor_hash", nodes, many,
                                         penstock::anchor_options{.capacity = static_cast<std::uint32_t>(2 * nodes)});
    const std::size_t fewer = std::min(many, std::max(std::size_t{200'000}, 1'500'000'000 / nodes));
    measure<penstock::rendezvous<node>>("rendezvous", nodes, fewer, penstock::rendezvous_options{});
    measure<penstock::rendezvous<node>>("rendezvous (weights)", nodes, fewer, penstock::rendezvous_options{}, true);
  }
}
