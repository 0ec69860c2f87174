// penstock/pool/detail/task_queue_work.hpp: how workers find work, and what becomes of it at the end: a part of task_queue.hpp, which includes it.
//
// Ownership   a worker's own lanes are its own, and it steals from the others' without the lock; it takes that for what comes from outside only.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <utility>

#include <penstock/core/errc.hpp>
#include <penstock/pool/detail/drop_scope.hpp>
#include <penstock/pool/detail/task_queue.hpp>

namespace penstock::inline v0_1::detail {

template <class Task, class Sync>
bool task_queue<Task, Sync>::next(slot& me, work<Task>& found) noexcept {
  settle(me, found);
  const bool surplus = signals_.surplus();
  if (!std::exchange(me.searches, false)) {
    if (!surplus && pick(me, found)) return true;
    me.record.rest();
    ran_out(me);
    if (surplus && !lie_down()) return false;
    if (surplus) me.record.count_wake();
    if (!surplus) signals_.begin_search();
  }
  for (;;) {
    polling<Sync> poll{me.yields};
    std::size_t looks = slots_.size();
    const bool crowded = crowded_;  // it lies beside the lock, and is not to be looked at there again and again
    do {
      if (!(crowded ? search(me, found, std::exchange(looks, 1)) : seems_to_have_work() && pick(me, found))) continue;
      signals_.end_search();  // before the look in call_for_help()
      call_for_help();
      return true;
    } while (poll.again());
    signals_.end_search();  // before the look in try_or_link()
    if (!lie_down()) return false;
    me.record.count_wake();
  }
}

template <class Task, class Sync>
void task_queue<Task, Sync>::settle(slot& me, work<Task>& found) noexcept {
  found.release();
  found.item = nullptr;
  if (std::exchange(found.counts, false)) me.count_finished();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::ran_out(slot& me) noexcept {
  // seq_cst, once more what it says already: before the look at who waits, as they look here after they have announced themselves.
  // relaxed: only this worker writes it
  me.finished.store(me.finished.load(std::memory_order_relaxed), std::memory_order_seq_cst);
  if (!signals_.somebody_awaits_the_end()) return;
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    tell_the_end(won);
  }
  won.complete_all();
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::pick(slot& me, work<Task>& found) noexcept {
  if (++me.picks_since_outside >= now_and_then && pick_injected(me, found)) return true;
  if (++me.picks_since_steal >= now_and_then && steal(me, found)) return true;
  if (me.resumptions_in_a_row < most_resumptions_in_a_row &&
      (pick_resumption(me, me, found) || (outside_.seems_to_have_resumptions() && pick_injected(me, found)))) {
    return true;
  }
  return pick_task(me, me, found) || pick_injected(me, found) || pick_resumption(me, me, found) || steal(me, found);
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::search(slot& me, work<Task>& found, std::size_t looks) noexcept {
  if (pick_injected(me, found, false) || pick_from(me, me, found)) return true;
  const std::size_t n = slots_.size();
  for (std::size_t at = me.random(n); looks > 0; --looks, at = at + 1 < n ? at + 1 : 0) {
    if (pick_from(me, slots_[at], found)) return true;
  }
  found.item = slots_.guests().steal();
  return found.item != nullptr;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::steal(slot& me, work<Task>& found) noexcept {
  me.picks_since_steal = 0;
  const std::size_t n = slots_.size();
  std::size_t at = n > 1 ? me.random(n) : 0;
  for (std::size_t i = 0; i < n && n > 1; ++i, at = at + 1 < n ? at + 1 : 0) {
    if (pick_from(me, slots_[at], found)) return true;
  }
  found.item = slots_.guests().steal();
  return found.item != nullptr;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::pick_from(slot& me, slot& victim, work<Task>& found) noexcept {
  if (!pick_resumption(me, victim, found) && !pick_fork(victim, found) && !pick_task(me, victim, found)) return false;
  if (&victim != &me) me.record.count_steal();
  return true;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::pick_resumption(slot& me, slot& victim, work<Task>& found) noexcept {
  found.item = victim.resumptions.steal();
  if (found.item == nullptr) return false;
  ++me.resumptions_in_a_row;
  found.counts = true;
  return true;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::pick_fork(slot& victim, work<Task>& found) noexcept {
  found.item = victim.forks.steal();
  return found.item != nullptr;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::pick_task(slot& me, slot& victim, work<Task>& found) noexcept {
  if (signals_.paused()) return false;
  while (auto* const node = victim.tasks.steal()) {
    found.since = node->since;
    me.take(*node, found.task);
    me.resumptions_in_a_row = 0;
    found.counts = true;
    if (!signals_.dropping()) return true;
    drop(me, found.task);
    settle(me, found);
  }
  return false;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::pick_injected(slot& me, work<Task>& found, bool patiently) noexcept {
  if (!outside_.seems_to_have_tasks() && !outside_.seems_to_have_resumptions()) return false;
  me.picks_since_outside = 0;
  wait_list<Sync> won;
  bool took_some = false;
  {
    std::unique_lock guard{lock_, std::defer_lock};
    if (patiently) {
      guard.lock();
    } else if (!guard.try_lock()) {
      return false;
    }
    if (outside_.tasks() > 0 && !signals_.dropping() && !signals_.paused() &&
        (!outside_.has_resumptions() || me.resumptions_in_a_row >= most_resumptions_in_a_row)) {
      found.since = outside_.take(found.task, won);
      me.resumptions_in_a_row = 0;
      found.counts = true;
      took_some = take_along(me, won);
    } else if (outside_.has_resumptions()) {
      found.item = outside_.pop_resumption();
      ++me.resumptions_in_a_row;
      found.counts = true;
    }
  }
  won.complete_all();
  if (took_some) lane_grew(me);
  return found.counts;
}

template <class Task, class Sync>
bool task_queue<Task, Sync>::take_along(slot& me, wait_list<Sync>& won) noexcept {
  std::size_t share = outside_.tasks() / staff_.wanted() / 2;
  if (share > most_at_once) share = most_at_once;
  typename slot::node* taken[most_at_once];
  std::size_t n = 0;
  for (; n < share; ++n) {
    taken[n] = me.take_node();
    if (taken[n] == nullptr) break;
    taken[n]->since = outside_.take(taken[n]->task, won);
  }
  me.taken_along += n;
  if (n != 0) me.tasks.push_n(taken, n);
  return n != 0;
}

// Destroys a task that will not begin.
template <class Task, class Sync>
void task_queue<Task, Sync>::drop(slot& me, Task& task) noexcept {
  const drop_scope why{errc::cancelled};
  static_cast<void>(Task{std::move(task)});
  if (!why.was_begun()) me.record.count_cancelled();
}

template <class Task, class Sync>
void task_queue<Task, Sync>::drop_lane(slot& me) noexcept {
  while (auto* const node = me.tasks.steal()) {
    {
      Task dropped{};
      me.take(*node, dropped);
      drop(me, dropped);
    }
    me.count_finished();
  }
}

template <class Task, class Sync>
void task_queue<Task, Sync>::close(at_close what_is_queued) noexcept {
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    signals_.close();
    const bool held_back = signals_.resume();  // it is run now, or dropped; before the look at the lanes, see lane_grew()
    if (what_is_queued == at_close::drop) signals_.drop();  // before drop_one() looks
    outside_.close(won);
    count_waiters();
    tell_the_end(won);
    if (held_back && has_work()) wake_one(won);
  }
  won.complete_all();
}

template <class Task, class Sync>
template <class Drop>
bool task_queue<Task, Sync>::drop_one(Drop drop) noexcept {
  wait_list<Sync> won;
  {
    Task dropped{};
    if (!slots_.steal_task(dropped)) {
      std::scoped_lock guard{lock_};
      if (outside_.tasks() == 0) return false;
      outside_.take(dropped, won);
    }
    drop(dropped);
  }
  won.complete_all();
  finish_here();
  return true;
}

// First those from outside: workers take them into their lanes, and never back.
template <class Task, class Sync>
template <class Drop>
std::size_t task_queue<Task, Sync>::purge(Drop drop) noexcept {
  std::size_t dropped = 0;
  const auto drop_next = [&](auto take) {
    wait_list<Sync> won;
    Task task{};
    if (!take(task, won)) return false;
    won.complete_all();
    drop(task);
    finish_here();
    ++dropped;
    return true;
  };
  std::size_t left = 1;
  for (bool first = true; left > 0; --left) {
    const bool done = !drop_next([&](Task& task, wait_list<Sync>& won) {
      std::scoped_lock guard{lock_};
      if (std::exchange(first, false)) left = outside_.tasks();
      if (outside_.tasks() == 0) return false;
      outside_.take(task, won);
      return true;
    });
    if (done) break;
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    for (left = slots_[i].tasks.size(); left > 0; --left) {
      if (!drop_next([&](Task& task, wait_list<Sync>&) { return slots_.steal_task(slots_[i], task); })) break;
    }
  }
  return dropped;
}

}  // namespace penstock::inline v0_1::detail
