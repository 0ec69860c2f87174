// Of a worker whose runs share their calls to a store that blocks.
#include <penstock/job/job_worker.hpp>

#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"

using namespace std::chrono_literals;
using penstock::job;
using penstock::job_outcome;
using penstock::job_state;
using penstock::task;

namespace {

/// Blocks, as far as the worker knows, and writes down how many jobs each call asks for, and of how many it tells.
struct asked_store : penstock::memory_store<int> {
  asked_store() : memory_store<int>{} {}
  static constexpr bool blocks = true;
  penstock::result<penstock::job_fetched> fetch(const penstock::fetch_request& r,
                                                std::span<penstock::job_settlement<lease_type>> first,
                                                std::vector<lease_type>& leases) {
    calls += std::to_string(r.most) + "/" + std::to_string(first.size()) + " ";
    if (const auto now = first.empty() ? nullptr : std::exchange(meanwhile, nullptr)) now();
    if (const auto now = first.empty() ? std::exchange(nothing_told, nullptr) : nullptr) now();
    if (out_of_memory && r.most != 0 && !first.empty()) throw std::bad_alloc{};
    for (const auto& s : first) {
      if (s.lease->payload() == poison) return std::make_error_code(std::errc::io_error);
    }
    return memory_store<int>::fetch(r, first, leases);
  }
  penstock::result<void> hand_back(std::span<penstock::lease_ticket> tickets, penstock::job_time now) {
    calls += "-" + std::to_string(tickets.size()) + " ";
    if (unreachable) return std::make_error_code(std::errc::host_unreachable);
    return memory_store<int>::hand_back(tickets, now);
  }
  /// As a server that others use, it says nothing by itself.
  void subscribe(std::shared_ptr<penstock::store_listener> l) { listener = std::move(l); }
  void unsubscribe(const penstock::store_listener&) { listener = nullptr; }
  std::shared_ptr<penstock::store_listener> listener;
  std::string calls;
  std::function<void()> meanwhile;     // of the first call that tells something
  std::function<void()> nothing_told;  // of the first call that tells nothing
  int poison = 0;                      // what makes a call fail
  bool out_of_memory = false;
  bool unreachable = false;  // for who hands back
};

/// Does something on this thread when it is asked what time it is.
struct interrupting_clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<interrupting_clock, duration>;
  static constexpr bool is_steady = true;
  static time_point now() {
    if (const auto f = std::exchange(meanwhile, nullptr)) f();
    return time_point{std::chrono::steady_clock::now().time_since_epoch()};
  }
  static inline thread_local std::function<void()> meanwhile;
};

/// Runs when the test says so, at the time that it says.
struct shared_bench {
  using handler = std::function<task<job_outcome>(job<int>&)>;
  explicit shared_bench(int jobs) {
    for (int i = 1; i <= jobs; ++i) queue.add(i).value();
  }
  ~shared_bench() { stop(); }
  void start(handler h, penstock::job_worker_options o) {
    worker.emplace(queue, loop, std::move(h), std::move(o));
    loop.run_all();
  }
  void start(penstock::job_worker_options o) {
    start([](job<int>&) -> task<job_outcome> { co_return job_outcome::done(); }, std::move(o));
  }
  /// The worker is to notice: leases are kept by a thread, which wakes it.
  void pass(std::chrono::nanoseconds by) {
    clock.advance(by);
    const auto too_long = std::chrono::steady_clock::now() + 10s;
    while (loop.size() == 0 && std::chrono::steady_clock::now() < too_long) std::this_thread::yield();
    loop.run_all();
  }
  void stop() {
    if (!worker) return;
    worker->request_stop();
    loop.run_all();
    last = worker->stats();
    worker.reset();
  }
  void add(int payload) {
    queue.add(payload).value();
    store.listener->work_ready();
  }
  std::string asked() { return std::exchange(store.calls, {}); }

  penstock::manual_clock clock;
  penstock::manual_executor loop;
  asked_store store;
  penstock::job_queue<int, asked_store> queue{store, {.clock = clock}};
  std::optional<penstock::job_worker<int, asked_store>> worker;
  penstock::job_worker_stats last;
};

}  // namespace

