// penstock/sync/mutex.hpp: mutual exclusion among coroutines and threads.
//
//   penstock::mutex m;
//   auto guard = co_await m.async_lock();     // a coroutine: suspends; result<std::unique_lock<mutex>>
//   if (!guard) co_return guard.error();      // stopped
//
//   std::scoped_lock also_mine{m};            // a thread: blocks
//
// The forms that the standard names (lock, try_lock, try_lock_for, try_lock_until) behave as it says, so std::scoped_lock, std::unique_lock,
// std::lock and std::condition_variable_any work with it. The forms that it does not know give a result with a std::unique_lock inside.
//
// Ownership      by nobody in particular: a coroutine may lock on one thread and unlock on another. Not recursive.
// Fairness       that of a semaphore with one permit (semaphore.hpp): by default a newcomer may overtake, for about a millisecond at the
//                most; with {.fairness = fairness::fifo} never.
// Thread safety  every member may be called concurrently; unlock() only by who holds the lock. A mutex may be destroyed when no member runs (not
//                even the last unlock()), nobody waits and every operation that waited has resumed.
// Cancellation   a wait that is stopped or times out takes nothing, and who stands behind it is served.
// Cost           uncontended: one compare-exchange to lock, one fetch_add to unlock. Waiting does not allocate.
#pragma once

#include <cassert>
#include <chrono>
#include <cstddef>
#include <mutex>

#include <penstock/observe/metric_sink.hpp>
#include <penstock/sync/detail/lock_request.hpp>
#include <penstock/sync/semaphore.hpp>

namespace penstock::inline v0_1 {

template <class Sync = detail::std_sync>
class basic_mutex {
 public:
  using guard = std::unique_lock<basic_mutex>;

  explicit basic_mutex(semaphore_options options = {}) : permit_{1, options} {}

  /// Blocks until the lock is had.
  void lock() { static_cast<void>(permit_.acquire()); }
  /// Also ends when stop is requested, with errc::cancelled; at once, and without the lock, if it was before the call.
  result<guard> lock(const typename Sync::stop_token& stop) { return detail::adopt_if<guard>(permit_.acquire(stop), *this); }
  /// Also ends at a deadline, with errc::timeout. A free lock is taken even if the deadline has passed.
  result<guard> lock(const wait_limits& limits) { return detail::adopt_if<guard>(permit_.acquire(limits), *this); }

  /// Never waits, and fails only if the lock is held (or, with fairness::fifo, somebody waits for it).
  [[nodiscard]] bool try_lock() { return permit_.try_acquire().has_value(); }
  /// Waits at the most for `timeout`.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> timeout) {
    return permit_.try_acquire_for(timeout).has_value();
  }
  [[nodiscard]] bool try_lock_until(deadline until) { return permit_.try_acquire_until(until).has_value(); }

  /// `co_await m.async_lock()` is a result<std::unique_lock<mutex>>; observes the coroutine's stop token; takes with_timeout, with_stop and via.
  auto async_lock() { return detail::async_lock_of<guard>(permit_, *this, 1); }

  /// Gives the lock back and serves who waits; may run a resumed coroutine on this thread unless it has a scheduler. Precondition: it is held.
  void unlock() noexcept {
    assert(permit_.available() == 0 && "a mutex was unlocked that nobody holds");
    permit_.release();
  }

  /// How many stand in line now.
  [[nodiscard]] std::size_t waiters() const noexcept { return permit_.waiters(); }

 private:
  template <class S>
  friend void describe(const basic_mutex<S>& m, metric_sink& to);

  basic_semaphore<Sync> permit_;
};

using mutex = basic_mutex<>;

/// What a registry sees of a mutex (observe/registry.hpp): who waits, and whether it is held.
template <class Sync>
void describe(const basic_mutex<Sync>& m, metric_sink& to) {
  to.kind("mutex");
  describe(m.permit_, to);  // a semaphore's: of one permit
}

}  // namespace penstock::inline v0_1
