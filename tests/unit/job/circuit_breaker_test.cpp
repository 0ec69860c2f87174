#include <penstock/job/circuit_breaker.hpp>

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/job/retry.hpp>
#include <penstock/sync/event.hpp>

#include "../../support/catch.hpp"

using namespace std::chrono_literals;
using penstock::attempt_failure;
using penstock::backoff;
using penstock::breaker_reason;
using penstock::breaker_state;
using penstock::breaker_transition;
using penstock::circuit_breaker;
using penstock::circuit_breaker_options;
using penstock::errc;
using penstock::event;
using penstock::manual_clock;
using penstock::result;
using penstock::spawn;
using penstock::task;

namespace {

struct bench {
  manual_clock clock;
  std::vector<breaker_transition> changes;
  circuit_breaker breaker;

  explicit bench(circuit_breaker_options o) : breaker{with(std::move(o))} {}

  // S success, F failure, I ignored, s and f slow ones; the number that passed.
  int calls(const char* how) {
    int passed = 0;
    for (; *how != '\0'; ++how) {
      auto permit = breaker.try_acquire();
      if (!permit) continue;
      ++passed;
      if (*how == 's' || *how == 'f') clock.advance(100ms);
      if (*how == 'F' || *how == 'f') permit->failure();
      if (*how == 'I') permit->ignored();
    }
    return passed;
  }
  breaker_state state() const { return breaker.state(); }
  const breaker_transition& last() const { return changes.back(); }

 private:
  circuit_breaker_options with(circuit_breaker_options o) {
    o.on_transition = [this](const breaker_transition& t) { changes.push_back(t); };
    o.clock = clock;
    return o;
  }
};

task<result<void>> waits_for(event& e) { co_return co_await e.async_wait(); }

}  // namespace

TEST_CASE("circuit_breaker: opens when too large a share of the last calls failed, but not before there are enough",
          "[breaker]") {
  bench b{{.failure_rate = 0.5, .minimum_calls = 4, .window_calls = 6}};
  CHECK(b.calls("FFF") == 3);
  CHECK(b.state() == breaker_state::closed);
  SECTION("the call that completes the minimum counts, even a success") {
    CHECK(b.calls("SS") == 1);
    CHECK(b.state() == breaker_state::open);
    REQUIRE(b.changes.size() == 1);
    CHECK(b.last().number == 1);
    CHECK(b.last().from == breaker_state::closed);
    CHECK(b.last().to == breaker_state::open);
    CHECK(b.last().why == breaker_reason::failures);
    CHECK(b.last().calls == 4);
    CHECK(b.last().failures == 3);
    CHECK(b.last().open_for == 30s);
    CHECK(b.breaker.try_acquire() == errc::rejected);
    const auto s = b.breaker.stats();
    CHECK(s.calls == 0);
    CHECK(s.succeeded == 1);
    CHECK(s.failed == 3);
    CHECK(s.refused == 2);
    CHECK(s.opened == 1);
  }
  SECTION("old calls fall out of the window, ignored ones never come in") {
    CHECK(b.calls("IIII") == 4);
    CHECK(b.breaker.stats().calls == 3);
    b.breaker.reset();
    CHECK(b.calls("SSSSFFSSSSFFF") == 13);  // of the last six never more than two, then three
    CHECK(b.state() == breaker_state::open);
    CHECK(b.last().failures == 3);
    CHECK(b.last().calls == 6);
    CHECK(b.breaker.stats().succeeded == 8);
  }
  SECTION("the failure that pushes a success out of the window counts, and opens it for the whole time") {
    bench full{{.failure_rate = 0.75, .minimum_calls = 4, .window_calls = 4}};
    CHECK(full.calls("SSFFF") == 5);
    CHECK(full.state() == breaker_state::open);
    CHECK(full.breaker.retry_after() == 30s);
  }
  SECTION("shares that no binary fraction is, and very small ones") {
    bench thirds{{.failure_rate = 2.0 / 3, .minimum_calls = 3, .window_calls = 3, .trial_calls = 3}};
    CHECK(thirds.calls("FSFS") == 3);
    CHECK(thirds.state() == breaker_state::open);
    thirds.clock.advance(30s);
    CHECK(thirds.calls("FSFS") == 3);
    CHECK(thirds.last().from == breaker_state::half_open);
    CHECK(thirds.state() == breaker_state::open);
    bench tiny{{.failure_rate = 1e-9, .minimum_calls = 2, .window_calls = 2}};
    CHECK(tiny.calls("SSS") == 3);
    CHECK(tiny.state() == breaker_state::closed);
  }
}

