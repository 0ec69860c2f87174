// Many awaited at once: all of their values, or the first one.
//
//   when_all_ready/N    N children that give a number at once, on one thread; a time is per child, all of it included: making the children,
//                       beginning them, the sum of what they gave
//   when_all_work/N/W   the same with children that compute for about half a microsecond, on W workers
//   when_any_ready/N    N such children, of which the first one to end counts
//   race_and_stop/2     a child that waits for an item of a channel, where none will come, and one that gives a number at once: the first one is stopped; a time
//                       is per race
//
// penstock's children are tasks, or (`of futures`) functions that were submitted to the pool. Peers, each as its users know it: Asio's awaitable
// operators (two children only; `||` ends with the first child), Boost.Fiber's fibers and futures (one thread), and where there are workers functions
// and their futures (asio::thread_pool, a pool of std::packaged_task written by hand, std::async with a thread for each) that are got one after the
// other, and tbb::task_group, which writes into a vector, and whose waiter is one of the W workers.
// None but Asio's hears of a failure before its turn, and none of these has anything to cancel the other children with.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "pool_peers.hpp"
#include "thread_counts.hpp"

#if PENSTOCK_BENCH_HAS_ASIO
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#if defined(ASIO_HAS_CO_AWAIT)
#include <asio/awaitable.hpp>
#include <asio/detached.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/experimental/channel.hpp>
#include <asio/use_awaitable.hpp>
#define PENSTOCK_BENCH_HAS_AWAITABLE_OPERATORS 1
#endif
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/future.hpp>
#endif

#include <penstock/channel/channel.hpp>
#include <penstock/combine/race.hpp>
#include <penstock/combine/when_all.hpp>
#include <penstock/combine/when_any.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace {

int number(int i) {
  benchmark::DoNotOptimize(i);
  return i;
}
int work(int i) {
  auto x = static_cast<std::uint64_t>(i);
  for (int k = 0; k < 200; ++k) x = x * 6364136223846793005u + 1442695040888963407u;
  benchmark::DoNotOptimize(x);
  return i;
}
template <class Get>
int sum(int n, Get get) {
  int all = 0;
  for (int i = 0; i < n; ++i) all += get(static_cast<std::size_t>(i));
  return all;
}
void check(benchmark::State& state, int all, int n) {
  if (all != n * (n - 1) / 2) state.SkipWithError("a wrong sum");
}

template <int (*F)(int)>
penstock::task<int> child(int i) {
  co_return F(i);
}
template <int (*F)(int)>
std::vector<penstock::task<int>> children(int n) {
  std::vector<penstock::task<int>> all;
  all.reserve(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) all.push_back(child<F>(i));
  return all;
}

// One thread.

struct penstock_range {
  static int all(int n) {
    const std::vector<int> values = penstock::sync_wait(penstock::when_all(children<number>(n)));
    return sum(n, [&](std::size_t i) { return values[i]; });
  }
  static int any(int n) { return penstock::sync_wait(penstock::when_any(children<number>(n))).value; }
};
struct penstock_two {
  static int all(int) {
    const auto [a, b] = penstock::sync_wait(penstock::when_all(child<number>(0), child<number>(1)));
    return a + b;
  }
  static int any(int) { return penstock::sync_wait(penstock::when_any(child<number>(0), child<number>(1))).value; }
};

struct penstock_race {
  penstock::task<int> waits() { co_return (co_await items.async_pop()).value_or(-1); }
  int race() { return penstock::sync_wait(penstock::race(waits(), child<number>(0))).value; }
  penstock::channel<int> items{1};
};

#if PENSTOCK_BENCH_HAS_AWAITABLE_OPERATORS
asio::awaitable<int> asio_child(int i) { co_return number(i); }
struct asio_two {
  template <class Both>
  int run(Both both) {
    int result = 0;
    const auto outer = [&]() -> asio::awaitable<void> { result = co_await both(); };
    asio::co_spawn(io, outer, asio::detached);
    io.restart();
    io.run();
    return result;
  }
  int all(int) {
    return run([]() -> asio::awaitable<int> {
      using namespace asio::experimental::awaitable_operators;
      const auto [a, b] = co_await (asio_child(0) && asio_child(1));
      co_return a + b;
    });
  }
  int any(int) {
    return run([]() -> asio::awaitable<int> {
      using namespace asio::experimental::awaitable_operators;
      const auto first = co_await (asio_child(0) || asio_child(1));
      co_return first.index() == 0 ? std::get<0>(first) : std::get<1>(first);
    });
  }
  int race() {
    return run([this]() -> asio::awaitable<int> {
      using namespace asio::experimental::awaitable_operators;
      const auto first = co_await (items.async_receive(asio::use_awaitable) || asio_child(0));
      co_return first.index() == 0 ? std::get<0>(first) : std::get<1>(first);
    });
  }
  asio::io_context io{1};
  asio::experimental::channel<void(asio::error_code, int)> items{io, 1};
};
#endif

#if PENSTOCK_BENCH_HAS_BOOST_FIBER
struct fibers {
  static int all(int n) {
    std::vector<boost::fibers::future<int>> futures;
    futures.reserve(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) futures.push_back(boost::fibers::async(number, i));
    return sum(n, [&](std::size_t i) { return futures[i].get(); });
  }
};
#endif

// Workers.

