// penstock/core/spawn.hpp: begins a coroutine now, and keeps a hold on it.
//
//   auto download = penstock::spawn(pool, fetch(url));   // runs on the pool
//   …
//   document d = download.result();                      // or: co_await std::move(download)
//
// Thread safety  a handle belongs to one thread at a time.
// Destruction    requests stop and waits for the end, as std::jthread does: nothing runs on behind its owner's back. So do not
//                let a handle go on a thread that its coroutine needs in order to end, unless it is a worker of a pool: that one runs the
//                pool's coroutines while it waits for one (worker_pool.hpp).
// Allocation     one coroutine frame.
#pragma once

#include <stop_token>
#include <utility>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/request_stop.hpp>
#include <penstock/core/detail/root.hpp>
#include <penstock/core/detail/sending.hpp>
#include <penstock/core/modifiers.hpp>

namespace penstock::inline v0_1 {

template <class T>
class [[nodiscard]] spawned : public detail::sending<spawned<T>> {
 public:
  spawned(spawned&& other) noexcept = default;
  spawned& operator=(spawned&& other) noexcept {
    spawned gone{std::move(*this)};  // ends what this one held
    coroutine_ = std::move(other.coroutine_);
    stop_ = std::move(other.stop_);
    return *this;
  }
  ~spawned() {
    if (!coroutine_) return;
    stop_.request_stop();
    coroutine_.wait();
  }

  /// Whether it has ended.
  [[nodiscard]] bool done() const noexcept { return coroutine_.ended().is_set(); }

  /// Asks the coroutine to stop: its stop token says so, and its waits end with errc::cancelled. It may end inside this call, and
  /// whoever it wakes may destroy the handle.
  void request_stop() noexcept {
    detail::request_stop(stop_);  // *this may be gone when the first callback returns
  }

  /// Blocks until it has ended.
  void wait() const noexcept { coroutine_.wait(); }

  /// Blocks until it has ended; gives its value or throws its exception. Once.
  T result() {
    coroutine_.wait();
    return coroutine_.take();
  }

  /// Awaits the end; the value of the await is the coroutine's, or its exception is thrown. Once. The wait itself cannot be
  /// cancelled, for what was begun is always joined: call request_stop().
  auto operator co_await() && noexcept { return awaiter{coroutine_}; }

 private:
  template <class Context, class Awaitable>
  friend auto spawn(Context&& context, Awaitable awaitable);
  template <class Awaitable>
  friend auto spawn(Awaitable awaitable);

  using sync = detail::dependent<detail::std_sync, T>;
  using join = detail::wait_awaiter<detail::basic_one_shot<sync>, detail::plain_node<sync>>;
  struct awaiter : join {
    explicit awaiter(detail::root<T>& c) : join{detail::uncancelled, c.ended()}, coroutine{c} {}
    T await_resume() {
      static_cast<void>(join::await_resume());
      return coroutine.take();
    }
    detail::root<T>& coroutine;
  };

  spawned(detail::root<T> coroutine, any_scheduler where) : coroutine_{std::move(coroutine)} {
    coroutine_.start(where, stop_.get_token());
  }

  detail::root<T> coroutine_;
  std::stop_source stop_;
};

/// Begins `awaitable` (a task, or any operation that can be awaited) in a context: a worker_pool, a manual_executor, any
/// scheduler.
template <class Context, class Awaitable>
[[nodiscard]] auto spawn(Context&& context, Awaitable awaitable) {
  using value = detail::await_result<Awaitable>;
  return spawned<value>{detail::run_root<value, Awaitable>(std::move(awaitable)), via(context).to};
}

/// Begins `awaitable` on this thread; returns when it first waits for something. It goes on wherever that is completed. Called by
/// a coroutine that runs inline itself, it begins as soon as that one waits.
template <class Awaitable>
[[nodiscard]] auto spawn(Awaitable awaitable) {
  return spawn(any_scheduler{}, std::move(awaitable));
}

}  // namespace penstock::inline v0_1
