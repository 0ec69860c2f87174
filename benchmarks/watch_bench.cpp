// The latest value, and waiting for a newer one.
//
//   watch_set              a number is set while nobody waits
//   watch_get/threads:N    N threads take a copy of the number
//   watch_read/threads:N   N threads look at one number of a value of 4 KB
//   watch_read_and_set/threads:N  the same, where each hundredth turn of each thread sets a new value
//   watch_unchanged/threads:N     N threads see that there is nothing new
//   watch_wake/N           N threads sleep until there is something new; the time until the last of them runs (quantiles)
//   watch_ping_pong        there and back over two watches
//   watch_coroutines       a value is set for which a thousand coroutines (or fibers) of one thread wait, each of which reads it and waits again; a time is for each
//
// Peers: a mutex, a condition variable and the number of the version; a std::shared_mutex and a std::condition_variable_any; Abseil's mutex, which looks for
// itself who waits for what; a std::shared_ptr in a std::atomic, which waits and wakes, too, and tells versions by their addresses. Who reads under a lock keeps
// writers out as long as it reads; penstock's reader and the shared_ptr's do not.
#include <benchmark/benchmark.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if PENSTOCK_BENCH_HAS_ABSEIL
#include <absl/synchronization/mutex.h>
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
#include <boost/fiber/condition_variable.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/mutex.hpp>
#endif

#include <penstock/channel/watch.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>

#include "contention.hpp"
#include "thread_counts.hpp"

namespace {

struct large {
  explicit large(std::uint64_t n) { numbers.fill(n); }
  std::array<std::uint64_t, 512> numbers;
};

// W w{first}; w.set(value); w.get(); w.read(f); auto mine = w.subscribe(), which has seen what is there now; w.changed(mine); w.wait(mine), which has then seen it

template <class T>
class penstock_watch {
 public:
  explicit penstock_watch(T first) : w_{std::move(first)} {}
  void set(T value) { static_cast<void>(w_.set(std::move(value))); }
  T get() const { return w_.get(); }
  template <class F>
  auto read(F f) const {
    return w_.read(f);
  }
  auto subscribe() const { return w_.subscribe(); }
  static bool changed(const penstock::watcher<T>& mine) { return mine.changed(); }
  static void wait(penstock::watcher<T>& mine) {
    static_cast<void>(mine.wait_changed());
    static_cast<void>(mine.read([](const T&) { return 0; }));
  }

 private:
  penstock::watch<T> w_;
};

// Under a lock.
template <class T, class Lock, class SharedGuard, class Condition>
class locked_watch {
 public:
  explicit locked_watch(T first) : value_{std::move(first)} {}
  void set(T value) {
    {
      std::scoped_lock guard{lock_};
      value_ = std::move(value);
      ++version_;
    }
    newer_.notify_all();
  }
  T get() const {
    SharedGuard guard{lock_};
    return value_;
  }
  template <class F>
  auto read(F f) const {
    SharedGuard guard{lock_};
    return f(value_);
  }
  std::uint64_t subscribe() const {
    SharedGuard guard{lock_};
    return version_;
  }
  bool changed(std::uint64_t seen) const {
    SharedGuard guard{lock_};
    return version_ != seen;
  }
  void wait(std::uint64_t& seen) const {
    SharedGuard guard{lock_};
    newer_.wait(guard, [&] { return version_ != seen; });
    seen = version_;
  }

 private:
  mutable Lock lock_;
  mutable Condition newer_;
  T value_;
  std::uint64_t version_ = 0;
};
template <class T>
using mutex_watch = locked_watch<T, std::mutex, std::unique_lock<std::mutex>, std::condition_variable>;
template <class T>
using shared_mutex_watch = locked_watch<T, std::shared_mutex, std::shared_lock<std::shared_mutex>, std::condition_variable_any>;

template <class T>
class atomic_watch {
 public:
  explicit atomic_watch(T first) : value_{std::make_shared<const T>(std::move(first))} {}
  void set(T value) {
    value_.store(std::make_shared<const T>(std::move(value)), std::memory_order_release);
    value_.notify_all();
  }
  T get() const { return *value_.load(std::memory_order_acquire); }
  template <class F>
  auto read(F f) const {
    return f(*value_.load(std::memory_order_acquire));
  }
  std::shared_ptr<const T> subscribe() const {
    return value_.load(std::memory_order_acquire);
  }  // held: no newer one can lie where it does
  bool changed(const std::shared_ptr<const T>& seen) const { return value_.load(std::memory_order_acquire) != seen; }
  void wait(std::shared_ptr<const T>& seen) const {
    value_.wait(seen, std::memory_order_acquire);
    seen = value_.load(std::memory_order_acquire);
  }

