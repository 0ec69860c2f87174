// penstock/ext/supervisor_options.hpp: what a supervisor is told, and what it tells.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

#include <penstock/core/backoff.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

struct supervisor_event {
  enum class kind : std::uint8_t {
    started,       ///< a worker process was started
    ready,         ///< it says that it serves
    stopping,      ///< it was told to end: by a rolling restart, or because the supervisor ends
    killed,        ///< it had not ended by the deadline, or did not become ready in time
    exited,        ///< it has ended; `status` is that of waitpid()
    restarting,    ///< it ended without having been told to: another one is started after `delay`
    rolled,        ///< a rolling restart is complete
    roll_failed,   ///< a new worker did not become ready: the old ones that are left stay
    start_failed,  ///< no process could be had; `status`: an errno. Tried again after `delay`; 0: not (a rolling restart ends)
  };
  kind what{};
  std::size_t index = 0;  ///< of the worker's place, 0 up to the number of processes; not of rolled and roll_failed
  ::pid_t pid = 0;
  int status = 0;
  std::chrono::nanoseconds delay{};
};

struct supervisor_options {
  /// Workers, 1 to 4096.
  std::size_t processes = 1;
  /// How long a worker may go on after it was told to stop; then it gets SIGKILL.
  std::chrono::nanoseconds drain = std::chrono::seconds{10};
  /// How long a worker may take to say that it is ready; then it gets SIGKILL, and counts as one that ended.
  std::chrono::nanoseconds start = std::chrono::seconds{30};
  /// Before a worker that ended by itself is replaced; by how often in a row that has happened in this place.
  penstock::backoff restart_delay = penstock::backoff::exponential(std::chrono::milliseconds{100}, std::chrono::seconds{30});
  /// One that was ready for so long begins a new row.
  std::chrono::nanoseconds stable = std::chrono::seconds{10};
  /// Not empty, as {argv, argv + argc}: each worker executes this program anew, so that a rolling restart takes a new binary. The first is its path.
  std::vector<std::string> arguments = {};
  /// Called by the thread in run(), between two steps of its work. May throw: then the workers are stopped as by SIGTERM, and run() throws it.
  std::function<void(const supervisor_event&)> on_event = {};
};

/// Since run() began.
struct supervisor_stats {
  std::uint64_t started = 0;        ///< processes, with the first ones
  std::uint64_t restarts = 0;       ///< of those that ended without having been told to
  std::uint64_t starts_failed = 0;  ///< attempts to start one, for whatever reason, for which no process could be had
  std::uint64_t killed = 0;
  std::uint64_t rolled = 0;  ///< rolling restarts that were completed
  std::uint64_t rolls_failed = 0;
  std::size_t running = 0;
  std::size_t ready = 0;  ///< and not told to stop
};

/// What a registry sees of a supervisor (observe/registry.hpp), which must be asked by the thread of its run().
template <class = void>
void describe(const supervisor_stats& s, metric_sink& to) {
  to.kind("supervisor");
  to.gauge({"running", "Processes that are there."}, s.running);
  to.gauge({"ready", "Processes that are ready, and not told to stop."}, s.ready);
  to.counter({"started", "Processes, with the first ones."}, s.started);
  to.counter({"restarts", "Processes that ended without having been told to, and got a successor."}, s.restarts);
  to.counter({"starts_failed", "Attempts to start a process that could not be had."}, s.starts_failed);
  to.counter({"killed", "Processes that did not end in time."}, s.killed);
  to.counter({"rolls", "Rolling restarts, by how they ended."}, s.rolled, {"outcome", "completed"});
  to.counter({"rolls", "Rolling restarts, by how they ended."}, s.rolls_failed, {"outcome", "failed"});
}

}  // namespace penstock::inline v0_1
