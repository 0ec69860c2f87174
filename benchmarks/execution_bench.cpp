// Waits, tasks and schedulers as senders, with receivers that are written out here, as execution_test.cpp does: what it costs beside the same awaited by a
// coroutine. A time is per completion; nothing is contended.
//
// free      a permit is free: start() completes; the receiver gives it back
// granted   nobody's is free: what waits is started, and a release completes it
// task      a task that ends at once
// schedule  a receiver on a pool of one worker starts the next schedule(), ten thousand in a row
//
// No peer: no implementation of std::execution is in Debian, and a semaphore that is a sender is in none.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <exception>
#include <optional>
#include <utility>

#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/ext/execution.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/semaphore.hpp>

namespace {

using penstock::semaphore;
using penstock::task;
constexpr std::int64_t in_a_row = 10'000;

// What a receiver needs beside set_value: nothing here fails or is stopped.
struct receiver {
  using receiver_concept = penstock::execution::receiver_tag;
  void set_error(const std::exception_ptr&) noexcept { std::terminate(); }
  void set_stopped() noexcept { std::terminate(); }
};

struct gives_back : receiver {
  explicit gives_back(semaphore& s) : permits{&s} {}
  void set_value(penstock::result<void>) noexcept { permits->release(); }
  semaphore* permits;
};
struct counts : receiver {
  explicit counts(std::int64_t& n) : number{&n} {}
  void set_value(auto&&...) noexcept { ++*number; }
  std::int64_t* number;
};

void BM_free_by_receiver(benchmark::State& state) {
  semaphore permits{1};
  for (auto _ : state) {
    auto operation = permits.async_acquire().connect(gives_back{permits});
    operation.start();
  }
}
BENCHMARK(BM_free_by_receiver)->Name("BM_execution_free<penstock, a receiver>");

task<> take(benchmark::State& state, semaphore& permits) {
  for (auto _ : state) {
    static_cast<void>(co_await permits.async_acquire());
    permits.release();
  }
}
void BM_free_by_coroutine(benchmark::State& state) {
  semaphore permits{1};
  penstock::sync_wait(take(state, permits));
}
BENCHMARK(BM_free_by_coroutine)->Name("BM_execution_free<penstock, a coroutine>");

void BM_granted_by_receiver(benchmark::State& state) {
  semaphore permits{0};
  std::int64_t told = 0;
  for (auto _ : state) {
    auto operation = permits.async_acquire().connect(counts{told});
    operation.start();
    permits.release();
  }
  benchmark::DoNotOptimize(told);
}
BENCHMARK(BM_granted_by_receiver)->Name("BM_execution_granted<penstock, a receiver>");

task<> wait(semaphore& permits, const bool& over, std::int64_t& told) {
  while (!over) {
    static_cast<void>(co_await permits.async_acquire());
    ++told;
  }
}
void BM_granted_by_coroutine(benchmark::State& state) {
  semaphore permits{0};
  bool over = false;
  std::int64_t told = 0;
  auto waiting = penstock::spawn(wait(permits, over, told));
  for (auto _ : state) permits.release();
  over = true;
  permits.release();
  waiting.wait();
}
BENCHMARK(BM_granted_by_coroutine)->Name("BM_execution_granted<penstock, a coroutine>");

task<int> answer() { co_return 42; }
void BM_task_by_receiver(benchmark::State& state) {
  std::int64_t told = 0;
  for (auto _ : state) {
    auto operation = answer().connect(counts{told});
    operation.start();
  }
  benchmark::DoNotOptimize(told);
}
BENCHMARK(BM_task_by_receiver)->Name("BM_execution_task<penstock, a receiver>");

task<std::int64_t> ask(benchmark::State& state) {
  std::int64_t told = 0;
  for (auto _ : state) told += co_await answer();
  co_return told;
}
void BM_task_by_coroutine(benchmark::State& state) { benchmark::DoNotOptimize(penstock::sync_wait(ask(state))); }
BENCHMARK(BM_task_by_coroutine)->Name("BM_execution_task<penstock, a coroutine>");

// Each completion makes the next operation in the place of the one that has just told its receiver.
struct chain {
  struct goes_on : receiver {
    explicit goes_on(chain& c) : of{&c} {}
    void set_value() noexcept { of->next(); }
    chain* of;
  };
  struct scheduled {
    explicit scheduled(chain& c) : operation{c.scheduler.schedule().connect(goes_on{c})} {}
    decltype(std::declval<penstock::any_scheduler>().schedule().connect(std::declval<goes_on>())) operation;
  };

  void next() noexcept {
    if (left-- == 0) {
      done.set();
    } else {
      place.emplace(*this).operation.start();
    }
  }

  penstock::any_scheduler scheduler;
  std::int64_t left = in_a_row;
  penstock::event done{};
  std::optional<scheduled> place{};
};
void BM_schedule_by_receiver(benchmark::State& state) {
  penstock::worker_pool pool{{.threads = 1}};
  for (auto _ : state) {
    chain c{.scheduler = pool.get_scheduler()};
    c.next();
    c.done.wait();
  }
  state.SetItemsProcessed(state.iterations() * in_a_row);
}
BENCHMARK(BM_schedule_by_receiver)->Name("BM_execution_schedule<penstock, a receiver>")->MeasureProcessCPUTime()->UseRealTime();

task<> move_about(penstock::any_scheduler scheduler) {
  for (std::int64_t i = 0; i < in_a_row; ++i) co_await scheduler.schedule();
}
void BM_schedule_by_coroutine(benchmark::State& state) {
  penstock::worker_pool pool{{.threads = 1}};
  for (auto _ : state) penstock::sync_wait(move_about(pool.get_scheduler()));
  state.SetItemsProcessed(state.iterations() * in_a_row);
}
BENCHMARK(BM_schedule_by_coroutine)->Name("BM_execution_schedule<penstock, a coroutine>")->MeasureProcessCPUTime()->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
