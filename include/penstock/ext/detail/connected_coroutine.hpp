// penstock/ext/detail/connected_coroutine.hpp: a coroutine that awaits for a receiver what cannot be begun without one, a task above all.
#pragma once

#include <coroutine>
#include <exception>
#include <stop_token>
#include <utility>

#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/root.hpp>
#include <penstock/core/detail/sending.hpp>
#include <penstock/ext/detail/execution_completion.hpp>
#include <penstock/ext/detail/execution_queries.hpp>

namespace penstock::inline v0_1::detail {

/// Owns the frame, which is destroyed before it begins or when it has ended.
template <class Value>
class awaiting_coroutine {
 public:
  class promise_type;
  using handle = std::coroutine_handle<promise_type>;
  using end_function = void (*)(void*) noexcept;

  class promise_type : public coroutine_result<Value>, public root_promise {
   public:
    awaiting_coroutine get_return_object() noexcept { return awaiting_coroutine{handle::from_promise(*this)}; }
    auto final_suspend() const noexcept { return last_step{}; }

   private:
    friend awaiting_coroutine;
    struct last_step {
      bool await_ready() const noexcept { return false; }
      // Suspended by now: whoever is told may destroy the frame.
      [[gnu::noinline]] void await_suspend(handle ended) const noexcept { ended.promise().end_(ended.promise().who_); }
      void await_resume() const noexcept {}
    };

    end_function end_ = nullptr;
    void* who_ = nullptr;
  };

  awaiting_coroutine(awaiting_coroutine&&) = delete;
  ~awaiting_coroutine() { frame_.destroy(); }

  /// Begins on this thread, behind what is resumed there already. `end(who)` is called at the end, maybe before this returns.
  void begin(std::stop_token stop, end_function end, void* who) noexcept {
    promise_type& p = frame_.promise();
    p.end_ = end;
    p.who_ = who;
    p.begin(frame_, any_scheduler{}, std::move(stop));
  }
  /// After the end, once.
  Value take() { return frame_.promise().take(); }

 private:
  explicit awaiting_coroutine(handle frame) noexcept : frame_{frame} {}
  handle frame_;
};

template <class Awaitable>
awaiting_coroutine<await_result<Awaitable>> await_for_receiver(Awaitable awaited) {
  co_return co_await std::move(awaited);
}

template <class Operation, class Receiver>
class connected_sender {
  using token_type = receiver_token<Receiver>;

 public:
  using operation_state_concept = execution::operation_state_tag;

  connected_sender(Operation&& o, Receiver&& r)
      : receiver_(std::move(r)), coroutine_{await_for_receiver<Operation>(std::move(o))} {}
  connected_sender(connected_sender&&) = delete;

  void start() & noexcept {
    std::stop_token stop;
    std::exception_ptr failed;
    try {
      token_type token = receiver_stop_token(receiver_);
      if (token.stop_requested()) {
        receiver_calls<Receiver>::set_stopped(receiver_);
        return;
      }
      stop = stop_.token_for(std::move(token));
    } catch (...) {
      failed = std::current_exception();
    }
    if (failed != nullptr) {
      receiver_calls<Receiver>::set_error(receiver_, std::move(failed));
      return;
    }
    coroutine_.begin(std::move(stop), [](void* self) noexcept { static_cast<connected_sender*>(self)->go_on(); }, this);
  }

 private:
  void go_on() noexcept {
    stop_.reset();
    complete_receiver(receiver_, [this]() -> decltype(auto) { return coroutine_.take(); });
  }

  Receiver receiver_;
  awaiting_coroutine<await_result<Operation>> coroutine_;
  [[no_unique_address]] stop_relay<token_type> stop_;
};

}  // namespace penstock::inline v0_1::detail
