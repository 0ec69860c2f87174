#include <penstock/channel/channel_options.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
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

channel_options<std::string> by_length(std::size_t most) {
  return {.capacity = 8, .max_weight = most, .weight = [](const std::string& s) { return s.size(); }, .metrics = true};
}

bool accounts_balance(const channel_stats& s) { return s.pushed == s.popped + s.dropped_oldest + s.discarded + s.depth; }

}  // namespace

TEST_CASE("channel options: what makes no sense is refused by name", "[channel][hazard-27]") {
  const auto refused = [](channel_options<std::string> o, const char* name) {
    try {
      channel<std::string> c{std::move(o)};
      return false;
    } catch (const std::invalid_argument& e) {
      return std::string{e.what()}.find(name) != std::string::npos;
    }
  };
  CHECK(refused({.capacity = 0}, "capacity"));
  CHECK(refused({.max_weight = 10}, "max_weight"));
  CHECK(refused({.max_weight = 0, .weight = [](const std::string& s) { return s.size(); }}, "max_weight"));
  CHECK(refused({.low_water = 1}, "low_water"));
  CHECK(refused({.high_water = 4, .low_water = 4}, "low_water"));
  CHECK(refused({.capacity = 8, .high_water = 9}, "high_water"));
  CHECK_THROWS_AS((channel<int, channel_policy::spsc>{{.when_full = when_full::drop_oldest}}), std::invalid_argument);
  CHECK_THROWS_AS((channel<throwing>{{.weight = [](const throwing&) { return std::size_t{1}; }}}), std::invalid_argument);
  CHECK_FALSE(refused({.capacity = 8, .high_water = 8}, ""));
}

TEST_CASE("channel options: a channel bounded by weight admits what it can bear", "[channel]") {
  channel<std::string> c{by_length(10)};
  CHECK(c.push("four"));
  CHECK(c.push("five5"));
  CHECK(c.try_push("xx") == errc::full);
  CHECK(c.try_push("x"));
  CHECK(c.stats().weight == 10);
  CHECK(c.try_push("") == result<void>{});  // weighs nothing
  CHECK(c.pop() == std::string{"four"});
  CHECK(c.stats().weight == 6);
  CHECK(c.try_push("four"));
  std::string heavy(11, 'x');
  CHECK_THROWS_AS(c.push(std::move(heavy)), std::invalid_argument);
  CHECK(heavy.size() == 11);
  CHECK_THROWS_AS(c.try_push(heavy), std::invalid_argument);
  CHECK_THROWS_AS(spawn(c.async_push(std::move(heavy))).result(), std::invalid_argument);
  CHECK(heavy.size() == 11);
}

TEST_CASE("channel options: a heavy item at the head of the line is not starved by light ones", "[channel][hazard-34]") {
  channel<std::string> c{by_length(10)};
  REQUIRE(c.push("12345"));
  REQUIRE(c.push("67890"));
  std::string heavy(8, 'h');
  auto waiting = spawn(c.async_push(std::move(heavy)));
  std::string light{"l"};
  auto behind = spawn(c.async_push(std::move(light)));
  CHECK(c.pop() == std::string{"12345"});
  CHECK(c.try_push("x") == errc::full);  // there is room for it, but others wait
  CHECK_FALSE(waiting.done());
  CHECK_FALSE(behind.done());
  CHECK(c.pop() == std::string{"67890"});
  REQUIRE(waiting.done());
  REQUIRE(behind.done());
  CHECK(c.pop() == std::string(8, 'h'));
  CHECK(c.pop() == std::string{"l"});
}

TEST_CASE("channel options: whoever stood behind a heavy item that was cancelled is served", "[channel][hazard-02]") {
  manual_clock clock;
  channel<std::string> c{by_length(10)};
  REQUIRE(c.push("1234567"));
  std::string heavy(8, 'h');
  std::string light{"ll"};
  auto waiting = spawn(c.async_push(std::move(heavy)) | with_timeout(5ms, clock));
  auto behind = spawn(c.async_push(std::move(light)));
  CHECK_FALSE(behind.done());
  clock.advance(5ms);
  CHECK(waiting.result() == errc::timeout);
  CHECK(heavy == std::string(8, 'h'));
  REQUIRE(behind.done());
  CHECK(behind.result());
}

TEST_CASE("channel options: the bound on the weight can be moved", "[channel]") {
  channel<std::string> c{by_length(4)};
  REQUIRE(c.push("1234"));
  std::string more{"56"};
  auto waiting = spawn(c.async_push(std::move(more)));
  CHECK_FALSE(waiting.done());
  c.set_max_weight(6);
  REQUIRE(waiting.done());
  c.set_max_weight(2);
  CHECK(c.try_push("7") == errc::full);
  CHECK(c.pop());
  CHECK(c.try_push("7") == errc::full);
  CHECK(c.pop());
  CHECK(c.try_push("78"));
  CHECK_THROWS_AS(c.set_max_weight(0), std::invalid_argument);
  channel<std::string> unweighed{8};
  CHECK_THROWS_AS(unweighed.set_max_weight(1), std::invalid_argument);
}

