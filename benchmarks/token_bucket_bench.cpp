// One token, by one thread, by two and by up to twice as many as there are processors: there is one (available), or none
// (exhausted). Per try; no load but the tries themselves. The same of a leaky bucket and of the windows.
//
// clock        the clock alone: what bounds everything that reads it
// available    a bucket that fills faster than it is emptied
// exhausted    an empty one, of one token an hour
// peers        rate_peers.hpp: a mutex and doubles, GCRA written plainly, folly's algorithm written plainly; of a leaky bucket and of windows what one writes
//              first, under a mutex
// waiters      100,000 coroutines wait on one bucket by a manual clock, and advance() serves them: per wake-up. bytes_per_waiter: all that each of them
//              allocates, its frame and spawn()'s; of_the_wait: how much of that a coroutine that does not wait lacks
// cached_clock_age  how far a cached_clock that is refreshed each 1 ms lies behind, in us: the median, 99 %, 99.9 % and the greatest of the looks of one
//              thread in 3 s; by how many other threads want a processor all the time
// accuracy     four threads wait in a loop for 10 s of real time; how much was granted of rate * t (per cent), and by how many tokens that was ever
//              above rate * t, of a bucket that began empty (negative: never)
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <stop_token>
#include <thread>
#include <vector>

#include <penstock/core/cached_clock.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/rate/fixed_window.hpp>
#include <penstock/rate/leaky_bucket.hpp>
#include <penstock/rate/sliding_window.hpp>
#include <penstock/rate/token_bucket.hpp>

#include "rate_peers.hpp"
#include "thread_counts.hpp"

namespace {
std::atomic<std::size_t> allocated{0};
}

// Not inline: g++ takes what it sees in them for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  allocated.fetch_add(bytes, std::memory_order_relaxed);
  if (void* const memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc{};
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

using namespace std::chrono_literals;
using penstock::rate;

// glibc leaves out the atomics of a mutex as long as the process has had one thread only.
[[maybe_unused]] const bool has_had_threads = (std::thread{[] {}}.join(), true);

struct penstock_bucket {
  penstock_bucket(double per_second, std::int64_t burst) : bucket{rate{per_second, 1s}, burst} {}
  bool take() { return bucket.try_acquire().has_value(); }
  penstock::token_bucket<> bucket;
};

struct penstock_bucket_cached_clock {
  penstock_bucket_cached_clock(double per_second, std::int64_t burst) : bucket{rate{per_second, 1s}, burst, clock} {}
  bool take() { return bucket.try_acquire().has_value(); }
  penstock::cached_clock clock{1ms};
  penstock::token_bucket<penstock::cached_clock> bucket;
};

void BM_token_bucket_clock(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(std::chrono::steady_clock::now());
}

template <class Limiter>
struct ours {
  ours(std::int64_t limit, std::chrono::nanoseconds length) : limiter{limit, length} {}
  bool take() { return limiter.try_acquire().has_value(); }
  Limiter limiter;
};

template <class Bucket, class Rate, class Amount>
void take(benchmark::State& state, Rate a, Amount b, bool available) {
  static std::unique_ptr<Bucket> bucket;
  if (state.thread_index() == 0) {
    bucket = std::make_unique<Bucket>(a, b);
    while (!available && bucket->take()) {
    }
  }
  std::int64_t taken = 0;
  for (auto _ : state) taken += bucket->take() ? 1 : 0;
  if (available ? taken < state.iterations() * 9 / 10 : taken > 1) state.SkipWithError("not what it is called");
  if (state.thread_index() == 0) bucket.reset();
}
template <class Bucket>
void BM_token_bucket_available(benchmark::State& state) {
  take<Bucket>(state, 1e9, std::int64_t{1'000'000'000}, true);
}
template <class Bucket>
void BM_token_bucket_exhausted(benchmark::State& state) {
  take<Bucket>(state, 1.0 / 3600, std::int64_t{1}, false);
}
// So many in a length of time: a million in each millisecond, which nobody takes, or one in an hour.
template <class Bucket>
void BM_limit_available(benchmark::State& state) {
  take<Bucket>(state, std::int64_t{1'000'000}, std::chrono::nanoseconds{1ms}, true);
}
template <class Bucket>
void BM_limit_exhausted(benchmark::State& state) {
  take<Bucket>(state, std::int64_t{1}, std::chrono::nanoseconds{1h}, false);
}

penstock::task<> wait_once(penstock::token_bucket<penstock::manual_clock>& bucket, std::int64_t& served) {
  const penstock::result<void> r = co_await bucket.async_acquire();
  served += r ? 1 : 0;
}

penstock::task<> wait_never(std::int64_t& served) {
  co_await std::suspend_never{};
  ++served;
}

template <class Begin>
double bytes_each(std::int64_t n, Begin begin) {
  const std::size_t before = allocated;
  for (std::int64_t i = 0; i < n; ++i) begin();
  return static_cast<double>(allocated - before) / static_cast<double>(n);
}

void BM_token_bucket_waiters(benchmark::State& state) {
  const std::int64_t n = state.range(0);
  for (auto _ : state) {
    penstock::manual_clock clock;
    penstock::token_bucket<penstock::manual_clock> bucket{
        rate{1'000'000, 1s}, 1000, clock, {.start = penstock::warm_start::empty}};
    std::int64_t served = 0;
    std::vector<penstock::spawned<void>> waiting;
    waiting.reserve(static_cast<std::size_t>(n));
    const double bytes = bytes_each(n, [&] { waiting.push_back(penstock::spawn(wait_once(bucket, served))); });
    state.counters["bytes_per_waiter"] = bytes;
    std::int64_t ended = 0;
    state.counters["of_the_wait"] = bytes - bytes_each(100, [&] { penstock::spawn(wait_never(ended)).result(); });
    const auto begin = std::chrono::steady_clock::now();
    clock.advance(n * 1us);
    state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    if (served != n) state.SkipWithError("not all were served");
  }
  state.SetItemsProcessed(state.iterations() * n);
}

void BM_token_bucket_accuracy(benchmark::State& state) {
  const std::int64_t per_second = state.range(0);
  const std::int64_t burst = std::max<std::int64_t>(2, per_second / 50);
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    penstock::token_bucket<> bucket{rate{per_second, 1s}, burst, {.start = penstock::warm_start::empty}};
    const auto end = begin + 10s;
    std::atomic<std::int64_t> granted{0};
    std::atomic<double> worst{-1e9};
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
          double mine = -1e9;
          while (bucket.try_acquire_until(end)) {
            const std::int64_t count = ++granted;  // looked at the clock after it: no earlier than it was granted
            const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
            mine = std::max(mine, static_cast<double>(count) - static_cast<double>(per_second) * passed);
          }
          for (double seen = worst; mine > seen && !worst.compare_exchange_weak(seen, mine);) {
          }
        });
      }
    }
    const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    state.counters["per_cent"] = static_cast<double>(granted) / (static_cast<double>(per_second) * std::min(passed, 10.0)) * 100;
    state.counters["above_the_law"] = worst.load();
  }
}

