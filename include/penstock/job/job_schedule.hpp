// penstock/job/job_schedule.hpp: jobs that come again: every so often, or by the calendar.
//
//   queue.schedule({.id = "nightly", .when = "0 3 * * *", .options = {.attempts = 3}}, report{});     // cron, in UTC
//   queue.schedule({.id = "poll", .every = 10s, .overlap = false}, poll{});
//
// A schedule lives in the store, and with a durable one survives the process: whoever fetches jobs from the store adds those that are due, in the same
// step, and so exactly one for each time whatever the number of workers. Times that passed while nobody fetched are one job, not many.
//
// Thread safety  values.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include <penstock/job/enqueue_options.hpp>

namespace penstock::inline v0_1 {

/// Either `every` or `when`.
struct job_schedule_options {
  std::string id = {};                ///< its name in the store; putting another one of that name replaces it
  std::chrono::nanoseconds every{0};  ///< from `start` on, or from now on
  std::string when = {};              ///< five or six fields, or @daily and the like (cron.hpp)
  std::string time_zone = {};         ///< empty: UTC; others as the store's options say
  std::chrono::nanoseconds start{0};  ///< not before, since the epoch of the store's clock; 0: now
  std::chrono::nanoseconds end = std::chrono::nanoseconds::max();   ///< not after
  std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();  ///< jobs in all
  bool overlap = true;           ///< false: a time at which the last one is not over yet is left out
  enqueue_options options = {};  ///< of each job
};

struct job_schedule_info {
  job_schedule_options options = {};
  std::uint64_t made = 0;               ///< jobs until now
  std::chrono::nanoseconds next_at{0};  ///< when the next one is due; max: never
  job_id last = {};                     ///< the latest one
};

}  // namespace penstock::inline v0_1
