// penstock/channel/detail/spsc_ring.hpp: a bounded queue for one producer and one consumer at a time that never waits.
//
// Positions and stamps are those of ring.hpp, but nobody claims: each side keeps its index to itself, and one step on the slot's stamp, a
// compare-exchange by the producer and a fetch_add by the consumer, hands the slot over. The side that waits looks at the same stamp.
//
// Closing       sets a flag in the stamp of the slot that the producer will publish next, so no item slips past it: either the item is
//               published first, and close() goes on to the next slot, or the producer finds the flag and takes its item back.
// Waiters       both steps are seq_cst: who hands a slot over and then looks for waiters, and who announces itself and then looks at the
//               stamp, cannot both miss the other.
// Item types    moving must not throw, as in ring.hpp.
#pragma once

#include <atomic>
#include <bit>
#include <cassert>
#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <penstock/channel/detail/item_slot.hpp>
#include <penstock/channel/detail/turn.hpp>
#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class T, class Sync = std_sync>
class spsc_ring {
 public:
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>);

  explicit spsc_ring(std::size_t capacity)
      : capacity_{checked_capacity(capacity, sizeof(slot))},
        closed_{std::bit_ceil(capacity + 1)},
        slots_{std::make_unique<slot[]>(capacity)} {
    for (std::size_t i = 0; i < capacity; ++i) {
      slots_[i].stamp.store(i, std::memory_order_relaxed);  // relaxed: whoever hands the ring to another thread publishes this
    }
  }
  ~spsc_ring() {
    std::optional<T> item;
    while (try_pop(item) == ring_step::done) {
    }
  }

  /// By the producer. done: `item` was moved from; full, closed, guarded: it is as it was.
  ring_step try_push(T& item) noexcept {
    const busy one_at_a_time{pushing_};
    // relaxed: a close() that is not seen here is met at the slot
    if (const unsigned f = flags_.load(std::memory_order_relaxed); f != 0) [[unlikely]]
      return (f & is_over) != 0 ? ring_step::closed : ring_step::guarded;
    const std::size_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: the producer's own
    slot& s = slots_[index(tail)];
    std::size_t stamp = s.stamp.load(std::memory_order_acquire);  // acquire: pairs with the step that ends try_pop()
    if (stamp != tail) return (stamp & closed_) != 0 ? ring_step::closed : ring_step::full;
    s.put(item);
    // relaxed, on failure: the flag alone matters
    if (!s.stamp.compare_exchange_strong(stamp, tail + 1, std::memory_order_seq_cst, std::memory_order_relaxed)) [[unlikely]] {
      take_back(s, item);
      return ring_step::closed;
    }
    tail_.store(after(tail), std::memory_order_release);  // release: pairs with close(), which follows the producer
    return ring_step::done;
  }

  /// By the producer: as many of `n` items as there is room for.
  std::size_t try_push_n(T* items, std::size_t n, ring_step& why) noexcept {
    std::size_t pushed = 0;
    while (pushed < n && (why = try_push(items[pushed])) == ring_step::done) ++pushed;
    return pushed;
  }

  /// While guarded, with the owner's lock held, and knowing that there is room: also into a closed ring.
  void push_claimed(T& item) noexcept {
    const std::size_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: changes under the owner's lock only
    slot& s = slots_[index(tail)];
    for (turn_wait<Sync> others; (s.stamp.load(std::memory_order_acquire) & ~closed_) != tail;)
      others.wait();  // acquire: as above
    s.put(item);
    if ((flags_.load(std::memory_order_relaxed) & is_over) != 0) {  // relaxed: close() is called under the owner's lock, too
      slots_[index(after(tail))].stamp.fetch_or(closed_, std::memory_order_relaxed);  // relaxed: the next step publishes it
    }
    s.stamp.fetch_add(1, std::memory_order_seq_cst);
    tail_.store(after(tail), std::memory_order_release);  // release: as in try_push()
  }

  /// By the consumer. done: `out` holds the oldest item. empty: there is none; closed: and there will be none.
  ring_step try_pop(std::optional<T>& out) noexcept {
    const busy one_at_a_time{popping_};
    return take_next(out);
  }

  /// By the consumer: up to `n` of the oldest items, each given to `take(T&&)`, which must not throw.
  template <class Take>
  std::size_t try_pop_n(std::size_t n, Take take) noexcept {
    const busy one_at_a_time{popping_};
    std::size_t popped = 0;
    while (popped < n && take_next(take) == ring_step::done) ++popped;
    return popped;
  }

  /// For the producer: whether its next slot is still taken. For others: some answer that may have been right.
  [[nodiscard]] bool full() const noexcept {
    const std::size_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: the producer's own
    return (slots_[index(tail)].stamp.load(std::memory_order_seq_cst) & ~closed_) != tail;
  }
  /// For the consumer; likewise.
  [[nodiscard]] bool empty() const noexcept {
    const std::size_t head = head_.load(std::memory_order_relaxed);  // relaxed: the consumer's own
    return (slots_[index(head)].stamp.load(std::memory_order_seq_cst) & ~closed_) != head + 1;
  }
  ring_step poll_push(T& item) { return try_push(item); }
  ring_step poll_pop(std::optional<T>& out) { return try_pop(out); }
  [[nodiscard]] bool may_have_room() const noexcept { return !full(); }
  [[nodiscard]] bool may_have_items() const noexcept { return !empty(); }
  [[nodiscard]] bool is_closed() const noexcept { return (flags_.load(std::memory_order_seq_cst) & is_over) != 0; }
  [[nodiscard]] bool is_guarded() const noexcept { return (flags_.load(std::memory_order_seq_cst) & is_guarded_now) != 0; }

  /// Nothing is published from now on but by push_claimed(). False: it was closed before.
  bool close() noexcept {
    if ((flags_.fetch_or(is_over, std::memory_order_seq_cst) & is_over) != 0) return false;
    // acquire: pairs with the release in try_push(). The producer is there or further on: walk after it, past all that it has published.
    for (std::size_t position = tail_.load(std::memory_order_acquire);; position = after(position)) {
      const std::size_t before = slots_[index(position)].stamp.fetch_or(closed_, std::memory_order_seq_cst) & ~closed_;
      const bool writable = before == position;
      const bool taken_by_the_lap_before = before == position - lap() + 1;
      if (writable || taken_by_the_lap_before) return true;  // the producer comes here next, and finds the flag
    }
  }
  /// By the producer, or before there is one: nothing is published from now on but by push_claimed().
  void guard() noexcept { flags_.fetch_or(is_guarded_now, std::memory_order_seq_cst); }

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  /// How many items were pushed, and popped, since the beginning; an item may count as popped before it counts as pushed.
  [[nodiscard]] std::size_t pushed() const noexcept { return number_of(tail_.load(std::memory_order_seq_cst)); }
  [[nodiscard]] std::size_t popped() const noexcept { return number_of(head_.load(std::memory_order_seq_cst)); }

  /// With the owner's lock held, while guarded: whether `n` more go in. By the stamp of the last of these places, as the consumer frees them in
  /// order, and a producer that waits looks at what the consumer hands over.
  [[nodiscard]] bool has_room(std::size_t n) const noexcept {
    if (n == 0 || n > capacity_) return n == 0;
    const std::size_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: changes under the owner's lock only
    const std::size_t last = index(tail) + n - 1 < capacity_ ? tail + n - 1 : tail + n - 1 - capacity_ + lap();
    return (slots_[index(last)].stamp.load(std::memory_order_seq_cst) & ~closed_) == last;
  }

  /// Exact when nothing else runs; otherwise some number near to what it was. Never less than it is while nothing is pushed.
  [[nodiscard]] std::size_t size() const noexcept {
    const std::size_t head = head_.load(std::memory_order_seq_cst);
    const std::size_t tail = tail_.load(std::memory_order_seq_cst);
    const std::size_t laps = (tail - index(tail)) - (head - index(head));
    if (laps == lap()) return index(tail) < index(head) ? capacity_ - index(head) + index(tail) : capacity_;
    return laps == 0 && index(tail) > index(head) ? index(tail) - index(head) : 0;  // popped may count before pushed does
  }

 private:
  using slot = item_slot<T, Sync>;

  static constexpr unsigned is_over = 1;
  static constexpr unsigned is_guarded_now = 2;

  // Two at a time would corrupt the ring silently, so debug builds look.
  class busy {
   public:
    explicit busy([[maybe_unused]] typename Sync::template atomic<bool>& side) noexcept
#ifndef NDEBUG
        : side_{side} {
      const bool alone = !side_.exchange(true, std::memory_order_relaxed);  // relaxed, both: it only looks, and orders nothing
      assert(alone && "two threads are at the same end of a channel_policy::spsc channel");
      static_cast<void>(alone);
    }
    ~busy() { side_.store(false, std::memory_order_relaxed); }  // relaxed: as above
    busy(const busy&) = delete;

   private:
    typename Sync::template atomic<bool>& side_;
#else
    {
    }
#endif
  };

  [[nodiscard]] std::size_t lap() const noexcept { return closed_ << 1; }
  [[nodiscard]] std::size_t index(std::size_t position) const noexcept { return position & (closed_ - 1); }
  [[nodiscard]] std::size_t after(std::size_t position) const noexcept {
    const std::size_t i = index(position);
    return i + 1 < capacity_ ? position + 1 : position - i + lap();
  }

  [[nodiscard]] std::size_t number_of(std::size_t position) const noexcept {
    return (position >> std::countr_zero(lap())) * capacity_ + index(position);
  }

  template <class Out>
  ring_step take_next(Out& out) noexcept {
    const std::size_t head = head_.load(std::memory_order_relaxed);  // relaxed: the consumer's own
    slot& s = slots_[index(head)];
    const std::size_t stamp = s.stamp.load(std::memory_order_acquire);  // acquire: pairs with the step that ends try_push()
    if ((stamp & ~closed_) != head + 1) return (stamp & closed_) != 0 ? ring_step::closed : ring_step::empty;
    s.take(out);
    head_.store(after(head), std::memory_order_release);  // release: size() is for others
    s.stamp.fetch_add(lap() - 1, std::memory_order_seq_cst);
    return ring_step::done;
  }

  // The item was not published: the caller has it again.
  static void take_back(slot& s, T& item) noexcept {
    s.take([&item](T&& mine) {
      if constexpr (std::is_nothrow_move_assignable_v<T>) {
        item = std::move(mine);
      } else {
        std::destroy_at(&item);
        std::construct_at(&item, std::move(mine));
      }
    });
  }

  const std::size_t capacity_;
  const std::size_t closed_;
  const std::unique_ptr<slot[]> slots_;
  alignas(cache_line) typename Sync::template atomic<std::size_t> head_{0};
  typename Sync::template atomic<bool> popping_{false};
  alignas(cache_line) typename Sync::template atomic<std::size_t> tail_{0};
  typename Sync::template atomic<bool> pushing_{false};
  alignas(cache_line) typename Sync::template atomic<unsigned> flags_{0};  // of the whole ring: hardly ever written
};

}  // namespace penstock::inline v0_1::detail
