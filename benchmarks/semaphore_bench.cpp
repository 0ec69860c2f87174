// Acquire and release: alone, contended, oversubscribed, handed back and forth, and with a thousand coroutines in line.
//
// Peers: POSIX sem_t, libstdc++'s std::counting_semaphore (whose lost wakeup may hang a run: it is what users have), moodycamel's
// LightweightSemaphore, and a mutex with a condition variable. A time is per acquire+release, over all threads.
#include <benchmark/benchmark.h>

#include <semaphore.h>

#include <concepts>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#if PENSTOCK_BENCH_HAS_MOODYCAMEL
#include <blockingconcurrentqueue.h>  // the semaphore header alone lacks a macro of this one
#endif

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/semaphore.hpp>

#include "contention.hpp"
#include "thread_counts.hpp"

namespace {

struct penstock_semaphore : penstock::semaphore {
  explicit penstock_semaphore(int n) : penstock::semaphore{n} {}
  void acquire() { benchmark::DoNotOptimize(penstock::semaphore::acquire()); }
};

struct penstock_semaphore_fifo : penstock::semaphore {
  explicit penstock_semaphore_fifo(int n) : penstock::semaphore{n, {.fairness = penstock::fairness::fifo}} {}
  void acquire() { benchmark::DoNotOptimize(penstock::semaphore::acquire()); }
};

using std_counting_semaphore = std::counting_semaphore<>;

struct posix_sem_t {
  explicit posix_sem_t(int n) { ::sem_init(&s, 0, static_cast<unsigned>(n)); }
  ~posix_sem_t() { ::sem_destroy(&s); }
  void acquire() {
    while (::sem_wait(&s) != 0) {
    }
  }
  void release() { ::sem_post(&s); }
  ::sem_t s;
};

struct mutex_and_condition {
  explicit mutex_and_condition(int n) : count{n} {}
  void acquire() {
    std::unique_lock guard{lock};
    changed.wait(guard, [&] { return count > 0; });
    --count;
  }
  void release() {
    {
      std::scoped_lock guard{lock};
      ++count;
    }
    changed.notify_one();
  }
  std::mutex lock;
  std::condition_variable changed;
  int count;
};

#if PENSTOCK_BENCH_HAS_MOODYCAMEL
struct moodycamel_lightweight {
  explicit moodycamel_lightweight(int n) : s{n} {}
  void acquire() { s.wait(); }
  void release() { s.signal(); }
  moodycamel::LightweightSemaphore s;
};
#endif

template <class S>
void build(const benchmark::State& state) {
  contention::shared<S>() = std::make_unique<S>(static_cast<int>(state.range(0)));
}
template <class S>
void BM_semaphore(benchmark::State& state) {
  S& s = *contention::shared<S>();
  for (auto _ : state) {
    s.acquire();
    s.release();
  }
  state.SetItemsProcessed(state.iterations());
}

template <class S>
void BM_semaphore_with_work(benchmark::State& state) {
  S& s = *contention::shared<S>();
  std::uint64_t inside = 1;
  std::uint64_t outside = 2;
  for (auto _ : state) {
    s.acquire();
    contention::work(inside);
    s.release();
    contention::work(outside);
  }
  state.SetItemsProcessed(state.iterations());
}

template <class S>
void BM_semaphore_ping_pong(benchmark::State& state) {
  S ping{0};
  S pong{0};
  bool ending = false;
  std::thread other{[&] {
    for (;;) {
      ping.acquire();
      if (ending) return;
      pong.release();
    }
  }};
  for (auto _ : state) {
    ping.release();
    pong.acquire();
  }
  ending = true;
  ping.release();
  other.join();
  state.SetItemsProcessed(state.iterations());
}

template <class S>
void contended(const char* name) {
  const auto add = [&](const std::string& workload, void (*function)(benchmark::State&), int threads, int permits) {
    benchmark::RegisterBenchmark((workload + "<" + name + ">").c_str(), function)
        ->Arg(permits)
        ->Threads(threads)
        ->Setup(build<S>)
        ->Teardown(contention::destroy<S>)
        ->UseRealTime();
  };
  add("BM_semaphore_uncontended", BM_semaphore<S>, 1, 1);
  add("BM_semaphore", BM_semaphore<S>, 2, 1);
  add("BM_semaphore", BM_semaphore<S>, 4, 1);
  add("BM_semaphore", BM_semaphore<S>, 4, 2);
  add("BM_semaphore", BM_semaphore<S>, 16, 1);
  add("BM_semaphore_with_work", BM_semaphore_with_work<S>, 4, 1);
  add("BM_semaphore_with_work", BM_semaphore_with_work<S>, 4, 2);
  for (const int threads : thread_counts::up_to_twice()) {
    if (threads <= 4) continue;
    if (threads != 16) add("BM_semaphore", BM_semaphore<S>, threads, 1);
    add("BM_semaphore", BM_semaphore<S>, threads, threads / 2);
    add("BM_semaphore_with_work", BM_semaphore_with_work<S>, threads, 1);
    add("BM_semaphore_with_work", BM_semaphore_with_work<S>, threads, threads / 2);
  }
  benchmark::RegisterBenchmark((std::string{"BM_semaphore_ping_pong<"} + name + ">").c_str(), BM_semaphore_ping_pong<S>)
      ->UseRealTime();
}

// Two threads and a thousand coroutines (on a pool of two workers) take turns on one semaphore: 4,000 turns of the threads, 4,000 of the
// coroutines. A time is per turn. `reference: no semaphore` does the same without acquiring anything: what lies above it is the semaphore's price, and
// a convoy (each turn waiting for the scheduler) would show as a multiple of it.
constexpr int coroutines = 1000;
constexpr int turns_of_a_coroutine = 4;
constexpr int turns_of_a_thread = 2000;

struct no_semaphore {
  explicit no_semaphore(int) {}
  void acquire() {}
  void release() {}
};

template <class S>
penstock::task<> take_turns(S& s, penstock::worker_pool& pool) {
  std::uint64_t inside = 1;
  for (int i = 0; i < turns_of_a_coroutine; ++i) {
    if constexpr (!std::same_as<S, no_semaphore>) static_cast<void>(co_await s.async_acquire());
    contention::work(inside);
    s.release();
    co_await pool.schedule();
  }
}

template <class S>
void BM_semaphore_threads_and_coroutines(benchmark::State& state) {
  penstock::worker_pool pool{{.threads = 2}};
  for (auto _ : state) {
    S s{static_cast<int>(state.range(0))};
    std::vector<penstock::spawned<void>> line;
    line.reserve(coroutines);
    for (int i = 0; i < coroutines; ++i) line.push_back(penstock::spawn(pool, take_turns(s, pool)));
    const auto thread_turns = [&] {
      std::uint64_t inside = 1;
      for (int i = 0; i < turns_of_a_thread; ++i) {
        s.acquire();
        contention::work(inside);
        s.release();
      }
    };
    std::thread first{thread_turns};
    std::thread second{thread_turns};
    first.join();
    second.join();
    for (auto& c : line) c.wait();
  }
  state.SetItemsProcessed(state.iterations() * (2 * turns_of_a_thread + coroutines * turns_of_a_coroutine));
}

template <class S>
void mixed(const char* name) {
  benchmark::RegisterBenchmark((std::string{"BM_semaphore_threads_and_coroutines<"} + name + ">").c_str(),
                               BM_semaphore_threads_and_coroutines<S>)
      ->Arg(1)
      ->Arg(4)
      ->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  contended<penstock_semaphore>("penstock::semaphore");
  contended<penstock_semaphore_fifo>("penstock::semaphore fifo");
  contended<posix_sem_t>("sem_t");
  contended<std_counting_semaphore>("std::counting_semaphore");
#if PENSTOCK_BENCH_HAS_MOODYCAMEL
  contended<moodycamel_lightweight>("moodycamel::LightweightSemaphore");
#endif
  contended<mutex_and_condition>("mutex and condition_variable");
  mixed<penstock_semaphore>("penstock::semaphore");
  mixed<penstock_semaphore_fifo>("penstock::semaphore fifo");
  mixed<no_semaphore>("reference: no semaphore");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
