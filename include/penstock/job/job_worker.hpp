// penstock/job/job_worker.hpp: takes jobs out of a queue, and runs them.
//
//   penstock::job_worker sender{mails, pool, [](penstock::job<mail>& j) { send(j.payload()); }, {.concurrency = 4}};
//   ...
//   sender.shutdown({.deadline = penstock::deadline::after(30s)});   // finishes what runs, hands back what cannot be finished in time
//
// The handler    gets a job<Payload>&, and gives nothing, a value (job_codec.hpp), a result of either, a job_outcome, or something to be awaited that
//                gives one of these. It must be fit to be called by several threads at a time if concurrency > 1. What it throws, and an error that it
//                gives, is a failed attempt: tried again after the job's backoff if attempts are left, else a dead letter with the exception's what().
//                Several, by the names of jobs: job_handlers.hpp.
// Context        the handlers run on it (a worker_pool, a strand, any scheduler), beside what else does. One that blocks takes a thread of it; coroutines
//                take none while they wait. With `any_scheduler{}` they run on whatever thread makes work known, those of the clock's timers too, which
//                must not block.
// Leases         a job is leased for lock_duration, and the lease renewed at the half of it, whatever the handler does, from the clock's timer thread (or a
//                thread of its own, for a store that blocks). If it is lost all the same (the process stood still), stop is requested of the run, and
//                what it did does not count: `lost`. Every worker also takes back what others have lost.
// At least once  see job_store.hpp: a handler is run again after a loss. job::fence() is greater for each of a job's leases.
// Order          as the store fetches: priority, then age. With concurrency or batch > 1, or several workers, jobs run beside each other.
// Invariants     every job that is fetched is settled once: completed, failed, retried, handed back, or lost.
// Thread safety  every member may be called concurrently, but for construction and destruction.
// Cancellation   cancel() ends one job. shutdown() lets runs end; at its limits their jobs are handed back, and stop is requested of them.
// Destruction    fetches no more, and waits for the handlers that run: as shutdown() without limits. Not inside a handler, nor on the thread of the
//                clock's timers. The queue, its store, the context and the clock outlive it.
// Calls          with a store that blocks all runs share them (concurrency > 1): one tells of all that have ended meanwhile, and fetches for all that are
//                free; a thread of the context waits for it. So `concurrency` is also what is leased at a time, whether there are threads for it or not.
// Cost           one step of the store for a batch of jobs, or for those of many runs, and what the context takes to go on. Beyond what a handler itself
//                allocates, nothing.
// Fork           runners stay with the parent; destruction in a child waits for nothing.
#pragma once

#include <cassert>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/fork.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/job/detail/worker_core.hpp>
#include <penstock/job/job.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker_options.hpp>

namespace penstock::inline v0_1 {

namespace detail {

/// Of one that has not begun. errc::not_found; errc::stale: it is over; errc::busy: it, or a job below it, is active. In a store that has no step for
/// it, it may begin, and end, between two of them: then what is kept of it is removed.
template <class Store>
result<void> cancel_in(Store& store, const job_id& id) {
  if constexpr (requires { store.cancel(id); }) {
    return store.cancel(id);
  } else {
    const auto there = store.find(id);
    if (!there) return there.error();
    if (there->state == job_state::completed || there->state == job_state::failed) return errc::stale;
    return store.remove(id);
  }
}

}  // namespace detail

template <class Payload, job_store Store = memory_store<Payload>>
class job_worker {
  using core = detail::worker_core<Payload, Store>;

 public:
  /// Begins at once. Throws std::invalid_argument of options out of their ranges, std::bad_alloc, and std::system_error if a thread that it needs cannot be
  /// started.
  template <class Context, class F>
    requires detail::handles_jobs<std::decay_t<F>, Payload>
  job_worker(job_queue<Payload, Store>& queue, Context&& context, F&& handler, job_worker_options o = {})
      : queue_{&queue}, state_{std::make_unique<state>(queue, checked(std::move(o)))} {
    using function = std::decay_t<F>;
    auto f = std::make_shared<function>(std::forward<F>(handler));
    const any_scheduler where = via(context).to;
    const trace_scope of_nobody{trace_context{}};  // not of who makes the worker
    state_->runners.reserve(of().runners.size() + 1);
    for (const auto& r : of().runners) state_->runners.push_back(of().run(*f, *r, where));
    if constexpr (Store::blocks) {
      if (of().shares()) state_->runners.push_back(of().call(where));
    }
    state_->function = std::move(f);
    state_->begin_keeping();
    try {  // last of what may fail: nobody unsubscribes for a worker that has not come to be
      queue.store().subscribe(of().signal);
    } catch (...) {
      state_->end_keeping();
      throw;
    }
    for (auto& r : state_->runners) r.start(where, {});
  }
  job_worker(const job_worker&) = delete;
  job_worker& operator=(const job_worker&) = delete;
  ~job_worker() {
    if (state_->origin.forked()) {
      static_cast<void>(state_.release());  // who runs stayed with the parent
      return;
    }
    of().quit.request_stop();
    for (auto& r : state_->runners) r.wait();
    queue_->store().unsubscribe(*of().signal);
    state_->end_keeping();
  }

