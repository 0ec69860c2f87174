#include <penstock/sync/wait_group.hpp>

#include <chrono>
#include <limits>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>

#include "../../support/catch.hpp"
#include "sync_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using sync_testing::step_executor;
using sync_testing::until;

TEST_CASE("wait_group: waits pass while nothing is outstanding", "[wait_group]") {
  wait_group group;
  group.wait();
  CHECK(group.try_wait());
  group.add(2);
  CHECK(group.count() == 2);
  CHECK(group.try_wait() == errc::empty);
  group.done();
  CHECK(group.try_wait_for(0s) == errc::timeout);
  group.done();
  CHECK(group.count() == 0);
  group.wait();
  CHECK(group.try_wait_for(0s));
}

TEST_CASE("wait_group: constructed with a count it is a countdown latch", "[wait_group]") {
  wait_group parts{5};
  auto waiting = spawn(parts.async_wait());
  parts.done(2);
  parts.done(0);
  parts.done();
  REQUIRE_FALSE(waiting.done());
  CHECK(parts.count() == 2);
  parts.done(2);
  REQUIRE(waiting.done());
  CHECK(waiting.result());
}

TEST_CASE("wait_group: counts out of range are refused and change nothing", "[wait_group]") {
  CHECK_THROWS_AS(wait_group{-1}, std::invalid_argument);
  wait_group group{2};
  auto waiting = spawn(group.async_wait());
  CHECK_THROWS_AS(group.add(-1), std::invalid_argument);
  CHECK_THROWS_AS(group.done(-1), std::invalid_argument);
  CHECK_THROWS_AS(group.done(3), std::invalid_argument);
  CHECK_THROWS_AS(group.add(std::numeric_limits<std::ptrdiff_t>::max() - 1), std::invalid_argument);
  CHECK(group.count() == 2);
  REQUIRE_FALSE(waiting.done());
  group.done(2);
  CHECK(waiting.result());
  CHECK_THROWS_AS(group.done(), std::invalid_argument);
  CHECK(group.count() == 0);
}

TEST_CASE("wait_group: everybody who waits passes when the last one is done, and the group can be used again", "[wait_group]") {
  wait_group group;
  for (int round = 0; round < 3; ++round) {
    group.add(2);
    auto coroutine = spawn(group.async_wait());
    std::jthread thread{[&] { group.wait(); }};
    until([&] { return group.waiters() == 2; });
    group.done();
    CHECK(group.waiters() == 2);
    group.done();
    thread.join();
    CHECK(coroutine.result());
  }
}

TEST_CASE("wait_group: who waited for one round passes although the next has begun", "[wait_group]") {
  step_executor executor;
  wait_group group{1};
  auto waiting = spawn(group.async_wait() | via(executor));
  group.done();
  group.add();
  executor.run_all();
  REQUIRE(waiting.done());
  CHECK(waiting.result());
  CHECK(group.try_wait() == errc::empty);
  group.done();
}

TEST_CASE("wait_group: what was done before done() is visible after the wait", "[wait_group]") {
  constexpr int threads = 4;
  for (int round = 0; round < 200; ++round) {
    wait_group group{threads};
    std::vector<int> work(threads, 0);
    std::vector<std::jthread> workers;
    for (int i = 0; i < threads; ++i) {
      workers.emplace_back([&, i] {
        work[static_cast<std::size_t>(i)] = i + 1;  // not atomic: the group orders it
        group.done();
      });
    }
    if (round % 2 == 0) {
      group.wait();
    } else {
      while (!group.try_wait()) std::this_thread::yield();
    }
    REQUIRE(work == std::vector{1, 2, 3, 4});
  }
}

TEST_CASE("wait_group: add() of one who is counted itself keeps the group open", "[wait_group]") {
  wait_group group{1};
  std::jthread parent{[&] {
    for (int i = 0; i < 100; ++i) {
      group.add();
      std::jthread child{[&] { group.done(); }};
    }
    group.done();
  }};
  group.wait();
  CHECK(group.count() == 0);
}

