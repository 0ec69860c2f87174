// penstock/pool/detail/task_queue_staff.hpp: workers that come and go, and tasks that are held back: a part of task_queue.hpp, which includes it.
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
  if (me.searches) searching_.fetch_add(1, std::memory_order_seq_cst);
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
std::size_t task_queue<Task, Sync>::resize(std::size_t workers) noexcept {
  wait_list<Sync> won;
  std::size_t before = 0;
  {
    std::scoped_lock guard{lock_};
    if (closed()) return 0;
    before = staff_.target();
    staff_.resize(workers);
    target_.store(workers, std::memory_order_relaxed);  // relaxed: a number
    for (; staff_.has_too_many() && !idle_.empty(); idle_.win(*idle_.front(), outcome::closed, won)) staff_.leave();
    if (has_work()) wake_one(won);
    count_waiters();
  }
  won.complete_all();
  return before;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::begin_arrival() noexcept {
  std::scoped_lock guard{lock_};
  if (closed() || !staff_.is_short()) return false;
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
  if (!closed()) paused_.store(true, std::memory_order_release);  // release: pairs with the acquire in paused()
}

template <class Task, class Sync>
void task_queue<Task, Sync>::resume() noexcept {
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    paused_.store(false, std::memory_order_seq_cst);  // seq_cst: before the look at the lanes, see lane_grew()
    if (has_work()) wake_one(won);
  }
  won.complete_all();
}

}  // namespace penstock::inline v0_1::detail
