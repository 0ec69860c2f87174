// Pools of threads: what it costs to hand them tasks, and how long the tasks wait.
//
//   stream/W               one thread from outside posts a million empty tasks to W workers, until all have run. Per task.
//   stream_two_submitters  two threads post half a million each, to two workers. Per task.
//   stream_many_submitters/N  N threads post a million between them, to N workers, on a machine of 2 N processors. Per task.
//   submit_and_get         one task at a time, whose value is awaited: quantiles of the round trip.
//   tree                   a task posts two others, and they two each, until there are a million. Two workers; tree/W: W of them. Per task.
//   schedule/C             C coroutines move to the pool (where they are already) a million times, all told. Per time.
//   queue_wait/W           tasks of 20 µs for W workers arrive as a Poisson process that keeps the workers busy for 70 % of the time: quantiles of
//                          the time from when a task was to arrive to when it began. Who submits late makes it no shorter (no coordinated
//                          omission). The submitter looks at the clock all the time if the workers leave it a processor, else it sleeps between
//                          arrivals, and is late by what the system takes to wake it, with all pools alike: then they compete for processors.
//   idle                   how often the threads of a pool without work are scheduled in a second.
//
// The pools, and what each does with many tasks: pool_peers.hpp.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "latencies.hpp"
#include "pool_peers.hpp"
#include "thread_counts.hpp"

