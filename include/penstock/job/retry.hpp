// penstock/job/retry.hpp: a call that is made again when it fails.
//
//   reply r = penstock::retry([&] { return ask(server, query); }, {.attempts = 5}, {.timeout = 2s});      // blocks; pauses with backoff
//
//   auto asking = penstock::retry([&] { return ask_async(server, query); }, {.attempts = 5},               // f gives a task: so does retry
//                                 {.timeout = 2s, .attempt_timeout = 300ms});
//   reply s = co_await std::move(asking);    // in two steps: g++ 12 destroys the temporaries of a co_await expression twice
//
// Attempts       one after the other, the first at once; how many, which failures are worth another one, and after how long: the policy
//                (core/retry_policy.hpp). An attempt fails by throwing, or by giving a result (or a std::expected) with an error. (Of an
//                expected whose error is no std::error_code the policy learns that it failed, and not how.)
// Ends           with the first success, or with the last attempt's failure just as it was: its exception, or its result. Why there was no further
//                attempt, and how many there were, is in the report (retry_options::report).
// Time           `timeout` bounds the whole, `attempt_timeout` each attempt: stop is then requested of it (of a function only if it takes a stop
//                token: one that does not is never interrupted), and what it still delivers counts; ending with errc::cancelled, or
//                another std::errc::operation_canceled, it has failed with errc::timeout. A pause that would not end before the whole's deadline is
//                not begun, nor one of nanoseconds::max(): that failure is the last; and so it is if the deadline passes before the next attempt has
//                begun (on_retry took long, or the thread had to wait for its processor). The first attempt begins even if the deadline has passed,
//                with stop requested.
// Cancellation   a stop request reaches the attempt, ends the pause, and lets no attempt begin. What the attempt then ends with is the end; in the
//                pause, or before the first attempt: errc::cancelled, thrown as a std::system_error unless f gives results.
// Side effects   what failed may have been done all the same (its answer was lost): retry what may be done twice.
// Exceptions     what the policy's functions and on_retry throw passes through, in place of the failure. Throws std::system_error if a timer is
//                needed and its thread cannot be started.
// Thread safety  several threads may use one policy if its functions may be called so.
// Allocation     blocking: nothing, but a stop state for each attempt of a function that takes a stop token and has a deadline. As a task: its frame,
//                f's own, and with deadlines what those of tasks take (core/task.hpp).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/attempt.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/fresh_seed.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/retry_policy.hpp>
#include <penstock/core/task.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1 {

/// Why there was no further attempt.
enum class retry_end : std::uint8_t {
  success,      ///< the last one succeeded
  exhausted,    ///< there were as many as the policy allows
  not_retried,  ///< retry_if says that the failure is not worth another one; or a function of the policy, or on_retry, has thrown
  out_of_time,  ///< the deadline is nearer than the next attempt
  no_budget,    ///< the policy's budget refused it
  cancelled,    ///< stop was requested
};

struct retry_report {
  unsigned attempts = 0;               ///< that were begun; the one that runs, too
  retry_end end = retry_end::success;  ///< meaningful at the end
  std::chrono::nanoseconds paused{0};  ///< all delays together
};

/// What formatters make of it (ext/fmt.hpp).
template <class = void>
void describe(const retry_report& r, metric_sink& to) {
  to.kind("retry");
  to.gauge({"attempts", "Attempts that were begun."}, r.attempts);
  static constexpr metric end{"end", "1 for why there was no further attempt, else 0."};
  to.gauge(end, r.end == retry_end::success, {"why", "success"});
  to.gauge(end, r.end == retry_end::exhausted, {"why", "exhausted"});
  to.gauge(end, r.end == retry_end::not_retried, {"why", "not_retried"});
  to.gauge(end, r.end == retry_end::out_of_time, {"why", "out_of_time"});
  to.gauge(end, r.end == retry_end::no_budget, {"why", "no_budget"});
  to.gauge(end, r.end == retry_end::cancelled, {"why", "cancelled"});
  to.gauge({"paused", "All delays together."}, r.paused);
}

