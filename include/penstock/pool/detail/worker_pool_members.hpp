// penstock/pool/detail/worker_pool_members.hpp: what a worker pool does: the second part of worker_pool.hpp, which includes it.
#pragma once

#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <penstock/pool/detail/drop_scope.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1 {

template <class Sync>
inline basic_worker_pool<Sync>::~basic_worker_pool() {
  if (runner_here() != nullptr) {
    std::fputs("penstock::worker_pool: a pool was destroyed inside one of its own tasks, which cannot wait for itself\n", stderr);
    std::terminate();
  }
  if (origin_.forked()) {
    threads_.forget();
    queue_.abandon();
    return;
  }
  static_cast<void>(shutdown());
}

template <class Sync>
inline result<void> basic_worker_pool<Sync>::put(task& work, const admission& how) {
  if (origin_.forked()) return forked_error();
  if (how.limits.stop.stop_requested()) return refuse(errc::cancelled);
  const result<void> put_in = try_put(work, how.label);
  if (put_in) return put_in;
  return put_in.error() == errc::full ? put_into_full(work, how) : refuse(put_in);
}

// The table in submit_options.hpp.
template <class Sync>
inline result<void> basic_worker_pool<Sync>::put_into_full(task& work, const admission& how) {
  if (how.overflow == overflow::reject) return refuse(errc::rejected);
  if (how.overflow == overflow::drop_oldest || how.overflow == overflow::drop_lowest) return put_over(work, how);
  runner* const inside = runner_here();  // who waited for room inside one of the pool's tasks could wait for itself
  if (inside != nullptr) {
    // Tasks that submit themselves again and again would use up the stack: 32 deep they are kept for later, when the outermost one has returned.
    // As many as the queue may hold, though; beyond that it goes deeper.
    const bool later = inside->depth >= deepest && inside->postponed() < queue_.capacity();
    if (!later && queue_.dropping()) return refuse(errc::closed);
    detail::work<task> here{.task = std::move(work), .since = how.label.since};
    if (later) {
      try {
        inside->postpone(std::move(here));
      } catch (...) {
        work = std::move(here.task);  // it did not go in
        throw;
      }
      return {};
    }
    ++inside->depth;
    run_inside(*inside, here);
    --inside->depth;
    return {};
  }
  if (how.overflow == overflow::caller_runs) {
    if (const auto begun = queue_.begin_here(); !begun) return refuse(begun);
    {
      runner caller{*this};
      detail::work<task> here{.task = std::move(work), .since = how.label.since};
      run_inside(caller, here);
      run_postponed(caller);
    }
    queue_.finish_here();
    return {};
  }
  detail::blocking_wait<queue, typename queue::room_node> wait{queue_, work, how.label};
  const result<void> put_in = detail::to_result(wait.run(how.limits.stop, room_deadline(how.limits)));
  return put_in ? put_in : refuse(put_in);
}

template <class Sync>
inline result<void> basic_worker_pool<Sync>::drain(const wait_limits& limits) {
  if (runner_here() != nullptr) return errc::deadlock;
  if (origin_.forked()) return forked_error();
  detail::blocking_wait<queue, typename queue::drained_node> wait{queue_};
  return detail::to_result(wait.run(limits.stop, limits.deadline));
}

template <class Sync>
inline result<void> basic_worker_pool<Sync>::shutdown() {
  if (runner_here() != nullptr) return errc::deadlock;
  if (origin_.forked()) return forked_error();
  queue_.close();
  threads_.join_all();
  return {};
}

template <class Sync>
inline void basic_worker_pool<Sync>::request_stop() noexcept {
  if (origin_.forked()) return;  // the tasks are the parent's
  // Before anybody hears of the stop: a task that ends because of it frees its worker, which must not begin another.
  queue_.close(detail::at_close::drop);
  stop_.request_stop();
  while (queue_.drop_one([this](task& queued) noexcept { drop(queued); })) {
  }
}

