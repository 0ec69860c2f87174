#include <penstock/observe/measured.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>

#include <penstock/core/acquirable.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/job/job_worker_options.hpp>
#include <penstock/observe/prometheus_text.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/rate/leaky_bucket.hpp>
#include <penstock/rate/sliding_window.hpp>
#include <penstock/rate/token_bucket.hpp>
#include <penstock/sync/semaphore.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using measured_semaphore = measured<semaphore>;
using measured_bucket = measured<token_bucket<manual_clock>>;
using test_support::until;

static_assert(measurable<measured_semaphore> && acquirable<measured_semaphore> && acquirable<measured_bucket>);
static_assert(!std::constructible_from<measured_semaphore>);  // as the semaphore

template <class Operation>
task<errc> end_of(Operation operation) {
  const auto r = co_await std::move(operation);
  co_return r ? errc{} : static_cast<errc>(r.error().value());
}

}  // namespace

TEST_CASE("measured: what a semaphore gives at once is counted, calls and permits, and no clock is looked at", "[measured]") {
  manual_clock clock;
  measured_semaphore s{{.clock = clock}, 10};
  CHECK(s.acquire());
  CHECK(s.acquire(3));
  CHECK(s.acquire(0));  // takes nothing
  CHECK(s.try_acquire(2));
  CHECK(s.acquire({.deadline = deadline::after(0ns)}));
  CHECK(s.try_acquire_for(1h));
  const std::stop_source stop;
  CHECK(s.acquire(stop.get_token()));
  CHECK(spawn(end_of(s.async_acquire())).result() == errc{});
  const measured_stats all = s.stats();
  CHECK(all.accepted == 8);
  CHECK(all.taken == 10);
  CHECK(all.taken == static_cast<std::uint64_t>(s.limit() - s.available()));
  CHECK(all.refused.total() == 0);
  CHECK(all.wait_time.count() == 0);
  s.release(10);
  CHECK_THROWS_AS(s.acquire(-1), std::invalid_argument);
  CHECK(s.stats().accepted == 8);
}

