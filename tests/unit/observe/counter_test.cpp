#include <penstock/observe/counter.hpp>

#include <atomic>
#include <cstdint>
#include <stop_token>
#include <thread>
#include <vector>

#include "../../support/catch.hpp"

namespace {

template <class Counter>
void count_from_many_threads(Counter& counter) {
  std::vector<std::jthread> threads;
  for (std::uint64_t step = 1; step <= 12; ++step) {  // more threads than stripes: some share one
    threads.emplace_back([&counter, step] {
      for (int i = 0; i < 10'000; ++i) counter.add(step);
    });
  }
}

}  // namespace

TEST_CASE("counter: starts at zero and adds up", "[counter]") {
  penstock::counter events;
  CHECK(events.value() == 0);
  events.add();
  events.add(41);
  CHECK(events.value() == 42);
}

TEST_CASE("counter: nothing is lost between threads, with stripes or without", "[counter]") {
  penstock::counter striped;
  penstock::basic_counter<1> single;
  count_from_many_threads(striped);
  count_from_many_threads(single);
  CHECK(striped.value() == 780'000);
  CHECK(single.value() == 780'000);
}

TEST_CASE("counter: nothing is lost when threads meet on one stripe", "[counter]") {
  penstock::counter events;
  std::atomic<std::uint64_t> added{0};
  std::atomic<int> meetings{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        std::uint64_t rounds = 0;
        while (meetings.load() < 100 && rounds < 2'000'000) {  // the second: on one processor they may never meet
          penstock::detail::this_thread_stripe = 1;            // where the others are
          events.add();
          ++rounds;
          if (penstock::detail::this_thread_stripe != 1) ++meetings;  // add() met another thread and moved on
        }
        added += rounds;
      });
    }
  }
  CHECK(events.value() == added);
}

TEST_CASE("counter: what one thread reads never decreases while others add", "[counter]") {
  penstock::counter events;
  bool decreased = false;
  {
    std::jthread writer{[&](std::stop_token stop) {
      while (!stop.stop_requested()) events.add();
    }};
    std::uint64_t last = 0;
    for (int i = 0; i < 20'000; ++i) {
      const std::uint64_t now = events.value();
      decreased = decreased || now < last;
      last = now;
    }
  }
  CHECK_FALSE(decreased);
}

TEST_CASE("counter: the single form is one word, the striped one a line a stripe", "[counter]") {
  STATIC_REQUIRE(sizeof(penstock::basic_counter<1>) == sizeof(std::uint64_t));
  STATIC_REQUIRE(sizeof(penstock::basic_counter<4>) == 4 * penstock::detail::cache_line);
}
