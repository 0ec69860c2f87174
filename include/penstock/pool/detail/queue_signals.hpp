// penstock/pool/detail/queue_signals.hpp: what can be seen of a pool's queue without its lock: who searches, who sleeps, and whether it is open.
//
// Ownership      searching is announced by whoever does it, without the lock. Everything else is written under the queue's lock, and read by anybody.
// Order          who adds work and then looks here, and who announces here that it stops and then looks for work, must not miss each other
//                (task_queue.hpp, "Lost work"): those accesses are seq_cst. So is the look of who has put tasks into a lane while somebody drops what is
//                queued, or lets held back tasks go on: either it sees that, or they see the tasks.
// Layout         a cache line for the number of searchers, which changes with every search, and one for the others, which rarely change.
#pragma once

#include <atomic>
#include <cstddef>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class queue_signals {
 public:
  // --- anybody

  [[nodiscard]] unsigned searchers() const noexcept { return searching_.load(std::memory_order_seq_cst); }
  [[nodiscard]] bool nobody_searches() const noexcept { return searchers() == 0; }
  void begin_search() noexcept { searching_.fetch_add(1, std::memory_order_seq_cst); }
  void end_search() noexcept { searching_.fetch_sub(1, std::memory_order_seq_cst); }

  [[nodiscard]] bool somebody_idles() const noexcept { return idle_.load(std::memory_order_seq_cst) != 0; }
  [[nodiscard]] bool somebody_sleeps() const noexcept {
    return somebody_idles() || helpers_.load(std::memory_order_seq_cst) != 0;
  }
  [[nodiscard]] bool somebody_awaits_the_end() const noexcept { return end_watchers_.load(std::memory_order_seq_cst) != 0; }
  /// A hint, to which the lock tells the truth: whoever is through with its piece should look whether it has to lie down, or to leave.
  [[nodiscard]] bool surplus() const noexcept { return surplus_.load(std::memory_order_relaxed); }  // relaxed: a hint

  [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }  // acquire: as fresh as a lock's
  [[nodiscard]] bool paused() const noexcept { return paused_.load(std::memory_order_acquire); }  // acquire: as fresh as a lock's
  /// The same for who has put tasks into a lane.
  [[nodiscard]] bool holds_back() const noexcept { return paused_.load(std::memory_order_seq_cst); }
  [[nodiscard]] bool dropping() const noexcept { return dropping_.load(std::memory_order_seq_cst); }

  // --- with the lock held

  /// Those who may be woken (and one more if a thread may be started), whether there are too many workers, and who waits for what.
  void publish(std::size_t idle, bool surplus, std::size_t helpers, std::size_t end_watchers) noexcept {
    set(idle_, idle);
    set(surplus_, surplus);
    set(helpers_, helpers);
    set(end_watchers_, end_watchers);
  }
  void close() noexcept { closed_.store(true, std::memory_order_seq_cst); }
  void drop() noexcept { dropping_.store(true, std::memory_order_seq_cst); }
  void pause() noexcept { paused_.store(true, std::memory_order_release); }  // release: pairs with the acquire in paused()
  /// Whether something was held back.
  bool resume() noexcept { return paused_.exchange(false, std::memory_order_seq_cst); }

 private:
  template <class T>
  using atomic = typename Sync::template atomic<T>;

  template <class T>
  static void set(atomic<T>& signal, T value) noexcept {
    // relaxed: written under the lock only
    if (signal.load(std::memory_order_relaxed) != value) signal.store(value, std::memory_order_seq_cst);
  }

  alignas(cache_line) atomic<unsigned> searching_{0};
  alignas(cache_line) atomic<std::size_t> idle_{0};
  atomic<std::size_t> helpers_{0};
  atomic<std::size_t> end_watchers_{0};
  atomic<bool> surplus_{false};
  atomic<bool> closed_{false};
  atomic<bool> dropping_{false};
  atomic<bool> paused_{false};
};

}  // namespace penstock::inline v0_1::detail
