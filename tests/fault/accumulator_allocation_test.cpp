// Allocations that fail, one after the other, in an accumulator: an item went in or is its caller's still, and nothing is leaked.
#include <chrono>
#include <cstddef>
#include <new>
#include <span>
#include <vector>

#include <penstock/batch/accumulator.hpp>

#include "../support/catch.hpp"
#include "../support/counting_new.hpp"

namespace {

using namespace std::chrono_literals;

struct writing {
  std::size_t written = 0;
  void operator()(std::span<const int> batch) { written += batch.size(); }
};

constexpr int items = 40;

// With the n-th allocation failing. How many items did not go in.
std::size_t add_all(penstock::accumulator<int>& acc, std::vector<penstock::future<void>>& told, long n) {
  std::size_t refused = 0;
  counting_new::until_failure = n;
  for (int i = 0; i < items; ++i) {
    try {
      if (i % 3 == 0) {
        told.push_back(acc.add(int{i}));
      } else if (!acc.push(int{i})) {
        ++refused;
      }
    } catch (const std::bad_alloc&) {
      ++refused;
    }
  }
  counting_new::until_failure = 0;
  return refused;
}

}  // namespace

TEST_CASE("accumulator: without memory an item does not go in, and nothing else is lost", "[accumulator][fault]") {
  static_cast<void>(
      penstock::accumulator<int>{penstock::any_scheduler{}, writing{}, {.max_delay = 1h}});  // the timers' thread is there now
  long n = 1;
  for (std::size_t refused = 1; refused != 0; ++n) {
    const long before = counting_new::living;
    bool lawful = false;  // Catch allocates
    bool all_told = true;
    {
      std::vector<penstock::future<void>> told;
      told.reserve(items);
      penstock::accumulator<int> acc{penstock::any_scheduler{}, writing{}, {.max_batch_size = 30, .max_delay = 1h}};
      refused = add_all(acc, told, n);
      acc.close();
      const penstock::accumulator_stats s = acc.stats();
      lawful = s.acknowledged == items - refused && s.added == s.acknowledged;
      for (auto& outcome : told) all_told = all_told && outcome.is_ready();
    }
    REQUIRE(counting_new::living == before);
    REQUIRE(lawful);
    REQUIRE(all_told);
    if (!counting_new::counts) return;
  }
  CHECK(n > 10);

  const long before = counting_new::living;
  for (n = 1;; ++n) {
    counting_new::until_failure = n;
    try {
      const penstock::accumulator<int> acc{penstock::any_scheduler{}, writing{}, {.max_delay = 1h, .max_in_flight_batches = 3}};
      counting_new::until_failure = 0;
      break;
    } catch (const std::bad_alloc&) {
    }
    counting_new::until_failure = 0;
    REQUIRE(counting_new::living == before);
  }
  CHECK(n > 3);
}

TEST_CASE("accumulator: once its batches have their size, adding and writing allocate nothing",
          "[accumulator][fault][hazard-28]") {
  penstock::accumulator<int> acc{penstock::any_scheduler{}, writing{}, {.max_batch_size = 30, .max_delay = 1h}};
  const auto round = [&] {
    bool in = true;
    for (int i = 0; i < 300; ++i) in = acc.push(int{i}).has_value() && in;
    return in;
  };
  CHECK(round());
  const long before = counting_new::made;
  const bool in = round();
  const long after = counting_new::made;
  CHECK(in);
  CHECK(after == before);
}
