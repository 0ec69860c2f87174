// penstock-load: asks a web server for answers, and tells how long they take.
//
//   penstock-load --rate 1000 --poisson --duration 30s http://127.0.0.1:8080/posts/{1-1000}
//   penstock-load --connections 20 --json http://127.0.0.1:8080/
//
// Where to read on: engine.hpp, what a thread does; arrivals.hpp, when a request is meant to start; response_reader.hpp, where an answer ends.

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/sync/wait_group.hpp>

#include "../common/run_program.hpp"
#include "../index/signals.hpp"
#include "engine.hpp"
#include "options.hpp"
#include "report.hpp"
#include "socket.hpp"

namespace load {
namespace {

using namespace std::chrono_literals;

double processor_seconds() {
  ::rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const ::timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

rate_profile profile_of(const options& o) {
  std::vector<rate_step> steps = o.steps;
  if (o.warm_up.count() != 0) steps.insert(steps.begin(), {.from = steps[0].from, .to = steps[0].from, .length = o.warm_up});
  return rate_profile{std::move(steps)};
}

int print_arrivals(const options& o, const rate_profile& profile) {
  std::vector<std::chrono::nanoseconds> all;
  for (std::size_t i = 0; i < o.threads; ++i) {
    arrivals a{profile, o.how, o.seed, i, o.threads};
    while (const auto next = a.next()) all.push_back(next->at);
  }
  std::sort(all.begin(), all.end());
  for (const auto at : all) fmt::print("{:.9f}\n", std::chrono::duration<double>(at).count());
  return 0;
}

/// A row for each second, in place if that is a terminal.
class display {
 public:
  explicit display(bool wanted) : wanted_{wanted}, terminal_{::isatty(::fileno(stderr)) != 0} {}
  ~display() {
    if (wanted_ && terminal_ && shown_) fmt::print(stderr, "\n");
  }
  display(const display&) = delete;
  display& operator=(const display&) = delete;
  void show(const live_row& row) {
    if (!wanted_) return;
    if (!shown_) fmt::print(stderr, "{}", live_head);
    fmt::print(stderr, "{}{}{}", terminal_ ? "\r" : "", as_row(row), terminal_ ? "\x1b[K" : "\n");
    std::fflush(stderr);
    shown_ = true;
  }

 private:
  bool wanted_;
  bool terminal_;
  bool shown_ = false;
};

outcome measure(const options& o, const rate_profile& profile, const std::stop_source& stop) {
  const address server = find_server(o.urls[0]);
  std::vector<std::unique_ptr<engine>> engines;
  for (std::size_t i = 0; i < o.threads; ++i) engines.push_back(std::make_unique<engine>(o, server, profile, i));
  outcome result;
  const auto begin = std::chrono::steady_clock::now();
  {
    penstock::wait_group running{static_cast<std::ptrdiff_t>(o.threads)};
    penstock::worker_pool pool{{.threads = o.threads}};
    std::vector<penstock::future<void>> ends;
    for (const auto& e : engines) {
      ends.push_back(pool.submit([&e, &running, token = stop.get_token()] {
        const std::unique_ptr<penstock::wait_group, void (*)(penstock::wait_group*)> counted{&running,
                                                                                             [](auto* g) { g->done(); }};
        e->run(token);
      }));
    }
    live_meter meter{engines};
    display shown{o.live};
    // Ends when all have ended; the rows are of whole seconds, and not of a second and what showing them took.
    for (auto next = begin + 1s; !running.try_wait_until(next); next += 1s) {
      result.rows.push_back(meter.read());
      shown.show(result.rows.back());
    }
    if (live_row last = meter.read(); last.seconds > 0.1) result.rows.push_back(last), shown.show(last);
    for (auto& e : ends) e.get();  // what one of them threw
  }
  const auto passed = std::chrono::steady_clock::now() - begin;
  result.cpu_seconds = processor_seconds();
  result.began =
      std::chrono::system_clock::now() - std::chrono::duration_cast<std::chrono::system_clock::duration>(
                                             std::chrono::steady_clock::now() - engines.front()->started() - o.warm_up);
  result.interrupted = stop.stop_requested();
  result.steps.resize(o.steps.size());
  for (const auto& e : engines) {
    result.answers += e->live().answered.value();
    for (std::size_t i = 0; i < o.steps.size(); ++i) result.steps[i].add(*e->measured()[i]);
  }
  for (const totals& t : result.steps) result.all.add(t);
  const auto measured =
      result.interrupted ? std::clamp<std::chrono::nanoseconds>(passed - o.warm_up, 1ns, o.duration) : o.duration;
  result.seconds = std::chrono::duration<double>(measured).count();
  return result;
}

int run(const options& o) {
  const rate_profile profile = profile_of(o);
  if (o.dry_run) return print_arrivals(o, profile);
  const std::stop_source stop;
  const fulltext::stop_on_signal ctrl_c{stop};  // before any other thread starts
  raise_descriptor_limit();
  const outcome result = measure(o, profile, stop);
  fmt::print("{}", o.json ? as_json(o, result) : as_text(o, result));
  if (result.interrupted) return 130;
  return exceeded(o, result).empty() ? 0 : 1;
}

}  // namespace
}  // namespace load

int main(int argc, char** argv) {
  return command_line::run_program("penstock-load", load::usage, argc, argv, [](const std::vector<std::string>& words) {
    const load::options o = load::parse_command_line(words);
    return o.help ? (fmt::print("{}", load::usage), 0) : load::run(o);
  });
}
