#include <penstock/channel/select.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"
#include "item.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using channel_testing::quiet;
using channel_testing::throwing;
using test_support::until;

constexpr auto no_timer = manual_clock::time_point::max();

std::stop_token stopped_token() {
  std::stop_source stop;
  stop.request_stop();
  return stop.get_token();
}

// Branches that must not happen.
constexpr auto never_called = [](auto&&...) { FAIL("this branch must not happen"); };
constexpr auto ignore = [](auto&&...) {};

template <class... B>
concept can_select = requires(B... b) { select(b...); };
static_assert(!can_select<>);
static_assert(!can_select<int>);
using ignored_pop = decltype(on_pop(std::declval<channel<int>&>(), ignore));
static_assert(can_select<ignored_pop>);

struct alignas(128) wide {
  int value = 0;
};
template <class T>
concept awaitable_pop = requires(channel<T>& c) { async_select(pop_case(c)); };
static_assert(awaitable_pop<int>);
static_assert(!awaitable_pop<wide>);  // no compiler would align it in a coroutine's frame

// What happened, as a number that tests can compare: the index, or the error.
template <class Operation>
std::optional<std::size_t> index_of(spawned<Operation>& s, std::error_code& error) {
  auto r = s.result();
  if (r) return r->index();
  error = r.error();
  return std::nullopt;
}

}  // namespace

TEST_CASE("select: of what can happen at once one thing happens, and nothing else", "[select]") {
  channel<int> a{2};
  channel<int> b{2};
  SECTION("an item is there") {
    CHECK(b.push(7));
    int got = 0;
    CHECK(select(on_pop(a, never_called), on_pop(b, [&](result<int> r) { got = *r; }), on_timeout(1h, never_called)) == 1);
    CHECK(got == 7);
    CHECK(b.empty());
  }
  SECTION("there is room") {
    bool pushed = false;
    CHECK(select(on_pop(a, never_called), on_push(b, 8, [&](result<void> r) { pushed = r.has_value(); })) == 1);
    CHECK(pushed);
    CHECK(b.pop() == 8);
  }
  SECTION("both") {
    for (int i = 0; i < 50; ++i) {
      CHECK(a.push(1));
      CHECK(b.push(2));
      int got = 0;
      const std::size_t which = select(on_pop(a, [&](result<int> r) { got = *r; }), on_pop(b, [&](result<int> r) { got = *r; }));
      CHECK(got == static_cast<int>(which) + 1);
      CHECK(a.size() + b.size() == 1);
      CHECK((which == 0 ? b : a).pop() == 2 - static_cast<int>(which));
    }
  }
  CHECK(a.empty());
  CHECK(b.empty());
}

TEMPLATE_TEST_CASE("select: an item is moved from only if its branch pushed it", "[select][hazard-30]", quiet, throwing) {
  channel<TestType> full{1};
  channel<TestType> open{1};
  CHECK(full.push(TestType{0}));
  TestType first{1};
  TestType second{2};
  CHECK(select(on_push(full, std::move(first), never_called),
               on_push(open, std::move(second), [](result<void> r) { CHECK(r); })) == 1);
  CHECK(first.value == 1);
  CHECK(second.value == -1);
  CHECK(select(on_push(full, std::move(first), never_called), otherwise([] {})) == 1);
  CHECK(first.value == 1);
  full.close();
  CHECK(select(on_push(full, std::move(first), [](result<void> r) { CHECK(r == errc::closed); })) == 0);
  CHECK(first.value == 1);
  CHECK(open.pop()->value == 2);
}

TEST_CASE("select: an item that the caller keeps is copied", "[select]") {
  channel<std::vector<int>> c{1};
  const std::vector<int> kept{1, 2, 3};
  CHECK(select(on_push(c, kept, [](result<void> r) { CHECK(r); })) == 0);
  CHECK(kept.size() == 3);
  CHECK(c.pop() == kept);
}

