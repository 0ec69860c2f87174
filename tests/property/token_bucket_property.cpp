// The law of the token bucket, for random rates, bursts, requests, steps of the clock (back, too) and changes of rate and burst: granted as a bucket
// of rational numbers would. That bucket is the virtual scheduling algorithm in fractions with one common denominator, in 128 bits.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <rapidcheck.h>

#include <penstock/rate/detail/gcra.hpp>

#include "support/property.hpp"

namespace {

using penstock::rate;
using penstock::detail::gcra;
using penstock::detail::gcra_scale;
__extension__ typedef __int128 wide;

// Numbers drawn from a script, so that rapidcheck can shrink it.
class reader {
 public:
  explicit reader(const std::vector<std::uint32_t>& words) : words_{words} {}
  [[nodiscard]] bool empty() const { return at_ == words_.size(); }
  std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(n)); }
  // Of any magnitude up to n.
  std::int64_t upto(std::int64_t n) {
    const std::int64_t magnitude = std::int64_t{1} << below(62);
    return 1 + below(std::min(magnitude, n));
  }

 private:
  std::uint64_t next() {
    const std::uint64_t seed = (empty() ? 0 : words_[at_++]) + 0x9e3779b97f4a7c15;
    return (seed ^ (seed >> 29)) * 0xbf58476d1ce4e5b9 >> 13;
  }

  const std::vector<std::uint32_t>& words_;
  std::size_t at_ = 0;
};

