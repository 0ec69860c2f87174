// What a stage of a pipeline costs per item: fused stages beside the loop that one would write by hand, a buffer beside a thread and a channel
// by hand, parallel_map beside oneTBB's parallel_pipeline and beside the same with batches, a generator beside Boost's coroutine. A time is per item.
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ranges>
#include <thread>
#include <vector>

#if PENSTOCK_BENCH_HAS_BOOST_FIBER
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12 warns of what Boost 1.74 has in here
#include <boost/coroutine2/coroutine.hpp>
#pragma GCC diagnostic pop
#endif
#if PENSTOCK_BENCH_HAS_TBB
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_pipeline.h>
#endif

#include <penstock/channel/channel.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/stream/generator.hpp>
#include <penstock/stream/pipeline.hpp>

namespace {

using item = std::uint64_t;

// Some nanoseconds of work, which no compiler removes or does for many items at once.
item mix(item z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
bool even(item z) { return z % 2 == 0; }

// About a microsecond.
item work(item z) {
  for (int i = 0; i < 400; ++i) z = mix(z + 1);
  return z;
}

void per_item(benchmark::State& state, std::size_t items) {
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(items));
}

constexpr std::size_t fused_items = 1'000'000;

void pipeline_fused_by_hand(benchmark::State& state) {
  for (auto _ : state) {
    item sum = 0;
    for (item i = 0; i < fused_items; ++i) {
      const item a = mix(i);
      if (!even(a)) continue;
      sum += mix(a);
    }
    benchmark::DoNotOptimize(sum);
  }
  per_item(state, fused_items);
}
BENCHMARK(pipeline_fused_by_hand)->Name("BM_pipeline_fused<reference: loop by hand>")->UseRealTime()->MeasureProcessCPUTime();

// std::views do no counting and know no end but that of the range.
void pipeline_fused_views(benchmark::State& state) {
  for (auto _ : state) {
    item sum = 0;
    for (const item i : std::views::iota(item{0}, item{fused_items}) | std::views::transform(mix) | std::views::filter(even) |
                            std::views::transform(mix)) {
      sum += i;
    }
    benchmark::DoNotOptimize(sum);
  }
  per_item(state, fused_items);
}
BENCHMARK(pipeline_fused_views)->Name("BM_pipeline_fused<std::views>")->UseRealTime()->MeasureProcessCPUTime();

// Five stages: the source, map, filter, map, to.
void pipeline_fused(benchmark::State& state) {
  for (auto _ : state) {
    item sum = 0;
    auto p = penstock::from(std::views::iota(item{0}, item{fused_items})) | penstock::map([](item i) { return mix(i); }) |
             penstock::filter([](item i) { return even(i); }) | penstock::map([](item i) { return mix(i); }) |
             penstock::to([&](item i) { sum += i; });
    p.run().value();
    benchmark::DoNotOptimize(sum);
  }
  per_item(state, fused_items);
}
BENCHMARK(pipeline_fused)->Name("BM_pipeline_fused<penstock::pipeline>")->UseRealTime()->MeasureProcessCPUTime();

penstock::generator<item> numbers(item n) {
  for (item i = 0; i < n; ++i) co_yield i;
}

void pipeline_generator(benchmark::State& state) {
  for (auto _ : state) {
    item sum = 0;
    for (const item i : numbers(fused_items)) sum += mix(i);
    benchmark::DoNotOptimize(sum);
  }
  per_item(state, fused_items);
}
BENCHMARK(pipeline_generator)->Name("BM_pipeline_source<penstock::generator>")->UseRealTime()->MeasureProcessCPUTime();

#if PENSTOCK_BENCH_HAS_BOOST_FIBER
// A stack of its own, as a fiber has; Boost.Fiber brings what it links.
void pipeline_boost_coroutine(benchmark::State& state) {
  using coroutine = boost::coroutines2::coroutine<item>;
  for (auto _ : state) {
    item sum = 0;
    coroutine::pull_type numbers_of_stack{[](coroutine::push_type& yield) {
      for (item i = 0; i < fused_items; ++i) yield(i);
    }};
    for (const item i : numbers_of_stack) sum += mix(i);
    benchmark::DoNotOptimize(sum);
  }
  per_item(state, fused_items);
}
BENCHMARK(pipeline_boost_coroutine)
    ->Name("BM_pipeline_source<boost::coroutines2::coroutine>")
    ->UseRealTime()
    ->MeasureProcessCPUTime();
#endif

constexpr std::size_t buffered_items = 200'000;
constexpr std::size_t places = 1024;

void pipeline_buffer_by_hand(benchmark::State& state) {
  for (auto _ : state) {
    penstock::channel<item> c{places};
    std::jthread producer{[&] {
      for (item i = 0; i < buffered_items; ++i) static_cast<void>(c.push(mix(i)));
      c.close();
    }};
    item sum = 0;
    for (const item i : c) sum += mix(i);
    benchmark::DoNotOptimize(sum);
  }
  per_item(state, buffered_items);
}
BENCHMARK(pipeline_buffer_by_hand)
    ->Name("BM_pipeline_buffer<thread and channel by hand>")
    ->UseRealTime()
    ->MeasureProcessCPUTime();

void pipeline_buffer(benchmark::State& state) {
  for (auto _ : state) {
    item sum = 0;
    auto p = penstock::from(std::views::iota(item{0}, item{buffered_items})) | penstock::map([](item i) { return mix(i); }) |
             penstock::buffer(places) | penstock::to([&](item i) { sum += mix(i); });
    p.run().value();
    benchmark::DoNotOptimize(sum);
  }
  per_item(state, buffered_items);
}
BENCHMARK(pipeline_buffer)->Name("BM_pipeline_buffer<penstock::pipeline>")->UseRealTime()->MeasureProcessCPUTime();

// A microsecond of work per item, for 64 items at a time at the most, results in order.
constexpr std::size_t parallel_items = 20'000;
constexpr std::size_t in_flight = 64;

void pipeline_parallel_by_one(benchmark::State& state) {
  for (auto _ : state) {
    item sum = 0;
    for (item i = 0; i < parallel_items; ++i) sum += work(i);
    benchmark::DoNotOptimize(sum);
  }
  per_item(state, parallel_items);
}
BENCHMARK(pipeline_parallel_by_one)
    ->Name("BM_pipeline_parallel<reference: one thread, a loop>")
    ->UseRealTime()
    ->MeasureProcessCPUTime();

void pipeline_parallel(benchmark::State& state, penstock::delivery order) {
  penstock::worker_pool pool{{.threads = 2}};
  for (auto _ : state) {
    item sum = 0;
    auto p =
        penstock::from(std::views::iota(item{0}, item{parallel_items})) |
        penstock::parallel_map(pool, in_flight, [](item i) { return work(i); }, order) | penstock::to([&](item i) { sum += i; });
    p.run().value();
    benchmark::DoNotOptimize(sum);
  }
  per_item(state, parallel_items);
}
BENCHMARK_CAPTURE(pipeline_parallel, ordered, penstock::delivery::ordered)
    ->Name("BM_pipeline_parallel<penstock::pipeline>")
    ->UseRealTime()
    ->MeasureProcessCPUTime();
BENCHMARK_CAPTURE(pipeline_parallel, unordered, penstock::delivery::unordered)
    ->Name("BM_pipeline_parallel<penstock::pipeline, unordered>")
    ->UseRealTime()
    ->MeasureProcessCPUTime();

void pipeline_parallel_batched(benchmark::State& state) {
  penstock::worker_pool pool{{.threads = 2}};
  for (auto _ : state) {
    item sum = 0;
    auto p = penstock::from(std::views::iota(item{0}, item{parallel_items})) | penstock::batch(16) |
             penstock::parallel_map(pool, 16,
                                    [](std::vector<item> b) {
                                      for (item& i : b) i = work(i);
                                      return b;
                                    }) |
             penstock::to([&](const std::vector<item>& b) {
               for (const item i : b) sum += i;
             });
    p.run().value();
    benchmark::DoNotOptimize(sum);
  }
  per_item(state, parallel_items);
}
BENCHMARK(pipeline_parallel_batched)
    ->Name("BM_pipeline_parallel<penstock::pipeline, 16 batches of 16>")
    ->UseRealTime()
    ->MeasureProcessCPUTime();

#if PENSTOCK_BENCH_HAS_TBB
void pipeline_parallel_tbb(benchmark::State& state) {
  namespace tbb = oneapi::tbb;
  const tbb::global_control threads{tbb::global_control::max_allowed_parallelism, 2};
  for (auto _ : state) {
    item next = 0;
    item sum = 0;
    tbb::parallel_pipeline(
        in_flight, tbb::make_filter<void, item>(tbb::filter_mode::serial_in_order, [&](tbb::flow_control& control) -> item {
                     if (next == parallel_items) control.stop();
                     return next++;
                   }) & tbb::make_filter<item, item>(tbb::filter_mode::parallel, [](item i) {
                     return work(i);
                   }) & tbb::make_filter<item, void>(tbb::filter_mode::serial_in_order, [&](item i) { sum += i; }));
    benchmark::DoNotOptimize(sum);
  }
  per_item(state, parallel_items);
}
BENCHMARK(pipeline_parallel_tbb)->Name("BM_pipeline_parallel<tbb::parallel_pipeline>")->UseRealTime()->MeasureProcessCPUTime();
#endif

}  // namespace

BENCHMARK_MAIN();
