// penstock-index: full-text search in your own files.
//
//   penstock-index build /usr/include --db include.db
//   penstock-index search --db include.db mutex thread
//   penstock-index search --db include.db --queries - < questions
//   penstock-index build /usr/include --db two.db --shards 2
//   penstock-index reshard 3 --db two.db
//
// Where to read on: pipeline.hpp, how the work is divided among threads; store.hpp, what is on disk; search.hpp, how it is found; layout.hpp, how it is
// divided among files, and reshard.hpp, how that changes.

#include <fmt/format.h>

#include <penstock/channel/channel.hpp>
#include <penstock/core/version.hpp>
#include <penstock/pool/sizing.hpp>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <sstream>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "../common/run_program.hpp"
#include "memory.hpp"
#include "options.hpp"
#include "pipeline.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "reshard.hpp"
#include "search_service.hpp"
#include "signals.hpp"

namespace fulltext {
namespace {

int run(const build_options& options) {
  keep_little_freed_memory();
  const std::stop_source stop;
  const stop_on_signal ctrl_c{stop};  // before any other thread starts
  if (const std::optional<std::size_t> shards = interrupted_reshard(options.database)) {
    const reshard_report moved = reshard({.database = options.database, .shards = *shards}, stop.get_token());
    if (!options.quiet) fmt::print(stderr, "penstock-index: went on with a reshard that was interrupted\n");
    if (moved.interrupted) return 130;
  }
  pipeline build{options, stop};
  {
    const progress_display progress{build, options};
    build.run();
  }
  const build_report report = build.report();
  fmt::print("{}", options.json ? as_json(report) : as_table(report));
  return report.interrupted ? 130 : 0;
}

void show(const search_result& found, bool json) {
  if (json) {
    fmt::print("{}\n", as_json(found));
    return;
  }
  for (const hit& h : found.hits) {
    fmt::print("{}:{}: {}{}\n", printable(h.path), h.line, h.text, h.up_to_date ? "" : " (has changed since it was indexed)");
  }
}

// Asks for each line while earlier ones are being searched for, and shows the answers in the order of the questions, each as soon as it is there.
bool answer_lines(search_service& service, std::istream& lines, bool json) {
  struct question {
    std::string line;
    penstock::shared_future<search_result> answer;
  };
  penstock::channel<question> asked{256};
  bool found_any = false;
  std::exception_ptr failure;
  std::jthread shows{[&] {
    try {
      while (auto q = asked.pop()) {
        const search_result& found = q->answer.get();
        found_any = found_any || !found.hits.empty();
        if (!json) fmt::print("== {}\n", printable(q->line));
        show(found, json);
        std::fflush(stdout);
      }
    } catch (...) {
      failure = std::current_exception();
      asked.close();
    }
  }};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream text{line};
    std::vector<std::string> words{std::istream_iterator<std::string>{text}, {}};
    if (!asked.push(question{std::move(line), service.ask(words)})) break;
  }
  asked.close();
  shows.join();
  if (failure != nullptr) std::rethrow_exception(failure);
  return found_any;
}

int run(const search_options& options) {
  if (options.queries.empty()) {
    search_service service{options.database, options.limit, 1};
    auto answer = service.ask(options.words);
    const search_result& found = answer.get();
    show(found, options.json);
    if (!options.json) fmt::print(stderr, "{} of {} files\n", found.hits.size(), human_count(found.files));
    return found.hits.empty() ? 1 : 0;
  }
  search_service service{options.database, options.limit, penstock::sizing::cpu_bound()};
  if (options.queries == "-") return answer_lines(service, std::cin, options.json) ? 0 : 1;
  std::ifstream file{options.queries};
  if (!file) throw std::system_error{errno, std::generic_category(), options.queries};
  return answer_lines(service, file, options.json) ? 0 : 1;
}

int run(const reshard_options& options) {
  const std::stop_source stop;
  const stop_on_signal ctrl_c{stop};
  const reshard_report report = reshard(options, stop.get_token());
  fmt::print("{}", options.json ? as_json(report) : as_table(report));
  return report.interrupted ? 130 : 0;
}

int run(const help_wanted&) {
  fmt::print("{}", usage);
  return 0;
}

int run(const version_wanted&) {
  fmt::print("penstock-index {}\n", penstock::version_string);
  return 0;
}

}  // namespace
}  // namespace fulltext

int main(int argc, char** argv) {
  return command_line::run_program("penstock-index", fulltext::usage, argc, argv, [](const std::vector<std::string>& words) {
    return std::visit([](const auto& options) { return fulltext::run(options); }, fulltext::parse_command_line(words));
  });
}
