// A function for every item of a range, a bounded number at a time, and the results: in order, or as they come.
//
//   map_concurrent/BODY/N/W        2,000 items, at most N at a time, on W workers, results in the order of the items; a time is per item
//   map_concurrent_one_thread/N    the same of items that give a number at once, on one thread
//   map_unordered/BODY/W           results as they come, of a function that does not wait
//
// BODY is the number of steps that an item computes: 0, or 2,000, some 2 to 5 µs.
//
// In map_concurrent() an item is a coroutine, or (`of futures`) a function that was submitted to the pool. Peers: tbb::parallel_pipeline with N tokens and a last
// stage that is in order (the caller is one of the W workers); N of Asio's coroutines, each a loop that takes the next item, awaits it as a coroutine of its own and
// writes into the vector, where on a pool each item is posted to it once, as penstock's are; and by hand a window of N std::futures, which are got in order, of a pool or of
// std::async, which has a thread for each item whatever W is. The loops begin all at the start and only end; of a failure none of the peers tells the
// others but TBB's. For results as they come: tbb::parallel_for, which puts them in a concurrent_bounded_queue of as many places, and by hand W threads, a
// counter, and a deque with a lock; who takes the results computes some itself in penstock's, and waits in the others.
#include <benchmark/benchmark.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <future>
#include <mutex>
#include <numeric>
#include <ranges>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pool_peers.hpp"
#include "thread_counts.hpp"

#if PENSTOCK_BENCH_HAS_TBB
#include <oneapi/tbb/concurrent_queue.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/parallel_pipeline.h>
#endif
#if PENSTOCK_BENCH_HAS_ASIO
#include <asio/co_spawn.hpp>
#if defined(ASIO_HAS_CO_AWAIT)
#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#define PENSTOCK_BENCH_HAS_ASIO_COROUTINES 1
#endif
#endif

#include <penstock/combine/limit.hpp>
#include <penstock/combine/map_concurrent.hpp>
#include <penstock/combine/map_unordered.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace {

constexpr int items = 2'000;

int compute(int item, int steps) {
  auto x = static_cast<std::uint64_t>(item);
  for (int i = 0; i < steps; ++i) x = x * 6364136223846793005u + 1442695040888963407u;
  benchmark::DoNotOptimize(x);
  return item;
}

// Results in order: run(steps, at_most) gives them.

struct penstock_map {
  explicit penstock_map(int workers) : pool{{.threads = static_cast<std::size_t>(workers)}} {}
  std::vector<int> run(int steps, int at_most) {
    const auto f = [steps](int item) -> penstock::task<int> { co_return compute(item, steps); };
    auto all = penstock::map_concurrent(std::views::iota(0, items), penstock::limit(static_cast<std::size_t>(at_most)), f);
    return penstock::sync_wait(std::move(all) | penstock::via(pool));
  }
  penstock::worker_pool pool;
};
// Of a pool's futures: f submits a function.
struct penstock_map_futures {
  explicit penstock_map_futures(int workers) : pool{{.threads = static_cast<std::size_t>(workers)}} {}
  std::vector<int> run(int steps, int at_most) {
    const auto f = [this, steps](int item) { return pool.submit([item, steps] { return compute(item, steps); }); };
    return penstock::sync_wait(
        penstock::map_concurrent(std::views::iota(0, items), penstock::limit(static_cast<std::size_t>(at_most)), f));
  }
  penstock::worker_pool pool;
};
struct penstock_one_thread {
  static std::vector<int> run(int steps, int at_most) {
    const auto f = [steps](int item) -> penstock::task<int> { co_return compute(item, steps); };
    return penstock::sync_wait(
        penstock::map_concurrent(std::views::iota(0, items), penstock::limit(static_cast<std::size_t>(at_most)), f));
  }
};

template <class Submit>
std::vector<int> by_a_window(int steps, int at_most, Submit submit) {
  std::vector<int> results;
  results.reserve(items);
  std::deque<std::future<int>> window;
  for (int item = 0; item < items; ++item) {
    if (window.size() == static_cast<std::size_t>(at_most)) {
      results.push_back(window.front().get());
      window.pop_front();
    }
    window.push_back(submit([item, steps] { return compute(item, steps); }));
  }
  for (auto& f : window) results.push_back(f.get());
  return results;
}
struct window_of_pool : pools::by_hand {
  using by_hand::by_hand;
  std::vector<int> run(int steps, int at_most) {
    return by_a_window(steps, at_most, [this](auto f) {
      auto task = std::make_shared<std::packaged_task<int()>>(f);
      post([task] { (*task)(); });
      return task->get_future();
    });
  }
};
struct window_of_threads {
  explicit window_of_threads(int) {}
  static std::vector<int> run(int steps, int at_most) {
    return by_a_window(steps, at_most, [](auto f) { return std::async(std::launch::async, f); });
  }
};

