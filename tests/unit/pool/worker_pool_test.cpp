#include <penstock/pool/worker_pool.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <penstock/channel/channel.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/semaphore.hpp>

#include "../../support/catch.hpp"
#include "../../support/counting_new.hpp"
#include "../../support/pool.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using test_support::error_of;
using test_support::gate;
using test_support::token;
using test_support::until;

std::stop_token stopped_token() {
  std::stop_source stop;
  stop.request_stop();
  return stop.get_token();
}

std::string message_of(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& caught) {
    return caught.what();
  }
}

}  // namespace

TEST_CASE("worker_pool: has the threads and the room that were asked for", "[worker_pool]") {
  const worker_pool three{{.threads = 3, .queue_capacity = 5}};
  CHECK(three.threads() == 3);
  CHECK(three.queue_capacity() == 5);
  CHECK(three.queued() == 0);
  CHECK_FALSE(three.running_here());
  const worker_pool usual;
  CHECK(usual.threads() >= 1);
  CHECK_THROWS_AS(worker_pool({.queue_capacity = 0}), std::invalid_argument);
}

TEST_CASE("worker_pool: what is posted runs once, on a worker, and is then destroyed", "[worker_pool]") {
  constexpr int count = 500;
  std::atomic<int> ran[count]{};
  std::atomic<int> elsewhere{0};
  std::atomic<int> living{0};
  {
    worker_pool pool{{.threads = 2, .queue_capacity = 8}};
    std::vector<std::jthread> posters;
    for (int from = 0; from < 2; ++from) {
      posters.emplace_back([&, from] {
        for (int i = from; i < count; i += 2) {
          const auto r = pool.post([&, i, held = token{living}] {
            ++ran[i];
            if (!pool.running_here()) ++elsewhere;
          });
          if (!r) return;
        }
      });
    }
    posters.clear();
    CHECK(pool.drain());
    CHECK(living == 0);
  }
  for (auto& n : ran) CHECK(n == 1);
  CHECK(elsewhere == 0);
}

