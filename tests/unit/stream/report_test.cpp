#include <penstock/stream/report.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/stream/pipeline.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/semaphore.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"
#include "stream_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using test_support::until;

/// A clock of the meters' kind, which moves when a test says so.
struct test_time {
  using time_point = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;
  static inline std::chrono::nanoseconds passed{1h};
  static time_point now() noexcept { return time_point{passed}; }
};

TEST_CASE("report: counts what went in and out of each stage", "[pipeline]") {
  worker_pool pool{{.threads = 3}};
  auto p = from(stream_testing::count(0, 100)) | named("odd", filter([](int i) { return i % 2 == 1; })) |
           flat_map([](int i) { return std::vector<int>(3, i); }) | buffer(8) | batch(10) |
           parallel_map(pool, 2, [](std::vector<int> b) { return b; }) | merge(from(std::vector<std::vector<int>>(4))) |
           to([](const std::vector<int>&) {});
  CHECK(p.run());
  const pipeline_report r = p.report();
  struct row {
    std::string name;
    stage_kind kind;
    std::size_t group;
    std::size_t parallelism;
    std::uint64_t in;
    std::uint64_t out;
    bool operator==(const row&) const = default;
  };
  std::vector<row> rows;
  for (const stage_report& s : r.stages) rows.push_back({s.name, s.kind, s.group, s.parallelism, s.items_in, s.items_out});
  CHECK(rows == std::vector<row>{
                    {"from function", stage_kind::source, 0, 1, 0, 100},
                    {"odd", stage_kind::step, 0, 1, 100, 50},
                    {"flat_map", stage_kind::step, 0, 1, 50, 150},
                    {"buffer", stage_kind::queue, 1, 1, 150, 150},
                    {"batch", stage_kind::step, 1, 1, 150, 15},
                    {"parallel_map", stage_kind::queue, 2, 2, 15, 15},
                    {"from range", stage_kind::source, 4, 1, 0, 4},
                    {"merge", stage_kind::queue, 5, 1, 19, 19},
                    {"to", stage_kind::sink, 5, 1, 19, 0},
                });
  CHECK(r.elapsed > 0ns);
  CHECK(p.report().elapsed == r.elapsed);
  const double seconds = std::chrono::duration<double>(r.elapsed).count();
  CHECK(r.stages[0].rate == Approx(100 / seconds));
  CHECK(r.stages[4].rate == Approx(15 / seconds));
  CHECK(r.stages[8].rate == Approx(19 / seconds));
}

TEST_CASE("report: can be asked for while it runs", "[pipeline]") {
  semaphore turns{0};
  auto p = from(stream_testing::count(0, 100)) | buffer(2) | throttle(turns) | to([](int) {});
  std::jthread runner{[&] { p.run().value(); }};
  turns.release(7);
  until([&] { return p.report().stages.back().items_in == 7; });
  CHECK(p.report().stages.size() == 4);
  CHECK(p.report().elapsed > 0ns);
  turns.release(93);
}

TEST_CASE("report: what is still going on counts", "[pipeline]") {
  const auto is_past = [](std::chrono::nanoseconds d) { return d >= 3ms; };
  SECTION("a wait at the beginning, which limits then") {
    channel<int> c{1};
    auto p = from(c) | to([](int) {});
    std::jthread runner{[&] { p.run().value(); }};
    until([&] { return is_past(p.report().stages[0].wait_in); });
    const pipeline_report r = p.report();
    CHECK(r.limiting() == &r.stages[0]);
    c.close();
  }
  SECTION("a wait at the end") {
    channel<int> c{1};
    auto p = from(stream_testing::count(0, 5)) | to(c);
    std::jthread runner{[&] { p.run().value(); }};
    until([&] { return is_past(p.report().stages[1].wait_out); });
    while (c.pop()) {
    }
  }
  SECTION("waits at a boundary, of several threads") {
    semaphore turns{0};
    auto p = from(stream_testing::count(0, 500)) | merge(from(stream_testing::count(0, 500))) | throttle(turns) | to([](int) {});
    std::jthread runner{[&] { p.run().value(); }};
    until([&] { return is_past(p.report().stages[2].wait_out); });
    until([&] { return is_past(p.report().stages[3].busy); });
    turns.release(1000);
  }
  SECTION("a call, on the pipeline's thread and on a pool") {
    event go_on;
    event go_on_too;
    worker_pool pool{{.threads = 1}};
    auto p = from(stream_testing::count(0, 1)) | map([&](int i) {
               go_on.wait();
               return i;
             }) |
             parallel_map(pool, 1,
                          [&](int i) {
                            go_on_too.wait();
                            return i;
                          }) |
             to([](int) {});
    std::jthread runner{[&] { p.run().value(); }};
    until([&] { return is_past(p.report().stages[1].busy); });
    go_on.set();
    until([&] { return is_past(p.report().stages[2].busy); });
    go_on_too.set();
    runner.join();
    const pipeline_report r = p.report();
    CHECK(p.report().stages[1].busy == r.stages[1].busy);  // nothing goes on any more
    CHECK(p.report().stages[2].busy == r.stages[2].busy);
    CHECK(r.stages[1].busy <= r.elapsed);
  }
}

