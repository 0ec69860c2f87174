// Submitting to a pool of two workers: a stream of empty tasks from one thread, and one task at a time whose value is awaited.
//
// Peers: oneTBB's task_group (whose waiting thread helps), asio's thread_pool, rvaser's thread_pool (Debian's libthread-pool), and what one
// writes by hand: a mutex, a condition variable and a deque of std::function. A time is per task; the stream includes waiting for its end.
#include <benchmark/benchmark.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#if PENSTOCK_BENCH_HAS_TBB
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>
#endif
#if PENSTOCK_BENCH_HAS_ASIO
#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>
#endif
#if PENSTOCK_BENCH_HAS_THREAD_POOL
#include <thread_pool/thread_pool.hpp>
#endif

#include <penstock/pool/worker_pool.hpp>

namespace {

constexpr int workers = 2;

// post(f) begins f some time, finish() waits until all have run, value(f) runs f on a worker and gives what it returns.
struct penstock_pool {
  template <class F>
  void post(F f) {
    static_cast<void>(pool.post(f));
  }
  void finish() { static_cast<void>(pool.drain()); }
  template <class F>
  int value(F f) {
    return pool.submit(f).get();
  }
  penstock::worker_pool pool{{.threads = workers}};
};

struct by_hand {
  by_hand() {
    for (int i = 0; i < workers; ++i) {
      threads.emplace_back([this] {
        for (;;) {
          std::function<void()> task;
          {
            std::unique_lock guard{lock};
            changed.wait(guard, [&] { return ending || !tasks.empty(); });
            if (tasks.empty()) return;
            task = std::move(tasks.front());
            tasks.pop_front();
          }
          task();
        }
      });
    }
  }
  ~by_hand() {
    {
      std::scoped_lock guard{lock};
      ending = true;
    }
    changed.notify_all();
  }
  template <class F>
  void post(F f) {
    {
      std::scoped_lock guard{lock};
      tasks.emplace_back(f);
    }
    changed.notify_one();
  }
  void finish() {}
  template <class F>
  int value(F f) {
    auto task = std::make_shared<std::packaged_task<int()>>(f);
    post([task] { (*task)(); });
    return task->get_future().get();
  }
  std::mutex lock;
  std::condition_variable changed;
  std::deque<std::function<void()>> tasks;
  bool ending = false;
  std::vector<std::jthread> threads;
};

#if PENSTOCK_BENCH_HAS_TBB
struct tbb_group {
  template <class F>
  void post(F f) {
    group.run(f);
  }
  void finish() { group.wait(); }
  template <class F>
  int value(F f) {
    int result = 0;
    group.run([&] { result = f(); });
    group.wait();
    return result;
  }
  oneapi::tbb::task_group group;
};
#endif

#if PENSTOCK_BENCH_HAS_ASIO
struct asio_pool {
  template <class F>
  void post(F f) {
    asio::post(pool, f);
  }
  void finish() {}
  template <class F>
  int value(F f) {
    return asio::post(pool, std::packaged_task<int()>(f)).get();
  }
  asio::thread_pool pool{workers};
};
#endif

#if PENSTOCK_BENCH_HAS_THREAD_POOL
struct rvaser_pool {
  template <class F>
  void post(F f) {
    pool.Submit(f);
  }
  void finish() {}
  template <class F>
  int value(F f) {
    return pool.Submit(f).get();
  }
  thread_pool::ThreadPool pool{workers};
};
#endif

// The tasks count themselves, so the end of the stream is the same for all.
template <class P>
void BM_pool_post(benchmark::State& state) {
  P pool;
  constexpr int tasks = 100'000;
  for (auto _ : state) {
    std::atomic<int> done{0};
    for (int i = 0; i < tasks; ++i) pool.post([&done] { done.fetch_add(1, std::memory_order_release); });
    pool.finish();
    while (done.load(std::memory_order_acquire) != tasks) std::this_thread::yield();
  }
  state.SetItemsProcessed(state.iterations() * tasks);
}

template <class P>
void BM_pool_submit_and_get(benchmark::State& state) {
  P pool;
  for (auto _ : state) benchmark::DoNotOptimize(pool.value([] { return 1; }));
  state.SetItemsProcessed(state.iterations());
}

template <class P>
void add(const std::string& name) {
  benchmark::RegisterBenchmark(("BM_pool_post<" + name + ">").c_str(), BM_pool_post<P>)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark(("BM_pool_submit_and_get<" + name + ">").c_str(), BM_pool_submit_and_get<P>)->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  add<penstock_pool>("penstock::worker_pool");
#if PENSTOCK_BENCH_HAS_TBB
  add<tbb_group>("tbb::task_group");
#endif
#if PENSTOCK_BENCH_HAS_ASIO
  add<asio_pool>("asio::thread_pool");
#endif
#if PENSTOCK_BENCH_HAS_THREAD_POOL
  add<rvaser_pool>("thread_pool");
#endif
  add<by_hand>("mutex and deque of std::function");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
