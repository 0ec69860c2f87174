// penstock/rate/adaptive_limit_options.hpp: what an adaptive_limit can be told, and what it tells of its calls.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <penstock/core/adjustable.hpp>
#include <penstock/core/any_clock.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

struct limit_partition {
  std::string name;
  double percent;  ///< of the limit, more than 0; all together at most 100
};

struct adaptive_limit_options {
  /// Rather too low than too high: below half of it nothing is probed, so a queue that always stood there passes for the usual latency. From a low
  /// one it ramps up within windows.
  std::ptrdiff_t initial = 20;
  std::ptrdiff_t lowest = 1;
  std::ptrdiff_t highest = 1000;
  /// How often it adapts; at least twice the latency in any case.
  std::chrono::nanoseconds window = std::chrono::milliseconds{500};
  /// A window has at least so many, and is longer if there are fewer.
  std::size_t min_samples = 10;
  /// In windows: when the latency without a queue was measured so long ago, half of what is in flight is the limit for two of them.
  /// 0: never.
  unsigned probe_every = 60;
  std::vector<limit_partition> partitions = {};
  /// Is told each new limit, and the first one.
  adjustable_ref target = {};
  /// The steady clock, if nothing is said.
  any_clock clock = {};
};

/// Calls that got no permit, by what they returned.
struct adaptive_limit_refusals {
  std::uint64_t full = 0;       ///< did not want to wait
  std::uint64_t timeout = 0;    ///< waited in vain
  std::uint64_t cancelled = 0;  ///< were stopped
  std::uint64_t closed = 0;
  [[nodiscard]] std::uint64_t total() const noexcept { return full + timeout + cancelled + closed; }
};

/// Of one moment, but for refused.full.
struct adaptive_limit_stats {
  // now
  std::ptrdiff_t limit = 0;
  std::ptrdiff_t in_flight = 0;
  std::size_t waiting = 0;
  std::chrono::nanoseconds baseline{0};  ///< as baseline()
  bool probing = false;                  ///< as probing()

  // since the beginning
  std::uint64_t accepted = 0;  ///< permits that were given
  adaptive_limit_refusals refused;
  std::size_t target_failures = 0;  ///< how often the target threw
};

/// What a registry sees of an adaptive_limit (observe/registry.hpp).
template <class = void>
void describe(const adaptive_limit_stats& s, metric_sink& to) {
  to.kind("adaptive_limit");
  to.gauge(metrics::depth, s.waiting);
  to.gauge(metrics::in_flight, s.in_flight);
  to.gauge(metrics::limit, s.limit);
  to.counter(metrics::accepted, s.accepted);
  detail::describe_refusals(s.refused, to);
  to.gauge({"baseline", "What a call takes without a queue, as far as that is known."}, s.baseline);
  to.gauge({"probing", "1 while the baseline is measured, else 0."}, s.probing);
  to.counter({"target_failures", "Times that the target threw."}, s.target_failures);
}

}  // namespace penstock::inline v0_1
