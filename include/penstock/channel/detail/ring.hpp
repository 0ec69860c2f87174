// penstock/channel/detail/ring.hpp: a bounded queue for many producers and many consumers that never waits for room or for items.
//
// A position is one word: the index of a slot in the low bits, above it two flags (in the tail only), above those the lap. The flags are
// *closed*, and *guarded*: pushes go another way, under the owner's lock. Each slot carries a stamp that says what it is ready for: equal to
// a position, to be written by the producer that claims this position; one more, to be read by the consumer that claims it; after that it is
// stamped with the position one lap on. So an operation reads the line of its slot and not the index that the other side writes, any capacity
// works without a division, and capacity 1 is not ambiguous. After D. Vyukov, "Bounded MPMC queue" (1024cores), with laps in place of plain
// tickets.
//
// Linearizable  the claim (compare-exchange of tail or head) is the moment of a push or pop; "full" and "empty" are told only when the
//               indices say so at one moment. An operation that meets a slot which another claimed and has not finished yet waits for that one
//               (polling, then yielding; it never parks).
// Waiters       look at the indices, by seq_cst loads. The claims are seq_cst too: who claims and then looks for waiters, and who announces
//               itself and then looks at the indices, cannot both miss the other. The stamps need less: they only hand the item over.
// Order         of claims; so each producer's items come out in its order.
// Item types    moving must not throw, for a claim cannot be given back: other types take locked_ring.hpp.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>

