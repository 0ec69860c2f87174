#include <penstock/channel/detail/locked_ring.hpp>

#include <atomic>
#include <limits>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../../support/catch.hpp"
#include "item.hpp"

namespace {

using channel_testing::throwing;
using penstock::detail::locked_ring;
using penstock::detail::ring_step;

using ring = locked_ring<throwing>;

ring_step push(ring& r, int value) {
  throwing i{value};
  const ring_step s = r.try_push(i);
  CHECK(i.value == (s == ring_step::done ? -1 : value));
  return s;
}

int pop(ring& r) {
  std::optional<throwing> out;
  const ring_step s = r.try_pop(out);
  CHECK(out.has_value() == (s == ring_step::done));
  if (s == ring_step::done) return out->value;
  return s == ring_step::closed ? -2 : -1;
}

struct next_move_throws {
  explicit next_move_throws(int n = 1) noexcept { throwing::moves_until_throw = n; }
  next_move_throws(const next_move_throws&) = delete;
  ~next_move_throws() { throwing::moves_until_throw = 0; }
};

}  // namespace

TEST_CASE("locked_ring: fills and empties in order at every capacity and from every place", "[channel]") {
  for (const int capacity : {1, 2, 3, 5, 8}) {
    INFO("capacity " << capacity);
    ring r{static_cast<std::size_t>(capacity)};
    int in = 0;
    int out = 0;
    REQUIRE(r.capacity() == static_cast<std::size_t>(capacity));
    for (int lap = 0; lap < 2 * capacity + 3; ++lap) {
      REQUIRE(r.empty());
      REQUIRE(pop(r) == -1);
      for (int n = 0; n < capacity; ++n) {
        REQUIRE(r.size() == static_cast<std::size_t>(n));
        REQUIRE_FALSE(r.full());
        REQUIRE(push(r, in++) == ring_step::done);
      }
      REQUIRE(r.full());
      REQUIRE(push(r, 0) == ring_step::full);
      for (int n = 0; n < capacity; ++n) REQUIRE(pop(r) == out++);
      REQUIRE(push(r, in++) == ring_step::done);
      REQUIRE(pop(r) == out++);
    }
  }
  CHECK(throwing::living == 0);
}

TEST_CASE("locked_ring: a closed one refuses and drains", "[channel]") {
  ring r{2};
  CHECK(push(r, 1) == ring_step::done);
  CHECK(r.close());
  CHECK_FALSE(r.close());
  CHECK(r.is_closed());
  CHECK(push(r, 2) == ring_step::closed);
  CHECK(pop(r) == 1);
  CHECK(pop(r) == -2);
}

TEST_CASE("locked_ring: a capacity that cannot be is refused", "[channel][hazard-27]") {
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  CHECK_THROWS_AS(ring{0}, std::invalid_argument);
  CHECK_THROWS_AS(ring{most}, std::invalid_argument);
  CHECK_THROWS_AS(ring{most / 8}, std::invalid_argument);
}

TEST_CASE("locked_ring: a push whose move throws has changed nothing", "[channel][hazard-30]") {
  {
    ring r{3};
    REQUIRE(push(r, 1) == ring_step::done);
    throwing second{2};
    {
      const next_move_throws on_purpose;
      CHECK_THROWS_AS(r.try_push(second), std::runtime_error);
    }
    CHECK(second.value == 2);
    CHECK(r.size() == 1);
    CHECK(throwing::living == 2);
    CHECK(r.try_push(second) == ring_step::done);
    CHECK(pop(r) == 1);
    CHECK(pop(r) == 2);
    CHECK(pop(r) == -1);
  }
  CHECK(throwing::living == 0);
}

TEST_CASE("locked_ring: a pop whose move throws has lost its item and nothing else", "[channel][hazard-30]") {
  {
    ring r{3};
    REQUIRE(push(r, 0) == ring_step::done);
    REQUIRE(pop(r) == 0);
    for (int i = 1; i <= 3; ++i) REQUIRE(push(r, i) == ring_step::done);
    std::optional<throwing> out;
    {
      const next_move_throws on_purpose;
      CHECK_THROWS_AS(r.try_pop(out), std::runtime_error);
    }
    CHECK_FALSE(out.has_value());
    CHECK(r.size() == 2);
    CHECK(throwing::living == 2);
    CHECK(push(r, 4) == ring_step::done);
    for (int i = 2; i <= 4; ++i) CHECK(pop(r) == i);
    CHECK(r.empty());
  }
  CHECK(throwing::living == 0);
}

TEST_CASE("locked_ring: what is left inside is destroyed with it, once", "[channel][hazard-30]") {
  {
    ring r{4};
    for (int i = 0; i < 3; ++i) REQUIRE(push(r, i) == ring_step::done);
    REQUIRE(pop(r) == 0);
    for (int i = 3; i < 5; ++i) REQUIRE(push(r, i) == ring_step::done);
    CHECK(throwing::living == 4);
  }
  CHECK(throwing::living == 0);
}

TEST_CASE("locked_ring: between threads each item arrives once", "[channel]") {
  constexpr int count = 2000;
  ring r{3};
  std::atomic<int> arrived[count]{};
  {
    std::vector<std::jthread> consumers;
    for (int i = 0; i < 2; ++i) {
      consumers.emplace_back([&] {
        for (;;) {
          std::optional<throwing> out;
          const ring_step s = r.try_pop(out);
          if (s == ring_step::closed) return;
          if (s == ring_step::done) {
            ++arrived[out->value];
          } else {
            std::this_thread::yield();
          }
        }
      });
    }
    {
      std::vector<std::jthread> producers;
      for (int from = 0; from < 2; ++from) {
        producers.emplace_back([&r, from] {
          for (int n = from; n < count; n += 2) {
            throwing i{n};
            while (r.try_push(i) != ring_step::done) std::this_thread::yield();
          }
        });
      }
    }
    r.close();
  }
  int once = 0;
  for (auto& n : arrived) once += n == 1 ? 1 : 0;
  CHECK(once == count);
  CHECK(throwing::living == 0);
}
