// penstock/pool/strand_stats.hpp: what a strand did, and what it has now.
//
// Counted        functions that are posted or submitted; not coroutines that go on on the strand. So at any moment
//
//   accepted == queued + running + completed + failed + dropped
#pragma once

#include <cstddef>
#include <cstdint>

#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

/// Functions that were not let in, by what was returned.
struct strand_refusals {
  std::uint64_t full = 0;       ///< try_post() found no room
  std::uint64_t timeout = 0;    ///< no room in time
  std::uint64_t cancelled = 0;  ///< the submitter was stopped while it waited for room, or before
  std::uint64_t deadlock = 0;   ///< a piece of the strand would have waited for room
  std::uint64_t closed = 0;
  [[nodiscard]] std::uint64_t total() const noexcept { return full + timeout + cancelled + deadlock + closed; }
};

/// Of one moment, but for `errors`. In a forked child all is 0.
struct strand_stats {
  // now
  std::size_t queued = 0;        ///< functions that wait to be run
  std::size_t capacity = 0;      ///< the most that may
  std::size_t room_waiters = 0;  ///< submitters that wait for room
  std::size_t running = 0;       ///< 1: a function runs

  // since the beginning
  std::uint64_t accepted = 0;   ///< functions that were let in
  std::uint64_t completed = 0;  ///< that returned
  std::uint64_t failed = 0;     ///< that threw, into a future or to on_error
  /// That did not begin, for their future was told to request_stop(), or waited for inside the strand.
  std::uint64_t dropped = 0;
  strand_refusals refused;
  std::uint64_t errors = 0;  ///< strand::failed(): what went to on_error
};

/// What a registry sees of a strand (observe/registry.hpp).
template <class = void>
void describe(const strand_stats& s, metric_sink& to) {
  to.kind("strand");
  to.gauge(metrics::depth, s.queued);
  to.gauge(metrics::capacity, s.capacity);
  to.gauge(metrics::waiters, s.room_waiters);
  to.gauge(metrics::in_flight, s.running);
  to.counter(metrics::accepted, s.accepted);
  to.counter(metrics::completed, s.completed);
  to.counter(metrics::failed, s.failed);
  to.counter(metrics::dropped, s.dropped, {"reason", "given_up"});
  detail::describe_refusals(s.refused, to);
  to.counter({"errors", "Exceptions that went to on_error."}, s.errors);
}

}  // namespace penstock::inline v0_1
