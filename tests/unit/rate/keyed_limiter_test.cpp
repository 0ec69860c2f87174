#include <penstock/rate/keyed_limiter.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <new>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using per_user = keyed_limiter<std::string>;
using per_number = keyed_limiter<std::uint64_t>;

int passes(auto& limits, const auto& key) {
  int n = 0;
  while (limits.try_acquire(key)) ++n;
  return n;
}

TEST_CASE("keyed_limiter: gives each key a bucket of its own", "[rate][keyed_limiter][hazard-24]") {
  manual_clock clock;
  per_user limits{rate{10, 1s}, 3, {.clock = clock}};
  CHECK(passes(limits, "ann") == 3);
  CHECK(limits.try_acquire("ann") == errc::empty);
  CHECK(limits.available("ann") == 0);
  CHECK(limits.retry_after("ann") == 100ms);
  CHECK(limits.retry_after("ann", 3) == 300ms);
  CHECK(limits.available("bob") == 3);
  CHECK(limits.retry_after("bob", 3) == 0s);
  CHECK(limits.try_acquire("bob", 2));
  clock.advance(-1h);  // stepping back gives nothing
  CHECK_FALSE(limits.try_acquire("ann"));
  clock.advance(1h + 100ms);
  CHECK(passes(limits, "ann") == 1);
  CHECK(passes(limits, "bob") == 2);
  limits.refund("ann", 2);
  CHECK(passes(limits, "ann") == 2);
  limits.refund("ann", 100);
  CHECK(passes(limits, "ann") == 3);
  CHECK(limits.stats().keys == 2);

  // Thirds of a ns: what cannot be kept exactly is rounded to the safe side, by less than 2^-32 ns a token.
  constexpr std::int64_t many = std::int64_t{3} << 33;
  per_number fast{rate{3, 1ns}, many, {.max_keys = 1, .clock = clock}};
  CHECK(fast.try_acquire(1u, many));
  CHECK(fast.retry_after(1u, many) >= std::chrono::nanoseconds{many / 3});
  CHECK(fast.retry_after(1u, many) <= std::chrono::nanoseconds{many / 3 + 6});

  for (const std::int64_t n : {0, -1, 4}) {
    CHECK_THROWS_AS(limits.try_acquire("ann", n), std::invalid_argument);
    CHECK_THROWS_AS(limits.acquire("ann", n), std::invalid_argument);
    CHECK_THROWS_AS(limits.async_acquire("ann", n), std::invalid_argument);
    CHECK_THROWS_AS(limits.retry_after("ann", n), std::invalid_argument);
  }
  per_number daily{rate{1, 24h}, 3, {.max_keys = 4, .clock = clock}};
  int refused = 0;
  CHECK(daily.try_acquire(1u, 3));
  for (int shift = 45; shift < 63; ++shift) {  // so many that what they take cannot be told in 128 bits
    for (std::int64_t n : {std::int64_t{1} << shift, (std::int64_t{1} << shift) / 2 * 3, (std::int64_t{1} << shift) / 4 * 7}) {
      try {
        static_cast<void>(daily.try_acquire(1u, n));
      } catch (const std::invalid_argument&) {
        ++refused;
      }
    }
  }
  CHECK(refused == 3 * 18);
  CHECK(daily.available(1u) == 0);
  CHECK_THROWS_AS((per_user{rate{10, 1s}, 0}), std::invalid_argument);
  CHECK_THROWS_AS((per_user{rate{10, 1s}, 1, {.max_keys = 0}}), std::invalid_argument);
  CHECK_THROWS_AS((per_user{rate{10, 1s}, 1, {.shards = 3}}), std::invalid_argument);
  CHECK_THROWS_AS((per_user{rate{1, 24h * 365}, 1000}), std::invalid_argument);
}

// A key that counts how often it is made, tells of it, and may not be copied.
struct name {
  static inline int made = 0;
  static inline std::function<void()> when_made;
  static inline bool no_memory = false;