TEST_CASE("channel options: an item that was light enough when it came is not stuck for ever when the bound falls below it",
          "[channel]") {
  channel<std::string> c{by_length(8)};
  REQUIRE(c.push("12345678"));
  std::string item{"1234567"};
  auto waiting = spawn(c.async_push(std::move(item)));
  c.set_max_weight(2);
  CHECK(c.pop());
  REQUIRE(waiting.done());  // alone it may
  CHECK(c.pop() == std::string{"1234567"});
}

TEST_CASE("channel options: reject refuses in every form and leaves the item", "[channel]") {
  channel<quiet> c{{.capacity = 1, .when_full = when_full::reject, .metrics = true}};
  REQUIRE(c.push(quiet{1}));
  quiet item{2};
  CHECK(c.push(std::move(item)) == errc::rejected);
  CHECK(c.try_push(std::move(item)) == errc::rejected);
  CHECK(c.push(wait_limits{}, std::move(item)) == errc::rejected);
  CHECK(spawn(c.async_push(std::move(item))).result() == errc::rejected);
  CHECK(item.value == 2);
  CHECK(c.stats().refused == 4);
  c.close();
  CHECK(c.push(std::move(item)) == errc::closed);
}

TEST_CASE("channel options: drop_newest drops its own item, drop_oldest makes room", "[channel]") {
  std::vector<int> dropped;
  SECTION("newest") {
    channel<int> c{
        {.capacity = 2, .when_full = when_full::drop_newest, .on_drop = [&](int&& i) { dropped.push_back(i); }, .metrics = true}};
    for (int i = 1; i <= 4; ++i) CHECK(c.push(i));
    CHECK(spawn(c.async_push(5)).result());
    CHECK(dropped == std::vector{3, 4, 5});
    CHECK(c.pop() == 1);
    CHECK(c.pop() == 2);
    CHECK(c.stats().dropped_newest == 3);
    CHECK(accounts_balance(c.stats()));
  }
  SECTION("oldest") {
    channel<int> c{
        {.capacity = 2, .when_full = when_full::drop_oldest, .on_drop = [&](int&& i) { dropped.push_back(i); }, .metrics = true}};
    for (int i = 1; i <= 4; ++i) CHECK(c.push(i));
    CHECK(spawn(c.async_push(5)).result());
    CHECK(dropped == std::vector{1, 2, 3});
    CHECK(c.pop() == 4);
    CHECK(c.pop() == 5);
    CHECK(c.stats().dropped_oldest == 3);
    CHECK(accounts_balance(c.stats()));
  }
  SECTION("oldest, as many as it takes") {
    channel<std::string> c{{.capacity = 8,
                            .max_weight = 6,
                            .weight = [](const std::string& s) { return s.size(); },
                            .when_full = when_full::drop_oldest,
                            .on_drop = [&](std::string&& s) { dropped.push_back(static_cast<int>(s.size())); }}};
    CHECK(c.push("1"));
    CHECK(c.push("22"));
    CHECK(c.push("333"));
    CHECK(c.push("4444"));
    CHECK(dropped == std::vector{1, 2, 3});
    CHECK(c.pop() == std::string{"4444"});
  }
  SECTION("without a callback") {
    channel<std::unique_ptr<int>> c{{.capacity = 1, .when_full = when_full::drop_oldest}};
    CHECK(c.push(std::make_unique<int>(1)));
    CHECK(c.push(std::make_unique<int>(2)));
    CHECK(**c.pop() == 2);
  }
}

TEST_CASE("channel options: what is dropped may come back to the channel", "[channel][hazard-17]") {
  channel<int>* self = nullptr;
  int seen = 0;
  channel<int> c{
      {.capacity = 1, .when_full = when_full::drop_oldest, .on_drop = [&](int&&) { seen = (*self).try_pop().value_or(-1); }}};
  self = &c;
  CHECK(c.push(1));
  CHECK(c.push(2));
  CHECK(seen == 2);
}

