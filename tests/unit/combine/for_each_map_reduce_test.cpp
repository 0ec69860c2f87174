#include <penstock/combine/for_each.hpp>

#include <atomic>
#include <cstddef>
#include <exception>
#include <iterator>
#include <list>
#include <memory>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <penstock/combine/map.hpp>
#include <penstock/combine/reduce.hpp>

#include "../../support/catch.hpp"
#include "bulk_testing.hpp"

namespace {

using namespace penstock;

TEST_CASE("for_each: visits each element once, whatever the chunks", "[for_each]") {
  worker_pool pool{{.threads = 2}};
  for (const std::size_t chunk : {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{100}, std::size_t{5000}}) {
    std::vector<int> visits(1000);
    REQUIRE(for_each(pool, visits, [](int& n) { ++n; }, {.chunk = chunk}));
    CHECK(visits == std::vector<int>(1000, 1));
  }
}

TEST_CASE("for_each: takes ranges of every kind", "[for_each]") {
  worker_pool pool{{.threads = 2}};
  std::list<int> list(100, 1);
  for_each(pool, list, [](int& n) { ++n; });
  CHECK(list == std::list<int>(100, 2));

  std::atomic<int> sum{0};
  const auto add = [&](int n) { sum += n; };
  for_each(pool, std::views::iota(0, 100), add);
  CHECK(sum == 4950);
  for_each(pool, std::vector<int>{1, 2, 3}, add);
  CHECK(sum == 4956);
  for_each(pool, std::vector<int>{}, add);
  const std::vector<int> constant{10, 20};
  for_each(pool, constant, add);
  CHECK(sum == 4986);
  for_each(pool, list | std::views::filter([](int) { return true; }) | std::views::transform([](int n) { return 2 * n; }), add);
  CHECK(sum == 5386);
  std::istringstream once{"1 2 3 4 5"};
  REQUIRE(for_each(pool, std::views::istream<int>(once), add, {.chunk = 2}));
  CHECK(sum == 5401);
}

TEST_CASE("for_each: the caller and workers take part at the same time", "[for_each]") {
  worker_pool pool{{.threads = 2}};
  const auto meet = [&] {
    rendezvous both{2};
    std::thread::id who[2];
    for_each(pool, std::views::iota(0, 2), [&](int i) {
      who[i] = std::this_thread::get_id();
      both.arrive_and_wait();
    });
    CHECK(who[0] != who[1]);
    CHECK((who[0] == std::this_thread::get_id() || who[1] == std::this_thread::get_id()));
  };
  meet();
  pool.submit(meet).get();
}

TEST_CASE("for_each: no more threads take part than the pool has", "[for_each]") {
  worker_pool pool{{.threads = 1}};
  std::vector<std::thread::id> who(100);
  for_each(pool, who, [](std::thread::id& id) { id = std::this_thread::get_id(); });
  CHECK(who == std::vector<std::thread::id>(100, std::this_thread::get_id()));
}

TEST_CASE("for_each: nested to any depth it ends on one thread and with a full queue", "[for_each][hazard-18]") {
  for (const std::size_t threads : {std::size_t{1}, std::size_t{2}}) {
    worker_pool pool{{.threads = threads, .queue_capacity = 1, .overflow = overflow::reject}};
    std::atomic<int> wrong{0};  // several threads come here at a time
    const auto nested = [&] {
      std::atomic<int> visits{0};
      const auto loop = [&](auto f) {
        if (!for_each(pool, std::views::iota(0, 3), f, {.chunk = 1})) ++wrong;
      };
      loop([&](int) { loop([&](int) { loop([&](int) { loop([&](int) { ++visits; }); }); }); });
      if (visits != 81) ++wrong;
    };
    nested();
    event go;
    std::vector<future<void>> workers;
    std::atomic<std::size_t> begun{0};
    for (std::size_t i = 0; i < threads; ++i) {
      while (begun < i) std::this_thread::yield();
      workers.push_back(pool.submit([&] {
        ++begun;
        go.wait();
        nested();
      }));
    }
    while (begun < threads) std::this_thread::yield();
    REQUIRE(pool.try_post([] {}));
    REQUIRE_FALSE(pool.try_post([] {}));  // the queue is full
    nested();
    go.set();
    for (auto& w : workers) w.get();
    CHECK(wrong == 0);
  }
}

TEST_CASE("for_each: after an exception no chunk begins, and it is thrown", "[for_each]") {
  worker_pool pool{{.threads = 1}};
  int visits = 0;
  std::vector<std::exception_ptr> failures(3);
  CHECK_THROWS_WITH(for_each(pool, std::views::iota(0, 10),
                             [&](int i) {
                               ++visits;
                               if (i == 3) throw std::runtime_error{"no"};
                             },
                             {.chunk = 1, .failures = &failures})
                        .value(),
                    "no");
  CHECK(visits == 4);
  REQUIRE(failures.size() == 1);
  CHECK_THROWS_WITH(std::rethrow_exception(failures[0]), "no");
  CHECK(pool.failed() == 0);
  visits = 0;
  REQUIRE(for_each(pool, std::views::iota(0, 10), [&](int) { ++visits; }, {.chunk = 1, .failures = &failures}));
  CHECK(failures.empty());
}

TEST_CASE("for_each: of several exceptions the first is thrown, and all are kept", "[for_each][hazard-19]") {
  std::atomic<int> handled{0};
  worker_pool pool{{.threads = 2, .on_error = [&](const std::exception_ptr&) { ++handled; }}};
  const auto fail = [&](std::vector<std::exception_ptr>* failures) {
    rendezvous both{2};
    REQUIRE_THROWS_AS(static_cast<void>(for_each(pool, std::views::iota(0, 2),
                                                 [&](int i) {
                                                   both.arrive_and_wait();
                                                   throw i;
                                                 },
                                                 {.failures = failures})),
                      int);
  };
  std::vector<std::exception_ptr> failures;
  fail(&failures);
  CHECK(failures.size() == 2);
  CHECK(pool.failed() == 0);
  fail(nullptr);
  CHECK(pool.failed() == 1);
  CHECK(handled == 1);
  const auto shared = std::make_exception_ptr(0);
  rendezvous both{2};
  const auto fails = [&](int) {
    both.arrive_and_wait();
    std::rethrow_exception(shared);
  };
  CHECK_THROWS_AS(static_cast<void>(for_each(pool, std::views::iota(0, 2), fails)), int);
  CHECK(pool.failed() == 2);  // the same exception twice is two failures
}

TEST_CASE("for_each: stops before the next chunk, and tells so if one was left", "[for_each]") {
  worker_pool pool{{.threads = 1}};
  for (const int last : {0, 3, 9}) {
    std::stop_source stop;
    int visits = 0;
    const auto r = for_each(pool, std::views::iota(0, 10),
                            [&](int i) {
                              ++visits;
                              if (i == last) stop.request_stop();
                            },
                            {.chunk = 1, .stop = stop.get_token()});
    CHECK(visits == last + 1);
    if (last == 9) {
      CHECK(r);
    } else {
      REQUIRE_FALSE(r);
      CHECK(r.error() == errc::cancelled);
    }
    CHECK(for_each(pool, std::views::iota(0, 0), [](int) {}, {.stop = stop.get_token()}));
    CHECK_FALSE(for_each(pool, std::views::iota(0, 1), [](int) {}, {.stop = stop.get_token()}));
  }
}

TEST_CASE("for_each: a pool that was shut down helps nobody, and the loop is done all the same", "[for_each]") {
  worker_pool pool{{.threads = 2}};
  REQUIRE(pool.shutdown());
  std::vector<int> visits(100);
  for_each(pool, visits, [](int& n) { ++n; });
  CHECK(visits == std::vector<int>(100, 1));
}

TEST_CASE("for_each: more callers from outside than the pool has lanes for all end", "[for_each]") {
  worker_pool pool{{.threads = 2}};
  constexpr int callers = 11;
  rendezvous all{callers};
  std::atomic<int> visits{0};
  {
    std::vector<std::jthread> threads;
    for (int c = 0; c < callers; ++c) {
      threads.emplace_back([&] {
        for_each(pool, std::views::iota(0, 20), [&](int i) {
          if (i == 0) all.arrive_and_wait();  // on whichever thread: so all loops are under way at the same time
          ++visits;
        });
      });
    }
  }
  CHECK(visits == callers * 20);
}

TEST_CASE("reduce: keeps the order of the elements, and counts the first value once", "[reduce]") {
  worker_pool pool{{.threads = 2}};
  std::string expected{">"};
  for (int i = 0; i < 300; ++i) expected += std::to_string(i) + ' ';
  const auto text = [](int i) { return std::to_string(i) + ' '; };
  for (const std::size_t chunk : {std::size_t{0}, std::size_t{1}, std::size_t{13}, std::size_t{300}}) {
    CHECK(reduce(pool, std::views::iota(0, 300), std::string{">"}, std::plus<>{}, text, {.chunk = chunk}).value() == expected);
  }
  CHECK(reduce(pool, std::views::iota(0, 300), std::string{">"}, std::plus<>{}, text) == expected);
  CHECK(reduce(pool, std::vector<int>{3, 5}, 7, std::multiplies<>{}) == 105);
  CHECK(reduce(pool, std::list<int>{1, 2}, 3) == 6);
  CHECK(reduce(pool, std::vector<int>{}, 3) == 3);
}

TEST_CASE("reduce: values may be of a kind that can only be moved", "[reduce]") {
  worker_pool pool{{.threads = 2}};
  using box = std::unique_ptr<int>;
  const auto add = [](box a, box b) { return std::make_unique<int>(*a + *b); };
  const box sum =
      reduce(pool, std::views::iota(0, 100), std::make_unique<int>(1), add, [](int i) { return std::make_unique<int>(i); });
  CHECK(*sum == 4951);
}

TEST_CASE("reduce: throws what the operation throws, and stops", "[reduce]") {
  worker_pool pool{{.threads = 1}};
  const auto no = [](int, int) -> int { throw std::runtime_error{"no"}; };
  CHECK_THROWS_WITH(reduce(pool, std::views::iota(0, 100), 0, no), "no");
  std::stop_source stop;
  stop.request_stop();
  CHECK(reduce(pool, std::views::iota(0, 9), 0, std::plus<>{}, {.stop = stop.get_token()}).error() == errc::cancelled);
}

TEST_CASE("map: gives the results in the order of the elements", "[map]") {
  worker_pool pool{{.threads = 2}};
  const auto twice = map(pool, std::views::iota(0, 1000), [](int i) { return 2 * i; });
  REQUIRE(twice.size() == 1000);
  for (int i = 0; i < 1000; ++i) REQUIRE(twice[static_cast<std::size_t>(i)] == 2 * i);
  CHECK(map(pool, std::list<int>{1, 2, 3}, [](int i) { return std::to_string(i); }) == std::vector<std::string>{"1", "2", "3"});
  CHECK(map(pool, std::vector<int>{}, [](int i) { return i; }).empty());
}

TEST_CASE("map: results need no default, and may be bool, or of a kind that can only be moved", "[map]") {
  struct number {
    explicit number(int n) : value{std::make_unique<int>(n)} {}
    std::unique_ptr<int> value;
  };
  worker_pool pool{{.threads = 2}};
  for (const std::size_t chunk : {std::size_t{0}, std::size_t{1}, std::size_t{64}}) {
    const auto numbers = map(pool, std::views::iota(0, 100), [](int i) { return number{i}; }, {.chunk = chunk}).value();
    REQUIRE(numbers.size() == 100);
    for (int i = 0; i < 100; ++i) REQUIRE(*numbers[static_cast<std::size_t>(i)].value == i);
    const auto odd = map(pool, std::views::iota(0, 100), [](int i) { return i % 2 == 1; }, {.chunk = chunk}).value();
    REQUIRE(odd.size() == 100);
    for (std::size_t i = 0; i < 100; ++i) REQUIRE(odd[i] == (i % 2 == 1));
  }
}

TEST_CASE("map: throws what the function throws, and stops", "[map]") {
  worker_pool pool{{.threads = 1}};
  CHECK_THROWS_WITH(map(pool, std::views::iota(0, 10), [](int) -> int { throw std::runtime_error{"no"}; }), "no");
  std::stop_source stop;
  stop.request_stop();
  CHECK(map(pool, std::views::iota(0, 10), [](int i) { return i; }, {.stop = stop.get_token()}).error() == errc::cancelled);
}

}  // namespace