  explicit name(std::string_view s) : text{s} {
    ++made;
    if (const auto tell = std::exchange(when_made, nullptr)) tell();
  }
  name(const name& other) : text{other.text} {
    if (no_memory) throw std::bad_alloc{};
  }
  name(name&&) = default;
  name& operator=(name&&) = default;
  ~name() = default;
  friend bool operator==(const name& a, const name& b) { return a.text == b.text; }
  friend bool operator==(const name& a, std::string_view b) { return a.text == b; }
  std::string text;
};
struct name_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  std::size_t operator()(const name& n) const { return (*this)(n.text); }
};

TEST_CASE("keyed_limiter: looks a key up by what it can be compared with, and makes it once, when it is new",
          "[rate][keyed_limiter]") {
  manual_clock clock;
  keyed_limiter<name, name_hash> limits{rate{1, 1s}, 5, {.clock = clock}};
  for (int i = 0; i < 5; ++i) CHECK(limits.try_acquire(std::string_view{"ann"}));
  CHECK(limits.retry_after(std::string_view{"ann"}) == 1s);
  CHECK(name::made == 1);

  // It loses its place after the first look and before it stands in line, and cannot be copied for another one.
  keyed_limiter<name, name_hash> one_place{rate{1, 1s}, 2, {.max_keys = 1, .shards = 1, .clock = clock}};
  REQUIRE(one_place.try_acquire(std::string_view{"ann"}, 2));
  name::when_made = [&] {
    clock.advance(2s);
    one_place.try_acquire(std::string_view{"bob"}, 2).value();
    name::no_memory = true;
  };
  CHECK(one_place.acquire(std::string_view{"ann"}) == errc::rejected);
  CHECK(name::no_memory);
  name::no_memory = false;
}

