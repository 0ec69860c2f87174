// What a pipeline can take its items from, and give them to, besides channels, ranges and functions.
#include <penstock/stream/pipeline.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/channel/broadcast.hpp>
#include <penstock/channel/endpoints.hpp>
#include <penstock/channel/ticker.hpp>
#include <penstock/core/manual_clock.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"
#include "stream_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using stream_testing::collect;
using stream_testing::count;
using test_support::until;

// Stops a pipeline that waits for its source.
template <class P>
std::error_code stopped(P p, const std::function<bool()>& waits) {
  std::stop_source stop;
  std::jthread stopper{[&] {
    until(waits);
    stop.request_stop();
  }};
  const result<void> ended = p.run(stop.get_token());
  return ended ? std::error_code{} : ended.error();
}

TEST_CASE("from: a receiver, by reference or moved in", "[pipeline]") {
  SECTION("drained") {
    auto [in, out] = make_channel<int>(4);
    for (int i : {1, 2}) REQUIRE(in.push(i));
    {
      auto last = std::move(in);
    }
    CHECK(collect(from(out)) == std::vector{1, 2});
  }
  SECTION("stopped while it waits") {
    auto ends = make_channel<int>(4);
    CHECK(stopped(from(ends.receiver) | to([](int) {}), [&] { return ends.sender.channel().waiting_consumers() == 1; }) ==
          errc::cancelled);
  }
  SECTION("moved in, it goes when the pipeline has ended") {
    auto [in, out] = make_channel<std::unique_ptr<int>>(4);
    auto p = from(std::move(out)) | to([sending = &in](const std::unique_ptr<int>&) { CHECK(!sending->is_closed()); });
    REQUIRE(in.push(std::make_unique<int>(1)));
    std::stop_source stop;
    std::jthread stopper{[&, sending = &in] {
      until([&] { return sending->channel().waiting_consumers() == 1; });
      stop.request_stop();
    }};
    CHECK(p.run(stop.get_token()).error() == errc::cancelled);
    CHECK(in.is_closed());
  }
}

TEST_CASE("from: a subscription", "[pipeline]") {
  broadcast<int> b{2, {.when_slow = slow_subscriber::lose_oldest}};
  SECTION("moved in, it goes when the pipeline has ended") {
    auto p = from(b.subscribe()) | to([](int) {});
    CHECK(b.subscribers() == 1);
    std::stop_source stop;
    std::jthread stopper{[&] {
      until([&] { return p.report().stages[0].items_out == 1; });
      stop.request_stop();
    }};
    REQUIRE(b.publish(1));
    CHECK(p.run(stop.get_token()).error() == errc::cancelled);
    CHECK(b.subscribers() == 0);
  }
  SECTION("drained") {
    auto mine = b.subscribe();
    for (int i : {1, 2}) REQUIRE(b.publish(i));
    b.close();
    CHECK(collect(from(mine)) == std::vector{1, 2});
  }
  SECTION("that has lost items fails the pipeline") {
    auto mine = b.subscribe();
    for (int i : {1, 2, 3}) REQUIRE(b.publish(i));
    b.close();
    auto p = from(mine) | to([](int) {});
    CHECK(p.run().error() == errc::lagged);
  }
  SECTION("that passes over losses") {
    auto mine = b.subscribe();
    for (int i : {1, 2, 3}) REQUIRE(b.publish(i));
    b.close();
    CHECK(collect(from([&](const std::stop_token& stop) {
            result<int> next = mine.pop(stop);
            while (!next && next.error() == errc::lagged) next = mine.pop(stop);
            return next;
          })) == std::vector{2, 3});
  }
}

TEST_CASE("from: a ticker", "[pipeline]") {
  manual_clock clock;
  auto ticks = tick(10ms, clock);
  int n = 0;
  std::stop_source stop;
  auto p = from(ticks) | to([&](auto) {
             if (++n == 2) stop.request_stop();
             clock.advance(10ms);
           });
  clock.advance(10ms);
  CHECK(p.run(stop.get_token()).error() == errc::cancelled);
  CHECK(n == 2);
}

TEST_CASE("from: a batch lingers for a receiver, too", "[pipeline]") {
  manual_clock clock;
  auto [in, out] = make_channel<int>(4);
  channel<std::vector<int>> batches{4};
  auto p = from(out) | batch(3, 10ms, clock) | to(batches);
  static_assert(detail::timed_stage<detail::channel_source<receiver<int>&>>);
  std::jthread runner{[&] { static_cast<void>(p.run()); }};
  REQUIRE(in.push(1));
  until([&] { return clock.next_timer() == clock.now() + 10ms; });
  clock.advance(10ms);
  CHECK(batches.pop() == std::vector{1});
  {
    auto last = std::move(in);
  }
}

TEST_CASE("to: a sender, by reference or moved in", "[pipeline]") {
  auto [in, out] = make_channel<int>(8);
  SECTION("by reference it is closed") {
    CHECK((from(count(0, 3)) | to(in)).run());
    CHECK(in.is_closed());
  }
  SECTION("or kept") {
    CHECK((from(count(0, 3)) | to(in, at_end::keep)).run());
    CHECK(!in.is_closed());
    in.channel().close();
  }
  SECTION("moved in it goes, and others stay") {
    auto other = in;
    {
      auto p = from(count(0, 3)) | tee(std::move(in)) | to([](int) {});
      CHECK(p.run());
      CHECK(!other.is_closed());
      {
        auto last = std::move(other);
      }
      CHECK(out.is_closed());  // although the pipeline, which has ended, is still there
    }
  }
  CHECK(collect(from(out)) == std::vector{0, 1, 2});
}

TEST_CASE("to: a sender that was moved in tells of a failure", "[pipeline]") {
  auto [in, out] = make_channel<int>(8);
  auto other = in;
  auto p = from(count(0, 3)) | map([](int i) { return i < 2 ? i : throw std::domain_error{"on purpose"}; }) | to(std::move(in));
  CHECK_THROWS_AS(p.run(), std::domain_error);
  CHECK(out.pop() == 0);
  CHECK(out.pop() == 1);
  CHECK_THROWS_AS(out.pop(), std::domain_error);
}

TEST_CASE("to, tee: a broadcast", "[pipeline]") {
  broadcast<int> b{8};
  auto mine = b.subscribe();
  SECTION("closed at the end") {
    CHECK((from(count(0, 3)) | to(b)).run());
    CHECK(collect(from(mine)) == std::vector{0, 1, 2});
  }
  SECTION("waits for slow subscribers, and can be stopped then") {
    CHECK(stopped(from(count(0, 30)) | tee(b, at_end::keep) | to([](int) {}), [&] { return mine.size() == 8; }) ==
          errc::cancelled);
    CHECK(!b.is_closed());
  }
  SECTION("of an exception it tells that the stream was cut off") {
    auto p = from(count(0, 3)) | map([](int) -> int { throw std::domain_error{"on purpose"}; }) | to(b);
    CHECK_THROWS_AS(p.run(), std::domain_error);
    CHECK(mine.pop().error() == errc::cancelled);
  }
}

}  // namespace
