// penstock/core/modifiers.hpp: what limits an asynchronous wait, and where it goes on.
//
//   result<void> r = co_await (permits.async_acquire() | with_timeout(50ms) | with_stop(token) | via(pool));
//
// A coroutine that blocks its thread holds up those that go on on that thread; without a scheduler that is the thread that completed what was
// awaited, and those that the coroutine itself resumed wait there too (docs/design.md, section 3). `via` a pool for one that blocks.
//
// A task takes them, too (task.hpp), and with task.hpp so does everything else that can be awaited: `pool.submit(f) | with_timeout(50ms)` is a task that
// gives a result; a future is let go of at the deadline, a spawned coroutine or a task_group's join is asked to stop and waited for. (Not via().)
//
// Each modifier sets one thing of an operation that has not begun; the last one of its kind counts (with_timeout and with_deadline are of
// one kind). Without them an operation
// takes the stop token and the scheduler of the coroutine that awaits it, and waits without a deadline.
#pragma once

#include <chrono>
#include <concepts>
#include <optional>
#include <stop_token>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/scheduler.hpp>

namespace penstock::inline v0_1 {

namespace detail {

struct timeout_modifier {
  std::int64_t timeout;
  timer_queue* timers;
};
struct deadline_modifier {
  penstock::deadline at;
};
struct stop_modifier {
  std::stop_token stop;
};
struct scheduler_modifier {
  any_scheduler to;
};

template <class Operation>
concept waits_with_options = !std::is_lvalue_reference_v<Operation> && requires(Operation& o) {
  { o.options() } -> std::same_as<wait_options&>;
};

template <waits_with_options Operation>
Operation operator|(Operation&& operation, timeout_modifier m) noexcept {
  operation.options().deadline = {};
  operation.options().timeout = m.timeout;
  operation.options().timers = m.timers;
  return std::move(operation);
}
template <waits_with_options Operation>
Operation operator|(Operation&& operation, deadline_modifier m) noexcept {
  operation.options().timeout = never;
  operation.options().deadline = m.at;
  return std::move(operation);
}
template <waits_with_options Operation>
Operation operator|(Operation&& operation, stop_modifier m) noexcept {
  operation.options().stop = std::move(m.stop);
  return std::move(operation);
}
template <waits_with_options Operation>
Operation operator|(Operation&& operation, scheduler_modifier m) noexcept {
  operation.options().scheduler = m.to;
  return std::move(operation);
}

}  // namespace detail

/// The wait ends with errc::timeout when `timeout` has passed since it began. What can be had at once is had even with a timeout of 0;
/// a duration that overflows means never. A coroutine without a scheduler then goes on on the thread of the timers (timer_service.hpp), and
/// must not block there.
template <class Rep, class Period>
[[nodiscard]] detail::timeout_modifier with_timeout(std::chrono::duration<Rep, Period> timeout) noexcept {
  return {detail::saturating_nanoseconds(timeout), nullptr};
}

/// The same by a given clock, such as a manual_clock; it must outlive the wait.
template <class Rep, class Period, detail::timed_clock Clock>
[[nodiscard]] detail::timeout_modifier with_timeout(std::chrono::duration<Rep, Period> timeout, Clock& c) {
  return {detail::saturating_nanoseconds(timeout), &detail::timers_of(c)};
}

/// The wait ends with errc::timeout at a point in time.
[[nodiscard]] inline detail::deadline_modifier with_deadline(deadline at) noexcept { return {at}; }

/// The wait ends with errc::cancelled when stop is requested through `stop`, in place of the awaiting coroutine's own token. If it was requested
/// before the wait begins, nothing is taken even if it could be had.
[[nodiscard]] inline detail::stop_modifier with_stop(std::stop_token stop) noexcept { return {std::move(stop)}; }

/// `context` is a scheduler (core/scheduler.hpp), one of your own too, or has get_scheduler(), as a worker_pool does.
/// The coroutine goes on in the given context, in place of its own; also if the wait is over at once, unless it runs there already.
template <class Context>
[[nodiscard]] detail::scheduler_modifier via(Context&& context) noexcept {
  if constexpr (std::convertible_to<Context&&, any_scheduler>) {
    return {static_cast<any_scheduler>(context)};
  } else {
    return {any_scheduler{context.get_scheduler()}};
  }
}

}  // namespace penstock::inline v0_1
