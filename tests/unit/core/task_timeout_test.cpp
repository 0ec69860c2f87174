#include <chrono>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <type_traits>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>

#include "../../support/catch.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using core_test::census;
using core_test::counted;
using core_test::pile;
using penstock::errc;
using penstock::manual_clock;
using penstock::result;
using penstock::task;
using penstock::with_deadline;
using penstock::with_stop;
using penstock::with_timeout;

namespace {

// What the tasks below wait for, and what they saw.
struct scene {
  manual_clock clock;
  pile<> gate;
  census frames;
  int ended = 0;
};

task<result<int>> take(scene& s, counted) {
  const result<void> r = co_await s.gate.async_take();
  ++s.ended;
  if (!r) co_return r.error();
  co_return 7;
}

task<int> take_or_throw(scene& s, counted) {
  const result<void> r = co_await s.gate.async_take();
  ++s.ended;
  if (!r) throw std::system_error{r.error()};
  co_return 7;
}

task<> take_or_throw_nothing(scene& s) {
  const result<void> r = co_await s.gate.async_take();
  if (!r) throw std::system_error{r.error()};
}

// Takes its time to comply: after the stop request it waits for the second gate, without being stopped.
task<int> comply_slowly(scene& s, pile<>& second) {
  static_cast<void>(co_await s.gate.async_take());
  static_cast<void>(co_await (second.async_take() | with_stop({})));
  ++s.ended;
  co_return 9;
}

task<int> throw_other(scene& s) {
  static_cast<void>(co_await s.gate.async_take());
  throw std::runtime_error{"broken"};
}

task<int> throw_cancelled() {
  throw std::system_error{make_error_code(errc::cancelled)};
  co_return 0;
}

task<bool> stop_requested() {
  const std::stop_token stop = co_await penstock::this_task::get_stop_token();
  co_return stop.stop_requested();
}

task<std::unique_ptr<int>> give_pointer() { co_return std::make_unique<int>(5); }

}  // namespace

TEST_CASE("task timeout: a result stays a result, other values become one", "[task][timeout]") {
  manual_clock clock;
  STATIC_REQUIRE(std::is_same_v<decltype(take_or_throw(std::declval<scene&>(), std::declval<counted>()) | with_timeout(1s)),
                                task<result<int>>>);
  STATIC_REQUIRE(std::is_same_v<decltype(take(std::declval<scene&>(), std::declval<counted>()) | with_timeout(1s, clock)),
                                task<result<int>>>);
  STATIC_REQUIRE(std::is_same_v<decltype(take_or_throw_nothing(std::declval<scene&>()) | with_deadline({})), task<result<void>>>);
}

TEST_CASE("task timeout: what comes in time is the value, and no timer is left", "[task][timeout]") {
  scene s;
  {
    auto waiting = penstock::spawn(take(s, counted{s.frames}) | with_timeout(10ms, s.clock));
    CHECK(s.clock.next_timer() == s.clock.now() + 10ms);
    s.clock.advance(9ms);
    CHECK_FALSE(waiting.done());
    s.gate.give();
    REQUIRE(waiting.done());
    CHECK(waiting.result().value() == 7);
    CHECK(s.clock.next_timer() == manual_clock::time_point::max());
  }
  CHECK(s.frames.living == 0);
  auto pointer = penstock::sync_wait(give_pointer() | with_timeout(1s, s.clock));
  CHECK(**pointer == 5);
}

TEST_CASE("task timeout: at the deadline the task is stopped, and its result is timeout", "[task][timeout]") {
  scene s;
  {
    auto by_result = penstock::spawn(take(s, counted{s.frames}) | with_timeout(10ms, s.clock));
    auto by_throw = penstock::spawn(take_or_throw(s, counted{s.frames}) | with_deadline({s.clock.now() + 10ms, s.clock}));
    auto nothing = penstock::spawn(take_or_throw_nothing(s) | with_timeout(10ms, s.clock));
    s.clock.advance(10ms - 1ns);
    CHECK_FALSE(by_result.done());
    CHECK_FALSE(by_throw.done());
    s.clock.advance(1ns);  // the tasks end inside the timer's function
    REQUIRE(by_result.done());
    REQUIRE(by_throw.done());
    REQUIRE(nothing.done());
    CHECK(by_result.result().error() == errc::timeout);
    CHECK(by_throw.result().error() == errc::timeout);
    CHECK(nothing.result().error() == errc::timeout);
    CHECK(s.ended == 2);
    CHECK(s.gate.waiters() == 0);
  }
  CHECK(s.frames.living == 0);
}

TEST_CASE("task timeout: the task is waited for, and what it delivers late counts", "[task][timeout]") {
  scene s;
  pile<> second;
  auto waiting = penstock::spawn(comply_slowly(s, second) | with_timeout(10ms, s.clock));
  s.clock.advance(1h);
  CHECK_FALSE(waiting.done());
  CHECK(s.gate.waiters() == 0);
  CHECK(second.waiters() == 1);
  second.give();
  REQUIRE(waiting.done());
  CHECK(waiting.result().value() == 9);
}

TEST_CASE("task timeout: other failures pass as they are", "[task][timeout]") {
  scene s;
  auto waiting = penstock::spawn(throw_other(s) | with_timeout(10ms, s.clock));
  s.clock.advance(10ms);
  CHECK_THROWS_WITH(waiting.result(), "broken");
}

