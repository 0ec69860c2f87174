// penstock/channel/watch.hpp: the latest value, and waiting until there is a newer one.
//
//   penstock::watch<config> settings{load()};
//   std::jthread reloader{[&] { for (auto c : changes()) settings.set(std::move(c)); settings.close(); }};
//   auto mine = settings.subscribe();
//   while (mine.wait_changed()) apply(mine.get());           // every time with the latest; those between are skipped
//
// Invariants     each set() makes one version; value and version change together, under lock_. No watcher waits that has not seen the latest.
// Linearizable   set(), update() and get() happen at one moment each, under lock_. A value is an object of its own that never changes, kept
//                by the watch and by who reads it just now: so nothing is torn, and no user code runs under the lock.
// Thread safety  every member may be called concurrently, but for construction and destruction. A watcher belongs to one consumer at a time. A
//                watch may be destroyed when no member runs, no watcher is used any more and every wait has resumed.
// Fairness       one set() lets all pass that wait, in the order in which they came.
// Cancellation   a wait that is stopped or times out has no effect: the change will be there.
// Cost           set(): one allocation, one lock, one step per watcher that waits. get(), read(): one lock, one atomic decrement, and what is
//                done with the value. changed(): one load. Waiting does not allocate.
#pragma once

#include <atomic>
#include <cassert>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

#include <penstock/channel/detail/watch_value.hpp>
#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

template <class T, class Sync = detail::std_sync>
class basic_watch {
 public:
  using sync = Sync;
  using value_type = T;
  using stop_token = typename Sync::stop_token;
  class watcher;

  explicit basic_watch(T initial) : value_{handle::make(std::move(initial))} {}
  basic_watch(const basic_watch&) = delete;
  basic_watch& operator=(const basic_watch&) = delete;
  ~basic_watch() { assert(waiters_.empty() && "a watch was destroyed while somebody waits for it"); }

  /// Replaces the value and wakes every watcher that waits. errc::closed if the watch is closed; the value that was passed is gone then. May run
  /// resumed coroutines on this thread unless they have a scheduler. Throws what allocating or moving throws, and has then done nothing.
  result<void> set(T value) {
    handle next = handle::make(std::move(value));
    return replace(next, nullptr) == exchange::closed ? result<void>{errc::closed} : result<void>{};
  }

  /// Makes the next value from the latest: `f(T&)` changes a copy. No set() or update() comes between; if one does, `f` is called again with a
  /// newer copy, so it should do nothing else. errc::closed as with set(). What copying or `f` throws reaches the caller, and
  /// nothing has changed.
  template <std::invocable<T&> F>
    requires std::copy_constructible<T>
  result<void> update(F&& f) {
    for (;;) {
      const handle before = latest().value;
      handle next = handle::make(std::as_const(before->value));
      std::invoke(f, next->value);
      const exchange e = replace(next, before.get());
      if (e == exchange::closed) return errc::closed;
      if (e == exchange::done) return {};
    }
  }

  /// A copy of the latest value.
  [[nodiscard]] T get() const
    requires std::copy_constructible<T>
  {
    return latest().value->value;
  }
  /// Calls `f(const T&)` with the latest value and returns what it returns. Under no lock: the value stays as it is as long as `f` runs, while
  /// newer ones may come.
  template <std::invocable<const T&> F>
  decltype(auto) read(F&& f) const {
    const handle now = latest().value;
    return std::invoke(std::forward<F>(f), std::as_const(now->value));
  }

  /// A watcher that has seen the value that is there now.
  [[nodiscard]] watcher subscribe() const noexcept { return watcher{*this, version()}; }

  /// No more changes: set() fails, waits end with errc::closed once their watcher has seen the last value, which can still be read. Idempotent.
  void close() noexcept {
    detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      state_.store(state_.load(std::memory_order_relaxed) | closed,
                   std::memory_order_release);  // relaxed: lock_; release: see state()
      waiters_.win_all(detail::outcome::closed, won);
    }
    won.complete_all();
  }

  [[nodiscard]] bool is_closed() const noexcept { return (state() & closed) != 0; }
  /// How often the value was set. Out of date as soon as it is told, if others are at work.
  [[nodiscard]] std::uint64_t version() const noexcept { return state() >> 1; }

  /// How many watchers wait now.
  [[nodiscard]] std::size_t waiters() const noexcept {
    std::scoped_lock guard{lock_};
    return waiters_.size();
  }

  // The hooks of detail::wait_operation; not for users.
  struct change_node;
  typename Sync::mutex& wait_lock() const noexcept { return lock_; }
  bool try_pass(change_node& n) const noexcept { return passes(n, state()); }
  detail::step try_or_link(change_node& n, detail::link_at where, detail::wait_list<Sync>&) const noexcept {
    // relaxed: changed under lock_, so no change comes between this look and the linking
    if (passes(n, state_.load(std::memory_order_relaxed))) return detail::step::passed;
    if (where == detail::link_at::nowhere) return detail::step::refused;
    waiters_.push_back(n);
    return detail::step::linked;
  }
  void unlinked(change_node&, detail::wait_list<Sync>&) const noexcept {}

 private:
  using handle = detail::watch_handle<T, Sync>;
  using wait = detail::blocking_wait<const basic_watch, change_node>;
  enum class exchange : std::uint8_t { done, changed, closed };
  static constexpr std::uint64_t closed = 1;

  struct reading {
    handle value;
    std::uint64_t version;
  };
  // The moment of a get().
  reading latest() const noexcept {
    std::scoped_lock guard{lock_};
    return {value_, state_.load(std::memory_order_relaxed) >> 1};  // relaxed: changed under lock_
  }
  // The moment of a set(). `expected`: only if that is the latest. Afterwards `next` is what is to be destroyed, without the lock.
  exchange replace(handle& next, const void* expected) noexcept {
    detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      const std::uint64_t s = state_.load(std::memory_order_relaxed);  // relaxed: changed under lock_
      if ((s & closed) != 0) return exchange::closed;
      if (expected != nullptr && value_.get() != expected) return exchange::changed;
      value_.swap(next);
      state_.store(s + 2, std::memory_order_release);  // release: see state()
      waiters_.win_all(detail::outcome::granted, won);
    }
    won.complete_all();
    return exchange::done;
  }
  // acquire: pairs with the releases in replace() and close(); the value itself is read under lock_
  std::uint64_t state() const noexcept { return state_.load(std::memory_order_acquire); }
  static bool passes(change_node& n, std::uint64_t s) noexcept;

  handle value_;                                            // guarded by lock_
  typename Sync::template atomic<std::uint64_t> state_{0};  // version times two, plus `closed`; changed under lock_
  mutable typename Sync::mutex lock_;
  mutable detail::wait_queue<Sync> waiters_;  // guarded by lock_
};

