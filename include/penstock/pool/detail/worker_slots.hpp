// penstock/pool/detail/worker_slots.hpp: the slots of all workers of a pool, the lanes of its guests, and what they say together.
//
// Thread safety  anybody's, but for slots themselves (worker_slot.hpp). The answers are as fresh as what they are made of: seq_cst looks, so who
//                announced something in seq_cst before sees what was published before somebody missed that announcement.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <penstock/pool/detail/guest_lanes.hpp>
#include <penstock/pool/detail/worker_slot.hpp>

namespace penstock::inline v0_1::detail {

template <class Task, class Sync>
class worker_slots {
 public:
  using slot = worker_slot<Task, Sync>;

  /// Makes `count` slots, and room for `most`.
  worker_slots(const void* queue, std::size_t count, std::size_t most, std::size_t task_capacity, std::size_t lane_capacity)
      : queue_{queue}, task_capacity_{task_capacity}, lane_capacity_{lane_capacity}, slots_(most) {
    while (size() < count) publish(make());
  }

  // acquire: pairs with the release in publish()
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_acquire); }
  [[nodiscard]] slot& operator[](std::size_t index) const noexcept { return *slots_[index]; }

  [[nodiscard]] guest_lanes<Sync>& guests() noexcept { return guests_; }

  /// The next slot, and its joining the others. By one thread at a time, the second under the lock under which those who are about to sleep look at the
  /// slots. Nobody works in the slot before.
  [[nodiscard]] std::unique_ptr<slot> make() const {
    return std::make_unique<slot>(queue_, size(), task_capacity_, lane_capacity_);
  }
  void publish(std::unique_ptr<slot> made) noexcept {
    const std::size_t n = size_.load(std::memory_order_relaxed);  // relaxed: one thread at a time
    slots_[n] = std::move(made);
    size_.store(n + 1, std::memory_order_release);  // release: pairs with the acquire in size()
  }

  /// `tasks`: whether they count.
  [[nodiscard]] bool have_work(bool tasks = true) const noexcept {
    for (const auto& s : all()) {
      if ((tasks && !s->tasks.empty()) || !s->resumptions.empty() || !s->forks.empty()) return true;
    }
    return guests_.has_work();
  }
  [[nodiscard]] bool have_resumptions() const noexcept {
    for (const auto& s : all()) {
      if (!s->resumptions.empty()) return true;
    }
    return false;
  }
  /// Tasks in all lanes.
  [[nodiscard]] std::size_t tasks() const noexcept {
    std::size_t n = 0;
    for (const auto& s : all()) n += s->tasks.size();
    return n;
  }

  template <class F>
  void for_each(F f) const {
    for (const auto& s : all()) f(std::as_const(*s));
  }
  /// Tasks that were ever put into lanes by the slots' own workers. With the queue's lock held.
  [[nodiscard]] std::size_t submitted() const noexcept {
    std::size_t n = 0;
    for (const auto& s : all()) n += s->tasks.pushed() - s->taken_along;
    return n;
  }

  /// One of the oldest resumptions, or null.
  work_item* steal_resumption() noexcept {
    for (const auto& s : all()) {
      if (work_item* const item = s->resumptions.steal(); item != nullptr) return item;
    }
    return nullptr;
  }
  /// One of the oldest tasks, for who is not a worker. False: there is none.
  bool steal_task(Task& task) noexcept {
    for (const auto& s : all()) {
      if (steal_task(*s, task)) return true;
    }
    return false;
  }
  static bool steal_task(slot& from, Task& task) noexcept {
    auto* const node = from.tasks.steal();
    if (node == nullptr) return false;
    task = std::move(node->task);
    slot::give_back(*node);
    return true;
  }

  /// Pieces of work that were added and not finished, by the slots' counts and those given; never 0 before all is finished. The lock that guards
  /// the counts given is held.
  [[nodiscard]] std::size_t outstanding(std::size_t added, std::size_t finished) const noexcept {
    for (const auto& s : all()) finished += s->finished.load(std::memory_order_seq_cst);  // seq_cst: see task_queue::ran_out()
    // relaxed: what added to them and was finished was seen above. So these come after.
    for (const auto& s : all()) added += s->added.load(std::memory_order_relaxed);
    return added - finished;
  }

 private:
  [[nodiscard]] std::span<const std::unique_ptr<slot>> all() const noexcept { return {slots_.data(), size()}; }

  const void* const queue_;
  const std::size_t task_capacity_;
  const std::size_t lane_capacity_;
  std::vector<std::unique_ptr<slot>> slots_;  // the first size_ of them are there
  guest_lanes<Sync> guests_;
  typename Sync::template atomic<std::size_t> size_{0};
};

}  // namespace penstock::inline v0_1::detail
