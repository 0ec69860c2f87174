// The command line.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <variant>
#include <vector>

#include <penstock/job/enqueue_options.hpp>

#include "../common/argument_reader.hpp"

namespace jobs {

extern const char* const usage;

using command_line::usage_error;

/// What all commands have.
struct common_options {
  std::string file = {};
  std::string host = {};  ///< of a Redis server
  int port = 6379;
  std::string queue = {};  ///< there
  [[nodiscard]] bool in_memory() const { return file.empty() && host.empty(); }
  bool durable = true;
  bool json = false;
};
struct add_options : common_options {
  std::vector<std::string> texts = {};  ///< "-": a job for each line of standard input
  penstock::enqueue_options job = {};
};
struct work_options : add_options {
  std::string command = {};
  std::size_t concurrency = 0;  ///< 0: one for each processor
  std::chrono::nanoseconds lease = std::chrono::seconds{30};
  std::chrono::nanoseconds grace = std::chrono::seconds{10};
  bool until_empty = false;
  bool watch = false;
};
struct counts_options : common_options {};
struct watch_options : common_options {
  std::chrono::nanoseconds every = std::chrono::seconds{1};
  std::size_t times = 0;        ///< 0: until it is interrupted
  std::size_t concurrency = 0;  ///< of all workers; 0: not known
};
struct failed_options : common_options {
  std::size_t first = 0;
  std::size_t count = 100;
};
struct redrive_options : common_options {
  std::vector<std::string> ids = {};  ///< empty: all
  std::string why = {};               ///< of all, those whose last failure says so
};
struct help_wanted {};
struct version_wanted {};
using command = std::variant<add_options, work_options, counts_options, watch_options, failed_options, redrive_options,
                             help_wanted, version_wanted>;

/// Throws usage_error.
[[nodiscard]] command parse_command_line(const std::vector<std::string>& arguments);

}  // namespace jobs
