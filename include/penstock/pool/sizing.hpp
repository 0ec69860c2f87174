// penstock/pool/sizing.hpp: how many threads a pool should have.
//
//   penstock::worker_pool compute{{.threads = penstock::sizing::cpu_bound()}};
//   penstock::worker_pool files{{.threads = penstock::sizing::io_bound(/*waits*/ 45ms, /*computes*/ 5ms)}};   // ten for each processor
//   penstock::worker_pool callers{{.threads = penstock::sizing::from_littles_law(/*requests a second*/ 200, /*each takes*/ 250ms)}};   // 50, which wait
//
// std::thread::hardware_concurrency() tells what the machine has. A process may be allowed fewer: by its affinity mask (taskset, cpusets), and by
// the quota of a control group, which is how containers are limited. A pool that is larger than the quota gets throttled: all its threads
// stand still together for the rest of each period. So what is computed here begins with what this process may use.
//
// Thread safety  all of it may be called at any time.
// Cost           available_processors(), and what uses it, reads a few small files: call it once, not per request.
// Source         processors: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max), Documentation/scheduler/sched-bwc.rst (cpu.cfs_quota_us).
//                io_bound: Goetz et al., "Java Concurrency in Practice" (2006), 8.2. from_littles_law: Little, "A proof for the queuing formula
//                L = λW", Operations Research 9 (1961).
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>

#include <penstock/core/detail/futex.hpp>
#include <penstock/pool/detail/control_groups.hpp>

namespace penstock::inline v0_1 {

/// Processors that this process may use at a time: its affinity mask or its control groups' quota (rounded up), whichever is less; at least
/// 1. Reads a few small files: call it once, not per request.
template <class = void>
[[nodiscard]] unsigned available_processors() {
  const unsigned by_affinity = detail::usable_processors();
#if defined(__linux__)
  if (const auto by_quota = detail::quota_of_process("/")) return std::max(1U, std::min(by_affinity, *by_quota));
#endif
  return by_affinity;
}

namespace detail {

// Throws unless `value` is a finite number of at least `least`.
template <class = void>
void check_size_argument(double value, double least, const char* name) {
  if (std::isfinite(value) && value >= least) return;
  throw std::invalid_argument{std::string{"penstock::sizing: "} + name + " is " + std::to_string(value)};
}

// Rounded up, at least 1; what is too great for the type becomes its greatest value. A billionth part above a whole number is the error of the
// arithmetic (0.1 s * 30 is a little more than 3), not a thread more.
template <class = void>
[[nodiscard]] std::size_t whole_size(double exact) noexcept {
  const double up = std::ceil(exact * (1 - 1e-9));
  if (!(up > 1)) return 1;
  constexpr auto greatest = std::numeric_limits<std::size_t>::max();
  return up >= static_cast<double>(greatest) ? greatest : static_cast<std::size_t>(up);
}

template <class = void>
[[nodiscard]] std::size_t threads_for_waits(double processors, double wait, double compute, double utilization) {
  check_size_argument(wait, 0, "the wait time in seconds");
  check_size_argument(compute, 0, "the compute time in seconds");
  if (compute == 0)
    throw std::invalid_argument{"penstock::sizing: the compute time is 0: no number of threads keeps a processor busy"};
  check_size_argument(utilization, 0, "the target utilization");
  if (utilization == 0 || utilization > 1) {
    throw std::invalid_argument{"penstock::sizing: the target utilization is " + std::to_string(utilization) +
                                ", which is not in (0, 1]"};
  }
  return whole_size(processors * utilization * (1 + wait / compute));
}

}  // namespace detail

namespace sizing {

/// Threads for work that computes and hardly ever waits: available_processors(). More of them only take turns.
template <class = void>
[[nodiscard]] std::size_t cpu_bound() {
  return available_processors();
}

/// Threads for tasks that wait and compute in turn: processors × utilization × (1 + wait / compute), rounded up, at least 1. `wait` is how long a
/// task stands still (a disk, a network, a lock), `compute` how long it uses a processor; only their ratio counts. `target_utilization` is the
/// share of the processors that this pool is to use, greater than 0 and at most 1. What it counts on is that threads are what there is
/// too little of: a disk or a server that takes 8 requests at a time is the bound then, so take the smaller number. Throws
/// std::invalid_argument, which names the value, if an argument is negative, infinite or no number, or if `compute` is 0.
template <class = void>
[[nodiscard]] std::size_t io_bound(std::chrono::duration<double> wait, std::chrono::duration<double> compute,
                                   double target_utilization = 1.0) {
  return detail::threads_for_waits(available_processors(), wait.count(), compute.count(), target_utilization);
}

/// How many are in flight at a time when `rate` of them arrive a second and each takes `latency`, waiting included: rate × latency, rounded up, at
/// least 1. The permits of a semaphore, or the threads of a pool whose tasks mostly wait; on a pool that computes, no more than cpu_bound() of them
/// make progress. It is the mean: what comes in bursts needs more, or a queue. Throws std::invalid_argument, which names the value, if an
/// argument is negative, infinite or no number.
template <class = void>
[[nodiscard]] std::size_t from_littles_law(double rate, std::chrono::duration<double> latency) {
  detail::check_size_argument(rate, 0, "the rate per second");
  detail::check_size_argument(latency.count(), 0, "the latency in seconds");
  return detail::whole_size(rate * latency.count());
}

}  // namespace sizing

}  // namespace penstock::inline v0_1
