// One item for many: publications to 10 to 10,000 coroutines that all wait (each wakes, pops the item and waits again; a time is one
// publication with all of that, and items/s count pops), to subscribers that do not wait, and between threads.
//
// Peers: one penstock::channel per subscriber (what one does without a broadcast), and a mutex, a condition variable and a ring that
// every thread reads by an index of its own.
#include <benchmark/benchmark.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <penstock/channel/broadcast.hpp>
#include <penstock/channel/channel.hpp>
#include <penstock/channel/watch.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace {

using penstock::slow_subscriber;

// glibc leaves out the atomics of a mutex as long as the process has had one thread only.
[[maybe_unused]] const bool has_had_threads = (std::thread{[] {}}.join(), true);

penstock::task<> consume(penstock::subscription<std::uint64_t> s, std::uint64_t& sum) {
  for (;;) {
    const penstock::result<std::uint64_t> item = co_await s.async_pop();
    if (!item) break;
    sum += *item;
  }
}
penstock::task<> consume(penstock::channel<std::uint64_t>& c, std::uint64_t& sum) {
  for (;;) {
    const penstock::result<std::uint64_t> item = co_await c.async_pop();
    if (!item) break;
    sum += *item;
  }
}
penstock::task<> follow(penstock::watcher<std::uint64_t> w, std::uint64_t& sum) {
  for (;;) {
    const penstock::result<void> changed = co_await w.async_wait_changed();
    if (!changed) break;
    sum += w.get();
  }
}

