// penstock/pool/resource_pool_stats.hpp: what a resource pool did, and what it has now.
//
// Every resource that was made meets one fate, so that at any moment
//
//   created == in_use + idle + checking + discarded.total()
//
// Consistency    the numbers are of one moment (they are read under the pool's lock), but for the histograms, which are of about the same.
#pragma once

#include <cstddef>
#include <cstdint>

#include <penstock/observe/histogram.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

/// Resources that have gone, by why.
struct resource_discards {
  std::uint64_t idle = 0;      ///< not used for idle_timeout
  std::uint64_t lifetime = 0;  ///< older than max_lifetime
  std::uint64_t uses = 0;      ///< leased max_uses times
  std::uint64_t broken = 0;    ///< lease::discard()
  std::uint64_t invalid = 0;   ///< validate said no, or threw
  std::uint64_t evicted = 0;   ///< evict_all()
  std::uint64_t surplus = 0;   ///< beyond max_size: overflow, or resize()
  std::uint64_t closed = 0;    ///< close()

  [[nodiscard]] std::uint64_t total() const noexcept {
    return idle + lifetime + uses + broken + invalid + evicted + surplus + closed;
  }
};

/// Acquires that ended without a lease, neither late nor stopped, by what they returned.
struct resource_refusals {
  std::uint64_t full = 0;      ///< max_waiters waited
  std::uint64_t rejected = 0;  ///< fail_fast, while connecting fails
  std::uint64_t deadlock = 0;  ///< nested_acquire::refuse
  std::uint64_t closed = 0;    ///< after close(), or in line then

  [[nodiscard]] std::uint64_t total() const noexcept { return full + rejected + deadlock + closed; }

  friend bool operator==(const resource_refusals&, const resource_refusals&) = default;
};

struct resource_pool_stats {
  // now
  std::size_t in_use = 0;
  std::size_t idle = 0;
  std::size_t checking = 0;    ///< being validated
  std::size_t connecting = 0;  ///< being made
  std::size_t waiting = 0;     ///< in line
  std::size_t limit = 0;       ///< the most that there may be: max_size + max_overflow

  // since the pool was made
  std::uint64_t created = 0;
  std::uint64_t connect_failures = 0;
  std::uint64_t acquired = 0;   ///< leases
  std::uint64_t waited = 0;     ///< leases of those that stood in line, or had to connect
  std::uint64_t timed_out = 0;  ///< acquires that ended with errc::timeout
  std::uint64_t cancelled = 0;  ///< … errc::cancelled
  resource_refusals refused;
  std::uint64_t leaks = 0;  ///< leases told to on_leak
  resource_discards discarded;

  // with resource_pool_options::metrics; empty without. Nanoseconds
  histogram_snapshot wait_time;  ///< of those that stood in line, or had to connect, and got a lease
  histogram_snapshot
      hold_time;                ///< how long leases were held that have ended; of many one in time_every, which counts as so many
  histogram_snapshot lifetime;  ///< of resources that have gone
};

namespace detail {

/// All but the times.
template <class = void>
void add_numbers(resource_pool_stats& to, const resource_pool_stats& s) noexcept {
  to.in_use += s.in_use;
  to.idle += s.idle;
  to.checking += s.checking;
  to.connecting += s.connecting;
  to.waiting += s.waiting;
  to.limit += s.limit;
  to.created += s.created;
  to.connect_failures += s.connect_failures;
  to.acquired += s.acquired;
  to.waited += s.waited;
  to.timed_out += s.timed_out;
  to.cancelled += s.cancelled;
  to.refused.full += s.refused.full;
  to.refused.rejected += s.refused.rejected;
  to.refused.deadlock += s.refused.deadlock;
  to.refused.closed += s.refused.closed;
  to.leaks += s.leaks;
  to.discarded.idle += s.discarded.idle;
  to.discarded.lifetime += s.discarded.lifetime;
  to.discarded.uses += s.discarded.uses;
  to.discarded.broken += s.discarded.broken;
  to.discarded.invalid += s.discarded.invalid;
  to.discarded.evicted += s.discarded.evicted;
  to.discarded.surplus += s.discarded.surplus;
  to.discarded.closed += s.discarded.closed;
}

}  // namespace detail

/// What a registry sees of a pool (observe/registry.hpp); times only where there are any.
template <class = void>
void describe(const resource_pool_stats& s, metric_sink& to) {
  to.kind("resource_pool");
  to.gauge(metrics::depth, s.waiting);
  to.gauge(metrics::in_flight, s.in_use);
  to.gauge(metrics::limit, s.limit);
  to.gauge({"idle", "Resources that nobody uses."}, s.idle);
  to.gauge({"checking", "Resources that are being validated."}, s.checking);
  to.gauge({"connecting", "Resources that are being made."}, s.connecting);
  to.counter(metrics::accepted, s.acquired);
  to.counter(metrics::rejected, s.timed_out, {"reason", "timeout"});
  to.counter(metrics::rejected, s.cancelled, {"reason", "cancelled"});
  detail::describe_refusals(s.refused, to);
  to.counter({"created", "Resources that were made."}, s.created);
  to.counter({"connect_failures", "Resources that could not be made."}, s.connect_failures);
  to.counter({"waits", "Leases of those that stood in line, or had to connect."}, s.waited);
  to.counter({"leaks", "Leases that were held for too long."}, s.leaks);
  static constexpr metric discarded{"discarded", "Resources that have gone, by why."};
  to.counter(discarded, s.discarded.idle, {"reason", "idle"});
  to.counter(discarded, s.discarded.lifetime, {"reason", "lifetime"});
  to.counter(discarded, s.discarded.uses, {"reason", "uses"});
  to.counter(discarded, s.discarded.broken, {"reason", "broken"});
  to.counter(discarded, s.discarded.invalid, {"reason", "invalid"});
  to.counter(discarded, s.discarded.evicted, {"reason", "evicted"});
  to.counter(discarded, s.discarded.surplus, {"reason", "surplus"});
  to.counter(discarded, s.discarded.closed, {"reason", "closed"});
  if (s.wait_time.count() != 0) to.times(metrics::queue_wait, s.wait_time);
  if (s.hold_time.count() != 0) to.times(metrics::run, s.hold_time);
  if (s.lifetime.count() != 0) to.times({"lifetime", "How old resources were when they went."}, s.lifetime);
}

}  // namespace penstock::inline v0_1
