#include "options.hpp"

#include <charconv>
#include <string_view>
#include <system_error>
#include <utility>

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
    --drain TIME         from SIGTERM until a process is killed; default 10s
    --lame-duck TIME     how long /readyz says 503 before a process that ends stops accepting; default 0s

  SIGTERM, SIGINT: ends in order. SIGHUP: a new process for each, one by one. A TIME is a number and ms, s or m.

  GET /users/7   /users/7/posts   /posts?after=100&limit=20   /search?q=word   POST /users/7/posts (the title as the body)
  GET /healthz   /readyz   /metrics
)";

namespace {

class argument_reader {
 public:
  explicit argument_reader(const std::vector<std::string>& all) : all_{all} {}

  bool next() {
    if (at_ == all_.size()) return false;
    name_ = all_[at_++];
    return true;
  }
  [[nodiscard]] bool is(std::string_view option) const { return name_ == option; }
  [[nodiscard]] const std::string& name() const { return name_; }
  const std::string& value() {
    if (at_ == all_.size()) throw usage_error{name_ + " needs a value"};
    return all_[at_++];
  }
  template <class Number>
  void number(Number& to, std::int64_t least, std::int64_t most) {
    const std::string& v = value();
    std::int64_t n = 0;
    const auto [end, error] = std::from_chars(v.data(), v.data() + v.size(), n);
    if (error != std::errc{} || end != v.data() + v.size() || n < least || n > most)
      throw usage_error{name_ + ": " + v + " is no number from " + std::to_string(least) + " to " + std::to_string(most)};
    to = static_cast<Number>(n);
  }
  void time(std::chrono::nanoseconds& to) {
    const std::string& v = value();
    double n = 0;
    const auto [end, error] = std::from_chars(v.data(), v.data() + v.size(), n);
    const std::string_view unit{end, static_cast<std::size_t>(v.data() + v.size() - end)};
    constexpr std::pair<std::string_view, double> units[] = {{"ms", 1e6}, {"s", 1e9}, {"m", 60e9}};
    for (const auto& [name, nanoseconds] : units) {
      if (error == std::errc{} && unit == name && n >= 0 && n * nanoseconds <= 1e15) {
        to = std::chrono::nanoseconds{static_cast<std::int64_t>(n * nanoseconds)};
        return;
      }
    }
    throw usage_error{name_ + ": " + v + " is no time"};
  }

 private:
  const std::vector<std::string>& all_;
  std::size_t at_ = 0;
  std::string name_;
};

}  // namespace

options parse_command_line(const std::vector<std::string>& arguments) {
  options o;
  for (argument_reader a{arguments}; a.next();) {
    if (a.is("--help")) {
      o.help = true;
    } else if (a.is("--address")) {
      o.address = a.value();
    } else if (a.is("--port")) {
      a.number(o.port, 0, 65535);
    } else if (a.is("--metrics-port")) {
      a.number(o.metrics_port, 1, 65000);
    } else if (a.is("--processes")) {
      a.number(o.processes, 1, 256);
    } else if (a.is("--database")) {
      o.database = a.value();
    } else if (a.is("--users")) {
      a.number(o.users, 1, 10'000'000);
    } else if (a.is("--posts")) {
      a.number(o.posts, 0, 100'000'000);
    } else if (a.is("--client-rate")) {
      a.number(o.client_rate, 1, 1'000'000'000);
    } else if (a.is("--client-burst")) {
      a.number(o.client_burst, 1, 1'000'000'000);
    } else if (a.is("--client-header")) {
      o.client_header = a.value();
    } else if (a.is("--cache")) {
      a.number(o.cached, 0, 1'000'000'000);
    } else if (a.is("--cache-time")) {
      a.time(o.cache_time);
    } else if (a.is("--no-shedding")) {
      o.shedding = false;
    } else if (a.is("--drain")) {
      a.time(o.drain);
    } else if (a.is("--lame-duck")) {
      a.time(o.lame_duck);
    } else {
      throw usage_error{a.name() + " is no option"};
    }
  }
  if (o.processes == 0) o.processes = penstock::available_processors();
  return o;
}

}  // namespace api