/// What one call of retry() is limited by, and whom it tells.
struct retry_options {
  wait_limits limits = {};  ///< for a task: `stop` in place of its own stop token
  /// Of the whole, besides limits.deadline; the earlier counts.
  std::chrono::nanoseconds timeout = std::chrono::nanoseconds::max();
  /// Of each attempt. 0: none of its own.
  std::chrono::nanoseconds attempt_timeout{0};
  /// Is told of each failure that is followed by another attempt, before the pause.
  move_only_function<void(const attempt_failure&, std::chrono::nanoseconds delay)> on_retry = {};
  /// Is filled in as it goes; must outlive the call.
  retry_report* report = nullptr;
  /// By which timeouts and pauses are measured; must outlive the call.
  any_clock clock = {};
};

namespace detail {

/// The decisions of one retry(), whoever waits.
template <class F>
class retrying {
 public:
  retrying(const retry_policy& policy, retry_options& o) : policy_{policy}, options_{o}, end_{o.limits.deadline} {
    const deadline timed = o.timeout == std::chrono::nanoseconds::max() ? deadline{} : o.clock.after(o.timeout);
    if (left(timed) < left(end_)) end_ = timed;
  }

  [[nodiscard]] const std::stop_token& stop() const noexcept { return options_.limits.stop; }
  /// Until when the attempt that begins now may take.
  [[nodiscard]] deadline begin_attempt() noexcept {
    if (++report_.attempts == 1) policy_.budget.deposit();
    ended(retry_end::not_retried);  // which is what the report says if an exception leads out
    return options_.attempt_timeout.count() <= 0 ? end_ : within(options_.attempt_timeout);
  }
  /// How long to wait before the next one; nothing: there is none.
  template <class R>
  [[nodiscard]] std::optional<std::chrono::nanoseconds> pause_after(const attempt<R>& a) {
    if (!a.failed()) return ended(retry_end::success);
    if (stop().stop_requested()) return ended(retry_end::cancelled);
    const attempt_failure f = a.failure(report_.attempts);
    if (!policy_.wants_another(f)) {
      const bool last = report_.attempts >= policy_.attempts && policy_.attempts != retry_policy::unlimited;
      return ended(last ? retry_end::exhausted : retry_end::not_retried);
    }
    if (!random_) random_.emplace(policy_.seed != 0 ? policy_.seed : fresh_seed());
    const std::chrono::nanoseconds delay = policy_.delay_after(f, *random_, previous_);
    if (left(end_) <= delay.count()) return ended(retry_end::out_of_time);
    if (!policy_.budget.try_withdraw()) return ended(retry_end::no_budget);
    previous_ = delay;
    if (options_.on_retry) options_.on_retry(f, delay);
    report_.paused += std::min(delay, std::chrono::nanoseconds::max() - report_.paused);
    tell();
    return delay;
  }
  [[nodiscard]] deadline pause_end(std::chrono::nanoseconds delay) const noexcept { return within(delay); }
  /// Whether the deadline has passed since then: there is no further attempt.
  [[nodiscard]] bool overslept() noexcept {
    if (!end_.passed() || stop().stop_requested()) return false;
    ended(retry_end::out_of_time);
    return true;
  }

  /// Stop was requested while none ran.
  template <class R>
  R cancelled() {
    ended(retry_end::cancelled);
    return given_as_error<R>(errc::cancelled, "penstock::retry");
  }

 private:
  // From now on, or until the whole's end.
  [[nodiscard]] deadline within(std::chrono::nanoseconds length) const noexcept {
    const deadline own = options_.clock.after(length);
    return left(end_) < left(own) ? end_ : own;
  }
  // Deadlines may be by different clocks: what is compared is how long they have yet.
  static std::int64_t left(const deadline& d) noexcept {
    if (d.is_never()) return never;
    return saturating_difference(d.when(), d.queue() != nullptr ? d.queue()->now() : std_sync::now());
  }
  std::optional<std::chrono::nanoseconds> ended(retry_end how) noexcept {
    report_.end = how;
    tell();
    return std::nullopt;
  }
  void tell() const noexcept {
    if (options_.report != nullptr) *options_.report = report_;
  }

