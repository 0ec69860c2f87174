// The command line of the load program.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../../common/argument_reader.hpp"

namespace crowd {

extern const char* const usage;

struct url {
  std::string host = {};  ///< an IPv4 address
  std::uint16_t port = 80;
  std::string path = "/";
};

struct options {
  std::vector<url> urls = {};     ///< of hubs, taken in turn
  std::size_t connections = 100;  ///< that read
  std::size_t addresses = 0;      ///< of this machine that they come from; 0: whichever
  std::size_t connecting = 200;   ///< at a time
  std::size_t threads = 0;        ///< 0: one, or more, if the limit of descriptors demands it
  std::size_t messages = 10;
  std::size_t slow = 0;  ///< connections that do not read
  std::size_t slow_messages = 10;
  std::size_t size = 128;  ///< bytes of a message
  std::chrono::nanoseconds interval{0};
  std::chrono::nanoseconds timeout = std::chrono::seconds{60};
  bool step = false;
  bool help = false;
};

/// Throws command_line::usage_error.
[[nodiscard]] options parse_command_line(const std::vector<std::string>& arguments);

}  // namespace crowd