TEST_CASE("shared_calls: one call tells what has ended, and asks for as many jobs as there are runs that are free",
          "[job_worker]") {
  shared_bench b{7};
  b.start({.concurrency = 3});
  CHECK(b.asked() == "3/0 3/3 3/3 3/1 ");
  b.add(8);
  b.loop.run_all();
  CHECK(b.asked() == "3/0 3/1 ");
  CHECK(b.worker->stats().completed == 8);
  b.stop();
  CHECK(b.asked().empty());
  // More than one run can take at a time are divided among all.
  shared_bench two{3};
  penstock::event go_on;
  two.start(
      [&](job<int>&) -> task<job_outcome> {
        auto wait = go_on.async_wait();
        static_cast<void>(co_await std::move(wait));
        co_return job_outcome::done();
      },
      {.concurrency = 2, .batch = 3});
  CHECK(two.asked() == "6/0 ");
  CHECK(two.worker->stats().running == 2);
  go_on.set();
  two.loop.run_all();
  CHECK(two.asked() == "6/3 ");
  CHECK(two.queue.counts().value().completed == 3);
}

TEST_CASE("shared_calls: a run that ends during a call is told, and given work, by the next one", "[job_worker]") {
  shared_bench b{5};
  penstock::event go_on;
  b.store.meanwhile = [&] {
    go_on.set();
    b.loop.run_all();  // on another thread, as it were
    CHECK(b.worker->stats().running == 0);
  };
  b.start(
      [&](job<int>& j) -> task<job_outcome> {
        if (j.payload() == 2) {
          auto wait = go_on.async_wait();
          static_cast<void>(co_await std::move(wait));
        }
        co_return job_outcome::done();
      },
      {.concurrency = 2});
  CHECK(b.asked() == "2/0 1/1 2/2 2/2 ");
  CHECK(b.queue.counts().value().completed == 5);
  // As is work that comes during a call which has found none.
  b.store.meanwhile = [&] { b.add(7); };
  b.add(6);
  b.loop.run_all();
  CHECK(b.queue.counts().value().completed == 7);
}

TEST_CASE("shared_calls: what the store does not take is its own run's affair, and who lost a lease nobody else's",
          "[job_worker]") {
  shared_bench b{4};
  b.store.poison = 2;
  b.start({.concurrency = 5, .error_pause = 1s});
  CHECK(b.asked() == "5/0 5/4 ");
  CHECK(b.queue.counts().value().active == 4);
  b.add(5);
  b.loop.run_all();
  CHECK(b.asked().empty());  // after an error nothing is asked for a while
  b.pass(1s);
  CHECK(b.queue.counts().value().completed == 3);  // the half without it, and then they go on
  b.pass(1s);
  CHECK(b.queue.counts().value().completed == 4);
  CHECK(b.worker->stats().store_errors == 3);
  b.asked();
  b.pass(1s);
  b.store.poison = 0;
  b.pass(1s);
  CHECK(b.queue.counts().value().completed == 5);
  CHECK(b.worker->stats().store_errors == 4);
  // Too much at a time, but not in parts: told at once.
  b.store.out_of_memory = true;
  std::vector<int> two{6, 7};
  b.queue.put_bulk(two).value();
  b.store.listener->work_ready();
  b.loop.run_all();
  CHECK(b.queue.counts().value().completed == 7);
  b.store.out_of_memory = false;
  b.stop();
  // When it is told again is not forgotten over what is due before.
  shared_bench due{1};
  due.store.poison = 1;
  due.queue.add(2, {.delay = 1500ms}).value();
  due.start({.concurrency = 2, .error_pause = 1s});
  due.pass(1s);
  CHECK(due.worker->stats().store_errors == 2);
  due.pass(500ms);
  CHECK(due.worker->stats().completed == 1);
  due.store.poison = 0;
  due.pass(500ms);
  CHECK(due.worker->stats().completed == 2);
  // One of three has lost its job to somebody else.
  shared_bench lost{3};
  lost.start(
      [&](job<int>& j) -> task<job_outcome> {
        penstock::lease_ticket mine{.id = j.id(), .fence = j.fence()};
        if (j.payload() == 2 && j.attempt() == 1 && lost.queue.counts().value().completed == 0) {
          lost.store.hand_back({&mine, 1}, lost.queue.now()).value();
        }
        co_return job_outcome::done();
      },
      {.concurrency = 3});
  CHECK(lost.queue.counts().value().completed == 3);
  CHECK(lost.worker->stats().completed == 3);
  CHECK(lost.worker->stats().lost == 1);
}

