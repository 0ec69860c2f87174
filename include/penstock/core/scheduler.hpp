// penstock/core/scheduler.hpp: where a coroutine goes on.
//
// A scheduler is a small copyable handle to an execution context (a worker_pool, a manual_executor, an event loop). Its one duty is
// execute(item): run the item soon, on one of the context's threads. An item lies in the frame of what it resumes: executing it
// allocates nothing, cannot fail, counts against no queue's capacity and is never rejected or dropped.
//
// Lifetime  a scheduler refers to its context and does not own it: the context outlives the coroutines that run on it.
#pragma once

#include <concepts>
#include <coroutine>

#include <penstock/core/detail/work_item.hpp>

namespace penstock::inline v0_1 {

using work_item = detail::work_item;

template <class S>
concept scheduler = std::copyable<S> && std::equality_comparable<S> && requires(const S& s, work_item& item) {
  { s.execute(item) } noexcept;
};

namespace detail {

/// What schedule() gives: awaiting it moves the coroutine to the scheduler's context.
template <class Scheduler>
class [[nodiscard]] schedule_awaiter : work_item {
 public:
  explicit schedule_awaiter(Scheduler to) noexcept : to_{static_cast<Scheduler&&>(to)} {}

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) noexcept {
    waiting_ = waiting;
    this->run = [](work_item& item) noexcept { static_cast<schedule_awaiter&>(item).waiting_.resume(); };
    const Scheduler to = to_;  // a copy: the frame that holds this awaiter may be gone before execute() returns
    to.execute(*this);
  }
  void await_resume() const noexcept {}

 private:
  Scheduler to_;
  std::coroutine_handle<> waiting_;
};

}  // namespace detail

/// Any scheduler in two words. The default goes on inline: on the thread that completes what was awaited, behind what runs there now.
class any_scheduler {
 public:
  constexpr any_scheduler() noexcept = default;

  /// From the context itself, which has a member `execute(work_item&) noexcept`, and may have `running_here() const noexcept`: whether
  /// the calling thread is one of the context's.
  template <class Context>
    requires(!std::same_as<Context, any_scheduler>) && requires(Context& c, work_item& item) {
      { c.execute(item) } noexcept;
    }
  explicit any_scheduler(Context& context) noexcept : context_{&context}, functions_{&functions_of<Context>} {}

  void execute(work_item& item) const noexcept {
    if (context_ == nullptr) {
      detail::trampoline::execute(item);
    } else {
      functions_->execute(context_, item);
    }
  }

  /// Whether code of this context may go on right here, on the calling thread. The default goes on anywhere.
  [[nodiscard]] bool running_here() const noexcept { return context_ == nullptr || functions_->running_here(context_); }

  /// `co_await s.schedule()` goes on in the scheduler's context; later awaits of a task return to the task's own scheduler.
  [[nodiscard]] auto schedule() const noexcept { return detail::schedule_awaiter<any_scheduler>{*this}; }

  /// Whether this is the default.
  [[nodiscard]] bool is_inline() const noexcept { return context_ == nullptr; }

  friend bool operator==(const any_scheduler& a, const any_scheduler& b) noexcept { return a.context_ == b.context_; }

 private:
  struct functions {
    void (*execute)(void*, work_item&) noexcept;
    bool (*running_here)(const void*) noexcept;
  };
  template <class Context>
  static constexpr functions functions_of{
      [](void* c, work_item& item) noexcept { static_cast<Context*>(c)->execute(item); },
      [](const void* c) noexcept {
        if constexpr (requires(const Context& context) { context.running_here(); }) {
          return static_cast<const Context*>(c)->running_here();
        } else {
          static_cast<void>(c);
          return false;
        }
      },
  };

  void* context_ = nullptr;
  const functions* functions_ = nullptr;
};

static_assert(scheduler<any_scheduler>);

}  // namespace penstock::inline v0_1
