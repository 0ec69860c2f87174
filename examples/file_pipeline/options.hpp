// The command line.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include "../common/argument_reader.hpp"
#include "kind.hpp"

namespace files {

extern const char* const usage;

struct run_options {
  std::vector<std::string> roots = {};
  std::string folder = {};  ///< of results.db and jobs.db
  std::size_t max_memory = std::size_t{128} << 20;
  std::array<std::size_t, kinds.size()> concurrency = {};  ///< of each kind; 0: it is left alone
  std::size_t thumbnail = 256;
  unsigned attempts = 3;
  std::chrono::nanoseconds backoff = std::chrono::seconds{1};
  std::chrono::nanoseconds timeout = std::chrono::minutes{1};
  bool redrive = false;
  bool follow_links = false;
  bool watch = false;
  bool json = false;
};
struct one_options {
  std::vector<std::string> paths = {};
  std::size_t thumbnail = 256;
};
struct help_wanted {};
struct version_wanted {};
using command = std::variant<run_options, one_options, help_wanted, version_wanted>;

using command_line::usage_error;

/// Throws usage_error.
[[nodiscard]] command parse_command_line(const std::vector<std::string>& words);

}  // namespace files