TEST_CASE("worker_pool: tasks begin in the order of their submission", "[worker_pool]") {
  worker_pool pool{{.threads = 1}};
  std::vector<int> order;
  gate g{pool};
  for (int i = 0; i < 10; ++i) CHECK(pool.post([&order, i] { order.push_back(i); }));
  CHECK(pool.queued() == 10);
  g.open();
  CHECK(pool.drain());
  CHECK(pool.queued() == 0);
  for (int i = 0; i < 10; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("worker_pool: takes callables that can only be moved, big ones, and functions", "[worker_pool]") {
  std::atomic<int> sum{0};
  worker_pool pool{{.threads = 1}};
  CHECK(pool.post([&sum, p = std::make_unique<int>(1)] { sum += *p; }));
  CHECK(pool.post([&sum, big = std::array<int, 100>{10}] { sum += big[0]; }));
  auto kept = [&sum] { sum += 100; };
  CHECK(pool.post(kept));
  CHECK(pool.post(std::ref(kept)));
  CHECK(pool.drain());
  CHECK(sum == 211);
}

namespace {

struct throws_at_its_end {
  ~throws_at_its_end() noexcept(false) {}
  void operator()() const {}
};
template <class F>
concept postable = requires(worker_pool& p, F&& f) { p.post(std::forward<F>(f)); };
template <class F>
concept submittable = requires(worker_pool& p, F&& f) { p.submit(std::forward<F>(f)); };
static_assert(postable<void (*)()> && submittable<void (*)()>);
static_assert(!postable<throws_at_its_end> && !submittable<throws_at_its_end>);  // nobody could be told of it
static_assert(!postable<void (*)(int)> && !submittable<void (*)(int)>);
static_assert(!postable<void (*)(std::stop_token)> && submittable<void (*)(std::stop_token)>);

}  // namespace

TEST_CASE("worker_pool: what cannot be called is refused at once", "[worker_pool]") {
  worker_pool pool{{.threads = 1}};
  void (*const none)() = nullptr;
  int (*const none_either)(std::stop_token) = nullptr;
  CHECK_THROWS_AS(static_cast<void>(pool.post(none)), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(pool.post({.deadline = deadline::after(1h)}, none)), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(pool.try_post(none)), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(pool.post(std::function<void()>{})), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(pool.try_post(move_only_function<void()>{})), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(pool.submit(none)), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(pool.submit(none_either)), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(pool.submit(std::function<int()>{})), std::invalid_argument);
  std::function<int()> some = [] { return 5; };
  CHECK(pool.submit(some).get() == 5);
  CHECK(pool.submit(std::move(some)).get() == 5);
  CHECK(pool.drain());
  CHECK(pool.failed() == 0);
}

TEST_CASE("worker_pool: a full queue makes the submitter wait for room", "[worker_pool]") {
  manual_clock clock;
  std::atomic<int> living{0};
  std::atomic<int> ran{0};
  worker_pool pool{{.threads = 1, .queue_capacity = 1}};
  gate g{pool};
  CHECK(pool.post([&] { ++ran; }));
  std::optional<result<void>> got;
  const wait_limits limits{.deadline = {clock.now() + 10ms, clock}};
  const auto post = [&] { got = pool.post(limits, [&ran, held = token{living}] { ++ran; }); };
  SECTION("until a worker takes a task") {
    std::jthread poster{post};
    until([&] { return pool.room_waiters() == 1; });
    CHECK(pool.queued() == 1);
    g.open();
    poster.join();
    CHECK(*got);
    CHECK(pool.drain());
    CHECK(ran == 2);
  }
  SECTION("until the deadline") {
    std::jthread poster{post};
    until([&] { return pool.room_waiters() == 1; });
    clock.advance(10ms);
    poster.join();
    CHECK(*got == errc::timeout);
  }
  SECTION("until the pool is closed") {
    std::jthread poster{post};
    until([&] { return pool.room_waiters() == 1; });
    pool.request_stop();
    poster.join();
    CHECK(*got == errc::closed);
    CHECK(ran == 0);
  }
  SECTION("until it is stopped") {
    std::stop_source stop;
    std::jthread poster{[&] { got = pool.post({.stop = stop.get_token()}, [&ran, held = token{living}] { ++ran; }); }};
    until([&] { return pool.room_waiters() == 1; });
    stop.request_stop();
    poster.join();
    CHECK(*got == errc::cancelled);
  }
  SECTION("and not when the deadline has passed") {
    CHECK(pool.post({.deadline = {clock.now(), clock}}, [held = token{living}] {}) == errc::timeout);
    CHECK(pool.try_post([held = token{living}] {}) == errc::full);
    CHECK(error_of(pool.submit([held = token{living}] {}, {.deadline = {clock.now(), clock}})) == errc::timeout);
  }
  CHECK(living == 0);
  CHECK(pool.room_waiters() == 0);
}

TEST_CASE("worker_pool: who was stopped before submits nothing, even if there is room", "[worker_pool]") {
  std::atomic<int> ran{0};
  worker_pool pool{{.threads = 1}};
  CHECK(pool.post({.stop = stopped_token()}, [&] { ++ran; }) == errc::cancelled);
  CHECK(error_of(pool.submit([&] { ++ran; }, {.stop = stopped_token()})) == errc::cancelled);
  CHECK(pool.drain());
  CHECK(ran == 0);
}

TEST_CASE("worker_pool: a full queue rejects if that is the policy", "[worker_pool]") {
  std::atomic<int> ran{0};
  std::atomic<int> living{0};
  worker_pool pool{{.threads = 1, .queue_capacity = 2, .overflow = overflow::reject}};
  gate g{pool};
  CHECK(pool.post([&] { ++ran; }));
  future<void> kept = pool.submit([&] { ++ran; });
  CHECK(pool.post([&ran, held = token{living}] { ++ran; }) == errc::rejected);
  future<void> refused = pool.submit([&ran, held = token{living}] { ++ran; });
  REQUIRE(refused.is_ready());
  CHECK(error_of(std::move(refused)) == errc::rejected);
  CHECK(pool.try_post([] {}) == errc::full);
  CHECK(living == 0);
  g.open();
  kept.get();
  CHECK(pool.drain());
  CHECK(ran == 2);
  CHECK(pool.post([&] { ++ran; }));
}

TEST_CASE("worker_pool: a full queue makes the submitter run the task if that is the policy", "[worker_pool]") {
  std::atomic<int> handled{0};
  worker_pool pool{
      {.threads = 1, .queue_capacity = 1, .overflow = overflow::caller_runs, .on_error = [&](const std::exception_ptr&) {
         ++handled;
       }}};
  gate g{pool};
  CHECK(pool.post([] {}));
  std::thread::id where;
  CHECK(pool.post([&] { where = std::this_thread::get_id(); }));
  CHECK(where == std::this_thread::get_id());
  future<std::thread::id> f = pool.submit([] { return std::this_thread::get_id(); });
  REQUIRE(f.is_ready());
  CHECK(f.get() == std::this_thread::get_id());
  CHECK(pool.post([] { throw std::runtime_error{"on purpose"}; }));  // as on a worker
  CHECK(handled == 1);
  CHECK(pool.failed() == 1);
  CHECK(pool.try_post([] {}) == errc::full);
}

TEST_CASE("worker_pool: a task that its submitter runs counts as running", "[worker_pool]") {
  manual_clock clock;
  event began;
  event end;
  std::atomic<bool> running{false};
  std::atomic<bool> over{false};
  std::atomic<bool> seen{false};
  std::optional<result<void>> got;
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = overflow::caller_runs}};
  std::optional<gate> g{pool};
  CHECK(pool.post([] {}));
  std::jthread submitter{[&] {
    static_cast<void>(pool.post([&] {
      running = true;
      began.set();
      end.wait();
      running = false;
    }));
  }};
  began.wait();
  g.reset();
  until([&] { return pool.queued() == 0; });
  pool.submit([] {}).get();  // the worker has nothing more to do
  SECTION("for drain()") {
    std::jthread drainer{[&] {
      got = pool.drain({.deadline = {clock.now() + 1h, clock}});
      seen = running.load();
      over = true;
    }};
    until([&] { return over || clock.next_timer() != manual_clock::time_point::max(); });  // it has looked, and waits
    end.set();
  }
  SECTION("for shutdown()") {
    std::jthread ender{[&] {
      got = pool.shutdown();
      seen = running.load();
    }};
    until([&] { return pool.try_post([] {}) == errc::closed; });
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();  // shutdown() may as well return now, if it does
    end.set();
  }
  submitter.join();
  CHECK(*got);
  CHECK_FALSE(seen);
}

