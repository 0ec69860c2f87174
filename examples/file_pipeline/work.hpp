// The pipeline: from a walk through folders to rows in the output.
//
//   walk -> jobs.db -> a worker that leases jobs -> the pool of the job's kind -> results.db
//
// A file is a job: of a queue in a file (sqlite_store), so that a process may be killed at any time, and a file that fails is tried again, and at last is a
// dead letter with a reason, which penstock-jobs lists and redrives. The job's name is the file's path, size and time: adding it again while it is known does
// nothing, and a file that has changed is another job. So a run walks through everything anew, adds what the output does not have, and that is all there is
// to resuming.
//
// What bounds what:
//   - jobs of a kind are a group of the queue, of which so many are leased at a time as its pool has threads, and as many more to have one at hand;
//   - before a file is read its weight is known (readers.hpp), and taken from one semaphore for all kinds, in order of arrival, so that a big one is not
//     overtaken for ever. One that weighs more than there is in all has failed;
//   - what was found out keeps its part of that until the output's next transaction has it.
//
// Exactly once   a job ends after its results are written; one that is run again (it was killed in between) finds them there, and ends.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <system_error>

#include <penstock/batch/accumulator.hpp>
#include <penstock/core/task.hpp>
#include <penstock/ext/sqlite_store.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/observe/gauge.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/semaphore.hpp>

#include "../common/final_failure.hpp"
#include "../index/skips.hpp"
#include "../index/store.hpp"
#include "options.hpp"
#include "output.hpp"
#include "readers.hpp"

namespace files {

/// One kind: its threads, and what became of its files. Joins a registry.
struct stage {
  explicit stage(kind k, std::size_t threads);

  const kind of;
  const std::size_t threads;
  penstock::worker_pool pool;
  penstock::gauge in_hand;  ///< leased jobs
  penstock::gauge reading;  ///< files that are read at a time
  penstock::counter done;
  penstock::counter bytes;
  penstock::counter broken;     ///< for good
  penstock::counter failed;     ///< attempts that may be followed by others
  penstock::counter known;      ///< of jobs whose results were there already
  penstock::counter vanished;   ///< files
  penstock::histogram latency;  ///< of reading, in nanoseconds
};
void describe(const stage& s, penstock::metric_sink& to);

class pipeline {
 public:
  using store = penstock::sqlite_store<std::string>;

  /// Opens both files; takes back what a process that was killed had in hand. Throws what they throw, and std::runtime_error if another run uses them.
  explicit pipeline(const run_options& o);
  ~pipeline();

  /// Walks, and works until nothing is left to be done, or stop is requested: then what runs may end, and the rest is for the next run. So it is where one of
  /// the two files cannot be written, as on a full disk; that is thrown then.
  void run(const std::stop_token& stop);

  [[nodiscard]] const stage& of(kind k) const { return *stages_[index_of(k)]; }
  [[nodiscard]] const penstock::registry& components() const noexcept { return registry_; }
  [[nodiscard]] std::uint64_t found() const { return found_.value(); }          ///< files of a kind that is read
  [[nodiscard]] std::uint64_t unchanged() const { return unchanged_.value(); }  ///< that were in the output already
  [[nodiscard]] std::uint64_t left_alone(kind k) const { return left_alone_[index_of(k)].value(); }
  [[nodiscard]] std::uint64_t of_no_kind() const { return of_no_kind_.value(); }
  [[nodiscard]] std::vector<fulltext::skip_count> skipped() const { return skips_.counts(); }
  [[nodiscard]] std::size_t most_in_flight() const { return static_cast<std::size_t>(weight_.peak()); }  ///< bytes
  [[nodiscard]] penstock::job_counts jobs() const { return queue_.counts().value(); }

 private:
  void walk(const std::stop_token& stop);
  void add(std::vector<std::string>& paths, std::vector<penstock::enqueue_options>& how, const std::stop_token& stop);
  penstock::task<penstock::job_outcome> handle(penstock::job<std::string>& j);
  [[nodiscard]] bool written(const std::string& path);
  void write(std::span<const finished_file> some);

  const run_options o_;
  const reading_options reading_;
  command_line::final_failure failure_;
  fulltext::file_lock only_one_;
  std::chrono::system_clock wall_;
  store store_;
  penstock::job_queue<std::string, store> queue_;
  output output_;
  std::array<std::unique_ptr<stage>, kinds.size()> stages_;
  penstock::semaphore memory_;
  penstock::gauge weight_;      // what of it is taken
  penstock::worker_pool disk_;  // what waits for the two files
  penstock::accumulator<finished_file> results_;
  fulltext::skip_ledger skips_;
  penstock::counter found_, unchanged_, of_no_kind_;
  std::array<penstock::counter, kinds.size()> left_alone_;
  penstock::registry registry_;
  std::vector<penstock::registry_membership> members_;  // last: they go first
};

}  // namespace files
