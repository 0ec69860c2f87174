// What a worker pool tells of itself. Times are of a manual clock, and exact.
#include <penstock/pool/pool_stats.hpp>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/observe/registry_snapshot.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

#include "../../support/catch.hpp"
#include "../../support/pool.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using test_support::gate;
using test_support::must;
using test_support::until;

worker_pool_options with_metrics(const manual_clock& clock, std::size_t threads = 1) {
  worker_pool_options options{.threads = threads, .queue_capacity = 64, .metrics = true, .time_every = 1};
  options.clock = const_cast<manual_clock&>(clock);
  return options;
}

std::size_t ends(const pool_stats& s) { return s.completed + s.failed + s.expired + s.dropped + s.cancelled; }

std::uint64_t ns(std::chrono::nanoseconds d) { return static_cast<std::uint64_t>(d.count()); }

// What one value is in a histogram.
void check_only_values(const histogram_snapshot& s, std::vector<std::chrono::nanoseconds> values) {
  histogram expected;
  for (const auto value : values) expected.record(value);
  CHECK(s == expected.snapshot());
}

// In the first picks of a thread, once the pool does not take its tasks for rare.
constexpr std::uint32_t never_picked = std::numeric_limits<std::uint32_t>::max();

// Two at once.
void not_be_rare(worker_pool& pool) {
  for (int i = 0; i < 2; ++i) must(pool.post([] {}).has_value());
  must(pool.drain().has_value());
}

task<void> hop(worker_pool& pool, int times) {
  for (int i = 0; i < times; ++i) co_await pool.schedule();
}

}  // namespace

TEST_CASE("pool_stats: each task that was let in is counted once, by what became of it", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool pool{{.threads = 1, .queue_capacity = 8, .clock = clock}};
  {
    gate busy{pool};
    REQUIRE(pool.post([] {}));
    REQUIRE(pool.post([] { throw std::runtime_error{"posted"}; }));
    auto returns = pool.submit([] { return 1; });
    auto throws = pool.submit([]() -> int { throw std::runtime_error{"submitted"}; });
    REQUIRE(pool.post({.expires_in = 1ms}, [] {}));
    auto late = pool.submit([] {}, {.expires_in = 1ms});
    clock.advance(1ms);
    const pool_stats s = pool.stats();
    CHECK(s.threads == 1);
    CHECK(s.active == 1);
    CHECK(s.idle == 0);
    CHECK(s.queued == 6);
    CHECK(s.submitted == 7);
    CHECK(ends(s) == 0);
    busy.open();
    REQUIRE(pool.drain());
    CHECK_THROWS_AS(throws.get(), std::runtime_error);
    CHECK(returns.get() == 1);
  }
  until([&] { return pool.stats().active == 0; });
  const pool_stats s = pool.stats();
  CHECK(s.idle == 1);
  CHECK(s.queued == 0);
  CHECK(s.submitted == 7);
  CHECK(s.completed == 3);
  CHECK(s.failed == 2);
  CHECK(pool.failed() == 1);
  CHECK(s.expired == 2);
  CHECK(s.dropped == 0);
  CHECK(s.cancelled == 0);
  CHECK(s.rejected == pool_rejections{});
}

TEST_CASE("pool_stats: what request_stop() drops is cancelled, wherever it lies", "[worker_pool][stats]") {
  event go;
  std::atomic<bool> stopped = false;
  worker_pool pool{{.threads = 1, .queue_capacity = 8}};
  REQUIRE(pool.post([&] {
    for (int i = 0; i < 3; ++i) must(pool.post([] {}).has_value());  // in the worker's lane
    go.set();
    until([&] { return stopped.load(); });
  }));
  go.wait();
  REQUIRE(pool.post([] {}));
  auto f = pool.submit([] {});
  pool.request_stop();
  stopped = true;
  REQUIRE(pool.shutdown());
  CHECK_THROWS_AS(f.get(), std::system_error);
  CHECK(pool.post([] {}).error() == errc::closed);
  const pool_stats s = pool.stats();
  CHECK(s.submitted == 6);
  CHECK(s.completed == 1);
  CHECK(s.cancelled == 5);
  CHECK(s.rejected == pool_rejections{.closed = 1});
}