TEST_CASE("select: a closed channel is an event that its branch sees, after what is inside", "[select]") {
  channel<int> a{1};
  channel<int> b{1};
  CHECK(a.push(1));
  a.close();
  CHECK(select(on_pop(a, [](result<int> r) { CHECK(r == 1); }), on_pop(b, never_called)) == 0);
  CHECK(select(on_pop(a, [](result<int> r) { CHECK(r == errc::closed); }), on_pop(b, never_called)) == 0);

  std::optional<std::error_code> seen;
  std::jthread waiting{[&] { select(on_timeout(1h, never_called), on_pop(b, [&](result<int> r) { seen = r.error(); })); }};
  b.close();
  waiting.join();
  CHECK(seen == errc::closed);
}

TEST_CASE("select: a thread that waits gets what comes first, by whichever channel", "[select]") {
  channel<int> a{1};
  channel<int> b{1};
  for (int i = 0; i < 20; ++i) {
    int got = 0;
    std::size_t which = 9;
    std::jthread waiting{
        [&] { which = select(on_pop(a, [&](result<int> r) { got = *r; }), on_pop(b, [&](result<int> r) { got = *r; })); }};
    if (i % 2 == 0) std::this_thread::yield();
    CHECK((i % 3 == 0 ? a : b).push(i + 1));
    waiting.join();
    CHECK(got == i + 1);
    CHECK(which == (i % 3 == 0 ? 0u : 1u));
  }
  CHECK(a.push(1));
  CHECK(b.push(2));
  std::size_t which = 9;
  std::jthread waiting{[&] { which = select(on_push(a, 3, ignore), on_push(b, 4, ignore)); }};
  CHECK(b.pop() == 2);
  waiting.join();
  CHECK(which == 1);
  CHECK(b.pop() == 4);
  CHECK(a.pop() == 1);
}

TEST_CASE("select: a timeout happens at its time and not before", "[select]") {
  manual_clock clock;
  channel<int> c{1};
  std::atomic<std::size_t> which = 9;
  std::jthread waiting{
      [&] { which = select(on_pop(c, ignore), on_timeout(10ms, clock, [] {}), on_timeout(20ms, clock, never_called)); }};
  until([&] { return clock.next_timer() != no_timer; });
  clock.advance(10ms - 1ns);
  CHECK(which == 9);
  clock.advance(1ns);
  waiting.join();
  CHECK(which == 1);
  CHECK(clock.next_timer() == no_timer);

  // The steady clock, by the futex's own deadline.
  const auto begin = std::chrono::steady_clock::now();
  CHECK(select(on_pop(c, never_called), on_timeout(1h, never_called), on_timeout(800us, [] {}), on_timeout(2h, never_called)) ==
        2);
  CHECK(std::chrono::steady_clock::now() - begin >= 800us);
}

TEST_CASE("select: what a channel offers is taken even after the deadline, and a deadline that passed is not waited for",
          "[select][hazard-22]") {
  manual_clock clock;
  channel<int> c{1};
  const auto time_out = [&](bool empty) {
    const std::size_t expected = empty ? 1 : 0;
    CHECK(select(on_pop(c, ignore), on_timeout(0ns, [] {})) == expected);
    if (!empty) CHECK(c.push(1));
    CHECK(select(on_pop(c, ignore), on_timeout(std::chrono::hours::min(), [] {})) == expected);
    if (!empty) CHECK(c.push(1));
    CHECK(select(on_pop(c, ignore), on_timeout(-1ns, clock, [] {})) == expected);
    if (!empty) CHECK(c.push(1));
    CHECK(select(on_pop(c, ignore), on_deadline({clock.now(), clock}, [] {})) == expected);
    if (!empty) CHECK(c.push(1));
    CHECK(select(on_pop(c, ignore), on_deadline(std::chrono::steady_clock::time_point{}, [] {})) == expected);
  };
  time_out(true);
  CHECK(c.push(1));
  time_out(false);

  // As long as the type can say is for ever.
  std::jthread pushing{[&] { CHECK(c.push(5)); }};
  CHECK(select(on_pop(c, ignore), on_timeout(std::chrono::hours::max(), never_called),
               on_timeout(std::chrono::hours::max(), clock, never_called), on_deadline({}, never_called)) == 0);
}

