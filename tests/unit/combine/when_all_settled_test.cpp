#include <chrono>
#include <concepts>
#include <memory>
#include <stop_token>
#include <system_error>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <penstock/combine/settled.hpp>
#include <penstock/combine/when_all_settled.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "../../support/catch.hpp"
#include "combine_testing.hpp"

using namespace std::chrono_literals;
using namespace penstock;
using namespace combine_test;

namespace {
task<std::unique_ptr<int>> own(int i) { co_return std::make_unique<int>(i); }
}  // namespace

TEST_CASE("when_all_settled: tells of each child how it ended, and a failure stops nobody", "[combine]") {
  scene s{4};
  auto all = spawn(when_all_settled(number(s, 0), failure(s, 1), error(s, 2, errc::closed), nothing(s, 3)));
  STATIC_REQUIRE(
      std::same_as<decltype(all.result()), std::tuple<settled<int>, settled<int>, settled<int>, settled<std::monostate>>>);
  s.open(1);
  s.open(2);
  CHECK(s.cancelled.empty());
  s.open(3);
  s.open(0);
  REQUIRE(all.done());
  auto [value, thrown, code, done] = all.result();
  CHECK(*value == 0);
  CHECK(value.value() == 0);
  CHECK(value.exception() == nullptr);
  CHECK_FALSE(value.error());
  CHECK_FALSE(thrown);
  CHECK(thrown.exception() != nullptr);
  CHECK_FALSE(thrown.error());
  CHECK_THROWS_AS(thrown.value(), child_error);
  CHECK(code.error() == errc::closed);
  CHECK(code.exception() == nullptr);
  CHECK_THROWS_AS(code.value(), std::system_error);
  CHECK(done.has_value());
}

TEST_CASE("when_all_settled: of a range it gives a vector in the children's order", "[combine]") {
  std::vector<task<int>> children;
  for (int i = 0; i < 4; ++i) children.push_back(give_or_throw(i % 2 == 0 ? i : -i));
  const auto all = sync_wait(when_all_settled(std::move(children), limit(2)));
  REQUIRE(all.size() == 4);
  CHECK(*all[0] == 0);
  CHECK_FALSE(all[1].has_value());
  CHECK(*all[2] == 2);
  CHECK_THROWS_AS(all[3].value(), child_error);
  CHECK(sync_wait(when_all_settled(std::vector<task<int>>{})).empty());
}

TEST_CASE("when_all_settled: gives values that can only be moved", "[combine]") {
  auto [a, b] = sync_wait(when_all_settled(own(1), own(2)));
  const std::unique_ptr<int> p = *std::move(b);
  CHECK(*p == 2);
  CHECK(*std::move(a).value() == 1);
}

TEST_CASE("when_all_settled: stopped from above it gives what there is, and what never began is cancelled", "[combine]") {
  scene s{4};
  auto all = spawn(when_all_settled(each(s, number), limit(2)));
  s.open(0);
  all.request_stop();
  REQUIRE(all.done());
  const auto outcomes = all.result();
  CHECK(*outcomes[0] == 0);
  for (std::size_t i = 1; i < 4; ++i) CHECK(outcomes[i].error() == errc::cancelled);
  CHECK(outcomes[1].exception() != nullptr);  // it threw that
  CHECK(outcomes[3].exception() == nullptr);  // it never began
  CHECK(s.begun.size() == 3);
}

TEST_CASE("when_all_settled: a timeout of the whole leaves the outcomes of those that made it", "[combine]") {
  manual_clock clock;
  scene s{2};
  auto all = spawn(when_all_settled(each(s, number_or_error)) | with_timeout(1ms, clock));
  s.open(1);
  clock.advance(1ms);
  const auto outcomes = all.result();
  REQUIRE(outcomes);
  CHECK((*outcomes)[0].error() == errc::cancelled);
  CHECK(*(*outcomes)[1] == 10);
}

TEST_CASE("when_all_settled: takes futures", "[combine]") {
  worker_pool pool{{.threads = 2}};
  auto [good, bad] =
      sync_wait(when_all_settled(pool.submit([] { return 1; }), pool.submit([]() -> int { throw child_error{"x"}; })));
  CHECK(*good == 1);
  CHECK_THROWS_AS(bad.value(), child_error);
}
