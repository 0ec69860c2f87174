// Builds an index in four stages, with a bounded queue between each two; what is to be written goes through an accumulator, which has it written in batches:
//
//   walk ──────────▶ read ──────────▶ fold ──────────▶ write
//   finds files      pieces of text   words by lines   the one connection that writes
//   1 thread         a few threads    one for each     1 thread for each shard, to which a consistent-hash
//                                     processor        ring leads (layout.hpp)
//
// Bounded     a stage that is ahead of the next one waits for room in the queue. A semaphore bounds the files that are open, and
//             another one, counted in bytes, the memory of all pieces that were read and are not written yet: a piece carries its
//             permit along.
// Paced       if a rate is asked for, a reader waits for its turn at a token bucket, counted in bytes, before it reads.
// Ends        from front to back: each stage is joined, then the queue behind it closed, so that the next one ends when it has
//             drained it.
// Stop        every wait ends when stop is requested, and what is in the queues is dropped: the index is as of the last commit,
//             and the next run goes on from there. A stage that fails stops the others, and run() throws its exception.
#pragma once

#include <penstock/observe/counter.hpp>
#include <penstock/rate/token_bucket.hpp>
#include <penstock/sync/semaphore.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "file_reader.hpp"
#include "memory.hpp"
#include "options.hpp"
#include "report.hpp"
#include "stage.hpp"
#include "store.hpp"
#include "walker.hpp"
#include "write_stage.hpp"

namespace fulltext {

class pipeline {
 public:
  /// Opens the index. Throws std::runtime_error.
  pipeline(const build_options& options, std::stop_source stop);

  /// Does the work; once. Returns when it is done or was stopped; throws what a stage threw.
  void run();

  /// How far it is: files and bytes that have been dealt with, in whatever way. Any thread.
  struct progress {
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
  };
  [[nodiscard]] progress done() const noexcept { return {files_done_.value(), bytes_done_.value()}; }

  /// Counts what there is to do, on the calling thread, by a walk of its own.
  [[nodiscard]] progress survey(const std::stop_token& stop) const;

  /// After run().
  [[nodiscard]] build_report report() const;

 private:
  void walk_trees();
  void read_files();
  void read(const found_file& found);
  [[nodiscard]] bool may_read(stage::work& busy, std::uint64_t bytes);
  void fold_pieces();
  // Hands on what the write stage of this shard is to do. Waits for room; false if stopped.
  bool have_written(std::size_t shard, write_request&& request);

  // Runs it; what it throws stops the others, and run() throws it.
  template <class Body>
  void guarded(const Body& body) noexcept;

  template <class Body>
  void start(stage& s, Body body);
  void count_done(std::uint64_t size) noexcept;

  const build_options options_;
  const std::vector<std::string> roots_;
  const walk_options walk_options_;
  std::stop_source stop_;
  const std::stop_token stopped_ = stop_.get_token();
  std::exception_ptr failure_;  // of the stage that stopped the others

  const std::vector<std::unique_ptr<index_writer>> writers_;  // of the shards, in their order
  const shard_ring ring_;
  const memory_budget budget_;

  penstock::semaphore open_files_;
  penstock::semaphore memory_;                         // in bytes
  std::optional<penstock::token_bucket<>> read_rate_;  // in bytes; from run() on, if there is one
  penstock::gauge open_files_depth_;
  penstock::gauge memory_depth_;

  queue<found_file> found_{"files to read", 256};
  queue<piece> pieces_{"pieces to fold", 64};

  skip_ledger skips_;
  penstock::counter files_done_;
  penstock::counter bytes_done_;
  penstock::counter files_unchanged_;
  penstock::counter bytes_unchanged_;
  penstock::counter bytes_read_;
  std::chrono::steady_clock::duration elapsed_{};
  std::chrono::steady_clock::duration reading_{};  // until the last file was read
  penstock::histogram commit_times_;

  // Last: their threads use all of the above, and each what comes before it.
  std::vector<std::unique_ptr<write_stage>> write_;  // of the shards, in their order
  stage walk_{"walk", 1};
  stage read_;
  stage fold_;
};

}  // namespace fulltext
