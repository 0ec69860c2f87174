#include "search_shard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "file_reader.hpp"
#include "store.hpp"
#include "text.hpp"

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
std::unique_ptr<database> open_for_search(const std::string& file, std::size_t number) {
  const auto open = [&](const std::string& name, int flags) {
    auto db = std::make_unique<database>(name, flags);
    prepare_index(*db, file);
    check_shard_number(*db, file, number);
    return db;
  };
  if (number != 0 && !std::filesystem::exists(file)) throw std::runtime_error{file + ", a part of the index, is not there"};
  try {
    return open(file, SQLITE_OPEN_READONLY);
  } catch (const database_error& error) {
    // A reshard that was killed in a commit left a journal: whoever may write there has SQLite undo what was not done to its end.
    if (error.code() == SQLITE_READONLY && std::filesystem::exists(file + "-journal")) return open(file, SQLITE_OPEN_READWRITE);
    const bool needs_log = error.code() == SQLITE_CANTOPEN || error.code() == SQLITE_READONLY;
    if (!needs_log || !std::filesystem::exists(file) || std::filesystem::exists(file + "-wal")) throw;
  }
  std::string uri = "file:";
  for (const char c : file) uri += fmt::format("%{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  return open(uri + "?immutable=1", SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
}

}  // namespace

search_shard::search_shard(const std::string& path, std::size_t number) : path_{path}, number_{number} { open(); }

void search_shard::open() {
  db_ = open_for_search(shard_file(path_, number_), number_);
  db_->run(
      "CREATE TEMP TABLE found(file INTEGER, term INTEGER, rank REAL, PRIMARY KEY(file, term)) WITHOUT ROWID;"
      "CREATE TEMP TABLE shown(file INTEGER PRIMARY KEY);"
      "CREATE TEMP TABLE lines(piece INTEGER, term INTEGER, list TEXT, PRIMARY KEY(piece, term)) WITHOUT ROWID");
}

void search_shard::begin() {
  const auto lock = [this] {
    db_->run("BEGIN");
    static_cast<void>(db_->integer("PRAGMA user_version"));  // the first look at the file takes the lock
  };
  try {
    lock();
  } catch (const database_error& error) {
    if (error.code() != SQLITE_READONLY) throw;
    open();  // a reshard was killed since then, see open_for_search()
    lock();
  }
}

void search_shard::end() noexcept {
  for (const char* how : {"COMMIT", "ROLLBACK"}) {
    if (sqlite3_get_autocommit(db_->handle()) == 0) sqlite3_exec(db_->handle(), how, nullptr, nullptr, nullptr);
  }
}

search_statistics search_shard::count(const std::vector<search_term>& terms) {
  search_statistics all{size_of_index(*db_), {}};
  statement matches{*db_, "SELECT matches(words) FROM words WHERE words MATCH ?1 LIMIT 1"};
  for (const search_term& t : terms) {
    all.matches.push_back(matches.bind(std::string_view{t.match}).step() ? matches.integer(0) : 0);
    matches.reset();
  }
  return all;
}

ranked_files search_shard::rank(const std::vector<search_term>& terms, const search_statistics& all, std::size_t limit) {
  db_->run("DELETE FROM temp.found");
  statement find{*db_,
                 "INSERT INTO temp.found SELECT piece.file, ?2, ranked(words, ?3, ?4, ?5) "
                 "FROM words CROSS JOIN piece ON piece.id = words.rowid WHERE words MATCH ?1 "
                 "ON CONFLICT(file, term) DO UPDATE SET rank = min(rank, excluded.rank)"};
  for (std::size_t i = 0; i < terms.size(); ++i) {
    find.run(std::string_view{terms[i].match}, static_cast<std::int64_t>(i), all.size.rows, all.size.tokens, all.matches[i]);
  }
  // In the order of the table, so that the ranks of a file are added up in that of the terms.
  statement choose{*db_,
                   "SELECT file.id, file.path, file.size, file.modified, sum(found.rank) AS total, count(*) OVER () "
                   "FROM temp.found CROSS JOIN file ON file.id = found.file GROUP BY found.file HAVING count(*) = ?1 "
                   "ORDER BY total, file.path LIMIT ?2"};
  ranked_files result;
  for (choose.bind(static_cast<std::int64_t>(terms.size()), static_cast<std::int64_t>(limit)); choose.step();) {
    result.best.push_back(
        {std::string{choose.bytes(1)}, choose.real(4), choose.integer(0), choose.integer(2), choose.integer(3)});
    result.count = static_cast<std::uint64_t>(choose.integer(5));
  }
  return result;
}

std::vector<hit> search_shard::show(const std::vector<search_term>& terms, const std::vector<ranked_file>& best) {
  std::vector<hit> hits;
  if (best.empty()) return hits;
  db_->run("DELETE FROM temp.shown; DELETE FROM temp.lines");
  statement add{*db_, "INSERT INTO temp.shown VALUES(?1)"};
  for (const ranked_file& file : best) add.run(file.row);
  // One pass through the index for each term: with a prefix, FTS5 would go through all its words for every file.
  statement note_lines{*db_,
                       "INSERT INTO temp.lines SELECT words.rowid, ?2, hit_lines(words) FROM words "
                       "CROSS JOIN piece ON piece.id = words.rowid CROSS JOIN temp.shown ON shown.file = piece.file "
                       "WHERE words MATCH ?1"};
  for (std::size_t i = 0; i < terms.size(); ++i) note_lines.run(std::string_view{terms[i].match}, static_cast<std::int64_t>(i));

  for (const ranked_file& found : best) {
    hit& h = hits.emplace_back();
    h.path = found.path;
    h.score = -found.rank;
    const place line = locate(h, found.row);
    try {
      const file_reader file{h.path};
      h.up_to_date = static_cast<std::int64_t>(file.size()) == found.size && file.modified_ns() == found.modified_ns;
      h.text = read_line(file, line.piece, line.lines_before);
    } catch (const std::system_error&) {
      h.up_to_date = false;  // gone, or no regular file any more
    }
  }
  return hits;
}

// Finds the line to show: of the piece that has the most of the words, the first line that has the most of them.
search_shard::place search_shard::locate(hit& h, std::int64_t file) {
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

}  // namespace fulltext