template <class Sync>
inline void basic_worker_pool<Sync>::run_pieces(queue_slot& me, runner& here) noexcept {
  struct help : detail::blocking_help {
    help(basic_worker_pool& p, queue_slot& s) noexcept
        : blocking_help{[](blocking_help& self, detail::basic_one_shot<>& end) noexcept {
            auto& here = static_cast<help&>(self);
            here.pool.help_until(here.me, end);
          }},
          pool{p},
          me{s} {}
    basic_worker_pool& pool;
    queue_slot& me;
  } helping{*this, me};
  current_ = &me;
  here.record = &me.record;
  detail::work<task> found;
  while (queue_.next(me, found)) {
    run(here, found);
    if (here.postponed() != 0) run_postponed(here);
  }
  current_ = nullptr;  // what the thread's own variables do at their end comes from outside
}

// In their order; each may postpone others. All of them are part of the piece that has just been run.
template <class Sync>
inline void basic_worker_pool<Sync>::run_postponed(runner& here) noexcept {
  detail::work<task> found;
  while (here.take_postponed(found)) {
    if (queue_.dropping()) {
      drop_postponed(here, found);
    } else {
      run_inside(here, found);
    }
    found.release();
  }
}

template <class Sync>
inline void basic_worker_pool<Sync>::help_until(queue_slot& me, detail::basic_one_shot<>& end) noexcept {
  if (origin_.forked()) return detail::blocking_help::wait_idly(end);
  if (helping_ >= deepest_help) {  // what it waits for may need a worker all the same: another one, as in blocking()
    queue_.block(me);
    detail::blocking_help::wait_idly(end);
    return queue_.unblock(me);
  }
  ++helping_;
  detail::helping_wait<queue>{queue_, me, end}.run([&me](work_item& item) {
    item();
    me.record.count_resumed();
  });
  --helping_;
}

// By a worker that waits for a job which another thread runs: that one may wait for a coroutine. False: there is none, or others are free to run it.
template <class Sync>
inline bool basic_worker_pool<Sync>::help_once() noexcept {
  queue_slot* const me = slot_here();
  if (me == nullptr || helping_ >= deepest_help || origin_.forked()) return false;
  work_item* const item = queue_.help();
  if (item == nullptr) return false;
  ++helping_;
  (*item)();
  --helping_;
  me->record.count_resumed();
  me->count_finished();
  return true;
}

// What a worker has got from the queue.
template <class Sync>
inline void basic_worker_pool<Sync>::run(runner& here, detail::work<task>& found) noexcept {
  detail::worker_record<Sync>& record = *here.record;
  record.begin(found.since);
  const detail::fate how = run_to_end(here, found);
  if (found.item == nullptr) {
    record.end_task(how, found.since);
  } else {
    record.end(found.counts);
  }
}

// A task that found no room, inside another one or by a thread that is no worker.
template <class Sync>
inline void basic_worker_pool<Sync>::run_inside(runner& here, detail::work<task>& found) noexcept {
  if (metrics_) [[unlikely]]
    return run_measured(here, found);
  const detail::fate how = run_to_end(here, found);
  if (how == detail::fate::completed && here.record != nullptr) [[likely]]
    return here.record->count_completed_here();
  count_run_here(here, how);
}

template <class Sync>
inline detail::fate basic_worker_pool<Sync>::run_to_end(runner& here, detail::work<task>& found) noexcept {
  try {
    found();
    const detail::fate how = here.take_fate();
    found.release();  // what the task holds is released by the time it counts as done
    return how;
  } catch (...) {
    report(std::current_exception());
    found.release();
    return detail::fate::failed;
  }
}

template <class Sync>
inline void basic_worker_pool<Sync>::report(std::exception_ptr failure) noexcept {
  failed_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
  if (!on_error_) return;
  try {
    on_error_(std::move(failure));
  } catch (...) {  // a handler that fails has nobody left to tell
  }
}

}  // namespace penstock::inline v0_1