void BM_cached_clock_age(benchmark::State& state) {
  for (auto _ : state) {
    penstock::cached_clock clock{1ms};
    std::vector<std::int64_t> ages;
    ages.reserve(1'000'000);
    std::vector<std::jthread> others;
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      others.emplace_back([](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
        }
      });
    }
    const auto end = std::chrono::steady_clock::now() + 3s;
    for (auto now = end - 3s; now < end;) {
      const auto cached = clock.now();
      now = std::chrono::steady_clock::now();
      ages.push_back((now - cached).count());
      while (std::chrono::steady_clock::now() < now + 5us) {
      }
    }
    std::sort(ages.begin(), ages.end());
    const auto part = [&ages](double p) {
      return static_cast<double>(ages[static_cast<std::size_t>(p * static_cast<double>(ages.size() - 1))]) / 1000;
    };
    state.counters["median"] = part(0.5);
    state.counters["p99"] = part(0.99);
    state.counters["p999"] = part(0.999);
    state.counters["greatest"] = part(1);
  }
}

#define TAKES(Bucket)                                                                         \
  BENCHMARK(BM_token_bucket_available<Bucket>)->Apply(thread_counts::apply<>)->UseRealTime(); \
  BENCHMARK(BM_token_bucket_exhausted<Bucket>)->Apply(thread_counts::apply<>)->UseRealTime()

#define LIMIT_TAKES(limit, Bucket, implementation)          \
  BENCHMARK(BM_limit_available<Bucket>)                     \
      ->Name("BM_" #limit "_available<" implementation ">") \
      ->Apply(thread_counts::apply<>)                       \
      ->MinTime(0.1)                                        \
      ->UseRealTime();                                      \
  BENCHMARK(BM_limit_exhausted<Bucket>)                     \
      ->Name("BM_" #limit "_exhausted<" implementation ">") \
      ->Apply(thread_counts::apply<>)                       \
      ->MinTime(0.1)                                        \
      ->UseRealTime()
#define LIMIT(limit, Peer, peer)                                    \
  LIMIT_TAKES(limit, ours<penstock::limit<>>, "penstock::" #limit); \
  LIMIT_TAKES(limit, rate_peers::Peer, peer)

BENCHMARK(BM_token_bucket_clock)
    ->Name("BM_token_bucket_clock<reference: the clock>")
    ->Apply(thread_counts::apply<>)
    ->UseRealTime();
TAKES(penstock_bucket);
TAKES(penstock_bucket_cached_clock);
TAKES(rate_peers::mutex_and_doubles);
TAKES(rate_peers::plain_gcra);
TAKES(rate_peers::zero_time);
LIMIT(leaky_bucket, mutex_and_level, "mutex and level");
LIMIT(fixed_window, mutex_and_count, "mutex and count");
LIMIT(sliding_window, mutex_and_times, "mutex and deque of times");
LIMIT(approximate_sliding_window, mutex_and_two_counts, "mutex and two counts");
BENCHMARK(BM_token_bucket_waiters)
    ->Name("BM_token_bucket_waiters<penstock::token_bucket>")
    ->Arg(100'000)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_token_bucket_accuracy)
    ->Name("BM_token_bucket_accuracy<reference: a set time>")
    ->Arg(10)
    ->Arg(1000)
    ->Arg(100'000)
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kSecond);
BENCHMARK(BM_cached_clock_age)
    ->Name("BM_cached_clock_age<reference: a set time>")
    ->Arg(0)
    ->Arg(2)
    ->Arg(4)
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kSecond);

}  // namespace

BENCHMARK_MAIN();
