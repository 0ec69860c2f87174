#include <penstock/combine/map_concurrent.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <type_traits>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/stream/generator.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "concurrent_testing.hpp"

using namespace std::chrono_literals;
using concurrent_testing::workshop;
using penstock::combined_error;
using penstock::errc;
using penstock::limit;
using penstock::map_concurrent;
using penstock::map_concurrent_settled;
using penstock::result;
using penstock::spawn;
using penstock::sync_wait;
using penstock::task;
using penstock::via;
using penstock::with_timeout;

namespace {

std::vector<std::size_t> numbers(std::size_t n) {
  std::vector<std::size_t> v(n);
  std::iota(v.begin(), v.end(), std::size_t{0});
  return v;
}
auto working(workshop& s) {
  return [&s](std::size_t i) { return s.work(i); };
}
auto trying(workshop& s) {
  return [&s](std::size_t i) { return s.try_work(i); };
}

task<int> square(int i) { co_return i* i; }
task<int> same(int i) { co_return i; }
task<std::unique_ptr<int>> box(int i) { co_return std::make_unique<int>(i); }
task<bool> is_even(int i) { co_return i % 2 == 0; }
task<const std::string*> address(const std::string& s) { co_return &s; }

penstock::generator<std::size_t> count(std::size_t n, std::size_t& pulled) {
  for (std::size_t i = 0; i < n; ++i) {
    ++pulled;
    co_yield i;
  }
}
penstock::generator<std::size_t> count_and_throw(std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) co_yield i;
  throw std::runtime_error{"range"};
}

}  // namespace

TEST_CASE("map_concurrent: gives the results in the order of the items, whatever order they end in", "[map_concurrent]") {
  workshop s{3};
  auto all = spawn(map_concurrent(numbers(3), limit(3), working(s)));
  s.let(2);
  s.let(0);
  CHECK_FALSE(all.done());
  s.let(1);
  REQUIRE(all.done());
  CHECK(all.result() == std::vector<int>{0, 10, 20});
}

TEST_CASE("map_concurrent: at most so many are in flight, the next begins when one ends, and no more frames are alive",
          "[map_concurrent]") {
  workshop s{6};
  std::size_t pulled = 0;
  auto all = spawn(map_concurrent(count(6, pulled), limit(2), working(s)));
  CHECK(s.begun() == 2);
  CHECK(pulled == 2);
  s.let(1);
  CHECK(s.begun() == 3);
  CHECK(s.living == 2);
  for (std::size_t i = 0; i < 6; ++i) s.let(i);
  REQUIRE(all.done());
  CHECK(all.result().size() == 6);
  CHECK(s.most_living == 2);
  CHECK(s.living == 0);
  CHECK(pulled == 6);
}

TEST_CASE("map_concurrent: is lazy, and dropped without a trace", "[map_concurrent]") {
  workshop s{2};
  {
    auto all = map_concurrent(numbers(2), limit(2), working(s));
    static_cast<void>(all);
  }
  CHECK(s.begun() == 0);
  CHECK_THROWS_AS(limit(0), std::invalid_argument);
}

TEST_CASE("map_concurrent: takes results of any kind, and ranges of any kind", "[map_concurrent]") {
  CHECK(sync_wait(map_concurrent(std::vector<int>{}, limit(10), square)).empty());
  CHECK(sync_wait(map_concurrent(std::views::iota(1, 4), limit(10), square)) == std::vector<int>{1, 4, 9});
  CHECK(sync_wait(map_concurrent(std::vector{1, 2}, limit(1), is_even)) == std::vector<bool>{false, true});
  const auto boxes = sync_wait(map_concurrent(std::vector{7, 8}, limit(2), box));
  CHECK((*boxes[0] == 7 && *boxes[1] == 8));
  const std::vector<std::string> names{"a", "b"};  // an lvalue is referred to, not copied
  CHECK(sync_wait(map_concurrent(names, limit(2), address)) == std::vector<const std::string*>{&names[0], &names[1]});

  workshop s{2};
  STATIC_REQUIRE(std::is_void_v<decltype(sync_wait(
                     map_concurrent(names, limit(2), [&](const std::string&) { return s.work_for_nothing(0); })))>);
  s.let(0);
  s.let(1);
  sync_wait(map_concurrent(numbers(2), limit(2), [&](std::size_t i) { return s.work_for_nothing(i); }));
  CHECK((s.pieces[0].ended && s.pieces[1].ended));
  const result<std::vector<int>> tried = sync_wait(map_concurrent(numbers(2), limit(2), trying(s)));
  CHECK(tried.value() == std::vector<int>{0, 10});
  const result<void> waited =
      sync_wait(map_concurrent(numbers(2), limit(2), [&](std::size_t i) { return s.pieces[i].go.async_wait(); }));
  CHECK(waited);
}

