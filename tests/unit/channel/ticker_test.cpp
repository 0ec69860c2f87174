#include <penstock/channel/ticker.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include <penstock/channel/select.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using test_support::until;

constexpr auto no_timer = manual_clock::time_point::max();

// A clock whose timers notice late: time has moved on by more than a period when one fires.
class leaping_clock {
 public:
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<leaping_clock, duration>;

  time_point now() const noexcept { return time_point{duration{timers_.time}}; }
  timer_queue& timers() noexcept { return timers_; }
  void leap(duration by) {
    timers_.time += by.count();
    while (timers_.fire_next(timers_.time)) {
    }
  }

 private:
  struct queue : timer_queue {
    using timer_queue::fire_next;
    std::int64_t time = 0;
    std::int64_t now() const noexcept override { return time; }
    void add(entry& e, std::int64_t when) override { insert(e, when); }
  };
  queue timers_;
};

}  // namespace

TEST_CASE("tick: one tick each period, at its own time", "[ticker]") {
  manual_clock clock;
  const auto start = clock.now();
  auto ticks = tick(10ms, clock);
  CHECK(ticks.try_pop() == errc::empty);
  clock.advance(10ms - 1ns);
  CHECK(ticks.try_pop() == errc::empty);
  clock.advance(1ns);
  CHECK(ticks.try_pop() == start + 10ms);
  CHECK(ticks.try_pop() == errc::empty);
  for (int n = 2; n < 20; ++n) {
    clock.advance(10ms);
    CHECK(ticks.try_pop() == start + n * 10ms);
  }
}

TEST_CASE("tick: a reader that is slow loses ticks and finds no queue of them", "[ticker]") {
  manual_clock clock;
  const auto start = clock.now();
  auto ticks = tick(10ms, clock);
  clock.advance(95ms);
  CHECK(ticks.try_pop() == start + 10ms);
  CHECK(ticks.try_pop() == errc::empty);
  clock.advance(5ms);
  CHECK(ticks.try_pop() == start + 100ms);
}

TEST_CASE("tick: noticed late, the next one is due at its own time all the same", "[ticker]") {
  leaping_clock clock;
  auto ticks = tick(10ms, clock);
  using at = leaping_clock::time_point;
  clock.leap(10ms);
  CHECK(ticks.try_pop() == at{10ms});
  clock.leap(13ms);  // 3 ms late: no drift
  CHECK(ticks.try_pop() == at{20ms});
  clock.leap(7ms);
  CHECK(ticks.try_pop() == at{30ms});
  clock.leap(35ms);  // two are lost, the latest one is told
  CHECK(ticks.try_pop() == at{60ms});
  CHECK(ticks.try_pop() == errc::empty);
  clock.leap(4ms);
  CHECK(ticks.try_pop() == errc::empty);
  clock.leap(1ms);
  CHECK(ticks.try_pop() == at{70ms});
}

TEST_CASE("tick: a period that is not positive is refused, the longest is for ever", "[ticker]") {
  manual_clock clock;
  CHECK_THROWS_AS(tick(0ms, clock), std::invalid_argument);
  CHECK_THROWS_AS(tick(-1ns, clock), std::invalid_argument);
  CHECK_THROWS_AS(tick(std::chrono::hours::min()), std::invalid_argument);
  CHECK(clock.next_timer() == no_timer);
  auto never = tick(std::chrono::hours::max(), clock);
  CHECK(clock.next_timer() == no_timer);
  auto ticks = tick(1ms, clock);
  CHECK_THROWS_AS(ticks.reset(0ms), std::invalid_argument);
  clock.advance(1ms);
  CHECK(ticks.try_pop());  // a refused reset changed nothing
}

TEST_CASE("after: one time, at its time", "[ticker]") {
  manual_clock clock;
  const auto start = clock.now();
  auto late = after(5ms, clock);
  clock.advance(5ms);
  CHECK(clock.next_timer() == no_timer);
  CHECK(late.try_pop() == start + 5ms);
  clock.advance(1h);
  CHECK(late.try_pop() == errc::empty);
  late.reset(7ms);
  clock.advance(7ms);
  CHECK(late.try_pop() == start + 5ms + 1h + 7ms);

  CHECK(after(0ms, clock).try_pop() == clock.now());
  CHECK(after(-1h, clock).try_pop());
  auto never = after(std::chrono::hours::max(), clock);
  CHECK(clock.next_timer() == no_timer);
}

TEST_CASE("tick: on the steady clock, not before its time", "[ticker]") {
  const auto begin = std::chrono::steady_clock::now();
  auto ticks = tick(500us);
  const auto first = ticks.pop();
  CHECK(std::chrono::steady_clock::now() >= *first);
  CHECK(*first >= begin + 500us);
  CHECK(*ticks.pop() >= *first + 500us);
  CHECK(after(200us).pop().has_value());
}

