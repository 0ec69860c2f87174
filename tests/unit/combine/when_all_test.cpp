#include <penstock/combine/when_all.hpp>

#include <array>
#include <chrono>
#include <concepts>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/sync/semaphore.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "combine_testing.hpp"

using namespace std::chrono_literals;
using namespace penstock;
using namespace combine_test;

namespace {

task<int&> refer(int& i) { co_return i; }
task<std::unique_ptr<int>> own(int i) { co_return std::make_unique<int>(i); }
task<std::string> text(std::string s) { co_return s; }
task<bool> odd(int i) { co_return i % 2 == 1; }

// Its move throws when it is told to.
struct unruly {
  explicit unruly(int& moves) : left{&moves} {}
  unruly(unruly&& other) : left{other.left} {
    if (--*left < 0) throw child_error{"moved"};
  }
  unruly& operator=(unruly&&) = delete;
  int* left;
};
task<unruly> misbehave(int& moves) { co_return unruly{moves}; }

task<int> hold(permit held) { co_return held ? 1 : 0; }

task<std::thread::id> where() { co_return std::this_thread::get_id(); }

task<int> sum_of_children(scene& s, bool& cleaned) {
  int sum = 0;
  try {
    for (const int n : co_await when_all(each(s, number))) sum += n;
  } catch (const std::system_error& e) {
    cleaned = e.code() == errc::cancelled && s.under_way == 0;
    throw;
  }
  co_return sum;
}

task<int> nested(int depth) {
  if (depth == 0) co_return 1;
  const auto [a, b] = co_await when_all(nested(depth - 1), give(1));
  co_return a + b;
}

task<> stop_here(std::stop_source& stop) {
  stop.request_stop();
  co_return;
}

}  // namespace

TEST_CASE("when_all: gives a tuple of the arguments' values, in their order", "[combine]") {
  int i = 5;
  auto all = sync_wait(when_all(give(1), text("two"), own(3), refer(i), refer(i) /* a reference stays one */));
  STATIC_REQUIRE(
      std::same_as<decltype(all),
                   std::tuple<int, std::string, std::unique_ptr<int>, std::reference_wrapper<int>, std::reference_wrapper<int>>>);
  CHECK(std::get<0>(all) == 1);
  CHECK(std::get<1>(all) == "two");
  CHECK(*std::get<2>(all) == 3);
  CHECK(&std::get<3>(all).get() == &i);
}

TEST_CASE("when_all: gives a vector of a range's values, in the children's order whoever ends first", "[combine]") {
  scene s{3};
  auto all = spawn(when_all(each(s, number)));
  CHECK(s.begun == std::vector<std::size_t>{0, 1, 2});
  s.open(2);
  s.open(0);
  CHECK_FALSE(all.done());
  s.open(1);
  REQUIRE(all.done());
  CHECK(all.result() == std::vector{0, 10, 20});
}

TEST_CASE("when_all: void children give nothing, or a std::monostate beside others", "[combine]") {
  scene s{2};
  s.open(0);
  s.open(1);
  STATIC_REQUIRE(std::same_as<decltype(when_all(nothing(s, 0), nothing(s, 1))), task<>>);
  STATIC_REQUIRE(std::same_as<decltype(when_all(each(s, nothing))), task<>>);
  sync_wait(when_all(nothing(s, 0), nothing(s, 1)));
  sync_wait(when_all(each(s, nothing)));
  CHECK(sync_wait(when_all(nothing(s, 0), give(4))) == std::tuple{std::monostate{}, 4});
  CHECK(s.begun.size() == 5);
}

TEST_CASE("when_all: nothing begins before it is awaited, and dropping it begins nothing", "[combine]") {
  scene s{2};
  {
    auto all = when_all(each(s, number), limit(1));
    CHECK(s.begun.empty());
  }
  auto pack = when_all(number(s, 0), number(s, 1));
  CHECK(s.begun.empty());
}

TEST_CASE("when_all: takes any range that is given away, and makes the children of a view", "[combine]") {
  scene s{0};
  CHECK(sync_wait(when_all(each(s, number))).empty());
  sync_wait(when_all(each(s, nothing)));
  std::list<task<int>> list;
  list.push_back(give(1));
  list.push_back(give(2));
  CHECK(sync_wait(when_all(std::move(list))) == std::vector{1, 2});
  CHECK(sync_wait(when_all(std::array{give(3), give(4)})) == std::vector{3, 4});
  CHECK(sync_wait(when_all(std::views::iota(0, 4) | std::views::transform(give), limit(2))) == std::vector{0, 1, 2, 3});
  CHECK(sync_wait(when_all(std::views::iota(0, 3) | std::views::transform(odd))) == std::vector{false, true, false});
}

