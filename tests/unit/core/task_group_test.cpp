#include <penstock/core/task_group.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/spawn.hpp>
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
using penstock::sync_wait;
using penstock::task;
using penstock::task_group;

namespace {

task<int> give(int value) { co_return value; }

task<> fail(std::string why) {
  throw std::runtime_error{why};
  co_return;
}

// Waits for the gate; counts how it ended.
struct ends {
  std::atomic<int> passed = 0;
  std::atomic<int> cancelled = 0;
};
task<> take(pile<>& gate, ends& e, counted) {
  const result<void> r = co_await gate.async_take();
  ++(r ? e.passed : e.cancelled);
}

task<> take_and_fail(pile<>& gate, std::string why) {
  static_cast<void>(co_await gate.async_take());
  throw std::runtime_error{why};
}

task<> ignore_stop(pile<>& gate, ends& e) {
  static_cast<void>(co_await (gate.async_take() | penstock::with_stop({})));
  ++e.passed;
}

task<> split(task_group& group, int depth, std::atomic<int>& leaves) {
  if (depth == 0) {
    ++leaves;
    co_return;
  }
  group.spawn(split(group, depth - 1, leaves));
  group.spawn(split(group, depth - 1, leaves));
}

task<> join(task_group& group, bool& joined) {
  co_await group.join();
  joined = true;
}

// A parent that owns its group, as most do.
task<> own_group(pile<>& gate, ends& e, census& c, int children) {
  task_group group;
  for (int i = 0; i < children; ++i) group.spawn(take(gate, e, counted{c}));
  co_await group.join();
}

// Forgets to join, and fails: the end of the group blocks inside the coroutine.
task<> forget_to_join(pile<>& gate, ends& e, census& c) {
  task_group group;
  group.spawn(take(gate, e, counted{c}));
  co_await give(0);
  throw std::runtime_error{"left early"};
}
task<> wait_inside(std::atomic<int>& leaves) {
  task_group group;
  group.spawn(split(group, 5, leaves));
  group.wait();
  co_return;
}

// A parameter that looks at what the parent owns when the child's frame is destroyed.
struct last_look {
  int* at;
  explicit last_look(int& i) noexcept : at{&i} {}
  last_look(last_look&& other) noexcept : at{std::exchange(other.at, nullptr)} {}
  last_look& operator=(last_look&&) = delete;
  ~last_look() {
    if (at == nullptr) return;
    for (int i = 0; i < 20; ++i) std::this_thread::yield();  // a join that came too early would get ahead
    ++*at;
  }
};
task<> look_last(last_look) { co_return; }

// Frees what the child refers to as soon as it is joined.
task<int> refer_to_parent(core_test::loop_thread& loop) {
  auto value = std::make_unique<int>(0);
  task_group group{loop};
  group.spawn(look_last(last_look{*value}));
  co_await group.join();
  const int looks = *value;
  value.reset();
  co_return looks;
}

// On its way out it uses the group again.
struct spawner {
  task_group* group;
  std::atomic<int>* leaves;
  spawner(task_group& g, std::atomic<int>& l) : group{&g}, leaves{&l} {}
  spawner(const spawner&) = delete;
  spawner& operator=(const spawner&) = delete;
  ~spawner() { group->spawn(split(*group, 0, *leaves)); }
};
task<> spawn_while_destroyed(task_group& group, std::atomic<int>& leaves) {
  const spawner last{group, leaves};
  co_return;
}

}  // namespace

TEST_CASE("task_group: joining a group without children does not wait", "[task_group]") {
  task_group group;
  CHECK(group.running() == 0);
  group.wait();
  sync_wait(group.join());
  CHECK_FALSE(group.get_stop_token().stop_requested());
}

TEST_CASE("task_group: children run at the same time, and the join waits for all of them", "[task_group]") {
  census c;
  pile<> gate;
  ends e;
  task_group group;
  for (int i = 0; i < 3; ++i) group.spawn(take(gate, e, counted{c}));
  group.spawn(give(5));  // its value is ignored
  CHECK(group.running() == 3);
  CHECK(gate.waiters() == 3);
  bool joined = false;
  auto joining = spawn(join(group, joined));
  gate.give();
  gate.give();
  CHECK(group.running() == 1);
  CHECK_FALSE(joined);
  gate.give();
  CHECK(joined);
  CHECK(group.running() == 0);
  CHECK(e.passed == 3);
}