TEST_CASE("channel options: water marks have hysteresis, and drained() can be waited for", "[channel]") {
  manual_clock clock;
  channel<int> c{{.capacity = 8, .high_water = 4, .low_water = 1}};
  CHECK_FALSE(c.above_high_water());
  CHECK(c.drained().try_wait());
  for (int i = 0; i < 3; ++i) REQUIRE(c.push(i));
  CHECK_FALSE(c.above_high_water());
  REQUIRE(c.push(3));
  CHECK(c.above_high_water());
  CHECK(c.drained().try_wait() == errc::empty);
  auto waiting = spawn(c.drained().async_wait());
  auto impatient = spawn(c.drained().async_wait() | with_timeout(1ms, clock));
  clock.advance(1ms);
  CHECK(impatient.result() == errc::timeout);
  REQUIRE(c.pop());
  REQUIRE(c.pop());
  CHECK(c.above_high_water());
  CHECK_FALSE(waiting.done());
  REQUIRE(c.pop());
  CHECK_FALSE(c.above_high_water());
  CHECK(waiting.done());
  CHECK(c.size() == 1);
  for (int i = 0; i < 3; ++i) REQUIRE(c.push(i));
  CHECK(c.above_high_water());
  auto until_closed = spawn(c.drained().async_wait());
  c.close();
  CHECK(until_closed.done());
  REQUIRE(c.pop());
  CHECK(c.drained().try_wait());  // a closed channel holds nobody back
  channel<int> unmarked{8};
  CHECK_FALSE(unmarked.above_high_water());
  CHECK_THROWS_AS(unmarked.drained(), std::invalid_argument);
}

TEMPLATE_TEST_CASE("channel options: metrics alone count every item, the peak too, and pushes go as before", "[channel]",
                   channel<int>, (channel<int, channel_policy::spsc>), channel<throwing>) {
  using item = typename TestType::value_type;
  TestType c{{.capacity = 3, .metrics = true}};
  for (int round = 0; round < 10; ++round) {
    REQUIRE(c.push(item{1}));
    REQUIRE(c.pop());
  }
  CHECK(c.stats().peak_depth == 1);
  CHECK(c.waiting_consumers() == 0);
  std::vector<item> three;
  for (int i = 0; i < 3; ++i) three.emplace_back(i);
  REQUIRE(c.push_range(three).count == 3);
  CHECK(c.try_push(item{4}) == errc::full);
  std::vector<item> out;
  REQUIRE(c.pop_n(out, 2).count == 2);
  REQUIRE(c.push(item{5}));
  const channel_stats s = c.stats();
  CHECK(s.peak_depth == 3);
  CHECK((s.pushed == 14 && s.popped == 12 && s.depth == 2 && s.weight == 2 && s.refused == 1 && s.discarded == 0));
  {
    auto places = c.reserve();  // from here on pushes take the lock
    REQUIRE(places);
    REQUIRE(places->push(item{6}));
  }
  CHECK(c.stats().pushed == 15);
  CHECK(c.abort().size() == 3);
  const channel_stats end = c.stats();
  CHECK((end.pushed == 15 && end.popped == 12 && end.discarded == 3 && end.depth == 0));
}

TEST_CASE("channel options: stats tell what happened, and waits are timed", "[channel]") {
  channel<int> c{{.capacity = 2, .metrics = true}};
  REQUIRE(c.push(1));
  REQUIRE(c.push(2));
  CHECK(c.try_push(3) == errc::full);
  bool pushed = false;
  std::jthread producer{[&] { pushed = c.push(3).has_value(); }};
  until([&] { return c.waiting_producers() == 1; });
  REQUIRE(c.pop());
  producer.join();
  CHECK(pushed);
  CHECK(c.pop() == 2);
  CHECK(c.pop() == 3);
  int got = 0;
  std::jthread consumer{[&] { got = c.pop().value_or(-1); }};
  until([&] { return c.waiting_consumers() == 1; });
  REQUIRE(c.push(4));
  consumer.join();
  CHECK(got == 4);
  REQUIRE(c.push(5));
  CHECK(c.abort() == std::vector{5});
  const channel_stats s = c.stats();
  CHECK(s.depth == 0);
  CHECK(s.peak_depth == 2);
  CHECK(s.pushed == 5);
  CHECK(s.popped == 4);
  CHECK(s.refused == 1);
  CHECK(s.discarded == 1);
  CHECK(s.push_waits == 1);
  CHECK(s.push_waited > 0ns);
  CHECK(s.pop_waits == 1);
  CHECK(s.pop_waited > 0ns);
  CHECK(accounts_balance(s));
  channel<int> plain{2};
  REQUIRE(plain.push(1));
  CHECK(plain.stats().depth == 1);
  CHECK(plain.stats().pushed == 0);
}