TEST_CASE("worker_pool: a task that its submitter runs cannot wait for the end of its pool", "[worker_pool][hazard-11]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = overflow::caller_runs}};
  worker_pool other{{.threads = 1, .queue_capacity = 1, .overflow = overflow::caller_runs}};
  gate g{pool};
  gate o{other};
  CHECK(pool.post([] {}));
  CHECK(other.post([] {}));
  int deadlocks = 0;
  const auto try_both = [&] {
    if (pool.drain() == errc::deadlock) ++deadlocks;
    if (pool.shutdown() == errc::deadlock) ++deadlocks;
  };
  CHECK(pool.post([&] {
    try_both();
    CHECK(other.post(try_both));  // inside a task of another pool that runs here, too
  }));
  CHECK(deadlocks == 4);
  g.open();
  CHECK(pool.drain());
}

TEST_CASE("worker_pool: tasks that submit themselves again into a full pool need constant stack", "[worker_pool][hazard-18]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 1}};
  struct again {
    worker_pool* pool;
    std::atomic<int>* left;
    void operator()() const {
      if (left->fetch_sub(1) > 1) require(pool->post(*this));
    }
    static void require(const penstock::result<void>& posted) {
      if (!posted) std::terminate();
    }
  };
  std::atomic<int> first{100'000};
  std::atomic<int> second{100'000};
  REQUIRE(pool.post(again{&pool, &first}));
  REQUIRE(pool.post(again{&pool, &second}));
  REQUIRE(pool.drain());
  CHECK(first == 0);
  CHECK(second == 0);
}

TEST_CASE("worker_pool: a submitter that runs tasks which submit themselves again needs constant stack, and waits for nobody",
          "[worker_pool][hazard-18]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = overflow::caller_runs}};
  gate g{pool};
  CHECK(pool.post([] {}));  // full until the gate opens
  struct again {
    worker_pool* pool;
    int* left;
    int* elsewhere;
    void operator()() const {
      if (pool->running_here()) ++*elsewhere;
      if (--*left > 0 && !pool->post(*this)) std::terminate();
    }
  };
  int left = 100'000;
  int elsewhere = 0;
  CHECK(pool.post(again{&pool, &left, &elsewhere}));
  CHECK(left == 0);
  CHECK(elsewhere == 0);
  // One that waits for a task that was put off, on this very thread, runs it.
  int value = 0;
  std::function<void(int)> nest = [&](int levels) {
    if (levels > 0) {
      static_cast<void>(pool.post([&nest, levels] { nest(levels - 1); }));
    } else {
      value = pool.submit([] { return 5; }).get();
    }
  };
  nest(33);
  CHECK(value == 5);
  g.open();
  CHECK(pool.drain());
}

TEST_CASE("worker_pool: a worker that is deep in its own full pool puts tasks off, runs all of them, and counts them",
          "[worker_pool][hazard-18]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 2}};
  std::vector<int> order;
  struct nest {  // goes as deep as it is told, then posts three more
    worker_pool* pool;
    std::vector<int>* order;
    int depth;
    void operator()() const {
      if (depth > 0) {
        static_cast<void>(pool->post(nest{pool, order, depth - 1}));
      } else {
        for (int i = 1; i <= 3; ++i) static_cast<void>(pool->post([log = order, i] { log->push_back(i); }));
      }
      order->push_back(-depth);
    }
  };
  int filled = 0;
  REQUIRE(pool.post([&] {
    while (pool.try_post([&] { ++filled; })) {
    }
    nest{&pool, &order, 32}();
  }));
  REQUIRE(pool.drain());
  CHECK(filled == 4);  // two lie with the worker, two where those from outside lie
  REQUIRE(order.size() == 33 + 3);
  CHECK(order.front() == 3);  // two were put off, the third had to go deeper
  CHECK(order[1] == 0);
  CHECK(order[33] == -32);
  CHECK(order[34] == 1);
  CHECK(order[35] == 2);
}

TEST_CASE("worker_pool: a worker that posts into its own full pool does not wait for itself", "[worker_pool][hazard-18]") {
  for (const overflow policy : {overflow::wait, overflow::caller_runs, overflow::reject}) {
    std::atomic<int> ran{0};
    std::atomic<int> rejected{0};
    worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = policy}};
    CHECK(pool.post([&] {
      for (int i = 0; i < 10; ++i) {
        if (const auto r = pool.post([&ran] { ++ran; }); !r && r.error() == errc::rejected) ++rejected;
      }
    }));
    CHECK(pool.drain());
    CHECK(ran == (policy == overflow::reject ? 2 : 10));
    CHECK(rejected == (policy == overflow::reject ? 8 : 0));
  }
}

