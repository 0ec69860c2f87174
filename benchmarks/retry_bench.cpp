// What it costs to be careful, where nothing goes wrong. Per call; a breaker and a budget also by up to twice as many threads as there are processors.
//
// function      the call alone
// retry         retry() of a function that succeeds at once; with_budget: and a deposit; with_timeouts: and two deadlines, the function takes a stop
//               token
// async_retry   a task of a coroutine that succeeds at once, through sync_wait(); coroutine: the same without retry
// breaker       a permit and its success: count: by number; time: by time; slow: calls are timed; open: refused
// breaker_call  circuit_breaker::call()
// budget        deposit, and one withdrawal in five
// cron          next() of an expression, from where the last one led; the plain one, one with both days, one that comes once in four years
#include <benchmark/benchmark.h>

#include <chrono>
#include <stop_token>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/job/circuit_breaker.hpp>
#include <penstock/job/cron.hpp>
#include <penstock/job/retry.hpp>
#include <penstock/job/retry_budget.hpp>

#include "thread_counts.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::circuit_breaker;
using penstock::circuit_breaker_options;
using penstock::result;
using penstock::retry;

[[gnu::noinline]] result<int> work() {
  int n = 1;
  benchmark::DoNotOptimize(n);
  return n;
}
penstock::task<result<int>> work_async() { co_return work(); }

void BM_function(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(work());
}
void BM_retry(benchmark::State& state) {
  const penstock::retry_policy policy;
  for (auto _ : state) benchmark::DoNotOptimize(retry(work, policy));
}
void BM_retry_with_budget(benchmark::State& state) {
  penstock::retry_budget budget;
  const penstock::retry_policy policy{.budget = budget};
  for (auto _ : state) benchmark::DoNotOptimize(retry(work, policy));
}
void BM_retry_with_timeouts(benchmark::State& state) {
  const penstock::retry_policy policy;
  const auto f = [](const std::stop_token&) { return work(); };
  for (auto _ : state) benchmark::DoNotOptimize(retry(f, policy, {.timeout = 1min, .attempt_timeout = 30s}));
}
void BM_coroutine(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(penstock::sync_wait(work_async()));
}
void BM_async_retry(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(penstock::sync_wait(retry(work_async)));
}

void pass(benchmark::State& state, circuit_breaker_options o) {
  circuit_breaker breaker{std::move(o)};
  for (auto _ : state) {
    auto permit = breaker.try_acquire();
    benchmark::DoNotOptimize(permit);
  }
}
void BM_breaker_count(benchmark::State& state) { pass(state, {}); }
void BM_breaker_time(benchmark::State& state) { pass(state, {.window = 10s}); }
void BM_breaker_slow(benchmark::State& state) { pass(state, {.slow_call = 1s}); }
void BM_breaker_open(benchmark::State& state) {
  circuit_breaker breaker;
  breaker.force_open();
  for (auto _ : state) benchmark::DoNotOptimize(breaker.try_acquire());
}
void BM_breaker_call(benchmark::State& state) {
  static circuit_breaker breaker;
  for (auto _ : state) benchmark::DoNotOptimize(breaker.call(work));
}

void BM_budget(benchmark::State& state) {
  static penstock::retry_budget budget;
  int n = 0;
  for (auto _ : state) {
    budget.deposit();
    if (++n % 5 == 0) benchmark::DoNotOptimize(budget.try_withdraw());
  }
}

void next(benchmark::State& state, const char* expression) {
  const penstock::cron c{expression};
  const std::chrono::sys_seconds start = std::chrono::sys_days{std::chrono::year{2026} / 1 / 1};
  std::chrono::sys_seconds t = start;
  for (auto _ : state) {
    t = c.next(t);
    if (t > start + std::chrono::years{1000}) t = start;
    benchmark::DoNotOptimize(t);
  }
}
void BM_cron_plain(benchmark::State& state) { next(state, "*/5 * * * *"); }
void BM_cron_both_days(benchmark::State& state) { next(state, "30 3 1,15 * MON"); }
void BM_cron_leap_day(benchmark::State& state) { next(state, "0 0 29 2 *"); }

void several_threads(benchmark::internal::Benchmark* b) {
  for (const int n : thread_counts::up_to_twice()) {
    if (n > 1) b->Threads(n);
  }
}

BENCHMARK(BM_function)->Name("BM_function<reference: the call alone>");
BENCHMARK(BM_retry)->Name("BM_retry<penstock::retry>");
BENCHMARK(BM_retry_with_budget)->Name("BM_retry_with_budget<penstock::retry>");
BENCHMARK(BM_retry_with_timeouts)->Name("BM_retry_with_timeouts<penstock::retry>");
BENCHMARK(BM_coroutine)->Name("BM_coroutine<reference: the coroutine alone>");
BENCHMARK(BM_async_retry)->Name("BM_async_retry<penstock::retry>");
BENCHMARK(BM_breaker_count)->Name("BM_breaker_count<penstock::circuit_breaker>");
BENCHMARK(BM_breaker_time)->Name("BM_breaker_time<penstock::circuit_breaker>");
BENCHMARK(BM_breaker_slow)->Name("BM_breaker_slow<penstock::circuit_breaker>");
BENCHMARK(BM_breaker_open)->Name("BM_breaker_open<penstock::circuit_breaker>");
BENCHMARK(BM_breaker_call)->Name("BM_breaker_call<penstock::circuit_breaker>");
BENCHMARK(BM_breaker_call)->Name("BM_breaker_call<penstock::circuit_breaker>")->Apply(several_threads)->UseRealTime();
BENCHMARK(BM_budget)->Name("BM_budget<penstock::retry_budget>");
BENCHMARK(BM_budget)->Name("BM_budget<penstock::retry_budget>")->Apply(several_threads)->UseRealTime();
BENCHMARK(BM_cron_plain)->Name("BM_cron_plain<penstock::cron>");
BENCHMARK(BM_cron_both_days)->Name("BM_cron_both_days<penstock::cron>");
BENCHMARK(BM_cron_leap_day)->Name("BM_cron_leap_day<penstock::cron>");

}  // namespace

BENCHMARK_MAIN();
