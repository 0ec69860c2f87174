// A job's turn and its end, nobody waiting: what limiter and adaptive_limit cost, by one thread and by two. Per job.
//
// cap          8 jobs at a time, no more
// rates        and a billion a second, and a hundred billions a day
// reservoir    and a reservoir that is refreshed each second
// try, permit  try_acquire() and release(); acquire_permit() and its end
// run          a job that the limiter calls
// chain        the cap, behind another limiter with one
// adaptive     adaptive_limit with 100 places: a permit, timed. partitions: of three shares
// peers        the same numbers under a mutex, in doubles where they are rates, with nothing around them: no line, no changes, no clock but the steady one
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>

#include <penstock/rate/adaptive_limit.hpp>
#include <penstock/rate/limiter.hpp>

#include "thread_counts.hpp"

namespace {

using namespace std::chrono_literals;

enum class limits { cap, rates, reservoir };

penstock::limiter_options options_of(limits what) {
  penstock::limiter_options o{.max_concurrent = 8};
  if (what != limits::cap) o.rates = {{{1'000'000'000, 1s}, 1'000'000'000}, {{100'000'000'000, 24h}, 100'000'000'000}};
  if (what == limits::reservoir) {
    o.reservoir = penstock::reservoir_options{.initial = 100'000'000, .refresh_interval = 1s, .refresh_amount = 100'000'000};
  }
  return o;
}

struct penstock_limiter {
  explicit penstock_limiter(limits what) : turns{options_of(what)} {}
  bool job() {
    if (!turns.try_acquire()) return false;
    turns.release();
    return true;
  }
  penstock::limiter turns;
};
struct penstock_permit : penstock_limiter {
  using penstock_limiter::penstock_limiter;
  bool job() { return turns.acquire_permit().has_value(); }
};
struct penstock_run : penstock_limiter {
  using penstock_limiter::penstock_limiter;
  bool job() {
    return turns.run([] { return true; }).has_value();
  }
};
struct penstock_chain {
  explicit penstock_chain(limits what) : last{options_of(what)}, first{options_of(what), {.chain = &last}} {}
  bool job() {
    if (!first.try_acquire()) return false;
    first.release();
    return true;
  }
  penstock::limiter last;
  penstock::limiter first;
};

class mutex_and_doubles {
 public:
  explicit mutex_and_doubles(limits what) : what_{what} {}
  bool job() {
    if (!begin()) return false;
    std::scoped_lock guard{lock_};
    --running_;
    return true;
  }

 private:
  struct bucket {
    double per_second;
    double burst;
    double tokens = burst;
  };

  bool begin() {
    const double now = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    std::scoped_lock guard{lock_};
    if (running_ == 8) return false;
    if (what_ != limits::cap) {
      for (bucket& b : buckets_) b.tokens = std::min(b.burst, b.tokens + (now - last_) * b.per_second);
      last_ = now;
      for (const bucket& b : buckets_) {
        if (b.tokens < 1) return false;
      }
    }
    if (what_ == limits::reservoir) {
      if (now - refreshed_ >= 1) {
        refreshed_ = now;
        level_ = 100'000'000;
      }
      if (level_ == 0) return false;
      --level_;
    }
    if (what_ != limits::cap) {
      for (bucket& b : buckets_) b.tokens -= 1;
    }
    ++running_;
    return true;
  }

  const limits what_;
  std::mutex lock_;
  int running_ = 0;
  double last_ = 0;
  double refreshed_ = 0;
  std::int64_t level_ = 0;
  bucket buckets_[2] = {{1e9, 1e9}, {1e11 / 86'400, 1e11}};
};

penstock::adaptive_limit_options shares_of(bool partitions) {
  penstock::adaptive_limit_options o{.initial = 100};
  if (partitions) o.partitions = {{"a", 50}, {"b", 20}, {"c", 10}};
  return o;
}
template <bool Partitions>
struct penstock_adaptive {
  explicit penstock_adaptive(limits) {}
  bool job() { return limit.try_acquire(share).has_value(); }
  penstock::adaptive_limit<> limit{shares_of(Partitions)};
  penstock::partition_id share{Partitions ? 1U : 0U};
};
using penstock_adaptive_limit = penstock_adaptive<false>;
using penstock_adaptive_partitions = penstock_adaptive<true>;

// What adapts is left out: the time of each call and a mean of them.
class mutex_and_mean {
 public:
  explicit mutex_and_mean(limits) {}
  bool job() {
    {
      std::scoped_lock guard{lock_};
      if (running_ == 100) return false;
      ++running_;
    }
    const auto began = std::chrono::steady_clock::now();
    const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    std::scoped_lock guard{lock_};
    --running_;
    mean_ += (took - mean_) * 0.01;
    return true;
  }

 private:
  std::mutex lock_;
  int running_ = 0;
  double mean_ = 0;
};

template <class Limiter>
void jobs(benchmark::State& state, limits what) {
  static std::unique_ptr<Limiter> limiter;
  if (state.thread_index() == 0) limiter = std::make_unique<Limiter>(what);
  std::int64_t ran = 0;
  for (auto _ : state) ran += limiter->job() ? 1 : 0;
  if (ran < state.iterations() * 9 / 10) state.SkipWithError("jobs were refused");
  if (state.thread_index() == 0) limiter.reset();
}
template <class Limiter>
void BM_limiter_cap(benchmark::State& state) {
  jobs<Limiter>(state, limits::cap);
}
template <class Limiter>
void BM_limiter_rates(benchmark::State& state) {
  jobs<Limiter>(state, limits::rates);
}
template <class Limiter>
void BM_limiter_reservoir(benchmark::State& state) {
  jobs<Limiter>(state, limits::reservoir);
}
template <class Limiter>
void BM_limiter_adaptive(benchmark::State& state) {
  jobs<Limiter>(state, limits::cap);
}

#define BY_THREADS(workload, Limiter) BENCHMARK(workload<Limiter>)->Apply(thread_counts::apply<>)->UseRealTime()

BY_THREADS(BM_limiter_cap, penstock_limiter);
BY_THREADS(BM_limiter_cap, penstock_permit);
BY_THREADS(BM_limiter_cap, penstock_run);
BY_THREADS(BM_limiter_cap, penstock_chain);
BY_THREADS(BM_limiter_cap, mutex_and_doubles);
BY_THREADS(BM_limiter_rates, penstock_limiter);
BY_THREADS(BM_limiter_rates, mutex_and_doubles);
BY_THREADS(BM_limiter_reservoir, penstock_limiter);
BY_THREADS(BM_limiter_reservoir, mutex_and_doubles);
BY_THREADS(BM_limiter_adaptive, penstock_adaptive_limit);
BY_THREADS(BM_limiter_adaptive, penstock_adaptive_partitions);
BY_THREADS(BM_limiter_adaptive, mutex_and_mean);

}  // namespace

BENCHMARK_MAIN();
