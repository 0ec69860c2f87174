// Borrow and give back: alone, and 8 threads over 4 resources, with and without work under the lease; by up to twice as many threads as there are processors with
// a resource for each; and of a hundred keys, in turn, one of the 4 resources of each.
//
// Peer: what one writes by hand (a mutex, a vector and a condition variable). For reference, the floor: penstock's semaphore, which knows how many resources
// there are and not which. A time is per acquire+release, over all threads.
#include <benchmark/benchmark.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <penstock/pool/keyed_resource_pool.hpp>
#include <penstock/pool/resource_pool.hpp>
#include <penstock/sync/semaphore.hpp>

#include "thread_counts.hpp"

namespace {

struct connection {
  std::uint64_t queries = 1;
};

struct by_hand {
  explicit by_hand(int n) : all(static_cast<std::size_t>(n)) {
    for (connection& c : all) idle.push_back(&c);
  }
  template <class F>
  void with(F f) {
    connection* c = nullptr;
    {
      std::unique_lock guard{lock};
      changed.wait(guard, [&] { return !idle.empty(); });
      c = idle.back();
      idle.pop_back();
    }
    f(*c);
    {
      std::scoped_lock guard{lock};
      idle.push_back(c);
    }
    changed.notify_one();
  }
  std::vector<connection> all;
  std::mutex lock;
  std::condition_variable changed;
  std::vector<connection*> idle;
};

template <penstock::fairness Fairness>
struct only_counting {
  explicit only_counting(int n) : s{n, {.fairness = Fairness}} {}
  template <class F>
  void with(F f) {
    static thread_local connection mine;
    benchmark::DoNotOptimize(s.acquire());
    f(mine);
    s.release();
  }
  penstock::semaphore s;
};
using reference_semaphore_fifo = only_counting<penstock::fairness::fifo>;
using reference_semaphore_eventual = only_counting<penstock::fairness::eventual>;

struct penstock_pool {
  explicit penstock_pool(int n) : p{[] { return connection{}; }, {.max_size = static_cast<std::size_t>(n)}} {}
  template <class F>
  void with(F f) {
    auto c = p.acquire();
    f(**c);
  }
  penstock::resource_pool<connection> p;
};

struct penstock_pool_untimed {  // nothing that looks at a clock
  explicit penstock_pool_untimed(int n)
      : p{[] { return connection{}; }, {.max_size = static_cast<std::size_t>(n), .idle_timeout = {}, .max_lifetime = {}}} {}
  template <class F>
  void with(F f) {
    auto c = p.acquire();
    f(**c);
  }
  penstock::resource_pool<connection> p;
};

// Of a key.
constexpr int of_each = 4;

struct penstock_keyed_pool {
  template <class F>
  void with(const std::string& key, F f) {
    auto c = p.acquire(key);
    f(**c);
  }
  penstock::keyed_resource_pool<std::string, connection> p{[](const std::string&) { return connection{}; },
                                                           {.each = {.max_size = of_each}}};
};

struct mutex_and_map {
  template <class F>
  void with(const std::string& key, F f) {
    entry* e = nullptr;
    std::unique_ptr<connection> c;
    {
      std::unique_lock guard{lock};
      e = &all[key];
      e->changed.wait(guard, [&] { return !e->idle.empty() || e->made < of_each; });
      if (e->idle.empty()) {
        ++e->made;
        c = std::make_unique<connection>();
      } else {
        c = std::move(e->idle.back());
        e->idle.pop_back();
      }
    }
    f(*c);
    {
      std::scoped_lock guard{lock};
      e->idle.push_back(std::move(c));
    }
    e->changed.notify_one();
  }
  struct entry {
    std::condition_variable changed;
    std::vector<std::unique_ptr<connection>> idle;
    int made = 0;
  };
  std::mutex lock;
  std::unordered_map<std::string, entry> all;
};

// glibc leaves out the atomics of a mutex as long as the process has had one thread only.
[[maybe_unused]] const bool has_had_threads = (std::thread{[] {}}.join(), true);

template <class P>
std::unique_ptr<P>& shared() {
  static std::unique_ptr<P> p;
  return p;
}
template <class P>
void build(const benchmark::State& state) {
  shared<P>() = std::make_unique<P>(static_cast<int>(state.range(0)));
}
template <class P>
void destroy(const benchmark::State&) {
  shared<P>().reset();
}

// The second argument is how many steps of some 2.5 ns are done under the lease.
template <class P>
void BM_resource_pool(benchmark::State& state) {
  P& p = *shared<P>();
  const std::int64_t steps = state.range(1);
  for (auto _ : state) {
    p.with([steps](connection& c) {
      for (std::int64_t i = 0; i < steps; ++i) c.queries = c.queries * 6364136223846793005u + 1442695040888963407u;
      benchmark::DoNotOptimize(c.queries);
    });
  }
  state.SetItemsProcessed(state.iterations());
}

template <class P>
bool add(const char* name) {
  const auto with = [name](int resources, int steps) {
    return benchmark::RegisterBenchmark((std::string{"BM_resource_pool<"} + name + ">").c_str(), BM_resource_pool<P>)
        ->Setup(build<P>)
        ->Teardown(destroy<P>)
        ->Args({resources, steps})
        ->UseRealTime();
  };
  with(4, 0);
  with(4, 0)->Threads(8);
  with(4, 400)->Threads(8);
  for (const int threads : thread_counts::up_to_twice()) {
    if (threads <= 2) continue;
    with(threads, 0)->Threads(threads);  // one for each: nobody waits
    if (threads > 8) with(4, 0)->Threads(threads);
    if (threads > 8) with(4, 400)->Threads(threads);
  }
  return true;
}

template <class P>
void BM_keyed_resource_pool(benchmark::State& state) {
  P& p = *shared<P>();
  std::vector<std::string> keys;
  for (std::int64_t i = 0; i < state.range(0); ++i) keys.push_back("host-" + std::to_string(i) + ".example.org");
  auto key = static_cast<std::size_t>(state.thread_index());
  for (auto _ : state) {
    p.with(keys[key++ % keys.size()], [](connection& c) { benchmark::DoNotOptimize(++c.queries); });
  }
  state.SetItemsProcessed(state.iterations());
}
template <class P>
bool add_keyed(const char* name) {
  benchmark::RegisterBenchmark((std::string{"BM_keyed_resource_pool<"} + name + ">").c_str(), BM_keyed_resource_pool<P>)
      ->Setup([](const benchmark::State&) { shared<P>() = std::make_unique<P>(); })
      ->Teardown(destroy<P>)
      ->Arg(100)
      ->Apply(thread_counts::apply<>)
      ->MinTime(0.1)
      ->UseRealTime();
  return true;
}

#define RESOURCE_POOL(P) [[maybe_unused]] const bool P##_added = add<P>(#P)

RESOURCE_POOL(reference_semaphore_eventual);
RESOURCE_POOL(reference_semaphore_fifo);
RESOURCE_POOL(penstock_pool);
RESOURCE_POOL(penstock_pool_untimed);
RESOURCE_POOL(by_hand);
[[maybe_unused]] const bool keyed_added =
    add_keyed<penstock_keyed_pool>("penstock::keyed_resource_pool") && add_keyed<mutex_and_map>("mutex and map");

}  // namespace

BENCHMARK_MAIN();
