// What a limiter lets start, and when. The behaviours that Bottleneck documents and we adopt have "as in Bottleneck" in their names.
#include <penstock/rate/limiter.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/acquirable.hpp>
#include <penstock/observe/registry.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"
#include "limiter_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using limiter_testing::bench;

static_assert(acquirable<limiter>);

TEST_CASE("limiter: max_concurrent is how much runs at a time, as in Bottleneck", "[limiter]") {
  bench b{{.max_concurrent = 2}};
  b.come("a");
  b.come("b");
  b.come("c");
  b.come("d");
  CHECK(b.started() == "ab");
  CHECK(b.l.counts().queued == 2);
  CHECK(b.l.retry_after() == std::chrono::nanoseconds::max());
  b.l.release();
  CHECK(b.started() == "c");
  b.l.release(2);
  CHECK(b.started() == "d");
  CHECK(b.l.counts().running == 1);
  CHECK(b.l.counts().started == 4);
  CHECK_THROWS_AS(b.l.release(2), std::invalid_argument);
  b.l.release();
}

TEST_CASE("limiter: min_time passes between the starts of two jobs, however long they run, as in Bottleneck", "[limiter]") {
  bench b{{.min_time = 100ms}};
  for (const char* name : {"a", "b", "c"}) b.come(name);
  CHECK(b.l.retry_after() == 100ms);
  b.clock.advance(99ms);
  CHECK(b.started() == "a");
  b.clock.advance(1s);
  CHECK(b.times() == "0 100 200");
  b.clock.advance(50ms);
  b.come("d");  // it was idle for longer than that
  CHECK(b.times() == "1149");
  b.l.release(4);
}

