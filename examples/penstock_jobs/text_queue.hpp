// A queue of jobs that are texts, whatever store holds them: what the tool needs of job_queue and job_worker, behind virtual functions, so that only
// text_queue*.cpp know of stores.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <penstock/core/deadline.hpp>
#include <penstock/core/result.hpp>
#include <penstock/job/enqueue_options.hpp>
#include <penstock/job/job.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/job_worker_options.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace jobs {

/// See job_worker.
class text_worker {
 public:
  virtual ~text_worker() = default;
  virtual penstock::result<void> shutdown(const penstock::wait_limits& limits) = 0;
  [[nodiscard]] virtual penstock::job_worker_stats stats() const = 0;
};

/// See job_queue. What a store says is wrong is thrown, as std::system_error.
class text_queue {
 public:
  /// Is given the text, too: a payload may be written in another way.
  using handler = std::function<penstock::job_outcome(const std::string& text, penstock::job<std::string>&)>;

  virtual ~text_queue() = default;
  /// Waits for room; all of them or none.
  virtual std::vector<penstock::job_id> add(std::span<std::string> texts, const penstock::enqueue_options& o) = 0;
  [[nodiscard]] virtual penstock::job_counts counts() const = 0;
  [[nodiscard]] virtual std::vector<penstock::job_info> list(penstock::job_state s, std::size_t first,
                                                             std::size_t count) const = 0;
  /// Empty if the job is gone.
  [[nodiscard]] virtual std::string text_of(const penstock::job_id& id) = 0;
  /// By its number or its name.
  virtual void redrive(const std::string& id) = 0;
  virtual std::size_t redrive_all() = 0;
  virtual std::size_t redrive_if(const std::function<bool(const penstock::job_info&)>& wanted) = 0;
  [[nodiscard]] virtual penstock::job_time now() const = 0;
  [[nodiscard]] virtual std::unique_ptr<text_worker> work(penstock::worker_pool& pool, handler h,
                                                          penstock::job_worker_options o) = 0;
};

/// How many completed jobs stay to be looked at; the rates and percentiles of `watch` are of these.
inline constexpr std::size_t kept_completed = 2000;

[[nodiscard]] std::unique_ptr<text_queue> queue_in_memory();
/// Makes the file if there is none. `durable`: what was added is on the disk.
[[nodiscard]] std::unique_ptr<text_queue> queue_in_file(const std::string& path, bool durable);
#if defined(PENSTOCK_JOBS_REDIS)
/// On a Redis server, in the layout of BullMQ 6. A text is a JSON string there, as workers in Node read it; what they have added, and is no string, comes as the
/// JSON that it is. Texts that are no UTF-8 cannot be added: std::invalid_argument.
[[nodiscard]] std::unique_ptr<text_queue> queue_on_server(std::string host, int port, std::string name);
#endif

}  // namespace jobs
