// An event is set and waited for: by one thread, by a thread that sleeps (the time from set() until it runs), by sixteen, there and back, and by a thousand coroutines.
//
// Peers that one sets once: std::latch of one, Abseil's Notification, std::promise; by hand: std::atomic's wait and notify, a mutex with a condition variable. With
// penstock's, with Abseil's, and with the last one, who was let pass may destroy the event at once, for which penstock's looks at its lock where the event is
// set already; with the latch and the atomic set() may still be at work. For there and back, where each set() lets one pass: std::binary_semaphore (whose lost
// wakeup may hang a run: it is what users have) and again the two by hand. For coroutines Boost.Fiber's condition_variable, on one thread as they are.
#include <benchmark/benchmark.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <future>
#include <latch>
#include <mutex>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#if PENSTOCK_BENCH_HAS_ABSEIL
#include <absl/synchronization/notification.h>
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
#include <boost/fiber/condition_variable.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/mutex.hpp>
#include <boost/fiber/operations.hpp>
#endif

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/event.hpp>

#include "contention.hpp"

namespace {

struct latch_of_one {
  void set() { l.count_down(); }
  void wait() { l.wait(); }
  std::latch l{1};
};

struct promise_and_future {
  void set() { p.set_value(); }
  void wait() { f.wait(); }
  std::promise<void> p;
  const std::shared_future<void> f{p.get_future()};
};

struct atomic_wait {
  void set() {
    flag.store(1, std::memory_order_release);
    flag.notify_all();
  }
  void wait() { flag.wait(0, std::memory_order_acquire); }
  std::atomic<int> flag{0};  // an int, as the futex is: libstdc++ takes a detour for a bool
};

struct condition {
  void set() {
    std::scoped_lock guard{lock};
    ready = true;
    changed.notify_all();
  }
  void wait() {
    std::unique_lock guard{lock};
    changed.wait(guard, [&] { return ready; });
  }
  std::mutex lock;
  std::condition_variable changed;
  bool ready = false;
};

#if PENSTOCK_BENCH_HAS_ABSEIL
struct notification {
  void set() { n.Notify(); }
  void wait() { n.WaitForNotification(); }
  absl::Notification n;
};
#endif

// A time is per event: built, set, waited for, destroyed.
template <class E>
void BM_event_alone(benchmark::State& state) {
  for (auto _ : state) {
    E e;
    benchmark::DoNotOptimize(&e);
    e.set();
    e.wait();
  }
}

// All threads wait for what has happened.
template <class E>
struct set_already : E {
  set_already() { E::set(); }
};
template <class E>
void BM_event_passed(benchmark::State& state) {
  E& e = *contention::shared<set_already<E>>();
  for (auto _ : state) e.wait();
  state.SetItemsProcessed(state.iterations());
}

template <class E>
void add(const std::string& name) {
  const auto named = [&name](const char* workload) { return std::string{"BM_"} + workload + "<" + name + ">"; };
  benchmark::RegisterBenchmark(named("event_alone").c_str(), BM_event_alone<E>)->MinTime(0.1)->UseRealTime();
  auto* passed = benchmark::RegisterBenchmark(named("event_passed").c_str(), BM_event_passed<E>);
  passed->Setup(contention::build<set_already<E>>)->Teardown(contention::destroy<set_already<E>>)->MinTime(0.1)->UseRealTime();
  thread_counts::apply<>(passed);
  auto* wake = benchmark::RegisterBenchmark(named("event_wake").c_str(), contention::wake<E>);
  wake->Arg(1)->Arg(4)->Arg(16)->Iterations(contention::wakes)->UseManualTime();
}

// Each set() lets one pass, once.
struct atomic_exchange {
  void set() {
    flag.store(1, std::memory_order_release);
    flag.notify_one();
  }
  void wait() {
    while (flag.exchange(0, std::memory_order_acquire) == 0) flag.wait(0, std::memory_order_relaxed);
  }
  std::atomic<int> flag{0};
};
struct auto_reset_condition {
  void set() {
    std::scoped_lock guard{lock};
    ready = true;
    changed.notify_one();
  }
  void wait() {
    std::unique_lock guard{lock};
    changed.wait(guard, [&] { return ready; });
    ready = false;
  }
  std::mutex lock;
  std::condition_variable changed;
  bool ready = false;
};
struct binary_semaphore {
  void set() { s.release(); }
  void wait() { s.acquire(); }
  std::binary_semaphore s{0};
};

template <class E>
void BM_event_ping_pong(benchmark::State& state) {
  E ping;
  E pong;
  bool ending = false;
  std::thread other{[&] {
    for (;;) {
      ping.wait();
      if (ending) return;
      pong.set();
    }
  }};
  for (auto _ : state) {
    ping.set();
    pong.wait();
  }
  ending = true;
  ping.set();
  other.join();
}
template <class E>
void add_ping_pong(const std::string& name) {
  benchmark::RegisterBenchmark(("BM_event_ping_pong<" + name + ">").c_str(), BM_event_ping_pong<E>)->MinTime(0.1)->UseRealTime();
}

// A thousand coroutines (or fibers) of one thread wait, and set() wakes them all. A time is for each: begun, suspended, resumed and at its end.
constexpr int coroutines = 1000;

penstock::task<> wait_for(penstock::event& e, std::int64_t& woken) {
  static_cast<void>(co_await e.async_wait());
  ++woken;
}
void BM_event_coroutines(benchmark::State& state) {
  std::int64_t woken = 0;
  for (auto _ : state) {
    penstock::event e;
    std::vector<penstock::spawned<void>> line;
    line.reserve(coroutines);
    for (int i = 0; i < coroutines; ++i) line.push_back(penstock::spawn(wait_for(e, woken)));
    e.set();
    for (auto& c : line) c.wait();
  }
  if (woken != state.iterations() * coroutines) state.SkipWithError("not all were woken");
  state.SetItemsProcessed(woken);
}
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
void BM_event_fibers(benchmark::State& state) {
  std::int64_t woken = 0;
  for (auto _ : state) {
    boost::fibers::mutex lock;
    boost::fibers::condition_variable changed;
    bool ready = false;
    std::vector<boost::fibers::fiber> line;
    line.reserve(coroutines);
    for (int i = 0; i < coroutines; ++i) {
      line.emplace_back(boost::fibers::launch::dispatch, [&] {
        std::unique_lock guard{lock};
        changed.wait(guard, [&] { return ready; });
        ++woken;
      });
    }
    {
      std::scoped_lock guard{lock};
      ready = true;
    }
    changed.notify_all();
    for (auto& f : line) f.join();
  }
  if (woken != state.iterations() * coroutines) state.SkipWithError("not all were woken");
  state.SetItemsProcessed(woken);
}
#endif

}  // namespace

int main(int argc, char** argv) {
  add<penstock::event>("penstock::event");
#if PENSTOCK_BENCH_HAS_ABSEIL
  add<notification>("absl::Notification");
#endif
  add<latch_of_one>("std::latch");
  add<atomic_wait>("std::atomic wait");
  add<condition>("mutex and condition_variable");
  add<promise_and_future>("std::promise and shared_future");
  add_ping_pong<penstock::auto_reset_event>("penstock::auto_reset_event");
  add_ping_pong<binary_semaphore>("std::binary_semaphore");
  add_ping_pong<atomic_exchange>("std::atomic wait");
  add_ping_pong<auto_reset_condition>("mutex and condition_variable");
  benchmark::RegisterBenchmark("BM_event_coroutines<penstock::event>", BM_event_coroutines)->MinTime(0.1)->UseRealTime();
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
  benchmark::RegisterBenchmark("BM_event_coroutines<boost::fibers::condition_variable>", BM_event_fibers)
      ->MinTime(0.1)
      ->UseRealTime();
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
