// penstock/sync/future.hpp: a value that somebody will give once, and somebody waits for.
//
//   penstock::promise<int> answer;
//   penstock::future<int> f = answer.get_future();
//   std::jthread worker{[p = std::move(answer)]() mutable { p.set_value(42); }};
//   int value = f.get();                       // a thread; a coroutine: co_await std::move(f)
//
// States         pending → ready: with a value, an exception or an error code. A promise that goes without having given anything makes it
//                errc::broken_promise.
// Thread safety  a promise belongs to one thread at a time, and so does a future; the two may be used concurrently.
// Cancellation   a wait that is stopped or times out leaves the future as it was: nothing is lost, and one can wait again. Dropping a future
//                detaches: what computes the value goes on, and the value is destroyed when the promise goes. The task of a pool or a strand is
//                asked to stop by request_stop(), which is what combinators do with those that they do not need any more.
// Cost           one allocation for both, by operator new. Giving: one lock. Getting: none if it is there. Waiting does not allocate.
#pragma once

#include <cassert>
#include <concepts>
#include <exception>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/sync/detail/future_state.hpp>
#include <penstock/sync/detail/waitable.hpp>

namespace penstock::inline v0_1 {

namespace detail {
template <class T>
class joined_future;
}

template <class T>
class shared_future;  // sync/shared_future.hpp

/// T is an object type that can be moved, a reference, or void. wait(), wait(stop), wait(limits), try_wait(), try_wait_for(), try_wait_until() and
/// async_wait() are those of detail::waitable: they tell whether it is ready, and get() then does not block. On a worker of a pool,
/// a blocking wait for a task of the same pool that nobody has begun runs that task itself; if the wait has a deadline or a stop token the task runs
/// to its end all the same, even past the deadline, and the wait then succeeds. try_wait() runs nothing. Every member but valid() has the
/// precondition valid(), which is asserted.
template <class T>
class [[nodiscard]] future : public detail::waitable<future<T>, detail::std_sync>, public detail::sending<future<T>> {
  using state = detail::future_state<T>;

 public:
  using value_type = T;
  using detaches_when_dropped = void;  ///< what `f | with_timeout(...)` does when it is late: the task goes on

  /// Refers to nothing: valid() is false.
  future() noexcept = default;
  /// For those who make promises of their own.
  explicit future(detail::state_ref<state> s) noexcept : state_{std::move(s)} {}

  /// Whether there is something to get: false once it was got, awaited or moved away.
  [[nodiscard]] bool valid() const noexcept { return static_cast<bool>(state_); }
  [[nodiscard]] bool is_ready() const noexcept { return waited_for().is_set(); }

  /// Asks the task that computes it to stop, and does not wait: a task that has not begun never will, and the future is ready with
  /// errc::cancelled; one that has begun sees it in its stop token, if it takes one (worker_pool::submit()). What it ends with then is the outcome. Of a
  /// promise's future, or one that is ready: no effect. What the task holds may be destroyed in here, and stop callbacks run.
  void request_stop() noexcept {
    assert(valid() && "a future was used that refers to nothing");
    detail::state_ref<state> here = state_.share();  // whom it wakes may destroy the future
    here->request_stop();
  }

  /// Blocks until it is ready; gives the value, or throws the exception that was set, or std::system_error of the error code that was set
  /// (errc::broken_promise if the promise went away). Once: valid() is false afterwards.
  T get() {
    this->wait();
    return std::exchange(state_, {})->take();
  }

  /// `co_await std::move(f)`: as get(), without blocking. Observes the coroutine's stop token: throws std::system_error of errc::cancelled and
  /// drops the future when stop is requested before it is ready. To limit the wait otherwise, or to keep the future: async_wait(), then get().
  auto operator co_await() && noexcept {
    assert(valid() && "a future was used that refers to nothing");
    state_->assist(detail::waiter_kind::coroutine);
    return awaiter{std::move(state_)};
  }