TEST_CASE("channel: abort() closes, and returns what was inside", "[channel]") {
  quiet::living = 0;
  {
    channel<quiet> c{4};
    for (int i = 0; i < 3; ++i) REQUIRE(c.push(quiet{i}));
    auto discarded = c.abort();
    REQUIRE(discarded.size() == 3);
    CHECK(discarded[2].value == 2);
    CHECK(c.is_closed());
    CHECK(c.pop() == errc::closed);
    quiet late{9};
    CHECK(c.push(std::move(late)) == errc::closed);
    CHECK(late.value == 9);
    CHECK(c.abort().empty());
  }
  CHECK(quiet::living == 0);
}

TEMPLATE_TEST_CASE_SIG("channel: an error or an exception that closed it reaches every consumer after what is inside",
                       "[channel]", ((channel_policy Policy), Policy), channel_policy::mpmc, channel_policy::spsc) {
  using checked = channel<int, Policy>;
  SECTION("an error") {
    checked c{4};
    REQUIRE(c.push(1));
    c.close(std::make_error_code(std::errc::io_error));
    c.close();  // the first one counts
    CHECK(c.push(2) == errc::closed);
    CHECK(c.pop() == 1);
    CHECK(c.pop().error() == std::errc::io_error);
    CHECK(c.try_pop().error() == std::errc::io_error);
    CHECK(c.try_pop_for(1ns).error() == std::errc::io_error);
    CHECK(spawn(c.async_pop()).result().error() == std::errc::io_error);
    CHECK_THROWS_AS(
        [&] {
          for (int& i : c) static_cast<void>(i);
        }(),
        std::system_error);
  }
  SECTION("an exception") {
    checked c{4};
    auto waiting = spawn(c.async_pop());
    REQUIRE(c.push(1));
    CHECK(waiting.result() == 1);
    auto vain = spawn(c.async_pop());
    c.close(std::make_exception_ptr(std::runtime_error{"broken"}));
    CHECK_THROWS_AS(vain.result(), std::runtime_error);
    CHECK_THROWS_AS(c.pop(), std::runtime_error);
    CHECK_THROWS_AS(c.try_pop(), std::runtime_error);
    CHECK_THROWS_AS(
        [&] {
          for (int& i : c) static_cast<void>(i);
        }(),
        std::runtime_error);
    CHECK(c.push(2) == errc::closed);
  }
}

TEST_CASE("channel options: who can get no room by dropping is refused, and nothing is dropped for it", "[channel]") {
  int dropped = 0;
  channel<int> c{{.capacity = 4, .when_full = when_full::drop_oldest, .on_drop = [&](int&&) { ++dropped; }}};
  REQUIRE(c.push(1));
  SECTION("somebody waits for places") {
    auto waiting = spawn(c.async_reserve(4));
    CHECK(c.push(2) == errc::rejected);
    CHECK(dropped == 0);
    CHECK(c.pop() == 1);
    CHECK(waiting.done());
  }
  SECTION("all that is not inside is reserved") {
    auto slots = c.reserve(3);
    CHECK(c.push(2));  // in the place of 1
    CHECK(dropped == 1);
    CHECK(c.pop() == 2);
    auto last = c.reserve(1);
    CHECK(c.push(3) == errc::rejected);
    CHECK(dropped == 1);
  }
}

TEST_CASE("channel options: a move that throws while the oldest is dropped strands nobody and is accounted for", "[channel]") {
  throwing::living = 0;
  channel<throwing> c{{.capacity = 2, .high_water = 2, .low_water = 1, .when_full = when_full::drop_oldest, .metrics = true}};
  REQUIRE(c.push(throwing{1}));
  REQUIRE(c.push(throwing{2}));
  SECTION("the new item's") {
    auto drained = spawn(c.drained().async_wait());
    throwing item{3};
    throwing::moves_until_throw = 2;  // the first is the dropped one's
    CHECK_THROWS_AS(c.push(std::move(item)), std::runtime_error);
    CHECK(item.value == 3);
    CHECK(drained.done());
    CHECK(c.stats().dropped_oldest == 1);
  }
  SECTION("the dropped one's") {
    throwing item{3};
    throwing::moves_until_throw = 1;
    CHECK_THROWS_AS(c.push(std::move(item)), std::runtime_error);
    CHECK(item.value == 3);
    CHECK(c.stats().discarded == 1);
  }
  SECTION("of what is inside when it is aborted") {
    throwing::moves_until_throw = 1;
    const auto rest = c.abort();
    REQUIRE(rest.size() == 1);
    CHECK(rest[0].value == 2);
    CHECK(c.stats().discarded == 2);
    CHECK(c.size() == 0);
  }
  throwing::moves_until_throw = 0;
  CHECK(accounts_balance(c.stats()));
  CHECK(c.stats().depth == c.size());
}

TEST_CASE("channel: closing with no error is closing", "[channel]") {
  channel<int> c{1};
  c.close(std::error_code{});
  CHECK(c.pop() == errc::closed);
}
