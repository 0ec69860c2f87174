// penstock/core/detail/root.hpp: the coroutine at the bottom, which nobody awaits: it begins when told, and its end can be waited
// for. root_promise is what it shares with the children of a task_group, whose end is told to the group.
#pragma once

#include <cassert>
#include <coroutine>
#include <stop_token>
#include <utility>

#include <penstock/core/detail/blocking_help.hpp>
#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/one_shot.hpp>

namespace penstock::inline v0_1::detail {

/// The part of a promise that every coroutine without an awaiter has: where it runs and what stops it, which it passes on to what
/// it awaits.
class root_promise {
 public:
  std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] any_scheduler get_scheduler() const noexcept { return scheduler_; }
  [[nodiscard]] const std::stop_token& get_stop_token() const noexcept { return stop_; }

  /// Begins the coroutine: here if the scheduler is the inline one, in its context otherwise. It may have ended when this
  /// returns.
  template <class Promise>
  void begin(std::coroutine_handle<Promise> self, any_scheduler where, std::stop_token stop) noexcept {
    scheduler_ = where;
    stop_ = std::move(stop);
    begin_.set(self);
    where.execute(begin_);
  }

 private:
  resumption begin_;
  any_scheduler scheduler_;
  std::stop_token stop_;
};

/// Owns the frame. It may be destroyed before start(), or once the coroutine has ended.
template <class T>
class root {
 public:
  class promise_type;
  using handle = std::coroutine_handle<promise_type>;

  class promise_type : public coroutine_result<T>, public root_promise {
   public:
    root get_return_object() noexcept { return root{handle::from_promise(*this)}; }
    auto final_suspend() const noexcept { return last_step{}; }

   private:
    friend root;
    struct last_step {
      bool await_ready() const noexcept { return false; }
      // Suspended by now: whoever waits for the end may destroy the frame before set() returns, and set() knows how to live with
      // that.
      [[gnu::noinline]] void await_suspend(handle ended) const noexcept { ended.promise().ended_.set(); }
      void await_resume() const noexcept {}
    };

    basic_one_shot<> ended_;
  };

  root(root&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {}
  root& operator=(root&& other) noexcept {
    std::swap(frame_, other.frame_);
    return *this;
  }
  ~root() {
    if (frame_) frame_.destroy();
  }

  explicit operator bool() const noexcept { return static_cast<bool>(frame_); }

  /// See root_promise::begin().
  void start(any_scheduler where, std::stop_token stop) noexcept { frame_.promise().begin(frame_, where, std::move(stop)); }

  [[nodiscard]] basic_one_shot<>& ended() const noexcept { return frame_.promise().ended_; }
  /// Blocks until it has ended. What it may need this thread for is run here: resumptions that are queued behind the caller, and on a
  /// worker of a pool those of the pool.
  void wait() const noexcept {
    {
      const blocking_help::about_to_block here;
      while (!ended().is_set() && trampoline::run_one()) {
      }
    }
    assert((ended().is_set() || timers_of_this_thread == nullptr) &&
           "a coroutine that a timeout resumed blocks the thread of the timers: give it a scheduler");
    blocking_help::wait(ended());
  }
  /// After the end, once.
  T take() { return frame_.promise().take(); }

 private:
  explicit root(handle frame) noexcept : frame_{frame} {}
  handle frame_;
};

/// Awaits and keeps the value. With `Awaitable` a reference the caller keeps the awaitable alive, otherwise it lives in the
/// frame.
template <class T, class Awaitable>
root<T> run_root(Awaitable awaitable) {
  co_return co_await std::forward<Awaitable>(awaitable);
}

}  // namespace penstock::inline v0_1::detail
