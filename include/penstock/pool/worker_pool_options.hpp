// penstock/pool/worker_pool_options.hpp: what a worker pool can be asked for.
//
//   penstock::worker_pool pool{{.threads = 8, .queue_capacity = 1024, .name = "io", .overflow = penstock::overflow::reject}};
#pragma once

#include <cstddef>
#include <exception>
#include <string>

#include <penstock/core/move_only_function.hpp>

namespace penstock::inline v0_1 {

/// What a pool does with a task when its queue is full.
enum class overflow : unsigned char {
  wait,    ///< the submitter waits for room
  reject,  ///< the submission fails with errc::rejected
  /// The submitter runs the task itself; if it is 32 tasks deep in the same pool, after the outermost one has returned, up to queue_capacity of
  /// them, and beyond that at once again.
  caller_runs,
};

struct worker_pool_options {
  std::size_t threads = 0;  ///< 0: available_processors(), which knows affinity and containers
  std::size_t queue_capacity =
      1024;  ///< tasks from outside that wait to be run; at least 1. Each worker has as many places for its own, at most 256
  std::string name = "penstock";  ///< threads are called name-0, name-1, … where the system shows names
  penstock::overflow overflow = overflow::wait;
  /// Gets what a posted task threw, on the worker; may be called by several workers at a time. Default: only counted.
  move_only_function<void(std::exception_ptr) const> on_error = {};
};

}  // namespace penstock::inline v0_1
