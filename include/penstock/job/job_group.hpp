// penstock/job/job_group.hpp: jobs of many tenants that take turns, and what each may have at a time.
//
//   queue.set_group("free", {.weight = 1, .concurrency = 2});
//   queue.set_group("paying", {.weight = 4, .max = 100, .duration = 1s});
//   queue.add(report, {.group = "free"});
//
// Within a group jobs run by priority, then in order. Between groups with work the store takes turns: over time each gets starts in proportion to its weight,
// however many jobs the others have. Jobs without a group are one group, of weight 1.
//
// Thread safety  values.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

namespace penstock::inline v0_1 {

struct job_group_rule {
  std::uint32_t weight = 1;                                           ///< its share; at least 1, at most 1,000,000
  std::size_t concurrency = std::numeric_limits<std::size_t>::max();  ///< that are active at a time, over all workers; at least 1
  std::size_t max = std::numeric_limits<std::size_t>::max();          ///< starts within any `duration`; at least 1
  std::chrono::nanoseconds duration{0};                               ///< 0: no limit of the rate
};

struct job_group_info {
  std::string group = {};
  job_group_rule rule = {};
  std::size_t waiting = 0;
  std::size_t active = 0;
};

namespace detail {

/// Throws std::invalid_argument that names the value.
inline void check(const job_group_rule& r) {
  if (r.weight == 0 || r.weight > 1'000'000) {
    throw std::invalid_argument{"penstock::job_group_rule: weight is " + std::to_string(r.weight)};
  }
  if (r.concurrency == 0) throw std::invalid_argument{"penstock::job_group_rule: concurrency is 0"};
  if (r.max == 0) throw std::invalid_argument{"penstock::job_group_rule: max is 0"};
  if (r.duration.count() < 0) throw std::invalid_argument{"penstock::job_group_rule: duration is negative"};
}

}  // namespace detail

}  // namespace penstock::inline v0_1
