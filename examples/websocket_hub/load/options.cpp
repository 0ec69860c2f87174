#include "options.hpp"

#include <arpa/inet.h>

#include <cstdint>
#include <string_view>

namespace crowd {

const char* const usage =
    R"(penstock-websocket-load: many WebSocket connections to hubs, one of which says something that all are told

  penstock-websocket-load [options] ws://IP:PORT/[PATH]...

    --connections N    that read, to the hubs in turn; default 100
    --addresses N      they come from 127.0.0.1 to 127.0.0.N: each has some 28,000 ports. Default: as the system chooses
    --connecting N     so many at a time are being connected; default 200
    --threads N        default: one, or more, if the limit of descriptors demands it
    --messages N       default 10, of
    --size BYTES       default 128. Each is sent to the first hub when all readers have the one before, and
    --interval TIME    later; default 0ms
    --slow N           then so many more connections are made, which read nothing; default 0
    --slow-messages N  and so many more messages sent; default 10
    --timeout TIME     for a message to reach all readers; default 60s
    --step             waits for a line on standard input before each part

  Prints a JSON object a line: "connected", "messages", "slow", "messages". Status 1: a reader was not connected, or lost, or not told in time.
)";

namespace {

url parse_url(const command_line::argument_reader& a) {
  constexpr std::string_view scheme = "ws://";
  std::string_view text = a.operand();
  if (!text.starts_with(scheme)) throw command_line::usage_error{a.name() + " is no ws:// URL"};
  text.remove_prefix(scheme.size());
  url u;
  const std::size_t slash = text.find('/');
  if (slash != std::string_view::npos) u.path = text.substr(slash);
  const std::string_view where = text.substr(0, slash);
  const std::size_t colon = where.find(':');
  u.host = where.substr(0, colon);
  if (in_addr address; ::inet_pton(AF_INET, u.host.c_str(), &address) != 1)
    throw command_line::usage_error{a.name() + ": " + u.host + " is no IPv4 address, as 127.0.0.1"};
  if (colon != std::string_view::npos) u.port = a.as_number<std::uint16_t>(where.substr(colon + 1), 1, 65535);
  return u;
}

}  // namespace

options parse_command_line(const std::vector<std::string>& arguments) {
  options o;
  for (command_line::argument_reader a{arguments}; a.next();) {
    if (a.asks_for_help()) {
      o.help = true;
    } else if (a.is("--connections")) {
      o.connections = a.number(1, 10'000'000);
    } else if (a.is("--addresses")) {
      o.addresses = a.number(0, 254);
    } else if (a.is("--connecting")) {
      o.connecting = a.number(1, 100'000);
    } else if (a.is("--threads")) {
      o.threads = a.number(1, 1024);
    } else if (a.is("--messages")) {
      o.messages = a.number(0, 1'000'000);
    } else if (a.is("--size")) {
      o.size = a.bytes(32, 1 << 20);
    } else if (a.is("--interval")) {
      o.interval = a.time();
    } else if (a.is("--slow")) {
      o.slow = a.number(0, 10'000'000);
    } else if (a.is("--slow-messages")) {
      o.slow_messages = a.number(0, 1'000'000);
    } else if (a.is("--timeout")) {
      o.timeout = a.time();
    } else if (a.is("--step")) {
      o.step = true;
    } else {
      o.urls.push_back(parse_url(a));
    }
  }
  if (o.urls.empty() && !o.help) throw command_line::usage_error{"which hub?"};
  return o;
}

}  // namespace crowd
