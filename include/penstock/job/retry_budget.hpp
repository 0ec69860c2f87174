// penstock/job/retry_budget.hpp: so many retries as there are requests, and a few.
//
//   penstock::retry_budget budget{{.ratio = 0.1, .min_per_second = 5}};      // one for all calls to one service
//   penstock::retry(ask, {.attempts = 4, .budget = budget});
//   penstock::balancer<backend> backends{{.budget = budget}};                // and for those that go to another endpoint
//
// Where everything fails, every request would be made `attempts` times: that keeps down what is down. The budget holds the additional load to `ratio`
// of the requests of the last `window`, whatever fails; `min_per_second` lets those retry who make few requests.
//
// The law         a retry is allowed if with it those of the window that ends now are at most ratio * the requests of that window + min_per_second *
//                 window. The window moves on in steps of a tenth of it. A thread that stands still inside try_withdraw() while a step passes may be
//                 one more.
// Thread safety   every member may be called concurrently. No locks.
// Time            a clock that steps back: what comes counts in the step that is there already. Steps count from the construction, and 2^31 of them
//                 are told apart (2.5 days for a window of 1 ms, 68 years for the default): who rests for longer may find what was left there.
// Cost            a look at the clock and one compare-exchange; a withdrawal reads ten words besides. Nothing allocates.
// Bounds          a step counts up to two million retries, earned or made; what is more is not counted.
// Source          Finagle's RetryBudget (percentCanRetry 0.2, minRetriesPerSec 10, ttl 10 s: the defaults here) and its WindowedAdder; written anew.
//                 gRPC (A6-client-retries.md, throttling) has a bucket of maxTokens instead, which failures drain by 1 and successes fill by
//                 tokenRatio, with retries while it is more than half full: it counts failures, not retries, and knows no time.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/retry_allowance.hpp>
#include <penstock/job/detail/budget_window.hpp>
#include <penstock/observe/metric_sink.hpp>

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
        began_{clock_.now()},
        step_{o.window.count() / static_cast<std::int64_t>(window::steps)},
        window_{thousandths(checked(o.ratio, 1000, "ratio")),
                thousandths(checked(o.min_per_second, 1'000'000, "min_per_second") *
                            std::chrono::duration<double>{checked(o.window)}.count())} {}
  retry_budget(const retry_budget&) = delete;
  retry_budget& operator=(const retry_budget&) = delete;

  /// There is a request: its first attempt.
  void deposit() noexcept { window_.deposit(step_now()); }
  /// Takes one retry. False: there is none now.
  [[nodiscard]] bool try_withdraw() noexcept { return window_.try_withdraw(step_now()); }
  /// How many retries there are now.
  [[nodiscard]] std::int64_t available() const noexcept { return window_.available(step_now()); }

 private:
  using window = detail::budget_window<detail::std_sync>;

  [[nodiscard]] std::int32_t step_now() const noexcept {
    return static_cast<std::int32_t>(
        static_cast<std::uint32_t>(static_cast<std::uint64_t>(detail::saturating_difference(clock_.now(), began_) / step_)));
  }

  static std::int64_t thousandths(double n) noexcept { return std::llround(n * static_cast<double>(window::one)); }
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
  const detail::nanoseconds_point began_;
  const std::int64_t step_;  // ns
  window window_;
};

static_assert(retry_allowance<retry_budget>);

template <class = void>
void describe(const retry_budget& b, metric_sink& to) {
  to.kind("retry_budget");
  to.gauge({"available", "Retries that there are now."}, b.available());
}

}  // namespace penstock::inline v0_1
