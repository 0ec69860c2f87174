// penstock/job/enqueue_options.hpp: what one may say of a job when it is added.
//
//   queue.add(mail, {.attempts = 5, .backoff = penstock::backoff::exponential(1s, 10min).with_jitter(penstock::jitter::full), .priority = 2});
//   queue.add(report, {.delay = 1h, .job_id = "report-2026-11"});                     // adding it again while the store knows it does nothing
//   queue.add(sync, {.deduplicate = penstock::deduplication{.id = "user-7", .ttl = 5s}});   // at the most one in 5 s
//
// The names are those of BullMQ where the meaning is. What differs: one job's options never decide what becomes of other jobs, so how many that are over
// are kept is the store's to say (a job's `removeOnComplete: {count: 2}` there deletes the completed jobs of others).
//
// Thread safety  a value.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include <penstock/core/backoff.hpp>
#include <penstock/core/trace_context.hpp>
#include <penstock/job/job_id.hpp>

namespace penstock::inline v0_1 {

/// What the worker that runs a job has to know about failures.
struct job_policy {
  unsigned attempts = 1;           ///< runs in all, the first one too; at least 1
  penstock::backoff backoff = {};  ///< how long after a failure the next attempt is due; default: at once
  std::chrono::nanoseconds timeout{
      0};  ///< after so long stop is requested of a run; what it delivers all the same counts. 0: never
};

/// Of jobs with the same `id` only one counts. Adding another one is no error: it gives the id of the one that is there.
struct deduplication {
  std::string id = {};
  /// 0: until that job is over; a dead letter that is redriven counts again, unless another job has the id by then. Otherwise for so long after it was added,
  /// whatever becomes of it.
  std::chrono::nanoseconds ttl{0};
  bool extend = false;   ///< each further one lets the ttl begin anew
  bool replace = false;  ///< a further one takes the place of one that is still delayed (with `ttl` and `extend`: a debounce)
};

/// What becomes of a parent when a child of it has failed for good.
enum class child_failure : std::uint8_t {
  fail_parent,  ///< it fails, too, without being run, as soon as it waits for its children; and so on upwards, as it says itself
  continue_parent,  ///< it is run as soon as it waits for its children, without waiting for the others, and sees who failed
  ignore,           ///< the child counts as over: the parent waits for the others
};

struct enqueue_options {
  static constexpr std::uint32_t lowest_priority = 2'097'151;
  static constexpr std::size_t usual_logs = 100;

  /// What kind of job it is: workers may have a handler for each name. Several jobs have the same.
  std::string name = {};
  unsigned attempts = 1;                ///< job_policy::attempts
  penstock::backoff backoff = {};       ///< job_policy::backoff
  std::chrono::nanoseconds timeout{0};  ///< job_policy::timeout
  /// 0, the default, runs first, then 1, 2, … up to lowest_priority. Those of one priority in the order in which they were added.
  std::uint32_t priority = 0;
  std::chrono::nanoseconds delay{0};  ///< not before so much time has passed
  bool lifo = false;                  ///< before those of its priority that wait already, also when it is tried again
  /// A name of your own: while the store knows a job of that name, waiting, running or kept, adding another one gives that one. Empty: none.
  std::string job_id = {};
  std::optional<deduplication> deduplicate = {};
  bool remove_on_complete = false;     ///< nothing of it is kept when it has completed
  bool remove_on_fail = false;         ///< nor when it has failed for good
  std::size_t keep_logs = usual_logs;  ///< the newest lines of its log
  /// Of a tenant, a user: jobs of different groups take turns, however many each has (job_group.hpp). Empty: with all others that have none.
  std::string group = {};
  /// A job that is active, or waits for its children: if it does, or settles so (settle_as::waiting_children), it is run when this one and its other
  /// children are over. None: no job. Of another job that is known errc::stale, else errc::not_found.
  penstock::job_id parent = {};
  child_failure on_failure = child_failure::fail_parent;  ///< what becomes of the parent if this one fails for good
  /// While a tracer is installed (core/tracer.hpp): the context that the job belongs to. Empty: the current one.
  trace_context trace = {};
};

namespace detail {

/// Throws std::invalid_argument that names the value.
template <class = void>
void check(const enqueue_options& o) {
  const auto refuse = [](const char* what, const std::string& value) {
    throw std::invalid_argument{std::string{"penstock::enqueue_options: "} + what + " is " + value};
  };
  if (o.attempts == 0) refuse("attempts", "0");
  if (o.priority > enqueue_options::lowest_priority) refuse("priority", std::to_string(o.priority));
  if (o.delay.count() < 0) refuse("delay", std::to_string(o.delay.count()) + " ns");
  if (o.timeout.count() < 0) refuse("timeout", std::to_string(o.timeout.count()) + " ns");
  if (o.deduplicate && o.deduplicate->id.empty()) refuse("deduplicate->id", "empty");
  if (o.deduplicate && o.deduplicate->ttl.count() < 0) {
    refuse("deduplicate->ttl", std::to_string(o.deduplicate->ttl.count()) + " ns");
  }
}

}  // namespace detail

}  // namespace penstock::inline v0_1
