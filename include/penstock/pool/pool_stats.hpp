// penstock/pool/pool_stats.hpp: what a worker pool did, and what it does now.
//
//   penstock::worker_pool pool{{.threads = 8, .metrics = true}};
//   …
//   const penstock::pool_stats s = pool.stats();           // any thread, also while tasks run
//   report(s.queued, s.rejected.total(), s.queue_wait.quantile(0.99), s.run_time.quantile(0.999), s.busy.utilization());
//   if (s.longest_running > 5s) warn("worker {} has been at it for {}", s.longest_worker, s.longest_running);
//
// Every task that is let in meets one fate, so that, whenever nothing runs,
//
//   submitted == completed + failed + expired + dropped + cancelled + queued
//
// and as long as something runs, what runs is the difference. (A task that its future's waiter has run on the spot, or that its future has asked to stop,
// leaves an empty place in the queue, which counts as queued until a worker comes by it: on a paused pool that may be long.) A task counts as completed or failed once it has been destroyed: later than its future
// is ready, and before drain() returns.
//
// Interval       keep an earlier snapshot: the counts subtract; `queue_wait.since(earlier.queue_wait)`, `busy.since(earlier.busy)`.
// Several pools  `queue_wait.merge(other.queue_wait)`, `busy.merge(other.busy)`.
// Consistency    a snapshot is made of parts of about the same moment, each of which is right in itself. Counts never decrease from one snapshot to
//                the next.
// Times          while tasks come 2 µs apart or more, each is timed. Of more of them one in worker_pool_options::time_every is, picked by chance, and counts
//                as so many in queue_wait and run_time: their quantiles, means and sums are then those of a sample, right on average, their
//                counts are about how many tasks were run, and the extremes are those of the sample. Everything else, busy too, is exact. With 1
//                each task is timed, always.
// Cost           each worker has counters of its own, to which only it writes: without worker_pool_options::metrics 0 to 3 ns a task. A task that is
//                timed takes three looks at the clock and a place in two histograms; spread over sixteen some 10 ns a task, where
//                each is timed 50 to 90 (docs/pool.md). stats() itself takes the pool's lock a few times and, with metrics, locks of each
//                worker and memory for the histograms.
// Memory         with metrics: 75 KB for each worker, and as much for the pool; 8 bytes for each place in the queue.
#pragma once

#include <chrono>
#include <cstddef>

#include <penstock/observe/busy_time.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

/// Submissions that were refused, by what they returned; of several in one post_n() the one that ended it.
struct pool_rejections {
  std::size_t closed = 0;     ///< after shutdown() or request_stop()
  std::size_t full = 0;       ///< try_post() found no room
  std::size_t rejected = 0;   ///< by overflow::reject, or by overflow::drop_lowest if nothing less urgent was there
  std::size_t timeout = 0;    ///< no room in time
  std::size_t cancelled = 0;  ///< the submitter was stopped while it waited for room, or before

  [[nodiscard]] std::size_t total() const noexcept { return closed + full + rejected + timeout + cancelled; }

  friend bool operator==(const pool_rejections&, const pool_rejections&) = default;
};

/// In a forked child all is 0.
struct pool_stats {
  // now
  std::size_t threads = 0;  ///< that are there, or are being started: worker_pool::running_threads()
  /// Workers that run a task, a coroutine or a part of a fork-join algorithm, also while it blocks, or look for the next one in between.
  std::size_t active = 0;
  std::size_t idle = 0;          ///< the others
  std::size_t queued = 0;        ///< tasks that wait to be run, from outside and from inside
  std::size_t room_waiters = 0;  ///< submitters that wait for room

  // since the pool was made
  /// Tasks that were let in, or run by who submitted them; one of the latter counts when it has ended.
  std::size_t submitted = 0;
  std::size_t completed = 0;  ///< tasks that returned
  std::size_t failed = 0;     ///< tasks that threw, into a future or to on_error; worker_pool::failed() counts the latter only
  std::size_t expired = 0;    ///< tasks whose latest start had passed
  std::size_t dropped = 0;    ///< tasks that had to go for others, by overflow::drop_oldest or drop_lowest
  std::size_t cancelled = 0;  ///< tasks that request_stop(), of the pool or of their future, or purge() dropped
  pool_rejections rejected;   ///< tasks that were never let in
  std::size_t resumed = 0;    ///< resumptions of coroutines, which are no tasks
  std::size_t steals = 0;     ///< times that a worker took work from another one
  std::size_t wakes = 0;      ///< times that a worker was woken

  // with worker_pool_options::metrics; empty without
  std::size_t time_every =
      0;  ///< one task in so many is timed where they are many, and counts as so many in queue_wait and run_time
  /// Of tasks that were run: nanoseconds from their submission to their beginning. Waiting for room is part of it.
  histogram_snapshot queue_wait;
  histogram_snapshot run_time;  ///< of the same tasks: nanoseconds from the beginning to the end
  busy_snapshot busy;           ///< the time that workers were active, and that they were there; utilization() is the share
  /// For how long what runs now, and has run longest, has done so; 0: nothing runs. Of a piece that is not timed and came right after another one: since
  /// stats() has seen it first, so it takes two looks to find one that hangs.
  std::chrono::nanoseconds longest_running{};
  std::size_t longest_worker = 0;  ///< the index of the worker that runs it
};

/// What a registry sees of a pool (observe/registry.hpp); times only where there are any.
template <class = void>
void describe(const pool_stats& s, metric_sink& to) {
  to.kind("worker_pool");
  to.gauge(metrics::depth, s.queued);
  to.gauge(metrics::waiters, s.room_waiters);
  to.gauge(metrics::in_flight, s.active);
  to.gauge(metrics::limit, s.threads);
  to.counter(metrics::accepted, s.submitted);
  to.counter(metrics::completed, s.completed);
  to.counter(metrics::failed, s.failed);
  to.counter(metrics::rejected, s.rejected.closed, {"reason", "closed"});
  to.counter(metrics::rejected, s.rejected.full, {"reason", "full"});
  to.counter(metrics::rejected, s.rejected.rejected, {"reason", "rejected"});
  to.counter(metrics::rejected, s.rejected.timeout, {"reason", "timeout"});
  to.counter(metrics::rejected, s.rejected.cancelled, {"reason", "cancelled"});
  to.counter(metrics::dropped, s.expired, {"reason", "expired"});
  to.counter(metrics::dropped, s.dropped, {"reason", "overflow"});
  to.counter(metrics::dropped, s.cancelled, {"reason", "cancelled"});
  to.counter({"resumed", "Resumptions of coroutines."}, s.resumed);
  to.counter({"steals", "Times that a worker took work from another one."}, s.steals);
  to.counter({"wakes", "Times that a worker was woken."}, s.wakes);
  if (s.busy.offered.count() == 0 && s.queue_wait.count() == 0) return;  // without metrics
  to.counter(metrics::busy, s.busy.busy);
  to.counter(metrics::offered, s.busy.offered);
  to.gauge(metrics::time_every, s.time_every);
  to.gauge({"longest_running", "For how long what has run longest has done so."}, s.longest_running);
  to.times(metrics::queue_wait, s.queue_wait);
  to.times(metrics::run, s.run_time);
}

}  // namespace penstock::inline v0_1
