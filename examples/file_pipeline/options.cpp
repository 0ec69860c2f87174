#include "options.hpp"

#include <utility>

#include <penstock/pool/sizing.hpp>

namespace files {

const char* const usage =
    R"(penstock-files: what is in many files: thumbnails of images, words of texts, members of archives, each checked

  penstock-files run DIR... --out FOLDER [options]   read all files below, or those that are new or have changed; FOLDER/results.db is what was found
    --max-memory SIZE    of the files that are read at a time and of what waits to be written, above what the program takes itself; default 128MiB
    --images N, --texts N, --archives N    that are read at a time; default: one for each processor. 0: these are left alone
    --thumbnail N        its longest side in pixels; default 256
    --attempts N         reads in all if a file cannot be opened, or memory is short; default 3. A broken file is read once
    --backoff TIME       before the second, then twice as long each time; default 1s
    --timeout TIME       of one file; default 1m
    --redrive            first, try again what has failed in earlier runs
    --follow             follow symbolic links
    --watch              show how it goes
    --json               report as JSON

  penstock-files one FILE...    the same reading, one after the other, without limits, and without keeping anything: a line of JSON for each
    --thumbnail N

  penstock-files --help, --version

  Killed or interrupted, it goes on where it was. What has failed for good is in FOLDER/jobs.db:
    penstock-jobs failed --db FOLDER/jobs.db; penstock-jobs redrive --db FOLDER/jobs.db
  Kinds go by the names' endings: .png .jpg .jpeg; .txt .md .log; .zip .tar .tar.gz .tgz .tar.bz2 .tar.xz. Others are left alone.
  A SIZE is a number and KiB, MiB or GiB. A TIME is a number and ms, s, m or h.
  Exit status: 0 done, 1 some files have failed for good, 2 error, 130 interrupted.
)";

namespace {

using command_line::argument_reader;

command parse_run(argument_reader a) {
  run_options o;
  o.concurrency.fill(penstock::available_processors());
  while (a.next()) {
    if (a.asks_for_help()) return help_wanted{};
    if (a.is("--out"))
      o.folder = a.value();
    else if (a.is("--max-memory"))
      o.max_memory = a.bytes(std::size_t{4} << 20, std::size_t{64} << 30);
    else if (a.is("--images"))
      o.concurrency[index_of(kind::image)] = a.number(0, 256);
    else if (a.is("--texts"))
      o.concurrency[index_of(kind::text)] = a.number(0, 256);
    else if (a.is("--archives"))
      o.concurrency[index_of(kind::archive)] = a.number(0, 256);
    else if (a.is("--thumbnail"))
      o.thumbnail = a.number(1, 4096);
    else if (a.is("--attempts"))
      o.attempts = a.number<unsigned>(1, 1000);
    else if (a.is("--backoff"))
      o.backoff = a.time();
    else if (a.is("--timeout"))
      o.timeout = a.time();
    else if (a.is("--redrive"))
      o.redrive = true;
    else if (a.is("--follow"))
      o.follow_links = true;
    else if (a.is("--watch"))
      o.watch = true;
    else if (a.is("--json"))
      o.json = true;
    else
      o.roots.push_back(a.operand());
  }
  if (o.roots.empty()) throw usage_error{"run needs a directory"};
  if (o.folder.empty()) throw usage_error{"run needs --out FOLDER"};
  return o;
}

command parse_one(argument_reader a) {
  one_options o;
  while (a.next()) {
    if (a.asks_for_help()) return help_wanted{};
    if (a.is("--thumbnail"))
      o.thumbnail = a.number(1, 4096);
    else
      o.paths.push_back(a.operand());
  }
  if (o.paths.empty()) throw usage_error{"one needs a file"};
  return o;
}

}  // namespace

command parse_command_line(const std::vector<std::string>& words) {
  argument_reader a{words};
  if (!a.next()) throw usage_error{"what is to be done? run or one"};
  const std::string what = a.name();
  if (a.asks_for_help() || what == "help") return help_wanted{};
  if (a.is("--version")) return version_wanted{};
  if (what == "run") return parse_run(std::move(a));
  if (what == "one") return parse_one(std::move(a));
  throw usage_error{"there is no command " + what};
}

}  // namespace files