TEST_CASE("select: stop that was requested before comes first, later it ends the wait", "[select]") {
  channel<int> c{1};
  CHECK(c.push(1));
  CHECK(select(on_pop(c, never_called), on_stop(stopped_token(), [] {})) == 1);
  CHECK(select(on_stop(std::stop_token{}, never_called), on_pop(c, ignore)) == 1);

  std::stop_source stop;
  std::size_t which = 9;
  std::jthread waiting{[&] { which = select(on_pop(c, never_called), on_stop(stop.get_token(), [] {})); }};
  stop.request_stop();
  waiting.join();
  CHECK(which == 1);
  CHECK(c.empty());
}

TEST_CASE("select: otherwise happens if nothing else does at once", "[select]") {
  channel<int> c{1};
  CHECK(select(otherwise([] {}), on_pop(c, never_called), on_timeout(1h, never_called)) == 0);
  CHECK(c.push(1));
  CHECK(select(otherwise(never_called), on_pop(c, ignore)) == 1);
  CHECK(select(otherwise(never_called), on_timeout(0ns, [] {})) == 1);
  CHECK(select(otherwise([] {})) == 0);
}

TEST_CASE("select: without a channel it waits for time or stop", "[select]") {
  manual_clock clock;
  std::stop_source stop;
  std::size_t which = 9;
  SECTION("time") {
    std::jthread waiting{[&] { which = select(on_stop(stop.get_token(), never_called), on_timeout(5ms, clock, [] {})); }};
    until([&] { return clock.next_timer() != no_timer; });
    clock.advance(5ms);
    waiting.join();
    CHECK(which == 1);
  }
  SECTION("stop") {
    std::jthread waiting{[&] { which = select(on_stop(stop.get_token(), [] {}), on_timeout(5ms, clock, never_called)); }};
    until([&] { return clock.next_timer() != no_timer; });
    stop.request_stop();
    waiting.join();
    CHECK(which == 0);
  }
  CHECK(clock.next_timer() == no_timer);
}

TEST_CASE("select: the same channel may be named several times", "[select]") {
  channel<int> c{1};
  int calls = 0;
  const auto count = [&](auto r) {
    CHECK(r);
    ++calls;
  };
  SECTION("popped by two branches, one item is popped once") {
    std::jthread waiting{[&] { select(on_pop(c, count), on_pop(c, count), on_pop(c, count)); }};
    CHECK(c.push(1));
    waiting.join();
    CHECK(calls == 1);
    CHECK(c.empty());
    CHECK(c.push(2));
    CHECK(select(on_pop(c, count), on_pop(c, count)) < 2);
    CHECK(c.empty());
  }
  SECTION("pushed and popped: one of the two happens, an item does not pass through the select") {
    for (int i = 0; i < 20; ++i) {
      CHECK(select(on_push(c, i, count), on_pop(c, never_called)) == 0);
      CHECK(select(on_push(c, -1, never_called), on_pop(c, [&](result<int> r) { CHECK(r == i); })) == 1);
    }
  }
  SECTION("closed: both sides see it") {
    c.close();
    std::array<int, 2> happened{};
    for (int i = 0; i < 200; ++i) {
      ++happened[select(on_push(c, 1, [](result<void> r) { CHECK(r == errc::closed); }),
                        on_pop(c, [](result<int> r) { CHECK(r == errc::closed); }))];
    }
    CHECK(happened[0] > 0);
    CHECK(happened[1] > 0);
  }
}

TEST_CASE("select: a branch that is switched off does not happen", "[select]") {
  channel<int> a{1};
  channel<int> b{1};
  a.close();
  CHECK(b.push(1));
  for (int i = 0; i < 20; ++i) {
    CHECK(select(when(false, on_pop(a, never_called)), on_pop(b, ignore)) == 1);
    CHECK(b.push(1));
    CHECK(spawn(async_select(when(false, pop_case(a)), when(true, pop_case(b)))).result()->index() == 1);
    CHECK(b.push(1));
  }
  CHECK(select(when(false, on_pop(b, never_called)), when(false, on_timeout(0ns, never_called)),
               when(false, on_stop(stopped_token(), never_called)), when(false, otherwise(never_called)),
               on_timeout(1us, [] {})) == 4);
  CHECK_THROWS_AS(select(when(false, on_pop(b, never_called))), std::invalid_argument);
  CHECK_THROWS_AS(async_select(when(false, pop_case(b))), std::invalid_argument);
  // Woken by the one that is left.
  auto waiting = spawn(async_select(when(false, pop_case(a)), pop_case(b), when(false, timeout_case(0ns))));
  CHECK(waiting.result()->index() == 1);
}

