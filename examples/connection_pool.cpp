// Connections to a database that goes down and comes back: the pool makes what is needed, throws away what is broken, does not storm a server that
// is down, and tells who holds a connection for too long. On a clock that is moved by hand, so that it does the same each time.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/resource_pool.hpp>

using namespace std::chrono_literals;

namespace {

struct database {
  bool up = true;
  int version = 1;  // a failover makes another one
  int connects = 0;
};

struct connection {
  explicit connection(database& d) : db{&d}, to{d.version} {
    ++d.connects;
    if (!d.up) throw std::runtime_error{"connection refused"};
  }
  bool ping() const { return db->up && to == db->version; }
  database* db;
  int to;
};

using pool = penstock::resource_pool<connection>;

void expect(bool holds, const char* what) {
  std::printf("%-7s %s\n", holds ? "ok" : "NOT OK", what);
  if (!holds) std::exit(1);
}

penstock::task<bool> handle_request(pool& connections) {
  auto c = co_await connections.async_acquire();
  co_return c.has_value() && (*c)->ping();
}

}  // namespace

int main() {
  penstock::manual_clock clock;
  database db;
  int leaks = 0;
  pool connections{[&db] { return connection{db}; },
                   {.max_size = 2,
                    .acquire_timeout = 5s,
                    .idle_timeout = 60s,
                    .validate = [](connection& c) { return c.ping(); },
                    .validate_after = 1s,
                    .connect_backoff = penstock::backoff::fixed(1s),
                    .leak_threshold = 30s,
                    .on_leak =
                        [&leaks](const penstock::resource_leak& l) {
                          ++leaks;
                          std::printf("        leased for %lld s: line %u\n", static_cast<long long>(l.age / 1s), l.where.line());
                        },
                    .clock = clock}};

  bool all = true;
  for (int i = 0; i < 100; ++i) all = penstock::spawn(handle_request(connections)).result() && all;
  expect(all, "a hundred requests, one after the other, are served");
  expect(db.connects == 1, "all used the same connection");

  {
    auto a = connections.acquire(), b = connections.acquire();
    auto third = penstock::spawn(handle_request(connections));
    expect(!third.done(), "two are there, the third request waits");
    a->release();
    expect(third.result(), "and goes on with the first that comes back");
  }

  db.version = 2;  // a failover: the old connections are dead
  clock.advance(2s);
  expect(penstock::spawn(handle_request(connections)).result(),
         "a connection that does not work is replaced before anybody gets it");
  connections.evict_all();

  db.up = false;
  db.connects = 0;
  auto patient = penstock::spawn(handle_request(connections));
  auto other = penstock::spawn(handle_request(connections));
  expect(db.connects == 1, "the database is down: one attempt, whoever waits");
  clock.advance(1s);
  expect(db.connects == 2, "and another one a second later");
  db.up = true;
  clock.advance(1s);
  expect(patient.result() && other.result(), "it is back: both go on, within their deadlines");

  db.up = false;
  connections.evict_all();
  auto late = penstock::spawn(connections.async_acquire());
  clock.advance(5s);
  expect(late.result() == penstock::errc::timeout, "after five seconds a caller is told");
  db.up = true;
  clock.advance(1s);

  auto forgotten = connections.acquire();
  clock.advance(30s);
  expect(leaks == 1, "a lease that is not given back is reported");
  forgotten->release();
  clock.advance(60s);
  const auto stats = connections.stats();
  expect(stats.idle == 0 && stats.created == stats.discarded.total(), "idle ones have gone; every connection is accounted for");
  return 0;
}
