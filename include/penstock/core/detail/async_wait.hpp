// penstock/core/detail/async_wait.hpp: a coroutine waits.
//
// completion_wait is a wait whose end calls a function, through a scheduler: what the coroutine awaiter below and other adapters are
// made of. async_operation is what `x.async_acquire()` returns: lazy, not started before it is awaited, and changed by the modifiers
// with_timeout, with_stop and via (core/modifiers.hpp).
//
// How it ends   The winner completes the node outside the lock. complete() hands the frame's work item to the scheduler and touches nothing
//               more (race 3). The item runs there: a granted wait resumes; a woken one looks again *there*, so that nothing is held
//               for a coroutine that still waits for a thread, and either resumes or is in line again.
// Frame         Everything is filled in before the node is linked, and nothing is touched after unlocking (race 4).
// Stop, timers  Their callbacks are registered before the node is linked (race 7) and unregistered by the resumed side, without a lock
//               (races 8 and 14). A callback that completes the operation itself returns without touching it again.
#pragma once

#include <coroutine>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/carried_context.hpp>
#include <penstock/core/detail/sending.hpp>
#include <penstock/core/detail/wait_mark.hpp>
#include <penstock/core/detail/wait_operation.hpp>
#include <penstock/core/scheduler.hpp>

namespace penstock::inline v0_1::detail {

template <class Owner, class Node, class Scheduler = any_scheduler>
class completion_wait : public wait_operation<Owner, Node>, public work_item {
 public:
  using operation = wait_operation<Owner, Node>;
  using sync = typename operation::sync;
  using stop_token = typename sync::stop_token;
  using resume_function = void (*)(completion_wait&) noexcept;

  using operation::operation;

  /// True: decided, `how` tells the outcome, and nothing will be called. False: `resume(*this)` will be called on the scheduler, maybe
  /// before this returns: the caller touches nothing of the operation any more.
  bool start(const stop_token& stop, const basic_deadline<sync>& limit, Scheduler where, resume_function resume) {
    if (stop.stop_requested()) {
      this->how = outcome::cancelled;
      return true;
    }
    if (this->owner().try_pass(*this)) return true;
    if (limit.passed()) {
      this->how = outcome::timeout;
      return true;
    }
    scheduler_ = std::move(where);
    resume_ = resume;
    this->run = [](work_item& self) noexcept { static_cast<completion_wait&>(self).on_scheduler(); };
    this->complete = [](wait_node<sync>& node) noexcept {
      auto& self = static_cast<completion_wait&>(node);
      const Scheduler to = self.scheduler_;  // a copy: once the item is handed over, the frame may be gone
      to.execute(self);
    };
    if (stop.stop_possible()) callback_.emplace(stop, on_stop{this});
    if (!limit.is_never()) timer_.emplace(limit.queue() != nullptr ? *limit.queue() : sync::steady_timers(), limit.when(), *this);
    mark_.begin(&this->owner(), kind_of_wait<std::remove_const_t<Owner>, Node>, limit.queue() == nullptr ? limit.when() : never);
    return this->advance(link_at::back);
  }

  /// After a start() that said true: `resume(*this)` will be called on the scheduler all the same.
  void resume_on(Scheduler where, resume_function resume) noexcept {
    finish();  // nobody interrupts a wait that is decided
    scheduler_ = std::move(where);
    resume_ = resume;
    this->run = [](work_item& self) noexcept { static_cast<completion_wait&>(self).on_scheduler(); };
    const Scheduler to = scheduler_;  // a copy: once the item is handed over, the frame may be gone
    to.execute(*this);
  }

  /// The resumed side calls this before it looks at `how`: afterwards no callback is registered and none runs.
  void finish() noexcept {
    timer_.reset();
    callback_.reset();
    mark_.end(*this);
  }

 private:
  struct on_stop {
    completion_wait* wait;
    void operator()() const noexcept { wait->interrupt(outcome::cancelled); }
  };

  void on_scheduler() noexcept {
    if (this->how == outcome::woken && !this->advance(link_at::front)) return;  // in line again: *this may be gone already
    resume_(*this);
  }

  Scheduler scheduler_{};
  resume_function resume_ = nullptr;
  std::optional<typename sync::template stop_callback<on_stop>> callback_;
  std::optional<armed_timer<operation>> timer_;
  [[no_unique_address]] coroutine_mark<sync> mark_;
};

/// The scheduler of a coroutine, from its promise; the default (inline) if it has none.
template <class Promise>
[[nodiscard]] any_scheduler scheduler_of(Promise& promise) noexcept {
  if constexpr (requires { promise.get_scheduler(); }) {
    static_assert(
        requires { any_scheduler{promise.get_scheduler()}; },
        "get_scheduler() of this coroutine's promise gives neither a penstock::scheduler nor a context with execute()");
    return any_scheduler{promise.get_scheduler()};
  } else {
    return any_scheduler{};
  }
}

/// The stop token of a coroutine, from its promise; one that is never stopped if it has none.
/// A reference if the promise gives one: copying a token costs two atomic operations.
template <class Promise>
[[nodiscard]] decltype(auto) stop_token_of(Promise& promise) noexcept {
  if constexpr (requires { promise.get_stop_token(); }) {
    return promise.get_stop_token();
  } else {
    return std::stop_token{};
  }
}

/// What the modifiers set. Each `|` replaces an earlier one of its kind.
struct wait_options {
  penstock::deadline deadline = {};
  std::int64_t timeout = never;            // from the start of the wait, on the clock of `timers`
  timer_queue* timers = nullptr;           // null: the steady clock
  std::optional<std::stop_token> stop;     // instead of the promise's
  std::optional<any_scheduler> scheduler;  // instead of the promise's; even a wait that is decided at once goes on there

