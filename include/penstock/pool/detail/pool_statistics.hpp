// penstock/pool/detail/pool_statistics.hpp: what a pool counts and tells: a part of worker_pool.hpp, which includes it.
#pragma once

#include <algorithm>
#include <utility>

#include <penstock/observe/metric_sink.hpp>
#include <penstock/pool/detail/drop_scope.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1 {

template <class Sync>
inline pool_stats basic_worker_pool<Sync>::stats() const {
  pool_stats s;
  if (origin_.forked()) return s;
  s.threads = running_threads();
  // Ends before beginnings: what begins meanwhile is not missing in the sum.
  const detail::nanoseconds_point now = metrics_ ? clock_.now() : 0;
  s.time_every = metrics_ ? timed_.every() : 0;
  outside_.add_to(s, now);
  queue_.slots().for_each([&](const queue_slot& slot) { slot.record.add_to(s, slot.index, now); });
  s.expired = expired();
  s.dropped = dropped();
  s.rejected = refused_.read();
  s.queued = queue_.queued();
  s.room_waiters = queue_.room_waiters();
  s.submitted += queue_.submitted();
  s.idle = s.threads - std::min(s.active, s.threads);
  return s;
}

template <class Sync>
inline void basic_worker_pool<Sync>::measure(queue_slot& slot) const {
  if (metrics_) slot.record.measure(clock_, timed_.every());
}

template <class Sync>
inline result<void> basic_worker_pool<Sync>::refuse(result<void> why) noexcept {
  refused_.count(why.error());
  return why;
}

template <class Sync>
inline void basic_worker_pool<Sync>::run_measured(runner& here, detail::work<task>& found) noexcept {
  const detail::nanoseconds_point began = time_if(found.since);
  const detail::fate how = run_to_end(here, found);
  measure_inside(here, how, found.since, began);
  count_run_here(here, how);
}

template <class Sync>
inline void basic_worker_pool<Sync>::count_run_here(runner& here, detail::fate how) noexcept {
  here.record != nullptr ? here.record->count_run_here(how) : outside_.count_run_here_shared(how);
}

// A task that was run while another one runs on this worker, or by a thread that is none.
template <class Sync>
inline void basic_worker_pool<Sync>::measure_inside(runner& here, detail::fate how, detail::nanoseconds_point since,
                                                    detail::nanoseconds_point began) noexcept {
  if (since != detail::untimed && was_run(how)) [[unlikely]]
    (here.record != nullptr ? here.record : &outside_)->meter()->record(since, began, clock_.now());
}

template <class Sync>
inline void basic_worker_pool<Sync>::drop_postponed(runner& here, detail::work<task>& found) noexcept {
  const detail::drop_scope why{errc::cancelled};
  found.release();
  count_run_here(here, why.was_begun() ? detail::fate::begun_before : detail::fate::cancelled);
}

// One that no worker has taken out.
template <class Sync>
inline void basic_worker_pool<Sync>::drop(task& queued) noexcept {
  const detail::drop_scope why{errc::cancelled};  // also where the destructor of a task that is dropped for another reason purges
  static_cast<void>(task{std::move(queued)});
  if (!why.was_begun()) outside_.count_cancelled_shared();
}

template <class Sync>
inline void describe(const basic_worker_pool<Sync>& pool, metric_sink& to) {
  describe(pool.stats(), to);
  to.gauge(metrics::capacity, pool.queue_capacity());
}

}  // namespace penstock::inline v0_1
