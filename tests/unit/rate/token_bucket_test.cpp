#include <penstock/rate/token_bucket.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <thread>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using bucket = token_bucket<manual_clock>;
using test_support::until;

task<errc> take(bucket& b, std::int64_t n) {
  const result<void> r = co_await b.async_acquire(n);
  co_return r ? errc{} : static_cast<errc>(r.error().value());
}
auto wait_for(bucket& b, std::int64_t n) { return spawn(take(b, n)); }

TEST_CASE("token bucket: a full one gives its burst at once and then one at a time", "[rate]") {
  manual_clock clock;
  bucket b{rate{10, 1s}, 5, clock};
  CHECK(b.available() == 5);
  CHECK(b.acquire(5));
  CHECK(b.try_acquire() == errc::empty);
  CHECK(b.retry_after() == 100ms);
  CHECK(b.retry_after(5) == 500ms);
  CHECK(b.ready_at(2) == clock.now() + 200ms);
  clock.advance(99'999'999ns);
  CHECK(b.try_acquire() == errc::empty);
  clock.advance(1ns);
  CHECK(b.retry_after() == 0ns);
  CHECK(b.try_acquire());
  CHECK(b.try_acquire() == errc::empty);
  clock.advance(24h);
  CHECK(b.available() == 5);
}

TEST_CASE("token bucket: no burst means one at a time; a cold one begins empty", "[rate]") {
  manual_clock clock;
  bucket strict{rate{10, 1s}, no_burst, clock};
  CHECK(strict.burst() == 1);
  clock.advance(1h);
  CHECK(strict.try_acquire());
  CHECK(strict.try_acquire() == errc::empty);
  CHECK(strict.retry_after() == 100ms);
  bucket cold{rate{10, 1s}, 5, clock, {.start = warm_start::empty}};
  CHECK(cold.available() == 0);
  CHECK(cold.retry_after(5) == 500ms);
}

TEST_CASE("token bucket: what no waiting would bring is an error at once", "[rate][hazard-26]") {
  manual_clock clock;
  bucket b{rate{10, 1s}, 5, clock};
  for (const std::int64_t n : {std::int64_t{6}, std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::max(),
                               std::numeric_limits<std::int64_t>::min()}) {
    CHECK_THROWS_AS(b.acquire(n), std::invalid_argument);
    CHECK_THROWS_AS(b.try_acquire(n), std::invalid_argument);
    CHECK_THROWS_AS(b.async_acquire(n), std::invalid_argument);
    CHECK_THROWS_AS(b.try_acquire_for(1s, n), std::invalid_argument);
    CHECK_THROWS_AS(b.retry_after(n), std::invalid_argument);
    CHECK_THROWS_AS(b.consume_with_debt(n), std::invalid_argument);
    if (n > 0) continue;
    CHECK_THROWS_AS(b.refund(n), std::invalid_argument);
    CHECK_THROWS_AS(b.try_acquire_up_to(n), std::invalid_argument);
    CHECK_THROWS_AS(b.set_burst(n), std::invalid_argument);
    CHECK_THROWS_AS((bucket{rate{1, 1s}, n, clock}), std::invalid_argument);
  }
  CHECK(b.available() == 5);
}

TEST_CASE("token bucket: first come, first served; a large request is not starved by small ones", "[rate][hazard-34]") {
  manual_clock clock;
  bucket b{rate{10, 1s}, 5, clock, {.start = warm_start::empty}};
  auto large = wait_for(b, 5);
  auto small = wait_for(b, 1);
  for (int i = 0; i < 4; ++i) {
    clock.advance(100ms);
    CHECK(b.try_acquire() == errc::empty);  // there is one, and it is for those who wait
    CHECK(b.try_acquire_up_to(1) == 0);
    CHECK_FALSE(large.done());
  }
  CHECK(b.waiters() == 2);
  clock.advance(100ms);
  CHECK(large.done());
  CHECK_FALSE(small.done());
  clock.advance(100ms);
  CHECK(small.done());
  CHECK(b.available() == 0);
}

TEST_CASE("token bucket: who is cancelled takes nothing, and those behind are served",
          "[rate][hazard-01][hazard-02][hazard-03]") {
  manual_clock clock;
  bucket b{rate{10, 1s}, 5, clock, {.start = warm_start::empty}};
  auto large = wait_for(b, 5);
  auto small = wait_for(b, 2);
  clock.advance(300ms);
  CHECK_FALSE(small.done());
  large.request_stop();
  CHECK(large.result() == errc::cancelled);
  CHECK(small.done());  // two of the three that are there
  CHECK(b.available() == 1);
  auto middle = wait_for(b, 3);
  auto last = wait_for(b, 1);
  middle.request_stop();  // not before its time is due: the timer is now for the one behind it
  CHECK(last.done());
  CHECK(b.available() == 0);
  std::stop_source stopped;
  stopped.request_stop();
  clock.advance(100ms);
  CHECK(b.acquire(stopped.get_token()) == errc::cancelled);
  CHECK(b.available() == 1);
}

