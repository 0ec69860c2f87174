// A worker that waits for what only its own pool can bring about (hazard 18). Each case would hang without help.
#include <penstock/pool/worker_pool.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <stop_token>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <penstock/combine/when_all.hpp>
#include <penstock/core/detail/one_shot.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/event.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using test_support::until;

// Ends the program with a message if the value does not come.
template <class T>
T soon(future<T> f) {
  until([&] { return f.is_ready(); });
  return f.get();
}

task<int> forty() { co_return 40; }
task<int> hops(worker_pool& pool, int times) {
  for (int i = 0; i < times; ++i) co_await pool.schedule();
  co_return times;
}
task<int> waits(event& e) {
  static_cast<void>(co_await e.async_wait());
  co_return 7;
}
task<int> adds(worker_pool& pool) {
  const int a = co_await pool.submit([] { return 20; });
  const int b = co_await pool.submit([] { return 3; });
  co_return a + b;
}
task<int> blocks_for_the_next(worker_pool& pool, int levels) {
  if (levels == 0) co_return 0;
  auto below = spawn(pool, blocks_for_the_next(pool, levels - 1));
  co_return below.result() + 1;
}

}  // namespace

TEST_CASE("worker_pool: a worker runs a task that it waits for with a deadline or a stop token", "[worker_pool][hazard-18]") {
  manual_clock clock;
  const std::stop_source stop;
  worker_pool pool{{.threads = 1}};
  CHECK(soon(pool.submit([&] {
          future<int> inner = pool.submit([] { return 1; });
          while (!inner.try_wait_for(1ms)) {
          }
          return inner.get();
        })) == 1);
  CHECK(soon(pool.submit([&] {
          future<int> inner = pool.submit([] { return 2; });
          return inner.wait({.deadline = deadline::after(1h)}) ? inner.get() : -1;
        })) == 2);
  CHECK(soon(pool.submit([&] {
          future<int> inner = pool.submit([] { return 3; });
          return inner.try_wait_until({clock.now(), clock}) ? inner.get()
                                                            : -1;  // has passed: who polls in this way must get on, too
        })) == 3);
  CHECK(soon(pool.submit([&] {
          future<int> inner = pool.submit([] { return 4; });
          return inner.wait(stop.get_token()) ? inner.get() : -1;
        })) == 4);
  CHECK(soon(pool.submit([&] {
          future<int> inner = pool.submit([] { return 5; });
          return inner.wait({.stop = stop.get_token(), .deadline = {clock.now() + 1ms, clock}}) ? inner.get() : -1;
        })) == 5);
}

TEST_CASE("worker_pool: a task that a worker began during a wait runs to its end, even past the deadline", "[worker_pool]") {
  manual_clock clock;
  worker_pool pool{{.threads = 1}};
  const auto waited = soon(pool.submit([&] {
    future<void> inner = pool.submit([&] { clock.advance(1h); });
    return inner.wait({.deadline = {clock.now() + 1ms, clock}});
  }));
  CHECK(waited);
}

TEST_CASE("worker_pool: a look, or a wait that was stopped before, runs nothing", "[worker_pool]") {
  std::stop_source stop;
  stop.request_stop();
  std::atomic<int> ran{0};
  worker_pool pool{{.threads = 1}};
  CHECK(soon(pool.submit([&] {
    future<void> inner = pool.submit([&] { ++ran; });
    const result<void> looked = inner.try_wait();
    const result<void> stopped = inner.wait(stop.get_token());
    const result<void> limited = inner.wait({.stop = stop.get_token(), .deadline = deadline::after(1h)});
    return looked == errc::empty && stopped == errc::cancelled && limited == errc::cancelled && ran == 0;
  })));
  CHECK(pool.drain());
  CHECK(ran == 1);
}

TEST_CASE("worker_pool: a worker that blocks for a coroutine of its own pool runs it", "[worker_pool][hazard-18]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 1}};
  SECTION("result") {
    CHECK(soon(pool.submit([&] { return spawn(pool, forty()).result(); })) == 40);
    CHECK(soon(pool.submit([&] { return spawn(pool, hops(pool, 50)).result(); })) == 50);
  }
  SECTION("wait") {
    CHECK(soon(pool.submit([&] {
      auto one = spawn(pool, hops(pool, 2));
      auto two = spawn(pool, hops(pool, 3));
      two.wait();
      one.wait();
      return one.done() && two.done();
    })));
  }
  SECTION("destructor") {
    CHECK(soon(pool.submit([&] {
      static_cast<void>(spawn(pool, hops(pool, 2)));
      return true;
    })));
  }
  SECTION("sync_wait") {
    CHECK(soon(pool.submit([&] { return sync_wait(forty() | via(pool)); })) == 40);
    CHECK(soon(pool.submit([&] { return sync_wait(hops(pool, 5)); })) == 5);
  }
  SECTION("one inside the other") {
    CHECK(soon(pool.submit([&] { return spawn(pool, blocks_for_the_next(pool, 50)).result(); })) == 50);
  }
  SECTION("one that awaits tasks of the pool") {
    CHECK(soon(pool.submit([&] { return spawn(pool, adds(pool)).result(); })) == 23);
    CHECK(soon(pool.submit([&] { return sync_wait(adds(pool) | via(pool)); })) == 23);
  }
  CHECK(pool.drain());
}