TEST_CASE("measured: those that wait for a semaphore are counted when they have it, with how long that took", "[measured]") {
  manual_clock clock;
  measured_semaphore s{{.clock = clock}, 0};
  auto coroutine = spawn(end_of(s.async_acquire(2)));
  clock.advance(2s);
  s.release(2);
  CHECK(coroutine.result() == errc{});
  CHECK(s.stats().wait_time.count() == 1);
  CHECK(s.stats().wait_time.max() == 2'000'000'000U);
  {
    std::jthread thread{[&] { CHECK(s.acquire()); }};
    until([&] { return s.waiters() == 1; });
    clock.advance(1s);
    s.release();
  }
  CHECK(s.stats().accepted == 2);
  CHECK(s.stats().taken == 3);
  CHECK(s.stats().wait_time.count() == 2);
  CHECK(s.stats().wait_time.min() == 1'000'000'000U);
}

TEST_CASE("measured: refusals are counted by why, however one waits", "[measured]") {
  manual_clock clock;
  measured_semaphore s{{.clock = clock}, 1};
  std::stop_source stop;
  stop.request_stop();
  CHECK(s.acquire(stop.get_token()) == errc::cancelled);  // although there is one
  CHECK(s.acquire({.stop = stop.get_token()}) == errc::cancelled);
  CHECK(spawn(end_of(s.async_acquire() | with_stop(stop.get_token()))).result() == errc::cancelled);
  CHECK(s.stats().refused.cancelled == 3);
  REQUIRE(s.available() == 1);
  CHECK(s.acquire());
  CHECK(s.try_acquire() == errc::empty);
  CHECK(s.acquire({.deadline = deadline::after(-1ns)}) == errc::timeout);
  CHECK(s.try_acquire_for(0ns) == errc::timeout);
  CHECK(s.try_acquire_until(deadline::after(-1ns)) == errc::timeout);
  auto late = spawn(end_of(s.async_acquire() | with_timeout(5s, clock)));
  clock.advance(5s);
  CHECK(late.result() == errc::timeout);
  auto closed = spawn(end_of(s.async_acquire()));
  s.close();
  CHECK(closed.result() == errc::closed);
  CHECK(s.acquire() == errc::closed);
  CHECK(s.try_acquire() == errc::closed);
  const measured_stats all = s.stats();
  CHECK(all.accepted == 1);
  CHECK(all.refused.empty == 1);
  CHECK(all.refused.timeout == 4);
  CHECK(all.refused.cancelled == 3);
  CHECK(all.refused.closed == 3);
  CHECK(all.refused.rejected == 0);
  CHECK(all.refused.total() == 11);
  CHECK(all.wait_time.count() == 0);  // of what was let in only
}

TEST_CASE("measured: permits that own themselves are counted, and are given back", "[measured]") {
  manual_clock clock;
  measured_semaphore s{{.clock = clock}, 4, semaphore_options{.fairness = fairness::fifo}};
  std::stop_source stop;
  {
    const auto one = s.acquire_permit();
    const auto two = s.acquire_permit(stop.get_token(), 2);
    const auto three = s.acquire_permit({.deadline = deadline::after(1h)});
    REQUIRE((one && two && three));
    CHECK(two->size() == 2);
    CHECK(s.available() == 0);
    CHECK(s.try_acquire_permit().error() == errc::empty);
  }
  CHECK(s.available() == 4);
  manual_executor loop;
  auto all = s.try_acquire_permit(4);
  auto wait = [](measured_semaphore& from, any_scheduler where) -> task<permit> {
    auto r = co_await (from.async_acquire_permit(3) | via(where));
    co_return std::move(r).value();
  };
  auto got = spawn(wait(s, loop.get_scheduler()));
  clock.advance(3s);
  all->release();
  clock.advance(4s);  // it has them, and waits for its thread: that is part of what it waits
  loop.run_all();
  CHECK(got.result().size() == 3);
  CHECK(s.available() == 4);
  CHECK(s.stats().accepted == 5);
  CHECK(s.stats().taken == 11);
  CHECK(s.stats().refused.empty == 1);
  CHECK(s.stats().wait_time.max() == 7'000'000'000U);
}

TEST_CASE("measured: a token bucket's calls, tokens and waits are counted", "[measured][rate]") {
  manual_clock clock;
  measured_bucket b{{.clock = clock}, rate{1, 1s}, 4, clock};
  CHECK(b.acquire(3));
  CHECK(b.try_acquire(2) == errc::empty);
  auto waits = spawn(end_of(b.async_acquire(3)));
  clock.advance(2s);
  CHECK(waits.result() == errc{});
  CHECK(b.stats().accepted == 2);
  CHECK(b.stats().taken == 6);
  CHECK(b.stats().wait_time.max() == 2'000'000'000U);
  // As many as there are.
  CHECK(b.try_acquire_up_to(4) == 0);
  clock.advance(2s);
  CHECK(b.try_acquire_up_to(1) == 1);
  CHECK(b.acquire_up_to(4).value() == 1);
  CHECK(b.acquire_up_to({.deadline = deadline::after(-1ns)}, 4).error() == errc::timeout);
  std::stop_source stop;
  stop.request_stop();
  clock.advance(1s);
  CHECK(b.acquire_up_to({.stop = stop.get_token()}, 4).error() == errc::cancelled);
  CHECK(b.stats().accepted == 4);
  CHECK(b.stats().taken == 8);
  CHECK(b.stats().refused.empty == 2);
  CHECK(b.stats().refused.timeout == 1);
  CHECK(b.stats().refused.cancelled == 1);
  // What waits for more than there can be any more.
  auto much = spawn(end_of(b.async_acquire(4)));
  b.set_burst(2);
  CHECK(much.result() == errc::rejected);
  CHECK(b.stats().refused.rejected == 1);
  CHECK_THROWS_AS(b.acquire(3), std::invalid_argument);
  b.close();
  CHECK(b.try_acquire_up_to(1) == 0);
  CHECK(b.stats().refused.closed == 1);

  measured<leaky_bucket<manual_clock>> leaky{{.clock = clock}, 1, 1s, clock};
  measured<sliding_window<manual_clock>> window{{.clock = clock}, 1, 1s, clock};
  CHECK(leaky.try_acquire());
  CHECK(window.try_acquire());
  CHECK(leaky.stats().accepted + window.stats().accepted == 2);
}

TEST_CASE("measured: a registry sees rates, refusals, waits and Little's law, under the kind of what is measured",
          "[measured][registry]") {
  manual_clock clock;
  registry all{{.clock = clock}};
  measured_semaphore s{{.clock = clock}, 1};
  const auto joined = all.join("places", s);
  const auto before = all.snapshot();
  CHECK(before.find("places")->kind == "semaphore");
  CHECK(before.find("places")->error.empty());
  CHECK(s.acquire());
  auto waits = spawn(end_of(s.async_acquire()));
  CHECK(s.try_acquire() == errc::empty);
  clock.advance(4s);
  const auto half = all.snapshot().since(before);
  CHECK(half.find("places")->utilization() == 0.5);  // at the one end none, at the other the only one
  CHECK(half.find("places")->now.total("depth") == 1);
  s.release();
  CHECK(waits.result() == errc{});
  const auto interval = all.snapshot().since(before);
  const component_interval& c = *interval.find("places");
  CHECK(c.rate("accepted_total") == 0.5);
  CHECK(c.rate("taken_total") == 0.5);
  CHECK(c.change.find("rejected_total", "empty")->value == 1);
  CHECK(c.queue_law().measured);
  CHECK(c.queue_law().rate == 0.25);
  CHECK(c.queue_law().expected() > 0.99);
  CHECK(to_prometheus_text(all.snapshot()).find("penstock_semaphore_taken_total{component=\"places\"} 2\n") != std::string::npos);
}

TEST_CASE("measured: what takes anything that makes its callers wait counts with it", "[measured]") {
  measured_semaphore s{2, {.fairness = fairness::fifo}};
  const job_pace pace = paced_by(s);
  auto got = spawn(pace.acquire());
  CHECK(got.result());
  CHECK(s.stats().accepted == 1);
  pace.release();
  CHECK(s.available() == 2);
}
