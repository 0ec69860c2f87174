#include <penstock/core/modifiers.hpp>

#include <chrono>
#include <stop_token>
#include <thread>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using core_test::pile;
using penstock::errc;
using penstock::manual_clock;
using penstock::manual_executor;
using penstock::result;
using penstock::spawn;
using penstock::sync_wait;
using penstock::task;
using penstock::via;
using penstock::with_deadline;
using penstock::with_stop;
using penstock::with_timeout;

namespace {

task<result<void>> take_via(pile<>& gate, manual_executor& other, std::thread::id& where) {
  const result<void> r = co_await (gate.async_take() | via(other));
  where = std::this_thread::get_id();
  co_return r;
}

task<result<void>> take_where(core_test::loop_thread& loop, pile<>& gate, penstock::detail::wait_options options,
                              std::thread::id& where) {
  auto operation = gate.async_take() | via(loop);
  operation.options().timeout = options.timeout;
  operation.options().stop = options.stop;
  const result<void> r = co_await std::move(operation);
  where = std::this_thread::get_id();
  co_return r;
}

// Takes twice: the second time it runs in the context already.
task<std::size_t> take_twice(pile<>& gate, manual_executor& other) {
  static_cast<void>(co_await (gate.async_take() | via(other)));
  static_cast<void>(co_await (gate.async_take() | via(other)));
  co_return other.size();
}

}  // namespace

TEST_CASE("modifiers: of timeouts and deadlines the last one counts", "[modifiers]") {
  manual_clock clock;
  pile<> gate;
  const penstock::deadline soon{clock.now() + 1ms, clock};
  auto forever = spawn(gate.async_take() | with_deadline(soon) | with_timeout(std::chrono::hours::max()));
  auto later = spawn(gate.async_take() | with_deadline(soon) | with_timeout(5ms, clock));
  auto sooner = spawn(gate.async_take() | with_timeout(5ms, clock) | with_deadline(soon));
  clock.advance(1ms);
  CHECK_FALSE(forever.done());
  CHECK_FALSE(later.done());
  CHECK(sooner.done());
  clock.advance(4ms);
  CHECK_FALSE(forever.done());
  CHECK(later.done());
  gate.give();
  CHECK(forever.result());
}

TEST_CASE("modifiers: via moves the coroutine even if the wait is over at once", "[modifiers][hazard-15]") {
  core_test::loop_thread loop;
  pile<> gate;
  std::thread::id where;
  penstock::detail::wait_options options;
  SECTION("granted") {
    gate.give();
    CHECK(sync_wait(take_where(loop, gate, options, where)).has_value());
  }
  SECTION("timed out") {
    options.timeout = -1;
    CHECK(sync_wait(take_where(loop, gate, options, where)).error() == errc::timeout);
  }
  SECTION("cancelled") {
    std::stop_source stop;
    stop.request_stop();
    options.stop = stop.get_token();
    CHECK(sync_wait(take_where(loop, gate, options, where)).error() == errc::cancelled);
  }
  SECTION("granted, with a timer and a stop callback that are not needed any more") {
    std::stop_source stop;
    options.timeout = 3'600'000'000'000;
    options.stop = stop.get_token();
    gate.give();
    CHECK(sync_wait(take_where(loop, gate, options, where)).has_value());
  }
  CHECK(where == loop.id());
  CHECK(gate.waiters() == 0);
}

TEST_CASE("modifiers: via a context that the coroutine runs in already goes on without a detour", "[modifiers]") {
  manual_executor loop;
  pile<> gate;
  gate.give();
  gate.give();
  auto taking = spawn(take_twice(gate, loop));
  CHECK_FALSE(taking.done());
  CHECK(loop.run_all() == 1);
  REQUIRE(taking.done());
  CHECK(taking.result() == 0);
}

TEST_CASE("modifiers: with_timeout ends a wait at its time and not before", "[modifiers]") {
  manual_clock clock;
  pile<> gate;
  auto waiting = spawn(gate.async_take() | with_timeout(10ms, clock));
  clock.advance(10ms - 1ns);
  CHECK_FALSE(waiting.done());
  clock.advance(1ns);
  REQUIRE(waiting.done());
  CHECK(waiting.result().error() == errc::timeout);
  CHECK(gate.waiters() == 0);
}

TEST_CASE("modifiers: with_deadline ends a wait at a point in time", "[modifiers]") {
  manual_clock clock;
  pile<> gate;
  auto operation = gate.async_take() | with_deadline({clock.now() + 10ms, clock});
  clock.advance(4ms);  // before the wait begins: a deadline does not move
  auto waiting = spawn(std::move(operation));
  CHECK(clock.next_timer() == clock.now() + 6ms);
  clock.advance(6ms);
  CHECK(waiting.result().error() == errc::timeout);
}

TEST_CASE("modifiers: a timeout counts from when the wait begins", "[modifiers]") {
  manual_clock clock;
  pile<> gate;
  auto operation = gate.async_take() | with_timeout(10ms, clock);
  clock.advance(1h);
  auto waiting = spawn(std::move(operation));
  CHECK(clock.next_timer() == clock.now() + 10ms);
  gate.give();
  CHECK(waiting.result().has_value());
  CHECK(clock.next_timer() == manual_clock::time_point::max());
}

