#include <penstock/core/backoff.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "../../support/catch.hpp"

using namespace std::chrono_literals;
using penstock::backoff;
using penstock::backoff_delays;
using penstock::jitter;
using penstock::splitmix64;
using std::chrono::nanoseconds;

namespace {

constexpr auto forever = nanoseconds::max();
constexpr auto last_attempt = std::numeric_limits<std::uint64_t>::max();

std::vector<nanoseconds> first(int n, backoff_delays<> delays) {
  std::vector<nanoseconds> all;
  for (int i = 0; i < n; ++i) all.push_back(delays.next());
  return all;
}

// Gives what it is told to, as a generator.
struct told {
  using result_type = std::uint64_t;
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<result_type>::max(); }
  result_type operator()() { return numbers.at(next++); }
  std::vector<std::uint64_t> numbers;
  std::size_t next = 0;
};

}  // namespace

TEST_CASE("backoff: without jitter the delays grow as they are told to, up to the cap", "[backoff]") {
  CHECK(first(3, {backoff{}, 1}) == std::vector<nanoseconds>{0ns, 0ns, 0ns});
  CHECK(first(3, {backoff::fixed(5ms), 1}) == std::vector<nanoseconds>{5ms, 5ms, 5ms});
  CHECK(first(5, {backoff::linear(10ms, 35ms), 1}) == std::vector<nanoseconds>{10ms, 20ms, 30ms, 35ms, 35ms});
  CHECK(first(6, {backoff::exponential(100ms, 2s), 1}) == std::vector<nanoseconds>{100ms, 200ms, 400ms, 800ms, 1600ms, 2s});
  CHECK(first(4, {backoff::exponential(100ms, 10s, 3), 1}) == std::vector<nanoseconds>{100ms, 300ms, 900ms, 2700ms});
  CHECK(first(3, {backoff::exponential(7ms, 1h, 1), 1}) == std::vector<nanoseconds>{7ms, 7ms, 7ms});
  STATIC_REQUIRE(backoff::exponential(100ms, 2s).growth_at(3) == 400ms);
}

TEST_CASE("backoff: attempts count from 1, and however many there are nothing overflows", "[backoff]") {
  CHECK(backoff::linear(10ms, 1s).growth_at(0) == 10ms);
  CHECK(backoff::linear(10ms, 1s).growth_at(1) == 10ms);
  CHECK(backoff::linear(10ms, 1s).growth_at(100) == 1s);
  CHECK(backoff::linear(1ns, forever).growth_at(last_attempt) == forever);
  CHECK(backoff::linear(forever, forever).growth_at(2) == forever);
  CHECK(backoff::linear(0ns, 1s).growth_at(last_attempt) == 0ns);
  CHECK(backoff::exponential(1ns, forever).growth_at(63) == nanoseconds{std::int64_t{1} << 62});
  CHECK(backoff::exponential(1ns, forever).growth_at(64) == forever);
  CHECK(backoff::exponential(1ns, forever).growth_at(last_attempt) == forever);
  CHECK(backoff::exponential(1ms, 10s, 1e300).growth_at(last_attempt) == 10s);
  CHECK(backoff::exponential(1ms, 10s, std::numeric_limits<double>::infinity()).growth_at(2) == 10s);
  CHECK(backoff::exponential(1ms, 10s, 1.0000001).growth_at(last_attempt) == 10s);
  CHECK(backoff::exponential(0ns, 10s).growth_at(last_attempt) == 0ns);
  CHECK(backoff::exponential(1s, std::chrono::hours::max()).cap() == forever);
}

TEST_CASE("backoff: what makes no sense is refused", "[backoff]") {
  CHECK_THROWS_AS(backoff::fixed(-1ns), std::invalid_argument);
  CHECK_THROWS_AS(backoff::linear(2s, 1s), std::invalid_argument);
  CHECK_THROWS_AS(backoff::exponential(1s, 2s, 0.9), std::invalid_argument);
  CHECK_THROWS_AS(backoff::exponential(1s, 2s, std::numeric_limits<double>::quiet_NaN()), std::invalid_argument);
}

