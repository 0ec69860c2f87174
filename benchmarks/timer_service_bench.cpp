// Timers that are armed and called off again (what a timeout is that does not happen), that fire, and how late they fire.
//
//   timer_replace/N/threads:T   N timers are pending, an hour or two ahead; T threads call one of them after the other off and arm it anew. A time is
//                               per timer, over all threads.
//   timer_fire/N                N timers that are due within a microsecond: the time from then until the last function has been called, per timer
//   timer_lateness              one timer, half a millisecond ahead, nothing else: how long after its time its function is called
//
// Each has one thread that fires. Peers: Asio's steady_timer (or Boost.Asio's), libevent's, and what one writes by hand: a mutex and a condition
// variable with a multimap, or with a priority queue whose dead entries are swept when they are more than half. Two differences remain: when
// Asio's cancel() returns, the handler is still to be called, with an error, by the other thread, whose work a time on several processors does not
// show; and penstock and libevent promise that the function does not run any more then, the three others do not.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <queue>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#if PENSTOCK_BENCH_HAS_ASIO
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#elif PENSTOCK_BENCH_HAS_BOOST_ASIO
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#endif
#if PENSTOCK_BENCH_HAS_LIBEVENT
#include <event2/event.h>
#include <event2/thread.h>
#endif

#include <penstock/core/timer_service.hpp>

#include "contention.hpp"
#include "latencies.hpp"
#include "thread_counts.hpp"