 private:
  std::atomic<std::shared_ptr<const T>> value_;
};

#if PENSTOCK_BENCH_HAS_ABSEIL
template <class T>
class abseil_watch {
 public:
  explicit abseil_watch(T first) : value_{std::move(first)} {}
  void set(T value) {
    absl::MutexLock guard{&lock_};
    value_ = std::move(value);
    ++version_;
  }
  T get() const {
    absl::ReaderMutexLock guard{&lock_};
    return value_;
  }
  template <class F>
  auto read(F f) const {
    absl::ReaderMutexLock guard{&lock_};
    return f(value_);
  }
  std::uint64_t subscribe() const {
    absl::ReaderMutexLock guard{&lock_};
    return version_;
  }
  bool changed(std::uint64_t seen) const {
    absl::ReaderMutexLock guard{&lock_};
    return version_ != seen;
  }
  void wait(std::uint64_t& seen) const {
    const auto newer = [&] { return version_ != seen; };
    absl::ReaderMutexLock guard{&lock_, absl::Condition{&newer}};
    seen = version_;
  }

 private:
  mutable absl::Mutex lock_;
  T value_;
  std::uint64_t version_ = 0;
};
#endif

using number = std::uint64_t;

template <class W>
struct of_none : W {
  of_none() : W{0} {}
};
template <class L>
struct large_of_none : L {
  large_of_none() : L{large{0}} {}
};

template <class W>
void BM_watch_set(benchmark::State& state) {
  W w{0};
  for (auto _ : state) w.set(1);
}
template <class W>
void BM_watch_get(benchmark::State& state) {
  const W& w = *contention::shared<of_none<W>>();
  for (auto _ : state) benchmark::DoNotOptimize(w.get());
  state.SetItemsProcessed(state.iterations());
}
template <class L>
void BM_watch_read(benchmark::State& state) {
  const L& w = *contention::shared<large_of_none<L>>();
  for (auto _ : state) benchmark::DoNotOptimize(w.read([](const large& v) { return v.numbers[7]; }));
  state.SetItemsProcessed(state.iterations());
}
template <class L>
void BM_watch_read_and_set(benchmark::State& state) {
  L& w = *contention::shared<large_of_none<L>>();
  number turn = 0;
  contention::take_turns(state, [&] {
    if (++turn % 100 == 0) {
      w.set(large{turn});
    } else {
      benchmark::DoNotOptimize(w.read([](const large& v) { return v.numbers[7]; }));
    }
  });
}
template <class W>
void BM_watch_unchanged(benchmark::State& state) {
  const W& w = *contention::shared<of_none<W>>();
  const auto mine = w.subscribe();
  for (auto _ : state) benchmark::DoNotOptimize(w.changed(mine));
  state.SetItemsProcessed(state.iterations());
}

template <class W>
struct awaited {
  void set() { w.set(1); }
  void wait() {
    auto mine = before;
    w.wait(mine);
  }
  W w{0};
  const decltype(w.subscribe()) before = w.subscribe();
};

template <class W>
void BM_watch_ping_pong(benchmark::State& state) {
  W ping{0};
  W pong{0};
  const number last = ~number{0};
  std::thread other{[&, mine = ping.subscribe()]() mutable {
    for (;;) {
      ping.wait(mine);
      const number n = ping.get();
      if (n == last) return;
      pong.set(n);
    }
  }};
  auto mine = pong.subscribe();
  for (auto _ : state) {
    ping.set(1);
    pong.wait(mine);
  }
  ping.set(last);
  other.join();
}

constexpr int coroutines = 1000;

penstock::task<> follow(penstock::watcher<number> w, number& sum) {
  for (;;) {
    const penstock::result<void> changed = co_await w.async_wait_changed();
    if (!changed) break;
    sum += w.get();
  }
}
void BM_watch_coroutines(benchmark::State& state) {
  number sum = 0;
  {
    penstock::watch<number> w{0};
    std::vector<penstock::spawned<void>> watchers;
    for (int i = 0; i < coroutines; ++i) watchers.push_back(penstock::spawn(follow(w.subscribe(), sum)));
    for (auto _ : state) static_cast<void>(w.set(1));
    w.close();
    watchers.clear();
  }
  if (sum != static_cast<number>(state.iterations()) * coroutines) state.SkipWithError("not all read it");
  state.SetItemsProcessed(static_cast<std::int64_t>(sum));
}
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
void BM_watch_fibers(benchmark::State& state) {
  number sum = 0;
  {
    boost::fibers::mutex lock;
    boost::fibers::condition_variable newer;
    number value = 0;
    number version = 0;
    bool closed = false;
    std::vector<boost::fibers::fiber> watchers;
    for (int i = 0; i < coroutines; ++i) {
      watchers.emplace_back(boost::fibers::launch::dispatch, [&] {
        number seen = 0;
        for (std::unique_lock guard{lock};;) {
          newer.wait(guard, [&] { return version != seen || closed; });
          if (version == seen) return;
          seen = version;
          sum += value;
        }
      });
    }
    for (auto _ : state) {
      {
        std::scoped_lock guard{lock};
        value = 1;
        ++version;
      }
      newer.notify_all();
      boost::this_fiber::yield();  // behind all that were woken
    }
    {
      std::scoped_lock guard{lock};
      closed = true;
    }
    newer.notify_all();
    for (auto& f : watchers) f.join();
  }
  if (sum != static_cast<number>(state.iterations()) * coroutines) state.SkipWithError("not all read it");
  state.SetItemsProcessed(static_cast<std::int64_t>(sum));
}
#endif

benchmark::internal::Benchmark* add(const std::string& workload, const std::string& name, void (*run)(benchmark::State&)) {
  return benchmark::RegisterBenchmark(("BM_" + workload + "<" + name + ">").c_str(), run)->UseRealTime();
}
// One object for all threads.
template <class Shared>
void on_threads(benchmark::internal::Benchmark* b) {
  b->Setup(contention::build<Shared>)->Teardown(contention::destroy<Shared>);
  thread_counts::apply<>(b);
}
template <template <class> class Watch>
void add_all(const std::string& name) {
  using small = Watch<number>;
  using big = Watch<large>;
  add("watch_set", name, BM_watch_set<small>)->MinTime(0.1);
  on_threads<of_none<small>>(add("watch_get", name, BM_watch_get<small>)->MinTime(0.1));
  on_threads<large_of_none<big>>(add("watch_read", name, BM_watch_read<big>)->MinTime(0.1));
  on_threads<large_of_none<big>>(add("watch_read_and_set", name, BM_watch_read_and_set<big>)->Iterations(1));
  on_threads<of_none<small>>(add("watch_unchanged", name, BM_watch_unchanged<small>)->MinTime(0.1));
  benchmark::RegisterBenchmark(("BM_watch_wake<" + name + ">").c_str(), contention::wake<awaited<small>>)
      ->Arg(1)
      ->Arg(16)
      ->Iterations(contention::wakes)
      ->UseManualTime();
  add("watch_ping_pong", name, BM_watch_ping_pong<small>)->MinTime(0.1);
}

}  // namespace

int main(int argc, char** argv) {
  add_all<penstock_watch>("penstock::watch");
  add_all<mutex_watch>("mutex and condition_variable");
  add_all<shared_mutex_watch>("shared_mutex and condition_variable_any");
  add_all<atomic_watch>("std::atomic of a shared_ptr");
#if PENSTOCK_BENCH_HAS_ABSEIL
  add_all<abseil_watch>("absl::Mutex");
#endif
  add("watch_coroutines", "penstock::watch", BM_watch_coroutines)->MinTime(0.1);
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
  add("watch_coroutines", "boost::fibers::condition_variable", BM_watch_fibers)->MinTime(0.1);
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
