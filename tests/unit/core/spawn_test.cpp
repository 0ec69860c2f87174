#include <penstock/core/spawn.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>

#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "support.hpp"

using core_test::census;
using core_test::counted;
using core_test::pile;
using penstock::errc;
using penstock::manual_executor;
using penstock::result;
using penstock::spawn;
using penstock::task;

namespace {

task<int> give(int value) { co_return value; }
task<std::unique_ptr<int>> give_pointer() { co_return std::make_unique<int>(4); }
task<int&> give_reference(int& i) { co_return i; }
task<> fail() {
  throw std::runtime_error{"no luck"};
  co_return;
}

task<result<void>> take(pile<>& gate, std::atomic<int>& ended, counted) {
  const result<void> r = co_await gate.async_take();
  ++ended;
  co_return r;
}

task<int> join_inside(penstock::spawned<int> child) {
  const int value = co_await std::move(child);
  co_return value + 1;
}

task<> join_failure() { co_await spawn(fail()); }

task<> stop_while_joining(pile<>& gate, std::atomic<int>& ended, census& c, bool& joined) {
  auto child = spawn(take(gate, ended, counted{c}));
  static_cast<void>(co_await std::move(child));
  joined = true;
}

// Awaits the coroutine of a handle and then destroys the handle.
task<> join_and_drop(std::optional<penstock::spawned<result<void>>>& child, bool& dropped) {
  static_cast<void>(co_await std::move(*child));
  child.reset();
  dropped = true;
}

// Registers a callback before that of its wait: a stop request calls it after that one.
task<result<void>> take_with_callback(pile<>& gate, bool& called) {
  auto token = co_await penstock::this_task::get_stop_token();
  const std::stop_callback note{std::exchange(token, {}), [&called] { called = true; }};
  const result<void> r = co_await gate.async_take();
  co_return r;
}

// Blocks inside a coroutine, until others end that are queued behind it.
task<int> block_inside(pile<>& gate, std::atomic<int>& ended, census& c) {
  int sum = penstock::sync_wait(give(1));
  auto two = spawn(give(2));
  sum += two.result();
  {
    auto stopped = spawn(take(gate, ended, counted{c}));
  }
  co_return sum;
}

}  // namespace

TEST_CASE("spawn: begins at once, and gives the value", "[spawn]") {
  auto five = spawn(give(5));
  CHECK(five.done());
  CHECK(five.result() == 5);
  CHECK(*spawn(give_pointer()).result() == 4);
  int i = 0;
  CHECK(&spawn(give_reference(i)).result() == &i);
}

TEST_CASE("spawn: gives the exception", "[spawn]") {
  auto failing = spawn(fail());
  CHECK(failing.done());
  failing.wait();
  CHECK_THROWS_WITH(failing.result(), "no luck");
}

TEST_CASE("spawn: is not done while the coroutine waits", "[spawn]") {
  census c;
  pile<> gate;
  std::atomic<int> ended = 0;
  {
    auto waiting = spawn(take(gate, ended, counted{c}));
    CHECK_FALSE(waiting.done());
    gate.give();
    CHECK(waiting.done());
    CHECK(waiting.result().has_value());
  }
  CHECK(c.living == 0);
}

TEST_CASE("spawn: takes any operation that can be awaited", "[spawn]") {
  pile<> gate;
  auto waiting = spawn(gate.async_take());
  CHECK(gate.waiters() == 1);
  gate.give();
  CHECK(waiting.result().has_value());
}

TEST_CASE("spawn: request_stop ends the waits of the coroutine", "[spawn]") {
  census c;
  pile<> gate;
  std::atomic<int> ended = 0;
  auto waiting = spawn(take(gate, ended, counted{c}));
  waiting.request_stop();
  REQUIRE(waiting.done());
  CHECK(waiting.result().error() == errc::cancelled);
  CHECK(gate.waiters() == 0);
}

TEST_CASE("spawn: the handle may go inside its own stop request", "[spawn][hazard-14]") {
  pile<> gate;
  bool called = false;
  bool dropped = false;
  std::optional<penstock::spawned<result<void>>> child;
  child.emplace(spawn(take_with_callback(gate, called)));
  auto parent = spawn(join_and_drop(child, dropped));
  child->request_stop();  // ends the child, whose end resumes the parent; a sanitizer sees what is touched after that
  CHECK(dropped);
  CHECK_FALSE(child.has_value());
  CHECK(parent.done());
}

TEST_CASE("spawn: the end of the handle requests stop and waits", "[spawn]") {
  census c;
  pile<> gate;
  std::atomic<int> ended = 0;
  core_test::loop_thread loop;
  for (int i = 0; i < 200; ++i) {
    {
      auto waiting = spawn(loop, take(gate, ended, counted{c}));
      if (i % 2 == 0) core_test::yield_until([&] { return gate.waiters() == 1; });
    }
    REQUIRE(ended == i + 1);
    REQUIRE(c.living == 0);
    REQUIRE(gate.waiters() == 0);
  }
}

TEST_CASE("spawn: assigning to a handle ends what it held", "[spawn]") {
  census c;
  pile<> gate;
  std::atomic<int> ended = 0;
  auto waiting = spawn(take(gate, ended, counted{c}));
  waiting = spawn(take(gate, ended, counted{c}));
  CHECK(ended == 1);
  CHECK(c.living == 1);
  auto moved = std::move(waiting);
  CHECK(gate.waiters() == 1);
  gate.give();
  CHECK(moved.done());
}

TEST_CASE("spawn: runs in the context, when that runs", "[spawn]") {
  manual_executor loop;
  auto five = spawn(loop, give(5));
  CHECK_FALSE(five.done());
  CHECK(loop.run_all() == 1);
  CHECK(five.done());
  CHECK(five.result() == 5);
  auto six = spawn(loop.get_scheduler(), give(6));
  loop.run_all();
  CHECK(six.result() == 6);
}

TEST_CASE("spawn: a handle can be awaited", "[spawn]") {
  CHECK(penstock::sync_wait(join_inside(spawn(give(1)))) == 2);
  CHECK_THROWS_WITH(penstock::sync_wait(join_failure()), "no luck");
  core_test::loop_thread loop;
  CHECK(penstock::sync_wait(join_inside(spawn(loop, give(1)))) == 2);
}

TEST_CASE("spawn: awaiting a handle is not cut short by a stop request", "[spawn]") {
  census c;
  pile<> gate;
  std::atomic<int> ended = 0;
  bool joined = false;
  auto parent = spawn(stop_while_joining(gate, ended, c, joined));
  parent.request_stop();
  CHECK_FALSE(joined);
  CHECK(gate.waiters() == 1);
  gate.give();
  CHECK(joined);
  CHECK(parent.done());
}

TEST_CASE("spawn: the frame may go as soon as the waiter knows of the end", "[spawn][hazard-12]") {
  core_test::loop_thread loop;
  census c;
  pile<> gate;
  std::atomic<int> ended = 0;
  for (int i = 0; i < 2'000; ++i) {
    gate.give();
    auto waiting = spawn(loop, take(gate, ended, counted{c}));
    if (i % 2 == 0) {
      core_test::yield_until([&] { return waiting.done(); });
    } else {
      waiting.wait();
    }
  }
  CHECK(ended == 2'000);
  CHECK(c.living == 0);
}

TEST_CASE("spawn: a coroutine that blocks until one ends that is queued behind it runs that one", "[spawn]") {
  census c;
  pile<> gate;
  std::atomic<int> ended = 0;
  CHECK(penstock::sync_wait(block_inside(gate, ended, c)) == 3);
  CHECK(ended == 1);
  CHECK(c.living == 0);
}