namespace {

using time_point = std::chrono::steady_clock::time_point;
using namespace std::chrono_literals;

// What every timer calls: counts down, and tells when the last one was called.
class countdown {
 public:
  void begin(int timers) { left_.store(timers, std::memory_order_relaxed); }
  void fired() {
    if (left_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    const time_point now = std::chrono::steady_clock::now();
    std::scoped_lock guard{lock_};
    last_ = now;
    changed_.notify_one();
  }
  time_point wait() {
    std::unique_lock guard{lock_};
    changed_.wait(guard, [&] { return last_ != time_point{}; });
    return std::exchange(last_, time_point{});
  }

 private:
  std::atomic<int> left_{0};
  std::mutex lock_;
  std::condition_variable changed_;
  time_point last_;  // guarded by lock_
};
countdown timers_left;

struct penstock_timers {
  struct timer : penstock::timer_queue::entry {
    explicit timer(penstock_timers&) {
      fire = [](penstock::timer_queue::entry&) noexcept { timers_left.fired(); };
    }
  };
  void arm(timer& t, time_point when) { service.add(t, when.time_since_epoch().count()); }
  void cancel(timer& t) { service.remove(t); }
  penstock::timer_service<> service;
};

// The thread of what is written by hand. `Pending` has: first() (when, or never), take_first() (the function).
template <class Pending>
struct by_hand {
  using timer_base = typename Pending::timer;
  struct timer : timer_base {
    explicit timer(by_hand&) {}
  };
  by_hand() : thread{[this] { run(); }} {}
  ~by_hand() {
    {
      std::scoped_lock guard{lock};
      ending = true;
    }
    changed.notify_one();
    thread.join();
  }
  void arm(timer& t, time_point when) {
    bool earliest = false;
    {
      std::scoped_lock guard{lock};
      earliest = when < pending.first();
      pending.add(t, when);
    }
    if (earliest) changed.notify_one();
  }
  void cancel(timer& t) {
    std::scoped_lock guard{lock};
    pending.remove(t);
  }
  void run() {
    std::unique_lock guard{lock};
    while (!ending) {
      const time_point first = pending.first();
      if (first == time_point::max()) {
        changed.wait(guard);
      } else if (first > std::chrono::steady_clock::now()) {
        changed.wait_until(guard, first);
      } else {
        pending.take_first();
        guard.unlock();
        timers_left.fired();
        guard.lock();
      }
    }
  }
  std::mutex lock;
  std::condition_variable changed;
  bool ending = false;
  Pending pending;
  std::thread thread;
};

struct in_a_multimap {
  struct timer;
  using entries = std::multimap<time_point, timer*>;
  struct timer {
    entries::iterator place;
    bool pending = false;
  };
  [[nodiscard]] time_point first() const { return all.empty() ? time_point::max() : all.begin()->first; }
  void add(timer& t, time_point when) {
    t.place = all.emplace(when, &t);
    t.pending = true;
  }
  void remove(timer& t) {
    if (std::exchange(t.pending, false)) all.erase(t.place);
  }
  void take_first() {
    all.begin()->second->pending = false;
    all.erase(all.begin());
  }
  entries all;
};

struct in_a_priority_queue {
  struct timer {
    std::uint64_t id = 0;
  };
  using place = std::pair<time_point, std::uint64_t>;
  struct later {
    bool operator()(const place& a, const place& b) const { return a.first > b.first; }
  };
  struct queue : std::priority_queue<place, std::vector<place>, later> {
    template <class IsDead>
    void sweep(IsDead is_dead) {
      std::erase_if(c, is_dead);
      std::make_heap(c.begin(), c.end(), comp);
    }
  };
  [[nodiscard]] time_point first() {
    while (!all.empty() && !living.contains(all.top().second)) all.pop();
    return all.empty() ? time_point::max() : all.top().first;
  }
  void add(timer& t, time_point when) {
    t.id = ++last_id;
    living.emplace(t.id, &t);
    all.emplace(when, t.id);
  }
  void remove(timer& t) {
    living.erase(t.id);
    if (all.size() > 2 * living.size() + 64) all.sweep([&](const place& p) { return !living.contains(p.second); });
  }
  void take_first() {
    living.erase(all.top().second);
    all.pop();
  }
  queue all;
  std::unordered_map<std::uint64_t, timer*> living;
  std::uint64_t last_id = 0;
};

#if PENSTOCK_BENCH_HAS_ASIO || PENSTOCK_BENCH_HAS_BOOST_ASIO
template <class Context, class Timer, class Guard>
struct asio_timers {
  struct timer : Timer {
    explicit timer(asio_timers& all) : Timer{all.io} {}
  };
  ~asio_timers() {
    io.stop();
    thread.join();
  }
  void arm(timer& t, time_point when) {
    t.expires_at(when);
    t.async_wait([](const auto& error) {
      if (!error) timers_left.fired();
    });
  }
  void cancel(timer& t) { t.cancel(); }
  Context io;
  Guard guard{io.get_executor()};
  std::thread thread{[this] { io.run(); }};
};
#endif

#if PENSTOCK_BENCH_HAS_LIBEVENT
// Its times are relative, in microseconds.
struct libevent_timers {
  struct timer {
    explicit timer(libevent_timers& all)
        : event{::event_new(all.base, -1, 0, [](evutil_socket_t, short, void*) { timers_left.fired(); }, nullptr)} {}
    timer(const timer&) = delete;
    timer& operator=(const timer&) = delete;
    ~timer() { ::event_free(event); }
    ::event* event;
  };
  libevent_timers() {
    ::evthread_use_pthreads();
    ::event_config* const config = ::event_config_new();
    ::event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);  // else it looks at a clock of some milliseconds
    base = ::event_base_new_with_config(config);
    ::event_config_free(config);
    thread = std::thread{[this] { ::event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY); }};
  }
  ~libevent_timers() {
    ::event_base_loopexit(base, nullptr);  // not loopbreak: a loop that has not begun yet forgets it
    thread.join();
    ::event_base_free(base);
  }
  void arm(timer& t, time_point when) {
    const auto left = std::chrono::ceil<std::chrono::microseconds>(when - std::chrono::steady_clock::now()).count();
    const ::timeval after{.tv_sec = left / 1'000'000, .tv_usec = left % 1'000'000};
    ::event_add(t.event, &after);
  }
  void cancel(timer& t) { ::event_del(t.event); }
  ::event_base* base = nullptr;
  std::thread thread;
};
#endif

std::chrono::nanoseconds random_below(std::chrono::nanoseconds most, std::uint64_t& state) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return std::chrono::nanoseconds{static_cast<std::int64_t>(state >> 11) % most.count()};
}

