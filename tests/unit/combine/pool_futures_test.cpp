// Combinators over tasks of a pool: those that are not needed any more are asked to stop, and have ended when the combinator has.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/combine/combined_error.hpp>
#include <penstock/combine/hedge.hpp>
#include <penstock/combine/map_concurrent.hpp>
#include <penstock/combine/quorum.hpp>
#include <penstock/combine/race.hpp>
#include <penstock/combine/when_all.hpp>
#include <penstock/combine/when_all_settled.hpp>
#include <penstock/combine/when_any.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

#include "../../support/catch.hpp"
#include "combine_testing.hpp"

using namespace penstock;
using namespace std::chrono_literals;
using combine_test::failures_of;

namespace {

using futures = std::vector<future<int>>;

template <class... F>
futures list(F... f) {
  futures all;
  (all.push_back(std::move(f)), ...);
  return all;
}

// A pool of one, and a task on it that ends when it is stopped.
struct stage {
  stage() : pool{{.threads = 1}} {}
  // Gives 1 when it is stopped.
  future<int> endless() {
    future<int> f = pool.submit([this](std::stop_token stop) {
      begun.set();
      static_cast<void>(never.wait(stop));
      ++ended;
      return 1;
    });
    begun.wait();
    return f;
  }
  // Does not listen, until it may go on.
  future<int> stubborn() {
    future<int> f = pool.submit([this] {
      begun.set();
      go.wait();
      ++ended;
      return 1;
    });
    begun.wait();
    return f;
  }
  // Behind one of those.
  future<int> queued() {
    return pool.submit([this] { return ++ran; });
  }
  event begun, go, never;
  std::atomic<int> ended{0}, ran{0};
  worker_pool pool;
};

future<int> failed() {
  promise<int> p;
  p.set_exception(std::make_exception_ptr(std::runtime_error{"failed"}));
  return p.get_future();
}

}  // namespace

TEST_CASE("when_any: the tasks of futures that lose are asked to stop, and have ended when it ends", "[combine][future]") {
  stage s;
  SECTION("one that runs") {
    CHECK(sync_wait(when_any(list(s.endless(), make_ready_future(7)))) == winner<int>{1, 7});
    CHECK(s.ended == 1);
  }
  SECTION("one that has not begun never does") {
    future<int> before = s.stubborn();
    CHECK(sync_wait(when_any(list(s.queued(), make_ready_future(7)))) == winner<int>{1, 7});
    s.go.set();
    CHECK(before.get() == 1);
    CHECK(s.pool.drain());
    CHECK(s.ran == 0);
  }
  SECTION("one that does not listen is waited for") {
    auto any = spawn(when_any(list(s.stubborn(), make_ready_future(7))));
    CHECK_FALSE(any.done());
    s.go.set();
    CHECK(any.result() == winner<int>{1, 7});
    CHECK(s.ended == 1);
  }
  SECTION("those that wait for their turn under a limit, too") {
    future<int> runs = s.endless();
    future<int> waits = s.queued();
    CHECK(sync_wait(when_any(list(make_ready_future(7), std::move(runs), std::move(waits)), limit(1))) == winner<int>{0, 7});
    CHECK(s.ended == 1);
    CHECK(s.pool.drain());
    CHECK(s.pool.stats().completed + s.pool.stats().cancelled == 2);
  }
}

TEST_CASE("combinators: each stops the tasks of futures that it does not need any more", "[combine][future]") {
  stage s;
  future<int> loser = s.endless();
  SECTION("race") { CHECK(sync_wait(race(list(make_ready_future(7), std::move(loser)))) == winner<int>{0, 7}); }
  SECTION("quorum") {
    const auto two = sync_wait(quorum(2, list(std::move(loser), make_ready_future(7), failed(), make_ready_future(8))));
    REQUIRE(two.size() == 2);
    CHECK((two[0].index == 1 && two[1].index == 3));
  }
  SECTION("when_all, when one fails") {
    CHECK(failures_of([&] { return sync_wait(when_all(list(std::move(loser), s.queued(), failed()))); }) == std::vector{2});
  }
  SECTION("when_all_settled, when it is stopped itself") {
    future<int> behind = s.queued();
    auto all = spawn(when_all_settled(list(std::move(behind), std::move(loser), make_ready_future(7), failed())));
    CHECK_FALSE(all.done());
    all.request_stop();
    const auto ends = all.result();
    REQUIRE(ends.size() == 4);
    CHECK((ends[0] ? *ends[0] == 1 : ends[0].error() == errc::cancelled));
    CHECK(*ends[1] == 1);
    CHECK(*ends[2] == 7);
    CHECK(ends[3].exception() != nullptr);
  }
  CHECK(s.ended == 1);
}

