// A callable whose type is forgotten, as a queue of tasks holds it.
//
//   function_call      one is called that captures a reference
//   function_pass/N    one that captures N bytes is made of a lambda, moved twice, called once and destroyed: a task's way through a queue
//
// Peers: std::function, which wants callables that can be copied, and keeps 16 bytes in itself; Abseil's AnyInvocable, which keeps as many and does not.
// penstock's keeps 48 bytes.
#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>

#if PENSTOCK_BENCH_HAS_ABSEIL
#include <absl/functional/any_invocable.h>
#endif

#include <penstock/core/move_only_function.hpp>

namespace {

template <class Function>
void BM_function_call(benchmark::State& state) {
  int called = 0;
  Function f{[&called] { ++called; }};
  for (auto _ : state) {
    benchmark::DoNotOptimize(&f);  // what it holds might have changed
    benchmark::ClobberMemory();
    f();
  }
  benchmark::DoNotOptimize(called);
}

template <class Function, std::size_t Bytes>
void BM_function_pass(benchmark::State& state) {
  std::array<unsigned char, Bytes - sizeof(int*)> captured{};
  int called = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(captured.data());
    Function f{[captured, &called] { called += 1 + captured[0]; }};
    benchmark::DoNotOptimize(&f);
    Function in_line{std::move(f)};
    benchmark::DoNotOptimize(&in_line);
    Function taken{std::move(in_line)};
    benchmark::DoNotOptimize(&taken);
    benchmark::ClobberMemory();
    taken();
  }
  benchmark::DoNotOptimize(called);
}

template <class Function>
void add_all(const std::string& name) {
  const auto add = [&](const char* workload, const char* size, void (*run)(benchmark::State&)) {
    benchmark::RegisterBenchmark((std::string{"BM_"} + workload + "<" + name + ">" + size).c_str(), run)->MinTime(0.1);
  };
  add("function_call", "", BM_function_call<Function>);
  add("function_pass", "/16", BM_function_pass<Function, 16>);
  add("function_pass", "/48", BM_function_pass<Function, 48>);
  add("function_pass", "/128", BM_function_pass<Function, 128>);
}

}  // namespace

int main(int argc, char** argv) {
  add_all<penstock::move_only_function<void()>>("penstock::move_only_function");
  add_all<std::function<void()>>("std::function");
#if PENSTOCK_BENCH_HAS_ABSEIL
  add_all<absl::AnyInvocable<void()>>("absl::AnyInvocable");
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