rate draw_rate(reader& r) {
  constexpr std::array<std::int64_t, 8> periods{1, 7, 1000, 1'000'000, 999'983, 1'000'000'000, 60'000'000'000, 86'400};
  const std::int64_t period = periods[static_cast<std::size_t>(r.below(periods.size()))];
  return rate{r.upto(std::min<std::int64_t>(1'000'000'000, 1000 * period)), std::chrono::nanoseconds{period}};
}

bool possible(const rate& r, std::int64_t burst) {
  try {
    gcra_scale::make(r, burst, 0, "x");
    return true;
  } catch (const std::invalid_argument&) {
    return false;
  }
}

// Now and then of any size, so that a unit is as long as it can be: 8 s.
std::int64_t draw_burst(reader& in, const rate& r) {
  std::int64_t burst = in.upto(in.below(4) == 0 ? gcra_scale::most_units : 1'000'000);
  while (!possible(r, burst)) burst /= 2;
  return burst;
}

wide divided_up(wide a, wide b) { return (a + b - 1) / b; }

// A bucket of rational numbers. All amounts are tokens times `one`. The real one is never before it, and behind it at the most by `lost`, by
// what comes in `late`, and by its roundings.
struct exact_bucket {
  static constexpr std::int64_t longest = 100'000'000'000'000'000;  // ns: more than any test lasts

  wide one;
  rate r;
  std::int64_t burst;
  std::int64_t epoch;
  wide used;
  wide lost = 0;          // by the roundings of changes
  std::int64_t late = 0;  // its epoch is so much later: it pays off a debt later, and what comes meanwhile comes at another rate
  std::int64_t latest = epoch;

  wide in_a_ns() const { return static_cast<wide>(r.tokens()) * (one / static_cast<wide>(r.nanoseconds())); }
  wide issued(std::int64_t now) const { return static_cast<wide>(std::max<std::int64_t>(0, now - epoch)) * in_a_ns(); }
  wide full() const { return one * burst; }
  wide used_at(std::int64_t now) const { return std::max(used, issued(now) - full()); }
  wide level(std::int64_t now) const { return issued(now) - used_at(now); }
  // At a time that steps back the level falls by what had come since; the real one's, whose epoch is later, by less.
  wide most(std::int64_t now) const { return level(now) + (now < latest ? in_a_ns() * late : 0); }
  // Of a debt from before the epoch, less what the real one may find missing.
  wide owed(std::int64_t now) const {
    return std::max<wide>(0, static_cast<wide>(std::max<std::int64_t>(0, epoch - now)) * in_a_ns() - slack());
  }
  void take(std::int64_t now, std::int64_t n) {
    used = used_at(now) + one * n;
    latest = std::max(latest, now);
  }
  // One that fills the bucket forgets the part of a unit that was issued beyond: it comes again if the clock steps back.
  void give_back(std::int64_t now, std::int64_t n) {
    used = std::max(used_at(now) - one * n, issued(now) - full() - (is_exact() ? 0 : unit()));
    latest = std::max(latest, now);
  }

  void change(std::int64_t now, const rate& new_rate, std::int64_t new_burst) {
    const wide there = std::min(most(now), full());
    lost += there - level(now);
    used = issued(now) - there;
    latest = now;
    const std::int64_t begin = std::max(now, epoch);
    const std::int64_t past = std::min(late, begin - epoch);
    const wide behind = lost + in_a_ns() * past + roundings();  // what is missing in the real one, at `begin`
    if (there <
        0) {  // nothing is earned before the debt is paid off at the old rate: the real one's is when it has earned what is missing, too
      const std::int64_t pays = limited(divided_up(used, in_a_ns()));
      late = limited(late + divided_up(lost + roundings(), in_a_ns()) + ratio_error(pays));
      lost = 0;
      epoch = penstock::detail::saturating_add(epoch, pays);
      used = 0;
    } else {
      late -= past;
      if (there < behind) {  // it may be in debt
        const wide pays = divided_up(behind, in_a_ns());
        late = limited(late + pays + ratio_error(limited(pays)));
      }
      lost = std::min(behind, one * (2 * gcra_scale::most_units));  // no bucket holds more
      epoch = begin;
      used = -std::min(there, one * new_burst);
    }
    const std::int64_t unit_before = scale().unit;
    r = new_rate;
    burst = new_burst;
    if (scale().unit != unit_before) lost += unit();
  }
  // The real one moves its epoch now and then, which is no change; but a time before the epoch counts as the epoch. True: it has. Nothing: who knows?
  std::optional<bool> follow(std::int64_t now) {
    const auto moves = [&](std::int64_t from) {
      const gcra_scale s = gcra_scale::make(r, burst, from, "x");
      const std::uint64_t elapsed = s.elapsed(now);
      return !gcra_scale::in_range(elapsed) || s.issued(elapsed).whole > gcra_scale::most_issued;
    };
    const bool moved = moves(epoch);
    if (moved != moves(penstock::detail::saturating_add(epoch, late))) return std::nullopt;
    if (moved) change(now, r, burst);
    return moved;
  }

  gcra_scale scale() const { return gcra_scale::make(r, burst, 0, "x"); }
  bool is_exact() const { return scale().unit == static_cast<std::int64_t>(r.nanoseconds()); }
  wide unit() const { return divided_up(one, scale().unit); }
  std::int64_t unit_in_ns() const {
    const std::int64_t exactly = limited(divided_up(unit(), in_a_ns()));
    return exactly + ratio_error(exactly);
  }
  // Two units: of what is issued and of what is used; and less than 5/4 because the ratio is rounded (1/2 in 2^52 ns).
  wide roundings() const { return is_exact() ? 0 : 3 * unit() + divided_up(unit(), 4); }
  // By how much the ratio is late in so much time.
  std::int64_t ratio_error(std::int64_t time) const {
    return is_exact() ? 0 : time / static_cast<std::int64_t>(scale().ratio) + 2;
  }
  // What may be missing in the real one. Nothing as long as its scale is exact.
  wide slack() const { return lost + in_a_ns() * late + roundings(); }

  static std::int64_t limited(wide time) { return static_cast<std::int64_t>(std::min<wide>(time, longest)); }
};

void behaves(const std::vector<std::uint32_t>& script) {
  reader in{script};
  const rate first = draw_rate(in);
  const rate second = draw_rate(in);
  const std::uint64_t common = std::gcd(first.nanoseconds(), second.nanoseconds());
  const wide one = static_cast<wide>(first.nanoseconds() / common) * static_cast<wide>(second.nanoseconds());
  std::int64_t now = in.below(2'000'000'000) - 1'000'000'000;
  const std::int64_t start = now;
  const bool full = in.below(2) == 0;
  const std::int64_t burst = draw_burst(in, first);
  gcra real{first, burst, now, full};
  exact_bucket ideal{one, first, burst, now, full ? -one * burst : wide{0}};
  while (!in.empty()) {
    const std::int64_t most = ideal.burst;
    // About what a few tokens take.
    const auto moment = static_cast<std::int64_t>(3 * ideal.r.nanoseconds() / ideal.r.tokens() + 1);
    const std::int64_t action = in.below(12);
    int moved = 0;  // it tells a time, and its rounding comes before that
    if (action > 3) {
      const std::optional<bool> m = ideal.follow(now);
      if (!m) return;
      moved += *m ? 1 : 0;
    }
    switch (action) {
      case 0:
      case 1:
        now += in.below(moment);
        break;
      case 2:
        now = std::min(now + in.upto(std::int64_t{1} << 53), start + 10'000'000'000'000'000);
        break;
      case 3:
        now -= in.upto(moment);
        break;
      case 4: {
        const std::int64_t n = in.upto(most);
        const std::int64_t taken = real.take_up_to(now, n);
        RC_ASSERT(0 <= taken && taken <= n);
        RC_ASSERT(taken == 0 || one * taken <= ideal.most(now));
        RC_ASSERT(taken == n || ideal.level(now) - one * (taken + 1) < std::max<wide>(ideal.slack(), 1));
        if (taken > 0) ideal.take(now, taken);
        break;
      }
      case 5: {
        const std::int64_t n = in.upto(most);
        real.give_back(now, n);
        ideal.give_back(now, n);
        break;
      }
      case 6: {
        const std::int64_t n = in.upto(most);
        const std::int64_t debt = in.upto(most);
        const std::int64_t paid = real.borrow(now, n, debt);
        const wide slack = std::max<wide>(ideal.slack(), 1);
        const wide after = ideal.level(now) - one * n;
        const wide at_most = ideal.most(now) - one * n;
        RC_ASSERT(paid == penstock::detail::never || at_most - (at_most < 0 ? ideal.owed(now) : 0) >= -one * debt);
        RC_ASSERT(paid != penstock::detail::never || after - (after < slack ? ideal.owed(now) + slack : 0) < -one * debt + slack);
        if (paid != penstock::detail::never) ideal.take(now, n);
        break;
      }
      case 7: {
        const rate& r = in.below(2) == 0 ? first : second;
        if (!possible(r, most)) break;
        real.set_rate(now, r);
        ideal.change(now, r, most);
        break;
      }
      case 8: {
        const std::int64_t size = draw_burst(in, ideal.r);
        real.set_burst(now, size);
        ideal.change(now, ideal.r, size);
        break;
      }
      default: {
        const std::int64_t n = in.upto(most);
        const std::int64_t ready = real.ready_at(now, n);
        const bool taken = real.try_take(now, n);
        RC_ASSERT(taken == (ready == now));
        RC_ASSERT(!taken || one * n <= ideal.most(now));                                    // never more than the law
        RC_ASSERT(taken || ideal.level(now) - one * n < std::max<wide>(ideal.slack(), 1));  // nor less
        if (taken) ideal.take(now, n);
        if (!taken && in.below(2) == 0 && ready < start + 10'000'000'000'000'000) {
          // At the time that it told, and not one ns earlier.
          RC_ASSERT(!real.try_take(ready - 1, n));
          const std::optional<bool> before = ideal.follow(ready - 1);
          const std::optional<bool> then = before ? ideal.follow(ready) : std::nullopt;
          if (!then) return;
          moved += (*before ? 1 : 0) + (*then ? 1 : 0);
          const bool late = !real.try_take(ready, n);
          RC_ASSERT(!late || (ideal.slack() > 0 && real.ready_at(ready, n) <= ready + moved * (ideal.unit_in_ns() + 1)));
          now = std::max(now, ready);
          if (!late) {
            RC_ASSERT(one * n <= ideal.most(ready));
            ideal.take(ready, n);
          }
        }
      }
    }
  }
}

// Every window of one rate, summed up: no theory in between. Demand is steady: whatever is there is taken at each look.
void windows_hold(const std::vector<std::uint32_t>& script) {
  reader in{script};
  const rate r = draw_rate(in);
  const std::int64_t burst = 1 + in.upto(100'000);
  const auto one = static_cast<wide>(r.nanoseconds());
  gcra bucket{r, burst, 0, true};
  const auto moment = static_cast<std::int64_t>(2 * r.nanoseconds() / r.tokens() + 2);
  const auto to_fill =
      static_cast<std::int64_t>(static_cast<wide>(r.nanoseconds()) * (burst - 1) / static_cast<wide>(r.tokens()));
  std::int64_t now = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> grants;
  std::int64_t total = 0;
  while (!in.empty()) {
    grants.emplace_back(now, bucket.take_up_to(now, burst));
    total += grants.back().second;
    now += std::min(in.below(moment), to_fill);  // it never overflows: a part of a token may be left
  }
  for (std::size_t i = 0; i < grants.size(); ++i) {
    std::int64_t sum = 0;
    for (std::size_t j = i; j < grants.size(); ++j) {
      sum += grants[j].second;
      const wide earned = static_cast<wide>(grants[j].first - grants[i].first) * static_cast<wide>(r.tokens());
      RC_ASSERT(one * (sum - burst) <= earned);
    }
  }
  if (grants.empty()) return;
  const gcra_scale s = gcra_scale::make(r, burst, 0, "x");
  const wide earned = static_cast<wide>(grants.back().first) * static_cast<wide>(r.tokens());
  RC_ASSERT(one * (total - burst + 1) + (s.unit == static_cast<std::int64_t>(r.nanoseconds()) ? 0 : 2 * one / s.unit + 1) >=
            earned);
}

// Steady demand for decades: each epoch costs two units at the most.
bool long_run_holds() {
  constexpr std::int64_t month = 2'629'746'000'000'000;
  constexpr std::int64_t look = gcra_scale::longest - 12'345'678'901;
  constexpr int looks = 300;  // no more epochs than that
  bool right = true;
  for (const auto& [r, burst] : {std::pair{rate{1'000, std::chrono::nanoseconds{month}}, std::int64_t{1'000}},
                                 std::pair{rate{1, std::chrono::nanoseconds{1'000'000'000}}, gcra_scale::most_units},
                                 std::pair{rate{1, std::chrono::nanoseconds{8'589'934'591}}, gcra_scale::most_units},
                                 std::pair{rate{999'999'937, std::chrono::nanoseconds{1'000'000'007}}, std::int64_t{1} << 40}}) {
    gcra bucket{r, burst, 0, false};
    const std::int64_t unit = gcra_scale::make(r, burst, 0, "x").unit;
    wide total = 0;
    std::int64_t now = 0;
    const wide half = static_cast<wide>(burst) * static_cast<wide>(r.nanoseconds()) / static_cast<wide>(r.tokens()) / 2;
    const auto step = static_cast<std::int64_t>(std::min<wide>(look, half));  // it is never full
    for (int i = 0; i < looks; ++i) total += bucket.take_up_to(now += step, gcra_scale::most_units);
    const wide due = static_cast<wide>(now) * static_cast<wide>(r.tokens()) * unit / static_cast<wide>(r.nanoseconds());
    const wide missing = due - total * unit;
    std::printf("%.3g tokens at %.3g a second, %.1f years: %.3g of %.3g units a token are missing\n", static_cast<double>(burst),
                r.per_second(), static_cast<double>(now) / 3.156e16, static_cast<double>(missing), static_cast<double>(unit));
    right = right && 0 <= missing && missing <= unit + 3 + 2 * looks;
  }
  return right;
}

}  // namespace

int main() {
  test_support::try_cases("seed=1 max_success=4000 max_size=150", "max_success=200000 max_size=400");
  bool right = rc::check("a token bucket grants as one of rational numbers, through every change", behaves);
  right = rc::check("no window sees more than burst + rate * t, and steady demand gets that less one", windows_hold) && right;
  right = long_run_holds() && right;
  return right ? 0 : 1;
}