namespace {

int depth(worker_pool& pool, int levels) {
  if (levels == 0) return 0;
  future<int> below = pool.submit([&pool, levels] { return depth(pool, levels - 1); });
  if (levels % 2 == 0) below.wait();
  return below.get() + 1;
}

}  // namespace

TEST_CASE("worker_pool: tasks that wait for tasks of their own pool get their values", "[worker_pool][hazard-18]") {
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{100}}) {
    worker_pool one{{.threads = 1, .queue_capacity = capacity}};
    CHECK(one.submit([&one] { return depth(one, 50); }).get() == 50);
    worker_pool two{{.threads = 2, .queue_capacity = capacity}};
    std::vector<future<int>> all;
    for (int i = 0; i < 6; ++i) all.push_back(two.submit([&two] { return depth(two, 10); }));
    for (auto& f : all) CHECK(f.get() == 10);
  }
}

TEST_CASE("worker_pool: a worker runs a task that it waits for only if nobody has begun it", "[worker_pool]") {
  std::atomic<int> runs{0};
  worker_pool pool{{.threads = 1}};
  future<int> outer = pool.submit([&] {
    future<int> inner = pool.submit([&] { return ++runs; });
    const result<void> looked = inner.try_wait();  // no wait: nothing is run
    return looked || runs != 0 ? -1 : inner.get();
  });
  CHECK(outer.get() == 1);
  CHECK(pool.drain());  // what lies in the queue is an empty shell by now
  CHECK(runs == 1);
}

TEST_CASE("worker_pool: draining waits for what is queued and what runs, and the pool goes on", "[worker_pool]") {
  std::atomic<int> ran{0};
  manual_clock clock;
  worker_pool pool{{.threads = 2}};
  CHECK(pool.drain());
  CHECK(pool.drain({.deadline = {clock.now(), clock}}));  // there is nothing to wait for
  CHECK(pool.drain({.stop = stopped_token()}) == errc::cancelled);
  for (int i = 0; i < 100; ++i) CHECK(pool.post([&] { ++ran; }));
  CHECK(pool.drain());
  CHECK(ran == 100);
  CHECK(pool.post([&] { ++ran; }));
  CHECK(pool.drain());
  CHECK(ran == 101);
}

TEST_CASE("worker_pool: draining gives up at its deadline, or when it is stopped", "[worker_pool]") {
  manual_clock clock;
  worker_pool pool{{.threads = 1}};
  gate g{pool};
  CHECK(pool.drain({.deadline = {clock.now(), clock}}) == errc::timeout);
  std::optional<result<void>> late;
  std::jthread timed{[&] { late = pool.drain({.deadline = {clock.now() + 10ms, clock}}); }};
  until([&] { return clock.next_timer() != manual_clock::time_point::max(); });
  clock.advance(10ms);
  timed.join();
  CHECK(*late == errc::timeout);
  std::stop_source stop;
  std::optional<result<void>> stopped;
  std::jthread waiting{[&] { stopped = pool.drain({.stop = stop.get_token()}); }};
  stop.request_stop();
  waiting.join();
  CHECK(*stopped == errc::cancelled);
  g.open();
  CHECK(pool.drain());
}

TEST_CASE("worker_pool: shutdown finishes what is queued and refuses what comes", "[worker_pool]") {
  std::atomic<int> ran{0};
  std::atomic<int> living{0};
  worker_pool pool{{.threads = 1}};
  gate g{pool};
  std::vector<future<int>> futures;
  for (int i = 0; i < 10; ++i) futures.push_back(pool.submit([&ran, i] { return ++ran, i; }));
  std::jthread opener{[&g] { g.open(); }};
  std::jthread other{[&pool] { static_cast<void>(pool.shutdown()); }};  // concurrent calls all wait for the end
  CHECK(pool.shutdown());
  CHECK(ran == 10);
  CHECK(pool.shutdown());
  for (int i = 0; i < 10; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i);
  CHECK(pool.post([held = token{living}] {}) == errc::closed);
  CHECK(pool.try_post([held = token{living}] {}) == errc::closed);
  CHECK(error_of(pool.submit([held = token{living}] {})) == errc::closed);
  CHECK(living == 0);
  CHECK(pool.drain());
  CHECK_FALSE(pool.get_stop_token().stop_requested());
}

