// How a failure gets into a pipeline, and out of it, through what stands at its ends.
#include <penstock/stream/pipeline.hpp>

#include <chrono>
#include <exception>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <system_error>
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
  SECTION("before stages") { run(from(c) | map([](int i) { return i; }) | batch(2) | to([](const std::vector<int>&) {})); }
  SECTION("before a batch that lingers") {
    run(from(c) | batch(9, std::chrono::hours{1}) | to([](const std::vector<int>&) {}));
  }
  SECTION("before a buffer") { run(from(c) | buffer(GENERATE(1U, 100U)) | to([](int) {})); }
  SECTION("before a pool") {
    worker_pool pool{{.threads = 1}};
    run(from(c) | parallel_map(pool, 2, [](int i) { return i; }) | to([](int) {}));
  }
  SECTION("beside others") { run(from(count(0, 3)) | merge(from(c)) | to([](int) {})); }
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

}  // namespace