TEST_CASE("limiter: with metrics it tells how long those waited that had to, and had their turn", "[limiter]") {
  bench b{{.max_concurrent = 1}, {.metrics = true}};
  penstock::registry all{{.clock = b.clock}};
  const auto joined = all.join("b", b.l);
  const penstock::registry_snapshot before = all.snapshot();
  b.come("a");  // at once
  b.come("b");
  b.clock.advance(1s);
  b.come("c");
  b.come("d");
  b.give_up(3);
  b.clock.advance(1s);
  b.l.release();
  CHECK(b.l.wait_times().count() == 1);
  b.clock.advance(2s);
  b.l.release();
  CHECK(b.started() == "ad(cancelled)bc");
  const penstock::histogram_snapshot times = b.l.wait_times();
  CHECK(times.count() == 2);
  CHECK(times.min() == std::uint64_t{2'000'000'000});
  CHECK(times.max() == std::uint64_t{3'000'000'000});
  const penstock::registry_interval i = all.snapshot().since(before);
  CHECK(i.find("b")->rate("queue_wait_seconds") == 0.5);
  CHECK(i.find("b")->queue_law().measured);
  CHECK(std::abs(i.find("b")->queue_law().expected() - 1.25) < 0.02);
  b.l.release();

  bench without{{.max_concurrent = 1}};
  without.come("a");
  without.come("b");
  without.l.release();
  CHECK(without.started() == "ab");
  CHECK(without.l.wait_times().count() == 0);
  without.l.release();
}

TEST_CASE("limiter: in a chain each link tells the waits in its own line", "[limiter]") {
  bench last{{.max_concurrent = 1}, {.metrics = true}};
  penstock::limiter first{{.max_concurrent = 2}, {.clock = last.clock, .chain = &last.l, .metrics = true}};
  last.come("x");
  auto got = penstock::spawn([](penstock::limiter& l) -> penstock::task<> {
    auto turn = l.async_acquire();
    const penstock::result<void> mine = co_await std::move(turn);
    mine.value();
  }(first));
  last.clock.advance(3s);
  last.l.release();
  got.wait();
  CHECK(first.wait_times().count() == 0);
  CHECK(last.l.wait_times().count() == 1);
  CHECK(last.l.wait_times().max() == std::uint64_t{3'000'000'000});
  first.release();
}

TEST_CASE("limiter: the most urgent job is next, among equals the one that came first, as in Bottleneck", "[limiter]") {
  bench b{{.max_concurrent = 1}};
  b.come("x");
  b.come("f");
  b.come("i", 9);
  b.come("g");
  b.come("a", 0);
  b.come("c", 3);
  for (int i = 0; i < 6; ++i) b.l.release();
  CHECK(b.started() == "xacfgi");
  CHECK_THROWS_AS(b.l.acquire(job_options{.priority = 10}), std::invalid_argument);
}

TEST_CASE("limiter: one of sixteen turns of a priority goes to the next one below, so that all move on (Bottleneck starves them)",
          "[limiter][hazard-34]") {
  bench b{{.max_concurrent = 1}};
  for (int i = 0; i < 10; ++i) {  // turns that nobody below waits for do not count
    b.come("a", 0);
    b.l.release();
  }
  CHECK(b.started() == "aaaaaaaaaa");
  b.come("x", 0);
  b.come("L", 9);
  b.come("m", 5);
  std::string order;
  for (int i = 0; i < 300 && order.find('L') == std::string::npos; ++i) {
    b.come("a", 0);
    b.come("a", 0);
    b.l.release();
    order += b.started();
  }
  CHECK(order.find('m') == 16);
  CHECK(order.find('L') != std::string::npos);
}

TEST_CASE("limiter: weights count against max_concurrent, and a heavy job that is next is not overtaken, as in Bottleneck",
          "[limiter][hazard-34]") {
  bench b{{.max_concurrent = 4}};
  b.come("a", {.weight = 3});
  b.come("B", {.weight = 4});
  b.come("c");
  CHECK(b.l.try_acquire() == errc::empty);
  CHECK(b.started() == "a");
  b.l.release(2);
  CHECK(b.started().empty());
  b.come("u", {.weight = 1, .priority = 0});  // more urgent ones do
  CHECK(b.started() == "u");
  b.l.release(2);
  CHECK(b.started() == "B");
  b.l.release(4);
  CHECK(b.started() == "c");
  CHECK_THROWS_AS(b.l.try_acquire({.weight = 5}), std::invalid_argument);  // it would wait for ever
  CHECK_THROWS_AS(b.l.async_acquire({.weight = 0}), std::invalid_argument);
  b.l.release();
}

TEST_CASE("limiter: a reservoir is used up by starts and not filled by ends, as in Bottleneck", "[limiter]") {
  std::string events;
  bench b{{.reservoir = reservoir_options{.initial = 3}},
          {.on_event = [&](limiter_event e, std::uint64_t) { events += e == limiter_event::depleted ? "d" : ""; }}};
  b.come("a", {.weight = 2});
  b.come("b");
  b.come("c");
  CHECK(b.started() == "ab");
  CHECK(events == "d");
  b.l.release(3);
  CHECK(b.started().empty());
  CHECK(b.l.reservoir() == 0);
  CHECK(b.l.retry_after() == std::chrono::nanoseconds::max());
  b.l.add_to_reservoir(2);
  CHECK(b.started() == "c");
  CHECK(b.l.reservoir() == 1);
  b.l.set_reservoir(7);
  CHECK(b.l.reservoir() == 7);
  CHECK_THROWS_AS(b.l.set_reservoir(-1), std::invalid_argument);
  b.l.set_reservoir(0);
  auto heavy = spawn(b.l.async_acquire({.weight = 1000}));  // only somebody's hand brings that, and it may
  CHECK_FALSE(heavy.done());
  b.l.set_reservoir(1000);
  CHECK(heavy.done());
  b.l.release(1000);
  b.l.release();
}

TEST_CASE("limiter: a reservoir is refreshed at fixed times, to an amount, as in Bottleneck", "[limiter]") {
  bench b{{.reservoir = reservoir_options{.initial = 1, .refresh_interval = 250ms, .refresh_amount = 2}}};
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) b.come(name);
  CHECK(b.l.retry_after() == 250ms);
  b.clock.advance(1s);
  CHECK(b.times() == "0 250 250 500 500 750");
  CHECK(b.l.reservoir() == 2);  // refreshed again, and not added to
  b.clock.advance(24h);
  CHECK(b.l.reservoir() == 2);
  b.l.release(6);
}

TEST_CASE("limiter: a reservoir increases at fixed times, up to a maximum, as in Bottleneck", "[limiter]") {
  bench b{
      {.reservoir = reservoir_options{.initial = 0, .increase_interval = 100ms, .increase_amount = 2, .increase_maximum = 5}}};
  b.come("a", {.weight = 3});
  CHECK(b.l.retry_after({.weight = 4}) == 200ms);
  CHECK(b.l.retry_after({.weight = 6}) == std::chrono::nanoseconds::max());
  b.clock.advance(250ms);
  CHECK(b.times() == "200");
  CHECK(b.l.reservoir() == 1);
  b.clock.advance(1h);
  CHECK(b.l.reservoir() == 5);
  b.l.add_to_reservoir(3);  // by hand it goes beyond
  b.clock.advance(1h);
  CHECK(b.l.reservoir() == 8);
  b.l.release(3);
}

TEST_CASE("limiter: a reservoir that is refreshed and increases does both, in their order", "[limiter]") {
  bench b{{.reservoir = reservoir_options{.initial = 9,
                                          .refresh_interval = 1s,
                                          .refresh_amount = 1,
                                          .increase_interval = 300ms,
                                          .increase_amount = 1,
                                          .increase_maximum = 3}}};
  CHECK(b.l.reservoir() == 9);
  b.clock.advance(999ms);
  CHECK(b.l.reservoir() == 9);
  b.clock.advance(1ms);
  CHECK(b.l.reservoir() == 1);
  b.come("a", {.weight = 3});  // increases at 1.2 and 1.5
  b.clock.advance(1s);
  CHECK(b.times() == "1500");
  CHECK(b.l.reservoir() == 1);
  b.clock.advance(9s);  // 11 s, and the last increase was at 10.8
  CHECK(b.l.reservoir() == 1);
  b.clock.advance(600ms);
  CHECK(b.l.reservoir() == 3);
  b.clock.advance(400ms);  // both at 12 s: first refreshed
  CHECK(b.l.reservoir() == 2);
  b.l.release(3);
}

TEST_CASE("limiter: several rates hold at once, and a job takes from all of them or from none", "[limiter][hazard-03]") {
  bench b{{.max_concurrent = 3, .rates = {{{2, 1s}, 2}, {{5, 24h}, 5}}}};
  for (int i = 0; i < 3; ++i) b.come("a", {.weight = 1});
  b.come("b", {.weight = 2});
  CHECK(b.started() == "aa");
  b.clock.advance(10s);
  CHECK(b.started() == "a");  // now max_concurrent holds b
  CHECK(b.l.retry_after({.weight = 2}) == std::chrono::nanoseconds::max());
  b.l.release(3);
  CHECK(b.started() == "b");  // with the day's last
  b.l.release(2);
  CHECK(b.l.try_acquire() == errc::empty);
  const std::chrono::nanoseconds next = b.l.retry_after();
  CHECK(next > 4h);
  CHECK(next < 5h);
  for (int i = 0; i < 100; ++i) CHECK(b.l.try_acquire() == errc::empty);  // takes nothing of the second's
  b.clock.advance(next - 1ns);
  CHECK(b.l.try_acquire() == errc::empty);
  b.clock.advance(1ns);
  CHECK(b.l.try_acquire());
  b.l.release();
  CHECK_THROWS_AS(b.l.try_acquire({.weight = 3}), std::invalid_argument);  // more than a second's burst
}

TEST_CASE("limiter: what a waiter that gives up would have had, others have", "[limiter][hazard-01][hazard-02][hazard-10]") {
  bench b{{.max_concurrent = 2, .min_time = 10ms}};
  b.come("a");
  b.come("B", {.weight = 2});
  b.come("c");
  b.give_up(1);
  CHECK(b.started() == "aB(cancelled)");
  b.clock.advance(10ms);
  CHECK(b.started() == "c");
  CHECK(b.l.counts().gave_up == 1);
  b.l.release(2);

  auto late = spawn(b.l.async_acquire() | with_timeout(5ms, b.clock));
  auto last = spawn(b.l.async_acquire() | with_timeout(10ms, b.clock));
  b.clock.advance(5ms);
  CHECK(late.result().error() == errc::timeout);
  b.clock.advance(5ms);
  CHECK(last.result());
  b.l.release();
}

TEST_CASE("limiter: threads wait in the same line as coroutines", "[limiter]") {
  bench b{{.max_concurrent = 1}};
  b.come("a");
  std::string got;
  std::jthread blocked{[&] {
    const auto mine = b.l.acquire_permit(job_options{.priority = 1});
    got = mine ? "t" : "?";
  }};
  test_support::until([&] { return b.l.counts().queued == 1; });
  b.come("b");
  b.l.release();
  blocked.join();
  CHECK(got == "t");
  CHECK(b.started() == "ab");
  std::stop_source stop;
  std::jthread stopped{[&] { CHECK(b.l.acquire(stop.get_token()) == errc::cancelled); }};
  test_support::until([&] { return b.l.counts().queued == 1; });
  stop.request_stop();
  stopped.join();
  CHECK(b.l.try_acquire_for(0s) == errc::timeout);
  CHECK(b.l.acquire({.deadline = {b.clock.now(), b.clock}}) == errc::timeout);
  b.l.release();
}

TEST_CASE("limiter: a wait has one deadline, however often others are served before it, and in the whole chain",
          "[limiter][hazard-04][hazard-05][hazard-23]") {
  bench all{{.max_concurrent = 2}};
  limiter first{{.max_concurrent = 2}, {.clock = all.clock, .chain = &all.l}};
  REQUIRE(all.l.try_acquire({.weight = 2}));
  auto heavy = penstock::spawn(first.async_acquire({.weight = 2}) | with_timeout(100ms, all.clock));
  for (int i = 0; i < 9; ++i) {  // each time its turn comes, somebody more urgent has it
    all.come("u", job_options{.weight = 2, .priority = 0});
    all.clock.advance(10ms);
    all.l.release(2);
    REQUIRE(all.started() == "u");
    REQUIRE_FALSE(heavy.done());
  }
  all.clock.advance(10ms - 1us);
  CHECK_FALSE(heavy.done());
  all.clock.advance(1us);
  REQUIRE(heavy.done());
  CHECK(heavy.result() == errc::timeout);
  CHECK(first.counts().running == 0);  // what it had there has come back
  all.l.release(2);
  CHECK(all.l.counts().running == 0);

  // A deadline that is the very time of the turn: one has it, and nothing is lost.
  all.l.update_settings({.max_concurrent = 2, .min_time = 10ms});
  REQUIRE(first.try_acquire());
  for (int i = 0; i < 2; ++i) {
    auto both = penstock::spawn(first.async_acquire() | with_timeout(10ms, all.clock));
    all.clock.advance(10ms);
    REQUIRE(both.done());
    CHECK((both.result().has_value() || first.try_acquire()));
    CHECK(all.l.counts().running == 2);
    CHECK(first.counts().running == 2);
    first.release();
  }
  first.release();
}

TEST_CASE("limiter: no part of a token is lost or given, a lower rate leaves no debt, and nobody asks for less than nothing",
          "[limiter][hazard-25][hazard-26]") {
  bench b{{.rates = {{{3, 1s}, 2}, {{1000, 1s}, 1000}}}};
  std::int64_t granted = 0;
  const auto begin = b.clock.now();
  for (int i = 0; i < 20'000; ++i) {  // 333,333,333 and a third each
    while (b.l.try_acquire()) ++granted;
    const auto earned = 3 * (b.clock.now() - begin) / 1s;
    REQUIRE((earned + 1 <= granted && granted <= earned + 2));
    b.clock.advance(7'777'777ns);
  }
  b.l.release(granted);
  b.l.update_settings({.rates = {{{1000, 1s}, 1000}}});
  b.clock.advance(1h);
  while (b.l.try_acquire()) {
  }
  b.l.update_settings({.rates = {{{1, 1s}, 1000}}});
  CHECK(b.l.retry_after() == 1s);
  b.l.update_settings({.rates = {{{1, 1s}, 1}}});
  b.clock.advance(1s);
  CHECK(b.l.try_acquire());
  CHECK_FALSE(b.l.try_acquire());
  CHECK_THROWS_AS(b.l.try_acquire({.weight = 0}), std::invalid_argument);
  CHECK_THROWS_AS(b.l.try_acquire({.weight = -1}), std::invalid_argument);
  CHECK_THROWS_AS(b.l.release(-1), std::invalid_argument);
  CHECK_THROWS_AS(b.l.add_to_reservoir(-1), std::invalid_argument);
  b.l.release(b.l.counts().running);
}

TEST_CASE("limiter: threads and coroutines that come again and again have equal shares", "[limiter]") {
  bench b{{.rates = {{{1, 1ms}, 1}}}};
  constexpr std::size_t each = 3;
  constexpr int rounds = 20;
  REQUIRE(b.l.try_acquire());
  std::atomic<bool> enough{false};
  std::array<std::atomic<int>, 2 * each> turns{};
  const auto again = [](limiter& l, std::atomic<int>& mine, std::atomic<bool>& end) -> task<> {
    while (!end) {
      auto turn = l.async_acquire();
      const result<void> r = co_await std::move(turn);
      if (!r) co_return;
      ++mine;
      l.release();
    }
  };
  std::vector<penstock::spawned<void>> coroutines;
  std::vector<std::jthread> threads;
  const auto all_in_line = [&] { return b.l.counts().queued == 2 * each; };
  for (std::size_t i = 0; i < each; ++i) {
    coroutines.push_back(penstock::spawn(again(b.l, turns[i], enough)));
    threads.emplace_back([&, i] {
      while (!enough && b.l.acquire()) {
        ++turns[each + i];
        b.l.release();
      }
    });
  }
  test_support::until(all_in_line);
  for (int n = 1; n <= rounds; ++n) {
    for (std::size_t i = 0; i < 2 * each; ++i) {  // each time the first in line has its turn, and comes again behind the others
      b.clock.advance(1ms);
      test_support::until(all_in_line);
    }
    for (const std::atomic<int>& t : turns) REQUIRE(t == n);
  }
  enough = true;
  b.l.stop();
  threads.clear();
  b.l.release();
}

TEST_CASE("limiter: the line is full and refuses who comes (Bottleneck's OVERFLOW)", "[limiter]") {
  bench b{{.max_concurrent = 1, .high_water = 2}};
  b.come("a");
  b.come("b", 9);
  b.come("c", 9);
  b.come("d", 0);
  CHECK(b.started() == "ad(rejected)");
  CHECK(b.l.counts().dropped == 1);
  b.l.update_settings({.max_concurrent = 3, .high_water = 0});
  CHECK(b.started() == "bc");
  b.l.release(3);
  b.come("e");  // what can start at once needs no place in line
  CHECK(b.started() == "e");
  b.l.release();
}

TEST_CASE("limiter: the line is full and drops the oldest of the least urgent (Bottleneck's LEAK)", "[limiter]") {
  bench b{{.max_concurrent = 1, .high_water = 3, .strategy = limiter_strategy::drop_oldest}};
  b.come("a");
  b.come("b", 7);
  b.come("c", 7);
  b.come("d", 2);
  b.come("e", 7);
  CHECK(b.started() == "ab(rejected)");
  b.come("f", 8);  // all are more urgent than it is
  CHECK(b.started() == "f(rejected)");
  b.come("g", 0);
  CHECK(b.started() == "c(rejected)");
  for (int i = 0; i < 3; ++i) b.l.release();
  CHECK(b.started() == "gde");
  b.l.release();
}

TEST_CASE("limiter: the line is full and drops only what is less urgent (Bottleneck's OVERFLOW_PRIORITY)", "[limiter]") {
  bench b{{.max_concurrent = 1, .high_water = 2, .strategy = limiter_strategy::drop_by_priority}};
  b.come("a");
  b.come("b", 5);
  b.come("c", 5);
  b.come("d", 5);
  CHECK(b.started() == "ad(rejected)");
  b.come("e", 4);
  CHECK(b.started() == "b(rejected)");
  b.l.release();
  b.l.release();
  CHECK(b.started() == "ec");
  b.l.release();

  // Who is refused may have had others dropped before, and one of them stood before somebody who can start.
  bench c{{.max_concurrent = 3, .high_water = 3, .strategy = limiter_strategy::drop_by_priority}};
  REQUIRE(c.l.try_acquire({.weight = 2}));
  c.come("heavy", job_options{.weight = 3, .priority = 9});
  for (int i = 0; i < 15; ++i) {
    c.come("u", 0);
    c.l.release();
  }
  c.started();
  c.come("light", 0);  // the sixteenth turn is the heavy one's
  CHECK(c.l.counts().queued == 2);
  c.l.update_settings({.max_concurrent = 3, .high_water = 1, .strategy = limiter_strategy::drop_by_priority});
  c.come("refused", job_options{.weight = 2, .priority = 5});
  CHECK(c.l.counts().dropped == 2);
  CHECK(c.l.counts().queued == 0);
  CHECK(c.l.counts().running == 3);
  c.l.release(3);
}

TEST_CASE("limiter: the line is full and blocks until nobody has come for the penalty (Bottleneck's BLOCK)", "[limiter]") {
  bench b{{.min_time = 100ms, .high_water = 2, .strategy = limiter_strategy::block}};
  b.come("a");
  b.come("b");
  b.come("c");
  CHECK_FALSE(b.l.is_blocked());
  b.come("d");
  CHECK(b.started() == "ad(rejected)b(rejected)c(rejected)");
  CHECK(b.l.is_blocked());
  CHECK(b.l.retry_after() == 1500ms);  // 15 min_time
  b.clock.advance(1400ms);
  b.come("e");
  CHECK(b.started() == "e(rejected)");
  b.clock.advance(1400ms);
  CHECK(b.l.try_acquire() == errc::rejected);
  b.clock.advance(1499ms);
  CHECK(b.l.is_blocked());
  b.clock.advance(1ms);
  b.come("f");
  CHECK(b.started() == "f");
  b.l.release(2);

  bench c{{.max_concurrent = 1, .high_water = 0, .strategy = limiter_strategy::block}};
  c.come("a");
  c.come("b");
  CHECK(c.l.retry_after() == std::chrono::nanoseconds::max());
  c.l.release();
  CHECK(c.l.retry_after() == 5s);
}

TEST_CASE("limiter: new settings hold for those who wait already (in Bottleneck for those not yet scheduled)", "[limiter]") {
  bench b{{.max_concurrent = 2, .min_time = 1s}};
  for (const char* name : {"a", "b", "c"}) b.come(name);
  b.come("H", {.weight = 2});
  limiter_options o = b.l.options();
  CHECK(o.max_concurrent == 2);
  o.min_time = 100ms;
  b.l.update_settings(o);
  b.clock.advance(100ms);
  CHECK(b.started() == "ab");
  o.max_concurrent = 1;
  b.l.update_settings(o);
  CHECK(b.started() == "H(rejected)");  // it can never start any more
  b.l.release();
  b.clock.advance(1s);
  CHECK(b.started().empty());  // what runs, runs
  b.l.release();
  CHECK(b.started() == "c");
  o.max_concurrent = 0;
  CHECK_THROWS_AS(b.l.update_settings(o), std::invalid_argument);
  CHECK(b.l.options().max_concurrent == 1);
  o = {.rates = {{{1, 1h}, 4}}, .reservoir = reservoir_options{.initial = 10}};
  b.l.update_settings(o);
  b.l.release();
  CHECK(b.l.try_acquire({.weight = 3}));
  o.rates[0].rate = {2, 1h};
  o.reservoir->initial = 99;
  b.l.update_settings(o);
  CHECK(b.l.reservoir() == 7);
  CHECK(b.l.try_acquire({.weight = 2}) == errc::empty);
  CHECK(b.l.retry_after({.weight = 2}) == 30min);
  b.l.release(3);
}

TEST_CASE("limiter: settings that change often starve nobody, whatever a change is about", "[limiter]") {
  bench b{{.rates = {{{1, 1s}, 1}}}};
  bench r{{.reservoir = reservoir_options{.refresh_interval = 1s, .refresh_amount = 1}}};
  int by_rate = 0;
  int by_refresh = 0;
  for (int i = 0; i < 100; ++i) {
    for (bench* at : {&b, &r}) {
      at->clock.advance(500ms);
      limiter_options o = at->l.options();
      o.max_concurrent = 10 + i % 2;
      if (at == &b && i >= 50) o.rates[0].rate = i % 2 == 0 ? penstock::rate{1, 1s} : penstock::rate{1, 999ms};
      at->l.update_settings(o);
      if (!at->l.try_acquire()) continue;
      at->l.release();
      ++(at == &b ? by_rate : by_refresh);
    }
  }
  CHECK(by_rate == 50);
  CHECK(by_refresh == 50);
  limiter_options o = b.l.options();
  o.rates[0].burst = 5;
  o.rates.push_back({{1, std::chrono::nanoseconds::max()}, std::int64_t{1} << 45});
  CHECK_THROWS_WITH(b.l.update_settings(o), Catch::Matchers::StartsWith("penstock::limiter: "));
  CHECK(b.l.options().rates[0].burst == 1);  // nothing has changed
}

TEST_CASE("limiter: a clock that steps back gives nobody a turn too early", "[limiter][hazard-24]") {
  bench b{{.rates = {{{1, 1s}, 1}}, .reservoir = reservoir_options{.initial = 1, .refresh_interval = 1s, .refresh_amount = 1}}};
  b.come("a");
  b.clock.advance(-10min);
  b.come("b");
  b.clock.advance(10min + 999ms);
  CHECK(b.started() == "a");
  b.clock.advance(1ms);
  CHECK(b.started() == "b");
  b.clock.advance(std::chrono::hours{24 * 365 * 100});
  b.come("c");
  b.come("d");
  CHECK(b.started() == "c");
  b.clock.advance(1s);
  CHECK(b.started() == "d");
  b.l.release(4);
}

TEST_CASE("limiter: the longest times mean never, and do not overflow", "[limiter][hazard-22][hazard-27]") {
  constexpr auto longest = std::chrono::nanoseconds::max();
  bench b{{.min_time = longest,
           .reservoir = reservoir_options{.initial = limiter_options::unlimited,
                                          .refresh_interval = longest,
                                          .refresh_amount = limiter_options::unlimited,
                                          .increase_interval = 1ns,
                                          .increase_amount = limiter_options::unlimited}}};
  b.come("a");
  b.come("b");
  b.clock.advance(std::chrono::hours{24 * 365 * 200});
  CHECK(b.started() == "a");
  b.l.add_to_reservoir(limiter_options::unlimited);
  CHECK(b.l.reservoir() == limiter_options::unlimited);
  b.l.on_response({.retry_after = longest});
  b.l.update_settings({});
  CHECK(b.started().empty());
  CHECK(b.l.retry_after() > 24h);
  b.l.release();
}

TEST_CASE("limiter: options that make no sense are refused, by name", "[limiter]") {
  const auto refused = [](limiter_options o) {
    try {
      limiter l{std::move(o)};
    } catch (const std::invalid_argument& e) {
      return std::string{e.what()};
    }
    return std::string{};
  };
  CHECK(refused({.max_concurrent = 0}) == "penstock::limiter: max_concurrent is 0");
  CHECK(refused({.min_time = -1ns}) == "penstock::limiter: min_time (ns) is -1");
  CHECK(refused({.rates = {{{1, 1s}, 0}}}) == "penstock::limiter: burst is 0");
  CHECK(refused({.penalty = -1ns}) == "penstock::limiter: penalty (ns) is -1");
  CHECK(refused({.reservoir = reservoir_options{.initial = -1}}) == "penstock::limiter: reservoir.initial is -1");
  CHECK(refused({.reservoir = reservoir_options{.refresh_interval = -1ns}}) ==
        "penstock::limiter: reservoir.refresh_interval (ns) is -1");
  CHECK(refused({.reservoir = reservoir_options{.increase_amount = -1}}) == "penstock::limiter: reservoir.increase_amount is -1");
}

}  // namespace