TEST_CASE("select: no branch starves, whatever pattern the selects come in", "[select]") {
  channel<int> a{1};
  channel<int> b{1};
  channel<int> c{1};
  std::array<int, 3> happened{};
  for (int i = 0; i < 1000; ++i) {
    static_cast<void>(a.try_push(1));
    static_cast<void>(b.try_push(1));
    static_cast<void>(c.try_push(1));
    ++happened[select(on_pop(a, ignore), on_pop(b, ignore), on_pop(c, ignore))];
    static_cast<void>(a.try_push(1));
    select(on_pop(a, ignore), otherwise([] {}));  // another select between: a counter of turns would fall into step with it
  }
  // Each has a third of the turns: 333, with a standard deviation of 15.
  for (const int n : happened) CHECK(n > 200);
}

TEST_CASE("select: the branch's function runs when all is over, and may select again", "[select][hazard-17]") {
  channel<int> a{1};
  channel<int> b{1};
  CHECK(a.push(1));
  int inner = 0;
  CHECK(select(on_pop(b, never_called), on_pop(a, [&](result<int>) {
                 CHECK(b.push(2));  // wakes nobody: nothing of the outer select is linked
                 select(on_pop(b, [&](result<int> r) { inner = *r; }), on_pop(a, never_called));
                 a.close();
                 b.close();
               })) == 1);
  CHECK(inner == 2);

  channel<int> c{1};
  CHECK(c.push(1));
  CHECK_THROWS_AS(select(on_pop(c, [](result<int>) { throw std::runtime_error{"on purpose"}; })), std::runtime_error);
  CHECK(c.empty());
}

TEST_CASE("select: what moving an item throws reaches the caller, and nobody else misses anything", "[select]") {
  channel<throwing> c{1};
  channel<throwing> other{1};
  throwing item{1};
  throwing::moves_until_throw = 1;
  CHECK_THROWS_AS(select(on_push(c, std::move(item), never_called)), std::runtime_error);
  CHECK(item.value == 1);
  CHECK(c.empty());
  CHECK(select(on_push(c, std::move(item), ignore)) == 0);
  throwing::moves_until_throw = 1;
  CHECK_THROWS_AS(select(on_pop(other, never_called), on_pop(c, never_called)), std::runtime_error);
  throwing::moves_until_throw = 0;
  CHECK(c.empty());
}

TEST_CASE("select: items lie as their type wants it", "[select]") {
  channel<wide> c{1};
  CHECK(c.push(wide{3}));
  int got = 0;
  select(on_pop(c, [&](const result<wide>& r) { got = r->value; }), on_timeout(1h, never_called));
  CHECK(got == 3);
}

TEST_CASE("async_select: tells which case happened, with its value", "[select]") {
  channel<std::unique_ptr<int>> a{1};
  channel<int> b{1};
  manual_clock clock;
  SECTION("at once") {
    CHECK(a.push(std::make_unique<int>(7)));
    auto r = sync_wait(async_select(pop_case(a), pop_case(b), timeout_case(1h)));
    REQUIRE(r);
    REQUIRE(r->index() == 0);
    const std::unique_ptr<int> got = *std::move(r->get<0>());
    CHECK(*got == 7);
  }
  SECTION("later") {
    auto waiting = spawn(async_select(pop_case(a), pop_case(b), timeout_case(10ms, clock)));
    CHECK_FALSE(waiting.done());
    CHECK(b.push(3));
    REQUIRE(waiting.done());
    auto r = waiting.result();
    REQUIRE(r->index() == 1);
    CHECK(r->get<1>() == 3);
  }
  SECTION("by time") {
    auto waiting = spawn(async_select(pop_case(a), pop_case(b), timeout_case(10ms, clock)));
    clock.advance(9ms);
    CHECK_FALSE(waiting.done());
    clock.advance(1ms);
    REQUIRE(waiting.done());
    auto r = waiting.result();
    REQUIRE(r->index() == 2);
    CHECK(r->get<2>());
  }
  SECTION("by a deadline that has passed") {
    auto waiting = spawn(async_select(pop_case(a), deadline_case({clock.now(), clock})));
    REQUIRE(waiting.done());
    CHECK(waiting.result()->index() == 1);
  }
  SECTION("closed") {
    auto waiting = spawn(async_select(pop_case(a), pop_case(b)));
    b.close();
    REQUIRE(waiting.done());
    auto r = waiting.result();
    REQUIRE(r->index() == 1);
    CHECK(r->get<1>() == errc::closed);
  }
  SECTION("stopped by a case of its own") {
    std::stop_source stop;
    auto waiting = spawn(async_select(stop_case(stop.get_token()), pop_case(a)));
    CHECK_FALSE(waiting.done());
    stop.request_stop();
    REQUIRE(waiting.done());
    CHECK(waiting.result()->index() == 0);
    CHECK(a.push(nullptr));
    CHECK(spawn(async_select(pop_case(a), stop_case(stop.get_token()))).result()->index() == 1);
    CHECK(a.size() == 1);
  }
  CHECK(clock.next_timer() == no_timer);
}

