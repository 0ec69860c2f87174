// penstock/pool/detail/task_queue_waits.hpp: who waits at a pool's queue, and who wakes them: a part of task_queue.hpp, which includes it.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <utility>

#include <penstock/pool/detail/task_queue.hpp>

namespace penstock::inline v0_1::detail {

template <class Task, class Sync>
result<void> task_queue<Task, Sync>::push_over(Task& task, task_label label, displaced which, Task& dropped) noexcept {
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    if (closed()) return errc::closed;
    if (injected_.full()) {
      if (which == displaced::oldest) {
        injected_.pop_oldest(dropped);
      } else if (!injected_.pop_below(label.priority, dropped)) {
        return errc::rejected;
      }
    }
    insert(task, label);
    wake_one(won);
  }
  won.complete_all();
  return {};
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::try_pass(room_node& n) noexcept {
  if (injected_.seems_full() && !closed()) return false;  // so that those who poll leave the lock to the workers
  const result<void> pushed = try_push(*n.task, n.label);
  if (!pushed && pushed.error() == errc::full) return false;
  n.how = pushed ? outcome::granted : outcome::closed;
  return true;
}

template <class Task, class Sync>
step task_queue<Task, Sync>::try_or_link(room_node& n, link_at where, wait_list<Sync>& won) noexcept {
  if (closed()) {
    n.how = outcome::closed;
  } else if (!injected_.full()) {
    insert(*n.task, n.label);
    if (!paused()) wake_one(won);
    n.how = outcome::granted;
  } else {
    if (where == link_at::nowhere) return step::refused;
    room_.push_back(n);
    return step::linked;
  }
  return step::passed;
}

template <class Task, class Sync>
step task_queue<Task, Sync>::try_or_link(worker_node& n, link_at where, wait_list<Sync>& won) noexcept {
  idle_.push_front(n);  // who slept last is woken first
  count_waiters();
  const bool too_many = staff_.has_too_many();
  const bool more = !too_many && staff_.may_wake(idle_.size()) && has_work();
  // While a task runs, it may wait for a coroutine that comes back here: the others stay until nothing runs.
  const bool end = !more && (too_many || (closed() && count_outstanding() == 0));
  // Of those who count as awake some may be helpers that sleep, and left a resumption to the searcher that this worker was.
  if (!more && !end) feed_helper(won);
  if (!more && !end && where != link_at::nowhere) return step::linked;
  idle_.unlink(n);
  if (more) {
    searching_.fetch_add(1, std::memory_order_seq_cst);
    n.how = outcome::granted;
  } else if (end) {
    staff_.leave();  // under the lock under which it looked in vain: no resumption can slip in behind the last one
    tell_the_end(won);
    n.how = outcome::closed;
  } else {
    unlinked(n, won);  // its time is over already
  }
  count_waiters();
  return more || end ? step::passed : step::refused;
}

template <class Task, class Sync>
step task_queue<Task, Sync>::try_or_link(helper_node& n, link_at where, wait_list<Sync>& won) noexcept {
  if (where == link_at::nowhere) return step::refused;  // what it waits for has come
  helpers_.push_back(n);
  count_waiters();
  // While somebody searches, a resumption is his: what runs here keeps the wait from ending. He looks again when he stops.
  n.found = nobody_searches() ? take_resumption() : nullptr;
  if (n.found == nullptr) return step::linked;
  helpers_.unlink(n);
  count_waiters();
  if (has_work()) wake_one(won);
  n.how = outcome::granted;
  return step::passed;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::try_pass(drained_node& n) noexcept {
  if (injected_.seems_to_have_tasks() || outstanding() != 0) return false;  // the hint spares the workers' lock
  n.how = outcome::granted;
  return true;
}

template <class Task, class Sync>
step task_queue<Task, Sync>::try_or_link(drained_node& n, link_at where, wait_list<Sync>&) noexcept {
  drained_.push_back(n);
  count_waiters();  // before the look: who runs out of work meanwhile sees us, or we see what it has finished
  if (count_outstanding() == 0) {
    n.how = outcome::granted;
  } else if (where != link_at::nowhere) {
    return step::linked;
  }
  drained_.unlink(n);
  count_waiters();
  return n.how == outcome::granted ? step::passed : step::refused;
}

template <class Task, class Sync>
void task_queue<Task, Sync>::call_for_help() noexcept {
  if (!somebody_sleeps() || !nobody_searches()) return;
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    if (has_work()) wake_one(won);
  }
  won.complete_all();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::wake_one(wait_list<Sync>& won) noexcept {
  if (!nobody_searches()) return;
  if (!idle_.empty() && staff_.may_wake(idle_.size())) {
    searching_.fetch_add(1, std::memory_order_seq_cst);  // in the name of who is woken
    idle_.win(*idle_.front(), outcome::granted, won);
  } else if (may_start(idle_.size())) {
    staff_.begin_arrival();
    ++added_;
    won.push_back(starter_);
  } else {
    return feed_helper(won);
  }
  count_waiters();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::feed_helper(wait_list<Sync>& won) noexcept {
  if (helpers_.empty() || !nobody_searches()) return;
  auto* const helper = static_cast<helper_node*>(helpers_.front());
  helper->found = take_resumption();
  if (helper->found == nullptr) return;
  helpers_.win(*helper, outcome::granted, won);
  count_waiters();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::tell_the_end(wait_list<Sync>& won) noexcept {
  if (count_outstanding() != 0) return;
  drained_.win_all(outcome::granted, won);
  if (closed()) {
    staff_.leave(idle_.size());
    idle_.win_all(outcome::closed, won);
  }
  count_waiters();
}

}  // namespace penstock::inline v0_1::detail
