#include "store.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>

#include "fts.hpp"

namespace fulltext {

namespace {

constexpr int application = 0x70656e73;  // "pens"

constexpr const char* schema = R"(
  CREATE TABLE file(
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE,   -- bytes: names need not be UTF-8
    size INTEGER NOT NULL,       -- in bytes; -1: in the index only in part
    modified INTEGER NOT NULL,   -- nanoseconds since 1970
    young INTEGER NOT NULL,      -- whether that was when it was read, or just before
    binary INTEGER NOT NULL,
    run INTEGER NOT NULL         -- the last that saw it as it is here
  );
  CREATE TABLE piece(
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- the row in words; never used twice, for dead rows stay there
    file INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    first_line INTEGER NOT NULL,
    hash INTEGER NOT NULL,
    UNIQUE(file, ordinal)
  );
  CREATE TABLE run(last INTEGER NOT NULL);
  INSERT INTO run VALUES(0);
  CREATE VIRTUAL TABLE words USING fts5(line, content='', tokenize='folded_lines');
)";

// The paths of a tree: the root itself, or what begins with it and a slash. '0' comes after '/'.
struct tree_paths {
  static constexpr const char* condition = "(path = ?1 OR (path > ?2 AND path < ?3))";

  explicit tree_paths(std::string_view root) : first{root == "/" ? "" : root}, beyond{first} {
    first.push_back('/');
    beyond.push_back('0');
  }
  std::string first;
  std::string beyond;
};

}  // namespace

void create_index(database& db) {
  db.run(std::string{schema} + "PRAGMA application_id = " + std::to_string(application) +
         "; PRAGMA user_version = " + std::to_string(whole_version));
}

std::string database_file(const std::string& path) {
  const std::filesystem::file_status found = std::filesystem::status(path);
  if (std::filesystem::exists(found) && !std::filesystem::is_regular_file(found)) {
    throw std::runtime_error{path + " is no regular file"};
  }
  return std::filesystem::absolute(path).string();
}

std::vector<std::string> files_of_database(const std::string& path) {
  std::error_code ignored;  // it may not exist yet
  const std::string real = std::filesystem::weakly_canonical(path, ignored).string();
  return {real, real + "-wal", real + "-shm", real + "-journal"};
}

std::vector<std::string> files_of_index(const std::string& path) {
  std::vector<std::string> files = files_of_database(path);
  for (std::size_t number = 1; number < most_shards; ++number) {
    const std::string shard = files.front() + '.' + std::to_string(number);
    files.insert(files.end(), {shard, shard + "-wal", shard + "-shm", shard + "-journal"});
  }
  return files;
}

void prepare_index(database& db, const std::string& path) {
  if (db.integer("PRAGMA application_id") != application) throw std::runtime_error{path + " is not an index of penstock-index"};
  if (const std::int64_t found = db.integer("PRAGMA user_version"); found != whole_version && found != divided_version) {
    throw std::runtime_error{path + " is an index of version " + std::to_string(found) + ", and this program writes version " +
                             std::to_string(whole_version) + ": remove it and build it again"};
  }
  add_line_search(db);
}

struct catalog::shard {
  explicit shard(const std::string& file) : db{file, SQLITE_OPEN_READONLY} {}
  database db;
  statement find{db, "SELECT id, size, modified, young, binary FROM file WHERE path = ?1"};
};

catalog::catalog(const std::string& path) {
  shards_.push_back(std::make_unique<shard>(shard_file(path, 0)));
  const shard_layout layout = read_layout(shards_.front()->db);
  for (std::size_t number = 1; number < layout.files; ++number) {
    const std::string file = shard_file(path, number);
    shards_.push_back(std::filesystem::exists(file) ? std::make_unique<shard>(file) : nullptr);
  }
  for (const auto& s : shards_) {  // together as much as SQLite's default
    if (s != nullptr) s->db.run("PRAGMA cache_size = -" + std::to_string(2000 / shards_.size()));
  }
  ring_ = ring_of(layout.ring);
}

catalog::~catalog() = default;

std::optional<known_file> catalog::find(std::string_view path) {
  const std::size_t number = owner_of(ring_, path);
  if (shards_[number] == nullptr) return std::nullopt;
  statement& row = shards_[number]->find;
  if (!row.bind(blob{path}).step()) return std::nullopt;
  const known_file found{number, row.integer(0), row.integer(1), row.integer(2), row.integer(3) != 0, row.integer(4) != 0};
  row.reset();
  return found;
}

bool catalog::has_tree(std::string_view root) {
  const tree_paths paths{root};
  for (const auto& s : shards_) {
    if (s == nullptr) continue;
    statement any{s->db, ("SELECT 1 FROM file WHERE " + std::string{tree_paths::condition} + " LIMIT 1").c_str()};
    if (any.bind(blob{root}, blob{paths.first}, blob{paths.beyond}).step()) return true;
  }
  return false;
}

