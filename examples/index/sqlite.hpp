// The part of SQLite's interface that this tool needs, with owners and exceptions.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace fulltext {

/// An error of SQLite's, with its message and result code.
class database_error : public std::runtime_error {
 public:
  database_error(const std::string& what, int code) : std::runtime_error{what}, code_{code} {}
  [[nodiscard]] int code() const noexcept { return code_; }

 private:
  int code_;
};

/// Marks bytes that are no text, such as a path, for statement::bind().
struct blob {
  std::string_view bytes;
};

class database;

/// A prepared statement. bind() and run() refer to the caller's strings, which must live until the statement has been stepped.
class statement {
 public:
  statement(database& db, const char* sql);
  ~statement() { sqlite3_finalize(handle_); }
  statement(const statement&) = delete;
  statement& operator=(const statement&) = delete;

  /// Begins anew with these values for ?1, ?2, …
  template <class... Values>
  statement& bind(const Values&... values) {
    sqlite3_reset(handle_);
    int position = 0;
    (bind_one(++position, values), ...);
    return *this;
  }
  /// Goes to the next row; false if there is none, and then the statement can be bound anew.
  bool step();
  /// bind(), and step() to the end.
  template <class... Values>
  void run(const Values&... values) {
    bind(values...);
    while (step()) {
    }
  }
  /// Ends a query before its last row, so that it keeps no snapshot of the database.
  void reset() noexcept { sqlite3_reset(handle_); }

  [[nodiscard]] std::int64_t integer(int column) noexcept { return sqlite3_column_int64(handle_, column); }
  [[nodiscard]] double real(int column) noexcept { return sqlite3_column_double(handle_, column); }
  /// Valid until the next step() or bind().
  [[nodiscard]] std::string_view bytes(int column) noexcept;

 private:
  void bind_one(int position, std::int64_t value) { check(sqlite3_bind_int64(handle_, position, value)); }
  void bind_one(int position, std::string_view text);
  void bind_one(int position, blob value);
  void check(int code);

  sqlite3_stmt* handle_ = nullptr;
};

/// A connection. One thread at a time, but for interrupt().
class database {
 public:
  /// `path` may be ":memory:". Throws database_error.
  explicit database(const std::string& path, int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  ~database() { sqlite3_close_v2(handle_); }
  database(const database&) = delete;
  database& operator=(const database&) = delete;

  void run(const char* sql);
  void run(const std::string& sql) { run(sql.c_str()); }
  /// The integer that a query answers.
  [[nodiscard]] std::int64_t integer(const char* sql);
  [[nodiscard]] std::int64_t last_row() const noexcept { return sqlite3_last_insert_rowid(handle_); }
  [[nodiscard]] std::int64_t changes() const noexcept { return sqlite3_changes64(handle_); }
  /// Makes what runs now fail at once, and what is still to come. Any thread.
  void interrupt() noexcept {
    interrupted_.store(true);
    sqlite3_interrupt(handle_);
  }
  [[nodiscard]] bool interrupted() const noexcept { return interrupted_.load(); }
  [[nodiscard]] sqlite3* handle() const noexcept { return handle_; }
  /// Throws a database_error with SQLite's message unless the code is SQLITE_OK.
  void check(int code) const;

 private:
  static int wait_for_lock(void* self, int times) noexcept;

  sqlite3* handle_ = nullptr;
  std::atomic<bool> interrupted_{false};
};

}  // namespace fulltext
