// Many readers or one writer: alone, readers only, 95 readers to 5 writers, a writer among readers who never rest, and coroutines.
//
// Whom they favour differs, and decides the mixed runs: the standard's lets readers pass a waiting writer, oneTBB's spin_rw_mutex and rw_mutex let a writer pass
// readers, Boost's takes turns, Abseil's keeps nobody waiting for long. penstock's serves in the order of arrival, and nobody starves; oneTBB's queuing_rw_mutex does
// the same, but its waiters spin. std::mutex is shown beside them as a reference: one reader at a time. A time is per lock and unlock, over all threads.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#if PENSTOCK_BENCH_HAS_TBB
#include <oneapi/tbb/queuing_rw_mutex.h>
#include <oneapi/tbb/rw_mutex.h>
#include <oneapi/tbb/spin_rw_mutex.h>
#endif
#if PENSTOCK_BENCH_HAS_ABSEIL
#include <absl/synchronization/mutex.h>
#endif
#if PENSTOCK_BENCH_HAS_BOOST_THREAD
#include <boost/thread/shared_mutex.hpp>
#endif

#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/shared_mutex.hpp>

#include "contention.hpp"
#include "latencies.hpp"

namespace {

#if PENSTOCK_BENCH_HAS_ABSEIL
struct absl_mutex {
  void lock() { m.Lock(); }
  void unlock() { m.Unlock(); }
  void lock_shared() { m.ReaderLock(); }
  void unlock_shared() { m.ReaderUnlock(); }
  absl::Mutex m;
};
#endif

struct one_reader_at_a_time : std::mutex {
  void lock_shared() { lock(); }
  void unlock_shared() { unlock(); }
};

// The locks of a scope; oneTBB's queuing mutex knows only its own.
template <class M>
struct writing : std::unique_lock<M> {
  using std::unique_lock<M>::unique_lock;
};
template <class M>
struct reading : std::shared_lock<M> {
  using std::shared_lock<M>::shared_lock;
};
#if PENSTOCK_BENCH_HAS_TBB
template <>
struct writing<oneapi::tbb::queuing_rw_mutex> : oneapi::tbb::queuing_rw_mutex::scoped_lock {
  explicit writing(oneapi::tbb::queuing_rw_mutex& m) : scoped_lock{m, true} {}
};
template <>
struct reading<oneapi::tbb::queuing_rw_mutex> : oneapi::tbb::queuing_rw_mutex::scoped_lock {
  explicit reading(oneapi::tbb::queuing_rw_mutex& m) : scoped_lock{m, false} {}
};
#endif

template <class M>
struct guarded {
  M m;
  std::uint64_t number = 1;
};

template <class M>
void read(guarded<M>& all, int steps) {
  reading<M> lock{all.m};
  std::uint64_t seen = all.number;
  contention::work(seen, steps);
}
template <class M>
void write(guarded<M>& all, int steps) {
  writing<M> lock{all.m};
  contention::work(all.number, steps);
}

/// Every so many-th turn writes; 0: none does, 1: each.
template <class M, int Every, int Inside, int Outside>
void BM_shared_mutex(benchmark::State& state) {
  guarded<M>& all = *contention::shared<guarded<M>>();
  std::uint64_t outside = 2;
  int turn = state.thread_index();
  contention::take_turns(state, [&] {
    if (Every != 0 && ++turn % std::max(Every, 1) == 0) {
      write(all, Inside);
    } else {
      read(all, Inside);
    }
    contention::work(outside, Outside);
  });
}

// One thread writes now and then, and so many others read without a rest. The time is from wanting to write to having written.
constexpr int rounds = 40;  // among readers that the standard's lets pass some take a tenth of a second

template <class M>
void BM_shared_mutex_writer(benchmark::State& state) {
  using clock = std::chrono::steady_clock;
  guarded<M> all;
  std::atomic<bool> ending = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < state.range(0); ++i) {
    readers.emplace_back([&] {
      std::uint64_t outside = 2;
      while (!ending.load(std::memory_order_relaxed)) {
        read(all, contention::short_work);
        contention::work(outside);
      }
    });
  }
  std::vector<double> took;
  for (auto _ : state) {
    const auto from = clock::now();
    write(all, contention::short_work);
    const auto until = clock::now();
    took.push_back(std::chrono::duration<double, std::nano>(until - from).count());
    state.SetIterationTime(std::chrono::duration<double>(until - from).count());
    std::this_thread::sleep_for(std::chrono::microseconds{100});
  }
  ending = true;
  for (auto& r : readers) r.join();
  latencies::show(state, took);
}

