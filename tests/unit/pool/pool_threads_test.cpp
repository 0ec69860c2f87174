// The life of a pool's threads: paused, resized, idle, blocked; and what is to be run at their beginning and end.
#include <penstock/pool/worker_pool.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/event.hpp>

#include "../../support/catch.hpp"
#include "../../support/pool.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using test_support::error_of;
using test_support::until;

task<> go_around(worker_pool& pool, int times) {
  for (int i = 0; i < times; ++i) co_await pool.schedule();
}
// Long enough for a worker that would take a task to take it: coroutines and tasks take turns.
void let_workers_look(worker_pool& pool) { sync_wait(go_around(pool, 100)); }

task<> set(event& e) {
  e.set();
  co_return;
}

// Which of the pool's threads have begun and ended.
struct roll {
  void add(std::vector<std::size_t>& to, std::size_t index) {
    const std::scoped_lock guard{lock};
    to.push_back(index);
  }
  std::vector<std::size_t> sorted(const std::vector<std::size_t>& list) {
    const std::scoped_lock guard{lock};
    std::vector<std::size_t> copy = list;
    std::sort(copy.begin(), copy.end());
    return copy;
  }
  std::mutex lock;
  std::vector<std::size_t> begun, ended;
};

// Tasks that end when so many of them run at the same time.
void run_together(worker_pool& pool, std::size_t n) {
  std::atomic<std::size_t> running{0};
  std::vector<future<void>> all;
  for (std::size_t i = 0; i < n; ++i) {
    all.push_back(pool.submit([&running, n] {
      ++running;
      until([&] { return running == n; });
    }));
  }
  for (auto& f : all) f.wait();
}

}  // namespace

TEST_CASE("worker_pool: a paused pool begins no task until it is resumed, from outside or from inside", "[worker_pool]") {
  std::atomic<int> ran{0};
  event inside, go_on;
  worker_pool pool{{.threads = 2}};
  REQUIRE(pool.post([&] {
    inside.set();
    go_on.wait();
    for (int i = 0; i < 3; ++i) REQUIRE(pool.post([&ran] { ++ran; }));
  }));
  inside.wait();
  pool.pause();
  CHECK(pool.paused());
  for (int i = 0; i < 3; ++i) REQUIRE(pool.post([&ran] { ++ran; }));
  go_on.set();
  until([&] { return pool.queued() == 6; });
  let_workers_look(pool);
  CHECK(ran == 0);
  CHECK(pool.queued() == 6);
  pool.resume();
  CHECK_FALSE(pool.paused());
  REQUIRE(pool.drain());
  CHECK(ran == 6);
}

TEST_CASE("worker_pool: drain() of a paused pool waits for what is queued", "[worker_pool]") {
  worker_pool pool{{.threads = 1}};
  pool.pause();
  REQUIRE(pool.drain());
  auto f = pool.submit([] { return 42; });
  manual_clock clock;
  CHECK(pool.drain({.deadline = {clock.now(), clock}}).error() == errc::timeout);
  std::jthread resumer{[&] { pool.resume(); }};
  REQUIRE(pool.drain());
  CHECK(f.get() == 42);
}

TEST_CASE("worker_pool: what has begun goes on in a paused pool, and what it waits for, too", "[worker_pool]") {
  event inside, go_on;
  worker_pool pool{{.threads = 1}};
  auto outer = pool.submit([&] {
    inside.set();
    go_on.wait();
    return pool.submit([] { return 42; }).get();
  });
  inside.wait();
  pool.pause();
  go_on.set();
  CHECK(outer.get() == 42);
}

