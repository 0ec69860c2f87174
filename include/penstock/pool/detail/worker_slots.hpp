// penstock/pool/detail/worker_slots.hpp: the slots of all workers of a pool, the lanes of its guests, and what they say together.
//
// Thread safety  anybody's, but for slots themselves (worker_slot.hpp). The answers are as fresh as what they are made of: seq_cst looks, so who
//                announced something in seq_cst before sees what was published before somebody missed that announcement.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include <penstock/pool/detail/guest_lanes.hpp>
#include <penstock/pool/detail/worker_slot.hpp>

namespace penstock::inline v0_1::detail {

template <class Task, class Sync>
class worker_slots {
 public:
  using slot = worker_slot<Task, Sync>;

  worker_slots(const void* queue, std::size_t count, std::size_t task_capacity, std::size_t lane_capacity) {
    slots_.reserve(count);
    for (std::size_t i = 0; i < count; ++i) slots_.push_back(std::make_unique<slot>(queue, i, task_capacity, lane_capacity));
  }

  [[nodiscard]] std::size_t size() const noexcept { return slots_.size(); }
  [[nodiscard]] slot& operator[](std::size_t index) const noexcept { return *slots_[index]; }

  [[nodiscard]] guest_lanes<Sync>& guests() noexcept { return guests_; }

  [[nodiscard]] bool have_work() const noexcept {
    for (const auto& s : slots_) {
      if (!s->tasks.empty() || !s->resumptions.empty() || !s->forks.empty()) return true;
    }
    return guests_.has_work();
  }
  [[nodiscard]] bool have_resumptions() const noexcept {
    for (const auto& s : slots_) {
      if (!s->resumptions.empty()) return true;
    }
    return false;
  }
  /// Tasks in all lanes.
  [[nodiscard]] std::size_t tasks() const noexcept {
    std::size_t n = 0;
    for (const auto& s : slots_) n += s->tasks.size();
    return n;
  }

  /// One of the oldest resumptions, or null.
  work_item* steal_resumption() noexcept {
    for (const auto& s : slots_) {
      if (work_item* const item = s->resumptions.steal(); item != nullptr) return item;
    }
    return nullptr;
  }
  /// One of the oldest tasks, for who is not a worker. False: there is none.
  bool steal_task(Task& task) noexcept {
    for (const auto& s : slots_) {
      if (auto* const node = s->tasks.steal(); node != nullptr) {
        task = std::move(node->task);
        slot::give_back(*node);
        return true;
      }
    }
    return false;
  }

  /// Pieces of work that were added and not finished, by the slots' counts and those given; never 0 before all is finished. The lock that guards
  /// the counts given is held.
  [[nodiscard]] std::size_t outstanding(std::size_t added, std::size_t finished) const noexcept {
    for (const auto& s : slots_) finished += s->finished.load(std::memory_order_seq_cst);  // seq_cst: see task_queue::ran_out()
    // relaxed: what added to them and was finished was seen above. So these come after.
    for (const auto& s : slots_) added += s->added.load(std::memory_order_relaxed);
    return added - finished;
  }

 private:
  std::vector<std::unique_ptr<slot>> slots_;
  guest_lanes<Sync> guests_;
};

}  // namespace penstock::inline v0_1::detail