TEST_CASE("worker_pool: request_stop drops what is queued, tells what runs, and refuses what comes", "[worker_pool][hazard-09]") {
  std::atomic<int> ran{0};
  std::atomic<int> living{0};
  event entered;
  worker_pool pool{{.threads = 1}};
  future<bool> running = pool.submit([&](const std::stop_token& stop) {
    entered.set();
    return event{}.wait(stop) == errc::cancelled;
  });
  entered.wait();
  std::vector<future<int>> dropped;
  for (int i = 0; i < 5; ++i) dropped.push_back(pool.submit([&ran, held = token{living}] { return ++ran; }));
  for (int i = 0; i < 5; ++i) CHECK(pool.post([&ran, held = token{living}] { ++ran; }));
  CHECK(living == 10);
  std::optional<result<void>> drained;
  std::jthread drainer{[&] { drained = pool.drain(); }};
  pool.request_stop();
  CHECK(living == 0);
  drainer.join();
  CHECK(*drained);
  CHECK(pool.get_stop_token().stop_requested());
  CHECK(running.get());
  for (auto& f : dropped) {
    REQUIRE(f.is_ready());
    CHECK(error_of(std::move(f)) == errc::cancelled);
  }
  CHECK(pool.post([] {}) == errc::closed);
  pool.request_stop();
  CHECK(pool.drain());  // drained and aborted, in any order
  CHECK(pool.shutdown());
  CHECK(ran == 0);
}

TEST_CASE("worker_pool: request_stop may come from a task", "[worker_pool]") {
  std::atomic<int> ran{0};
  worker_pool pool{{.threads = 1, .queue_capacity = 4}};
  gate g{pool};
  CHECK(pool.post([&] { pool.request_stop(); }));
  CHECK(pool.post([&] { ++ran; }));
  future<void> f = pool.submit([&] { ++ran; });
  g.open();
  CHECK(error_of(std::move(f)) == errc::cancelled);
  CHECK(pool.shutdown());
  CHECK(ran == 0);
}

TEST_CASE("worker_pool: the destructor of what is dropped may use the pool", "[worker_pool][hazard-17]") {
  struct nosy {
    explicit nosy(worker_pool& p, int& r) noexcept : pool{&p}, refused{&r} {}
    nosy(nosy&& other) noexcept : pool{std::exchange(other.pool, nullptr)}, refused{other.refused} {}
    ~nosy() {
      if (pool != nullptr && pool->post([] {}) == errc::closed && pool->queued() < 10) ++*refused;
    }
    worker_pool* pool;
    int* refused;
  };
  int refused = 0;
  worker_pool pool{{.threads = 1}};
  gate g{pool};
  for (int i = 0; i < 3; ++i) CHECK(pool.post([held = nosy{pool, refused}] {}));
  pool.request_stop();
  CHECK(refused == 3);
}

TEST_CASE("worker_pool: destruction finishes what is queued", "[worker_pool]") {
  std::atomic<int> ran{0};
  future<int> outlives;
  {
    worker_pool pool{{.threads = 2}};
    for (int i = 0; i < 100; ++i) CHECK(pool.post([&] { ++ran; }));
    outlives = pool.submit([&] { return ++ran; });
  }
  CHECK(ran == 101);
  CHECK(outlives.is_ready());
  CHECK(outlives.get() > 0);
}

TEST_CASE("worker_pool: tasks that post tasks while the pool is destroyed run or are told", "[worker_pool][hazard-10]") {
  struct chain {
    worker_pool& pool;
    std::atomic<int>&accepted, &refused, &ran;
    void operator()() const {
      ++ran;
      const auto r = pool.post(chain{*this});
      ++(r ? accepted : refused);
    }
  };
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> accepted{0}, refused{0}, ran{0};
    {
      worker_pool pool{{.threads = 3, .queue_capacity = 64}};
      for (int i = 0; i < 10; ++i) {
        CHECK(pool.post(chain{pool, accepted, refused, ran}));
        ++accepted;
      }
      until([&] { return ran >= 10; });
    }
    CHECK(accepted == ran);
    CHECK(refused == 10);
  }
}

TEST_CASE("worker_pool: a worker that waits for the end of its own pool is told that this is a deadlock",
          "[worker_pool][hazard-11]") {
  worker_pool pool{{.threads = 1}};
  CHECK(pool.submit([&] { return pool.drain(); }).get() == errc::deadlock);
  CHECK(pool.submit([&] { return pool.shutdown(); }).get() == errc::deadlock);
  CHECK(pool.submit([] { return 5; }).get() == 5);  // nothing has happened
  worker_pool other{{.threads = 1}};
  CHECK(pool.submit([&] { return other.drain(); }).get());
  CHECK(pool.submit([&] { return other.shutdown(); }).get());
}

TEST_CASE("worker_pool: what a posted task throws reaches the handler and the counter", "[worker_pool][hazard-19]") {
  std::vector<std::string> heard;
  std::atomic<bool> here{true};
  worker_pool pool{{.threads = 1, .on_error = [&](const std::exception_ptr& e) {
                      if (!pool.running_here()) here = false;
                      heard.push_back(message_of(e));
                      if (heard.size() == 2) throw std::logic_error{"the handler itself"};
                    }}};
  for (const char* const what : {"first", "second", "third"}) {
    CHECK(pool.post([what] { throw std::runtime_error{what}; }));
  }
  CHECK(pool.post([] {}));
  CHECK(pool.drain());
  CHECK(heard == std::vector<std::string>{"first", "second", "third"});
  CHECK(here);
  CHECK(pool.failed() == 3);
}