TEST_CASE("shared_calls: the end, or a pause that a handler asks for, during a call: what it fetches goes back in its order",
          "[job_worker]") {
  shared_bench b{7};
  SECTION("the end") {
    b.store.meanwhile = [&] { b.worker->request_stop(); };
    b.start({.concurrency = 3});
    b.stop();
    CHECK(b.last.released == 3);
  }
  SECTION("a pause") {
    b.start(
        [&](job<int>& j) -> task<job_outcome> {
          co_return b.clock.now().time_since_epoch() < 2h && j.payload() == 3 ? job_outcome::rate_limited(2h)
                                                                              : job_outcome::done();
        },
        {.concurrency = 3});
    CHECK(b.queue.counts().value().waiting == 4);
    b.add(8);
    b.loop.run_all();
    CHECK(b.queue.counts().value().waiting == 5);
    b.pass(2h);
    CHECK(b.queue.counts().value().completed == 8);
    return;
  }
  CHECK(b.queue.counts().value().completed == 3);
  CHECK(b.queue.counts().value().active == 0);
  const auto back = b.queue.list(job_state::waiting).value();
  REQUIRE(back.size() == 4);
  for (std::size_t i = 1; i < back.size(); ++i) CHECK(back[i - 1].id.number() < back[i].id.number());
  // What cannot be told at the end runs out with the store, and the others are told.
  shared_bench bad{2};
  bad.store.poison = 1;
  bad.start({.concurrency = 2});
  bad.stop();
  CHECK(bad.last.completed == 1);
  CHECK(bad.queue.counts().value().active == 1);
}

TEST_CASE("shared_calls: an end that is requested while it is looked who stands in line is not missed",
          "[job_worker][hazard-07]") {
  interrupting_clock clock;
  penstock::manual_executor loop;
  asked_store store;
  penstock::job_queue<int, asked_store> queue{store, {.clock = clock}};
  penstock::job_worker worker{queue, loop, [](job<int>&) {}, {.concurrency = 2}};
  loop.run_all();  // now all stand in line
  bool requested = false;
  store.nothing_told = [&] {
    interrupting_clock::meanwhile = [&] {
      requested = true;
      worker.request_stop();
    };
  };
  store.listener->work_ready();
  loop.run_all();
  REQUIRE(requested);
  const bool ended = worker.shutdown({.deadline = penstock::deadline::after(0s)}).has_value();
  CHECK(ended);
  if (!ended) store.listener->work_ready();  // or this test would not end
  loop.run_all();
}

TEST_CASE("job_worker: hands back what all its runs have in one call, and asks a store that is out of reach once",
          "[job_worker]") {
  for (const bool unreachable : {false, true}) {
    shared_bench b{4};
    b.store.unreachable = unreachable;
    penstock::event go_on;
    int stopped = 0;
    b.start(
        [&](job<int>&) -> task<job_outcome> {
          auto wait = go_on.async_wait();
          const penstock::result<void> r = co_await std::move(wait);
          if (!r) ++stopped;
          co_return job_outcome::done();
        },
        {.concurrency = 3});
    b.asked();
    b.worker->request_stop();
    CHECK(b.asked() == "-3 ");
    b.loop.run_all();
    CHECK(stopped == 3);
    b.stop();
    const auto c = b.queue.counts().value();
    CHECK((c.waiting == (unreachable ? 1 : 4) && c.active == 0));
    CHECK(b.last.store_errors == (unreachable ? 1 : 0));
    CHECK(b.last.lost == (unreachable ? 0 : 3));
  }
}
