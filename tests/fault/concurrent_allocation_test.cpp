// Allocations that fail, one after the other, in map_concurrent, map_as_completed, hedge and supervise: whatever had begun has ended, nothing is
// leaked, and the failure comes out.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <vector>

#include <penstock/combine/hedge.hpp>
#include <penstock/combine/map_as_completed.hpp>
#include <penstock/combine/map_concurrent.hpp>
#include <penstock/combine/supervise.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/stream/generator.hpp>
#include <penstock/sync/event.hpp>

#include "../support/catch.hpp"
#include "../support/counting_new.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;

generator<int> numbers(int n) {
  for (int i = 0; i < n; ++i) co_yield i;
}

// Runs f() with its first allocation failing, then the second, until it gets through. Gives how many failed; none where nothing can fail.
template <class F>
long fail_each(F f) {
  for (long n = 1;; ++n) {
    const long before = counting_new::living;
    bool failed = false;
    counting_new::until_failure = n;
    try {
      f();
    } catch (const std::bad_alloc&) {
      failed = true;
    } catch (const combined_error& e) {
      failed = true;
      try {
        e.rethrow_first();
      } catch (const std::bad_alloc&) {
      }
    }
    counting_new::until_failure = 0;
    REQUIRE(counting_new::living == before);
    if (!failed) return n - 1;
  }
}

// Not CHECK, which allocates, and takes exceptions for its own, where allocations fail.
void require(bool holds) noexcept {
  if (!holds) std::abort();
}

struct counts {
  int begun = 0;
  int ended = 0;
};
// Waits, so that the others begin before it ends.
task<int> work(event& go, counts& c, int i) {
  ++c.begun;
  static_cast<void>(co_await go.async_wait());
  ++c.ended;
  co_return i;
}

}  // namespace

TEST_CASE("map_concurrent: an allocation that fails at any point ends it in order", "[map_concurrent][fault]") {
  const long failed = fail_each([] {
    event go;
    counts c;
    struct check {
      const counts& c;
      ~check() { require(c.begun == c.ended); }
    } const all_ended{c};
    auto all = spawn(map_concurrent(numbers(6), limit(3), [&](int i) { return work(go, c, i); }));
    go.set();
    require(all.result().size() == 6);
  });
  CHECK(failed > (counting_new::counts ? 12 : -1));
}

TEST_CASE("map_concurrent_settled: an allocation that fails for an item is that item's outcome", "[map_concurrent][fault]") {
  int kept = 0;
  for (int n = 1; n < 40; ++n) {
    const long before = counting_new::living;
    counting_new::until_failure = n;
    try {
      auto outcomes = sync_wait(map_concurrent_settled(numbers(4), limit(2), [](int i) -> task<int> { co_return i; }));
      counting_new::until_failure = 0;
      for (const auto& o : outcomes) kept += o.exception() != nullptr ? 1 : 0;
    } catch (const std::bad_alloc&) {  // of the whole
    } catch (const combined_error&) {  // of the vector
    }
    counting_new::until_failure = 0;
    REQUIRE(counting_new::living == before);
  }
  CHECK(kept > (counting_new::counts ? 4 : -1));
}

TEST_CASE("map_as_completed: an allocation that fails at any point ends it in order", "[map_as_completed][fault]") {
  CHECK(fail_each([] {
          auto results = map_as_completed(numbers(4), limit(2), [](int i) -> task<int> { co_return i; });
          int n = 0;
          for (auto r = sync_wait(results.next()); r; r = sync_wait(results.next())) ++n;
          require(n == 4);
        }) > (counting_new::counts ? 8 : -1));
}

TEST_CASE("hedge: an allocation that fails is an attempt that failed", "[hedge][fault]") {
  int survived = 0;
  for (int n = 1; n < 30; ++n) {
    const long before = counting_new::living;
    {
      manual_clock clock;
      event go;
      counts c;
      counting_new::until_failure = n;
      try {
        auto answer = spawn(hedge([&](std::size_t i) { return work(go, c, static_cast<int>(i)); }, 1ms, 3, clock));
        clock.advance(1ms);
        go.set();
        static_cast<void>(answer.result());
        ++survived;
      } catch (const std::bad_alloc&) {
      } catch (const combined_error&) {
      }
      counting_new::until_failure = 0;
      CHECK(c.begun == c.ended);
    }
    REQUIRE(counting_new::living == before);
  }
  CHECK(survived > 15);
}

TEST_CASE("supervise: an allocation that fails in a run is a failure of the task", "[supervise][fault]") {
  CHECK(fail_each([] {
          require(sync_wait(supervise([]() -> task<int> { co_return 1; }, {.backoff = {}, .max_restarts = 0})) == 1);
        }) >= (counting_new::counts ? 2 : 0));
}
