// Combinators when memory runs out, at each allocation: nothing has begun then, nothing leaks, and the next attempt works.
#include <cstddef>
#include <new>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/combine/quorum.hpp>
#include <penstock/combine/when_all.hpp>
#include <penstock/combine/when_all_settled.hpp>
#include <penstock/combine/when_any.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/event.hpp>

#include "../support/catch.hpp"
#include "../support/counting_new.hpp"

namespace {

using namespace penstock;

constexpr std::size_t children = 5;

task<int> give(int& begun, int value) {
  ++begun;
  co_return value;
}
task<int> fail(int& begun) {
  ++begun;
  throw std::runtime_error{"x"};
  co_return 0;
}

template <class Make>
auto several(Make make) {
  std::vector<task<int>> all;
  all.reserve(children);
  for (std::size_t i = 0; i < children; ++i) all.push_back(make(static_cast<int>(i)));
  return all;
}

// Catch2's own checks would allocate, and swallow a std::bad_alloc.
void expect(bool holds, const char* what) {
  if (!holds) FAIL(what);
}

// Lets the first allocation of `body` fail, then the second, until it gets through; returns how many it makes. Where nothing can fail, that is none.
template <class Body>
long fail_each_allocation(Body body) {
  for (long n = 1;; ++n) {
    REQUIRE(n < 200);
    const long before = counting_new::living;
    bool failed = false;
    counting_new::until_failure = n;
    try {
      body();
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    counting_new::until_failure = 0;
    REQUIRE(counting_new::living == before);
    if (!failed) return n - 1;
  }
}

}  // namespace

TEST_CASE("combine: if memory runs out no child has begun", "[fault][combine]") {
  int begun = 0;
  const auto all = [&begun] { return several([&begun](int i) { return give(begun, i); }); };
  const auto check_with = [&begun](auto combine) {
    const long allocations = fail_each_allocation([&] {
      begun = 0;
      try {
        expect(combine(), "not what the children gave");
      } catch (const std::bad_alloc&) {
        expect(begun == 0, "a child had begun");
        throw;
      }
      expect(begun > 0, "no child began");
    });
    CHECK((allocations > 0 || !counting_new::counts));
  };
  check_with([&] { return sync_wait(when_all(all())).size() == children; });
  check_with([&] { return sync_wait(when_all(all(), limit(2))).size() == children; });
  check_with([&] { return sync_wait(when_all_settled(all())).size() == children; });
  check_with([&] { return sync_wait(quorum(3, all())).size() == 3; });
  check_with([&] { return sync_wait(when_any(all())).index == 0; });
  check_with([&] { return std::get<1>(sync_wait(when_all(give(begun, 1), give(begun, 2)))) == 2; });
  check_with([&] { return std::get<1>(sync_wait(when_all_settled(give(begun, 1), give(begun, 2)))).has_value(); });
}

TEST_CASE("combine: what fails without memory to tell of it leaks nothing", "[fault][combine]") {
  int begun = 0;
  fail_each_allocation([&] {
    try {
      static_cast<void>(sync_wait(when_any(several([&begun](int) { return fail(begun); }))));
      expect(false, "all of them fail");
    } catch (const combined_error& e) {
      expect(e.failures().size() == children, "a failure was lost");
    }
  });
}

TEST_CASE("combine: one frame a child, one for the combinator, a stop state, and room for the outcomes", "[fault][combine]") {
  if (!counting_new::counts) return;
  int begun = 0;
  const auto made_by = [](auto f) {
    const long before = counting_new::made;
    f();
    return counting_new::made - before;
  };
  constexpr long frames_and_root =
      2 + static_cast<long>(children) * 2 + 1;  // sync_wait's, the combinator's; each task's and child's; the vector
  const auto all = [&begun] { return several([&begun](int i) { return give(begun, i); }); };
  CHECK(made_by([&] { sync_wait(when_all(all())); }) == frames_and_root + 1 + 2);  // the stop state; slots and values
  CHECK(made_by([&] { sync_wait(when_any(all())); }) == frames_and_root + 1 + 1);  // the stop state; slots
  CHECK(made_by([&] { sync_wait(when_all(give(begun, 1), give(begun, 2))); }) == 2 + 2 * 2 + 1);
}

TEST_CASE("combine: a child's frame is freed when it ends, not when all have ended", "[fault][combine]") {
  if (!counting_new::counts) return;
  event first;
  event second;
  auto both = spawn(when_all(first.async_wait(), second.async_wait()));
  const long before = counting_new::living;
  first.set();
  CHECK(counting_new::living == before - 1);
  second.set();
  CHECK(both.result());
}