// An attacker's new keys never come again; each of them takes all that it is given.
TEST_CASE("keyed_limiter: whoever invents keys makes nothing grow and nobody's limit forgotten", "[rate][keyed_limiter]") {
  manual_clock clock;
  const auto when_full = GENERATE(keyed_overflow::shared, keyed_overflow::refuse);
  per_number limits{rate{1, 1s}, 2, {.max_keys = 65, .shards = 1, .overflow = when_full, .clock = clock}};
  const std::uint64_t victim = ~std::uint64_t{0};
  int granted_to_victim = 0;
  int granted_to_attacker = 0;
  constexpr int seconds = 10;
  REQUIRE(limits.try_acquire(victim));
  ++granted_to_victim;
  for (int second = 0; second < seconds; ++second) {
    for (std::uint64_t i = 0; i < 10'000; ++i) {
      const std::uint64_t key = static_cast<std::uint64_t>(second) * 10'000 + i;
      const auto got = limits.try_acquire(key, 2);
      granted_to_attacker += got ? 2 : 0;
      if (!got && when_full == keyed_overflow::refuse) REQUIRE(got == errc::rejected);
      if (i % 100 == 0 && limits.try_acquire(victim)) ++granted_to_victim;
    }
    clock.advance(1s);
  }
  CHECK(granted_to_victim == 2 + seconds - 1);  // as one bucket, which has been in use all the time
  // All keys together get what that many buckets grant, and the shared one.
  CHECK(granted_to_attacker + granted_to_victim <= 66 * (2 + seconds));
  CHECK(granted_to_attacker >= 64 * 2 * (seconds / 2));
  const keyed_limiter_stats s = limits.stats();
  CHECK(s.keys == 65);  // the last one too, which shares its line with none
  CHECK(s.replaced > 0);
  CHECK(s.overflowed > 80'000);
}

TEST_CASE("keyed_limiter: a key that was replaced comes back as it would have been", "[rate][keyed_limiter]") {
  manual_clock clock;
  per_user limits{rate{1, 1s}, 2, {.max_keys = 2, .shards = 1, .overflow = keyed_overflow::refuse, .clock = clock}};
  CHECK(limits.try_acquire("ann", 2));
  CHECK(limits.try_acquire("bob", 1));
  CHECK(limits.try_acquire("carl") == errc::rejected);
  CHECK(limits.acquire("carl") == errc::rejected);
  clock.advance(1s);
  CHECK(limits.try_acquire("carl", 2));  // in bob's place, who is full again; ann is not
  CHECK(limits.available("ann") == 1);
  CHECK(limits.available("bob") == 0);  // as long as there is no place for him
  clock.advance(1s);
  CHECK(limits.available("bob") == 2);
  CHECK(limits.try_acquire("bob", 2));
  CHECK(limits.stats().replaced == 2);
  CHECK(limits.stats().keys == 2);
}

TEST_CASE("keyed_limiter: keys without a place share a bucket, and wait for it", "[rate][keyed_limiter]") {
  manual_clock clock;
  per_number limits{rate{1, 1s}, 2, {.max_keys = 1, .shards = 1, .clock = clock}};
  CHECK(limits.try_acquire(1u, 2));
  CHECK(limits.try_acquire(2u));
  CHECK(limits.try_acquire(3u));
  CHECK(limits.try_acquire(4u) == errc::empty);
  auto fifth = spawn(limits.async_acquire(5u));
  auto sixth = spawn(limits.async_acquire(6u));
  clock.advance(1s);
  CHECK(fifth.result());
  CHECK_FALSE(sixth.done());
  clock.advance(1s);
  CHECK(sixth.result());
}

TEST_CASE("keyed_limiter: answers truly of keys without a place, and they have one bucket each at the most",
          "[rate][keyed_limiter]") {
  manual_clock clock;
  per_number shared{rate{1, 1s}, 10, {.max_keys = 1, .shards = 1, .clock = clock}};
  REQUIRE(shared.try_acquire(1u));
  clock.advance(999ms);
  CHECK(passes(shared, 2u) == 10);  // of the shared bucket
  CHECK(shared.available(2u) == 0);
  CHECK(shared.retry_after(2u) == 1s);
  clock.advance(1ms);
  CHECK(passes(shared, 2u) == 0);  // it has the place of the first key now, but no second bucket
  CHECK(shared.retry_after(2u) == 999ms);
  REQUIRE(shared.stats().replaced == 1);
  shared.refund(3u, 2);
  CHECK(passes(shared, 3u) == 2);

  per_number refused{rate{1, 1s}, 2, {.max_keys = 1, .shards = 1, .overflow = keyed_overflow::refuse, .clock = clock}};
  CHECK(refused.retry_after(2u, 2) == 0s);
  REQUIRE(refused.try_acquire(1u));
  CHECK(refused.available(2u) == 0);
  CHECK(refused.retry_after(2u, 2) == 1s);
  CHECK_THROWS_AS(refused.retry_after(2u, 3), std::invalid_argument);
  clock.advance(1s);
  CHECK(refused.retry_after(2u, 2) == 0s);
  CHECK(refused.available(2u) == 2);
  REQUIRE(refused.set_limit(2u, rate{1, 1s}, 1));
  CHECK(refused.available(1u) == 0);
  CHECK(refused.retry_after(1u) == std::chrono::nanoseconds::max());
}

TEST_CASE("keyed_limiter: limits that are set again and again take nothing away", "[rate][keyed_limiter]") {
  manual_clock clock;
  per_user limits{rate{1, 1s}, 10, {.clock = clock}};
  CHECK(passes(limits, "ann") == 10);
  int same = 0;
  int other_rate = 0;
  for (int i = 0; i < 100; ++i) {
    clock.advance(500ms);
    limits.set_limit(rate{1, 1s}, 10);
    limits.clear_limit("ann");
    same += passes(limits, "ann");
  }
  for (int i = 0; i < 100; ++i) {
    clock.advance(500ms);
    limits.set_limit("ann", rate{1 + i % 2, 1s}, 10).value();
    other_rate += passes(limits, "ann");
  }
  CHECK(same == 50);
  CHECK(other_rate >= 74);  // 75 but for what is rounded
  CHECK(other_rate <= 75);

  // Half of a token that takes a century.
  constexpr auto year = 24h * 365;
  per_number slow{rate{1, 100 * year}, 1, {.max_keys = 1, .clock = clock}};
  REQUIRE(slow.try_acquire(1u));
  clock.advance(50 * year);
  for (int i = 0; i < 10; ++i) slow.set_limit(rate{1, 100 * year}, 1);
  CHECK(slow.retry_after(1u) == 50 * year);
  slow.set_limit(rate{1, 40 * year}, 2);
  CHECK(slow.retry_after(1u, 2) >= 20 * year);
  CHECK(slow.retry_after(1u, 2) <= 20 * year + 3s);
}

TEST_CASE("keyed_limiter: who waits until a deadline, and who destroys it, waits for no coroutine that its timer resumed",
          "[rate][keyed_limiter][hazard-04]") {
  manual_clock clock;
  std::optional<per_user> limits{std::in_place, rate{1, 1s}, 1,
                                 keyed_limiter_options{.max_keys = 4, .shards = 1, .clock = clock}};
  REQUIRE(limits->try_acquire("ann"));
  REQUIRE(limits->try_acquire("bob"));
  std::atomic<bool> entered{false};
  std::atomic<bool> leave{false};
  const auto linger = [](per_user& l, std::atomic<bool>& in, const std::atomic<bool>& out) -> task<void> {
    (co_await l.async_acquire("ann")).value();
    in = true;
    test_support::until([&] { return out.load(); });
  };
  auto lingering = spawn(linger(*limits, entered, leave));
  {
    std::jthread mover{[&] { clock.advance(1s); }};
    test_support::until([&] { return entered.load(); });
    CHECK(limits->try_acquire("bob"));
    CHECK(limits->acquire("bob", {.deadline = deadline::after(1ms)}) == errc::timeout);
    limits.reset();
    CHECK_FALSE(lingering.done());
    leave = true;
  }
  CHECK(lingering.done());
}

TEST_CASE("keyed_limiter: a key may have a limit of its own, and all may get another one", "[rate][keyed_limiter]") {
  manual_clock clock;
  per_user limits{rate{1, 1s}, 2, {.max_keys = 2, .shards = 1, .overflow = keyed_overflow::refuse, .clock = clock}};
  REQUIRE(limits.set_limit("vip", rate{100, 1s}, 50));
  CHECK(limits.try_acquire("vip", 50));
  CHECK(limits.retry_after("vip") == 10ms);
  clock.advance(1h);  // full again, but its place is its own
  CHECK(limits.try_acquire("ann"));
  CHECK(limits.try_acquire("bob") == errc::rejected);
  CHECK(limits.set_limit("bob", rate{1, 1s}, 1) == errc::full);
  CHECK(passes(limits, "vip") == 50);

  // What was used stays used: no present, and no deeper debt than an empty bucket.
  limits.set_limit(rate{10, 1s}, 10);
  CHECK(limits.available("ann") == 9);
  CHECK(limits.available("vip") == 0);
  CHECK(limits.try_acquire("ann", 9));
  limits.set_limit(rate{1, 1s}, 3);
  CHECK(limits.available("ann") == 0);
  CHECK(limits.retry_after("ann", 3) == 3s);
  limits.clear_limit("vip");
  limits.clear_limit("nobody");
  CHECK(limits.retry_after("vip", 3) == 3s);
  CHECK_THROWS_AS(limits.try_acquire("vip", 4), std::invalid_argument);
  clock.advance(3s);
  CHECK(limits.try_acquire("bob", 3));
}

TEST_CASE("keyed_limiter: tells the keys that ask for most", "[rate][keyed_limiter]") {
  manual_clock clock;
  per_user limits{rate{1, 1s}, 2, {.shards = 4, .clock = clock}};
  for (int i = 0; i < 50; ++i) {
    limits.try_acquire("a" + std::to_string(i)).value();
    static_cast<void>(limits.try_acquire("much"));
    static_cast<void>(limits.try_acquire("more", 2));
  }
  const auto heaviest = limits.heaviest(2);
  REQUIRE(heaviest.size() == 2);
  CHECK(heaviest[0].key == "more");
  CHECK(heaviest[0].granted == 2);
  CHECK(heaviest[0].refused == 98);
  CHECK(heaviest[1].key == "much");
  CHECK(heaviest[1].available == 0);
  CHECK(limits.heaviest(1000).size() == 52);
  limits.reset_counts();
  CHECK(limits.heaviest(2).empty());

  // Counts stay at the most that they can be.
  constexpr std::int64_t huge = std::int64_t{1} << 33;
  per_user many{rate{1'000, 1s}, huge, {.max_keys = 65, .shards = 4, .clock = clock}};
  CHECK(many.max_keys() == 68);  // as many for each shard
  many.try_acquire("a", huge).value();
  CHECK(many.try_acquire("a", huge) == errc::empty);
  CHECK(many.try_acquire("a") == errc::empty);
  CHECK(many.heaviest(1).at(0).granted == std::numeric_limits<std::uint32_t>::max());
  CHECK(many.heaviest(1).at(0).refused == std::numeric_limits<std::uint32_t>::max());
}

TEST_CASE("keyed_limiter: counts what it lets in, and what it refuses by why", "[rate][keyed_limiter]") {
  manual_clock clock;
  per_user limits{rate{1, 1s}, 2, {.max_keys = 1, .shards = 1, .overflow = keyed_overflow::refuse, .clock = clock}};
  REQUIRE(limits.try_acquire("ann", 2));
  CHECK(limits.try_acquire("ann") == errc::empty);
  CHECK(limits.try_acquire("bob") == errc::rejected);
  CHECK(limits.acquire("bob") == errc::rejected);
  CHECK_THROWS_AS(limits.try_acquire("ann", 3), std::invalid_argument);  // misuse is no refusal
  CHECK_THROWS_AS(limits.acquire("bob", 3), std::invalid_argument);
  keyed_limiter_stats s = limits.stats();
  CHECK(s.accepted == 1);
  CHECK(s.refused.empty == 1);
  CHECK(s.refused.rejected == 2);
  CHECK(s.refused.total() == 3);

  std::stop_source stop;
  auto late = spawn(limits.async_acquire("ann", 2) | with_timeout(1s, clock));
  auto stopped = spawn(limits.async_acquire("ann") | with_stop(stop.get_token()));
  auto served = spawn(limits.async_acquire("ann"));
  CHECK(limits.try_acquire_for("ann", 0s) == errc::timeout);
  stop.request_stop();
  CHECK(limits.acquire("ann", stop.get_token()) == errc::cancelled);
  CHECK(limits.acquire("ann", {.stop = stop.get_token()}) == errc::cancelled);
  auto stopped_before = spawn(limits.async_acquire("ann") | with_stop(stop.get_token()));
  clock.advance(1s);
  CHECK(late.result() == errc::timeout);
  CHECK(stopped.result() == errc::cancelled);
  CHECK(stopped_before.result() == errc::cancelled);
  CHECK(served.result());
  s = limits.stats();
  CHECK(s.accepted == 2);
  CHECK(s.refused.timeout == 2);
  CHECK(s.refused.cancelled == 4);

  auto too_much = spawn(limits.async_acquire("ann", 2));
  auto in_line = spawn(limits.async_acquire("ann"));
  auto begins_later = limits.async_acquire("ann", 2);
  limits.set_limit(rate{1, 1s}, 1);
  CHECK(too_much.result() == errc::rejected);
  CHECK(spawn(std::move(begins_later)).result() == errc::rejected);
  auto begins_last = limits.async_acquire("ann");
  limits.close();
  CHECK(in_line.result() == errc::closed);
  CHECK(spawn(std::move(begins_last)).result() == errc::closed);
  CHECK(limits.try_acquire("ann") == errc::closed);
  s = limits.stats();
  CHECK(s.accepted == 2);
  CHECK(s.refused.empty == 1);
  CHECK(s.refused.rejected == 4);
  CHECK(s.refused.timeout == 2);
  CHECK(s.refused.cancelled == 4);
  CHECK(s.refused.closed == 3);
  CHECK(s.refused.total() == 14);
}

TEST_CASE("keyed_limiter: who waits for a key is served in order of arrival, and nobody waits for another key",
          "[rate][keyed_limiter][hazard-01][hazard-02][hazard-34]") {
  manual_clock clock;
  per_user limits{rate{10, 1s}, 5, {.shards = 1, .clock = clock}};
  REQUIRE(limits.acquire("ann", 5));
  REQUIRE(limits.acquire("bob", 5));
  std::stop_source stop;
  auto large = spawn(limits.async_acquire("ann", 5) | with_stop(stop.get_token()));
  auto small = spawn(limits.async_acquire("ann"));
  auto other = spawn(limits.async_acquire("bob"));
  CHECK(limits.stats().waiters == 3);
  clock.advance(100ms);
  CHECK(other.result());
  CHECK_FALSE(small.done());
  CHECK(limits.try_acquire("ann") == errc::empty);  // newcomers do not overtake
  SECTION("until the first one has got what it asks for") {
    clock.advance(400ms - 1ns);
    CHECK_FALSE(large.done());
    clock.advance(1ns);
    CHECK(large.result());
    CHECK_FALSE(small.done());
    clock.advance(100ms);
    CHECK(small.result());
  }
  SECTION("or goes away: then the next one takes its turn at once") {
    stop.request_stop();
    CHECK(large.result() == errc::cancelled);
    CHECK(small.result());
  }
  SECTION("or tokens come back") {
    limits.refund("ann", 4);
    CHECK(large.result());
    CHECK_FALSE(small.done());
    limits.set_limit(rate{1000, 1s}, 5);  // and faster
    clock.advance(1ms);
    CHECK(small.result());
  }
  SECTION("or can never be served any more") {
    limits.set_limit("ann", rate{10, 1s}, 4).value();
    CHECK(large.result() == errc::rejected);
    clock.advance(100ms);
    CHECK(small.result());
  }
  SECTION("or it is closed") {
    limits.close();
    CHECK(large.result() == errc::closed);
    CHECK(small.result() == errc::closed);
    CHECK(limits.try_acquire("carl") == errc::closed);
    CHECK(limits.acquire("carl") == errc::closed);
  }
  clock.advance(1h);
  CHECK(limits.stats().waiters == 0);
  CHECK(clock.next_timer() == manual_clock::time_point::max());
}

TEST_CASE("keyed_limiter: a wait takes nothing if it ends in vain, has one deadline, and may be as long as one likes",
          "[rate][keyed_limiter][hazard-03][hazard-05][hazard-22]") {
  manual_clock clock;
  per_user limits{rate{10, 1s}, 3, {.clock = clock}};
  REQUIRE(limits.acquire("ann", 3));
  auto several = spawn(limits.async_acquire("ann", 3));
  auto deadline = spawn(limits.async_acquire("ann", 3) | with_timeout(1s, clock));
  auto longest = spawn(limits.async_acquire("ann") | with_timeout(std::chrono::hours::max(), clock));
  clock.advance(200ms);
  several.request_stop();
  CHECK(several.result() == errc::cancelled);
  CHECK(limits.available("ann") == 2);  // nothing of the three was taken
  for (int i = 0; i < 8; ++i) {         // who is before the others is looked at again and again
    clock.advance(99ms);
    limits.set_limit(rate{1, 1h}, 3);
    limits.set_limit(rate{1, 2h}, 3);
  }
  clock.advance(7ms);
  CHECK_FALSE(deadline.done());
  clock.advance(1ms);
  REQUIRE(deadline.done());
  CHECK(deadline.result() == errc::timeout);
  REQUIRE(longest.done());  // behind it: served as it went
  CHECK(longest.result().has_value());
  CHECK(limits.available("ann") == 1);
  CHECK(limits.try_acquire("ann"));
  auto never = spawn(limits.async_acquire("ann") | with_timeout(std::chrono::nanoseconds::max(), clock));
  CHECK(limits.try_acquire_for("ann", -1h) == errc::timeout);
  CHECK(limits.try_acquire_for("ann", std::chrono::nanoseconds::min()) == errc::timeout);
  clock.advance(limits.retry_after("ann") - 1ns);
  CHECK_FALSE(never.done());
  clock.advance(1ns);
  CHECK(never.done());
}

TEST_CASE("keyed_limiter: no part of a token is lost or given, a lower limit leaves no debt, and no refund is negative",
          "[rate][keyed_limiter][hazard-25][hazard-26]") {
  manual_clock clock;
  per_number limits{rate{3, 1s}, 2, {.max_keys = 8, .clock = clock}};
  std::int64_t granted = 0;
  const auto begin = clock.now();
  for (int i = 0; i < 20'000; ++i) {
    granted += passes(limits, 1u);
    const auto earned = 3 * (clock.now() - begin) / 1s;
    REQUIRE((earned + 1 <= granted && granted <= earned + 2));
    clock.advance(7'777'777ns);
  }
  limits.set_limit(rate{1000, 1s}, 1000);
  clock.advance(1h);
  CHECK(limits.acquire(1u, 1000));
  limits.set_limit(rate{1, 1s}, 1000);
  CHECK(limits.retry_after(1u) == 1s);
  limits.set_limit(rate{1, 1s}, 1);
  clock.advance(1s);
  CHECK(passes(limits, 1u) == 1);
  CHECK_THROWS_AS(limits.refund(1u, -1), std::invalid_argument);
  CHECK_THROWS_AS(limits.refund(1u, 0), std::invalid_argument);
  CHECK(passes(limits, 1u) == 0);
}

TEST_CASE("keyed_limiter: threads wait, until a deadline or a stop request", "[rate][keyed_limiter][hazard-04][hazard-23]") {
  manual_clock clock;
  per_user limits{rate{1, 1s}, 1, {.clock = clock}};
  REQUIRE(limits.acquire("ann"));
  CHECK(limits.acquire("ann", {.deadline = {clock.now(), clock}}) == errc::timeout);
  std::stop_source stop;
  CHECK(limits.acquire("bob", stop.get_token()));
  std::optional<result<void>> timed_out;
  std::optional<result<void>> stopped;
  std::optional<result<void>> passed;
  {
    std::jthread first{[&] { timed_out = limits.try_acquire_for("ann", 999ms); }};
    test_support::until([&] { return limits.stats().waiters == 1; });
    std::jthread second{[&] { stopped = limits.acquire("ann", stop.get_token()); }};
    test_support::until([&] { return limits.stats().waiters == 2; });
    std::jthread third{[&] { passed = limits.acquire("ann"); }};
    test_support::until([&] { return limits.stats().waiters == 3; });
    clock.advance(999ms);
    test_support::until([&] { return limits.stats().waiters == 2; });
    stop.request_stop();
    test_support::until([&] { return limits.stats().waiters == 1; });
    clock.advance(1ms);
  }
  CHECK(*timed_out == errc::timeout);
  CHECK(*stopped == errc::cancelled);
  CHECK(*passed);
  CHECK(limits.acquire("carl", stop.get_token()) == errc::cancelled);
  CHECK(limits.available("carl") == 1);

  // A deadline that is the very time of the token: what is there is taken.
  auto at_the_deadline = spawn(limits.async_acquire("ann") | with_timeout(1s, clock));
  clock.advance(2s);
  CHECK(at_the_deadline.done());

  // The limiter may go as soon as the last one who waited has been served.
  std::optional<per_user> gone{std::in_place, rate{1, 1s}, 1, keyed_limiter_options{.clock = clock}};
  REQUIRE(gone->acquire("ann"));
  auto last = [](std::optional<per_user>& l) -> task<void> {
    (co_await l->async_acquire("ann")).value();
    l.reset();
  };
  auto destroyer = spawn(last(gone));
  clock.advance(1s);
  CHECK(destroyer.done());
  CHECK_FALSE(gone.has_value());
}

}  // namespace
