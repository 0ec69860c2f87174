// A service of users and posts over SQLite, in one process: what batching is worth in front of a database that syncs its disk.
//
//   sqlite_api [ROWS [DIRECTORY]]      2,000 rows in a temporary directory by default; 100000 for figures
//
// createMany: many clients create a post each and want to know that it is on disk. One transaction for each post is one sync for each; through an
// accumulator those that come while the disk syncs share the next transaction.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/batch/accumulator.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "sqlite.hpp"

namespace {

namespace fs = std::filesystem;
using fulltext::database;
using fulltext::statement;

struct post {
  std::int64_t user = 0;
  std::string title;
};

post post_of(std::int64_t i, std::int64_t users) { return {i % users + 1, "post " + std::to_string(i)}; }

/// A connection with the statements of the service. A commit is a sync of the disk.
class connection {
 public:
  explicit connection(const std::string& path) : db_{path} {
    db_.run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    db_.run("CREATE TABLE IF NOT EXISTS posts (id INTEGER PRIMARY KEY, user INTEGER NOT NULL, title TEXT NOT NULL)");
  }

  void insert(std::span<const post> posts) {
    statement row{db_, "INSERT INTO posts (user, title) VALUES (?1, ?2)"};
    db_.run("BEGIN IMMEDIATE");
    try {
      for (const post& p : posts) row.run(p.user, p.title);
      db_.run("COMMIT");
    } catch (...) {
      row.reset();
      db_.run("ROLLBACK");
      throw;
    }
    ++transactions_;
  }
  void clear() { db_.run("DELETE FROM posts; PRAGMA wal_checkpoint(TRUNCATE)"); }
  [[nodiscard]] std::int64_t posts() { return db_.integer("SELECT count(*) FROM posts"); }
  [[nodiscard]] std::uint64_t take_transactions() noexcept { return std::exchange(transactions_, 0); }

 private:
  database db_;
  std::uint64_t transactions_ = 0;
};

struct figure {
  double rows_per_second;
  std::uint64_t transactions;
};

// Runs f, which creates that many posts, on an empty table.
template <class F>
figure measure(const char* what, connection& db, std::int64_t rows, F&& f) {
  db.clear();
  static_cast<void>(db.take_transactions());
  const auto start = std::chrono::steady_clock::now();
  f();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (db.posts() != rows) throw std::runtime_error{std::string{what} + ": rows are missing"};
  const figure got{static_cast<double>(rows) / seconds, db.take_transactions()};
  std::printf("  %-34s %8lld rows %8llu transactions %10.0f rows/s\n", what, static_cast<long long>(rows),
              static_cast<unsigned long long>(got.transactions), got.rows_per_second);
  return got;
}

void create_many(connection& db, std::int64_t rows, std::int64_t users) {
  std::printf("createMany\n");
  const std::int64_t few = std::clamp<std::int64_t>(rows / 50, 20, 2'000);  // a sync for each: they take as long
  const figure one_each = measure("a transaction for each row", db, few, [&] {
    for (std::int64_t i = 0; i < few; ++i) {
      const post p = post_of(i, users);
      db.insert({&p, 1});
    }
  });
  const figure by_hand = measure("one transaction, written by hand", db, rows, [&] {
    std::vector<post> all;
    for (std::int64_t i = 0; i < rows; ++i) all.push_back(post_of(i, users));
    db.insert(all);
  });
  penstock::worker_pool pool{{.threads = 1}};
  const figure batched = measure("through the accumulator, 4 clients", db, rows, [&] {
    penstock::accumulator<post> posts{
        pool, [&](std::span<const post> batch) { db.insert(batch); }, {.max_batch_size = 20'000, .capacity = 50'000}};
    std::vector<std::jthread> clients;
    for (std::int64_t c = 0; c < 4; ++c) {
      clients.emplace_back([&posts, c, rows, users] {
        std::vector<penstock::future<void>> created;  // each post's own outcome
        for (std::int64_t i = c; i < rows; i += 4) created.push_back(posts.add(post_of(i, users)));
        // The last one first: the others are written by then, and nobody waits for one after the other.
        for (auto outcome = created.rbegin(); outcome != created.rend(); ++outcome) outcome->get();
      });
    }
  });
  std::printf("  %.0f times a transaction each; the hand-written one is %.2f times as fast\n",
              batched.rows_per_second / one_each.rows_per_second, by_hand.rows_per_second / batched.rows_per_second);
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t rows = std::max<std::int64_t>(argc > 1 ? std::atoll(argv[1]) : 2'000, 4);
  const fs::path home = (argc > 2 ? fs::path{argv[2]} : fs::temp_directory_path()) /
                        ("penstock_sqlite_api_" + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()));
  int code = 0;
  try {
    fs::create_directories(home);
    connection db{(home / "blog.db").string()};
    create_many(db, rows, 100);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    code = 1;
  }
  std::error_code ignored;
  fs::remove_all(home, ignored);
  return code;
}
