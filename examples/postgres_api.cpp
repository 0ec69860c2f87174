// A service of users and posts over PostgreSQL: the code of sqlite_api.cpp, with another connection.
//
//   postgres_api CONNECTION [ROWS]               what a pool, a batcher and an accumulator are worth (blog/compare.hpp); 2,000 rows by default
//   postgres_api --outage CONNECTION [--background]    what clients see while the server is killed and started again (blog/outage.hpp)
//
// CONNECTION is a connection string, such as "host=/tmp dbname=postgres"; all is done in a schema of its own. tests/postgres/run_postgres.py makes a
// server for it, and so does scripts/example postgres_api.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include <penstock/core/deadline.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "blog/blog.hpp"
#include "blog/compare.hpp"
#include "blog/outage.hpp"
#include "blog/postgres_connection.hpp"

namespace {

using blog::postgres_connection;
using namespace std::chrono_literals;

void compare(const std::string& where, std::int64_t rows) {
  penstock::worker_pool workers{{.threads = 1}};
  blog::service<postgres_connection> service{
      [&](const penstock::connect_request& r) { return postgres_connection{where, r.deadline, 30s}; }, workers, {}};
  service.use([](postgres_connection& c) { c.create(blog::most_users); });
  blog::compare(service, workers, rows, [&] { return postgres_connection{where, penstock::deadline::after(30s), 30s}; });
  service.use([](postgres_connection& c) { c.drop(); });
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments{argv + 1, argv + argc};
  try {
    if (arguments.size() >= 2 && arguments[0] == "--outage") {
      return blog::outage{arguments[1], arguments.size() > 2 && arguments[2] == "--background"}.run() ? 0 : 1;
    }
    if (arguments.empty()) {
      std::fprintf(stderr, "postgres_api CONNECTION [ROWS] | --outage CONNECTION [--background]\n");
      return 2;
    }
    compare(arguments[0], std::max<std::int64_t>(arguments.size() > 1 ? std::atoll(arguments[1].c_str()) : 2'000, 100));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