TEST_CASE("async_select: pushes, and moves the item only then", "[select]") {
  channel<quiet> a{1};
  channel<quiet> b{1};
  CHECK(a.push(quiet{0}));
  CHECK(b.push(quiet{0}));
  quiet item{1};
  auto waiting = spawn(async_select(push_case(a, std::move(item)), push_case(b, std::move(item))));
  CHECK_FALSE(waiting.done());
  CHECK(item.value == 1);
  SECTION("pushed") {
    CHECK(b.pop());
    REQUIRE(waiting.done());
    auto r = waiting.result();
    REQUIRE(r->index() == 1);
    CHECK(r->get<1>());
    CHECK(item.value == -1);
    CHECK(b.pop()->value == 1);
  }
  SECTION("closed") {
    a.close();
    auto r = waiting.result();
    REQUIRE(r->index() == 0);
    CHECK(r->get<0>() == errc::closed);
    CHECK(item.value == 1);
  }
  SECTION("stopped") {
    waiting.request_stop();
    CHECK(waiting.result().error() == errc::cancelled);
    CHECK(item.value == 1);
  }
}

namespace {

task<int> push_a_copy(channel<std::vector<int>>& c, const std::vector<int>& kept) {
  auto s = co_await async_select(push_case(c, kept), timeout_case(1h));
  co_return s->index() == 0 && s->get<0>() ? 1 : 0;
}

task<int> sum_until_one_is_closed(channel<int>& a, channel<int>& b) {
  int sum = 0;
  for (;;) {
    auto s = co_await async_select(pop_case(a), pop_case(b));
    if (!s) co_return -1;
    result<int>& got = s->index() == 0 ? s->get<0>() : s->get<1>();
    if (!got) co_return sum;
    sum += *got;
  }
}

}  // namespace

TEST_CASE("async_select: inside a task", "[select]") {
  channel<std::vector<int>> lists{1};
  const std::vector<int> kept{1, 2};
  CHECK(sync_wait(push_a_copy(lists, kept)) == 1);
  CHECK(lists.pop() == kept);

  channel<int> a{1};
  channel<int> b{1};
  auto summing = spawn(sum_until_one_is_closed(a, b));
  for (int i = 1; i <= 10; ++i) CHECK((i % 2 == 0 ? a : b).push(i));
  a.close();
  REQUIRE(summing.done());
  CHECK(summing.result() == 55);
}