#if PENSTOCK_BENCH_HAS_TBB
struct tbb_pipeline {
  explicit tbb_pipeline(int workers) : arena{workers} {}
  std::vector<int> run(int steps, int at_most) {
    namespace tbb = oneapi::tbb;
    std::vector<int> results;
    results.reserve(items);
    int next = 0;
    arena.execute([&] {
      const auto take = tbb::make_filter<void, int>(tbb::filter_mode::serial_in_order, [&](tbb::flow_control& flow) {
        if (next == items) {
          flow.stop();
          return 0;
        }
        return next++;
      });
      const auto f = tbb::make_filter<int, int>(tbb::filter_mode::parallel, [&](int item) { return compute(item, steps); });
      const auto give = tbb::make_filter<int, void>(tbb::filter_mode::serial_in_order, [&](int r) { results.push_back(r); });
      tbb::parallel_pipeline(static_cast<std::size_t>(at_most), take & f & give);
    });
    return results;
  }
  oneapi::tbb::task_arena arena;
};
#endif

#if PENSTOCK_BENCH_HAS_ASIO_COROUTINES
asio::awaitable<int> asio_item(int item, int steps) { co_return compute(item, steps); }
// Through the pool, as each of penstock's items begins.
asio::awaitable<int> asio_posted_item(int item, int steps) {
  co_await asio::post(asio::use_awaitable);
  co_return compute(item, steps);
}
template <asio::awaitable<int> (*F)(int, int)>
asio::awaitable<void> take_items(std::atomic<int>& next, std::vector<int>& results, int steps) {
  for (int item = 0; (item = next.fetch_add(1, std::memory_order_relaxed)) < items;) {
    results[static_cast<std::size_t>(item)] = co_await F(item, steps);
  }
}
template <asio::awaitable<int> (*F)(int, int), class Context>
std::vector<std::future<void>> begin_takers(Context& context, std::atomic<int>& next, std::vector<int>& results, int steps,
                                            int at_most) {
  std::vector<std::future<void>> all;
  for (int i = 0; i < at_most; ++i) all.push_back(asio::co_spawn(context, take_items<F>(next, results, steps), asio::use_future));
  return all;
}
struct asio_coroutines {
  explicit asio_coroutines(int workers) : pool(static_cast<std::size_t>(workers)) {}
  std::vector<int> run(int steps, int at_most) {
    std::vector<int> results(items);
    std::atomic<int> next{0};
    for (auto& f : begin_takers<asio_posted_item>(pool, next, results, steps, at_most)) f.get();
    return results;
  }
  asio::thread_pool pool;
};
struct asio_one_thread {
  std::vector<int> run(int steps, int at_most) {
    std::vector<int> results(items);
    std::atomic<int> next{0};
    const auto all = begin_takers<asio_item>(io, next, results, steps, at_most);
    io.restart();
    io.run();
    return results;
  }
  asio::io_context io{1};
};
#endif

void check(benchmark::State& state, const std::vector<int>& results) {
  if (results.size() != items || results.front() != 0 || results.back() != items - 1) state.SkipWithError("wrong results");
}

template <class P>
void BM_map_concurrent(benchmark::State& state) {
  P p{static_cast<int>(state.range(2))};
  for (auto _ : state) check(state, p.run(static_cast<int>(state.range(0)), static_cast<int>(state.range(1))));
  state.SetItemsProcessed(state.iterations() * items);
}
template <class P>
void BM_map_concurrent_one_thread(benchmark::State& state) {
  P p;
  for (auto _ : state) check(state, p.run(0, static_cast<int>(state.range(0))));
  state.SetItemsProcessed(state.iterations() * items);
}

// Results as they come: sum(steps) of them.

struct penstock_unordered {
  explicit penstock_unordered(int workers) : pool{{.threads = static_cast<std::size_t>(workers)}} {}
  long sum(int steps) {
    long all = 0;
    for (const int r :
         penstock::map_unordered(pool, std::views::iota(0, items), [steps](int item) { return compute(item, steps); })) {
      all += r;
    }
    return all;
  }
  penstock::worker_pool pool;
};

