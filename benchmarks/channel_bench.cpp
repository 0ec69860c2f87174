// Items of eight bytes through a bounded queue of 1,024 places: by one thread, between threads, more threads than processors, in batches of 32,
// between coroutines, and there and back over capacity 1; and items of other kinds.
//
// Peers that block: oneTBB's concurrent_bounded_queue, Boost.Fiber's buffered_channel (used by threads, which are fibers to it), a mutex with
// two condition variables; moodycamel's BlockingConcurrentQueue blocks its consumers only, and is unbounded. Peers that spin, and leave
// waiting to their users: atomic_queue, boost::lockfree::queue. Go's channel is measured by peers/channel.go. A time is per item.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <queue>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if PENSTOCK_BENCH_HAS_TBB
#include <oneapi/tbb/concurrent_queue.h>
#endif
#if PENSTOCK_BENCH_HAS_MOODYCAMEL
#include <blockingconcurrentqueue.h>
#endif
#if PENSTOCK_BENCH_HAS_ATOMIC_QUEUE
#include <atomic_queue/atomic_queue.h>
#endif
#if PENSTOCK_BENCH_HAS_BOOST_LOCKFREE
#include <boost/lockfree/queue.hpp>
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
#include <boost/fiber/buffered_channel.hpp>
#include <boost/fiber/fiber.hpp>
#endif

#include <penstock/channel/channel.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "latencies.hpp"
#include "thread_counts.hpp"

