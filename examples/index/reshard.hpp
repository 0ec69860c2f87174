// Divides an index among another number of files, and moves no more than it must: what the ring of the new number gives to another shard (layout.hpp,
// penstock::diff). Nothing is read but the index: the words of a piece are put together again from the postings.
//
// Moving   in transactions of a few files each, over both shards at a time: a file is in one of them, whole, at every moment and after every crash. Who
//          searches meanwhile sees each file once, and waits for no more than a commit.
// Scores   stay as they are while files move: the statistics that BM25 takes are sums over all shards.
// Stop     between two transactions, or by a crash. The index says that it is being divided; the next reshard, or build, goes on with it.
// Others   builds must not run at the same time (they wait for nothing and say so), nor connections that were opened while a build ran stay open.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "options.hpp"

namespace fulltext {

/// What goes from one shard to another one.
struct shard_move {
  std::size_t from = 0;
  std::size_t to = 0;
  std::size_t ranges = 0;   // of hashes, in the plan
  double share = 0;         // of all hashes that they are
  std::uint64_t files = 0;  // that this run moved, or would have moved
};

struct shard_content {
  double share = 0;         // of all hashes
  std::uint64_t files = 0;  // at the end
};

struct reshard_report {
  std::size_t before = 0;  // shards; 0: not known any more
  std::size_t after = 0;
  bool resumed = false;  // one that was interrupted has moved something already
  bool dry_run = false;
  bool interrupted = false;
  std::uint64_t files = 0;  // in the index
  std::uint64_t files_moved = 0;
  double share_expected = 0;      // of all hashes that have another shard, by the plan
  std::vector<shard_move> moves;  // in the order of (from, to)
  std::vector<shard_content> shards;
  std::chrono::duration<double> elapsed{};
};

/// Throws std::runtime_error, also if there is no index, or a build is at work on it.
[[nodiscard]] reshard_report reshard(const reshard_options& options, const std::stop_token& stop);

/// The number of shards that an interrupted reshard was to divide the index among. Nothing if there is no index, or no such reshard.
[[nodiscard]] std::optional<std::size_t> interrupted_reshard(const std::string& database);

[[nodiscard]] std::string as_table(const reshard_report& r);
[[nodiscard]] std::string as_json(const reshard_report& r);

}  // namespace fulltext
