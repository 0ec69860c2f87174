// penstock/sync/event.hpp: flags that threads and coroutines can wait for.
//
//   penstock::event ready;
//   std::jthread worker{[&] { ready.wait(); serve(); }};
//   ready.set();                                              // lets everybody pass until reset()
//
//   penstock::auto_reset_event work;
//   work.set();                                               // lets one pass: who waits now, or the next who comes
//
// Invariants     a set event has an empty line; flag and line change only under one lock.
// Fairness       those in line pass in the order of arrival, each set() of an auto_reset_event going directly to the first; nobody overtakes.
//                A caller polls for a while before it takes its place in line: some 30 µs, or where others want the processors one yield to them.
// Thread safety  every member may be called concurrently. Whoever returned from a successful wait may destroy the event, provided that nobody
//                else waits or is about to: set() touches nothing of it any more. Having seen is_set() alone gives no such right.
// Coroutines     use async_wait(). One that blocks its thread in wait() holds up the coroutines that go on on that thread, without a scheduler
//                those that it resumed itself by set(): waiting for one of them hangs (docs/design.md, section 3).
// Cancellation   a wait that is stopped or times out leaves the event as it was. A wait that was let pass stays so, whatever comes later.
// Memory order   what happened before set() is visible after a wait that it let pass. A wait on a set event writes nothing, so what happened before it
//                need not be visible to who calls reset() later.
// Cost           is_set(): one load. A wait on a set event: two; on a set auto_reset_event: one lock, as set() and reset(). Waiting does not allocate.
#pragma once

#include <atomic>
#include <mutex>

#include <penstock/core/detail/gate.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/sync/detail/waitable.hpp>

namespace penstock::inline v0_1 {

/// Stays set until it is reset. wait(), wait(stop), wait(limits), try_wait(), try_wait_for(), try_wait_until(), async_wait() are those of
/// detail::waitable.
template <class Sync = detail::std_sync>
class basic_event : public detail::gate<basic_event<Sync>, Sync>, public detail::waitable<basic_event<Sync>, Sync> {
 public:
  explicit basic_event(bool initially_set = false) noexcept : set_{initially_set} {}

  [[nodiscard]] bool is_set() const noexcept {
    return set_.load(std::memory_order_acquire);  // acquire: pairs with the release in set()
  }

  /// Wakes every waiter, even if reset() follows at once, and lets later waits pass until reset(). Idempotent. May run resumed
  /// coroutines on this thread unless they have a scheduler.
  void set() noexcept {
    detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{this->lock_};
      set_.store(true, std::memory_order_release);  // release: pairs with the acquire in is_set()
      this->waiters_.win_all(detail::outcome::granted, won);
    }
    won.complete_all();  // outside the lock: a completion may destroy *this
  }

  /// Later waits have to wait. Idempotent.
  void reset() noexcept {
    std::scoped_lock guard{this->lock_};
    set_.store(false, std::memory_order_relaxed);  // relaxed: publishes nothing
  }

 private:
  friend detail::gate<basic_event, Sync>;
  bool open() const noexcept { return is_set(); }
  bool enter() const noexcept {
    return set_.load(std::memory_order_relaxed);  // relaxed: lock_ orders it after the set() that wrote it
  }

  typename Sync::template atomic<bool> set_;
};

/// Is reset by the wait that it lets pass. The members are those of `event`; try_wait() takes the signal.
template <class Sync = detail::std_sync>
class basic_auto_reset_event : public detail::gate<basic_auto_reset_event<Sync>, Sync>,
                               public detail::waitable<basic_auto_reset_event<Sync>, Sync> {
 public:
  explicit basic_auto_reset_event(bool initially_set = false) noexcept : set_{initially_set} {}

  /// Whether the next wait will pass. Somebody else may be faster.
  [[nodiscard]] bool is_set() const noexcept {
    return set_.load(std::memory_order_acquire);  // acquire: pairs with the release in set()
  }

  /// Lets exactly one waiter pass; without one, the next wait. Signals do not add up: setting it twice lets one pass.
  void set() noexcept {
    detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{this->lock_};
      if (auto* const first = this->waiters_.front()) {
        this->waiters_.win(*first, detail::outcome::granted, won);
      } else {
        set_.store(true, std::memory_order_release);  // release: pairs with the acquire in is_set()
      }
    }
    won.complete_all();  // outside the lock: a completion may destroy *this
  }

  /// Forgets a signal that nobody has taken. Idempotent.
  void reset() noexcept {
    std::scoped_lock guard{this->lock_};
    set_.store(false, std::memory_order_relaxed);  // relaxed: publishes nothing
  }

 private:
  friend detail::gate<basic_auto_reset_event, Sync>;
  bool open() const noexcept { return is_set(); }
  bool enter() noexcept {
    // relaxed, both: set_ changes under lock_ only, which orders what was written before set()
    if (!set_.load(std::memory_order_relaxed)) return false;
    set_.store(false, std::memory_order_relaxed);
    return true;
  }

  typename Sync::template atomic<bool> set_;
};

using event = basic_event<>;
using auto_reset_event = basic_auto_reset_event<>;

/// What a registry sees of an event (observe/registry.hpp): who waits, and whether it is set.
template <class Sync>
void describe(const basic_event<Sync>& e, metric_sink& to) {
  to.kind("event");
  to.gauge(metrics::depth, e.waiters());
  to.gauge({"set", "1: it is set, and waits pass."}, e.is_set());
}
template <class Sync>
void describe(const basic_auto_reset_event<Sync>& e, metric_sink& to) {
  to.kind("auto_reset_event");
  to.gauge(metrics::depth, e.waiters());
  to.gauge({"set", "1: it is set, and the next wait passes."}, e.is_set());
}

}  // namespace penstock::inline v0_1
