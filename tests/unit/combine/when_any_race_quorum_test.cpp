// when_any, race and quorum: what ends a combinator before all have ended.
#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include <penstock/combine/quorum.hpp>
#include <penstock/combine/race.hpp>
#include <penstock/combine/when_any.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/future.hpp>

#include "../../support/catch.hpp"
#include "combine_testing.hpp"

using namespace std::chrono_literals;
using namespace penstock;
using namespace combine_test;

namespace {

using numbers = std::vector<std::size_t>;

template <class T>
std::vector<std::size_t> indices(const std::vector<winner<T>>& winners) {
  std::vector<std::size_t> all;
  for (const auto& w : winners) all.push_back(w.index);
  return all;
}

// Who hears of a stop request first is not said.
numbers sorted(numbers n) {
  std::ranges::sort(n);
  return n;
}

task<std::string> text(std::string s) { co_return s; }

}  // namespace

TEST_CASE("when_any: gives the first success, stops the others and waits for them", "[combine]") {
  scene s{4};
  auto any = spawn(when_any(failure(s, 0), number(s, 1), stubborn(s, 2), number(s, 3)));
  s.open(0);  // a failure stops nobody
  CHECK(s.cancelled.empty());
  s.open(1);
  CHECK(s.cancelled == numbers{3});
  CHECK_FALSE(any.done());
  s.open(2);  // a success too, but late
  CHECK(any.result() == winner<int>{1, 10});
}

TEST_CASE("when_any: fails when all have failed, with every failure in its order", "[combine]") {
  scene s{3};
  auto any = spawn(when_any(each(s, failure)));
  s.open(2);
  s.open(0);
  CHECK_FALSE(any.done());
  s.open(1);
  CHECK(failures_of([&] { return any.result(); }) == std::vector{2, 0, 1});
}

TEST_CASE("when_any: arguments of different types give a variant, which tells them apart by position", "[combine]") {
  scene s{3};
  s.open(2);
  auto any = sync_wait(when_any(number(s, 0), text("x"), give(3)));
  STATIC_REQUIRE(std::same_as<decltype(any), winner<std::variant<int, std::string, int>>>);
  CHECK(any.index == 1);
  CHECK(any.value.index() == 1);
  auto nothing_first = sync_wait(when_any(number(s, 1), nothing(s, 2)));
  STATIC_REQUIRE(std::same_as<decltype(nothing_first), winner<std::variant<int, std::monostate>>>);
  CHECK(nothing_first.index == 1);
}

TEST_CASE("when_any: an error code counts as a failure, and of codes only the first is the result's", "[combine]") {
  scene s{2};
  auto any = spawn(when_any(error(s, 0, errc::full), error(s, 1, errc::closed)));
  STATIC_REQUIRE(std::same_as<decltype(any.result()), result<winner<int>>>);
  s.open(1);
  s.open(0);
  CHECK(any.result() == errc::closed);

  scene t{2};
  auto lucky = spawn(when_any(error(t, 0, errc::full), number_or_error(t, 1)));
  t.open(0);
  t.open(1);
  CHECK(lucky.result() == winner<int>{1, 10});
}

TEST_CASE("when_any and race: of no children there is none to give", "[combine]") {
  CHECK(failures_of([] { return sync_wait(when_any(std::vector<task<int>>{})); }).empty());
  CHECK(failures_of([] { return sync_wait(race(std::vector<task<int>>{})); }).empty());
  CHECK(sync_wait(when_any(std::vector<task<result<int>>>{})) == errc::empty);
  CHECK(sync_wait(race(std::vector<task<result<int>>>{}, limit(1))) == errc::empty);
}

TEST_CASE("when_any: takes futures", "[combine]") {
  worker_pool pool{{.threads = 1}};
  promise<int> never;
  CHECK(sync_wait(when_any(never.get_future(), pool.submit([] { return 7; }))) == winner<int>{1, 7});
}

TEST_CASE("when_any: tries one after the other under a limit of one", "[combine]") {
  scene s{4};
  for (std::size_t i = 0; i < 4; ++i) s.open(i);
  std::vector<task<int>> mirrors;
  mirrors.push_back(failure(s, 0));
  mirrors.push_back(failure(s, 1));
  mirrors.push_back(number(s, 2));
  mirrors.push_back(number(s, 3));
  CHECK(sync_wait(when_any(std::move(mirrors), limit(1))) == winner<int>{2, 20});
  CHECK(s.begun == numbers{0, 1, 2});
  CHECK(s.most_under_way == 1);
}

TEST_CASE("when_any: stopped from above it is cancelled, also after a failure", "[combine]") {
  scene s{2};
  auto any = spawn(when_any(failure(s, 0), number(s, 1)));
  s.open(0);
  any.request_stop();
  CHECK(code_of([&] { return any.result(); }) == errc::cancelled);
}

