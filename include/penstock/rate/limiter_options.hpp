// penstock/rate/limiter_options.hpp: what a limiter limits, what a job asks of it, and what it tells.
//
//   penstock::limiter api{{.max_concurrent = 8, .min_time = 20ms, .rates = {{{10, 1s}, 10}, {{5'000, 24h}, 5'000}}, .high_water = 200}};
//
// All limits hold at once, and a job takes from all of them in one step or from none.
//
// When the line is full  (`high_water` jobs wait, and the one that comes cannot start at once) `strategy` decides:
//
//                | strategy         | who goes                                                                                               |
//                |------------------|--------------------------------------------------------------------------------------------------------|
//                | reject_newest    | the one that comes, whatever its priority                                                              |
//                | drop_oldest      | of those with the least urgent priority the one that waits longest; if they are all more urgent than   |
//                |                  | the one that comes, that one                                                                           |
//                | drop_by_priority | the same, but only one that is less urgent than the one that comes; else that one                      |
//                | block            | everybody in line, and whoever comes, until nobody has come for the length of `penalty`                |
//
//                Who goes ends with errc::rejected.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/attempt_failure.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/rate/rate.hpp>

namespace penstock::inline v0_1 {

template <class Sync>
class basic_limiter;
using limiter = basic_limiter<detail::std_sync>;

/// See above.
enum class limiter_strategy : std::uint8_t { reject_newest, drop_oldest, drop_by_priority, block };

/// So many tokens at the most at once, and in the long run no more than the rate. A token bucket.
struct rate_limit {
  penstock::rate rate;
  std::int64_t burst = 1;  ///< at least 1; a job heavier than that is refused
};

/// A number of tokens. Each job takes its weight of them when it starts, and does not give them back.
struct reservoir_options {
  std::int64_t initial = 0;                       ///< not negative
  std::chrono::nanoseconds refresh_interval{0};   ///< each so long the level becomes refresh_amount, whatever it was; 0: never
  std::int64_t refresh_amount = 0;                ///< not negative
  std::chrono::nanoseconds increase_interval{0};  ///< each so long increase_amount is added, but not beyond the maximum; 0: never
  std::int64_t increase_amount = 0;               ///< not negative
  std::int64_t increase_maximum = std::numeric_limits<std::int64_t>::max();
};

/// What a limiter limits; all of it can be changed while it works (`update_settings`). The default limits nothing but the length of the line.
struct limiter_options {
  static constexpr std::int64_t unlimited = std::numeric_limits<std::int64_t>::max();

  std::int64_t max_concurrent = unlimited;          ///< the weight of the jobs that may run at a time; at least 1
  std::chrono::nanoseconds min_time{0};             ///< from the start of one job to the start of the next; not negative
  std::vector<rate_limit> rates = {};               ///< such as so many a second and so many a day
  std::optional<reservoir_options> reservoir = {};  ///< from when it was given, or changed
  std::size_t high_water = 65'536;                  ///< how many may wait; 0: a job starts at once or not at all
  limiter_strategy strategy = limiter_strategy::reject_newest;
  std::optional<std::chrono::nanoseconds> penalty = {};  ///< of `block`; default: 15 min_time, or 5 s if that is 0
};

/// What one job asks for.
struct job_options {
  /// At least 1, and no more than max_concurrent and each burst: else std::invalid_argument. One that is more than the reservoir gets waits, and those
  /// behind it with it, until somebody fills that by hand: give it a deadline.
  std::int64_t weight = 1;
  unsigned priority = 5;  ///< 0 to 9; 0 is the most urgent
};

/// What may happen in a limiter.
enum class limiter_event : std::uint8_t {
  empty,     ///< nobody waits any more
  idle,      ///< nobody waits, and nothing runs any more
  depleted,  ///< the reservoir has come to 0
  dropped,   ///< a job was dropped, or refused, because the line was full
  retry,     ///< a job failed and is to be tried again
};

/// What a limiter is given once.
struct limiter_setup {
  any_clock clock = {};      ///< must outlive it
  limiter* chain = nullptr;  ///< where each job needs its turn too, once it has had it here; must outlive it
  /// Told after it happened, and how often since the last call. Calls do not overlap; they come on whichever thread is there, under no lock, and
  /// may use the limiter, but not destroy it. What throws ends the program.
  move_only_function<void(limiter_event, std::uint64_t)> on_event = {};
  bool metrics = false;  ///< keep how long jobs waited: limiter::wait_times(); 37 KB
};

/// What has happened so far, and what is under way; a snapshot.
struct limiter_counts {
  std::size_t queued = 0;     ///< jobs that wait now
  std::int64_t running = 0;   ///< weight that is taken and not given back
  std::uint64_t started = 0;  ///< jobs, since the beginning
  std::uint64_t dropped = 0;  ///< jobs that ended with errc::rejected
  std::uint64_t gave_up = 0;  ///< jobs that were cancelled or timed out in line
  std::uint64_t retried = 0;  ///< see limiter_event::retry
};

/// What a server's answer says about its own limits: the fields of RFC 9110 (Retry-After) and of the IETF's RateLimit header fields, which
/// many servers call X-RateLimit-…. What runs when an answer comes is not taken off `remaining`, for the server may have counted it: if it has not, up to so
/// many more are sent than it allows, and refused by it. They end with the server's window, or limiter::clear_hints(); new settings keep them.
struct server_hints {
  std::optional<std::chrono::nanoseconds> retry_after = {};  ///< nothing starts before so much time has passed
  std::optional<std::int64_t> remaining = {};                ///< so much may start until the server's window ends; needs `reset`
  std::optional<std::chrono::nanoseconds> reset = {};        ///< how long until the server's window ends
};

/// How an attempt to run a job failed.
using job_failure = attempt_failure;

/// What a job that the limiter runs may say besides (`run`, `async_run`, `schedule`).
struct run_options {
  job_options job = {};
  wait_limits limits = {};  ///< end the wait for the turn, and the pause before another attempt: errc::timeout
  /// How long an attempt may take. Then stop is requested of it, through the stop_token that it takes or awaits with; it is waited for, and if it
  /// ends with errc::cancelled the job has ended with errc::timeout. 0: for ever.
  std::chrono::nanoseconds expires_in{0};
  /// Asked when an attempt has failed: how long to wait before the job stands in line again, or nothing: the failure is the job's end.
  /// A retry_policy (core/retry_policy.hpp) will do.
  move_only_function<std::optional<std::chrono::nanoseconds>(const job_failure&)> retry = {};
};

/// How a limiter stops.
enum class limiter_stop : std::uint8_t {
  drop_waiting,    ///< those in line end with errc::closed
  finish_waiting,  ///< those in line have their turn yet
};

/// What a registry sees of a limiter (observe/registry.hpp).
template <class = void>
void describe(const limiter_counts& c, metric_sink& to) {
  to.kind("limiter");
  to.gauge(metrics::depth, c.queued);
  to.gauge(metrics::in_flight, c.running);
  to.counter(metrics::accepted, c.started);
  to.counter(metrics::rejected, c.dropped, {"reason", "full"});
  to.counter(metrics::rejected, c.gave_up, {"reason", "gave_up"});
  to.counter({"retried", "Attempts that failed and were to be followed by others."}, c.retried);
}

}  // namespace penstock::inline v0_1