namespace {

using item = std::uint64_t;
constexpr std::size_t places = 1024;

constexpr std::size_t batch = 32;
using item_batch = std::array<item, batch>;

template <class T, penstock::channel_policy Policy = penstock::channel_policy::mpmc>
struct basic_penstock {
  explicit basic_penstock(std::size_t capacity) : c{capacity} {}
  void push(T i) { static_cast<void>(c.push(std::move(i))); }
  T pop() { return *c.pop(); }
  void push_batch(item_batch& items) { static_cast<void>(c.push_range(items)); }
  std::size_t pop_batch(item_batch& items, std::size_t most) { return c.pop_n(items.begin(), most).count; }
  penstock::channel<T, Policy> c;
};
using penstock_channel = basic_penstock<item>;
using penstock_spsc = basic_penstock<item, penstock::channel_policy::spsc>;

// The same channel when it is asked for more: what that costs.
struct penstock_with_metrics : penstock_channel {
  explicit penstock_with_metrics(std::size_t capacity)
      : penstock_channel{capacity}, measured{{.capacity = capacity, .metrics = true}} {}
  void push(item i) { static_cast<void>(measured.push(std::move(i))); }
  item pop() { return *measured.pop(); }
  penstock::channel<item> measured;
};

template <class T>
struct basic_mutex_and_conditions {
  explicit basic_mutex_and_conditions(std::size_t n) : capacity{n} {}
  void push(T i) {
    {
      std::unique_lock guard{lock};
      room.wait(guard, [&] { return q.size() < capacity; });
      q.push(std::move(i));
    }
    available.notify_one();
  }
  T pop() {
    T i;
    {
      std::unique_lock guard{lock};
      available.wait(guard, [&] { return !q.empty(); });
      i = std::move(q.front());
      q.pop();
    }
    room.notify_one();
    return i;
  }
  std::size_t capacity;
  std::mutex lock;
  std::condition_variable room;
  std::condition_variable available;
  std::queue<T> q;
};
using mutex_and_conditions = basic_mutex_and_conditions<item>;

#if PENSTOCK_BENCH_HAS_TBB
template <class T>
struct basic_tbb {
  explicit basic_tbb(std::size_t n) { q.set_capacity(static_cast<std::ptrdiff_t>(n)); }
  void push(T i) { q.push(std::move(i)); }
  T pop() {
    T i;
    q.pop(i);
    return i;
  }
  oneapi::tbb::concurrent_bounded_queue<T> q;
};
using tbb_bounded = basic_tbb<item>;
#endif

#if PENSTOCK_BENCH_HAS_MOODYCAMEL
template <class T>
struct basic_moodycamel {
  explicit basic_moodycamel(std::size_t n) : q{n} {}
  void push(T i) { q.enqueue(std::move(i)); }
  T pop() {
    T i;
    q.wait_dequeue(i);
    return i;
  }
  void push_batch(item_batch& items) { q.enqueue_bulk(items.begin(), batch); }
  std::size_t pop_batch(item_batch& items, std::size_t most) { return q.wait_dequeue_bulk(items.begin(), most); }
  moodycamel::BlockingConcurrentQueue<T> q;
};
using moodycamel_blocking = basic_moodycamel<item>;
#endif

#if PENSTOCK_BENCH_HAS_ATOMIC_QUEUE
struct atomic_queue_spinning {
  explicit atomic_queue_spinning(std::size_t n) : q{static_cast<unsigned>(n)} {}
  void push(item i) { q.push(i); }
  item pop() { return q.pop(); }
  atomic_queue::AtomicQueueB2<item> q;
};
#endif

#if PENSTOCK_BENCH_HAS_BOOST_LOCKFREE
struct boost_lockfree_spinning {
  explicit boost_lockfree_spinning(std::size_t n) : q{n} {}
  void push(item i) {
    while (!q.bounded_push(i)) {
    }
  }
  item pop() {
    item i;
    while (!q.pop(i)) {
    }
    return i;
  }
  boost::lockfree::queue<item> q;
};
#endif

#if PENSTOCK_BENCH_HAS_BOOST_FIBER
struct fiber_buffered {
  explicit fiber_buffered(std::size_t n) : q{n < 2 ? 2 : n} {}  // its least capacity is 2, of which it uses one
  void push(item i) { q.push(i); }
  item pop() {
    item i{};
    q.pop(i);
    return i;
  }
  boost::fibers::buffered_channel<item> q;
};
#endif

// glibc leaves out the atomics of a mutex as long as the process has had one thread only.
[[maybe_unused]] const bool has_had_threads = (std::thread{[] {}}.join(), true);

template <class Q>
void BM_channel_pair(benchmark::State& state) {
  Q q{places};
  item i = 0;
  for (auto _ : state) {
    q.push(i++);
    benchmark::DoNotOptimize(q.pop());
  }
  state.SetItemsProcessed(state.iterations());
}

// `state.range(0)` producers and as many consumers.
template <class Q>
void BM_channel(benchmark::State& state) {
  const auto side = static_cast<item>(state.range(0));
  constexpr item items = 1 << 20;
  for (auto _ : state) {
    Q q{places};
    std::vector<std::jthread> threads;
    for (item t = 0; t < side; ++t) {
      threads.emplace_back([&q, side] {
        for (item i = 0; i < items / side; ++i) q.push(i);
      });
      threads.emplace_back([&q, side] {
        item sum = 0;
        for (item i = 0; i < items / side; ++i) sum += q.pop();
        benchmark::DoNotOptimize(sum);
      });
    }
    threads.clear();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(items));
}

// The same in batches: producers push 32 at a time, consumers take up to 32.
template <class Q>
void BM_channel_batches(benchmark::State& state) {
  const auto side = static_cast<item>(state.range(0));
  constexpr item items = 1 << 22;
  for (auto _ : state) {
    Q q{places};
    std::vector<std::jthread> threads;
    for (item t = 0; t < side; ++t) {
      threads.emplace_back([&q, side] {
        item_batch some{};
        for (item i = 0; i < items / side; i += batch) q.push_batch(some);
      });
    }
    for (item t = 0; t < side; ++t) {
      threads.emplace_back([&q, side] {
        item_batch some{};
        for (std::size_t left = items / side; left > 0;) left -= q.pop_batch(some, std::min(left, batch));
      });
    }
    threads.clear();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(items));
}

template <class Q>
void BM_channel_ping_pong(benchmark::State& state) {
  Q there{1};
  Q back{1};
  std::jthread other{[&] {
    while (const item i = there.pop()) back.push(i);
  }};
  for (auto _ : state) {
    there.push(1);
    benchmark::DoNotOptimize(back.pop());
  }
  there.push(0);
  state.SetItemsProcessed(state.iterations());
}

// The 99.9th percentile of the time from push to pop, while four producers that work 2 µs between pushes feed four consumers: what the
// ways to wait cost those who are unlucky.
template <class Q>
void BM_channel_latency_p999(benchmark::State& state) {
  using clock = std::chrono::steady_clock;
  const auto now = [] { return static_cast<item>(clock::now().time_since_epoch().count()); };
  constexpr int side = 4;
  constexpr int each = 20'000;
  for (auto _ : state) {
    Q q{places};
    penstock::histogram latency;
    std::vector<std::jthread> threads;
    for (int t = 0; t < side; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < each; ++i) {
          for (const item until = now() + 2'000; now() < until;) {
          }
          q.push(now());
        }
      });
      threads.emplace_back([&] {
        for (int i = 0; i < each; ++i) {
          const item pushed = q.pop();
          const item popped = now();
          latency.record(popped > pushed ? popped - pushed : 0);
        }
      });
    }
    threads.clear();
    const auto told = latency.snapshot();
    state.SetIterationTime(static_cast<double>(told.quantile(0.999)) * 1e-9);
    latencies::show_histogram(state, told);
  }
}

