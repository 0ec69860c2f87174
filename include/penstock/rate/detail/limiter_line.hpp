// penstock/rate/detail/limiter_line.hpp: who waits for a limiter, in the order of urgency, and among equals in that of arrival.
//
// Ageing: a level whose turn it is passes each sixteenth of its turns on to the next level below that waits, which does the same. So while level k
// waits, fewer than 16^k others have their turn between two of its own (the argument is that of pool/detail/priority_lines.hpp).
// next() only looks: whose turn it is does not change before take(), but for one that is more urgent and comes meanwhile.
//
// Thread safety  passive: guarded by its owner's lock.
// Cost           constant. The nodes are the waiters' own: nothing is allocated.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <penstock/core/detail/sync.hpp>
#include <penstock/core/detail/wait_queue.hpp>
#include <penstock/rate/limiter_options.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
struct basic_limiter_request : wait_node<Sync> {
  explicit basic_limiter_request(job_options j) noexcept : job{j} {}

  const job_options job;
  nanoseconds_point since = 0;  // when it took its place in line
  typename Sync::template var<nanoseconds_point> started_at{
      std::numeric_limits<nanoseconds_point>::min()};  // set before it is granted
};

template <class Sync>
class basic_limiter_line {
 public:
  using limiter_request = basic_limiter_request<Sync>;
  static constexpr unsigned levels = 10;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

  void push_back(limiter_request& r) noexcept {
    lines_[r.job.priority].push_back(r);
    waiting_ = waiting_ | bit(r.job.priority);
    size_ = size_ + 1;
  }

  /// The one that is next; null if nobody waits.
  [[nodiscard]] limiter_request* next() const noexcept { return empty() ? nullptr : first(level_of_turn(waiting_)); }
  /// Whether one that comes with this priority would be next.
  [[nodiscard]] bool would_be_next(unsigned priority) const noexcept {
    return lines_[priority].empty() && level_of_turn(waiting_ | bit(priority)) == priority;
  }
  /// Of the least urgent ones, the one that has waited longest. Only if somebody waits.
  [[nodiscard]] limiter_request& least_urgent() const noexcept {
    return *first(static_cast<unsigned>(std::bit_width<unsigned>(waiting_)) - 1);
  }
  /// Anyone; null if nobody waits.
  [[nodiscard]] limiter_request* any() const noexcept { return empty() ? nullptr : first(most_urgent(waiting_)); }

  /// Calls f for each one; f may unlink it.
  template <class F>
  void for_each(F f) {
    for (unsigned level = 0; level < levels; ++level) {
      for (limiter_request* r = first(level); r != nullptr;) {
        auto* const next = static_cast<limiter_request*>(static_cast<wait_node<Sync>*>(r->next));  // read first
        f(*r);
        r = next;
      }
    }
  }

  /// Counts a turn for the one whose turn it is: next(), before it is unlinked, or one that would_be_next() and does not stand in line.
  void take_turn(unsigned priority) noexcept {
    const unsigned waiting = waiting_ | bit(priority);
    for (unsigned level = most_urgent(waiting); level != priority; level = below(waiting, level)) ++turns_[level];
    if (below(waiting, priority) != none) ++turns_[priority];
  }

  void unlink(limiter_request& r) noexcept {
    lines_[r.job.priority].unlink(r);
    unlinked(r);
  }
  /// Of one that somebody else unlinked.
  void unlinked(const limiter_request& r) noexcept {
    size_ = size_ - 1;
    if (lines_[r.job.priority].empty()) waiting_ = waiting_ & ~bit(r.job.priority);
  }

 private:
  static constexpr unsigned none = levels;
  static constexpr unsigned pass_on_every = 16;

  static constexpr unsigned bit(unsigned level) noexcept { return 1U << level; }
  static unsigned most_urgent(unsigned waiting) noexcept { return static_cast<unsigned>(std::countr_zero(waiting)); }
  static unsigned below(unsigned waiting, unsigned level) noexcept {
    const unsigned rest = waiting & ~(2 * bit(level) - 1);
    return rest == 0 ? none : most_urgent(rest);
  }
  unsigned level_of_turn(unsigned waiting) const noexcept {
    unsigned level = most_urgent(waiting);
    for (unsigned next = 0; (next = below(waiting, level)) != none; level = next) {
      if ((turns_[level] + 1) % pass_on_every != 0) break;
    }
    return level;
  }
  limiter_request* first(unsigned level) const noexcept { return static_cast<limiter_request*>(lines_[level].front()); }

  std::array<wait_queue<Sync>, levels> lines_;
  std::array<unsigned, levels> turns_{};              // that a level had while one below it waited
  typename Sync::template var<unsigned> waiting_{0};  // a bit for each level that somebody waits in
  typename Sync::template var<std::size_t> size_{0};
};

}  // namespace penstock::inline v0_1::detail
