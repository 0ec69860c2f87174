#include "options.hpp"

#include <utility>

#include "layout.hpp"

namespace fulltext {

const char* const usage =
    R"(penstock-index: full-text search in your own files

  penstock-index build DIR... --db FILE [options]     index the text files of directory trees, or bring an index up to date
    --max-memory SIZE   memory above SQLite's cache of 16 MiB; default 64MiB, at least 32MiB; each shard beyond the first
                        may take 5 MiB more
    --threads N         threads that cut text into words; default: one for each processor
    --readers N         threads that read files; default: 9 for every 4 processors, and no more than files may be open
    --open-files N      files that may be open at a time; default 32
    --shards N          divide a new index among N database files, FILE, FILE.1, ..., each with its own writer; 1 to 32
    --max-read-rate R   how fast files are read, as 50MiB/s; default: as fast as it goes
    --follow            follow symbolic links
    --json              report as JSON
    --quiet             no progress

  penstock-index search --db FILE WORD... [options]   files that have all words, best first, as path:line: text
    --queries FILE      in place of words: one query a line (-: of standard input), answered in order, many at a time
    --limit N           how many files are shown; default 20
    --json              answer as JSON, one line a query

  penstock-index reshard N --db FILE [options]        divide an index among N database files; moves no more than it must
    --dry-run           only show what would move
    --batch SIZE        text that moves in one transaction; default 4MiB
    --json              report as JSON

  penstock-index --help, --version

  A word is a run of letters, digits and underscores, in any case and with or without accents; WORD* stands for any ending.
  Exit status: 0 done (search: found), 1 search: nothing found, 2 error, 130 interrupted (run it again to go on).
)";

namespace {

using command_line::argument_reader;

command parse_build(argument_reader a) {
  build_options o;
  while (a.next()) {
    if (a.asks_for_help()) return help_wanted{};
    if (a.is("--db")) {
      o.database = a.value();
    } else if (a.is("--max-memory")) {
      o.max_memory = a.bytes(std::size_t{32} << 20, std::size_t{64} << 30);
    } else if (a.is("--threads")) {
      o.threads = a.number(1, 256);
    } else if (a.is("--readers")) {
      o.readers = a.number(1, 256);
    } else if (a.is("--open-files")) {
      o.open_files = a.number(1, 4096);
    } else if (a.is("--shards")) {
      o.shards = a.number(1, most_shards);
    } else if (a.is("--max-read-rate")) {
      o.max_read_rate = a.bytes_per_second(1, std::size_t{64} << 30);
    } else if (a.is("--follow")) {
      o.follow_links = true;
    } else if (a.is("--json")) {
      o.json = true;
    } else if (a.is("--quiet")) {
      o.quiet = true;
    } else {
      o.roots.push_back(a.operand());
    }
  }
  if (o.roots.empty()) throw usage_error{"build needs a directory"};
  if (o.database.empty()) throw usage_error{"build needs --db FILE"};
  return o;
}

command parse_search(argument_reader a) {
  search_options o;
  while (a.next()) {
    if (a.asks_for_help()) return help_wanted{};
    if (a.is("--db")) {
      o.database = a.value();
    } else if (a.is("--queries")) {
      o.queries = a.value();
    } else if (a.is("--limit")) {
      o.limit = a.number(1, 1'000'000);
    } else if (a.is("--json")) {
      o.json = true;
    } else {
      o.words.push_back(a.operand());
    }
  }
  if (o.words.empty() && o.queries.empty()) throw usage_error{"search needs a word"};
  if (!o.words.empty() && !o.queries.empty()) throw usage_error{"search takes words or --queries, not both"};
  if (o.database.empty()) throw usage_error{"search needs --db FILE"};
  return o;
}

command parse_reshard(argument_reader a) {
  reshard_options o;
  while (a.next()) {
    if (a.asks_for_help()) return help_wanted{};
    if (a.is("--db")) {
      o.database = a.value();
    } else if (a.is("--batch")) {
      o.batch = a.bytes(1, std::size_t{64} << 20);
    } else if (a.is("--dry-run")) {
      o.dry_run = true;
    } else if (a.is("--json")) {
      o.json = true;
    } else if (o.shards == 0) {
      o.shards = a.as_number(a.operand(), 1, most_shards);
    } else {
      throw usage_error{"reshard takes one number of shards"};
    }
  }
  if (o.shards == 0) throw usage_error{"reshard needs the number of shards"};
  if (o.database.empty()) throw usage_error{"reshard needs --db FILE"};
  return o;
}

}  // namespace

command parse_command_line(const std::vector<std::string>& arguments) {
  if (arguments.empty()) throw usage_error{"what is to be done? build, search or reshard"};
  const std::string& what = arguments.front();
  if (what == "--help" || what == "-h" || what == "help") return help_wanted{};
  if (what == "--version") return version_wanted{};
  argument_reader rest{{arguments.begin() + 1, arguments.end()}};
  if (what == "build") return parse_build(std::move(rest));
  if (what == "search") return parse_search(std::move(rest));
  if (what == "reshard") return parse_reshard(std::move(rest));
  throw usage_error{"there is no command " + what};
}

}  // namespace fulltext
