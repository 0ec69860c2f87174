#include <penstock/core/detail/parker.hpp>

#include <atomic>
#include <thread>

#include <penstock/core/detail/sync.hpp>

#include "../../support/catch.hpp"

using parker = penstock::detail::basic_parker<>;
using penstock::detail::std_sync;

TEST_CASE("parker: an unpark that came first lets the park pass at once", "[parker]") {
  parker p;
  p.unpark();
  CHECK(p.park_until(penstock::detail::never));
}

TEST_CASE("parker: a deadline that has passed ends the park, and an unpark after it counts for the next", "[parker]") {
  parker p;
  CHECK_FALSE(p.park_until(0));
  CHECK_FALSE(p.park_until(-5));
  CHECK_FALSE(p.park_until(std::numeric_limits<std::int64_t>::min()));
  CHECK_FALSE(p.park_until(std_sync::now()));
  p.unpark();
  CHECK(p.park_until(0));
}

TEST_CASE("parker: gives up never before its deadline", "[parker][hazard-23]") {
  for (int i = 0; i < 200; ++i) {
    parker p;
    const auto due = std_sync::now() + 100'000;
    REQUIRE_FALSE(p.park_until(due));
    REQUIRE(std_sync::now() >= due);
  }
}

TEST_CASE("parker: what was written before an unpark is seen after the park, round after round", "[parker]") {
  parker ping;
  parker pong;
  int message = 0;
  constexpr int rounds = 3'000;
  std::jthread other{[&] {
    for (int i = 0; i < rounds; ++i) {
      ping.park();
      ping.reset();
      ++message;
      pong.unpark();
    }
  }};
  for (int i = 0; i < rounds; ++i) {
    ++message;
    ping.unpark();
    pong.park();
    pong.reset();
    REQUIRE(message == 2 * (i + 1));
  }
}

TEST_CASE("parker: lies in a frame that may be gone as soon as the park returns", "[parker][hazard-12]") {
  std::atomic<parker*> shared = nullptr;
  int message = 0;
  std::jthread waker{[&] {
    for (int i = 0; i < 3'000; ++i) {
      parker* p = nullptr;
      while ((p = shared.exchange(nullptr)) == nullptr) std::this_thread::yield();
      message = i;
      p->unpark();
    }
  }};
  for (int i = 0; i < 3'000; ++i) {
    auto p = std::make_unique<parker>();
    shared = p.get();
    p->park();
    REQUIRE(message == i);  // and no sanitizer objects to the frame
  }
}
