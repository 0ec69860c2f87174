// Who gets which resource, who waits and for how long, and what becomes of resources. How they are made: resource_pool_creation_test.cpp.
#include <penstock/pool/resource_pool.hpp>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"
#include "resource_pool_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using namespace resource_testing;
using test_support::until;

using waiting = spawned<result<pool::lease>>;

waiting wait_in_line(pool& p) { return spawn(p.async_acquire()); }

TEST_CASE("resource_pool: resources are made when they are needed, up to max_size, and used again", "[resource_pool]") {
  world w;
  {
    pool p{maker(w), {.max_size = 2}};
    CHECK(w.made == 0);
    CHECK(p.try_acquire() == errc::empty);
    {
      auto a = p.acquire();
      REQUIRE(a);
      CHECK((*a)->number == 1);
      auto b = p.acquire();
      CHECK((*b)->number == 2);
      CHECK(p.acquire({.deadline = deadline::after(0s)}) == errc::timeout);
      CHECK(p.stats().in_use == 2);
      a->release();
      CHECK_FALSE(*a);
      CHECK((*p.try_acquire())->number == 1);
      pool::lease moved = *std::move(b);
      b = p.acquire();
      CHECK((*b)->number == 1);
    }
    CHECK(w.made == 2);
    const resource_pool_stats s = p.stats();
    CHECK(s.idle == 2);
    CHECK(s.created == 2);
    CHECK(s.acquired == 4);
    CHECK(s.timed_out == 1);
  }
  CHECK(w.living == 0);
}

TEST_CASE("resource_lease: one that is given another resource gives its own back; one of nothing has nothing to give",
          "[resource_pool]") {
  world w;
  pool p{maker(w), {.max_size = 2}};
  {
    pool::lease none;
    CHECK_FALSE(none);
    none.release();
    none.discard();
    pool::lease a = p.acquire().value(), b = p.acquire().value();
    a = std::move(b);
    CHECK(a->number == 2);
    CHECK_FALSE(b);
    CHECK(p.stats().in_use == 1);
    CHECK(p.stats().idle == 1);
    pool::lease& same = a;
    a = std::move(same);
    CHECK(a->number == 2);
    a = std::move(none);
    CHECK_FALSE(a);
    CHECK(p.stats().in_use == 0);
  }
  CHECK(p.stats().idle == 2);
  CHECK(w.living == 2);
}

TEST_CASE("resource_pool: of the idle ones lifo gives the last used, fifo the one that rested longest", "[resource_pool]") {
  const auto numbers = [](resource_order order) {
    world w;
    pool p{maker(w), {.max_size = 3, .order = order}};
    {
      auto a = p.acquire(), b = p.acquire(), c = p.acquire();
      b->release();
      a->release();
    }
    std::string all;
    for (int i = 0; i < 4; ++i) all += std::to_string((*p.acquire())->number);
    return all;
  };
  CHECK(numbers(resource_order::lifo) == "3333");
  CHECK(numbers(resource_order::fifo) == "2132");
}

TEST_CASE("resource_pool: who waits is served in the order of arrival, and nobody overtakes", "[resource_pool][hazard-34]") {
  world w;
  pool p{maker(w), {.max_size = 1}};
  auto held = p.acquire();
  auto first = wait_in_line(p), second = wait_in_line(p);
  CHECK(p.stats().waiting == 2);
  held->release();
  REQUIRE(first.done());
  CHECK_FALSE(second.done());
  CHECK(p.try_acquire() == errc::empty);
  {
    auto mine = first.result();
    CHECK((*mine)->number == 1);
  }
  CHECK(second.result().has_value());
  CHECK(p.stats().waited == 3);  // who connects waits, too
}

TEST_CASE("resource_pool: waits end by stop, deadline and close, take nothing then, and leave the others in line",
          "[resource_pool][hazard-01][hazard-02][hazard-05][hazard-08]") {
  manual_clock clock;
  world w;
  pool p{maker(w), {.max_size = 1, .acquire_timeout = 10s, .clock = clock}};
  auto held = p.acquire();
  auto stopped = wait_in_line(p);
  auto with_own = spawn(p.async_acquire() | with_timeout(4s, clock));
  auto by_default = wait_in_line(p);
  stopped.request_stop();
  CHECK(stopped.result() == errc::cancelled);
  clock.advance(4s);
  CHECK(with_own.result() == errc::timeout);
  clock.advance(6s - 1ns);
  CHECK_FALSE(by_default.done());
  clock.advance(1ns);
  CHECK(by_default.result() == errc::timeout);

  std::stop_source source;
  source.request_stop();
  held->release();
  CHECK(p.acquire(source.get_token()) == errc::cancelled);  // although one is idle
  held = p.acquire();
  auto last = wait_in_line(p);
  p.close();
  CHECK(last.result() == errc::closed);
  CHECK(p.acquire() == errc::closed);
  CHECK(p.try_acquire() == errc::closed);
  CHECK(w.living == 1);  // the lease is good until it is released
  CHECK((*held)->number == 1);
  held->release();
  CHECK(w.living == 0);
  const resource_pool_stats s = p.stats();
  CHECK(s.timed_out == 2);
  CHECK(s.cancelled == 2);
  CHECK(s.discarded.closed == 1);
}