bool index_has_tree(const std::string& database, std::string_view root) {
  return std::filesystem::exists(database) && catalog{database}.has_tree(root);
}

file_lock::file_lock(const std::string& path) : descriptor_{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)} {
  if (descriptor_ < 0) throw std::runtime_error{path + ": " + std::generic_category().message(errno)};
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    ::close(descriptor_);
    if (error == EWOULDBLOCK) throw std::runtime_error{path + ": another build is at work on it"};
    throw std::runtime_error{path + ": " + std::generic_category().message(error)};
  }
}

file_lock::~file_lock() { ::close(descriptor_); }

struct index_writer::statements {
  explicit statements(database& db) : db_{db} {}
  database& db_;

  statement find_file{db_, "SELECT id FROM file WHERE path = ?1"};
  statement add_file{db_, "INSERT INTO file(path, size, modified, young, binary, run) VALUES(?1, -1, 0, 0, 0, 0)"};
  statement reopen_file{db_, "UPDATE file SET size = -1 WHERE id = ?1"};
  statement complete_file{db_, "UPDATE file SET size = ?2, modified = ?3, young = ?4, binary = ?5, run = ?6 WHERE id = ?1"};
  statement see_file{db_, "UPDATE file SET run = ?2 WHERE id = ?1"};
  statement find_piece{db_, "SELECT hash, offset, first_line FROM piece WHERE file = ?1 AND ordinal = ?2"};
  statement add_piece{db_, "INSERT OR REPLACE INTO piece(file, ordinal, offset, first_line, hash) VALUES(?1, ?2, ?3, ?4, ?5)"};
  statement drop_pieces{db_, "DELETE FROM piece WHERE file = ?1 AND ordinal >= ?2"};
  statement add_words{db_, "INSERT INTO words(rowid, line) VALUES(?1, ?2)"};
};

index_writer::index_writer(const std::string& path, std::size_t shard, std::size_t shards)
    : shard_{shard}, lock_{shard_file(path, shard)}, db_{shard_file(path, shard)} {
  const std::string file = shard_file(path, shard);
  if (db_.integer("PRAGMA page_count") <= 1 && db_.integer("SELECT count(*) FROM sqlite_schema") == 0) {
    db_.run("PRAGMA page_size = 8192");  // settled with the first write
    add_line_search(db_);
    // Are there others already, then start_afresh() was cut off between its two steps, or somebody has removed FILE alone.
    const std::size_t others = shard == 0 ? shards_beside(path) : 0;
    create(divided_among(others != 0 ? others + 1 : std::max<std::size_t>(1, shards)));
  } else {
    prepare_index(db_, file);
    check_shard_number(db_, file, shard);
  }
}

void index_writer::create(const shard_layout& layout) {
  db_.run("BEGIN IMMEDIATE");
  create_index(db_);
  if (shard_ == 0) {
    write_layout(db_, layout);
  } else {
    write_shard_number(db_, shard_);
  }
  db_.run("COMMIT");
}

void index_writer::begin_run(const writer_options& options) {
  set_journal_mode(db_, "WAL");
  db_.run("PRAGMA synchronous = NORMAL");
  const std::int64_t rows = db_.integer("SELECT count(*) FROM words_docsize");
  if (rows > 2 * db_.integer("SELECT count(*) FROM piece")) start_afresh();
  db_.run("PRAGMA cache_size = -" + std::to_string(options.cache_bytes / 1024));
  db_.run("BEGIN IMMEDIATE");
  db_.run("INSERT INTO words(words, rank) VALUES('hashsize', " + std::to_string(options.merge_bytes) + ")");
  db_.run("UPDATE run SET last = last + 1");
  run_ = db_.integer("SELECT last FROM run");
  db_.run("COMMIT");
  sql_ = std::make_unique<statements>(db_);
}

std::vector<std::unique_ptr<index_writer>> open_writers(const std::string& path, std::size_t shards) {
  std::vector<std::unique_ptr<index_writer>> writers;
  writers.push_back(std::make_unique<index_writer>(path, 0, shards));
  const shard_layout layout = writers.front()->layout();
  if (layout.moving()) {
    throw std::runtime_error{path + ": a reshard was interrupted; `reshard " + std::to_string(layout.ring) + "` goes on with it"};
  }
  if (shards != 0 && shards != layout.files) {
    throw std::runtime_error{path + " has " + std::to_string(layout.files) + (layout.files == 1 ? " shard" : " shards") +
                             "; `reshard " + std::to_string(shards) + "` changes that"};
  }
  remove_shards_beyond(path, layout.files);
  while (writers.size() < layout.files) writers.push_back(std::make_unique<index_writer>(path, writers.size(), 0));
  return writers;
}

