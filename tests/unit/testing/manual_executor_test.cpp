#include <penstock/testing/manual_executor.hpp>

#include <atomic>
#include <thread>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>

#include "../../support/catch.hpp"

using penstock::manual_executor;
using penstock::spawn;
using penstock::task;

namespace {

task<> note(std::vector<int>& order, int what) {
  order.push_back(what);
  co_return;
}

task<> yield_twice(manual_executor& loop, std::vector<int>& order, int what) {
  for (int i = 0; i < 3; ++i) {
    order.push_back(what + i);
    co_await loop.get_scheduler().schedule();
  }
}

task<> look(const manual_executor& loop, bool& inside) {
  inside = loop.running_here();
  co_return;
}

task<> run_nested(manual_executor& outer, manual_executor& inner, bool& kept) {
  while (inner.run_one()) {
  }
  kept = outer.running_here() && !inner.running_here();
  co_return;
}

task<> count(std::atomic<int>& ran) {
  ++ran;
  co_return;
}

}  // namespace

TEST_CASE("manual_executor: runs items when told, one by one, oldest first", "[manual_executor]") {
  manual_executor loop;
  std::vector<int> order;
  CHECK_FALSE(loop.run_one());
  auto a = spawn(loop, note(order, 1));
  auto b = spawn(loop, note(order, 2));
  CHECK(loop.size() == 2);
  CHECK(order.empty());
  CHECK(loop.run_one());
  CHECK(order == std::vector{1});
  CHECK(loop.size() == 1);
  CHECK(loop.run_one());
  CHECK(order == std::vector{1, 2});
  CHECK_FALSE(loop.run_one());
  CHECK(a.done());
  CHECK(b.done());
}

TEST_CASE("manual_executor: run_all runs what its items queue too, and counts", "[manual_executor]") {
  manual_executor loop;
  std::vector<int> order;
  auto a = spawn(loop, yield_twice(loop, order, 10));
  auto b = spawn(loop, yield_twice(loop, order, 20));
  CHECK(loop.run_all() == 8);
  CHECK(order == std::vector{10, 20, 11, 21, 12, 22});
  CHECK(loop.run_all() == 0);
}

TEST_CASE("manual_executor: knows whether the calling thread runs one of its items", "[manual_executor]") {
  manual_executor loop;
  manual_executor other;
  bool inside = false;
  bool kept = false;
  CHECK_FALSE(loop.running_here());
  auto looking = spawn(other, look(other, inside));
  auto nesting = spawn(loop, run_nested(loop, other, kept));
  loop.run_all();
  CHECK(inside);
  CHECK(kept);
  CHECK_FALSE(loop.running_here());
  CHECK_FALSE(other.running_here());
}

TEST_CASE("manual_executor: threads may queue and run at the same time", "[manual_executor]") {
  manual_executor loop;
  std::atomic<int> ran = 0;
  constexpr int each = 1'000;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < each; ++i) spawn(loop, count(ran)).wait();
      });
      threads.emplace_back([&] {
        while (ran < 2 * each) {
          if (!loop.run_one()) std::this_thread::yield();
        }
      });
    }
  }
  CHECK(ran == 2 * each);
  CHECK(loop.size() == 0);
}