TEST_CASE("worker_pool: a worker that sleeps until a coroutine ends is woken by its resumption, and by its end",
          "[worker_pool][hazard-18]") {
  for (int round = 0; round < 100; ++round) {
    event e;
    worker_pool pool{{.threads = 1}};
    // On the pool: its resumption comes to the sleeper. Elsewhere: its end does.
    auto got = round % 2 == 0 ? pool.submit([&] { return spawn(pool, waits(e)).result(); })
                              : pool.submit([&] { return sync_wait(waits(e)); });
    until([&] { return e.waiters() == 1; });
    if (round % 4 < 2) std::this_thread::yield();
    e.set();
    CHECK(soon(std::move(got)) == 7);
    CHECK(pool.drain());
  }
}

TEST_CASE("worker_pool: all workers block for coroutines at a time, and all of them get their values",
          "[worker_pool][hazard-18]") {
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> inside{0};
    std::vector<future<int>> all;
    worker_pool pool{{.threads = 3}};
    for (int i = 0; i < 3; ++i) {
      all.push_back(pool.submit([&pool, &inside, i] {
        ++inside;
        until([&] { return inside == 3; });
        return spawn(pool, hops(pool, i)).result();
      }));
    }
    for (int i = 0; i < 3; ++i) CHECK(soon(std::move(all[static_cast<std::size_t>(i)])) == i);
    CHECK(pool.drain());
  }
}

TEST_CASE("worker_pool: coroutines that block are run one inside the other, but not without end", "[worker_pool]") {
  constexpr int count = 300;
  event e;
  int inside = 0;
  int deepest = 0;
  worker_pool pool{{.threads = 1, .max_threads = 1}};  // alone: nobody runs the others meanwhile
  struct local {
    static task<> block(event& e, int& inside, int& deepest) {
      deepest = std::max(deepest, ++inside);
      static_cast<void>(sync_wait(e.async_wait()));
      --inside;
      co_return;
    }
  };
  std::vector<spawned<void>> all;
  for (int i = 0; i < count; ++i) all.push_back(spawn(pool, local::block(e, inside, deepest)));
  until([&] { return e.waiters() == 129; });  // one, and 128 that help
  e.set();
  for (auto& one : all) one.wait();
  CHECK(deepest == 129);
  CHECK(inside == 0);
}

TEST_CASE("worker_pool: coroutines that wait for each other deeper than one worker helps are run by another one",
          "[worker_pool][hazard-18]") {
  worker_pool pool{{.threads = 1}};
  struct local {
    static task<int> nested(worker_pool& p, int depth) {
      co_await p.schedule();
      int below = 0;
      if (depth > 1) below = sync_wait(nested(p, depth - 1));
      co_return below + 1;
    }
  };
  CHECK(soon(pool.submit([&] { return sync_wait(local::nested(pool, 150)); })) == 150);
}

TEST_CASE("worker_pool: a worker that waits for an event runs no task of its pool meanwhile", "[worker_pool]") {
  // What worker_pool.hpp says of all waits but those for futures and for coroutines: they just wait.
  manual_clock clock;
  event e;
  worker_pool pool{{.threads = 1}};
  auto waited = pool.submit([&] {
    const result<void> posted = pool.post([&] { e.set(); });
    const result<void> set = e.wait({.deadline = {clock.now() + 1ms, clock}});
    return posted && set == errc::timeout;
  });
  until([&] { return e.waiters() == 1; });
  clock.advance(1ms);
  CHECK(soon(std::move(waited)));
  CHECK(pool.drain());
  CHECK(e.is_set());
}

TEST_CASE(
    "worker_pool: who waits on its only worker for coroutines and combinators that wait for its tasks is replaced meanwhile",
    "[worker_pool][hazard-18]") {
  const auto plus_one = [](future<int> f) -> task<int> { co_return co_await std::move(f) + 1; };
  worker_pool pool{{.threads = 1}};
  CHECK(soon(pool.submit([&] { return sync_wait(plus_one(pool.submit([] { return 6; }))); })) == 7);
  CHECK(soon(pool.submit([&] {
          const auto [a, b] = sync_wait(when_all(pool.submit([] { return 1; }), pool.submit([] { return 2; })));
          return a + b;
        })) == 3);
  CHECK(soon(pool.submit([&] {
          auto begun = spawn(plus_one(pool.submit([] { return 8; })));
          return begun.result();
        })) == 9);
  // All workers of a pool at a time.
  worker_pool two{{.threads = 2}};
  std::atomic<int> inside = 0;
  const auto both = [&] {
    ++inside;
    until([&] { return inside == 2; });
    return sync_wait(plus_one(two.submit([] { return 0; })));
  };
  auto a = two.submit(both), b = two.submit(both);
  CHECK(soon(std::move(a)) + soon(std::move(b)) == 2);
}

TEST_CASE(
    "worker_pool: where no other thread can run it, a worker that blocks in sync_wait() runs the tasks that are awaited there",
    "[worker_pool][hazard-18]") {
  const auto pair = [](worker_pool& pool) {
    const auto [a, b] = sync_wait(when_all(pool.submit([] { return 1; }), pool.submit([] { return 2; })));
    return a + b;
  };
  for (const std::size_t threads : {1U, 3U}) {
    worker_pool pool{{.threads = threads, .max_threads = threads}};
    std::atomic<std::size_t> inside = 0;
    std::vector<future<int>> all;
    for (std::size_t i = 0; i < threads; ++i) {
      all.push_back(pool.submit([&] {
        ++inside;
        until([&] { return inside == threads; });
        // One level more: what is run here blocks in the same way.
        return sync_wait(when_all(pool.submit([&] { return pair(pool); }), pool.submit([] { return 4; }))) == std::tuple{3, 4}
                   ? 7
                   : 0;
      }));
    }
    for (auto& f : all) CHECK(soon(std::move(f)) == 7);
  }
}
