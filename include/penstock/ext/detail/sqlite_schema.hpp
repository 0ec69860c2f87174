// penstock/ext/detail/sqlite_schema.hpp: the tables of a store of jobs, and how a connection to them is set up.
//
// One index, `line`, holds every line that jobs stand in: by state, and in it by (major, minor), which is (priority, place) of those that wait, (due,
// place) of delayed ones, (the lease's end, place) of active ones and (order of ends, 0) of those that are over. A place is a number of a counter
// that goes up at the back of the line and down at its front. So fetching and settling are O(log n) whatever waits.
// Of a group, those that wait have the state 6 in the file (waiting_in_group), and stand in the line of their group.
// The counters, and how many jobs are in each state, are the one row of `meta`, which each transaction reads first and writes last.
// A payload of more than `inline_payload` bytes lies in a table of its own, where it is written once whatever becomes of its job.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <system_error>

#include <penstock/ext/detail/sqlite_database.hpp>
#include <penstock/ext/sqlite_store_options.hpp>

namespace penstock::inline v0_1::detail {

inline constexpr std::int64_t sqlite_application = 0x504a4f42;  // "PJOB"
inline constexpr std::int64_t sqlite_schema_version = 2;
inline constexpr std::size_t inline_payload = 1000;
inline constexpr std::int64_t waiting_in_group = 6;

inline constexpr const char* sqlite_schema = R"(
CREATE TABLE jobs(
  id INTEGER PRIMARY KEY, state INTEGER NOT NULL, major INTEGER NOT NULL, minor INTEGER NOT NULL, priority INTEGER NOT NULL,
  flags INTEGER NOT NULL, made INTEGER NOT NULL, stalled INTEGER NOT NULL, fence INTEGER NOT NULL, due INTEGER NOT NULL,
  added INTEGER NOT NULL, started INTEGER, ended INTEGER, progress REAL NOT NULL, watcher INTEGER NOT NULL,
  attempts INTEGER NOT NULL, timeout INTEGER NOT NULL, backoff TEXT, keep_logs INTEGER NOT NULL, name TEXT, job_id TEXT,
  key TEXT, schedule TEXT, grp TEXT,
  parent INTEGER NOT NULL, pending INTEGER NOT NULL, failed_by INTEGER NOT NULL,
  why TEXT, value BLOB, payload BLOB);
CREATE INDEX line ON jobs(state, major, minor);
CREATE UNIQUE INDEX names ON jobs(job_id) WHERE job_id IS NOT NULL;
CREATE TABLE payloads(job INTEGER PRIMARY KEY, payload BLOB NOT NULL);
CREATE TABLE keys(key TEXT PRIMARY KEY, job INTEGER NOT NULL, name TEXT, live INTEGER NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX old_keys ON keys(expires) WHERE live = 0;
CREATE TABLE logs(job INTEGER NOT NULL, line INTEGER NOT NULL, text TEXT, PRIMARY KEY(job, line)) WITHOUT ROWID;
CREATE TABLE endings(number INTEGER PRIMARY KEY, job INTEGER NOT NULL, state INTEGER NOT NULL, text BLOB, at INTEGER NOT NULL);
CREATE TABLE children(
  parent INTEGER NOT NULL, child INTEGER NOT NULL, place INTEGER NOT NULL, job_id TEXT, name TEXT, on_failure INTEGER NOT NULL,
  state INTEGER NOT NULL, text TEXT, root TEXT, PRIMARY KEY(parent, child)) WITHOUT ROWID;
CREATE INDEX group_line ON jobs(grp, major, minor) WHERE state = 6;
CREATE TABLE groups(
  name BLOB PRIMARY KEY, weight INTEGER NOT NULL, concurrency INTEGER NOT NULL, max INTEGER NOT NULL, duration INTEGER NOT NULL,
  own_rule INTEGER NOT NULL, members INTEGER NOT NULL, waiting INTEGER NOT NULL, active INTEGER NOT NULL, starts INTEGER NOT NULL,
  at INTEGER NOT NULL, key INTEGER NOT NULL, "order" INTEGER NOT NULL, start INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX group_turns ON groups(at, key, "order");
CREATE TABLE group_starts(
  name BLOB NOT NULL, at INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY(name, at, number)) WITHOUT ROWID;
CREATE TABLE schedules(
  id TEXT PRIMARY KEY, options TEXT NOT NULL, every INTEGER NOT NULL, calendar TEXT, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
  "limit" INTEGER NOT NULL, overlap INTEGER NOT NULL, first INTEGER NOT NULL, next INTEGER NOT NULL, made INTEGER NOT NULL,
  last INTEGER NOT NULL, last_name TEXT, over INTEGER NOT NULL, over_at INTEGER NOT NULL, payload BLOB NOT NULL,
  zone TEXT) WITHOUT ROWID;
CREATE INDEX schedule_line ON schedules(next, id);
CREATE TABLE meta(
  one INTEGER PRIMARY KEY CHECK(one = 1), version INTEGER NOT NULL, next_id INTEGER NOT NULL, fences INTEGER NOT NULL,
  front INTEGER NOT NULL, back INTEGER NOT NULL, endings INTEGER NOT NULL, paused INTEGER NOT NULL, waiting INTEGER NOT NULL,
  delayed INTEGER NOT NULL, active INTEGER NOT NULL, completed INTEGER NOT NULL, failed INTEGER NOT NULL,
  schedule_next INTEGER NOT NULL, schedules_starve INTEGER NOT NULL, families INTEGER NOT NULL,
  groups_used INTEGER NOT NULL, weights INTEGER NOT NULL, turn INTEGER NOT NULL, rests_until INTEGER NOT NULL);
INSERT INTO meta VALUES(1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9223372036854775807, 0, 0, 0, 0, 0,
  9223372036854775807);
)";

/// From the version before to this one.
inline constexpr const char* sqlite_upgrade = "ALTER TABLE schedules ADD COLUMN zone TEXT";

/// What both connections need.
template <class = void>
void tune(sqlite_database& db, const sqlite_store_options& o) {
  const auto longest = std::chrono::milliseconds{std::numeric_limits<int>::max()};
  db.check(sqlite3_busy_timeout(db.handle(), static_cast<int>(std::min(o.busy_timeout, longest).count())));
  db.run("PRAGMA cache_size = -" + std::to_string(o.cache_bytes / 1024 + 1));
  db.run("PRAGMA temp_store = MEMORY");
}

/// Makes the tables in an empty file, brings those of an earlier version up to this one, and refuses one that is something else.
template <class = void>
void set_up(sqlite_database& db, const sqlite_store_options& o) {
  const auto integer = [&db](const char* sql) { return sqlite_statement{db, sql}.integer().value_or(0); };
  tune(db, o);
  const auto refuse = [&db](sqlite_errc why) { throw_sqlite(static_cast<int>(why), "penstock::sqlite_store: " + db.path()); };
  if (sqlite3_db_readonly(db.handle(), "main") == 1) throw_sqlite(SQLITE_READONLY, "penstock::sqlite_store: " + db.path());
  // Looked at before anything is changed.
  std::int64_t application = integer("PRAGMA application_id");
  const bool empty = application == 0 && integer("SELECT count(*) FROM sqlite_schema") == 0;
  if (application == 0 && !empty) application = integer("PRAGMA application_id");  // another process may just have made it
  if (application != sqlite_application && !empty) refuse(sqlite_errc::other_file);
  const std::int64_t version = integer("PRAGMA user_version");
  if (version > sqlite_schema_version) refuse(sqlite_errc::newer_version);
  if (application == 0) db.run("PRAGMA page_size = " + std::to_string(o.page_bytes));
  // For that change SQLite wants the file alone, and waits for nobody: while another process makes the same file, it is tried again.
  const auto last_try =
      std::chrono::steady_clock::now() + std::min<std::chrono::milliseconds>(o.busy_timeout, std::chrono::hours{24});
  for (bool done = false; !done;) {
    try {
      sqlite_statement wal{db, "PRAGMA journal_mode = WAL"};
      auto mode = wal.ask();
      if (!mode.next() || mode.bytes(0) != "wal") refuse(sqlite_errc::no_wal);
      done = true;
    } catch (const std::system_error& e) {
      if (e.code() != sqlite_errc::busy || std::chrono::steady_clock::now() >= last_try) throw;
      sqlite3_sleep(1);
    }
  }
  db.run(o.durability == sqlite_durability::full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  const std::int64_t page = integer("PRAGMA page_size");
  db.run("PRAGMA wal_autocheckpoint = " + std::to_string(static_cast<std::int64_t>(o.checkpoint_bytes) / page + 1));
  if (o.max_bytes != 0) db.run("PRAGMA max_page_count = " + std::to_string(static_cast<std::int64_t>(o.max_bytes) / page + 1));
  if (application != 0 && version == sqlite_schema_version) return;
  db.run("BEGIN IMMEDIATE");
  try {
    const bool made = integer("SELECT count(*) FROM sqlite_schema") != 0;
    if (!made || integer("PRAGMA user_version") < sqlite_schema_version) {  // else another process was quicker
      db.run(made ? sqlite_upgrade : sqlite_schema);
      db.run("PRAGMA application_id = " + std::to_string(sqlite_application));
      db.run("PRAGMA user_version = " + std::to_string(sqlite_schema_version));
    }
    db.run("COMMIT");
  } catch (...) {
    if (db.in_transaction()) sqlite3_exec(db.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
}

}  // namespace penstock::inline v0_1::detail
