// penstock/pool/detail/work_deque.hpp: one thread's stack of work, from whose other end any thread may steal.
//
// The owner pushes and pops at the bottom, where what it works on is warm; thieves take the oldest at the top, which is mostly the largest
// piece. Positions only grow, but for a pop, which takes the bottom back by one. A pop and a steal meet at the last item only: both then want
// to move the top past it by a compare-exchange, and one of them does.
//
// Source         D. Chase, Y. Lev, "Dynamic circular work-stealing deque" (SPAA 2005), in the C11 form of N. M. Lê, A. Pop, A. Cohen,
//                F. Zappa Nardelli, "Correct and efficient work-stealing for weak memory models" (PPoPP 2013). There a fence stands between the
//                two steps of a pop and between the two looks of a steal; here those four accesses are seq_cst themselves, which costs the
//                same and which the thread sanitizer understands. (A thief's look at the top is less: the exchanges that move the top are
//                seq_cst, so acquiring one puts what follows behind it.) The array does not grow: push() says that it is full.
// Invariants     top_ <= bottom_, but for the moments of a pop in vain; items lie in [top_, bottom_). bottom_ is written by the owner only, top_ by
//                compare-exchanges from t to t + 1 only: of those who want the item at t one gets it.
// Thread safety  push() and pop() are the owner's, one thread's at a time (handing the role over needs an order of its own); everything else is
//                anybody's. The deque owns no items: what is left in it at its end is forgotten. What was written before push() is visible to
//                who gets the item.
// Progress       lock-free: a steal begins anew only after another one, or the owner, has got an item.
// Sleeping       push() publishes, and empty() and steal() look, in seq_cst: who publishes and then looks for sleepers, and who announces
//                that it sleeps and then looks here, cannot both miss the other. An item that nobody takes meanwhile is never overlooked.
// Cost           push(): one store that is a locked exchange on x86; pop(): the same and, for the last item, a compare-exchange; nothing that is
//                locked when it is empty.
#pragma once

#include <atomic>
#include <bit>
#include <cassert>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class T, class Sync = std_sync>
class work_deque {
 public:
  /// Throws std::invalid_argument unless `capacity` is a power of two.
  explicit work_deque(std::size_t capacity) : mask_{checked(capacity) - 1}, slots_{std::make_unique<slot[]>(capacity)} {}
  work_deque(const work_deque&) = delete;
  work_deque& operator=(const work_deque&) = delete;
  ~work_deque() = default;

  /// By the owner. False: it is full, or was a moment ago.
  bool push(T* item) noexcept {
    const std::size_t bottom = bottom_.load(std::memory_order_relaxed);  // relaxed: the owner's own
    // acquire: pairs with the exchange in steal(), whose thief is through with the slot that is written next
    if (bottom - top_.load(std::memory_order_acquire) > mask_) return false;
    slots_[bottom & mask_].store(item, std::memory_order_relaxed);  // relaxed: bottom_ publishes it
    // release: pairs with the look at bottom_ in steal(); seq_cst: before the owner looks for sleepers, see above
    bottom_.store(bottom + 1, std::memory_order_seq_cst);
    return true;
  }

  /// By the owner: the same for several, which become visible at once. Only if there is room for all of them.
  void push_n(T* const* items, std::size_t n) noexcept {
    const std::size_t bottom = bottom_.load(std::memory_order_relaxed);  // relaxed, acquire, seq_cst: all as in push()
    assert(bottom + n - top_.load(std::memory_order_acquire) <= capacity() && "there is no room for them");
    for (std::size_t i = 0; i < n; ++i) slots_[(bottom + i) & mask_].store(items[i], std::memory_order_relaxed);
    bottom_.store(bottom + n, std::memory_order_seq_cst);
  }

  /// By the owner: the newest, or null if there is none.
  [[nodiscard]] T* pop() noexcept {
    std::size_t bottom = bottom_.load(std::memory_order_relaxed);                  // relaxed: the owner's own
    if (!is_before(top_.load(std::memory_order_relaxed), bottom)) return nullptr;  // relaxed: the top only grows
    --bottom;
    // seq_cst, both: a thief that finds the top at this item, which the look below did not, looks at bottom_ after this store and so
    // sees it (or what the owner pushed there later). Were the look to come first, both could get the item.
    bottom_.store(bottom, std::memory_order_seq_cst);
    std::size_t top = top_.load(std::memory_order_seq_cst);
    if (is_before(top, bottom)) return slots_[bottom & mask_].load(std::memory_order_relaxed);  // relaxed: the owner wrote it
    T* last = nullptr;
    // relaxed, on failure: a thief has it
    if (top == bottom && top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst, std::memory_order_relaxed)) {
      last = slots_[bottom & mask_].load(std::memory_order_relaxed);  // relaxed: as above
    }
    // release: a thief that sees this store sees the top that lies behind it, and all that was pushed
    bottom_.store(bottom + 1, std::memory_order_release);
    return last;
  }

  /// By anybody: the oldest, or null if there was none.
  [[nodiscard]] T* steal() noexcept {
    for (;;) {
      // acquire: pairs with the exchange that moved it here, which pop() relies on to come before the next look
      std::size_t top = top_.load(std::memory_order_acquire);
      // acquire: pairs with the release in push(). seq_cst: pairs with the two steps in pop()
      if (!is_before(top, bottom_.load(std::memory_order_seq_cst))) return nullptr;
      // Before the exchange, after which the slot may be written anew; what is read in vain is not used. relaxed: bottom_ published it.
      T* const item = slots_[top & mask_].load(std::memory_order_relaxed);
      // release: pairs with the look at the top in push(). seq_cst: part of the order that pop() relies on. relaxed, on failure: begins anew
      if (top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst, std::memory_order_relaxed)) return item;
    }
  }

  /// How many items there are; out of date when it is looked at, unless the owner and all thieves rest.
  [[nodiscard]] std::size_t size() const noexcept {
    const std::size_t top = top_.load(std::memory_order_acquire);        // acquire: before the next look, lest it is beyond that
    const std::size_t bottom = bottom_.load(std::memory_order_seq_cst);  // seq_cst: see "Sleeping"
    return is_before(top, bottom) ? bottom - top : 0;
  }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  /// How many items were ever pushed, less those that the owner popped.
  [[nodiscard]] std::size_t pushed() const noexcept { return bottom_.load(std::memory_order_relaxed); }  // relaxed: a counter
  [[nodiscard]] std::size_t capacity() const noexcept { return mask_ + 1; }

 private:
  using slot = typename Sync::template atomic<T*>;

  static std::size_t checked(std::size_t capacity) {
    if (!std::has_single_bit(capacity)) {
      throw std::invalid_argument{"penstock::work_deque: capacity must be a power of two, not " + std::to_string(capacity)};
    }
    return capacity;
  }
  // Also when positions have wrapped around, where they have 32 bits.
  static bool is_before(std::size_t a, std::size_t b) noexcept { return static_cast<std::ptrdiff_t>(a - b) < 0; }

  const std::size_t mask_;
  const std::unique_ptr<slot[]> slots_;
  alignas(cache_line) typename Sync::template atomic<std::size_t> top_{0};
  alignas(cache_line) typename Sync::template atomic<std::size_t> bottom_{0};
};

}  // namespace penstock::inline v0_1::detail