TEST_CASE("task_group: a child's frame is freed at its end, not at the join", "[task_group][hazard-28]") {
  census c;
  pile<> gate;
  ends e;
  task_group group;
  for (int i = 0; i < 100; ++i) {
    group.spawn(take(gate, e, counted{c}));
    CHECK(c.living == 1);
    gate.give();
    CHECK(c.living == 0);
  }
  group.wait();
  CHECK(e.passed == 100);
}

TEST_CASE("task_group: takes any operation that can be awaited", "[task_group]") {
  pile<> gate;
  task_group group;
  group.spawn(gate.async_take());
  CHECK(group.running() == 1);
  gate.give();
  group.wait();
  CHECK(gate.units() == 0);
}

TEST_CASE("task_group: the first exception stops the siblings and is thrown by the join, when all have ended", "[task_group]") {
  census c;
  pile<> gate;
  pile<> trigger;
  pile<> slow;
  ends e;
  task_group group;
  group.spawn(take(gate, e, counted{c}));
  group.spawn(take_and_fail(trigger, "first"));
  group.spawn(take_and_fail(gate, "second"));  // fails because it is stopped
  group.spawn(ignore_stop(slow, e));
  bool joined = false;
  auto joining = spawn(join(group, joined));
  trigger.give();
  CHECK(group.get_stop_token().stop_requested());
  CHECK(e.cancelled == 1);
  CHECK(group.running() == 1);
  CHECK_FALSE(joining.done());
  slow.give();
  REQUIRE(joining.done());
  CHECK_THROWS_WITH(joining.result(), "first");
  CHECK_FALSE(joined);
  CHECK(c.living == 0);
  group.wait();  // the exception was thrown once
}

TEST_CASE("task_group: a child that fails while it is spawned does not throw there", "[task_group]") {
  task_group group;
  group.spawn(fail("at once"));
  CHECK(group.running() == 0);
  CHECK_THROWS_WITH(group.wait(), "at once");
  group.spawn(fail("again"));
  CHECK_THROWS_WITH(group.wait(), "again");
}

