// The command line of the hub.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <penstock/channel/broadcast.hpp>

#include "../common/argument_reader.hpp"

namespace hub {

extern const char* const usage;

struct options {
  std::string address = "127.0.0.1";
  std::uint16_t port = 8090;
  std::size_t connections = 100'000;  ///< that it must be able to hold
  std::size_t threads = 0;            ///< 0: one for each processor, or more, if the limit of descriptors demands it
  std::size_t behind = 64;            ///< messages
  penstock::slow_subscriber when_slow = penstock::slow_subscriber::disconnect;
  std::size_t largest = 64 * 1024;     ///< bytes of a message
  std::size_t send_buffer = 8 * 1024;  ///< bytes in the kernel, for each connection; 0: as it likes
  std::chrono::nanoseconds idle{0};    ///< until a connection that is silent is asked whether it is there; 0: never
  std::chrono::nanoseconds drain = std::chrono::seconds{5};
  std::string redis = {};  ///< host:port; empty: there are no other hubs
  std::string redis_channel = "penstock-hub";
  bool watch = false;
  bool help = false;
};

/// Throws command_line::usage_error.
[[nodiscard]] options parse_command_line(const std::vector<std::string>& arguments);

}  // namespace hub