TEST_CASE("task timeout: cancelled for another reason stays cancelled", "[task][timeout]") {
  scene s;
  auto waiting = penstock::spawn(take(s, counted{s.frames}) | with_timeout(10ms, s.clock));
  waiting.request_stop();
  REQUIRE(waiting.done());
  CHECK(waiting.result().error() == errc::cancelled);
  auto throwing = penstock::spawn(throw_cancelled() | with_timeout(10ms, s.clock));
  CHECK_THROWS_AS(throwing.result(), std::system_error);
}

TEST_CASE("task timeout: a stop request that came before the deadline decides, even when the task ends after it",
          "[task][timeout]") {
  scene s;
  penstock::manual_executor loop;
  auto waiting = penstock::spawn(loop, take(s, counted{s.frames}) | with_timeout(10ms, s.clock));
  loop.run_all();
  waiting.request_stop();
  s.clock.advance(20ms);
  CHECK_FALSE(waiting.done());
  loop.run_all();
  CHECK(waiting.result().error() == errc::cancelled);
}

TEST_CASE("task timeout: a token of the task's own keeps stopping it, on either side of the timeout", "[task][timeout]") {
  scene s;
  std::stop_source before;
  std::stop_source after;
  auto first = penstock::spawn(take(s, counted{s.frames}) | with_stop(before.get_token()) | with_timeout(10ms, s.clock));
  auto second = penstock::spawn(take(s, counted{s.frames}) | with_timeout(10ms, s.clock) | with_stop(after.get_token()));
  before.request_stop();
  CHECK(first.done());
  CHECK_FALSE(second.done());
  after.request_stop();
  REQUIRE(second.done());
  CHECK(first.result().error() == errc::cancelled);
  CHECK(second.result().error() == errc::cancelled);
}

TEST_CASE("task timeout: with a timeout of zero the task begins with stop requested", "[task][timeout]") {
  scene s;
  CHECK(*penstock::sync_wait(stop_requested() | with_timeout(0s)));
  CHECK(*penstock::sync_wait(stop_requested() | with_timeout(-1s, s.clock)));
  CHECK(*penstock::sync_wait(stop_requested() | with_deadline({s.clock.now(), s.clock})));
  s.gate.give();
  CHECK(penstock::sync_wait(take(s, counted{s.frames}) | with_timeout(0s)).error() == errc::timeout);
  CHECK(s.gate.units() == 1);
}

TEST_CASE("task timeout: the time counts from when the task begins, and a timeout that overflows means never",
          "[task][timeout][hazard-22]") {
  scene s;
  auto t = take(s, counted{s.frames}) | with_timeout(10ms, s.clock);
  auto forever = take(s, counted{s.frames}) | with_timeout(std::chrono::hours::max(), s.clock);
  s.clock.advance(1h);
  auto waiting = penstock::spawn(std::move(t));
  CHECK(s.clock.next_timer() == s.clock.now() + 10ms);
  s.clock.advance(10ms);
  CHECK(waiting.result().error() == errc::timeout);
  auto patient = penstock::spawn(std::move(forever));
  CHECK(s.clock.next_timer() == manual_clock::time_point::max());
  s.gate.give();
  CHECK(patient.result().value() == 7);
}

TEST_CASE("task timeout: of two the earlier counts", "[task][timeout]") {
  scene s;
  auto inner = penstock::spawn(take(s, counted{s.frames}) | with_timeout(10ms, s.clock) | with_timeout(20ms, s.clock));
  auto outer = penstock::spawn(take(s, counted{s.frames}) | with_timeout(20ms, s.clock) | with_timeout(10ms, s.clock));
  s.clock.advance(10ms);
  REQUIRE(inner.done());
  REQUIRE(outer.done());
  CHECK(inner.result().error() == errc::timeout);
  CHECK(outer.result().error() == errc::timeout);
}

TEST_CASE("task timeout: one that was never awaited leaves nothing behind", "[task][timeout]") {
  scene s;
  {
    auto t = take(s, counted{s.frames}) | with_timeout(10ms, s.clock);
    CHECK(s.frames.living == 1);
  }
  CHECK(s.frames.living == 0);
  CHECK(s.ended == 0);
  CHECK(s.clock.next_timer() == manual_clock::time_point::max());
}

TEST_CASE("task timeout: by default it goes by the steady clock", "[task][timeout]") {
  scene s;
  const auto before = std::chrono::steady_clock::now();
  CHECK(penstock::sync_wait(take(s, counted{s.frames}) | with_timeout(2ms)).error() == errc::timeout);
  CHECK(std::chrono::steady_clock::now() - before >= 2ms);
  CHECK(s.frames.living == 0);
}

TEST_CASE("task timeout: a timer, a stop request and the thing itself from three threads", "[task][timeout]") {
  for (int i = 0; i < 500; ++i) {
    scene s;
    auto waiting = penstock::spawn(take(s, counted{s.frames}) | with_timeout(10ms, s.clock));
    result<int> r = errc::empty;
    {
      std::jthread giver{[&] { s.gate.give(); }};
      std::jthread timer{[&] { s.clock.advance(10ms); }};
      if (i % 2 == 0) waiting.request_stop();
      r = waiting.result();
    }
    if (r) {
      REQUIRE(s.gate.units() == 0);
    } else {
      REQUIRE((r.error() == errc::timeout || r.error() == errc::cancelled));
      REQUIRE(s.gate.units() == 1);
    }
    REQUIRE(s.ended == 1);
  }
}
