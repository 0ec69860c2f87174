// A value that is given once and waited for.
//
//   future_alone           one thread makes a promise and its future, gives a number and gets it
//   future_ping_pong       two threads: with each request goes a promise of the answer, and where the next request will be; a time is there and back,
//                          and both threads sleep and wake in it
//   future_then            what is to follow waits for the future when the value comes, all on one thread: a coroutine, or a fiber, or `then`
//   shared_future_get/threads:N   N threads copy one that has its value, and look at that through the copy
//   shared_future_wake/N          N threads wait, each by a copy of its own, and sleep; the time from the giving until the last of them runs (quantiles)
//   shared_future_coroutines      a thousand coroutines (or fibers) of one thread wait for one value; a time is for each, its beginning and end included
//
// Peers: the standard library's, Boost.Thread's (`then` with launch::sync runs what follows where the value is given, as penstock's coroutine does) and
// Boost.Fiber's, all on one thread. None but penstock's can be cancelled or asks who computes the value to stop.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if PENSTOCK_BENCH_HAS_BOOST_THREAD
#define BOOST_THREAD_PROVIDES_FUTURE
#define BOOST_THREAD_PROVIDES_FUTURE_CONTINUATION
#include <boost/thread/future.hpp>
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/future.hpp>
#endif

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/sync/shared_future.hpp>

#include "contention.hpp"
#include "thread_counts.hpp"

