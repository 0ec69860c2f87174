// What is counted and timed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <penstock/observe/counter.hpp>
#include <penstock/observe/gauge.hpp>
#include <penstock/observe/histogram.hpp>

namespace load {

/// Nanoseconds, up to 18 minutes, with an error of a thousandth at the most.
using latencies = penstock::basic_histogram<10, 40>;
using latencies_snapshot = latencies::snapshot_type;
using count = penstock::basic_counter<1>;  // one thread writes it

/// Why there was no answer.
enum class failure : std::uint8_t {
  connect,   ///< no connection
  closed,    ///< the connection ended before the answer did
  reset,     ///< reading or writing failed
  broken,    ///< what came is no HTTP
  timeout,   ///< too late, sent or not
  overflow,  ///< too many were queued already
};
inline constexpr std::array failure_names{"connect", "closed", "reset", "broken", "timeout", "overflow"};

/// The classes of statuses: 2xx to 5xx.
inline constexpr std::size_t classes = 4;

/// Of the requests of one thread that were meant to start within one step.
struct measurements {
  std::array<latencies, classes> latency;  ///< from the intended start to the end of the answer
  latencies service;                       ///< from when it was sent; to a new connection, from when that was begun
  latencies late;                          ///< from the intended start to when it was sent
  std::array<count, 600> status;
  std::array<count, failure_names.size()> failed;
  count intended;    ///< requests that were to be sent
  count queued;      ///< that found no free connection
  count unfinished;  ///< queued or sent when the run was interrupted
  count bytes_read;
  count bytes_written;
  count connects;
};

/// Of one thread, from the beginning of the warm-up on: for who looks at it while it runs.
struct live_view {
  penstock::histogram latency;
  count sent;
  count answered;
  count failed;
  penstock::gauge in_flight;
  penstock::gauge queued;
};

}  // namespace load