TEST_CASE("task_group: children may spawn siblings", "[task_group]") {
  std::atomic<int> leaves = 0;
  task_group group;
  group.spawn(split(group, 10, leaves));
  group.wait();
  CHECK(leaves == 1'024);
}

TEST_CASE("task_group: children that spawn siblings while the group is joined on several threads", "[task_group]") {
  core_test::loop_thread loop;
  for (int i = 0; i < 30; ++i) {
    std::atomic<int> leaves = 0;
    task_group group{loop};
    group.spawn(split(group, 6, leaves));
    group.wait();
    REQUIRE(leaves == 64);
  }
}

TEST_CASE("task_group: what a frame destroys may spawn a sibling", "[task_group][hazard-17]") {
  std::atomic<int> leaves = 0;
  task_group group;
  for (int i = 0; i < 10; ++i) group.spawn(spawn_while_destroyed(group, leaves));
  group.wait();
  CHECK(leaves == 10);
}

TEST_CASE("task_group: request_stop reaches every child, and a join that waits ends", "[task_group][hazard-09]") {
  census c;
  pile<> gate;
  ends e;
  task_group group;
  for (int i = 0; i < 3; ++i) group.spawn(take(gate, e, counted{c}));
  bool joined = false;
  auto joining = spawn(join(group, joined));  // drain ...
  CHECK_FALSE(joined);
  group.request_stop();  // ... then abort
  CHECK(joined);
  CHECK(e.cancelled == 3);
  group.request_stop();
}

TEST_CASE("task_group: a child that is spawned after a stop request begins, and its waits end at once", "[task_group]") {
  census c;
  pile<> gate;
  gate.give();
  ends e;
  task_group group;
  group.request_stop();
  group.spawn(take(gate, e, counted{c}));
  CHECK(e.cancelled == 1);
  CHECK(gate.units() == 1);
}

TEST_CASE("task_group: the parent's stop token stops the children", "[task_group]") {
  census c;
  pile<> gate;
  ends e;
  std::stop_source source;
  manual_executor loop;
  task_group inline_group{source.get_token()};
  task_group loop_group{loop, source.get_token()};
  inline_group.spawn(take(gate, e, counted{c}));
  loop_group.spawn(take(gate, e, counted{c}));
  loop.run_all();
  source.request_stop();
  CHECK(e.cancelled == 1);
  loop.run_all();
  CHECK(e.cancelled == 2);
  task_group late{source.get_token()};
  CHECK(late.get_stop_token().stop_requested());
}

TEST_CASE("task_group: a stop request to the coroutine that joins reaches the children, and the join waits for them",
          "[task_group]") {
  census c;
  pile<> gate;
  pile<> slow;
  ends e;
  task_group group;
  group.spawn(take(gate, e, counted{c}));
  group.spawn(ignore_stop(slow, e));
  bool joined = false;
  auto joining = spawn(join(group, joined));
  joining.request_stop();
  CHECK(e.cancelled == 1);
  CHECK_FALSE(joined);
  slow.give();
  CHECK(joined);
}

TEST_CASE("task_group: a stop request may end the children, the join and the group itself inside its own call",
          "[task_group][hazard-14]") {
  census c;
  pile<> gate;
  ends e;
  auto parent = spawn(own_group(gate, e, c, 3));
  CHECK(gate.waiters() == 3);
  parent.request_stop();
  CHECK(parent.done());
  CHECK(e.cancelled == 3);
  CHECK(c.living == 0);

  std::stop_source source;
  {
    task_group outer{source.get_token()};
    outer.spawn(own_group(gate, e, c, 3));
    outer.spawn(own_group(gate, e, c, 3));
    source.request_stop();
    CHECK(outer.running() == 0);
  }
  CHECK(e.cancelled == 9);
}

TEST_CASE("task_group: the destructor requests stop and waits for the children", "[task_group]") {
  census c;
  pile<> gate;
  ends e;
  core_test::loop_thread loop;
  for (int i = 0; i < 100; ++i) {
    {
      task_group group{loop};
      group.spawn(take(gate, e, counted{c}));
      group.spawn(take(gate, e, counted{c}));
      if (i % 2 == 0) core_test::yield_until([&] { return gate.waiters() == 2; });
    }
    REQUIRE(e.cancelled == 2 * (i + 1));
    REQUIRE(c.living == 0);
  }
  {
    task_group group;
    group.spawn(fail("nobody joins"));
  }
}

TEST_CASE("task_group: children run in its context", "[task_group]") {
  census c;
  pile<> gate;
  ends e;
  manual_executor loop;
  task_group group{loop};
  group.spawn(take(gate, e, counted{c}));
  CHECK(gate.waiters() == 0);
  CHECK(group.running() == 1);
  loop.run_all();
  CHECK(gate.waiters() == 1);
  gate.give();
  CHECK(e.passed == 0);
  loop.run_all();
  CHECK(e.passed == 1);
  group.wait();
}

TEST_CASE("task_group: what a child refers to need live only until the join", "[task_group][hazard-12]") {
  core_test::loop_thread loop;
  for (int i = 0; i < 300; ++i) REQUIRE(sync_wait(refer_to_parent(loop)) == 1);
}

TEST_CASE("task_group: children that end on several threads at once, failing or not, are joined exactly once", "[task_group]") {
  core_test::loop_thread one;
  core_test::loop_thread two;
  census c;
  ends e;
  int failures = 0;
  for (int i = 0; i < 300; ++i) {
    pile<> gate;
    pile<> trigger;
    {
      std::optional<task_group> group{std::in_place, one};
      for (int k = 0; k < 4; ++k)
        group->spawn(take(gate, e, counted{c}) | penstock::via(k % 2 == 0 ? one.get_scheduler() : two.get_scheduler()));
      if (i % 3 == 0) group->spawn(take_and_fail(trigger, "failed") | penstock::via(two));
      std::jthread giver{[&] {
        for (int k = 0; k < 4; ++k) gate.give();
      }};
      trigger.give();
      try {
        group->wait();
        group.reset();  // at once: nothing may touch it any more
      } catch (const std::runtime_error&) {
        ++failures;
      }
    }
    REQUIRE(c.living == 0);
    REQUIRE(e.passed + e.cancelled == 4 * (i + 1));
    REQUIRE(gate.waiters() == 0);
  }
  CHECK(failures == 100);
}

TEST_CASE("task_group: a coroutine that leaves without a join stops and awaits its children, where they run too",
          "[task_group]") {
  census c;
  pile<> gate;
  ends e;
  CHECK_THROWS_WITH(sync_wait(forget_to_join(gate, e, c)), "left early");
  CHECK(e.cancelled == 1);
  CHECK(c.living == 0);
  std::atomic<int> leaves = 0;
  sync_wait(wait_inside(leaves));
  CHECK(leaves == 32);
}