TEST_CASE("pool_stats: refused submissions are counted by their reason", "[worker_pool][stats]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 1}};
  gate busy{pool};
  REQUIRE(pool.post([] {}));
  CHECK_FALSE(pool.try_post([] {}));
  CHECK_FALSE(pool.try_post([] {}));
  CHECK_FALSE(pool.post({.overflow = overflow::reject}, [] {}));
  CHECK_FALSE(pool.post({.overflow = overflow::drop_lowest}, [] {}));
  CHECK_FALSE(pool.post({.deadline = deadline::after(0s)}, [] {}));
  std::stop_source stop;
  stop.request_stop();
  CHECK_FALSE(pool.post({.stop = stop.get_token()}, [] {}));
  CHECK_THROWS_AS(pool.submit([] {}, {.overflow = overflow::reject}).get(), std::system_error);
  CHECK(pool.post_n(5, [](std::size_t) {}, {.deadline = deadline::after(0s)}).count == 0);
  pool_stats s = pool.stats();
  CHECK(s.rejected == pool_rejections{.full = 2, .rejected = 3, .timeout = 2, .cancelled = 1});
  CHECK(s.rejected.total() == 8);
  CHECK(s.submitted == 2);

  REQUIRE(pool.post({.overflow = overflow::drop_oldest}, [] {}));
  busy.open();
  REQUIRE(pool.drain());
  s = pool.stats();
  CHECK(s.submitted == 3);
  CHECK(s.completed == 2);
  CHECK(s.dropped == 1);
}

TEST_CASE("pool_stats: tasks from inside, and those that their submitter runs, are counted like all others",
          "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool_options options = with_metrics(clock);
  options.queue_capacity = 2;
  event done;
  worker_pool pool{std::move(options)};
  REQUIRE(pool.post([&] {
    // Two lie in the worker's lane, two in the queue, the others are run here; the innermost of them throws.
    for (int i = 0; i < 4; ++i) must(pool.post([&] { clock.advance(1ms); }).has_value());
    for (int i = 0; i < 3; ++i) must(pool.post([&] { clock.advance(10ms); }).has_value());
    must(pool.post([] { throw std::runtime_error{"inside"}; }).has_value());
    done.set();
  }));
  done.wait();
  REQUIRE(pool.drain());
  pool_stats s = pool.stats();
  CHECK(s.submitted == 9);
  CHECK(s.completed == 8);
  CHECK(s.failed == 1);
  check_only_values(s.queue_wait, {0ms, 0ms, 0ms, 0ms, 0ms, 30ms, 31ms, 32ms, 33ms});
  check_only_values(s.run_time, {30ms, 10ms, 10ms, 10ms, 0ms, 1ms, 1ms, 1ms, 1ms});

  gate busy{pool};
  for (int i = 0; i < 2; ++i) REQUIRE(pool.post([] {}));
  REQUIRE(pool.post({.overflow = overflow::caller_runs}, [&] { clock.advance(5ms); }));
  s = pool.stats();
  CHECK(s.submitted == 13);
  CHECK(s.completed == 9);
  CHECK(s.run_time.count() == 10);
  CHECK(s.queued == 2);
  busy.open();
}

TEST_CASE("pool_stats: tasks that are kept for later because the queue is full keep their time of submission",
          "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool_options options = with_metrics(clock);
  options.queue_capacity = 1;
  worker_pool pool{std::move(options)};
  struct nest {
    worker_pool& pool;
    manual_clock& clock;
    int left;
    void operator()() {
      if (left > 0) must(pool.post(nest{pool, clock, left - 1}).has_value());
      clock.advance(1ms);
    }
  };
  REQUIRE(pool.post(nest{pool, clock, 50}));
  REQUIRE(pool.drain());
  const pool_stats s = pool.stats();
  CHECK(s.submitted == 51);
  CHECK(s.completed == 51);
  CHECK(s.queue_wait.count() == 51);
  CHECK(s.busy.busy == 51ms);
  CHECK(s.queue_wait.max() > 0);
}

