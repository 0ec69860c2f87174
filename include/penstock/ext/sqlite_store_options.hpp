// penstock/ext/sqlite_store_options.hpp: how safe a file of jobs is, how many it holds, and how often it is looked at for what other processes did.
//
//   penstock::sqlite_store<mail> store{"mails.db", {.durability = penstock::sqlite_durability::normal, .capacity = 100'000}};
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <penstock/job/job_group.hpp>
#include <penstock/job/job_time_zone.hpp>
#include <penstock/job/memory_store_options.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

enum class sqlite_durability : std::uint8_t {
  full,    ///< what a call has done is on the disk when it returns
  normal,  ///< it outlives the process; a loss of power may take the last steps, whole ones and the latest first
};

struct sqlite_store_options {
  sqlite_durability durability = sqlite_durability::full;
  std::size_t capacity = 1'000'000;           ///< jobs that are not over; at least 1
  keep_rule keep_completed = {.count = 100};  ///< those beyond are gone
  keep_rule keep_failed = {.count = 10'000};  ///< the dead letters
  job_group_rule group_rule = {};             ///< of groups that have none of their own (sqlite_store::set_group)
  job_time_zones time_zones = {};             ///< that schedules may name; none: errc::unsupported of a schedule that does
  /// How often the file is looked at for what other processes have done: added, ended, made room. max(): no other process uses it.
  std::chrono::nanoseconds poll_interval = std::chrono::milliseconds{100};
  /// How long a call waits for another process that writes; then sqlite_errc::busy.
  std::chrono::milliseconds busy_timeout{10'000};
  std::size_t max_bytes = 0;  ///< the file grows no larger, then sqlite_errc::full; 0: while there is room on the disk
  std::size_t cache_bytes = 32 * 1024 * 1024;       ///< of the file, in memory
  std::size_t page_bytes = 4096;                    ///< of a new file: a power of two from 512 to 65,536
  std::size_t checkpoint_bytes = 16 * 1024 * 1024;  ///< the log is written back to the file when it is so long
  std::string vfs = {};                             ///< the name of a sqlite3_vfs; empty: the default
};

struct sqlite_store_stats {
  std::uint64_t steps = 0;    ///< calls that changed something, or would have
  std::uint64_t commits = 0;  ///< transactions for them
  std::size_t in_line = 0;    ///< calls that wait for the transaction after the one that is on its way
};

namespace detail {

/// Throws std::invalid_argument that names the value.
template <class = void>
const sqlite_store_options& checked(const sqlite_store_options& o) {
  const auto refuse = [](const char* what) { throw std::invalid_argument{std::string{"penstock::sqlite_store: "} + what}; };
  if (o.capacity == 0) refuse("capacity is 0");
  if (o.keep_completed.age.count() < 0 || o.keep_failed.age.count() < 0) refuse("a keep_rule's age is negative");
  check(o.group_rule);
  if (o.poll_interval.count() <= 0) refuse("poll_interval is not positive");
  if (o.busy_timeout.count() < 0) refuse("busy_timeout is negative");
  return o;
}

}  // namespace detail

/// What a registry sees of a sqlite_store (observe/registry.hpp). Its jobs are its job_queue's.
template <class = void>
void describe(const sqlite_store_stats& s, metric_sink& to) {
  to.kind("sqlite_store");
  to.gauge(metrics::depth, s.in_line);
  to.counter({"steps", "Calls that changed something, or would have."}, s.steps);
  to.counter({"commits", "Transactions for them."}, s.commits);
}

}  // namespace penstock::inline v0_1
