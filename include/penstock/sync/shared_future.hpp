// penstock/sync/shared_future.hpp: a value that somebody will give once, and any number wait for and look at.
//
//   penstock::shared_future<config> settings{pool.submit(load)};
//   auto copy = settings;                       // another one who waits for the same
//   int port = settings.get().port;             // a thread; a coroutine: (co_await settings).port
//
// States         as a future's; but what it gives stays where it is until the last of the copies goes.
// Thread safety  each copy belongs to one thread at a time, the copies of one may be used concurrently. What get() refers to is shared: the
//                value's const members must bear that, and so must an exception's.
// Cancellation   a wait that is stopped or times out leaves it as it was. Dropping every copy detaches.
// Cost           none beyond the future's own allocation; a copy is one atomic increment. Waiting does not allocate.
// Sanitizers     an exception that two threads hold is released under libstdc++'s own count, which the thread sanitizer cannot see: keep a copy
//                of the shared_future until the exception is handled, and it has nothing to say (so with std::shared_future).
#pragma once

#include <cassert>
#include <exception>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/sync/detail/future_state.hpp>
#include <penstock/sync/detail/waitable.hpp>
#include <penstock/sync/future.hpp>

namespace penstock::inline v0_1 {

/// T as of future. wait(), wait(stop), wait(limits), try_wait(), try_wait_for(), try_wait_until() and async_wait() are those of detail::waitable and
/// tell whether it is ready; on a worker of a pool they run what they wait for, as a future's do. Every member but valid() has the
/// precondition valid(), which is asserted.
template <class T>
class shared_future : public detail::waitable<shared_future<T>, detail::std_sync>, public detail::sending<shared_future<T>> {
  using state = detail::future_state<T>;

 public:
  using value_type = T;

  /// Refers to nothing: valid() is false.
  shared_future() noexcept = default;
  /// Of a future that nobody has got from; that one is not valid() afterwards.
  shared_future(future<T>&& f) noexcept : state_{std::move(f.state_)} {}
  /// For those who make promises of their own.
  explicit shared_future(detail::state_ref<state> s) noexcept : state_{std::move(s)} {}
  shared_future(const shared_future& other) noexcept : state_{shared(other.state_)} {}
  shared_future(shared_future&& other) noexcept = default;
  shared_future& operator=(const shared_future& other) noexcept {
    state_ = shared(other.state_);
    return *this;
  }
  shared_future& operator=(shared_future&& other) noexcept = default;
  ~shared_future() = default;

  [[nodiscard]] bool valid() const noexcept { return static_cast<bool>(state_); }
  [[nodiscard]] bool is_ready() const noexcept { return waited_for().is_set(); }

  /// Blocks until it is ready; gives the value, which lives as long as a copy of this does; or throws the exception that was set, or
  /// std::system_error of the error code that was set. As often as one likes.
  std::add_lvalue_reference_t<const T> get() & {
    this->wait();
    return state_->peek();
  }
  /// The same for one that goes: a copy of the value.
  T get() && {
    this->wait();
    return state_->peek();
  }

  /// `co_await f`: a copy of the value, or throws as get(), without blocking. Observes the coroutine's stop token: std::system_error of
  /// errc::cancelled. To limit the wait otherwise: async_wait(), then get().
  auto operator co_await() const noexcept {
    assert(valid() && "a shared_future was used that refers to nothing");
    state_->assist(detail::waiter_kind::coroutine);
    return awaiter{state_.share()};
  }

  // The hook of detail::waitable; not for users.
  void assist() noexcept {
    if (valid()) state_->assist(detail::waiter_kind::thread);
  }

 private:
  friend detail::waitable<shared_future, detail::std_sync>;
  using sync = detail::dependent<detail::std_sync, T>;
  using wait_for_it = detail::wait_awaiter<detail::basic_one_shot<sync>, detail::plain_node<sync>>;

  struct awaiter : wait_for_it {
    explicit awaiter(detail::state_ref<state> s) noexcept : wait_for_it{detail::unmodified, s->ready()}, awaited{std::move(s)} {}
    T await_resume() {
      const result<void> ended = wait_for_it::await_resume();
      if (!ended) throw std::system_error{ended.error(), "penstock::shared_future"};
      return awaited->peek();
    }
    detail::state_ref<state> awaited;
  };

  static detail::state_ref<state> shared(const detail::state_ref<state>& s) noexcept {
    return s ? s.share() : detail::state_ref<state>{};
  }
  detail::basic_one_shot<>& waited_for() const noexcept {
    assert(valid() && "a shared_future was used that refers to nothing");
    return state_->ready();
  }

  detail::state_ref<state> state_;
};

}  // namespace penstock::inline v0_1
