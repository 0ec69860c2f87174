#include <penstock/channel/endpoints.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/spawn.hpp>

#include "../../support/catch.hpp"
#include "item.hpp"

using namespace penstock;
using channel_testing::quiet;

TEST_CASE("endpoints: the last sender closes the channel, and receivers drain it", "[channel]") {
  auto [in, out] = make_channel<int>(4);
  std::optional first{std::move(in)};
  std::optional second{*first};
  CHECK(first->push(1));
  first.reset();
  CHECK_FALSE(out.is_closed());
  CHECK(second->push(2));
  auto waiting = spawn(out.async_pop());
  CHECK(waiting.result() == 1);
  second.reset();
  CHECK(out.is_closed());
  std::vector<int> rest;
  for (int i : out) rest.push_back(i);
  CHECK(rest == std::vector{2});
  CHECK(out.pop() == errc::closed);
}

TEST_CASE("endpoints: when the last receiver has gone, pushes fail and keep their item, and what was inside is destroyed",
          "[channel][hazard-30]") {
  quiet::living = 0;
  auto [in, out] = make_channel<quiet>(1);
  std::optional first{std::move(out)};
  std::optional second{*first};
  CHECK(in.push(quiet{1}));
  quiet late{2};
  auto waiting = spawn(in.async_push(std::move(late)));
  first.reset();
  CHECK_FALSE(waiting.done());
  second.reset();
  CHECK(waiting.result() == errc::closed);
  CHECK(late.value == 2);
  CHECK(quiet::living == 1);
  CHECK(in.try_push(std::move(late)) == errc::closed);
  CHECK(late.value == 2);
}

TEST_CASE("endpoints: handles are moved, assigned and shared between threads", "[channel]") {
  auto [in, out] = make_channel<int>(2);
  auto [other_in, other_out] = make_channel<int>({.capacity = 2, .metrics = true});
  CHECK(in.capacity() == 2);
  other_in = in;  // the other channel has lost its only sender
  CHECK(other_out.pop() == errc::closed);
  long sum = 0;
  std::atomic<int> refused{0};
  {
    std::vector<std::jthread> producers;
    for (int t = 0; t < 2; ++t) {
      producers.emplace_back([mine = in, &refused] {
        for (int i = 1; i <= 100; ++i) refused += mine.push(i) ? 0 : 1;
      });
    }
    {
      [[maybe_unused]] const auto gone = std::move(in);
      [[maybe_unused]] const auto gone_too = std::move(other_in);
    }
    for (int i : out) sum += i;
  }
  CHECK(sum == 2 * 5050);
  CHECK(refused == 0);
}
