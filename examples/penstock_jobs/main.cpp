// penstock-jobs: a queue of jobs in a file, and workers that run a command for each.
//
//   penstock-jobs add --db jobs.db --attempts 3 --backoff 1s *.png
//   penstock-jobs work --db jobs.db --exec 'optipng -quiet "$1"' --concurrency 4 &
//   penstock-jobs watch --db jobs.db
//   penstock-jobs failed --db jobs.db; penstock-jobs redrive --db jobs.db
//   find . -name '*.png' | penstock-jobs work --memory --exec 'optipng -quiet "$1"' --watch
//
// Where to read on: text_queue.cpp, all that knows of stores; command.hpp, what a job is here; meter.hpp, what can be told of a queue from outside.

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <penstock/core/version.hpp>
#include <penstock/observe/terminal_view.hpp>
#include <penstock/pool/sizing.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

#include "../common/run_program.hpp"
#include "../index/json.hpp"
#include "../index/signals.hpp"
#include "command.hpp"
#include "meter.hpp"
#include "options.hpp"
#include "text_queue.hpp"

namespace jobs {
namespace {

using namespace std::chrono_literals;
using fulltext::json_array;
using fulltext::json_object;
using fulltext::json_string;

std::unique_ptr<text_queue> open(const common_options& o) {
#if defined(PENSTOCK_JOBS_REDIS)
  if (!o.host.empty()) return queue_on_server(o.host, o.port, o.queue);
#else
  if (!o.host.empty()) throw usage_error{"--redis: this program was built without it"};
#endif
  return o.file.empty() ? queue_in_memory() : queue_in_file(o.file, o.durable);
}

/// False: stop was requested meanwhile.
bool rest(std::chrono::nanoseconds time, const std::stop_token& stop) {
  penstock::event never;
  return never.wait({.stop = stop, .deadline = penstock::deadline::after(time)}).error() != penstock::errc::cancelled;
}

/// A job for each line, in transactions of a thousand.
std::size_t add_lines(text_queue& queue, std::istream& lines, const penstock::enqueue_options& o,
                      const std::stop_token& stop = {}) {
  std::vector<std::string> texts;
  std::size_t n = 0;
  const auto put = [&] {
    if (!texts.empty()) static_cast<void>(queue.add(texts, o));
    n += texts.size();
    texts.clear();
  };
  for (std::string line; !stop.stop_requested() && std::getline(lines, line);) {
    if (line.empty()) continue;
    texts.push_back(std::move(line));
    if (texts.size() == 1000 || lines.rdbuf()->in_avail() <= 0) put();
  }
  put();
  return n;
}

int run(add_options& o) {
  const auto queue = open(o);
  std::size_t lines = 0;
  std::vector<std::string> texts;
  for (std::string& t : o.texts) {
    if (t == "-")
      lines += add_lines(*queue, std::cin, o.job);
    else
      texts.push_back(std::move(t));
  }
  std::vector<penstock::job_id> ids;
  if (!texts.empty()) ids = queue->add(texts, o.job);
  if (o.json) {
    fmt::print("{}\n", json_object{}
                           .add("added", lines + ids.size())
                           .raw("ids", json_array(ids, [](const auto& id) { return json_string(id.to_string()); }))
                           .text());
  } else {
    for (const auto& id : ids) fmt::print("{}\n", id.to_string());
    if (lines != 0) fmt::print("{} jobs\n", lines);
  }
  return 0;
}

int run(const work_options& o) {
  const std::stop_source stop;
  const fulltext::stop_on_signal ctrl_c{stop};  // before any other thread starts
  const auto queue = open(o);
  const std::size_t concurrency = o.concurrency != 0 ? o.concurrency : penstock::sizing::cpu_bound();
  penstock::worker_pool pool{{.threads = concurrency}};  // a command takes a thread of it while it runs
  const auto worker = queue->work(
      pool, [&](const std::string& text, penstock::job<std::string>& j) { return run_command(o.command, text, j); },
      {.concurrency = concurrency,
       .lock_duration = o.lease,
       .stalled_interval = o.lease / 2,
       .on_store_error = [](const penstock::job_store_failure& f) { fmt::print(stderr, "penstock-jobs: {}\n", f.what()); }});
  std::jthread watching;
  if (o.watch) {
    watching = std::jthread{[&](const std::stop_token& end) {
      std::optional<meter> m;
      penstock::terminal_view shown{stderr};
      while (rest(1s, end)) {
        try {  // a store that does not answer now is no reason to end what runs
          if (!m) m.emplace(*queue);
          shown.show(o.json ? as_json(m->read(), concurrency) : as_table(m->read(), concurrency));
        } catch (const std::exception& error) {
          shown.show(fmt::format("penstock-jobs: {}\n", error.what()));
        }
      }
    }};
  }
  if (o.in_memory()) add_lines(*queue, std::cin, o.job, stop.get_token());
  const bool ends = o.until_empty || o.in_memory();
  auto pause = 20ms;
  while (rest(pause, stop.get_token())) {
    if (!ends) continue;
    try {
      const penstock::job_counts c = queue->counts();
      if (c.waiting + c.delayed + c.active + c.waiting_children == 0) break;
      pause = 20ms;
    } catch (const std::exception& error) {  // nor is that one: what runs is told when the store answers again
      if (pause == 20ms) fmt::print(stderr, "penstock-jobs: {}\n", error.what());
      pause = 500ms;
    }
  }
  const bool interrupted = stop.stop_requested();
  static_cast<void>(worker->shutdown({.deadline = penstock::deadline::after(o.grace)}));
  static_cast<void>(worker->shutdown({}));  // those that were told to stop end now
  watching = {};
  const penstock::job_worker_stats s = worker->stats();
  if (o.json) {
    fmt::print("{}\n", json_object{}
                           .add("completed", s.completed)
                           .add("failed", s.failed)
                           .add("retried", s.retried)
                           .add("handed_back", s.released)
                           .add("lost", s.lost)
                           .text());
  } else {
    fmt::print("{} completed, {} failed, {} tried again, {} handed back, {} lost\n", s.completed, s.failed, s.retried, s.released,
               s.lost);
  }
  return interrupted ? 130 : s.failed != 0 ? 1 : 0;
}

int run(const counts_options& o) {
  const penstock::job_counts c = open(o)->counts();
  fmt::print("{}", o.json ? as_json(c) : as_table(c));
  return 0;
}

int run(const watch_options& o) {
  const std::stop_source stop;
  const fulltext::stop_on_signal ctrl_c{stop};
  const auto queue = open(o);
  meter m{*queue};
  penstock::terminal_view shown{stdout};
  for (std::size_t n = 0; o.times == 0 || n < o.times; ++n) {
    if (!rest(o.every, stop.get_token())) return o.times == 0 ? 0 : 130;
    const reading r = m.read();
    if (o.json) {
      fmt::print("{}", as_json(r, o.concurrency));
      std::fflush(stdout);
    } else {
      shown.show(as_table(r, o.concurrency));
    }
  }
  return 0;
}

int run(const failed_options& o) {
  const auto queue = open(o);
  for (const penstock::job_info& j : queue->list(penstock::job_state::failed, o.first, o.count)) {
    const std::string id = j.id.to_string();
    const std::string why = j.why != nullptr ? *j.why : "";
    if (o.json) {
      fmt::print("{}\n", json_object{}
                             .add("id", id)
                             .add("attempts", j.attempts_made)
                             .add("stalled", j.stalled)
                             .add("why", why)
                             .add("text", queue->text_of(j.id))
                             .text());
    } else {
      fmt::print("{}  {}  {}  {}\n", id, j.attempts_made, why, queue->text_of(j.id));
    }
  }
  return 0;
}

int run(const redrive_options& o) {
  const auto queue = open(o);
  std::size_t n = 0;
  if (!o.why.empty()) {
    n = queue->redrive_if(
        [&](const penstock::job_info& j) { return j.why != nullptr && j.why->find(o.why) != std::string::npos; });
  } else if (o.ids.empty()) {
    n = queue->redrive_all();
  }
  for (const std::string& id : o.ids) queue->redrive(id), ++n;
  if (o.json)
    fmt::print("{}\n", json_object{}.add("redriven", n).text());
  else
    fmt::print("{} redriven\n", n);
  return 0;
}

int run(const help_wanted&) {
  fmt::print("{}", usage);
  return 0;
}
int run(const version_wanted&) {
  fmt::print("penstock-jobs {}\n", penstock::version_string);
  return 0;
}

}  // namespace
}  // namespace jobs

int main(int argc, char** argv) {
  return command_line::run_program("penstock-jobs", jobs::usage, argc, argv, [](const std::vector<std::string>& words) {
    jobs::command command = jobs::parse_command_line(words);
    return std::visit([](auto& options) { return jobs::run(options); }, command);
  });
}
