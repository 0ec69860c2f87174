// penstock/job/job_schedule.hpp: jobs that come again: every so often, or by the calendar.
//
//   queue.schedule({.id = "nightly", .when = "0 3 * * *", .options = {.attempts = 3}}, report{});     // cron, in UTC
//   queue.schedule({.id = "poll", .every = 10s, .overlap = false}, poll{});
//
// A schedule lives in the store, and with a durable one survives the process: whoever fetches jobs from the store adds those that are due, in the same
// step, and so exactly one for each time whatever the number of workers. Times that passed while nobody fetched, while the store was full or while it was
// paused are one job, not many. What options.job_id or options.deduplicate keep away is left out, and not counted.
//
// Times          `every` is counted from `start`, or from when the schedule was put, which is the first time: nothing drifts. Those before it was put are
//                not missed. `when` is a calendar (cron.hpp) in UTC or in `time_zone` (job_time_zone.hpp), and needs a store whose users' clock tells the
//                date: system_clock, in job_queue_options::clock.
// Replacing      keeps the count, so that what is put each time a program starts makes no more jobs than `limit`; and with the same `every` and `start` its times
//                (as BullMQ's upsertJobScheduler). A job that it has made stays as it is. A new count: unschedule() before.
// Over           a schedule that has reached its limit or its end stays, with next_at = never, until it is removed.
// Thread safety  values.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

#include <penstock/job/cron.hpp>
#include <penstock/job/enqueue_options.hpp>

namespace penstock::inline v0_1 {

/// Either `every` or `when`.
struct job_schedule_options {
  std::string id = {};                ///< its name in the store; putting another one of that name replaces it
  std::chrono::nanoseconds every{0};  ///< from `start` on, or from now on, the first one at once
  std::string when = {};              ///< five or six fields, or `@daily` and the like (cron.hpp)
  std::string time_zone = {};         ///< of `when`. Empty: UTC; others as the store's options say
  std::chrono::nanoseconds start{0};  ///< not before, since the epoch of the store's clock; 0: now
  std::chrono::nanoseconds end = std::chrono::nanoseconds::max();   ///< not after
  std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();  ///< jobs in all
  bool overlap = true;           ///< false: a time at which the last one was not over yet is left out
  enqueue_options options = {};  ///< of each job; no parent
};

struct job_schedule_info {
  job_schedule_options options = {};
  std::uint64_t made = 0;               ///< jobs until now
  std::chrono::nanoseconds next_at{0};  ///< when the next one is due; max: never
  job_id last = {};                     ///< the latest one
};

namespace detail {

/// Throws std::invalid_argument that names the value.
template <class = void>
void check(const job_schedule_options& o) {
  const auto refuse = [&o](const std::string& what) {
    throw std::invalid_argument{"penstock::job_schedule_options: " + what + " (schedule \"" + o.id + "\")"};
  };
  if (o.id.empty()) refuse("id is empty");
  if (o.every.count() < 0) refuse("every is " + std::to_string(o.every.count()) + " ns");
  if ((o.every.count() != 0) == !o.when.empty())
    refuse(o.when.empty() ? "neither every nor when is given" : "both every and when are given");
  if (!o.when.empty()) static_cast<void>(cron{o.when});
  if (!o.time_zone.empty() && o.when.empty()) refuse("time_zone without when");
  if (o.end < o.start) refuse("end is before start");
  if (o.limit == 0) refuse("limit is 0");
  if (o.options.parent) refuse("options.parent is given");
  check(o.options);
}

}  // namespace detail

}  // namespace penstock::inline v0_1
