// A keyed_limiter with a few places answers as a bucket for every key there ever was, kept for ever: nobody can tell which keys have lost their places.
// Only a key that finds no place is told so. Where such keys share a bucket, none gets what a bucket of its own had not, and its questions are answered
// truly. Random keys, amounts, refunds, times (the clock steps back, too) and changes of limits.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>

#include <rapidcheck.h>

#include <penstock/core/manual_clock.hpp>
#include <penstock/rate/keyed_limiter.hpp>

#include "support/property.hpp"

namespace {

using namespace std::chrono_literals;

// In rational numbers: an account is what is used, in 2^-32 ns of issue, at the latest time that anybody was told.
__extension__ using wide = __int128;
constexpr wide fine = wide{1} << 32;

struct reference {
  struct terms {
    std::int64_t interval;  // ns a token
    std::int64_t burst;
  };
  struct account {
    wide used = 0;
    std::int64_t at = 0;
  };

  wide used(int key) {
    account& a = accounts[key];
    a.used = std::max<wide>(0, a.used - (now - a.at) * fine);
    a.at = now;
    return a.used;
  }
  const terms& of(int key) { return own.contains(key) ? own[key] : all; }
  bool take(int key, std::int64_t n) {
    const terms t = of(key);
    if (n > t.burst || used(key) + n * t.interval * fine > t.burst * t.interval * fine) return false;
    accounts[key].used += n * t.interval * fine;
    return true;
  }
  std::int64_t ready_in(int key, std::int64_t n) {
    const terms t = of(key);
    const wide late = used(key) + (n - t.burst) * t.interval * fine;
    return late <= 0 ? 0 : static_cast<std::int64_t>((late + fine - 1) / fine);
  }
  std::int64_t available(int key) {
    const terms t = of(key);
    return static_cast<std::int64_t>((t.burst * t.interval * fine - used(key)) / (t.interval * fine));
  }
  void give_back(int key, std::int64_t n) { accounts[key].used = std::max<wide>(0, used(key) - n * of(key).interval * fine); }
  // The same part of tokens, rounded up to 2^-32 ns, as is documented.
  void change(int key, const terms& to) {
    const terms from = of(key);
    accounts[key].used = std::min((used(key) * to.interval + from.interval - 1) / from.interval, to.burst * to.interval * fine);
  }

  std::int64_t now = 0;
  terms all;
  std::map<int, account> accounts;
  std::map<int, terms> own;
};

reference::terms any_terms() { return {*rc::gen::inRange<std::int64_t>(1, 50), *rc::gen::inRange<std::int64_t>(1, 6)}; }
penstock::rate rate_of(const reference::terms& t) { return {1, std::chrono::nanoseconds{t.interval}}; }

void answers_as_a_bucket_for_every_key() {
  penstock::manual_clock clock;
  reference expected;
  expected.all = any_terms();
  const auto shards = *rc::gen::element<std::size_t>(1, 2);
  const bool shares = *rc::gen::arbitrary<bool>();
  penstock::keyed_limiter<int> limits{rate_of(expected.all),
                                      expected.all.burst,
                                      {.max_keys = *rc::gen::inRange<std::size_t>(1, 8),
                                       .shards = shards,
                                       .overflow = shares ? penstock::keyed_overflow::shared : penstock::keyed_overflow::refuse,
                                       .clock = clock,
                                       .seed = *rc::gen::inRange<std::uint64_t>(1, 1000)}};
  const int steps = *rc::gen::inRange(1, 120);
  for (int i = 0; i < steps; ++i) {
    const int key = *rc::gen::inRange(0, 12);
    const int what = *rc::gen::inRange(0, 10);
    if (what < 3) {
      clock.advance(std::chrono::nanoseconds{*rc::gen::inRange(what == 0 ? -100 : 0, 200)});
      continue;
    }
    if (what == 3 && shares) continue;  // what one of them gives back all may take
    const std::int64_t told = clock.now().time_since_epoch().count();
    // A clock that is behind stands still, at the latest time that a shard was told.
    if (told < expected.now && shards != 1) continue;
    expected.now = std::max(expected.now, told);
    if (what == 3) {
      const auto n = *rc::gen::inRange<std::int64_t>(1, 4);
      limits.refund(key, n);
      expected.give_back(key, n);
    } else if (what == 4) {
      const reference::terms t = any_terms();
      if (*rc::gen::inRange(0, 4) == 0) {
        for (auto& [k, account] : expected.accounts) {
          if (!expected.own.contains(k)) expected.change(k, t);
        }
        expected.all = t;
        limits.set_limit(rate_of(t), t.burst);
      } else if (expected.own.contains(key)) {
        expected.change(key, expected.all);
        expected.own.erase(key);
        limits.clear_limit(key);
      } else if (limits.set_limit(key, rate_of(t), t.burst)) {
        expected.change(key, t);
        expected.own[key] = t;
      }
    } else {
      if (*rc::gen::inRange(0, 20) == 0) {
        const auto too_many = *rc::gen::inRange<std::int64_t>(std::int64_t{1} << 40, std::numeric_limits<std::int64_t>::max());
        RC_ASSERT_THROWS_AS(static_cast<void>(limits.try_acquire(key, too_many)), std::invalid_argument);
        continue;
      }
      const auto n = *rc::gen::inRange<std::int64_t>(1, expected.of(key).burst + 1);
      const std::int64_t wait = limits.retry_after(key, n).count();
      const auto got = limits.try_acquire(key, n);
      RC_ASSERT((wait == 0) == got.has_value());
      if (shares) {
        if (got) RC_ASSERT(expected.take(key, n));
        RC_ASSERT(limits.available(key) <= expected.available(key));
      } else if (got == penstock::errc::rejected) {
        RC_ASSERT(expected.used(key) == 0);  // only a key that is full has no place
        RC_ASSERT(limits.available(key) == 0);
      } else {
        RC_ASSERT(wait == expected.ready_in(key, n));
        RC_ASSERT(got.has_value() == expected.take(key, n));
        RC_ASSERT(limits.available(key) == expected.available(key));
      }
    }
    RC_ASSERT(limits.stats().keys <= limits.max_keys());
  }
}

}  // namespace

int main() {
  test_support::try_cases("seed=1 max_success=500", "max_success=50000");
  return rc::check("a keyed_limiter with few places answers as a bucket for every key", answers_as_a_bucket_for_every_key) ? 0
                                                                                                                           : 1;
}
