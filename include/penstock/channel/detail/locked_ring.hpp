// penstock/channel/detail/locked_ring.hpp: the ring for items whose move may throw, under a lock.
//
// A push whose move throws has pushed nothing. A pop whose move throws has removed its item, and the item is lost.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <penstock/channel/detail/ring.hpp>
#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class T, class Sync = std_sync>
class locked_ring {
 public:
  explicit locked_ring(std::size_t capacity)
      : capacity_{checked_capacity(capacity, sizeof(std::optional<T>))}, slots_{std::make_unique<std::optional<T>[]>(capacity)} {}

  ring_step try_push(T& item) {
    std::scoped_lock guard{lock_};
    if (closed_.load(std::memory_order_relaxed)) return ring_step::closed;  // relaxed: written under the lock
    const std::size_t n = size_.load(std::memory_order_relaxed);            // relaxed: as above
    if (n == capacity_) return ring_step::full;
    slots_[(first_ + n) % capacity_].emplace(std::move(item));
    size_.store(n + 1, std::memory_order_seq_cst);  // seq_cst: comes before the look for waiters, who look at it without the lock
    return ring_step::done;
  }

  ring_step try_pop(std::optional<T>& out) {
    std::scoped_lock guard{lock_};
    const std::size_t n = size_.load(std::memory_order_relaxed);  // relaxed: as above
    if (n == 0) return closed_.load(std::memory_order_relaxed) ? ring_step::closed : ring_step::empty;
    struct remove {  // also when the move throws
      locked_ring& self;
      std::size_t n;
      ~remove() {
        self.slots_[self.first_].reset();
        self.first_ = (self.first_ + 1) % self.capacity_;
        self.size_.store(n - 1, std::memory_order_seq_cst);  // seq_cst: as in try_push()
      }
    } removed{*this, n};
    out.emplace(std::move(*slots_[first_]));
    return ring_step::done;
  }

  [[nodiscard]] bool full() const noexcept { return size() == capacity_; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] bool is_closed() const noexcept { return closed_.load(std::memory_order_seq_cst); }
  bool close() noexcept {
    std::scoped_lock guard{lock_};
    return !closed_.exchange(true, std::memory_order_seq_cst);
  }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_seq_cst); }

 private:
  const std::size_t capacity_;
  const std::unique_ptr<std::optional<T>[]> slots_;
  typename Sync::mutex lock_;
  std::size_t first_ = 0;                                // guarded by lock_, as the slots are
  typename Sync::template atomic<std::size_t> size_{0};  // changed under lock_
  typename Sync::template atomic<bool> closed_{false};   // changed under lock_
};

}  // namespace penstock::inline v0_1::detail
