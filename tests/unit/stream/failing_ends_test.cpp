// How a failure gets into a pipeline, and out of it, through what stands at its ends.
#include <penstock/stream/pipeline.hpp>

#include <chrono>
#include <exception>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "../../support/catch.hpp"
#include "stream_testing.hpp"

namespace {

using namespace penstock;
using stream_testing::count;

const std::error_code broken = std::make_error_code(std::errc::io_error);

TEST_CASE("from: a channel that is closed with an error fails the pipeline with it, when it is drained", "[pipeline]") {
  const std::error_code why = GENERATE(broken, make_error_code(errc::timeout), make_error_code(errc::cancelled));
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

}  // namespace
