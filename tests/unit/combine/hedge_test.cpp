#include <penstock/combine/hedge.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "concurrent_testing.hpp"

using namespace std::chrono_literals;
using concurrent_testing::workshop;
using penstock::combined_error;
using penstock::errc;
using penstock::hedge;
using penstock::manual_clock;
using penstock::result;
using penstock::spawn;
using penstock::task;

namespace {

constexpr auto no_timer = manual_clock::time_point::max();

auto working(workshop& s) {
  return [&s](std::size_t n) { return s.work(n); };
}
auto failing(workshop& s) {
  return [&s](std::size_t n) { return s.fail(n); };
}

}  // namespace

TEST_CASE("hedge: an attempt that is in time is the only one", "[hedge]") {
  manual_clock clock;
  workshop s{3};
  auto answer = spawn(hedge(working(s), 10ms, 3, clock));
  clock.advance(10ms - 1ns);
  CHECK(s.begun() == 1);
  s.let(0);
  REQUIRE(answer.done());
  CHECK(answer.result() == 0);
  CHECK(clock.next_timer() == no_timer);
}

TEST_CASE("hedge: another attempt begins each time so much has passed, up to the most", "[hedge]") {
  manual_clock clock;
  workshop s{4};
  auto answer = spawn(hedge(working(s), 10ms, 3, clock));
  clock.advance(10ms);
  CHECK(s.begun() == 2);
  clock.advance(9ms);
  CHECK(s.begun() == 2);
  clock.advance(1ms);
  CHECK(s.begun() == 3);
  CHECK(clock.next_timer() == no_timer);
  clock.advance(1h);
  CHECK(s.begun() == 3);
  s.let(2);
  REQUIRE(answer.done());
  CHECK(answer.result() == 20);
  CHECK((s.pieces[0].stopped && s.pieces[1].stopped));
  CHECK(s.living == 0);
}

TEST_CASE("hedge: the first success counts, and the others have ended before it ends", "[hedge]") {
  manual_clock clock;
  std::vector<penstock::promise<std::unique_ptr<int>>> replies(2);  // futures: they do not hear of a stop request
  auto answer = spawn(hedge([&](std::size_t n) { return replies[n].get_future(); }, 10ms, 2, clock));
  clock.advance(10ms);
  replies[1].set_value(std::make_unique<int>(1));
  CHECK_FALSE(answer.done());
  replies[0].set_value(std::make_unique<int>(0));
  REQUIRE(answer.done());
  CHECK(*answer.result() == 1);
}

TEST_CASE("hedge: a failure begins the next attempt at once, and the time counts anew", "[hedge]") {
  manual_clock clock;
  workshop s{3};
  auto answer = spawn(hedge([&](std::size_t n) { return n == 0 ? s.fail(n) : s.work(n); }, 10ms, 3, clock));
  clock.advance(4ms);
  s.let(0);
  CHECK(s.begun() == 2);
  clock.advance(9ms);
  CHECK(s.begun() == 2);
  clock.advance(1ms);
  CHECK(s.begun() == 3);
  s.let(1);
  CHECK(answer.result() == 10);
}

TEST_CASE("hedge: if all fail every exception is kept", "[hedge]") {
  manual_clock clock;
  workshop s{3};
  auto answer = spawn(hedge(failing(s), 10ms, 3, clock));
  clock.advance(10ms);
  s.let(1);  // begins the third
  s.let(2);
  CHECK_FALSE(answer.done());
  s.let(0);
  REQUIRE(answer.done());
  try {
    answer.result();
    FAIL("all failed");
  } catch (const combined_error& e) {
    REQUIRE(e.failures().size() == 3);
    CHECK(e.failures()[0].index == 1);
    CHECK(e.failures()[1].index == 2);
    CHECK(e.failures()[2].index == 0);
  }
}

TEST_CASE("hedge: what f itself throws is an attempt that failed", "[hedge]") {
  manual_clock clock;
  workshop s{3};
  auto second = [&](std::size_t n) {
    if (n == 0) throw std::runtime_error{"no connection"};
    return s.work(n);
  };
  auto answer = spawn(hedge(second, 10ms, 3, clock));
  CHECK(s.begun() == 1);
  s.let(1);
  CHECK(answer.result() == 10);
  auto never = [&]() -> task<int> { throw std::runtime_error{"no connection"}; };
  auto none = spawn(hedge(never, 10ms, 2, clock));
  CHECK_THROWS_WITH(none.result(), "child 0 failed: no connection (and 1 more)");
}

TEST_CASE("hedge: an error that an attempt gives is a failure, and if all fail the first is given", "[hedge]") {
  manual_clock clock;
  std::size_t begun = 0;
  auto give = [&](std::size_t n) -> task<result<std::size_t>> {
    ++begun;
    if (n < 2) co_return n == 0 ? errc::full : errc::empty;
    co_return n;
  };
  CHECK(spawn(hedge(give, 10ms, 3, clock)).result().value() == 2);
  CHECK(spawn(hedge(give, 10ms, 2, clock)).result().error() == errc::full);
  CHECK(begun == 5);
}

TEST_CASE("hedge: a stop request reaches every attempt and lets none begin", "[hedge]") {
  manual_clock clock;
  workshop s{3};
  auto answer = spawn(hedge(working(s), 10ms, 3, clock));
  clock.advance(10ms);
  answer.request_stop();
  REQUIRE(answer.done());
  CHECK(s.begun() == 2);
  CHECK((s.pieces[0].stopped && s.pieces[1].stopped));
  CHECK(clock.next_timer() == no_timer);
  CHECK_THROWS_AS(answer.result(), std::system_error);

  workshop t{3};
  auto tried = spawn(hedge([&](std::size_t n) { return t.try_work(n); }, 10ms, 3, clock) | penstock::with_timeout(5ms, clock));
  clock.advance(5ms);
  REQUIRE(tried.done());
  CHECK(tried.result().error() == errc::timeout);
}

TEST_CASE("hedge: with no time given all attempts begin at once; with one attempt there is no timer", "[hedge]") {
  manual_clock clock;
  workshop s{3};
  auto all = spawn(hedge(working(s), 0ms, 3, clock));
  CHECK(s.begun() == 3);
  s.let(1);
  CHECK(all.result() == 10);
  workshop t{1};
  auto one = spawn(hedge([&] { return t.work_for_nothing(0); }, 10ms, 1, clock));
  CHECK(clock.next_timer() == no_timer);
  t.let(0);
  one.result();
  CHECK_THROWS_AS(hedge(working(s), 10ms, 0, clock), std::invalid_argument);
}

TEST_CASE("hedge: on a scheduler, an attempt that ends well although it is stopped is dropped", "[hedge]") {
  manual_clock clock;
  penstock::manual_executor loop;
  workshop s{2};
  auto answer = spawn(loop, hedge(working(s), 10ms, 2, clock));
  loop.run_all();
  clock.advance(10ms);
  loop.run_all();
  s.let(1);
  s.let(0);
  loop.run_all();
  REQUIRE(answer.done());
  CHECK(answer.result() == 10);
  CHECK(s.living == 0);
}
