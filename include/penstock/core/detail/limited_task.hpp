// penstock/core/detail/limited_task.hpp: limits for what is awaited as a whole: a task with a deadline, and everything else that can be awaited.
//
// A wait of the library's own is an operation that ends early by itself (core/modifiers.hpp). A task is asked to stop and joined. Anything else
// (a future, what spawn() gave, the join of a task_group, an awaitable from another library) is awaited inside a task, whose stop token it observes
// or, as spawned handles do, is told of by request_stop().
#pragma once

#include <atomic>
#include <concepts>
#include <optional>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/request_stop.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/task.hpp>

namespace penstock::inline v0_1 {

namespace detail {

/// What stops a task with a deadline: a stop request from above, or the deadline. The first of them is remembered.
class task_limit {
 public:
  using sync = std_sync;

  void interrupt(outcome why) noexcept {
    outcome undecided = outcome::pending;
    first_.compare_exchange_strong(undecided, why);
    detail::request_stop(stop_);  // the task may end in here, and *this with it
  }
  [[nodiscard]] std::stop_token get_stop_token() const noexcept { return stop_.get_token(); }
  [[nodiscard]] bool timed_out(const std::error_code& why) const noexcept {
    return why == std::errc::operation_canceled && first_ == outcome::timeout;  // ours, or another library's
  }

  struct on_stop {
    task_limit* limit;
    void operator()() const noexcept { limit->interrupt(outcome::cancelled); }
  };

 private:
  std::atomic<outcome> first_{outcome::pending};
  std::stop_source stop_;
};

template <class T>
task<limited<T>> run_limited(task<T> inner, wait_options options) {
  if (!options.stop) options.stop = co_await this_task::get_stop_token();
  const penstock::deadline at = options.limit();
  task_limit limit;
  // Both are unregistered, synchronously, before `limit` goes; when one of them ends the task itself, that happens inside its own
  // call.
  const std::stop_callback stopped{*options.stop, task_limit::on_stop{&limit}};
  std::optional<armed_timer<dependent<task_limit, T>>> timer;
  if (at.passed()) {
    limit.interrupt(outcome::timeout);
  } else if (!at.is_never()) {
    timer.emplace(at.queue() != nullptr ? *at.queue() : std_sync::steady_timers(), at.when(), limit);
  }
  try {
    if constexpr (std::is_void_v<T>) {
      co_await (std::move(inner) | with_stop(limit.get_stop_token()));
      co_return limited<T>{};
    } else {
      limited<T> ended = co_await (std::move(inner) | with_stop(limit.get_stop_token()));
      if (ended || !limit.timed_out(ended.error())) co_return std::move(ended);
    }
  } catch (const std::system_error& e) {
    if (!limit.timed_out(e.code())) throw;
  }
  co_return errc::timeout;
}

template <class A>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<task<T>> = true;

template <class A>
concept awaitable = requires(A&& a) {
  awaiter_of(std::forward<A>(a)).await_ready();
  awaiter_of(std::forward<A>(a)).await_resume();
};

/// What is neither a task nor one of the library's own waits, both of which take modifiers themselves.
template <class A>
concept other_awaitable =
    !std::is_reference_v<A> && !is_task<A> && !waits_with_options<A> && std::move_constructible<A> && awaitable<A>;

/// Has a stop of its own (a spawned coroutine), which its awaiter does not request. Not what is let go when its wait is stopped (a future).
template <class A>
concept stoppable_awaitable = requires(A& a) {
  { a.request_stop() } noexcept;
} && !requires { typename A::detaches_when_dropped; };

template <stoppable_awaitable A>
struct request_its_stop {
  A* what;
  void operator()() const noexcept { what->request_stop(); }
};

/// The same as a task: it takes a stop token and limits. Stop is passed on to what has a stop of its own.
template <awaitable A>
task<await_result<A>> as_task(A a) {
  if constexpr (stoppable_awaitable<A>) {
    const std::stop_token stop = co_await this_task::get_stop_token();
    const std::stop_callback passed_on{stop, request_its_stop<A>{&a}};
    co_return co_await std::move(a);
  } else {
    co_return co_await std::move(a);
  }
}

template <other_awaitable A>
auto operator|(A&& a, timeout_modifier m)
  requires(!std::is_reference_v<await_result<A>>)
{
  return as_task<A>(std::move(a)) | m;
}
template <other_awaitable A>
auto operator|(A&& a, deadline_modifier m)
  requires(!std::is_reference_v<await_result<A>>)
{
  return as_task<A>(std::move(a)) | m;
}
template <other_awaitable A>
auto operator|(A&& a, stop_modifier m) {
  return as_task<A>(std::move(a)) | std::move(m);
}

}  // namespace detail

}  // namespace penstock::inline v0_1