TEST_CASE("map_concurrent: the first failure stops the others, and is thrown when all have ended", "[map_concurrent]") {
  workshop s{5};
  auto all = spawn(map_concurrent(numbers(5), limit(3), [&](std::size_t i) { return i == 1 ? s.fail(i) : s.work(i); }));
  s.let(1);  // the others end with errc::cancelled
  REQUIRE(all.done());
  CHECK((s.pieces[0].stopped && s.pieces[2].stopped));
  CHECK(s.begun() == 3);
  CHECK(s.living == 0);
  try {
    all.result();
    FAIL("it failed");
  } catch (const combined_error& e) {
    REQUIRE(e.failures().size() == 1);
    CHECK(e.failures()[0].index == 1);
    CHECK_THROWS_WITH(e.rethrow_first(), "failed 1");
  }
}

TEST_CASE("map_concurrent: those that fail because they are stopped, but not with errc::cancelled, are told, too",
          "[map_concurrent]") {
  workshop s{3};
  auto all = spawn(map_concurrent(numbers(3), limit(3), [&](std::size_t i) { return i == 0 ? s.work(i) : s.fail(i); }));
  s.let(2);
  REQUIRE(all.done());
  try {
    all.result();
    FAIL("it failed");
  } catch (const combined_error& e) {
    REQUIRE(e.failures().size() == 2);
    CHECK(e.failures()[0].index == 2);
    CHECK(e.failures()[1].index == 1);
  }
}

TEST_CASE("map_concurrent: an error that an item gives is a failure, and the error of the whole", "[map_concurrent]") {
  workshop s{3};
  auto give = [](std::size_t) -> task<result<int>> { co_return errc::full; };
  auto all = spawn(map_concurrent(numbers(3), limit(2), [&](std::size_t i) { return i == 1 ? give(i) : s.try_work(i); }));
  REQUIRE(all.done());
  CHECK(s.pieces[0].stopped);
  CHECK_FALSE(s.pieces[2].begun);
  CHECK(all.result().error() == errc::full);
}

TEST_CASE("map_concurrent: what f and the range throw stops those in flight", "[map_concurrent]") {
  workshop s{4};
  auto by_f = spawn(map_concurrent(numbers(4), limit(3), [&](std::size_t i) {
    if (i == 2) throw std::runtime_error{"f"};
    return s.work(i);
  }));
  REQUIRE(by_f.done());
  CHECK((s.pieces[0].stopped && s.pieces[1].stopped));
  try {
    by_f.result();
    FAIL("it failed");
  } catch (const combined_error& e) {
    REQUIRE(e.failures().size() == 1);
    CHECK(e.failures()[0].index == 2);
  }
  workshop t{1};
  auto by_range = spawn(map_concurrent(count_and_throw(1), limit(3), working(t)));
  REQUIRE(by_range.done());
  CHECK(t.pieces[0].stopped);
  CHECK_THROWS_WITH(by_range.result(), "child 1 failed: range");
}

TEST_CASE("map_concurrent: a stop request reaches those in flight and lets no other begin", "[map_concurrent]") {
  workshop s{4};
  auto all = spawn(map_concurrent(numbers(4), limit(2), working(s)));
  all.request_stop();
  REQUIRE(all.done());
  CHECK(s.begun() == 2);
  CHECK((s.pieces[0].stopped && s.pieces[1].stopped));
  try {
    all.result();
    FAIL("it was cancelled");
  } catch (const std::system_error& e) {
    CHECK(e.code() == errc::cancelled);
  }
  workshop t{4};
  auto tried = spawn(map_concurrent(numbers(4), limit(2), trying(t)));
  tried.request_stop();
  CHECK(tried.result().error() == errc::cancelled);
}

TEST_CASE("map_concurrent: a stop request that comes when all have begun, and end well, changes nothing", "[map_concurrent]") {
  penstock::manual_executor loop;
  workshop s{2};
  auto all = spawn(loop, map_concurrent(numbers(2), limit(2), working(s)));
  loop.run_all();
  s.let(0);
  s.let(1);
  all.request_stop();
  loop.run_all();
  REQUIRE(all.done());
  CHECK(all.result() == std::vector<int>{0, 10});
}

