// penstock/pool/detail/task_queue_staff.hpp: workers that come and go, and tasks that are held back: a part of task_queue.hpp, which includes it.
//
// Staff       (staff.hpp) Idle workers that should not be awake are not woken; if none is idle and one more should be awake, who would have woken it
//             starts a thread instead, in the same way: what is to be completed after unlocking is a node that starts one. That counts as a piece of
//             work, so nobody ends before the thread is there. A worker that leaves, or lies down though there may be work, does it under the lock
//             and only while others are awake: they look before they sleep.
// Ownership   how many there are is guarded by the lock, with the lines in which they stand: to lie down, to leave and to be counted is one step.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <utility>

#include <penstock/pool/detail/task_queue.hpp>

namespace penstock::inline v0_1::detail {

template <class Task, class Sync>
bool task_queue<Task, Sync>::lie_down() noexcept {
  using deadline = basic_deadline<Sync>;
  deadline limit;
  if (keep_idle_ != never) {
    limit = timers_ != nullptr ? deadline{saturating_add(timers_->now(), keep_idle_), *timers_}
                               : deadline::after(std::chrono::nanoseconds{keep_idle_});
  }
  for (;;) {
    blocking_wait<task_queue, worker_node> wait{*this};
    outcome how = outcome::pending;
    try {
      how = wait.run_without_polling(limit);
    } catch (...) {  // a timer's thread cannot be started: then it stays
      how = wait.run_without_polling();
    }
    if (how != outcome::timeout) return how == outcome::granted;
    if (wait.leaves) return false;
    limit = {};  // one of those that stay
  }
}

// The time of an idle worker is over.
template <class Task, class Sync>
void task_queue<Task, Sync>::unlinked(worker_node& n, wait_list<Sync>&) noexcept {
  n.leaves = staff_.may_leave();
  if (n.leaves) staff_.leave();
  count_waiters();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::arrive(slot& me) noexcept {
  std::scoped_lock guard{lock_};
  staff_.arrive();
  me.searches = !staff_.has_surplus(idle_.size());
  if (me.searches) signals_.begin_search();
  count_waiters();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::fail_to_arrive() noexcept {
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    staff_.fail_to_arrive();
    feed_helper(won);  // who was to be started in place of waking it
    count_waiters();   // who makes work next tries again
  }
  won.complete_all();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::left() noexcept {
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    staff_.be_gone();
    if (has_work()) wake_one(won);  // its place may be what was missing
    count_waiters();
  }
  won.complete_all();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::block(slot& me) noexcept {
  if (me.blocked++ != 0) return;
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    staff_.block();
    if (has_work()) wake_one(won);
    count_waiters();
  }
  won.complete_all();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::unblock(slot& me) noexcept {
  if (--me.blocked != 0) return;
  std::scoped_lock guard{lock_};
  staff_.unblock();
  count_waiters();
}

template <class Task, class Sync>
auto task_queue<Task, Sync>::resize(std::size_t workers) noexcept -> resized {
  wait_list<Sync> won;
  resized change{};
  {
    std::scoped_lock guard{lock_};
    if (signals_.closed()) return change;
    change.before = staff_.target();
    set_target(workers, won);
    change.which = staff_.resizes();
  }
  won.complete_all();
  return change;
}

template <class Task, class Sync>
void task_queue<Task, Sync>::undo(resized change) noexcept {
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    if (signals_.closed() || staff_.resizes() != change.which) return;
    set_target(change.before, won);
  }
  won.complete_all();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::set_target(std::size_t workers, wait_list<Sync>& won) noexcept {
  staff_.resize(workers);
  target_.store(workers, std::memory_order_relaxed);  // relaxed: a number
  for (; staff_.has_too_many() && !idle_.empty(); idle_.win(*idle_.front(), outcome::closed, won)) staff_.leave();
  if (has_work()) wake_one(won);
  count_waiters();
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::begin_arrival() noexcept {
  std::scoped_lock guard{lock_};
  if (signals_.closed() || !staff_.is_short()) return false;
  staff_.begin_arrival();
  ++added_;
  count_waiters();
  return true;
}

template <class Task, class Sync>
template <class Prepare>
void task_queue<Task, Sync>::provide_slot(std::size_t index, Prepare prepare) {
  while (slots_.size() <= index) {
    auto made = slots_.make();
    prepare(*made);
    std::scoped_lock guard{lock_};
    slots_.publish(std::move(made));
  }
}

template <class Task, class Sync>
void task_queue<Task, Sync>::pause() noexcept {
  std::scoped_lock guard{lock_};
  if (!signals_.closed()) signals_.pause();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::resume() noexcept {
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    signals_.resume();  // before the look at the lanes, see lane_grew()
    if (has_work()) wake_one(won);
  }
  won.complete_all();
}

template <class Task, class Sync>
std::size_t task_queue<Task, Sync>::workers() const noexcept {
  return locked([this] { return staff_.size(); });
}

template <class Task, class Sync>
std::size_t task_queue<Task, Sync>::submitted() const noexcept {
  return locked([this] { return outside_.let_in() + slots_.submitted(); });
}

template <class Task, class Sync>
std::size_t task_queue<Task, Sync>::queued() const noexcept {
  return locked([this] { return outside_.tasks() + slots_.tasks(); });
}

template <class Task, class Sync>
std::size_t task_queue<Task, Sync>::outstanding() const noexcept {
  return locked([this] { return count_outstanding(); });
}

template <class Task, class Sync>
std::size_t task_queue<Task, Sync>::idle() const noexcept {
  return locked([this] { return idle_.size(); });
}

template <class Task, class Sync>
std::size_t task_queue<Task, Sync>::room_waiters() const noexcept {
  return locked([this] { return outside_.waiters(); });
}

}  // namespace penstock::inline v0_1::detail
