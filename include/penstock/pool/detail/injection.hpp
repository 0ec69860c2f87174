// penstock/pool/detail/injection.hpp: what comes into a pool from outside: submitted tasks, bounded, and resumptions of coroutines.
//
// Tasks lie in a ring, resumptions in an intrusive list that counts against no capacity. Both are strictly first in, first out. With priorities
// tasks lie in lines in place of the ring (priority_lines.hpp).
//
// Thread safety  passive: guarded by its owner's lock, but for the hints, which anybody may read.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <utility>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/pool/detail/priority_lines.hpp>
#include <penstock/pool/detail/work.hpp>

namespace penstock::inline v0_1::detail {

template <class Task, class Sync>
class injection {
 public:
  /// `timed`: it keeps since when each task has waited.
  explicit injection(std::size_t capacity, unsigned priorities = 1, bool timed = false)
      : capacity_{checked(capacity)},
        ring_{priorities == 1 ? std::make_unique<Task[]>(capacity) : nullptr},
        since_{priorities == 1 && timed ? std::make_unique<point[]>(capacity) : nullptr},
        lines_{priorities == 1 ? nullptr : std::make_unique<priority_lines<Task>>(capacity, priorities)} {}

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t tasks() const noexcept { return size_; }
  [[nodiscard]] bool full() const noexcept { return size_ == capacity_; }
  [[nodiscard]] bool has_resumptions() const noexcept { return !resumptions_.empty(); }

  /// Only if it is not full. The priority is below the number of them.
  void push(Task& task, task_label label) noexcept {
    if (ring_ != nullptr) [[likely]] {
      const std::size_t next = first_ + size_;
      const std::size_t at = next < capacity_ ? next : next - capacity_;
      ring_[at] = std::move(task);
      if (since_ != nullptr) [[unlikely]]
        since_[at] = label.since;
    } else {
      lines_->push(task, label);
    }
    set_size(size_ + 1);
  }
  /// The next one to begin, and since when it has waited. Only if there is one.
  nanoseconds_point pop(Task& task) noexcept {
    nanoseconds_point since = untimed;
    if (ring_ != nullptr) [[likely]] {
      if (since_ != nullptr) [[unlikely]]
        since = since_[first_];
      pop_from_ring(task);
    } else {
      since = lines_->pop(task);
    }
    set_size(size_ - 1);
    return since;
  }
  /// The oldest one. Only if there is one.
  void pop_oldest(Task& task) noexcept {
    if (ring_ != nullptr) {
      pop_from_ring(task);
    } else {
      lines_->take_oldest(task);
    }
    set_size(size_ - 1);
  }
  /// The one that is least urgent, if it is less urgent than one of `priority`. False: it is not.
  bool pop_below(unsigned priority, Task& task) noexcept {
    if (ring_ != nullptr || !lines_->take_below(priority, task)) return false;
    set_size(size_ - 1);
    return true;
  }

  void push(work_item& item) noexcept {
    resumptions_.push_back(item);
    resumptions_hint_.store(true, std::memory_order_relaxed);  // relaxed: a hint
  }
  /// The oldest, or null.
  work_item* pop_resumption() noexcept {
    work_item* const item = resumptions_.pop_front();
    if (item != nullptr) resumptions_hint_.store(!resumptions_.empty(), std::memory_order_relaxed);  // relaxed: a hint
    return item;
  }

  // Without the lock. relaxed, all: they spare their reader the lock, which he takes before he relies on them
  [[nodiscard]] bool seems_full() const noexcept { return level_hint_.load(std::memory_order_relaxed) == full_level; }
  [[nodiscard]] bool seems_to_have_much_room() const noexcept { return level_hint_.load(std::memory_order_relaxed) < high_level; }
  [[nodiscard]] bool seems_to_have_tasks() const noexcept { return level_hint_.load(std::memory_order_relaxed) != empty_level; }
  [[nodiscard]] bool seems_to_have_resumptions() const noexcept { return resumptions_hint_.load(std::memory_order_relaxed); }

 private:
  enum level : unsigned char { empty_level, some_level, high_level, full_level };  // high: from three quarters on

  static std::size_t checked(std::size_t capacity) {
    if (capacity == 0) throw std::invalid_argument{"penstock::worker_pool: queue_capacity is 0"};
    return capacity;
  }
  void pop_from_ring(Task& task) noexcept {
    task = std::move(ring_[first_]);
    first_ = first_ + 1 < capacity_ ? first_ + 1 : 0;
  }
  void set_size(std::size_t size) noexcept {
    size_ = size;
    const level now = size == 0                          ? empty_level
                      : size == capacity_                ? full_level
                      : size < capacity_ - capacity_ / 4 ? some_level
                                                         : high_level;
    // relaxed, both: a hint. Written only where it changes: those who look again and again keep its line meanwhile.
    if (level_hint_.load(std::memory_order_relaxed) != now) level_hint_.store(now, std::memory_order_relaxed);
  }

  using point = dependent<nanoseconds_point, Task>;

  const std::size_t capacity_;
  const std::unique_ptr<Task[]> ring_;                 // null with priorities
  const std::unique_ptr<point[]> since_;               // for each in ring_; null if that is not measured
  const std::unique_ptr<priority_lines<Task>> lines_;  // null without
  std::size_t first_ = 0;
  std::size_t size_ = 0;
  work_list resumptions_;
  alignas(cache_line) typename Sync::template atomic<level> level_hint_{empty_level};
  typename Sync::template atomic<bool> resumptions_hint_{false};
};

}  // namespace penstock::inline v0_1::detail
