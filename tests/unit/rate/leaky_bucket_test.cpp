// Each documented behaviour of aiolimiter's AsyncLimiter that leaky_bucket has, and where it differs.
#include <penstock/rate/leaky_bucket.hpp>

#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;

// When each of `n` that come 10 ms after one another passes, in hundredths of a second.
std::vector<int> drips(leaky_bucket<manual_clock>& bucket, manual_clock& clock, int n) {
  std::vector<int> times;
  std::vector<decltype(spawn(bucket.async_acquire()))> waiting;
  std::vector<bool> passed(static_cast<std::size_t>(n), false);
  for (int now = 0; static_cast<int>(times.size()) < n; ++now) {
    if (now < n) waiting.push_back(spawn(bucket.async_acquire()));
    for (std::size_t i = 0; i < waiting.size(); ++i) {
      if (passed[i] || !waiting[i].done()) continue;
      passed[i] = true;
      times.push_back(now);
    }
    clock.advance(10ms);
  }
  return times;
}

TEST_CASE("leaky_bucket: as aiolimiter, max_rate in a time_period of 60 s if none is given", "[rate][leaky_bucket][aiolimiter]") {
  manual_clock clock;
  leaky_bucket in_a_minute{100};
  CHECK(in_a_minute.max_rate() == 100);
  REQUIRE(in_a_minute.acquire(100));
  CHECK(in_a_minute.retry_after(100) > 59s);
  leaky_bucket bucket{100, 30s, clock};
  REQUIRE(bucket.acquire(100));
  CHECK(bucket.retry_after(100) == 30s);
  CHECK(bucket.level() == 100);
  clock.advance(15s);
  CHECK(bucket.level() == 50);
}

TEST_CASE("leaky_bucket: as aiolimiter, acquire waits until there is capacity", "[rate][leaky_bucket][aiolimiter]") {
  manual_clock clock;
  leaky_bucket bucket{2, 10s, clock};
  REQUIRE(bucket.acquire(2));
  auto waiting = spawn(bucket.async_acquire());
  clock.advance(5s - 1ns);
  CHECK_FALSE(waiting.done());
  clock.advance(1ns);
  CHECK(waiting.result());
}

TEST_CASE("leaky_bucket: as aiolimiter, has_capacity tells whether an amount would go in, and takes nothing",
          "[rate][leaky_bucket][aiolimiter]") {
  manual_clock clock;
  leaky_bucket bucket{10, 10s, clock};
  CHECK(bucket.has_capacity());
  CHECK(bucket.has_capacity(10));
  CHECK_FALSE(bucket.has_capacity(11));
  REQUIRE(bucket.acquire(8));
  CHECK(bucket.has_capacity(2));
  CHECK_FALSE(bucket.has_capacity(3));
  clock.advance(1s);
  CHECK(bucket.has_capacity(3));
  CHECK_THROWS_AS(bucket.has_capacity(0), std::invalid_argument);
}

TEST_CASE("leaky_bucket: as aiolimiter, requests weigh what they ask for, and more than max_rate is an error at once",
          "[rate][leaky_bucket][aiolimiter]") {
  manual_clock clock;
  leaky_bucket bucket{10, 10s, clock};
  REQUIRE(bucket.acquire(10));
  CHECK(bucket.retry_after(7) == 7s);
  CHECK_THROWS_AS(bucket.acquire(11), std::invalid_argument);
  CHECK_THROWS_AS(leaky_bucket(0), std::invalid_argument);
  CHECK_THROWS_AS(leaky_bucket(1, 0s), std::invalid_argument);
}

TEST_CASE("leaky_bucket: as aiolimiter, bursts of max_rate pass, and then one each time_period / max_rate",
          "[rate][leaky_bucket][aiolimiter]") {
  manual_clock clock;
  leaky_bucket bucket{4, 8s, clock};
  CHECK(drips(bucket, clock, 10) == std::vector<int>{0, 1, 2, 3, 200, 400, 600, 800, 1000, 1200});
}

TEST_CASE("leaky_bucket: as aiolimiter, a max_rate of 1 lets no bursts pass", "[rate][leaky_bucket][aiolimiter]") {
  manual_clock clock;
  leaky_bucket bucket{1, 1500ms, clock};
  CHECK(drips(bucket, clock, 5) == std::vector<int>{0, 150, 300, 450, 600});
}

TEST_CASE(
    "leaky_bucket: unlike aiolimiter, small requests do not pass a large one that came before, and other threads may use it",
    "[rate][leaky_bucket][aiolimiter][hazard-34]") {
  manual_clock clock;
  leaky_bucket bucket{4, 4s, clock};
  REQUIRE(bucket.acquire(4));
  auto large = spawn(bucket.async_acquire(3));
  auto small = spawn(bucket.async_acquire(1));
  clock.advance(1s);
  CHECK_FALSE(small.done());
  std::jthread{[&] { clock.advance(2s); }}.join();
  CHECK(large.result());
  CHECK_FALSE(small.done());
  bucket.set_rate(8, 4s);  // from now on twice as fast
  clock.advance(500ms);
  CHECK(small.result());
  CHECK(bucket.max_rate() == 8);
  CHECK(bucket.level() == 8);
}

TEST_CASE("leaky_bucket: set_rate takes what the constructor takes, whatever it was before", "[rate][leaky_bucket]") {
  manual_clock clock;
  leaky_bucket bucket{std::int64_t{1} << 40, 10s, clock};
  bucket.set_rate(1, 1h);
  CHECK(bucket.max_rate() == 1);
  CHECK(bucket.level() == 0);
  bucket.set_rate(std::int64_t{1} << 45, std::chrono::nanoseconds::max());
  CHECK(bucket.available() == 1);
  CHECK_THROWS_WITH(bucket.set_rate((std::int64_t{1} << 45) + 1, 1h), Catch::Matchers::StartsWith("penstock::leaky_bucket: "));
}

}  // namespace
