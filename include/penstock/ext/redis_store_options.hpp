// penstock/ext/redis_store_options.hpp: which queue on a Redis server, and what can be wrong with it.
//
//   penstock::redis_store<std::string> mails{{.host = "10.0.0.7"}, {.queue = "mails"}};
//
// Thread safety  values; the category may be used at any time.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <system_error>
#include <type_traits>

#include <penstock/job/memory_store_options.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

struct redis_store_options {
  std::string queue = {};       ///< BullMQ's name of it; not empty, and without ':'
  std::string prefix = "bull";  ///< BullMQ's default. On a cluster one of both has to hold a {tag}
  /// What becomes of jobs that are over and do not say so themselves. Everything is kept, as by BullMQ's workers: whose jobs these are is not known
  /// here. A rule counts for all jobs of the queue that are over, whoever finished them.
  keep_rule keep_completed = {.count = std::numeric_limits<std::size_t>::max()};
  keep_rule keep_failed = {.count = std::numeric_limits<std::size_t>::max()};
  std::size_t connections =
      4;  ///< for commands, at the most, made when they are needed; at least 1. One or two more wait for news
  /// How often one of all the workers on the queue, in whatever language, looks for leases that ran out; at least 1 ms.
  std::chrono::nanoseconds stalled_interval = std::chrono::seconds{30};
  /// How often an idle worker looks though nobody told it; at least 1 ms.
  std::chrono::nanoseconds poll_interval = std::chrono::seconds{5};
  /// How long what was certainly not done (no connection, LOADING, BUSY) is tried again before it is reported.
  std::chrono::nanoseconds retry_within = std::chrono::seconds{2};
};

/// Of one store object; its jobs are its job_queue's. A snapshot.
struct redis_store_stats {
  std::size_t in_flight = 0;   ///< commands under way: connections in use
  std::size_t limit = 0;       ///< redis_store_options::connections
  std::size_t waiting = 0;     ///< calls that wait for a connection
  std::size_t adding = 0;      ///< calls of add() that wait for the shared call after the one that is on its way
  std::uint64_t answered = 0;  ///< commands, since the beginning, as those below
  std::uint64_t failed = 0;    ///< commands that ended with an error, the server's or the connection's, after all attempts
  std::uint64_t retried = 0;   ///< attempts that were certainly not executed, and followed by others
};

/// What a registry sees of a redis_store (observe/registry.hpp).
template <class = void>
void describe(const redis_store_stats& s, metric_sink& to) {
  to.kind("redis_store");
  to.gauge(metrics::depth, s.waiting);
  to.gauge(metrics::in_flight, s.in_flight);
  to.gauge(metrics::limit, s.limit);
  to.gauge({"adding", "Calls that wait to add jobs with others."}, s.adding);
  to.counter(metrics::completed, s.answered);
  to.counter(metrics::failed, s.failed);
  to.counter({"retried", "Attempts that were certainly not executed, and followed by others."}, s.retried);
}

/// Why a queue on Redis is not worked on, or something that other stores do is refused; the texts say what to do instead. Nothing was changed. The
/// condition of std::errc that a code is equivalent to is in brackets.
enum class redis_store_errc {
  other_major = 1,  ///< its metadata is of another major version of BullMQ than 6
  flows,            ///< the job that stands first belongs to a flow or a scheduler
  wrong_clock,      ///< the times that are given are not the system's
  tied,             ///< what was to be removed or redriven belongs to a flow or a scheduler [operation_not_supported]
  // What the layout of BullMQ has no place for, all of it [operation_not_supported]
  no_groups,              ///< enqueue_options::group, set_group(), groups()
  no_schedules,           ///< put_schedule(), remove_schedule(), schedules()
  no_families,            ///< enqueue_options::parent, add_flow(), children()
  no_such_backoff,        ///< linear, by another factor than 2, decorrelated
  no_lifo_with_priority,  ///< .lifo and .priority together
};

namespace detail {

class redis_store_errc_category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "redis_store"; }
  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<redis_store_errc>(value)) {
      case redis_store_errc::other_major:
        return "the queue was made by another major version of BullMQ than 6: upgrade all that use it to BullMQ 6, or give "
               "penstock a queue of its own";
      case redis_store_errc::flows:
        return "the next job belongs to a flow, a job scheduler or a deduplication with keepLastIfActive: work on this queue "
               "with BullMQ's workers, or put such "
               "jobs into another queue";
      case redis_store_errc::wrong_clock:
        return "redis_store needs the system's clock: job_queue{store, {.clock = store.clock()}}";
      case redis_store_errc::tied:
        return "the job belongs to a flow or a job scheduler of BullMQ's: remove or redrive it with BullMQ's Queue, in Node";
      case redis_store_errc::no_groups:
        return "redis_store has no groups: give each group a queue of its own, or use memory_store or sqlite_store";
      case redis_store_errc::no_schedules:
        return "redis_store has no schedules: let something else call add() when it is time (a schedule of memory_store or "
               "sqlite_store, "
               "cron), or use BullMQ's job schedulers with workers in Node";
      case redis_store_errc::no_families:
        return "redis_store has no parents and children: add the next job when one completes (job::enqueue()), or use "
               "memory_store or "
               "sqlite_store";
      case redis_store_errc::no_such_backoff:
        return "redis_store has the backoffs of BullMQ only: fixed, and exponential by 2, with no, full or equal jitter; for "
               "others let "
               "the handler say job_outcome::retry_after()";
      case redis_store_errc::no_lifo_with_priority:
        return "redis_store has no .lifo within a priority, as BullMQ forgets it: leave out one of both";
    }
    return "unknown redis_store error " + std::to_string(value);
  }
  [[nodiscard]] std::error_condition default_error_condition(int value) const noexcept override {
    if (value >= static_cast<int>(redis_store_errc::tied)) return std::errc::operation_not_supported;
    return {value, *this};
  }
};

// A union, so that the category is never destroyed: a destructor that runs late may still ask for the message of an error.
union immortal_redis_store_errc_category {
  constexpr immortal_redis_store_errc_category() noexcept : category{} {}
  ~immortal_redis_store_errc_category() {}
  redis_store_errc_category category;
};

inline constinit const immortal_redis_store_errc_category the_redis_store_errc_category{};

}  // namespace detail

/// The category of redis_store_errc, "redis_store".
[[nodiscard]] inline const std::error_category& redis_store_category() noexcept {
  return detail::the_redis_store_errc_category.category;
}
[[nodiscard]] inline std::error_code make_error_code(redis_store_errc e) noexcept {
  return {static_cast<int>(e), redis_store_category()};
}

}  // namespace penstock::inline v0_1

template <>
struct std::is_error_code_enum<penstock::redis_store_errc> : std::true_type {};
