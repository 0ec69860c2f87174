// penstock/rate/limit_algorithm.hpp: how many calls may be in flight, as the latency of those that ended tells.
//
//   penstock::adaptive_limit limit{{.initial = 20, .highest = 500}, penstock::vegas_limit{{.queue_high = 4}}};
//
// Little's law: a service that answers C calls at a time, each in R, has no queue while at most C are in flight; with L > C of them each takes
// R * L / C. An algorithm is told, once in a window of some samples, what the calls took and what they take when there is no queue (the baseline,
// which adaptive_limit measures: rate/detail/limit_meter.hpp), and says the next limit.
//
//   fixed_limit      does not move; to compare with, and to switch adapting off
//   aimd_limit       up by one a window, down by a tenth when a call was dropped or took too long: needs such a signal, and saws about it
//   vegas_limit      keeps a queue of 3 log10(L) to 6 log10(L) calls: the least delay; sensitive to latencies that vary by themselves
//   gradient2_limit  lets the latency be 1.5 times what it is in the long run: for latencies that vary
//
// Of each, and of what they are after: in all of them a limit that the load does not reach does not grow (adaptive_limit sees to it), and a limit
// that has never been found too high ramps up by half a window.
//
// Thread safety  values; adaptive_limit calls update() under its lock, so it computes, does not throw and calls nobody.
// Source         Netflix concurrency-limits (the algorithms and their constants; github.com/Netflix/concurrency-limits); L. Brakmo, L. Peterson, "TCP
//                Vegas", IEEE JSAC 13(8), 1995. What is known to go wrong there, and here does not: Vegas without a ramp is slow to find a high limit
//                (issue 35); the latency taken for the unloaded one is measured under load and so drifts up (issue 165: vegas_limit relies on the
//                baseline, gradient2_limit is held to it by `drift`); Gradient2 adds its headroom also while it is being told to shrink, and so grows
//                without end under mild overload (issue 134: it is added only where the gradient is 1).
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace penstock::inline v0_1 {

/// What the calls of a window were like.
struct latency_window {
  std::int64_t latency = 0;      ///< mean of the successes in ns, at least 1; 0 if there was none
  std::int64_t baseline = 0;     ///< what a call takes without a queue, in ns; 0 if that is not known
  std::ptrdiff_t in_flight = 0;  ///< the most that were in flight
  std::size_t successes = 0;
  std::size_t drops = 0;
};

/// `update(window, limit)`: the limit from now on. It is clamped to what the options allow, and not raised if the load did not come near it.
/// One that has no use for the baseline says `static constexpr bool needs_baseline = false;`: then the limit is not lowered to measure it.
template <class A>
concept limit_algorithm = std::movable<A> && requires(A& a, const latency_window& w, double limit) {
  { a.update(w, limit) } noexcept -> std::convertible_to<double>;
};

namespace detail {

template <class = void>
double checked_option(double value, double lowest, double highest, const char* what) {
  if (!(value >= lowest && value <= highest)) {
    throw std::invalid_argument{std::string{"penstock: "} + what + " is " + std::to_string(value) + ", not within " +
                                std::to_string(lowest) + " and " + std::to_string(highest)};
  }
  return value;
}

template <class A>
[[nodiscard]] constexpr bool needs_baseline() noexcept {
  if constexpr (requires { A::needs_baseline; }) {
    return A::needs_baseline;
  } else {
    return true;
  }
}

inline constexpr double ramp = 1.5;  // a window; so a limit that was right is never overshot by more than half of it

}  // namespace detail

class fixed_limit {
 public:
  static constexpr bool needs_baseline = false;
  [[nodiscard]] double update(const latency_window&, double limit) const noexcept { return limit; }
};

struct aimd_options {
  double backoff = 0.9;  ///< in [0.5, 0.9999]: the factor of a decrease
  std::chrono::nanoseconds latency_at_most =
      std::chrono::nanoseconds::max();  ///< a mean above it counts as a drop; at least 1 ns
};

/// Additive increase, multiplicative decrease. Once a window, whose length is at least twice the latency: as TCP, once a round trip.
class aimd_limit {
 public:
  static constexpr bool needs_baseline = false;
  /// Throws std::invalid_argument if an option is out of range.
  aimd_limit(aimd_options o = {}) : options_{o} {
    detail::checked_option(o.backoff, 0.5, 0.9999, "aimd_options::backoff");
    detail::checked_option(static_cast<double>(o.latency_at_most.count()), 1, 1e19, "aimd_options::latency_at_most");
  }
  [[nodiscard]] double update(const latency_window& w, double limit) noexcept {
    if (w.drops != 0 || w.latency > options_.latency_at_most.count()) {
      ramping_ = false;
      return limit * options_.backoff;
    }
    return ramping_ ? limit * detail::ramp : limit + 1;
  }

 private:
  aimd_options options_;
  bool ramping_ = true;
};

struct vegas_options {
  double queue_low = 3;   ///< grows while fewer wait than this times log10(limit)
  double queue_high = 6;  ///< shrinks while more wait than this times log10(limit)
};

/// Keeps a small queue. (The reference shrinks by log10(limit) a window, however long the queue is; here half of what is too much goes at once.)
class vegas_limit {
 public:
  /// Throws std::invalid_argument unless 1 <= queue_low <= queue_high <= 1000.
  vegas_limit(vegas_options o = {}) : options_{o} {
    detail::checked_option(o.queue_low, 1, 1000, "vegas_options::queue_low");
    detail::checked_option(o.queue_high, o.queue_low, 1000, "vegas_options::queue_high");
  }
  [[nodiscard]] double update(const latency_window& w, double limit) noexcept {
    const double unit = std::max(1.0, std::log10(limit));
    if (w.drops != 0) {
      ramping_ = false;
      return std::min(limit * 0.9, limit - unit);
    }
    if (w.baseline <= 0 || w.latency <= 0) return limit;
    const double in_flight = std::min(limit, static_cast<double>(w.in_flight));
    const double queue = in_flight * (1 - static_cast<double>(w.baseline) / static_cast<double>(w.latency));
    if (queue <= unit) return ramping_ ? limit * detail::ramp : limit + options_.queue_high * unit;
    ramping_ = false;
    if (queue < options_.queue_low * unit) return limit + unit;
    const double excess = queue - options_.queue_high * unit;
    return excess > 0 ? limit - std::max(unit, excess / 2) : limit;
  }

 private:
  vegas_options options_;
  bool ramping_ = true;
};

struct gradient2_options {
  double tolerance = 1.5;    ///< in [1, 10]: how many times the long-run latency is still well
  double smoothing = 0.2;    ///< in [0.001, 1]: how much of a change is made at once
  double headroom = 4;       ///< in [0, 1000]: what is added where all is well, if the square root of the limit is not more
  double drift = 1.2;        ///< in [1, 10]: how many times the baseline the long-run latency can become
  std::size_t memory = 600;  ///< 10 to 1'000'000'000 windows: what the long run is
};

/// Follows the ratio of the long-run latency to that of the window. The limit settles where the window's is `tolerance` times the long run's, and so
/// at the most tolerance * drift times what the service answers at a time.
class gradient2_limit {
 public:
  /// Throws std::invalid_argument if an option is out of range.
  gradient2_limit(gradient2_options o = {}) : options_{o} {
    detail::checked_option(o.tolerance, 1, 10, "gradient2_options::tolerance");
    detail::checked_option(o.smoothing, 0.001, 1, "gradient2_options::smoothing");
    detail::checked_option(o.headroom, 0, 1000, "gradient2_options::headroom");
    detail::checked_option(o.drift, 1, 10, "gradient2_options::drift");
    detail::checked_option(static_cast<double>(o.memory), 10, 1e9, "gradient2_options::memory");
  }
  [[nodiscard]] double update(const latency_window& w, double limit) noexcept {
    double next = limit / 2;  // what was dropped says nothing of latency, and may be all that there is (issue 137 there)
    if (w.drops == 0 && w.latency > 0) {
      const double latency = static_cast<double>(w.latency);
      learn(latency);
      const double usual = w.baseline > 0 ? std::min(long_run_, options_.drift * static_cast<double>(w.baseline)) : long_run_;
      const double gradient = std::clamp(options_.tolerance * usual / latency, 0.5, 1.0);
      if (gradient == 1.0 && ramping_ && 2 * latency <= (1 + options_.tolerance) * usual) return limit * detail::ramp;
      next = gradient == 1.0 ? limit + std::max(options_.headroom, std::sqrt(limit)) : limit * gradient;
    }
    ramping_ = false;
    return limit + (next - limit) * options_.smoothing;
  }

 private:
  // An exponential average; the plain mean of the first ten, for it to begin with.
  void learn(double latency) noexcept {
    windows_ = std::min(windows_ + 1, options_.memory);
    const double weight = windows_ <= 10 ? 1.0 / static_cast<double>(windows_) : 2.0 / (static_cast<double>(options_.memory) + 1);
    long_run_ += (latency - long_run_) * weight;
    if (long_run_ > 2 * latency) long_run_ *= 0.95;  // after an overload: back within tens of windows, and not hundreds
  }

  gradient2_options options_;
  double long_run_ = 0;
  std::size_t windows_ = 0;
  bool ramping_ = true;
};

}  // namespace penstock::inline v0_1