TEST_CASE("worker_pool: shutdown() and the destructor of a paused pool finish what is queued, request_stop() drops it",
          "[worker_pool][hazard-10]") {
  std::atomic<int> ran{0};
  future<void> dropped;
  {
    worker_pool destroyed{{.threads = 2}};
    worker_pool shut{{.threads = 2}};
    worker_pool stopped{{.threads = 2}};
    for (worker_pool* pool : {&destroyed, &shut, &stopped}) pool->pause();
    for (int i = 0; i < 5; ++i) {
      REQUIRE(destroyed.post([&ran] { ++ran; }));
      REQUIRE(shut.post([&ran] { ++ran; }));
    }
    dropped = stopped.submit([&ran] { ++ran; });
    REQUIRE(shut.shutdown());
    CHECK(ran == 5);
    shut.pause();
    CHECK_FALSE(shut.paused());
    stopped.request_stop();
    CHECK(error_of(std::move(dropped)) == errc::cancelled);
    CHECK_FALSE(stopped.paused());
  }
  CHECK(ran == 10);
}

TEST_CASE("worker_pool: purge() drops what is queued, here and in the workers' lanes, and nothing else", "[worker_pool]") {
  event inside, go_on;
  std::atomic<int> ran{0};
  std::vector<future<void>> lane, queue;
  worker_pool pool{{.threads = 1, .queue_capacity = 4}};
  auto first = pool.submit([&] {
    for (int i = 0; i < 3; ++i) lane.push_back(pool.submit([&ran] { ++ran; }));
    inside.set();
    go_on.wait();
    return 42;
  });
  inside.wait();
  for (int i = 0; i < 4; ++i) queue.push_back(pool.submit([&ran] { ++ran; }));
  future<void> late;
  std::jthread waits_for_room{[&] { late = pool.submit([&ran] { ran += 100; }); }};
  until([&] { return pool.room_waiters() == 1; });
  CHECK(pool.purge() == 7);
  waits_for_room.join();
  CHECK(pool.queued() == 1);  // who waited for room took a place
  for (auto* dropped : {&lane, &queue}) {
    for (auto& f : *dropped) CHECK(error_of(std::move(f)) == errc::cancelled);
  }
  go_on.set();
  CHECK(first.get() == 42);
  late.wait();
  CHECK(ran == 100);
  REQUIRE(pool.drain());
  CHECK(pool.purge() == 0);
}

TEST_CASE("worker_pool: what is purged is destroyed without a lock, and a task may purge its own pool",
          "[worker_pool][hazard-17]") {
  worker_pool pool{{.threads = 1}};
  struct comes_back {
    explicit comes_back(worker_pool& p) : pool{&p} {}
    comes_back(comes_back&& other) noexcept : pool{std::exchange(other.pool, nullptr)} {}
    ~comes_back() {
      if (pool != nullptr) static_cast<void>(pool->queued());
    }
    void operator()() const noexcept {}
    worker_pool* pool;
  };
  auto dropped = pool.submit([&pool] {
    for (int i = 0; i < 3; ++i) REQUIRE(pool.post(comes_back{pool}));
    return pool.purge();
  });
  CHECK(dropped.get() == 3);
}

TEST_CASE("worker_pool: grows and shrinks at run time", "[worker_pool]") {
  roll threads;
  worker_pool pool{{.threads = 2,
                    .max_threads = 5,
                    .on_thread_start = [&](std::size_t i) { threads.add(threads.begun, i); },
                    .on_thread_exit = [&](std::size_t i) { threads.add(threads.ended, i); }}};
  CHECK(pool.max_threads() == 5);
  REQUIRE(pool.resize(5));
  CHECK(pool.threads() == 5);
  CHECK(pool.running_threads() == 5);
  CHECK(threads.sorted(threads.begun) == std::vector<std::size_t>{0, 1, 2, 3, 4});
  run_together(pool, 5);
  REQUIRE(pool.resize(1));
  CHECK(pool.threads() == 1);
  until([&] { return threads.sorted(threads.ended).size() == 4; });
  CHECK(pool.running_threads() == 1);
  CHECK(pool.submit([] { return 42; }).get() == 42);
  REQUIRE(pool.resize(3));
  run_together(pool, 3);
  pool.set_limit(0);  // as near as it can
  CHECK(pool.threads() == 1);
  pool.set_limit(100);
  CHECK(pool.threads() == 5);
  pool.set_limit(3);
  REQUIRE(pool.shutdown());
  pool.set_limit(2);
  CHECK(threads.sorted(threads.begun).size() >= 7);
  CHECK(threads.sorted(threads.begun) == threads.sorted(threads.ended));
  CHECK(pool.resize(2).error() == errc::closed);
}

