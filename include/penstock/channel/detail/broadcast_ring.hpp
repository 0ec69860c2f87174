// penstock/channel/detail/broadcast_ring.hpp: the items of a broadcast, each stored once and read by many.
//
// Positions count up from 0; the item at position p lies in slot p mod capacity. One publisher at a time writes (the broadcast gives turns),
// any number of readers read without a lock. What keeps an item in its slot while user code copies it:
//
//   unread   How many subscribers have still to pass this position; set when it is published. A reader is one of them until it has copied
//            the item and passes, so where nothing is evicted, unread alone protects it. Who takes the count to 0 empties the slot.
//   pins     Where items are evicted (lossy): how many readers look at this slot now. A reader pins, then looks whether the stamp still is its
//            own position; an evictor changes the stamp, then waits until nobody pins: all four seq_cst, so one of the two sees the
//            other. A reader that came too late unpins and touches nothing.
//   stamp    vacant, owned (being emptied, or vacant and about to be written), or the position whose item is there. Who moves it from a
//            position to owned, by compare-exchange, owns the item: the last reader or the evictor, not both.
//
// So an evictor waits for copies that are under way in the one slot that it needs, and for nothing else.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <penstock/channel/detail/turn.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/result.hpp>

namespace penstock::inline v0_1::detail {

template <class T, class Sync = std_sync>
class broadcast_ring {
  struct slot;

 public:
  using position = std::uint64_t;
  static constexpr bool moves_safely = std::is_nothrow_move_constructible_v<T>;

  broadcast_ring(std::size_t capacity, bool lossy)
      : capacity_{checked(capacity)}, lossy_{lossy}, slots_{std::make_unique<slot[]>(capacity)} {}

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] bool lossy() const noexcept { return lossy_; }

  /// Whether the slot of a position is empty. seq_cst: a publisher that waits for room announces itself before this look, a reader that makes
  /// room stores before it looks for publishers.
  [[nodiscard]] bool vacant(position p) const noexcept { return at(p).stamp.load(std::memory_order_seq_cst) == empty; }

  // What a publisher does in its turn, in this order.

  /// Lossy: makes the slot of `p` vacant; what was in it goes to `evicted`, which is to be destroyed when the turn has ended.
  void evict(position p, std::optional<T>& evicted) noexcept {
    slot& s = at(p);
    turn_wait<Sync> others;
    if (p >= capacity_ && s.own(stamp_of(p - capacity_))) {
      while (s.pins.load(std::memory_order_seq_cst) != 0) others.wait();
      s.take_out(evicted);
      // release: who finds its position gone also finds oldest_ moved on. Only the publisher whose turn it is looks for an empty slot.
      s.stamp.store(empty, std::memory_order_release);
    } else {
      while (!vacant(p)) others.wait();  // its last reader is about to empty it
    }
  }
  /// Moves from `item`. If that throws, nothing has changed.
  void write(position p, T& item) noexcept(moves_safely) { ::new (static_cast<void*>(at(p).memory)) T(std::move(item)); }
  void publish(position p, std::size_t readers) noexcept {
    slot& s = at(p);
    s.unread.store(readers, std::memory_order_relaxed);     // relaxed: the stamp, and the end that is stored next, publish it
    s.stamp.store(stamp_of(p), std::memory_order_release);  // release: pairs with the look at the stamp in reading()
  }
  /// For an item that was published to nobody. False: somebody evicted it.
  bool discard(position p, std::optional<T>& remains) noexcept { return at(p).empty_out(stamp_of(p), false, remains); }

  /// A reader at a position that was published and that it has not passed: while this lives, the item stays where it is.
  class reading {
   public:
    reading(broadcast_ring& ring, position p) noexcept : slot_{ring.at(p)}, stamp_{stamp_of(p)}, pinned_{ring.lossy_} {
      if (!pinned_) return;
      slot_.pins.fetch_add(1, std::memory_order_seq_cst);
      there_ = slot_.stamp.load(std::memory_order_seq_cst) == stamp_;
    }
    reading(const reading&) = delete;
    reading& operator=(const reading&) = delete;
    ~reading() { unpin(); }

    /// False: the item was evicted.
    explicit operator bool() const noexcept { return there_; }

    /// A copy; or the item itself, moved, if nobody else will read it and moving cannot fail. If copying throws, nothing has changed.
    result<T> get() {
      T& item = *slot_.item();
      if constexpr (moves_safely) {
        // acquire: pairs with pass() of the others: they have copied. Nobody becomes a reader of an item that is published.
        if (slot_.unread.load(std::memory_order_acquire) == 1) {
          moved_ = true;
          return result<T>{std::move(item)};
        }
      }
      return result<T>{std::as_const(item)};
    }

    /// The reader is done with this position and looks at it no more; once. True: it was the last one, the slot is vacant now, and what is
    /// left of the item goes to `remains`.
    bool pass(std::optional<T>& remains) noexcept {
      // release: my copying comes before whoever empties the slot. acquire: if that is me, so does the others'.
      const bool last = slot_.unread.fetch_sub(1, std::memory_order_acq_rel) == 1;
      const bool emptied = last && slot_.empty_out(stamp_, moved_, remains);
      unpin();
      return emptied;
    }

   private:
    void unpin() noexcept {
      if (std::exchange(pinned_, false))
        slot_.pins.fetch_sub(1, std::memory_order_release);  // release: pairs with the evictor's look
    }

    slot& slot_;
    const position stamp_;
    bool pinned_;
    bool there_ = true;
    bool moved_ = false;
  };

 private:
  static constexpr position empty = 0;
  static constexpr position owned = 1;
  static constexpr position stamp_of(position p) noexcept { return p + 2; }

  struct slot {
    typename Sync::template atomic<position> stamp{empty};
    typename Sync::template atomic<std::size_t> unread{0};
    typename Sync::template atomic<std::size_t> pins{0};
    alignas(T) std::byte memory[sizeof(T)];  // the item, in uninitialised memory, while the stamp is a position

    T* item() noexcept { return std::launder(reinterpret_cast<T*>(memory)); }

    bool own(position holds) noexcept {
      // relaxed on failure: whoever was quicker owns it, and nothing is read
      return stamp.compare_exchange_strong(holds, owned, std::memory_order_seq_cst, std::memory_order_relaxed);
    }
    bool empty_out(position holds, bool moved, std::optional<T>& remains) noexcept {
      if (!own(holds)) return false;  // evicted just now: the item is the evictor's, who waits for our pin
      if (moved) {
        item()->~T();
      } else {
        take_out(remains);
      }
      stamp.store(empty, std::memory_order_seq_cst);  // comes before the look for publishers, see vacant()
      return true;
    }
    // The destructor of an item is user code and may use the broadcast: it runs when the slot is free for that.
    void take_out(std::optional<T>& out) noexcept {
      if constexpr (moves_safely) out.emplace(std::move(*item()));
      item()->~T();
    }
  };

  static std::size_t checked(std::size_t capacity) {
    if (capacity == 0 || capacity > std::numeric_limits<std::size_t>::max() / 8 / sizeof(slot)) {
      throw std::invalid_argument{"penstock::broadcast: capacity is " + std::to_string(capacity)};
    }
    return capacity;
  }

  slot& at(position p) const noexcept { return slots_[static_cast<std::size_t>(p % capacity_)]; }

  const std::size_t capacity_;
  const bool lossy_;
  const std::unique_ptr<slot[]> slots_;
};

}  // namespace penstock::inline v0_1::detail
