// penstock/core/retry_policy.hpp: whether what failed is tried again, and after how long.
//
//   const retry_policy gently{.attempts = 5, .backoff = backoff::exponential(50ms, 5s).with_jitter(jitter::full),
//                             .retry_if = [](const attempt_failure& f) { return f.code() == std::errc::connection_refused; }};
//   reply r = retry(ask, gently);                                                            // job/retry.hpp
//   limiter.run(ask, {.retry = gently});                                                     // it is what the retry hooks of the other parts
//   accumulator<row> rows{pool, insert, {.max_batch_size = 500, .retry = gently}};           // take, too
//
// Thread safety  a value; it may be asked by several threads at a time if its functions may. Hooks hold copies.
// As a hook      it has no memory: jitter is drawn from the seed and the attempt's number, decorrelated jitter takes what the growth gives for the
//                delay before, and the budget earns by requests whose first attempt failed only (retry() tells it of every one).
// Exceptions     what its functions throw passes through.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <optional>
#include <system_error>

#include <penstock/core/attempt_failure.hpp>
#include <penstock/core/backoff.hpp>
#include <penstock/core/detail/fresh_seed.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/retry_allowance.hpp>

namespace penstock::inline v0_1 {

namespace detail {

/// An attempt_failure, or what tells more than one.
template <class F>
concept tells_failure = requires(const F& f) {
  { f.exception } -> std::convertible_to<std::exception_ptr>;
  { f.error } -> std::convertible_to<std::error_code>;
  { f.attempt } -> std::convertible_to<unsigned>;
};

}  // namespace detail

struct retry_policy {
  /// For attempts: as many as it takes.
  static constexpr unsigned unlimited = std::numeric_limits<unsigned>::max();

  /// In all: the first one counts. 0 is as 1.
  unsigned attempts = 3;
  /// How long to wait before the next one. Unless said otherwise at random up to 0.1 s, up to 0.2 s, ... up to 10 s.
  penstock::backoff backoff =
      backoff::exponential(std::chrono::milliseconds{100}, std::chrono::seconds{10}).with_jitter(jitter::full);
  /// Whether such a failure is worth another attempt. Default: all are but errc::cancelled (and std::errc::operation_canceled).
  std::function<bool(const attempt_failure&)> retry_if = {};
  /// How long the other side wants to be left alone, if the failure tells (Retry-After): then the delay is not shorter than that.
  std::function<std::optional<std::chrono::nanoseconds>(const attempt_failure&)> retry_after = {};
  /// A delay of your own, in place of backoff's. Less than 0 is as 0.
  std::function<std::chrono::nanoseconds(const attempt_failure&)> delay = {};
  /// Is asked last, for each attempt but the first.
  retry_allowance_ref budget = {};
  /// Of the jitter. 0: another one each time.
  std::uint64_t seed = 0;

  /// Whether there are attempts left and the failure is worth one; the budget is not asked.
  [[nodiscard]] bool wants_another(const attempt_failure& f) const {
    if (f.attempt >= attempts && attempts != unlimited) return false;
    return retry_if ? retry_if(f) : f.code() != std::errc::operation_canceled;
  }

  /// As a hook: after how long, or nothing: that was the last attempt. So it is, as for retry(), before a pause of nanoseconds::max().
  template <detail::tells_failure Failure>
  [[nodiscard]] std::optional<std::chrono::nanoseconds> operator()(const Failure& failure) const {
    const attempt_failure f{failure.exception, failure.error, failure.attempt};
    if (f.attempt <= 1) budget.deposit();
    if (!wants_another(f)) return std::nullopt;
    splitmix64 random{(seed != 0 ? seed : detail::fresh_seed()) + f.attempt};
    const std::chrono::nanoseconds before = f.attempt > 1 ? backoff.growth_at(f.attempt - 1) : std::chrono::nanoseconds{};
    const std::chrono::nanoseconds after = delay_after(f, random, before);
    if (after == std::chrono::nanoseconds::max() || !budget.try_withdraw()) return std::nullopt;
    return after;
  }

  /// How long to wait after a failure. `previous`: what this gave the last time (backoff::next_delay()).
  template <generator_of_64_bits Generator>
  [[nodiscard]] std::chrono::nanoseconds delay_after(const attempt_failure& f, Generator& random,
                                                     std::chrono::nanoseconds previous) const {
    std::chrono::nanoseconds d = delay ? delay(f) : backoff.next_delay(f.attempt, random, previous);
    if (retry_after) d = std::max(d, retry_after(f).value_or(d));
    return std::max(d, std::chrono::nanoseconds{0});
  }
};

/// The same in a few words.
template <class = void>
[[nodiscard]] retry_policy retry_with(const backoff& delays, unsigned attempts, std::uint64_t seed = 0) {
  return {.attempts = attempts, .backoff = delays, .seed = seed};
}

}  // namespace penstock::inline v0_1