TEST_CASE("worker_pool: without a handler a failure is counted, and the worker lives on", "[worker_pool][hazard-19]") {
  worker_pool pool{{.threads = 1}};
  CHECK(pool.post([] { throw 5; }));
  CHECK(pool.submit([] { return 1; }).get() == 1);
  CHECK(pool.failed() == 1);
  CHECK_THROWS_AS(pool.submit([] { throw std::out_of_range{"on purpose"}; }).get(), std::out_of_range);
  CHECK(pool.failed() == 1);  // that one had a future
}

TEST_CASE("worker_pool: a future gives the value, the reference, the exception", "[worker_pool]") {
  worker_pool pool{{.threads = 2}};
  int target = 0;
  CHECK(*pool.submit([] { return std::make_unique<int>(7); }).get() == 7);
  CHECK(&pool.submit([&]() -> int& { return target; }).get() == &target);
  pool.submit([&] { target = 3; }).get();
  CHECK(target == 3);
  CHECK_THROWS_WITH(pool.submit([]() -> int { throw std::runtime_error{"on purpose"}; }).get(), "on purpose");
  auto mutable_task = [n = 1]() mutable { return ++n; };
  CHECK(pool.submit(mutable_task).get() == 2);
  CHECK(pool.submit(mutable_task).get() == 2);  // a copy each
  CHECK(pool.submit([](const std::stop_token& stop) { return stop.stop_possible() && !stop.stop_requested(); }).get());
  static_cast<void>(pool.submit([&] { target = 4; }));  // detached
  CHECK(pool.drain());
  CHECK(target == 4);
}

TEST_CASE("worker_pool: what a task holds is released before its future is ready", "[worker_pool]") {
  std::atomic<int> living{0};
  worker_pool pool{{.threads = 1}};
  for (int i = 0; i < 100; ++i) {
    pool.submit([held = token{living}] {}).get();
    REQUIRE(living == 0);
    CHECK_THROWS_AS(pool.submit([held = token{living}] { throw std::runtime_error{"on purpose"}; }).get(), std::runtime_error);
    REQUIRE(living == 0);
  }
}

#if defined(__linux__)

TEST_CASE("worker_pool: its threads bear its name and their number", "[worker_pool]") {
  const auto name = [](worker_pool& pool) {
    return pool
        .submit([] {
          char buffer[32] = {};
          ::pthread_getname_np(::pthread_self(), buffer, sizeof buffer);
          return std::string{buffer};
        })
        .get();
  };
  worker_pool unnamed{{.threads = 1}};
  CHECK(name(unnamed) == "penstock-0");
  worker_pool named{{.threads = 1, .name = "io"}};
  CHECK(name(named) == "io-0");
  worker_pool cut{{.threads = 1, .name = "a name that is longer than the kernel's fifteen"}};
  CHECK(name(cut) == "a name that-0");
}

namespace {

// Runs f in a forked child and gives its wait status; what it writes to stderr goes to `errors`.
template <class F>
int in_child(F f, std::string* errors = nullptr) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGABRT, SIG_DFL);  // the test framework's handler is for the parent
    ::dup2(ends[1], 2);
    ::close(ends[0]);
    ::close(ends[1]);
    ::_exit(f());
  }
  REQUIRE(child > 0);
  ::close(ends[1]);
  char buffer[512];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    if (errors != nullptr) errors->append(buffer, static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}

}  // namespace

TEST_CASE("worker_pool: a pool that is destroyed inside one of its tasks ends the program and says why",
          "[worker_pool][hazard-11]") {
  if (std::getenv("PENSTOCK_TEST_EMULATED") != nullptr)
    return;  // qemu's user mode aborts now and then when a forked child starts a thread
  std::string said;
  const int status = in_child(
      [] {
        auto* const pool = new worker_pool{{.threads = 1}};
        static_cast<void>(pool->post([pool] { delete pool; }));
        event{}.wait();
        return 0;
      },
      &said);
  REQUIRE(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  CHECK(said.find("destroyed inside one of its own tasks") != std::string::npos);
}

TEST_CASE("worker_pool: in a forked child it refuses work instead of hanging, and can be destroyed", "[worker_pool][hazard-21]") {
  std::atomic<int> ran{0};
  auto pool = std::make_unique<worker_pool>(worker_pool_options{.threads = 2, .queue_capacity = 4});
  CHECK(pool->post([&] { ++ran; }));
  CHECK(pool->drain());
  const int status = in_child([&] {
    const auto refused = std::errc::operation_not_permitted;
    int right = 0;
    if (const auto r = pool->post([&] { ++ran; }); !r && r.error() == refused) right |= 1;
    if (const auto r = pool->try_post([&] { ++ran; }); !r && r.error() == refused) right |= 2;
    if (error_of(pool->submit([&] { ++ran; })) == refused) right |= 4;
    if (const auto r = pool->drain(); !r && r.error() == refused) right |= 8;
    if (const auto r = pool->shutdown(); !r && r.error() == refused) right |= 16;
    pool->request_stop();
    pool.reset();
    if (ran == 1) right |= 32;
    return right;
  });
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 63);
  CHECK(pool->submit([&] { return ++ran; }).get() == 2);  // the parent's pool is as it was
}