// Coroutines on a pool of two threads: two push, two pop.
template <penstock::channel_policy Policy>
penstock::task<> produce(penstock::channel<item, Policy>& c, item n) {
  for (item i = 0; i < n; ++i) {
    item mine = i;
    const auto pushed = co_await c.async_push(std::move(mine));
    if (!pushed) co_return;
  }
}
template <penstock::channel_policy Policy>
penstock::task<> consume(penstock::channel<item, Policy>& c, item n) {
  item sum = 0;
  for (item i = 0; i < n; ++i) {
    const auto popped = co_await c.async_pop();
    if (!popped) co_return;
    sum += *popped;
  }
  benchmark::DoNotOptimize(sum);
}
void BM_channel_coroutines(benchmark::State& state) {
  constexpr item each = 1 << 18;
  penstock::worker_pool pool{{.threads = 2}};
  for (auto _ : state) {
    penstock::channel<item> c{places};
    auto a = penstock::spawn(pool, produce(c, each));
    auto b = penstock::spawn(pool, consume(c, each));
    auto d = penstock::spawn(pool, produce(c, each));
    auto e = penstock::spawn(pool, consume(c, each));
    a.result();
    b.result();
    d.result();
    e.result();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(2 * each));
}

#if PENSTOCK_BENCH_HAS_BOOST_FIBER
// Four fibers of one thread: they cannot run at the same time, and need no atomics to wait.
void BM_channel_fibers(benchmark::State& state) {
  constexpr item each = 1 << 16;
  for (auto _ : state) {
    fiber_buffered q{places};
    std::vector<boost::fibers::fiber> fibers;
    for (int t = 0; t < 2; ++t) {
      fibers.emplace_back([&] {
        for (item i = 0; i < each; ++i) q.push(i);
      });
      fibers.emplace_back([&] {
        for (item i = 0; i < each; ++i) benchmark::DoNotOptimize(q.pop());
      });
    }
    for (auto& f : fibers) f.join();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(2 * each));
}
#endif

// Items of other kinds, from one producer to one consumer.
struct kilobyte {
  std::array<char, 1024> bytes{};
};
template <class T>
T made(item i) {
  if constexpr (std::is_same_v<T, std::string>) {
    return "a string that is too long to lie in its object: " + std::to_string(i);
  } else if constexpr (std::is_same_v<T, std::unique_ptr<item>>) {
    return std::make_unique<item>(i);
  } else {
    T k;
    k.bytes[i % 1024] = 1;
    return k;
  }
}
template <class Q>
void BM_channel_payload(benchmark::State& state) {
  using T = decltype(std::declval<Q&>().pop());
  constexpr item items = 1 << 18;
  for (auto _ : state) {
    Q q{places};
    std::jthread producer{[&] {
      for (item i = 0; i < items; ++i) q.push(made<T>(i));
    }};
    for (item i = 0; i < items; ++i) benchmark::DoNotOptimize(q.pop());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(items));
}

