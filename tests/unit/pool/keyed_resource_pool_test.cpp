// A resource pool for each key.
#include <penstock/pool/keyed_resource_pool.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/core/spawn.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "resource_pool_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using namespace resource_testing;

using keyed = keyed_resource_pool<std::string, thing>;

TEST_CASE("keyed_resource_pool: each key has resources, a line and a limit of its own", "[keyed_resource_pool]") {
  manual_clock clock;
  world w;
  std::string asked;
  keyed hosts{[&](const std::string& key, const connect_request&) {
                asked += key;
                return thing{w};
              },
              {.each = {.max_size = 1, .validate = checker(w), .validate_after = 1s, .clock = clock}}};
  auto a = hosts.acquire("a"), b = hosts.acquire("b");
  CHECK(asked == "ab");
  CHECK(hosts.try_acquire("a") == errc::empty);
  CHECK(hosts.acquire("a", {.deadline = deadline::after(0s, clock)}) == errc::timeout);
  auto waits = spawn(hosts.async_acquire("a"));
  auto stopped = spawn(hosts.async_acquire("b") | with_timeout(1s, clock));
  a->release();
  CHECK((*waits.result())->number == 1);
  clock.advance(1s);
  CHECK(stopped.result() == errc::timeout);
  CHECK(w.checks == 0);
  CHECK((*hosts.try_acquire_for("a", 1s))->number == 1);  // idle for a second: checked
  CHECK(w.checks == 1);
  CHECK(hosts.stats("a").in_use == 0);
  CHECK(hosts.stats("b").in_use == 1);
  CHECK(hosts.stats("c").created == 0);
  CHECK(hosts.keys() == 2);
  resource_pool_stats all = hosts.stats();
  CHECK(all.in_use == 1);
  CHECK(all.idle == 1);
  CHECK(all.limit == 2);
  CHECK(all.created == 2);
  CHECK(all.acquired == 4);
  CHECK(all.waited == hosts.stats("a").waited + hosts.stats("b").waited);
  CHECK(all.timed_out == 1);
  CHECK(all.cancelled == 1);  // a task, by its timeout
  CHECK(all.refused.total() == 0);
  hosts.evict("a");
  CHECK(w.living == 1);
  hosts.evict_all();
  CHECK(w.living == 1);
  hosts.close();
  CHECK(hosts.acquire("b") == errc::closed);
  CHECK(hosts.acquire("new") == errc::closed);
  CHECK(hosts.stats().refused.closed == 2);
  b->release();
  CHECK(w.living == 0);
  all = hosts.stats();
  CHECK(all.discarded.evicted == 1);
  CHECK(all.created == all.discarded.total());
}

TEST_CASE("keyed_resource_pool: every key's pool times as many leases as it is told to", "[keyed_resource_pool]") {
  world w;
  manual_clock clock;
  keyed hosts{[&](const std::string&) { return thing{w}; }, {.each = {.metrics = true, .time_every = 1, .clock = clock}}};
  for (int n = 0; n < 100; ++n) CHECK(hosts.acquire("a").has_value());  // all at a time: of many, unless it is told otherwise
  CHECK(hosts.stats("a").hold_time.count() == 100);
  CHECK_THROWS_AS((keyed{[&](const std::string&) { return thing{w}; }, {.each = {.time_every = 0}}}), std::invalid_argument);
}

TEST_CASE("keyed_resource_pool: a key beyond max_keys takes the place of the unused one that was met longest ago",
          "[keyed_resource_pool][hazard-28]") {
  world w;
  keyed hosts{[&](const std::string&) { return thing{w}; }, {.max_keys = 3, .each = {.max_size = 2}}};
  auto used = hosts.acquire("used");
  static_cast<void>(hosts.acquire("old"));
  static_cast<void>(hosts.acquire("older"));
  static_cast<void>(hosts.acquire("old"));
  CHECK(w.living == 3);
  auto next = hosts.acquire("next");
  CHECK(hosts.keys() == 3);
  CHECK(hosts.stats("older").created == 0);
  CHECK(hosts.stats("old").created == 1);
  auto last = hosts.acquire("last");
  CHECK(hosts.acquire("too many") == errc::full);
  CHECK(w.living == 3);
  used->release();
  for (int i = 0; i < 100; ++i) CHECK(hosts.acquire("invented " + std::to_string(i)).has_value());
  CHECK(hosts.keys() == 3);
  CHECK(w.living == 3);
  const resource_pool_stats all = hosts.stats();  // also of keys that are gone
  CHECK(all.acquired == 106);
  CHECK(all.created == 105);
  CHECK(all.in_use == 2);
  CHECK(all.idle == 1);
  CHECK(all.limit == 6);
  CHECK(all.created == all.in_use + all.idle + all.checking + all.discarded.total());
  CHECK(all.refused.full == 1);
  CHECK_THROWS_AS((keyed{[&](const std::string&) { return thing{w}; }, {.max_keys = 0}}), std::invalid_argument);
  CHECK_THROWS_AS((keyed{[&](const std::string&) { return thing{w}; }, {.each = {.max_size = 0}}}), std::invalid_argument);
  CHECK_THROWS_AS((keyed{[&](const std::string&) { return thing{w}; }, {.each = {.min_idle = 1}}}), std::invalid_argument);
}

TEST_CASE("keyed_resource_pool: a key that gets no pool is told at once, also on the thread that connects",
          "[keyed_resource_pool]") {
  world w;
  manual_executor executor;
  keyed hosts{[&](const std::string&) { return thing{w}; },
              {.max_keys = 1, .each = {.min_idle = 1, .max_size = 2, .executor = executor.get_scheduler()}}};
  auto waits = spawn(executor, hosts.async_acquire("used"));
  executor.run_all();
  CHECK(waits.result().has_value());
  CHECK(hosts.stats("used").idle == 2);
  auto used = hosts.acquire("used");
  executor.run_all();
  auto refused = spawn(executor, hosts.async_acquire("no room"));  // would wait for a connect that nobody runs
  executor.run_all();
  CHECK(refused.result() == errc::full);
  CHECK(w.living == 2);
  used->release();
  hosts.close();
  executor.run_all();
}

}  // namespace