  const retry_policy& policy_;
  retry_options& options_;
  std::optional<dependent<splitmix64, F>> random_;  // from the first failure on
  deadline end_;
  std::chrono::nanoseconds previous_{};
  retry_report report_;
};

template <class F>
attempt_result<F> retry_blocking(F& f, const retry_policy& policy, retry_options& o) {
  using value = attempt_result<F>;
  static_assert(!std::is_reference_v<value>, "what is retried gives a value");
  retrying<F> all{policy, o};
  event never_set;  // what the pauses wait for
  while (!all.stop().stop_requested()) {
    attempt<value> now;
    now.call(f, all.stop(), all.begin_attempt());
    const auto pause = all.pause_after(now);
    if (!pause) return now.take_plain();
    if (pause->count() > 0) {
      static_cast<void>(never_set.wait(wait_limits{.stop = all.stop(), .deadline = all.pause_end(*pause)}));
    }
    if (all.overslept()) return now.take_plain();
  }
  return all.template cancelled<value>();
}

template <class F>
task<attempt_value<F>> retry_task(F f, retry_policy policy, retry_options o) {
  using value = attempt_value<F>;
  static_assert(!std::is_reference_v<value>, "what is retried gives a value");
  o.limits.stop = co_await this_task::get_stop_token();
  retrying<F> all{policy, o};
  event never_set;
  while (!all.stop().stop_requested()) {
    attempt<value> now;
    const deadline until = all.begin_attempt();
    if constexpr (awaitable<attempt_result<F>>) {
      try {
        if (!until.is_never()) {
          auto limited_call = call_with_stop(f, all.stop()) | with_deadline(until);
          now.keep_value(co_await std::move(limited_call));
        } else {
          auto call = call_with_stop(f, all.stop());
          if constexpr (std::is_void_v<value>) {
            co_await std::move(call);
            now.keep_value({});
          } else {
            now.keep_value(co_await std::move(call));
          }
        }
      } catch (...) {
        now.keep_thrown();
      }
    } else {
      now.call(f, all.stop(), until);
    }
    const auto pause = all.pause_after(now);
    if (!pause) co_return now.take_plain();
    if (pause->count() > 0) {
      auto wait = never_set.async_wait() | with_deadline(all.pause_end(*pause));
      static_cast<void>(co_await std::move(wait));
    }
    if (all.overslept()) co_return now.take_plain();
  }
  co_return all.template cancelled<value>();
}

}  // namespace detail

/// A task that does it; f, called as f() or f(std::stop_token), gives a value or anything that can be awaited. Awaiting the task gives what f gives,
/// or what awaiting that gives. The pauses block no thread. After one the task goes on on its scheduler; without a scheduler on the thread of the timers,
/// where f must not block: `async_retry(f) | via(pool)`.
template <class F>
[[nodiscard]] auto async_retry(F f, retry_policy policy = {}, retry_options options = {}) -> task<detail::attempt_value<F>> {
  const std::stop_token stop = options.limits.stop;
  auto all = detail::retry_task<F>(std::move(f), std::move(policy), std::move(options));
  return stop.stop_possible() ? std::move(all) | with_stop(stop) : std::move(all);
}

/// Blocks until it is over, and gives what f gives.
template <class F>
  requires(!detail::awaitable<detail::attempt_result<F>>)
auto retry(F&& f, const retry_policy& policy = {}, retry_options options = {}) -> detail::attempt_result<F> {
  return detail::retry_blocking(f, policy, options);
}
/// Where f gives what can be awaited: async_retry().
template <class F>
  requires detail::awaitable<detail::attempt_result<F>>
[[nodiscard]] auto retry(F f, retry_policy policy = {}, retry_options options = {}) {
  return async_retry<F>(std::move(f), std::move(policy), std::move(options));
}

}  // namespace penstock::inline v0_1
