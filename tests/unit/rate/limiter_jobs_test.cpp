// Chains, jobs that a limiter runs, its events, how it stops, and what a server tells it.
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <penstock/core/sync_wait.hpp>
#include <penstock/rate/limiter.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"
#include "limiter_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using limiter_testing::bench;

TEST_CASE("limiter: jobs of a chained limiter need a turn of both, as in Bottleneck", "[limiter]") {
  bench all{{.max_concurrent = 3, .rates = {{{1, 1s}, 3}}}};
  bench a{{.max_concurrent = 2, .rates = {{{1, 24h}, 4}}, .reservoir = reservoir_options{.initial = 9}}, {.chain = &all.l}};
  limiter b{{.max_concurrent = 2}, {.clock = all.clock, .chain = &all.l}};
  a.come("a");
  a.come("b");
  a.come("c");
  CHECK(a.started() == "ab");
  CHECK(b.try_acquire());
  CHECK(b.try_acquire() == errc::empty);  // b would, `all` would not: nothing was taken of b
  CHECK(b.counts().running == 1);
  CHECK(all.l.counts().running == 3);
  a.l.release();  // c has its turn in a, and waits in `all`, for the rate
  CHECK(a.l.counts().running == 2);
  CHECK(all.l.counts().queued == 1);
  CHECK(a.started().empty());
  CHECK(a.l.retry_after() == std::chrono::nanoseconds::max());
  CHECK(b.retry_after() == 1s);
  all.clock.advance(1s);
  CHECK(a.started() == "c");
  a.come("d");
  a.l.release();
  CHECK(all.l.counts().queued == 1);
  a.give_up(3);  // gives back what it has in a
  CHECK(a.started() == "d(cancelled)");
  CHECK(a.l.counts().running == 1);
  CHECK(a.l.counts().started == 3);
  CHECK(a.l.reservoir() == 6);
  CHECK_THROWS_AS(a.l.release(2), std::invalid_argument);
  a.l.release();
  b.release();
  CHECK(all.l.counts().running == 0);
  all.clock.advance(1h);
  CHECK(a.l.try_acquire());  // the fourth token of the day
  a.l.release();
  CHECK_THROWS_AS(b.acquire({.weight = 3}), std::invalid_argument);

  all.clock.advance(1h);
  const auto one = b.acquire_permit({.deadline = {all.clock.now(), all.clock}});
  CHECK(one);
  all.l.stop();
  CHECK(b.acquire() == errc::closed);  // and what it had here is given back
  CHECK(b.counts().running == 1);
}

TEST_CASE("limiter: a permit releases at the end of its scope", "[limiter]") {
  bench b{{.max_concurrent = 2}};
  {
    const auto two = b.l.acquire_permit(job_options{.weight = 2});
    REQUIRE(two);
    CHECK(b.l.try_acquire_permit().error() == errc::empty);
    b.come("a");
    CHECK(b.l.counts().queued == 1);
  }
  CHECK(b.started() == "a");
  auto later = spawn(b.l.async_acquire_permit());
  CHECK(later.result()->size() == 1);
  CHECK(b.l.counts().running == 1);
  b.l.release();
}

TEST_CASE("limiter: run calls a job here when it is its turn, and wrap makes a function of that, as in Bottleneck", "[limiter]") {
  limiter l{{.max_concurrent = 1}};
  CHECK(l.run([&] { return l.counts().running; }) == 1);
  CHECK(l.run([] {}));
  CHECK(l.run([]() -> result<int> { return errc::full; }) == errc::full);
  CHECK_THROWS_AS(l.run([]() -> int { throw std::runtime_error{"mine"}; }), std::runtime_error);
  CHECK(l.counts().running == 0);
  auto twice = l.wrap([owner = std::make_unique<int>(2)](int n, int& calls) {
    ++calls;
    return *owner * n;
  });
  int calls = 0;
  CHECK(twice(21, calls) == 42);
  CHECK(calls == 1);
  l.stop();
  CHECK(twice(21, calls) == errc::closed);
  CHECK(calls == 1);
}

