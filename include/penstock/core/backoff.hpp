// penstock/core/backoff.hpp: how long to wait before the next attempt.
//
//   const backoff b = backoff::exponential(100ms, 10s).with_jitter(jitter::full);   // 0–100 ms, 0–200 ms, 0–400 ms, ... 0–10 s
//   splitmix64 random{seed};
//   std::chrono::nanoseconds before_the_second_retry = b.next_delay(2, random);
//
//   backoff_delays delays{b, seed};                                                 // the same, which counts by itself
//   co_await (stopped.async_wait() | with_timeout(delays.next(), clock));
//
// Durations only: who waits, and for what, is another matter (supervise(), retries). Without jitter, clients that failed together come back
// together; with it they spread.
//
// Invariants     0 <= delay <= cap. Nothing overflows: what would exceed the cap, or 64 bits of nanoseconds, is the cap.
// Thread safety  backoff: a value. A generator and a backoff_delays belong to one thread at a time.
// Reproducible   the same generator state gives the same delays, with every compiler and standard library (no std::uniform_int_distribution).
// Source         M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: the names full, equal and decorrelated, and their
//                formulas; but a decorrelated delay is drawn from what lies below the cap, where the article cuts at the cap what was drawn: then
//                two of three delays that have grown so far are the cap itself, and clients come back together.
//                G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014: splitmix64.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <type_traits>

#include <penstock/core/clock.hpp>