TEST_CASE("pool_stats: queue wait is the time from submission to beginning, run time that from there to the end",
          "[worker_pool][stats]") {
  const unsigned priorities = GENERATE(1U, 3U);
  manual_clock clock;
  worker_pool_options options = with_metrics(clock);
  options.priorities = priorities;
  worker_pool pool{std::move(options)};
  clock.advance(3ms);
  {
    gate busy{pool};
    REQUIRE(pool.post([&] { clock.advance(7ms); }));
    clock.advance(1ms);
    auto f = pool.submit([&] { clock.advance(20ms); });
    clock.advance(2ms);
    CHECK(pool.stats().queue_wait.count() == 0);
    busy.open();
    REQUIRE(pool.drain());
  }
  const pool_stats s = pool.stats();
  check_only_values(s.queue_wait, {0ms, 3ms, 9ms});
  check_only_values(s.run_time, {3ms, 7ms, 20ms});
  CHECK(s.queue_wait.quantile(1) == ns(9ms));
}

TEST_CASE("pool_stats: what is taken out together, or sent together, has waited since it was submitted", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool pool{with_metrics(clock)};
  gate busy{pool};
  CHECK(pool.post_n(20, [](std::size_t) {}).count == 20);
  clock.advance(1ms);
  CHECK(pool.post_n(20, [](std::size_t) {}).count == 20);
  clock.advance(1ms);
  busy.open();
  REQUIRE(pool.drain());
  std::vector<std::chrono::nanoseconds> expected{0ms};
  expected.insert(expected.end(), 20, 2ms);
  expected.insert(expected.end(), 20, 1ms);
  const pool_stats s = pool.stats();
  check_only_values(s.queue_wait, expected);
  CHECK(s.submitted == 41);
  CHECK(s.completed == 41);
}

TEST_CASE("pool_stats: waiting for room is part of the queue wait", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool_options options = with_metrics(clock);
  options.queue_capacity = 1;
  worker_pool pool{std::move(options)};
  gate busy{pool};
  REQUIRE(pool.post([] {}));
  std::jthread waiting{[&] { must(pool.post([] {}).has_value()); }};
  until([&] { return pool.stats().room_waiters == 1; });
  clock.advance(4ms);
  busy.open();
  waiting.join();
  REQUIRE(pool.drain());
  check_only_values(pool.stats().queue_wait, {0ms, 4ms, 4ms});
}

TEST_CASE("pool_stats: a task that is run by who waits for it counts there, and once", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool pool{with_metrics(clock)};
  auto outer = pool.submit([&] {
    auto inner = pool.submit([&] {
      clock.advance(5ms);
      return 2;
    });
    auto failing = pool.submit([]() -> int { throw std::runtime_error{"inner"}; });
    clock.advance(1ms);
    const int value = inner.get();
    try {
      failing.get();
    } catch (const std::runtime_error&) {
      return value;
    }
    return 0;
  });
  CHECK(outer.get() == 2);
  REQUIRE(pool.drain());
  const pool_stats s = pool.stats();
  CHECK(s.submitted == 3);
  CHECK(s.completed == 2);
  CHECK(s.failed == 1);
  check_only_values(s.queue_wait, {0ms, 1ms, 6ms});
  check_only_values(s.run_time, {6ms, 5ms, 0ms});
  CHECK(s.busy.busy == 6ms);
}

TEST_CASE("pool_stats: a task that was begun by who waits for it is not cancelled as well", "[worker_pool][stats]") {
  worker_pool pool{{.threads = 1}};
  auto outer = pool.submit([&] {
    auto inner = pool.submit([] { return 2; });
    const int value = inner.get();
    pool.request_stop();
    return value;
  });
  CHECK(outer.get() == 2);
  REQUIRE(pool.shutdown());
  const pool_stats s = pool.stats();
  CHECK(s.submitted == 2);
  CHECK(s.completed == 2);
  CHECK(s.cancelled == 0);
}

TEST_CASE("pool_stats: what purge() drops is cancelled, wherever it lies, but for what who waits for it has begun",
          "[worker_pool][stats]") {
  event inside, go_on;
  worker_pool pool{{.threads = 1, .queue_capacity = 4}};
  REQUIRE(pool.post([&] {
    for (int i = 0; i < 3; ++i) must(pool.post([] {}).has_value());  // in the worker's lane
    auto inner = pool.submit([] { return 2; });
    must(inner.get() == 2);
    inside.set();
    go_on.wait();
  }));
  inside.wait();
  for (int i = 0; i < 4; ++i) REQUIRE(pool.post([] {}));
  std::jthread waits_for_room{[&] { must(pool.post([] {}).has_value()); }};
  until([&] { return pool.room_waiters() == 1; });
  CHECK(pool.purge() == 8);
  waits_for_room.join();
  pool_stats s = pool.stats();
  CHECK(s.submitted == 10);
  CHECK(s.completed == 1);
  CHECK(s.cancelled == 7);
  CHECK(s.queued == 1);
  CHECK(s.submitted == ends(s) + s.queued + s.active);
  go_on.set();
  REQUIRE(pool.drain());
  s = pool.stats();
  CHECK(s.completed == 3);
  CHECK(s.cancelled == 7);
  CHECK(s.submitted == ends(s));
}

