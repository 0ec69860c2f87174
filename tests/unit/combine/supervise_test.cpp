#include <penstock/combine/supervise.hpp>

#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "concurrent_testing.hpp"

using namespace std::chrono_literals;
using concurrent_testing::workshop;
using penstock::backoff;
using penstock::errc;
using penstock::manual_clock;
using penstock::restart;
using penstock::result;
using penstock::spawn;
using penstock::supervise;
using penstock::supervise_options;
using penstock::task;

namespace {

constexpr auto no_timer = manual_clock::time_point::max();

// Fails as often as it is told to, then gives the number of its run.
struct flaky {
  int failures;
  int runs = 0;
  task<int> operator()() {
    const int run = ++runs;
    if (run <= failures) throw std::runtime_error{"run " + std::to_string(run)};
    co_return run;
  }
};

}  // namespace

TEST_CASE("supervise: ends when the task returns, with what it gives", "[supervise]") {
  flaky work{0};
  CHECK(penstock::sync_wait(supervise(std::ref(work))) == 1);
  workshop s{1};
  auto nothing = spawn(supervise([&] { return s.work_for_nothing(0); }));
  s.let(0);
  nothing.result();
}

TEST_CASE("supervise: begins the task anew after the backoff's delay, and tells of it", "[supervise]") {
  manual_clock clock;
  flaky work{3};
  std::vector<std::chrono::nanoseconds> delays;
  std::string last;
  auto told = [&](const restart& r) {
    CHECK(r.number == delays.size() + 1);
    delays.push_back(r.delay);
    try {
      std::rethrow_exception(r.why);
    } catch (const std::runtime_error& e) {
      last = e.what();
    }
  };
  auto running =
      spawn(supervise(std::ref(work), {.backoff = backoff::exponential(10ms, 1s), .on_restart = told, .clock = clock}));
  CHECK(work.runs == 1);
  clock.advance(10ms - 1ns);
  CHECK(work.runs == 1);
  clock.advance(1ns);
  CHECK(work.runs == 2);
  CHECK(last == "run 2");
  clock.advance(20ms);
  CHECK(work.runs == 3);
  clock.advance(40ms);
  REQUIRE(running.done());
  CHECK(running.result() == 4);
  CHECK(delays == std::vector<std::chrono::nanoseconds>{10ms, 20ms, 40ms});
  CHECK(clock.next_timer() == no_timer);
}

TEST_CASE("supervise: more failures than allowed in the window end it with the last one", "[supervise]") {
  manual_clock clock;
  flaky work{100};
  auto running =
      spawn(supervise(std::ref(work), {.backoff = backoff::fixed(10ms), .max_restarts = 2, .within = 1s, .clock = clock}));
  clock.advance(10ms);
  CHECK_FALSE(running.done());
  clock.advance(10ms);
  REQUIRE(running.done());
  CHECK_THROWS_WITH(running.result(), "run 3");
  flaky once{1};
  CHECK_THROWS_WITH(penstock::sync_wait(supervise(std::ref(once), {.max_restarts = 0})), "run 1");
}

TEST_CASE("supervise: the window slides", "[supervise]") {
  manual_clock clock;
  flaky work{100};
  auto running =
      spawn(supervise(std::ref(work), {.backoff = backoff::fixed(600ms), .max_restarts = 2, .within = 1s, .clock = clock}));
  for (int i = 0; i < 20; ++i) clock.advance(600ms);  // never three in a second
  CHECK(work.runs == 21);
  CHECK_FALSE(running.done());
  running.request_stop();
  REQUIRE(running.done());
  auto often =
      spawn(supervise(std::ref(work), {.backoff = backoff::fixed(499ms), .max_restarts = 2, .within = 1s, .clock = clock}));
  clock.advance(499ms);
  CHECK_FALSE(often.done());
  clock.advance(499ms);
  CHECK(often.done());
}

