// penstock/pool/detail/priority_lines.hpp: tasks in the order of their urgency, and among equals in the order in which they came.
//
// Level 0 is the most urgent. Ageing: a level whose turn it is passes each sixteenth of its turns on to the next level below that waits, which does
// the same.
//
// The bound      while level k waits, fewer than 16^k pops lie between two of its turns: read the turns of the levels above, modulo 16, as the digits of
//                a number, with the least in level 0. Each pop adds a one somewhere, and a turn that is passed on carries to the next digit, or to
//                a higher one where a level is empty; so every pop makes the number larger by one at least, and when it has no digits left the
//                carry is a turn of level k. One of sixteen of these is passed on in turn, if a level below waits.
// Thread safety  passive: guarded by its owner's lock.
// Inlining       none: callers that have no priorities stay small.
// Cost           constant, but for take_oldest(), which looks at the first of each level. Cells for all tasks are allocated at construction.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/core/detail/sync.hpp>
#include <penstock/pool/detail/work.hpp>

namespace penstock::inline v0_1::detail {

inline constexpr unsigned most_priorities = 16;

template <class Task>
class priority_lines {
 public:
  /// Throws std::invalid_argument unless there are 1 to 16 levels.
  priority_lines(std::size_t capacity, unsigned levels)
      : lines_{std::make_unique<line[]>(checked(levels))}, levels_{levels}, cells_{std::make_unique<cell[]>(capacity)} {
    for (std::size_t i = capacity; i-- > 0;) release(cells_[i]);
  }

  /// Only if there is room, and the level exists.
  [[gnu::noinline]] void push(Task& task, task_label label) noexcept {
    cell& used = *free_;
    free_ = used.next;
    used.task = std::move(task);
    used.number = pushed_++;
    used.since = label.since;
    line& at = lines_[label.priority];
    used.previous = at.last;
    used.next = nullptr;
    (at.last != nullptr ? at.last->next : at.first) = &used;
    at.last = &used;
    waiting_ |= bit(label.priority);
  }

  /// The next one to begin, and since when it has waited. Only if there is one, as in take_oldest().
  [[gnu::noinline]] nanoseconds_point pop(Task& task) noexcept {
    unsigned level = most_urgent(waiting_);
    for (unsigned below; (below = waiting_ & ~(2 * bit(level) - 1)) != 0; level = most_urgent(below)) {
      if (++lines_[level].turns % pass_on_every != 0) break;
    }
    const nanoseconds_point since = lines_[level].first->since;
    take(level, *lines_[level].first, task);
    return since;
  }

  /// The one that has been here longest, whatever its level.
  [[gnu::noinline]] void take_oldest(Task& task) noexcept {
    unsigned oldest = most_urgent(waiting_);
    for (unsigned level = oldest + 1; level < levels_; ++level) {
      if (lines_[level].first != nullptr && lines_[level].first->number < lines_[oldest].first->number) oldest = level;
    }
    take(oldest, *lines_[oldest].first, task);
  }

  /// The one that came last to the least urgent level, if that is less urgent than `level`.
  bool take_below(unsigned level, Task& task) noexcept {
    const unsigned lowest = static_cast<unsigned>(std::bit_width(waiting_)) - 1;
    if (waiting_ == 0 || lowest <= level) return false;
    take(lowest, *lines_[lowest].last, task);
    return true;
  }

 private:
  struct cell {
    Task task{};
    cell* previous = nullptr;
    cell* next = nullptr;
    std::uint64_t number = 0;  // in the order of push()
    nanoseconds_point since = untimed;
  };
  struct line {
    cell* first = nullptr;
    cell* last = nullptr;
    unsigned turns = 0;  // that it had while a level below waited
  };

  static unsigned checked(unsigned levels) {
    if (levels == 0 || levels > most_priorities) {
      throw std::invalid_argument{"penstock::worker_pool: priorities must be 1 to 16, not " + std::to_string(levels)};
    }
    return levels;
  }
  static constexpr unsigned bit(unsigned level) noexcept { return 1U << level; }
  static unsigned most_urgent(unsigned levels) noexcept { return static_cast<unsigned>(std::countr_zero(levels)); }

  void take(unsigned level, cell& taken, Task& task) noexcept {
    task = std::move(taken.task);
    line& from = lines_[level];
    (taken.previous != nullptr ? taken.previous->next : from.first) = taken.next;
    (taken.next != nullptr ? taken.next->previous : from.last) = taken.previous;
    if (from.first == nullptr) waiting_ &= ~bit(level);
    release(taken);
  }
  void release(cell& unused) noexcept {
    unused.next = free_;
    free_ = &unused;
  }

  static constexpr unsigned pass_on_every = 16;

  const std::unique_ptr<line[]> lines_;
  const unsigned levels_;
  const std::unique_ptr<cell[]> cells_;
  cell* free_ = nullptr;
  std::uint64_t pushed_ = 0;
  unsigned waiting_ = 0;  // a bit for each level that has tasks
};

}  // namespace penstock::inline v0_1::detail