TEST_CASE("resource_pool: a resource that is released at the very deadline is granted or kept, never lost",
          "[resource_pool][hazard-04]") {
  manual_clock clock;
  world w;
  pool p{maker(w), {.max_size = 1, .clock = clock}};
  for (const bool granted_first : {true, false}) {
    auto held = p.acquire();
    auto waits = spawn(p.async_acquire() | with_timeout(1s, clock));
    if (granted_first) held->release();
    clock.advance(1s);
    if (!granted_first) held->release();
    CHECK(waits.result().has_value() == granted_first);
  }
  CHECK(p.stats().idle == 1);
  CHECK(w.made == 1);
}

TEST_CASE("resource_pool: the line is as long as max_waiters", "[resource_pool]") {
  world w;
  pool p{maker(w), {.max_size = 1, .max_waiters = 1}};
  auto held = p.acquire();
  auto waits = wait_in_line(p);
  CHECK(p.acquire() == errc::full);
  CHECK(p.stats().refused == penstock::resource_refusals{.full = 1});
  held->release();
  CHECK(waits.result().has_value());
  p.close();
  CHECK(p.acquire() == errc::closed);
  CHECK(p.stats().refused == penstock::resource_refusals{.full = 1, .closed = 1});
}

TEST_CASE("resource_pool: overflow is made while callers wait, and goes when it comes back", "[resource_pool]") {
  world w;
  pool p{maker(w), {.max_size = 1, .max_overflow = 2}};
  {
    auto a = p.acquire(), b = p.acquire(), c = p.acquire();
    CHECK(w.living == 3);
    auto waits = wait_in_line(p);
    b->release();  // somebody waits: it is kept
    CHECK(waits.result().has_value());
    CHECK(w.living == 2);
  }
  CHECK(w.living == 1);
  CHECK(p.stats().discarded.surplus == 2);
}

