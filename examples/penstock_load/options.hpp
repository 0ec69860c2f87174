// The command line.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../common/argument_reader.hpp"
#include "arrivals.hpp"

namespace load {

extern const char* const usage;

using command_line::usage_error;

/// Of http://HOST[:PORT][/PATH]
struct url {
  std::string host = {};
  std::string port = "80";
  std::string path = "/";
};

struct options {
  std::vector<url> urls = {};  ///< of one server, taken in turn
  std::string method = "GET";
  std::vector<std::string> headers = {};
  std::string body = {};

  bool open_loop = false;
  spacing how = spacing::constant;
  std::vector<rate_step> steps = {};  ///< of the measured time; in the closed loop one, without rates
  std::uint64_t seed = 1;
  std::size_t most_queued = 1'000'000;

  std::size_t connections = 50;
  std::size_t threads = 1;
  std::chrono::nanoseconds warm_up{0};
  std::chrono::nanoseconds duration = std::chrono::seconds{10};
  std::chrono::nanoseconds timeout = std::chrono::seconds{10};

  std::array<bool, 600> accepted = {};  ///< statuses that are no errors
  std::optional<std::chrono::nanoseconds> most_p99 = {};
  std::optional<double> most_errors = {};  ///< a share of all requests
  std::optional<double> least_rate = {};   ///< answers a second

  bool json = false;
  bool live = true;
  bool dry_run = false;
  bool help = false;
};

/// Throws usage_error.
[[nodiscard]] options parse_command_line(const std::vector<std::string>& arguments);

}  // namespace load
