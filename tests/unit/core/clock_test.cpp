#include <penstock/core/clock.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <ratio>

#include <penstock/core/manual_clock.hpp>

#include "../../support/catch.hpp"

using namespace std::chrono_literals;
using penstock::detail::saturating_add;
using penstock::detail::saturating_nanoseconds;

namespace {

constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();

struct no_clock {
  void now() const {}
};

}  // namespace

TEST_CASE("clock: std's clocks and the manual clock are clocks, other types are not", "[clock]") {
  STATIC_REQUIRE(penstock::clock<std::chrono::steady_clock>);
  STATIC_REQUIRE(penstock::clock<std::chrono::system_clock>);
  STATIC_REQUIRE(penstock::clock<penstock::manual_clock>);
  STATIC_REQUIRE_FALSE(penstock::clock<no_clock>);
  STATIC_REQUIRE_FALSE(penstock::clock<int>);
}

TEST_CASE("clock: durations that fit are exact", "[clock]") {
  CHECK(saturating_nanoseconds(0ns) == 0);
  CHECK(saturating_nanoseconds(-7ns) == -7);
  CHECK(saturating_nanoseconds(3us) == 3'000);
  CHECK(saturating_nanoseconds(-2h) == -7'200'000'000'000);
  CHECK(saturating_nanoseconds(std::chrono::hours{2'562'047}) == 9'223'369'200'000'000'000);  // the greatest that fits
}

TEST_CASE("clock: a fraction of a nanosecond is rounded up, so that no wait ends early", "[clock]") {
  using picoseconds = std::chrono::duration<std::int64_t, std::pico>;
  CHECK(saturating_nanoseconds(picoseconds{1}) == 1);
  CHECK(saturating_nanoseconds(picoseconds{1'000}) == 1);
  CHECK(saturating_nanoseconds(picoseconds{1'001}) == 2);
  CHECK(saturating_nanoseconds(picoseconds{-1'999}) == -1);
  CHECK(saturating_nanoseconds(std::chrono::duration<double>{1.5e-9}) == 2);
}

TEST_CASE("clock: durations beyond 64 bits of nanoseconds saturate and never wrap", "[clock][hazard-22]") {
  CHECK(saturating_nanoseconds(std::chrono::hours::max()) == highest);
  CHECK(saturating_nanoseconds(std::chrono::hours::min()) == lowest);
  CHECK(saturating_nanoseconds(std::chrono::hours{2'562'048}) == highest);
  CHECK(saturating_nanoseconds(std::chrono::hours{-2'562'048}) == lowest);
  CHECK(saturating_nanoseconds(std::chrono::microseconds::max()) == highest);
  CHECK(saturating_nanoseconds(std::chrono::microseconds::min()) == lowest);
  CHECK(saturating_nanoseconds(std::chrono::nanoseconds::max()) == highest);
  CHECK(saturating_nanoseconds(std::chrono::nanoseconds::min()) == lowest);
  CHECK(saturating_nanoseconds(std::chrono::duration<std::uint64_t, std::nano>::max()) == highest);
}

TEST_CASE("clock: durations in floating point may be infinite or not a number", "[clock][hazard-22]") {
  using seconds = std::chrono::duration<double>;
  CHECK(saturating_nanoseconds(seconds{std::numeric_limits<double>::infinity()}) == highest);
  CHECK(saturating_nanoseconds(seconds{-std::numeric_limits<double>::infinity()}) == lowest);
  CHECK(saturating_nanoseconds(seconds{std::numeric_limits<double>::quiet_NaN()}) == 0);
  CHECK(saturating_nanoseconds(seconds{1e300}) == highest);
  CHECK(saturating_nanoseconds(seconds{9.2233720368e9}) > 9'223'372'036'000'000'000);
}

TEST_CASE("clock: sums saturate at both ends", "[clock][hazard-22]") {
  CHECK(saturating_add(1, 2) == 3);
  CHECK(saturating_add(highest, 0) == highest);
  CHECK(saturating_add(highest, 1) == highest);
  CHECK(saturating_add(highest - 1, 1) == highest);
  CHECK(saturating_add(1, highest) == highest);
  CHECK(saturating_add(highest, lowest) == -1);
  CHECK(saturating_add(lowest, -1) == lowest);
  CHECK(saturating_add(-1, lowest) == lowest);
  CHECK(saturating_add(lowest + 1, -1) == lowest);
}
