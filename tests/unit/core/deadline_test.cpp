#include <penstock/core/deadline.hpp>

#include <chrono>
#include <type_traits>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/modifiers.hpp>

#include "../../support/catch.hpp"

using namespace std::chrono_literals;
using penstock::deadline;
using penstock::manual_clock;

TEST_CASE("deadline: the default is never", "[deadline]") {
  constexpr deadline d;
  STATIC_REQUIRE(d.is_never());
  CHECK_FALSE(d.passed());
  CHECK(d.queue() == nullptr);
  CHECK(penstock::wait_limits{}.deadline.is_never());
  CHECK_FALSE(penstock::wait_limits{}.stop.stop_possible());
}

TEST_CASE("deadline: a steady time point is taken as it is, without a timer queue", "[deadline]") {
  const auto when = std::chrono::steady_clock::now() + 1h;
  const deadline d{when};
  CHECK(d.when() == when.time_since_epoch().count());
  CHECK(d.queue() == nullptr);
  CHECK_FALSE(d.passed());
  CHECK(deadline{std::chrono::steady_clock::now()}.passed());
  CHECK(deadline{std::chrono::steady_clock::time_point::max()}.is_never());
}

TEST_CASE("deadline: a timeout that overflows means never, a negative one has passed", "[deadline][hazard-22]") {
  CHECK(deadline::after(std::chrono::hours::max()).is_never());
  CHECK(deadline::after(std::chrono::nanoseconds::max()).is_never());
  CHECK(deadline::after(std::chrono::hours::min()).passed());
  CHECK(deadline::after(-1ns).passed());
  CHECK(deadline::after(0ns).passed());
  CHECK_FALSE(deadline::after(1h).passed());
  manual_clock clock;
  CHECK(deadline::after(std::chrono::hours::max(), clock).is_never());
  CHECK(deadline::after(-1h, clock).passed());
}

namespace {

// Each object tells a time of its own, and none has timers: no thread could fire by it.
struct stopwatch {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<stopwatch>;
  [[maybe_unused]] static constexpr bool is_steady = true;
  time_point now() const noexcept { return time; }
  time_point time{};
};
static_assert(penstock::clock<stopwatch>);

template <class Clock>
concept limits_waits = requires(Clock& c) {
  deadline::after(1ms, c);
  penstock::with_timeout(1ms, c);
  deadline{c.now(), c};
};

}  // namespace

TEST_CASE("deadline: a clock whose objects differ needs timers of its own", "[deadline]") {
  STATIC_REQUIRE(limits_waits<manual_clock>);
  STATIC_REQUIRE(limits_waits<std::chrono::system_clock>);
  STATIC_REQUIRE_FALSE(penstock::detail::timed_clock<stopwatch>);
  STATIC_REQUIRE_FALSE(limits_waits<stopwatch>);
}

TEST_CASE("deadline: a time point of another clock of std's is one", "[deadline]") {
  using std::chrono::system_clock;
  const deadline later = system_clock::now() + 1h;
  CHECK(later.queue() == &penstock::timer_service<system_clock>::shared());
  CHECK_FALSE(later.passed());
  CHECK(deadline{system_clock::now()}.passed());
  CHECK(deadline{std::chrono::sys_seconds{}}.passed());                               // another duration
  STATIC_REQUIRE_FALSE(std::is_constructible_v<deadline, manual_clock::time_point>);  // which manual_clock?
}

TEST_CASE("deadline: passes by the clock that it was made for", "[deadline]") {
  manual_clock clock;
  const deadline by_timeout = deadline::after(10ms, clock);
  const deadline by_point{clock.now() + 10ms, clock};
  CHECK(by_timeout.when() == by_point.when());
  CHECK(by_timeout.queue() == &clock.timers());
  clock.advance(10ms - 1ns);
  CHECK_FALSE(by_timeout.passed());
  CHECK_FALSE(by_point.passed());
  clock.advance(1ns);
  CHECK(by_timeout.passed());
  CHECK(by_point.passed());
  clock.advance(-1ns);
  CHECK_FALSE(by_timeout.passed());
}

TEST_CASE("deadline: std's other clocks have a service of their own, the steady one needs none", "[deadline]") {
  std::chrono::system_clock wall;
  const deadline d{std::chrono::system_clock::now() + 1h, wall};
  CHECK(d.queue() == &penstock::timer_service<std::chrono::system_clock>::shared());
  CHECK_FALSE(d.passed());
  CHECK(deadline::after(-1h, wall).passed());
  std::chrono::steady_clock steady;
  CHECK(deadline::after(1h, steady).queue() == nullptr);
}

TEST_CASE("any_clock: tells the time of the clock it was given, the steady one by default", "[deadline]") {
  manual_clock manual;
  const penstock::any_clock any{manual};
  const penstock::any_clock copy = any;
  CHECK(copy.now() == manual.now().time_since_epoch().count());
  const deadline soon = copy.after(10ms);
  CHECK(soon.queue() == &manual.timers());
  manual.advance(10ms - 1ns);
  CHECK_FALSE(soon.passed());
  manual.advance(1ns);
  CHECK(soon.passed());
  CHECK(copy.after(std::chrono::hours::max()).is_never());
  CHECK(copy.after(-1ns).passed());
  const std::chrono::steady_clock steady;
  for (const penstock::any_clock& usual : {penstock::any_clock{}, penstock::any_clock{steady}}) {
    CHECK(usual.after(1h).queue() == nullptr);
    CHECK_FALSE(usual.after(1h).passed());
    CHECK(usual.after(0ms).passed());
    CHECK(usual.after(std::chrono::hours::max()).is_never());
  }
  std::chrono::system_clock wall;
  CHECK_FALSE(penstock::any_clock{wall}.after(1h).passed());
  CHECK(penstock::any_clock{wall}.after(-1s).passed());
}