struct penstock_tasks : pools::penstock_pool {
  using penstock_pool::penstock_pool;
  int all(int n) {
    const std::vector<int> values = penstock::sync_wait(penstock::when_all(children<work>(n)) | penstock::via(pool));
    return sum(n, [&](std::size_t i) { return values[i]; });
  }
};
struct penstock_futures : pools::penstock_pool {
  using penstock_pool::penstock_pool;
  int all(int n) {
    std::vector<penstock::future<int>> futures;
    futures.reserve(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) futures.push_back(pool.submit([i] { return work(i); }));
    const std::vector<int> values = penstock::sync_wait(penstock::when_all(std::move(futures)));
    return sum(n, [&](std::size_t i) { return values[i]; });
  }
};

// submit(f): a std::future
template <class Submit>
int all_futures(int n, Submit submit) {
  std::vector<std::future<int>> futures;
  futures.reserve(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) futures.push_back(submit([i] { return work(i); }));
  return sum(n, [&](std::size_t i) { return futures[i].get(); });
}

struct hand_written : pools::by_hand {
  using by_hand::by_hand;
  int all(int n) {
    return all_futures(n, [this](auto f) {
      auto task = std::make_shared<std::packaged_task<int()>>(f);
      post([task] { (*task)(); });
      return task->get_future();
    });
  }
};
struct threads {
  explicit threads(int) {}
  static int all(int n) {
    return all_futures(n, [](auto f) { return std::async(std::launch::async, f); });
  }
};
template <class Pool>
struct asio_workers : pools::asio_pool<Pool> {
  using pools::asio_pool<Pool>::asio_pool;
  int all(int n) {
    return all_futures(n, [this](auto f) { return pools::post_to_asio(this->pool, std::packaged_task<int()>(f)); });
  }
};
#if PENSTOCK_BENCH_HAS_TBB
struct tbb_workers : pools::tbb_group {
  using tbb_group::tbb_group;
  int all(int n) {
    std::vector<int> values(static_cast<std::size_t>(n));
    arena.execute([&] {
      for (int i = 0; i < n; ++i) group.run([&values, i] { values[static_cast<std::size_t>(i)] = work(i); });
      group.wait();
    });
    return sum(n, [&](std::size_t i) { return values[i]; });
  }
};
#endif

template <class P>
void BM_when_all_ready(benchmark::State& state) {
  P p;
  const int n = static_cast<int>(state.range(0));
  for (auto _ : state) check(state, p.all(n), n);
  state.SetItemsProcessed(state.iterations() * n);
}
template <class P>
void BM_when_any_ready(benchmark::State& state) {
  P p;
  const int n = static_cast<int>(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(p.any(n));
  state.SetItemsProcessed(state.iterations() * n);
}
template <class P>
void BM_race_and_stop(benchmark::State& state) {
  P p;
  for (auto _ : state) {
    if (p.race() != 0) state.SkipWithError("who waits in vain was first");
  }
}
template <class P>
void BM_when_all_work(benchmark::State& state) {
  P p{static_cast<int>(state.range(1))};
  const int n = static_cast<int>(state.range(0));
  for (auto _ : state) check(state, p.all(n), n);
  state.SetItemsProcessed(state.iterations() * n);
}

template <class P>
void add_ready(const std::string& name, const std::vector<int>& counts) {
  for (const int n : counts) {
    benchmark::RegisterBenchmark(("BM_when_all_ready<" + name + ">").c_str(), BM_when_all_ready<P>)->Arg(n)->MinTime(0.1);
    if constexpr (requires(P p) { p.any(n); }) {
      benchmark::RegisterBenchmark(("BM_when_any_ready<" + name + ">").c_str(), BM_when_any_ready<P>)->Arg(n)->MinTime(0.1);
    }
  }
}
template <class P>
void add_race(const std::string& name) {
  benchmark::RegisterBenchmark(("BM_race_and_stop<" + name + ">").c_str(), BM_race_and_stop<P>)->Arg(2)->MinTime(0.1);
}
template <class P>
void add_work(const std::string& name, const std::vector<int>& counts = {2, 10, 1000}) {
  for (const int workers : thread_counts::up_to_all<>()) {
    if (workers == 1) continue;
    for (const int n : counts) {
      benchmark::RegisterBenchmark(("BM_when_all_work<" + name + ">").c_str(), BM_when_all_work<P>)
          ->Args({n, workers})
          ->MinTime(0.1)
          ->UseRealTime();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  add_ready<penstock_range>("penstock of a vector", {2, 10, 1000});
  add_ready<penstock_two>("penstock of arguments", {2});
  add_race<penstock_race>("penstock::race");
#if PENSTOCK_BENCH_HAS_AWAITABLE_OPERATORS
  add_ready<asio_two>("asio::awaitable_operators", {2});
  add_race<asio_two>("asio::awaitable_operators");
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
  add_ready<fibers>("boost::fibers::async", {2, 10, 1000});
#endif
  add_work<penstock_tasks>("penstock of tasks");
  add_work<penstock_futures>("penstock of futures");
#if PENSTOCK_BENCH_HAS_TBB
  add_work<tbb_workers>("tbb::task_group (the waiter is a worker)");
#endif
#if PENSTOCK_BENCH_HAS_ASIO
  add_work<asio_workers<asio::thread_pool>>("asio::thread_pool");
#elif PENSTOCK_BENCH_HAS_BOOST_ASIO
  add_work<asio_workers<boost::asio::thread_pool>>("boost::asio::thread_pool");
#endif
  add_work<hand_written>("mutex and deque of std::function");
  add_work<threads>("std::async", {2, 10});
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
