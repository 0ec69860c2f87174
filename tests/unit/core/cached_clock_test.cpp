#include <penstock/core/cached_clock.hpp>

#include <chrono>
#include <stdexcept>
#include <type_traits>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/rate/token_bucket.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;

static_assert(!std::is_constructible_v<any_clock, cached_clock&>);  // it would be the steady clock
static_assert(detail::timed_clock<cached_clock> && !detail::static_clock<cached_clock>);

TEST_CASE("cached clock: stands still between refreshes and never runs ahead of the steady clock", "[clock]") {
  cached_clock clock;
  const auto first = clock.now();
  while (std::chrono::steady_clock::now() == first) {
  }
  CHECK(clock.now() == first);
  clock.refresh();
  CHECK(clock.now() > first);
  CHECK(clock.now() <= std::chrono::steady_clock::now());
  CHECK_THROWS_AS(cached_clock{0ms}, std::invalid_argument);
}

TEST_CASE("cached clock: the timer thread refreshes it, until it is destroyed", "[clock]") {
  for (int i = 0; i < 20; ++i) {
    cached_clock clock{10us};
    const auto first = clock.now();
    test_support::until([&] { return clock.now() > first + 30us; });
  }
}

TEST_CASE("cached clock: a bucket on it serves who waits when the time has come, refreshed or not", "[clock][rate]") {
  cached_clock clock;
  token_bucket b{rate{1, 1ms}, 2, clock};
  CHECK(b.try_acquire(2));
  CHECK(b.try_acquire() == errc::empty);
  const auto start = clock.now();
  CHECK(b.acquire());
  CHECK(std::chrono::steady_clock::now() - start >= 1ms);
  CHECK(clock.now() == start);
  CHECK(b.try_acquire_for(0ms) == errc::timeout);
}

}  // namespace