TEST_CASE("worker_pool: in a forked child the futures of its tasks tell so, begun or not", "[worker_pool][hazard-21]") {
  event began;
  event go;
  worker_pool pool{{.threads = 1, .queue_capacity = 8}};
  future<int> running = pool.submit([&] {
    began.set();
    go.wait();
    return 1;
  });
  began.wait();
  std::vector<future<int>> waiting;
  for (int i = 0; i < 3; ++i) waiting.push_back(pool.submit([] { return 2; }));
  CHECK(pool.queued() == 3);
  const int status = in_child([&] {
    ::alarm(30);  // if it hangs
    const auto refused = std::errc::operation_not_permitted;
    int right = 0;
    if (error_of(std::move(running)) == refused) right |= 1;
    if (error_of(std::move(waiting[0])) == refused) right |= 2;
    if (waiting[1].try_wait_for(1h) && error_of(std::move(waiting[1])) == refused) right |= 4;
    try {
      sync_wait(std::move(waiting[2]));
    } catch (const std::system_error& e) {
      if (e.code() == refused) right |= 8;
    }
    if (pool.queued() == 0 && pool.room_waiters() == 0) right |= 16;
    return right;
  });
  go.set();
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 31);
  CHECK(running.get() == 1);  // the parent's are as they were
  for (auto& f : waiting) CHECK(f.get() == 2);
}

#endif

TEST_CASE("worker_pool: a burst leaves nothing behind, and a small task costs no allocation", "[worker_pool][hazard-28]") {
  constexpr int burst = counting_new::counts ? 1'000'000 : 100'000;  // the sanitizers count nothing, and take their time
  const long before = counting_new::living;
  {
    std::atomic<int> ran{0};
    worker_pool pool{{.threads = 2, .queue_capacity = 1024}};
    CHECK(pool.submit([] { return 1; }).get() == 1);  // the threads have begun
    CHECK(pool.drain());
    const long living = counting_new::living;
    const long made = counting_new::made;
    int refused = 0;
    for (int i = 0; i < burst; ++i) {
      if (!pool.post([&ran, padding = std::array<char, 40>{}] { ran += 1 + padding[0]; })) ++refused;
    }
    const result<void> drained = pool.drain();
    const long made_by_posting = counting_new::made - made;
    {
      future<void> f = pool.submit([] {});
      f.wait();
    }
    const result<void> drained_again = pool.drain();
    const long made_by_submitting = counting_new::made - made - made_by_posting;
    const long left = counting_new::living - living;
    CHECK(refused == 0);
    CHECK(drained);
    CHECK(drained_again);
    CHECK(ran == burst);
    CHECK(left == 0);
    CHECK(made_by_posting == 0);
    CHECK(made_by_submitting == (counting_new::counts ? 1 : 0));
  }
  CHECK(counting_new::living == before);
}

namespace {

task<int> hop_and_count(worker_pool& pool, event& go, std::atomic<int>& elsewhere) {
  if (!pool.running_here()) ++elsewhere;
  static_cast<void>(co_await go.async_wait());
  if (!pool.running_here()) ++elsewhere;
  co_await pool.schedule();
  if (!pool.running_here()) ++elsewhere;
  co_return 1;
}

task<std::pair<bool, bool>> moves_over(worker_pool& pool) {
  const bool before = pool.running_here();
  co_await pool.schedule();
  co_return std::pair{before, pool.running_here()};
}

task<int> awaits_the_future(worker_pool& pool) {
  const int value = co_await pool.submit([] { return 20; });
  int failures = 0;
  try {
    co_await pool.submit([] { throw std::runtime_error{"on purpose"}; });
  } catch (const std::runtime_error&) {
    ++failures;
  }
  co_return value + failures;
}

task<bool> waits(worker_pool& pool, event& e) {
  static_cast<void>(co_await e.async_wait());
  co_return pool.running_here();
}

task<std::error_code> drains(worker_pool& pool) {
  const result<void> r = pool.drain();
  co_return r ? std::error_code{} : r.error();
}

}  // namespace

TEST_CASE("worker_pool: coroutines begin and go on there, whoever completes what they wait for", "[worker_pool][hazard-15]") {
  event go;
  std::atomic<int> elsewhere{0};
  worker_pool pool{{.threads = 2}};
  std::vector<spawned<int>> all;
  for (int i = 0; i < 20; ++i) all.push_back(spawn(pool, hop_and_count(pool, go, elsewhere)));
  go.set();
  int ended = 0;
  for (auto& one : all) ended += one.result();
  CHECK(ended == 20);
  CHECK(elsewhere == 0);
}

