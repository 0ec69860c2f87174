// penstock/pool/detail/queue_waiters.hpp: those who wait at a pool's queue, each a node in its waiter's own frame.
//
// Ownership      as every wait_node: the queue's lock while it is linked, the winner's until it is completed (wait_queue.hpp).
#pragma once

#include <penstock/core/detail/gate.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/pool/detail/work.hpp>

namespace penstock::inline v0_1::detail {

/// Waits for room with a task, which is moved from if, and only if, it went in.
template <class Task, class Sync>
struct room_waiter : plain_node<Sync> {
  explicit room_waiter(Task& t, task_label l = {}) noexcept : task{&t}, label{l} {}
  Task* task;
  task_label label;
};

/// Waits until nothing is queued and nothing runs, nor anything that begin_here() announced.
template <class Sync>
struct end_waiter : plain_node<Sync> {};

/// A worker that sleeps. Its outcome is granted if it shall search again, and counts as a searcher.
template <class Sync>
struct idle_worker : wait_node<Sync> {
  static constexpr bool is_idle = true;  // for who observes waits: it waits for nothing but work
  bool leaves = false;                   // it has slept for long enough
};

/// A worker that waits for the end of a coroutine (helping_wait.hpp) and runs resumptions meanwhile, if nobody else would. Its outcome is granted, with
/// a resumption, or what it was interrupted with.
template <class Slot, class Sync>
struct helping_worker : wait_node<Sync> {
  explicit helping_worker(Slot& s) noexcept : by{&s} {}
  void finished() noexcept { by->count_finished(); }
  Slot* by;
  work_item* found = nullptr;
};

}  // namespace penstock::inline v0_1::detail
