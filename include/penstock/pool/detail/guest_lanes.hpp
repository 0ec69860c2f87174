// penstock/pool/detail/guest_lanes.hpp: lanes for fork-join jobs of threads that are no workers of the pool.
//
// A thread from outside that runs a fork-join algorithm on a pool takes part in it. Its jobs need a place from which workers can steal them:
// it borrows a lane for as long as the algorithm runs. There are eight; who finds none free works alone.
//
// Invariants     a lane that is not lent is empty. Its bit in `lent_` is set before anything is pushed into it, in seq_cst: a worker that goes
//                to sleep and sees neither the bit nor the job was seen by who pushed the job (task_queue.hpp, "Lost work").
// Thread safety  a lane's own end belongs to who borrowed it. The bit hands it from one to the next: acquire and release.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <penstock/core/detail/sync.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/pool/detail/work_deque.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class guest_lanes {
 public:
  using lane = work_deque<work_item, Sync>;

  /// A lane for the calling thread, or null.
  [[nodiscard]] lane* borrow() noexcept {
    std::uint32_t lent = lent_.load(std::memory_order_relaxed);  // relaxed: the exchange confirms it
    while (lent != all) {
      const auto free = static_cast<unsigned>(std::countr_one(lent));
      // acquire: pairs with the release in give_back(). seq_cst: see "Invariants"
      if (lent_.compare_exchange_weak(lent, lent | 1U << free, std::memory_order_seq_cst, std::memory_order_relaxed)) {
        return &lanes_[free];
      }
    }
    return nullptr;
  }
  void give_back(lane& borrowed) noexcept {
    const auto index = static_cast<unsigned>(&borrowed - lanes_.data());
    lent_.fetch_and(~(1U << index), std::memory_order_release);  // release: the next one owns the lane's end
  }

  [[nodiscard]] bool has_work() const noexcept {
    for (std::uint32_t lent = lent_.load(std::memory_order_seq_cst); lent != 0; lent &= lent - 1) {
      if (!lanes_[static_cast<unsigned>(std::countr_zero(lent))].empty()) return true;
    }
    return false;
  }
  /// The oldest job of one of the guests, or null.
  [[nodiscard]] work_item* steal() noexcept {
    for (std::uint32_t lent = lent_.load(std::memory_order_seq_cst); lent != 0; lent &= lent - 1) {
      if (work_item* const job = lanes_[static_cast<unsigned>(std::countr_zero(lent))].steal(); job != nullptr) return job;
    }
    return nullptr;
  }

 private:
  static constexpr std::size_t room = 64;  // jobs of one guest that nobody has begun; what finds no room runs at once
  static constexpr std::uint32_t all = 0xFF;

  alignas(cache_line) typename Sync::template atomic<std::uint32_t> lent_{0};
  std::array<lane, 8> lanes_{lane{room}, lane{room}, lane{room}, lane{room}, lane{room}, lane{room}, lane{room}, lane{room}};
};

}  // namespace penstock::inline v0_1::detail
