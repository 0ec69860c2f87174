// penstock/observe/counter.hpp: a number of events that only grows.
//
//   penstock::counter completed;
//   completed.add();                                       // any thread
//   std::uint64_t before = completed.value();              // a plain number: add to merge, subtract for an interval
//
// Invariants     value() is the sum of all add()s, modulo 2^64 (584 years at one a nanosecond).
// Thread safety  every member may be called concurrently.
// Cost           add() is wait-free: one read-modify-write on one of Stripes cache lines, the calling thread's. Two threads on
//                one line make each other's add() take about three times as long (benchmarks/observe_bench.cpp), so a thread
//                looks now and then whether it meets another there, and if so moves on to the next line, at the cost of a
//                second read-modify-write this once. value() reads every line.
// Memory         Stripes cache lines (512 bytes by default on x86-64). basic_counter<1> is one word, for the many or the quiet.
// Algorithm      D. Lea's LongAdder (java.util.concurrent), with a fixed number of cells.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <penstock/core/detail/sync.hpp>
#include <penstock/observe/detail/stripe.hpp>

namespace penstock::inline v0_1 {

template <std::size_t Stripes = 8>
class basic_counter {
  static_assert(Stripes > 0 && (Stripes & (Stripes - 1)) == 0, "the number of stripes is a power of two");

 public:
  basic_counter() noexcept = default;
  basic_counter(const basic_counter&) = delete;
  basic_counter& operator=(const basic_counter&) = delete;

  /// Counts n events.
  void add(std::uint64_t n = 1) noexcept {
    if constexpr (Stripes == 1) {
      cells_[0].count.fetch_add(n, std::memory_order_relaxed);  // relaxed: a statistic publishes nothing
    } else {
      auto& mine = cell_of_this_thread();
      // relaxed, here and below: a statistic publishes nothing
      if (!detail::looks_for_others()) [[likely]] {
        mine.fetch_add(n, std::memory_order_relaxed);
        return;
      }
      std::uint64_t seen = mine.load(std::memory_order_relaxed);
      if (mine.compare_exchange_strong(seen, seen + n, std::memory_order_relaxed)) return;
      detail::leave_stripe();
      cell_of_this_thread().fetch_add(n, std::memory_order_relaxed);  // relaxed: as above
    }
  }

  /// The number counted so far. It includes every add() that happened before the call, and of those that run at the same time
  /// some; successive calls by one thread never decrease.
  [[nodiscard]] std::uint64_t value() const noexcept {
    std::uint64_t total = 0;
    // relaxed: a cell never decreases, and one thread reads it in the order of its changes
    for (const cell& c : cells_) total += c.count.load(std::memory_order_relaxed);
    return total;
  }

 private:
  struct alignas(Stripes == 1 ? alignof(std::atomic<std::uint64_t>) : detail::cache_line) cell {
    std::atomic<std::uint64_t> count{0};
  };

  std::atomic<std::uint64_t>& cell_of_this_thread() noexcept {
    return cells_[detail::stripe_of_this_thread() & (Stripes - 1)].count;
  }

  std::array<cell, Stripes> cells_;
};

using counter = basic_counter<>;

}  // namespace penstock::inline v0_1
