// A pipeline that is stopped, or late, wherever it waits.
#include <penstock/stream/pipeline.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <ranges>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/semaphore.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using test_support::until;

constexpr auto no_timer = manual_clock::time_point::max();

// Where a pipeline can wait. Each one is built so that it waits there for ever.
struct waits {
  channel<int> never{1};
  channel<int> full{1};
  semaphore no_turn{0};
  event release;
  std::atomic<bool> there = false;
  worker_pool busy{{.threads = 1, .queue_capacity = 1}};

  waits() {
    REQUIRE(full.push(0));
    event began;
    REQUIRE(busy.post([&] {
      began.set();
      release.wait();
    }));
    began.wait();
  }
  ~waits() { release.set(); }

  auto numbers() {
    return from([this, i = 0]() mutable {
      there = true;
      return std::optional{i++};
    });
  }
};

using run_function = std::function<result<void>(const wait_limits&)>;

void at_every_wait(const std::function<void(waits&, const run_function&)>& check) {
  const auto one = [&](const char* name, auto make) {
    INFO(name);
    waits w;
    auto p = make(w);
    check(w, [&p](const wait_limits& limits) { return p.run(limits); });
  };
  const auto nothing = [](const auto&) {};
  one("an empty channel", [&](waits& w) {
    w.there = true;
    return from(w.never) | to(nothing);
  });
  one("an empty channel behind a buffer", [&](waits& w) {
    w.there = true;
    return from(w.never) | buffer(2) | to(nothing);
  });
  one("an empty channel beside a source without end", [&](waits& w) { return w.numbers() | merge(from(w.never)) | to(nothing); });
  one("a source without end", [&](waits& w) { return w.numbers() | to(nothing); });
  one("a filter that keeps nothing", [&](waits& w) { return w.numbers() | filter([](int) { return false; }) | to(nothing); });
  one("a range without end",
      [&](waits& w) { return w.numbers() | flat_map([](int i) { return std::views::iota(i); }) | to(nothing); });
  one("a full channel", [&](waits& w) { return w.numbers() | to(w.full); });
  one("a full channel beside", [&](waits& w) { return w.numbers() | tee(w.full) | to(nothing); });
  one("a full buffer", [&](waits& w) { return w.numbers() | buffer(2) | to(w.full); });
  one("full buffers", [&](waits& w) { return w.numbers() | buffer(50) | buffer(1) | buffer(2) | to(w.full); });
  one("a limiter", [&](waits& w) { return w.numbers() | throttle(w.no_turn) | to(nothing); });
  one("a batch that lingers", [&](waits& w) {
    w.there = true;
    return from(w.never) | batch(3, 1h) | to(nothing);
  });
  one("a pool without room", [&](waits& w) {
    REQUIRE(w.busy.post([] {}));
    return w.numbers() | parallel_map(w.busy, 2, [](int i) { return i; }) | to(nothing);
  });
  for (const delivery order : {delivery::ordered, delivery::unordered}) {
    one("a pool that is busy",
        [&](waits& w) { return w.numbers() | parallel_map(w.busy, 1, [](int i) { return i; }, order) | to(nothing); });
  }
}

TEST_CASE("pipeline: stopped at every place where it can wait", "[pipeline]") {
  at_every_wait([](waits& w, const run_function& run) {
    std::stop_source stop;
    std::jthread stopper{[&] {
      until([&] { return w.there.load(); });
      for (int i = 0; i < 20; ++i) std::this_thread::yield();
      stop.request_stop();
    }};
    CHECK(run({.stop = stop.get_token()}).error() == errc::cancelled);
  });
}

TEST_CASE("pipeline: a deadline ends it at every place where it can wait, by any clock", "[pipeline]") {
  at_every_wait([](waits& w, const run_function& run) {
    manual_clock clock;
    bool early = false;
    std::jthread mover{[&] {
      until([&] { return w.there.load() && clock.next_timer() != no_timer; });
      clock.advance(9ms);
      early = clock.next_timer() != clock.now() + 1ms;
      clock.advance(1ms);
    }};
    CHECK(run({.deadline = {clock.now() + 10ms, clock}}).error() == errc::timeout);
    mover.join();
    CHECK(!early);
    CHECK(clock.next_timer() == no_timer);
  });
  auto p = from([] { return std::optional{1}; }) | to([](int) {});
  CHECK(p.run({.deadline = deadline::after(1ms)}).error() == errc::timeout);
}

TEST_CASE("pipeline: one that needs the very worker that waits for it ends at its deadline", "[pipeline]") {
  worker_pool pool{{.threads = 1}};
  result<void> inner = errc::empty;
  // The worker waits for a thread of the outer one, which waits for the inner one, whose tasks wait for the worker. No thread can see that.
  auto on_the_worker = pool.submit([&] {
    auto outer = from(std::vector{1}) | map([&](int i) {
                   auto p = from(std::vector{1, 2}) | parallel_map(pool, 2, [](int j) { return j; }) | to([](int) {});
                   inner = p.run({.deadline = deadline::after(5ms)});
                   return i;
                 }) |
                 buffer(2) | to([](int) {});
    return outer.run().has_value();
  });
  CHECK(on_the_worker.get());
  REQUIRE(!inner);
  CHECK(inner.error() == errc::timeout);
}

TEST_CASE("pipeline: what it leaves in a pool's queue does nothing, and holds no item", "[pipeline]") {
  const auto order = GENERATE(delivery::ordered, delivery::unordered);
  event release;
  worker_pool pool{{.threads = 1, .queue_capacity = 8}};
  REQUIRE(pool.post([&] { release.wait(); }));
  until([&] { return pool.queued() == 0; });
  bool called = false;
  const auto item = std::make_shared<int>(7);
  std::stop_source stop;
  {
    auto p = from(std::vector(9, item)) |
             parallel_map(
                 pool, 3,
                 [&](std::shared_ptr<int> i) {
                   called = true;
                   return i;
                 },
                 order) |
             to([](const std::shared_ptr<int>&) {});
    std::jthread stopper{[&] {
      until([&] { return pool.queued() >= 3; });
      stop.request_stop();
    }};
    CHECK(p.run(stop.get_token()).error() == errc::cancelled);
    CHECK(item.use_count() == 1);
  }
  CHECK(pool.queued() == 3);
  release.set();
  CHECK(pool.drain());
  CHECK(!called);
}

TEST_CASE("pipeline: stopped, or late, before it begins, it takes nothing and closes its ends", "[pipeline]") {
  std::stop_source stop;
  stop.request_stop();
  manual_clock clock;
  const int why = GENERATE(0, 1, 2);
  const wait_limits limits{.stop = why == 0 ? stop.get_token() : std::stop_token{},
                           .deadline = why == 1   ? deadline{clock.now(), clock}
                                       : why == 2 ? deadline::after(-1h)
                                                  : deadline{}};
  channel<int> in{2};
  channel<int> out{2};
  REQUIRE(in.push(1));
  int asked = 0;
  auto p = from(in) | merge(from([&]() -> std::optional<int> { return ++asked; })) | buffer(3) | to(out);
  const result<void> ended = p.run(limits);
  REQUIRE(!ended);
  CHECK(ended.error() == (limits.stop.stop_requested() ? errc::cancelled : errc::timeout));
  CHECK(in.size() == 1);
  CHECK(asked == 0);
  CHECK(out.is_closed());
}

}  // namespace
