// Picks among 100 endpoints: a lease and its end, by one thread, by two and by up to twice as many as there are processors. Idle: each thread
// holds no other lease. Busy: each endpoint has three leases all the time, so that nobody finds an idle one. The peers are what one writes by hand:
// a vector behind a mutex.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include <penstock/route/balancer.hpp>
#include <penstock/route/consistent_hash.hpp>
#include <penstock/route/hash_ring.hpp>
#include <penstock/route/peak_ewma.hpp>
#include <penstock/route/round_robin.hpp>
#include <penstock/route/sticky.hpp>
#include <penstock/route/weighted_round_robin.hpp>

#include "thread_counts.hpp"

namespace {

constexpr int endpoints = 100;

template <class Policy>
struct ours {
  using balancer = penstock::balancer<int, Policy>;
  ours() {
    for (int i = 0; i < endpoints; ++i) b.insert(i).value();
  }
  auto pick() {
    if constexpr (requires { b.pick(1); }) {
      thread_local std::uint64_t key = 0;
      return b.pick(++key);
    } else {
      return b.pick();
    }
  }
  balancer b;
};

struct plain {
  struct endpoint {
    int value = 0;
    int in_flight = 0;
  };
  struct lease {
    plain* from;
    std::size_t at;
    explicit operator bool() const { return true; }
    int operator*() const { return from->all[at].value; }
    lease(plain* p, std::size_t i) : from{p}, at{i} {}
    lease(lease&& other) noexcept : from{std::exchange(other.from, nullptr)}, at{other.at} {}
    ~lease() {
      if (from == nullptr) return;
      std::scoped_lock guard{from->lock};
      --from->all[at].in_flight;
    }
  };
  plain() {
    for (int i = 0; i < endpoints; ++i) all[static_cast<std::size_t>(i)].value = i;
  }
  std::mutex lock;
  std::vector<endpoint> all{endpoints};
  std::size_t next = 0;
  std::minstd_rand random;
};

struct plain_round_robin : plain {
  lease pick() {
    std::scoped_lock guard{lock};
    next = next + 1 < all.size() ? next + 1 : 0;
    ++all[next].in_flight;
    return {this, next};
  }
};
struct plain_two_choices : plain {
  lease pick() {
    std::scoped_lock guard{lock};
    const std::size_t a = random() % all.size();
    const std::size_t b = random() % all.size();
    const std::size_t best = all[b].in_flight < all[a].in_flight ? b : a;
    ++all[best].in_flight;
    return {this, best};
  }
};
struct plain_least_connections : plain {
  lease pick() {
    std::scoped_lock guard{lock};
    std::size_t best = 0;
    for (std::size_t i = 1; i < all.size(); ++i) {
      if (all[i].in_flight < all[best].in_flight) best = i;
    }
    ++all[best].in_flight;
    return {this, best};
  }
};

template <class Balancer>
void BM_pick_idle(benchmark::State& state) {
  static Balancer b;
  for (auto _ : state) {
    auto lease = b.pick();
    benchmark::DoNotOptimize(*lease);
  }
}

// The pick without the end of its lease: 256 leases a thread, up to three of an endpoint, and their ends not counted.
template <class Balancer>
void BM_pick_alone(benchmark::State& state) {
  constexpr std::size_t leases = 256;
  static Balancer b;
  std::vector<decltype(b.pick())> held;
  held.reserve(leases);
  while (state.KeepRunningBatch(leases)) {
    const auto before = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < leases; ++i) held.push_back(b.pick());
    state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count());
    held.clear();
  }
}

template <class Balancer>
void BM_pick_busy(benchmark::State& state) {
  static Balancer b;
  static auto& held = *[] {
    auto* all = new std::vector<decltype(b.pick())>;
    for (int i = 0; i < 3 * endpoints; ++i) all->push_back(b.pick());
    return all;
  }();
  benchmark::DoNotOptimize(held.data());
  for (auto _ : state) {
    auto lease = b.pick();
    benchmark::DoNotOptimize(*lease);
  }
}

#define PICK(kind, policy, type, implementation)                 \
  BENCHMARK(BM_pick_##kind<type>)                                \
      ->Name("BM_pick_" #kind "_" policy "<" implementation ">") \
      ->Apply(thread_counts::apply<>)                            \
      ->UseRealTime()                                            \
      ->MinTime(0.1)
#define PICK_OURS(kind, policy) PICK(kind, #policy, ours<penstock::policy>, "penstock::balancer")
#define PICK_PLAIN(kind, policy, type) PICK(kind, #policy, type, "mutex and vector")
#define PICK_ALONE(policy)                                    \
  BENCHMARK(BM_pick_alone<ours<penstock::policy>>)            \
      ->Name("BM_pick_alone_" #policy "<penstock::balancer>") \
      ->Apply(thread_counts::apply<>)                         \
      ->UseManualTime()                                       \
      ->MinTime(0.1)
PICK_ALONE(round_robin);
PICK_ALONE(power_of_two_choices);
PICK_ALONE(least_connections);
PICK_OURS(idle, round_robin);
PICK_PLAIN(idle, round_robin, plain_round_robin);
PICK_OURS(idle, random_choice);
PICK_OURS(idle, power_of_two_choices);
PICK_OURS(busy, power_of_two_choices);
PICK_PLAIN(busy, power_of_two_choices, plain_two_choices);
PICK_OURS(idle, least_connections);
PICK_OURS(busy, least_connections);
PICK_PLAIN(busy, least_connections, plain_least_connections);
PICK_OURS(idle, peak_ewma);
PICK_OURS(idle, weighted_round_robin);
PICK_OURS(idle, sticky);
PICK(idle, "consistent_hash", ours<penstock::consistent_hash<penstock::hash_ring>>, "penstock::balancer");

}  // namespace

BENCHMARK_MAIN();