namespace {

using namespace std::chrono_literals;

constexpr int tasks = 1'000'000;
constexpr int two_workers = 2;

std::int64_t now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

// Counts what has run: a cache line for each thread, so that it costs an empty task next to nothing, and costs every pool the same.
class tally {
 public:
  void add() noexcept {
    std::atomic<int>& count = lines_[mine()].count;
    // relaxed: only this thread writes it; release: pairs with the acquire in wait_for()
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  void wait_for(int n) const {
    for (;;) {
      int sum = 0;
      for (const line& l : lines_) sum += l.count.load(std::memory_order_acquire);  // acquire: pairs with the release in add()
      if (sum >= n) return;
      std::this_thread::sleep_for(50us);
    }
  }

 private:
  struct alignas(64) line {
    std::atomic<int> count{0};
  };
  struct claim {
    claim() noexcept {
      std::uint64_t seen = taken.load();
      do {
        index = static_cast<unsigned>(std::countr_one(seen));
        if (index == 64) std::abort();
      } while (!taken.compare_exchange_weak(seen, seen | std::uint64_t{1} << index));
    }
    ~claim() { taken.fetch_and(~(std::uint64_t{1} << index)); }
    unsigned index = 0;
    static inline std::atomic<std::uint64_t> taken{0};
  };
  static unsigned mine() noexcept {
    static thread_local unsigned known = 64;  // without a constructor: nothing to look at but itself
    if (known == 64) [[unlikely]] {
      static thread_local const claim here;
      known = here.index;
    }
    return known;
  }
  std::array<line, 64> lines_;
};

// Until the pool's threads have started and have touched what they use.
template <class P>
void warm_up(P& pool) {
  tally done;
  pools::submitting(pool, 1, [&] {
    for (int i = 0; i < 20'000; ++i) pool.post([&done] { done.add(); });
  });
  pools::finish(pool);
  done.wait_for(20'000);
}

template <class P>
constexpr bool posts_many = requires(P& pool) { pool.post_all(1, [] {}); };

template <class P>
void stream(benchmark::State& state, int workers, int submitters) {
  P pool{workers};
  warm_up(pool);
  for (auto _ : state) {
    tally done;
    pools::submitting(pool, submitters, [&] {
      if constexpr (posts_many<P>) {
        pool.post_all(tasks / submitters, [&done] { done.add(); });
      } else {
        for (int i = 0; i < tasks / submitters; ++i) pool.post([&done] { done.add(); });
      }
    });
    pools::finish(pool);
    done.wait_for(tasks / submitters * submitters);
  }
  state.SetItemsProcessed(state.iterations() * tasks);
}
template <class P>
void BM_pool_stream(benchmark::State& state) {
  stream<P>(state, static_cast<int>(state.range(0)), 1);
}
template <class P>
void BM_pool_stream_two_submitters(benchmark::State& state) {
  stream<P>(state, two_workers, 2);
}
template <class P>
void BM_pool_stream_many_submitters(benchmark::State& state) {
  stream<P>(state, static_cast<int>(state.range(0)), static_cast<int>(state.range(0)));
}

// Quantiles as counters that bench_report.py knows: of each window of measurements, and of these the median, so that what else the machine does in
// some of the windows does not decide.
class quantiles {
 public:
  void add_window(std::vector<std::int64_t>& ns) {
    for (const std::int64_t n : ns) every_.record(static_cast<std::uint64_t>(std::max<std::int64_t>(n, 0)));
    std::ranges::sort(ns);
    for (auto& [name, q, found] : all_) found.push_back(ns[static_cast<std::size_t>(q * static_cast<double>(ns.size() - 1))]);
  }
  void report(benchmark::State& state) {
    for (auto& [name, q, found] : all_) {
      std::ranges::sort(found);
      state.counters[name] = static_cast<double>(found[found.size() / 2]);
    }
    latencies::show_histogram(state, every_.snapshot());
  }

 private:
  struct one {
    const char* name;
    double q;
    std::vector<std::int64_t> found;
  };
  std::array<one, 3> all_{one{"P50", 0.5, {}}, one{"P99", 0.99, {}}, one{"P99.9", 0.999, {}}};
  penstock::histogram every_;
};

template <class P>
void BM_pool_submit_and_get(benchmark::State& state) {
  P pool{two_workers};
  const auto one = [] { return 1; };
  for (int i = 0; i < 500; ++i) benchmark::DoNotOptimize(pool.value(one));
  std::vector<std::int64_t> ns(1'000);
  quantiles told;
  for (auto _ : state) {
    for (int window = 0; window < 11; ++window) {
      for (std::int64_t& n : ns) {
        const std::int64_t begin = now();
        benchmark::DoNotOptimize(pool.value(one));
        n = now() - begin;
      }
      told.add_window(ns);
    }
  }
  told.report(state);
}

template <class P>
struct node {
  void operator()() const {
    done->add();
    for (int child = 2 * number + 1; child <= 2 * number + 2 && child < tasks; ++child) pool->post(node{pool, done, child});
  }
  P* pool;
  tally* done;
  int number;
};
template <class P>
void tree(benchmark::State& state, int workers) {
  P pool{workers};
  warm_up(pool);
  for (auto _ : state) {
    tally done;
    pools::submitting(pool, 1, [&] { pool.post(node<P>{&pool, &done, 0}); });
    pools::finish(pool);
    done.wait_for(tasks);
  }
  state.SetItemsProcessed(state.iterations() * tasks);
}

template <class P>
void BM_pool_tree(benchmark::State& state) {
  tree<P>(state, two_workers);
}
template <class P>
void BM_pool_tree_by(benchmark::State& state) {
  tree<P>(state, static_cast<int>(state.range(0)));
}

struct detached {
  struct promise_type {
    detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};
template <class P>
detached move_about(P& pool, int times, tally& done) {
  for (int i = 0; i < times; ++i) co_await pools::schedule(pool);
  done.add();
}
template <class P>
void BM_pool_schedule(benchmark::State& state) {
  const auto coroutines = static_cast<int>(state.range(0));
  P pool{two_workers};
  warm_up(pool);
  for (auto _ : state) {
    tally done;
    pools::submitting(pool, 1, [&] {
      for (int i = 0; i < coroutines; ++i) move_about(pool, tasks / coroutines, done);
    });
    pools::finish(pool);
    done.wait_for(coroutines);
  }
  state.SetItemsProcessed(state.iterations() * tasks);
}

// Until a time on the steady clock.
void wait_until(std::int64_t due, bool sleeping) {
  if (sleeping) std::this_thread::sleep_until(std::chrono::steady_clock::time_point{std::chrono::nanoseconds{due}});
  while (now() < due) {
  }
}
// The system may let a sleeper lie 50 µs longer than it asked for, to wake several at once: not this thread's.
void wake_in_time() {
#if defined(__linux__)
  ::prctl(PR_SET_TIMERSLACK, 1);
#endif
}

constexpr std::int64_t work_ns = 20'000;
constexpr double utilization = 0.7;

// One window: the waits of tasks that arrive from now on.
template <class P>
void arrivals(P& pool, bool sleeping, const std::vector<std::int64_t>& gaps, std::vector<std::int64_t>& waits) {
  tally done;
  std::int64_t due = now() + 1'000'000;
  for (std::size_t i = 0; i < gaps.size(); ++i) {
    due += gaps[i];
    wait_until(due, sleeping);
    pool.post([&wait = waits[i], &done, due] {
      const std::int64_t begun = now();
      wait = begun - due;
      while (now() - begun < work_ns) {
      }
      done.add();
    });
  }
  done.wait_for(static_cast<int>(gaps.size()));
}
template <class P>
void BM_pool_queue_wait(benchmark::State& state) {
  const auto workers = static_cast<int>(state.range(0));
  P pool{workers};
  warm_up(pool);
  const bool sleeping = static_cast<std::size_t>(workers) >= penstock::available_processors();
  wake_in_time();
  std::mt19937_64 random{20240717};
  std::exponential_distribution<double> gap{utilization * workers / work_ns};
  std::vector<std::int64_t> gaps(static_cast<std::size_t>(2'000 * workers));
  std::vector<std::int64_t> waits(gaps.size());
  quantiles told;
  for (auto _ : state) {
    for (int window = 0; window < 15; ++window) {
      std::ranges::generate(gaps, [&] { return static_cast<std::int64_t>(gap(random)); });
      arrivals(pool, sleeping, gaps, waits);
      told.add_window(waits);
    }
  }
  told.report(state);
}

// How often each thread but this one has been scheduled away, of its own or not, so far; -1 where the system does not tell.
long switches_of_others() {
  std::error_code failed;
  const auto here = std::filesystem::read_symlink("/proc/thread-self", failed).filename();
  if (failed) return -1;
  long sum = 0;
  for (const auto& thread : std::filesystem::directory_iterator{"/proc/self/task"}) {
    if (thread.path().filename() == here) continue;
    std::ifstream status{thread.path() / "status"};
    for (std::string line; std::getline(status, line);) {
      if (const auto colon = line.find(':'); line.find("ctxt_switches") < colon) sum += std::stol(line.substr(colon + 1));
    }
  }
  return sum;
}
template <class P>
void BM_pool_idle(benchmark::State& state) {
  P pool{two_workers};
  warm_up(pool);
  std::this_thread::sleep_for(200ms);  // until they sleep
  long switches = 0;
  for (auto _ : state) {
    const long before = switches_of_others();
    std::this_thread::sleep_for(1s);
    switches = before < 0 ? -1 : switches_of_others() - before;
  }
  if (switches < 0) return state.SkipWithError("the system does not tell how often a thread was scheduled");
  state.counters["wakeups_per_s"] = static_cast<double>(switches);
}

template <class P>
void add(const std::string& implementation) {
  const int all = std::min(thread_counts::processors(), 24);  // tally has room for 64 threads, and some stay after their pool
  const auto add = [&](const char* workload, void (*function)(benchmark::State&)) {
    return benchmark::RegisterBenchmark((std::string{"BM_pool_"} + workload + "<" + implementation + ">").c_str(), function)
        ->UseRealTime()
        ->Iterations(1)
        ->Unit(benchmark::kMillisecond);
  };
  if constexpr (requires(P& pool) { pool.post([] {}); }) {
    auto* const streams = add("stream", BM_pool_stream<P>)->Arg(2)->Arg(8);
    if (all > 2 && all != 8) streams->Arg(all);
    if (all > 3) add("stream_many_submitters", BM_pool_stream_many_submitters<P>)->Arg(all / 2);
    add("stream_two_submitters", BM_pool_stream_two_submitters<P>);
  }
  if constexpr (posts_many<P>) return;  // the rest has one task at a time
  if constexpr (requires(P& pool) { pool.value([] { return 1; }); }) add("submit_and_get", BM_pool_submit_and_get<P>);
  if constexpr (requires(P& pool) { pool.post([] {}); }) {
    add("tree", BM_pool_tree<P>);
    if (all > 2) add("tree", BM_pool_tree_by<P>)->Arg(all);
    add("schedule", BM_pool_schedule<P>)->Arg(1)->Arg(16);
    // Where the submitters are workers, nobody works while they wait for the next arrival; and that team ends where nobody submits.
    if constexpr (!requires(P& pool) { pool.submitting(1, [] {}); }) {
      auto* const waits = add("queue_wait", BM_pool_queue_wait<P>)->Arg(1)->Arg(2);
      if (all > 3) waits->Arg(all - 1);
      add("idle", BM_pool_idle<P>);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  pools::for_each_pool([]<class P>(std::type_identity<P>, const char* name) { add<P>(name); });
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