TEST_CASE("modifiers: a timeout of zero takes what is free and never waits", "[modifiers]") {
  manual_clock clock;
  pile<> gate;
  CHECK(sync_wait(gate.async_take() | with_timeout(0s)).error() == errc::timeout);
  CHECK(sync_wait(gate.async_take() | with_timeout(-1h, clock)).error() == errc::timeout);
  CHECK(sync_wait(gate.async_take() | with_deadline({clock.now(), clock})).error() == errc::timeout);
  gate.give();
  CHECK(sync_wait(gate.async_take() | with_timeout(0s)).has_value());
  gate.give();
  CHECK(sync_wait(gate.async_take() | with_timeout(-1h, clock)).has_value());
  CHECK(gate.units() == 0);
}

TEST_CASE("modifiers: a timeout that overflows means never", "[modifiers][hazard-22]") {
  manual_clock clock;
  pile<> gate;
  auto by_hand = spawn(gate.async_take() | with_timeout(std::chrono::hours::max(), clock));
  auto steady = spawn(gate.async_take() | with_timeout(std::chrono::nanoseconds::max()));
  CHECK(clock.next_timer() == manual_clock::time_point::max());
  clock.advance(24h * 365);
  CHECK_FALSE(by_hand.done());
  CHECK_FALSE(steady.done());
  gate.give();
  gate.give();
  CHECK(by_hand.result().has_value());
  CHECK(steady.result().has_value());
}

TEST_CASE("modifiers: with_stop ends a wait in place of the coroutine's token", "[modifiers]") {
  pile<> gate;
  std::stop_source own;
  auto waiting = spawn(gate.async_take() | with_stop(own.get_token()));
  waiting.request_stop();
  CHECK_FALSE(waiting.done());
  own.request_stop();
  REQUIRE(waiting.done());
  CHECK(waiting.result().error() == errc::cancelled);
  auto immune = spawn(gate.async_take() | with_stop({}));
  immune.request_stop();
  CHECK_FALSE(immune.done());
  gate.give();
  CHECK(immune.result().has_value());
}

TEST_CASE("modifiers: a stop that was requested before takes nothing, even if it could be had", "[modifiers]") {
  manual_clock clock;
  pile<> gate;
  gate.give();
  std::stop_source own;
  own.request_stop();
  CHECK(sync_wait(gate.async_take() | with_stop(own.get_token())).error() == errc::cancelled);
  CHECK(sync_wait(gate.async_take() | with_timeout(0s, clock) | with_stop(own.get_token())).error() == errc::cancelled);
  CHECK(gate.units() == 1);
}

TEST_CASE("modifiers: via makes the coroutine go on in another context", "[modifiers]") {
  manual_executor home;
  manual_executor other;
  pile<> gate;
  std::thread::id where;
  auto waiting = spawn(home, take_via(gate, other, where));
  home.run_all();
  gate.give();
  CHECK(home.run_all() == 0);
  CHECK(other.size() == 1);
  std::thread::id other_thread;
  std::jthread{[&] {
    other_thread = std::this_thread::get_id();
    other.run_all();
  }}.join();
  home.run_all();
  CHECK(waiting.result().has_value());
  CHECK(where == other_thread);
}

TEST_CASE("modifiers: of several of one kind the last one counts", "[modifiers]") {
  manual_clock early;
  manual_clock late;
  manual_executor first;
  manual_executor second;
  pile<> gate;
  std::stop_source ignored;
  std::stop_source heard;
  auto waiting = spawn(gate.async_take() | with_timeout(1ms, early) | with_stop(ignored.get_token()) | via(first) |
                       with_timeout(20ms, late) | with_stop(heard.get_token()) | via(second));
  early.advance(1h);
  ignored.request_stop();
  CHECK(gate.waiters() == 1);
  late.advance(20ms);
  CHECK(gate.waiters() == 0);
  CHECK(first.run_all() == 0);
  CHECK(second.run_all() == 1);
  CHECK(waiting.result().error() == errc::timeout);

  auto deadline_last = spawn(gate.async_take() | with_timeout(1ms, early) | with_deadline({late.now() + 1ms, late}));
  early.advance(1h);
  CHECK_FALSE(deadline_last.done());
  late.advance(1ms);
  CHECK(deadline_last.done());
  auto timeout_last = spawn(gate.async_take() | with_deadline({late.now() + 1ms, late}) | with_timeout(1ms, early));
  late.advance(1h);
  CHECK_FALSE(timeout_last.done());
  early.advance(1ms);
  CHECK(timeout_last.done());
}

TEST_CASE("modifiers: combined, whatever comes first ends the wait", "[modifiers]") {
  manual_clock clock;
  manual_executor loop;
  for (const int first : {0, 1, 2}) {
    pile<> gate;
    std::stop_source source;
    auto waiting = spawn(gate.async_take() | with_timeout(10ms, clock) | with_stop(source.get_token()) | via(loop));
    if (first == 0) gate.give();
    if (first == 1) clock.advance(10ms);
    if (first == 2) source.request_stop();
    // The others come too late.
    clock.advance(10ms);
    source.request_stop();
    CHECK_FALSE(waiting.done());
    CHECK(loop.run_all() == 1);
    const auto r = waiting.result();
    CHECK(r.has_value() == (first == 0));
    if (first == 1) CHECK(r.error() == errc::timeout);
    if (first == 2) CHECK(r.error() == errc::cancelled);
  }
}

TEST_CASE("modifiers: an operation that is dropped has done nothing", "[modifiers]") {
  manual_clock clock;
  pile<> gate;
  {
    auto operation = gate.async_take() | with_timeout(1ms, clock);
    static_cast<void>(operation);
  }
  CHECK(gate.waiters() == 0);
  CHECK(clock.next_timer() == manual_clock::time_point::max());
}
