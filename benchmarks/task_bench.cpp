// Coroutines that await coroutines, threads that wait for one, and groups of them.
//
//   task_chain/N       N tasks, each awaited by the one before it, on one thread; a time is per task: made, begun, ended, its value handed up
//   task_loop/N        one task awaits N others in turn, which end at once; a time is per task
//   sync_wait          a thread waits for a task that ends at once; beginning it included
//   task_group/N       N children that end at once, on one thread, until all have ended; a time is per child
//   task_group_work/N/W  N children that compute for about half a microsecond, on W workers
//
// Peers of the tasks: Asio's awaitable, run by an io_context of one thread, and a task by hand of forty lines, such as libraries of coroutines have: it hands
// over by symmetric transfer, and has nothing else; penstock's has a stop token, a scheduler, and a trampoline for compilers that do not transfer in constant
// stack. Of groups: Boost.Fiber's fibers that are joined, coroutines that Asio begins and whose io_context runs until all have ended, oneTBB's task_group, whose
// waiter is one of the workers. On a pool: functions that count down a std::latch, as all pools can; Asio's awaitables as well. With none of these does one failure
// stop the others (but oneTBB's), nor does anybody hear of it.
#include <benchmark/benchmark.h>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <latch>
#include <semaphore>
#include <string>
#include <utility>
#include <vector>

#include "contention.hpp"
#include "pool_peers.hpp"
#include "thread_counts.hpp"

#if PENSTOCK_BENCH_HAS_ASIO
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#if defined(ASIO_HAS_CO_AWAIT)
#include <asio/awaitable.hpp>
#include <asio/detached.hpp>
#define PENSTOCK_BENCH_HAS_AWAITABLE 1
#endif
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
#include <boost/fiber/fiber.hpp>
#endif

#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>

namespace {

// Half a microsecond.
void compute() {
  std::uint64_t x = 1;
  contention::work(x, contention::long_work / 2);
}

// What every library of coroutines has at its heart.
class hand_task {
 public:
  struct promise_type {
    hand_task get_return_object() noexcept { return hand_task{handle::from_promise(*this)}; }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    auto final_suspend() const noexcept {
      struct last_step {
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(handle ended) const noexcept { return ended.promise().waiting; }
        void await_resume() const noexcept {}
      };
      return last_step{};
    }
    void return_value(int v) noexcept { value = v; }
    void unhandled_exception() noexcept { failure = std::current_exception(); }

    std::coroutine_handle<> waiting = std::noop_coroutine();
    std::exception_ptr failure;
    int value = 0;
  };
  hand_task(hand_task&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {}
  hand_task& operator=(hand_task&&) = delete;
  ~hand_task() {
    if (frame_) frame_.destroy();
  }
  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) noexcept {
    frame_.promise().waiting = waiting;
    return frame_;
  }
  int await_resume() const {
    if (frame_.promise().failure) std::rethrow_exception(frame_.promise().failure);
    return frame_.promise().value;
  }

