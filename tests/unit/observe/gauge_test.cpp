#include <penstock/observe/gauge.hpp>

#include <thread>
#include <vector>

#include "../../support/catch.hpp"

TEST_CASE("gauge: follows its value up and down and keeps the peak", "[gauge]") {
  penstock::gauge depth;
  CHECK(depth.snapshot() == penstock::gauge_snapshot{0, 0});
  depth.add(7);
  depth.sub(3);
  depth.add();
  CHECK(depth.snapshot() == penstock::gauge_snapshot{5, 7});
}

TEST_CASE("gauge: setting a value moves the peak only upwards", "[gauge]") {
  penstock::gauge depth;
  depth.set(10);
  depth.set(4);
  CHECK(depth.snapshot() == penstock::gauge_snapshot{4, 10});
  depth.set(11);
  CHECK(depth.peak() == 11);
}

TEST_CASE("gauge: a value below zero leaves the peak at zero", "[gauge]") {
  penstock::gauge balance;
  balance.sub(5);
  CHECK(balance.snapshot() == penstock::gauge_snapshot{-5, 0});
}

TEST_CASE("gauge: snapshots of two components add up", "[gauge]") {
  penstock::gauge_snapshot both{3, 9};
  both.merge({4, 5});
  CHECK(both == penstock::gauge_snapshot{7, 14});
}

TEST_CASE("gauge: threads that only add peak at exactly the sum", "[gauge]") {
  penstock::gauge depth;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&depth] {
        for (int i = 0; i < 10'000; ++i) depth.add();
      });
    }
  }
  CHECK(depth.snapshot() == penstock::gauge_snapshot{40'000, 40'000});
}

TEST_CASE("gauge: threads that enter and leave end at zero, with a peak within what they could reach", "[gauge]") {
  penstock::gauge in_flight;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&in_flight] {
        for (int i = 0; i < 10'000; ++i) {
          in_flight.add();
          in_flight.sub();
        }
      });
    }
  }
  CHECK(in_flight.value() == 0);
  CHECK(in_flight.peak() >= 1);
  CHECK(in_flight.peak() <= 4);
}
