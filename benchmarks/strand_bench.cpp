// Work that runs one piece at a time and in order, on a pool that runs many.
//
//   strand_stream/W         one thread from outside posts 100,000 pieces that count to a strand of a pool of W workers, until all have run; per piece
//   strand_two_submitters   two threads post half of them each, to two workers
//   strand_many/S           one thread posts them in turn to S strands of a pool of two workers
//   strand_submit_and_get   one piece at a time, whose value is awaited: the round trip
//   strand_ping_pong        two strands of a pool of two workers: a piece on one posts one to the other; a time is per piece
//   strand_schedule/C       C coroutines that live on the strand give way to each other 100,000 times, all told; per time
//
// Peers: Asio's strand on its thread_pool, oneTBB's serial function_node of functions, in an arena of W workers that the submitter is none of, what one writes by hand
// for any pool (a mutex and a deque, of which the pool runs up to 32 pieces at a time), and the same with a thread of its own in place of a pool.
// penstock's strand is bounded (1,024 places by default): its submitter waits for room. All others are unbounded.
// `reference: a mutex in every task` excludes, in any order, and holds up the workers.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pool_peers.hpp"
#include "thread_counts.hpp"

#if PENSTOCK_BENCH_HAS_ASIO
#include <asio/strand.hpp>
#if defined(ASIO_HAS_CO_AWAIT)
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/use_awaitable.hpp>
#define PENSTOCK_BENCH_HAS_AWAITABLE 1
#endif
#elif PENSTOCK_BENCH_HAS_BOOST_ASIO
#include <boost/asio/strand.hpp>
#endif
#if PENSTOCK_BENCH_HAS_TBB
#include <oneapi/tbb/flow_graph.h>
#endif

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/strand.hpp>

namespace {

constexpr int pieces = 100'000;
constexpr int two_workers = 2;

// S strands{workers, how_many}; s.post(i, f) to the i-th of them; s.value(f) of the first one.

struct penstock_strands {
  penstock_strands(int workers, int n) : pool{workers} {
    for (int i = 0; i < n; ++i) all.push_back(std::make_unique<penstock::strand>(pool.pool));
  }
  template <class F>
  void post(std::size_t i, F f) {
    static_cast<void>(all[i]->post(f));
  }
  template <class F>
  int value(F f) {
    return all.front()->submit(f).get();
  }
  pools::penstock_pool pool;
  std::vector<std::unique_ptr<penstock::strand>> all;
};

// Runs what lies in a line on a pool, or on a thread of its own.
template <class Pool>
class hand_strand {
 public:
  explicit hand_strand(Pool& pool) : pool_{&pool} {}
  void post(std::function<void()> f) {
    {
      std::scoped_lock guard{lock_};
      line_.push_back(std::move(f));
      if (std::exchange(running_, true)) return;
    }
    pool_->post([this] { run(); });
  }

 private:
  void run() {
    for (int i = 0; i < 32; ++i) {
      std::function<void()> f;
      {
        std::scoped_lock guard{lock_};
        if (line_.empty()) {
          running_ = false;
          return;
        }
        f = std::move(line_.front());
        line_.pop_front();
      }
      f();
    }
    pool_->post([this] { run(); });
  }

