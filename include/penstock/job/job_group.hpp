// penstock/job/job_group.hpp: jobs of many tenants that take turns, and what each may have at a time.
//
//   queue.set_group("free", {.weight = 1, .concurrency = 2});
//   queue.set_group("paying", {.weight = 4, .max = 100, .duration = 1s});
//   queue.add(report, {.group = "free"});
//
// Within a group jobs run by priority, then in order. Between groups with work the store takes turns: over time each gets starts in proportion to its weight,
// however many jobs the others have. Who had no work gets no credit for it. Jobs without a group are one group, of weight 1, whose name is empty. A group whose
// bounds are reached keeps no other group waiting.
//
// The law        at the most `concurrency` jobs of a group are leased at a time, over all workers; and in any `duration`, not counting its beginning, at the most
//                `max` are started: first attempts and further ones, also those whose worker hands them back.
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
  std::uint32_t weight = 1;              ///< its share; at least 1, at most 1,000,000
  std::size_t concurrency = unlimited;   ///< that are active at a time, over all workers; at least 1
  std::size_t max = unlimited;           ///< starts within any `duration`; from 1 to most_starts
  std::chrono::nanoseconds duration{0};  ///< of `max`; 0 if that is unlimited

  /// The time of each start is kept, so there is a bound.
  static constexpr std::size_t most_starts = 1U << 24;
  static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

  friend bool operator==(const job_group_rule&, const job_group_rule&) = default;
};

/// Of a group that has jobs which wait or are active, or a rule of its own.
struct job_group_info {
  std::string group = {};  ///< empty: of the jobs that have none
  job_group_rule rule = {};
  std::size_t waiting = 0;
  std::size_t active = 0;
};

namespace detail {

/// Throws std::invalid_argument that names the value.
template <class = void>
void check(const job_group_rule& r) {
  if (r.weight == 0 || r.weight > 1'000'000) {
    throw std::invalid_argument{"penstock::job_group_rule: weight is " + std::to_string(r.weight)};
  }
  if (r.concurrency == 0) throw std::invalid_argument{"penstock::job_group_rule: concurrency is 0"};
  if (r.max == 0 || (r.max > job_group_rule::most_starts && r.max != job_group_rule::unlimited)) {
    throw std::invalid_argument{"penstock::job_group_rule: max is " + std::to_string(r.max)};
  }
  if (r.duration.count() < 0 || (r.duration.count() == 0) != (r.max == job_group_rule::unlimited)) {
    throw std::invalid_argument{"penstock::job_group_rule: duration is " + std::to_string(r.duration.count()) +
                                " ns; it goes with max"};
  }
}

}  // namespace detail

}  // namespace penstock::inline v0_1