TEST_CASE("worker_pool: refuses sizes that it cannot have", "[worker_pool]") {
  worker_pool pool{{.threads = 2, .max_threads = 3}};
  CHECK_THROWS_AS(pool.resize(0), std::invalid_argument);
  CHECK_THROWS_AS(pool.resize(4), std::invalid_argument);
  CHECK_THROWS_AS(worker_pool({.threads = 2, .max_threads = 1}), std::invalid_argument);
  CHECK_THROWS_AS(worker_pool({.threads = 2, .min_threads = 0}), std::invalid_argument);
  CHECK_THROWS_AS(worker_pool({.threads = 2, .keep_alive = -1ns}), std::invalid_argument);
  CHECK(pool.threads() == 2);
}

TEST_CASE("worker_pool: what a worker that ends has queued is done by the others, and the others need not be awake",
          "[worker_pool]") {
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> ran{0};
    worker_pool pool{{.threads = 2}};
    auto f = pool.submit([&] {
      for (int i = 0; i < 10; ++i) REQUIRE(pool.post([&ran] { ++ran; }));
      REQUIRE(pool.resize(1));
      for (int i = 0; i < 10; ++i) REQUIRE(pool.post([&ran] { ++ran; }));
    });
    f.wait();
    REQUIRE(pool.drain());
    CHECK(ran == 20);
    until([&] { return pool.running_threads() == 1; });
  }
}

TEST_CASE("worker_pool: idle threads end after their time, and are started again when there is work for them", "[worker_pool]") {
  manual_clock clock;
  roll threads;
  worker_pool pool{{.threads = 3, .clock = clock, .keep_alive = 10ms, .on_thread_exit = [&](std::size_t i) {
                      threads.add(threads.ended, i);
                    }}};
  until([&] { return clock.next_timer() == clock.now() + 10ms; });
  clock.advance(9ms);
  CHECK(pool.running_threads() == 3);
  until([&] {
    clock.advance(10ms);
    return pool.running_threads() == 1;
  });
  CHECK(pool.threads() == 3);
  for (int i = 0; i < 5; ++i) clock.advance(1h);
  CHECK(pool.running_threads() == 1);  // the least
  CHECK(threads.sorted(threads.ended).size() <= 2);
  run_together(pool, 3);
  CHECK(pool.running_threads() == 3);
}

TEST_CASE("worker_pool: what a task submits starts threads again, too, and so do coroutines that go on", "[worker_pool]") {
  manual_clock clock;
  worker_pool pool{{.threads = 2, .clock = clock, .keep_alive = 10ms}};
  const auto sleep = [&] {
    until([&] {
      clock.advance(10ms);
      return pool.running_threads() == 1;
    });
  };
  sleep();
  event done;
  auto f = pool.submit([&] {
    REQUIRE(pool.post([&] { done.set(); }));
    done.wait();
  });
  f.wait();
  sleep();
  done.reset();
  f = pool.submit([&] {
    const auto other = spawn(pool, set(done));
    done.wait();
  });
  f.wait();
}

TEST_CASE("worker_pool: blocking() lets another thread run meanwhile, as long as it takes", "[worker_pool][hazard-18]") {
  event set_by_task;
  worker_pool pool{{.threads = 1}};
  auto blocked = pool.submit([&] {
    return pool.blocking([&] {
      set_by_task.wait();
      return 42;
    });
  });
  auto setter = pool.submit([&] { set_by_task.set(); });
  CHECK(blocked.get() == 42);
  setter.wait();
  CHECK(pool.threads() == 1);
  CHECK(pool.running_threads() <= 2);
}

TEST_CASE("worker_pool: blocking() lets others run what the worker itself has queued, before and inside", "[worker_pool]") {
  event before, inside;
  worker_pool pool{{.threads = 1}};
  auto f = pool.submit([&] {
    REQUIRE(pool.post([&] { before.set(); }));
    pool.blocking([&] {
      before.wait();
      REQUIRE(pool.post([&] { inside.set(); }));
      pool.blocking([&] { inside.wait(); });
    });
  });
  f.wait();
}

