#include "search.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <system_error>

#include "file_reader.hpp"
#include "json.hpp"
#include "store.hpp"

namespace fulltext {

namespace {

// A line of a file, given where a piece begins and how many lines of it come before; cut to a readable length. Control characters
// become spaces: what is found in a file must not move the cursor of who searches.
std::string read_line(const file_reader& file, std::uint64_t offset, std::uint64_t lines_before) {
  constexpr std::size_t longest = 240;
  const std::string piece = file.read_at(offset, piece_size);
  std::string_view line = piece;
  for (; lines_before > 0 && !line.empty(); --lines_before) line.remove_prefix(std::min(line.find('\n'), line.size() - 1) + 1);
  line = line.substr(0, line.find('\n'));
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  std::string buffer;
  std::string text{as_utf8(line, buffer)};
  std::replace_if(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, ' ');
  text.resize(utf8_length(std::string_view{text}.substr(0, longest)));
  return text.erase(text.find_last_not_of(' ') + 1);
}

// A build whose last moment fell into a search leaves an index in WAL mode, which SQLite does not read where it cannot write a log.
// If there is none, nobody writes: then it may take the file for one that does not change.
std::unique_ptr<database> open_for_search(const std::string& path) {
  const std::string file = database_file(path);
  const auto open = [&](const std::string& name, int flags) {
    auto db = std::make_unique<database>(name, flags);
    prepare_index(*db, path);
    return db;
  };
  try {
    return open(file, SQLITE_OPEN_READONLY);
  } catch (const database_error& error) {
    const bool needs_log = error.code() == SQLITE_CANTOPEN || error.code() == SQLITE_READONLY;
    if (!needs_log || !std::filesystem::exists(file) || std::filesystem::exists(file + "-wal")) throw;
  }
  std::string uri = "file:";
  for (const char c : file) uri += fmt::format("%{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  return open(uri + "?immutable=1", SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
}

}  // namespace

// One word, as a query of FTS5.
struct searcher::term {
  std::string word;
  std::string match;
};

searcher::searcher(const std::string& path) : db_{open_for_search(path)} {}

std::vector<searcher::term> searcher::terms_of(const std::vector<std::string>& query) {
  std::vector<term> terms;
  for (const std::string& argument : query) {
    std::string buffer;
    const std::vector<std::string> words = splitter_.words(as_utf8(argument, buffer));
    for (const std::string& word : words) {
      const bool prefix = argument.ends_with('*') && word == words.back();
      const term t{prefix ? word + '*' : word, '"' + word + (prefix ? "\" *" : "\"")};
      const bool known = std::any_of(terms.begin(), terms.end(), [&](const term& other) { return other.match == t.match; });
      if (!known) terms.push_back(t);
    }
  }
  return terms;
}

search_result searcher::search(const std::vector<std::string>& query, std::size_t limit) {
  search_result result;
  const std::vector<term> terms = terms_of(query);
  for (const term& t : terms) result.words.push_back(t.word);
  if (terms.empty()) return result;

  db_->run("BEGIN");  // one state of the index for all that follows
  db_->run(
      "CREATE TEMP TABLE IF NOT EXISTS found(file INTEGER, rank REAL); DELETE FROM temp.found;"
      "CREATE TEMP TABLE IF NOT EXISTS shown(file INTEGER PRIMARY KEY, total REAL, files INTEGER); DELETE FROM temp.shown;"
      "CREATE TEMP TABLE IF NOT EXISTS lines(piece INTEGER, term TEXT, list TEXT, PRIMARY KEY(piece, term)) WITHOUT ROWID;"
      "DELETE FROM temp.lines");
  {
    statement find{*db_,
                   "INSERT INTO temp.found SELECT piece.file, min(words.rank) FROM words JOIN piece ON piece.id = words.rowid "
                   "WHERE words MATCH ?1 GROUP BY piece.file"};
    for (const term& t : terms) find.run(std::string_view{t.match});

    statement choose{*db_,
                     "INSERT INTO temp.shown SELECT file.id, sum(found.rank) AS total, count(*) OVER () "
                     "FROM temp.found JOIN file ON file.id = found.file GROUP BY found.file HAVING count(*) = ?1 "
                     "ORDER BY total, file.path LIMIT ?2"};
    choose.run(static_cast<std::int64_t>(terms.size()), static_cast<std::int64_t>(limit));

    // One pass through the index for each term: with a prefix, FTS5 would go through all its words for every file.
    statement note_lines{*db_,
                         "INSERT INTO temp.lines SELECT words.rowid, ?1, hit_lines(words) FROM words "
                         "CROSS JOIN piece ON piece.id = words.rowid CROSS JOIN temp.shown ON shown.file = piece.file "
                         "WHERE words MATCH ?1"};
    for (const term& t : terms) note_lines.run(std::string_view{t.match});

    statement best{*db_,
                   "SELECT file.id, file.path, file.size, file.modified, shown.total, shown.files "
                   "FROM temp.shown JOIN file ON file.id = shown.file ORDER BY shown.total, file.path"};
    while (best.step()) {
      hit& h = result.hits.emplace_back();
      h.path = best.bytes(1);
      h.score = -best.real(4);
      result.files = static_cast<std::uint64_t>(best.integer(5));
      const place line = locate(h, best.integer(0));
      try {
        const file_reader file{h.path};
        h.up_to_date = static_cast<std::int64_t>(file.size()) == best.integer(2) && file.modified_ns() == best.integer(3);
        h.text = read_line(file, line.piece, line.lines_before);
      } catch (const std::system_error&) {
        h.up_to_date = false;  // gone, or no regular file any more
      }
    }
  }
  db_->run("COMMIT");
  return result;
}

// Finds the line to show: of the piece that has the most of the words, the first line that has the most of them.
searcher::place searcher::locate(hit& h, std::int64_t file) {
  statement pieces{*db_, "SELECT id, offset, first_line FROM piece WHERE file = ?1 ORDER BY ordinal"};
  statement lines{*db_, "SELECT list FROM temp.lines WHERE piece = ?1"};
  std::size_t most = 0;
  place found;
  for (pieces.bind(file); pieces.step();) {
    std::map<std::uint64_t, std::size_t> words_on;
    for (lines.bind(pieces.integer(0)); lines.step();) {
      const std::string_view list = lines.bytes(0);
      for (const char* at = list.data(); at < list.data() + list.size(); ++at) {
        std::uint64_t line = 0;
        at = std::from_chars(at, list.data() + list.size(), line).ptr;
        ++words_on[line];
      }
    }
    const auto best = std::max_element(words_on.begin(), words_on.end(), [](auto& a, auto& b) { return a.second < b.second; });
    if (best == words_on.end() || best->second <= most) continue;
    most = best->second;
    found = {static_cast<std::uint64_t>(pieces.integer(1)), best->first};
    h.line = static_cast<std::uint64_t>(pieces.integer(2)) + best->first + 1;
    h.lines = words_on.size();
  }
  return found;
}

std::string as_json(const search_result& result) {
  json_object o;
  o.raw("words", json_array(result.words, [](const std::string& w) { return json_string(w); })).add("files", result.files);
  o.raw("hits", json_array(result.hits, [](const hit& h) {
          json_object one;
          one.add("path", h.path).add("line", h.line).add("text", h.text).add("lines", h.lines).add("score", h.score);
          return one.add("up_to_date", h.up_to_date).text();
        }));
  return o.text();
}

}  // namespace fulltext
