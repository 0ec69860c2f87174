// A generator allocates its frame, a pipeline its queues and threads; items cost nothing.
#include <cstddef>
#include <ranges>

#include <penstock/pool/worker_pool.hpp>
#include <penstock/stream/generator.hpp>
#include <penstock/stream/pipeline.hpp>

#include "../../support/catch.hpp"
#include "../../support/counting_new.hpp"

namespace {

using namespace penstock;

generator<int> numbers(int n) {
  for (int i = 0; i < n; ++i) co_yield i;
}

TEST_CASE("generator: costs one allocation", "[generator]") {
  if (!counting_new::counts) return;
  const long before = counting_new::made;
  long sum = 0;
  for (int i : numbers(1000)) sum += i;
  CHECK(sum == 499'500);
  CHECK(counting_new::made - before <= 1);  // none, where the compiler finds that the frame can lie on the stack
}

TEST_CASE("pipeline: items cost no allocation, in no stage", "[pipeline]") {
  if (!counting_new::counts) return;
  worker_pool pool{{.threads = 2, .queue_capacity = 4}};
  const auto allocations_for = [&](int n) {
    long sum = 0;
    auto p = from(numbers(n)) | map([](int i) { return i + 1; }) | filter([](int i) { return i % 3 != 0; }) |
             flat_map([](int i) { return std::views::iota(i, i + 2); }) | buffer(3) | buffer(64) | tee([](int) {}) |
             merge(from(std::views::iota(0, n))) | parallel_map(pool, 5, [](int i) { return i; }) |
             parallel_map(pool, 5, [](int i) { return i; }, delivery::unordered) | to([&](int i) { sum += i; });
    const long before = counting_new::made;
    p.run().value();
    const long made = counting_new::made - before;
    CHECK(sum > 0);
    return made;
  };
  allocations_for(10);
  const long few = allocations_for(100);
  CHECK(allocations_for(5000) == few);
}

}  // namespace
