// The law of the token bucket, for random rates, bursts, requests, steps of the clock (back, too) and changes of rate and burst: granted as a bucket
// of rational numbers would. That bucket is the virtual scheduling algorithm in fractions with one common denominator, in 128 bits.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <rapidcheck.h>

#include <penstock/rate/detail/gcra.hpp>

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

// A bucket of rational numbers. All amounts are tokens times `one`.
struct exact_bucket {
  wide one;
  rate r;
  std::int64_t burst;
  std::int64_t epoch;
  wide used;
  wide lost = 0;  // by rounding, at the most

  wide issued(std::int64_t now) const {
    return static_cast<wide>(std::max<std::int64_t>(0, now - epoch)) * static_cast<wide>(r.tokens()) *
           (one / static_cast<wide>(r.nanoseconds()));
  }
  long double per_ns(const rate& x) const {
    return static_cast<long double>(x.tokens()) * static_cast<long double>(one / static_cast<wide>(x.nanoseconds()));
  }
  wide full() const { return one * burst; }
  wide used_at(std::int64_t now) const { return std::max(used, issued(now) - full()); }
  wide level(std::int64_t now) const { return issued(now) - used_at(now); }
  void take(std::int64_t now, std::int64_t n) { used = used_at(now) + one * n; }
  // One that fills the bucket forgets the part of a unit that was issued beyond: it comes again if the clock steps back.
  void give_back(std::int64_t now, std::int64_t n) {
    const gcra_scale s = gcra_scale::make(r, burst, epoch, "x");
    used = std::max(used_at(now) - one * n, static_cast<wide>(s.issued_ever(s.elapsed(now)).whole) * one / s.unit - full());
  }
  void change(std::int64_t now, const rate& new_rate, std::int64_t new_burst) {
    const wide there = level(now);
    // The real one may owe what it has lost, and is late with the end of a debt: by a unit, by what it has lost, and by the error of its ratio; and
    // loses what comes meanwhile at the new rate.
    const gcra_scale before = gcra_scale::make(r, burst, epoch, "x");
    const std::int64_t from = epoch;
    auto late = there < std::max<wide>(slack(), 1)
                    ? static_cast<long double>(unit_in_ns() + 1) + static_cast<long double>(lost) / per_ns(r)
                    : 0.0L;
    if (there >= 0) {
      epoch = std::max(epoch, now);
      used = -std::min(there, one * new_burst);
    } else {  // nothing is earned before the debt is paid off at the old rate
      const wide step = static_cast<wide>(r.tokens()) * (one / static_cast<wide>(r.nanoseconds()));
      epoch += static_cast<std::int64_t>((used_at(now) + step - 1) / step);
      used = 0;
      late += static_cast<long double>(epoch - from) / static_cast<long double>(before.ratio);
    }
    lost += grain();
    r = new_rate;
    burst = new_burst;
    lost += grain();
    const wide all = one << 41;  // more than any bucket holds
    lost = static_cast<long double>(lost) + 1.001L * late * per_ns(r) > static_cast<long double>(all)
               ? all
               : lost + static_cast<wide>(1.001L * late * per_ns(r));
  }
  // The real one moves its epoch now and then, which is no change; but a time before the epoch counts as the epoch.
  bool follow(std::int64_t now) {
    const gcra_scale s = gcra_scale::make(r, burst, epoch, "x");
    const std::uint64_t elapsed = s.elapsed(now);
    if (!gcra_scale::in_range(elapsed) || s.issued(elapsed).whole > gcra_scale::most_issued) {
      change(now, r, burst);
      return true;
    }
    return false;
  }
  std::int64_t unit_in_ns() const {
    const gcra_scale s = gcra_scale::make(r, burst, epoch, "x");
    return static_cast<std::int64_t>(static_cast<wide>(r.nanoseconds()) / (static_cast<wide>(r.tokens()) * s.unit)) + 1;
  }
  // What one rounding may lose: a unit, and what comes in a nanosecond.
  wide grain() const {
    const gcra_scale s = gcra_scale::make(r, burst, 0, "x");
    return one / s.unit + 1 + static_cast<wide>(r.tokens()) * (one / static_cast<wide>(r.nanoseconds()));
  }
  // What may be missing in the real one. Nothing as long as its scale is exact.
  wide slack() const {
    const gcra_scale s = gcra_scale::make(r, burst, 0, "x");
    return lost == 0 && s.unit == static_cast<std::int64_t>(r.nanoseconds()) ? 0 : lost + 2 * grain();
  }
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
  const std::int64_t burst = in.upto(1'000'000);
  gcra real{first, burst, now, full};
  exact_bucket ideal{one, first, burst, now, full ? -one * burst : wide{0}};
  while (!in.empty()) {
    const std::int64_t most = ideal.burst;
    // About what a few tokens take.
    const auto moment = static_cast<std::int64_t>(3 * ideal.r.nanoseconds() / ideal.r.tokens() + 1);
    const std::int64_t action = in.below(12);
    if (action > 3) ideal.follow(now);
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
        RC_ASSERT(taken == 0 || one * taken <= ideal.level(now));
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
        const wide after = ideal.level(now) - one * n;
        RC_ASSERT(paid == penstock::detail::never || after >= -one * debt);
        RC_ASSERT(paid != penstock::detail::never || after < -one * debt + std::max<wide>(ideal.slack(), 1));
        if (paid != penstock::detail::never) ideal.take(now, n);
        break;
      }
      case 7: {
        const rate& r = in.below(2) == 0 ? first : second;
        real.set_rate(now, r);
        ideal.change(now, r, most);
        break;
      }
      case 8: {
        const std::int64_t size = in.upto(1'000'000);
        real.set_burst(now, size);
        ideal.change(now, ideal.r, size);
        break;
      }
      default: {
        const std::int64_t n = in.upto(most);
        const std::int64_t ready = real.ready_at(now, n);
        const bool taken = real.try_take(now, n);
        RC_ASSERT(taken == (ready == now));
        RC_ASSERT(!taken || one * n <= ideal.level(now));                                   // never more than the law
        RC_ASSERT(taken || ideal.level(now) - one * n < std::max<wide>(ideal.slack(), 1));  // nor less
        if (taken) ideal.take(now, n);
        if (!taken && in.below(2) == 0 && ready < start + 10'000'000'000'000'000) {
          // At the time that it told, and not one ns earlier.
          RC_ASSERT(!real.try_take(ready - 1, n));
          const bool moved = ideal.follow(ready - 1) || ideal.follow(ready);
          const bool late = !real.try_take(ready, n);
          RC_ASSERT(!late || (moved && ideal.slack() > 0 &&
                              real.ready_at(ready, n) <= ready + ideal.unit_in_ns() + 1));  // its rounding came between
          now = std::max(now, ready);
          if (!late) {
            RC_ASSERT(one * n <= ideal.level(ready));
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

}  // namespace

int main() {
  const char* const tier = std::getenv("PENSTOCK_TIER");
  const bool is_long = tier != nullptr && std::string{tier} == "long";
  if (std::getenv("RC_PARAMS") == nullptr) {
    ::setenv("RC_PARAMS", is_long ? "max_success=200000 max_size=400" : "seed=1 max_success=4000 max_size=150", 1);
  }
  bool right = rc::check("a token bucket grants as one of rational numbers, through every change", behaves);
  right = rc::check("no window sees more than burst + rate * t, and steady demand gets that less one", windows_hold) && right;
  return right ? 0 : 1;
}