TEST_CASE("pool_stats: counts and times stay when threads come and go", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool pool{with_metrics(clock)};
  std::size_t completed = 0;
  for (int round = 0; round < 3; ++round) {
    REQUIRE(pool.resize(3));
    CHECK(pool.stats().threads == 3);
    const auto before = pool.stats().busy;
    {
      gate one{pool}, two{pool}, three{pool};
      CHECK(pool.stats().active == 3);
      clock.advance(10ms);
      for (gate* g : {&one, &two, &three}) g->open();
      REQUIRE(pool.drain());
    }
    completed += 3;
    CHECK(pool.stats().busy.since(before).busy == 30ms);
    CHECK(pool.stats().completed == completed);
    REQUIRE(pool.resize(1));
    until([&] { return pool.stats().threads == 1; });
  }
  REQUIRE(pool.shutdown());
  const pool_stats s = pool.stats();
  CHECK(s.threads == 0);
  CHECK(s.idle == 0);
  CHECK(s.submitted == completed);
  CHECK(s.run_time.count() == completed);
  clock.advance(10ms);
  CHECK(pool.stats().busy == s.busy);  // nobody is there
}

TEST_CASE("pool_stats: a thread counts as there from before it begins, and no longer if it fails to", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool_options options = with_metrics(clock);
  options.max_threads = 3;
  std::atomic<bool> fails = false;
  options.on_thread_start = [&](std::size_t) {
    if (fails) throw std::runtime_error{"not now"};
  };
  worker_pool pool{std::move(options)};
  clock.advance(10ms);
  CHECK(pool.stats().busy.offered == 10ms);
  REQUIRE(pool.resize(2));
  clock.advance(10ms);
  CHECK(pool.stats().busy.offered == 30ms);
  fails = true;
  CHECK_THROWS_AS(pool.resize(3), std::runtime_error);
  clock.advance(10ms);
  CHECK(pool.stats().busy.offered == 50ms);
  CHECK(pool.stats().threads == 2);
}

TEST_CASE("pool_stats: who blocks is active, and so is who runs in its stead", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool_options options = with_metrics(clock);
  options.max_threads = 2;
  event inside, go_on;
  worker_pool pool{std::move(options)};
  REQUIRE(pool.post([&] {
    pool.blocking([&] {
      inside.set();
      go_on.wait();
    });
  }));
  inside.wait();
  {
    gate instead{pool};
    clock.advance(10ms);
    const pool_stats s = pool.stats();
    CHECK(s.threads == 2);
    CHECK(s.active == 2);
    CHECK(s.busy.busy == 20ms);
    instead.open();
    go_on.set();
    REQUIRE(pool.drain());
  }
  const pool_stats s = pool.stats();
  CHECK(s.submitted == 2);
  CHECK(s.completed == 2);
  check_only_values(s.run_time, {10ms, 10ms});
}

TEST_CASE("pool_stats: utilization is the integral of the workers' busy time", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool pool{with_metrics(clock, 2)};
  CHECK(pool.stats().busy == busy_snapshot{});
  clock.advance(10ms);
  CHECK(pool.stats().busy == busy_snapshot{.busy = 0ms, .offered = 20ms});
  const pool_stats before = pool.stats();
  gate one{pool};
  clock.advance(10ms);
  CHECK(pool.stats().busy == busy_snapshot{.busy = 10ms, .offered = 40ms});
  gate two{pool};
  clock.advance(10ms);
  CHECK(pool.stats().busy.since(before.busy) == busy_snapshot{.busy = 30ms, .offered = 40ms});
  CHECK(pool.stats().busy.since(before.busy).utilization() == 0.75);
  one.open();
  two.open();
  REQUIRE(pool.shutdown());
  clock.advance(10ms);
  const pool_stats s = pool.stats();
  CHECK(s.busy == busy_snapshot{.busy = 30ms, .offered = 60ms});
  CHECK(s.longest_running == 0ms);
}