// All run on the publishing thread: when publish() returns, every subscriber has popped and waits again.
void BM_broadcast_coroutines(benchmark::State& state, slow_subscriber policy) {
  const auto n = static_cast<std::size_t>(state.range(0));
  penstock::broadcast<std::uint64_t> b{64, {.when_slow = policy}};
  std::vector<std::uint64_t> sums(n);
  std::vector<penstock::spawned<void>> subscribers;
  for (std::size_t i = 0; i < n; ++i) subscribers.push_back(penstock::spawn(consume(b.subscribe(), sums[i])));
  std::uint64_t sent = 0;
  for (auto _ : state) {
    static_cast<void>(b.publish(1));
    ++sent;
  }
  b.close();
  subscribers.clear();
  for (const std::uint64_t s : sums) {
    if (s != sent) state.SkipWithError("a subscriber missed an item");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void BM_channel_each_coroutines(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  std::vector<std::unique_ptr<penstock::channel<std::uint64_t>>> channels;
  std::vector<std::uint64_t> sums(n);
  std::vector<penstock::spawned<void>> subscribers;
  for (std::size_t i = 0; i < n; ++i) {
    channels.push_back(std::make_unique<penstock::channel<std::uint64_t>>(64));
    subscribers.push_back(penstock::spawn(consume(*channels[i], sums[i])));
  }
  for (auto _ : state) {
    for (auto& c : channels) static_cast<void>(c->push(1));
  }
  for (auto& c : channels) c->close();
  subscribers.clear();
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void BM_watch_coroutines(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  penstock::watch<std::uint64_t> w{0};
  std::vector<std::uint64_t> sums(n);
  std::vector<penstock::spawned<void>> watchers;
  for (std::size_t i = 0; i < n; ++i) watchers.push_back(penstock::spawn(follow(w.subscribe(), sums[i])));
  for (auto _ : state) static_cast<void>(w.set(1));
  w.close();
  watchers.clear();
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

// On a pool of two workers; a time ends when the last subscriber has popped.
penstock::task<> consume_on_pool(penstock::subscription<std::uint64_t> s, penstock::channel<bool>& all,
                                 std::atomic<std::int64_t>& left) {
  for (;;) {
    const penstock::result<std::uint64_t> item = co_await s.async_pop();
    if (!item) break;
    if (left.fetch_sub(1) == 1) static_cast<void>(all.push(true));
  }
}
void BM_broadcast_coroutines_on_pool(benchmark::State& state) {
  const std::int64_t n = state.range(0);
  penstock::worker_pool pool{{.threads = 2}};
  penstock::broadcast<std::uint64_t> b{64};
  penstock::channel<bool> all{1};
  std::atomic<std::int64_t> left{0};
  std::vector<penstock::spawned<void>> subscribers;
  for (std::int64_t i = 0; i < n; ++i) subscribers.push_back(penstock::spawn(pool, consume_on_pool(b.subscribe(), all, left)));
  for (auto _ : state) {
    left = n;
    static_cast<void>(b.publish(1));
    static_cast<void>(all.pop());
  }
  b.close();
  for (auto& s : subscribers) s.wait();
  state.SetItemsProcessed(state.iterations() * n);
}

// One thread publishes and pops what it published, by each of `n` subscriptions in turn: no waiting at all.
void BM_broadcast_publish_pop(benchmark::State& state, slow_subscriber policy) {
  penstock::broadcast<std::uint64_t> b{64, {.when_slow = policy}};
  std::vector<penstock::subscription<std::uint64_t>> subscribers;
  for (std::int64_t i = 0; i < state.range(0); ++i) subscribers.push_back(b.subscribe());
  for (auto _ : state) {
    static_cast<void>(b.publish(1));
    for (auto& s : subscribers) benchmark::DoNotOptimize(s.pop());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

// A ring under one lock, which everybody is told of when something changes.
class locked_broadcast {
 public:
  struct reader {
    std::uint64_t next = 0;
  };
  explicit locked_broadcast(std::size_t readers) : readers_(readers) {}
  void publish(std::uint64_t item) {
    {
      std::unique_lock guard{lock_};
      changed_.wait(guard, [&] {
        for (const reader& r : readers_) {
          if (end_ - r.next == ring_.size()) return false;
        }
        return true;
      });
      ring_[end_++ % ring_.size()] = item;
    }
    changed_.notify_all();
  }
  bool pop(std::size_t index, std::uint64_t& item) {
    reader& r = readers_[index];
    {
      std::unique_lock guard{lock_};
      changed_.wait(guard, [&] { return r.next != end_ || closed_; });
      if (r.next == end_) return false;
      item = ring_[r.next++ % ring_.size()];
      if (end_ - r.next != ring_.size() - 1) return true;
    }
    changed_.notify_all();  // there may be room now
    return true;
  }
  void close() {
    {
      std::scoped_lock guard{lock_};
      closed_ = true;
    }
    changed_.notify_all();
  }

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<std::uint64_t> ring_ = std::vector<std::uint64_t>(1024);
  std::vector<reader> readers_;
  std::uint64_t end_ = 0;
  bool closed_ = false;
};

// Threads: one publishes, n pop everything. A time is per item published.
constexpr std::uint64_t items_of_a_round = 20'000;

template <class Publish, class Close, class Consume>
void between_threads(benchmark::State& state, Publish publish, Close close, Consume consumer) {
  std::vector<std::jthread> threads;
  for (std::int64_t i = 0; i < state.range(0); ++i) threads.emplace_back(consumer(static_cast<std::size_t>(i)));
  for (std::uint64_t i = 0; i < items_of_a_round; ++i) publish(i);
  close();
  threads.clear();
}

void BM_broadcast_threads(benchmark::State& state, slow_subscriber policy) {
  for (auto _ : state) {
    penstock::broadcast<std::uint64_t> b{1024, {.when_slow = policy}};
    between_threads(
        state, [&](std::uint64_t i) { static_cast<void>(b.publish(i)); }, [&] { b.close(); },
        [&](std::size_t) {
          return [s = b.subscribe()]() mutable {
            for (const std::uint64_t item : s) benchmark::DoNotOptimize(item);
          };
        });
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(items_of_a_round));
}

void BM_broadcast_threads_locked(benchmark::State& state) {
  for (auto _ : state) {
    locked_broadcast b{static_cast<std::size_t>(state.range(0))};
    between_threads(
        state, [&](std::uint64_t i) { b.publish(i); }, [&] { b.close(); },
        [&](std::size_t index) {
          return [&b, index] {
            for (std::uint64_t item = 0; b.pop(index, item);) benchmark::DoNotOptimize(item);
          };
        });
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(items_of_a_round));
}

}  // namespace

int main(int argc, char** argv) {
  const auto add = [](const char* name, auto... how) { return benchmark::RegisterBenchmark(name, how...)->UseRealTime(); };
  add("BM_broadcast_coroutines<penstock::broadcast>", BM_broadcast_coroutines, slow_subscriber::wait)
      ->Arg(10)
      ->Arg(100)
      ->Arg(1000)
      ->Arg(10'000);
  add("BM_broadcast_coroutines<penstock::broadcast lose_oldest>", BM_broadcast_coroutines, slow_subscriber::lose_oldest)
      ->Arg(10'000);
  add("BM_broadcast_coroutines<penstock::channel for each>", BM_channel_each_coroutines)
      ->Arg(10)
      ->Arg(100)
      ->Arg(1000)
      ->Arg(10'000);
  add("BM_broadcast_coroutines<penstock::watch>", BM_watch_coroutines)->Arg(10'000);
  add("BM_broadcast_coroutines_on_pool<penstock::broadcast>", BM_broadcast_coroutines_on_pool)->Arg(1000)->Arg(10'000);
  add("BM_broadcast_publish_pop<penstock::broadcast>", BM_broadcast_publish_pop, slow_subscriber::wait)->Arg(1)->Arg(8);
  add("BM_broadcast_publish_pop<penstock::broadcast lose_oldest>", BM_broadcast_publish_pop, slow_subscriber::lose_oldest)
      ->Arg(1)
      ->Arg(8);
  add("BM_broadcast_threads<penstock::broadcast>", BM_broadcast_threads, slow_subscriber::wait)->Arg(1)->Arg(2)->Arg(4)->Arg(16);
  add("BM_broadcast_threads<penstock::broadcast lose_oldest>", BM_broadcast_threads, slow_subscriber::lose_oldest)
      ->Arg(1)
      ->Arg(2)
      ->Arg(4)
      ->Arg(16);
  add("BM_broadcast_threads<mutex and condition_variable>", BM_broadcast_threads_locked)->Arg(1)->Arg(2)->Arg(4)->Arg(16);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