/// What one consumer has seen. A small value; a copy has seen the same. Must not outlive the watch, nor be moved while it waits.
template <class T, class Sync>
class basic_watch<T, Sync>::watcher {
 public:
  /// Waits until there is a value that this watcher has not seen. However many there were, that is one change; it stays until get() or
  /// read() looks at the latest. errc::closed once the watch is closed and the last value was seen.
  result<void> wait_changed() { return detail::to_result(wait{*watched_, seen_}.run()); }
  /// Also ends when stop is requested, with errc::cancelled; at once if it was before the call.
  result<void> wait_changed(const stop_token& stop) { return detail::to_result(wait{*watched_, seen_}.run(stop, detail::never)); }
  /// Also ends at a deadline, with errc::timeout. A change is seen even if the deadline has passed.
  result<void> wait_changed(const wait_limits& limits) {
    return detail::to_result(wait{*watched_, seen_}.run(limits.stop, limits.deadline));
  }
  /// Never waits: errc::empty if there is nothing new.
  result<void> try_wait_changed() noexcept {
    change_node look{seen_};
    if (watched_->try_pass(look)) return detail::to_result(look.how);
    return errc::empty;
  }
  template <class Rep, class Period>
  result<void> try_wait_changed_for(std::chrono::duration<Rep, Period> timeout) {
    return wait_changed(wait_limits{.deadline = deadline::after(timeout)});
  }
  result<void> try_wait_changed_until(deadline until) { return wait_changed(wait_limits{.deadline = until}); }
  /// `co_await w.async_wait_changed()` is a result<void>; observes the coroutine's stop token; takes with_timeout, with_stop and via.
  auto async_wait_changed() const noexcept {
    return detail::async_operation<const basic_watch, change_node, std::uint64_t>{*watched_, seen_};
  }

  /// Whether there is a value that this watcher has not seen. Also when the watch is closed.
  [[nodiscard]] bool changed() const noexcept { return watched_->version() != seen_; }

  /// A copy of the latest value, which counts as seen from now on.
  [[nodiscard]] T get()
    requires std::copy_constructible<T>
  {
    return look()->value;
  }
  /// As the watch's, and the value counts as seen, also if `f` throws.
  template <std::invocable<const T&> F>
  decltype(auto) read(F&& f) {
    const handle now = look();
    return std::invoke(std::forward<F>(f), std::as_const(now->value));
  }
  /// The version that it saw last: how often the value had been set by then.
  [[nodiscard]] std::uint64_t seen() const noexcept { return seen_; }

 private:
  friend basic_watch;
  watcher(const basic_watch& w, std::uint64_t seen) noexcept : watched_{&w}, seen_{seen} {}
  handle look() noexcept {
    reading now = watched_->latest();
    seen_ = now.version;
    return std::move(now.value);
  }

  const basic_watch* watched_;
  std::uint64_t seen_;
};

template <class T, class Sync>
struct basic_watch<T, Sync>::change_node : detail::wait_node<Sync> {
  explicit change_node(std::uint64_t s) noexcept : seen{s} {}
  static result<void> take_result(detail::outcome decided) noexcept { return detail::to_result(decided); }

  const std::uint64_t seen;
};

template <class T, class Sync>
bool basic_watch<T, Sync>::passes(change_node& n, std::uint64_t s) noexcept {
  if (s >> 1 != n.seen) {
    n.how = detail::outcome::granted;
  } else if ((s & closed) != 0) {
    n.how = detail::outcome::closed;
  } else {
    return false;
  }
  return true;
}

template <class T>
using watch = basic_watch<T>;
template <class T>
using watcher = typename basic_watch<T>::watcher;

/// What a registry sees of a watch (observe/registry.hpp): watchers that wait, and changes. Watchers that do not wait are values, which nobody counts.
template <class T, class Sync>
void describe(const basic_watch<T, Sync>& w, metric_sink& to) {
  to.kind("watch");
  to.gauge(metrics::depth, w.waiters());
  to.counter({"changes", "How often the value was set."}, w.version());
  to.gauge({"closed", "1: no more changes come."}, w.is_closed());
}

}  // namespace penstock::inline v0_1
