#include <chrono>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/rate/fixed_window.hpp>
#include <penstock/rate/sliding_window.hpp>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;

// How many more pass now, one by one.
template <class Window>
int passes(Window& w) {
  int n = 0;
  while (w.try_acquire()) ++n;
  return n;
}

// What the windows have in common; they begin at whole seconds, and a manual_clock starts at one.
template <class Window>
void waits_and_changes(Window& w, manual_clock& clock) {
  CHECK(w.limit() == 5);
  CHECK(w.length() == 1s);
  CHECK_THROWS_AS(w.try_acquire(6), std::invalid_argument);
  CHECK_THROWS_AS(w.try_acquire(0), std::invalid_argument);
  CHECK_THROWS_AS(w.acquire(-1), std::invalid_argument);
  CHECK_THROWS_AS(w.set_limit(0, 1s), std::invalid_argument);
  CHECK_THROWS_AS(w.set_limit(5, 0s), std::invalid_argument);

  REQUIRE(w.acquire(5));
  CHECK(w.available() == 0);
  CHECK(w.try_acquire() == errc::empty);
  clock.advance(-10min);  // stepping back gives nothing
  CHECK(w.try_acquire() == errc::empty);
  clock.advance(10min);

  auto large = spawn(w.async_acquire(4));
  auto small = spawn(w.async_acquire(1));
  auto hurried = spawn(w.async_acquire(1) | with_timeout(100ms, clock));
  clock.advance(100ms);
  CHECK(hurried.result() == errc::timeout);
  w.refund(1);  // enough for the small one, but it came later
  CHECK_FALSE(small.done());
  CHECK(w.try_acquire() == errc::empty);
  w.refund(3);
  CHECK(large.result());
  CHECK_FALSE(small.done());
  w.set_limit(6, 1s);
  CHECK(small.result());
  CHECK(w.available() == 0);

  auto too_much = spawn(w.async_acquire(6));
  auto second = spawn(w.async_acquire(2));
  w.set_limit(2, 2s);  // what was taken still counts, for the new length: no present
  CHECK(too_much.result() == errc::rejected);
  clock.advance(900ms);
  CHECK_FALSE(second.done());
  clock.advance(3100ms);  // no debt that lasts longer than two lengths
  CHECK(second.result());
  passes(w);
  auto last = spawn(w.async_acquire());
  w.close();
  CHECK(last.result() == errc::closed);
}

TEST_CASE("fixed_window: passes its limit in each window, and so twice the limit in no time at an edge", "[rate][fixed_window]") {
  manual_clock clock;
  fixed_window w{10, 1s, clock};
  clock.advance(999ms + 999us);
  CHECK(w.ready_at() == clock.now());
  CHECK(passes(w) == 10);
  CHECK(w.retry_after() == 1us);
  clock.advance(1us);
  CHECK(passes(w) == 10);  // twenty within a microsecond
  CHECK(w.retry_after(10) == 1s);
  clock.advance(999ms);
  CHECK(passes(w) == 0);
  clock.advance(5s);
  CHECK(w.available() == 10);
}

TEST_CASE("sliding_window: never passes more than its limit in any window, and refuses nothing else", "[rate][sliding_window]") {
  manual_clock clock;
  sliding_window w{10, 1s, clock};
  clock.advance(900ms);
  REQUIRE(w.acquire(4));
  clock.advance(99ms);
  CHECK(passes(w) == 6);
  CHECK(w.retry_after() == 901ms);
  CHECK(w.retry_after(4) == 901ms);
  CHECK(w.retry_after(5) == 1s);
  clock.advance(901ms - 1ns);  // the edge that a fixed window has here says nothing
  CHECK(passes(w) == 0);
  clock.advance(1ns);
  CHECK(passes(w) == 4);
  clock.advance(99ms);
  CHECK(passes(w) == 6);
  for (int i = 0; i < 100; ++i) {  // steady demand: one each tenth of the length, but for those that came in a heap
    clock.advance(100ms);
    passes(w);
  }
  clock.advance(1s);
  CHECK(passes(w) == 10);
}

TEST_CASE(
    "approximate_sliding_window: exceeds the exact one by the stated part of the limit at the most, and holds back for a length "
    "at the most",
    "[rate][sliding_window]") {
  manual_clock clock;
  approximate_sliding_window w{100, 1s, clock};
  sliding_window exact{100, 1s, clock};
  SECTION("what came late in the last window is supposed to have come evenly") {
    clock.advance(1s - 1ns);
    CHECK(passes(w) == 100);
    CHECK(passes(exact) == 100);
    clock.advance(1ns);
    CHECK(passes(w) == 0);  // no second burst at the edge
    CHECK(w.retry_after() == 10ms);
    clock.advance(500ms);
    CHECK(passes(w) == 50);  // 150 in half a length: limit * (1 + 1/2)
    CHECK(passes(exact) == 0);
    clock.advance(499ms);
    CHECK(passes(w) == 49);
    CHECK(passes(exact) == 0);
  }
  SECTION("what came early is supposed to be there still") {
    CHECK(passes(w) == 100);
    CHECK(passes(exact) == 100);
    clock.advance(1s);
    CHECK(passes(exact) == 100);
    CHECK(passes(w) == 0);
    clock.advance(500ms);
    CHECK(passes(w) == 50);
    clock.advance(1500ms);
    CHECK(w.available() == 100);
  }
}

TEST_CASE("windows: wait in one line, and change while they are used",
          "[rate][fixed_window][sliding_window][hazard-24][hazard-34]") {
  manual_clock clock;
  SECTION("fixed") {
    fixed_window w{5, 1s, clock};
    waits_and_changes(w, clock);
  }
  SECTION("sliding, exact") {
    sliding_window w{5, 1s, clock};
    waits_and_changes(w, clock);
  }
  SECTION("sliding, approximate") {
    approximate_sliding_window w{5, 1s, clock};
    waits_and_changes(w, clock);
  }
  SECTION("limits and lengths that cannot be") {
    CHECK_THROWS_AS((fixed_window{0, 1s}), std::invalid_argument);
    CHECK_THROWS_AS((sliding_window{1 << 25, 1s}), std::invalid_argument);
    CHECK_THROWS_AS((approximate_sliding_window{5, -1s}), std::invalid_argument);
    fixed_window for_ever{1, std::chrono::hours::max()};
    CHECK(for_ever.acquire());
    CHECK(for_ever.try_acquire() == errc::empty);
  }
}

}  // namespace
