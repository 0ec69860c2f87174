// What select costs over the plain operation: items of eight bytes through channels of 1,024 places, popped by select over 1, 2 or 8 channels or
// by pop().
//
// ready      by one thread: an item is pushed to a channel (the last one of the cases) and taken. A time is per pair.
// idle       none is ready, `otherwise` happens. Per select.
// arriving   a producer thread pushes round the channels without a pause, a consumer selects. Per item.
// ping-pong  there and back over capacity 1, the reply awaited by select over 1, 2 or 8 channels: waiting and waking. Per round.
//
// /N is over how many channels; _with_timeout has a deadline beside them. There is no peer in the same language: oneTBB and Boost.Fiber have no select. Go's is
// measured by peers/select.go; the baseline is this library's own pop().
#include <benchmark/benchmark.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include <penstock/channel/channel.hpp>
#include <penstock/channel/select.hpp>

namespace {

using namespace std::chrono_literals;
using item = std::uint64_t;
using channel = penstock::channel<item>;

template <std::size_t N>
struct channels {
  explicit channels(std::size_t capacity) {
    for (auto& c : all) c = std::make_unique<channel>(capacity);
  }
  channel& operator[](std::size_t i) { return *all[i]; }
  std::array<std::unique_ptr<channel>, N> all;
};

// From whichever has an item.
template <std::size_t N>
item pop_by_select(channels<N>& c) {
  item got = 0;
  const auto take = [&](penstock::result<item> r) { got = *r; };
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    penstock::select(penstock::on_pop(c[I], take)...);
  }(std::make_index_sequence<N>{});
  return got;
}
template <std::size_t N>
item pop_with_timeout(channels<N>& c) {
  item got = 0;
  const auto take = [&](penstock::result<item> r) { got = *r; };
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    penstock::select(penstock::on_pop(c[I], take)..., penstock::on_timeout(10s, [] {}));
  }(std::make_index_sequence<N>{});
  return got;
}

struct penstock_pop {
  static constexpr std::size_t count = 1;
  static item pop(channels<1>& c) { return *c[0].pop(); }
};
template <std::size_t N>
struct penstock_select {
  static constexpr std::size_t count = N;
  static item pop(channels<N>& c) { return pop_by_select(c); }
};
template <std::size_t N>
struct penstock_select_and_timeout {
  static constexpr std::size_t count = N;
  static item pop(channels<N>& c) { return pop_with_timeout(c); }
};

template <class How>
void BM_select_ready(benchmark::State& state) {
  channels<How::count> c{1024};
  item sum = 0;
  for (auto _ : state) {
    static_cast<void>(c[How::count - 1].push(item{1}));
    sum += How::pop(c);
  }
  benchmark::DoNotOptimize(sum);
}

void BM_select_idle_try_pop(benchmark::State& state) {
  channel c{1024};
  bool any = false;
  for (auto _ : state) any |= c.try_pop().has_value();
  benchmark::DoNotOptimize(any);
}
template <std::size_t N>
void BM_select_idle(benchmark::State& state) {
  channels<N> c{1024};
  std::size_t sum = 0;
  for (auto _ : state) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      sum += penstock::select(penstock::on_pop(c[I], [](penstock::result<item>) {})..., penstock::otherwise([] {}));
    }(std::make_index_sequence<N>{});
  }
  benchmark::DoNotOptimize(sum);
}

template <class How>
void BM_select_arriving(benchmark::State& state) {
  channels<How::count> c{1024};
  std::jthread producing{[&](const std::stop_token& over) {
    for (std::size_t i = 0; !over.stop_requested(); i = (i + 1) % How::count) {
      if (!c[i].push(over, item{1})) return;
    }
  }};
  item sum = 0;
  for (auto _ : state) sum += How::pop(c);
  benchmark::DoNotOptimize(sum);
  producing.request_stop();
}

template <class How>
void BM_select_ping_pong(benchmark::State& state) {
  channel there{1};
  channels<How::count> back{1};
  std::jthread echoing{[&] {
    for (std::size_t i = 0;; i = (i + 1) % How::count) {
      auto r = there.pop();
      if (!r || !back[i].push(*std::move(r))) return;
    }
  }};
  item sum = 0;
  for (auto _ : state) {
    static_cast<void>(there.push(item{1}));
    sum += How::pop(back);
  }
  benchmark::DoNotOptimize(sum);
  there.close();
}

#define PENSTOCK_BENCH_WAYS(benchmark_)                                                               \
  BENCHMARK(benchmark_<penstock_pop>)->Name(#benchmark_ "<penstock::channel, pop>/1")->UseRealTime(); \
  BENCHMARK(benchmark_<penstock_select<1>>)->Name(#benchmark_ "<penstock::select>/1")->UseRealTime(); \
  BENCHMARK(benchmark_<penstock_select<2>>)->Name(#benchmark_ "<penstock::select>/2")->UseRealTime(); \
  BENCHMARK(benchmark_<penstock_select<8>>)->Name(#benchmark_ "<penstock::select>/8")->UseRealTime(); \
  BENCHMARK(benchmark_<penstock_select_and_timeout<2>>)->Name(#benchmark_ "_with_timeout<penstock::select>/2")->UseRealTime()

PENSTOCK_BENCH_WAYS(BM_select_ready);
BENCHMARK(BM_select_idle_try_pop)->Name("BM_select_idle<penstock::channel, try_pop>/1");
BENCHMARK(BM_select_idle<2>)->Name("BM_select_idle<penstock::select>/2");
BENCHMARK(BM_select_idle<8>)->Name("BM_select_idle<penstock::select>/8");
PENSTOCK_BENCH_WAYS(BM_select_arriving);
PENSTOCK_BENCH_WAYS(BM_select_ping_pong);

}  // namespace

BENCHMARK_MAIN();