TEST_CASE("pool_stats: the longest running piece is told, and which worker runs it", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool pool{with_metrics(clock, 2)};
  std::size_t first = 9;
  event entered, open;
  REQUIRE(pool.post([&] {
    entered.set();
    open.wait();
  }));
  entered.wait();
  clock.advance(10ms);
  pool_stats s = pool.stats();
  first = s.longest_worker;
  CHECK(first < 2);
  CHECK(s.longest_running == 10ms);
  {
    gate second{pool};
    clock.advance(5ms);
    s = pool.stats();
    CHECK(s.active == 2);
    CHECK(s.longest_running == 15ms);
    CHECK(s.longest_worker == first);
    open.set();
    until([&] { return pool.stats().active == 1; });
    s = pool.stats();
    CHECK(s.longest_running == 5ms);
    CHECK(s.longest_worker == 1 - first);
    second.open();
    REQUIRE(pool.drain());
  }
  until([&] { return pool.stats().active == 0; });
  CHECK(pool.stats().longest_running == 0ms);
}

// A thread of its own picks the same tasks each time.
TEST_CASE("pool_stats: tasks that are timed one in so many stand for all of them, and counts and busy time are exact",
          "[worker_pool][stats]") {
  manual_clock clock;
  constexpr std::size_t tasks = 4000;
  worker_pool_options options = with_metrics(clock);
  options.queue_capacity = tasks;
  options.time_every = 16;
  worker_pool pool{std::move(options)};
  registry all{{.clock = clock}};
  const auto joined = all.join("pool", pool);
  const registry_snapshot before = all.snapshot();
  std::jthread{[&] {
    gate busy{pool};  // the first two are timed in any case, as the pool cannot know yet that others follow at once
    // Two kinds in turn, which an even interval would not tell apart.
    for (std::size_t i = 0; i < tasks; ++i) must(pool.post([&clock, i] { clock.advance(i % 2 == 0 ? 1ms : 3ms); }).has_value());
  }}.join();
  REQUIRE(pool.drain());
  until([&] { return pool.stats().active == 0; });
  const pool_stats s = pool.stats();
  CHECK(s.completed == tasks + 1);
  CHECK(s.busy.busy == 2 * tasks * 1ms);
  CHECK(s.run_time.count() % 16 == 2);
  CHECK(s.run_time.count() == s.queue_wait.count());
  CHECK(std::abs(static_cast<double>(s.run_time.count()) - tasks) < 0.15 * tasks);
  CHECK(std::abs(s.run_time.mean() - 2e6) < 0.1 * 2e6);
  CHECK(std::abs(static_cast<double>(s.run_time.sum()) - 2e6 * tasks) < 0.15 * 2e6 * tasks);
  CHECK((s.run_time.min() == 0 && s.run_time.max() == ns(3ms)));

  const registry_interval i = all.snapshot().since(before);
  const littles_law running = i.find("pool")->run_law();
  CHECK(running.measured);
  CHECK(running.rate == Approx((tasks + 1) / (2e-3 * tasks)));  // by what ended, not by what was timed
  CHECK(running.seen == Approx(1));
  CHECK(std::abs(running.expected() - 1) < 0.1);
  CHECK(i.find("pool")->utilization() == 1.0);
}

TEST_CASE("pool_stats: where none of the tasks that ended was timed, nothing is said of Little's law", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool_options options = with_metrics(clock);
  options.time_every = never_picked;
  worker_pool pool{std::move(options)};
  registry all{{.clock = clock}};
  const auto joined = all.join("pool", pool);
  registry_snapshot before;
  std::jthread{[&] {
    not_be_rare(pool);
    before = all.snapshot();
    must(pool.post([&] { clock.advance(1ms); }).has_value());
  }}.join();
  REQUIRE(pool.drain());
  CHECK(pool.stats().completed == 3);
  CHECK(pool.stats().run_time.count() == 2);
  CHECK(pool.stats().busy.busy == 1ms);
  CHECK_FALSE(all.snapshot().since(before).find("pool")->run_law().measured);
  // But that nothing comes out is told.
  gate busy{pool};
  const registry_snapshot stuck = all.snapshot();
  clock.advance(1ms);
  CHECK(all.snapshot().since(stuck).find("pool")->run_law().measured);
}