TEST_CASE("circuit_breaker: by time, only the calls of the window count", "[breaker]") {
  bench b{{.failure_rate = 0.5, .minimum_calls = 4, .window = 10s}};
  CHECK(b.calls("FFF") == 3);
  b.clock.advance(9s);
  CHECK(b.breaker.stats().failures == 3);
  b.clock.advance(1s);
  CHECK(b.breaker.stats().failures == 0);
  CHECK(b.calls("SSSFF") == 5);
  CHECK(b.state() == breaker_state::closed);
  b.clock.advance(-1min);  // a clock that steps back
  CHECK(b.breaker.stats().calls == 5);
  b.clock.advance(1min);
  CHECK(b.breaker.stats().calls == 5);
  CHECK(b.calls("F") == 1);
  CHECK(b.state() == breaker_state::open);
  CHECK(b.last().calls == 6);
  b.breaker.reset();
  b.clock.advance(24h);
  CHECK(b.breaker.stats().calls == 0);
}

TEST_CASE("circuit_breaker: opens when too many are slow, whether they succeed or not", "[breaker]") {
  bench b{{.failure_rate = 1, .minimum_calls = 4, .slow_call = 100ms, .slow_rate = 0.75}};
  CHECK(b.calls("sSsSf") == 5);
  CHECK(b.breaker.stats().slow == 3);
  CHECK(b.state() == breaker_state::closed);
  CHECK(b.calls("ssss") == 3);
  CHECK(b.last().why == breaker_reason::slow_calls);
  CHECK(b.last().slow == 6);
  // Half-open, those that have not ended may be slow yet.
  bench half{{.failure_rate = 1, .minimum_calls = 1, .slow_call = 100ms, .slow_rate = 0.5, .trial_calls = 4}};
  half.calls("F");
  half.clock.advance(30s);
  CHECK(half.calls("SS") == 2);
  CHECK(half.state() == breaker_state::half_open);
  CHECK(half.calls("ssS") == 2);
  CHECK(half.last().why == breaker_reason::slow_calls);
  CHECK(half.state() == breaker_state::open);
}

TEST_CASE("circuit_breaker: after its time a few calls pass on trial, and decide as soon as they can", "[breaker]") {
  bench b{{.minimum_calls = 2, .open_for = backoff::exponential(1s, 1min), .trial_calls = 4}};
  b.calls("FF");
  CHECK(b.breaker.retry_after() == 1s);
  b.clock.advance(1s - 1ns);
  CHECK(b.calls("S") == 0);
  CHECK(b.breaker.retry_after() == 1ns);
  b.clock.advance(1ns);
  std::vector<circuit_breaker::permit> out;
  for (int i = 0; i < 6; ++i) {
    if (auto p = b.breaker.try_acquire()) out.push_back(std::move(*p));
  }
  REQUIRE(out.size() == 4);  // no more than trial_calls
  CHECK(b.state() == breaker_state::half_open);
  CHECK(b.last().why == breaker_reason::time);
  SECTION("half of them failed: open again, for longer, and what comes in late decides nothing") {
    out[0].success();
    out[1].failure();
    CHECK(b.state() == breaker_state::half_open);
    out[2].failure();
    CHECK(b.state() == breaker_state::open);
    CHECK(b.last().from == breaker_state::half_open);
    CHECK(b.last().open_for == 2s);
    CHECK(b.last().calls == 3);
    b.clock.advance(2s);
    CHECK(b.calls("S") == 1);
    out[3].failure();
    CHECK(b.state() == breaker_state::half_open);
    CHECK(b.breaker.stats().failures == 0);
    CHECK(b.calls("SS") == 2);
    CHECK(b.state() == breaker_state::closed);
    b.calls("FF");
    CHECK(b.last().open_for == 1s);  // a time of success in between
  }
  SECTION("more than half went well: closed, with nothing in the window") {
    out[0].failure();
    out[1].success();
    out[2].success();
    CHECK(b.state() == breaker_state::half_open);
    out[3].success();
    CHECK(b.state() == breaker_state::closed);
    CHECK(b.last().why == breaker_reason::trials_passed);
    CHECK(b.last().failures == 1);
    CHECK(b.breaker.stats().calls == 0);
  }
  SECTION("one that is ignored gives its place to another") {
    out[0].ignored();
    CHECK(b.calls("FS") == 1);
    CHECK(b.state() == breaker_state::half_open);
  }
  SECTION("those from before it opened decide nothing") {
    b.breaker.force_open();
    for (auto& p : out) p.failure();
    CHECK(b.state() == breaker_state::forced_open);
    CHECK(b.breaker.stats().failed == 6);
  }
}

