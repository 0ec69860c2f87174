// Items of eight bytes through a bounded queue of 1,024 places: by one thread, between threads, more threads than processors, and there and
// back over capacity 1.
//
// Peers that block: oneTBB's concurrent_bounded_queue, a mutex with two condition variables; moodycamel's BlockingConcurrentQueue blocks
// its consumers only, and is unbounded. Peers that spin, and leave waiting to their users: atomic_queue, boost::lockfree::queue. A
// time is per item.
#include <benchmark/benchmark.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <queue>
#include <string>
#include <thread>
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

#include <penstock/channel/channel.hpp>

namespace {

using item = std::uint64_t;
constexpr std::size_t places = 1024;

struct penstock_channel {
  explicit penstock_channel(std::size_t capacity) : c{capacity} {}
  void push(item i) { static_cast<void>(c.push(std::move(i))); }
  item pop() { return *c.pop(); }
  penstock::channel<item> c;
};

struct mutex_and_conditions {
  explicit mutex_and_conditions(std::size_t n) : capacity{n} {}
  void push(item i) {
    {
      std::unique_lock guard{lock};
      room.wait(guard, [&] { return q.size() < capacity; });
      q.push(i);
    }
    available.notify_one();
  }
  item pop() {
    item i;
    {
      std::unique_lock guard{lock};
      available.wait(guard, [&] { return !q.empty(); });
      i = q.front();
      q.pop();
    }
    room.notify_one();
    return i;
  }
  std::size_t capacity;
  std::mutex lock;
  std::condition_variable room;
  std::condition_variable available;
  std::queue<item> q;
};

#if PENSTOCK_BENCH_HAS_TBB
struct tbb_bounded {
  explicit tbb_bounded(std::size_t n) { q.set_capacity(static_cast<std::ptrdiff_t>(n)); }
  void push(item i) { q.push(i); }
  item pop() {
    item i;
    q.pop(i);
    return i;
  }
  oneapi::tbb::concurrent_bounded_queue<item> q;
};
#endif

#if PENSTOCK_BENCH_HAS_MOODYCAMEL
struct moodycamel_blocking {
  explicit moodycamel_blocking(std::size_t n) : q{n} {}
  void push(item i) { q.enqueue(i); }
  item pop() {
    item i;
    q.wait_dequeue(i);
    return i;
  }
  moodycamel::BlockingConcurrentQueue<item> q;
};
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

template <class Q>
void add(const std::string& name, bool spins = false) {
  benchmark::RegisterBenchmark(("BM_channel_pair<" + name + ">").c_str(), BM_channel_pair<Q>)->UseRealTime();
  auto* threads = benchmark::RegisterBenchmark(("BM_channel<" + name + ">").c_str(), BM_channel<Q>)
                      ->UseRealTime()
                      ->Unit(benchmark::kMillisecond);
  threads->Arg(1)->Arg(2)->Arg(4);
  if (!spins) threads->Arg(8)->Arg(32);  // spinning with more threads than processors takes minutes
  if (!spins)
    benchmark::RegisterBenchmark(("BM_channel_ping_pong<" + name + ">").c_str(), BM_channel_ping_pong<Q>)->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  add<penstock_channel>("penstock::channel");
#if PENSTOCK_BENCH_HAS_TBB
  add<tbb_bounded>("tbb::concurrent_bounded_queue");
#endif
#if PENSTOCK_BENCH_HAS_MOODYCAMEL
  add<moodycamel_blocking>("moodycamel::BlockingConcurrentQueue (unbounded)");
#endif
#if PENSTOCK_BENCH_HAS_ATOMIC_QUEUE
  add<atomic_queue_spinning>("atomic_queue (spins)", true);
#endif
#if PENSTOCK_BENCH_HAS_BOOST_LOCKFREE
  add<boost_lockfree_spinning>("boost::lockfree::queue (spins)", true);
#endif
  add<mutex_and_conditions>("mutex and condition_variables");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
