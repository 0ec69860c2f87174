// penstock/pool/worker_pool_options.hpp: what a worker pool can be asked for.
//
//   penstock::worker_pool pool{{.threads = 8, .queue_capacity = 1024, .name = "io", .overflow = penstock::overflow::reject}};
#pragma once

#include <cstddef>
#include <exception>
#include <string>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/pool/submit_options.hpp>

namespace penstock::inline v0_1 {

struct worker_pool_options {
  std::size_t threads = 0;  ///< 0: available_processors(), which knows affinity and containers
  std::size_t queue_capacity =
      1024;  ///< tasks from outside that wait to be run; at least 1. Each worker has as many places for its own, at most 256
  std::string name = "penstock";  ///< threads are called name-0, name-1, … where the system shows names
  penstock::overflow overflow = overflow::wait;
  /// Gets what a posted task threw, on the worker; may be called by several workers at a time. Default: only counted.
  move_only_function<void(std::exception_ptr) const> on_error = {};
  unsigned priorities = 1;  ///< how many there are, 1 to 16; see submit_options.hpp
  any_clock clock = {};     ///< what submit_options::expires_in is counted by; must outlive the pool. Default: the steady clock
};

}  // namespace penstock::inline v0_1