namespace penstock::inline v0_1 {

/// `d` is the delay that the growth gives, `previous` the delay before this one.
enum class jitter : std::uint8_t {
  none,          ///< d
  full,          ///< between 0 and d: the fewest calls in the article's measurements
  equal,         ///< between d / 2 and d: never nearly nothing
  decorrelated,  ///< between the first delay and 3 * previous, at the most the cap: the growth counts only for the first delay
};

/// A small generator with 64 bits of state; each seed is a good one.
class splitmix64 {
 public:
  using result_type = std::uint64_t;
  explicit constexpr splitmix64(std::uint64_t seed) noexcept : state_{seed} {}
  static constexpr result_type min() noexcept { return 0; }
  static constexpr result_type max() noexcept { return std::numeric_limits<result_type>::max(); }
  constexpr result_type operator()() noexcept {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

/// What a delay's jitter is drawn from: splitmix64, std::mt19937_64, or any other that gives 64 bits at a time.
template <class G>
concept generator_of_64_bits = requires(G& g) {
  { g() } -> std::convertible_to<std::uint64_t>;
  requires G::min() == 0 && G::max() == std::numeric_limits<std::uint64_t>::max();
};

class backoff {
 public:
  using duration = std::chrono::nanoseconds;

  /// No delay at all.
  constexpr backoff() noexcept = default;

  /// The factories throw std::invalid_argument if a duration is negative, the cap is less than the first delay, or the factor is less than 1
  /// (or not a number). A duration that overflows counts as 292 years.

  /// Always the same.
  template <class Rep, class Period>
  [[nodiscard]] static constexpr backoff fixed(std::chrono::duration<Rep, Period> delay) {
    return backoff{nanoseconds(delay), nanoseconds(delay), growth::fixed, 1};
  }
  /// first, 2 * first, 3 * first, ... up to `cap`.
  template <class Rep, class Period, class Rep2, class Period2>
  [[nodiscard]] static constexpr backoff linear(std::chrono::duration<Rep, Period> first,
                                                std::chrono::duration<Rep2, Period2> cap) {
    return backoff{nanoseconds(first), nanoseconds(cap), growth::linear, 1};
  }
  /// first, factor * first, factor² * first, ... up to `cap`.
  template <class Rep, class Period, class Rep2, class Period2>
  [[nodiscard]] static constexpr backoff exponential(std::chrono::duration<Rep, Period> first,
                                                     std::chrono::duration<Rep2, Period2> cap, double factor = 2) {
    return backoff{nanoseconds(first), nanoseconds(cap), growth::exponential, factor};
  }

  [[nodiscard]] constexpr backoff with_jitter(jitter j) const noexcept {
    backoff b = *this;
    b.jitter_ = j;
    return b;
  }

  enum class growth : std::uint8_t { fixed, linear, exponential };

  // What it was made of, for who keeps or sends it.

  [[nodiscard]] constexpr growth kind() const noexcept { return growth_; }
  [[nodiscard]] constexpr duration first() const noexcept { return duration{first_}; }
  [[nodiscard]] constexpr duration cap() const noexcept { return duration{cap_}; }
  [[nodiscard]] constexpr double factor() const noexcept { return factor_; }
  [[nodiscard]] constexpr jitter spread() const noexcept { return jitter_; }

  /// Before jitter: the delay after the `attempt`-th failure. Attempts count from 1 (0 is as 1). Decorrelated delays do not depend on it.
  [[nodiscard]] constexpr duration growth_at(std::uint64_t attempt) const noexcept {
    const std::uint64_t steps = attempt > 1 ? attempt - 1 : 0;
    if (growth_ == growth::fixed || first_ == 0) return duration{first_};
    if (growth_ == growth::linear) {
      // first * (steps + 1) > cap, without the product
      if (steps >= static_cast<std::uint64_t>(cap_ / first_)) return duration{cap_};
      return duration{first_ * static_cast<std::int64_t>(steps + 1)};
    }
    // factor^steps by squaring: no more than 64 rounds, whatever the attempt; what overflows is infinite, and more than the cap.
    double delay = static_cast<double>(first_);
    double power = factor_;
    for (std::uint64_t left = steps; left != 0; left /= 2, power *= power) {
      if (left % 2 != 0) delay *= power;
    }
    if (!(delay < static_cast<double>(cap_))) return duration{cap_};
    return duration{static_cast<std::int64_t>(delay)};
  }

  /// The delay after the `attempt`-th failure. `previous` is what this gave the last time, and counts only for decorrelated jitter; zero: it
  /// is the first.
  template <generator_of_64_bits Generator>
  [[nodiscard]] constexpr duration next_delay(std::uint64_t attempt, Generator& random, duration previous = {}) const {
    const std::int64_t full = growth_at(attempt).count();
    switch (jitter_) {
      case jitter::none:
        break;
      case jitter::full:
        return duration{between(0, full, random)};
      case jitter::equal:
        return duration{between(full / 2, full, random)};
      case jitter::decorrelated: {
        const std::int64_t last = previous.count() > first_ ? previous.count() : first_;
        const std::int64_t highest = last > cap_ / 3 ? cap_ : 3 * last;
        return duration{between(first_, highest, random)};
      }
    }
    return duration{full};
  }

 private:
  constexpr backoff(std::int64_t first, std::int64_t cap, growth g, double factor)
      : first_{first}, cap_{cap}, factor_{factor}, growth_{g} {
    if (cap < first) throw std::invalid_argument{"penstock::backoff: the cap is less than the first delay"};
    if (!(factor >= 1)) throw std::invalid_argument{"penstock::backoff: the factor is less than 1"};
  }
  template <class Rep, class Period>
  static constexpr std::int64_t nanoseconds(std::chrono::duration<Rep, Period> d) {
    const std::int64_t n = detail::saturating_nanoseconds(d);
    if (n < 0) throw std::invalid_argument{"penstock::backoff: a negative duration"};
    return n;
  }

  // Uniform in [low, high]: of the draws that fall into the last, incomplete, round none counts.
  template <class Generator>
  static constexpr std::int64_t between(std::int64_t low, std::int64_t high, Generator& random) {
    if (high <= low) return low;
    const std::uint64_t values = static_cast<std::uint64_t>(high - low) + 1;
    const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    const std::uint64_t whole = most - (most % values + 1) % values;  // the last number of the last complete round
    std::uint64_t drawn = random();
    while (drawn > whole) drawn = random();
    return low + static_cast<std::int64_t>(drawn % values);
  }

  std::int64_t first_ = 0;
  std::int64_t cap_ = 0;
  double factor_ = 1;
  growth growth_ = growth::fixed;
  jitter jitter_ = jitter::none;
};

/// A backoff with what it needs to remember: which attempt it is, the last delay and the generator.
template <generator_of_64_bits Generator = splitmix64>
class backoff_delays {
 public:
  backoff_delays(const backoff& policy, Generator random) : policy_{policy}, random_{random} {}
  backoff_delays(const backoff& policy, std::uint64_t seed)
    requires std::constructible_from<Generator, std::uint64_t>
      : policy_{policy}, random_(seed) {}

  /// The delay before the next attempt.
  [[nodiscard]] std::chrono::nanoseconds next() {
    if (attempt_ != std::numeric_limits<std::uint64_t>::max()) ++attempt_;
    return previous_ = policy_.next_delay(attempt_, random_, previous_);
  }
  /// After a success: the delays begin anew. The generator goes on.
  void reset() noexcept {
    attempt_ = 0;
    previous_ = {};
  }
  /// How many delays there were since the last reset().
  [[nodiscard]] std::uint64_t attempts() const noexcept { return attempt_; }

 private:
  backoff policy_;
  Generator random_;
  std::uint64_t attempt_ = 0;
  std::chrono::nanoseconds previous_{};
};

backoff_delays(const backoff&, std::uint64_t) -> backoff_delays<splitmix64>;

}  // namespace penstock::inline v0_1