TEST_CASE("map_concurrent: a timeout limits the whole, and everything has ended when it ends", "[map_concurrent][timeout]") {
  penstock::manual_clock clock;
  workshop s{4};
  auto all = spawn(map_concurrent(numbers(4), limit(2), working(s)) | with_timeout(10ms, clock));
  s.let(0);
  clock.advance(10ms);
  REQUIRE(all.done());
  CHECK(all.result().error() == errc::timeout);
  CHECK(s.begun() == 3);
  CHECK(s.living == 0);
}

TEST_CASE("map_concurrent: items run on the scheduler of the whole", "[map_concurrent]") {
  penstock::manual_executor loop;
  workshop s{3};
  auto all = spawn(map_concurrent(numbers(3), limit(2), working(s)) | via(loop));
  CHECK(s.begun() == 0);
  loop.run_all();
  CHECK(s.begun() == 2);
  for (std::size_t i = 0; i < 3; ++i) s.let(i);
  CHECK(s.begun() == 2);
  loop.run_all();
  REQUIRE(all.done());
  CHECK(all.result() == std::vector<int>{0, 10, 20});
}

TEST_CASE("map_concurrent: a future is awaited to its end, for it cannot be stopped", "[map_concurrent][future]") {
  std::vector<penstock::promise<int>> promises(3);
  auto all = spawn(map_concurrent(numbers(3), limit(2), [&](std::size_t i) { return promises[i].get_future(); }));
  promises[1].set_value(1);
  all.request_stop();
  CHECK_FALSE(all.done());
  promises[0].set_value(0);
  CHECK_FALSE(all.done());  // the third had begun
  promises[2].set_exception(std::make_exception_ptr(std::runtime_error{"late"}));
  REQUIRE(all.done());
  CHECK_THROWS_WITH(all.result(), "child 2 failed: late");
}

TEST_CASE("map_concurrent: a spawned coroutine is told of a stop request", "[map_concurrent]") {
  workshop s{2};
  auto all = spawn(map_concurrent(numbers(2), limit(2), [&](std::size_t i) { return spawn(s.work(i)); }));
  CHECK(s.begun() == 2);
  all.request_stop();
  REQUIRE(all.done());
  CHECK((s.pieces[0].stopped && s.pieces[1].stopped));
}

TEST_CASE("map_concurrent: a hundred thousand items that end at once need constant stack", "[map_concurrent]") {
  const auto all = sync_wait(map_concurrent(std::views::iota(0, 100'000), limit(10), same));
  REQUIRE(all.size() == 100'000);
  CHECK(all[33'333] == 33'333);
  CHECK(sync_wait(map_concurrent(std::views::iota(0, 100'000), limit(100'000), is_even)).size() == 100'000);
}

TEST_CASE("map_concurrent_settled: keeps every outcome", "[map_concurrent]") {
  workshop s{4};
  auto all = spawn(map_concurrent_settled(numbers(4), limit(2), [&](std::size_t i) {
    if (i == 2) throw std::runtime_error{"f"};
    return i == 1 ? s.fail(i) : s.work(i);
  }));
  for (std::size_t i = 0; i < 4; ++i) s.let(i);
  REQUIRE(all.done());
  auto outcomes = all.result();
  REQUIRE(outcomes.size() == 4);
  CHECK(*outcomes[0] == 0);
  CHECK_THROWS_WITH(outcomes[1].value(), "failed 1");
  CHECK_THROWS_WITH(outcomes[2].value(), "f");
  CHECK(*outcomes[3] == 30);

  auto give = [](int i) -> task<result<void>> {
    if (i == 0) co_return errc::full;
    co_return result<void>{};
  };
  const auto codes = sync_wait(map_concurrent_settled(std::vector{0, 1}, limit(2), give));
  CHECK(codes[0].error() == errc::full);
  CHECK(codes[1].has_value());
}

TEST_CASE("map_concurrent_settled: stopped, it gives the outcomes of those that had begun", "[map_concurrent]") {
  workshop s{4};
  auto all = spawn(map_concurrent_settled(numbers(4), limit(2), working(s)));
  s.let(0);
  all.request_stop();
  REQUIRE(all.done());
  auto outcomes = all.result();
  REQUIRE(outcomes.size() == 3);
  CHECK(*outcomes[0] == 0);
  CHECK(outcomes[1].error() == errc::cancelled);
  CHECK(outcomes[2].error() == errc::cancelled);
  CHECK_THROWS_WITH(sync_wait(map_concurrent_settled(count_and_throw(0), limit(2), working(s))), "child 0 failed: range");
}
