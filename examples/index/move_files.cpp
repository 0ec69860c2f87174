#include "move_files.hpp"

#include <algorithm>

#include "store.hpp"

namespace fulltext {

namespace {

std::string with_names(std::string sql, const std::string& from, const std::string& to) {
  const auto replace = [&sql](std::string_view what, const std::string& by) {
    for (std::size_t at = sql.find(what); at != std::string::npos; at = sql.find(what, at + by.size()))
      sql.replace(at, what.size(), by);
  };
  replace("{from}", from);
  replace("{to}", to);
  return sql;
}

}  // namespace

struct file_mover::statements {
  statements(database& db, const std::string& from, const std::string& to)
      : name{from, to},
        find_file{db, name("SELECT path, size, modified, young, binary FROM {from}.file WHERE id = ?1")},
        add_file{
            db, name("INSERT OR IGNORE INTO {to}.file(path, size, modified, young, binary, run) VALUES(?1, ?2, ?3, ?4, ?5, ?6)")},
        drop_file{db, name("DELETE FROM {from}.file WHERE id = ?1")},
        pieces{db, name("SELECT id, ordinal, offset, first_line, hash FROM {from}.piece WHERE file = ?1")},
        add_piece{db, name("INSERT INTO {to}.piece(file, ordinal, offset, first_line, hash) VALUES(?1, ?2, ?3, ?4, ?5)")},
        drop_pieces{db, name("DELETE FROM {from}.piece WHERE file = ?1")},
        find_words{db, "SELECT line, word FROM temp.moving_words WHERE piece = ?1 ORDER BY line, word"},
        add_words{db, name("INSERT INTO {to}.words(rowid, line) VALUES(?1, ?2)")},
        drop_words{db, name("INSERT INTO {from}.words(words, rowid, line) VALUES('delete', ?1, ?2)")} {}

  // The SQL with the names of the databases.
  struct names {
    const std::string &from, &to;
    std::string sql = {};
    const char* operator()(const char* text) { return (sql = with_names(text, from, to)).c_str(); }
  } name;
  statement find_file;
  statement add_file;
  statement drop_file;
  statement pieces;
  statement add_piece;
  statement drop_pieces;
  statement find_words;
  statement add_words;
  statement drop_words;
};

// The lower shard is the main database: a commit takes the locks in this order, and so does a search, which cannot wait for each other then.
file_mover::file_mover(const std::string& path, std::size_t from, std::size_t to)
    : from_{from < to ? "main" : "higher"},
      to_{from < to ? "higher" : "main"},
      db_{shard_file(path, std::min(from, to)), SQLITE_OPEN_READWRITE} {
  statement{db_, "ATTACH ?1 AS higher"}.run(std::string_view{shard_file(path, std::max(from, to))});
  prepare_index(db_, path);
  for (const char* shard : {"main", "higher"}) {
    // What does not fit into the cache would be written before the commit, and keep everybody else out until then.
    db_.run(std::string{"PRAGMA "} + shard + ".cache_spill = OFF");
  }
  db_.run(
      "CREATE TEMP TABLE moving(piece INTEGER PRIMARY KEY);"
      "CREATE TEMP TABLE moving_words(piece INTEGER, line INTEGER, word TEXT, PRIMARY KEY(piece, line, word)) WITHOUT ROWID;"
      "CREATE VIRTUAL TABLE temp.postings USING fts5vocab(" +
      from_ + ", words, instance)");
  sql_ = std::make_unique<statements>(db_, from_, to_);
  last_run_ = db_.integer(with_names("SELECT last FROM {to}.run", from_, to_).c_str());
}

file_mover::~file_mover() = default;

std::uint64_t file_mover::move(const std::vector<std::int64_t>& files, std::size_t batch_bytes, const std::stop_token& stop) {
  const std::stop_callback interrupt{stop, [this] { db_.interrupt(); }};
  std::uint64_t moved = 0;
  try {
    find_words_of(files);
    for (auto next = files.begin(); next != files.end();) {
      db_.run("BEGIN IMMEDIATE");
      const auto first = next;
      for (std::size_t bytes = 0; next != files.end() && bytes < batch_bytes; ++next) bytes += move_one(*next);
      commit_when_free(db_, stop);
      moved += static_cast<std::uint64_t>(next - first);
    }
  } catch (const database_error&) {
    if (!stop.stop_requested()) throw;
  }
  return moved;
}

void file_mover::find_words_of(const std::vector<std::int64_t>& files) {
  {
    statement note{db_, with_names("INSERT INTO temp.moving SELECT id FROM {from}.piece WHERE file = ?1", from_, to_).c_str()};
    for (const std::int64_t file : files) note.run(file);
  }
  // The postings lie in the order of the words, and are wanted in that of the pieces. SQLite sorts them on disk.
  db_.run(
      "INSERT INTO temp.moving_words SELECT doc, offset, term FROM temp.postings "
      "WHERE doc IN temp.moving AND term <> ' ' ORDER BY doc, offset, term");
}

// About how many bytes that were.
std::size_t file_mover::move_one(std::int64_t file) {
  statements& sql = *sql_;
  if (!sql.find_file.bind(file).step()) return 0;
  const std::string path{sql.find_file.bytes(0)};
  sql.add_file.run(blob{path}, sql.find_file.integer(1), sql.find_file.integer(2), sql.find_file.integer(3),
                   sql.find_file.integer(4), last_run_);
  const bool is_new = db_.changes() != 0;  // else it is where it belongs, and this is one that was left behind
  const std::int64_t row = db_.last_row();
  sql.find_file.reset();
  std::size_t bytes = path.size();
  for (sql.pieces.bind(file); sql.pieces.step();) {
    const std::int64_t old = sql.pieces.integer(0);
    read_words(old);
    if (is_new) {
      sql.add_piece.run(row, sql.pieces.integer(1), sql.pieces.integer(2), sql.pieces.integer(3), sql.pieces.integer(4));
      sql.add_words.run(db_.last_row(), std::string_view{words_});
    }
    sql.drop_words.run(old, std::string_view{words_});
    bytes += words_.size();
  }
  sql.drop_pieces.run(file);
  sql.drop_file.run(file);
  return bytes;
}

// As word_splitter::fold_lines() had them, but for the order of the words of a line, which the index does not keep.
void file_mover::read_words(std::int64_t piece) {
  words_.clear();
  std::int64_t line = 0;
  for (sql_->find_words.bind(piece); sql_->find_words.step();) {
    const std::int64_t next = sql_->find_words.integer(0);
    if (next == line && !words_.empty()) {
      words_.push_back(' ');
    } else {
      words_.append(static_cast<std::size_t>(next - line), '\n');
    }
    line = next;
    words_.append(sql_->find_words.bytes(1));
  }
}

}  // namespace fulltext