 private:
  using handle = std::coroutine_handle<promise_type>;
  explicit hand_task(handle frame) noexcept : frame_{frame} {}
  handle frame_;
};

// As sync_wait does: a coroutine at the bottom, and something that a thread can wait for, wherever the task ends.
struct hand_root {
  struct promise_type {
    hand_root get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};
struct hand_outcome {
  int value = 0;
  std::exception_ptr failure;
  std::binary_semaphore ended{0};
};
hand_root begin(hand_task& t, hand_outcome& outcome) {
  try {
    outcome.value = co_await t;
  } catch (...) {
    outcome.failure = std::current_exception();
  }
  outcome.ended.release();
}

// The same functions for each type of task.
template <class Task>
Task ready() {
  co_return 1;
}
template <class Task>
Task chain(int n) {
  if (n <= 1) co_return 1;
  co_return 1 + co_await chain<Task>(n - 1);
}
template <class Task>
Task loop(int n) {
  int sum = 0;
  for (int i = 0; i < n; ++i) sum += co_await ready<Task>();
  co_return sum;
}

struct penstock_tasks {
  using task = penstock::task<int>;
  static int run(task t) { return penstock::sync_wait(std::move(t)); }
};
struct hand_tasks {
  using task = hand_task;
  static int run(task t) {
    hand_outcome outcome;
    begin(t, outcome);
    outcome.ended.acquire();
    if (outcome.failure) std::rethrow_exception(outcome.failure);
    return outcome.value;
  }
};
#if PENSTOCK_BENCH_HAS_AWAITABLE
struct asio_tasks {
  using task = asio::awaitable<int>;
  int run(task t) {
    int result = 0;
    asio::co_spawn(io, std::move(t), [&result](std::exception_ptr, int value) { result = value; });
    io.restart();
    io.run();
    return result;
  }
  asio::io_context io{1};
};
#endif

template <class T>
void BM_task_chain(benchmark::State& state) {
  T tasks;
  const int n = static_cast<int>(state.range(0));
  for (auto _ : state) {
    if (tasks.run(chain<typename T::task>(n)) != n) state.SkipWithError("a wrong sum");
  }
  state.SetItemsProcessed(state.iterations() * n);
}
template <class T>
void BM_task_loop(benchmark::State& state) {
  T tasks;
  const int n = static_cast<int>(state.range(0));
  for (auto _ : state) {
    if (tasks.run(loop<typename T::task>(n)) != n) state.SkipWithError("a wrong sum");
  }
  state.SetItemsProcessed(state.iterations() * n);
}
template <class T>
void BM_sync_wait(benchmark::State& state) {
  T tasks;
  for (auto _ : state) benchmark::DoNotOptimize(tasks.run(ready<typename T::task>()));
}
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
void BM_sync_wait_fiber(benchmark::State& state) {
  for (auto _ : state) {
    int value = 0;
    boost::fibers::fiber f{boost::fibers::launch::dispatch, [&value] { value = 1; }};
    f.join();
    benchmark::DoNotOptimize(value);
  }
}
#endif

// Groups on one thread: run(n) begins n children that count, and gives what they counted.

penstock::task<> count(int& counted) {
  ++counted;
  co_return;
}
struct penstock_group {
  static int run(int n) {
    int counted = 0;
    penstock::task_group group;
    for (int i = 0; i < n; ++i) group.spawn(count(counted));
    group.wait();
    return counted;
  }
};
#if PENSTOCK_BENCH_HAS_AWAITABLE
asio::awaitable<void> count_in_asio(int& counted) {
  ++counted;
  co_return;
}
struct asio_group {
  int run(int n) {
    int counted = 0;
    for (int i = 0; i < n; ++i) asio::co_spawn(io, count_in_asio(counted), asio::detached);
    io.restart();
    io.run();
    return counted;
  }
  asio::io_context io{1};
};
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
struct fiber_group {
  static int run(int n) {
    int counted = 0;
    std::vector<boost::fibers::fiber> group;
    group.reserve(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) group.emplace_back(boost::fibers::launch::dispatch, [&counted] { ++counted; });
    for (auto& f : group) f.join();
    return counted;
  }
};
#endif
#if PENSTOCK_BENCH_HAS_TBB
struct tbb_group_of_one : pools::tbb_group {
  tbb_group_of_one() : tbb_group{1} {}
  int run(int n) {
    int counted = 0;
    arena.execute([&] {
      for (int i = 0; i < n; ++i) group.run([&counted] { ++counted; });
      group.wait();
    });
    return counted;
  }
};
#endif
template <class G>
void BM_task_group(benchmark::State& state) {
  G group;
  const int n = static_cast<int>(state.range(0));
  for (auto _ : state) {
    if (group.run(n) != n) state.SkipWithError("not all ran");
  }
  state.SetItemsProcessed(state.iterations() * n);
}

// Groups on workers.

penstock::task<> compute_in_task() {
  compute();
  co_return;
}
struct penstock_workers : pools::penstock_pool {
  using penstock_pool::penstock_pool;
  void run(int n) {
    penstock::task_group group{pool};
    for (int i = 0; i < n; ++i) group.spawn(compute_in_task());
    group.wait();
  }
};
#if PENSTOCK_BENCH_HAS_AWAITABLE
asio::awaitable<void> compute_in_asio(std::latch& left) {
  compute();
  left.count_down();
  co_return;
}
struct asio_workers : pools::asio_pool<asio::thread_pool> {
  using asio_pool::asio_pool;
  void run(int n) {
    std::latch left{n};
    for (int i = 0; i < n; ++i) asio::co_spawn(pool, compute_in_asio(left), asio::detached);
    left.wait();
  }
};
#endif
template <class Pool>
struct latched : Pool {
  using Pool::Pool;
  void run(int n) {
    std::latch left{n};
    for (int i = 0; i < n; ++i) {
      this->post([&left] {
        compute();
        left.count_down();
      });
    }
    left.wait();
  }
};
#if PENSTOCK_BENCH_HAS_TBB
struct tbb_workers : pools::tbb_group {
  using tbb_group::tbb_group;
  void run(int n) {
    arena.execute([&] {
      for (int i = 0; i < n; ++i) group.run(compute);
      group.wait();
    });
  }
};
#endif
template <class G>
void BM_task_group_work(benchmark::State& state) {
  G group{static_cast<int>(state.range(1))};
  const int n = static_cast<int>(state.range(0));
  for (auto _ : state) group.run(n);
  state.SetItemsProcessed(state.iterations() * n);
}

benchmark::internal::Benchmark* add(const std::string& workload, const std::string& name, void (*run)(benchmark::State&)) {
  return benchmark::RegisterBenchmark(("BM_" + workload + "<" + name + ">").c_str(), run)->MinTime(0.1);
}
template <class T>
void add_tasks(const std::string& name) {
  add("task_chain", name, BM_task_chain<T>)->Arg(1)->Arg(10)->Arg(1000);
  add("task_loop", name, BM_task_loop<T>)->Arg(1000);
  add("sync_wait", name, BM_sync_wait<T>);
}
template <class G>
void add_group(const std::string& name) {
  add("task_group", name, BM_task_group<G>)->Arg(10)->Arg(1000);
}
template <class G>
void add_work(const std::string& name) {
  for (const int workers : thread_counts::up_to_all<>()) {
    if (workers > 1)
      add("task_group_work", name, BM_task_group_work<G>)->Args({10, workers})->Args({1000, workers})->UseRealTime();
  }
}

}  // namespace

int main(int argc, char** argv) {
  add_tasks<penstock_tasks>("penstock::task");
  add_tasks<hand_tasks>("a task by hand");
  add_group<penstock_group>("penstock::task_group");
  add_work<penstock_workers>("penstock::task_group");
#if PENSTOCK_BENCH_HAS_AWAITABLE
  add_tasks<asio_tasks>("asio::awaitable");
  add_group<asio_group>("asio::co_spawn");
  add_work<asio_workers>("asio::co_spawn");
#endif
#if PENSTOCK_BENCH_HAS_BOOST_FIBER
  add("sync_wait", "boost::fibers::fiber", BM_sync_wait_fiber);
  add_group<fiber_group>("boost::fibers::fiber");
#endif
#if PENSTOCK_BENCH_HAS_TBB
  add_group<tbb_group_of_one>("tbb::task_group (the waiter is a worker)");
  add_work<tbb_workers>("tbb::task_group (the waiter is a worker)");
#endif
#if PENSTOCK_BENCH_HAS_ASIO
  add_work<latched<pools::asio_pool<asio::thread_pool>>>("asio::thread_pool and std::latch");
#elif PENSTOCK_BENCH_HAS_BOOST_ASIO
  add_work<latched<pools::asio_pool<boost::asio::thread_pool>>>("boost::asio::thread_pool and std::latch");
#endif
  add_work<latched<pools::by_hand>>("mutex and deque of std::function, std::latch");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
