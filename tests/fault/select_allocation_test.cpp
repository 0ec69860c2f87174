// select and tickers in a program that counts allocations.
#include <atomic>
#include <chrono>
#include <stop_token>
#include <thread>

#include <penstock/channel/channel.hpp>
#include <penstock/channel/select.hpp>
#include <penstock/channel/ticker.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>

#include "../support/catch.hpp"
#include "../support/counting_new.hpp"
#include "../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using test_support::until;

constexpr auto no_timer = manual_clock::time_point::max();
constexpr auto never_called = [](auto&&...) { FAIL("this branch must not happen"); };
constexpr auto ignore = [](auto&&...) {};

}  // namespace

TEST_CASE("select: waiting does not allocate", "[select]") {
  channel<int> a{1};
  channel<int> b{1};
  manual_clock clock;
  std::stop_source stop;
  std::atomic<bool> ready = false;
  long made = -1;
  std::jthread waiting{[&] {
    const std::stop_token token = stop.get_token();
    ready = true;
    const long before = counting_new::made;
    select(on_pop(a, ignore), on_pop(b, ignore), on_timeout(1h, clock, never_called), on_stop(token, never_called));
    made = counting_new::made - before;
  }};
  until([&] { return ready && clock.next_timer() != no_timer; });
  CHECK(b.push(1));
  waiting.join();
  CHECK(made == 0);  // 0 too where nothing is counted
}

TEST_CASE("async_select: waiting does not allocate, beside the coroutine's frame", "[select]") {
  channel<int> a{1};
  channel<int> b{1};
  manual_clock clock;
  long single = counting_new::made;
  {
    CHECK(spawn(async_select(pop_case(a), timeout_case(0ns))).result());
  }  // does not wait
  single = counting_new::made - single;
  const long before = counting_new::made;
  auto waiting = spawn(async_select(pop_case(a), pop_case(b), timeout_case(1h, clock)));
  CHECK(b.push(1));
  CHECK(waiting.result());
  CHECK(counting_new::made - before == single);
}

TEST_CASE("tick: a tick allocates nothing", "[ticker]") {
  manual_clock clock;
  auto ticks = tick(1ms, clock);
  const long before = counting_new::made;
  int read = 0;
  for (int i = 0; i < 100; ++i) {
    clock.advance(1ms);
    read += ticks.try_pop().has_value() ? 1 : 0;
  }
  CHECK(counting_new::made == before);
  CHECK(read == 100);
}