TEST_CASE("limiter: schedule runs jobs in a context, in their turns, as in Bottleneck", "[limiter]") {
  bench b{{.max_concurrent = 1, .min_time = 10ms, .high_water = 1}};
  manual_executor pool;
  std::string order;
  const auto watched = std::make_shared<int>();
  auto first = b.l.schedule(pool, [&order, watched] {
    order += "1";
    return 1;
  });
  auto second = b.l.schedule(pool, [&]() -> task<int> {
    order += "2";
    co_return 2;
  });
  auto refused = b.l.schedule(pool, [&] { order += "3"; });
  CHECK(order.empty());
  CHECK(b.l.counts().running == 1);
  pool.run_all();
  CHECK(order == "1");
  CHECK(first.get() == 1);
  CHECK(watched.use_count() == 1);  // the job is gone
  CHECK_THROWS_AS(refused.get(), std::system_error);
  b.clock.advance(10ms);
  CHECK(order == "1");
  pool.run_all();
  CHECK(second.get() == 2);
  CHECK(b.l.counts().running == 0);
  b.clock.advance(10ms);
  auto failed = b.l.schedule(any_scheduler{}, [] { throw std::runtime_error{"mine"}; });
  CHECK_THROWS_AS(failed.get(), std::runtime_error);
  std::stop_source stop;
  auto stopped = b.l.schedule(pool, [] { return result<int>{1}; }, {.limits = {.stop = stop.get_token()}});
  stop.request_stop();
  pool.run_all();
  CHECK(stopped.get() == errc::cancelled);
}

TEST_CASE("limiter: a job that failed is tried again after the pause that it is told, as in Bottleneck", "[limiter]") {
  std::string events;
  bench b{{.max_concurrent = 1, .rates = {{{10, 1s}, 1}}},
          {.on_event = [&](limiter_event e, std::uint64_t n) { events += e == limiter_event::retry ? std::to_string(n) : ""; }}};
  int calls = 0;
  std::string told;
  const auto again = [&](const job_failure& f) -> std::optional<std::chrono::nanoseconds> {
    told += std::to_string(f.attempt) + (f.exception ? "!" : f.error.message());
    if (f.attempt == 3) return {};
    return 30ms;
  };
  auto job = spawn(b.l.async_run(
      [&]() -> task<result<int>> {
        if (++calls == 1) throw std::runtime_error{"mine"};
        co_return errc::full;
      },
      {.retry = again}));
  CHECK(calls == 1);
  CHECK(b.l.counts().running == 0);  // others may run during the pause
  b.clock.advance(99ms);             // the next attempt needs a turn, too
  CHECK(calls == 1);
  b.clock.advance(1ms);
  CHECK(calls == 2);
  b.clock.advance(1s);
  CHECK(calls == 3);
  CHECK(job.result() == errc::full);
  CHECK(told == "1!2no room3no room");
  CHECK(events == "11");
  CHECK(b.l.counts().retried == 2);

  limiter real{};
  CHECK(real.run([&]() -> result<int> { return calls++ < 5 ? result<int>{errc::full} : result<int>{7}; },
                 {.retry = [](const job_failure&) { return std::chrono::nanoseconds{1}; }}) == 7);
  std::stop_source stop;
  auto paused =
      spawn(b.l.async_run([]() -> result<void> { return errc::full; }, {.retry = [](const job_failure&) { return 1h; }}));
  paused.request_stop();
  CHECK(paused.result() == errc::cancelled);
}