void set_journal_mode(database& db, const char* mode) {
  for (const auto until = std::chrono::steady_clock::now() + std::chrono::minutes{1};; sqlite3_sleep(10)) {
    try {
      return db.run(std::string{"PRAGMA journal_mode = "} + mode);
    } catch (const database_error& error) {
      if (error.code() != SQLITE_BUSY || std::chrono::steady_clock::now() > until) throw;
    }
  }
}

// Empties the database, in a moment and in one transaction. (To delete all rows takes seconds if there are many, and SQLite cannot
// be interrupted in it.)
void index_writer::start_afresh() {
  const shard_layout divided = shard_ == 0 ? layout() : shard_layout{};
  sqlite3_db_config(db_.handle(), SQLITE_DBCONFIG_RESET_DATABASE, 1, nullptr);
  db_.run("VACUUM");
  sqlite3_db_config(db_.handle(), SQLITE_DBCONFIG_RESET_DATABASE, 0, nullptr);
  create(divided);
}

void commit_when_free(database& db, const std::stop_token& stop) {
  for (;;) {
    try {
      return db.run("COMMIT");
    } catch (const database_error& error) {
      if (error.code() != SQLITE_BUSY || stop.stop_requested()) throw;
    }
  }
}

index_writer::~index_writer() {
  if (!db_.interrupted()) return;
  // A checkpoint when the last connection closes would take its time; one of the next run will do it.
  sqlite3_db_config(db_.handle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
}

void index_writer::interrupt() noexcept { db_.interrupt(); }

void index_writer::locate(indexed_file& file) {
  if (!writing_) db_.run("BEGIN IMMEDIATE");
  writing_ = true;
  if (file.row != 0) return;
  if (sql_->find_file.bind(blob{file.path}).step()) {
    file.row = sql_->find_file.integer(0);
    file.was_known = true;
    sql_->find_file.reset();
    sql_->reopen_file.run(file.row);
  } else {
    sql_->add_file.run(blob{file.path});
    file.row = db_.last_row();
  }
}

bool index_writer::write(indexed_file& file, const folded_piece& piece) {
  locate(file);
  const auto ordinal = std::int64_t{piece.ordinal};
  const auto offset = static_cast<std::int64_t>(piece.position.offset);
  const auto first_line = static_cast<std::int64_t>(piece.position.first_line);
  const auto hash = static_cast<std::int64_t>(piece.hash);

  bool same = false;
  if (file.was_known && sql_->find_piece.bind(file.row, ordinal).step()) {
    statement& old = sql_->find_piece;
    same = old.integer(0) == hash && old.integer(1) == offset && old.integer(2) == first_line;
    old.reset();
  }
  if (!same) {
    sql_->add_piece.run(file.row, ordinal, offset, first_line, hash);
    sql_->add_words.run(db_.last_row(), std::string_view{piece.words});
  }
  ++file.written;
  if (piece.last) file.expected = piece.ordinal + 1;
  if (file.written != file.expected) return false;
  complete(file, false);
  return true;
}

void index_writer::write_binary(indexed_file& file) {
  locate(file);
  complete(file, true);
}

void index_writer::complete(indexed_file& file, bool binary) {
  if (file.was_known) sql_->drop_pieces.run(file.row, std::int64_t{file.expected});
  sql_->complete_file.run(file.row, file.size, file.modified_ns, std::int64_t{file.young}, std::int64_t{binary}, run_);
}

void index_writer::still_there(std::int64_t row) {
  if (!writing_) db_.run("BEGIN IMMEDIATE");
  writing_ = true;
  sql_->see_file.run(row, run_);
}

void index_writer::commit() {
  if (writing_) db_.run("COMMIT");
  writing_ = false;
}

std::int64_t index_writer::finish(const std::vector<std::string>& roots) {
  if (!writing_) db_.run("BEGIN IMMEDIATE");
  writing_ = true;
  const std::string gone = std::string{tree_paths::condition} + " AND run <> ?4";
  statement drop_pieces{db_, ("DELETE FROM piece WHERE file IN (SELECT id FROM file WHERE " + gone + ")").c_str()};
  statement drop_files{db_, ("DELETE FROM file WHERE " + gone).c_str()};
  std::int64_t removed = 0;
  for (const std::string& root : roots) {
    const tree_paths paths{root};
    drop_pieces.run(blob{root}, blob{paths.first}, blob{paths.beyond}, run_);
    drop_files.run(blob{root}, blob{paths.first}, blob{paths.beyond}, run_);
    removed += db_.changes();
  }
  commit();
  // Fails while somebody searches; then it is left to the next run.
  sqlite3_exec(db_.handle(), "PRAGMA journal_mode = DELETE", nullptr, nullptr, nullptr);
  return removed;
}

}  // namespace fulltext