TEST_CASE("worker_pool: schedule() moves a coroutine to a worker", "[worker_pool]") {
  worker_pool pool{{.threads = 1}};
  auto moved = spawn(moves_over(pool));
  CHECK(moved.result() == std::pair{false, true});
  CHECK(pool.get_scheduler() == any_scheduler{pool});
  CHECK_FALSE(pool.get_scheduler().running_here());
  CHECK(pool.submit([&] { return pool.get_scheduler().running_here(); }).get());
}

TEST_CASE("worker_pool: resumptions count against no capacity and are never refused", "[worker_pool]") {
  constexpr int count = 1000;
  event go;
  std::atomic<int> elsewhere{0};
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = overflow::reject}};
  {
    gate g{pool};
    std::vector<spawned<int>> all;
    CHECK(pool.post([] {}));
    CHECK(pool.post([] {}) == errc::rejected);
    for (int i = 0; i < count; ++i) all.push_back(spawn(pool, hop_and_count(pool, go, elsewhere)));
    CHECK(pool.queued() == 1);
    g.open();
    go.set();
    int ended = 0;
    for (auto& one : all) ended += one.result();
    CHECK(ended == count);
  }
  CHECK(elsewhere == 0);
  CHECK(pool.drain());
}

TEST_CASE("worker_pool: a coroutine may await the future of a task of its own pool", "[worker_pool][hazard-18]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 1}};
  CHECK(spawn(pool, awaits_the_future(pool)).result() == 21);
  CHECK(spawn(pool, drains(pool)).result() == errc::deadlock);
}

TEST_CASE("worker_pool: a coroutine that stops waiting for a future leaves the task alone", "[worker_pool]") {
  std::atomic<int> ran{0};
  worker_pool pool{{.threads = 1}};
  gate g{pool};
  future<void> f = pool.submit([&] { ++ran; });
  auto waiting = spawn(std::move(f));
  waiting.request_stop();
  std::error_code why;
  try {
    waiting.result();
  } catch (const std::system_error& e) {
    why = e.code();
  }
  CHECK(why == errc::cancelled);
  g.open();
  CHECK(pool.drain());
  CHECK(ran == 1);
}

TEST_CASE("worker_pool: a coroutine that waits while the workers end goes on where it is completed", "[worker_pool][hazard-08]") {
  event e;
  worker_pool pool{{.threads = 2}};
  auto waiting = spawn(pool, waits(pool, e));
  CHECK(pool.drain());  // it has begun, and waits
  SECTION("after request_stop") {
    pool.request_stop();
    e.set();
    CHECK_NOTHROW(waiting.result());  // on a worker that has not ended yet, or here
  }
  SECTION("after shutdown") {
    CHECK(pool.shutdown());
    e.set();
    REQUIRE(waiting.done());
    CHECK_FALSE(waiting.result());
  }
}

TEST_CASE("worker_pool: while a task runs, shutdown leaves a worker for the coroutine that the task waits for",
          "[worker_pool][hazard-08]") {
  worker_pool pool{{.threads = 2}};
  penstock::event go;
  penstock::channel<int> values{1};
  struct local {
    static penstock::task<> give(penstock::event& e, penstock::channel<int>& c) {
      static_cast<void>(co_await e.async_wait());
      int value = 42;
      static_cast<void>(co_await c.async_push(std::move(value)));
    }
  };
  auto giver = penstock::spawn(pool, local::give(go, values));
  auto taken = pool.submit([&values] { return values.pop().value_or(0); });
  until([&] { return go.waiters() == 1 && pool.queued() == 0; });
  std::jthread ender{[&] { static_cast<void>(pool.shutdown()); }};
  until([&] { return pool.try_post([] {}) == penstock::errc::closed; });
  go.set();
  CHECK(taken.get() == 42);
}

TEST_CASE("worker_pool: shutdown and resumptions at the same time lose none", "[worker_pool][hazard-08]") {
  for (int round = 0; round < 100; ++round) {
    event e;
    worker_pool pool{{.threads = 1 + static_cast<std::size_t>(round % 2)}};
    auto waiting = spawn(pool, waits(pool, e));
    std::jthread setter{[&] { e.set(); }};
    CHECK(pool.shutdown());
    CHECK_NOTHROW(waiting.result());
  }
}

TEST_CASE("worker_pool: a crowd of coroutines does not keep tasks from running", "[worker_pool]") {
  struct circle {
    static task<> run(worker_pool& pool, const std::atomic<bool>& enough) {
      while (!enough) co_await pool.schedule();
    }
  };
  std::atomic<bool> enough{false};
  worker_pool pool{{.threads = 1}};
  auto one = spawn(pool, circle::run(pool, enough));
  auto two = spawn(pool, circle::run(pool, enough));
  for (int i = 0; i < 10; ++i) CHECK(pool.submit([] { return 3; }).get() == 3);
  enough = true;
  one.wait();
  two.wait();
}