#include <penstock/channel/detail/item_slot.hpp>
#include <penstock/channel/detail/turn.hpp>
#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class T, class Sync = std_sync>
class ring {
 public:
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>);

  explicit ring(std::size_t capacity)
      : capacity_{checked_capacity(capacity, sizeof(slot))},
        closed_{std::bit_ceil(capacity + 1)},
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

  /// done: `item` was moved from; full, closed, guarded: it is untouched.
  ring_step try_push(T& item) noexcept { return push<true>(item); }
  /// For who will look again before it sleeps: "full" by the slot alone, so that the index that the other side writes stays in its cache.
  ring_step poll_push(T& item) noexcept { return push<false>(item); }

  /// As many of `n` items as there is room for, in one claim. None: `why` tells.
  std::size_t try_push_n(T* items, std::size_t n, ring_step& why) noexcept {
    std::size_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange confirms it
    for (;;) {
      if ((tail & flags()) != 0) {
        why = (tail & closed_) != 0 ? ring_step::closed : ring_step::guarded;
        return 0;
      }
      const std::size_t inside = distance(head_.load(std::memory_order_seq_cst), tail);
      if (inside > capacity_) {  // the tail is out of date
        // relaxed: as above
        tail = tail_.load(std::memory_order_relaxed);
        continue;
      }
      const std::size_t claimed = n < capacity_ - inside ? n : capacity_ - inside;
      if (claimed == 0) {
        why = ring_step::full;
        return 0;
      }
      // relaxed on failure: as above
      if (!tail_.compare_exchange_weak(tail, after(tail, claimed), std::memory_order_seq_cst, std::memory_order_relaxed))
        continue;
      for (std::size_t i = 0; i < claimed; ++i, tail = after(tail)) {
        slot& s = wait_for(tail, tail);
        s.put(items[i]);
        s.stamp.store(tail + 1, std::memory_order_release);  // release: as in try_push()
      }
      return claimed;
    }
  }

  /// While guarded, with the owner's lock held, and knowing that there is room: also into a closed ring.
  void push_claimed(T& item) noexcept {
    const std::size_t tail = tail_.load(std::memory_order_relaxed) & ~flags();  // relaxed: changes under the owner's lock only
    tail_.fetch_add(after(tail) - tail, std::memory_order_seq_cst);
    slot& s = wait_for(tail, tail);
    s.put(item);
    s.stamp.store(tail + 1, std::memory_order_release);  // release: as in try_push()
  }

  /// done: `out` holds the oldest item. empty: there is none; closed: and there will be none.
  ring_step try_pop(std::optional<T>& out) noexcept { return pop<true>(out); }
  /// For who will look again before it sleeps: "empty" by the slot alone, also where it is closed.
  ring_step poll_pop(std::optional<T>& out) noexcept { return pop<false>(out); }

  /// Up to `n` of the oldest items, in one claim, each given to `take(T&&)`, which must not throw.
  template <class Take>
  std::size_t try_pop_n(std::size_t n, Take take) noexcept {
    std::size_t head = head_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange confirms it
    for (;;) {
      const std::size_t inside = distance(head, tail_.load(std::memory_order_seq_cst) & ~flags());
      if (inside > capacity_) {  // the head is out of date
        head = head_.load(std::memory_order_relaxed);
        continue;
      }
      const std::size_t claimed = n < inside ? n : inside;
      if (claimed == 0) return 0;
      // relaxed on failure: as above
      if (!head_.compare_exchange_weak(head, after(head, claimed), std::memory_order_seq_cst, std::memory_order_relaxed))
        continue;
      for (std::size_t i = 0; i < claimed; ++i, head = after(head)) {
        slot& s = wait_for(head, head + 1);
        s.take(take);
        s.stamp.store(head + lap(), std::memory_order_release);  // release: as in try_pop()
      }
      return claimed;
    }
  }

  /// By the indices, not by the slots: a waiter that parks on these cannot be stranded by slots that get ready out of order.
  [[nodiscard]] bool full() const noexcept {
    const std::size_t head = head_.load(std::memory_order_seq_cst);
    return head + lap() == (tail_.load(std::memory_order_seq_cst) & ~flags());
  }
  [[nodiscard]] bool empty() const noexcept {
    const std::size_t head = head_.load(std::memory_order_seq_cst);
    return head == (tail_.load(std::memory_order_seq_cst) & ~flags());
  }
  /// Hints, by the slot alone: whether polling is over.
  [[nodiscard]] bool may_have_room() const noexcept {
    // relaxed, both: hints
    const std::size_t tail = tail_.load(std::memory_order_relaxed) & ~flags();
    return slots_[index(tail)].stamp.load(std::memory_order_relaxed) + lap() != tail + 1;
  }
  [[nodiscard]] bool may_have_items() const noexcept {
    // relaxed, both: as above
    const std::size_t head = head_.load(std::memory_order_relaxed);
    return slots_[index(head)].stamp.load(std::memory_order_relaxed) != head;
  }
  [[nodiscard]] bool is_closed() const noexcept { return (tail_.load(std::memory_order_seq_cst) & closed_) != 0; }
  [[nodiscard]] bool is_guarded() const noexcept { return (tail_.load(std::memory_order_seq_cst) & guarded()) != 0; }

  /// No push is claimed from now on. The flag lies in the word that a push claims by, so none slips past it. False: it was closed before.
  bool close() noexcept { return (tail_.fetch_or(closed_, std::memory_order_seq_cst) & closed_) == 0; }
  /// No push is claimed from now on but by push_claimed().
  void guard() noexcept { tail_.fetch_or(guarded(), std::memory_order_seq_cst); }

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  /// How many items were pushed, and popped, since the beginning.
  [[nodiscard]] std::size_t pushed() const noexcept { return number_of(tail_.load(std::memory_order_seq_cst) & ~flags()); }
  [[nodiscard]] std::size_t popped() const noexcept { return number_of(head_.load(std::memory_order_seq_cst)); }

  /// With the owner's lock held, while guarded: whether `n` more go in.
  [[nodiscard]] bool has_room(std::size_t n) const noexcept { return size() + n <= capacity_; }

  /// Exact when nothing else runs; otherwise some number that it may have been. Never less than it is while nothing is pushed.
  [[nodiscard]] std::size_t size() const noexcept {
    for (;;) {
      const std::size_t tail = tail_.load(std::memory_order_seq_cst) & ~flags();
      const std::size_t head = head_.load(std::memory_order_seq_cst);
      if ((tail_.load(std::memory_order_seq_cst) & ~flags()) == tail) return distance(head, tail);
    }
  }

 private:
  using slot = item_slot<T, Sync>;

  // `Sure`: "full" and "empty" are told only where the indices say so.
  template <bool Sure>
  ring_step push(T& item) noexcept {
    turn_wait<Sync> others;
    std::size_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange confirms it
    for (;;) {
      if ((tail & flags()) != 0) [[unlikely]]
        return (tail & closed_) != 0 ? ring_step::closed : ring_step::guarded;
      slot& s = slots_[index(tail)];
      const std::size_t stamp = s.stamp.load(std::memory_order_acquire);  // acquire: pairs with the store that ends a pop
      if (stamp == tail) {
        if (!tail_.compare_exchange_weak(tail, after(tail), std::memory_order_seq_cst, std::memory_order_relaxed)) continue;
        s.put(item);
        s.stamp.store(stamp + 1, std::memory_order_release);  // release: hands the item to a pop
        return ring_step::done;
      }
      if (stamp + lap() == tail + 1 && (!Sure || head_.load(std::memory_order_seq_cst) + lap() == tail)) return ring_step::full;
      others.wait();
      tail = tail_.load(std::memory_order_relaxed);  // relaxed: as above
    }
  }

  template <bool Sure>
  ring_step pop(std::optional<T>& out) noexcept {
    turn_wait<Sync> others;
    std::size_t head = head_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange confirms it
    for (;;) {
      slot& s = slots_[index(head)];
      const std::size_t stamp = s.stamp.load(std::memory_order_acquire);  // acquire: pairs with the store that ends a push
      if (stamp == head + 1) {
        if (!head_.compare_exchange_weak(head, after(head), std::memory_order_seq_cst, std::memory_order_relaxed)) continue;
        s.take(out);
        s.stamp.store(head + lap(), std::memory_order_release);  // release: gives the slot to the next lap
        return ring_step::done;
      }
      if (stamp == head) {
        if constexpr (!Sure) return ring_step::empty;
        const std::size_t tail = tail_.load(std::memory_order_seq_cst);
        if ((tail & ~flags()) == head) return (tail & closed_) != 0 ? ring_step::closed : ring_step::empty;
      }
      others.wait();
      head = head_.load(std::memory_order_relaxed);  // relaxed: as above
    }
  }

  [[nodiscard]] std::size_t guarded() const noexcept { return closed_ << 1; }
  [[nodiscard]] std::size_t flags() const noexcept { return closed_ | closed_ << 1; }
  [[nodiscard]] std::size_t lap() const noexcept { return closed_ << 2; }
  [[nodiscard]] std::size_t index(std::size_t position) const noexcept { return position & (closed_ - 1); }

  [[nodiscard]] std::size_t after(std::size_t position) const noexcept {
    const std::size_t i = index(position);
    return i + 1 < capacity_ ? position + 1 : position - i + lap();
  }
  [[nodiscard]] std::size_t after(std::size_t position, std::size_t n) const noexcept {  // n <= capacity_
    return index(position) + n < capacity_ ? position + n : position + n - capacity_ + lap();
  }
  [[nodiscard]] std::size_t number_of(std::size_t position) const noexcept {
    return (position >> std::countr_zero(lap())) * capacity_ + index(position);
  }
  // How far `to` is ahead; more than capacity_ if it is not.
  [[nodiscard]] std::size_t distance(std::size_t from, std::size_t to) const noexcept {
    const std::size_t laps = (to - index(to)) - (from - index(from));
    if (laps == 0) return index(to) - index(from);
    return laps == lap() ? capacity_ - index(from) + index(to) : capacity_ + 1;
  }

  // The slot of a claimed position, when whoever had it before is through with it.
  slot& wait_for(std::size_t position, std::size_t stamp) noexcept {
    slot& s = slots_[index(position)];
    for (turn_wait<Sync> others; s.stamp.load(std::memory_order_acquire) != stamp;)
      others.wait();  // acquire: as in the single ones
    return s;
  }

  const std::size_t capacity_;
  const std::size_t closed_;
  const std::unique_ptr<slot[]> slots_;
  alignas(cache_line) typename Sync::template atomic<std::size_t> head_{0};
  alignas(cache_line) typename Sync::template atomic<std::size_t> tail_{0};
};

}  // namespace penstock::inline v0_1::detail