TEST_CASE("token bucket: a deadline at the very time of the grant gives one or the other, and no token is lost",
          "[rate][hazard-04]") {
  manual_clock clock;
  bucket b{rate{10, 1s}, 5, clock, {.start = warm_start::empty}};
  // The deadline's timer is armed before the line's, or after it.
  auto first = spawn(b.async_acquire() | with_timeout(100ms, clock));
  auto second = spawn(b.async_acquire() | with_timeout(200ms, clock));
  clock.advance(100ms);
  REQUIRE(first.done());
  clock.advance(100ms);
  REQUIRE(second.done());
  const std::int64_t granted = first.result().has_value() + second.result().has_value();
  CHECK(b.available() == 2 - granted);
}

TEST_CASE("token bucket: a wait has one deadline, however often others take what it waits for", "[rate][hazard-05][hazard-23]") {
  manual_clock clock;
  bucket b{rate{10, 1s}, 5, clock, {.start = warm_start::empty}};
  auto waiting = spawn(b.async_acquire() | with_timeout(350ms, clock));
  for (int i = 0; i < 3; ++i) {
    clock.advance(50ms);
    CHECK(b.consume_with_debt(1));  // borrows past the line
    clock.advance(50ms);
    CHECK_FALSE(waiting.done());
  }
  clock.advance(49'999'999ns);
  CHECK_FALSE(waiting.done());
  clock.advance(1ns);
  CHECK(waiting.result() == errc::timeout);
  CHECK(b.try_acquire_for(0s) == errc::timeout);
}

TEST_CASE("token bucket: the longest timeouts mean for ever, negative ones now", "[rate][hazard-22][hazard-23]") {
  manual_clock clock;
  bucket b{rate{1, 1h}, 1, clock};
  CHECK(b.try_acquire_for(-1s));
  CHECK(b.try_acquire_for(std::chrono::hours::min()) == errc::timeout);
  auto for_ever = spawn(b.async_acquire() | with_timeout(std::chrono::hours::max(), clock));
  result<void> got;
  std::jthread thread{[&] { got = b.try_acquire_for(std::chrono::hours::max()); }};
  until([&] { return b.waiters() == 2; });
  clock.advance(1h - 1ns);
  CHECK_FALSE(for_ever.done());
  clock.advance(1ns);
  CHECK(for_ever.result());
  clock.advance(1h);
  thread.join();
  CHECK(got);
  CHECK(b.available() == 0);
}

TEST_CASE("token bucket: a clock that steps back earns nothing until it is where it was", "[rate][hazard-24]") {
  manual_clock clock;
  bucket b{rate{10, 1s}, 5, clock};
  const auto start = clock.now();
  CHECK(b.acquire(5));
  clock.set(start - 30min);
  CHECK(b.try_acquire() == errc::empty);
  CHECK(b.available() <= 0);
  CHECK(b.ready_at() == start + 100ms);
  clock.advance(30min);
  CHECK(b.try_acquire() == errc::empty);
  clock.advance(100ms);
  CHECK(b.try_acquire());
  clock.set(start - 1h);  // a change meanwhile is no way around it
  b.set_rate(rate{1000, 1s});
  CHECK(b.try_acquire() == errc::empty);
  CHECK(b.ready_at() == start + 101ms);
  b.set_burst(100);
  CHECK(b.ready_at() == start + 101ms);
  clock.set(start + 100ms);
  CHECK(b.available() == 0);
}

