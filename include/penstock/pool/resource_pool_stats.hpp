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

struct resource_pool_stats {
  // now
  std::size_t in_use = 0;
  std::size_t idle = 0;
  std::size_t checking = 0;    ///< being validated
  std::size_t connecting = 0;  ///< being made
  std::size_t waiting = 0;     ///< in line

  // since the pool was made
  std::uint64_t created = 0;
  std::uint64_t connect_failures = 0;
  std::uint64_t acquired = 0;   ///< leases
  std::uint64_t waited = 0;     ///< leases of those that stood in line, or had to connect
  std::uint64_t timed_out = 0;  ///< acquires that ended with errc::timeout
  std::uint64_t cancelled = 0;  ///< … errc::cancelled
  std::uint64_t refused = 0;    ///< … errc::full, errc::rejected, errc::deadlock
  std::uint64_t leaks = 0;      ///< leases told to on_leak
  resource_discards discarded;

  // with resource_pool_options::metrics; empty without. Nanoseconds
  histogram_snapshot wait_time;  ///< of those that stood in line, or had to connect, and got a lease
  histogram_snapshot lifetime;   ///< of resources that have gone
};

}  // namespace penstock::inline v0_1
