// A call that puts a run off, or is left out: what debounce and throttle cost those who call. No run comes while it is measured. Per call, by one thread
// and by two.
//
// debounce     the latest arguments wait for an hour; submit: with an outcome to look at
// throttle     an hour after the last run: left out (leading), or kept for the next one (trailing)
// by_key       1,000 keys, all of them known
// peers        a mutex around the latest arguments and a time, as one writes it first: who runs the function then, and its outcome, are somebody else's part
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include <penstock/rate/debounce.hpp>
#include <penstock/rate/throttle.hpp>

#include "thread_counts.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::any_scheduler;

struct penstock_debounce {
  void call(int i) { paced(i); }
  penstock::debounced<void(int)> paced{any_scheduler{}, 1h, [](int) {}};
};
struct penstock_submit : penstock_debounce {
  void call(int i) { benchmark::DoNotOptimize(paced.submit(i)); }
};
struct penstock_throttle_leading {
  void call(int i) { paced(i); }
  penstock::throttled<void(int)> paced{any_scheduler{}, 1h, [](int) {}, {.trailing = false}};
};
struct penstock_throttle_trailing {
  void call(int i) { paced(i); }
  penstock::throttled<void(int)> paced{any_scheduler{}, 1h, [](int) {}};
};
struct penstock_debounce_by_key {
  void call(int i) { benchmark::DoNotOptimize(paced(i % 1000, i)); }
  penstock::keyed_debounced<int, void(int)> paced{any_scheduler{}, 1h, [](int, int) {}};
};

struct pending {
  int argument = 0;
  std::chrono::steady_clock::time_point due;
};
struct mutex_and_time {
  void call(int i) {
    const auto now = std::chrono::steady_clock::now();
    std::scoped_lock guard{lock};
    latest = {i, now + 1h};
  }
  std::mutex lock;
  pending latest;
};
struct mutex_and_last_run {
  void call(int i) {
    const auto now = std::chrono::steady_clock::now();
    std::scoped_lock guard{lock};
    if (now - latest.due < 1h) return;
    latest = {i, now};
  }
  std::mutex lock;
  pending latest{0, std::chrono::steady_clock::now()};
};
struct mutex_and_map {
  void call(int i) {
    const auto now = std::chrono::steady_clock::now();
    std::scoped_lock guard{lock};
    latest[i % 1000] = {i, now + 1h};
  }
  std::mutex lock;
  std::unordered_map<int, pending> latest;
};

template <class Paced>
void calls(benchmark::State& state) {
  static std::unique_ptr<Paced> paced;
  if (state.thread_index() == 0) {
    paced = std::make_unique<Paced>();
    for (int i = 0; i < 1000; ++i) paced->call(i);
  }
  int i = 0;
  for (auto _ : state) paced->call(i = (i + 1) & 0xffff);
  if (state.thread_index() == 0) paced.reset();
}
template <class Paced>
void BM_debounce_call(benchmark::State& state) {
  calls<Paced>(state);
}
template <class Paced>
void BM_throttle_call(benchmark::State& state) {
  calls<Paced>(state);
}
template <class Paced>
void BM_debounce_by_key(benchmark::State& state) {
  calls<Paced>(state);
}

#define BY_THREADS(workload, Paced) BENCHMARK(workload<Paced>)->Apply(thread_counts::apply<>)->UseRealTime()

BY_THREADS(BM_debounce_call, penstock_debounce);
BY_THREADS(BM_debounce_call, penstock_submit);
BY_THREADS(BM_debounce_call, mutex_and_time);
BY_THREADS(BM_throttle_call, penstock_throttle_leading);
BY_THREADS(BM_throttle_call, penstock_throttle_trailing);
BY_THREADS(BM_throttle_call, mutex_and_last_run);
BY_THREADS(BM_debounce_by_key, penstock_debounce_by_key);
BY_THREADS(BM_debounce_by_key, mutex_and_map);

}  // namespace

BENCHMARK_MAIN();
