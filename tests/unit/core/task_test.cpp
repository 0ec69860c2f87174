#include <penstock/core/task.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/slow.hpp"
#include "support.hpp"

using core_test::census;
using core_test::counted;
using penstock::any_scheduler;
using penstock::manual_executor;
using penstock::sync_wait;
using penstock::task;
using penstock::via;
using penstock::with_stop;

namespace {

task<int> give(int value) { co_return value; }

task<int> note_run(bool& ran, counted) {
  ran = true;
  co_return 1;
}

task<std::unique_ptr<int>> give_pointer(std::unique_ptr<int> p) { co_return p; }

task<int&> give_reference(int& i) { co_return i; }

task<> fail(const char* why) {
  throw std::runtime_error{why};
  co_return;
}

task<std::string> catch_inside(task<> inner) {
  std::string caught;
  try {
    co_await std::move(inner);
  } catch (const std::runtime_error& e) {
    caught = e.what();
  }
  co_return caught;
}

// Has an object in its frame and one among its parameters.
task<> guard(task<> inner, counted c) {
  const counted local{c};
  co_await std::move(inner);
}

task<> give_nothing(int& runs) {
  ++runs;
  co_return;
}

task<std::stop_token> token_here() { co_return co_await penstock::this_task::get_stop_token(); }
task<std::stop_token> token_below() { co_return co_await token_here(); }
task<any_scheduler> scheduler_here() { co_return co_await penstock::this_task::get_scheduler(); }
task<any_scheduler> scheduler_below() { co_return co_await scheduler_here(); }

task<long> sum_of_children(int n) {
  long sum = 0;
  for (int i = 0; i < n; ++i) sum += co_await give(1);
  co_return sum;
}

// How much of the stack a computation used: the addresses of the frames of a function that is called at each level.
struct stack_use {
  std::uintptr_t lowest = std::numeric_limits<std::uintptr_t>::max();
  std::uintptr_t highest = 0;
  [[gnu::noinline]] void look() noexcept {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    lowest = std::min(lowest, here);
    highest = std::max(highest, here);
  }
  [[nodiscard]] std::uintptr_t range() const noexcept { return highest - lowest; }
};

task<long> nest(int levels, stack_use& stack) {
  stack.look();
  if (levels == 0) co_return 0;
  const long below = co_await nest(levels - 1, stack);
  stack.look();
  co_return below + 1;
}

task<long> nest_and_fail(int levels) {
  if (levels == 0) throw std::runtime_error{"bottom"};
  co_return co_await nest_and_fail(levels - 1);
}

task<> note_thread(std::vector<std::thread::id>& seen) {
  seen.push_back(std::this_thread::get_id());
  co_return;
}

task<> wait_elsewhere(core_test::pile<>& gate, std::vector<std::thread::id>& seen) {
  seen.push_back(std::this_thread::get_id());
  static_cast<void>(co_await gate.async_take());
  seen.push_back(std::this_thread::get_id());
}

task<> visit(any_scheduler other, core_test::pile<>& gate, std::vector<std::thread::id>& seen) {
  seen.push_back(std::this_thread::get_id());
  co_await (note_thread(seen) | via(other));
  seen.push_back(std::this_thread::get_id());
  co_await (wait_elsewhere(gate, seen) | via(other));
  seen.push_back(std::this_thread::get_id());
}

task<> stray_and_return(any_scheduler other, std::vector<std::thread::id>& seen) {
  co_await other.schedule();  // the task itself strays; its awaiter must not
  seen.push_back(std::this_thread::get_id());
}

task<> await_stray(any_scheduler other, std::vector<std::thread::id>& seen) {
  co_await stray_and_return(other, seen);
  seen.push_back(std::this_thread::get_id());
}

}  // namespace

TEST_CASE("task: does not begin before it is awaited", "[task]") {
  census c;
  bool ran = false;
  {
    auto t = note_run(ran, counted{c});
    CHECK_FALSE(ran);
    CHECK(c.living == 1);
    CHECK(sync_wait(std::move(t)) == 1);
    CHECK(ran);
  }
  CHECK(c.living == 0);
}

TEST_CASE("task: one that was never awaited is destroyed without having run, its frame once", "[task][hazard-30]") {
  census c;
  bool ran = false;
  {
    auto t = note_run(ran, counted{c});
    auto moved = std::move(t);
    CHECK(c.living == 1);
    moved = note_run(ran, counted{c});
    CHECK(c.living == 1);
  }
  CHECK_FALSE(ran);
  CHECK(c.living == 0);
  CHECK(c.made >= 2);
}

