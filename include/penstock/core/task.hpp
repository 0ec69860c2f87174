// penstock/core/task.hpp: a coroutine that another one awaits.
//
//   penstock::task<int> lookup(cache& c, key k) {
//     auto permit = co_await c.permits.async_acquire_permit();
//     co_return co_await c.load(k);
//   }
//
// A task is lazy: it begins when it is awaited (or given to sync_wait, spawn or a task_group) and its awaiter goes on when it
// ends, with its value or its exception. It inherits from its awaiter a stop token, which every wait inside it observes, and a
// scheduler, on which every wait inside it goes on.
//
// Invariants     a task that was awaited has ended, or its awaiter has not gone on: children never outlive their parent.
// Thread safety  a task object belongs to one thread at a time; the coroutine may move between threads at each await.
// Cancellation   through the stop token: waits end with errc::cancelled, and the code of the task decides what follows.
//                `t | with_timeout(...)` limits a whole task: at the deadline it requests stop, and waits for the task to comply.
// Allocation     the coroutine frame; with a deadline a second one and a stop state. Nothing else.
// Recursion      awaiting in a loop or through ten thousand levels needs constant stack.
#pragma once

#include <atomic>
#include <cassert>
#include <coroutine>
#include <optional>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/sending.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>

namespace penstock::inline v0_1 {

template <class T>
class task;

namespace detail {

template <class T>
struct limited_value {
  using type = result<T>;
};
template <class T>
struct limited_value<result<T>> {
  using type = result<T>;
};
/// What a task with a deadline gives: T may not come.
template <class T>
using limited = typename limited_value<T>::type;

template <class T>
task<limited<T>> run_limited(task<T> inner, wait_options options);

}  // namespace detail

template <class T = void>
class [[nodiscard]] task : public detail::sending<task<T>> {
 public:
  class promise_type;
  using value_type = T;

  task(task&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {}
  task& operator=(task&& other) noexcept {
    if (this != &other) {
      destroy();
      frame_ = std::exchange(other.frame_, nullptr);
    }
    return *this;
  }
  /// A task that was never awaited is destroyed without having run.
  ~task() { destroy(); }

  /// Begins the task. Its value, or its exception, is the value of the await.
  auto operator co_await() && noexcept { return awaiter{frame_}; }

  /// Sets the stop token that the task sees, in place of its awaiter's.
  friend task operator|(task t, detail::stop_modifier m) noexcept { return std::move(t).change(std::move(m)); }
  /// Sets where the task runs, in place of its awaiter's scheduler. The awaiter goes on where it was.
  friend task operator|(task t, detail::scheduler_modifier m) noexcept { return std::move(t).change(std::move(m)); }
  /// Limits the whole task: gives a task<result<T>>, or a task of the same type if T is a result already. `timeout` counts from
  /// when the task begins. At the deadline stop is requested of the task, and the task is waited for: what it still delivers
  /// counts. If it then ends with errc::cancelled, or another std::errc::operation_canceled, as its result or thrown as a
  /// std::system_error, the result is errc::timeout. Other exceptions pass. A deadline that has passed already lets the task begin with
  /// stop requested. Of several deadlines the earliest counts.
  friend auto operator|(task t, detail::timeout_modifier m)
    requires(!std::is_reference_v<T>)
  {
    return std::move(t).change(m);
  }
  friend auto operator|(task t, detail::deadline_modifier m)
    requires(!std::is_reference_v<T>)
  {
    return std::move(t).change(m);
  }

 private:
  using handle = std::coroutine_handle<promise_type>;
  class awaiter;

  explicit task(handle frame) noexcept : frame_{frame} {}
  void destroy() noexcept {
    if (frame_) frame_.destroy();
  }
  task change(detail::stop_modifier m) && noexcept {
    frame_.promise().stop_ = std::move(m.stop);
    return std::move(*this);
  }
  task change(detail::scheduler_modifier m) && noexcept {
    frame_.promise().scheduler_ = m.to;
    return std::move(*this);
  }
  auto change(detail::timeout_modifier m) && {
    detail::wait_options options;
    options.timeout = m.timeout;
    options.timers = m.timers;
    return std::move(*this).limit(std::move(options));
  }
  auto change(detail::deadline_modifier m) && {
    detail::wait_options options;
    options.deadline = m.at;
    return std::move(*this).limit(std::move(options));
  }
  auto limit(detail::wait_options options) && {
    options.stop = std::move(frame_.promise().stop_);  // a token of its own keeps stopping it
    return detail::run_limited(std::move(*this), std::move(options));
  }

  handle frame_;
};

template <class T>
class task<T>::promise_type : public detail::coroutine_result<T> {
 public:
  task get_return_object() noexcept { return task{handle::from_promise(*this)}; }
  std::suspend_always initial_suspend() const noexcept { return {}; }
  auto final_suspend() const noexcept { return last_step{}; }

