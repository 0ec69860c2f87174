// penstock-files: what is in many files: thumbnails of images, words of texts, members of archives. README.md beside this file says what it shows.
//
//   penstock-files run ~/Pictures ~/Documents --out /tmp/found --watch
//   sqlite3 /tmp/found/results.db "SELECT path, language FROM file JOIN text ON file = id"
//
// Where to read on: work.hpp, how files go through it; readers.hpp, what is done with one.

#include <fmt/format.h>

#include <chrono>
#include <clocale>
#include <cstdio>
#include <exception>
#include <stop_token>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include <penstock/core/version.hpp>
#include <penstock/observe/live_table.hpp>

#include "../common/run_program.hpp"
#include "../index/json.hpp"
#include "../index/memory.hpp"
#include "../index/signals.hpp"
#include "options.hpp"
#include "report.hpp"
#include "work.hpp"

namespace files {
namespace {

using fulltext::json_object;
using fulltext::json_string;

int run(const run_options& o) {
  const std::stop_source stop;
  const fulltext::stop_on_signal ctrl_c{stop};  // before any other thread starts
  prepare_readers({.thumbnail = o.thumbnail, .max_memory = o.max_memory});
  pipeline all{o};
  const auto begin = std::chrono::steady_clock::now();
  {
    std::jthread watching;
    if (o.watch) {
      watching = std::jthread{
          [&](const std::stop_token& end) { penstock::live_table(all.components(), stderr, std::chrono::seconds{1}, end); }};
    }
    all.run(stop.get_token());
  }
  const run_report report{.of = all,
                          .options = o,
                          .seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(),
                          .interrupted = stop.stop_requested()};
  fmt::print("{}", o.json ? as_json(report) : as_table(report));
  return report.interrupted ? 130 : all.jobs().failed != 0 ? 1 : 0;
}

json_object json_of(const facts& what) {
  json_object o;
  if (const auto* i = std::get_if<image_facts>(&what)) {
    o.add("format", i->format).add("width", i->width).add("height", i->height).add("taken", i->taken);
    o.add("thumbnail_bytes", i->thumbnail.size());
  } else if (const auto* t = std::get_if<text_facts>(&what)) {
    o.add("lines", t->lines).add("words", t->words).add("characters", t->characters).add("language", t->language);
    o.add("words_hash", t->words_hash);
  } else if (const auto* a = std::get_if<archive_facts>(&what)) {
    o.raw("members", fulltext::json_array(a->members, [](const archive_member& m) {
            return json_object{}.add("name", m.name).add("bytes", m.bytes).add("crc32", m.crc32).text();
          }));
  }
  return o;
}

int run(const one_options& o) {
  const reading_options how{.thumbnail = o.thumbnail};
  prepare_readers(how);
  bool all_well = true;
  for (const std::string& path : o.paths) {
    json_object line;
    line.add("path", path);
    try {
      const std::optional<kind> k = kind_of(path);
      if (!k || !can_read(*k)) throw broken_file{"of no kind that is read"};
      line.add("kind", name_of(*k)).add("weight", weight_of(*k, path, how));
      const finished_file f = read(*k, path, how);
      line.add("seconds", f.seconds).raw("found", json_of(f.what).text());
    } catch (const std::exception& e) {
      line.add("error", e.what());
      all_well = false;
    }
    fmt::print("{}\n", line.text());
  }
  return all_well ? 0 : 1;
}

int run(const help_wanted&) {
  fmt::print("{}", usage);
  return 0;
}
int run(const version_wanted&) {
  fmt::print("penstock-files {}\n", penstock::version_string);
  return 0;
}

}  // namespace
}  // namespace files

int main(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "C.UTF-8");  // or libarchive could not tell names that are not ASCII
  fulltext::keep_little_freed_memory();
  return command_line::run_program("penstock-files", files::usage, argc, argv, [](const std::vector<std::string>& words) {
    return std::visit([](const auto& o) { return files::run(o); }, files::parse_command_line(words));
  });
}
