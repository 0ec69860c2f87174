// penstock/ext/detail/sqlite_database.hpp: a connection to a SQLite file, and its statements, with owners and exceptions.
//
// Thread safety  a connection and its statements: one thread at a time.
#pragma once

#include <sqlite3.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <penstock/ext/sqlite_error.hpp>

namespace penstock::inline v0_1::detail {

[[noreturn]] inline void throw_sqlite(int code, const std::string& what) {
  throw std::system_error{std::error_code{code, sqlite_error_category()}, what};
}

class sqlite_database {
 public:
  /// Throws std::system_error that names the path, as all of these do.
  sqlite_database(const std::string& path, int flags, const std::string& vfs) : path_{path} {
    const int code = sqlite3_open_v2(path.c_str(), &handle_, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                                     vfs.empty() ? nullptr : vfs.c_str());
    if (code == SQLITE_OK) return;
    sqlite3_close(handle_);
    throw_sqlite(code, "penstock::sqlite_store: " + path);
  }
  sqlite_database(const sqlite_database&) = delete;
  sqlite_database& operator=(const sqlite_database&) = delete;
  ~sqlite_database() { sqlite3_close_v2(handle_); }

  void check(int code) const {
    if (code != SQLITE_OK) [[unlikely]]
      throw_sqlite(no_room(code) ? SQLITE_FULL : code, "penstock::sqlite_store: " + path_);
  }
  void run(const char* sql) { check(sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr)); }
  void run(const std::string& sql) { run(sql.c_str()); }
  [[nodiscard]] bool in_transaction() const noexcept { return sqlite3_get_autocommit(handle_) == 0; }
  [[nodiscard]] std::int64_t changes() const noexcept { return sqlite3_changes64(handle_); }
  [[nodiscard]] sqlite3* handle() const noexcept { return handle_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  /// SQLite calls it an error of the disk if a quota or a limit is reached; the file of its log knows.
  [[nodiscard]] bool no_room(int code) const noexcept {
    if (code != SQLITE_IOERR_WRITE && code != SQLITE_IOERR_FSYNC) return false;
    sqlite3_file* log = nullptr;
    int reason = 0;
    if (sqlite3_file_control(handle_, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) != SQLITE_OK || log == nullptr) return false;
    if (log->pMethods == nullptr || log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &reason) != SQLITE_OK) return false;
    return reason == ENOSPC || reason == EDQUOT || reason == EFBIG;
  }

  std::string path_;
  sqlite3* handle_ = nullptr;
};

/// Bytes that are no text.
struct sqlite_blob {
  std::string_view bytes;
};

/// What is bound and read refers to memory of others: it must live until the statement is reset.
class sqlite_statement {
 public:
  sqlite_statement(sqlite_database& db, std::string_view sql) : db_{&db} {
    db.check(
        sqlite3_prepare_v3(db.handle(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &handle_, nullptr));
  }
  sqlite_statement(const sqlite_statement&) = delete;
  sqlite_statement& operator=(const sqlite_statement&) = delete;
  ~sqlite_statement() { sqlite3_finalize(handle_); }

  /// A query, from its first row on. It ends, and keeps no snapshot, when this goes.
  class query {
   public:
    explicit query(sqlite_statement& s) noexcept : of_{&s} {}
    query(const query&) = delete;
    query& operator=(const query&) = delete;
    ~query() { sqlite3_reset(of_->handle_); }
    /// The next row; false: there is none.
    [[nodiscard]] bool next() {
      const int code = sqlite3_step(of_->handle_);
      if (code == SQLITE_ROW) return true;
      if (code != SQLITE_DONE) of_->db_->check(code);
      return false;
    }
    [[nodiscard]] std::int64_t integer(int column) const noexcept { return sqlite3_column_int64(of_->handle_, column); }
    [[nodiscard]] double real(int column) const noexcept { return sqlite3_column_double(of_->handle_, column); }
    [[nodiscard]] bool null(int column) const noexcept { return sqlite3_column_type(of_->handle_, column) == SQLITE_NULL; }
    /// Until the next row.
    [[nodiscard]] std::string_view bytes(int column) const noexcept {
      const void* const at = sqlite3_column_blob(of_->handle_, column);
      return {static_cast<const char*>(at),
              at != nullptr ? static_cast<std::size_t>(sqlite3_column_bytes(of_->handle_, column)) : 0};
    }

    /// Null, if it is; an empty text is none.
    [[nodiscard]] std::shared_ptr<const std::string> text(int column) const {
      return null(column) ? nullptr : std::make_shared<const std::string>(bytes(column));
    }

   private:
    sqlite_statement* of_;
  };

  /// With these values for ?1, ?2, …
  template <class... Values>
  [[nodiscard]] query ask(const Values&... values) {
    int position = 0;
    (bind(++position, values), ...);
    return query{*this};
  }
  /// The same of what gives no rows.
  template <class... Values>
  void run(const Values&... values) {
    query q = ask(values...);
    static_cast<void>(q.next());
  }
  /// The integer of the first row.
  template <class... Values>
  [[nodiscard]] std::optional<std::int64_t> integer(const Values&... values) {
    query q = ask(values...);
    if (!q.next() || q.null(0)) return std::nullopt;
    return q.integer(0);
  }

 private:
  void bind(int at, std::int64_t value) { db_->check(sqlite3_bind_int64(handle_, at, value)); }
  void bind(int at, double value) { db_->check(sqlite3_bind_double(handle_, at, value)); }
  void bind(int at, std::nullptr_t) { db_->check(sqlite3_bind_null(handle_, at)); }
  void bind(int at, sqlite_blob value) {
    db_->check(sqlite3_bind_blob64(handle_, at, value.bytes.data() != nullptr ? value.bytes.data() : "", value.bytes.size(),
                                   SQLITE_STATIC));
  }
  void bind(int at, const std::shared_ptr<const std::string>& text) {
    if (text == nullptr) return bind(at, nullptr);
    db_->check(sqlite3_bind_text64(handle_, at, text->data(), text->size(), SQLITE_STATIC, SQLITE_UTF8));
  }
  /// One without any bytes is null.
  void bind(int at, std::string_view text) {
    if (text.empty()) return bind(at, nullptr);
    db_->check(sqlite3_bind_text64(handle_, at, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8));
  }

  sqlite_database* db_;
  sqlite3_stmt* handle_ = nullptr;
};

}  // namespace penstock::inline v0_1::detail