TEST_CASE("when_all: copies an operation that is named twice", "[combine]") {
  semaphore s{2};
  auto acquire = s.async_acquire();
  CHECK(sync_wait(when_all(acquire, acquire)));
  CHECK(s.available() == 0);
}

TEST_CASE("when_all: the first failure stops the others, and waits for them", "[combine]") {
  scene s{4};
  auto all = spawn(when_all(number(s, 0), failure(s, 1), stubborn(s, 2), number(s, 3)));
  s.open(0);
  s.open(1);
  CHECK(s.cancelled == std::vector<std::size_t>{3});
  CHECK_FALSE(all.done());  // one does not listen
  CHECK(s.under_way == 1);
  s.open(2);
  REQUIRE(all.done());
  CHECK(failures_of([&] { return all.result(); }) == std::vector{1});
}

TEST_CASE("when_all: the error holds every failure, the first in front, and no child that only complied", "[combine]") {
  scene s{4};
  auto all = spawn(when_all(failure(s, 0), number(s, 1), failure(s, 2), failure(s, 3)));
  s.open(2);  // the others fail when they are told to stop
  try {
    static_cast<void>(all.result());
    FAIL("nothing was thrown");
  } catch (const combined_error& e) {
    REQUIRE(e.failures().size() == 3);
    CHECK(e.failures()[0].index == 2);
    CHECK(e.failures()[1].index + e.failures()[2].index == 3);
    CHECK(std::string{e.what()} == "child 2 failed: child 2 (and 2 more)");
    CHECK_THROWS_AS(e.rethrow_first(), child_error);
    const combined_error copy = e;
    CHECK(std::string{copy.what()} == e.what());
  }
}

TEST_CASE("when_all: an exception that is no std::exception is kept", "[combine]") {
  const auto throw_number = []() -> task<int> {
    throw 7;
    co_return 0;
  };
  try {
    static_cast<void>(sync_wait(when_all(give(1), throw_number())));
    FAIL("nothing was thrown");
  } catch (const combined_error& e) {
    CHECK_THROWS_AS(e.rethrow_first(), int);
    CHECK(std::string{e.what()} == "child 1 failed: an exception that is no std::exception");
  }
}

TEST_CASE("when_all: of children that give results it gives a result, whose error is the first failure's", "[combine]") {
  scene s{3};
  STATIC_REQUIRE(std::same_as<decltype(when_all(number_or_error(s, 0), give(1))), task<result<std::tuple<int, int>>>>);
  STATIC_REQUIRE(std::same_as<decltype(when_all(each(s, number_or_error))), task<result<std::vector<int>>>>);
  auto all = spawn(when_all(each(s, number_or_error)));
  for (std::size_t i = 0; i < 3; ++i) s.open(i);
  CHECK(all.result() == std::vector{0, 10, 20});

  scene t{3};
  auto bad = spawn(when_all(error(t, 0, errc::full), error(t, 1, errc::closed), number_or_error(t, 2)));
  t.open(1);
  CHECK(bad.result() == errc::closed);
  CHECK(t.cancelled == std::vector<std::size_t>{2});
}

TEST_CASE("when_all: waits without a value give a result without one", "[combine]") {
  event a;
  event b;
  auto both = spawn(when_all(a.async_wait(), b.async_wait()));
  STATIC_REQUIRE(std::same_as<decltype(both.result()), result<void>>);
  a.set();
  CHECK_FALSE(both.done());
  b.set();
  CHECK(both.result());
}

TEST_CASE("when_all: a thrown exception among results is thrown, with the codes", "[combine]") {
  scene s{3};
  auto all = spawn(when_all(error(s, 0, errc::closed), failure(s, 1), number_or_error(s, 2)));
  s.open(0);  // then the second one throws, because it is told to stop
  try {
    static_cast<void>(all.result());
    FAIL("nothing was thrown");
  } catch (const combined_error& e) {
    REQUIRE(e.failures().size() == 2);
    CHECK(e.failures()[0].index == 0);
    CHECK(code_of([&] {
            e.rethrow_first();
            return 0;
          }) == errc::closed);
    CHECK(e.failures()[1].index == 1);
  }
}

TEST_CASE("when_all: a child that ends as cancelled by itself has failed", "[combine]") {
  scene s{2};
  std::stop_source own;
  auto all = spawn(when_all(number(s, 0), number(s, 1) | with_stop(own.get_token())));
  own.request_stop();
  CHECK(failures_of([&] { return all.result(); }) == std::vector{1});
}