TEST_CASE("backoff: each jitter draws from its own interval, bounds included", "[backoff]") {
  const backoff b = backoff::exponential(100ns, 1000ns);
  const auto drawn = [](const backoff& policy, std::uint64_t attempt, std::uint64_t number, nanoseconds previous = {}) {
    told random{{number}};
    return policy.next_delay(attempt, random, previous);
  };
  CHECK(drawn(b.with_jitter(jitter::full), 2, 0) == 0ns);
  CHECK(drawn(b.with_jitter(jitter::full), 2, 200) == 200ns);
  CHECK(drawn(b.with_jitter(jitter::full), 2, 201) == 0ns);
  CHECK(drawn(b.with_jitter(jitter::equal), 2, 0) == 100ns);
  CHECK(drawn(b.with_jitter(jitter::equal), 2, 100) == 200ns);
  CHECK(drawn(b.with_jitter(jitter::equal), 2, 101) == 100ns);
  CHECK(drawn(b.with_jitter(jitter::decorrelated), 1, 200) == 300ns);  // the first: between 100 and 3 * 100
  CHECK(drawn(b.with_jitter(jitter::decorrelated), 9, 0, 250ns) == 100ns);
  CHECK(drawn(b.with_jitter(jitter::decorrelated), 9, 650, 250ns) == 750ns);
  CHECK(drawn(b.with_jitter(jitter::decorrelated), 9, 651, 250ns) == 100ns);
  CHECK(drawn(b.with_jitter(jitter::decorrelated), 9, 900, 900ns) == 1000ns);  // the cap
  CHECK(drawn(b.with_jitter(jitter::decorrelated), 9, 901, forever) == 100ns);
}

TEST_CASE("backoff: a number beyond the last whole round is drawn anew", "[backoff]") {
  // 3 values: 2^64 - 1 is the last of a round, for 2^64 = 1 (mod 3)... and belongs to none
  told random{{std::numeric_limits<std::uint64_t>::max(), std::numeric_limits<std::uint64_t>::max() - 1}};
  CHECK(backoff::fixed(2ns).with_jitter(jitter::full).next_delay(1, random) == 2ns);
  CHECK(random.next == 2);
}

TEST_CASE("backoff: the same seed gives the same delays", "[backoff]") {
  splitmix64 random{1234567};
  CHECK(random() == 6457827717110365317U);  // as in the reference implementation
  CHECK(random() == 3203168211198807973U);
  const backoff policy = backoff::exponential(100ms, 10s).with_jitter(jitter::decorrelated);
  CHECK(first(50, {policy, 42}) == first(50, {policy, 42}));
  CHECK(first(50, {policy, 42}) != first(50, {policy, 43}));
  const auto delays = first(1000, {policy, 7});
  CHECK(*std::min_element(delays.begin(), delays.end()) >= 100ms);
  CHECK(*std::max_element(delays.begin(), delays.end()) <= 10s);
  backoff_delays other{policy, std::mt19937_64{7}};
  CHECK(other.next() >= 100ms);
}

TEST_CASE("backoff: after a success the delays begin anew", "[backoff]") {
  backoff_delays delays{backoff::exponential(1ms, 1s), 1};
  static_cast<void>(delays.next());
  CHECK(delays.next() == 2ms);
  CHECK(delays.attempts() == 2);
  delays.reset();
  CHECK(delays.attempts() == 0);
  CHECK(delays.next() == 1ms);
  backoff_delays spread{backoff::exponential(1ms, 1h).with_jitter(jitter::decorrelated), 1};
  for (int i = 0; i < 20; ++i) {
    spread.reset();
    CHECK(spread.next() <= 3ms);
    static_cast<void>(spread.next());
  }
}