using contention::build;
using contention::destroy;
using contention::shared;  // one service for all threads of a run

template <class T>
void BM_timer_replace(benchmark::State& state) {
  T& all = *shared<T>();
  const auto mine = std::max<std::size_t>(1, static_cast<std::size_t>(state.range(0) / state.threads()));
  std::uint64_t random = static_cast<std::uint64_t>(state.thread_index()) + 1;
  const time_point in_an_hour = std::chrono::steady_clock::now() + 1h;
  std::deque<typename T::timer> timers;
  for (std::size_t i = 0; i < mine; ++i) all.arm(timers.emplace_back(all), in_an_hour + random_below(1h, random));
  std::size_t next = 0;
  for (auto _ : state) {
    all.cancel(timers[next]);
    all.arm(timers[next], in_an_hour + random_below(1h, random));
    if (++next == mine) next = 0;
  }
  state.SetItemsProcessed(state.iterations());
  for (auto& t : timers) all.cancel(t);
}

template <class T>
void BM_timer_fire(benchmark::State& state) {
  T all;
  std::uint64_t random = 1;
  std::deque<typename T::timer> timers;
  for (std::int64_t i = 0; i < state.range(0); ++i) timers.emplace_back(all);
  for (auto _ : state) {
    for (auto margin = 20ms;; margin *= 2) {  // in which they must be armed
      timers_left.begin(static_cast<int>(state.range(0)));
      const time_point due = std::chrono::steady_clock::now() + margin;
      for (auto& t : timers) all.arm(t, due - random_below(1us, random));
      const bool in_time = std::chrono::steady_clock::now() < due - 1ms;
      const time_point last = timers_left.wait();
      if (!in_time) continue;
      state.SetIterationTime(std::chrono::duration<double>(last - due).count());
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

template <class T>
void BM_timer_lateness(benchmark::State& state) {
  T all;
  typename T::timer timer{all};
  std::vector<double> late;
  for (auto _ : state) {
    timers_left.begin(1);
    const time_point due = std::chrono::steady_clock::now() + 500us;
    all.arm(timer, due);
    late.push_back(static_cast<double>((timers_left.wait() - due).count()));
  }
  latencies::show(state, late);
}

template <class T>
void add(const std::string& name) {
  const auto replace = [&](int pending, int threads) {
    benchmark::RegisterBenchmark(("BM_timer_replace<" + name + ">").c_str(), BM_timer_replace<T>)
        ->Arg(pending)
        ->Threads(threads)
        ->Setup(build<T>)
        ->Teardown(destroy<T>)
        ->MinTime(0.1)
        ->UseRealTime();
  };
  replace(10, 1);
  replace(100'000, 1);
  for (const int threads : thread_counts::up_to_twice<8>()) replace(10'000, threads);
  benchmark::RegisterBenchmark(("BM_timer_fire<" + name + ">").c_str(), BM_timer_fire<T>)
      ->Arg(10'000)
      ->Iterations(10)
      ->UseManualTime();
  benchmark::RegisterBenchmark(("BM_timer_lateness<" + name + ">").c_str(), BM_timer_lateness<T>)->Iterations(200)->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  add<penstock_timers>("penstock::timer_service");
#if PENSTOCK_BENCH_HAS_ASIO
  add<asio_timers<asio::io_context, asio::steady_timer, asio::executor_work_guard<asio::io_context::executor_type>>>(
      "asio::steady_timer");
#elif PENSTOCK_BENCH_HAS_BOOST_ASIO
  namespace asio = boost::asio;
  add<asio_timers<asio::io_context, asio::steady_timer, asio::executor_work_guard<asio::io_context::executor_type>>>(
      "boost::asio::steady_timer");
#endif
#if PENSTOCK_BENCH_HAS_LIBEVENT
  add<libevent_timers>("libevent");
#endif
  add<by_hand<in_a_multimap>>("multimap and condition_variable");
  add<by_hand<in_a_priority_queue>>("priority_queue and condition_variable");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