TEST_CASE("when_all: awaits futures, and threads can wait for them with sync_wait", "[combine]") {
  worker_pool pool{{.threads = 2}};
  CHECK(sync_wait(when_all(pool.submit([] { return 1; }), pool.submit([] { return std::string{"two"}; }), give(3))) ==
        std::tuple{1, std::string{"two"}, 3});
  std::vector<future<int>> many;
  for (int i = 0; i < 50; ++i) many.push_back(pool.submit([i] { return i; }));
  CHECK(sync_wait(when_all(std::move(many), limit(3))).back() == 49);
  CHECK(failures_of([&] { return sync_wait(when_all(pool.submit([] {}), pool.submit([] { throw child_error{"x"}; }))); }) ==
        std::vector{1});
}

TEST_CASE("when_all: lets go of the futures that it does not need any more", "[combine]") {
  scene s{1};
  promise<int> never;
  auto all = spawn(when_all(never.get_future(), failure(s, 0)));
  s.open(0);
  REQUIRE(all.done());
  CHECK(failures_of([&] { return all.result(); }) == std::vector{1});
  never.set_value(1);  // into the void
}

TEST_CASE("when_all: a stop request from above reaches every child, and it ends as cancelled when all have ended", "[combine]") {
  scene s{3};
  bool cleaned = false;
  auto all = spawn(sum_of_children(s, cleaned));
  s.open(1);
  all.request_stop();
  REQUIRE(all.done());
  CHECK(s.cancelled.size() == 2);
  CHECK(code_of([&] { return all.result(); }) == errc::cancelled);
  CHECK(cleaned);
}

TEST_CASE("when_all: stopped from above, it gives what there is if all of it is there, and the failures if there are any",
          "[combine]") {
  scene s{2};
  auto complete = spawn(when_all(number(s, 0), stubborn(s, 1)));
  s.open(0);
  complete.request_stop();
  CHECK_FALSE(complete.done());
  s.open(1);
  CHECK(complete.result() == std::tuple{0, 10});

  scene t{2};
  auto failing = spawn(when_all(number(t, 0), failure(t, 1)));
  failing.request_stop();
  CHECK(failures_of([&] { return failing.result(); }) == std::vector{1});
}

TEST_CASE("when_all: stopped before it begins, nothing begins", "[combine]") {
  std::stop_source stop;
  stop.request_stop();
  scene s{2};
  CHECK(code_of([&] { return sync_wait(when_all(number(s, 0), number(s, 1)), stop.get_token()); }) == errc::cancelled);
  CHECK(sync_wait(when_all(number_or_error(s, 0), number(s, 1)) | with_stop(stop.get_token())) == errc::cancelled);
  CHECK(s.begun.empty());
  CHECK(sync_wait(when_all(std::vector<task<int>>{}), stop.get_token()).empty());  // of nothing, nothing is missing
}

TEST_CASE("when_all: a child that stops the parent ends it like any other stop", "[combine]") {
  scene s{2};
  std::stop_source stop;
  CHECK(code_of([&] {
          sync_wait(when_all(nothing(s, 0), stop_here(stop), nothing(s, 1)), stop.get_token());
          return 0;
        }) == errc::cancelled);
  CHECK(s.under_way == 0);
}

TEST_CASE("when_all: a timeout limits the whole", "[combine]") {
  manual_clock clock;
  scene s{2};
  auto all = spawn(when_all(number(s, 0), number(s, 1)) | with_timeout(10ms, clock));
  s.open(0);
  clock.advance(9ms);
  CHECK_FALSE(all.done());
  clock.advance(1ms);
  REQUIRE(all.done());
  CHECK(all.result() == errc::timeout);
  CHECK(s.cancelled == std::vector<std::size_t>{1});
}

TEST_CASE("when_all: a timeout of one child is that child's failure", "[combine]") {
  manual_clock clock;
  scene s{2};
  auto all = spawn(when_all(number(s, 0) | with_timeout(10ms, clock), number(s, 1)));
  clock.advance(10ms);
  REQUIRE(all.done());
  CHECK(all.result() == errc::timeout);
  CHECK(s.cancelled.size() == 2);
}

TEST_CASE("when_all: a limit lets the next child begin when one has ended", "[combine]") {
  scene s{5};
  auto all = spawn(when_all(each(s, number), limit(2)));
  CHECK(s.begun == std::vector<std::size_t>{0, 1});
  s.open(1);
  CHECK(s.begun == std::vector<std::size_t>{0, 1, 2});
  s.open(4);  // has not begun
  s.open(3);
  s.open(2);  // now three and four run through
  CHECK(s.begun.size() == 5);
  CHECK(s.most_under_way == 2);
  s.open(0);
  CHECK(all.result() == std::vector{0, 10, 20, 30, 40});
}

