#include <penstock/sync/shared_future.hpp>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;

TEST_CASE("shared_future: gives the same value to every copy, as often as they ask", "[future]") {
  promise<std::string> p;
  future<std::string> f = p.get_future();
  shared_future<std::string> a{std::move(f)};
  CHECK_FALSE(f.valid());
  shared_future<std::string> b = a;
  CHECK(b.try_wait() == errc::empty);
  auto waiting = spawn([](shared_future<std::string> c) -> task<std::string> { co_return co_await c; }(a));
  p.set_value("value");
  CHECK(&a.get() == &b.get());
  CHECK(b.get() == "value");
  CHECK(waiting.result() == "value");
  CHECK(std::move(a).get() == "value");
  const auto& same = b;
  b = same;
  CHECK(b.get() == "value");
  b = {};
  CHECK_FALSE(b.valid());
}

TEST_CASE("shared_future: an exception, an error and a broken promise reach every copy", "[future]") {
  promise<void> p;
  shared_future<void> a{p.get_future()};
  shared_future<void> b = a;
  p.set_exception(std::make_exception_ptr(std::runtime_error{"why"}));
  CHECK_THROWS_WITH(a.get(), "why");
  CHECK_THROWS_WITH(b.get(), "why");
  CHECK_THROWS_WITH(b.get(), "why");
  shared_future<int&> c;
  {
    promise<int&> broken;
    c = shared_future<int&>{broken.get_future()};
  }
  CHECK_THROWS_AS(c.get(), std::system_error);
}

TEST_CASE("shared_future: a stopped wait of one copy leaves the others as they were", "[future]") {
  promise<int> p;
  shared_future<int> a{p.get_future()};
  shared_future<int> b = a;
  std::stop_source stop;
  auto gives_up = spawn([](shared_future<int> f) -> task<int> { co_return co_await f; }(a) | with_stop(stop.get_token()));
  stop.request_stop();
  CHECK_THROWS_AS(gives_up.result(), std::system_error);
  p.set_value(1);
  CHECK(b.get() == 1);
}

TEST_CASE("shared_future: threads share what it gives; the last copy destroys it", "[future]") {
  auto counted = std::make_shared<int>(5);
  promise<std::shared_ptr<int>> p;
  std::atomic<int> sum{0};
  {
    shared_future<std::shared_ptr<int>> f{p.get_future()};
    std::vector<std::jthread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back([f, &sum]() mutable { sum += *f.get(); });
    p.set_value(counted);
  }
  CHECK(sum == 15);
  p = {};
  CHECK(counted.use_count() == 1);
}

}  // namespace