TEST_CASE("tick: stop and reset leave nothing of before", "[ticker]") {
  manual_clock clock;
  auto ticks = tick(10ms, clock);
  clock.advance(10ms);
  ticks.stop();  // a tick is there
  CHECK(ticks.try_pop() == errc::empty);
  CHECK(clock.next_timer() == no_timer);
  clock.advance(1h);
  CHECK(ticks.try_pop() == errc::empty);
  ticks.stop();

  const auto start = clock.now();
  ticks.reset(3ms);
  clock.advance(3ms);
  CHECK(ticks.try_pop() == start + 3ms);
  clock.advance(3ms);
  ticks.reset(5ms);
  CHECK(ticks.try_pop() == errc::empty);
  clock.advance(5ms);
  CHECK(ticks.try_pop() == start + 11ms);
  clock.advance(5ms);
  CHECK(ticks.try_pop() == start + 16ms);
}

TEST_CASE("tick: close ends those who wait and the loops", "[ticker]") {
  manual_clock clock;
  auto ticks = tick(10ms, clock);
  std::atomic<int> read = 0;
  std::jthread looping{[&] {
    for (auto due : ticks) {
      static_cast<void>(due);
      ++read;
    }
  }};
  for (int n = 1; n <= 3; ++n) {
    clock.advance(10ms);
    until([&] { return read == n; });
  }
  ticks.close();
  looping.join();
  CHECK(clock.next_timer() == no_timer);
  CHECK(ticks.pop() == errc::closed);
  ticks.reset(1ms);  // for good
  clock.advance(1ms);
  CHECK(ticks.pop() == errc::closed);
}

TEST_CASE("tick: read by coroutines and in selects, as a channel", "[ticker]") {
  manual_clock clock;
  const auto start = clock.now();
  auto ticks = tick(10ms, clock);
  auto waiting = spawn(ticks.async_pop());
  clock.advance(10ms);
  REQUIRE(waiting.done());
  CHECK(waiting.result() == start + 10ms);

  channel<int> c{1};
  auto selecting = spawn(async_select(pop_case(c), pop_case(ticks)));
  clock.advance(10ms);
  REQUIRE(selecting.done());
  CHECK(selecting.result()->get<1>() == start + 20ms);

  clock.advance(10ms);
  CHECK(select(on_pop(c, [](auto) {}), on_pop(ticks, [&](auto due) { CHECK(due == start + 30ms); })) == 1);
  clock.advance(10ms);
  CHECK(select(on_pop(ticks.channel(), [&](auto due) { CHECK(due == start + 40ms); }), on_timeout(1h, [] {})) == 0);
}

namespace {

// Its ticker goes with its frame, inside the tick that resumed it.
task<int> count_to(int n, manual_clock& clock) {
  auto ticks = tick(10ms, clock);
  for (int i = 0; i < n; ++i) {
    auto t = co_await ticks.async_pop();
    if (!t) co_return -1;
  }
  co_return n;
}

task<std::vector<std::int64_t>> slow_down(manual_clock& clock) {
  const auto start = clock.now();
  std::vector<std::int64_t> seen;
  auto ticks = tick(10ms, clock);
  for (int i = 1; i <= 3; ++i) {
    auto t = co_await ticks.async_pop();
    seen.push_back((*t - start) / 1ms);
    ticks.reset(i * 100ms);
  }
  ticks.stop();
  co_return seen;
}

}  // namespace

TEST_CASE("tick: what a tick resumes may destroy, reset or stop the ticker", "[ticker][hazard-14]") {
  manual_clock clock;
  auto counting = spawn(count_to(3, clock));
  clock.advance(29ms);
  CHECK_FALSE(counting.done());
  clock.advance(1ms);
  REQUIRE(counting.done());
  CHECK(counting.result() == 3);
  CHECK(clock.next_timer() == no_timer);

  auto slowing = spawn(slow_down(clock));
  clock.advance(1s);
  REQUIRE(slowing.done());
  CHECK(slowing.result() == std::vector<std::int64_t>{10, 110, 310});
  CHECK(clock.next_timer() == no_timer);
}

TEST_CASE("tick: destroyed, reset and read while another thread moves the clock", "[ticker][hazard-14]") {
  manual_clock clock;
  std::atomic<bool> over = false;
  std::jthread moving{[&] {
    while (!over) clock.advance(1ms);
  }};
  for (int i = 0; i < 300; ++i) {
    auto ticks = tick(1ms, clock);
    if (i % 2 == 0) CHECK(ticks.pop());
    if (i % 3 == 0) {
      ticks.reset(2ms);
      CHECK(ticks.pop());
    }
    if (i % 5 == 0) {
      ticks.stop();
      CHECK(ticks.try_pop() == errc::empty);
      CHECK(ticks.try_pop() == errc::empty);
    }
  }
  over = true;
  moving.join();
  CHECK(clock.next_timer() == no_timer);
}
