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

inline worker_pool::~worker_pool() {
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

inline result<void> worker_pool::put(task& work, const admission& how) {
  if (origin_.forked()) return forked_error();
  if (how.limits.stop.stop_requested()) return errc::cancelled;
  result<void> pushed = try_put(work, how.priority);
  return pushed || pushed.error() != errc::full ? pushed : put_into_full(work, how);
}

// The table in submit_options.hpp.
inline result<void> worker_pool::put_into_full(task& work, const admission& how) {
  if (how.overflow == overflow::reject) return errc::rejected;
  if (how.overflow == overflow::drop_oldest || how.overflow == overflow::drop_lowest) return put_over(work, how);
  runner* const inside = runner_here();  // who waited for room inside one of the pool's tasks could wait for itself
  if (inside != nullptr) {
    // Tasks that submit themselves again and again would use up the stack: 32 deep they are kept for later, when the outermost one has returned.
    // As many as the queue may hold, though; beyond that it goes deeper.
    if (inside->depth >= deepest && inside->postponed() < queue_.capacity()) {
      inside->postpone(std::move(work));
      return {};
    }
    if (queue_.dropping()) return errc::closed;
    ++inside->depth;
    detail::work<task> here{.task = std::move(work)};
    run(here);
    --inside->depth;
    return {};
  }
  if (how.overflow == overflow::caller_runs) {
    if (const auto begun = queue_.begin_here(); !begun) return begun;
    {
      runner caller{*this};
      detail::work<task> here{.task = std::move(work)};
      run(here);
      run_postponed(caller);
    }
    queue_.finish_here();
    return {};
  }
  detail::blocking_wait<queue, queue::room_node> wait{queue_, work, how.priority};
  return detail::to_result(wait.run(how.limits.stop, how.limits.deadline));
}

inline result<void> worker_pool::drain(const wait_limits& limits) {
  if (runner_here() != nullptr) return errc::deadlock;
  if (origin_.forked()) return forked_error();
  detail::blocking_wait<queue, queue::drained_node> wait{queue_};
  return detail::to_result(wait.run(limits.stop, limits.deadline));
}

inline result<void> worker_pool::shutdown() {
  if (runner_here() != nullptr) return errc::deadlock;
  if (origin_.forked()) return forked_error();
  queue_.close();
  threads_.join_all();
  return {};
}

inline void worker_pool::request_stop() noexcept {
  if (origin_.forked()) return;  // the tasks are the parent's
  // Before anybody hears of the stop: a task that ends because of it frees its worker, which must not begin another.
  queue_.close(detail::at_close::drop);
  stop_.request_stop();
  const detail::drop_scope why{errc::cancelled};
  while (queue_.drop_one()) {
  }
}

inline void worker_pool::run_pieces(queue::slot& me, runner& here) noexcept {
  struct help : detail::blocking_help {
    help(worker_pool& p, queue::slot& s) noexcept
        : blocking_help{[](blocking_help& self, detail::basic_one_shot<>& end) noexcept {
            auto& here = static_cast<help&>(self);
            here.pool.help_until(here.me, end);
          }},
          pool{p},
          me{s} {}
    worker_pool& pool;
    queue::slot& me;
  } helping{*this, me};
  current_ = &me;
  detail::work<task> found;
  while (queue_.next(me, found)) {
    run(found);
    if (here.postponed() != 0) run_postponed(here);
  }
  current_ = nullptr;  // what the thread's own variables do at their end comes from outside
}

// In their order; each may postpone others. All of them are part of the piece that has just been run.
inline void worker_pool::run_postponed(runner& here) noexcept {
  detail::work<task> found;
  while (here.take_postponed(found.task)) {
    if (!queue_.dropping()) run(found);
    found.release();
  }
}

inline void worker_pool::help_until(queue::slot& me, detail::basic_one_shot<>& end) noexcept {
  if (helping_ >= deepest_help || origin_.forked()) return detail::blocking_help::wait_idly(end);
  ++helping_;
  detail::helping_wait<queue>{queue_, me, end}.run([](work_item& item) { item(); });
  --helping_;
}

// By a worker that waits for a job which another thread runs: that one may wait for a coroutine. False: there is none, or others are free to run it.
inline bool worker_pool::help_once() noexcept {
  queue::slot* const me = slot_here();
  if (me == nullptr || helping_ >= deepest_help || origin_.forked()) return false;
  work_item* const item = queue_.help();
  if (item == nullptr) return false;
  ++helping_;
  (*item)();
  --helping_;
  me->count_finished();
  return true;
}

inline void worker_pool::run(detail::work<task>& found) noexcept {
  try {
    found();
    found.release();  // what the task holds is released by the time it counts as done
  } catch (...) {
    report(std::current_exception());
  }
}

inline void worker_pool::report(std::exception_ptr failure) noexcept {
  failed_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
  if (!on_error_) return;
  try {
    on_error_(std::move(failure));
  } catch (...) {  // a handler that fails has nobody left to tell
  }
}

}  // namespace penstock::inline v0_1