TEST_CASE("supervise: after a run as long as the window the delays begin anew", "[supervise]") {
  manual_clock clock;
  workshop s{4};
  std::size_t run = 0;
  auto running =
      spawn(supervise([&] { return s.fail(run++); }, {.backoff = backoff::exponential(10ms, 1s), .within = 1s, .clock = clock}));
  s.let(0);
  clock.advance(10ms);
  s.let(1);
  CHECK(clock.next_timer() == clock.now() + 20ms);
  clock.advance(20ms);
  clock.advance(1s);
  s.let(2);
  CHECK(clock.next_timer() == clock.now() + 10ms);
  clock.advance(10ms);
  CHECK(s.pieces[3].begun);
  running.request_stop();
}

TEST_CASE("supervise: a stop request reaches the task, and no other run begins", "[supervise]") {
  manual_clock clock;
  workshop s{1};
  std::size_t runs = 0;
  auto make = [&] {
    ++runs;
    return s.fail(0);
  };
  auto running = spawn(supervise(make, {.clock = clock}));
  running.request_stop();
  REQUIRE(running.done());
  CHECK(s.pieces[0].stopped);
  CHECK(runs == 1);
  CHECK_THROWS_WITH(running.result(), "failed 0");  // what it ends with is the end
}

TEST_CASE("supervise: a stop request, or a timeout, ends the wait for a restart", "[supervise]") {
  manual_clock clock;
  flaky work{9};
  auto waiting = spawn(supervise(std::ref(work), {.backoff = backoff::fixed(1h), .clock = clock}));
  waiting.request_stop();
  REQUIRE(waiting.done());
  CHECK(work.runs == 1);
  CHECK(clock.next_timer() == no_timer);
  try {
    waiting.result();
    FAIL("it was cancelled");
  } catch (const std::system_error& e) {
    CHECK(e.code() == errc::cancelled);
  }
  auto limited =
      spawn(supervise(std::ref(work), {.backoff = backoff::fixed(1h), .clock = clock}) | penstock::with_timeout(1s, clock));
  clock.advance(1s);
  CHECK(limited.result().error() == errc::timeout);
}

TEST_CASE("supervise: no run begins after a stop request, even if the delay was over before", "[supervise]") {
  manual_clock clock;
  penstock::manual_executor executor;
  flaky work{9};
  auto waiting = spawn(executor, supervise(std::ref(work), {.backoff = backoff::fixed(1s), .clock = clock}));
  executor.run_all();
  clock.advance(1s);
  waiting.request_stop();
  executor.run_all();
  REQUIRE(waiting.done());
  CHECK(work.runs == 1);
  CHECK_THROWS_AS(waiting.result(), std::system_error);
}

TEST_CASE("supervise: an error that the task gives is a failure", "[supervise]") {
  manual_clock clock;
  int runs = 0;
  std::error_code told;
  auto give = [&]() -> task<result<int>> {
    if (++runs < 3) co_return errc::full;
    co_return runs;
  };
  auto told_of = [&](const restart& r) {
    try {
      std::rethrow_exception(r.why);
    } catch (const std::system_error& e) {
      told = e.code();
    }
  };
  auto running = spawn(supervise(give, {.backoff = {}, .on_restart = told_of, .clock = clock}));
  REQUIRE(running.done());
  CHECK(running.result().value() == 3);
  CHECK(told == errc::full);
  runs = -10;
  CHECK(penstock::sync_wait(supervise(give, {.backoff = {}, .max_restarts = 4})).error() == errc::full);
  CHECK(runs == -5);
}

TEST_CASE("supervise: without a limit it restarts as often as it takes", "[supervise]") {
  flaky work{10'000};
  CHECK(penstock::sync_wait(supervise(std::ref(work), {.backoff = {}, .max_restarts = supervise_options::unlimited})) == 10'001);
  manual_clock clock;
  flaky other{3};
  auto running = spawn(
      supervise(std::ref(other), {.backoff = backoff::exponential(1s, 1h), .max_restarts = 0, .within = 0s, .clock = clock}));
  clock.advance(1s + 2s + 4s);
  REQUIRE(running.done());
  CHECK(running.result() == 4);
}

TEST_CASE("supervise: what on_restart throws ends it", "[supervise]") {
  flaky work{9};
  auto running = spawn(supervise(std::ref(work), {.on_restart = [](const restart&) { throw std::logic_error{"enough"}; }}));
  REQUIRE(running.done());
  CHECK_THROWS_WITH(running.result(), "enough");
}