TEST_CASE("when_any: a timeout limits the whole", "[combine]") {
  manual_clock clock;
  scene s{2};
  auto any = spawn(when_any(each(s, number)) | with_timeout(5ms, clock));
  clock.advance(5ms);
  CHECK(any.result() == errc::timeout);
  CHECK(s.cancelled.size() == 2);
}

TEST_CASE("race: the first to end decides, with its value", "[combine]") {
  scene s{3};
  auto first = spawn(race(each(s, number)));
  s.open(1);
  CHECK(sorted(s.cancelled) == numbers{0, 2});
  CHECK(first.result() == winner<int>{1, 10});
}

TEST_CASE("race: the first to end decides, with its failure, whatever comes later", "[combine]") {
  scene s{3};
  auto first = spawn(race(stubborn(s, 0), failure(s, 1), number(s, 2)));
  s.open(1);
  CHECK(s.cancelled == numbers{2});
  CHECK_FALSE(first.done());
  s.open(0);  // succeeds, too late
  CHECK(failures_of([&] { return first.result(); }) == std::vector{1});

  scene t{2};
  auto codes = spawn(race(error(t, 0, errc::closed), number_or_error(t, 1)));
  t.open(0);
  CHECK(codes.result() == errc::closed);
}

TEST_CASE("race: a success that a stop request does not prevent still counts", "[combine]") {
  scene s{2};
  auto first = spawn(race(number(s, 0), stubborn(s, 1)));
  first.request_stop();
  CHECK(s.cancelled == numbers{0});  // who only complies does not decide
  s.open(1);
  CHECK(first.result() == winner<int>{1, 10});
}

TEST_CASE("race: against time, in virtual time", "[combine]") {
  manual_clock clock;
  event never;
  event ready;
  auto late = spawn(race(ready.async_wait(), never.async_wait() | with_timeout(3ms, clock)));
  clock.advance(3ms);
  CHECK(late.result() == errc::timeout);
  auto in_time = spawn(race(ready.async_wait(), never.async_wait() | with_timeout(3ms, clock)));
  ready.set();
  CHECK(in_time.result()->index == 0);
}

TEST_CASE("quorum: gives the first successes in the order in which they ended", "[combine]") {
  scene s{5};
  auto q = spawn(quorum(3, each(s, number)));
  s.open(4);
  s.open(1);
  CHECK_FALSE(q.done());
  s.open(2);
  REQUIRE(q.done());
  CHECK(sorted(s.cancelled) == numbers{0, 3});
  const auto winners = q.result();
  CHECK(indices(winners) == numbers{4, 1, 2});
  CHECK(winners.front().value == 40);
}

TEST_CASE("quorum: survives as many failures as it can, and fails at once with one more", "[combine]") {
  scene s{3};
  auto good = spawn(quorum(2, failure(s, 0), number(s, 1), number(s, 2)));
  for (std::size_t i = 0; i < 3; ++i) s.open(i);
  CHECK(indices(good.result()) == numbers{1, 2});

  scene t{4};
  auto bad = spawn(quorum(3, failure(t, 0), number(t, 1), failure(t, 2), number(t, 3)));
  t.open(1);
  t.open(2);
  CHECK_FALSE(bad.done());
  t.open(0);
  REQUIRE(bad.done());
  CHECK(t.cancelled == numbers{3});
  CHECK(failures_of([&] { return bad.result(); }) == std::vector{2, 0});
}

TEST_CASE("quorum: gives no more than it needs, though more succeed before they hear of it", "[combine]") {
  scene s{3};
  auto q = spawn(quorum(1, each(s, stubborn)));
  for (std::size_t i = 3; i-- > 0;) s.open(i);
  CHECK(indices(q.result()) == numbers{2});
}

TEST_CASE("quorum: under a limit begins only as many as it takes", "[combine]") {
  scene s{5};
  for (std::size_t i = 0; i < 5; ++i) s.open(i);
  CHECK(indices(sync_wait(quorum(2, each(s, number), limit(1)))) == numbers{0, 1});
  CHECK(s.begun == numbers{0, 1});
}

TEST_CASE("quorum: results give a result, arguments of different types variants", "[combine]") {
  scene s{2};
  s.open(0);
  s.open(1);
  auto q = sync_wait(quorum(2, number_or_error(s, 0), text("x")));
  STATIC_REQUIRE(std::same_as<decltype(q), result<std::vector<winner<std::variant<int, std::string>>>>>);
  REQUIRE(q);
  CHECK(indices(*q) == numbers{0, 1});
  CHECK((*q)[1].value.index() == 1);
}

TEST_CASE("quorum: a number that cannot be reached is an error before anything begins", "[combine]") {
  scene s{2};
  CHECK_THROWS_AS(quorum(3, each(s, number)), std::invalid_argument);
  CHECK_THROWS_AS(quorum(0, each(s, number)), std::invalid_argument);
  CHECK_THROWS_AS(quorum(3, number(s, 0), number(s, 1)), std::invalid_argument);
  CHECK_THROWS_AS(quorum(1, std::vector<task<int>>{}), std::invalid_argument);
  CHECK(s.begun.empty());
}