TEST_CASE("pool_stats: tasks that are rare are timed each, whatever the choice among many is", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool_options options = with_metrics(clock);
  options.queue_capacity = 4000;
  options.time_every = 16;
  worker_pool pool{std::move(options)};
  const auto rare = [&](std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      clock.advance(2us);
      REQUIRE(pool.post([&] { clock.advance(1ms); }));
      REQUIRE(pool.drain());
    }
  };
  rare(100);
  pool_stats s = pool.stats();
  CHECK(s.run_time.count() == 100);
  CHECK(s.queue_wait.count() == 100);
  CHECK((s.run_time.min() == ns(1ms) && s.run_time.max() == ns(1ms)));
  {
    gate busy{pool};
    for (std::size_t i = 0; i < 3999; ++i) must(pool.post([] {}).has_value());
  }
  REQUIRE(pool.drain());
  const pool_stats many = pool.stats();
  const std::uint64_t of_many = many.run_time.count() - s.run_time.count();
  CHECK(std::abs(static_cast<double>(of_many) - 4000) < 0.3 * 4000);
  // Rare again: once chance has picked one, and the time since the last was long enough for sixteen, each is timed.
  std::uint64_t before = many.run_time.count();
  for (int i = 0; i < 1000 && pool.stats().run_time.count() - before != 1; ++i) {
    before = pool.stats().run_time.count();
    rare(1);
  }
  rare(100);
  CHECK(pool.stats().run_time.count() == before + 101);
}

TEST_CASE("pool_stats: a large batch is never taken for rare", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool_options options = with_metrics(clock);
  options.time_every = never_picked;
  worker_pool pool{std::move(options)};
  std::jthread{[&] { must(pool.post_n(32, [](std::size_t) {}).count == 32); }}.join();
  REQUIRE(pool.drain());
  CHECK(pool.stats().completed == 32);
  CHECK(pool.stats().run_time.count() == 0);
}

TEST_CASE("pool_stats: a piece that is not timed and comes right after another one runs since it was first seen",
          "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool_options options = with_metrics(clock);
  options.time_every = never_picked;
  worker_pool pool{std::move(options)};
  std::jthread{[&] {
    not_be_rare(pool);
    event entered, go_on;
    {
      gate first{pool};
      must(pool.post([&] {
                 entered.set();
                 go_on.wait();
               })
               .has_value());
      clock.advance(5ms);
      must(pool.stats().longest_running == 5ms);  // after a rest the clock is read in any case
      first.open();
      entered.wait();
    }
    clock.advance(5ms);
    must(pool.stats().longest_running == 0ms);
    clock.advance(5ms);
    must(pool.stats().longest_running == 5ms);
    clock.advance(5ms);
    must(pool.stats().longest_running == 10ms);
    go_on.set();
    must(pool.drain().has_value());
  }}.join();
  until([&] { return pool.stats().active == 0; });
  CHECK(pool.stats().busy.busy == 20ms);
}

TEST_CASE("pool_stats: without metrics tasks are counted, but no times", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool pool{{.threads = 1, .clock = clock}};
  REQUIRE(pool.post([&] { clock.advance(1ms); }));
  REQUIRE(pool.drain());
  gate busy{pool};
  clock.advance(1ms);
  const pool_stats s = pool.stats();
  CHECK(s.active == 1);
  CHECK(s.completed == 1);
  CHECK(s.queue_wait.count() == 0);
  CHECK(s.run_time.count() == 0);
  CHECK(s.busy == busy_snapshot{});
  CHECK(s.longest_running == 0ms);
  busy.open();
}

TEST_CASE("pool_stats: resumptions keep workers busy, and are no tasks", "[worker_pool][stats]") {
  manual_clock clock;
  worker_pool pool{with_metrics(clock)};
  auto coroutine = spawn(pool, hop(pool, 5));
  coroutine.result();
  REQUIRE(pool.drain());
  const pool_stats s = pool.stats();
  CHECK(s.submitted == 0);
  CHECK(s.completed == 0);
  CHECK(s.resumed >= 5);
  CHECK(s.run_time.count() == 0);
}

