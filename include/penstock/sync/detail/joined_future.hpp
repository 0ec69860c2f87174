// penstock/sync/detail/joined_future.hpp: a future that is awaited to its end, also when stop is requested: how combinators await theirs.
//
// `co_await std::move(f)` lets the task go when the awaiting coroutine is stopped. Here the task is asked to stop (future::request_stop()), and its end
// is awaited all the same, so that nothing of it runs behind the coroutine's back.
//
// Lifetime  the awaiter owns a share of the state until its stop callback is unregistered; the callback may complete the very wait, and then
//           touches nothing more (race 8).
#pragma once

#include <coroutine>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <system_error>
#include <utility>

#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/sync/future.hpp>

namespace penstock::inline v0_1::detail {

/// What becomes of the future of a promise when its wait is stopped, for whoever gives it cannot be asked to stop.
enum class promise_at_stop : std::uint8_t { is_let_go, is_awaited };

template <class A>
inline constexpr bool is_future = false;
template <class T>
inline constexpr bool is_future<future<T>> = true;

template <class T>
class joined_future {
  using state = future_state<T>;
  using sync = dependent<std_sync, T>;
  using wait_for_it = wait_awaiter<basic_one_shot<sync>, plain_node<sync>>;

 public:
  joined_future(future<T> f, promise_at_stop of_promise) noexcept : future_{std::move(f)}, of_promise_{of_promise} {}

  auto operator co_await() && noexcept {
    future_.state_->assist(waiter_kind::coroutine);
    return awaiter{std::move(future_.state_), of_promise_};
  }

 private:
  struct ask {
    state* of;
    void operator()() const noexcept { of->request_stop(); }
  };

  class awaiter : public wait_for_it {
   public:
    awaiter(state_ref<state> s, promise_at_stop of_promise) noexcept
        : wait_for_it{s->has_task() || of_promise == promise_at_stop::is_awaited ? uncancelled : unmodified, s->ready()},
          awaited_{std::move(s)} {}

    template <class Promise>
    [[gnu::noinline]] bool await_suspend(std::coroutine_handle<Promise> waiting) {
      if (awaited_->has_task() && !awaited_->ready().is_set()) {
        on_stop_.emplace(stop_token_of(waiting.promise()), ask{awaited_.operator->()});
      }
      return wait_for_it::await_suspend(waiting);  // the last touch
    }
    T await_resume() {
      on_stop_.reset();
      const result<void> ended = wait_for_it::await_resume();
      if (!ended) throw std::system_error{ended.error(), "penstock::future"};
      return awaited_->take();
    }

   private:
    state_ref<state> awaited_;
    std::optional<std::stop_callback<ask>> on_stop_;  // last: the first to go
  };

  future<T> future_;
  promise_at_stop of_promise_;
};

}  // namespace penstock::inline v0_1::detail
