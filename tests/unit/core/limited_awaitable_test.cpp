#include <chrono>
#include <coroutine>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/sync/future.hpp>

#include "../../support/catch.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using core_test::pile;
using penstock::errc;
using penstock::manual_clock;
using penstock::promise;
using penstock::result;
using penstock::spawn;
using penstock::sync_wait;
using penstock::task;
using penstock::with_deadline;
using penstock::with_stop;
using penstock::with_timeout;

namespace {

// Of another library: it knows nothing of stop tokens.
struct foreign {
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  std::unique_ptr<int> await_resume() const { return std::make_unique<int>(5); }
};

task<int> take(pile<>& gate) {
  const result<void> r = co_await gate.async_take();
  if (!r) throw std::system_error{r.error()};
  co_return 7;
}
task<> take_quietly(pile<>& gate) { static_cast<void>(co_await gate.async_take()); }

}  // namespace

TEST_CASE("limits: a future is let go of at the deadline", "[modifiers][timeout]") {
  manual_clock clock;
  promise<int> late;
  STATIC_REQUIRE(std::is_same_v<decltype(late.get_future() | with_timeout(1s)), task<result<int>>>);
  auto waiting = spawn(late.get_future() | with_timeout(10ms, clock));
  clock.advance(10ms - 1ns);
  CHECK_FALSE(waiting.done());
  clock.advance(1ns);
  REQUIRE(waiting.done());
  CHECK(waiting.result().error() == errc::timeout);
  late.set_value(1);

  promise<std::unique_ptr<int>> early;
  auto in_time = spawn(early.get_future() | with_deadline({clock.now() + 10ms, clock}));
  early.set_value(std::make_unique<int>(3));
  REQUIRE(in_time.done());
  CHECK(**in_time.result() == 3);
  CHECK(clock.next_timer() == manual_clock::time_point::max());

  promise<int> broken;
  auto failing = spawn(broken.get_future() | with_timeout(10ms, clock));
  broken.set_exception(std::make_exception_ptr(std::runtime_error{"broken"}));
  CHECK_THROWS_WITH(failing.result(), "broken");
}

TEST_CASE("limits: a spawned coroutine is asked to stop at the deadline, and joined", "[modifiers][timeout]") {
  manual_clock clock;
  pile<> gate;
  auto child = spawn(take(gate));
  auto waiting = spawn(std::move(child) | with_timeout(10ms, clock));
  CHECK(gate.waiters() == 1);
  clock.advance(10ms);
  REQUIRE(waiting.done());
  CHECK(gate.waiters() == 0);
  CHECK(waiting.result().error() == errc::timeout);

  auto second = spawn(take(gate));
  auto in_time = spawn(std::move(second) | with_timeout(10ms, clock));
  gate.give();
  CHECK(in_time.result().value() == 7);
}

TEST_CASE("limits: the join of a task_group stops the children at the deadline", "[modifiers][timeout][task_group]") {
  manual_clock clock;
  pile<> gate;
  penstock::task_group group;
  group.spawn(take(gate));
  group.spawn(take_quietly(gate));
  auto joining = spawn(group.join() | with_timeout(10ms, clock));
  CHECK(gate.waiters() == 2);
  clock.advance(10ms);
  REQUIRE(joining.done());
  CHECK(gate.waiters() == 0);
  CHECK(joining.result().error() == errc::timeout);
}

TEST_CASE("limits: with_stop takes the place of the awaiting coroutine's token, for anything", "[modifiers]") {
  promise<int> p;
  std::stop_source own;
  auto waiting = spawn(p.get_future() | with_stop(own.get_token()));
  waiting.request_stop();
  CHECK_FALSE(waiting.done());
  own.request_stop();
  REQUIRE(waiting.done());
  CHECK_THROWS_AS(waiting.result(), std::system_error);
}

TEST_CASE("limits: what knows nothing of stopping is waited for", "[modifiers]") {
  CHECK(**sync_wait(foreign{} | with_timeout(0s)) == 5);
  CHECK(*sync_wait(foreign{} | with_stop({})) == 5);
}
