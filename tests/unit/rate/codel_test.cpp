#include <penstock/rate/codel.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <stdexcept>
#include <vector>

#include <penstock/core/manual_clock.hpp>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using std::chrono::milliseconds;

TEST_CASE("codel: refuses nothing in a burst that is over within an interval", "[codel]") {
  manual_clock clock;
  codel shed{{.clock = clock}};
  for (int burst = 0; burst < 5; ++burst) {
    for (int i = 0; i < 99; ++i) {
      CHECK(shed.admit(50ms));
      clock.advance(1ms);
    }
    CHECK(shed.admit(4ms));
    clock.advance(1ms);
  }
  CHECK(shed.refused() == 0);
  for (int i = 0; i < 300; ++i) {
    CHECK(shed.admit(50ms, i % 50 == 0));  // the queue was empty now and then: it does not stand
    clock.advance(1ms);
  }
}

TEST_CASE("codel: while the queue stands, refuses one after an interval, and then sooner by the square root of how many",
          "[codel]") {
  manual_clock clock;
  codel shed{{.target = 5ms, .interval = 100ms, .clock = clock}};
  const auto begin = clock.now();
  std::vector<double> refused_at;  // ms
  for (int i = 0; i < 10'000; ++i) {
    if (!shed.admit(6ms)) refused_at.push_back(std::chrono::duration<double, std::milli>(clock.now() - begin).count());
    clock.advance(100us);
  }
  double expected = 100;
  for (std::size_t n = 1; n <= refused_at.size(); ++n) {
    CAPTURE(n);
    REQUIRE(refused_at[n - 1] == Approx(expected).margin(0.11));
    expected += 100 / std::sqrt(static_cast<double>(n));
  }
  CHECK(refused_at.size() > 20);
  CHECK(shed.shedding());

  // The first short wait ends it; what comes back soon goes on about where it was.
  CHECK(shed.admit(4ms));
  CHECK_FALSE(shed.shedding());
  int soon = 0;
  for (int i = 0; i < 1500; ++i) {
    soon += shed.admit(6ms) ? 0 : 1;
    clock.advance(100us);
  }
  CHECK(soon > 2);  // 1 after 100 ms, and the next not 100 ms later
  CHECK(shed.refused() == refused_at.size() + static_cast<std::size_t>(soon));
}

TEST_CASE("codel: a queue that was empty in between does not stand; a long pause owes no refusals", "[codel]") {
  const auto refused_of = [](codel& shed, manual_clock& clock, milliseconds waited, int items) {
    int refused = 0;
    for (int i = 0; i < items; ++i) {
      refused += shed.admit(waited) ? 0 : 1;
      clock.advance(1ms);
    }
    return refused;
  };
  manual_clock clock;
  codel shed{{.target = 5ms, .interval = 100ms, .clock = clock}};
  CHECK(refused_of(shed, clock, 20ms, 300) > 0);
  clock.advance(1h);                              // nothing comes
  CHECK(refused_of(shed, clock, 6ms, 100) == 0);  // an interval, as for a new one
  CHECK_FALSE(shed.shedding());
  CHECK(refused_of(shed, clock, 6ms, 200) < 5);
  CHECK(shed.shedding());
  for (int i = 0; i < 100; ++i) {  // slow work: each came while the last one was at it
    clock.advance(50ms);
    CHECK(shed.admit(49ms));
  }

  CHECK(refused_of(shed, clock, 5s, 300) > 0);  // a queue of 5 s
  clock.advance(1h);                            // nobody takes anything out
  const int refused = refused_of(shed, clock, milliseconds{2h}, 1000);
  CHECK(refused > 10);
  CHECK(refused < 100);

  manual_clock early;
  early.set(manual_clock::time_point{std::chrono::nanoseconds::min() + 1ns});
  codel from_the_beginning{{.clock = early}};
  CHECK(from_the_beginning.admit(std::chrono::nanoseconds::max()));
  early.set(manual_clock::time_point{std::chrono::nanoseconds::max()});
  CHECK(from_the_beginning.admit(std::chrono::nanoseconds::max()));
}

TEST_CASE("codel: holds the wait of a queue that is offered too much", "[codel]") {
  // A worker takes an item each ms; 1.25 come in a ms; refusing takes no time.
  const auto longest_wait = [](bool sheds) {
    manual_clock clock;
    codel shed{{.target = 5ms, .interval = 100ms, .clock = clock}};
    std::deque<manual_clock::time_point> queue;
    manual_clock::duration longest{0};
    double offered = 0;
    for (int ms = 0; ms < 60'000; ++ms) {
      for (offered += 1.25; offered >= 1; offered -= 1) queue.push_back(clock.now());
      while (!queue.empty()) {
        const auto waited = clock.now() - queue.front();
        queue.pop_front();
        if (sheds && !shed.admit(waited, queue.empty())) continue;
        if (ms > 20'000) longest = std::max(longest, waited);
        break;
      }
      clock.advance(1ms);
    }
    return longest;
  };
  CHECK(longest_wait(false) > 10s);
  CHECK(longest_wait(true) < 300ms);
}

TEST_CASE("codel: a clock that steps back begins anew; targets must be shorter than intervals", "[codel][hazard-24]") {
  manual_clock clock;
  codel shed{{.clock = clock}};
  CHECK(shed.admit(1h));
  clock.set(clock.now() - 30min);
  for (int i = 0; i < 100; ++i) {
    CHECK(shed.admit(1h));
    clock.advance(1ms);
  }
  CHECK_FALSE(shed.admit(1h));
  CHECK_THROWS_AS((codel{{.target = 0ms}}), std::invalid_argument);
  CHECK_THROWS_AS((codel{{.target = 100ms, .interval = 100ms}}), std::invalid_argument);
}

}  // namespace
