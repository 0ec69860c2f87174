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

namespace {

thread_local long left = -1;  // allocations until one fails; negative: none does
thread_local long living = 0;

}  // namespace

// Under the sanitizers too: theirs are replaced as well, and malloc() still tells them.
void* operator new(std::size_t size) {
  if (left == 0) {
    left = -1;
    throw std::bad_alloc{};
  }
  if (left > 0) --left;
  void* const p = std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) throw std::bad_alloc{};
  ++living;
  return p;
}
void operator delete(void* p) noexcept {
  if (p != nullptr) --living;
  std::free(p);
}
void operator delete(void* p, std::size_t) noexcept { operator delete(p); }

namespace {

using namespace penstock;
using namespace std::chrono_literals;

generator<int> numbers(int n) {
  for (int i = 0; i < n; ++i) co_yield i;
}

// Runs f() with the n-th allocation failing, n = 0, 1, ... until it gets through. Gives how many failed.
template <class F>
int fail_each(F f) {
  for (int n = 0;; ++n) {
    const long before = living;
    bool failed = false;
    left = n;
    try {
      f();
    } catch (const std::bad_alloc&) {
      failed = true;
    } catch (const combined_error& e) {
      failed = true;
      left = -1;
      try {
        e.rethrow_first();
      } catch (const std::bad_alloc&) {
      }
    }
    const bool through = left >= 0;
    left = -1;
    REQUIRE(living == before);
    if (through) {
      CHECK_FALSE(failed);
      return n;
    }
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
  const int failed = fail_each([] {
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
  CHECK(failed > 12);
}

TEST_CASE("map_concurrent_settled: an allocation that fails for an item is that item's outcome", "[map_concurrent][fault]") {
  int kept = 0;
  for (int n = 0; n < 40; ++n) {
    const long before = living;
    left = n;
    try {
      auto outcomes = sync_wait(map_concurrent_settled(numbers(4), limit(2), [](int i) -> task<int> { co_return i; }));
      left = -1;
      for (const auto& o : outcomes) kept += o.exception() != nullptr ? 1 : 0;
    } catch (const std::bad_alloc&) {  // of the whole
    } catch (const combined_error&) {  // of the vector
    }
    left = -1;
    REQUIRE(living == before);
  }
  CHECK(kept > 4);
}

TEST_CASE("map_as_completed: an allocation that fails at any point ends it in order", "[map_as_completed][fault]") {
  CHECK(fail_each([] {
          auto results = map_as_completed(numbers(4), limit(2), [](int i) -> task<int> { co_return i; });
          int n = 0;
          for (auto r = sync_wait(results.next()); r; r = sync_wait(results.next())) ++n;
          require(n == 4);
        }) > 8);
}

TEST_CASE("hedge: an allocation that fails is an attempt that failed", "[hedge][fault]") {
  int survived = 0;
  for (int n = 0; n < 30; ++n) {
    const long before = living;
    {
      manual_clock clock;
      event go;
      counts c;
      left = n;
      try {
        auto answer = spawn(hedge([&](std::size_t i) { return work(go, c, static_cast<int>(i)); }, 1ms, 3, clock));
        clock.advance(1ms);
        go.set();
        static_cast<void>(answer.result());
        ++survived;
      } catch (const std::bad_alloc&) {
      } catch (const combined_error&) {
      }
      left = -1;
      CHECK(c.begun == c.ended);
    }
    REQUIRE(living == before);
  }
  CHECK(survived > 15);
}

TEST_CASE("supervise: an allocation that fails in a run is a failure of the task", "[supervise][fault]") {
  CHECK(fail_each([] {
          require(sync_wait(supervise([]() -> task<int> { co_return 1; }, {.backoff = {}, .max_restarts = 0})) == 1);
        }) >= 2);
}
