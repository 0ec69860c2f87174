#include <penstock/rate/rate.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <stdexcept>

#include <penstock/rate/detail/gcra.hpp>
#include <penstock/rate/detail/shape.hpp>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using detail::gcra;
using detail::gcra_scale;
using detail::never;

static_assert(detail::shape<gcra>);

bool is(const rate& r, std::uint64_t tokens, std::uint64_t nanoseconds) {
  return r.tokens() == tokens && r.nanoseconds() == nanoseconds;
}

TEST_CASE("rate: what it is given is kept as a fraction in lowest terms", "[rate]") {
  CHECK(is(rate{100, 1s}, 1, 10'000'000));
  CHECK(is(rate{3, 1s}, 3, 1'000'000'000));
  CHECK(is(rate{999'999'937, 1s}, 999'999'937, 1'000'000'000));
  CHECK(is(rate{1'000'000'000u, 1s}, 1, 1));
  CHECK(is(rate{5000, 1h}, 1, 720'000'000));
  CHECK(is(rate{0.1, 1s}, 1, 10'000'000'000));
  CHECK(is(rate{1.0 / 3, 1ns}, 1, 3));
  CHECK(is(rate{2.5, 0.5s}, 1, 200'000'000));
  CHECK(is(rate{1e9, 1s}, 1, 1));
  CHECK(is(rate{1, std::chrono::hours::max()}, 1, std::uint64_t{1} * std::numeric_limits<std::int64_t>::max()));
  CHECK(rate{60, 1min} == rate{1, 1s});
  CHECK(rate{250, 1s}.per_second() == Approx(250));
  const rate pi{3.14159265358979, 24h};  // more digits than fit: rounded, and down
  CHECK(pi.per_second() == Approx(3.14159265358979 / 86400));
}

TEST_CASE("rate: what is no rate is refused", "[rate][hazard-26]") {
  CHECK_THROWS_AS((rate{0, 1s}), std::invalid_argument);
  CHECK_THROWS_AS((rate{-1, 1s}), std::invalid_argument);
  CHECK_THROWS_AS((rate{std::numeric_limits<double>::quiet_NaN(), 1s}), std::invalid_argument);
  CHECK_THROWS_AS((rate{std::numeric_limits<double>::infinity(), 1s}), std::invalid_argument);
  CHECK_THROWS_AS((rate{-0.5, 1s}), std::invalid_argument);
  CHECK_THROWS_AS((rate{1, 0s}), std::invalid_argument);
  CHECK_THROWS_AS((rate{1, -1s}), std::invalid_argument);
  CHECK_THROWS_AS((rate{1, std::chrono::duration<double>{std::numeric_limits<double>::quiet_NaN()}}), std::invalid_argument);
  CHECK_THROWS_AS((rate{1e-300, 1s}), std::invalid_argument);
  CHECK_THROWS_AS((rate{1, 1s / 1000 / 1000 / 1000 / 1000}), std::invalid_argument);  // 0 s
  CHECK_THROWS_AS((rate{2'000, 1ns}), std::invalid_argument);
  CHECK_NOTHROW((rate{1'000, 1ns}));
}

TEST_CASE("token bucket: no fraction is lost, whatever the rate and the steps of the clock", "[rate][hazard-25]") {
  // Emptied, then asked at odd times: what was granted is exactly what was earned.
  const rate r =
      GENERATE(rate{1, 1s}, rate{3, 1s}, rate{7, 1s}, rate{0.3, 1s}, rate{1000, 1min}, rate{123'456'789, 24h}, rate{1, 1ns});
  const std::int64_t burst = GENERATE(3, 1000);  // less than 3 would be too little to keep what a step earns
  const detail::nanoseconds_point start = 12'345'678'901;
  gcra bucket{r, burst, start, false};
  std::int64_t now = start;
  std::int64_t granted = 0;
  std::int64_t step = 1;
  bool exact = true;
  for (int i = 0; i < 2000; ++i) {
    step = (step * 7919 + 13) % static_cast<std::int64_t>(r.nanoseconds() / r.tokens() + 2);
    now += step;
    granted += bucket.take_up_to(now, burst);
    const auto earned =
        static_cast<std::int64_t>(detail::uint128{static_cast<std::uint64_t>(now - start)} * r.tokens() / r.nanoseconds());
    exact = exact && granted == earned;
    // The next one comes at the very ns at which it is earned.
    const std::int64_t next = bucket.ready_at(now, 1);
    exact = exact && !bucket.try_take(next - 1, 1) && bucket.ready_at(next - 1, 1) == next;
  }
  CHECK(exact);
}

TEST_CASE("token bucket: decades pass, at once or in small steps, and nothing overflows", "[rate][hazard-22]") {
  constexpr std::int64_t year = 31'556'952'000'000'000;
  const rate r =
      GENERATE(rate{1, 24h}, rate{10, 1s}, rate{999'999'937, 1s}, rate{1'000, 1ns}, rate{1, std::chrono::hours::max()});
  gcra bucket{r, 100, -20 * year, true};
  std::int64_t now = -20 * year;
  for (int i = 0; i < 200; ++i) {
    CHECK(bucket.available(now) <= 100);
    static_cast<void>(bucket.take_up_to(now, 100));
    CHECK(bucket.available(now) == 0);
    CHECK(bucket.ready_at(now, 1) > now);
    now += year;
  }
  if (r == rate{10, 1s}) CHECK(bucket.available(now) == 100);
  CHECK(bucket.ready_at(never - 1, 100) >= never - 1);
  CHECK_FALSE(bucket.try_take(std::numeric_limits<std::int64_t>::min(), 1));
}

TEST_CASE("token bucket: an unused bucket of a high rate goes on as if it had been looked at all the time", "[rate]") {
  const rate r{999'999'937, 1s};
  gcra looked{r, 7, 0, false};
  gcra forgotten{r, 7, 0, false};
  std::int64_t now = 0;
  for (int i = 0; i < 50'000; ++i) {
    now += 3'000'000;  // beyond 2^46 units now and then: the epoch moves
    static_cast<void>(looked.take_up_to(now, 7));
  }
  static_cast<void>(forgotten.take_up_to(now, 7));
  const std::int64_t difference = looked.ready_at(now, 7) - forgotten.ready_at(now, 7);
  CHECK(difference >= -1);
  CHECK(difference <= 1);
}

TEST_CASE("token bucket: the scale is exact where it can be and fine where it cannot", "[rate]") {
  const gcra_scale exact = gcra_scale::make(rate{3, 1s}, 100, 0, "x");
  CHECK(exact.unit == 1'000'000'000);
  CHECK(exact.time_of(exact.unit) == 333'333'334);
  const gcra_scale fine = gcra_scale::make(rate{999'999'937, 1s}, 1000, 0, "x");
  CHECK(fine.issued(1).whole >= 512);
  CHECK(fine.issued(1).part);
  const gcra_scale slow = gcra_scale::make(rate{1, 720h}, 1000, 0, "x");  // fills in 83 years
  CHECK(slow.time_of(slow.unit) >= 720LL * 3'600'000'000'000);
  CHECK(slow.time_of(slow.unit) <= 720LL * 3'600'000'000'000 + 100'000);
  CHECK_THROWS_AS(gcra_scale::make(rate{1, 1s}, 0, 0, "x"), std::invalid_argument);
  CHECK_THROWS_AS(gcra_scale::make(rate{1, 1s}, (std::int64_t{1} << 45) + 1, 0, "x"), std::invalid_argument);
  CHECK_THROWS_AS(gcra_scale::make(rate{1, std::chrono::hours::max()}, std::int64_t{1} << 45, 0, "x"), std::invalid_argument);
}

}  // namespace
