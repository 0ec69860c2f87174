// Loops and fork-join calls whose elements, results or functions throw when they are moved, copied or called, at each point in turn: the exception
// comes out, and every instance is destroyed exactly once (hazards 19 and 30).
#include <atomic>
#include <cstddef>
#include <exception>
#include <iterator>
#include <ranges>
#include <stdexcept>
#include <utility>
#include <vector>

#include <penstock/combine/for_each.hpp>
#include <penstock/combine/invoke.hpp>
#include <penstock/combine/map.hpp>
#include <penstock/combine/map_unordered.hpp>
#include <penstock/combine/reduce.hpp>

#include "support/catch.hpp"

namespace {

using namespace penstock;

struct on_purpose : std::runtime_error {
  on_purpose() : std::runtime_error{"on purpose"} {}
};

// The n-th construction, move, copy or assignment from now on throws.
struct fragile {
  static inline std::atomic<int> living{0};
  static inline std::atomic<int> until_throw{0};

  explicit fragile(int v) : value{v} { count(); }
  fragile(fragile&& other) : value{other.value} { count(); }
  fragile(const fragile& other) : value{other.value} { count(); }
  fragile& operator=(fragile&& other) { return step(), value = other.value, *this; }
  fragile& operator=(const fragile& other) { return step(), value = other.value, *this; }
  ~fragile() { --living; }
  friend fragile operator+(const fragile& a, const fragile& b) { return fragile{a.value + b.value}; }

  int value;

 private:
  static void step() {
    int n = until_throw;
    while (n > 0 && !until_throw.compare_exchange_weak(n, n - 1)) {  // several threads count, and none of them below 0
    }
    if (n == 1) throw on_purpose{};
  }
  static void count() {
    step();
    ++living;
  }
};

// Calls f with a throw at the first step, the second, and so on, until it goes through.
template <class F>
void at_each_step(F f) {
  REQUIRE(fragile::living == 0);
  for (int n = 1;; ++n) {
    fragile::until_throw = n;
    bool threw = false;
    try {
      f();
    } catch (const on_purpose&) {
      threw = true;
    }
    const bool counted_down = fragile::until_throw.exchange(0) == 0;
    REQUIRE(fragile::living == 0);
    REQUIRE(threw == counted_down);
    if (!threw) break;
  }
}

TEST_CASE("bulk: throwing moves and copies reach the caller and leave nothing behind", "[fault][hazard-19][hazard-30]") {
  for (const std::size_t threads : {std::size_t{1}, std::size_t{2}}) {
    worker_pool pool{{.threads = threads}};
    const auto numbers = std::views::iota(0, 12);
    const auto make = [](int i) { return fragile{i}; };
    at_each_step([&] {
      const auto all = map(pool, numbers, make, {.chunk = 3}).value();
      for (int i = 0; i < 12; ++i) {
        if (all[static_cast<std::size_t>(i)].value != i) throw std::logic_error{"a result is in the wrong place"};
      }
    });
    at_each_step([&] {
      const fragile zero{0};
      if (reduce(pool, numbers, zero, std::plus<>{}, make, {.chunk = 4}).value().value != 66)
        throw std::logic_error{"the sum is wrong"};
    });
    at_each_step([&] {
      int sum = 0;
      for (const fragile& f : map_unordered(pool, numbers, make, {.ahead = 2})) sum += f.value;
      if (sum != 66) throw std::logic_error{"a result is missing"};
    });
    at_each_step([&] {
      const auto [a, b, c] = penstock::invoke(pool, [&] { return make(1); }, [&] { return make(2); }, [&] { return make(3); });
      if (a.value + b.value + c.value != 6) throw std::logic_error{"a value is wrong"};
    });
    at_each_step([&] {
      // A range that can be read only once is copied.
      auto once = numbers | std::views::transform(make);
      std::atomic<int> sum{0};
      auto single_pass = std::ranges::subrange{std::move_iterator{once.begin()}, std::move_sentinel{once.end()}};
      for_each(pool, single_pass, [&](const fragile& f) { sum += f.value; });
      if (sum != 66) throw std::logic_error{"an element is missing"};
    });
    REQUIRE(pool.drain());
    CHECK(pool.failed() == 0);
  }
}

TEST_CASE("bulk: whichever element throws, the others are visited once or not at all", "[fault][hazard-19]") {
  worker_pool pool{{.threads = 2}};
  for (int failing = 0; failing < 40; ++failing) {
    std::vector<std::atomic<int>> visits(40);
    CHECK_THROWS_AS(for_each(pool, std::views::iota(std::size_t{0}, std::size_t{40}),
                             [&](std::size_t i) {
                               ++visits[i];
                               if (static_cast<int>(i) == failing) throw on_purpose{};
                             }),
                    on_purpose);
    for (auto& v : visits) CHECK(v <= 1);
    CHECK(visits[static_cast<std::size_t>(failing)] == 1);
  }
  CHECK(pool.failed() == 0);
}

}  // namespace
