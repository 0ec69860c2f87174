// penstock/rate/detail/paced_function.hpp: a function, the calls of it that wait, and how it is run: what debounce and throttle are made of.
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/fork.hpp>
#include <penstock/core/detail/limited_task.hpp>
#include <penstock/core/detail/root.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/rate/detail/paced_core.hpp>
#include <penstock/sync/detail/future_state.hpp>
#include <penstock/sync/detail/joined_future.hpp>
#include <penstock/sync/shared_future.hpp>

namespace penstock::inline v0_1::detail {

/// What the callers get of a function that gives R: if that is a task, or something else to be awaited, what awaiting it gives.
template <class R>
struct run_value {
  using type = R;
  static constexpr bool is_awaited = false;
};
template <class R>
  requires awaitable<R>
struct run_value<R> {
  using type = await_result<R>;
  static constexpr bool is_awaited = true;
};

using error_handler = move_only_function<void(std::exception_ptr) const>;

/// What debounce and throttle are built with.
struct paced_settings {
  pace_rules rules;
  std::size_t max_running;
  any_clock clock;
  error_handler on_error;
};

/// Throws std::invalid_argument that names what is wrong.
template <class = void>
void check_settings(const char* who, bool callable, const paced_settings& s) {
  const auto refuse = [who](const std::string& why) {
    throw std::invalid_argument{std::string{"penstock::"} + who + ": " + why};
  };
  if (!callable) refuse("there is nothing to call");
  if (s.rules.spacing < 0) refuse("interval is " + std::to_string(s.rules.spacing) + " ns");
  if (s.rules.wait < 0) refuse("wait is " + std::to_string(s.rules.wait) + " ns");
  if (s.rules.max_wait < 0) refuse("max_wait is " + std::to_string(s.rules.max_wait) + " ns");
  if (!s.rules.leading && !s.rules.trailing) refuse("neither leading nor trailing, so nothing would run");
  if (s.max_running == 0) refuse("max_running is 0");
}

/// A call, and the outcome that those share who join it, in one allocation.
template <class V, class... A>
struct call_node : future_state<V>, paced_node<call_node<V, A...>, std_sync> {
  template <class... B>
  explicit call_node(B&&... b)
      : future_state<V>{[](future_state<V>& s) noexcept { delete static_cast<call_node*>(&s); }},
        arguments{std::in_place, static_cast<B&&>(b)...} {}

  std::optional<std::tuple<std::decay_t<A>...>> arguments;  // its own until somebody gives a later one
  std::exception_ptr failure;
};

/// The frames of paced functions that run on this thread.
struct paced_frame {
  explicit paced_frame(const void* c) noexcept : core{c}, outer{innermost} { innermost = this; }
  paced_frame(const paced_frame&) = delete;
  paced_frame& operator=(const paced_frame&) = delete;
  ~paced_frame() { innermost = outer; }
  [[nodiscard]] static bool inside(const void* core) noexcept {
    const paced_frame* f = innermost;
    while (f != nullptr && f->core != core) f = f->outer;
    return f != nullptr;
  }
  const void* core;
  const paced_frame* outer;
  static inline thread_local const paced_frame* innermost = nullptr;
};

/// The coroutine that awaits what a function gave. Its frame frees itself at the end, which is told before anything else is touched.
struct run_coroutine {
  class promise_type;
  using handle = std::coroutine_handle<promise_type>;
  using ended_function = void (*)(work_item&) noexcept;

  class promise_type : public coroutine_result<void>, public root_promise {
   public:
    run_coroutine get_return_object() noexcept { return {handle::from_promise(*this)}; }
    auto final_suspend() const noexcept { return last_step{}; }

   private:
    friend run_coroutine;
    struct last_step {
      bool await_ready() const noexcept { return false; }
      [[gnu::noinline]] void await_suspend(handle h) const noexcept {
        work_item& of = *h.promise().of_;
        const ended_function ended = h.promise().ended_;
        h.destroy();
        ended(of);
      }
      void await_resume() const noexcept {}
    };

    work_item* of_ = nullptr;
    ended_function ended_ = nullptr;
  };

