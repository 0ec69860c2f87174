// penstock/rate/detail/limiter_run.hpp: jobs that a limiter runs: wait for the turn, call, and perhaps again.
#pragma once

#include <chrono>
#include <concepts>
#include <coroutine>
#include <exception>
#include <optional>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/clock.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/attempt.hpp>
#include <penstock/core/detail/carried_context.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/core/task.hpp>
#include <penstock/rate/detail/limiter_core.hpp>
#include <penstock/rate/detail/limiter_wait.hpp>
#include <penstock/rate/limiter_options.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/sync/permit.hpp>

namespace penstock::inline v0_1::detail {

/// Until when an attempt that begins now may take.
template <class Core>
[[nodiscard]] deadline attempt_end(const Core& core, const run_options& o) {
  return o.expires_in.count() > 0 ? core.after(o.expires_in) : deadline{};
}

/// Whether a job that failed is to be tried again, and after which pause.
template <class R, class Core>
std::optional<std::chrono::nanoseconds> pause_before_retry(const attempt<R>& a, Core& core, run_options& o, unsigned number) {
  if (!o.retry || !a.failed()) return {};
  const std::optional<std::chrono::nanoseconds> pause = o.retry(a.failure(number));
  if (pause) core.change([](typename Core::state& s, nanoseconds_point) { s.retried(); });
  return pause;
}

/// Until when the pause lasts: limits.deadline if that comes first, and then the job is over.
struct retry_pause {
  template <class Core>
  retry_pause(const Core& core, std::chrono::nanoseconds pause, const deadline& limit) noexcept {
    const nanoseconds_point now = limit.queue() != nullptr ? limit.queue()->now() : std_sync::now();
    // The two may be by different clocks: what is compared is how long they have yet.
    last = !limit.is_never() && limit.when() < saturating_add(now, pause.count());
    until = last ? limit : core.after(pause);
  }
  deadline until;
  bool last = false;
};

template <class Limiter, class Sync, class F>
auto limiter_run_blocking(Limiter& l, limiter_core<Sync>& core, F& f, run_options& o) -> limited<attempt_result<F>> {
  using value = attempt_result<F>;
  static_assert(!std::is_reference_v<value>, "a job of a limiter gives a value");
  static_assert(!awaitable<value>, "run() does not await: use async_run() or schedule()");
  for (unsigned number = 1;; ++number) {
    const result<void> turn =
        to_result(limiter_wait_blocking<basic_limiter_core<Sync>>(core, o.limits.stop, o.limits.deadline, o.job));
    if (!turn) return turn.error();
    attempt<value> ended;
    {
      const basic_permit<Limiter> mine{l, o.job.weight};
      ended.call(f, o.limits.stop, attempt_end(core, o));
    }
    const std::optional<std::chrono::nanoseconds> pause = pause_before_retry(ended, core, o, number);
    if (!pause) return ended.take();
    const retry_pause resting{core, *pause, o.limits.deadline};
    event never_set;
    const result<void> rest = never_set.wait(wait_limits{.stop = o.limits.stop, .deadline = resting.until});
    if (rest.error() == errc::cancelled) return errc::cancelled;
    if (resting.last) return errc::timeout;
  }
}

/// What limits.stop says is the task's own stop token.
template <class F, class Limiter, class Sync>
task<limited<attempt_value<F>>> limiter_run_job(Limiter& l, limiter_core<Sync>& core, F f, run_options o,
                                                std::optional<any_scheduler> where) {
  using value = attempt_value<F>;
  static_assert(!std::is_reference_v<value>, "a job of a limiter gives a value");
  o.limits.stop = co_await this_task::get_stop_token();
  for (unsigned number = 1;; ++number) {
    limiter_operation<basic_permit<Limiter>, Sync> waiting{l, core, o.job};
    waiting.options().deadline = o.limits.deadline;
    waiting.options().scheduler = where;
    result<basic_permit<Limiter>> mine = co_await std::move(waiting);
    if (!mine) co_return mine.error();
    attempt<value> ended;
    if constexpr (awaitable<attempt_result<F>>) {
      try {
        if (o.expires_in.count() > 0) {
          auto limited_job = call_with_stop(f, o.limits.stop) | with_deadline(attempt_end(core, o));
          ended.keep_value(co_await std::move(limited_job));
        } else {
          auto job = call_with_stop(f, o.limits.stop);
          if constexpr (std::is_void_v<value>) {
            co_await std::move(job);
            ended.keep_value({});
          } else {
            ended.keep_value(co_await std::move(job));
          }
        }
      } catch (...) {
        ended.keep_thrown();
      }
    } else {
      ended.call(f, o.limits.stop, attempt_end(core, o));
    }
    mine->release();
    const std::optional<std::chrono::nanoseconds> pause = pause_before_retry(ended, core, o, number);
    if (!pause) co_return ended.take();
    const retry_pause resting{core, *pause, o.limits.deadline};
    event never_set;
    auto wait = never_set.async_wait() | with_deadline(resting.until);
    const result<void> rest = co_await std::move(wait);
    if (rest.error() == errc::cancelled) co_return errc::cancelled;
    if (resting.last) co_return errc::timeout;
  }
}

/// A coroutine that nobody awaits: it begins at once, and its frame goes with its end.
class detached_job {
 public:
  class promise_type : public traced_promise {
   public:
    // The arguments of the coroutine.
    template <class... Rest>
    promise_type(const auto&, const auto&, const any_scheduler& where, Rest&...) noexcept : where_{where} {}
    detached_job get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
    [[nodiscard]] any_scheduler get_scheduler() const noexcept { return where_; }

   private:
    any_scheduler where_;
  };
};

template <class F, class Limiter, class Sync>
detached_job limiter_run_detached(Limiter& l, limiter_core<Sync>& core, any_scheduler where, F f, run_options o,
                                  promise<attempt_value<F>> p) {
  using value = attempt_value<F>;
  attempt<value> ended;
  try {
    // In a scope: what the job holds goes before the future is ready.
    const std::stop_token stop = o.limits.stop;
    auto job = limiter_run_job<F>(l, core, std::move(f), std::move(o), where) | with_stop(stop);
    ended.keep_value(co_await std::move(job));
  } catch (...) {
    ended.keep_thrown();
  }
  try {
    limited<value> v = ended.take();
    if constexpr (std::is_same_v<limited<value>, value>) {
      p.set_value(std::move(v));
    } else if (!v) {
      p.set_error(v.error());
    } else if constexpr (std::is_void_v<value>) {
      p.set_value();
    } else {
      p.set_value(*std::move(v));
    }
  } catch (...) {
    std::exception_ptr why = std::current_exception();
    p.set_exception(std::move(why));
  }
}

}  // namespace penstock::inline v0_1::detail
