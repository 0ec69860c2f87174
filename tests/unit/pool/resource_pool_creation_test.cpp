// How resources are made, checked and replaced: on whose thread, how many at a time, and what happens when that fails or comes late.
#include <penstock/pool/resource_pool.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"
#include "resource_pool_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using namespace resource_testing;

using waiting = spawned<result<pool::lease>>;

// A pool whose connects run when the test says so.
struct bench {
  world w;
  manual_clock clock;
  manual_executor executor;
  pool p;

  explicit bench(options o) : p{maker(w), in_here(std::move(o))} {}
  ~bench() {
    p.close();
    executor.run_all();
  }
  options in_here(options o) {
    o.clock = clock;
    o.executor = executor.get_scheduler();
    return o;
  }
  waiting wait() { return spawn(p.async_acquire()); }
};

const backoff steps = backoff::exponential(1s, 8s);  // without jitter: 1, 2, 4, 8, 8, ... s

TEST_CASE("resource_pool: with an executor a connect is begun for each that waits, max_connecting at a time", "[resource_pool]") {
  bench b{{.max_size = 5, .max_connecting = 2}};
  std::vector<waiting> all;
  for (int i = 0; i < 4; ++i) all.push_back(b.wait());
  CHECK(b.w.attempts == 0);
  CHECK(b.p.stats().connecting == 2);
  b.executor.run_one();
  CHECK(all[0].done());
  CHECK(b.p.stats().connecting == 2);
  b.executor.run_all();
  CHECK(b.w.made == 4);
  CHECK(all[3].done());
  for (waiting& x : all) static_cast<void>(x.result());
  b.executor.run_all();
  CHECK(b.w.made == 4);
}

TEST_CASE("resource_pool: one deadline covers the line and the connect, and a late connect goes to the pool",
          "[resource_pool][hazard-04][hazard-05]") {
  bench b{{.max_size = 2, .acquire_timeout = 5s}};
  auto late = b.wait();
  b.clock.advance(5s);
  CHECK(late.result() == errc::timeout);
  b.executor.run_all();
  CHECK(b.p.stats().idle == 1);
  CHECK((*b.p.try_acquire())->number == 1);

  auto held = b.p.acquire();
  auto first = b.wait();  // its connect will serve who is first by then
  auto second = b.wait();
  first.request_stop();
  CHECK(first.result() == errc::cancelled);
  b.executor.run_all();
  CHECK((*second.result())->number == 2);
  CHECK(b.w.made == 2);
}

TEST_CASE("resource_pool: without an executor who acquires connects, in time or for the pool", "[resource_pool][hazard-17]") {
  manual_clock clock;
  world w;
  auto takes = 1s;
  deadline told;
  std::thread::id on;
  pool p{[&](const connect_request& r) {
           told = r.deadline;
           on = std::this_thread::get_id();
           clock.advance(takes);
           return thing{w};
         },
         {.acquire_timeout = 3s, .connect_timeout = 2s, .clock = clock}};
  auto a = p.acquire();
  REQUIRE(a);
  CHECK(on == std::this_thread::get_id());
  CHECK(told.when() == (clock.now() + 1s).time_since_epoch().count());  // of connect_timeout
  takes = 4s;
  CHECK(p.acquire({.deadline = deadline::after(1s, clock)}) == errc::timeout);
  CHECK(told.when() == (clock.now() - 3s).time_since_epoch().count());  // of the acquire
  CHECK(p.stats().idle == 1);
  CHECK((*p.try_acquire())->number == 2);
  CHECK(p.stats().timed_out == 1);
}

TEST_CASE("resource_pool: when the resource is down there is one attempt at a time, after a backoff, and then all go on",
          "[resource_pool]") {
  bench b{{.max_size = 4, .acquire_timeout = 60s, .max_connecting = 4, .connect_backoff = steps}};
  b.w.down = true;
  std::vector<waiting> all;
  for (int i = 0; i < 4; ++i) all.push_back(b.wait());
  b.executor.run_all();
  CHECK(b.w.attempts == 4);  // they had been begun together
  all[3].request_stop();
  static_cast<void>(all[3].result());
  for (const auto wait : {1s, 2s, 4s}) {
    b.clock.advance(wait - 1ns);
    b.executor.run_all();
    const int before = b.w.attempts;
    b.clock.advance(1ns);
    CHECK(b.p.stats().connecting == 1);
    b.executor.run_all();
    CHECK(b.w.attempts == before + 1);
  }
  CHECK_THROWS_AS(std::rethrow_exception(b.p.last_connect_error()), is_down);
  CHECK(b.p.stats().connect_failures == 7);
  b.w.down = false;
  b.clock.advance(8s);
  b.executor.run_all();
  for (int i = 0; i < 3; ++i) CHECK(all[static_cast<std::size_t>(i)].done());
  CHECK(b.p.stats().created == 3);
  b.w.down = true;  // it begins anew: a second, not eight
  for (int i = 0; i < 3; ++i) all[static_cast<std::size_t>(i)].result()->discard();
  auto next = b.wait();
  b.executor.run_all();
  const int before = b.w.attempts;
  b.clock.advance(1s);
  b.executor.run_all();
  CHECK(b.w.attempts == before + 1);
  b.w.down = false;
  b.clock.advance(2s);
  b.executor.run_all();
  CHECK(next.done());
}

