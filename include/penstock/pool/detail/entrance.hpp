// penstock/pool/detail/entrance.hpp: where work comes into a pool from outside, and the line of those who wait for room there.
//
// Invariants     while somebody is in line there is no room: whoever takes a task out hands its place to the head of the line. Nobody overtakes.
// Ownership      passive: guarded by the queue's lock, but for the hints of injection.hpp, which anybody may read.
#pragma once

#include <cstddef>

#include <penstock/core/detail/wait_queue.hpp>
#include <penstock/pool/detail/injection.hpp>
#include <penstock/pool/detail/queue_waiters.hpp>

namespace penstock::inline v0_1::detail {

template <class Task, class Sync>
class entrance : public injection<Task, Sync> {
 public:
  using injection<Task, Sync>::injection;

  /// Only if it is not full.
  void let_in(Task& task, task_label label) noexcept {
    this->push(task, label);
    ++let_in_;
  }
  /// The next task to begin, and since when it has waited. Only if there is one.
  nanoseconds_point take(Task& task, wait_list<Sync>& won) noexcept {
    const nanoseconds_point since = this->pop(task);
    if (auto* const waiting = static_cast<room_waiter<Task, Sync>*>(room_.front()); waiting != nullptr) {
      let_in(*waiting->task, waiting->label);
      room_.win(*waiting, outcome::granted, won);
      // No worker is woken for it: that the place was taken before has kept somebody searching, or everybody busy.
    }
    return since;
  }
  /// How many tasks have come in so far.
  [[nodiscard]] std::size_t let_in() const noexcept { return let_in_; }

  void wait(room_waiter<Task, Sync>& n) noexcept { room_.push_back(n); }
  [[nodiscard]] std::size_t waiters() const noexcept { return room_.size(); }
  void close(wait_list<Sync>& won) noexcept { room_.win_all(outcome::closed, won); }

 private:
  wait_queue<Sync> room_;
  std::size_t let_in_ = 0;
};

}  // namespace penstock::inline v0_1::detail
