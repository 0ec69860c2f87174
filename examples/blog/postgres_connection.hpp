// blog::connection over PostgreSQL, by its C library. A statement is a transaction; its commit is a sync of the disk.
//
// Deadlines  the library is only ever asked what it can answer at once; in between this waits for the socket. So neither connecting nor a query takes
//            longer than it may, whatever the server does; a connection whose answer did not come in time works no more.
// Schema     all is in a schema of its own, which create() makes and drop() removes: nothing else in the database is touched.
#pragma once

#include <libpq-fe.h>

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <penstock/core/deadline.hpp>

#include "blog.hpp"

namespace blog {

/// What the server or the library said.
class postgres_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class postgres_connection {
  using steady = std::chrono::steady_clock;

 public:
  /// `where`: a connection string of libpq's. `query_timeout` is for each query.
  postgres_connection(const std::string& where, const penstock::deadline& until, std::chrono::milliseconds query_timeout);

  void create(std::int64_t users);
  void drop();
  void index();
  void clear();
  void insert(std::span<const post> posts);
  [[nodiscard]] std::int64_t posts();
  /// Of the posts of authors from this one on.
  [[nodiscard]] std::vector<std::int64_t> ids_of(std::int64_t first_author);
  [[nodiscard]] std::vector<user> users(std::int64_t first, std::int64_t n);
  [[nodiscard]] titles posts_of(std::int64_t author);
  [[nodiscard]] std::vector<titles> posts_of(std::span<const std::int64_t> authors);
  [[nodiscard]] bool works() noexcept;

 private:
  struct close {
    void operator()(PGconn* c) const noexcept;
  };
  struct clear_answer {
    void operator()(PGresult* r) const noexcept { PQclear(r); }
  };
  using answer = std::unique_ptr<PGresult, clear_answer>;

  answer ask(const char* sql, std::initializer_list<std::string> values = {});
  answer next_answer(steady::time_point until);
  void wait_for(short what, steady::time_point until);
  [[noreturn]] void fail();

  std::unique_ptr<PGconn, close> connection_;
  std::chrono::milliseconds query_timeout_;
  bool in_step_ = true;  // no answer is on its way that nobody waits for
};
static_assert(connection<postgres_connection>);

}  // namespace blog
