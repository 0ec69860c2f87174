// What observers cost: nobody (0), a tracer that does nothing (1), a wait_watch (2). The pool's benchmarks and those of the semaphore show, against an
// earlier commit, what the hooks cost where nobody observes; docs/tracing.md has both.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <optional>

#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/tracer.hpp>
#include <penstock/observe/who_waits.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/semaphore.hpp>

namespace {

using namespace penstock;

class observed {
 public:
  explicit observed(const benchmark::State& state) {
    if (state.range(0) == 1) session_.emplace(silent_);
    if (state.range(0) == 2) watch_.emplace();
  }

 private:
  tracer silent_;
  std::optional<trace_session> session_;
  std::optional<wait_watch> watch_;
};

task<void> acquire(semaphore& permits, const bool& stop) {
  while (!stop) static_cast<void>(co_await permits.async_acquire());
}

// A coroutine waits, and a release resumes it here.
void BM_wait_and_resume(benchmark::State& state) {
  const observed by{state};
  semaphore permits{0};
  bool stop = false;
  auto waits = spawn(acquire(permits, stop));
  for (auto _ : state) permits.release();
  stop = true;
  permits.release();
  waits.wait();
}
BENCHMARK(BM_wait_and_resume)->Name("BM_wait_and_resume<penstock::semaphore>")->Arg(0)->Arg(1)->Arg(2)->UseRealTime();

task<void> take(benchmark::State& state, semaphore& permits) {
  for (auto _ : state) {
    static_cast<void>(co_await permits.async_acquire());
    permits.release();
  }
}
// Nobody has to wait.
void BM_await_free_permit(benchmark::State& state) {
  const observed by{state};
  semaphore permits{1};
  sync_wait(take(state, permits));
}
BENCHMARK(BM_await_free_permit)->Name("BM_await_free_permit<penstock::semaphore>")->Arg(0)->Arg(1)->Arg(2)->UseRealTime();

struct again {
  void operator()() const {
    if (--*left != 0) pool->post(again{pool, left}).value();
  }
  worker_pool* pool;
  std::size_t* left;
};
// A task that posts itself again, on one worker.
void BM_post(benchmark::State& state) {
  const observed by{state};
  worker_pool pool{{.threads = 1}};
  for (auto _ : state) {
    std::size_t left = 10'000;
    pool.post(again{&pool, &left}).value();
    pool.drain().value();
  }
  state.SetItemsProcessed(10'000 * state.iterations());
}
BENCHMARK(BM_post)->Name("BM_post<penstock::worker_pool>")->Arg(0)->Arg(1)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