TEST_CASE("worker_pool: blocking() gives back what the function returns or throws, and outside of the pool just calls it",
          "[worker_pool]") {
  worker_pool pool{{.threads = 1}};
  int x = 0;
  static_assert(std::is_same_v<decltype(pool.blocking([&]() -> int& { return x; })), int&>);
  CHECK(&pool.blocking([&]() -> int& { return x; }) == &x);
  auto throws = pool.submit([&] { pool.blocking([] { throw std::runtime_error{"on purpose"}; }); });
  CHECK_THROWS_AS(throws.get(), std::runtime_error);
  CHECK(pool.submit([&] { return pool.blocking([] { return 42; }); }).get() == 42);
}

TEST_CASE("worker_pool: no more threads than max_threads, however many block", "[worker_pool]") {
  std::atomic<int> blocked{0};
  event go_on;
  std::vector<future<void>> all;
  worker_pool pool{{.threads = 1, .max_threads = 3}};
  for (int i = 0; i < 5; ++i) {
    all.push_back(pool.submit([&] {
      pool.blocking([&] {
        ++blocked;
        go_on.wait();
      });
    }));
  }
  until([&] { return blocked == 3; });
  CHECK(pool.running_threads() == 3);
  CHECK(pool.queued() == 2);
  go_on.set();
  for (auto& f : all) f.wait();
  CHECK(blocked == 5);
  // The others sleep, and end when the pool is resized.
  REQUIRE(pool.resize(1));
  until([&] { return pool.running_threads() == 1; });
}

TEST_CASE("worker_pool: a thread that cannot begin fails the construction, and a resize, which leaves the pool as it was",
          "[worker_pool][hazard-20]") {
  roll threads;
  std::size_t worst = 1;
  const auto options = [&](std::size_t count) {
    return worker_pool_options{.threads = count,
                               .on_thread_start =
                                   [&](std::size_t i) {
                                     if (i == worst) throw std::runtime_error{"on purpose"};
                                     threads.add(threads.begun, i);
                                   },
                               .on_thread_exit = [&](std::size_t i) { threads.add(threads.ended, i); }};
  };
  CHECK_THROWS_AS(worker_pool(options(3)), std::runtime_error);
  CHECK(threads.sorted(threads.begun) == std::vector<std::size_t>{0});
  CHECK(threads.sorted(threads.ended) == std::vector<std::size_t>{0});
  worst = 3;
  worker_pool pool{options(2)};
  CHECK_THROWS_AS(pool.resize(5), std::runtime_error);
  CHECK(pool.threads() == 2);
  until([&] { return pool.running_threads() == 2; });
  worst = 99;
  run_together(pool, 2);
  REQUIRE(pool.resize(5));
  run_together(pool, 5);
}

TEST_CASE("worker_pool: a resize that fails leaves alone what another one has set meanwhile", "[worker_pool][hazard-20]") {
  worker_pool* here = nullptr;
  std::size_t meanwhile = 4;
  worker_pool pool{{.threads = 2, .on_thread_start = [&](std::size_t) {
                      if (here == nullptr) return;
                      if (meanwhile != 0) test_support::must(std::exchange(here, nullptr)->resize(meanwhile).has_value());
                      throw std::runtime_error{"on purpose"};
                    }}};
  here = &pool;
  CHECK_THROWS_AS(pool.resize(6), std::runtime_error);
  CHECK(pool.threads() == 4);
  run_together(pool, 4);
  here = &pool;
  meanwhile = 6;  // the same number is another change, too
  CHECK_THROWS_AS(pool.resize(6), std::runtime_error);
  CHECK(pool.threads() == 6);
  here = &pool;
  meanwhile = 0;
  CHECK_THROWS_AS(pool.resize(8), std::runtime_error);
  CHECK(pool.threads() == 6);
}

