// What recording costs, alone and under contention.
//
// Peers. `mutex_histogram`: the same buckets with an exact sum, under a std::mutex, as written by hand where a histogram must be shared.
// `fixed_bounds`: a search in 16 bounds, an atomic count for the bucket and an atomic sum, the construction of Prometheus' client
// libraries; it knows a quantile only to within a bound's distance. `atomic_add`: one std::atomic fetch_add, a counter by hand. A sorted
// vector under a mutex is no peer: it grows without bound.
//
// For reference. `reference_atomic_add`: the least that any exact concurrent statistic can cost, the floor for a histogram.
// `reference_exact_sum`: our histogram with an exact sum, the design that was not taken. `reference_histogram_per_thread`: one of ours
// for each thread, to be merged, which nobody shares.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/observe/busy_time.hpp>
#include <penstock/observe/counter.hpp>
#include <penstock/observe/gauge.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/prometheus_text.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/semaphore.hpp>

#include "thread_counts.hpp"

namespace {

// glibc leaves out the atomics of a mutex as long as the process has had one thread only; a concurrent program never sees that.
[[maybe_unused]] const bool has_had_threads = (std::thread{[] {}}.join(), true);

struct reference_atomic_add {
  void record(std::uint64_t value, int) { total.fetch_add(value, std::memory_order_relaxed); }

  std::atomic<std::uint64_t> total{0};
};

struct atomic_add {
  void add() { total.fetch_add(1, std::memory_order_relaxed); }

  std::atomic<std::uint64_t> total{0};
};

struct penstock_histogram {
  void record(std::uint64_t value, int) { histogram.record(value); }

  penstock::histogram histogram;
};

struct reference_histogram_per_thread {
  void record(std::uint64_t value, int thread) { histograms[static_cast<std::size_t>(thread)].record(value); }

  std::array<penstock::histogram, thread_counts::most> histograms;
};

struct reference_exact_sum {
  void record(std::uint64_t value, int) {
    histogram.record(value);
    sum.fetch_add(value, std::memory_order_relaxed);
  }

  penstock::histogram histogram;
  alignas(penstock::detail::cache_line) std::atomic<std::uint64_t> sum{0};
};

struct mutex_histogram {
  using layout = penstock::detail::log_linear<7, 42>;

  void record(std::uint64_t value, int) {
    const std::scoped_lock guard{mutex};
    ++counts[layout::index(value)];
    sum += value;
    least = std::min(least, value);
    greatest = std::max(greatest, value);
  }

  std::mutex mutex;
  std::array<std::uint64_t, layout::size> counts{};
  std::uint64_t sum = 0;
  std::uint64_t least = layout::greatest;
  std::uint64_t greatest = 0;
};

struct fixed_bounds {
  fixed_bounds() {
    std::uint64_t bound = 1'000;
    for (auto& b : bounds) b = bound *= 3;
  }

  void record(std::uint64_t value, int) {
    const auto bucket = static_cast<std::size_t>(std::lower_bound(bounds.begin(), bounds.end(), value) - bounds.begin());
    counts[bucket].fetch_add(1, std::memory_order_relaxed);
    sum.fetch_add(value, std::memory_order_relaxed);
  }

  std::array<std::uint64_t, 16> bounds{};
  std::array<std::atomic<std::uint64_t>, 17> counts{};
  std::atomic<std::uint64_t> sum{0};
};

// xorshift64, and a shift by some of its own bits: magnitudes from about 1 us to 1 h, as latencies in ns would have.
struct spread_values {
  explicit spread_values(int thread) : state{0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(thread)} {}

  std::uint64_t next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 22) >> (state & 31);
  }

  std::uint64_t state;
};

template <class T>
T& instance() {
  static T it;
  return it;
}

// What the loop itself costs: to be subtracted from the record_spread lines.
void BM_values_spread(benchmark::State& state) {
  spread_values values{state.thread_index()};
  for (auto _ : state) benchmark::DoNotOptimize(values.next());
}
BENCHMARK(BM_values_spread)->Name("BM_values_spread<reference: the loop>")->UseRealTime();

// Values over many magnitudes: threads seldom meet in a bucket.
template <class T>
void BM_record_spread(benchmark::State& state) {
  auto& recorder = instance<T>();
  spread_values values{state.thread_index()};
  for (auto _ : state) recorder.record(values.next(), state.thread_index());
}

// The worst case: all threads record the same value, in one bucket.
template <class T>
void BM_record_same(benchmark::State& state) {
  auto& recorder = instance<T>();
  std::uint64_t value = 12'345;
  for (auto _ : state) {
    benchmark::DoNotOptimize(value);
    recorder.record(value, state.thread_index());
  }
}