TEST_CASE("resource_pool: what was idle for too long, is too old or was used too often goes", "[resource_pool]") {
  manual_clock clock;
  world w;
  pool p{maker(w),
         {.max_size = 3,
          .idle_timeout = 10s,
          .max_lifetime = 25s,
          .lifetime_jitter = 0,
          .max_uses = 3,
          .metrics = true,
          .clock = clock}};
  {
    auto a = p.acquire(), b = p.acquire();
  }
  clock.advance(6s);
  static_cast<void>(p.acquire());  // one of the two is used again
  clock.advance(4s);
  CHECK(w.living == 1);
  CHECK(p.stats().discarded.idle == 1);
  static_cast<void>(p.acquire());
  CHECK(w.living == 0);  // for the third time
  CHECK(p.stats().discarded.uses == 1);

  auto old = p.acquire();
  clock.advance(25s);
  CHECK(w.living == 1);  // it is in use
  old->release();
  CHECK(w.living == 0);
  CHECK(p.stats().discarded.lifetime == 1);
  CHECK(p.stats().lifetime.count() == 3);
  CHECK(p.stats().lifetime.max() >= std::uint64_t{25'000'000'000});
}

TEST_CASE("resource_pool: with metrics it tells how long leases were held", "[resource_pool]") {
  world w;
  manual_clock clock;
  // Times of the lane are by no clock of its own; a list of leases keeps the lane shut.
  for (const auto leaks : {0s, 1000s}) {
    penstock::registry all{{.clock = clock}};
    pool p{maker(w), {.max_size = 2, .leak_threshold = leaks, .metrics = true, .time_every = 1, .clock = clock}};
    const auto joined = all.join("p", p);
    const penstock::registry_snapshot before = all.snapshot();
    auto one = p.acquire();
    clock.advance(1s);
    auto two = p.acquire();
    clock.advance(2s);
    auto moved = *std::move(one);
    two->discard();
    moved.release();
    moved.release();  // of nothing
    clock.advance(1s);
    const auto times = p.stats().hold_time;
    CHECK(times.count() == 2);
    CHECK(times.min() == std::uint64_t{2'000'000'000});
    CHECK(times.max() == std::uint64_t{3'000'000'000});
    // Half a lease a second, of 2.5 s each: a time in which 1.25 were held on average.
    const penstock::registry_interval i = all.snapshot().since(before);
    CHECK(i.find("p")->rate("run_seconds") == 0.5);
    CHECK(std::abs(i.find("p")->run_law().expected() - 1.25) < 0.02);
    // As many as a busy pool lends, which go by the lane, and one that is given to who waits.
    for (int n = 0; n < 100; ++n) p.acquire().value().release();
    CHECK(p.stats().hold_time.count() == 102);
    CHECK(p.stats().acquired == 102);
  }
  pool without{maker(w), {.clock = clock}};
  without.acquire().value().release();
  CHECK(without.stats().hold_time.count() == 0);
}

TEST_CASE("resource_pool: of many leases some are timed, and stand for all; of few each is", "[resource_pool]") {
  world w;
  manual_clock clock;
  pool p{maker(w), {.metrics = true, .clock = clock}};
  for (int n = 0; n < 100; ++n) {
    auto lease = p.acquire();
    clock.advance(3ms);
    lease->release();
  }
  CHECK(p.stats().hold_time.count() == 100);
  CHECK(p.stats().hold_time.min() == std::uint64_t{2'999'999});  // a nanosecond is lost
  CHECK(p.stats().hold_time.max() == std::uint64_t{2'999'999});
  for (int n = 0; n < 4000; ++n) p.acquire().value().release();
  const auto of_many = static_cast<double>(p.stats().hold_time.count() - 100);
  CHECK(std::abs(of_many - 4000) < 0.3 * 4000);
  CHECK(p.stats().acquired == 4100);
  CHECK_THROWS_AS((pool{maker(w), {.time_every = 0}}), std::invalid_argument);
}

TEST_CASE("resource_pool: lifetimes are shortened by chance, so that resources do not all go at once", "[resource_pool]") {
  manual_clock clock;
  world w;
  pool p{maker(w), {.max_size = 20, .idle_timeout = 0s, .max_lifetime = 100s, .lifetime_jitter = 0.5, .clock = clock, .seed = 7}};
  {
    std::vector<pool::lease> all;
    for (int i = 0; i < 20; ++i) all.push_back(p.acquire().value());
  }
  clock.advance(50s - 1ns);
  CHECK(w.living == 20);
  clock.advance(25s);
  CHECK(w.living > 2);
  CHECK(w.living < 18);
  clock.advance(25s + 1ns);
  CHECK(w.living == 0);
}

TEST_CASE("resource_pool: a resource is validated when it was idle for validate_after, and replaced if it is not valid",
          "[resource_pool]") {
  manual_clock clock;
  world w;
  pool p{maker(w), {.max_size = 2, .validate = checker(w), .validate_after = 5s, .clock = clock}};
  {
    auto a = p.acquire(), b = p.acquire();
  }
  clock.advance(5s - 1ns);
  static_cast<void>(p.acquire());
  CHECK(w.checks == 0);
  clock.advance(1ns);
  {
    auto a = p.acquire(), b = p.acquire();
  }  // one was used a nanosecond ago
  CHECK(w.checks == 1);
  clock.advance(5s);
  CHECK((*p.try_acquire())->number <= 2);
  CHECK(w.checks == 2);
  clock.advance(5s);
  w.good = false;
  auto fresh = p.acquire();
  CHECK((*fresh)->number == 3);
  CHECK(w.checks == 4);
  CHECK(p.stats().discarded.invalid == 2);
}

TEST_CASE("resource_pool: discard() destroys the resource, at once", "[resource_pool]") {
  world w;
  pool p{maker(w), {.max_size = 1}};
  auto a = p.acquire();
  a->discard();
  CHECK(w.living == 0);
  CHECK_FALSE(*a);
  CHECK((*p.acquire())->number == 2);
  CHECK(p.stats().discarded.broken == 1);
}

TEST_CASE("resource_pool: evict_all() lets none of the present resources be leased again", "[resource_pool]") {
  world w;
  pool p{maker(w), {.max_size = 2}};
  auto leased = p.acquire();
  static_cast<void>(p.acquire());
  p.evict_all();
  CHECK(w.living == 1);
  CHECK((*leased)->number == 1);
  leased->release();
  CHECK(w.living == 0);
  CHECK((*p.acquire())->number == 3);
  CHECK(p.stats().discarded.evicted == 2);
}

// With no limit in time the idle ones lie on the lane from the beginning (pool/detail/idle_lane.hpp).
TEST_CASE("resource_pool: what is lent and comes back without the lock is in line with all that happens under it",
          "[resource_pool][hazard-02][hazard-08]") {
  world w;
  pool p{maker(w), {.max_size = 60, .max_overflow = 1, .idle_timeout = 0s, .max_lifetime = 0s, .max_uses = 1000}};
  std::vector<pool::lease> all;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 60; ++i) all.push_back(p.try_acquire_for(1s).value());  // more than there are places on the lane
    CHECK(p.stats().in_use == 60);
    CHECK_FALSE(p.try_acquire());
    all.clear();
    CHECK(p.stats().idle == 60);
  }
  CHECK(w.made == 60);
  CHECK(p.stats().acquired == 120);
  all.push_back(*p.acquire());
  p.evict_all();
  CHECK(w.living == 1);
  static_cast<void>(p.acquire());
  all.clear();  // not to the idle ones, although they are on the lane
  CHECK(w.living == 1);
  CHECK(p.stats().discarded.evicted == 60);
  p.resize(0, 1, 1);
  auto a = p.acquire(), b = p.acquire();
  auto first = wait_in_line(p), second = wait_in_line(p);
  a->release();
  CHECK(first.done());
  CHECK_FALSE(second.done());
  CHECK(p.try_acquire() == errc::empty);
  CHECK(p.is_used());
  first.result()->release();
  CHECK(second.result().has_value());
  CHECK(w.living == 1);
  b->release();
  for (int i = 0; i < 1000; ++i) static_cast<void>(p.acquire());
  CHECK(p.stats().discarded.uses == 1);
  CHECK_FALSE(p.is_used());
  auto last = p.acquire();
  p.close();
  CHECK(p.acquire() == errc::closed);
  last->release();
  CHECK(w.living == 0);
  const resource_pool_stats s = p.stats();
  CHECK(s.created == s.discarded.total());
}

TEST_CASE("resource_pool: a busy pool looks at the clock now and then, and is late by a sixteenth of a limit at the most",
          "[resource_pool]") {
  manual_clock clock;
  world w;
  pool p{maker(w),
         {.max_size = 2,
          .idle_timeout = 32s,
          .max_lifetime = 100s,
          .lifetime_jitter = 0,
          .validate = checker(w),
          .validate_after = 16s,
          .clock = clock}};
  const auto be_busy = [&] {
    for (int i = 0; i < 100; ++i) static_cast<void>(p.acquire());
  };
  {
    auto a = p.acquire(), b = p.acquire();
  }
  clock.advance(500ms);
  be_busy();  // with one of them
  CHECK(clock.next_timer() == clock.now() + 1s);
  clock.advance(17s);
  CHECK(w.checks == 0);
  be_busy();
  CHECK(w.checks == 1);
  for (int i = 0; i < 80; ++i) {
    clock.advance(1s);
    be_busy();
  }
  CHECK(w.checks == 1);
  CHECK(p.stats().discarded.idle == 1);
  clock.advance(2s);
  be_busy();
  CHECK(w.living == 1);
  clock.advance(500ms);  // a hundred seconds, and not a moment more
  CHECK(w.living == 0);
  CHECK(p.stats().discarded.lifetime == 1);
  be_busy();
  CHECK(w.made == 3);
  clock.advance(33s);
  CHECK(w.living == 0);
  CHECK(p.stats().discarded.idle == 2);
  CHECK(p.stats().acquired == 2 + 84 * 100);
  clock.advance(1h);
  CHECK(clock.next_timer() == manual_clock::time_point::max());  // none while it is idle
}

TEST_CASE("resource_pool: resize() serves who waits, and takes away what is too much", "[resource_pool]") {
  world w;
  pool p{maker(w), {.max_size = 1}};
  auto a = p.acquire();
  auto waits = wait_in_line(p);
  p.resize(0, 3);
  auto b = waits.result();
  REQUIRE(b);
  auto c = p.acquire();
  c->release();
  p.resize(0, 1);
  CHECK(w.living == 2);
  a->release();
  CHECK(w.living == 1);
  b->release();
  CHECK(w.living == 1);
  p.resize(0, 2);
  c = p.acquire();
  a = p.acquire();
  auto in_line = wait_in_line(p);
  p.resize(0, 1);
  a->release();  // one is too much, although somebody waits
  CHECK(w.living == 1);
  CHECK_FALSE(in_line.done());
  c->release();
  CHECK(in_line.result().has_value());
  CHECK_THROWS_AS(p.resize(0, 0), std::invalid_argument);
  CHECK_THROWS_AS(p.resize(1, 2), std::invalid_argument);  // nobody would connect in the background
}

TEST_CASE("resource_pool: a lease that is kept for too long is reported, once, with the place of its acquire",
          "[resource_pool]") {
  manual_clock clock;
  world w;
  std::vector<resource_leak> leaks;
  pool p{maker(w), {.leak_threshold = 3s, .on_leak = [&](const resource_leak& l) { leaks.push_back(l); }, .clock = clock}};
  const auto line = std::source_location::current().line() + 1;
  auto kept = p.acquire();
  clock.advance(2s);
  auto short_one = p.acquire();
  clock.advance(1s);
  short_one->release();
  clock.advance(10s);
  REQUIRE(leaks.size() == 1);
  CHECK(leaks[0].where.line() == line);
  CHECK(std::string{leaks[0].where.file_name()}.find("resource_pool_test") != std::string::npos);
  CHECK(leaks[0].age == 3s);
  auto forgotten = p.acquire();
  p.close();
  clock.advance(3s);
  CHECK(leaks.size() == 2);  // who waits for the end of the pool wants to know
  CHECK(p.stats().leaks == 2);
}

TEST_CASE("resource_pool: a thread that would wait with a lease in its hand is told of the deadlock",
          "[resource_pool][hazard-18]") {
  world w;
  pool p{maker(w), {.max_size = 2, .nested = nested_acquire::refuse}};
  auto outer = p.acquire();
  auto inner = p.acquire();  // it need not wait
  CHECK(p.acquire() == errc::deadlock);
  std::thread{[&] { CHECK(p.acquire({.deadline = deadline::after(1ms)}) == errc::timeout); }}.join();
}

TEST_CASE("resource_pool: draining waits for the last lease; the destructor does, too", "[resource_pool][hazard-12]") {
  world w;
  std::optional<pool> p{std::in_place, maker(w), options{.max_size = 3}};
  auto a = p->acquire();
  CHECK(p->drain({.deadline = deadline::after(0s)}) == errc::timeout);
  auto drained = spawn(p->async_drain());
  CHECK_FALSE(drained.done());
  auto other = std::thread{[lease = *std::move(a)]() mutable { lease.release(); }};
  CHECK(drained.result().has_value());
  p.reset();
  CHECK(w.living == 0);
  other.join();

  p.emplace(maker(w));
  auto b = p->acquire();
  other = std::thread{[&q = *p, lease = *std::move(b)]() mutable {
    until([&] { return q.is_closed(); });
    lease.release();
  }};
  p->close();
  p.reset();
  CHECK(w.living == 0);
  other.join();
}

TEST_CASE("resource_pool: a coroutine that waited goes on on its scheduler", "[resource_pool][hazard-15]") {
  world w;
  pool p{maker(w), {.max_size = 1}};
  manual_executor executor;
  auto held = p.acquire();
  auto waits = spawn(executor, p.async_acquire());
  executor.run_all();
  held->release();
  CHECK_FALSE(waits.done());
  executor.run_all();
  CHECK(waits.result().has_value());
}

TEST_CASE("resource_pool: options that make no sense are refused", "[resource_pool][hazard-22]") {
  world w;
  const auto refused = [&](options o) { CHECK_THROWS_AS((pool{maker(w), std::move(o)}), std::invalid_argument); };
  refused({.max_size = 0});
  refused({.max_connecting = 0});
  refused({.min_idle = 11, .executor = {}});
  refused({.min_idle = 1});     // nobody connects in the background
  refused({.keep_alive = 1s});  // nothing to validate with
  refused({.idle_timeout = -1s});
  refused({.lifetime_jitter = 1.5});
  manual_clock clock;
  pool for_ever{maker(w),
                {.acquire_timeout = std::chrono::nanoseconds::max(),
                 .idle_timeout = std::chrono::nanoseconds::max(),
                 .max_lifetime = std::chrono::nanoseconds::max(),
                 .clock = clock}};
  static_cast<void>(for_ever.acquire());
  clock.advance(std::chrono::hours{1'000'000});
  CHECK(w.living == 1);
}

}  // namespace