TEST_CASE("worker_pool: what on_thread_start and on_thread_exit throw later goes to on_error", "[worker_pool][hazard-19]") {
  std::atomic<int> failures{0};
  std::atomic<bool> fail{false};
  {
    worker_pool pool{{.threads = 1,
                      .on_error = [&](const std::exception_ptr&) { ++failures; },
                      .on_thread_start =
                          [&](std::size_t) {
                            if (fail) throw std::runtime_error{"start"};
                          },
                      .on_thread_exit = [](std::size_t) { throw std::runtime_error{"exit"}; }}};
    fail = true;
    event go_on;
    std::atomic<bool> ran{false};
    auto f = pool.submit([&] { pool.blocking([&] { go_on.wait(); }); });
    REQUIRE(pool.post([&] { ran = true; }));
    until([&] { return failures > 0; });
    CHECK(pool.failed() == static_cast<std::size_t>(failures));
    CHECK_FALSE(ran);
    fail = false;
    REQUIRE(pool.post([] {}));  // tries again
    until([&] { return ran.load(); });
    go_on.set();
    f.wait();
    failures = 0;
  }
  CHECK(failures == 2);  // the two that ended
}

TEST_CASE("worker_pool: a thread that ends may start the one that takes its place", "[worker_pool]") {
  event leaving, may_end, busy, go_on, ran;
  std::atomic<bool> holds{true};
  worker_pool pool{{.threads = 2, .max_threads = 2, .on_thread_exit = [&](std::size_t) {
                      if (!holds) return;
                      leaving.set();
                      may_end.wait();
                    }}};
  REQUIRE(pool.resize(1));
  leaving.wait();
  REQUIRE(pool.resize(2));  // finds no place
  CHECK(pool.running_threads() == 1);
  REQUIRE(pool.post([&] {
    busy.set();
    go_on.wait();
  }));
  busy.wait();
  REQUIRE(pool.post([&] { ran.set(); }));
  CHECK_FALSE(ran.is_set());
  holds = false;
  may_end.set();  // its place was what was missing
  ran.wait();
  CHECK(pool.running_threads() == 2);
  go_on.set();
}

TEST_CASE("worker_pool: what could only wait for its own thread is an error at the beginning and the end of threads, too",
          "[worker_pool][hazard-11]") {
  std::vector<std::error_code> errors;
  worker_pool* here = nullptr;
  worker_pool pool{{.threads = 1, .on_thread_exit = [&](std::size_t) {
                      errors.push_back(here->drain().error());
                      errors.push_back(here->shutdown().error());
                      errors.push_back(here->post([] {}).error());
                    }}};
  here = &pool;
  REQUIRE(pool.shutdown());
  CHECK(errors == std::vector<std::error_code>{errc::deadlock, errc::deadlock, errc::closed});
}

#if defined(__linux__)
TEST_CASE("worker_pool: binds its threads to the processors that it is given", "[worker_pool]") {
  cpu_set_t allowed;
  REQUIRE(::sched_getaffinity(0, sizeof allowed, &allowed) == 0);
  unsigned processor = 0;
  while (!CPU_ISSET(processor, &allowed)) ++processor;
  worker_pool pool{{.threads = 2, .affinity = {processor}}};
  const auto bound = pool.submit([] {
    cpu_set_t mine;
    REQUIRE(::sched_getaffinity(0, sizeof mine, &mine) == 0);
    return std::pair{CPU_COUNT(&mine), static_cast<unsigned>(::sched_getcpu())};
  });
  const auto [count, where] = const_cast<future<std::pair<int, unsigned>>&>(bound).get();
  CHECK(count == 1);
  CHECK(where == processor);
  CHECK_THROWS_AS(worker_pool({.threads = 1, .affinity = {100'000}}), std::system_error);
}

TEST_CASE("worker_pool: in a forked child its threads are left alone", "[worker_pool][hazard-21]") {
  worker_pool pool{{.threads = 2}};
  REQUIRE(pool.drain());
  const ::pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    pool.pause();
    pool.resume();
    const bool good = pool.resize(3).error() == std::errc::operation_not_permitted && pool.purge() == 0 &&
                      pool.running_threads() == 0 && pool.blocking([] { return 42; }) == 42;
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}
#endif
