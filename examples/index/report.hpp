// What a build did, for people and for programs.
#pragma once

#include <penstock/observe/histogram.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "skips.hpp"

namespace fulltext {

struct stage_report {
  std::string name;
  std::size_t threads = 0;                   // 0: a part of another stage
  penstock::histogram_snapshot nanoseconds;  // of work on one item, without waiting for others
  std::optional<double> utilization = {};    // of the threads, from the start to the end of the run
};

struct bound_report {
  std::string name;
  std::size_t capacity = 0;
  std::size_t greatest = 0;  // that was reached
};

struct build_report {
  bool interrupted = false;
  std::chrono::duration<double> elapsed{};
  std::uint64_t files_indexed = 0;    // read, written and committed
  std::uint64_t files_unchanged = 0;  // were in the index already
  std::uint64_t files_removed = 0;    // are in the index no more
  std::uint64_t bytes_indexed = 0;
  std::uint64_t bytes_unchanged = 0;
  std::uint64_t bytes_read = 0;             // of files, binary ones too
  std::chrono::duration<double> reading{};  // from the start until the last file was read
  std::size_t max_read_rate = 0;            // bytes a second; 0: none
  std::vector<skip_count> skipped;
  std::vector<stage_report> stages;
  std::vector<bound_report> bounds;
  std::string database;
  std::size_t shards = 1;
  std::uint64_t database_bytes = 0;
  std::size_t max_memory = 0;    // as asked for, above the cache, and what further shards take
  std::size_t cache_memory = 0;  // SQLite's page cache
  std::size_t peak_memory = 0;   // resident, of the whole process; 0 if the system does not tell
};

[[nodiscard]] std::string as_table(const build_report& r);
[[nodiscard]] std::string as_json(const build_report& r);

/// For people: "1.5 GB", "12,345", "3.4 ms". Sizes of memory have binary units, "64 MiB".
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
[[nodiscard]] std::string human_memory(std::uint64_t bytes);
[[nodiscard]] std::string human_count(std::uint64_t n);
[[nodiscard]] std::string human_time(std::uint64_t nanoseconds);
/// A path or line with every control character replaced, so that printing it does no more than that.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace fulltext
