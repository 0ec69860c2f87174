// Items from one, two and eight threads, and up to twice as many as there are processors, into batches whose function only adds them up: what it costs to
// hand an item over, and to wait until it is written.
//
// Peer: a thread of its own, a mutex, a vector that it swaps and two condition variables, which is what most services have. Bounded in the same way.
// A time is per item, over all threads.
#include <benchmark/benchmark.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/batch/accumulator.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "thread_counts.hpp"

namespace {

constexpr std::size_t capacity = 8 * 1024;

void write(std::span<const std::uint64_t> batch) {
  std::uint64_t sum = 0;
  for (const std::uint64_t i : batch) sum += i;
  benchmark::DoNotOptimize(sum);
}

class penstock_accumulator {
 public:
  void push(std::uint64_t i) { static_cast<void>(items_.push(std::move(i))); }
  void add_and_wait(std::uint64_t i) { items_.add(std::move(i)).get(); }
  // As many outcomes as one likes at a time.
  void add_many(std::uint64_t i) {
    std::vector<penstock::future<void>> outcomes;
    outcomes.reserve(100);
    for (int n = 0; n < 100; ++n) outcomes.push_back(items_.add(i));
    for (auto& o : outcomes) o.get();
  }

 private:
  penstock::worker_pool pool_{{.threads = 1}};
  penstock::accumulator<std::uint64_t> items_{pool_, write, {.capacity = capacity}};
};

// The same, written by whichever thread finds nobody writing.
class penstock_inline {
 public:
  void push(std::uint64_t i) { static_cast<void>(items_.push(std::move(i))); }
  void add_and_wait(std::uint64_t i) { items_.add(std::move(i)).get(); }

 private:
  penstock::accumulator<std::uint64_t> items_{penstock::any_scheduler{}, write, {.capacity = capacity}};
};

class mutex_and_vector {
 public:
  ~mutex_and_vector() {
    {
      std::scoped_lock guard{lock_};
      closed_ = true;
    }
    some_.notify_one();
  }
  void push(std::uint64_t i) {
    std::unique_lock guard{lock_};
    append(guard, i);
  }
  void add_and_wait(std::uint64_t i) {
    std::unique_lock guard{lock_};
    append(guard, i);
    const std::uint64_t mine = batch_;
    over_.wait(guard, [&] { return written_ >= mine; });
  }

 private:
  void append(std::unique_lock<std::mutex>& guard, std::uint64_t i) {
    over_.wait(guard, [&] { return items_.size() < capacity; });
    items_.push_back(i);
    if (items_.size() == 1) some_.notify_one();
  }
  void run() {
    std::vector<std::uint64_t> mine;
    std::unique_lock guard{lock_};
    for (;;) {
      some_.wait(guard, [&] { return !items_.empty() || closed_; });
      if (items_.empty()) return;
      std::swap(mine, items_);
      const std::uint64_t number = batch_++;
      over_.notify_all();
      guard.unlock();
      write(mine);
      mine.clear();
      guard.lock();
      written_ = number;
      over_.notify_all();
    }
  }

  std::mutex lock_;
  std::condition_variable some_;
  std::condition_variable over_;
  std::vector<std::uint64_t> items_;
  std::uint64_t batch_ = 1;
  std::uint64_t written_ = 0;
  bool closed_ = false;
  std::jthread writer_{[this] { run(); }};
};

template <class Accumulator>
void BM_push(benchmark::State& state) {
  static std::unique_ptr<Accumulator> items;
  if (state.thread_index() == 0) items = std::make_unique<Accumulator>();
  for (auto _ : state) items->push(1);
  if (state.thread_index() == 0) items.reset();
}

template <class Accumulator>
void BM_add_and_wait(benchmark::State& state) {
  static std::unique_ptr<Accumulator> items;
  if (state.thread_index() == 0) items = std::make_unique<Accumulator>();
  for (auto _ : state) items->add_and_wait(1);
  if (state.thread_index() == 0) items.reset();
}

// A hundred at a time: the time of one.
void BM_add_with_outcome(benchmark::State& state) {
  penstock_accumulator items;
  while (state.KeepRunningBatch(100)) items.add_many(1);
}

BENCHMARK(BM_push<penstock_accumulator>)
    ->Name("BM_accumulator_push<penstock::accumulator>")
    ->Apply(thread_counts::apply<8>)
    ->UseRealTime();
BENCHMARK(BM_push<penstock_inline>)
    ->Name("BM_accumulator_push<penstock::accumulator, inline>")
    ->Apply(thread_counts::apply<8>)
    ->UseRealTime();
BENCHMARK(BM_push<mutex_and_vector>)
    ->Name("BM_accumulator_push<mutex and vector>")
    ->Apply(thread_counts::apply<8>)
    ->UseRealTime();
BENCHMARK(BM_add_with_outcome)->Name("BM_accumulator_add_with_outcome<penstock::accumulator>")->UseRealTime();
BENCHMARK(BM_add_and_wait<penstock_accumulator>)
    ->Name("BM_accumulator_add_and_wait<penstock::accumulator>")
    ->Apply(thread_counts::apply<8>)
    ->UseRealTime();
BENCHMARK(BM_add_and_wait<penstock_inline>)
    ->Name("BM_accumulator_add_and_wait<penstock::accumulator, inline>")
    ->Apply(thread_counts::apply<8>)
    ->UseRealTime();
BENCHMARK(BM_add_and_wait<mutex_and_vector>)
    ->Name("BM_accumulator_add_and_wait<mutex and vector>")
    ->Apply(thread_counts::apply<8>)
    ->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
