// How a failure gets into a pipeline, and out of it, through what stands at its ends.
#include <penstock/stream/pipeline.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "../../support/catch.hpp"
#include "stream_testing.hpp"

namespace {

using namespace penstock;
using stream_testing::count;

const std::error_code broken = std::make_error_code(std::errc::io_error);

TEST_CASE("from: a channel that is closed with an error fails the pipeline with it, when it is drained", "[pipeline]") {
  const std::error_code why =
      std::vector{broken, make_error_code(errc::timeout), make_error_code(errc::cancelled)}.at(GENERATE(0U, 1U, 2U));
  channel<int> c{4};
  REQUIRE(c.push(1));
  REQUIRE(c.push(2));
  c.close(why);
  std::vector<int> out;
  const auto run = [&](auto p) {
    const result<void> ended = p.run();
    REQUIRE(!ended);
    CHECK(ended.error() == why);
  };
  SECTION("alone") {
    run(from(c) | to(std::back_inserter(out)));
    CHECK(out == std::vector{1, 2});
  }
  SECTION("before stages") {
    run(from(c) | map([](int i) { return i; }) | batch(2) | to([](const std::vector<int>&) {}));
  }
  SECTION("before a batch that lingers") {
    run(from(c) | batch(9, std::chrono::hours{1}) | to([](const std::vector<int>&) {}));
  }
  SECTION("before a buffer") {
    run(from(c) | buffer(GENERATE(1U, 100U)) | to([](int) {}));
  }
  SECTION("before a pool") {
    worker_pool pool{{.threads = 1}};
    run(from(c) | parallel_map(pool, 2, [](int i) { return i; }) | to([](int) {}));
  }
  SECTION("beside others") {
    run(from(count(0, 3)) | merge(from(c)) | to([](int) {}));
  }
}

TEST_CASE("from: a channel that is closed with an exception makes run() throw it", "[pipeline]") {
  channel<int> c{4};
  REQUIRE(c.push(1));
  c.close(std::make_exception_ptr(std::domain_error{"on purpose"}));
  std::vector<int> out;
  auto p = from(c) | to(std::back_inserter(out));
  CHECK_THROWS_AS(p.run(), std::domain_error);
  CHECK(out == std::vector{1});
}

TEST_CASE("from: a function's error fails the pipeline, but for errc::closed, which is the end", "[pipeline]") {
  const auto run = [](std::error_code why, bool takes_token) {
    std::vector<int> out;
    auto next = [n = 0, why]() mutable -> result<int> {
      if (n < 2) return n++;
      return why;
    };
    result<void> ended;
    if (takes_token) {
      auto p = from([next](const std::stop_token&) mutable { return next(); }) | buffer(2) | to(std::back_inserter(out));
      ended = p.run();
    } else {
      auto p = from(next) | to(std::back_inserter(out));
      ended = p.run();
    }
    if (!takes_token || ended) CHECK(out == std::vector{0, 1});
    return ended;
  };
  const bool takes_token = GENERATE(false, true);
  CHECK(run(errc::closed, takes_token));
  for (const std::error_code why : {broken, make_error_code(errc::timeout), make_error_code(errc::lagged)}) {
    const result<void> ended = run(why, takes_token);
    REQUIRE(!ended);
    CHECK(ended.error() == why);
  }
}

// What is left in a channel, and why nothing more comes.
std::error_code end_of(channel<int>& c, std::vector<int>& all) {
  for (;;) {
    result<int> i = c.try_pop();
    if (!i) return i.error();
    all.push_back(*i);
  }
}

TEST_CASE("pipeline_context: whoever has failed it sees it stopped, whoever was first", "[pipeline]") {
  worker_pool other_thread{{.threads = 1}};
  int blind = 0;
  for (int round = 0; round < 20; ++round) {
    const auto contexts = std::make_unique<detail::pipeline_context[]>(500);
    const auto fail_all = [&] {
      int unstopped = 0;
      for (std::size_t i = 0; i < 500; ++i) {
        contexts[i].fail(broken);
        unstopped += !contexts[i].stopped();
      }
      return unstopped;
    };
    auto others = other_thread.submit(fail_all);
    blind += fail_all();
    blind += others.get();
  }
  CHECK(blind == 0);
}

TEST_CASE("to, tee: a pipeline that fails passes the reason on to its channels", "[pipeline]") {
  channel<int> side{9};
  channel<int> out{9};
  channel<int> kept{9};
  const auto with = [&](auto source) { return std::move(source) | tee(side) | tee(kept, at_end::keep) | to(out); };
  const auto upto_two = [&](std::error_code why) {
    for (channel<int>* c : {&side, &out}) {
      std::vector<int> all;
      CHECK(end_of(*c, all) == why);
      CHECK(all == std::vector{0, 1});
    }
    CHECK(!kept.is_closed());
  };
  SECTION("the end") {
    CHECK(with(from(count(0, 2))).run());
    upto_two(errc::closed);
  }
  SECTION("an error") {
    CHECK(!with(from([n = 0]() mutable -> result<int> { return n < 2 ? result<int>{n++} : result<int>{broken}; })).run());
    upto_two(broken);
  }
  SECTION("an exception") {
    auto p = with(from(count(0, 9)) | map([](int i) { return i < 2 ? i : throw std::domain_error{"on purpose"}; }));
    CHECK_THROWS_AS(p.run(), std::domain_error);
    for (channel<int>* c : {&side, &out}) {
      std::vector<int> all;
      CHECK_THROWS_AS(end_of(*c, all), std::domain_error);
      CHECK(all == std::vector{0, 1});
    }
    CHECK(!kept.is_closed());
  }
  SECTION("stopped") {
    std::stop_source stop;
    CHECK(!with(from([&, n = 0]() mutable -> std::optional<int> {
             if (n == 2) stop.request_stop();
             return n < 2 ? std::optional<int>{n++} : std::nullopt;
           })).run(stop.get_token()));
    upto_two(errc::cancelled);
  }
  SECTION("late, before it began") {
    CHECK(!with(from(count(0, 2))).run({.deadline = deadline::after(std::chrono::hours{-1})}));
    std::vector<int> all;
    CHECK(end_of(out, all) == errc::timeout);
    CHECK(all.empty());
  }
  SECTION("one of its channels was closed: for the others that is no end") {
    out.close();
    CHECK(with(from(count(0, 2))).run().error() == errc::closed);
    std::vector<int> all;
    CHECK(end_of(side, all) == errc::cancelled);
    CHECK(end_of(out, all) == errc::closed);
  }
}

TEST_CASE("tee: its channel may come back into the same pipeline", "[pipeline]") {
  const bool through_buffer = GENERATE(false, true);
  const bool fails = GENERATE(false, true);
  channel<int> c{8};
  std::vector<int> all;
  const auto run = [&](auto source) {
    auto p = std::move(source) | tee(c) | merge(from(c) | map([](int i) { return -i; })) | to(std::back_inserter(all));
    return p.run({.deadline = deadline::after(std::chrono::seconds{20})});
  };
  auto numbers = from([n = 0, fails]() mutable -> result<int> {
    if (n < 100) return ++n;
    return fails ? broken : make_error_code(errc::closed);
  });
  const result<void> ended = through_buffer ? run(std::move(numbers) | buffer(3)) : run(std::move(numbers));
  if (fails) {
    REQUIRE(!ended);
    CHECK(ended.error() == broken);
  } else {
    CHECK(ended);
    CHECK(all.size() == 200);
    CHECK(std::accumulate(all.begin(), all.end(), 0) == 0);
  }
}

TEST_CASE("from, to: a pipeline that fails ends the one that feeds it", "[pipeline]") {
  channel<int> c{2};
  result<void> ended;
  std::jthread first{[&] {
    auto p = from(count(0, 99)) | to(c);
    ended = p.run({.deadline = deadline::after(std::chrono::seconds{20})});
  }};
  auto second = from(c) | buffer(2) | to([](int) { throw std::domain_error{"on purpose"}; });
  CHECK_THROWS_AS(second.run(), std::domain_error);
  first.join();
  REQUIRE(!ended);
  CHECK(ended.error() == errc::closed);
}

TEST_CASE("from: a channel is closed when the pipeline fails, unless it is to be kept", "[pipeline]") {
  const at_end end = GENERATE(at_end::close, at_end::keep);
  channel<int> c{4};
  for (int i : {0, 1, 2}) REQUIRE(c.push(i));
  auto failing = from(c, end) | to([](int i) {
                   if (i == 1) throw std::domain_error{"on purpose"};
                 });
  CHECK_THROWS_AS(failing.run(), std::domain_error);
  CHECK(c.is_closed() == (end == at_end::close));
  CHECK(c.size() == 1);  // what it did not take stays

  auto [in, out] = make_channel<int>(4);
  auto stopped = from(out, end) | to([](int) {});
  CHECK(stopped.run({.deadline = deadline::after(std::chrono::hours{-1})}).error() == errc::timeout);
  CHECK(in.is_closed() == (end == at_end::close));
}

TEST_CASE("to, from: a failure goes from pipeline to pipeline", "[pipeline]") {
  channel<int> c{2};
  bool thrown = false;
  std::jthread first{[&] {
    auto p = from(count(0, 9)) | map([](int i) { return i < 5 ? i : throw std::domain_error{"on purpose"}; }) | to(c);
    try {
      static_cast<void>(p.run());
    } catch (const std::domain_error&) {
      thrown = true;
    }
  }};
  std::vector<int> out;
  auto second = from(c) | buffer(2) | to(std::back_inserter(out));
  CHECK_THROWS_AS(second.run(), std::domain_error);
  first.join();
  CHECK(thrown);
  CHECK(out.size() <= 5);
}

}  // namespace
