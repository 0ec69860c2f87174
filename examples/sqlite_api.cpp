// A service of users and posts over SQLite, in one process: what a pool of connections, a batcher and an accumulator are worth.
//
//   sqlite_api [ROWS [DIRECTORY]]      2,000 rows in a temporary directory by default; 100000 for figures
//
// createMany    many clients create a post each and want to know that it is on disk. One transaction for each post is one sync for each; through an
//               accumulator those that come while the disk syncs share the next transaction.
// N+1           a page of 100 users with their posts. Whoever resolves it user by user asks 1 + 100 queries; through a batcher the same
//               coroutines, unchanged but for the call, ask two.
// connections   each request opens its own, or leases one from a resource_pool.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <penstock/batch/accumulator.hpp>
#include <penstock/batch/batcher.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/pool/resource_pool.hpp>
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

struct user {
  std::int64_t id = 0;
  std::string name;
};
using user_posts = std::vector<std::string>;

// What the service has asked of the database.
std::atomic<std::uint64_t> opened{0};
std::atomic<std::uint64_t> transactions{0};
std::atomic<std::uint64_t> queries{0};

/// A connection with the statements of the service. A commit is a sync of the disk.
class connection {
 public:
  explicit connection(const std::string& path) : db_{std::make_unique<database>(path)} {
    ++opened;
    db_->run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  }

  void create(std::int64_t users) {
    db_->run("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)");
    db_->run("CREATE TABLE posts (id INTEGER PRIMARY KEY, user INTEGER NOT NULL, title TEXT NOT NULL)");
    db_->run("BEGIN IMMEDIATE");
    {
      statement row{*db_, "INSERT INTO users VALUES (?1, ?2)"};
      for (std::int64_t i = 1; i <= users; ++i) row.run(i, "user " + std::to_string(i));
    }
    db_->run("COMMIT");
  }
  void index() { db_->run("CREATE INDEX posts_by_user ON posts (user)"); }
  void clear() { db_->run("DELETE FROM posts; PRAGMA wal_checkpoint(TRUNCATE)"); }

  void insert(std::span<const post> posts) {
    statement row{*db_, "INSERT INTO posts (user, title) VALUES (?1, ?2)"};
    db_->run("BEGIN IMMEDIATE");
    try {
      for (const post& p : posts) row.run(p.user, p.title);
      db_->run("COMMIT");
    } catch (...) {
      row.reset();
      db_->run("ROLLBACK");
      throw;
    }
    ++transactions;
  }

  [[nodiscard]] std::int64_t posts() { return db_->integer("SELECT count(*) FROM posts"); }
  [[nodiscard]] std::vector<user> users(std::int64_t first, std::int64_t n) {
    ++queries;
    statement query{*db_, "SELECT id, name FROM users WHERE id >= ?1 ORDER BY id LIMIT ?2"};
    query.bind(first, n);
    std::vector<user> found;
    while (query.step()) found.push_back({query.integer(0), std::string{query.bytes(1)}});
    return found;
  }
  [[nodiscard]] user_posts posts_of(std::int64_t id) {
    ++queries;
    statement query{*db_, "SELECT title FROM posts WHERE user = ?1"};
    query.bind(id);
    user_posts found;
    while (query.step()) found.emplace_back(query.bytes(0));
    return found;
  }
  /// In the order of the ids.
  [[nodiscard]] std::vector<user_posts> posts_of(std::span<const std::int64_t> ids) {
    ++queries;
    std::unordered_map<std::int64_t, std::size_t> place;
    std::string sql = "SELECT user, title FROM posts WHERE user IN (";
    for (std::size_t i = 0; i < ids.size(); ++i) {
      place[ids[i]] = i;
      sql += (i != 0 ? "," : "") + std::to_string(ids[i]);
    }
    statement query{*db_, (sql + ")").c_str()};
    query.bind();
    std::vector<user_posts> found(ids.size());
    while (query.step()) found[place[query.integer(0)]].emplace_back(query.bytes(1));
    return found;
  }

 private:
  std::unique_ptr<database> db_;
};

using connections = penstock::resource_pool<connection>;
connections::lease lease(connections& pool) { return pool.acquire().value(); }

