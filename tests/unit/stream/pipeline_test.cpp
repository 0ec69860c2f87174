#include <penstock/stream/pipeline.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/stream/generator.hpp>

#include "../../support/catch.hpp"
#include "stream_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using stream_testing::counted;

struct boom : std::runtime_error {
  explicit boom(int where) : std::runtime_error{"on purpose"}, stage{where} {}
  int stage;
};

// Every stage there is, one behind the other, with a hook in each: hook(stage, call).
constexpr int stages = 12;

auto everything(worker_pool& pool, channel<counted>& side, std::function<void(int stage, int call)> hook) {
  // Counts its own calls; several threads may call those of parallel_map.
  const auto at = [hook](int stage) {
    return [hook, stage, calls = std::make_shared<std::atomic<int>>(0)] { hook(stage, ++*calls); };
  };
  const auto numbers = [](auto trip) -> generator<counted> {
    for (int i = 0; i < 200; ++i) {
      trip();
      counted c{i};
      co_yield std::move(c);
    }
  };
  return from([trip = at(0), i = 0]() mutable -> std::optional<counted> {
           trip();
           return i < 200 ? std::optional<counted>{std::in_place, i++} : std::nullopt;
         }) |
         map([trip = at(1)](counted c) { return trip(), c; }) | filter([trip = at(2)](const counted&) { return trip(), true; }) |
         flat_map([trip = at(3)](counted c) {
           trip();
           return std::vector<counted>(2, c);
         }) |
         buffer(40) | tee([trip = at(4)](const counted&) { trip(); }) |
         parallel_map(pool, 3, [trip = at(5)](counted c) { return trip(), c; }) |
         merge(from(numbers(at(6))) | map([trip = at(7)](counted c) { return trip(), c; })) | tee(side) |
         parallel_map(
             pool, 5, [trip = at(8)](counted c) { return trip(), c; }, delivery::unordered) |
         batch(7) | map([trip = at(9)](std::vector<counted> b) { return trip(), b; }) | buffer(2) | batch(2, 1h) |
         flat_map([trip = at(10)](std::vector<std::vector<counted>> b) { return trip(), b; }) |
         to([trip = at(11)](std::vector<counted>) { trip(); });
}

// Takes what the tee gives, so that it does not hold the pipeline up.
struct drain {
  explicit drain(channel<counted>& c)
      : thread{[&c, this] {
          while (c.pop()) ++taken;
        }} {}
  int taken = 0;
  std::jthread thread;
};

TEST_CASE("pipeline: with every stage there is, every item comes through once", "[pipeline]") {
  worker_pool pool{{.threads = 2}};
  channel<counted> side{8};
  drain beside{side};
  std::atomic<int> calls[stages]{};
  {
    auto p = everything(pool, side, [&](int stage, int) { ++calls[stage]; });
    CHECK(p.run());
    CHECK(counted::living == 0);
    beside.thread.join();
    CHECK(beside.taken == 600);
    CHECK(calls[0] == 201);
    for (const int stage : {1, 2, 3, 6, 7}) CHECK(calls[stage] == 200);
    for (const int stage : {4, 5}) CHECK(calls[stage] == 400);
    CHECK(calls[8] == 600);
    for (const int stage : {9, 11}) CHECK(calls[stage] == 86);  // 600 / 7, rounded up
    CHECK(calls[10] == 43);
  }
  CHECK(counted::living == 0);
}

TEST_CASE("pipeline: a stage that throws, whichever and whenever, ends all of it and comes out of run()", "[pipeline]") {
  worker_pool pool{{.threads = 2}};
  for (int stage = 0; stage < stages; ++stage) {
    for (const int call : {1, 2, 40}) {
      channel<counted> side{8};
      drain beside{side};
      {
        std::atomic<bool> over = false;
        std::atomic<bool> late = false;
        auto p = everything(pool, side, [&, stage, call](int s, int c) {
          if (over) late = true;
          if (s == stage && c == call) throw boom{stage};
        });
        int thrown = -1;
        try {
          static_cast<void>(p.run());
        } catch (const boom& b) {
          thrown = b.stage;
        }
        over = true;
        CHECK(thrown == stage);
        beside.thread.join();  // closed
        CHECK(counted::living == 0);
        CHECK(pool.drain());
        CHECK(!late);
      }
      CHECK(counted::living == 0);
    }
  }
}

TEST_CASE("pipeline: stopped from within any stage, it ends, and nothing is left behind", "[pipeline]") {
  worker_pool pool{{.threads = 2}};
  for (int stage = 0; stage < stages; ++stage) {
    for (const int call : {1, 30}) {
      channel<counted> side{8};
      drain beside{side};
      std::stop_source stop;
      auto p = everything(pool, side, [&, stage, call](int s, int c) {
        if (s == stage && c == call) stop.request_stop();
      });
      const result<void> ended = p.run(stop.get_token());
      REQUIRE(!ended);
      CHECK(ended.error() == errc::cancelled);
      beside.thread.join();
      CHECK(counted::living == 0);
    }
  }
}

TEST_CASE("pipeline: several stages that throw at once: one of the exceptions comes out", "[pipeline]") {
  worker_pool pool{{.threads = 2}};
  for (int round = 0; round < 20; ++round) {
    channel<counted> side{8};
    drain beside{side};
    auto p = everything(pool, side, [&](int s, int) {
      if (s == 0 || s == 6) throw boom{s};
    });
    CHECK_THROWS_AS(p.run(), boom);
  }
  CHECK(counted::living == 0);
}

TEST_CASE("pipeline: a stop after the end changes nothing", "[pipeline]") {
  std::stop_source stop;
  int n = 0;
  auto p = from(stream_testing::count(0, 3)) | buffer(2) | to([&](int) { ++n; });
  CHECK(p.run(stop.get_token()));
  stop.request_stop();
  CHECK(n == 3);
}

TEST_CASE("pipeline: runs once, and can be moved before", "[pipeline]") {
  int n = 0;
  auto p = from(stream_testing::count(0, 3)) | to([&](int) { ++n; });
  auto q = std::move(p);
  CHECK(q.run());
  CHECK(n == 3);
  CHECK_THROWS_AS(q.run(), std::logic_error);
  auto unused = from(stream_testing::count(0, 3)) | buffer(1) | to([](int) {});
  CHECK(unused.report().elapsed == 0ns);
}

TEST_CASE("pipeline: closing its source channel drains it", "[pipeline]") {
  channel<int> in{1};
  std::vector<int> out;
  auto p = from(in) | buffer(4) | to(std::back_inserter(out));
  std::jthread producer{[&] {
    for (int i = 0; i < 100; ++i) static_cast<void>(in.push(std::move(i)));
    in.close();
  }};
  CHECK(p.run());
  CHECK(out.size() == 100);
}

TEST_CASE("pipeline: one inside another", "[pipeline]") {
  worker_pool pool{{.threads = 2}};
  const auto sum_to = [](int n) {
    int sum = 0;
    auto p = from(stream_testing::count(0, n + 1)) | buffer(4) | to([&](int i) { sum += i; });
    p.run().value();
    return sum;
  };
  std::vector<int> sums;
  auto p = from(stream_testing::count(0, 20)) | parallel_map(pool, 4, sum_to) | to(std::back_inserter(sums));
  CHECK(p.run());
  CHECK(sums.at(19) == 190);
}

}  // namespace