TEST_CASE("circuit_breaker: trials that do not end in time open it again", "[breaker]") {
  bench b{{.minimum_calls = 1, .open_for = backoff::fixed(1s), .trial_calls = 1, .trial_timeout = 5s}};
  b.calls("F");
  b.clock.advance(1s);
  auto hangs = b.breaker.try_acquire();
  REQUIRE(hangs);
  b.clock.advance(5s - 1ns);
  CHECK(b.calls("S") == 0);
  CHECK(b.state() == breaker_state::half_open);
  b.clock.advance(1ns);
  CHECK(b.calls("S") == 0);
  CHECK(b.last().why == breaker_reason::trials_overdue);
  CHECK(b.state() == breaker_state::open);
  b.clock.advance(1s);
  CHECK(b.calls("S") == 1);
  CHECK(b.state() == breaker_state::closed);
  hangs->failure();
  CHECK(b.state() == breaker_state::closed);
  // Where there is a place, calls pass, however long another one hangs.
  bench two{{.minimum_calls = 1, .trial_calls = 2, .trial_timeout = 5s}};
  two.calls("F");
  two.clock.advance(30s);
  auto one_hangs = two.breaker.try_acquire();
  two.clock.advance(6s);
  CHECK(two.calls("I") == 1);
  CHECK(two.state() == breaker_state::half_open);
  auto other = two.breaker.try_acquire();
  *one_hangs = std::move(*other);  // which ends the one that hung
  CHECK(two.breaker.stats().succeeded == 1);
  one_hangs->success();
  CHECK(two.state() == breaker_state::closed);
}

TEST_CASE("circuit_breaker: can be forced, and reset", "[breaker]") {
  bench b{{.minimum_calls = 1}};
  b.breaker.force_open();
  b.clock.advance(24h);
  CHECK(b.calls("S") == 0);
  CHECK(b.breaker.retry_after() == std::chrono::nanoseconds::max());
  b.breaker.force_closed();
  CHECK(b.calls("FFFF") == 4);
  CHECK(b.state() == breaker_state::forced_closed);
  CHECK(b.breaker.retry_after() == 0ns);
  b.breaker.reset();
  CHECK(b.state() == breaker_state::closed);
  CHECK(b.calls("FF") == 1);
  CHECK(b.changes.size() == 4);
  bench again{{.minimum_calls = 1, .open_for = backoff::exponential(1s, 1min)}};
  again.calls("F");
  again.breaker.reset();  // as if it were new
  again.calls("F");
  CHECK(again.last().open_for == 1s);
  CHECK_THROWS_AS(circuit_breaker({.failure_rate = 0}), std::invalid_argument);
  CHECK_THROWS_AS(circuit_breaker({.minimum_calls = 101}), std::invalid_argument);
  CHECK_THROWS_AS(circuit_breaker({.window = -1s}), std::invalid_argument);
  CHECK_THROWS_AS(circuit_breaker({.slow_rate = 1.1}), std::invalid_argument);
  CHECK_THROWS_AS(circuit_breaker({.trial_calls = 0}), std::invalid_argument);
  CHECK_THROWS_AS(circuit_breaker({.trial_timeout = -1s}), std::invalid_argument);
  CHECK_THROWS_AS(circuit_breaker({.slow_call = -1s}), std::invalid_argument);
  CHECK_THROWS_AS(circuit_breaker({.minimum_calls = 0}), std::invalid_argument);
}

TEST_CASE("circuit_breaker: on_transition runs under no lock, and what it throws is counted", "[breaker][hazard-17]") {
  manual_clock clock;
  circuit_breaker* self = nullptr;
  int told = 0;
  circuit_breaker breaker{{.minimum_calls = 1,
                           .on_transition =
                               [&](const breaker_transition& t) {
                                 ++told;
                                 CHECK(self->state() == t.to);
                                 CHECK(self->try_acquire() == errc::rejected);
                                 throw std::runtime_error{"told"};
                               },
                           .clock = clock}};
  self = &breaker;
  breaker.try_acquire()->failure();
  CHECK(told == 1);
  CHECK(breaker.stats().handler_failed == 1);
}

