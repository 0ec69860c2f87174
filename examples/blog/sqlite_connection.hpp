// blog::connection over SQLite. A commit is a sync of the disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "../index/sqlite.hpp"
#include "blog.hpp"

namespace blog {

class sqlite_connection {
  using statement = fulltext::statement;

 public:
  explicit sqlite_connection(const std::string& path) : db_{std::make_unique<fulltext::database>(path)} {
    ++asked.opened;
    db_->run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  }

  void create(std::int64_t users) {
    db_->run("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)");
    db_->run("CREATE TABLE posts (id INTEGER PRIMARY KEY, author INTEGER NOT NULL, title TEXT NOT NULL)");
    db_->run("BEGIN IMMEDIATE");
    {
      statement row{*db_, "INSERT INTO users VALUES (?1, ?2)"};
      for (std::int64_t i = 1; i <= users; ++i) row.run(i, "user " + std::to_string(i));
    }
    db_->run("COMMIT");
  }
  void index() { db_->run("CREATE INDEX posts_by_author ON posts (author)"); }
  void clear() { db_->run("DELETE FROM posts; PRAGMA wal_checkpoint(TRUNCATE)"); }

  void insert(std::span<const post> posts) {
    statement row{*db_, "INSERT INTO posts VALUES (nullif(?1, 0), ?2, ?3) ON CONFLICT DO NOTHING"};
    db_->run("BEGIN IMMEDIATE");
    try {
      for (const post& p : posts) row.run(p.id, p.author, p.title);
      db_->run("COMMIT");
    } catch (...) {
      row.reset();
      db_->run("ROLLBACK");
      throw;
    }
    ++asked.transactions;
  }

  [[nodiscard]] std::int64_t posts() { return db_->integer("SELECT count(*) FROM posts"); }
  [[nodiscard]] std::vector<user> users(std::int64_t first, std::int64_t n) {
    ++asked.queries;
    statement query{*db_, "SELECT id, name FROM users WHERE id >= ?1 ORDER BY id LIMIT ?2"};
    query.bind(first, n);
    std::vector<user> found;
    while (query.step()) found.push_back({query.integer(0), std::string{query.bytes(1)}});
    return found;
  }
  [[nodiscard]] titles posts_of(std::int64_t author) {
    ++asked.queries;
    statement query{*db_, "SELECT title FROM posts WHERE author = ?1 ORDER BY id"};
    query.bind(author);
    titles found;
    while (query.step()) found.emplace_back(query.bytes(0));
    return found;
  }
  [[nodiscard]] std::vector<titles> posts_of(std::span<const std::int64_t> authors) {
    ++asked.queries;
    std::unordered_map<std::int64_t, std::size_t> place;
    std::string sql = "SELECT author, title FROM posts WHERE author IN (";
    for (std::size_t i = 0; i < authors.size(); ++i) {
      place[authors[i]] = i;
      sql += (i != 0 ? "," : "") + std::to_string(authors[i]);
    }
    statement query{*db_, (sql + ") ORDER BY author, id").c_str()};
    query.bind();
    std::vector<titles> found(authors.size());
    while (query.step()) found[place[query.integer(0)]].emplace_back(query.bytes(1));
    return found;
  }

  [[nodiscard]] bool works() const noexcept { return true; }

 private:
  std::unique_ptr<fulltext::database> db_;
};
static_assert(connection<sqlite_connection>);

}  // namespace blog
