// The command line.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../common/argument_reader.hpp"

namespace api {

extern const char* const usage;

using command_line::usage_error;

struct options {
  std::string address = "127.0.0.1";
  std::uint16_t port = 8080;
  std::uint16_t metrics_port = 0;  ///< of process 0; the others have the next ones. 0: none
  std::size_t processes = 0;       ///< 0: one for each processor
  std::string database = "api.db";
  std::int64_t users = 10'000;  ///< of a database that is made
  std::int64_t posts = 20'000;

  std::int64_t client_rate = 1'000;  ///< requests a second
  std::int64_t client_burst = 2'000;
  std::string client_header = {};
  std::size_t cached = 100'000;
  std::chrono::nanoseconds cache_time = std::chrono::seconds{10};
  bool shedding = true;
  bool watch_waits = false;

  std::chrono::nanoseconds drain = std::chrono::seconds{10};
  std::chrono::nanoseconds lame_duck{0};
  bool help = false;
};

/// Throws usage_error.
[[nodiscard]] options parse_command_line(const std::vector<std::string>& arguments);

}  // namespace api
