// penstock/sync/wait_group.hpp: waits until as many have finished as were announced.
//
//   penstock::wait_group downloads;
//   for (const url& u : urls) {
//     downloads.add();
//     pool.post([&downloads, u] { fetch(u); downloads.done(); });
//   }
//   downloads.wait();
//
// Go's WaitGroup; constructed with a count, it is a countdown latch: `wait_group parts{4}`, then done() four times. It can be used again once
// the count is zero: add() opens the next round.
//
// Invariants     waits pass while the count is zero. It becomes zero only under the lock, so that the last done() and the line agree.
// Thread safety  every member may be called concurrently. add() belongs before what it announces: by who is counted itself, or by who waits.
//                Whoever returned from a successful wait may destroy the group, provided that nobody else waits or is about to: done() touches
//                nothing of it any more. Having seen count() == 0 alone gives no such right.
// Memory order   what happened before each done() is visible after the wait.
// Cancellation   a wait that is stopped or times out leaves the group as it was.
// Cost           add(), and done() but for the last one: one compare-exchange. The last done(): one lock. A wait when the count is zero: two loads.
//                Waiting does not allocate.
#pragma once

#include <atomic>
#include <cstddef>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>

#include <penstock/core/detail/gate.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/sync/detail/waitable.hpp>

namespace penstock::inline v0_1 {

/// wait(), wait(stop), wait(limits), try_wait(), try_wait_for(), try_wait_until(), async_wait() are those of detail::waitable.
template <class Sync = detail::std_sync>
class basic_wait_group : public detail::gate<basic_wait_group<Sync>, Sync>,
                         public detail::waitable<basic_wait_group<Sync>, Sync> {
 public:
  /// Throws std::invalid_argument if n < 0.
  explicit basic_wait_group(std::ptrdiff_t n = 0) : count_{checked(n)} {}

  /// Announces `n` more. Throws std::invalid_argument if n < 0 or the count would overflow; then nothing has changed.
  void add(std::ptrdiff_t n = 1) {
    checked(n);
    std::ptrdiff_t now = count_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
    do {
      if (n > std::numeric_limits<std::ptrdiff_t>::max() - now) {
        throw std::invalid_argument{"penstock::wait_group: the count overflows"};
      }
      // relaxed: announces only; as a read-modify-write it does not break the chain of releases that a wait acquires
    } while (!count_.compare_exchange_weak(now, now + n, std::memory_order_relaxed, std::memory_order_relaxed));
  }

  /// `n` have finished. The one that makes the count zero wakes every waiter, and may run resumed coroutines on this thread unless they
  /// have a scheduler. Throws std::invalid_argument if n < 0 or n > count(); then nothing has changed.
  void done(std::ptrdiff_t n = 1) {
    checked(n);
    std::ptrdiff_t now = count_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
    while (now > n) {
      // release: pairs with the acquire in finish() and open(). The last touch: others may finish, and a waiter destroy *this.
      if (count_.compare_exchange_weak(now, now - n, std::memory_order_release, std::memory_order_relaxed)) return;
    }
    finish(n);
  }

  /// How many have not finished. A snapshot.
  [[nodiscard]] std::ptrdiff_t count() const noexcept {
    return count_.load(std::memory_order_relaxed);  // relaxed: only a number
  }

 private:
  friend detail::gate<basic_wait_group, Sync>;
  bool open() const noexcept {
    return count_.load(std::memory_order_acquire) == 0;  // acquire: pairs with the releases of every done()
  }
  bool enter() const noexcept { return count_.load(std::memory_order_relaxed) == 0; }  // relaxed: lock_ orders it after finish()

  void finish(std::ptrdiff_t n) {
    detail::wait_list<Sync> won;
    {
      std::scoped_lock guard{this->lock_};
      std::ptrdiff_t now = count_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
      do {
        if (n > now) {
          throw std::invalid_argument{"penstock::wait_group: " + std::to_string(n) + " done of " + std::to_string(now)};
        }
        // release: pairs with the acquire in open(). acquire: pairs with the release of the other done(), whose work the
        // waiters learn of through this thread.
      } while (!count_.compare_exchange_weak(now, now - n, std::memory_order_acq_rel, std::memory_order_relaxed));
      if (now == n) this->waiters_.win_all(detail::outcome::granted, won);
    }
    won.complete_all();  // outside the lock: a completion may destroy *this
  }

  static std::ptrdiff_t checked(std::ptrdiff_t n) {
    if (n < 0) throw std::invalid_argument{"penstock::wait_group: n is " + std::to_string(n)};
    return n;
  }

  typename Sync::template atomic<std::ptrdiff_t> count_;
};

using wait_group = basic_wait_group<>;

/// What a registry sees of it (observe/registry.hpp): who waits, and how many have not finished.
template <class Sync>
void describe(const basic_wait_group<Sync>& g, metric_sink& to) {
  to.kind("wait_group");
  to.gauge(metrics::depth, g.waiters());
  to.gauge(metrics::in_flight, g.count());
}

}  // namespace penstock::inline v0_1
