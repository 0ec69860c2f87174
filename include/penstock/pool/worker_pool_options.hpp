// penstock/pool/worker_pool_options.hpp: what a worker pool can be asked for.
//
//   penstock::worker_pool pool{{.threads = 8, .queue_capacity = 1024, .name = "io", .overflow = penstock::overflow::reject}};
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

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
  /// With overflow::wait, how long a submission from outside waits for room that says no deadline itself (wait_limits), by the pool's clock; then it
  /// fails with errc::timeout. One post_n() waits so long in all. Zero: not at all. Default: for ever.
  detail::timeout_length room_timeout = {};
  /// Gets what a posted task threw, on the worker; may be called by several workers at a time. Default: only counted.
  move_only_function<void(std::exception_ptr) const> on_error = {};
  unsigned priorities = 1;  ///< how many there are, 1 to 16; see submit_options.hpp
  bool metrics = false;     ///< measure what stats() tells of times; see pool_stats.hpp
  /// With metrics: where tasks come faster than every 2 µs, one in so many is timed, picked by chance. 1: each of them, for two looks at the clock a
  /// task more; see pool_stats.hpp.
  std::uint32_t time_every = 16;
  /// What submit_options::expires_in, room_timeout, keep_alive and metrics are counted by; must outlive the pool. Default: the steady clock.
  any_clock clock = {};
  /// How many threads there can be at a time, after resize() or while some are inside blocking(). 0: sixteen more than `threads`.
  std::size_t max_threads = 0;
  /// An idle thread ends after this time, as long as there are more than min_threads; when there is work for it, it is started again. 0: it stays.
  std::chrono::nanoseconds keep_alive{0};
  std::size_t min_threads = 1;  ///< how many stay, however idle; at least 1
  /// Each thread runs these with its number, from 0 to max_threads - 1, before its first piece of work and after its last one.
  move_only_function<void(std::size_t) const> on_thread_start = {};
  move_only_function<void(std::size_t) const> on_thread_exit = {};
  /// The processors that the threads are bound to: thread i to number i modulo how many these are. Empty: to none. Not on Linux: ignored.
  std::vector<unsigned> affinity = {};
};

}  // namespace penstock::inline v0_1