// W threads in all: who consumes is not one of them.
struct threads_and_deque {
  explicit threads_and_deque(int n) : workers{n} {}
  long sum(int steps) {
    const auto most = static_cast<std::size_t>(2 * workers);
    std::atomic<int> next{0};
    std::mutex lock;
    std::condition_variable some;
    std::condition_variable room;
    std::deque<int> results;
    std::vector<std::jthread> threads;
    for (int i = 0; i < workers; ++i) {
      threads.emplace_back([&] {
        for (int item = 0; (item = next.fetch_add(1, std::memory_order_relaxed)) < items;) {
          const int r = compute(item, steps);
          std::unique_lock guard{lock};
          room.wait(guard, [&] { return results.size() < most; });
          results.push_back(r);
          some.notify_one();
        }
      });
    }
    long all = 0;
    for (int i = 0; i < items; ++i) {
      std::unique_lock guard{lock};
      some.wait(guard, [&] { return !results.empty(); });
      all += results.front();
      results.pop_front();
      room.notify_one();
    }
    return all;
  }
  int workers;
};

#if PENSTOCK_BENCH_HAS_TBB
// Likewise: a thread that waits for the queue takes no part.
struct tbb_and_queue {
  explicit tbb_and_queue(int n) : most{most.max_allowed_parallelism, static_cast<std::size_t>(n) + 1}, arena{n} {
    queue.set_capacity(2 * n);
  }
  long sum(int steps) {
    std::jthread feeding{[&] {
      arena.execute([&] { oneapi::tbb::parallel_for(0, items, [&](int item) { queue.push(compute(item, steps)); }); });
    }};
    long all = 0;
    for (int i = 0; i < items; ++i) {
      int r = 0;
      queue.pop(r);
      all += r;
    }
    return all;
  }
  oneapi::tbb::global_control most;
  oneapi::tbb::task_arena arena;
  oneapi::tbb::concurrent_bounded_queue<int> queue;
};
#endif

template <class P>
void BM_map_unordered(benchmark::State& state) {
  P p{static_cast<int>(state.range(1))};
  for (auto _ : state) {
    if (p.sum(static_cast<int>(state.range(0))) != long{items} * (items - 1) / 2) state.SkipWithError("a wrong sum");
  }
  state.SetItemsProcessed(state.iterations() * items);
}

constexpr int some_microseconds = 2000;  // steps

template <class P>
void add(const std::string& name, const std::vector<int>& limits = {4, 64}) {
  for (const int workers : thread_counts::up_to_all<>()) {
    for (const int at_most : limits) {
      for (const int steps : {0, some_microseconds}) {
        if (workers == 1 && steps != 0) continue;  // only computes
        benchmark::RegisterBenchmark(("BM_map_concurrent<" + name + ">").c_str(), BM_map_concurrent<P>)
            ->Args({steps, at_most, workers})
            ->MinTime(0.1)
            ->UseRealTime();
      }
    }
  }
}
template <class P>
void add_one_thread(const std::string& name) {
  for (const int at_most : {4, 64}) {
    benchmark::RegisterBenchmark(("BM_map_concurrent_one_thread<" + name + ">").c_str(), BM_map_concurrent_one_thread<P>)
        ->Arg(at_most)
        ->MinTime(0.1);
  }
}
template <class P>
void add_unordered(const std::string& name) {
  for (const int workers : thread_counts::up_to_all<>()) {
    for (const int steps : {0, some_microseconds}) {
      benchmark::RegisterBenchmark(("BM_map_unordered<" + name + ">").c_str(), BM_map_unordered<P>)
          ->Args({steps, workers})
          ->MinTime(0.1)
          ->UseRealTime();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  add<penstock_map>("penstock::map_concurrent");
  add<penstock_map_futures>("penstock::map_concurrent of futures");
#if PENSTOCK_BENCH_HAS_TBB
  add<tbb_pipeline>("tbb::parallel_pipeline");
#endif
#if PENSTOCK_BENCH_HAS_ASIO_COROUTINES
  add<asio_coroutines>("asio::co_spawn of N loops");
#endif
  add<window_of_pool>("a window of std::future");
  add<window_of_threads>("a window of std::async", {4});
  add_one_thread<penstock_one_thread>("penstock::map_concurrent");
#if PENSTOCK_BENCH_HAS_ASIO_COROUTINES
  add_one_thread<asio_one_thread>("asio::co_spawn of N loops");
#endif
  add_unordered<penstock_unordered>("penstock::map_unordered");
#if PENSTOCK_BENCH_HAS_TBB
  add_unordered<tbb_and_queue>("tbb::parallel_for and concurrent_bounded_queue");
#endif
  add_unordered<threads_and_deque>("threads, mutex and deque");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