TEST_CASE("resource_pool: without an executor the first in line makes the next attempt, and passes that on if it has gone",
          "[resource_pool][hazard-01]") {
  manual_clock clock;
  world w;
  pool p{maker(w), {.max_size = 2, .acquire_timeout = 60s, .connect_backoff = steps, .clock = clock}};
  w.down = true;
  manual_executor loop;
  auto first = spawn(loop, p.async_acquire());
  loop.run_all();
  auto second = spawn(p.async_acquire());
  CHECK(w.attempts == 1);
  w.down = false;
  clock.advance(1s);  // the first is woken, but its loop does not run
  CHECK(w.attempts == 1);
  CHECK_FALSE(second.done());
  first.request_stop();
  loop.run_all();
  CHECK(first.result() == errc::cancelled);
  CHECK(second.result().has_value());
  CHECK(w.attempts == 2);
}

TEST_CASE("resource_pool: discarding serves who waits with a new one", "[resource_pool]") {
  world w;
  pool p{maker(w), {.max_size = 1}};
  auto a = p.acquire();
  auto waits = spawn(p.async_acquire());
  a->discard();
  auto b = waits.result();
  REQUIRE(b);
  CHECK((*b)->number == 2);
  CHECK(w.most == 1);  // the old one had gone by then
}

TEST_CASE("resource_pool: fail_fast tells who waits and who comes, until the next attempt", "[resource_pool]") {
  bench b{{.max_size = 2, .connect_backoff = steps, .fail_fast = true}};
  b.w.down = true;
  auto first = b.wait(), second = b.wait();
  b.executor.run_one();
  CHECK_FALSE(first.done());  // another connect is under way
  b.executor.run_one();
  CHECK(first.result() == errc::rejected);
  CHECK(second.result() == errc::rejected);
  CHECK(b.p.acquire() == errc::rejected);
  b.clock.advance(2s);
  auto third = b.wait();
  CHECK_FALSE(third.done());
  b.w.down = false;
  b.executor.run_all();
  CHECK(third.result().has_value());
  CHECK(b.p.stats().refused == penstock::resource_refusals{.rejected = 3});
}

TEST_CASE("resource_pool: min_idle are kept ready, and what goes is replaced in the background", "[resource_pool]") {
  bench b{{.min_idle = 2, .max_size = 3, .idle_timeout = 10s, .max_lifetime = 100s, .lifetime_jitter = 0}};
  b.executor.run_all();
  CHECK(b.p.stats().idle == 2);
  auto a = b.p.acquire(), c = b.p.acquire();
  b.executor.run_all();
  CHECK(b.w.made == 3);  // max_size allows one more
  c->discard();
  b.executor.run_all();
  CHECK(b.p.stats().idle == 2);
  a->release();
  CHECK(b.p.stats().idle == 3);
  b.clock.advance(10s);
  CHECK(b.p.stats().idle == 2);
  b.executor.run_all();
  b.clock.advance(60s);
  CHECK(b.p.stats().idle == 2);  // however long
  b.clock.advance(30s);
  CHECK(b.p.stats().idle == 0);
  CHECK(b.w.living == 2);  // they are destroyed where they were made: the timers' thread has others to serve
  b.executor.run_all();
  CHECK(b.w.made == 6);
  CHECK(b.p.stats().idle == 2);
  CHECK(b.w.most <= 3);
}

TEST_CASE("resource_pool: keep_alive validates idle resources, and replaces what is broken before anybody notices",
          "[resource_pool]") {
  world w;
  manual_clock clock;
  manual_executor executor;
  pool p{maker(w),
         {.min_idle = 1,
          .max_size = 2,
          .idle_timeout = 0s,
          .validate = checker(w),
          .validate_after = 100s,
          .keep_alive = 10s,
          .executor = executor.get_scheduler(),
          .clock = clock}};
  executor.run_all();
  clock.advance(10s);
  CHECK(p.stats().checking == 1);
  executor.run_all();
  CHECK(w.checks == 1);
  CHECK(p.stats().idle == 1);
  clock.advance(5s);
  static_cast<void>(p.acquire());  // its use counts as a check
  clock.advance(10s - 1ns);
  executor.run_all();
  CHECK(w.checks == 1);
  w.good = false;
  clock.advance(1ns);
  executor.run_all();
  CHECK(w.checks == 2);
  CHECK(p.stats().discarded.invalid == 1);
  CHECK((*p.try_acquire())->number == 2);
  p.close();
  executor.run_all();
}

