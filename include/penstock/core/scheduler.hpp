// penstock/core/scheduler.hpp: where a coroutine goes on.
//
// A scheduler is a small copyable handle to an execution context (a worker_pool, a manual_executor, an event loop). Its one duty is
// execute(item): run the item soon, on one of the context's threads. An item lies in the frame of what it resumes: executing it
// allocates nothing, cannot fail, counts against no queue's capacity and is never rejected or dropped.
//
//   struct loop_scheduler {                                    // one of your own, for spawn(), via(), task_group and promises
//     void execute(penstock::work_item& item) const noexcept { loop->post(item); }   // later, on the loop's thread: item()
//     bool running_here() const noexcept { return loop->is_current(); }              // optional
//     bool operator==(const loop_scheduler&) const = default;
//     event_loop* loop;
//   };
//
// Lifetime  a scheduler refers to its context and does not own it: the context outlives the coroutines that run on it.
#pragma once

#include <bit>
#include <concepts>
#include <coroutine>
#include <cstring>
#include <type_traits>

#include <penstock/core/detail/carried_context.hpp>
#include <penstock/core/detail/sending.hpp>
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
class [[nodiscard]] schedule_awaiter : work_item, public sending<schedule_awaiter<Scheduler>> {
 public:
  explicit schedule_awaiter(Scheduler to) noexcept : to_{static_cast<Scheduler&&>(to)} {}

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
    waiting_ = waiting;
    this->run = [](work_item& item) noexcept { static_cast<schedule_awaiter&>(item).waiting_.resume(); };
    if (capture_trace(waiting)) [[unlikely]]
      this->run = [](work_item& item) noexcept { resume_traced<Promise>(static_cast<schedule_awaiter&>(item).waiting_); };
    const Scheduler to = to_;  // a copy: the frame that holds this awaiter may be gone before execute() returns
    to.execute(*this);
  }
  void await_resume() const noexcept {}

  /// As a sender: it completes there.
  [[nodiscard]] scheduled_attributes<Scheduler> get_env() const noexcept { return {to_}; }
  template <class Self, class... Environment>
    requires requires { typename stated_completions<schedule_awaiter>::type; }
  [[nodiscard]] static consteval auto get_completion_signatures() noexcept {
    return typename stated_completions<schedule_awaiter>::type{};
  }

 private:
  Scheduler to_;
  std::coroutine_handle<> waiting_;
};

}  // namespace detail

namespace detail {
// Asked before `scheduler`, which looks at copies and so at conversions: those to any_scheduler would depend on themselves.
template <class S>
concept executes = requires(S& s, work_item& item) {
  { s.execute(item) } noexcept;
};
}  // namespace detail

/// Any scheduler in two words. The default goes on inline: on the thread that completes what was awaited, behind what runs there now.
class any_scheduler {
 public:
  using scheduler_concept = execution::scheduler_tag;

  constexpr any_scheduler() noexcept = default;

  /// From a scheduler of one's own: a trivially copyable handle no greater than a pointer, which is held by value. If it has
  /// `running_here() const noexcept`, that tells whether the calling thread is one of the context's.
  template <class Handle>
    requires(!std::same_as<Handle, any_scheduler> && detail::executes<const Handle> && scheduler<Handle>)
  any_scheduler(Handle handle) noexcept : functions_{&functions_of<Handle, by_value>} {
    static_assert(std::is_trivially_copyable_v<Handle> && sizeof(Handle) <= sizeof(void*),
                  "any_scheduler holds a trivially copyable handle no greater than a pointer: let it point to the context");
    std::memcpy(&held_, &handle, sizeof(Handle));
  }

  /// From the context itself, which has a member `execute(work_item&) noexcept`, and may have `running_here()` as above.
  template <class Context>
    requires(!std::same_as<std::remove_cv_t<Context>, any_scheduler> && detail::executes<Context> &&
             !scheduler<std::remove_cv_t<Context>>)
  explicit any_scheduler(Context& context) noexcept : held_{&context}, functions_{&functions_of<Context, by_address>} {}

  void execute(work_item& item) const noexcept {
    if (functions_ == nullptr) {
      detail::trampoline::execute(item);
    } else {
      functions_->execute(held_, item);
    }
  }

  /// Whether code of this context may go on right here, on the calling thread. The default goes on anywhere.
  [[nodiscard]] bool running_here() const noexcept { return functions_ == nullptr || functions_->running_here(held_); }

  /// Whether running_here() is to be relied on: a scheduler of one's own may not know it, and then says that it never runs here.
  [[nodiscard]] bool knows_its_threads() const noexcept { return functions_ == nullptr || functions_->knows_its_threads; }

  /// `co_await s.schedule()` goes on in the scheduler's context; later awaits of a task return to the task's own scheduler.
  [[nodiscard]] auto schedule() const noexcept { return detail::schedule_awaiter<any_scheduler>{*this}; }

  /// Whether this is the default.
  [[nodiscard]] bool is_inline() const noexcept { return functions_ == nullptr; }

  /// What std::execution asks schedulers (ext/execution.hpp).
  template <class Query>
    requires detail::has_answer<any_scheduler, Query>
  [[nodiscard]] auto query(const Query&) const noexcept {
    return detail::query_answer<any_scheduler, Query>::of(*this);
  }

  friend bool operator==(const any_scheduler& a, const any_scheduler& b) noexcept {
    if (a.functions_ != b.functions_) return false;
    return a.functions_ == nullptr || a.functions_->equal(a.held_, b.held_);
  }

 private:
  struct functions {
    void (*execute)(void*, work_item&) noexcept;
    bool (*running_here)(void*) noexcept;
    bool (*equal)(void*, void*) noexcept;
    bool knows_its_threads;
  };
  // What held_ holds: the address of a context, or the bytes of a handle.
  struct by_address {
    template <class Context>
    static Context& get(void*& held) noexcept {
      return *static_cast<Context*>(held);
    }
  };
  struct by_value {
    template <class Handle>
    static const Handle get(void*& held) noexcept {
      struct bytes {
        unsigned char of[sizeof(Handle)];
      } copy;
      std::memcpy(&copy, &held, sizeof(Handle));
      return std::bit_cast<Handle>(copy);
    }
  };
  template <class S>
  static constexpr bool tells_where = requires(const S& s) { s.running_here(); };
  template <class S, class How>
  static constexpr functions functions_of{
      [](void* held, work_item& item) noexcept { How::template get<S>(held).execute(item); },
      [](void* held) noexcept {
        if constexpr (tells_where<S>) {
          return static_cast<bool>(How::template get<S>(held).running_here());
        } else {
          static_cast<void>(held);
          return false;
        }
      },
      [](void* a, void* b) noexcept {
        if constexpr (std::same_as<How, by_value>) {
          return static_cast<bool>(How::template get<S>(a) == How::template get<S>(b));
        } else {
          return a == b;
        }
      },
      tells_where<S>,
  };

  void* held_ = nullptr;
  const functions* functions_ = nullptr;
};

static_assert(scheduler<any_scheduler>);

}  // namespace penstock::inline v0_1