  // The hook of detail::waitable; not for users.
  void assist() noexcept {
    if (valid()) state_->assist(detail::waiter_kind::thread);
  }

 private:
  friend detail::waitable<future, detail::std_sync>;
  friend detail::joined_future<T>;
  friend shared_future<T>;
  using sync = detail::dependent<detail::std_sync, T>;
  using wait_for_it = detail::wait_awaiter<detail::basic_one_shot<sync>, detail::plain_node<sync>>;

  struct awaiter : wait_for_it {
    explicit awaiter(detail::state_ref<state> s) noexcept : wait_for_it{detail::unmodified, s->ready()}, awaited{std::move(s)} {}
    T await_resume() {
      const result<void> ended = wait_for_it::await_resume();
      if (!ended) throw std::system_error{ended.error(), "penstock::future"};
      return awaited->take();
    }
    detail::state_ref<state> awaited;
  };

  detail::basic_one_shot<>& waited_for() const noexcept {
    assert(valid() && "a future was used that refers to nothing");
    return state_->ready();
  }

  detail::state_ref<state> state_;
};

/// Gives the value. Precondition of every set_ member, asserted: none was called before, and the promise was not moved away. They may run resumed
/// coroutines on this thread unless those have a scheduler.
template <class T>
class promise {
  using state = detail::future_state<T>;

 public:
  using value_type = T;

  /// Throws std::bad_alloc.
  promise() : state_{detail::make_future_state<T>()} {}
  promise(promise&& other) noexcept = default;
  promise& operator=(promise&& other) noexcept {
    promise gone{std::move(*this)};  // breaks what this one had promised
    state_ = std::move(other.state_);
    retrieved_ = other.retrieved_;
    given_ = other.given_;
    return *this;
  }
  /// Gives errc::broken_promise if nothing was given.
  ~promise() {
    if (state_ && !given_) state_->set_error(errc::broken_promise);
  }

  /// The other end, once (asserted).
  future<T> get_future() {
    assert(state_ && !retrieved_ && "the future of a promise was retrieved already");
    retrieved_ = true;
    return future<T>{state_.share()};
  }

  // Each marks the promise before it publishes: who gets the value may destroy the promise at once.

  /// If making the value throws, nothing was given and the exception passes through.
  template <class U = T>
    requires(!std::is_void_v<T> && std::constructible_from<T, U &&> && (!std::is_reference_v<T> || std::is_lvalue_reference_v<U>))
  void set_value(U&& value) {
    state& s = pending();
    s.emplace(static_cast<U&&>(value));
    given_ = true;
    s.publish();
  }
  void set_value() noexcept
    requires std::is_void_v<T>
  {
    state& s = pending();
    s.emplace();
    given_ = true;
    s.publish();
  }
  /// Precondition: e is not null. Give it away (std::move), outside the handler: an exception belongs to one thread at a time.
  void set_exception(std::exception_ptr e) noexcept {
    state& s = pending();
    given_ = true;
    s.set_exception(std::move(e));
  }
  /// get() throws it in a std::system_error.
  void set_error(std::error_code e) noexcept {
    state& s = pending();
    given_ = true;
    s.set_error(e);
  }

 private:
  state& pending() const noexcept {
    assert(state_ && !given_ && "a promise was given twice, or moved away");
    return *state_;
  }

  detail::state_ref<state> state_;
  bool retrieved_ = false;
  bool given_ = false;
};

/// A future that is ready from the beginning.
template <class T>
[[nodiscard]] future<std::decay_t<T>> make_ready_future(T&& value) {
  promise<std::decay_t<T>> p;
  p.set_value(static_cast<T&&>(value));
  return p.get_future();
}
template <class T = void>
  requires std::is_void_v<T>
[[nodiscard]] future<T> make_ready_future() {
  promise<T> p;
  p.set_value();
  return p.get_future();
}

}  // namespace penstock::inline v0_1