TEST_CASE("when_all: arguments take a limit as the last of them", "[combine]") {
  scene s{3};
  auto all = spawn(when_all(number(s, 0), nothing(s, 1), number(s, 2), limit(1)));
  CHECK(s.begun.size() == 1);
  for (std::size_t i = 3; i-- > 0;) s.open(i);
  CHECK(all.result() == std::tuple{0, std::monostate{}, 20});
  CHECK(s.most_under_way == 1);
}

TEST_CASE("when_all: what waits for its turn under a limit never begins after a failure or a stop", "[combine]") {
  scene s{3};
  auto failing = spawn(when_all(each(s, failure), limit(2)));
  s.open(1);
  CHECK(failures_of([&] { return failing.result(); }) == std::vector{1, 0});
  CHECK(s.begun.size() == 2);

  scene t{3};
  auto stopped = spawn(when_all(each(t, number), limit(1)));
  stopped.request_stop();
  CHECK(code_of([&] { return stopped.result(); }) == errc::cancelled);
  CHECK(t.begun.size() == 1);
}

TEST_CASE("limit: zero is an error, for nothing would ever begin", "[combine]") {
  CHECK_THROWS_AS(limit(0), std::invalid_argument);
  CHECK(limit(3).most == 3);
}

TEST_CASE("when_all: a child is destroyed when it ends, with what it holds", "[combine]") {
  // Each child holds a permit, in the frame of its own; the second can only be had when the first child is gone.
  semaphore s{1};
  scene gate{1};
  auto held = s.acquire_permit();
  REQUIRE(held);
  auto all = spawn(when_all(hold(*std::move(held)), s.async_acquire(), number(gate, 0)));
  CHECK_FALSE(all.done());
  CHECK(s.available() == 0);
  CHECK(s.waiters() == 0);  // granted, though the combinator still waits
  gate.open(0);
  CHECK(all.result());
}

TEST_CASE("when_all: the children run on the scheduler of who awaits it, or where via() says", "[combine]") {
  manual_executor loop;
  scene s{2};
  auto all = spawn(loop, when_all(each(s, number)));
  CHECK(s.begun.empty());
  loop.run_all();
  CHECK(s.begun.size() == 2);
  s.open(0);
  s.open(1);
  CHECK(s.under_way == 2);  // due, and wait for the loop
  loop.run_all();
  CHECK(all.result() == std::vector{0, 10});

  worker_pool pool{{.threads = 1}};
  const auto [a, b] = sync_wait(when_all(where(), where()) | via(pool));
  CHECK(a == b);
  CHECK(a != std::this_thread::get_id());
}

TEST_CASE("when_all: ten thousand children that end at once need constant stack, with and without a limit", "[combine]") {
  constexpr int many = 10'000;
  const auto children = std::views::iota(0, many) | std::views::transform(give);
  CHECK(sync_wait(when_all(children)).size() == many);
  CHECK(sync_wait(when_all(children, limit(1))).back() == many - 1);
  scene gate{1};
  std::vector<task<int>> waiting;
  for (int i = 0; i < many; ++i) waiting.push_back(number(gate, 0));
  auto all = spawn(when_all(std::move(waiting), limit(many / 2)));  // the rest begin in the last steps of the first half
  gate.open(0);
  CHECK(all.result().size() == many);
  scene never{1};
  std::vector<task<int>> stopped;
  for (int i = 0; i < many; ++i) stopped.push_back(number(never, 0));
  stopped.push_back(give_or_throw(-1));
  CHECK(failures_of([&] { return sync_wait(when_all(std::move(stopped))); }) == std::vector{many});
}

TEST_CASE("when_all: can be nested five thousand deep", "[combine]") { CHECK(sync_wait(nested(5'000)) == 5'001); }

TEST_CASE("when_all: a move that throws is the child's failure, or leaves the await at the end", "[combine]") {
  // Moves: into the task's outcome, out of it, into the slot; then out of the slot.
  std::vector<bool> threw;
  for (int moves = 0; moves < 12; ++moves) {
    int left = moves;
    scene s{1};
    s.open(0);
    bool thrown = false;
    try {
      static_cast<void>(sync_wait(when_all(misbehave(left), number(s, 0))));
    } catch (const combined_error& e) {
      thrown = true;
      CHECK(e.failures().front().index == 0);
    } catch (const child_error&) {
      thrown = true;
    }
    threw.push_back(thrown);
    CHECK(s.under_way == 0);
  }
  CHECK(threw.front());
  CHECK_FALSE(threw.back());
}
