#include <penstock/sync/event.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
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

TEST_CASE("event: lets waits pass while it is set", "[event]") {
  event e;
  CHECK_FALSE(e.is_set());
  CHECK(e.try_wait() == errc::empty);
  CHECK(e.try_wait_for(0s) == errc::timeout);
  e.set();
  e.set();
  CHECK(e.is_set());
  e.wait();
  CHECK(e.try_wait());
  CHECK(e.wait(std::stop_token{}));
  CHECK(e.try_wait_for(0s));
  CHECK(e.try_wait());
  e.reset();
  e.reset();
  CHECK_FALSE(e.is_set());
  CHECK(e.try_wait() == errc::empty);
  event from_the_beginning{true};
  from_the_beginning.wait();
}

TEST_CASE("event: set wakes everybody who waits, threads and coroutines, even if it is reset at once", "[event]") {
  event e;
  std::atomic<int> passed{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      e.wait();
      ++passed;
    });
  }
  auto coroutine = spawn(e.async_wait());
  until([&] { return e.waiters() == 4; });
  CHECK(passed == 0);
  e.set();
  e.reset();
  threads.clear();
  CHECK(passed == 3);
  CHECK(coroutine.result());
  CHECK(e.waiters() == 0);
}

TEST_CASE("event: a timed wait gives up at its deadline and not before", "[event]") {
  manual_clock clock;
  event e;
  SECTION("a coroutine") {
    auto waiting = spawn(e.async_wait() | with_timeout(10ms, clock));
    clock.advance(9ms);
    REQUIRE_FALSE(waiting.done());
    clock.advance(1ms);
    CHECK(waiting.result() == errc::timeout);
  }
  SECTION("a thread") {
    std::optional<result<void>> got;
    std::jthread waiting{[&] { got = e.try_wait_until({clock.now() + 10ms, clock}); }};
    until([&] { return e.waiters() == 1; });
    clock.advance(9ms);
    CHECK(e.waiters() == 1);
    clock.advance(1ms);
    waiting.join();
    CHECK(*got == errc::timeout);
  }
  CHECK_FALSE(e.is_set());
}

TEST_CASE("event: having passed beats a deadline and a stop that come before the waiter goes on", "[event][race-09]") {
  manual_clock clock;
  step_executor executor;
  event e;
  auto waiting = spawn(e.async_wait() | with_timeout(10ms, clock) | via(executor));
  SECTION("the deadline") {
    e.set();
    clock.advance(10ms);
  }
  SECTION("a stop") {
    e.set();
    waiting.request_stop();
  }
  e.reset();
  executor.run_all();
  CHECK(waiting.result());
}

TEST_CASE("event: a stopped wait ends, and the others go on waiting", "[event]") {
  event e;
  auto staying = spawn(e.async_wait());
  std::stop_source stop;
  SECTION("a coroutine") {
    auto waiting = spawn(e.async_wait() | with_stop(stop.get_token()));
    stop.request_stop();
    CHECK(waiting.result() == errc::cancelled);
  }
  SECTION("a thread") {
    std::optional<result<void>> got;
    std::jthread waiting{[&] { got = e.wait(stop.get_token()); }};
    until([&] { return e.waiters() == 2; });
    stop.request_stop();
    waiting.join();
    CHECK(*got == errc::cancelled);
  }
  CHECK(e.waiters() == 1);
  CHECK_FALSE(staying.done());
  e.set();
  CHECK(staying.result());
  CHECK(e.wait(stop.get_token()) == errc::cancelled);  // requested before the call: not even looked at
  CHECK(e.wait({.stop = stop.get_token()}) == errc::cancelled);
}

TEST_CASE("event: a huge timeout means for ever and a negative one means now", "[event][hazard-22]") {
  event e;
  CHECK(e.try_wait_for(-1h) == errc::timeout);
  std::optional<result<void>> got;
  std::jthread waiting{[&] { got = e.try_wait_for(std::chrono::hours::max()); }};
  until([&] { return e.waiters() == 1; });
  e.set();
  waiting.join();
  CHECK(got->has_value());
  CHECK(e.try_wait_for(std::chrono::hours::min()));
}