  [[nodiscard]] any_scheduler get_scheduler() const noexcept { return scheduler_.value_or(any_scheduler{}); }
  [[nodiscard]] const std::stop_token& get_stop_token() const noexcept { return stop_ ? *stop_ : never_stopped; }

 private:
  friend task;
  static inline const std::stop_token never_stopped{};

  // Hands over to the awaiting coroutine, here if it may go on here. Whatever this coroutine ran on last, its awaiter goes on in
  // its own context.
  struct last_step {
    bool await_ready() const noexcept { return false; }
    [[gnu::noinline]] std::coroutine_handle<> await_suspend(handle ended) const noexcept {
      promise_type& self = ended.promise();
      if (self.return_to_.running_here()) return detail::transfer_to(self.continuation_);
      const any_scheduler to = self.return_to_;  // a copy: the frame may be gone before execute() returns
      to.execute(self.continuation_);
      return std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };

  detail::resumption begin_;
  detail::resumption continuation_;
  any_scheduler return_to_;
  std::optional<any_scheduler> scheduler_;
  std::optional<std::stop_token> stop_;
};

template <class T>
class task<T>::awaiter {
 public:
  explicit awaiter(handle frame) noexcept : frame_{frame} {}

  bool await_ready() const noexcept { return false; }

  template <class Promise>
  [[gnu::noinline]] std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
    promise_type& child = frame_.promise();
    child.continuation_.set(waiting);
    child.return_to_ = detail::scheduler_of(waiting.promise());
    if (!child.stop_) child.stop_ = detail::stop_token_of(waiting.promise());
    child.begin_.set(frame_);
    if (!child.scheduler_) {
      child.scheduler_ = child.return_to_;
      return detail::transfer_to(child.begin_);
    }
    const any_scheduler to = *child.scheduler_;
    if (to == child.return_to_) return detail::transfer_to(child.begin_);
    to.execute(child.begin_);
    return std::noop_coroutine();
  }

  T await_resume() { return frame_.promise().take(); }

 private:
  handle frame_;
};

namespace this_task {

namespace detail {
struct stop_token_awaiter {
  std::stop_token token{};
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
    token = penstock::detail::stop_token_of(self.promise());
    return false;
  }
  std::stop_token await_resume() noexcept { return std::move(token); }
};
struct scheduler_awaiter {
  any_scheduler scheduler{};
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
    scheduler = penstock::detail::scheduler_of(self.promise());
    return false;
  }
  any_scheduler await_resume() const noexcept { return scheduler; }
};
}  // namespace detail

/// `co_await this_task::get_stop_token()`: the token that the waits of the running coroutine observe. Does not suspend.
[[nodiscard]] inline detail::stop_token_awaiter get_stop_token() noexcept { return {}; }
/// `co_await this_task::get_scheduler()`: where the waits of the running coroutine go on. Does not suspend.
[[nodiscard]] inline detail::scheduler_awaiter get_scheduler() noexcept { return {}; }

}  // namespace this_task

}  // namespace penstock::inline v0_1

#include <penstock/core/detail/limited_task.hpp>  // what `task | with_timeout(...)` makes