TEST_CASE("when_any: what a loser's task holds may end another loser when it is destroyed", "[combine][future][hazard-17]") {
  struct gives {
    explicit gives(promise<int>& p) : to{&p} {}
    gives(gives&& other) noexcept : to{std::exchange(other.to, nullptr)} {}
    ~gives() {
      if (to != nullptr) to->set_value(9);
    }
    promise<int>* to;
  };
  stage s;
  future<int> before = s.stubborn();
  promise<int> p;
  future<int> given = p.get_future();  // let go of, or given: as the order of the stop callbacks has it
  future<int> holds = s.pool.submit([held = gives{p}] { return 1; });
  CHECK(sync_wait(when_any(list(std::move(given), std::move(holds), make_ready_future(7)))) == winner<int>{2, 7});
  s.go.set();
  CHECK(before.get() == 1);
}

TEST_CASE("when_any: a spawned coroutine that loses is told to stop, also one that waits for its turn", "[combine]") {
  combine_test::scene s{2};
  std::vector<spawned<int>> all;
  for (std::size_t i = 0; i < 2; ++i) all.push_back(spawn(combine_test::number(s, i)));
  s.open(0);
  CHECK(sync_wait(when_any(std::move(all), limit(1))) == winner<int>{0, 0});
  CHECK(s.cancelled == std::vector<std::size_t>{1});
  CHECK(s.under_way == 0);
}

TEST_CASE("combinators: a late stop reaches those that wait for their turn, though who runs does not listen", "[combine]") {
  combine_test::scene s{3};
  std::vector<spawned<int>> all;
  all.push_back(spawn(combine_test::stubborn(s, 0)));
  for (std::size_t i = 1; i < 3; ++i) all.push_back(spawn(combine_test::number(s, i)));
  auto ends = spawn(when_all_settled(std::move(all), limit(1)));
  ends.request_stop();
  CHECK(s.cancelled == std::vector<std::size_t>{1, 2});  // the first may wait for them
  CHECK_FALSE(ends.done());
  s.open(0);
  const auto outcomes = ends.result();
  CHECK(*outcomes[0] == 0);
  CHECK(outcomes[2].error() == errc::cancelled);
  CHECK(s.under_way == 0);
}

TEST_CASE("hedge: an attempt that is a pool's task hears that it has lost", "[hedge][future]") {
  manual_clock clock;
  event never, begun;
  std::atomic<int> ended{0};
  worker_pool pool{{.threads = 2}};
  const auto attempt = [&](std::size_t n) {
    return pool.submit([&, n](std::stop_token stop) {
      if (n == 0) {
        begun.set();
        static_cast<void>(never.wait(stop));
        ++ended;
      }
      return static_cast<int>(n);
    });
  };
  auto answer = spawn(hedge(attempt, 10ms, 2, clock));
  begun.wait();
  clock.advance(10ms);
  CHECK(answer.result() == 1);
  CHECK(ended == 1);
}

TEST_CASE("map_concurrent: items that are a pool's tasks are stopped when one fails, or all are stopped",
          "[map_concurrent][future]") {
  event never;
  std::atomic<int> stopped{0};
  worker_pool pool{{.threads = 2}};
  const auto item = [&](int i) {
    return pool.submit([&, i](std::stop_token stop) {
      if (i == 1) throw std::runtime_error{"failed"};
      stopped += never.wait(stop) ? 0 : 1;
      return i;
    });
  };
  CHECK(failures_of([&] { return sync_wait(map_concurrent(std::views::iota(0, 100), limit(2), item)); }) == std::vector{1});
  CHECK(stopped <= 1);  // it may not have begun
  REQUIRE(pool.drain());
  std::stop_source stop;
  event begun;
  stopped = 0;
  const auto endless = [&](int i) {
    return pool.submit([&, i](std::stop_token t) {
      begun.set();
      stopped += never.wait(t) ? 0 : 1;
      return i;
    });
  };
  auto all = spawn(map_concurrent_settled(std::views::iota(0, 100), limit(1), endless));
  begun.wait();
  all.request_stop();
  const auto ends = all.result();
  REQUIRE(ends.size() == 1);
  CHECK(*ends[0] == 0);
  CHECK(stopped == 1);
}

TEST_CASE("combinators: on the only worker of a pool they join the pool's tasks, whether these began or not",
          "[combine][future][hazard-18]") {
  worker_pool pool{{.threads = 1}};
  std::atomic<int> ran{0};
  const int won = pool.submit([&] {
                        futures all;
                        for (int i = 0; i < 10; ++i) all.push_back(pool.submit([&ran, i] { return ++ran, i; }));
                        all.push_back(make_ready_future(7));
                        return sync_wait(when_any(std::move(all))).value;
                      })
                      .get();
  CHECK((won == 7 || won < 10));
  REQUIRE(pool.drain());
  CHECK(pool.stats().completed + pool.stats().cancelled == 11);
}