#define RECORDERS(workload)                                                                                    \
  BENCHMARK_TEMPLATE(workload, penstock_histogram)->UseRealTime()->Apply(thread_counts::apply<4>);             \
  BENCHMARK_TEMPLATE(workload, reference_histogram_per_thread)->UseRealTime()->Apply(thread_counts::apply<4>); \
  BENCHMARK_TEMPLATE(workload, reference_exact_sum)->UseRealTime()->Apply(thread_counts::apply<4>);            \
  BENCHMARK_TEMPLATE(workload, reference_atomic_add)->UseRealTime()->Apply(thread_counts::apply<4>);           \
  BENCHMARK_TEMPLATE(workload, fixed_bounds)->UseRealTime()->Apply(thread_counts::apply<4>);                   \
  BENCHMARK_TEMPLATE(workload, mutex_histogram)->UseRealTime()->Apply(thread_counts::apply<4>)

RECORDERS(BM_record_spread);
RECORDERS(BM_record_same);

template <class T>
void BM_count(benchmark::State& state) {
  auto& events = instance<T>();
  for (auto _ : state) events.add();
}
BENCHMARK_TEMPLATE(BM_count, penstock::counter)->UseRealTime()->Apply(thread_counts::apply<4>);
BENCHMARK_TEMPLATE(BM_count, penstock::basic_counter<1>)->UseRealTime()->Apply(thread_counts::apply<4>);
BENCHMARK_TEMPLATE(BM_count, atomic_add)->UseRealTime()->Apply(thread_counts::apply<4>);

struct atomic_level {
  void add() { level.fetch_add(1, std::memory_order_relaxed); }
  void sub() { level.fetch_sub(1, std::memory_order_relaxed); }

  std::atomic<std::int64_t> level{0};
};

template <class T>
void BM_up_down(benchmark::State& state) {
  auto& level = instance<T>();
  for (auto _ : state) {
    level.add();
    level.sub();
  }
}
BENCHMARK_TEMPLATE(BM_up_down, penstock::gauge)->UseRealTime()->Apply(thread_counts::apply<4>);
BENCHMARK_TEMPLATE(BM_up_down, atomic_level)->UseRealTime()->Apply(thread_counts::apply<4>);

// Peer of busy_time: add the length of each occupation when it ends. It needs no lock, and knows nothing of what is going on now.
struct sum_of_finished {
  using clock = std::chrono::steady_clock;

  struct scope {
    explicit scope(sum_of_finished& s) : sum{s}, start{clock::now()} {}
    ~scope() { sum.busy.fetch_add((clock::now() - start).count(), std::memory_order_relaxed); }
    sum_of_finished& sum;
    clock::time_point start;
  };

  std::atomic<clock::rep> busy{0};
};

struct penstock_busy_time {
  using scope = penstock::busy_scope<std::chrono::steady_clock>;
  operator penstock::busy_time&() { return time; }

  penstock::busy_time time{thread_counts::most};
};

// One occupation of a slot: two readings of the clock included.
template <class T>
void BM_occupy(benchmark::State& state) {
  auto& slots = instance<T>();
  for (auto _ : state) {
    const typename T::scope scope{slots};
    benchmark::ClobberMemory();
  }
}
BENCHMARK_TEMPLATE(BM_occupy, penstock_busy_time)->UseRealTime()->Apply(thread_counts::apply<4>);
BENCHMARK_TEMPLATE(BM_occupy, sum_of_finished)->UseRealTime()->Apply(thread_counts::apply<4>);

