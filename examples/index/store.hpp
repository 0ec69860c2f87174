// The index on disk: one SQLite database.
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
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "file_reader.hpp"
#include "sqlite.hpp"

namespace fulltext {

/// What the index knows of a file.
struct known_file {
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

/// Looks up what is in the index already; a connection of its own, which reads while the writer writes.
class catalog {
 public:
  explicit catalog(const std::string& path);
  [[nodiscard]] std::optional<known_file> find(std::string_view path);
  /// Whether it has this path, or one below it.
  [[nodiscard]] bool has_tree(std::string_view root);

 private:
  database db_;
  statement find_;
};

struct writer_options {
  std::size_t cache_bytes = std::size_t{16} << 20;  // SQLite's page cache
  std::size_t merge_bytes = std::size_t{8} << 20;   // what FTS5 collects before it writes; takes about three times as much memory
};

/// The one writer. Everything but interrupt() belongs to one thread. What it throws is a database_error; the transaction is then
/// as good as rolled back, and the writer is of no use any more.
class index_writer {
 public:
  /// Opens or creates the database. Also throws std::runtime_error if the file is something else, or another writer is at work on
  /// it.
  index_writer(const std::string& path, const writer_options& options);
  ~index_writer();
  index_writer(const index_writer&) = delete;
  index_writer& operator=(const index_writer&) = delete;

  /// To be called before all that follows. May take its time if there is much in the index.
  void begin_run();

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
  // Only one at a time: two would take each other's files for vanished.
  class file_lock {
   public:
    explicit file_lock(const std::string& path);
    ~file_lock();
    file_lock(const file_lock&) = delete;
    file_lock& operator=(const file_lock&) = delete;

   private:
    int descriptor_;
  };
  struct statements;

  void locate(indexed_file& file);
  void complete(indexed_file& file, bool binary);
  void start_log();
  void start_afresh();

  const writer_options options_;
  file_lock lock_;  // the first to come and the last to go: closing the file drops every lock that SQLite has on it
  database db_;
  std::unique_ptr<statements> sql_;
  std::int64_t run_ = 0;
  bool writing_ = false;  // in a transaction
};

/// The absolute path of a database that exists or is to be made, so that SQLite takes it for a file, whatever its name. Throws
/// std::runtime_error if there is something else under this path, such as a directory or a device.
[[nodiscard]] std::string database_file(const std::string& path);

/// The paths of the files that make up the database.
[[nodiscard]] std::vector<std::string> files_of_database(const std::string& path);

/// Whether there is an index, and it has this path or one below it.
[[nodiscard]] bool index_has_tree(const std::string& database, std::string_view root);

/// Checks that a connection's database is an index of this version, and makes its extensions known. Throws std::runtime_error.
void prepare_index(database& db, const std::string& path);

}  // namespace fulltext
