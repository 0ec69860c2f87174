// penstock/job/retry_budget.hpp: so many retries as there are requests, and a few.
//
//   penstock::retry_budget budget{{.ratio = 0.1, .min_per_second = 5}};      // one for all calls to one service
//   penstock::retry(ask, {.attempts = 4, .budget = budget});
//   penstock::balancer<backend> backends{{.budget = budget}};                // and for those that go to another endpoint
//
// Where everything fails, every request would be made `attempts` times: that keeps down what is down. The budget holds the additional load to `ratio` of
// the requests of the last `window`, whatever fails; `min_per_second` lets those retry who make few requests.
//
// The law         a retry is allowed if with it those of the window that ends now are at most ratio * the requests of that window + min_per_second * window.
//                 The window moves on in steps of a tenth of it. A thread that stands still inside try_withdraw() while a step passes may be one more.
// Thread safety   every member may be called concurrently. No locks.
// Time            a clock that steps back: what comes counts in the step that is there already.
// Cost            a look at the clock and one compare-exchange; a withdrawal reads ten words besides. Nothing allocates.
// Bounds          a step counts up to two million retries, earned or made; what is more is not counted.
// Source          Finagle's RetryBudget (percentCanRetry 0.2, minRetriesPerSec 10, ttl 10 s: the defaults here) and its WindowedAdder; written anew. gRPC
//                 (A6-client-retries.md, throttling) has a bucket of maxTokens instead, which failures drain by 1 and successes fill by tokenRatio, with
//                 retries while it is more than half full: it counts failures, not retries, and knows no time.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/retry_allowance.hpp>

namespace penstock::inline v0_1 {

struct retry_budget_options {
  double ratio = 0.2;                                          ///< retries for each request, in [0, 1000], to a thousandth
  double min_per_second = 10;                                  ///< retries that are there without requests, in [0, 1'000'000]
  std::chrono::nanoseconds window = std::chrono::seconds{10};  ///< 1 ms to 1 h
  any_clock clock = {};                                        ///< must outlive it
};

class retry_budget {
 public:
  /// Throws std::invalid_argument that names the option which cannot be.
  explicit retry_budget(retry_budget_options o = {})
      : clock_{o.clock},
        step_{o.window.count() / static_cast<std::int64_t>(steps)},
        earned_{thousandths(checked(o.ratio, 1000, "ratio"))},
        reserve_{thousandths(checked(o.min_per_second, 1'000'000, "min_per_second") *
                             std::chrono::duration<double>{checked(o.window)}.count())} {}
  retry_budget(const retry_budget&) = delete;
  retry_budget& operator=(const retry_budget&) = delete;

  /// There is a request: its first attempt.
  void deposit() noexcept {
    const std::int32_t now = step_now();
    auto& word = words_[place_of(now)];
    std::uint64_t seen = word.load(std::memory_order_relaxed);  // relaxed, all here: an allowance, which publishes nothing
    while (!word.compare_exchange_weak(seen, pack(later(now, seen), saturated(in_step(seen, now) + earned_)),
                                       std::memory_order_relaxed)) {
    }
  }

  /// Takes one retry. False: there is none now.
  [[nodiscard]] bool try_withdraw() noexcept {
    const std::int32_t now = step_now();
    auto& word = words_[place_of(now)];
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    // The other steps do not change any more, so what is there is decided by this word.
    for (;;) {
      if (reserve_ + before(now) + in_step(seen, now) < one) return false;
      if (word.compare_exchange_weak(seen, pack(later(now, seen), saturated(in_step(seen, now) - one)),
                                     std::memory_order_relaxed)) {
        return true;
      }
    }
  }

  /// How many retries there are now.
  [[nodiscard]] std::int64_t available() const noexcept {
    const std::int32_t now = step_now();
    const std::int64_t left = reserve_ + before(now) + in_step(words_[place_of(now)].load(std::memory_order_relaxed), now);
    return std::max<std::int64_t>(0, left / one);
  }

 private:
  static constexpr std::size_t steps = 10;
  static constexpr std::int64_t one = 1000;  // what is earned is counted in thousandths of a retry

  // A word is the number of a step and what was earned in it less what was taken.
  static constexpr std::uint64_t pack(std::int32_t step, std::int32_t balance) noexcept {
    return (std::uint64_t{static_cast<std::uint32_t>(step)} << 32) | static_cast<std::uint32_t>(balance);
  }
  static constexpr std::int32_t step_of(std::uint64_t word) noexcept { return static_cast<std::int32_t>(word >> 32); }
  static constexpr std::int32_t balance_of(std::uint64_t word) noexcept {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(word));
  }
  // From `from` to `to`; steps wrap round.
  static constexpr std::int32_t distance(std::int32_t from, std::int32_t to) noexcept {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(to) - static_cast<std::uint32_t>(from));
  }
  static constexpr std::size_t place_of(std::int32_t step) noexcept { return static_cast<std::uint32_t>(step) % steps; }

  // What lies in a word of the window that ends with `now`: not what is older. A later step than `now` counts, too: the clock stepped back.
  static constexpr std::int64_t in_window(std::uint64_t word, std::int32_t now) noexcept {
    return distance(step_of(word), now) < static_cast<std::int32_t>(steps) ? balance_of(word) : 0;
  }
  static constexpr std::int64_t in_step(std::uint64_t word, std::int32_t now) noexcept {
    return distance(step_of(word), now) <= 0 ? balance_of(word) : 0;
  }
  static constexpr std::int32_t later(std::int32_t now, std::uint64_t word) noexcept {
    return distance(step_of(word), now) < 0 ? step_of(word) : now;
  }
  static constexpr std::int32_t saturated(std::int64_t balance) noexcept {
    return static_cast<std::int32_t>(std::clamp<std::int64_t>(balance, INT32_MIN, INT32_MAX));
  }

  // Of the window without the step `now`.
  [[nodiscard]] std::int64_t before(std::int32_t now) const noexcept {
    std::int64_t sum = 0;
    for (std::size_t p = 0; p < steps; ++p) {
      if (p != place_of(now)) sum += in_window(words_[p].load(std::memory_order_relaxed), now);
    }
    return sum;
  }

  [[nodiscard]] std::int32_t step_now() const noexcept {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(static_cast<std::uint64_t>(clock_.now() / step_)));
  }

  static std::int64_t thousandths(double n) noexcept { return std::llround(n * static_cast<double>(one)); }
  static double checked(double value, double most, const char* what) {
    if (!(value >= 0 && value <= most)) {
      throw std::invalid_argument{std::string{"penstock::retry_budget: "} + what + " is " + std::to_string(value)};
    }
    return value;
  }
  static std::chrono::nanoseconds checked(std::chrono::nanoseconds window) {
    if (window < std::chrono::milliseconds{1} || window > std::chrono::hours{1}) {
      throw std::invalid_argument{"penstock::retry_budget: window is " + std::to_string(window.count()) + " ns"};
    }
    return window;
  }

  const any_clock clock_;
  const std::int64_t step_;     // ns
  const std::int64_t earned_;   // by a request
  const std::int64_t reserve_;  // for a window
  std::array<std::atomic<std::uint64_t>, steps> words_{};
};

static_assert(retry_allowance<retry_budget>);

}  // namespace penstock::inline v0_1
