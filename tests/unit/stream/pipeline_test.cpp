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
#include "every_stage.hpp"
#include "stream_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using stream_testing::counted;
using stream_testing::run_everything;
using stream_testing::stage_hook;
using stream_testing::stages;

struct boom : std::runtime_error {
  explicit boom(int where) : std::runtime_error{"on purpose"}, stage{where} {}
  int stage;
};

// Takes what the tee gives, so that it does not hold the pipeline up.
struct drain {
  explicit drain(channel<counted>& c)
      : thread{[&c, this] {
          try {
            while (c.pop()) ++taken;
          } catch (...) {  // what the pipeline failed with
          }
        }} {}
  int taken = 0;
  std::jthread thread;
};

TEST_CASE("pipeline: with every stage there is, every item comes through once", "[pipeline]") {
  worker_pool pool{{.threads = 2}};
  channel<counted> side{8};
  drain beside{side};
  std::atomic<int> calls[stages]{};
  CHECK(run_everything(pool, side, [&](int stage, int) { ++calls[stage]; }));
  beside.thread.join();
  CHECK(counted::living == 0);
  CHECK(beside.taken == 600);
  CHECK(calls[0] == 201);
  for (const int stage : {1, 2, 3, 6, 7}) CHECK(calls[stage] == 200);
  for (const int stage : {4, 5}) CHECK(calls[stage] == 400);
  CHECK(calls[8] == 600);
  for (const int stage : {9, 11}) CHECK(calls[stage] == 86);  // 600 / 7, rounded up
  CHECK(calls[10] == 43);
}

TEST_CASE("pipeline: a stage that throws, whichever and whenever, ends all of it and comes out of run()", "[pipeline]") {
  worker_pool pool{{.threads = 2}};
  for (int stage = 0; stage < stages; ++stage) {
    for (const int call : {1, 2, 40}) {
      channel<counted> side{8};
      drain beside{side};
      std::atomic<bool> over = false;
      std::atomic<bool> late = false;
      int thrown = -1;
      try {
        static_cast<void>(run_everything(pool, side, [&, stage, call](int s, int c) {
          if (over) late = true;
          if (s == stage && c == call) throw boom{stage};
        }));
      } catch (const boom& b) {
        thrown = b.stage;
      }
      over = true;
      CHECK(thrown == stage);
      beside.thread.join();  // closed
      CHECK(pool.drain());
      CHECK(!late);
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
      const stage_hook hook = [&, stage, call](int s, int c) {
        if (s == stage && c == call) stop.request_stop();
      };
      const result<void> ended = run_everything(pool, side, hook, {.stop = stop.get_token()});
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
    CHECK_THROWS_AS(run_everything(pool, side,
                                   [&](int s, int) {
                                     if (s == 0 || s == 6) throw boom{s};
                                   }),
                    boom);
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
