// A service of users and posts over SQLite, in one process: what a pool of connections, a batcher and an accumulator are worth (blog/compare.hpp).
//
//   sqlite_api [ROWS [DIRECTORY]]      2,000 rows in a temporary directory by default; 100000 for figures
//
// The same over PostgreSQL: postgres_api.cpp.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <system_error>

#include <penstock/pool/worker_pool.hpp>

#include "blog/blog.hpp"
#include "blog/compare.hpp"
#include "blog/sqlite_connection.hpp"

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  using blog::sqlite_connection;
  const std::int64_t rows = std::max<std::int64_t>(argc > 1 ? std::atoll(argv[1]) : 2'000, 100);
  const fs::path home = (argc > 2 ? fs::path{argv[2]} : fs::temp_directory_path()) /
                        ("penstock_sqlite_api_" + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()));
  int code = 0;
  try {
    fs::create_directories(home);
    const std::string path = (home / "blog.db").string();
    penstock::worker_pool workers{{.threads = 1}};
    blog::service<sqlite_connection> service{
        [&](const penstock::connect_request&) { return sqlite_connection{path}; }, workers, {}};
    service.use([](sqlite_connection& c) { c.create(blog::most_users); });
    blog::compare(service, workers, rows, [&] { return sqlite_connection{path}; });
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    code = 1;
  }
  std::error_code ignored;
  fs::remove_all(home, ignored);
  return code;
}