TEST_CASE("limiter: the deadline of a job ends the pause before another attempt", "[limiter][hazard-23]") {
  bench b{{}};
  int calls = 0;
  const auto fails = [&]() -> result<int> { return (++calls, errc::full); };
  const auto again = [](const job_failure&) { return 300ms; };
  auto late = spawn(b.l.async_run(fails, {.limits = {.deadline = {b.clock.now() + 50ms, b.clock}}, .retry = again}));
  auto same = spawn(b.l.async_run(fails, {.limits = {.deadline = {b.clock.now() + 300ms, b.clock}}, .retry = again}));
  CHECK(calls == 2);
  b.clock.advance(49ms);
  CHECK_FALSE(late.done());
  b.clock.advance(1ms);
  REQUIRE(late.done());
  CHECK(late.result() == errc::timeout);
  CHECK(calls == 2);
  b.clock.advance(250ms);
  CHECK(calls == 3);  // the last attempt, and no pause after it
  REQUIRE(same.done());
  CHECK(same.result() == errc::timeout);

  const auto in_an_hour = [](const job_failure& f) -> std::optional<std::chrono::nanoseconds> {
    if (f.attempt == 1) return 1h;
    return {};
  };
  limiter real{};  // by another clock than the deadline's, which has passed: it ends at once
  CHECK(real.run(fails, {.limits = {.deadline = {b.clock.now(), b.clock}}, .retry = in_an_hour}) == errc::timeout);
  CHECK(b.l.run(fails, {.limits = {.deadline = deadline::after(0ms)}, .retry = in_an_hour}) == errc::timeout);
  CHECK(calls == 5);
}

TEST_CASE("limiter: an expired job is asked to stop and waited for (Bottleneck lets it run on)", "[limiter]") {
  bench b{{.max_concurrent = 1}};
  auto hangs = spawn(b.l.async_run(
      []() -> task<result<void>> {
        event never;
        auto waiting = never.async_wait();
        co_return co_await std::move(waiting);
      },
      {.expires_in = 50ms}));
  b.clock.advance(49ms);
  CHECK_FALSE(hangs.done());
  b.clock.advance(1ms);
  CHECK(hangs.result() == errc::timeout);
  CHECK(b.l.counts().running == 0);

  const auto until_told = [&](const std::stop_token& stop) {
    while (!stop.stop_requested()) b.clock.advance(1ms);
    throw std::system_error{errc::cancelled};
  };
  CHECK(b.l.run(until_told, {.expires_in = 20ms}) == errc::timeout);
  CHECK(sync_wait(b.l.async_run(until_told, {.expires_in = 20ms})) == errc::timeout);
  CHECK(b.l.run([](const std::stop_token&) { return 1; }, {.expires_in = 20ms}) == 1);
  CHECK_THROWS_AS(b.l.run([](const std::stop_token&) { throw 1; }, {.expires_in = 20ms}), int);
}

TEST_CASE("limiter: stop lets nobody in, and drops those in line or lets them finish, as in Bottleneck", "[limiter]") {
  bench b{{.max_concurrent = 1, .min_time = 10ms}};
  for (const char* name : {"a", "b", "c"}) b.come(name);
  b.l.stop(limiter_stop::finish_waiting);
  CHECK(b.l.is_stopped());
  CHECK(b.l.try_acquire() == errc::closed);
  b.come("d");
  CHECK(b.started() == "ad(closed)");
  auto over = spawn(b.l.async_wait());
  b.l.release();
  b.clock.advance(10ms);
  CHECK(b.started() == "b");
  b.l.stop();
  CHECK(b.started() == "c(closed)");
  CHECK_FALSE(over.done());
  CHECK(b.l.try_wait() == errc::empty);
  b.l.release();
  CHECK(over.done());
  b.l.wait();
  CHECK(b.l.retry_after() == std::chrono::nanoseconds::max());
}

TEST_CASE("limiter: tells when it is empty, idle, depleted, and what it dropped, under no lock", "[limiter][hazard-17]") {
  std::string events;
  limiter* self = nullptr;
  bench b{
      {.max_concurrent = 1, .reservoir = reservoir_options{.initial = 3}, .high_water = 2, .strategy = limiter_strategy::block},
      {.on_event = [&](limiter_event e, std::uint64_t n) {
        events += "eidxr"[static_cast<int>(e)] + std::to_string(n) + " ";
        if (e != limiter_event::idle || self == nullptr) return;
        limiter& l = *std::exchange(self, nullptr);
        CHECK(l.counts().running == 0);
        CHECK(l.try_acquire());
        l.release();
      }}};
  b.come("a");
  CHECK(events.empty());
  b.come("b");
  CHECK(events.empty());
  b.l.release();
  CHECK(std::exchange(events, {}) == "e1 ");
  b.come("c");
  b.come("d");
  b.come("f");
  CHECK(std::exchange(events, {}) == "e1 x3 ");
  b.clock.advance(5s);
  self = &b.l;
  b.l.release();
  // What the callback itself brought about is told when it has returned.
  CHECK(std::exchange(events, {}) == "i1 i1 d1 ");
}