template <class M>
void threads(const std::string& name) {
  const auto add = [&](const char* workload, void (*function)(benchmark::State&), int n) {
    benchmark::RegisterBenchmark((std::string{"BM_"} + workload + "<" + name + ">").c_str(), function)
        ->Threads(n)
        ->Setup(contention::build<guarded<M>>)
        ->Teardown(contention::destroy<guarded<M>>)
        ->Iterations(1)
        ->UseRealTime();
  };
  add("shared_mutex_read_uncontended", BM_shared_mutex<M, 0, 1, 0>, 1);
  add("shared_mutex_write_uncontended", BM_shared_mutex<M, 1, 1, 0>, 1);
  for (const int n : contention::counts()) {
    add("shared_mutex_read", BM_shared_mutex<M, 0, contention::short_work, contention::short_work>, n);
    add("shared_mutex_95_to_5", BM_shared_mutex<M, 20, contention::short_work, contention::short_work>, n);
    if (n == 4) add("shared_mutex_95_to_5_long", BM_shared_mutex<M, 20, contention::long_work, contention::long_work>, n);
  }
  for (const int n : {1, 4}) {
    benchmark::RegisterBenchmark(("BM_shared_mutex_writer<" + name + ">").c_str(), BM_shared_mutex_writer<M>)
        ->Arg(n)
        ->Iterations(rounds)
        ->UseManualTime();
  }
}

// Coroutines on a pool of two, one turn of twenty a writer's. A peer blocks its worker where a coroutine waits.
struct no_mutex {};

template <class M>
penstock::task<> take_turns(guarded<M>& all, penstock::worker_pool& pool, int first) {
  std::uint64_t own = 1;
  for (int i = 0; i < contention::turns; ++i) {
    const bool writes = (first + i) % 20 == 0;
    if constexpr (requires { all.m.async_lock(); }) {
      if (writes) {
        const auto lock = co_await all.m.async_lock();
        contention::work(all.number);
      } else {
        const auto lock = co_await all.m.async_lock_shared();
        std::uint64_t seen = all.number;
        contention::work(seen);
      }
    } else if constexpr (requires { all.m.lock(); }) {
      writes ? write(all, contention::short_work) : read(all, contention::short_work);
    } else {
      contention::work(own);  // in place of what the lock guards
    }
    contention::work(own);
    co_await pool.schedule();
  }
}
template <class M>
void BM_shared_mutex_coroutines(benchmark::State& state) {
  guarded<M> all;
  int first = 0;
  contention::run_coroutines(state,
                             [&](penstock::worker_pool& pool) { return take_turns(all, pool, first += contention::turns); });
}
template <class M>
void coroutines(const std::string& name) {
  benchmark::RegisterBenchmark(("BM_shared_mutex_coroutines<" + name + ">").c_str(), BM_shared_mutex_coroutines<M>)
      ->MinTime(0.1)
      ->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  threads<penstock::shared_mutex>("penstock::shared_mutex");
  threads<std::shared_mutex>("std::shared_mutex");
#if PENSTOCK_BENCH_HAS_BOOST_THREAD
  threads<boost::shared_mutex>("boost::shared_mutex");
#endif
#if PENSTOCK_BENCH_HAS_ABSEIL
  threads<absl_mutex>("absl::Mutex");
#endif
#if PENSTOCK_BENCH_HAS_TBB
  threads<oneapi::tbb::rw_mutex>("tbb::rw_mutex");
  threads<oneapi::tbb::spin_rw_mutex>("tbb::spin_rw_mutex (spins)");
  threads<oneapi::tbb::queuing_rw_mutex>("tbb::queuing_rw_mutex (fifo, spins)");
#endif
  threads<one_reader_at_a_time>("reference: std::mutex");
  coroutines<penstock::shared_mutex>("penstock::shared_mutex");
  coroutines<std::shared_mutex>("std::shared_mutex (blocks the worker)");
#if PENSTOCK_BENCH_HAS_ABSEIL
  coroutines<absl_mutex>("absl::Mutex (blocks the worker)");
#endif
  coroutines<no_mutex>("reference: no mutex");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
