// penstock/pool/detail/task_queue_waits.hpp: who waits at a pool's queue, and who wakes them: a part of task_queue.hpp, which includes it.
//
// Ownership   all of it is done with the lock held, but for try_pass(), call_for_help(), lane_grew() and wake(), which take it if they have to.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <utility>

#include <penstock/pool/detail/task_queue.hpp>

namespace penstock::inline v0_1::detail {

template <class Task, class Sync>
bool task_queue<Task, Sync>::try_pass(room_node& n) noexcept {
  if (outside_.seems_full() && !signals_.closed()) return false;  // so that those who poll leave the lock to the workers
  const result<void> pushed = try_push(*n.task, n.label);
  if (!pushed && pushed.error() == errc::full) return false;
  n.how = pushed ? outcome::granted : outcome::closed;
  return true;
}

template <class Task, class Sync>
step task_queue<Task, Sync>::try_or_link(room_node& n, link_at where, wait_list<Sync>& won) noexcept {
  if (signals_.closed()) {
    n.how = outcome::closed;
  } else if (!outside_.full()) {
    outside_.let_in(*n.task, n.label);
    if (!signals_.paused()) wake_one(won);
    n.how = outcome::granted;
  } else {
    if (where == link_at::nowhere) return step::refused;
    outside_.wait(n);
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
  const bool end = !more && (too_many || (signals_.closed() && count_outstanding() == 0));
  // Of those who count as awake some may be helpers that sleep, and left a resumption to the searcher that this worker was.
  if (!more && !end) feed_helper(won);
  if (!more && !end && where != link_at::nowhere) return step::linked;
  idle_.unlink(n);
  if (more) {
    signals_.begin_search();
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
  n.found = signals_.nobody_searches() ? take_resumption() : nullptr;
  if (n.found == nullptr) {
    sleeps(n);
    if (has_work() && signals_.nobody_searches() && !wake_idle(won)) start_one(won);
    return step::linked;
  }
  helpers_.unlink(n);
  count_waiters();
  if (has_work()) wake_one(won);
  n.how = outcome::granted;
  return step::passed;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::try_pass(drained_node& n) noexcept {
  if (outside_.seems_to_have_tasks() || outstanding() != 0) return false;  // the hint spares the workers' lock
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
  if (!signals_.somebody_sleeps() || !signals_.nobody_searches()) return;
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    if (has_work()) wake_one(won);
  }
  won.complete_all();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::lane_grew(slot& me) noexcept {
  if (signals_.dropping()) {
    drop_lane(me);
  } else if (!signals_.holds_back()) {
    call_for_tasks();
  }
}

template <class Task, class Sync>
void task_queue<Task, Sync>::wake() noexcept {
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    wake_one(won);
  }
  won.complete_all();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::wake_one(wait_list<Sync>& won) noexcept {
  if (idle_.empty() && helpers_.empty() && !may_start(0))
    return;  // without a look at the searchers' line, which changes with each of them
  const unsigned searchers = signals_.searchers();
  if (searchers != 0 && (outside_.tasks() <= searchers || !staff_.has_processor(idle_.size()))) return;
  // A helper that sleeps takes a resumption sooner than a new thread could; and calls that one, if there is more.
  if (!wake_idle(won) && !feed_helper(won)) start_one(won);
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::wake_idle(wait_list<Sync>& won) noexcept {
  if (idle_.empty() || !staff_.may_wake(idle_.size())) return false;
  signals_.begin_search();  // in the name of who is woken
  idle_.win(*idle_.front(), outcome::granted, won);
  count_waiters();
  return true;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::start_one(wait_list<Sync>& won) noexcept {
  if (!may_start(idle_.size())) return false;
  staff_.begin_arrival();
  ++added_;
  won.push_back(starter_);
  count_waiters();
  return true;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::feed_helper(wait_list<Sync>& won) noexcept {
  if (helpers_.empty() || !signals_.nobody_searches()) return false;
  auto* const helper = static_cast<helper_node*>(helpers_.front());
  helper->found = take_resumption();
  if (helper->found == nullptr) return false;
  helpers_.win(*helper, outcome::granted, won);
  wakes(*helper);
  return true;
}

template <class Task, class Sync>
void task_queue<Task, Sync>::tell_the_end(wait_list<Sync>& won) noexcept {
  if (count_outstanding() != 0) return;
  drained_.win_all(outcome::granted, won);
  if (signals_.closed()) {
    staff_.leave(idle_.size());
    idle_.win_all(outcome::closed, won);
  }
  count_waiters();
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::seems_to_have_work() const noexcept {
  const bool no_tasks = signals_.paused();
  return (outside_.seems_to_have_tasks() && !signals_.dropping() && !no_tasks) || outside_.seems_to_have_resumptions() ||
         slots_.have_work(!no_tasks);
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::has_work() const noexcept {
  return (outside_.tasks() > 0 && !signals_.dropping() && !signals_.paused()) || outside_.has_resumptions() ||
         slots_.have_work(!signals_.paused());
}

template <class Task, class Sync>
work_item* task_queue<Task, Sync>::take_resumption() noexcept {
  work_item* const item = outside_.pop_resumption();
  return item != nullptr ? item : slots_.steal_resumption();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::count_waiters() noexcept {
  const std::size_t idle = idle_.size();
  const std::size_t to_wake = staff_.may_wake(idle) ? idle + (may_start(idle) ? 1 : 0) : 0;
  signals_.publish(to_wake, staff_.has_surplus(idle), helpers_.size(), drained_.size() + (signals_.closed() ? 1 : 0));
}

}  // namespace penstock::inline v0_1::detail
