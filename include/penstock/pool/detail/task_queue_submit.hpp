// penstock/pool/detail/task_queue_submit.hpp: how work comes into a pool's queue: a part of task_queue.hpp, which includes it.
//
// Ownership   what comes from outside goes in under the lock, with the look at who is to be woken; what a worker submits itself goes into its own lanes,
//             without it. Who is woken is completed after unlocking.
#pragma once

#include <cstddef>
#include <mutex>

#include <penstock/core/errc.hpp>
#include <penstock/pool/detail/task_queue.hpp>

namespace penstock::inline v0_1::detail {

template <class Task, class Sync>
result<void> task_queue<Task, Sync>::try_push(Task& task, task_label label) noexcept {
  if (try_push_n(&task, 1, label) == 1) return {};
  return signals_.closed() ? errc::closed : errc::full;
}

template <class Task, class Sync>
result<void> task_queue<Task, Sync>::try_push(slot& me, Task& task, task_label label) noexcept {
  if (try_push_n(me, &task, 1, label) == 1) return {};
  return signals_.closed() ? errc::closed : errc::full;
}

template <class Task, class Sync>
std::size_t task_queue<Task, Sync>::try_push_n(Task* tasks, std::size_t n, task_label label) noexcept {
  if (outside_.seems_full()) return 0;
  wait_list<Sync> won;
  std::size_t pushed = 0;
  {
    std::scoped_lock guard{lock_};
    if (signals_.closed()) return 0;
    for (; pushed < n && !outside_.full(); ++pushed) outside_.let_in(tasks[pushed], label);
    if (pushed != 0 && !signals_.paused()) wake_one(won);
  }
  won.complete_all();
  return pushed;
}

template <class Task, class Sync>
std::size_t task_queue<Task, Sync>::try_push_n(slot& me, Task* tasks, std::size_t n, task_label label) noexcept {
  if (signals_.closed()) return 0;
  std::size_t pushed = 0;
  while (pushed < n && me.push(tasks[pushed], label.since)) ++pushed;
  if (pushed == 0) return try_push_n(tasks, n, label);
  lane_grew(me);
  return pushed;
}

template <class Task, class Sync>
result<void> task_queue<Task, Sync>::push_over(Task& task, task_label label, displaced which, Task& dropped) noexcept {
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    if (signals_.closed()) return errc::closed;
    if (outside_.full()) {
      if (which == displaced::oldest) {
        outside_.pop_oldest(dropped);
      } else if (!outside_.pop_below(label.priority, dropped)) {
        return errc::rejected;
      }
    }
    outside_.let_in(task, label);
    if (!signals_.paused()) wake_one(won);
  }
  won.complete_all();
  return {};
}

template <class Task, class Sync>
result<void> task_queue<Task, Sync>::begin_here() noexcept {
  std::scoped_lock guard{lock_};
  if (signals_.closed()) return errc::closed;
  ++added_;
  return {};
}

template <class Task, class Sync>
void task_queue<Task, Sync>::finish_here() noexcept {
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    ++finished_;
    tell_the_end(won);
  }
  won.complete_all();  // nothing of *this is touched any more: who waited for the end may destroy it
}

template <class Task, class Sync>
void task_queue<Task, Sync>::push(slot& me, work_item& item) noexcept {
  me.count_added();
  if (me.resumptions.push(&item)) {
    if (signals_.somebody_sleeps() && signals_.nobody_searches()) wake();
  } else {
    inject(item, false);
  }
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::fork(fork_lane& mine, work_item& job) noexcept {
  if (!mine.push(&job)) return false;
  call_for_tasks();
  return true;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::inject(work_item& item, bool uncounted) noexcept {
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    if (staff_.working() == 0) return false;
    outside_.push(item);
    if (uncounted) ++added_;
    wake_one(won);
  }
  won.complete_all();
  return true;
}

}  // namespace penstock::inline v0_1::detail
