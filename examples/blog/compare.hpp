// What a pool of connections, a batcher and an accumulator are worth: rows/s and queries with and without each.
//
// createMany    many clients create a post each and want to know that it is on disk. One transaction for each post is one sync for each; through an
//               accumulator those that come while the disk syncs share the next transaction.
// N+1           a page of 100 users with their posts. Whoever resolves it user by user asks 1 + 100 queries; through a batcher the same
//               coroutines, unchanged but for the call, ask two.
// connections   each request opens its own, or leases one from a resource_pool.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "blog.hpp"

namespace blog {

constexpr std::int64_t most_users = 100;
inline post post_of(std::int64_t i) { return {0, i % most_users + 1, "post " + std::to_string(i)}; }
inline std::vector<post> posts_up_to(std::int64_t n) {
  std::vector<post> all;
  for (std::int64_t i = 0; i < n; ++i) all.push_back(post_of(i));
  return all;
}

double seconds_of(auto&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// --- createMany

// Rows a second of f, which creates so many posts in an empty table.
template <class Connection>
double create(const char* what, service<Connection>& s, std::int64_t rows, auto&& f) {
  s.use([](Connection& c) { c.clear(); });
  asked.transactions = 0;
  const double rate = static_cast<double>(rows) / seconds_of(f);
  if (s.use([](Connection& c) { return c.posts(); }) != rows) throw std::runtime_error{std::string{what} + ": rows are missing"};
  std::printf("  %-34s %8lld rows %8llu transactions %10.0f rows/s\n", what, static_cast<long long>(rows),
              static_cast<unsigned long long>(asked.transactions), rate);
  return rate;
}

template <class Connection>
void create_many(service<Connection>& s, std::int64_t rows) {
  std::printf("createMany\n");
  const std::int64_t few = std::clamp<std::int64_t>(rows / 100, 20, 1'000);  // a sync for each: they take as long
  const double one_each = create("a transaction for each row", s, few, [&] {
    for (std::int64_t i = 0; i < few; ++i) {
      const post p = post_of(i);
      s.use([&](Connection& c) { c.insert({&p, 1}); });
    }
  });
  const double by_hand = create("one transaction, written by hand", s, rows, [&] {
    const std::vector<post> all = posts_up_to(rows);
    s.use([&](Connection& c) { c.insert(all); });
  });
  const double batched = create("through the accumulator, 4 clients", s, rows, [&] {
    std::vector<std::jthread> clients;
    for (std::int64_t client = 0; client < 4; ++client) {
      clients.emplace_back([&s, client, rows] {
        std::vector<penstock::future<void>> created;  // each post's own outcome
        for (std::int64_t i = client; i < rows; i += 4) created.push_back(s.create(post_of(i)));
        // The last one first: the others are written by then, and nobody waits for one after the other.
        for (auto outcome = created.rbegin(); outcome != created.rend(); ++outcome) outcome->get();
      });
    }
  });
  std::printf("  %.0f times a transaction each; the hand-written one is %.2f times as fast\n", batched / one_each,
              by_hand / batched);
}

// --- N+1

template <class Connection>
penstock::task<> resolve_alone(service<Connection>& s, std::int64_t author, std::size_t& rows) {
  rows += s.use([author](Connection& c) { return c.posts_of(author); }).size();
  co_return;
}
template <class Connection>
penstock::task<> resolve_together(service<Connection>& s, std::int64_t author, std::size_t& rows) {
  const penstock::result<titles> found = co_await s.posts_by_author().async_load(author);
  rows += found.value().size();
}
template <class Connection>
using resolver = penstock::task<> (*)(service<Connection>&, std::int64_t, std::size_t&);

// One page, where its coroutines run. `resolve` makes that of one user.
template <class Connection>
penstock::task<> page(service<Connection>& s, penstock::worker_pool& executor, resolver<Connection> resolve, std::size_t& rows) {
  const std::vector<user> users = s.use([](Connection& c) { return c.users(1, most_users); });
  penstock::task_group group{executor};
  for (const user& u : users) group.spawn(resolve(s, u.id, rows));
  co_await group.join();
}

// Pages of 100 users with their posts, on an executor of one thread.
template <class Connection>
void pages(const char* what, service<Connection>& s, penstock::worker_pool& executor, int n, std::size_t expected,
           resolver<Connection> resolve) {
  asked.queries = 0;
  std::size_t rows = 0;
  const double seconds = seconds_of([&] {
    for (int i = 0; i < n; ++i) penstock::spawn(executor, page(s, executor, resolve, rows)).result();
  });
  if (rows != expected * static_cast<std::size_t>(n)) throw std::runtime_error{std::string{what} + ": posts are missing"};
  std::printf("  %-34s %8d pages %7.1f queries a page %10.0f rows/s\n", what, n,
              static_cast<double>(asked.queries) / static_cast<double>(n), static_cast<double>(rows) / seconds);
}

template <class Connection>
void n_plus_one(service<Connection>& s, penstock::worker_pool& executor, int n) {
  const std::vector<post> few = posts_up_to(2'000);
  s.use([&](Connection& c) {
    c.clear();
    c.insert(few);
    c.index();
  });
  std::printf("N+1: %lld users and their %zu posts\n", static_cast<long long>(most_users), few.size());
  pages<Connection>("user by user", s, executor, n, few.size(), resolve_alone);
  pages<Connection>("through the batcher", s, executor, n, few.size(), resolve_together);
  if (asked.queries != 2 * static_cast<std::uint64_t>(n)) throw std::runtime_error{"a page took more than two queries"};
}

// --- connections

void requests(const char* what, int n, auto&& request) {
  asked.opened = 0;
  const double seconds = seconds_of([&] {
    std::vector<std::jthread> clients;
    for (int c = 0; c < 4; ++c) {
      clients.emplace_back([&] {
        for (int i = 0; i < n / 4; ++i) request();
      });
    }
  });
  std::printf("  %-34s %8d requests %5llu connections opened %10.0f requests/s\n", what, n / 4 * 4,
              static_cast<unsigned long long>(asked.opened), n / 4 * 4 / seconds);
}

// `connect` gives a new connection.
template <class Connection>
void leasing(service<Connection>& s, int n, auto&& connect) {
  std::printf("connections, 4 clients\n");
  requests("one for each request", n, [&] { static_cast<void>(connect().users(1, 1)); });
  requests("leased from a pool of at most 2", n, [&] { static_cast<void>(s.use([](Connection& c) { return c.users(1, 1); })); });
  if (s.connections().stats().in_use != 0) throw std::runtime_error{"a lease is missing"};
}

/// All three, in a database that is empty but for tables without posts. `workers`: one thread.
template <class Connection>
void compare(service<Connection>& s, penstock::worker_pool& workers, std::int64_t rows, auto&& connect) {
  create_many(s, rows);
  n_plus_one(s, workers, static_cast<int>(std::min<std::int64_t>(rows / 100, 200)));
  leasing(s, static_cast<int>(std::min<std::int64_t>(rows / 20, 1'000)), connect);
}

}  // namespace blog