TEST_CASE("resource_pool: a check of keep_alive is no use: idle_timeout goes on", "[resource_pool]") {
  bench b{{.max_size = 2, .idle_timeout = 25s, .validate = [](thing&) { return true; }, .keep_alive = 10s, .metrics = true}};
  auto waits = b.wait();
  b.clock.advance(2s);
  b.executor.run_all();
  waits.result()->release();
  CHECK(b.p.stats().wait_time.count() == 1);
  CHECK(b.p.stats().wait_time.min() >= std::uint64_t{2'000'000'000});
  for (int i = 0; i < 2; ++i) {
    b.clock.advance(10s);
    CHECK(b.p.stats().checking == 1);
    b.executor.run_all();
  }
  b.clock.advance(5s - 1ns);
  CHECK(b.w.living == 1);
  b.clock.advance(1ns);
  CHECK(b.p.stats().discarded.idle == 1);
  b.executor.run_all();
  CHECK(b.w.living == 0);
}

TEST_CASE("resource_pool: with an executor a check on borrow runs there, within the deadline", "[resource_pool]") {
  bench b{{.max_size = 1, .acquire_timeout = 5s, .validate = [](thing& t) { return t.number > 1; }, .validate_after = 1s}};
  auto first = b.wait();
  b.executor.run_all();
  first.result()->release();
  b.clock.advance(1s);
  CHECK(b.p.try_acquire() == errc::empty);  // begins the check
  CHECK(b.p.stats().checking == 1);
  auto second = b.wait();
  CHECK_FALSE(second.done());
  b.executor.run_all();  // it is not valid: another one is made
  CHECK((*second.result())->number == 2);
  b.clock.advance(1s);
  auto late = b.wait();
  b.clock.advance(5s);
  CHECK(late.result() == errc::timeout);
  b.executor.run_all();
  CHECK(b.p.stats().idle == 1);
  CHECK((*b.p.try_acquire())->number == 2);  // checked just now

  bench each_time{{.max_size = 1, .validate = checker(b.w), .validate_after = 0s}};
  auto once = each_time.wait();
  each_time.executor.run_all();
  once.result()->release();
  const int before = b.w.checks;
  for (int i = 1; i <= 2; ++i) {
    CHECK(each_time.p.try_acquire() == errc::empty);
    each_time.executor.run_all();
    CHECK(each_time.p.try_acquire().has_value());  // that check is for whoever looks next, once
    CHECK(b.w.checks == before + i);
  }
  CHECK(each_time.p.try_acquire() == errc::empty);
  each_time.executor.run_all();
  each_time.clock.advance(500ms);
  CHECK(each_time.p.try_acquire() == errc::empty);  // nor does it count for ever
}

TEST_CASE("resource_pool: max_waiters counts who waits for a lease or a server, not who waits for what can be made",
          "[resource_pool]") {
  bench b{{.max_size = 2, .max_waiters = 0, .validate = checker(b.w), .validate_after = 1s, .connect_backoff = steps}};
  auto one = b.wait(), two = b.wait(), refused = b.wait();
  REQUIRE(refused.done());
  CHECK(refused.result() == errc::full);
  b.executor.run_all();
  auto first = one.result();
  two.result()->release();
  b.clock.advance(1s);
  auto checks = b.wait();  // the idle one has to be checked first
  b.executor.run_all();
  CHECK(checks.result().has_value());  // and goes back here

  b.w.down = true;
  first->discard();
  b.p.evict_all();
  auto tries = b.wait();
  b.executor.run_all();
  CHECK_FALSE(tries.done());
  auto later = b.wait();
  REQUIRE(later.done());  // nobody knows when there will be one
  CHECK(later.result() == errc::full);
  b.w.down = false;
  b.clock.advance(1s);
  b.executor.run_all();
  CHECK(tries.result().has_value());
}

TEST_CASE("resource_pool: coroutines connect and check without holding a thread, and are asked to stop in time",
          "[resource_pool]") {
  manual_clock clock;
  world w;
  event connected, checked;
  using shared = std::unique_ptr<thing>;
  resource_pool<shared> p{[&]() -> task<result<shared>> {
                            auto r = co_await connected.async_wait();
                            if (!r) co_return r.error();
                            co_return std::make_unique<thing>(w);
                          },
                          {.max_size = 1,
                           .connect_timeout = 3s,
                           .validate = [&](shared&) -> task<bool> {
                             auto r = co_await checked.async_wait();
                             co_return r.has_value();
                           },
                           .validate_after = 1s,
                           .connect_backoff = steps,
                           .clock = clock}};
  auto first = spawn(p.async_acquire());
  CHECK(p.stats().connecting == 1);
  clock.advance(3s);
  CHECK(p.stats().connect_failures == 1);
  try {
    std::rethrow_exception(p.last_connect_error());
  } catch (const std::system_error& e) {
    CHECK(e.code() == errc::timeout);
  }
  CHECK_FALSE(first.done());
  clock.advance(1s);
  CHECK(p.stats().connecting == 1);
  connected.set();
  CHECK((**first.result())->number == 1);
  clock.advance(1s);
  auto second = spawn(p.async_acquire());
  CHECK(p.stats().checking == 1);
  checked.set();
  CHECK((**second.result())->number == 1);
  checked.reset();
  connected.reset();
  clock.advance(1s);
  auto third = spawn(p.async_acquire());
  p.close();  // the check is asked to stop
  CHECK(third.result() == errc::closed);
  CHECK(p.drain().has_value());
  CHECK(w.living == 0);
  const auto make = [&]() -> task<shared> { co_return std::make_unique<thing>(w); };
  CHECK_THROWS_AS((resource_pool<shared>{make, {.validate = [](shared&) { return true; }, .keep_alive = 1s}}),
                  std::invalid_argument);  // it would block the thread of the timers
}

TEST_CASE("resource_pool: a check that is a coroutine ends at the deadline of who acquires, on that one's thread, too",
          "[resource_pool][hazard-05]") {
  manual_clock clock;
  world w;
  event never;
  auto check = [&](thing& t) -> task<bool> {
    auto r = co_await never.async_wait();
    co_return r.has_value() || t.number > 1;
  };
  pool p{maker(w), {.max_size = 1, .connect_timeout = 1h, .validate = check, .validate_after = 1s, .clock = clock}};
  static_cast<void>(p.acquire());
  clock.advance(1s);
  CHECK(p.acquire({.deadline = deadline::after(1ms)}) == errc::timeout);  // by another clock than that of the check
  CHECK(p.stats().discarded.invalid == 1);
  static_cast<void>(p.acquire());
  clock.advance(1s);
  std::thread borrower{[&] { CHECK(p.acquire() == errc::closed); }};
  test_support::until([&] { return p.stats().checking == 1; });
  p.close();  // asks the check to stop
  borrower.join();
}

TEST_CASE("resource_pool: a factory may give a result, and what converts to the resource", "[resource_pool]") {
  int calls = 0;
  resource_pool<std::string> p{[&]() -> result<const char*> {
                                 if (++calls == 1) return std::make_error_code(std::errc::connection_refused);
                                 return "connected";
                               },
                               {.connect_backoff = backoff::fixed(1ms)}};
  CHECK(**p.acquire() == "connected");  // after a millisecond
  CHECK(calls == 2);
  try {
    std::rethrow_exception(p.last_connect_error());
  } catch (const std::system_error& e) {
    CHECK(e.code() == std::errc::connection_refused);
  }
}

TEST_CASE("resource_pool: an eviction takes with it what a connect makes that runs already", "[resource_pool]") {
  bench b{{.max_size = 1}};
  auto waits = b.wait();
  b.p.evict_all();
  b.executor.run_all();
  CHECK((*waits.result())->number == 2);
  CHECK(b.p.stats().discarded.evicted == 1);
}

TEST_CASE("resource_pool: destructors of resources, factories and checks may use the pool", "[resource_pool][hazard-17]") {
  struct nosy {
    explicit nosy(resource_pool<nosy>** p) : pool{p} {}
    nosy(const nosy&) = delete;
    ~nosy() {
      if (*pool != nullptr) CHECK((*pool)->stats().idle <= 2);
      if (*pool != nullptr) static_cast<void>((*pool)->try_acquire());
    }
    resource_pool<nosy>** pool;
  };
  resource_pool<nosy>* here = nullptr;
  resource_pool<nosy> p{[&] {
                          static_cast<void>(here->try_acquire());
                          return nosy{&here};
                        },
                        {.max_size = 3,
                         .validate =
                             [&](nosy&) {
                               static_cast<void>(here->stats());
                               return false;
                             },
                         .validate_after = 0s}};
  here = &p;
  {
    auto a = p.acquire(), b = p.acquire();
    a->discard();
  }
  auto c = p.acquire();
  p.evict_all();
  c->release();
  here = nullptr;
}

}  // namespace