TEST_CASE("limiter: a server's Retry-After holds everybody back", "[limiter]") {
  bench b{{}};
  b.l.on_response({.retry_after = 2s});
  b.l.on_response({.retry_after = 1s});
  b.come("a");
  CHECK(b.l.retry_after() == 2s);
  b.clock.advance(2s);
  CHECK(b.started() == "a");
  b.l.release();
}

TEST_CASE("limiter: what a server says is left counts until its window ends, in whatever order its answers come", "[limiter]") {
  bench b{{}};
  b.l.on_response({.remaining = 2, .reset = 30s});
  b.come("a");
  b.l.on_response({.remaining = 5, .reset = 30s});  // an older answer
  b.come("b");
  b.come("c");
  CHECK(b.started() == "ab");
  b.clock.advance(10s);
  b.l.on_response({.remaining = 9, .reset = 1s});  // of a window that has ended
  b.l.on_response({.remaining = 9});               // of none
  CHECK(b.started().empty());
  b.clock.advance(20s);
  CHECK(b.started() == "c");
  b.come("d");
  CHECK(b.started() == "d");
  b.l.on_response({.remaining = 0, .reset = 10s});
  b.come("e");
  b.l.on_response({.remaining = 1, .reset = 60s});  // the next window has begun
  CHECK(b.started() == "e");
  b.l.on_response({.remaining = -3, .reset = 60s});
  CHECK(b.l.retry_after() == 60s);
  b.come("f");
  b.l.update_settings({});
  CHECK(b.started().empty());  // new settings are no answer of the server's
  b.l.on_response({.retry_after = std::chrono::nanoseconds::max()});
  CHECK(b.l.retry_after() == std::chrono::nanoseconds::max());
  b.l.clear_hints();
  CHECK(b.started() == "f");
  CHECK(b.l.retry_after() == 0ns);
  b.l.release(6);
}

TEST_CASE("limiter: what a job took that gives up later does not come back to a later refresh or window", "[limiter]") {
  for (const bool threads : {false, true}) {
    manual_clock clock;
    limiter next{{.max_concurrent = 1}, {.clock = clock}};
    const auto starts_after = [&](limiter_options options, bool hints) {
      limiter l{std::move(options), {.clock = clock, .chain = &next}};
      CHECK(next.try_acquire());
      if (hints) l.on_response({.remaining = 5, .reset = 1s});
      clock.advance(1ms);
      std::stop_source stop;
      const auto wait = [](limiter& at, std::stop_token s) -> task<> {
        auto turn = at.async_acquire() | with_stop(s);
        const result<void> mine = co_await std::move(turn);
        CHECK(mine == errc::cancelled);
      };
      std::jthread thread;
      std::optional<spawned<void>> coroutine;
      if (threads) {
        thread = std::jthread{[&l, s = stop.get_token()] { static_cast<void>(l.acquire(s)); }};
      } else {
        coroutine.emplace(spawn(wait(l, stop.get_token())));
      }
      test_support::until([&] { return next.counts().queued == 1; });
      clock.advance(1s);
      if (hints) l.on_response({.remaining = 1, .reset = 1s});
      stop.request_stop();
      if (thread.joinable()) thread.join();
      next.release();
      int n = 0;
      for (; l.try_acquire(); ++n) l.release();
      return n;
    };
    CHECK(starts_after({.reservoir = reservoir_options{.initial = 1, .refresh_interval = 1s, .refresh_amount = 1}}, false) == 1);
    CHECK(
        starts_after(
            {.reservoir = reservoir_options{.initial = 3, .increase_interval = 1s, .increase_amount = 1, .increase_maximum = 3}},
            false) == 3);
    CHECK(starts_after({.reservoir = reservoir_options{.initial = 7}}, false) == 7);  // there is none: as if it had not been
    CHECK(starts_after({}, true) == 1);
  }
}

}  // namespace
