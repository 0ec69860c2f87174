#include "sqlite.hpp"

namespace fulltext {

namespace {

database_error failure(sqlite3* connection, int code) {
  const std::string message = std::string{"SQLite: "} + sqlite3_errmsg(connection);
  // An index may have many files: which one?
  const char* const file = code == SQLITE_NOTADB ? sqlite3_db_filename(connection, "main") : nullptr;
  return {file == nullptr ? message : std::string{file} + ": " + message, code};
}

}  // namespace

database::database(const std::string& path, int flags) {
  const int code = sqlite3_open_v2(path.c_str(), &handle_, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) {
    const std::string message = path + ": " + (handle_ != nullptr ? sqlite3_errmsg(handle_) : sqlite3_errstr(code));
    sqlite3_close_v2(handle_);
    throw database_error{message, code};
  }
  sqlite3_busy_handler(handle_, wait_for_lock, this);
}

// Another connection has the database locked: waits up to 5 s for it, as sqlite3_busy_timeout() would, which nothing can interrupt.
int database::wait_for_lock(void* self, int times) noexcept {
  if (times >= 500 || static_cast<database*>(self)->interrupted()) return 0;
  sqlite3_sleep(10);
  return 1;
}

void database::check(int code) const {
  if (code != SQLITE_OK) throw failure(handle_, code);
}

void database::run(const char* sql) {
  if (interrupted()) throw database_error{"SQLite: interrupted", SQLITE_INTERRUPT};
  check(sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr));
}

std::int64_t database::integer(const char* sql) {
  statement query{*this, sql};
  return query.step() ? query.integer(0) : 0;
}

statement::statement(database& db, const char* sql) {
  db.check(sqlite3_prepare_v3(db.handle(), sql, -1, SQLITE_PREPARE_PERSISTENT, &handle_, nullptr));
}

bool statement::step() {
  const int code = sqlite3_step(handle_);
  if (code == SQLITE_ROW) return true;
  const int result = sqlite3_reset(handle_);
  if (code != SQLITE_DONE) check(result != SQLITE_OK ? result : code);
  return false;
}

std::string_view statement::bytes(int column) noexcept {
  const void* data = sqlite3_column_blob(handle_, column);
  return {static_cast<const char*>(data), static_cast<std::size_t>(sqlite3_column_bytes(handle_, column))};
}

void statement::bind_one(int position, std::string_view text) {
  check(
      sqlite3_bind_text64(handle_, position, text.data() != nullptr ? text.data() : "", text.size(), SQLITE_STATIC, SQLITE_UTF8));
}

void statement::bind_one(int position, blob value) {
  check(sqlite3_bind_blob64(handle_, position, value.bytes.data() != nullptr ? value.bytes.data() : "", value.bytes.size(),
                            SQLITE_STATIC));
}

void statement::check(int code) {
  if (code != SQLITE_OK) throw failure(sqlite3_db_handle(handle_), code);
}

}  // namespace fulltext