TEST_CASE("async_select: the coroutine's stop token and the modifiers end it with an error", "[select]") {
  channel<int> a{1};
  channel<int> b{1};
  manual_clock clock;
  std::stop_source stop;
  std::error_code error;
  SECTION("its own token") {
    auto waiting = spawn(async_select(pop_case(a), pop_case(b)));
    waiting.request_stop();
    REQUIRE(waiting.done());
    CHECK(waiting.result().error() == errc::cancelled);
  }
  SECTION("stopped before") {
    CHECK(a.push(1));
    auto waiting = spawn(async_select(pop_case(a), pop_case(b)) | with_stop(stopped_token()));
    CHECK(waiting.result().error() == errc::cancelled);
    CHECK(a.size() == 1);
  }
  SECTION("with_stop in its place") {
    auto waiting = spawn(async_select(pop_case(a), pop_case(b)) | with_stop(stop.get_token()));
    waiting.request_stop();
    CHECK_FALSE(waiting.done());
    stop.request_stop();
    CHECK_FALSE(index_of(waiting, error));
    CHECK(error == errc::cancelled);
  }
  SECTION("with_timeout") {
    auto waiting = spawn(async_select(pop_case(a), pop_case(b), timeout_case(20ms, clock)) | with_timeout(10ms, clock));
    clock.advance(10ms);
    REQUIRE(waiting.done());
    CHECK(waiting.result().error() == errc::timeout);
  }
  SECTION("with_deadline that has passed: one look") {
    CHECK(spawn(async_select(pop_case(a)) | with_deadline({clock.now(), clock})).result().error() == errc::timeout);
    CHECK(a.push(1));
    CHECK(spawn(async_select(pop_case(a)) | with_deadline({clock.now(), clock})).result()->index() == 0);
  }
  CHECK(clock.next_timer() == no_timer);
  // Nobody is left in the lines: debug builds would say so when the channels go.
}

TEST_CASE("async_select: goes where via says even if a case happens at once", "[select][hazard-15]") {
  manual_executor other;
  channel<int> c{1};
  REQUIRE(c.push(7));
  auto sent = spawn(async_select(pop_case(c)) | via(other));
  CHECK(c.empty());
  CHECK_FALSE(sent.done());
  REQUIRE(other.run_one());
  REQUIRE(sent.done());
  CHECK(sent.result()->get<0>() == 7);
}

TEST_CASE("async_select: goes on in the coroutine's scheduler, or where via says", "[select][hazard-15]") {
  channel<int> c{1};
  channel<int> d{1};
  manual_executor loop;
  manual_executor other;
  auto own = spawn(loop, async_select(pop_case(c), pop_case(d)));
  loop.run_all();
  CHECK(c.push(1));
  CHECK_FALSE(own.done());
  CHECK(loop.run_all() == 1);
  CHECK(own.result()->index() == 0);

  auto sent = spawn(loop, async_select(pop_case(c), pop_case(d)) | via(other));
  loop.run_all();
  CHECK(d.push(1));
  CHECK(loop.size() == 0);
  CHECK(other.run_all() == 1);
  loop.run_all();
  CHECK(sent.result()->index() == 1);
}

TEST_CASE("async_select: dropping one that was not awaited does nothing", "[select]") {
  channel<int> c{1};
  CHECK(c.push(1));
  {
    auto dropped = async_select(pop_case(c), timeout_case(1ms));
  }
  CHECK(c.size() == 1);
}

TEST_CASE("async_select: a wake that it does not use goes to those behind it", "[select][hazard-01]") {
  channel<int> a{2};
  channel<int> b{2};
  manual_executor loop;
  auto selecting = spawn(loop, async_select(pop_case(a), pop_case(b)));
  loop.run_all();
  auto in_a = spawn(loop, a.async_pop());
  auto in_b = spawn(loop, b.async_pop());
  loop.run_all();
  CHECK(a.push(1));  // both wake the select ...
  CHECK(b.push(2));
  CHECK(loop.run_all() == 2);  // ... which takes one, and calls who waits for the other
  REQUIRE(selecting.done());
  const std::size_t which = selecting.result()->index();
  CHECK(in_a.done() == (which == 1));
  CHECK(in_b.done() == (which == 0));
  CHECK(a.empty());
  CHECK(b.empty());
  in_a.request_stop();
  in_b.request_stop();
  loop.run_all();
  static_cast<void>(in_a.result());
  static_cast<void>(in_b.result());
}

TEST_CASE("async_select: one that pushes passes room on, too", "[select][hazard-01]") {
  channel<int> a{1};
  channel<int> b{1};
  CHECK(a.push(0));
  CHECK(b.push(0));
  manual_executor loop;
  int items[] = {1, 2, 3};
  auto selecting = spawn(loop, async_select(push_case(a, std::move(items[0])), push_case(b, std::move(items[0]))));
  loop.run_all();
  auto in_a = spawn(loop, a.async_push(std::move(items[1])));
  auto in_b = spawn(loop, b.async_push(std::move(items[2])));
  loop.run_all();
  CHECK(a.pop() == 0);
  CHECK(b.pop() == 0);
  loop.run_all();
  REQUIRE(selecting.done());
  const bool took_a = selecting.result()->index() == 0;
  CHECK(in_a.done() == !took_a);
  CHECK(in_b.done() == took_a);
  CHECK(a.pop() == (took_a ? 1 : 2));
  CHECK(b.pop() == (took_a ? 3 : 1));
  loop.run_all();
  CHECK(in_a.result());
  CHECK(in_b.result());
}