TEST_CASE("task: gives values, objects that only move, references and nothing", "[task]") {
  CHECK(sync_wait(give(7)) == 7);
  CHECK(*sync_wait(give_pointer(std::make_unique<int>(3))) == 3);
  int i = 0;
  CHECK(&sync_wait(give_reference(i)) == &i);
  sync_wait(give_nothing(i));
  CHECK(i == 1);
}

TEST_CASE("task: an exception passes through its awaiters until one catches it", "[task]") {
  census c;
  CHECK_THROWS_WITH(sync_wait(guard(guard(fail("lost the key"), counted{c}), counted{c})), "lost the key");
  CHECK(c.living == 0);
  CHECK(c.made >= 4);
  CHECK(sync_wait(catch_inside(guard(fail("again"), counted{c}))) == "again");
  CHECK(c.living == 0);
}

TEST_CASE("task: inherits the stop token of its awaiter, through any number of levels", "[task]") {
  std::stop_source source;
  CHECK(sync_wait(token_below(), source.get_token()) == source.get_token());
  CHECK_FALSE(sync_wait(token_below()).stop_possible());
}

TEST_CASE("task: with_stop gives it a token of its own, the last one counts", "[task]") {
  std::stop_source outer;
  std::stop_source other;
  std::stop_source own;
  CHECK(sync_wait(token_below() | with_stop(other.get_token()) | with_stop(own.get_token()), outer.get_token()) ==
        own.get_token());
  CHECK_FALSE(sync_wait(token_below() | with_stop({}), outer.get_token()).stop_possible());
}

TEST_CASE("task: inherits the scheduler of its awaiter, or has one of its own", "[task]") {
  manual_executor a;
  manual_executor b;
  auto inherits = penstock::spawn(a, scheduler_below());
  auto own = penstock::spawn(a, scheduler_below() | via(b));
  while (a.run_all() + b.run_all() > 0) {
  }
  CHECK(inherits.result() == a.get_scheduler());
  CHECK(own.result() == b.get_scheduler());
  CHECK(sync_wait(scheduler_below()).is_inline());
}

TEST_CASE("task: runs where via says, and its awaiter goes on where it was", "[task]") {
  core_test::loop_thread home;
  core_test::loop_thread away;
  core_test::pile<> gate;
  std::vector<std::thread::id> seen;
  auto visiting = penstock::spawn(home, visit(away.get_scheduler(), gate, seen));
  core_test::yield_until([&] { return gate.waiters() == 1; });
  gate.give();  // on this third thread; the task goes on where it waits all the same
  visiting.wait();
  CHECK(seen == std::vector{home.id(), away.id(), home.id(), away.id(), away.id(), home.id()});
}

TEST_CASE("task: wherever a task strayed to, its awaiter goes on at home", "[task]") {
  core_test::loop_thread home;
  core_test::loop_thread away;
  std::vector<std::thread::id> seen;
  penstock::spawn(home, await_stray(away.get_scheduler(), seen)).wait();
  CHECK(seen == std::vector{away.id(), home.id()});
}

TEST_CASE("task: a million awaits in a loop need constant stack", "[task]") {
  constexpr int awaits = test_support::slow ? 200'000 : 1'000'000;  // the smallest frame each would be more than the stack
  CHECK(sync_wait(sum_of_children(awaits)) == awaits);
}

TEST_CASE("task: a hundred thousand levels need constant stack, on the way down and on the way up", "[task]") {
  stack_use shallow;
  CHECK(sync_wait(nest(10, shallow)) == 10);
  stack_use deep;
  CHECK(sync_wait(nest(100'000, deep)) == 100'000);
  CHECK(deep.range() <= shallow.range() + 1'024);
}

TEST_CASE("task: the same on a scheduler", "[task]") {
  manual_executor loop;
  stack_use deep;
  auto nesting = penstock::spawn(loop, nest(100'000, deep));
  auto summing = penstock::spawn(loop, sum_of_children(100'000));
  loop.run_all();
  CHECK(nesting.result() == 100'000);
  CHECK(summing.result() == 100'000);
  CHECK(deep.range() <= 4'096);
}

TEST_CASE("task: an exception climbs ten thousand levels", "[task]") {
  CHECK_THROWS_WITH(sync_wait(nest_and_fail(10'000)), "bottom");
}