  /// Fetches no more, hands back what was fetched and has not begun, and waits for the handlers that run. At the limits, errc::timeout or errc::cancelled: their
  /// jobs are handed back, so that others may run them, and stop is requested of them; the destructor still waits for them. Idempotent. Without limits not inside
  /// a handler, which it would wait for.
  result<void> shutdown(const wait_limits& limits = {}) {
    of().quit.request_stop();
    const result<void> all = of().ended.wait(limits);
    if (!all) of().keeper.give_up_runs();
    return all;
  }
  /// The same without waiting: shutdown() that is late already.
  void request_stop() noexcept {
    of().quit.request_stop();
    of().keeper.give_up_runs();
  }

  /// Ends a job that this worker runs, or that nobody has begun:
  ///   it runs here     stop is requested of the run. When its handler has ended, whatever with, the job has failed for good, with `why` for its reason, and
  ///                    what the run wanted to have added is not. So it never completes. It is a dead letter, and may be redriven.
  ///   it was fetched   and waits behind others of its batch, or for the pace: the same when its turn comes, without being run.
  ///   it waits         or is delayed, or waits for its children: it is removed, with the jobs below it that are not over.
  /// errc::not_found; errc::stale: it is over. errc::busy: it is active, and no run of this worker, or a job below it is active; also in the moments in
  /// which this worker fetches it, or tells the store how it went (with `batch`: until those behind it have been run, too): ask again. Errors of the store. Throws std::bad_alloc; then nothing has changed.
  /// If the lease is lost, or the process dies, before the handler has ended, the job is run again, as after any loss.
  result<void> cancel(const job_id& id, std::string_view why = "cancelled") {
    const auto reason = std::make_shared<const std::string>(why);
    if (of().keeper.cancel_run(id, reason)) return {};
    const result<void> removed = detail::cancel_in(queue_->store(), id);
    if (!removed && removed.error() == errc::busy && of().keeper.cancel_run(id, reason)) return {};  // fetched meanwhile
    return removed;
  }

  /// Throws std::bad_alloc with metrics.
  [[nodiscard]] job_worker_stats stats() const { return state_->of.stats(); }

 private:
  struct state {
    state(job_queue<Payload, Store>& queue, job_worker_options&& o) : of{queue.store(), queue.clock(), std::move(o)} {
      origin.remember();
    }
    void begin_keeping() {
      timer.emplace(of.keeper.timers());  // in any case: afterwards no wait with a deadline fails
      if constexpr (Store::blocks) {
        thread = std::jthread{[this] { of.keeper.keep_here(); }};
      } else {
        keeper.emplace(of.keeper.keep());
        keeper->start(any_scheduler{*timer}, {});
      }
    }
    void end_keeping() {
      of.keeper.end();
      if (keeper) keeper->wait();
      if (thread.joinable()) thread.join();
    }
    core of;
    std::shared_ptr<detail::dependent<void, Payload>> function;
    std::vector<detail::dependent<detail::root<void>, Payload>> runners;
    std::optional<detail::dependent<detail::timer_context, Payload>> timer;
    std::optional<detail::dependent<detail::root<void>, Payload>> keeper;
    std::jthread thread;
    detail::process_origin origin;
  };

  static job_worker_options checked(job_worker_options&& o) {
    const auto refuse = [](const char* what, long long value) {
      throw std::invalid_argument{std::string{"penstock::job_worker: "} + what + " is " + std::to_string(value)};
    };
    if (o.concurrency == 0) refuse("concurrency", 0);
    if (o.batch == 0) refuse("batch", 0);
    if (o.lock_duration < std::chrono::milliseconds{1}) refuse("lock_duration, in ns,", o.lock_duration.count());
    if (o.stalled_interval.count() <= 0) refuse("stalled_interval", o.stalled_interval.count());
    if (o.error_pause.count() <= 0) refuse("error_pause", o.error_pause.count());
    return std::move(o);
  }
  core& of() const noexcept { return state_->of; }

  job_queue<Payload, Store>* queue_;
  std::unique_ptr<state> state_;
};

template <class Payload, class Store, class Context, class F>
job_worker(job_queue<Payload, Store>&, Context&&, F&&, job_worker_options = {}) -> job_worker<Payload, Store>;

}  // namespace penstock::inline v0_1
