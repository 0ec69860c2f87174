#include <penstock/core/manual_clock.hpp>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "../../support/catch.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using core_test::call_timer;
using penstock::manual_clock;

namespace {

constexpr manual_clock::time_point at(std::chrono::nanoseconds since_epoch) { return manual_clock::time_point{since_epoch}; }

void arm(manual_clock& clock, call_timer& timer, std::chrono::nanoseconds in) {
  clock.timers().add(timer, (clock.now() + in).time_since_epoch().count());
}

}  // namespace

TEST_CASE("manual_clock: stands still until it is moved", "[manual_clock]") {
  manual_clock clock;
  const auto start = clock.now();
  CHECK(start == at(1h));
  CHECK(clock.now() == start);
  clock.advance(5ms);
  CHECK(clock.now() == start + 5ms);
  clock.set(at(7s));
  CHECK(clock.now() == at(7s));
  CHECK(manual_clock{at(3s)}.now() == at(3s));
}

TEST_CASE("manual_clock: a timer fires when its time has come, synchronously, once and at its own time", "[manual_clock]") {
  manual_clock clock{at(0s)};
  std::vector<manual_clock::time_point> fired;
  call_timer timer{[&] { fired.push_back(clock.now()); }};
  arm(clock, timer, 10ms);
  CHECK(clock.next_timer() == at(10ms));
  clock.advance(9'999'999ns);
  CHECK(fired.empty());
  clock.advance(10s);
  CHECK(fired == std::vector{at(10ms)});
  CHECK(clock.now() == at(10'009'999'999ns));
  CHECK(clock.next_timer() == manual_clock::time_point::max());
  clock.advance(10s);
  CHECK(fired.size() == 1);
}

TEST_CASE("manual_clock: timers fire in the order of their times, and of their arming where those are equal", "[manual_clock]") {
  manual_clock clock;
  std::vector<int> order;
  call_timer timers[]{call_timer{[&] { order.push_back(0); }}, call_timer{[&] { order.push_back(1); }},
                      call_timer{[&] { order.push_back(2); }}, call_timer{[&] { order.push_back(3); }}};
  arm(clock, timers[2], 20ms);
  arm(clock, timers[0], 10ms);
  arm(clock, timers[3], 20ms);
  arm(clock, timers[1], 10ms);
  clock.advance(20ms);
  CHECK(order == std::vector{0, 1, 2, 3});
}

TEST_CASE("manual_clock: a timer that is due already fires while it is armed", "[manual_clock]") {
  manual_clock clock;
  int fired = 0;
  call_timer timer{[&] { ++fired; }};
  arm(clock, timer, 0ms);
  CHECK(fired == 1);
  arm(clock, timer, -1h);
  CHECK(fired == 2);
}

TEST_CASE("manual_clock: timers that are armed inside a timer fire in the same advance if they fall due in it",
          "[manual_clock]") {
  manual_clock clock{at(0s)};
  std::vector<manual_clock::time_point> fired;
  call_timer tick;
  tick.what = [&] {
    fired.push_back(clock.now());
    arm(clock, tick, 10ms);
  };
  arm(clock, tick, 10ms);
  clock.advance(35ms);
  CHECK(fired == std::vector{at(10ms), at(20ms), at(30ms)});
  CHECK(clock.now() == at(35ms));
  CHECK(clock.next_timer() == at(40ms));
  CHECK(clock.timers().remove(tick));
}

TEST_CASE("manual_clock: stepping back fires nothing, and what is pending waits for its time to come again",
          "[manual_clock][hazard-24]") {
  manual_clock clock{at(1h)};
  int fired = 0;
  call_timer timer{[&] { ++fired; }};
  arm(clock, timer, 10ms);
  clock.advance(9ms);
  clock.advance(-1min);
  CHECK(clock.now() == at(1h + 9ms - 1min));
  CHECK(fired == 0);
  clock.advance(1min);
  CHECK(fired == 0);
  clock.advance(1ms);
  CHECK(fired == 1);
  clock.set(at(1s));
  CHECK(clock.now() == at(1s));
  arm(clock, timer, 1s);
  clock.set(at(2s - 1ns));
  CHECK(fired == 1);
  clock.set(at(2s));
  CHECK(fired == 2);
}

TEST_CASE("manual_clock: a step back inside a timer holds up the timers behind it", "[manual_clock][hazard-24]") {
  manual_clock clock{at(0s)};
  std::vector<std::chrono::nanoseconds> fired;
  call_timer later{[&] { fired.push_back(clock.now().time_since_epoch()); }};
  call_timer back{[&] { clock.advance(-30ms); }};
  arm(clock, later, 80ms);
  arm(clock, back, 50ms);
  clock.advance(100ms);  // from the timer at 50 ms on it leads to 70 ms
  CHECK(clock.now() == at(70ms));
  CHECK(fired.empty());
  clock.advance(10ms);
  CHECK(fired == std::vector<std::chrono::nanoseconds>{80ms});
}

TEST_CASE("manual_clock: an advance inside a timer adds to the one that fires it", "[manual_clock]") {
  manual_clock clock{at(0s)};
  std::vector<std::chrono::nanoseconds> fired;
  call_timer later{[&] { fired.push_back(clock.now().time_since_epoch()); }};
  call_timer more{[&] { clock.advance(30ms); }};
  arm(clock, later, 120ms);
  arm(clock, more, 50ms);
  clock.advance(100ms);
  CHECK(clock.now() == at(130ms));
  CHECK(fired == std::vector<std::chrono::nanoseconds>{120ms});
}

TEST_CASE("manual_clock: moving by the greatest durations saturates", "[manual_clock][hazard-22]") {
  manual_clock clock;
  int fired = 0;
  call_timer timer{[&] { ++fired; }};
  arm(clock, timer, 24h);
  clock.advance(std::chrono::nanoseconds::max());
  CHECK(fired == 1);
  CHECK(clock.now() == manual_clock::time_point::max());
  clock.advance(1ns);
  CHECK(clock.now() == manual_clock::time_point::max());
}

TEST_CASE("manual_clock: threads may move it and arm timers at the same time, and no timer is lost or early", "[manual_clock]") {
  manual_clock clock;
  const auto start = clock.now();
  constexpr int rounds = 500;
  std::atomic<int> fired = 0;
  std::atomic<int> early = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < rounds; ++i) clock.advance(1ms);
      });
      threads.emplace_back([&] {
        for (int i = 0; i < rounds; ++i) {
          const auto due = clock.now() + std::chrono::milliseconds{i % 5};
          call_timer timer{[&] {
            if (clock.now() < due) ++early;
            ++fired;
          }};
          clock.timers().add(timer, due.time_since_epoch().count());
          if (clock.timers().remove(timer)) ++fired;  // never ran: counts as well, each timer one way or the other
        }
      });
    }
  }
  CHECK(fired == 2 * rounds);
  CHECK(early == 0);
  CHECK(clock.now() == start + 2 * rounds * 1ms);
}
