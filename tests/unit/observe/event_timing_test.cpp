// Which events are timed: each while they are rare, some of them otherwise, and with which weight they count.
#include <penstock/observe/detail/event_timing.hpp>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <thread>

#include <penstock/core/manual_clock.hpp>

#include "../../support/catch.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::any_clock;
using penstock::manual_clock;
using penstock::detail::event_timing;
using penstock::detail::nanoseconds_point;
using penstock::detail::untimed;

// One in so many: chance picks none of a test's.
constexpr std::uint32_t never_picked = std::numeric_limits<std::uint32_t>::max();

// In a thread of its own, so that it does not matter what chance picked before.
template <class F>
void in_a_thread(F f) {
  std::jthread{f}.join();
}

TEST_CASE("event_timing: one in one is each, at its very time, however many come", "[observe]") {
  manual_clock clock;
  const any_clock time{clock};
  const event_timing each{1};
  for (int i = 0; i < 4; ++i) {
    const nanoseconds_point at = each.stamp(time, i % 2 == 0 ? 1 : 1000);
    CHECK(at == time.now());
    CHECK(each.weight(at) == 1);
    clock.advance(1ns);
  }
}

TEST_CASE("event_timing: what comes 2 µs after the last one for each, or later, lets the next one be timed for certain",
          "[observe]") {
  in_a_thread([] {
    manual_clock clock;
    const any_clock time{clock};
    const event_timing some{never_picked};
    for (int i = 0; i < 100; ++i) {
      const nanoseconds_point at = some.stamp(time);
      CHECK(std::abs(at - time.now()) <= 1);
      CHECK(some.weight(at) == 1);
      clock.advance(2us);
    }
    clock.advance(-1ns);
    CHECK(some.stamp(time) != untimed);  // it is the next one that this decides
    clock.advance(1h);
    CHECK(some.stamp(time) == untimed);
  });
  in_a_thread([] {
    manual_clock clock;
    const any_clock time{clock};
    const event_timing some{never_picked};
    CHECK(some.stamp(time, 16) != untimed);
    clock.advance(32us);
    CHECK(some.stamp(time, 16) != untimed);  // 2 µs for each
    CHECK(some.stamp(time, 17) == untimed);  // too many to be rare, and no reason to take others for many
    clock.advance(32us - 1ns);
    CHECK(some.stamp(time, 16) != untimed);
    CHECK(some.stamp(time) == untimed);
  });
}

TEST_CASE("event_timing: where the clock steps back, events are taken for many and not for rare", "[observe][hazard-24]") {
  in_a_thread([] {
    manual_clock clock;
    const any_clock time{clock};
    const event_timing some{never_picked};
    CHECK(some.stamp(time) != untimed);
    clock.advance(-1h);
    CHECK(some.stamp(time) != untimed);
    CHECK(some.stamp(time) == untimed);
  });
}

TEST_CASE("event_timing: weights add up to how many there were, whether they came slowly, fast or by turns", "[observe]") {
  const std::uint32_t every = GENERATE(2U, 16U, 100U);
  const auto pause = GENERATE(0ns, 1us, 40us);
  CAPTURE(every, pause.count());
  in_a_thread([&] {
    manual_clock clock;
    const any_clock time{clock};
    const event_timing some{every};
    constexpr std::size_t n = 100'000;
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (i % 1000 == 0) clock.advance(1ms);  // a pause, after which one comes alone
      clock.advance(pause);
      const nanoseconds_point at = some.stamp(time);
      if (at != untimed) sum += some.weight(at);
    }
    const double off = static_cast<double>(sum) - static_cast<double>(n);
    CHECK(off * off < 20 * static_cast<double>(n) * every);  // four and a half standard deviations
  });
}

TEST_CASE("event_timing: once they are rare again, each is timed again", "[observe]") {
  in_a_thread([] {
    manual_clock clock;
    const any_clock time{clock};
    const event_timing some{16};
    for (int i = 0; i < 1000; ++i) static_cast<void>(some.stamp(time));
    for (int i = 0; i < 1000; ++i) {
      clock.advance(1ms);
      static_cast<void>(some.stamp(time));
    }
    for (int i = 0; i < 100; ++i) {
      clock.advance(1ms);
      CHECK(some.stamp(time) % 2 != 0);  // for certain
    }
  });
}

}  // namespace
