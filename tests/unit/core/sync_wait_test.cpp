#include <penstock/core/sync_wait.hpp>

#include <memory>
#include <stdexcept>
#include <stop_token>
#include <thread>

#include <penstock/core/task.hpp>

#include "../../support/catch.hpp"
#include "support.hpp"

using core_test::pile;
using penstock::errc;
using penstock::result;
using penstock::sync_wait;
using penstock::task;

namespace {

task<std::unique_ptr<int>> give_pointer() { co_return std::make_unique<int>(8); }
task<> fail() {
  throw std::logic_error{"never mind"};
  co_return;
}
task<result<void>> take(pile<>& gate) { co_return co_await gate.async_take(); }

}  // namespace

TEST_CASE("sync_wait: gives the value or throws the exception", "[sync_wait]") {
  CHECK(*sync_wait(give_pointer()) == 8);
  CHECK_THROWS_AS(sync_wait(fail()), std::logic_error);
}

TEST_CASE("sync_wait: takes operations and tasks alike", "[sync_wait]") {
  pile<> gate;
  gate.give();
  CHECK(sync_wait(gate.async_take()).has_value());
  gate.give();
  auto t = take(gate);
  CHECK(sync_wait(std::move(t)).has_value());
}

TEST_CASE("sync_wait: blocks until another thread completes what is awaited", "[sync_wait]") {
  for (int i = 0; i < 300; ++i) {
    pile<> gate;
    std::jthread other{[&] {
      if (i % 2 == 0) core_test::yield_until([&] { return gate.waiters() == 1; });
      gate.give();
    }};
    REQUIRE(sync_wait(take(gate)).has_value());
  }
}

TEST_CASE("sync_wait: passes its stop token on", "[sync_wait]") {
  pile<> gate;
  std::stop_source source;
  std::jthread other{[&] {
    core_test::yield_until([&] { return gate.waiters() == 1; });
    source.request_stop();
  }};
  CHECK(sync_wait(take(gate), source.get_token()).error() == errc::cancelled);
  gate.give();
  CHECK(sync_wait(take(gate), source.get_token()).error() == errc::cancelled);  // requested before: nothing is taken
  CHECK(gate.units() == 1);
}
