#include "options.hpp"

namespace hub {

const char* const usage =
    R"(penstock-websocket-hub: whatever one WebSocket connection says, all are told

  penstock-websocket-hub [options]

    --address IP         default 127.0.0.1
    --port N             default 8090; 0: one that is free. The first line of output names it
    --connections N      that it must be able to hold; default 100000. Raises the limit of descriptors, or takes more threads
    --threads N          default: one for each processor, or more, as that limit demands
    --behind N           messages that a connection may be behind; default 64. Beyond it
    --when-slow HOW      drop: the connection is closed (default); lose: it loses the oldest of them
    --largest BYTES      of a message; default 65536
    --send-buffer BYTES  of each connection in the kernel; default 8192; 0: as the kernel likes, up to 4 MB
    --idle TIME          asks a connection that has been silent for half as long whether it is there (a ping); default: never
    --drain TIME         from SIGTERM until what has not closed is cut; default 5s
    --redis HOST:PORT    joins the hubs that use the same server
    --redis-channel NAME and the same channel of it; default penstock-hub
    --watch              a table of what it does, each second

  SIGTERM, SIGINT: every connection gets what was published, and a close frame. A TIME is 500ms, 10s, 5m; BYTES may be 64KiB.

  Any path that is upgraded, POST /publish (the message as the body)   GET /healthz   /metrics
)";

options parse_command_line(const std::vector<std::string>& arguments) {
  options o;
  for (command_line::argument_reader a{arguments}; a.next();) {
    if (a.asks_for_help()) {
      o.help = true;
    } else if (a.is("--address")) {
      o.address = a.value();
    } else if (a.is("--port")) {
      o.port = a.number<std::uint16_t>(0, 65535);
    } else if (a.is("--connections")) {
      o.connections = a.number(1, 100'000'000);
    } else if (a.is("--threads")) {
      o.threads = a.number(1, 1024);
    } else if (a.is("--behind")) {
      o.behind = a.number(1, 1'000'000);
    } else if (a.is("--when-slow")) {
      const std::string how = a.value();
      if (how != "drop" && how != "lose") throw command_line::usage_error{"--when-slow is drop or lose"};
      o.when_slow = how == "drop" ? penstock::slow_subscriber::disconnect : penstock::slow_subscriber::lose_oldest;
    } else if (a.is("--largest")) {
      o.largest = a.bytes(1, 1 << 30);
    } else if (a.is("--send-buffer")) {
      o.send_buffer = a.bytes(0, 1 << 30);
    } else if (a.is("--idle")) {
      o.idle = a.time();
    } else if (a.is("--drain")) {
      o.drain = a.time();
    } else if (a.is("--redis")) {
      o.redis = a.value();
    } else if (a.is("--redis-channel")) {
      o.redis_channel = a.value();
    } else if (a.is("--watch")) {
      o.watch = true;
    } else {
      a.refuse();
    }
  }
  return o;
}

}  // namespace hub