  [[nodiscard]] penstock::deadline limit() const {
    if (timeout == never) return deadline;
    if (timers == nullptr) return penstock::deadline::after(std::chrono::nanoseconds{timeout});
    return {saturating_add(timers->now(), timeout), *timers};
  }
};

/// For awaiters that nobody can modify.
inline const wait_options unmodified{};
/// The same, for a wait that a stop request does not end.
inline const wait_options uncancelled = [] {
  wait_options o;
  o.stop.emplace();
  return o;
}();

/// The awaiter of a coroutine, made of a wait that has start() and resume_on(). `options` outlive it: they lie in the operation that is awaited, and
/// are not copied, for a copy of what has just been written stalls.
template <class Wait>
class awaiting : public Wait {
 public:
  template <class... Arguments>
  explicit awaiting(const wait_options& options, Arguments&&... arguments)
      : Wait{static_cast<Arguments&&>(arguments)...}, options_{&options} {}

  [[nodiscard]] bool await_ready() const noexcept { return false; }

  // Out of line: clang may keep parts of the caller's frame in flight across an inlined await_suspend (LLVM issue 56301).
  template <class Promise>
  [[gnu::noinline]] bool await_suspend(std::coroutine_handle<Promise> waiting) {
    waiting_ = waiting.address();
    const wait_options& options = *options_;
    void (*resume)(Wait&) noexcept = [](Wait& self) noexcept { static_cast<awaiting&>(self).coroutine().resume(); };
    if (capture_trace(waiting)) [[unlikely]]
      resume = [](Wait& self) noexcept { resume_traced<Promise>(static_cast<awaiting&>(self).coroutine()); };
    if (!this->start(options.stop ? *options.stop : stop_token_of(waiting.promise()), options.limit(),
                     options.scheduler ? *options.scheduler : scheduler_of(waiting.promise()), resume)) {
      return true;
    }
    // Decided at once: it goes on right here, unless it was told to go on elsewhere.
    if (!options.scheduler || options.scheduler->running_here()) return false;
    this->resume_on(*options.scheduler, resume);
    return true;
  }

  /// The same for one who is no coroutine, such as a connected sender (ext/execution.hpp): `waiter.go_on()` is called in place of a resumption. `stop`
  /// is what it has in place of a promise's token. Then it calls await_resume(). Throws if a timer cannot be armed; then it has not begun.
  template <class Waiter>
  [[nodiscard]] bool begin(Waiter& waiter, const std::stop_token& stop) {
    waiting_ = &waiter;
    const wait_options& options = *options_;
    void (*const resume)(Wait&) noexcept = [](Wait& self) noexcept {
      static_cast<Waiter*>(static_cast<awaiting&>(self).waiting_)->go_on();
    };
    if (!this->start(options.stop ? *options.stop : stop, options.limit(),
                     options.scheduler ? *options.scheduler : any_scheduler{}, resume)) {
      return true;
    }
    if (!options.scheduler || options.scheduler->running_here()) return false;
    this->resume_on(*options.scheduler, resume);
    return true;
  }

 private:
  [[nodiscard]] std::coroutine_handle<> coroutine() const noexcept { return std::coroutine_handle<>::from_address(waiting_); }

  const wait_options* options_;
  void* waiting_ = nullptr;  // the coroutine's address, or the waiter
};

template <class Owner, class Node>
class wait_awaiter : public awaiting<completion_wait<Owner, Node>> {
 public:
  using awaiting<completion_wait<Owner, Node>>::awaiting;

  auto await_resume() {
    this->finish();
    return Node::take_result(this->how);
  }
};

/// A wait that has not begun: await it, once. Dropping it does nothing. Once it has begun, the awaiting coroutine must not be destroyed
/// before it has gone on.
template <class Owner, class Node, class... Arguments>
class [[nodiscard]] async_operation : public sending<async_operation<Owner, Node, Arguments...>> {
 public:
  explicit async_operation(Owner& owner, Arguments... arguments) : owner_{&owner}, arguments_{std::move(arguments)...} {}

  wait_awaiter<Owner, Node> operator co_await() && {
    return std::apply([this](Arguments&... a) { return wait_awaiter<Owner, Node>{options_, *owner_, std::move(a)...}; },
                      arguments_);
  }

  [[nodiscard]] wait_options& options() noexcept { return options_; }

 private:
  Owner* owner_;
  std::tuple<Arguments...> arguments_;
  wait_options options_;
};

}  // namespace penstock::inline v0_1::detail
