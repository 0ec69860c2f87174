// Loads through a batcher. The batch function multiplies; so all that is seen is what the batcher costs. Per load, unless it says otherwise.
//
// direct       the batch function is called with one key, by nobody else's help: what an idle batcher is compared with
// idle         load and get, one at a time, by one thread: a batch of one each (inline)
// hit          load of a key that is remembered; hit_get: and its value
// hits         20 of 100,000 texts that are remembered, drawn at random: try_load of each, and try_load_many; per key
// shared       load of a key that is in line already
// distinct     each thread loads 100 keys of its own, then gets them all; inline, natural batching. 1, 2 and up to as many
//              threads as there are processors
// distinct_on_a_pool    the same, and a worker calls the function; distinct_many: inline by load_many
// peer         the same with a batcher of the plain kind: a mutex, a map, a condition variable for each batch, the first to come leads
// dataloader   one thread, a million keys in groups of 100, all remembered: what benchmarks/peers/dataloader.mjs does with Node's
// …_without_cache    the same, nothing remembered
// coroutine    the same 100 at a time by coroutines on one thread's executor, the tick schedule, nothing remembered
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <penstock/batch/batcher.hpp>
#include <penstock/core/backoff.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "thread_counts.hpp"

namespace {

using key_type = std::uint64_t;
using loader = penstock::batcher<key_type, key_type>;
constexpr std::size_t group = 100;
constexpr key_type million = 1'000'000;

std::vector<key_type> answers(std::span<const key_type> keys) {
  std::vector<key_type> values;
  values.reserve(keys.size());
  for (const key_type k : keys) values.push_back(k * 3);
  return values;
}
using function = std::vector<key_type> (*)(std::span<const key_type>);
constexpr function batch_function = answers;

void BM_direct(benchmark::State& state) {
  key_type k = 0;
  for (auto _ : state) {
    ++k;
    function called = batch_function;
    benchmark::DoNotOptimize(called);
    benchmark::DoNotOptimize(called(std::span<const key_type>{&k, 1}));
  }
}
void BM_idle(benchmark::State& state) {
  loader l{penstock::any_scheduler{}, batch_function};
  key_type k = 0;
  for (auto _ : state) benchmark::DoNotOptimize(l.load(++k).get());
}
void BM_hit(benchmark::State& state) {
  loader l{penstock::any_scheduler{}, batch_function, {.cache = {.max_entries = 1000}}};
  for (key_type k = 0; k < 1000; ++k) l.prime(k, k);
  key_type k = 0;
  for (auto _ : state) {
    auto f = l.load(k++ % 1000);
    benchmark::DoNotOptimize(f);
  }
}
void BM_hit_get(benchmark::State& state) {
  loader l{penstock::any_scheduler{}, batch_function, {.cache = {.max_entries = 1000}}};
  for (key_type k = 0; k < 1000; ++k) l.prime(k, k);
  key_type k = 0;
  for (auto _ : state) benchmark::DoNotOptimize(l.load(k++ % 1000).get());
}
// A page's worth of what is remembered, of more than a processor's caches hold, and in no order of the memory that it lies in.
template <bool Together>
void BM_hits(benchmark::State& state) {
  using text = std::shared_ptr<const std::string>;
  constexpr std::size_t known = 100'000;
  penstock::batcher<key_type, text> b{penstock::any_scheduler{},
                                      [](std::span<const key_type> keys) { return std::vector<text>(keys.size()); },
                                      {.cache = {.max_entries = known, .ttl = std::chrono::hours{1}}}};
  penstock::splitmix64 random{1};
  std::vector<key_type> all(known);
  std::iota(all.begin(), all.end(), key_type{0});
  std::shuffle(all.begin(), all.end(), random);
  for (const key_type k : all) b.prime(k, std::make_shared<const std::string>("what is known of " + std::to_string(k)));
  std::vector<key_type> keys(20);
  for (auto _ : state) {
    for (key_type& k : keys) k = random() % known;
    if constexpr (Together) {
      benchmark::DoNotOptimize(b.try_load_many(keys));
    } else {
      for (const key_type k : keys) benchmark::DoNotOptimize(b.try_load(k));
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(keys.size()) * state.iterations());
}
void BM_shared(benchmark::State& state) {
  loader l{penstock::any_scheduler{}, batch_function, {.schedule = penstock::batch_schedule::flush_only}};
  std::vector<penstock::shared_future<key_type>> all;
  for (key_type k = 0; k < 1000; ++k) all.push_back(l.load(k));
  key_type k = 0;
  for (auto _ : state) {
    auto f = l.load(k++ % 1000);
    benchmark::DoNotOptimize(f);
  }
}

// What one writes without a library: whoever finds no leader leads, and loads for all who came meanwhile.
class plain_batcher {
 public:
  key_type load(std::span<const key_type> mine, std::vector<key_type>& out) {
    std::unique_lock guard{lock_};
    if (next_ == nullptr) next_ = std::make_shared<batch>();
    std::shared_ptr<batch> joined = next_;
    for (const key_type k : mine) {
      if (joined->values.try_emplace(k, 0).second) joined->keys.push_back(k);
    }
    while (!joined->done && leading_) joined->changed.wait(guard);
    if (!joined->done) {
      leading_ = true;
      next_.reset();
      guard.unlock();
      const std::vector<key_type> values = batch_function(joined->keys);
      guard.lock();
      for (std::size_t i = 0; i < values.size(); ++i) joined->values[joined->keys[i]] = values[i];
      joined->done = true;
      leading_ = false;
      joined->changed.notify_all();
      if (next_ != nullptr) next_->changed.notify_all();
    }
    key_type sum = 0;
    out.clear();
    for (const key_type k : mine) {
      out.push_back(joined->values[k]);
      sum += out.back();
    }
    return sum;
  }

 private:
  struct batch {
    std::vector<key_type> keys;
    std::unordered_map<key_type, key_type> values;
    std::condition_variable changed;
    bool done = false;
  };
  std::mutex lock_;
  std::shared_ptr<batch> next_;
  bool leading_ = false;
};

template <bool OnPool>
void BM_distinct(benchmark::State& state) {
  static std::unique_ptr<penstock::worker_pool> pool;
  static std::unique_ptr<loader> l;
  if (state.thread_index() == 0) {
    if (OnPool) pool = std::make_unique<penstock::worker_pool>(penstock::worker_pool_options{.threads = 1});
    l = std::make_unique<loader>(OnPool ? pool->get_scheduler() : penstock::any_scheduler{}, batch_function);
  }
  key_type next = static_cast<key_type>(state.thread_index()) << 40U;
  std::vector<penstock::shared_future<key_type>> all;
  all.reserve(group);
  for (auto _ : state) {
    for (std::size_t i = 0; i < group; ++i) all.push_back(l->load(next++));
    key_type sum = 0;
    for (auto& f : all) sum += f.get();
    benchmark::DoNotOptimize(sum);
    all.clear();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(group));
  if (state.thread_index() == 0) {
    const auto s = l->stats();
    state.counters["keys_a_batch"] = static_cast<double>(s.keys) / static_cast<double>(s.batches);
    l.reset();
    pool.reset();
  }
}
void BM_distinct_many(benchmark::State& state) {
  static std::unique_ptr<loader> l;
  if (state.thread_index() == 0) l = std::make_unique<loader>(penstock::any_scheduler{}, batch_function);
  key_type next = static_cast<key_type>(state.thread_index()) << 40U;
  std::vector<key_type> keys(group);
  for (auto _ : state) {
    for (key_type& k : keys) k = next++;
    key_type sum = 0;
    for (auto& f : l->load_many(keys)) sum += f.get();
    benchmark::DoNotOptimize(sum);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(group));
  if (state.thread_index() == 0) l.reset();
}
void BM_distinct_peer(benchmark::State& state) {
  static std::unique_ptr<plain_batcher> l;
  if (state.thread_index() == 0) l = std::make_unique<plain_batcher>();
  key_type next = static_cast<key_type>(state.thread_index()) << 40U;
  std::vector<key_type> keys(group);
  std::vector<key_type> out;
  for (auto _ : state) {
    for (key_type& k : keys) k = next++;
    benchmark::DoNotOptimize(l->load(keys, out));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(group));
  if (state.thread_index() == 0) l.reset();
}

// Loads a million keys in groups.
key_type load_a_million(loader& l, std::vector<key_type>& keys) {
  key_type sum = 0;
  for (key_type next = 0; next < million;) {
    for (key_type& k : keys) k = next++;
    for (auto& f : l.load_many(keys)) sum += f.get();
  }
  return sum;
}
void BM_dataloader(benchmark::State& state) {
  std::vector<key_type> keys(group);
  std::unique_ptr<loader> l;
  for (auto _ : state) {
    state.PauseTiming();  // a million values are destroyed: Node's are left to its collector
    l.reset();
    loader::options_type o{.max_batch_size = group, .cache = {.max_entries = million}};
    l = std::make_unique<loader>(penstock::any_scheduler{}, batch_function, std::move(o));
    state.ResumeTiming();
    benchmark::DoNotOptimize(load_a_million(*l, keys));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(million));
}
void BM_dataloader_without_cache(benchmark::State& state) {
  std::vector<key_type> keys(group);
  loader l{penstock::any_scheduler{}, batch_function, {.max_batch_size = group}};
  for (auto _ : state) benchmark::DoNotOptimize(load_a_million(l, keys));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(million));
}

void BM_coroutine(benchmark::State& state) {
  penstock::manual_executor loop;
  loader l{loop, batch_function, {.schedule = penstock::batch_schedule::ready_work, .quiet_rounds = 1}};
  const auto one = [](loader& from, key_type k) -> penstock::task<> { benchmark::DoNotOptimize(co_await from.async_load(k)); };
  key_type next = 0;
  for (auto _ : state) {
    penstock::task_group all{loop};
    for (std::size_t i = 0; i < group; ++i) all.spawn(one(l, next++));
    loop.run_all();
    all.wait();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(group));
}

BENCHMARK(BM_direct)->Name("BM_batcher_idle<reference: the function alone>");
BENCHMARK(BM_idle)->Name("BM_batcher_idle<penstock::batcher>");
BENCHMARK(BM_hit)->Name("BM_batcher_hit<penstock::batcher>");
BENCHMARK(BM_hit_get)->Name("BM_batcher_hit_get<penstock::batcher>");
BENCHMARK(BM_hits<false>)->Name("BM_batcher_hits<penstock::batcher, try_load>");
BENCHMARK(BM_hits<true>)->Name("BM_batcher_hits<penstock::batcher, try_load_many>");
BENCHMARK(BM_shared)->Name("BM_batcher_shared<penstock::batcher>");
BENCHMARK(BM_distinct<true>)
    ->Name("BM_batcher_distinct_on_a_pool<penstock::batcher>")
    ->Apply(thread_counts::apply<>)
    ->UseRealTime();
BENCHMARK(BM_distinct<false>)->Name("BM_batcher_distinct<penstock::batcher>")->Apply(thread_counts::apply<>)->UseRealTime();
BENCHMARK(BM_distinct_many)->Name("BM_batcher_distinct_many<penstock::batcher>")->Apply(thread_counts::apply<>)->UseRealTime();
BENCHMARK(BM_distinct_peer)
    ->Name("BM_batcher_distinct_many<mutex, map and condition_variable>")
    ->Apply(thread_counts::apply<>)
    ->UseRealTime();
BENCHMARK(BM_dataloader)->Name("BM_dataloader<penstock::batcher>")->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(BM_dataloader_without_cache)
    ->Name("BM_dataloader_without_cache<penstock::batcher>")
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(BM_coroutine)->Name("BM_batcher_coroutine<penstock::batcher>");

}  // namespace

BENCHMARK_MAIN();
