// No primitive keeps anything by thread: threads may end before what they used is destroyed, and outlive it.
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/semaphore.hpp>

#include "../../support/catch.hpp"

TEST_CASE("channel: threads that used it may have ended when it is destroyed elsewhere", "[channel][hazard-29]") {
  auto items = std::make_unique<penstock::channel<std::unique_ptr<int>>>(8);
  auto permits = std::make_unique<penstock::semaphore>(1);
  int taken = 0;
  for (int round = 0; round < 50; ++round) {
    std::jthread producer{[&] {
      const auto permit = permits->acquire_permit();
      for (int i = 0; i < 20; ++i)
        static_cast<void>(items->push(std::make_unique<int>(i)));  // what is lost, the count below lacks
    }};
    std::jthread consumer{[&] {
      for (int i = 0; i < 20; ++i) taken += static_cast<int>(items->pop().has_value());
    }};
  }
  REQUIRE(items->push(std::make_unique<int>(1)));  // one is left inside
  std::jthread{[&] {
    items.reset();
    permits.reset();
  }}.join();
  CHECK(taken == 50 * 20);
}

TEST_CASE("channel: a thread may outlive what it used, and use another at the same place", "[channel][hazard-29]") {
  std::optional<penstock::channel<int>> place;
  penstock::auto_reset_event built;
  penstock::auto_reset_event used;
  constexpr int rounds = 200;
  int sum = 0;
  std::jthread user{[&] {
    for (int i = 0; i < rounds; ++i) {
      built.wait();
      sum += *place->pop();
      static_cast<void>(place->try_pop());
      used.set();
    }
  }};
  for (int i = 0; i < rounds; ++i) {
    place.emplace(3);
    REQUIRE(place->push(i));
    built.set();
    used.wait();
    place.reset();
  }
  user.join();
  CHECK(sum == rounds * (rounds - 1) / 2);
}
