// The command line.
#pragma once

#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include "../common/argument_reader.hpp"

namespace fulltext {

struct build_options {
  std::vector<std::string> roots;
  std::string database;
  std::size_t max_memory = std::size_t{64} << 20;  // in bytes, above SQLite's page cache
  std::size_t threads = 0;                         // that fold text; 0: one for each processor
  std::size_t readers = 0;                         // threads that read files; 0: as many as their waits ask for
  std::size_t open_files = 32;
  std::size_t max_read_rate = 0;  // in bytes a second; 0: none
  std::size_t shards = 0;         // that a new index is divided among; 0: as it is, a new one not at all
  bool follow_links = false;
  bool json = false;
  bool quiet = false;
};

struct search_options {
  std::string database;
  std::vector<std::string> words;
  std::string queries;  // a file with one query a line in place of words, "-": standard input
  std::size_t limit = 20;
  bool json = false;
};

struct reshard_options {
  std::string database;
  std::size_t shards = 0;
  std::size_t batch = std::size_t{4} << 20;  // bytes of text that move in one transaction, about
  bool dry_run = false;
  bool json = false;
};

struct help_wanted {};
struct version_wanted {};

using command = std::variant<build_options, search_options, reshard_options, help_wanted, version_wanted>;

using command_line::usage_error;

/// Throws usage_error.
[[nodiscard]] command parse_command_line(const std::vector<std::string>& arguments);

extern const char* const usage;

}  // namespace fulltext