  Pool* pool_;
  std::mutex lock_;
  std::deque<std::function<void()>> line_;
  bool running_ = false;
};
template <class Pool>
struct hand_strands {
  hand_strands(int workers, int n) : pool{workers} {
    for (int i = 0; i < n; ++i) all.push_back(std::make_unique<hand_strand<Pool>>(pool));
  }
  template <class F>
  void post(std::size_t i, F f) {
    all[i]->post(f);
  }
  template <class F>
  int value(F f) {
    auto task = std::make_shared<std::packaged_task<int()>>(f);
    post(0, [task] { (*task)(); });
    return task->get_future().get();
  }
  std::vector<std::unique_ptr<hand_strand<Pool>>> all;  // outlives the pool's threads
  Pool pool;
};
struct threads_of_their_own {
  threads_of_their_own(int, int n) {
    for (int i = 0; i < n; ++i) all.push_back(std::make_unique<pools::by_hand>(1));
  }
  template <class F>
  void post(std::size_t i, F f) {
    all[i]->post(f);
  }
  template <class F>
  int value(F f) {
    return all.front()->value(f);
  }
  std::vector<std::unique_ptr<pools::by_hand>> all;
};
struct locked_tasks {
  locked_tasks(int workers, int n) : locks(static_cast<std::size_t>(n)), pool{workers} {}
  template <class F>
  void post(std::size_t i, F f) {
    pool.post([f, &lock = locks[i]] {
      std::scoped_lock guard{lock};
      f();
    });
  }
  std::vector<std::mutex> locks;
  pools::by_hand pool;
};

#if PENSTOCK_BENCH_HAS_ASIO || PENSTOCK_BENCH_HAS_BOOST_ASIO
template <class Pool, template <class> class Strand>
struct asio_strands {
  using strand = Strand<typename Pool::executor_type>;
  asio_strands(int workers, int n) : pool{static_cast<std::size_t>(workers)} {
    for (int i = 0; i < n; ++i) all.emplace_back(pool.get_executor());
  }
  template <class F>
  void post(std::size_t i, F f) {
    pools::post_to_asio(all[i], f);
  }
  template <class F>
  int value(F f) {
    return pools::post_to_asio(all.front(), std::packaged_task<int()>(f)).get();
  }
  Pool pool;
  std::vector<strand> all;
};
#if PENSTOCK_BENCH_HAS_ASIO
using asio_pool_strands = asio_strands<asio::thread_pool, asio::strand>;
#else
using asio_pool_strands = asio_strands<boost::asio::thread_pool, boost::asio::strand>;
#endif
#endif

#if PENSTOCK_BENCH_HAS_TBB
struct tbb_nodes {
  using function = std::function<void()>;
  using node = oneapi::tbb::flow::function_node<function>;
  tbb_nodes(int workers, int n) : pool{workers} {
    pool.arena.execute([&] {
      graph = std::make_unique<oneapi::tbb::flow::graph>();
      for (int i = 0; i < n; ++i) {
        all.push_back(std::make_unique<node>(*graph, oneapi::tbb::flow::serial, [](const function& f) { f(); }));
      }
    });
  }
  ~tbb_nodes() { graph->wait_for_all(); }
  template <class F>
  void post(std::size_t i, F f) {
    all[i]->try_put(function{f});
  }
  template <class F>
  int value(F f) {
    std::promise<int> result;
    post(0, [&] { result.set_value(f()); });
    return result.get_future().get();
  }
  pools::tbb_arena pool;
  std::unique_ptr<oneapi::tbb::flow::graph> graph;
  std::vector<std::unique_ptr<node>> all;
};
#endif

// Until everything that was posted to the first n strands has run: a piece for each, which comes last.
template <class S>
void finish(S& strands, std::size_t n) {
  std::latch left{static_cast<std::ptrdiff_t>(n)};
  for (std::size_t i = 0; i < n; ++i) strands.post(i, [&left] { left.count_down(); });
  left.wait();
}

template <class S>
void stream(benchmark::State& state, int workers, std::size_t n, int submitters) {
  struct alignas(64) tally {
    int count = 0;  // without a lock or an atomic: that is what a strand is for
  };
  std::vector<tally> counted(n);
  {
    S strands{workers, static_cast<int>(n)};
    for (auto _ : state) {
      pools::submitting(strands, submitters, [&] {
        for (int i = 0; i < pieces / submitters; ++i) {
          const auto here = static_cast<std::size_t>(i) % n;
          strands.post(here, [mine = &counted[here]] { ++mine->count; });
        }
      });
      finish(strands, n);
    }
  }
  std::int64_t all = 0;
  for (const tally& t : counted) all += t.count;
  if (all != state.iterations() * pieces) state.SkipWithError("a piece was lost, or two overlapped");
  state.SetItemsProcessed(all);
}
template <class S>
void BM_strand_stream(benchmark::State& state) {
  stream<S>(state, static_cast<int>(state.range(0)), 1, 1);
}
template <class S>
void BM_strand_two_submitters(benchmark::State& state) {
  stream<S>(state, two_workers, 1, 2);
}
template <class S>
void BM_strand_many(benchmark::State& state) {
  stream<S>(state, two_workers, static_cast<std::size_t>(state.range(0)), 1);
}

template <class S>
void BM_strand_submit_and_get(benchmark::State& state) {
  S strands{two_workers, 1};
  for (auto _ : state) benchmark::DoNotOptimize(strands.value([] { return 1; }));
}

template <class S>
struct ball {
  void operator()() const {
    if (left == 0) return over->count_down();
    strands->post(static_cast<std::size_t>(left % 2), ball{strands, over, left - 1});
  }
  S* strands;
  std::latch* over;
  int left;
};
template <class S>
void BM_strand_ping_pong(benchmark::State& state) {
  constexpr int times = 10'000;
  S strands{two_workers, 2};
  for (auto _ : state) {
    std::latch over{1};
    strands.post(0, ball<S>{&strands, &over, times - 1});
    over.wait();
  }
  state.SetItemsProcessed(state.iterations() * times);
}

penstock::task<> give_way(penstock::strand& s, int times, int& counted) {
  for (int i = 0; i < times; ++i) {
    co_await s.schedule();
    ++counted;
  }
}
void BM_strand_schedule(benchmark::State& state) {
  const auto n = static_cast<int>(state.range(0));
  penstock_strands strands{two_workers, 1};
  penstock::strand& s = *strands.all.front();
  int counted = 0;
  for (auto _ : state) {
    std::vector<penstock::spawned<void>> line;
    line.reserve(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) line.push_back(penstock::spawn(s, give_way(s, pieces / n, counted)));
    for (auto& c : line) c.wait();
  }
  if (counted != state.iterations() * (pieces / n * n)) state.SkipWithError("two overlapped");
  state.SetItemsProcessed(counted);
}
#if PENSTOCK_BENCH_HAS_AWAITABLE
asio::awaitable<void> give_way_in_asio(asio_pool_strands::strand& s, int times, int& counted, std::latch& left) {
  for (int i = 0; i < times; ++i) {
    co_await asio::post(s, asio::use_awaitable);
    ++counted;
  }
  left.count_down();
}
void BM_strand_schedule_asio(benchmark::State& state) {
  const auto n = static_cast<int>(state.range(0));
  asio_pool_strands strands{two_workers, 1};
  auto& s = strands.all.front();
  int counted = 0;
  for (auto _ : state) {
    std::latch left{n};
    for (int i = 0; i < n; ++i) asio::co_spawn(s, give_way_in_asio(s, pieces / n, counted, left), asio::detached);
    left.wait();
  }
  if (counted != state.iterations() * (pieces / n * n)) state.SkipWithError("two overlapped");
  state.SetItemsProcessed(counted);
}
#endif

benchmark::internal::Benchmark* add(const std::string& workload, const std::string& name, void (*run)(benchmark::State&)) {
  return benchmark::RegisterBenchmark(("BM_" + workload + "<" + name + ">").c_str(), run)->MinTime(0.1)->UseRealTime();
}
template <class S>
void add_all(const std::string& name) {
  auto* stream = add("strand_stream", name, BM_strand_stream<S>);
  for (const int workers : thread_counts::up_to_all<>()) stream->Arg(workers);
  add("strand_two_submitters", name, BM_strand_two_submitters<S>);
  add("strand_many", name, BM_strand_many<S>)->Arg(100);
  if constexpr (requires(S s) { s.value([] { return 1; }); }) {
    add("strand_submit_and_get", name, BM_strand_submit_and_get<S>);
    add("strand_ping_pong", name, BM_strand_ping_pong<S>);
  }
}

}  // namespace

int main(int argc, char** argv) {
  add_all<penstock_strands>("penstock::strand");
#if PENSTOCK_BENCH_HAS_ASIO
  add_all<asio_pool_strands>("asio::strand");
#elif PENSTOCK_BENCH_HAS_BOOST_ASIO
  add_all<asio_pool_strands>("boost::asio::strand");
#endif
#if PENSTOCK_BENCH_HAS_TBB
  add_all<tbb_nodes>("tbb::flow::function_node, serial");
#endif
  add_all<hand_strands<pools::by_hand>>("mutex and deque, on a pool by hand");
  add_all<threads_of_their_own>("mutex and deque, a thread of its own");
  add_all<locked_tasks>("reference: a mutex in every task");
  add("strand_schedule", "penstock::strand", BM_strand_schedule)->Arg(1)->Arg(16);
#if PENSTOCK_BENCH_HAS_AWAITABLE
  add("strand_schedule", "asio::strand", BM_strand_schedule_asio)->Arg(1)->Arg(16);
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
