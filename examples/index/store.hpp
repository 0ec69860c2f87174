// The index on disk: a SQLite database; or several of them, see layout.hpp, of which each is as if it were the only one.
//
//   file   one row for each file that was seen: path, size, time of modification, and the last run that saw it.
//   piece  one row for each piece of a text file: where it lies, and the hash of its bytes. Its id is the row in `words`.
//   words  the full-text index, contentless: words and line numbers, no text (see fts.hpp).
//
// Changes    a changed file's pieces are replaced one by one; those with equal bytes in the same place stay.
// Removal    a contentless index cannot forget a row, so a removed piece leaves a dead row in `words`, which no search finds for
//            want of its piece. When more than half of the rows are dead, the next run starts afresh.
// At rest    one file, which can be searched where nothing can be written. During a run there is a log beside it (WAL mode), so
//            that searchers need not wait.
// Crash      Whatever ends the process, the database is as of the last commit, and a file that is there in part has the
//            size -1, so that the next run reads it again. A run removes what has vanished only at its end.
// Versions   2, and 3 if the index is divided: a program that knows nothing of shards must not take one of them for the whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "file_reader.hpp"
#include "layout.hpp"
#include "sqlite.hpp"

namespace fulltext {

inline constexpr int whole_version = 2;
inline constexpr int divided_version = 3;

/// What the index knows of a file.
struct known_file {
  std::size_t shard = 0;
  std::int64_t row = 0;
  std::int64_t size = 0;  // in bytes; -1 while it is in the index only in part
  std::int64_t modified_ns = 0;
  bool young = false;   // it may have changed since without a trace, see file_reader::young()
  bool binary = false;  // noted only so that it need not be opened again
};

/// A file on its way into the index.
struct indexed_file {
  std::string path;
  std::int64_t size = 0;
  std::int64_t modified_ns = 0;
  bool young = false;

  // Of the index_writer only:
  std::int64_t row = 0;        // 0: not looked up yet
  bool was_known = false;      // it has pieces of an earlier run
  std::uint32_t written = 0;   // pieces so far
  std::uint32_t expected = 0;  // pieces in all; 0: not known yet
};

/// A piece of a file, ready to be written.
struct folded_piece {
  std::uint32_t ordinal = 0;
  bool last = false;
  piece_position position = {};
  std::uint64_t hash = 0;  // of its bytes
  std::string words = {};  // by word_splitter::fold_lines()
};

/// Looks up what is in the index already; over connections of its own, which read while the writers write.
class catalog {
 public:
  /// Shards whose files are not there (yet) count as empty.
  explicit catalog(const std::string& path);
  ~catalog();
  /// Looks into the shard that the path belongs to.
  [[nodiscard]] std::optional<known_file> find(std::string_view path);
  /// Whether it has this path, or one below it.
  [[nodiscard]] bool has_tree(std::string_view root);

 private:
  struct shard;

  std::vector<std::unique_ptr<shard>> shards_;
  shard_ring ring_;
};

struct writer_options {
  std::size_t cache_bytes = std::size_t{16} << 20;  // SQLite's page cache
  std::size_t merge_bytes = std::size_t{8} << 20;   // what FTS5 collects before it writes; takes about three times as much memory
};

/// Held by who writes, while it lives: only one at a time, for two would take each other's files for vanished.
class file_lock {
 public:
  /// Throws std::runtime_error if somebody else has it, or the file cannot be made or opened.
  explicit file_lock(const std::string& path);
  ~file_lock();
  file_lock(const file_lock&) = delete;
  file_lock& operator=(const file_lock&) = delete;

 private:
  int descriptor_;
};

/// The one writer of a shard. Everything but interrupt() belongs to one thread. What it throws is a database_error; the transaction is then
/// as good as rolled back, and the writer is of no use any more.
class index_writer {
 public:
  /// Opens or creates the database of the shard; `path` is the index. Also throws std::runtime_error if the file is something else, or another
  /// writer is at work on it. Shard 0 comes first: while it is there, nobody else writes to the index.
  /// A new index is divided among so many shards; 0: not at all.
  index_writer(const std::string& path, std::size_t shard, std::size_t shards);
  ~index_writer();
  index_writer(const index_writer&) = delete;
  index_writer& operator=(const index_writer&) = delete;

  /// How the index is divided, of the writer of shard 0.
  [[nodiscard]] shard_layout layout() { return read_layout(db_); }

  /// To be called before all that follows. May take its time if there is much in the index.
  void begin_run(const writer_options& options);

  /// The pieces of a file may come in any order. True if with this one the file is complete.
  bool write(indexed_file& file, const folded_piece& piece);
  /// A file that was seen and is binary.
  void write_binary(indexed_file& file);
  /// A file that is there as the index has it.
  void still_there(std::int64_t row);

  void commit();
  /// The end of a run that saw everything under the roots: removes the other files there. Returns how many. Commits. Nobody but
  /// searchers should have the index open.
  std::int64_t finish(const std::vector<std::string>& roots);
  /// Makes what runs now fail at once, and the destructor do no more than it must. Any thread.
  void interrupt() noexcept;

 private:
  struct statements;

  void locate(indexed_file& file);
  void complete(indexed_file& file, bool binary);
  void create(const shard_layout& layout);
  void start_afresh();

  const std::size_t shard_;
  file_lock lock_;  // the first to come and the last to go: closing the file drops every lock that SQLite has on it
  database db_;
  std::unique_ptr<statements> sql_;
  std::int64_t run_ = 0;
  bool writing_ = false;  // in a transaction
};

/// The writers of all shards, in their order. Throws like index_writer's constructor, also std::runtime_error if the index is there and not divided among
/// that many (0: any number), or a reshard of it was interrupted.
[[nodiscard]] std::vector<std::unique_ptr<index_writer>> open_writers(const std::string& path, std::size_t shards);

/// The absolute path of a database that exists or is to be made, so that SQLite takes it for a file, whatever its name. Throws
/// std::runtime_error if there is something else under this path, such as a directory or a device.
[[nodiscard]] std::string database_file(const std::string& path);

/// The paths of the files that make up a database.
[[nodiscard]] std::vector<std::string> files_of_database(const std::string& path);

/// Those of all shards that an index has, or that could be made for it.
[[nodiscard]] std::vector<std::string> files_of_index(const std::string& path);

/// Whether there is an index, and it has this path or one below it.
[[nodiscard]] bool index_has_tree(const std::string& database, std::string_view root);

/// Makes an empty index, of a new or emptied database, and the extensions known. In a transaction of the caller's.
void create_index(database& db);
/// Checks that a connection's database is an index of this version, and makes its extensions known. Throws std::runtime_error.
void prepare_index(database& db, const std::string& path);
/// Goes into this journal mode ("WAL", "DELETE"), as soon as no search reads the database: waits a minute for that. Throws database_error.
void set_journal_mode(database& db, const char* mode);
/// Commits, where not in WAL mode, when the searches that read the database have ended; throws database_error if stop is requested before that.
void commit_when_free(database& db, const std::stop_token& stop);

}  // namespace fulltext
