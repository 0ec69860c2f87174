// Lock and unlock: alone, contended for a short and a long section, with more threads than processors, and by coroutines.
//
// The standard's mutex lets newcomers overtake for as long as that may be; so do glibc's adaptive one, Boost.Fiber's (threads are fibers to it), oneTBB's `mutex` and
// `spin_mutex` and, but for one that has waited long, Abseil's. penstock's lets them for about a millisecond at the most, and with `fifo` lets them no more once
// somebody stands in line. What is as strict: tickets that sleep by std::atomic::wait, and oneTBB's queuing_mutex, whose waiters spin; they count polling as waiting, so
// they hand over each time. A time is per lock and unlock, over all threads.
#include <benchmark/benchmark.h>

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#if PENSTOCK_BENCH_HAS_TBB
#include <oneapi/tbb/mutex.h>
#include <oneapi/tbb/queuing_mutex.h>
#include <oneapi/tbb/spin_mutex.h>
#endif
#if PENSTOCK_BENCH_HAS_ABSEIL
#include <absl/synchronization/mutex.h>
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/mutex.hpp>
#include <boost/fiber/operations.hpp>
#endif

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/mutex.hpp>

#include "contention.hpp"

namespace {

struct penstock_mutex_fifo : penstock::mutex {
  penstock_mutex_fifo() : penstock::mutex{{.fairness = penstock::fairness::fifo}} {}
};

struct adaptive_pthread {
  adaptive_pthread() {
    pthread_mutexattr_t kind;
    ::pthread_mutexattr_init(&kind);
    ::pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
    ::pthread_mutex_init(&m, &kind);
    ::pthread_mutexattr_destroy(&kind);
  }
  ~adaptive_pthread() { ::pthread_mutex_destroy(&m); }
  void lock() { ::pthread_mutex_lock(&m); }
  void unlock() { ::pthread_mutex_unlock(&m); }
  ::pthread_mutex_t m;
};

struct tickets {
  void lock() {
    const int mine = next.fetch_add(1, std::memory_order_relaxed);
    for (int now; (now = serving.load(std::memory_order_acquire)) != mine;) serving.wait(now, std::memory_order_relaxed);
  }
  void unlock() {
    serving.fetch_add(1, std::memory_order_release);
    serving.notify_all();
  }
  std::atomic<int> next{0};
  std::atomic<int> serving{0};
};

#if PENSTOCK_BENCH_HAS_ABSEIL
struct absl_mutex {
  void lock() { m.Lock(); }
  void unlock() { m.Unlock(); }
  absl::Mutex m;
};
#endif

// The lock of a scope; oneTBB's queuing mutex knows only its own.
template <class M>
struct scope : std::scoped_lock<M> {
  using std::scoped_lock<M>::scoped_lock;
};
#if PENSTOCK_BENCH_HAS_TBB
template <>
struct scope<oneapi::tbb::queuing_mutex> : oneapi::tbb::queuing_mutex::scoped_lock {
  using oneapi::tbb::queuing_mutex::scoped_lock::scoped_lock;
};
#endif

template <class M>
struct guarded {
  M m;
  std::uint64_t number = 1;
};

template <class M, int Inside, int Outside>
void BM_mutex(benchmark::State& state) {
  guarded<M>& all = *contention::shared<guarded<M>>();
  std::uint64_t outside = 2;
  contention::take_turns(state, [&] {
    {
      scope<M> lock{all.m};
      contention::work(all.number, Inside);
    }
    contention::work(outside, Outside);
  });
}

template <class M>
void threads(const char* name) {
  const auto add = [&](const char* workload, void (*function)(benchmark::State&), int n) {
    benchmark::RegisterBenchmark((std::string{"BM_"} + workload + "<" + name + ">").c_str(), function)
        ->Threads(n)
        ->Setup(contention::build<guarded<M>>)
        ->Teardown(contention::destroy<guarded<M>>)
        ->Iterations(1)
        ->UseRealTime();
  };
  add("mutex_uncontended", BM_mutex<M, 1, 0>, 1);
  for (const int n : contention::counts()) {
    add("mutex", BM_mutex<M, 1, 0>, n);
    if (n >= 4) add("mutex_with_work", BM_mutex<M, contention::short_work, contention::short_work>, n);
    if (n >= 4) add("mutex_long", BM_mutex<M, contention::long_work, contention::long_work>, n);
  }
}

// Coroutines on a pool of two that hold the lock for a short section. A peer blocks its worker where a coroutine waits.
struct no_mutex {};

template <class M>
penstock::task<> take_turns(guarded<M>& all, penstock::worker_pool& pool) {
  std::uint64_t own = 1;
  for (int i = 0; i < contention::turns; ++i) {
    if constexpr (requires { all.m.async_lock(); }) {
      const auto lock = co_await all.m.async_lock();
      contention::work(all.number);
    } else if constexpr (requires { all.m.lock(); }) {
      scope<M> lock{all.m};
      contention::work(all.number);
    } else {
      contention::work(own);  // in place of what the lock guards
    }
    contention::work(own);
    co_await pool.schedule();
  }
}
template <class M>
void BM_mutex_coroutines(benchmark::State& state) {
  guarded<M> all;
  contention::run_coroutines(state, [&](penstock::worker_pool& pool) { return take_turns(all, pool); });
}

// Sixteen coroutines of one thread that give way with the lock in hand, which no mutex of threads allows: each waits for all others.
constexpr int waiters = 16;
constexpr int long_turns = 64;

template <class M>
penstock::task<> give_way(M& m, penstock::worker_pool& pool) {
  for (int i = 0; i < long_turns; ++i) {
    const auto lock = co_await m.async_lock();
    co_await pool.schedule();
  }
}
template <class M>
void BM_mutex_held_while_suspended(benchmark::State& state) {
  penstock::worker_pool pool{{.threads = 1}};
  for (auto _ : state) {
    M m;
    std::vector<penstock::spawned<void>> line;
    line.reserve(waiters);
    for (int i = 0; i < waiters; ++i) line.push_back(penstock::spawn(pool, give_way(m, pool)));
    for (auto& c : line) c.wait();
  }
  state.SetItemsProcessed(state.iterations() * waiters * long_turns);
}
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
void BM_fibers_held_while_suspended(benchmark::State& state) {
  for (auto _ : state) {
    boost::fibers::mutex m;
    std::vector<boost::fibers::fiber> line;
    line.reserve(waiters);
    for (int i = 0; i < waiters; ++i) {
      line.emplace_back([&m] {
        for (int turn = 0; turn < long_turns; ++turn) {
          std::scoped_lock lock{m};
          boost::this_fiber::yield();
        }
      });
    }
    for (auto& f : line) f.join();
  }
  state.SetItemsProcessed(state.iterations() * waiters * long_turns);
}
#endif

void add(const char* workload, const char* name, void (*function)(benchmark::State&)) {
  benchmark::RegisterBenchmark((std::string{"BM_"} + workload + "<" + name + ">").c_str(), function)->MinTime(0.1)->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  threads<penstock::mutex>("penstock::mutex");
  threads<penstock_mutex_fifo>("penstock::mutex fifo");
  threads<std::mutex>("std::mutex");
  threads<adaptive_pthread>("adaptive pthread_mutex_t");
  threads<tickets>("tickets, std::atomic wait (fifo)");
#if PENSTOCK_BENCH_HAS_ABSEIL
  threads<absl_mutex>("absl::Mutex");
#endif
#if PENSTOCK_BENCH_HAS_TBB
  threads<oneapi::tbb::mutex>("tbb::mutex");
  threads<oneapi::tbb::spin_mutex>("tbb::spin_mutex (spins)");
  threads<oneapi::tbb::queuing_mutex>("tbb::queuing_mutex (fifo, spins)");
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
  threads<boost::fibers::mutex>("boost::fibers::mutex");
#endif
  add("mutex_coroutines", "penstock::mutex", BM_mutex_coroutines<penstock::mutex>);
  add("mutex_coroutines", "penstock::mutex fifo", BM_mutex_coroutines<penstock_mutex_fifo>);
  add("mutex_coroutines", "std::mutex (blocks the worker)", BM_mutex_coroutines<std::mutex>);
#if PENSTOCK_BENCH_HAS_ABSEIL
  add("mutex_coroutines", "absl::Mutex (blocks the worker)", BM_mutex_coroutines<absl_mutex>);
#endif
  add("mutex_coroutines", "reference: no mutex", BM_mutex_coroutines<no_mutex>);
  add("mutex_held_while_suspended", "penstock::mutex", BM_mutex_held_while_suspended<penstock::mutex>);
  add("mutex_held_while_suspended", "penstock::mutex fifo", BM_mutex_held_while_suspended<penstock_mutex_fifo>);
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
  add("mutex_held_while_suspended", "boost::fibers::mutex", BM_fibers_held_while_suspended);
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