stage_report stage_of(std::string name, stage_kind kind, std::size_t group, std::chrono::nanoseconds busy) {
  stage_report s;
  s.name = std::move(name);
  s.kind = kind;
  s.group = group;
  s.busy = busy;
  return s;
}

TEST_CASE("report: the stage that limits is the busiest of the threads that rest least", "[pipeline]") {
  pipeline_report r;
  CHECK(r.limiting() == nullptr);
  r.elapsed = 100ms;
  r.stages = {stage_of("source", stage_kind::source, 0, 20ms), stage_of("parse", stage_kind::step, 0, 30ms),
              stage_of("work", stage_kind::queue, 1, 90ms), stage_of("store", stage_kind::step, 2, 15ms),
              stage_of("to", stage_kind::sink, 2, 25ms)};
  r.stages[2].parallelism = 4;
  CHECK(r.load(0) == Approx(0.5));
  CHECK(r.load(1) == Approx(0.225));
  CHECK(r.limiting()->name == "parse");
  r.stages[2].busy = 380ms;
  CHECK(r.limiting()->name == "work");
  r.stages[0].wait_in = 97ms;  // whoever fills the channel at its beginning is slower than all of it
  CHECK(r.limiting()->name == "source");
  r.stages[4].wait_out = 99ms;
  CHECK(r.limiting()->name == "to");
}

TEST_CASE("report: reads as a table", "[pipeline]") {
  pipeline_report r;
  r.elapsed = 1500ms;
  r.stages = {stage_of("from", stage_kind::source, 0, 20us), stage_of("a stage", stage_kind::queue, 1, 1200ms),
              stage_of("to", stage_kind::sink, 2, 500ns)};
  r.stages[0].items_out = 1000;
  r.stages[0].rate = 1000 / 1.5;
  r.stages[2].rate = 12.34;
  r.stages[1].items_in = 1000;
  r.stages[1].items_out = 999;
  r.stages[1].wait_in = 3ms;
  r.stages[2].items_in = 999;
  std::ostringstream text;
  text << r;
  CHECK(text.str() == to_string(r));
  CHECK(text.str() ==
        "stage      items in   items out     items/s        busy     wait in    wait out        load\n"
        "from              -        1000         667     20.0 us           -           -         0 %\n"
        "a stage        1000         999           -      1.20 s      3.0 ms           -        80 %  <- limits\n"
        "to              999           -        12.3      500 ns           -           -         0 %\n"
        "elapsed 1.50 s, limited by a stage, which took 80 % of it\n");
}

TEST_CASE("report: no load above the whole", "[pipeline]") {
  pipeline_report r;
  r.elapsed = 100ms;
  r.stages = {stage_of("from", stage_kind::source, 0, 250ms)};
  CHECK(r.load(0) == Approx(1));
  CHECK(to_string(r).find("250 %") == std::string::npos);
  CHECK(to_string(r).find("100 %") != std::string::npos);
}

TEST_CASE("stage_meter: slow calls are timed one by one", "[pipeline]") {
  detail::basic_stage_meter<test_time> m{"stage"};
  m.work([] { test_time::passed += 1ms; });
  m.work([] { test_time::passed += 2ms; });
  CHECK(m.read(stage_kind::step).busy == 3ms);
}

TEST_CASE("stage_meter: a call that is timed counts while it goes on", "[pipeline]") {
  detail::basic_stage_meter<test_time> m{"stage"};
  m.work([&] {
    test_time::passed += 1ms;
    CHECK(m.read(stage_kind::step).busy == 1ms);
    m.waiting_in([&] { m.work_shared([] { test_time::passed += 1ms; }); });
  });
  CHECK(m.read(stage_kind::step).busy == 3ms);  // on its own thread, and on one that shares the stage's work
  CHECK(m.read(stage_kind::step).wait_in == 1ms);
}

TEST_CASE("stage_meter: one slow call among quick ones counts once", "[pipeline]") {
  detail::basic_stage_meter<test_time> m{"stage"};
  for (int calls = 0; calls < 190; ++calls) {  // 1, 3, 7, … 127 are timed, and then 191
    m.work([] { test_time::passed += 10ns; });
  }
  m.work([] { test_time::passed += 20ms; });
  CHECK(m.read(stage_kind::step).busy == 20ms + 190 * 10ns);
}

TEST_CASE("stage_meter: calls each one, timed or not, and passes on what it throws", "[pipeline]") {
  detail::stage_meter m{"stage"};
  int calls = 0;
  for (int i = 0; i < 10'000; ++i) m.work([&] { ++calls; });
  CHECK(calls == 10'000);
  CHECK_THROWS_AS(m.work_shared([]() -> int { throw std::runtime_error{"on purpose"}; }), std::runtime_error);
}

}  // namespace
