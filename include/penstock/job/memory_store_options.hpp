// penstock/job/memory_store_options.hpp: how many jobs a memory_store holds, and keeps when they are over.
//
//   penstock::memory_store<mail> store{{.capacity = 100'000, .keep_failed = {.count = 1000, .age = 24h}}};
#pragma once

#include <chrono>
#include <cstddef>

#include <penstock/job/job_group.hpp>
#include <penstock/job/job_time_zone.hpp>

namespace penstock::inline v0_1 {

/// How many jobs that are over a store keeps: the newest `count`, and none that ended longer ago than `age` (looked at when another one ends).
struct keep_rule {
  std::size_t count = 1000;
  std::chrono::nanoseconds age = std::chrono::nanoseconds::max();
};

struct memory_store_options {
  std::size_t capacity = 1'000'000;  ///< jobs that are not over; at least 1
  keep_rule keep_completed = {.count = 100};
  keep_rule keep_failed = {.count = 10'000};  ///< the dead letters; those beyond are gone, and were told as failed
  job_group_rule group_rule = {};             ///< of each group that has none of its own; not of the jobs without a group
  job_time_zones time_zones = {};             ///< that schedules may name; none: errc::unsupported of a schedule that does
};

}  // namespace penstock::inline v0_1
