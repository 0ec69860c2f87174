#include <penstock/core/manual_clock.hpp>
#include <penstock/observe/busy_time.hpp>

#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../../support/catch.hpp"

namespace {

using namespace std::chrono_literals;
using time_point = std::chrono::steady_clock::time_point;

constexpr time_point at(std::chrono::nanoseconds since_start) { return time_point{since_start}; }

}  // namespace

TEST_CASE("busy_time: one slot is busy from enter to leave", "[busy_time]") {
  penstock::busy_time working{1, at(0ns)};
  working.enter(at(10ns));
  working.leave(at(40ns));
  const auto s = working.snapshot(at(100ns));
  CHECK(s == penstock::busy_snapshot{30ns, 100ns});
  CHECK(s.utilization() == Approx(0.3));
}

TEST_CASE("busy_time: a slot that is still busy counts up to the moment of the snapshot", "[busy_time]") {
  penstock::busy_time working{1, at(0ns)};
  working.enter(at(50ns));
  CHECK(working.snapshot(at(60ns)).busy == 10ns);
  CHECK(working.snapshot(at(90ns)).busy == 40ns);
  working.leave(at(100ns));
  CHECK(working.snapshot(at(500ns)).busy == 50ns);
}

TEST_CASE("busy_time: overlapping slots add up and utilization is a share of all slots", "[busy_time]") {
  penstock::busy_time working{4, at(0ns)};
  working.enter(at(0ns));
  working.enter(at(20ns));
  working.leave(at(60ns));
  working.leave(at(80ns));
  const auto s = working.snapshot(at(100ns));
  CHECK(s.busy == 120ns);
  CHECK(s.offered == 400ns);
  CHECK(s.utilization() == Approx(0.3));
}

TEST_CASE("busy_time: an interval sees only its own part of a long occupation", "[busy_time]") {
  penstock::busy_time working{2, at(0ns)};
  working.enter(at(0ns));
  const auto before = working.snapshot(at(1000ns));
  working.enter(at(1050ns));
  const auto interval = working.snapshot(at(1100ns)).since(before);
  CHECK(interval == penstock::busy_snapshot{150ns, 200ns});
}

TEST_CASE("busy_time: snapshots of several components merge into the utilization of all their slots", "[busy_time]") {
  penstock::busy_snapshot all{10ns, 100ns};
  all.merge({50ns, 100ns});
  CHECK(all == penstock::busy_snapshot{60ns, 200ns});
  CHECK(penstock::busy_snapshot{}.utilization() == 0.0);
}

TEST_CASE("busy_time: a time point that lies behind counts as the latest seen", "[busy_time]") {
  penstock::busy_time working{1, at(100ns)};
  working.enter(at(200ns));
  CHECK(working.snapshot(at(150ns)) == penstock::busy_snapshot{0ns, 100ns});
  CHECK(working.snapshot(at(300ns)) == penstock::busy_snapshot{100ns, 200ns});
  working.leave(at(250ns));  // late: the 100 ns that were reported stay
  CHECK(working.snapshot(at(400ns)) == penstock::busy_snapshot{100ns, 300ns});
}

TEST_CASE("busy_time: saturates instead of wrapping", "[busy_time]") {
  constexpr auto longest = std::chrono::nanoseconds::max();
  penstock::busy_time working{3, at(0ns)};
  working.enter(at(0ns));
  const auto s = working.snapshot(at(longest / 2));
  CHECK(s.busy == longest / 2);
  CHECK(s.offered == longest);
  penstock::busy_snapshot twice = s;
  twice.merge(s);
  twice.merge(s);
  CHECK(twice.busy == longest);
}

TEST_CASE("busy_time: no slots is an invalid argument", "[busy_time]") {
  CHECK_THROWS_AS((penstock::busy_time{0, at(0ns)}), std::invalid_argument);
}

TEST_CASE("busy_scope: measures by a clock that is an object", "[busy_time]") {
  penstock::manual_clock clock;
  penstock::basic_busy_time<penstock::manual_clock> working{2, clock.now()};
  {
    const penstock::busy_scope outer{working, clock};
    clock.advance(4ms);
    {
      const penstock::busy_scope inner{working, clock};
      clock.advance(1ms);
    }
    clock.advance(5ms);
  }
  clock.advance(10ms);
  CHECK(working.snapshot(clock.now()) == penstock::busy_snapshot{11ms, 40ms});
}

TEST_CASE("busy_scope: a clock that steps back takes nothing away", "[busy_time]") {
  penstock::manual_clock clock;
  penstock::basic_busy_time<penstock::manual_clock> working{1, clock.now()};
  {
    const penstock::busy_scope scope{working, clock};
    clock.advance(8ms);
    CHECK(working.snapshot(clock.now()).busy == 8ms);
    clock.advance(-5ms);
  }
  CHECK(working.snapshot(clock.now()) == penstock::busy_snapshot{8ms, 8ms});
}

TEST_CASE("busy_time: threads on the steady clock never exceed their slots", "[busy_time]") {
  penstock::busy_time working{4};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&working] {
        for (int i = 0; i < 2'000; ++i) const penstock::busy_scope scope{working};
      });
    }
  }
  const auto s = working.snapshot();
  CHECK(s.busy > 0ns);
  CHECK(s.busy <= s.offered);
  CHECK(working.snapshot().busy == s.busy);  // everyone has left
}