double seconds_of(auto&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// --- createMany

// Rows a second of f, which creates so many posts in an empty table.
double create(const char* what, connections& pool, std::int64_t rows, auto&& f) {
  lease(pool)->clear();
  transactions = 0;
  const double rate = static_cast<double>(rows) / seconds_of(f);
  if (lease(pool)->posts() != rows) throw std::runtime_error{std::string{what} + ": rows are missing"};
  std::printf("  %-34s %8lld rows %8llu transactions %10.0f rows/s\n", what, static_cast<long long>(rows),
              static_cast<unsigned long long>(transactions), rate);
  return rate;
}

void create_many(connections& pool, penstock::worker_pool& workers, std::int64_t rows, std::int64_t users) {
  std::printf("createMany\n");
  const std::int64_t few = std::clamp<std::int64_t>(rows / 100, 20, 1'000);  // a sync for each: they take as long
  const double one_each = create("a transaction for each row", pool, few, [&] {
    for (std::int64_t i = 0; i < few; ++i) {
      const post p = post_of(i, users);
      lease(pool)->insert({&p, 1});
    }
  });
  const double by_hand = create("one transaction, written by hand", pool, rows, [&] {
    std::vector<post> all;
    for (std::int64_t i = 0; i < rows; ++i) all.push_back(post_of(i, users));
    lease(pool)->insert(all);
  });
  const double batched = create("through the accumulator, 4 clients", pool, rows, [&] {
    penstock::accumulator<post> posts{workers,
                                      [&](std::span<const post> batch) { lease(pool)->insert(batch); },
                                      {.max_batch_size = 20'000, .capacity = 50'000}};
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
  std::printf("  %.0f times a transaction each; the hand-written one is %.2f times as fast\n", batched / one_each,
              by_hand / batched);
}

// --- N+1

penstock::task<> resolve_alone(connections& pool, user u, std::size_t& rows) {
  rows += lease(pool)->posts_of(u.id).size();
  co_return;
}
using posts_by_user = penstock::batcher<std::int64_t, user_posts>;
penstock::task<> resolve_together(posts_by_user& posts, user u, std::size_t& rows) {
  const penstock::result<user_posts> found = co_await posts.async_load(u.id);
  rows += found.value().size();
}

// One page, where its coroutines run. `resolve` makes that of one user.
template <class Resolve>
penstock::task<> page(connections& pool, penstock::worker_pool& executor, Resolve& resolve, std::size_t& rows) {
  const std::vector<user> users = lease(pool)->users(1, 100);
  penstock::task_group group{executor};
  for (const user& u : users) group.spawn(resolve(u, rows));
  co_await group.join();
}

// Pages of 100 users with their posts, on an executor of one thread.
void pages(const char* what, connections& pool, penstock::worker_pool& executor, int n, std::size_t expected, auto&& resolve) {
  queries = 0;
  std::size_t rows = 0;
  const double seconds = seconds_of([&] {
    for (int i = 0; i < n; ++i) penstock::spawn(executor, page(pool, executor, resolve, rows)).result();
  });
  if (rows != expected * static_cast<std::size_t>(n)) throw std::runtime_error{std::string{what} + ": posts are missing"};
  std::printf("  %-34s %8d pages %7.1f queries a page %10.0f rows/s\n", what, n,
              static_cast<double>(queries) / static_cast<double>(n), static_cast<double>(rows) / seconds);
}

void n_plus_one(connections& pool, penstock::worker_pool& executor, int n, std::size_t posts) {
  std::printf("N+1: 100 users and their %zu posts\n", posts);
  pages("user by user", pool, executor, n, posts, [&](const user& u, std::size_t& rows) { return resolve_alone(pool, u, rows); });
  posts_by_user batcher{executor,
                        [&](std::span<const std::int64_t> ids) { return lease(pool)->posts_of(ids); },
                        {.schedule = penstock::batch_schedule::ready_work}};
  pages("through the batcher", pool, executor, n, posts,
        [&](const user& u, std::size_t& rows) { return resolve_together(batcher, u, rows); });
  if (queries != 2 * static_cast<std::uint64_t>(n)) throw std::runtime_error{"a page took more than two queries"};
}

// --- connections

void requests(const char* what, int n, auto&& request) {
  opened = 0;
  const double seconds = seconds_of([&] {
    std::vector<std::jthread> clients;
    for (int c = 0; c < 4; ++c) {
      clients.emplace_back([&] {
        for (int i = 0; i < n / 4; ++i) request();
      });
    }
  });
  std::printf("  %-34s %8d requests %5llu connections opened %10.0f requests/s\n", what, n / 4 * 4,
              static_cast<unsigned long long>(opened), n / 4 * 4 / seconds);
}

void leasing(connections& pool, const std::string& path, int n) {
  std::printf("connections, 4 clients\n");
  requests("one for each request", n, [&] { static_cast<void>(connection{path}.users(1, 1)); });
  requests("leased from a pool of at most 2", n, [&] { static_cast<void>(lease(pool)->users(1, 1)); });
  const penstock::resource_pool_stats s = pool.stats();
  if (s.in_use != 0) throw std::runtime_error{"a lease is missing"};
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t rows = std::max<std::int64_t>(argc > 1 ? std::atoll(argv[1]) : 2'000, 100);
  const fs::path home = (argc > 2 ? fs::path{argv[2]} : fs::temp_directory_path()) /
                        ("penstock_sqlite_api_" + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()));
  int code = 0;
  try {
    fs::create_directories(home);
    const std::string path = (home / "blog.db").string();
    connections pool{[&] { return connection{path}; }, {.max_size = 2}};
    penstock::worker_pool workers{{.threads = 1}};
    lease(pool)->create(100);
    create_many(pool, workers, rows, 100);
    std::vector<post> few;
    for (std::int64_t i = 0; i < 2'000; ++i) few.push_back(post_of(i, 100));
    lease(pool)->clear();
    lease(pool)->insert(few);
    lease(pool)->index();
    n_plus_one(pool, workers, static_cast<int>(std::min<std::int64_t>(rows / 100, 200)), few.size());
    leasing(pool, path, static_cast<int>(std::min<std::int64_t>(rows / 10, 4'000)));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    code = 1;
  }
  std::error_code ignored;
  fs::remove_all(home, ignored);
  return code;
}
