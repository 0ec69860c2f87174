#include "options.hpp"

#include <penstock/pool/sizing.hpp>

namespace api {

const char* const usage =
    R"(penstock-api-server: users and their posts over HTTP, from a SQLite file

  penstock-api-server [options]

    --address IP         default 127.0.0.1
    --port N             default 8080; 0: one that is free. The first line of output names it
    --processes N        that share the port; default: one for each processor
    --metrics-port N     process 0 also listens there, process 1 at the next one, and so on: /metrics of one process. Default: nowhere
    --database FILE      default api.db; made if it is not there, with
    --users N            so many, default 10000, and
    --posts N            so many, default 20000
    --client-rate N      requests a second of a client, in each process; default 1000. Beyond it: 429
    --client-burst N     and at once; default 2000
    --client-header NAME tells clients apart, as a proxy in front sets it; default: by their addresses
    --cache N            users, and lists of posts, that are remembered in each process; default 100000
    --cache-time TIME    default 10s
    --no-shedding        lets everything in at once, to see what that is like
    --watch-waits        /debug/waits, for who asks from this machine: who waits where, and for how long
    --drain TIME         from SIGTERM until a process is killed; default 10s
    --lame-duck TIME     how long /readyz says 503 before a process that ends stops accepting; default 0s

  SIGTERM, SIGINT: ends in order. SIGHUP: a new process for each, one by one. A TIME is a number and ms, s or m.

  GET /users/7   /users/7/posts   /posts?after=100&limit=20   /search?q=word   POST /users/7/posts (the title as the body)
  GET /healthz   /readyz   /metrics   /debug/waits
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
    } else if (a.is("--metrics-port")) {
      o.metrics_port = a.number<std::uint16_t>(1, 65000);
    } else if (a.is("--processes")) {
      o.processes = a.number(1, 256);
    } else if (a.is("--database")) {
      o.database = a.value();
    } else if (a.is("--users")) {
      o.users = a.number<std::int64_t>(1, 10'000'000);
    } else if (a.is("--posts")) {
      o.posts = a.number<std::int64_t>(0, 100'000'000);
    } else if (a.is("--client-rate")) {
      o.client_rate = a.number<std::int64_t>(1, 1'000'000'000);
    } else if (a.is("--client-burst")) {
      o.client_burst = a.number<std::int64_t>(1, 1'000'000'000);
    } else if (a.is("--client-header")) {
      o.client_header = a.value();
    } else if (a.is("--cache")) {
      o.cached = a.number(0, 1'000'000'000);
    } else if (a.is("--cache-time")) {
      o.cache_time = a.time();
    } else if (a.is("--no-shedding")) {
      o.shedding = false;
    } else if (a.is("--watch-waits")) {
      o.watch_waits = true;
    } else if (a.is("--drain")) {
      o.drain = a.time();
    } else if (a.is("--lame-duck")) {
      o.lame_duck = a.time();
    } else {
      a.refuse();
    }
  }
  if (o.processes == 0) o.processes = penstock::available_processors();
  return o;
}

}  // namespace api
