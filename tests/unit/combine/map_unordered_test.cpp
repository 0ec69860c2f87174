#include <penstock/combine/map_unordered.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <list>
#include <memory>
#include <ranges>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/event.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"
#include "bulk_testing.hpp"

namespace {

using namespace penstock;
using test_support::until;

// What comes, in order.
template <class Results>
auto sorted(Results&& results) {
  std::vector<typename std::remove_cvref_t<Results>::value_type> all;
  for (auto& r : results) all.push_back(std::move(r));
  std::ranges::sort(all);
  return all;
}

TEST_CASE("map_unordered: each result comes once, from ranges of every kind", "[map_unordered]") {
  worker_pool pool{{.threads = 2}};
  const auto twice = [](int i) { return 2 * i; };
  std::vector<int> expected;
  for (int i = 0; i < 200; ++i) expected.push_back(2 * i);
  const auto numbers = std::views::iota(0, 200);
  CHECK(sorted(map_unordered(pool, numbers, twice)) == expected);
  CHECK(sorted(map_unordered(pool, numbers, twice, {.ahead = 1})) == expected);
  CHECK(sorted(map_unordered(pool, std::list<int>(numbers.begin(), numbers.end()), twice)) == expected);
  const std::vector<int> kept(numbers.begin(), numbers.end());
  CHECK(sorted(map_unordered(pool, kept, twice)) == expected);
  CHECK(sorted(map_unordered(pool, std::vector<int>{}, twice)).empty());
  const auto boxes = sorted(map_unordered(pool, std::vector<int>{7}, [](int i) { return std::make_unique<int>(i); }));
  REQUIRE(boxes.size() == 1);
  CHECK(*boxes[0] == 7);
}

TEST_CASE("map_unordered: without a worker who asks for a result computes it", "[map_unordered][hazard-18]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 1}};
  const auto sum = [&] {
    int all = 0;
    for (int outer : map_unordered(pool, std::views::iota(0, 10), [&](int i) {
           int inner = 0;
           for (int j : map_unordered(pool, std::views::iota(0, i), [](int k) { return k; })) inner += j;
           return inner;
         }))
      all += outer;
    return all;
  };
  CHECK(sum() == 120);
  CHECK(pool.submit(sum).get() == 120);
  REQUIRE(pool.shutdown());
  CHECK(sum() == 120);
}

TEST_CASE("map_unordered: whoever computes a result calls the workers that were refused", "[map_unordered]") {
  event begun;
  event go;
  worker_pool pool{{.threads = 1, .queue_capacity = 1}};
  REQUIRE(pool.post([&] {
    begun.set();
    go.wait();
  }));
  begun.wait();
  REQUIRE(pool.post([] {}));  // the queue is full
  const auto where = [](int) { return std::this_thread::get_id(); };
  auto results = map_unordered(pool, std::views::iota(0, 6), where, {.ahead = 6});
  CHECK(results.pop().value() == std::this_thread::get_id());
  go.set();
  REQUIRE(pool.drain());
  CHECK(results.pop().value() == std::this_thread::get_id());  // calls
  REQUIRE(pool.drain());
  for (int i = 0; i < 4; ++i) CHECK(results.pop().value() != std::this_thread::get_id());
  CHECK(results.pop().error() == errc::closed);
}

TEST_CASE("map_unordered: workers compute ahead, and no more than they may", "[map_unordered]") {
  std::atomic<int> computed{0};
  worker_pool pool{{.threads = 2}};
  auto results = map_unordered(pool, std::views::iota(0, 100), [&](int i) { return ++computed, i; }, {.ahead = 3});
  until([&] { return computed == 3; });
  REQUIRE(pool.drain());
  CHECK(computed == 3);
  REQUIRE(results.pop());
  until([&] { return computed == 4; });
  REQUIRE(pool.drain());
  CHECK(computed == 4);
}

TEST_CASE("map_unordered: results are given as they come", "[map_unordered]") {
  event slow, quick;
  worker_pool pool{{.threads = 2}};
  auto results = map_unordered(pool, std::views::iota(0, 2), [&](int i) {
    if (i == 0) slow.wait();
    if (i == 1) quick.set();
    return i;
  });
  quick.wait();  // so workers have begun both: this thread will not have to wait for the first one itself
  CHECK(results.pop().value() == 1);
  slow.set();
  CHECK(results.pop().value() == 0);
  CHECK(results.pop().error() == errc::closed);
}

TEST_CASE("map_unordered: after an exception no element begins; it is thrown behind the results", "[map_unordered][hazard-19]") {
  event go;
  worker_pool pool{{.threads = 1}};
  auto blocked = pool.submit([&] { go.wait(); });
  std::atomic<int> begun{0};
  auto results = map_unordered(pool, std::views::iota(0, 100), [&](int i) {
    ++begun;
    if (i == 2) throw std::runtime_error{"no"};
    return i;
  });
  CHECK(results.pop().value() == 0);
  CHECK(results.pop().value() == 1);
  CHECK_THROWS_WITH(results.pop(), "no");
  CHECK_THROWS_WITH(results.pop(), "no");
  CHECK(begun == 3);
  go.set();
  blocked.get();
  CHECK(pool.failed() == 0);
}

TEST_CASE("map_unordered: exceptions that the consumer does not get go to the pool", "[map_unordered][hazard-19]") {
  std::atomic<int> handled{0};
  worker_pool pool{{.threads = 2, .on_error = [&](const std::exception_ptr&) { ++handled; }}};
  {
    rendezvous both{2};
    auto results = map_unordered(pool, std::views::iota(0, 2), [&](int i) -> int {
      both.arrive_and_wait();
      throw std::runtime_error{std::to_string(i)};
    });
    CHECK_THROWS_AS(results.pop(), std::runtime_error);
  }
  CHECK(handled == 1);
  {
    std::atomic<bool> failed{false};
    auto nobody = map_unordered(pool, std::views::iota(0, 1), [&](int) -> int {
      failed = true;
      throw std::runtime_error{"unheard"};
    });
    until([&] { return failed.load(); });
  }
  CHECK(handled == 2);
}

TEST_CASE("map_unordered: begins nothing after a stop request, and says so", "[map_unordered]") {
  event go;
  worker_pool pool{{.threads = 1}};
  auto blocked = pool.submit([&] { go.wait(); });
  std::stop_source stop;
  auto results = map_unordered(pool, std::views::iota(0, 3),
                               [&](int i) {
                                 if (i == 1) stop.request_stop();
                                 return i;
                               },
                               {.stop = stop.get_token()});
  CHECK(results.pop().value() == 0);
  CHECK(results.pop().value() == 1);
  CHECK(results.pop().error() == errc::cancelled);
  go.set();
  blocked.get();
}

TEST_CASE("map_unordered: whoever leaves early waits for what was begun, and nothing begins after that", "[map_unordered]") {
  worker_pool pool{{.threads = 1}};
  auto alive = std::make_shared<int>(0);
  std::atomic<int> running{0}, calls{0};
  {
    event begun;
    auto results = map_unordered(pool, std::views::iota(0, 100), [&, alive](int i) {
      ++running;
      ++calls;
      begun.set();
      std::this_thread::yield();
      --running;
      return i;
    });
    begun.wait();
  }
  CHECK(running == 0);
  CHECK(alive.use_count() == 1);
  // A worker that comes late.
  event go;
  auto blocked = pool.submit([&] { go.wait(); });
  {
    auto results = map_unordered(pool, std::views::iota(0, 100), [&, alive](int i) { return ++calls, i; });
  }
  const int before = calls;
  CHECK(alive.use_count() == 1);
  go.set();
  blocked.get();
  REQUIRE(pool.drain());
  CHECK(calls == before);
}

// The next move throws, if it is told to.
struct fragile {
  explicit fragile(int n) noexcept : number{n} {}
  fragile(fragile&& other) : number{other.number} {
    if (!breaks.exchange(false)) return;
    if (broke != nullptr) broke->set();
    throw std::runtime_error{"moved"};
  }
  int number;
  static inline std::atomic<bool> breaks{false};
  static inline event* broke = nullptr;
};

TEST_CASE("map_unordered: a result whose move throws is lost, but not its place", "[map_unordered][hazard-19][hazard-30]") {
  worker_pool pool{{.threads = 1}};
  std::atomic<int> computed{0};
  auto results = map_unordered(pool, std::views::iota(0, 3), [&](int i) { return ++computed, fragile{i}; }, {.ahead = 1});
  until([&] { return computed == 1; });
  REQUIRE(pool.drain());
  fragile::breaks = true;
  CHECK_THROWS_WITH(results.pop(), "moved");
  until([&] { return computed == 2; });  // ahead, in the place that is free
  CHECK(results.pop()->number == 1);
  CHECK(results.pop()->number == 2);
  CHECK(results.pop().error() == errc::closed);
  CHECK(pool.failed() == 0);
}

TEST_CASE("map_unordered: results whose move throws do not end the wait for those that are computed",
          "[map_unordered][hazard-19]") {
  struct lifetime {
    explicit lifetime(std::atomic<bool>& flag) : ended{&flag} {}
    lifetime(lifetime&& other) noexcept : ended{std::exchange(other.ended, nullptr)} {}
    ~lifetime() {
      if (ended != nullptr) *ended = true;
    }
    std::atomic<bool>* ended;
  };
  event second, go, broke;
  fragile::broke = &broke;
  std::atomic<bool> ended{false}, outlived{false};
  worker_pool pool{{.threads = 2}};
  const std::jthread lets_go{[&] {
    broke.wait();
    for (int i = 0; i < 100; ++i) std::this_thread::yield();  // time to do it wrong
    go.set();
  }};
  {
    auto results = map_unordered(pool, std::views::iota(0, 2),
                                 [&, held = lifetime{ended}](int i) {
                                   if (i == 1) {
                                     second.set();
                                     go.wait();
                                     outlived = !ended;
                                   }
                                   return fragile{i};
                                 },
                                 {.ahead = 2});
    second.wait();
    until([&] { return pool.stats().active == 1 || pool.stats().completed == 1; });  // the first result is there
    fragile::breaks = true;
  }
  fragile::broke = nullptr;
  CHECK(outlived);
  CHECK(pool.failed() == 1);
}

TEST_CASE("map_unordered: workers that cannot come are no submissions that were rejected", "[map_unordered]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 1}};
  event begun, go;
  REQUIRE(pool.post([&] {
    begun.set();
    go.wait();
  }));
  begun.wait();
  REQUIRE(pool.post([] {}));  // the queue is full
  int sum = 0;
  for (int i : map_unordered(pool, std::views::iota(0, 10), [](int n) { return n; })) sum += i;
  CHECK(sum == 45);
  CHECK(pool.stats().rejected.total() == 0);
  go.set();
  REQUIRE(pool.drain());
}

TEST_CASE("map_unordered: a worker that waits for another thread's element does what that one waits for",
          "[map_unordered][hazard-18]") {
  struct local {
    static task<> set(event& e) {
      e.set();
      co_return;
    }
  };
  const bool coroutine = GENERATE(true, false);  // its own worker runs it; or a thread in that one's stead
  event begun, claimed, done;
  worker_pool pool{{.threads = 1, .max_threads = coroutine ? 1U : 2U}};
  REQUIRE(pool.post([&] {  // so that this thread computes the element
    begun.set();
    claimed.wait();
  }));
  begun.wait();
  auto results = map_unordered(pool, std::views::iota(0, 1), [&](int) {
    claimed.set();
    if (coroutine) {
      auto c = spawn(pool, local::set(done));
      until([&] { return c.done(); });
    } else {
      auto f = pool.submit([&] { done.set(); });
      until([&] { return f.is_ready(); });
    }
    return 7;
  });
  auto waits = pool.submit([&] { return results.pop() == errc::closed; });
  CHECK(results.pop() == 7);
  CHECK(waits.get());
  CHECK(done.is_set());
}

TEST_CASE("map_unordered: several threads may share the results", "[map_unordered]") {
  worker_pool pool{{.threads = 2}};
  auto results = map_unordered(pool, std::views::iota(0, 1000), [](int i) { return i; });
  std::atomic<int> sum{0}, count{0};
  {
    std::vector<std::jthread> consumers;
    for (int c = 0; c < 3; ++c) {
      consumers.emplace_back([&] {
        while (auto r = results.pop()) {
          sum += *r;
          ++count;
        }
      });
    }
  }
  CHECK(count == 1000);
  CHECK(sum == 499500);
}

}  // namespace