TEST_CASE("async_select: disturbed in vain, it keeps its place in every line", "[select]") {
  channel<int> a{2};
  channel<int> b{2};
  manual_executor loop;
  auto selecting = spawn(loop, async_select(pop_case(a), pop_case(b)));
  loop.run_all();
  auto in_a = spawn(loop, a.async_pop());
  auto in_b = spawn(loop, b.async_pop());
  loop.run_all();
  CHECK(a.push(1));         // wakes the select ...
  CHECK(a.try_pop() == 1);  // ... for what another one takes
  loop.run_all();
  CHECK_FALSE(selecting.done());
  SECTION("in the other line") {
    CHECK(b.push(2));
    loop.run_all();
    REQUIRE(selecting.done());
    CHECK(selecting.result()->get<1>() == 2);
  }
  SECTION("in the same line") {
    CHECK(a.push(3));
    loop.run_all();
    REQUIRE(selecting.done());
    CHECK(selecting.result()->get<0>() == 3);
  }
  CHECK_FALSE(in_a.done());
  CHECK_FALSE(in_b.done());
  in_a.request_stop();
  in_b.request_stop();
  loop.run_all();
}

TEST_CASE("async_select: stopped or timed out after it was woken", "[select][hazard-01][hazard-04]") {
  channel<int> a{2};
  channel<int> b{2};
  manual_clock clock;
  manual_executor loop;
  auto selecting = spawn(loop, async_select(pop_case(a), pop_case(b), timeout_case(10ms, clock)));
  loop.run_all();
  auto in_a = spawn(loop, a.async_pop());
  loop.run_all();
  SECTION("the item is there: it is taken") {
    CHECK(a.push(1));
    SECTION("stop") { selecting.request_stop(); }
    SECTION("time") { clock.advance(10ms); }
    loop.run_all();
    CHECK(selecting.result()->get<0>() == 1);
    CHECK_FALSE(in_a.done());
    CHECK(a.push(2));
  }
  SECTION("the item comes after the end of the wait was decided: it is taken all the same") {
    SECTION("stop") { selecting.request_stop(); }
    SECTION("time") { clock.advance(10ms); }
    CHECK(a.push(1));  // the coroutine has not run yet, so the wake reaches it
    loop.run_all();
    CHECK(selecting.result()->get<0>() == 1);
    CHECK(a.push(2));
  }
  SECTION("the item is gone") {
    CHECK(a.push(1));
    CHECK(a.try_pop() == 1);
    SECTION("stop") {
      selecting.request_stop();
      loop.run_all();
      CHECK(selecting.result().error() == errc::cancelled);
    }
    SECTION("time") {
      clock.advance(10ms);
      loop.run_all();
      CHECK(selecting.result()->index() == 2);
    }
    CHECK_FALSE(in_a.done());
    CHECK(a.push(2));
  }
  loop.run_all();
  CHECK(in_a.result() == 2);  // the next item is the next one's
  CHECK(clock.next_timer() == no_timer);
}

TEST_CASE("select: two selects that name the same channels in opposite orders finish", "[select]") {
  channel<int> a{1};
  channel<int> b{1};
  std::atomic<int> sum = 0;
  const auto add = [&](result<int> r) { sum += *r; };
  {
    std::jthread one{[&] {
      for (int i = 0; i < 200; ++i) select(on_pop(a, add), on_pop(b, add));
    }};
    std::jthread two{[&] {
      for (int i = 0; i < 200; ++i) select(on_pop(b, add), on_pop(a, add));
    }};
    for (int i = 0; i < 400; ++i) select(on_push(a, 1, ignore), on_push(b, 1, ignore));
  }
  CHECK(sum == 400);
}
