// A count of what has not finished: by one thread, counted down by several, for a hundred tasks of a pool, and for a hundred coroutines.
//
// Peers: std::latch and Abseil's BlockingCounter, which count one round and are built anew for the next, Boost's latch, which can be reset; by hand: std::atomic's
// wait and notify, a mutex with a condition variable. With penstock's, Abseil's and the last one who has waited may destroy the counter at once; std::latch
// and the atomic may still be at work then. Adding while others count down, only penstock's and those by hand can. Not here: tbb::task_group, whose waiter runs tasks itself
// (worker_pool_bench.cpp). For coroutines Boost.Fiber's condition_variable, on one thread as they are.
#include <benchmark/benchmark.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#if PENSTOCK_BENCH_HAS_ABSEIL
#include <absl/synchronization/blocking_counter.h>
#endif
#if PENSTOCK_BENCH_HAS_BOOST_THREAD
#include <boost/thread/latch.hpp>
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
#include <boost/fiber/condition_variable.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/mutex.hpp>
#include <boost/fiber/operations.hpp>
#endif

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/wait_group.hpp>

#include "contention.hpp"

namespace {

// begin(n): the next round, of n, when nobody is at the last one.
struct penstock_wait_group : penstock::wait_group {
  void begin(int n) { add(n); }
};

struct std_latch {
  void begin(int n) { l.emplace(n); }
  void done() { l->count_down(); }
  void wait() { l->wait(); }
  std::optional<std::latch> l;
};

struct atomic_wait {
  void begin(int n) { count.fetch_add(n, std::memory_order_relaxed); }
  void add() { begin(1); }
  void done() {
    if (count.fetch_sub(1, std::memory_order_acq_rel) == 1) count.notify_all();
  }
  void wait() {
    for (int now; (now = count.load(std::memory_order_acquire)) != 0;) count.wait(now, std::memory_order_relaxed);
  }
  std::atomic<int> count{0};
};

struct condition {
  void begin(int n) {
    std::scoped_lock guard{lock};
    count += n;
  }
  void add() { begin(1); }
  void done() {
    std::scoped_lock guard{lock};
    if (--count == 0) finished.notify_all();
  }
  void wait() {
    std::unique_lock guard{lock};
    finished.wait(guard, [&] { return count == 0; });
  }
  std::mutex lock;
  std::condition_variable finished;
  int count = 0;
};

#if PENSTOCK_BENCH_HAS_ABSEIL
struct blocking_counter {
  void begin(int n) { c.emplace(n); }
  void done() { c->DecrementCount(); }
  void wait() { c->Wait(); }
  std::optional<absl::BlockingCounter> c;
};
#endif

#if PENSTOCK_BENCH_HAS_BOOST_THREAD
struct boost_latch {
  void begin(int n) { l.reset(static_cast<std::size_t>(n)); }
  void done() { l.count_down(); }
  void wait() { l.wait(); }
  boost::latch l{0};
};
#endif

// A round of one by one thread.
template <class G>
void BM_wait_group_alone(benchmark::State& state) {
  G g;
  for (auto _ : state) {
    g.begin(1);
    g.done();
    g.wait();
  }
}

// All threads count down, and the end is far away.
template <class G>
struct far_from_done : G {
  far_from_done() { G::begin(1 << 30); }
};
template <class G>
void BM_wait_group_done(benchmark::State& state) {
  G& g = *contention::shared<far_from_done<G>>();
  for (auto _ : state) g.done();
  state.SetItemsProcessed(state.iterations());
}
template <class G>
void BM_wait_group_add_and_done(benchmark::State& state) {
  G& g = *contention::shared<far_from_done<G>>();
  for (auto _ : state) {
    g.add();
    g.done();
  }
  state.SetItemsProcessed(state.iterations());
}

// N tasks of a pool of two, for which a thread waits, round after round. A time is per round.
template <class G>
void BM_wait_group_tasks(benchmark::State& state) {
  const auto n = static_cast<int>(state.range(0));
  G g;
  penstock::worker_pool pool{{.threads = 2}};  // ends before g: a peer's last done() may still be at work
  for (auto _ : state) {
    g.begin(n);
    for (int i = 0; i < n; ++i) {
      static_cast<void>(pool.post([&g] {
        std::uint64_t own = 1;
        contention::work(own);
        g.done();
      }));
    }
    g.wait();
  }
}

// One coroutine waits for a hundred others of the same thread, which give way once. A time is per round.
constexpr int coroutines = 100;

penstock::task<> finish(penstock::wait_group& g, penstock::worker_pool& pool) {
  co_await pool.schedule();
  g.done();
}
penstock::task<> wait_for_all(penstock::worker_pool& pool) {
  penstock::wait_group g{coroutines};
  std::vector<penstock::spawned<void>> line;
  line.reserve(coroutines);
  for (int i = 0; i < coroutines; ++i) line.push_back(penstock::spawn(pool, finish(g, pool)));
  static_cast<void>(co_await g.async_wait());
  for (auto& c : line) co_await std::move(c);
}
void BM_wait_group_coroutines(benchmark::State& state) {
  penstock::worker_pool pool{{.threads = 1}};
  for (auto _ : state) penstock::spawn(pool, wait_for_all(pool)).wait();
}
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
void BM_wait_group_fibers(benchmark::State& state) {
  for (auto _ : state) {
    boost::fibers::mutex lock;
    boost::fibers::condition_variable finished;
    int count = coroutines;
    std::vector<boost::fibers::fiber> line;
    line.reserve(coroutines);
    for (int i = 0; i < coroutines; ++i) {
      line.emplace_back([&] {
        boost::this_fiber::yield();
        std::scoped_lock guard{lock};
        if (--count == 0) finished.notify_all();
      });
    }
    {
      std::unique_lock guard{lock};
      finished.wait(guard, [&] { return count == 0; });
    }
    for (auto& f : line) f.join();
  }
}
#endif

template <class G>
void add(const std::string& name) {
  const auto named = [&name](const char* workload) { return std::string{"BM_"} + workload + "<" + name + ">"; };
  const auto threads = [&](const char* workload, void (*function)(benchmark::State&)) {
    auto* b = benchmark::RegisterBenchmark(named(workload).c_str(), function);
    b->Setup(contention::build<far_from_done<G>>)->Teardown(contention::destroy<far_from_done<G>>)->MinTime(0.1)->UseRealTime();
    thread_counts::apply<16>(b);
  };
  benchmark::RegisterBenchmark(named("wait_group_alone").c_str(), BM_wait_group_alone<G>)->MinTime(0.1)->UseRealTime();
  threads("wait_group_done", BM_wait_group_done<G>);
  if constexpr (requires(G& g) { g.add(); }) threads("wait_group_add_and_done", BM_wait_group_add_and_done<G>);
  benchmark::RegisterBenchmark(named("wait_group_tasks").c_str(), BM_wait_group_tasks<G>)
      ->Arg(1)
      ->Arg(100)
      ->MinTime(0.1)
      ->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  add<penstock_wait_group>("penstock::wait_group");
  add<std_latch>("std::latch");
  add<atomic_wait>("std::atomic wait");
  add<condition>("mutex and condition_variable");
#if PENSTOCK_BENCH_HAS_ABSEIL
  add<blocking_counter>("absl::BlockingCounter");
#endif
#if PENSTOCK_BENCH_HAS_BOOST_THREAD
  add<boost_latch>("boost::latch");
#endif
  benchmark::RegisterBenchmark("BM_wait_group_coroutines<penstock::wait_group>", BM_wait_group_coroutines)
      ->MinTime(0.1)
      ->UseRealTime();
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
  benchmark::RegisterBenchmark("BM_wait_group_coroutines<boost::fibers::condition_variable>", BM_wait_group_fibers)
      ->MinTime(0.1)
      ->UseRealTime();
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