  void begin(work_item& of, ended_function ended, any_scheduler where, std::stop_token stop) noexcept {
    frame.promise().of_ = &of;
    frame.promise().ended_ = ended;
    frame.promise().begin(frame, where, std::move(stop));
  }
  handle frame;
};

/// `Derived` also has `R invoke(cell&, A&&...)`: the function itself.
template <class Derived, class Garbage, class R, class... A>
class paced_function
    : public paced_core<Derived, call_node<typename run_value<R>::type, A...>, Garbage, std_sync, any_scheduler> {
 public:
  using value = typename run_value<R>::type;
  using node = call_node<value, A...>;
  using core = paced_core<Derived, node, Garbage, std_sync, any_scheduler>;
  using cell = typename core::cell;
  using consequences = typename core::consequences;

  paced_function(any_scheduler where, paced_settings&& s)
      : core{where, timers_of(s.clock), s.rules, s.max_running}, where_{where}, on_error_{std::move(s.on_error)} {
    origin_.remember();
    timer_entry<std_sync> first;  // starts the thread of the timers now, when that may fail
    first.fire = [](timer_entry<std_sync>&) noexcept {};
    this->clock().add(first, never - 1);
    this->clock().remove(first);
  }

  /// One more call. `find(refused)`, under the lock, gives the cell, or null and why. The outcome; that of a refused call is why, too.
  template <class Find, class... B>
  state_ref<future_state<value>> call(bool wants, std::error_code& refused, Find&& find, B&&... arguments) {
    origin_.check();
    state_ref<node> fresh{new node{static_cast<B&&>(arguments)...}};
    fresh->run = [](work_item& item) noexcept { come_home(static_cast<node&>(item)); };
    const nanoseconds_point now = this->clock().now();
    node* outcome = nullptr;
    consequences after;
    {
      std::scoped_lock guard{this->lock_};
      refused = errc::cancelled;
      cell* const c = this->closed() ? nullptr : find(refused);
      if (c != nullptr) outcome = core::call(*c, *fresh, now, wants, after);
    }
    if (outcome == nullptr) {
      fresh->set_error(refused);
      fresh->add_owner();
      return state_ref<future_state<value>>{&*fresh};
    }
    refused = {};
    this->settle(after);  // *this may be gone
    return state_ref<future_state<value>>{outcome};
  }

  /// Waits until everything is over that was called before, of all cells or of one. That has been flushed. The cell may go meanwhile.
  result<void> drain(std::uint64_t newest, const cell* of, const wait_limits& limits) {
    for (std::uint64_t done = 0;;) {
      node* n = nullptr;
      {
        std::scoped_lock guard{this->lock_};
        n = this->open_between(done, newest, of);
        if (n == nullptr) return {};
        n->add_owner();
        done = n->number;
      }
      shared_future<value> outcome{state_ref<future_state<value>>{n}};
      const result<void> over = outcome.wait(limits);
      if (!over) return over;
    }
  }

  /// With the lock held: what the calls so far lead to, or led to last; null if that is forgotten. Whoever asks does not count as looking at it.
  state_ref<future_state<value>> outcome_of(cell& c) noexcept {
    node* n = c.waiting;
    if (n == nullptr) n = c.last;
    if (n == nullptr) return {};
    n->add_owner();
    return state_ref<future_state<value>>{n};
  }

  /// By the handle, last.
  void destroy() noexcept {
    if (origin_.forked()) return;  // what ran then runs in the parent
    this->close();
    if constexpr (run_value<R>::is_awaited) stop_.request_stop();
    if (paced_frame::inside(this)) {
      this->release_at_end();
    } else {
      while (this->busy() != 0 && trampoline::run_one()) {
      }
      this->wait_and_release();
    }
    this->drop_owner();
  }

  [[nodiscard]] std::size_t failed() const noexcept { return failed_.load(std::memory_order_relaxed); }  // relaxed: a counter

  // --- what paced_core asks for

  void report(node& first, bool wanted) noexcept {
    if (!first.failure) return;
    failed_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
    if (wanted || !on_error_) return;
    try {
      on_error_(first.failure);
    } catch (...) {                                     // a handler that fails has nobody left to tell
      failed_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
    }
  }
  void publish(node& first) noexcept {
    if (!first.failure) return static_cast<future_state<value>&>(first).publish();
    first.set_exception(std::move(first.failure));
  }
  void give_up(node& first) noexcept {
    first.latest->arguments.reset();
    first.set_error(errc::cancelled);
  }
  void superseded(node& old) noexcept { old.arguments.reset(); }

 protected:
  ~paced_function() = default;

  // Of release(), by Derived: all that is the user's but the function itself.
  void release_all() noexcept {
    static_cast<Derived&>(*this).for_each_cell([&](cell& c) { this->clear(c); });
    on_error_ = nullptr;
  }

 private:
  struct nothing {};

  static timer_queue& timers_of(const any_clock& c) {
    timer_queue* const own = c.after(std::chrono::nanoseconds{0}).queue();
    return own != nullptr ? *own : std_sync::steady_timers();
  }
  static Derived& core_of(node& n) noexcept { return *static_cast<Derived*>(n.of->core); }

  static void come_home(node& n) noexcept {
    Derived& self = core_of(n);
    const paced_frame here{&static_cast<paced_function&>(self)};
    const bool begins = self.begin(n);
    if (begins && !self.run(n)) return;
    self.end(n, begins);
  }

  R invoke(node& first) {
    return std::apply([&](auto&... a) -> R { return static_cast<Derived&>(*this).invoke(*first.of, static_cast<A&&>(a)...); },
                      *first.latest->arguments);
  }

  // False: it will end later.
  bool run(node& first) noexcept {
    try {
      if constexpr (run_value<R>::is_awaited) {
        await(*this, first)
            .begin(
                first,
                [](work_item& item) noexcept {
                  auto& n = static_cast<node&>(item);
                  Derived& self = core_of(n);
                  const paced_frame here{&static_cast<paced_function&>(self)};
                  n.latest->arguments.reset();
                  self.end(n, true);
                },
                where_, stop_.get_token());
        return false;
      } else if constexpr (std::is_void_v<value>) {
        invoke(first);
        first.emplace();
      } else {
        first.emplace(invoke(first));
      }
    } catch (...) {
      first.failure = std::current_exception();
    }
    first.latest->arguments.reset();
    return true;
  }
  // At the end a task behind a future is asked to stop, and awaited: it may use what the function refers to.
  template <class Given>
  static decltype(auto) to_its_end(Given& given) noexcept {
    if constexpr (is_future<Given>) {
      return joined_future{std::move(given), promise_at_stop::is_let_go};
    } else {
      return (given);
    }
  }
  static run_coroutine await(paced_function& self, node& first) {
    try {
      R given = self.invoke(first);
      auto&& run = to_its_end(given);
      if constexpr (std::is_void_v<value>) {
        co_await std::move(run);
        first.emplace();
      } else {
        first.emplace(co_await std::move(run));
      }
    } catch (...) {
      first.failure = std::current_exception();
    }
  }

  const any_scheduler where_;
  error_handler on_error_;
  process_origin origin_;
  std::atomic<std::size_t> failed_{0};
  [[no_unique_address]] std::conditional_t<run_value<R>::is_awaited, std::stop_source, nothing> stop_;
};

// What a callable's one signature is.
template <class F>
struct signature;
template <class R, class... A, bool N>
struct signature<R (*)(A...) noexcept(N)> {
  using type = R(A...);
};
template <class R, class C, class... A, bool N>
struct signature<R (C::*)(A...) noexcept(N)> {
  using type = R(A...);
};
template <class R, class C, class... A, bool N>
struct signature<R (C::*)(A...) const noexcept(N)> {
  using type = R(A...);
};
template <class F>
  requires requires { &F::operator(); }
struct signature<F> : signature<decltype(&F::operator())> {};
template <class F>
using signature_of = typename signature<std::decay_t<F>>::type;

}  // namespace penstock::inline v0_1::detail
