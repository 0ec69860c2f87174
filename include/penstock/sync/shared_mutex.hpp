// penstock/sync/shared_mutex.hpp: many readers or one writer, coroutines and threads.
//
//   penstock::shared_mutex table;
//   auto reading = co_await table.async_lock_shared();   // a coroutine: result<std::shared_lock<shared_mutex>>
//   std::unique_lock writing{table};                     // a thread: blocks
//
// The forms that the standard names behave as it says, so std::shared_lock, std::unique_lock and std::scoped_lock work with it. The forms
// that it does not know give a result with one of std's locks inside.
//
// Algorithm      a first-come-first-served semaphore of max_readers permits: a reader holds one, a writer all.
// Fairness       in order of arrival: whoever comes while somebody waits stands behind. Readers who stand next to each other enter together,
//                those behind a waiting writer only after it. So nobody starves: each waits for those before it and for no one
//                else. A caller polls for a while before it takes its place in line: a writer among readers for about a microsecond, others
//                for some 30 µs, or where others want the processors one yield to them.
// Ownership      by nobody in particular: a coroutine may lock on one thread and unlock on another. Not recursive, not even for reading: a second
//                lock_shared() of the same reader deadlocks with a writer between the two.
// Thread safety  every member may be called concurrently; unlock() and unlock_shared() only by who holds that lock. It may be destroyed when no
//                member runs (not even the last unlock), nobody waits and every operation that waited has resumed.
// Cancellation   a wait that is stopped or times out takes nothing; readers behind a writer that gave up enter if they can.
// Cost           uncontended: one compare-exchange to lock, one fetch_add to unlock, for readers too. Waiting does not allocate.
#pragma once

#include <cassert>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <shared_mutex>

#include <penstock/observe/metric_sink.hpp>
#include <penstock/sync/detail/lock_request.hpp>
#include <penstock/sync/semaphore.hpp>

namespace penstock::inline v0_1 {

template <class Sync = detail::std_sync>
class basic_shared_mutex {
 public:
  using guard = std::unique_lock<basic_shared_mutex>;
  using shared_guard = std::shared_lock<basic_shared_mutex>;

  /// As many can read at a time; more of them wait.
  static constexpr std::ptrdiff_t max_readers = std::ptrdiff_t{1} << 26;

  basic_shared_mutex() : permits_{max_readers, {.fairness = fairness::fifo}} {}

  /// Blocks until nobody else reads or writes.
  void lock() { static_cast<void>(permits_.acquire(max_readers)); }
  /// Also ends when stop is requested, with errc::cancelled; at once, and without the lock, if it was before the call.
  result<guard> lock(const typename Sync::stop_token& stop) {
    return detail::adopt_if<guard>(permits_.acquire(stop, max_readers), *this);
  }
  /// Also ends at a deadline, with errc::timeout. A free lock is taken even if the deadline has passed.
  result<guard> lock(const wait_limits& limits) { return detail::adopt_if<guard>(permits_.acquire(limits, max_readers), *this); }
  /// Never waits, and fails if anybody reads, writes or stands in line.
  [[nodiscard]] bool try_lock() { return permits_.try_acquire(max_readers).has_value(); }
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> timeout) {
    return permits_.try_acquire_for(timeout, max_readers).has_value();
  }
  [[nodiscard]] bool try_lock_until(deadline until) { return permits_.try_acquire_until(until, max_readers).has_value(); }
  /// `co_await m.async_lock()` is a result<std::unique_lock<shared_mutex>>; observes the coroutine's stop token; takes with_timeout, with_stop
  /// and via.
  auto async_lock() { return detail::async_lock_of<guard>(permits_, *this, max_readers); }
  /// Gives the writer's lock back and serves who waits; may run resumed coroutines on this thread unless they have a scheduler. Precondition: a
  /// writer holds it.
  void unlock() noexcept {
    assert(permits_.available() == 0 && "a shared_mutex was unlocked that no writer holds");
    permits_.release(max_readers);
  }

  /// The same for readers: blocks until nobody writes, nor stands before in line.
  void lock_shared() { static_cast<void>(permits_.acquire()); }
  result<shared_guard> lock_shared(const typename Sync::stop_token& stop) {
    return detail::adopt_if<shared_guard>(permits_.acquire(stop), *this);
  }
  result<shared_guard> lock_shared(const wait_limits& limits) {
    return detail::adopt_if<shared_guard>(permits_.acquire(limits), *this);
  }
  /// Never waits, and fails if anybody writes or stands in line.
  [[nodiscard]] bool try_lock_shared() { return permits_.try_acquire().has_value(); }
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_shared_for(std::chrono::duration<Rep, Period> timeout) {
    return permits_.try_acquire_for(timeout).has_value();
  }
  [[nodiscard]] bool try_lock_shared_until(deadline until) { return permits_.try_acquire_until(until).has_value(); }
  /// `co_await m.async_lock_shared()` is a result<std::shared_lock<shared_mutex>>.
  auto async_lock_shared() { return detail::async_lock_of<shared_guard>(permits_, *this, 1); }
  /// Precondition: a reader holds it.
  void unlock_shared() noexcept {
    assert(permits_.available() < max_readers && "a shared_mutex was unlocked that no reader holds");
    permits_.release();
  }

  /// How many stand in line now, readers and writers.
  [[nodiscard]] std::size_t waiters() const noexcept { return permits_.waiters(); }

 private:
  template <class S>
  friend void describe(const basic_shared_mutex<S>& m, metric_sink& to);

  basic_semaphore<Sync> permits_;
};

using shared_mutex = basic_shared_mutex<>;

/// What a registry sees of it (observe/registry.hpp): who waits, writers among them, and who holds it.
template <class Sync>
void describe(const basic_shared_mutex<Sync>& m, metric_sink& to) {
  const std::ptrdiff_t held = basic_shared_mutex<Sync>::max_readers - m.permits_.available();
  const bool writing = held == basic_shared_mutex<Sync>::max_readers;
  to.kind("shared_mutex");
  to.gauge(metrics::depth, m.waiters());
  to.gauge(metrics::in_flight, writing ? 1 : held);
  to.gauge({"writing", "1: a writer holds it."}, writing);
  to.gauge({"waiting_writers", "Writers among those who wait."}, m.permits_.waiters_for(basic_shared_mutex<Sync>::max_readers));
}

}  // namespace penstock::inline v0_1
