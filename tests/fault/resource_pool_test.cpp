// Resource pools when factories, checks and moves of resources throw, and when memory runs out at each allocation: the caller is told, or served
// by the next attempt; nothing leaks, and no place in the pool is lost (hazards 19 and 30).
#include <chrono>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/resource_pool.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../support/catch.hpp"
#include "../support/counting_new.hpp"
#include "../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;

// Its n-th move from now on throws. Knows how many there are.
struct item {
  static inline int living = 0;
  static inline int until_throw = 0;
  explicit item(int v) : value{v} { ++living; }
  item(item&& other) : value{other.value} {
    if (until_throw > 0 && --until_throw == 0) throw std::runtime_error{"moved"};
    ++living;
  }
  ~item() { --living; }
  int value;
};

std::string what(const std::exception_ptr& e) {
  if (e == nullptr) return {};
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& x) {
    return x.what();
  }
}

// Lets the first allocation (or move) fail, then the second, until it gets through. `attempt` says whether the pool served.
template <class Arm, class Attempt>
int until_it_works(manual_clock& clock, Arm arm, Attempt attempt) {
  for (int n = 1; n < 100; ++n) {
    arm(n);
    const bool served = attempt();
    arm(0);
    if (served) return n;
    clock.advance(2ms);  // the backoff
  }
  return 0;
}

}  // namespace

TEST_CASE("resource_pool: whatever throws while it connects, the caller is told and the next attempt works",
          "[fault][hazard-19][hazard-30]") {
  manual_clock clock;
  const bool memory = GENERATE(false, true);  // runs out, or a move of the resource throws
  const auto arm = [memory](int n) {
    memory ? static_cast<void>(counting_new::until_failure = n) : static_cast<void>(item::until_throw = n);
  };
  SECTION("on the caller's thread") {
    resource_pool<item> p{[]() -> result<item> { return item{1}; },
                          {.max_size = 1, .connect_backoff = backoff::fixed(1ms), .fail_fast = true, .clock = clock}};
    const int n = until_it_works(clock, arm, [&] {
      auto lease = p.acquire();
      if (!lease) counting_new::until_failure = 0;
      if (!lease) CHECK(lease.error() == errc::rejected);
      return lease.has_value();
    });
    CHECK(n > (memory && !counting_new::counts ? 0 : 1));
    CHECK(p.stats().connect_failures == static_cast<std::uint64_t>(n - 1));
    if (n > 1) CHECK(what(p.last_connect_error()) == (memory ? std::bad_alloc{}.what() : "moved"));
    CHECK(item::living == 1);
  }
  SECTION("in a coroutine") {
    manual_executor executor;
    resource_pool<item> p{
        []() -> task<item> { co_return item{1}; },
        {.max_size = 1, .connect_backoff = backoff::fixed(1ms), .executor = executor.get_scheduler(), .clock = clock}};
    auto waits = spawn(p.async_acquire());
    const int n = until_it_works(clock, arm, [&] {
      clock.advance(2ms);
      executor.run_all();
      return waits.done();
    });
    CHECK(n > 0);
    CHECK(waits.result().has_value());
    CHECK(p.stats().connect_failures <= static_cast<std::uint64_t>(n));
    CHECK(item::living == 1);
    p.close();
    executor.run_all();
  }
  CHECK(item::living == 0);
}

TEST_CASE("resource_pool: a check that throws means no, and what a factory throws is kept for whom it concerns",
          "[fault][hazard-19]") {
  manual_clock clock;
  manual_executor executor;
  int made = 0;
  for (const bool background : {false, true}) {
    resource_pool<item> p{[&] {
                            if (++made % 2 == 0) throw std::runtime_error{"refused"};
                            return item{made};
                          },
                          {.max_size = 1,
                           .validate = [](item&) -> bool { throw std::runtime_error{"broken"}; },
                           .validate_after = 0s,
                           .connect_backoff = backoff::fixed(1ms),
                           .executor = background ? executor.get_scheduler() : any_scheduler{},
                           .clock = clock}};
    for (int i = 0; i < 2; ++i) {
      auto waits = spawn(p.async_acquire());
      executor.run_all();
      while (!waits.done()) {
        clock.advance(1ms);
        executor.run_all();
      }
      CHECK(waits.result().has_value());
    }
    CHECK(p.stats().discarded.invalid == 1);
    CHECK(p.stats().connect_failures >= 1);
    CHECK(what(p.last_connect_error()) == "refused");
    p.close();
    executor.run_all();
  }
  CHECK(item::living == 0);
}

TEST_CASE("resource_pool: borrowing, waiting in line and giving back allocate nothing", "[fault][hazard-28]") {
  resource_pool<int> p{[] { return 1; }, {.max_size = 1}};
  auto held = p.acquire();
  event begin;
  std::jthread other{[&] {
    begin.wait();
    test_support::until([&] { return p.stats().waiting == 1; });
    held->release();
  }};
  const long before = counting_new::made;
  begin.set();
  bool served = p.acquire().has_value();  // waits
  const bool refused = p.acquire({.deadline = deadline::after(0s)}) == errc::timeout;
  for (int i = 0; i < 100; ++i) served = p.acquire().has_value() && served;  // with and without the lock
  const long after = counting_new::made;
  other.join();
  CHECK(served);
  CHECK_FALSE(refused);
  CHECK(after == before);
}
