// A service of users and posts over a database: what sqlite_api.cpp and postgres_api.cpp have in common.
//
// Connections  a resource_pool of them. One that does not work any more is found when it is borrowed, or by what it threw, and thrown away.
// Writes       through an accumulator: posts that come while a transaction is on its way share the next one.
// Reads        by author through a batcher: those that come at the same time are one query.
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <penstock/batch/accumulator.hpp>
#include <penstock/batch/batcher.hpp>
#include <penstock/core/backoff.hpp>
#include <penstock/pool/resource_pool.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/future.hpp>

namespace blog {

struct post {
  std::int64_t id = 0;  // 0: the database numbers it
  std::int64_t author = 0;
  std::string title;
};
struct user {
  std::int64_t id = 0;
  std::string name;
};
using titles = std::vector<std::string>;  // an author's posts

// What was asked of the database.
struct usage {
  std::atomic<std::uint64_t> opened{0};
  std::atomic<std::uint64_t> closed{0};
  std::atomic<std::uint64_t> transactions{0};
  std::atomic<std::uint64_t> queries{0};
};
inline usage asked;

/// A database's part: one connection, for one thread at a time. All but works() throw an std::exception that says what went wrong.
template <class C>
concept connection = requires(C& c, std::int64_t n, std::span<const post> posts, std::span<const std::int64_t> authors) {
  c.create(n);  // the tables, and so many users
  c.index();
  c.clear();                                             // no posts are left
  c.insert(posts);                                       // all or none of them; one whose id is there already stays as it is
  { c.posts() } -> std::same_as<std::int64_t>;           // how many there are
  { c.users(n, n) } -> std::same_as<std::vector<user>>;  // from this id on, so many
  { c.posts_of(n) } -> std::same_as<titles>;             // one author's
  { c.posts_of(authors) } -> std::same_as<std::vector<titles>>;  // in the order of the authors
  { c.works() } -> std::same_as<bool>;                           // as far as one can tell without asking the server
};

/// There was no connection to be had in time; the message has what the last attempt to connect met with.
class no_connection : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct options {
  std::size_t connections = 2;
  std::chrono::milliseconds patience{30'000};  // of who waits for a connection
  unsigned attempts = 1;                       // to write a batch
  penstock::any_scheduler connect_on = {};     // by default: the thread that needs a connection
};

template <connection Connection>
class service {
 public:
  using connect = std::function<Connection(const penstock::connect_request&)>;

  /// Two of the workers may wait for the database at a time.
  service(connect how, penstock::worker_pool& workers, options o)
      : connections_{std::move(how),
                     {.max_size = o.connections,
                      .acquire_timeout = o.patience,
                      .connect_timeout = o.patience,
                      .validate = [](Connection& idle) { return idle.works(); },
                      .validate_after = std::chrono::nanoseconds{0},
                      .connect_backoff =
                          penstock::backoff::exponential(std::chrono::milliseconds{20}, std::chrono::milliseconds{500}),
                      .executor = o.connect_on}},
        posts_{workers,
               [this](std::span<const post> batch) { use([&](Connection& c) { c.insert(batch); }); },
               {.max_batch_size = 20'000,
                .capacity = 50'000,
                .retry = penstock::retry_with(
                    penstock::backoff::exponential(std::chrono::milliseconds{50}, std::chrono::seconds{1}), o.attempts, 1)}},
        posts_by_author_{
            workers,
            [this](std::span<const std::int64_t> authors) { return use([&](Connection& c) { return c.posts_of(authors); }); },
            {.schedule = penstock::batch_schedule::ready_work}} {}

  /// f(connection), with a connection of the pool.
  template <class F>
  auto use(F&& f) {
    auto lease = connections_.acquire();
    if (!lease) throw no_connection{why_not(lease.error())};
    try {
      return f(**lease);
    } catch (...) {
      if (!(*lease)->works()) lease->discard();
      throw;
    }
  }

  /// Ready when the post is written; throws what kept it from that. With attempts, it may have been written although it throws: an answer was lost.
  penstock::future<void> create(post p) { return posts_.add(std::move(p)); }
  penstock::future<void> create(const penstock::wait_limits& limits, post p) { return posts_.add(limits, std::move(p)); }
  /// load() and async_load().
  penstock::batcher<std::int64_t, titles>& posts_by_author() noexcept { return posts_by_author_; }

  penstock::resource_pool<Connection>& connections() noexcept { return connections_; }
  penstock::accumulator<post>& posts() noexcept { return posts_; }

 private:
  std::string why_not(std::error_code error) const {
    std::string message = "no connection: " + error.message();
    try {
      if (const std::exception_ptr last = connections_.last_connect_error()) std::rethrow_exception(last);
    } catch (const std::exception& e) {
      message += std::string{"; the last attempt: "} + e.what();
    }
    return message;
  }

  penstock::resource_pool<Connection> connections_;
  penstock::accumulator<post> posts_;
  penstock::batcher<std::int64_t, titles> posts_by_author_;
};

}  // namespace blog