TEST_CASE("circuit_breaker: call() and async_call() tell how the call ended, and pass on what it gives", "[breaker]") {
  bench b{{.minimum_calls = 100}};
  circuit_breaker& breaker = b.breaker;
  CHECK(breaker.call([] { return 3; }) == 3);
  CHECK(breaker.call([](const std::stop_token&) -> result<int> { return errc::timeout; }) == errc::timeout);
  CHECK(breaker.call([]() -> result<void> { return errc::cancelled; }) == errc::cancelled);
  CHECK_THROWS_WITH(breaker.call([] { throw std::runtime_error{"as it was"}; }), "as it was");
  auto s = breaker.stats();
  CHECK(s.succeeded == 1);
  CHECK(s.failed == 2);
  CHECK(s.ignored == 1);

  event ready;
  auto waits = [&]() -> task<int> {
    static_cast<void>(co_await ready.async_wait());
    co_return 7;
  };
  auto running = spawn(breaker.async_call(waits));
  CHECK(breaker.stats().succeeded == 1);
  ready.set();
  REQUIRE(running.done());
  CHECK(running.result() == 7);
  CHECK(breaker.stats().succeeded == 2);
  auto throws = spawn(breaker.async_call([] { throw std::runtime_error{"as it was"}; }));
  CHECK_THROWS_WITH(throws.result(), "as it was");
  CHECK(breaker.stats().failed == 3);
  std::stop_source stop;
  stop.request_stop();
  const auto stopped = [](const std::stop_token& token) { return token.stop_requested(); };
  CHECK(breaker.call(stopped, stop.get_token()) == true);
  CHECK(spawn(breaker.async_call(stopped) | penstock::with_stop(stop.get_token())).result() == true);
  // A deadline inside it is the other side's fault, one outside says nothing.
  ready.reset();
  auto inside = spawn(breaker.async_call([&] { return waits_for(ready) | penstock::with_timeout(1s, b.clock); }));
  auto outside = spawn(breaker.async_call([&] { return waits_for(ready); }) | penstock::with_timeout(1s, b.clock));
  b.clock.advance(1s);
  CHECK(inside.result() == errc::timeout);
  CHECK(outside.result() == errc::timeout);
  CHECK(breaker.stats().failed == 4);
  CHECK(breaker.stats().ignored == 2);
  breaker.force_open();
  CHECK(spawn(breaker.async_call(waits)).result() == errc::rejected);
  CHECK(breaker.call([] {}) == errc::rejected);

  circuit_breaker picky{{.minimum_calls = 1, .is_failure = [](const attempt_failure& f) { return f.code() == errc::timeout; }}};
  CHECK(picky.call([]() -> result<int> { return errc::not_found; }) == errc::not_found);
  CHECK(picky.stats().ignored == 1);
  // An exception that leaves the scope of a permit is a failure.
  const auto leave = [&] {
    const auto permit = picky.try_acquire();
    throw std::runtime_error{"gone"};
  };
  CHECK_THROWS(leave());
  CHECK(picky.state() == breaker_state::open);
}

TEST_CASE("circuit_breaker: a retry waits until it may try again", "[breaker][retry]") {
  bench b{{.minimum_calls = 2, .open_for = backoff::fixed(7s), .trial_calls = 1}};
  int runs = 0;
  auto ask = [&]() -> result<int> {
    if (++runs < 3) return errc::timeout;
    return runs;
  };
  auto guarded = [&] { return b.breaker.call(ask); };
  auto running = spawn(penstock::async_retry(guarded,
                                             {.attempts = 9,
                                              .backoff = backoff::fixed(1s),
                                              .retry_after = [&](const attempt_failure&) { return b.breaker.retry_after(); }},
                                             {.clock = b.clock}));
  b.clock.advance(1s);
  CHECK(b.state() == breaker_state::open);
  b.clock.advance(7s - 1ns);
  CHECK_FALSE(running.done());
  b.clock.advance(1ns);
  REQUIRE(running.done());
  CHECK(running.result() == 3);
  CHECK(runs == 3);
  CHECK(b.state() == breaker_state::closed);
}