TEST_CASE("pool_stats: what a worker takes from another one, and how often one was woken, is counted", "[worker_pool][stats]") {
  std::atomic<int> ran = 0;
  worker_pool pool{{.threads = 2, .queue_capacity = 8}};
  // Who runs this waits until the other one has taken what lies in its lane.
  REQUIRE(pool.post([&] {
    for (int i = 0; i < 3; ++i) must(pool.post([&] { ++ran; }).has_value());
    until([&] { return ran == 3; });
  }));
  REQUIRE(pool.drain());
  CHECK(pool.stats().steals == 3);
  until([&] {
    // Until both have had the time to fall asleep, and one has to be woken.
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
    REQUIRE(pool.post([] {}));
    REQUIRE(pool.drain());
    return pool.stats().wakes > 0;
  });
}

TEST_CASE("pool_stats: while tasks run anybody may ask, and counts never decrease", "[worker_pool][stats]") {
  const std::uint32_t every = GENERATE(1U, 4U);
  worker_pool pool{{.threads = 2, .queue_capacity = 16, .metrics = true, .time_every = every}};
  constexpr std::size_t each = 2000;
  std::atomic<std::size_t> refused = 0;
  std::atomic<bool> done = false;
  {
    std::jthread reader{[&] {
      pool_stats before = pool.stats();
      while (!done) {
        const pool_stats s = pool.stats();
        must(s.submitted >= before.submitted);
        must(s.completed >= before.completed);
        must(s.run_time.count() >= before.run_time.count());
        must(s.submitted >= ends(s));
        must(s.busy.busy >= before.busy.busy);
        must(s.busy.busy <= s.busy.offered);
        before = s;
      }
    }};
    std::vector<std::jthread> submitters;
    for (int t = 0; t < 2; ++t) {
      submitters.emplace_back([&, t] {
        for (std::size_t i = 0; i < each; ++i) {
          if (t == 0) {
            must(pool.post([&pool] { must(pool.post([] {}).has_value()); }).has_value());
          } else if (!pool.try_post([] {})) {
            ++refused;
          }
        }
      });
    }
    submitters.clear();
    REQUIRE(pool.drain());
    done = true;
  }
  const pool_stats s = pool.stats();
  CHECK(s.submitted == 3 * each - refused);
  CHECK(s.completed == s.submitted);
  CHECK(s.time_every == every);
  CHECK((every > 1 || s.run_time.count() == s.completed));
  CHECK(s.queue_wait.count() == s.run_time.count());
  CHECK(s.rejected.total() == refused);
}

namespace {

struct throws_when_moved {
  throws_when_moved() = default;
  throws_when_moved(throws_when_moved&&) { throw std::runtime_error{"on purpose"}; }
};

}  // namespace

TEST_CASE("pool_stats: a task whose value cannot be moved out has failed", "[worker_pool][stats][hazard-19]") {
  worker_pool pool{{.threads = 1}};
  auto f = pool.submit([] { return throws_when_moved{}; });
  CHECK_THROWS_AS(f.get(), std::runtime_error);
  REQUIRE(pool.drain());
  CHECK(pool.stats().failed == 1);
  CHECK(pool.stats().completed == 0);
}

TEST_CASE("pool_stats: a task that was put off, begun by who waits for it, and is found when the pool has stopped, counts once",
          "[worker_pool][stats]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 1}};
  move_only_function<void(int)> down;
  down = [&](int depth) {
    if (depth > 0) return must(pool.post([&down, depth] { down(depth - 1); }).has_value());
    auto put_off = pool.submit([] { return 5; });
    must(!put_off.is_ready() && put_off.get() == 5);
    pool.request_stop();
  };
  REQUIRE(pool.post([&] {
    for (int i = 0; i < 2; ++i) must(pool.post([] {}).has_value());  // the lane and the queue are full
    down(32);
  }));
  REQUIRE(pool.drain());
  REQUIRE(pool.shutdown());
  const pool_stats s = pool.stats();
  CHECK(s.submitted == ends(s));
}

TEST_CASE("pool_stats: what takes the place of another task in a paused pool wakes nobody", "[worker_pool][stats]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = overflow::drop_oldest}};
  pool.pause();
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();  // so that the worker falls asleep
  const std::size_t before = pool.stats().wakes;
  for (int i = 0; i < 50; ++i) {
    REQUIRE(pool.post([] {}));
    for (int n = 0; n < 50; ++n) std::this_thread::yield();
  }
  CHECK(pool.stats().wakes == before);
}