TEST_CASE("event: who returned from a wait may destroy it", "[event][hazard-07][hazard-12][race-03]") {
  const auto set = [](event& e, int i) {
    if (i % 16 == 0) until([&] { return e.waiters() == 1; });  // else the waiter mostly is still on its way
    e.set();
  };
  sync_testing::destroy_after_wait<event>(20'000, [](event& e) { e.wait(); }, set);
  sync_testing::destroy_after_wait<event>(
      20'000,
      [](event& e) {
        while (!e.try_wait()) std::this_thread::yield();
      },
      [](event& e, int) { e.set(); });
}

TEST_CASE("event: a coroutine may destroy it inside set()", "[event][hazard-12][hazard-17]") {
  struct coroutine {
    static task<void> wait_and_destroy(std::unique_ptr<event> e) {
      const auto r = co_await e->async_wait();
      static_cast<void>(r);
      e.reset();
    }
  };
  auto owned = std::make_unique<event>();
  event& e = *owned;
  auto waiting = spawn(coroutine::wait_and_destroy(std::move(owned)));
  e.set();
  CHECK(waiting.done());
}

TEST_CASE("event: what runs when it is set may use it", "[event][hazard-17]") {
  struct coroutine {
    static task<std::size_t> use(event& e) {
      const auto r = co_await e.async_wait();
      e.reset();
      e.set();
      co_return r ? e.waiters() : 99;
    }
  };
  event e;
  auto first = spawn(coroutine::use(e));
  auto second = spawn(coroutine::use(e));
  e.set();
  CHECK(first.result() == 0);
  CHECK(second.result() == 0);
}

TEST_CASE("auto_reset_event: each set lets exactly one pass, in the order of arrival", "[auto_reset_event]") {
  auto_reset_event e;
  auto first = spawn(e.async_wait());
  auto second = spawn(e.async_wait());
  e.set();
  CHECK(first.done());
  CHECK_FALSE(second.done());
  CHECK_FALSE(e.is_set());
  CHECK(e.try_wait() == errc::empty);
  e.set();
  CHECK(second.done());
  CHECK(first.result());
  CHECK(second.result());
}

TEST_CASE("auto_reset_event: without a waiter a set is remembered, once", "[auto_reset_event]") {
  auto_reset_event e;
  e.set();
  e.set();
  CHECK(e.is_set());
  e.wait();
  CHECK_FALSE(e.is_set());
  CHECK(e.try_wait() == errc::empty);
  e.set();
  CHECK(e.try_wait());
  CHECK(e.try_wait() == errc::empty);
  e.set();
  e.reset();
  CHECK(e.try_wait_for(0s) == errc::timeout);
  auto_reset_event from_the_beginning{true};
  CHECK(from_the_beginning.try_wait_for(0s));
  CHECK(from_the_beginning.try_wait() == errc::empty);
}

TEST_CASE("auto_reset_event: a thread that waits is let pass by one set", "[auto_reset_event]") {
  auto_reset_event e;
  std::atomic<int> passed{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      e.wait();
      ++passed;
    });
  }
  until([&] { return e.waiters() == 3; });
  for (int i = 1; i <= 3; ++i) {
    e.set();
    until([&] { return passed == i; });
    CHECK(e.waiters() == static_cast<std::size_t>(3 - i));
  }
  threads.clear();
  CHECK(passed == 3);
  CHECK_FALSE(e.is_set());
}

TEST_CASE("auto_reset_event: a signal is never lost to a deadline or a stop",
          "[auto_reset_event][hazard-01][hazard-04][race-09]") {
  manual_clock clock;
  step_executor executor;
  auto_reset_event e;
  auto waiting = spawn(e.async_wait() | with_timeout(10ms, clock) | via(executor));
  SECTION("set first: the waiter has it") {
    e.set();
    clock.advance(10ms);
    executor.run_all();
    CHECK(waiting.result());
    CHECK_FALSE(e.is_set());
  }
  SECTION("timed out first: it stays for the next") {
    clock.advance(10ms);
    e.set();
    executor.run_all();
    CHECK(waiting.result() == errc::timeout);
    CHECK(e.is_set());
  }
  SECTION("stopped first: the one behind has it") {
    auto behind = spawn(e.async_wait());
    waiting.request_stop();
    e.set();
    executor.run_all();
    CHECK(waiting.result() == errc::cancelled);
    CHECK(behind.result());
    CHECK_FALSE(e.is_set());
  }
}

TEST_CASE("auto_reset_event: set and stop at once leave the signal in exactly one place",
          "[auto_reset_event][hazard-01][race-05]") {
  for (int round = 0; round < 300; ++round) {
    auto_reset_event e;
    std::stop_source stop;
    result<void> got;
    {
      std::jthread waiting{[&] { got = e.wait(stop.get_token()); }};
      if (round % 2 == 0) until([&] { return e.waiters() == 1; });
      std::jthread setting{[&] { e.set(); }};
      stop.request_stop();
    }
    REQUIRE(e.is_set() == !got.has_value());
  }
}

TEST_CASE("auto_reset_event: two threads take turns through two of them", "[auto_reset_event]") {
  auto_reset_event ping;
  auto_reset_event pong;
  int value = 0;  // handed over by the events alone
  std::thread other{[&] {
    for (int i = 0; i < 2'000; ++i) {
      ping.wait();
      ++value;
      pong.set();
    }
  }};
  int in_turn = 0;
  for (int i = 0; i < 2'000; ++i) {
    ping.set();
    pong.wait();
    if (value == i + 1) ++in_turn;
  }
  other.join();
  CHECK(in_turn == 2'000);
}

TEST_CASE("auto_reset_event: who returned from a wait may destroy it", "[auto_reset_event][hazard-07][hazard-12][race-03]") {
  sync_testing::destroy_after_wait<auto_reset_event>(
      20'000, [](auto_reset_event& e) { e.wait(); },
      [](auto_reset_event& e, int i) {
        if (i % 16 == 0) until([&] { return e.waiters() == 1; });
        e.set();
      });
}

}  // namespace
