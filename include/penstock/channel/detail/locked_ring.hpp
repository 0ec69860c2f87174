// penstock/channel/detail/locked_ring.hpp: the ring for items whose move may throw, under a lock.
//
// A push whose move throws has pushed nothing. A pop whose move throws has removed its item, and the item is lost.
//
// Each item lies in a box of its own, so that what a pop leaves of it is destroyed without the lock, for a destructor may come back here.
// There is a box for each place; a push that finds all of them in the hands of such pops makes another one.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <penstock/channel/detail/item_slot.hpp>
#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class T, class Sync = std_sync>
class locked_ring {
 public:
  explicit locked_ring(std::size_t capacity)
      : capacity_{checked_capacity(capacity, sizeof(box) + sizeof(box_pointer))},
        slots_{std::make_unique<box_pointer[]>(capacity)} {
    for (std::size_t i = 0; i < capacity; ++i) put_away(std::make_unique<box>());
  }
  ~locked_ring() {
    // One by one, for the destruction of a list would recurse.
    while (spare_ != nullptr) spare_ = std::move(spare_->next);
  }

  ring_step try_push(T& item) {
    std::scoped_lock guard{lock_};
    if (closed_.load(std::memory_order_relaxed)) return ring_step::closed;    // relaxed: written under the lock
    if (guarded_.load(std::memory_order_relaxed)) return ring_step::guarded;  // relaxed: as above
    const std::size_t n = size_.load(std::memory_order_relaxed);              // relaxed: as above
    if (n == capacity_) return ring_step::full;
    append(item, n);
    return ring_step::done;
  }

  /// One by one, so that what a throwing move leaves behind is in the caller's hands.
  std::size_t try_push_n(T* items, std::size_t n, ring_step& why) {
    why = n > 0 ? try_push(*items) : ring_step::done;
    return why == ring_step::done && n > 0 ? 1 : 0;
  }

  /// While guarded, with the owner's lock held, and knowing that there is room: also into a closed ring.
  void push_claimed(T& item) {
    std::scoped_lock guard{lock_};
    append(item, size_.load(std::memory_order_relaxed));  // relaxed: changes under the lock
  }

  ring_step try_pop(std::optional<T>& out) {
    struct emptied {  // also when the move throws
      locked_ring& self;
      box_pointer shell;
      ~emptied() {
        if (shell == nullptr) return;
        shell->item.reset();
        std::scoped_lock guard{self.lock_};
        self.put_away(std::move(shell));
      }
    } old{*this, nullptr};
    std::scoped_lock guard{lock_};
    const std::size_t n = size_.load(std::memory_order_relaxed);  // relaxed: as above
    if (n == 0) return closed_.load(std::memory_order_relaxed) ? ring_step::closed : ring_step::empty;
    old.shell = std::move(slots_[first_]);
    first_ = (first_ + 1) % capacity_;
    size_.store(n - 1, std::memory_order_seq_cst);                                          // seq_cst: as in append()
    popped_.store(popped_.load(std::memory_order_relaxed) + 1, std::memory_order_seq_cst);  // relaxed: as above
    out.emplace(std::move(*old.shell->item));
    return ring_step::done;
  }

  [[nodiscard]] bool full() const noexcept { return size() == capacity_; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  ring_step poll_push(T& item) { return try_push(item); }
  ring_step poll_pop(std::optional<T>& out) { return try_pop(out); }
  [[nodiscard]] bool may_have_room() const noexcept { return !full(); }
  [[nodiscard]] bool may_have_items() const noexcept { return !empty(); }
  [[nodiscard]] bool is_closed() const noexcept { return closed_.load(std::memory_order_seq_cst); }
  bool close() noexcept {
    std::scoped_lock guard{lock_};
    return !closed_.exchange(true, std::memory_order_seq_cst);
  }
  [[nodiscard]] bool is_guarded() const noexcept { return guarded_.load(std::memory_order_seq_cst); }
  void guard() noexcept {
    std::scoped_lock guard{lock_};
    guarded_.store(true, std::memory_order_seq_cst);
  }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  /// How many items were pushed, and popped, since the beginning.
  [[nodiscard]] std::size_t pushed() const noexcept { return pushed_.load(std::memory_order_seq_cst); }
  [[nodiscard]] std::size_t popped() const noexcept { return popped_.load(std::memory_order_seq_cst); }
  [[nodiscard]] bool has_room(std::size_t n) const noexcept { return size() + n <= capacity_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_seq_cst); }

 private:
  struct box;
  using box_pointer = std::unique_ptr<box>;
  struct box {
    std::optional<T> item;
    box_pointer next;  // of the spare ones
  };

  // All below: with the lock held.

  void append(T& item, std::size_t n) {
    box_pointer b = spare_ != nullptr ? std::exchange(spare_, std::move(spare_->next)) : std::make_unique<box>();
    try {
      b->item.emplace(std::move(item));
    } catch (...) {
      put_away(std::move(b));
      throw;
    }
    slots_[(first_ + n) % capacity_] = std::move(b);
    pushed_.store(pushed_.load(std::memory_order_relaxed) + 1, std::memory_order_seq_cst);  // relaxed: changes under the lock
    size_.store(n + 1, std::memory_order_seq_cst);  // seq_cst: comes before the look for waiters, who look at it without the lock
  }

  void put_away(box_pointer b) noexcept {
    b->next = std::move(spare_);
    spare_ = std::move(b);
  }

  const std::size_t capacity_;
  const std::unique_ptr<box_pointer[]> slots_;
  typename Sync::mutex lock_;
  box_pointer spare_;                                      // guarded by lock_, as the slots are
  std::size_t first_ = 0;                                  // likewise
  typename Sync::template atomic<std::size_t> size_{0};    // changed under lock_
  typename Sync::template atomic<std::size_t> pushed_{0};  // changed under lock_
  typename Sync::template atomic<std::size_t> popped_{0};  // changed under lock_
  typename Sync::template atomic<bool> closed_{false};     // changed under lock_
  typename Sync::template atomic<bool> guarded_{false};    // changed under lock_
};

}  // namespace penstock::inline v0_1::detail
