// The last stage of the pipeline, once for each shard: what is to be written gathers in an accumulator, and one thread writes it, in batches, over the one
// connection that writes to the shard.
//
// Commits  a batch is what has come while the last one was written; a transaction holds those of half a second.
// Stop     what is in the accumulator is dropped, and the shard is as of the last commit.
#pragma once

#include <penstock/batch/accumulator.hpp>
#include <penstock/observe/gauge.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/semaphore.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include "report.hpp"
#include "stage.hpp"
#include "store.hpp"

namespace fulltext {

/// What travels to the fold stage, and from there to be written.
struct piece {
  std::shared_ptr<indexed_file> file = {};
  folded_piece content = {};  // the fold stage adds the hash and the words
  std::string bytes = {};
  penstock::permit memory = {};
};
struct binary_file {
  std::shared_ptr<indexed_file> file;
};
struct unchanged_file {
  std::int64_t row;
};
using write_request = std::variant<piece, binary_file, unchanged_file>;

class write_stage {
 public:
  struct amount {
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
  };
  struct surroundings {
    std::stop_token stopped;
    std::function<void(const std::function<void()>& body)>
        guarded;                                          // calls it; what it throws stops the pipeline. Must not throw.
    std::function<void(std::uint64_t size)> on_complete;  // a text file is in the index
    penstock::histogram& commit_times;
  };

  /// `label` is added to the names in reports.
  write_stage(index_writer& writer, const writer_options& options, const std::string& label, surroundings around);

  /// Begins the writer's run. Other members but for push() come after it, in this order.
  void begin();
  /// Waits until that is done; false if stopped.
  [[nodiscard]] bool wait_until_ready() { return ready_.wait(around_.stopped).has_value(); }
  /// Waits for room; false if stopped.
  bool push(write_request&& request);
  /// Waits until everything is written, or stopped.
  void drain();
  /// Commits, and removes what the run has not seen of these trees, unless stopped. join() waits for the end.
  void finish(const std::vector<std::string>& roots);
  void join() { stage_.join(); }

  // After join():
  [[nodiscard]] amount committed() const noexcept { return committed_; }
  [[nodiscard]] std::int64_t files_removed() const noexcept { return files_removed_; }
  [[nodiscard]] stage_report report() const { return stage_.report(); }
  [[nodiscard]] bound_report bound() const;

 private:
  void start(std::function<void()> body);
  void write(std::span<const write_request> batch);
  void write(const write_request& request);
  void commit();

  index_writer& writer_;
  const writer_options options_;
  const std::string label_;
  const surroundings around_;
  penstock::event ready_;
  penstock::gauge depth_;

  // Of the thread:
  std::chrono::steady_clock::time_point next_commit_;
  amount written_;  // not committed yet
  amount committed_;
  std::int64_t files_removed_ = 0;

  // Last: their thread uses all of the above.
  stage stage_;
  penstock::accumulator<write_request> requests_;
};

}  // namespace fulltext