TEST_CASE("wait_group: a timed wait gives up at its deadline and not before", "[wait_group]") {
  manual_clock clock;
  wait_group group{1};
  auto waiting = spawn(group.async_wait() | with_timeout(10ms, clock));
  std::optional<result<void>> got;
  std::jthread thread{[&] { got = group.wait({.deadline = {clock.now() + 10ms, clock}}); }};
  until([&] { return group.waiters() == 2; });
  clock.advance(9ms);
  CHECK(group.waiters() == 2);
  clock.advance(1ms);
  thread.join();
  CHECK(waiting.result() == errc::timeout);
  CHECK(*got == errc::timeout);
  CHECK(group.count() == 1);
  group.done();
}

TEST_CASE("wait_group: passing beats a deadline that comes before the waiter goes on", "[wait_group][race-09]") {
  manual_clock clock;
  step_executor executor;
  wait_group group{1};
  auto waiting = spawn(group.async_wait() | with_timeout(10ms, clock) | via(executor));
  group.done();
  clock.advance(10ms);
  executor.run_all();
  CHECK(waiting.result());
}

TEST_CASE("wait_group: a stopped wait ends and the count stays", "[wait_group]") {
  wait_group group{1};
  std::stop_source stop;
  auto waiting = spawn(group.async_wait() | with_stop(stop.get_token()));
  std::optional<result<void>> got;
  std::jthread thread{[&] { got = group.wait(stop.get_token()); }};
  until([&] { return group.waiters() == 2; });
  stop.request_stop();
  thread.join();
  CHECK(waiting.result() == errc::cancelled);
  CHECK(*got == errc::cancelled);
  CHECK(group.count() == 1);
  group.done();
  CHECK(group.wait(stop.get_token()) == errc::cancelled);
}

TEST_CASE("wait_group: a huge timeout means for ever and a negative one means now", "[wait_group][hazard-22]") {
  wait_group group{1};
  CHECK(group.try_wait_for(-1h) == errc::timeout);
  std::optional<result<void>> got;
  std::jthread thread{[&] { got = group.try_wait_for(std::chrono::hours::max()); }};
  until([&] { return group.waiters() == 1; });
  group.done();
  thread.join();
  CHECK(got->has_value());
}

TEST_CASE("wait_group: who returned from a wait may destroy it", "[wait_group][hazard-07][hazard-12][race-03]") {
  struct pair : wait_group {
    pair() : wait_group{2} {}
  };
  SECTION("one thread is done twice") {
    sync_testing::destroy_after_wait<pair>(
        20'000, [](pair& g) { g.wait(); },
        [](pair& g, int i) {
          g.done();
          if (i % 16 == 0) until([&] { return g.waiters() == 1; });
          g.done();
        });
  }
  SECTION("two threads are done at once") {
    std::atomic<wait_group*> shared{nullptr};
    constexpr int rounds = 5'000;
    std::jthread helper{[&] {
      for (int i = 0; i < rounds; ++i) {
        wait_group* group = nullptr;
        until([&] { return (group = shared.exchange(nullptr)) != nullptr; });
        group->done();
      }
    }};
    sync_testing::destroy_after_wait<pair>(
        rounds, [](pair& g) { g.wait(); },
        [&](pair& g, int) {
          shared = &g;
          g.done();
        });
  }
}

TEST_CASE("wait_group: what runs when the last one is done may use the group", "[wait_group][hazard-17]") {
  struct coroutine {
    static task<std::ptrdiff_t> again(wait_group& group) {
      const auto r = co_await group.async_wait();
      group.add();
      const std::ptrdiff_t n = group.count() + static_cast<std::ptrdiff_t>(group.waiters());
      group.done();
      co_return r ? n : -1;
    }
  };
  wait_group group{1};
  auto first = spawn(coroutine::again(group));
  auto second = spawn(coroutine::again(group));
  group.done();
  CHECK(first.result() == 1);
  CHECK(second.result() == 1);
}

}  // namespace