namespace {

struct penstock_futures {
  template <class T>
  using promise = penstock::promise<T>;
  template <class T>
  using future = penstock::future<T>;
  using shared = penstock::shared_future<int>;
};
struct standard_futures {
  template <class T>
  using promise = std::promise<T>;
  template <class T>
  using future = std::future<T>;
  using shared = std::shared_future<int>;
};
#if PENSTOCK_BENCH_HAS_BOOST_THREAD
struct boost_futures {
  template <class T>
  using promise = boost::promise<T>;
  template <class T>
  using future = boost::future<T>;
  using shared = boost::shared_future<int>;
};
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
struct fiber_futures {
  template <class T>
  using promise = boost::fibers::promise<T>;
  template <class T>
  using future = boost::fibers::future<T>;
  using shared = boost::fibers::shared_future<int>;
};
#endif

template <class F>
void BM_future_alone(benchmark::State& state) {
  for (auto _ : state) {
    typename F::template promise<int> p;
    auto f = p.get_future();
    p.set_value(1);
    benchmark::DoNotOptimize(f.get());
  }
}

// A request, in which the next one is promised. An empty one is the last.
template <class F>
struct request {
  typename F::template promise<int> answer;
  typename F::template future<std::unique_ptr<request>> next;
};
template <class F>
void BM_future_ping_pong(benchmark::State& state) {
  using post = std::unique_ptr<request<F>>;
  typename F::template promise<post> sent;
  std::thread other{[line = sent.get_future()]() mutable {
    for (;;) {
      const post r = line.get();
      if (!r) return;
      line = std::move(r->next);
      r->answer.set_value(1);
    }
  }};
  for (auto _ : state) {
    auto r = std::make_unique<request<F>>();
    auto answer = r->answer.get_future();
    typename F::template promise<post> further;
    r->next = further.get_future();
    sent.set_value(std::move(r));
    sent = std::move(further);
    benchmark::DoNotOptimize(answer.get());
  }
  sent.set_value(nullptr);
  other.join();
}

penstock::task<> add_to(penstock::future<int> f, std::int64_t& sum) { sum += co_await std::move(f); }
void BM_future_then_coroutine(benchmark::State& state) {
  std::int64_t sum = 0;
  for (auto _ : state) {
    penstock::promise<int> p;
    const auto following = penstock::spawn(add_to(p.get_future(), sum));
    p.set_value(1);
    following.wait();
  }
  if (sum != state.iterations()) state.SkipWithError("not all followed");
}
#if PENSTOCK_BENCH_HAS_BOOST_THREAD
void BM_future_then_boost(benchmark::State& state) {
  std::int64_t sum = 0;
  for (auto _ : state) {
    boost::promise<int> p;
    auto following = p.get_future().then(boost::launch::sync, [&sum](boost::future<int> f) { sum += f.get(); });
    p.set_value(1);
    following.get();
  }
  if (sum != state.iterations()) state.SkipWithError("not all followed");
}
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
void BM_future_then_fiber(benchmark::State& state) {
  std::int64_t sum = 0;
  for (auto _ : state) {
    boost::fibers::promise<int> p;
    boost::fibers::fiber following{boost::fibers::launch::dispatch, [&sum, f = p.get_future()]() mutable { sum += f.get(); }};
    p.set_value(1);
    following.join();
  }
  if (sum != state.iterations()) state.SkipWithError("not all followed");
}
#endif

template <class F>
struct has_value {
  has_value() {
    typename F::template promise<int> p;
    seen = typename F::shared{p.get_future()};
    p.set_value(1);
  }
  typename F::shared seen;
};
template <class F>
void BM_shared_future_get(benchmark::State& state) {
  const auto& all = contention::shared<has_value<F>>()->seen;
  for (auto _ : state) {
    typename F::shared mine{all};
    benchmark::DoNotOptimize(mine.get());
  }
  state.SetItemsProcessed(state.iterations());
}

template <class F>
struct awaited {
  void set() { p.set_value(1); }
  void wait() {
    typename F::shared mine{f};
    mine.wait();
  }
  typename F::template promise<int> p;
  const typename F::shared f{p.get_future()};
};

constexpr int coroutines = 1000;

penstock::task<> add_shared(penstock::shared_future<int> f, std::int64_t& sum) { sum += co_await f; }
void BM_shared_future_coroutines(benchmark::State& state) {
  std::int64_t sum = 0;
  for (auto _ : state) {
    penstock::promise<int> p;
    const penstock::shared_future<int> f{p.get_future()};
    std::vector<penstock::spawned<void>> line;
    line.reserve(coroutines);
    for (int i = 0; i < coroutines; ++i) line.push_back(penstock::spawn(add_shared(f, sum)));
    p.set_value(1);
    for (auto& c : line) c.wait();
  }
  if (sum != state.iterations() * coroutines) state.SkipWithError("not all got it");
  state.SetItemsProcessed(sum);
}
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
void BM_shared_future_fibers(benchmark::State& state) {
  std::int64_t sum = 0;
  for (auto _ : state) {
    boost::fibers::promise<int> p;
    const boost::fibers::shared_future<int> f{p.get_future()};
    std::vector<boost::fibers::fiber> line;
    line.reserve(coroutines);
    for (int i = 0; i < coroutines; ++i) {
      line.emplace_back(boost::fibers::launch::dispatch, [&sum, mine = f] { sum += mine.get(); });
    }
    p.set_value(1);
    for (auto& c : line) c.join();
  }
  if (sum != state.iterations() * coroutines) state.SkipWithError("not all got it");
  state.SetItemsProcessed(sum);
}
#endif

benchmark::internal::Benchmark* add(const std::string& workload, const std::string& name, void (*run)(benchmark::State&)) {
  return benchmark::RegisterBenchmark(("BM_" + workload + "<" + name + ">").c_str(), run)->UseRealTime();
}
template <class F>
void add_all(const std::string& library) {
  add("future_alone", library + "::future", BM_future_alone<F>)->MinTime(0.1);
  add("future_ping_pong", library + "::future", BM_future_ping_pong<F>)->MinTime(0.1);
  auto* get = add("shared_future_get", library + "::shared_future", BM_shared_future_get<F>)->MinTime(0.1);
  get->Setup(contention::build<has_value<F>>)->Teardown(contention::destroy<has_value<F>>);
  thread_counts::apply<>(get);
  auto* wake = benchmark::RegisterBenchmark(("BM_shared_future_wake<" + library + "::shared_future>").c_str(),
                                            contention::wake<awaited<F>>);
  wake->Arg(4)->Arg(16)->Iterations(contention::wakes)->UseManualTime();
}

}  // namespace

int main(int argc, char** argv) {
  add_all<penstock_futures>("penstock");
  add_all<standard_futures>("std");
  add("future_then", "penstock::future, a coroutine", BM_future_then_coroutine)->MinTime(0.1);
  add("shared_future_coroutines", "penstock::shared_future", BM_shared_future_coroutines)->MinTime(0.1);
#if PENSTOCK_BENCH_HAS_BOOST_THREAD
  add_all<boost_futures>("boost");
  add("future_then", "boost::future", BM_future_then_boost)->MinTime(0.1);
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
  add("future_alone", "boost::fibers::future", BM_future_alone<fiber_futures>)->MinTime(0.1);
  add("future_then", "boost::fibers::future, a fiber", BM_future_then_fiber)->MinTime(0.1);
  add("shared_future_coroutines", "boost::fibers::shared_future", BM_shared_future_fibers)->MinTime(0.1);
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