TEST_CASE("token bucket: a new rate counts from now on, grants no bonus and leaves no deeper debt", "[rate][hazard-26]") {
  manual_clock clock;
  bucket b{rate{100, 1s}, 50, clock, {.start = warm_start::empty}};
  clock.advance(100ms);
  b.set_rate(rate{1, 1s});
  CHECK(b.rate() == rate{1, 1s});
  CHECK(b.available() == 10);  // earned at the old rate
  clock.advance(1s);
  CHECK(b.available() == 11);
  b.set_rate(rate{100, 1s});
  CHECK(b.available() == 11);  // the second before is not counted again
  const auto paid = b.consume_with_debt(50);
  REQUIRE(paid);
  CHECK(*paid == 390ms);
  b.set_rate(rate{1, 1min});  // the debt was for 390 ms, and stays so
  CHECK(b.retry_after() == 1min + 390ms);
  auto waiting = wait_for(b, 2);
  b.set_rate(rate{2, 1s});  // wakes the line earlier
  clock.advance(1'389'999'999ns);
  CHECK_FALSE(waiting.done());
  clock.advance(1ns);
  CHECK(waiting.done());
}

TEST_CASE("token bucket: a larger burst is no present, a smaller one cuts what is there and who asks for more",
          "[rate][hazard-26]") {
  manual_clock clock;
  bucket b{rate{10, 1s}, 5, clock};
  b.set_burst(100);
  CHECK(b.burst() == 100);
  CHECK(b.available() == 5);
  clock.advance(1s);
  CHECK(b.available() == 15);
  b.set_burst(10);
  CHECK(b.available() == 10);
  CHECK(b.try_acquire(10));
  auto large = wait_for(b, 10);
  auto small = wait_for(b, 2);
  b.set_burst(5);
  CHECK(large.result() == errc::rejected);
  clock.advance(200ms);
  CHECK(small.done());
  b.set_burst(std::int64_t{1} << 45);
  CHECK_THROWS_AS(b.set_burst((std::int64_t{1} << 45) + 1), std::invalid_argument);
  CHECK(b.burst() == std::int64_t{1} << 45);
  for (int bits = 1; bits < 35; ++bits) {
    bucket slow{rate{1, 1h}, std::int64_t{1} << bits, clock};
    slow.set_burst(1);  // the unit becomes very much finer
    CHECK(slow.available() == 1);
  }
}

TEST_CASE("token bucket: what is refunded serves those who wait, and is not more than the burst", "[rate]") {
  manual_clock clock;
  bucket b{rate{1, 1s}, 5, clock};
  CHECK(b.acquire(5));
  auto first = wait_for(b, 2);
  auto second = wait_for(b, 3);
  b.refund(2);
  CHECK(first.done());
  clock.advance(2s);
  CHECK_FALSE(second.done());
  b.refund();
  CHECK(second.done());
  CHECK(b.available() == 0);
  b.refund(std::numeric_limits<std::int64_t>::max());
  CHECK(b.available() == 5);
  b.refund();
  CHECK(b.available() == 5);
}

TEST_CASE("token bucket: as many as there are; all of them; on credit", "[rate]") {
  manual_clock clock;
  bucket b{rate{10, 1s}, 5, clock};
  CHECK(b.try_acquire_up_to(3) == 3);
  CHECK(b.try_acquire_up_to(3) == 2);
  CHECK(b.try_acquire_up_to(3) == 0);
  clock.advance(250ms);
  CHECK(b.drain() == 2);
  CHECK(b.retry_after() == 50ms);  // the half token stayed
  CHECK(b.drain() == 0);
  const auto credit = b.consume_with_debt(5);
  REQUIRE(credit);
  CHECK(*credit == 450ms);
  CHECK(b.available() == -4);
  CHECK(b.consume_with_debt(1, 4) == errc::empty);
  CHECK(b.consume_with_debt(1) == errc::empty);  // would be 5.5, more than the burst
  CHECK_THROWS_AS(b.consume_with_debt(1, -1), std::invalid_argument);
  clock.advance(450ms);
  CHECK(b.available() == 0);
  result<std::int64_t> got{0};
  std::jthread thread{[&] { got = b.acquire_up_to(3); }};
  until([&] { return b.waiters() == 1; });
  clock.advance(100ms);
  thread.join();
  CHECK(got == 1);
  clock.advance(300ms);
  CHECK(b.acquire_up_to(wait_limits{}, 5) == 3);
  CHECK(*b.consume_with_debt(1, 1) == 100ms);

  // A change makes no room for as deep a debt once more.
  b.drain();
  CHECK(b.consume_with_debt(4));
  for (const auto& r : {rate{10, 1s}, rate{20, 1s}, rate{10, 1s}}) b.set_rate(r);
  CHECK(b.available() == -5);  // the one before was paid off at the end of this
  CHECK(b.consume_with_debt(1) == errc::empty);
  clock.advance(100ms);
  CHECK(b.available() == -4);
  CHECK(*b.consume_with_debt(1) == 500ms);

  // A debt of more than 292 years is one, too.
  token_bucket<manual_clock> slow{rate{1, 1min}, 900'000'000, clock, {.start = warm_start::empty}};
  const auto ages = slow.consume_with_debt(900'000'000);
  REQUIRE(ages);
  CHECK(*ages > 250 * 365 * 24h);
  CHECK(slow.available() == -900'000'000);
}

TEST_CASE("token bucket: close ends every wait, and everything after it", "[rate]") {
  manual_clock clock;
  bucket b{rate{1, 1s}, 5, clock, {.start = warm_start::empty}};
  auto waiting = wait_for(b, 2);
  result<void> got;
  std::jthread thread{[&] { got = b.acquire(); }};
  until([&] { return b.waiters() == 2; });
  b.close();
  thread.join();
  CHECK(got == errc::closed);
  CHECK(waiting.result() == errc::closed);
  clock.advance(10s);
  CHECK(b.try_acquire() == errc::closed);
  CHECK(b.acquire(wait_limits{}) == errc::closed);
  CHECK(b.consume_with_debt(1) == errc::closed);
  CHECK(b.try_acquire_up_to(1) == 0);
  CHECK(b.is_closed());
}

TEST_CASE("token bucket: threads and coroutines stand in one line, with every kind of limit", "[rate]") {
  manual_clock clock;
  bucket b{rate{1, 1s}, 5, clock, {.start = warm_start::empty}};
  std::stop_source stop;
  result<void> got[3];
  std::jthread blocked{[&] {
    got[0] = b.acquire(stop.get_token(), 2);
    got[1] = b.try_acquire_until({clock.now() + 1s, clock});
  }};
  until([&] { return b.waiters() == 1; });
  auto coroutine = wait_for(b, 1);
  std::jthread stopped{[&] { got[2] = b.acquire({.stop = stop.get_token(), .deadline = {clock.now() + 24h, clock}}); }};
  until([&] { return b.waiters() == 3; });
  clock.advance(2s);
  until([&] { return b.waiters() == 3; });  // the thread is back, at the end of the line
  CHECK_FALSE(coroutine.done());
  clock.advance(1s);
  blocked.join();
  CHECK(coroutine.done());
  stop.request_stop();
  stopped.join();
  CHECK(got[0]);
  CHECK(got[1] == errc::timeout);
  CHECK(got[2] == errc::cancelled);
}

TEST_CASE("token bucket: who was served may destroy it", "[rate]") {
  // The coroutine owns the bucket; it goes on inside advance(), inside a refund's caller, or when it times out at the time of the grant.
  manual_clock clock;
  const auto own = [](manual_clock& c, std::chrono::milliseconds limit) -> task<bool> {
    const auto b = std::make_unique<bucket>(rate{10, 1s}, 5, c, token_bucket_options{.start = warm_start::empty});
    const result<void> r = co_await (b->async_acquire() | with_timeout(limit, c));
    co_return r.has_value();
  };
  auto granted = spawn(own(clock, 1s));
  auto either = spawn(own(clock, 100ms));
  auto late = spawn(own(clock, 50ms));
  clock.advance(100ms);
  CHECK(granted.result());
  CHECK(either.done());
  CHECK_FALSE(late.result());
  CHECK(clock.next_timer() == manual_clock::time_point::max());  // no timer is left behind
}

TEST_CASE("token bucket: its end does not wait for what a coroutine that was served goes on with", "[rate]") {
  manual_clock clock;
  auto b = std::make_unique<bucket>(rate{1, 1s}, 1, clock, token_bucket_options{.start = warm_start::empty});
  std::stop_source stop;
  const auto served = [](std::unique_ptr<bucket>& owner, std::stop_source& other) -> task<> {
    auto turn = owner->async_acquire();
    const result<void> mine = co_await std::move(turn);
    CHECK(mine);
    std::jthread{[&] {
      other.request_stop();
      owner.reset();
    }}.join();
  };
  auto first = spawn(served(b, stop));
  auto behind = spawn(b->async_acquire() | with_stop(stop.get_token()));
  clock.advance(1s);
  REQUIRE(first.done());
  CHECK(behind.result() == errc::cancelled);
}

TEST_CASE("token bucket: on the steady clock it is served by the timer thread", "[rate]") {
  token_bucket b{rate{1000, 1s}, 2};
  const auto start = std::chrono::steady_clock::now();
  CHECK(b.acquire(2));
  CHECK(b.acquire(2));
  CHECK(std::chrono::steady_clock::now() - start >= 2ms);
  token_bucket<std::chrono::system_clock> s{rate{1000, 1s}, no_burst};
  CHECK(s.acquire());
  CHECK(s.acquire());
  CHECK(s.try_acquire_for(1s));
}

}  // namespace
