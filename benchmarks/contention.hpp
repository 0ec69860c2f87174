// What the benchmarks of locks and semaphores share: work of a known length, one object for all threads of a run, the time until
// sleepers run, and a thousand coroutines in line.
#pragma once

#include <benchmark/benchmark.h>

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "latencies.hpp"
#include "thread_counts.hpp"

namespace contention {

// glibc leaves out the atomics of a mutex as long as the process has had one thread only.
[[maybe_unused]] inline const bool has_had_threads = (std::thread{[] {}}.join(), true);

constexpr int short_work = 16;  // steps; about 20 to 40 ns
constexpr int long_work = 640;  // about 1 µs

/// Takes the same time always, and the compiler cannot drop it.
inline void work(std::uint64_t& x, int steps = short_work) {
  for (int i = 0; i < steps; ++i) x = x * 6364136223846793005u + 1442695040888963407u;
  benchmark::DoNotOptimize(x);
}

// One object for all threads of a run. Google Benchmark calls the function in each thread; the first one builds it before the others begin.
template <class T>
std::unique_ptr<T>& shared() {
  static std::unique_ptr<T> object;
  return object;
}
template <class T>
void build(const benchmark::State&) {
  shared<T>() = std::make_unique<T>();
}
template <class T>
void destroy(const benchmark::State&) {
  shared<T>().reset();
}

/// Each thread takes turns for a tenth of a second, whatever a turn costs: with locks that hand over strictly in order that is nanoseconds as long as a thread
/// is alone, and more than a thousand times that when who is next does not run, so that no number of turns could be told in advance.
template <class F>
void take_turns(benchmark::State& state, F turn) {
  constexpr int between_looks = 64;
  std::int64_t taken = 0;
  for (auto _ : state) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds{100};
    do {
      for (int i = 0; i < between_looks; ++i) turn();
      taken += between_looks;
    } while (std::chrono::steady_clock::now() < until);
  }
  state.SetItemsProcessed(taken);
}

/// N threads sleep in wait() until set() is called; the time is from then until the last of them runs. Between the rounds, for each of which an E is built, they
/// meet at barriers, which are not measured.
constexpr int wakes = 100;
template <class E>
void wake(benchmark::State& state) {
  using clock = std::chrono::steady_clock;
  const auto n = static_cast<unsigned>(state.range(0));
  pthread_barrier_t begin, end;
  ::pthread_barrier_init(&begin, nullptr, n + 1);
  ::pthread_barrier_init(&end, nullptr, n + 1);
  std::optional<E> e;
  std::vector<clock::time_point> awake(n);
  std::vector<std::thread> sleepers;
  for (unsigned i = 0; i < n; ++i) {
    sleepers.emplace_back([&, i] {
      for (;;) {
        ::pthread_barrier_wait(&begin);
        if (!e) return;
        e->wait();
        awake[i] = clock::now();
        ::pthread_barrier_wait(&end);
      }
    });
  }
  std::vector<double> took;
  for (auto _ : state) {
    e.emplace();
    ::pthread_barrier_wait(&begin);
    std::this_thread::sleep_for(std::chrono::microseconds{300});  // until they sleep, having polled as long as each likes
    const auto from = clock::now();
    e->set();
    ::pthread_barrier_wait(&end);
    const auto last = std::chrono::duration<double, std::nano>(*std::max_element(awake.begin(), awake.end()) - from).count();
    took.push_back(last);
    state.SetIterationTime(last * 1e-9);
  }
  e.reset();
  ::pthread_barrier_wait(&begin);
  for (auto& s : sleepers) s.join();
  ::pthread_barrier_destroy(&begin);
  ::pthread_barrier_destroy(&end);
  latencies::show(state, took);
}

/// Threads that contend: 2, 4 and 16, as many as there are processors, and twice as many.
inline std::vector<int> counts() {
  std::vector<int> all = thread_counts::up_to_twice<4, 16>();
  std::erase(all, 1);
  return all;
}

constexpr int coroutines = 1000;
constexpr int turns = 4;

/// A thousand coroutines on a pool of two workers: `make(pool)` is one of them, and takes its `turns`. A time is per turn.
template <class F>
void run_coroutines(benchmark::State& state, F make) {
  penstock::worker_pool pool{{.threads = 2}};
  for (auto _ : state) {
    std::vector<penstock::spawned<void>> line;
    line.reserve(coroutines);
    for (int i = 0; i < coroutines; ++i) line.push_back(penstock::spawn(pool, make(pool)));
    for (auto& c : line) c.wait();
  }
  state.SetItemsProcessed(state.iterations() * coroutines * turns);
}

}  // namespace contention
