// penstock/job/job_worker_options.hpp: how many jobs a worker runs at a time, how fast, and how it is known to live.
//
//   penstock::token_bucket calls{penstock::rate{100, 1s}, 20};
//   penstock::job_worker w{queue, pool, handle, {.concurrency = 8, .pace = penstock::paced_by(calls)}};
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <penstock/core/errc.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

/// What each job waits for before it begins, holding its lease: see paced_by(). An error hands the job back.
struct job_pace {
  move_only_function<task<result<void>>() const> acquire = {};
  move_only_function<void() const> release = {};  ///< when it has ended; may be empty
};

namespace detail {
template <class Limit>
task<result<void>> acquire_one(Limit& limit) {
  auto turn = limit.async_acquire();
  auto got = co_await std::move(turn);
  co_return got;
}
}  // namespace detail

/// A token_bucket, a limiter, a semaphore: `async_acquire()` is awaited, and `release()` called at the end if there is one. It must outlive the worker; other
/// workers may share it. One frame a job.
template <class Limit>
[[nodiscard]] job_pace paced_by(Limit& limit) {
  job_pace p{.acquire = [&limit] { return detail::acquire_one(limit); }};
  if constexpr (requires { limit.release(); }) p.release = [&limit] { limit.release(); };
  return p;
}

/// What a store did in place of what a worker asked of it: it gave an error, or threw.
struct job_store_failure {
  std::error_code code =
      {};  ///< what it gave, or what was thrown has (std::system_error, std::bad_alloc); errc::exception of others
  std::exception_ptr thrown = {};  ///< null: nothing was
  operator std::error_code() const noexcept { return code; }

  /// In words: what() of what was thrown, else the code's message. Throws std::bad_alloc.
  [[nodiscard]] std::string what() const {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const std::exception& e) {
      return e.what();
    } catch (...) {
    }
    return code.message();
  }
  /// Within a catch clause: of what was caught.
  [[nodiscard]] static job_store_failure caught() noexcept {
    job_store_failure f{.code = errc::exception, .thrown = std::current_exception()};
    try {
      throw;
    } catch (const std::system_error& e) {
      f.code = e.code();
    } catch (const std::bad_alloc&) {
      f.code = std::make_error_code(std::errc::not_enough_memory);
    } catch (...) {
    }
    return f;
  }
};

struct job_worker_options {
  std::size_t concurrency = 1;  ///< jobs that run at a time; at least 1. Handlers that block need as many threads
  /// Jobs that each of them fetches at a time, and then runs one after the other: for many short jobs, as who waits behind a long one is leased
  /// already. At least 1. With a store that blocks a higher concurrency does as much without such waiting.
  std::size_t batch = 1;
  std::chrono::nanoseconds lock_duration =
      std::chrono::seconds{30};  ///< of a lease; it is renewed at the half of it. At least 1 ms
  std::chrono::nanoseconds stalled_interval =
      std::chrono::seconds{30};  ///< how often leases that have run out are looked for. Positive
  unsigned max_stalled = 1;      ///< a job that stalls more often has failed
  std::chrono::nanoseconds settle_within =
      std::chrono::milliseconds{1};  ///< within a batch: ends are told to the store after so long at the latest
  std::chrono::nanoseconds error_pause = std::chrono::seconds{1};  ///< after an error of the store. Positive
  job_pace pace = {};
  std::string name = {};   ///< told to the store
  std::uint64_t seed = 0;  ///< of the jitter; 0: one that no other worker has
  /// Gets the store's errors, on the context or the thread that renews leases. What it throws is dropped. It may take a std::error_code as well.
  move_only_function<void(const job_store_failure&) const> on_store_error = {};
  bool metrics = false;  ///< how long jobs waited and handlers ran: two looks at the clock for each run, and 74 KB
};

/// Since the beginning, but for `running`.
struct job_worker_stats {
  std::uint64_t completed = 0;
  std::uint64_t failed = 0;        ///< for good
  std::uint64_t retried = 0;       ///< attempts that failed, and will be followed by others
  std::uint64_t released = 0;      ///< handed back
  std::uint64_t waited = 0;        ///< runs that ended with waiting for children
  std::uint64_t lost = 0;          ///< runs whose lease was lost: what they did does not count
  std::uint64_t store_errors = 0;  ///< that on_store_error was told
  std::size_t running = 0;         ///< handlers
  std::size_t concurrency = 0;     ///< the most that may run
  // With metrics, in nanoseconds, by the queue's clock:
  /// From when a job was due (job_lease::due_since(), of which somebody knows it) to the beginning of its handler; what it waited for the pace and
  /// behind others of its batch is part of it. Of each run.
  std::optional<histogram::snapshot_type> queue_wait = {};
  std::optional<histogram::snapshot_type> run_time = {};  ///< of handlers, whatever they gave
};

/// What a registry sees of a job_worker (observe/registry.hpp); times only with `metrics`.
template <class = void>
void describe(const job_worker_stats& s, metric_sink& to) {
  to.kind("job_worker");
  to.gauge(metrics::in_flight, s.running);
  to.gauge(metrics::limit, s.concurrency);
  to.counter(metrics::completed, s.completed);
  to.counter(metrics::failed, s.failed);
  to.counter({"retried", "Attempts that failed, and will be followed by others."}, s.retried);
  to.counter({"released", "Jobs that were handed back."}, s.released);
  to.counter({"waited", "Runs that ended with waiting for children."}, s.waited);
  to.counter({"lost", "Runs whose lease was lost."}, s.lost);
  to.counter({"store_errors", "Errors of the store."}, s.store_errors);
  if (s.queue_wait) to.times(metrics::queue_wait, *s.queue_wait);
  if (s.run_time) to.times(metrics::run, *s.run_time);
}

}  // namespace penstock::inline v0_1
