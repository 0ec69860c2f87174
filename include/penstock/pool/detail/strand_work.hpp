// penstock/pool/detail/strand_work.hpp: what lies in the line of a strand, and who runs it here: the second half of strand.hpp.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/fork.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/pool/detail/strand_core.hpp>
#include <penstock/pool/detail/traced_task.hpp>
#include <penstock/sync/detail/future_state.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class strand_work;

/// A function in the line. `call` runs it and gives it back to where it came from.
template <class Sync>
struct strand_post : work_item {
  using call_function = void (*)(strand_post&) noexcept;
  strand_post(strand_work<Sync>& to, call_function f) noexcept;
  const call_function call;
};

template <class Sync>
class strand_work : public strand_core<strand_work<Sync>, Sync, any_scheduler> {
 public:
  using core = strand_core<strand_work, Sync, any_scheduler>;
  static constexpr unsigned pieces_a_turn = 32;
  using error_handler = move_only_function<void(std::exception_ptr) const>;

  /// Where it runs. Of another strand the work, which is kept: who waits for a future looks whether it is in a piece there, when both strands may
  /// have gone.
  struct context {
    any_scheduler scheduler;
    state_ref<strand_work> kept;
  };

  strand_work(context where, std::size_t capacity, error_handler on_error)
      : core{where.scheduler, capacity,
             [](work_item& item) noexcept {
               auto& post = static_cast<strand_post<Sync>&>(item);
               post.call(post);
             }},
        over_{std::move(where.kept)},
        on_error_{std::move(on_error)} {}

  /// As a context, of a strand over this one. (In a forked child that one brings nothing here.)
  void execute(work_item& item) noexcept { this->push(item); }

  void run_piece(work_item& item) noexcept {
    frame here{*this};
    const trampoline scope;  // what the piece resumes inline is run before the next one
    here.scope = trampoline::innermost();
    item.run(item);
  }

  /// Whether the calling thread is in a piece, in whatever is nested in it.
  [[nodiscard]] bool running_on_this_thread() const noexcept {
    const frame* f = frame::innermost;
    while (f != nullptr && f->work != this) f = f->outer;
    return f != nullptr;
  }
  /// Whether the calling code is a piece itself. A coroutine of the strand must not go on in what is nested there: that would be an overlap.
  [[nodiscard]] bool running_here() const noexcept {
    const frame* const f = frame::innermost;
    return f != nullptr && f->work == this && f->scope == trampoline::innermost();
  }

  /// A posted function threw. Called while the exception is handled.
  void failed_one() noexcept {
    errors_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
    this->count_failed();
    if (!on_error_) return;
    try {
      on_error_(std::current_exception());
    } catch (...) {  // a handler that fails has nobody left to tell
    }
  }
  [[nodiscard]] std::size_t errors() const noexcept { return errors_.load(std::memory_order_relaxed); }  // relaxed: a counter

 private:
  // A piece that this thread runs.
  struct frame {
    explicit frame(const strand_work& w) noexcept : work{&w}, scope{trampoline::innermost()}, outer{innermost} {
      innermost = this;
    }
    frame(const frame&) = delete;
    frame& operator=(const frame&) = delete;
    ~frame() { innermost = outer; }
    const strand_work* work;
    const void* scope = nullptr;
    const frame* outer;
    static inline thread_local const frame* innermost = nullptr;
  };

  const state_ref<strand_work> over_;
  const error_handler on_error_;
  std::atomic<std::size_t> errors_{0};
};

template <class Sync>
strand_post<Sync>::strand_post(strand_work<Sync>& to, call_function f) noexcept
    : work_item{nullptr, to.post_function()}, call{f} {}

/// Frees itself when it has run. Until it is accepted it belongs to who posts it.
template <class Sync>
class posted_function : public strand_post<Sync> {
  using post = strand_post<Sync>;

 public:
  template <class F>
  posted_function(strand_work<Sync>& work, F&& f)
      : post{work, [](post& self) noexcept { static_cast<posted_function&>(self).run_and_free(); }},
        work_{work},
        f_{std::forward<F>(f)} {
    if (observers::trace()) [[unlikely]]
      f_ = traced_task{&work, f_};
  }

 private:
  void run_and_free() noexcept {
    const std::unique_ptr<posted_function> self{this};
    try {
      f_();
    } catch (...) {
      work_.failed_one();
    }
  }

  strand_work<Sync>& work_;
  move_only_function<void()> f_;
};

/// A function with a future: its state and its place in the line in one allocation, which the future and the strand own.
template <class F, class R, class Sync>
class submitted_function : public future_state<R>, public strand_post<Sync> {
  using post = strand_post<Sync>;

 public:
  using state = future_state<R>;
  struct leave {
    void operator()(submitted_function* s) const noexcept { s->drop_owner(); }
  };

  /// Born with one owner, the strand.
  template <class G>
  submitted_function(strand_work<Sync>& work, G&& f)
      : state{[](state& s) noexcept { delete static_cast<submitted_function*>(&s); }},
        post{work, [](post& self) noexcept { static_cast<submitted_function&>(self).run_and_leave(); }},
        work_{work},
        f_{std::forward<G>(f)} {
    work.add_owner();  // the future may outlive the strand, and a thread be about to wait for it while that goes
    origin_.remember();
    static constexpr typename state::task_functions functions{
        [](state& s, waiter_kind who) noexcept { static_cast<submitted_function&>(s).assist(who); },
        [](state& s) noexcept { static_cast<submitted_function&>(s).refuse(errc::cancelled); },
    };
    this->set_task(functions);
    if (observers::trace()) [[unlikely]]
      span_ = std::make_unique<span>(traced::task, &work);
  }
  ~submitted_function() { work_.drop_owner(); }

  /// It was not accepted, and the strand's ownership is the caller's; or it is not wanted any more. Nothing happens if it has begun.
  void refuse(std::error_code why) noexcept {
    if (claim()) give_up(why);
  }

 private:
  // relaxed: decides between claimants; the callable came to each of them through the strand's lock, or with the future
  bool claim() noexcept { return !claimed_.exchange(true, std::memory_order_relaxed); }

  void give_up(std::error_code why) noexcept {
    f_.reset();
    span_.reset();
    this->set_error(why);
  }

  void run_and_leave() noexcept {
    const std::unique_ptr<submitted_function, leave> self{this};
    if (!claim()) return work_.count_dropped();
    const bool returned = this->set_from([this]() -> R {
      F f{std::move(*f_)};  // what it holds is released before the future is ready
      f_.reset();
      if (span_ != nullptr) [[unlikely]]
        return run_traced(std::move(span_), f);
      return f();
    });
    if (!returned) work_.count_failed();
  }

  // A thread is about to block for the outcome.
  void assist(waiter_kind who) noexcept {
    if (origin_.forked()) {
      if (claim()) f_.reset();
      return this->set_error(std::make_error_code(std::errc::operation_not_permitted));  // whoever claimed it is in the parent
    }
    if (who != waiter_kind::thread) return;  // a coroutine is suspended, and holds up nobody
    if (work_.running_on_this_thread()) {
      if (claim()) give_up(errc::deadlock);
      return;
    }
    if (!work_.where().running_here()) return;
    while (!this->ready().is_set() && work_.help_until([this] { return this->ready().is_set(); })) {
    }
  }

  using span = dependent<open_span, F>;

  strand_work<Sync>& work_;
  process_origin origin_;
  std::optional<F> f_;
  std::unique_ptr<span> span_;  // null: nobody traces
  std::atomic<bool> claimed_{false};
};

}  // namespace penstock::inline v0_1::detail