enum class kind { blocks, spins, spsc };

template <class Q>
void add(const std::string& name, kind k = kind::blocks) {
  const auto named = [&name](const char* workload) { return std::string{"BM_"} + workload + "<" + name + ">"; };
  benchmark::RegisterBenchmark(named("channel_pair").c_str(), BM_channel_pair<Q>)->UseRealTime();
  auto* threads =
      benchmark::RegisterBenchmark(named("channel").c_str(), BM_channel<Q>)->UseRealTime()->Unit(benchmark::kMillisecond);
  threads->Arg(1);
  if (k != kind::spsc) threads->Arg(2)->Arg(4);
  if (k == kind::spins && thread_counts::processors() >= 16) threads->Arg(8);
  if (k == kind::blocks) threads->Arg(8)->Arg(32);  // spinning with more threads than processors takes minutes
  if (k != kind::spins) benchmark::RegisterBenchmark(named("channel_ping_pong").c_str(), BM_channel_ping_pong<Q>)->UseRealTime();
  if (k != kind::spsc) {
    benchmark::RegisterBenchmark(named("channel_latency_p999").c_str(), BM_channel_latency_p999<Q>)
        ->UseManualTime()
        ->Iterations(1);
  }
  if constexpr (requires(Q& q, item_batch& b) { q.push_batch(b); }) {
    auto* batches = benchmark::RegisterBenchmark(named("channel_batches").c_str(), BM_channel_batches<Q>)
                        ->UseRealTime()
                        ->Unit(benchmark::kMillisecond);
    batches->Arg(1);
    if (k != kind::spsc) batches->Arg(4);
  }
}

template <template <class> class Q>
void add_payloads(const std::string& name) {
  const auto one = [&name]<class T>(const char* payload, std::type_identity<T>) {
    const std::string full = std::string{"BM_channel_"} + payload + "<" + name + ">";
    benchmark::RegisterBenchmark(full.c_str(), BM_channel_payload<Q<T>>)->UseRealTime()->Unit(benchmark::kMillisecond);
  };
  one("of_kilobytes", std::type_identity<kilobyte>{});
  one("of_strings", std::type_identity<std::string>{});
  one("of_unique_ptrs", std::type_identity<std::unique_ptr<item>>{});
}

template <class T>
using mpmc_penstock = basic_penstock<T>;

}  // namespace

int main(int argc, char** argv) {
  add<penstock_channel>("penstock::channel");
  add<penstock_spsc>("penstock::channel spsc", kind::spsc);
  benchmark::RegisterBenchmark("BM_channel_pair<penstock::channel with metrics>", BM_channel_pair<penstock_with_metrics>)
      ->UseRealTime();
  benchmark::RegisterBenchmark("BM_channel_coroutines<penstock::channel>", BM_channel_coroutines)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
  add_payloads<mpmc_penstock>("penstock::channel");
#if PENSTOCK_BENCH_HAS_TBB
  add<tbb_bounded>("tbb::concurrent_bounded_queue");
  add_payloads<basic_tbb>("tbb::concurrent_bounded_queue");
#endif
#if PENSTOCK_BENCH_HAS_MOODYCAMEL
  add<moodycamel_blocking>("moodycamel::BlockingConcurrentQueue (unbounded)");
  add_payloads<basic_moodycamel>("moodycamel::BlockingConcurrentQueue (unbounded)");
#endif
#if PENSTOCK_BENCH_HAS_ATOMIC_QUEUE
  add<atomic_queue_spinning>("atomic_queue (spins)", kind::spins);
#endif
#if PENSTOCK_BENCH_HAS_BOOST_LOCKFREE
  add<boost_lockfree_spinning>("boost::lockfree::queue (spins)", kind::spins);
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
  add<fiber_buffered>("boost::fibers::buffered_channel");
  benchmark::RegisterBenchmark("BM_channel_coroutines<boost::fibers::buffered_channel (one thread)>", BM_channel_fibers)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
#endif
  add<mutex_and_conditions>("mutex and condition_variables");
  add_payloads<basic_mutex_and_conditions>("mutex and condition_variables");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
