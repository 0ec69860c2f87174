// Loops and fork-join calls on a worker for each processor, beside the same work on one thread.
//
//   for_each/N    x = sqrt(x * 1.0001 + 0.5) for N doubles, and no hint how much work that is
//   reduce/N      the sum of N doubles
//   fibonacci/30  fibonacci(30), every call of which forks: 1.35 million forks, without a cut-off. Peers that return no values write through
//                 references.
//   nested/N      a loop of 64 elements, in each of which there is a loop over N doubles
//
// Peers: oneTBB (an arena of as many, the calling thread one of them, as with penstock), OpenMP (a team of as many; its tasks for fibonacci). A
// team of OpenMP polls between two loops, which makes its loops begin sooner and the others' slower: it is the last to be run.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <functional>
#include <numeric>
#include <ranges>
#include <string>
#include <vector>

#if PENSTOCK_BENCH_HAS_TBB
#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/parallel_reduce.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>
#endif

#include <penstock/combine/for_each.hpp>
#include <penstock/combine/invoke.hpp>
#include <penstock/combine/reduce.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "thread_counts.hpp"

namespace {

const int workers = thread_counts::processors();

void step(double& x) { x = std::sqrt(x * 1.0001 + 0.5); }

struct one_thread {
  void for_each(std::vector<double>& xs) {
    for (double& x : xs) step(x);
  }
  double sum(const std::vector<double>& xs) { return std::accumulate(xs.begin(), xs.end(), 0.0); }
  long fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
  template <class F>
  void times(int n, F f) {
    for (int i = 0; i < n; ++i) f(i);
  }
};

struct penstock_pool {
  void for_each(std::vector<double>& xs) { penstock::for_each(pool, xs, step); }
  double sum(const std::vector<double>& xs) { return penstock::reduce(pool, xs, 0.0); }
  long fibonacci(int n) {
    if (n < 2) return n;
    const auto [a, b] = penstock::invoke(pool, [&] { return fibonacci(n - 1); }, [&] { return fibonacci(n - 2); });
    return a + b;
  }
  template <class F>
  void times(int n, F f) {
    penstock::for_each(pool, std::views::iota(0, n), f);
  }
  penstock::worker_pool pool{{.threads = static_cast<std::size_t>(workers)}};
};

#if PENSTOCK_BENCH_HAS_TBB
struct tbb_arena {
  using range = tbb::blocked_range<std::size_t>;
  void for_each(std::vector<double>& xs) {
    arena.execute([&] {
      tbb::parallel_for(range{0, xs.size()}, [&](const range& r) {
        for (std::size_t i = r.begin(); i != r.end(); ++i) step(xs[i]);
      });
    });
  }
  double sum(const std::vector<double>& xs) {
    return arena.execute([&] {
      return tbb::parallel_reduce(
          range{0, xs.size()}, 0.0,
          [&](const range& r, double s) {
            for (std::size_t i = r.begin(); i != r.end(); ++i) s += xs[i];
            return s;
          },
          std::plus<>{});
    });
  }
  long fibonacci(int n) {
    return arena.execute([&] { return inside(n); });
  }
  static long inside(int n) {
    if (n < 2) return n;
    long a = 0;
    tbb::task_group group;
    group.run([&] { a = inside(n - 1); });
    const long b = inside(n - 2);
    group.wait();
    return a + b;
  }
  template <class F>
  void times(int n, F f) {
    arena.execute([&] { tbb::parallel_for(0, n, f); });
  }
  tbb::task_arena arena{workers};
};
#endif

#if PENSTOCK_BENCH_HAS_OPENMP
struct openmp {
  void for_each(std::vector<double>& xs) {
#pragma omp parallel for num_threads(workers)
    for (std::size_t i = 0; i < xs.size(); ++i) step(xs[i]);
  }
  double sum(const std::vector<double>& xs) {
    double s = 0;
#pragma omp parallel for num_threads(workers) reduction(+ : s)
    for (std::size_t i = 0; i < xs.size(); ++i) s += xs[i];
    return s;
  }
  long fibonacci(int n) {
    long r = 0;
#pragma omp parallel num_threads(workers)
#pragma omp single
    r = inside(n);
    return r;
  }
  static long inside(int n) {
    if (n < 2) return n;
    long a = 0;
    long b = 0;
#pragma omp task shared(a)
    a = inside(n - 1);
    b = inside(n - 2);
#pragma omp taskwait
    return a + b;
  }
  template <class F>
  void times(int n, F f) {
#pragma omp parallel for num_threads(workers) schedule(dynamic)
    for (int i = 0; i < n; ++i) f(i);
  }
};
#endif

template <class P>
void BM_bulk_for_each(benchmark::State& state) {
  P pool;
  std::vector<double> xs(static_cast<std::size_t>(state.range(0)), 1.5);
  pool.for_each(xs);
  for (auto _ : state) {
    pool.for_each(xs);
    benchmark::ClobberMemory();
  }
}

template <class P>
void BM_bulk_reduce(benchmark::State& state) {
  P pool;
  const std::vector<double> xs(static_cast<std::size_t>(state.range(0)), 1.5);
  for (auto _ : state) benchmark::DoNotOptimize(pool.sum(xs));
}

template <class P>
void BM_bulk_fibonacci(benchmark::State& state) {
  P pool;
  int n = static_cast<int>(state.range(0));
  benchmark::DoNotOptimize(pool.fibonacci(n));
  for (auto _ : state) {
    benchmark::DoNotOptimize(n);
    benchmark::DoNotOptimize(pool.fibonacci(n));
  }
}

template <class P>
void BM_bulk_nested(benchmark::State& state) {
  P pool;
  constexpr int outer = 64;
  std::vector<std::vector<double>> all(outer, std::vector<double>(static_cast<std::size_t>(state.range(0)), 1.5));
  for (auto _ : state) {
    pool.times(outer, [&](int i) { pool.for_each(all[static_cast<std::size_t>(i)]); });
    benchmark::ClobberMemory();
  }
}

template <class P>
void add(const std::string& implementation) {
  const auto add = [&](const char* workload, void (*function)(benchmark::State&), long n) {
    benchmark::RegisterBenchmark((std::string{"BM_bulk_"} + workload + "<" + implementation + ">").c_str(), function)
        ->Arg(n)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  };
  add("for_each", BM_bulk_for_each<P>, 10'000'000);
  add("for_each", BM_bulk_for_each<P>, 10'000);
  add("reduce", BM_bulk_reduce<P>, 10'000'000);
  add("fibonacci", BM_bulk_fibonacci<P>, 30);
  add("nested", BM_bulk_nested<P>, 10'000);
}

}  // namespace

int main(int argc, char** argv) {
  add<one_thread>("reference: one thread");
  add<penstock_pool>("penstock::worker_pool");
#if PENSTOCK_BENCH_HAS_TBB
  add<tbb_arena>("tbb::task_arena");
#endif
#if PENSTOCK_BENCH_HAS_OPENMP
  add<openmp>("OpenMP");
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
