#include <penstock/pool/detail/work_deque.hpp>

#include <atomic>
#include <cstddef>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../../support/catch.hpp"

namespace {

using penstock::detail::work_deque;

TEST_CASE("work_deque: the owner takes the newest, a thief the oldest", "[pool][work_deque]") {
  work_deque<int> d{4};
  int items[4] = {};
  CHECK(d.pop() == nullptr);
  CHECK(d.steal() == nullptr);
  for (int& i : items) REQUIRE(d.push(&i));
  CHECK(d.size() == 4);
  CHECK(d.steal() == &items[0]);
  CHECK(d.pop() == &items[3]);
  CHECK(d.steal() == &items[1]);
  CHECK_FALSE(d.empty());
  CHECK(d.pop() == &items[2]);
  CHECK(d.empty());
  CHECK(d.pop() == nullptr);
  CHECK(d.steal() == nullptr);
}

TEST_CASE("work_deque: says when it is full, and has room again after either end gave one away", "[pool][work_deque]") {
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{2}, std::size_t{8}}) {
    work_deque<int> d{capacity};
    CHECK(d.capacity() == capacity);
    std::vector<int> items(capacity + 2);
    for (std::size_t i = 0; i < capacity; ++i) REQUIRE(d.push(&items[i]));
    CHECK_FALSE(d.push(&items[capacity]));
    CHECK(d.size() == capacity);
    CHECK(d.steal() == &items[0]);
    CHECK(d.push(&items[capacity]));
    CHECK_FALSE(d.push(&items[capacity + 1]));
    CHECK(d.pop() == &items[capacity]);
    CHECK(d.push(&items[capacity + 1]));
    CHECK(d.size() == capacity);
    CHECK(d.pop() == &items[capacity + 1]);
  }
}

TEST_CASE("work_deque: goes round many times", "[pool][work_deque]") {
  work_deque<int> d{2};
  int items[3] = {};
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(d.push(&items[0]));
    REQUIRE(d.push(&items[1]));
    REQUIRE(d.steal() == &items[0]);
    REQUIRE(d.push(&items[2]));
    REQUIRE(d.pop() == &items[2]);
    REQUIRE((i % 2 == 0 ? d.pop() : d.steal()) == &items[1]);
    REQUIRE(d.pop() == nullptr);
    REQUIRE(d.steal() == nullptr);
  }
}

TEST_CASE("work_deque: a capacity that is no power of two is an error that names it", "[pool][work_deque]") {
  CHECK_THROWS_AS(work_deque<int>{0}, std::invalid_argument);
  CHECK_THROWS_WITH(work_deque<int>{6}, "penstock::work_deque: capacity must be a power of two, not 6");
}

TEST_CASE("work_deque: each item goes to one of the owner and the thieves", "[pool][work_deque]") {
  struct item {
    int given = 0;  // plain: two who got the same one would race
  };
  constexpr std::size_t count = 20'000;
  std::vector<item> items(count);
  work_deque<item> d{8};
  std::size_t stolen[2] = {};
  std::atomic<bool> over{false};
  std::size_t popped = 0;
  {
    std::vector<std::jthread> thieves;
    for (std::size_t& n : stolen) {
      thieves.emplace_back([&] {
        for (bool last = false; !last;) {
          last = over;
          while (item* const i = d.steal()) {
            ++i->given;
            ++n;
          }
          std::this_thread::yield();
        }
      });
    }
    for (item& i : items) {
      while (!d.push(&i)) {
        if (item* const mine = d.pop()) {
          ++mine->given;
          ++popped;
        }
      }
    }
    while (item* const mine = d.pop()) {
      ++mine->given;
      ++popped;
    }
    over = true;
  }
  CHECK(popped + stolen[0] + stolen[1] == count);
  std::size_t once = 0;
  for (const item& i : items) once += i.given == 1 ? 1 : 0;
  CHECK(once == count);
}

}  // namespace
