// penstock-index: full-text search in your own files.
//
//   penstock-index build /usr/include --db include.db
//   penstock-index search --db include.db mutex thread
//
// Where to read on: pipeline.hpp, how the work is divided among threads; store.hpp, what is on disk; search.hpp, how it is found.

#include <fmt/format.h>

#include <penstock/core/version.hpp>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <stop_token>
#include <string>
#include <system_error>
#include <variant>

#include "memory.hpp"
#include "options.hpp"
#include "pipeline.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "search.hpp"
#include "signals.hpp"

namespace fulltext {
namespace {

int run(const build_options& options) {
  keep_little_freed_memory();
  const std::stop_source stop;
  const stop_on_signal ctrl_c{stop};  // before any other thread starts
  pipeline build{options, stop};
  {
    const progress_display progress{build, options};
    build.run();
  }
  const build_report report = build.report();
  fmt::print("{}", options.json ? as_json(report) : as_table(report));
  return report.interrupted ? 130 : 0;
}

int run(const search_options& options) {
  const search_result found = searcher{options.database}.search(options.words, options.limit);
  if (options.json) {
    fmt::print("{}\n", as_json(found));
  } else {
    for (const hit& h : found.hits) {
      fmt::print("{}:{}: {}{}\n", printable(h.path), h.line, h.text, h.up_to_date ? "" : " (has changed since it was indexed)");
    }
    fmt::print(stderr, "{} of {} files\n", found.hits.size(), human_count(found.files));
  }
  return found.hits.empty() ? 1 : 0;
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
  try {
    const fulltext::command command = fulltext::parse_command_line({argv + 1, argv + argc});
    const int status = std::visit([](const auto& options) { return fulltext::run(options); }, command);
    if (std::fflush(stdout) != 0) throw std::system_error{errno, std::generic_category(), "standard output"};
    return status;
  } catch (const fulltext::usage_error& error) {
    fmt::print(stderr, "penstock-index: {}\n\n{}", error.what(), fulltext::usage);
  } catch (const std::exception& error) {
    fmt::print(stderr, "penstock-index: {}\n", error.what());
  }
  return 2;
}