penstock::histogram_snapshot spread_snapshot() {
  penstock::histogram h;
  spread_values values{0};
  for (int i = 0; i < 100'000; ++i) h.record(values.next());
  return h.snapshot();
}

void BM_snapshot(benchmark::State& state) {
  penstock::histogram h;
  spread_values values{0};
  for (int i = 0; i < 100'000; ++i) h.record(values.next());
  for (auto _ : state) benchmark::DoNotOptimize(h.snapshot());
}
BENCHMARK(BM_snapshot)->Name("BM_snapshot<penstock::histogram>")->UseRealTime();

void BM_quantile(benchmark::State& state) {
  const auto s = spread_snapshot();
  for (auto _ : state) benchmark::DoNotOptimize(s.quantile(0.99));
}
BENCHMARK(BM_quantile)->Name("BM_quantile<penstock::histogram>")->UseRealTime();

void BM_merge(benchmark::State& state) {
  const auto part = spread_snapshot();
  auto total = part;
  for (auto _ : state) {
    total.merge(part);
    benchmark::DoNotOptimize(total);
  }
}
BENCHMARK(BM_merge)->Name("BM_merge<penstock::histogram>")->UseRealTime();

// What a name in a registry costs the events of a component: nothing, for it is read when somebody looks.
template <bool Joined>
void BM_acquire_release(benchmark::State& state) {
  penstock::registry all;
  penstock::semaphore places{4};
  penstock::registry_membership joined;
  if constexpr (Joined) joined = all.join("places", places);
  for (auto _ : state) {
    benchmark::DoNotOptimize(places.try_acquire());
    places.release();
  }
}
BENCHMARK(BM_acquire_release<false>)->Name("BM_acquire_release<penstock::semaphore>")->UseRealTime();
BENCHMARK(BM_acquire_release<true>)->Name("BM_acquire_release<penstock::semaphore in a registry>")->UseRealTime();

// What looking costs: ten components, each with a histogram of 100,000 values over many magnitudes (some 2,500 buckets), five counters and a gauge.
struct scraped {
  scraped() {
    spread_values values{0};
    for (int i = 0; i < 100'000; ++i) times.record(values.next());
    for (int i = 0; i < 10; ++i) joined.push_back(all.join("component " + std::to_string(i), *this));
  }
  friend void describe(const scraped& s, penstock::metric_sink& to) {
    to.kind("scraped");
    to.gauge(penstock::metrics::depth, 3);
    for (const char* const reason : {"closed", "full", "rejected", "timeout", "cancelled"}) {
      to.counter(penstock::metrics::rejected, 1, {"reason", reason});
    }
    to.times(penstock::metrics::run, s.times.snapshot());
  }

  penstock::registry all;
  penstock::histogram times;
  std::vector<penstock::registry_membership> joined;
};

void BM_registry_snapshot(benchmark::State& state) {
  const scraped s;
  for (auto _ : state) benchmark::DoNotOptimize(s.all.snapshot());
}
BENCHMARK(BM_registry_snapshot)->Name("BM_registry_snapshot<penstock::registry>")->UseRealTime();

void BM_prometheus_text(benchmark::State& state) {
  const scraped s;
  const auto snapshot = s.all.snapshot();
  for (auto _ : state) benchmark::DoNotOptimize(to_prometheus_text(snapshot));
}
BENCHMARK(BM_prometheus_text)->Name("BM_prometheus_text<penstock::to_prometheus_text>")->UseRealTime();

// What `.metrics` takes of an item: one thread pushes it and pops it again.
template <bool Metrics, penstock::channel_policy Policy = penstock::channel_policy::mpmc>
void BM_push_pop(benchmark::State& state) {
  penstock::channel<std::uint64_t, Policy> c{{.capacity = 64, .metrics = Metrics}};
  for (auto _ : state) {
    static_cast<void>(c.push(1));
    benchmark::DoNotOptimize(c.pop());
  }
}
BENCHMARK(BM_push_pop<false>)->Name("BM_push_pop<penstock::channel>")->UseRealTime();
BENCHMARK(BM_push_pop<true>)->Name("BM_push_pop<penstock::channel with metrics>")->UseRealTime();
BENCHMARK(BM_push_pop<false, penstock::channel_policy::spsc>)->Name("BM_push_pop<penstock::channel spsc>")->UseRealTime();
BENCHMARK(BM_push_pop<true, penstock::channel_policy::spsc>)
    ->Name("BM_push_pop<penstock::channel spsc with metrics>")
    ->UseRealTime();

// What `.metrics` takes of a task: a task that submits 200 others, which the same worker runs. Nobody else is awake, so what one costs is added to it whole.
// TimeEvery: 0: without metrics.
template <std::uint32_t TimeEvery>
void BM_tasks(benchmark::State& state) {
  constexpr int tasks = 200;
  penstock::worker_pool pool{{.threads = 1, .metrics = TimeEvery != 0, .time_every = TimeEvery == 0 ? 1 : TimeEvery}};
  for (auto _ : state) {
    static_cast<void>(pool.post([&pool] {
      for (int i = 0; i < tasks; ++i) static_cast<void>(pool.post([] {}));
    }));
    static_cast<void>(pool.drain());
  }
  state.SetItemsProcessed(state.iterations() * tasks);
}
BENCHMARK(BM_tasks<0>)->Name("BM_tasks<penstock::worker_pool>")->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(BM_tasks<16>)->Name("BM_tasks<penstock::worker_pool with metrics>")->MeasureProcessCPUTime()->UseRealTime();
BENCHMARK(BM_tasks<1>)->Name("BM_tasks<penstock::worker_pool that times every task>")->MeasureProcessCPUTime()->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
