#include <penstock/channel/slots.hpp>

#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"
#include "item.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using channel_testing::quiet;
using channel_testing::throwing;
using test_support::until;

}  // namespace

TEMPLATE_TEST_CASE("slots: what is reserved cannot be taken by others, and is found when it is used", "[channel]", quiet,
                   throwing) {
  channel<TestType> c{3};
  auto slots = c.reserve(2);
  REQUIRE(slots);
  CHECK(slots->places() == 2);
  CHECK(c.push(TestType{1}));
  TestType refused{9};
  CHECK(c.try_push(std::move(refused)) == errc::full);
  CHECK(refused.value == 9);
  CHECK(slots->push(TestType{2}));
  CHECK(c.try_push(std::move(refused)) == errc::full);
  CHECK(c.pop()->value == 1);
  CHECK(c.try_push(TestType{3}));
  CHECK(slots->push(TestType{4}));
  CHECK(slots->places() == 0);
  CHECK(slots->push(std::move(refused)) == errc::full);
  CHECK(refused.value == 9);
  CHECK(c.pop()->value == 2);
  CHECK(c.pop()->value == 3);
  CHECK(c.pop()->value == 4);
}

TEST_CASE("slots: places go back when they are released, destroyed or assigned over", "[channel]") {
  channel<int> c{2};
  {
    auto slots = c.reserve(2);
    REQUIRE(slots);
    CHECK(c.try_push(1) == errc::full);
    auto moved = *std::move(slots);
    CHECK(c.try_push(1) == errc::full);
    moved.release();
    moved.release();
    CHECK(c.try_push(1));
    CHECK(c.pop());
    auto again = c.try_reserve(2);
    REQUIRE(again);
    moved = *std::move(again);
    CHECK(c.try_reserve() == errc::full);
  }
  CHECK(c.try_push(1));
  CHECK(c.try_push(2));
}

TEST_CASE("slots: who waits for places is served in turn, and nobody overtakes", "[channel][hazard-34]") {
  channel<int> c{3};
  for (int i = 0; i < 3; ++i) REQUIRE(c.push(i));
  auto many = spawn(c.async_reserve(3));
  int nine = 9;
  auto one = spawn(c.async_push(std::move(nine)));
  CHECK(c.pop());
  CHECK(c.try_push(8) == errc::full);
  CHECK(c.pop());
  CHECK_FALSE(many.done());
  CHECK(c.pop());
  REQUIRE(many.done());
  CHECK_FALSE(one.done());
  auto slots = many.result();
  REQUIRE(slots);
  CHECK(slots->push(1));
  slots->release();
  REQUIRE(one.done());
  CHECK(c.pop() == 1);
  CHECK(c.pop() == 9);
}

TEST_CASE("slots: a reservation that is stopped or times out takes nothing, and those behind it are served",
          "[channel][hazard-02][hazard-03]") {
  manual_clock clock;
  channel<int> c{3};
  REQUIRE(c.push(0));
  std::stop_source stop;
  auto stopped = spawn(c.async_reserve(3) | with_stop(stop.get_token()));
  auto late = spawn(c.async_reserve(3) | with_timeout(1ms, clock));
  int item = 1;
  auto behind = spawn(c.async_push(std::move(item)));
  CHECK_FALSE(behind.done());
  stop.request_stop();
  CHECK(stopped.result() == errc::cancelled);
  CHECK_FALSE(behind.done());
  clock.advance(1ms);
  CHECK(late.result() == errc::timeout);
  CHECK(behind.done());
  CHECK(c.try_push(2));
  CHECK(c.try_push(3) == errc::full);
  CHECK(c.reserve({.deadline = {clock.now(), clock}}, 1) == errc::timeout);
}

TEST_CASE("slots: a thread waits for places", "[channel]") {
  channel<int> c{2};
  REQUIRE(c.push(1));
  bool pushed = false;
  std::jthread producer{[&] {
    auto slots = c.reserve(2);
    pushed = slots && slots->push(2) && slots->push(3);
  }};
  until([&] { return c.waiting_producers() == 1; });
  CHECK(c.pop() == 1);
  CHECK(c.pop() == 2);
  CHECK(c.pop() == 3);
  producer.join();
  CHECK(pushed);
}

TEST_CASE("slots: closing spares who holds slots, aborting does not", "[channel][hazard-08]") {
  SECTION("close, then use") {
    channel<int> c{2};
    auto slots = c.reserve(2);
    REQUIRE(slots);
    c.close();
    CHECK(c.push(9) == errc::closed);
    CHECK(c.reserve() == errc::closed);
    CHECK(c.try_pop() == errc::empty);  // something may come
    auto waiting = spawn(c.async_pop());
    CHECK(slots->push(1));
    CHECK(waiting.result() == 1);
    auto vain = spawn(c.async_pop());
    CHECK_FALSE(vain.done());
    slots->release();
    CHECK(vain.result() == errc::closed);
    CHECK(c.try_pop() == errc::closed);
  }
  SECTION("abort") {
    channel<int> c{2};
    auto slots = c.reserve(1);
    REQUIRE(slots);
    auto waiting = spawn(c.async_pop());
    CHECK(c.abort().empty());
    CHECK(waiting.result() == errc::closed);
    CHECK(c.try_pop() == errc::closed);
    int item = 7;
    CHECK(slots->push(std::move(item)) == errc::closed);
  }
  SECTION("closed while waiting for places") {
    channel<int> c{1};
    REQUIRE(c.push(1));
    auto waiting = spawn(c.async_reserve());
    c.close();
    CHECK(waiting.result() == errc::closed);
    CHECK(c.pop() == 1);
  }
}

TEST_CASE("slots: weight is reserved with the places", "[channel]") {
  channel<std::string> c{{.capacity = 8, .max_weight = 10, .weight = [](const std::string& s) { return s.size(); }}};
  auto slots = c.reserve(2, 6);
  REQUIRE(slots);
  CHECK(c.try_push("12345") == errc::full);
  CHECK(c.try_push("1234"));
  std::string heavy(7, 'x');
  CHECK_THROWS_AS(slots->push(std::move(heavy)), std::invalid_argument);
  CHECK(heavy.size() == 7);
  CHECK(slots->push("1234"));
  CHECK(slots->weight() == 2);
  CHECK(c.try_push("1") == errc::full);
  CHECK(slots->push("1"));  // the last place: what is left of the weight goes back
  CHECK(c.try_push("1"));
  CHECK_THROWS_AS(c.reserve(1, 11), std::invalid_argument);
  CHECK_THROWS_AS(c.reserve(0), std::invalid_argument);
  CHECK_THROWS_AS(c.reserve(9), std::invalid_argument);
}

TEST_CASE("slots: a move that throws leaves the place with its holder", "[channel]") {
  channel<throwing> c{1};
  auto slots = c.reserve();
  REQUIRE(slots);
  throwing item{1};
  throwing::moves_until_throw = 1;
  CHECK_THROWS_AS(slots->push(std::move(item)), std::runtime_error);
  throwing::moves_until_throw = 0;
  CHECK(slots->places() == 1);
  CHECK(slots->push(std::move(item)));
  CHECK(c.pop()->value == 1);
}

TEST_CASE("slots: an spsc channel reserves, too", "[channel]") {
  channel<int, channel_policy::spsc> c{2};
  auto slots = c.reserve(2);
  REQUIRE(slots);
  CHECK(slots->push(1));
  c.close();
  CHECK(slots->push(2));
  CHECK(c.pop() == 1);
  CHECK(c.pop() == 2);
  CHECK(c.pop() == errc::closed);
}
