#include <penstock/combine/map_as_completed.hpp>

#include <chrono>
#include <cstddef>
#include <ranges>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <penstock/combine/combined_error.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/stream/generator.hpp>

#include "../../support/catch.hpp"
#include "concurrent_testing.hpp"

using namespace std::chrono_literals;
using concurrent_testing::workshop;
using penstock::combined_error;
using penstock::errc;
using penstock::generator;
using penstock::limit;
using penstock::map_as_completed;
using penstock::result;
using penstock::spawn;
using penstock::sync_wait;
using penstock::task;

namespace {

generator<std::size_t> numbers(std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) co_yield i;
}
auto working(workshop& s) {
  return [&s](std::size_t i) { return s.work(i); };
}

template <class Completions, class Value>
task<result<void>> collect(Completions& c, std::vector<Value>& into) {
  for (;;) {
    auto next = co_await c.next();
    if (!next) co_return next.error();
    into.push_back(*next);
  }
}

task<int> hop(int i, int& ended) {
  const penstock::any_scheduler where = co_await penstock::this_task::get_scheduler();
  for (int n = 0; n < 10 * i; ++n) co_await where.schedule();
  ++ended;
  co_return i;
}
task<> leave_early(int& ended) {
  auto results = map_as_completed(std::views::iota(0, 4), limit(4), [&ended](int i) { return hop(i, ended); });
  const result<int> first = co_await results.next();
  CHECK(first == 0);
  throw std::runtime_error{"left early"};
}

}  // namespace

TEST_CASE("map_as_completed: gives the results as they come, and errc::closed at the end", "[map_as_completed]") {
  workshop s{4};
  auto results = map_as_completed(numbers(4), limit(2), working(s));
  CHECK(s.begun() == 0);
  std::vector<int> got;
  auto reading = spawn(collect(results, got));
  CHECK(s.begun() == 2);
  s.let(1);
  CHECK(got == std::vector<int>{10});
  CHECK(s.begun() == 3);
  s.let(2);
  s.let(3);
  s.let(0);
  REQUIRE(reading.done());
  CHECK(reading.result().error() == errc::closed);
  CHECK(got == std::vector<int>{10, 20, 30, 0});
  CHECK(s.most_living == 2);
  CHECK(sync_wait(results.next()).error() == errc::closed);
}

TEST_CASE("map_as_completed: who does not ask holds the items up", "[map_as_completed]") {
  workshop s{4};
  for (std::size_t i = 0; i < 4; ++i) s.let(i);
  auto results = map_as_completed(numbers(4), limit(2), working(s));
  CHECK(sync_wait(results.next()).value() == 0);
  CHECK(s.begun() == 2);
  CHECK(sync_wait(results.next()).value() == 10);
  CHECK(s.begun() == 3);
}

TEST_CASE("map_as_completed: the first failure stops the others", "[map_as_completed]") {
  workshop s{4};
  auto results = map_as_completed(numbers(4), limit(3), [&](std::size_t i) { return i == 1 ? s.fail(i) : s.work(i); });
  s.let(0);
  CHECK(sync_wait(results.next()).value() == 0);
  s.let(1);
  CHECK_THROWS_AS(sync_wait(results.next()), combined_error);
  CHECK((s.pieces[2].stopped && s.pieces[3].stopped));
  CHECK(s.living == 0);
  CHECK(sync_wait(results.next()).error() == errc::cancelled);
}

TEST_CASE("map_as_completed: an error that an item gives is a failure", "[map_as_completed]") {
  workshop s{3};
  auto give = [](std::size_t) -> task<result<int>> { co_return errc::full; };
  auto results = map_as_completed(numbers(3), limit(2), [&](std::size_t i) { return i == 1 ? give(i) : s.try_work(i); });
  CHECK(sync_wait(results.next()).error() == errc::full);
  CHECK(s.pieces[0].stopped);
  CHECK_FALSE(s.pieces[2].begun);
}

TEST_CASE("map_as_completed: a stop request, or a limit, to one next() ends the whole", "[map_as_completed]") {
  penstock::manual_clock clock;
  workshop s{4};
  auto results = map_as_completed(numbers(4), limit(2), working(s));
  auto waiting = spawn(results.next() | penstock::with_timeout(5ms, clock));
  clock.advance(5ms);
  REQUIRE(waiting.done());
  CHECK(waiting.result().error() == errc::timeout);
  CHECK(s.begun() == 2);
  CHECK(s.living == 0);
  CHECK(sync_wait(results.next()).error() == errc::cancelled);
}

TEST_CASE("map_as_completed: of an endless range one takes what one needs", "[map_as_completed]") {
  auto endless = []() -> generator<int> {
    for (int i = 0;; ++i) co_yield i;
  };
  auto results = map_as_completed(endless(), limit(3), [](int i) -> task<int> { co_return i; });
  for (int i = 0; i < 100; ++i) CHECK(sync_wait(results.next()).value() == i);
  sync_wait(results.cancel());
  CHECK(sync_wait(results.next()).error() == errc::cancelled);
}

TEST_CASE("map_as_completed: after cancel() there is no more, although all items had begun", "[map_as_completed]") {
  workshop s{4};
  auto results = map_as_completed(numbers(4), limit(4), working(s));
  s.let(0);
  CHECK(sync_wait(results.next()));
  CHECK(s.begun() == 4);
  sync_wait(results.cancel());
  CHECK(s.living == 0);
  CHECK(sync_wait(results.next()).error() == errc::cancelled);
}

TEST_CASE("map_as_completed: a worker that goes away by an exception runs the items that wait for it",
          "[map_as_completed][hazard-18]") {
  penstock::worker_pool pool{{.threads = 1}};
  int ended = 0;
  CHECK_THROWS_WITH(spawn(pool, leave_early(ended)).result(), "left early");
  CHECK(ended == 4);
}

TEST_CASE("map_as_completed: going away stops those in flight and waits for them", "[map_as_completed]") {
  workshop s{3};
  {
    auto results = map_as_completed(numbers(3), limit(2), [&](std::size_t i) { return s.work_for_nothing(i); });
    s.let(0);
    const result<void> first = sync_wait(results.next());
    CHECK(first);
  }
  CHECK(s.pieces[1].stopped);
  CHECK(s.living == 0);
}
