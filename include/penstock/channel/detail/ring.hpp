// penstock/channel/detail/ring.hpp: a bounded queue for many producers and many consumers that never waits for room or for items.
//
// A position is one word: the index of a slot in the low bits, above it a bit that says "closed" (in the tail only), above that the lap.
// Each slot carries a stamp that says what it is ready for: equal to a position, to be written by the producer that claims this position;
// one more, to be read by the consumer that claims it; after that it is stamped with the position one lap on. So an operation reads the line
// of its slot and not the index that the other side writes, any capacity works without a division, and capacity 1 is not ambiguous.
// After D. Vyukov, "Bounded MPMC queue" (1024cores), with laps in place of plain tickets.
//
// Linearizable  the claim (compare-exchange of tail or head) is the moment of a push or pop; "full" and "empty" are told only when the
//               indices say so at one moment. An operation that meets a slot which another claimed and has not finished yet waits for that one
//               (polling, then yielding; it never parks).
// Order         of claims; so each producer's items come out in its order.
// Item types    moving must not throw, for a claim cannot be given back: other types take locked_ring.hpp.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

enum class ring_step : unsigned char { done, full, empty, closed };

inline std::size_t checked_capacity(std::size_t capacity, std::size_t slot_size) {
  if (capacity == 0 || capacity > std::numeric_limits<std::size_t>::max() / 8 / slot_size) {
    throw std::invalid_argument{"penstock::channel: capacity is " + std::to_string(capacity)};
  }
  return capacity;
}

template <class T, class Sync = std_sync>
class ring {
 public:
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>);

  explicit ring(std::size_t capacity)
      : capacity_{checked_capacity(capacity, sizeof(slot))},
        closed_{std::bit_ceil(capacity + 1)},
        lap_{closed_ * 2},
        slots_{std::make_unique<slot[]>(capacity)} {
    for (std::size_t i = 0; i < capacity; ++i) {
      slots_[i].stamp.store(i, std::memory_order_relaxed);  // relaxed: whoever hands the ring to another thread publishes this
    }
  }
  ~ring() {
    std::optional<T> item;
    while (try_pop(item) == ring_step::done) {
    }
  }

  /// done: `item` was moved from; full, closed: it is untouched.
  ring_step try_push(T& item) noexcept {
    contention others;
    std::size_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange confirms it
    for (;;) {
      if ((tail & closed_) != 0) return ring_step::closed;
      slot& s = slots_[tail & (closed_ - 1)];
      const std::size_t stamp = s.stamp.load(std::memory_order_acquire);  // acquire: pairs with the store that ends try_pop()
      if (stamp == tail) {
        // seq_cst, as all that a waiter may look at: who claims and then looks for waiters, and who announces itself and then looks at
        // the indices, cannot both miss the other.
        if (!tail_.compare_exchange_weak(tail, after(tail), std::memory_order_seq_cst, std::memory_order_relaxed)) continue;
        s.put(item);
        s.stamp.store(stamp + 1,
                      std::memory_order_seq_cst);  // publishes the item to try_pop(), and comes before the look for waiters
        return ring_step::done;
      }
      if (stamp + lap_ == tail + 1 && head_.load(std::memory_order_seq_cst) + lap_ == tail) return ring_step::full;
      others.wait();
      tail = tail_.load(std::memory_order_relaxed);  // relaxed: as above
    }
  }

  /// done: `out` holds the oldest item. empty: there is none; closed: and there will be none.
  ring_step try_pop(std::optional<T>& out) noexcept {
    contention others;
    std::size_t head = head_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange confirms it
    for (;;) {
      slot& s = slots_[head & (closed_ - 1)];
      const std::size_t stamp = s.stamp.load(std::memory_order_acquire);  // acquire: pairs with the store that ends try_push()
      if (stamp == head + 1) {
        if (!head_.compare_exchange_weak(head, after(head), std::memory_order_seq_cst, std::memory_order_relaxed)) continue;
        s.take(out);
        s.stamp.store(head + lap_,
                      std::memory_order_seq_cst);  // gives the slot to the next lap, and comes before the look for waiters
        return ring_step::done;
      }
      if (stamp == head) {
        const std::size_t tail = tail_.load(std::memory_order_seq_cst);
        if ((tail & ~closed_) == head) return (tail & closed_) != 0 ? ring_step::closed : ring_step::empty;
      }
      others.wait();
      head = head_.load(std::memory_order_relaxed);  // relaxed: as above
    }
  }

  /// By the indices, not by the slots: a waiter that parks on these cannot be stranded by slots that get ready out of order.
  [[nodiscard]] bool full() const noexcept {
    const std::size_t head = head_.load(std::memory_order_seq_cst);
    return head + lap_ == (tail_.load(std::memory_order_seq_cst) & ~closed_);
  }
  [[nodiscard]] bool empty() const noexcept {
    const std::size_t head = head_.load(std::memory_order_seq_cst);
    return head == (tail_.load(std::memory_order_seq_cst) & ~closed_);
  }
  [[nodiscard]] bool is_closed() const noexcept { return (tail_.load(std::memory_order_seq_cst) & closed_) != 0; }

  /// No push is claimed from now on. The flag lies in the word that a push claims by, so none slips past it. False: it was closed before.
  bool close() noexcept { return (tail_.fetch_or(closed_, std::memory_order_seq_cst) & closed_) == 0; }

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  /// Exact when nothing else runs; otherwise some number that it may have been.
  [[nodiscard]] std::size_t size() const noexcept {
    for (;;) {
      const std::size_t tail = tail_.load(std::memory_order_seq_cst) & ~closed_;
      const std::size_t head = head_.load(std::memory_order_seq_cst);
      if ((tail_.load(std::memory_order_seq_cst) & ~closed_) != tail) continue;
      const std::size_t t = tail & (closed_ - 1);
      const std::size_t h = head & (closed_ - 1);
      if (t > h) return t - h;
      if (t < h) return capacity_ - h + t;
      return tail == head ? 0 : capacity_;
    }
  }

 private:
  struct slot {
    typename Sync::template atomic<std::size_t> stamp{0};
    // The item, in uninitialised memory; whoever claimed the slot owns it until the next stamp.
    alignas(T) std::byte memory[sizeof(T)];
    [[no_unique_address]] typename Sync::access_check check;

    void put(T& item) noexcept {
      check.write();
      ::new (static_cast<void*>(memory)) T(std::move(item));
    }
    void take(std::optional<T>& out) noexcept {
      check.write();
      T* const item = std::launder(reinterpret_cast<T*>(memory));
      out.emplace(std::move(*item));
      item->~T();
    }
  };

  // Another operation is between its claim and its last store: it needs the processor more than we do.
  class contention {
   public:
    void wait() noexcept {
      if (round_ < 6 && Sync::parallel()) {
        for (int i = 1 << round_; i > 0; --i) Sync::pause();
        ++round_;
      } else {
        Sync::yield();
      }
    }

   private:
    int round_ = 0;
  };

  std::size_t after(std::size_t position) const noexcept {
    const std::size_t index = position & (closed_ - 1);
    return index + 1 < capacity_ ? position + 1 : position - index + lap_;
  }

  const std::size_t capacity_;
  const std::size_t closed_;
  const std::size_t lap_;
  const std::unique_ptr<slot[]> slots_;
  alignas(cache_line) typename Sync::template atomic<std::size_t> head_{0};
  alignas(cache_line) typename Sync::template atomic<std::size_t> tail_{0};
};

}  // namespace penstock::inline v0_1::detail
