#include <penstock/channel/detail/ring.hpp>
#include <penstock/channel/detail/spsc_ring.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../../support/catch.hpp"
#include "item.hpp"

namespace {

using channel_testing::quiet;
using penstock::detail::ring;
using penstock::detail::ring_step;
using penstock::detail::spsc_ring;

template <class Ring>
ring_step push(Ring& r, int value) {
  quiet i{value};
  const ring_step s = r.try_push(i);
  CHECK(i.value == (s == ring_step::done ? -1 : value));  // moved from if, and only if, it went in
  return s;
}

// The value of the oldest item; -1: empty, -2: closed.
template <class Ring>
int pop(Ring& r) {
  std::optional<quiet> out;
  const ring_step s = r.try_pop(out);
  CHECK(out.has_value() == (s == ring_step::done));
  if (s == ring_step::done) return out->value;
  return s == ring_step::closed ? -2 : -1;
}

}  // namespace

TEMPLATE_TEST_CASE("ring: fills and empties in order at every capacity and from every place", "[channel]", ring<quiet>,
                   spsc_ring<quiet>) {
  for (const int capacity : {1, 2, 3, 4, 5, 7, 8, 9, 64, 100}) {
    INFO("capacity " << capacity);
    TestType r{static_cast<std::size_t>(capacity)};
    int in = 0;
    int out = 0;
    REQUIRE(r.capacity() == static_cast<std::size_t>(capacity));
    for (int lap = 0; lap < 2 * capacity + 3; ++lap) {  // each lap begins one slot further on
      REQUIRE(r.empty());
      REQUIRE(pop(r) == -1);
      for (int n = 0; n < capacity; ++n) {
        REQUIRE(r.size() == static_cast<std::size_t>(n));
        REQUIRE_FALSE(r.full());
        REQUIRE(push(r, in++) == ring_step::done);
      }
      REQUIRE(r.full());
      REQUIRE(r.size() == static_cast<std::size_t>(capacity));
      REQUIRE(push(r, 0) == ring_step::full);
      for (int n = 0; n < capacity; ++n) REQUIRE(pop(r) == out++);
      REQUIRE(push(r, in++) == ring_step::done);
      REQUIRE(pop(r) == out++);
    }
  }
  CHECK(quiet::living == 0);
}

TEMPLATE_TEST_CASE("ring: a closed one refuses and drains", "[channel]", ring<quiet>, spsc_ring<quiet>) {
  TestType r{3};
  CHECK(push(r, 1) == ring_step::done);
  CHECK(push(r, 2) == ring_step::done);
  CHECK_FALSE(r.is_closed());
  CHECK(r.close());
  CHECK_FALSE(r.close());
  CHECK(r.is_closed());
  CHECK(push(r, 3) == ring_step::closed);
  CHECK(r.size() == 2);
  CHECK(pop(r) == 1);
  CHECK_FALSE(r.empty());
  CHECK(pop(r) == 2);
  CHECK(r.empty());
  CHECK(pop(r) == -2);
  CHECK(pop(r) == -2);
  CHECK(push(r, 4) == ring_step::closed);
}

TEMPLATE_TEST_CASE("ring: a full one that is closed says closed, not full", "[channel]", ring<quiet>, spsc_ring<quiet>) {
  TestType r{1};
  CHECK(push(r, 1) == ring_step::done);
  CHECK(r.full());
  r.close();
  CHECK(push(r, 2) == ring_step::closed);
  CHECK(r.full());
  CHECK(pop(r) == 1);
  CHECK_FALSE(r.full());
  CHECK(pop(r) == -2);
}

TEST_CASE("ring: a capacity that cannot be is refused, and the message tells it", "[channel][hazard-27]") {
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  for (const std::size_t capacity : {std::size_t{0}, most, most - 1, most / 2, most / 2 + 1, most / 8, most / 16 + 1}) {
    INFO("capacity " << capacity);
    CHECK_THROWS_AS(ring<char>{capacity}, std::invalid_argument);
    try {
      const ring<char> r{capacity};
    } catch (const std::invalid_argument& e) {
      CHECK(std::string{e.what()}.find(std::to_string(capacity)) != std::string::npos);
    }
  }
}

TEMPLATE_TEST_CASE("ring: what is left inside is destroyed with it, once", "[channel][hazard-30]", ring<quiet>,
                   spsc_ring<quiet>) {
  for (const int begin : {0, 1, 4}) {
    for (int left = 0; left <= 5; ++left) {
      {
        TestType r{5};
        for (int i = 0; i < begin; ++i) {
          REQUIRE(push(r, i) == ring_step::done);
          REQUIRE(pop(r) == i);
        }
        for (int i = 0; i < left; ++i) REQUIRE(push(r, i) == ring_step::done);
        if (left % 2 == 1) r.close();
        REQUIRE(quiet::living == left);
      }
      REQUIRE(quiet::living == 0);
    }
  }
}

TEST_CASE("ring: items lie as their type wants it", "[channel]") {
  struct alignas(256) wide {
    explicit wide(int v) noexcept : value{v} {}
    wide(wide&& other) noexcept
        : value{other.value}, aligned{other.aligned && reinterpret_cast<std::uintptr_t>(this) % alignof(wide) == 0} {}
    int value;
    bool aligned = true;
  };
  ring<wide> r{3};
  for (int i = 0; i < 10; ++i) {
    wide in{i};
    REQUIRE(r.try_push(in) == ring_step::done);
    std::optional<wide> out;
    REQUIRE(r.try_pop(out) == ring_step::done);
    REQUIRE(out->value == i);
    REQUIRE(out->aligned);
  }
}

TEST_CASE("ring: between threads each item arrives once, and each producer's in its order", "[channel]") {
  constexpr int each = 3000;
  constexpr int producers = 2;
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{3}, std::size_t{64}}) {
    ring<std::uint64_t> r{capacity};
    std::atomic<int> arrived[producers][each]{};
    std::atomic<bool> in_order{true};
    {
      std::vector<std::jthread> threads;
      for (int consumer = 0; consumer < 2; ++consumer) {
        threads.emplace_back([&] {
          std::int64_t last[producers] = {-1, -1};
          std::optional<std::uint64_t> out;
          for (;;) {
            const ring_step s = r.try_pop(out);
            if (s == ring_step::closed) return;
            if (s == ring_step::empty) {
              std::this_thread::yield();
              continue;
            }
            const auto from = static_cast<std::size_t>(*out >> 32);
            const auto n = static_cast<std::int64_t>(*out & 0xffffffff);
            if (n <= last[from]) in_order = false;
            last[from] = n;
            ++arrived[from][n];
          }
        });
      }
      {
        std::vector<std::jthread> pushing;
        for (int producer = 0; producer < producers; ++producer) {
          pushing.emplace_back([&, producer] {
            for (int n = 0; n < each;) {
              std::uint64_t item = (static_cast<std::uint64_t>(producer) << 32) + static_cast<std::uint64_t>(n);
              if (r.try_push(item) == ring_step::done) {
                ++n;
              } else {
                std::this_thread::yield();
              }
            }
          });
        }
      }
      r.close();
    }
    int once = 0;
    for (auto& from : arrived) {
      for (auto& count : from) once += count == 1 ? 1 : 0;
    }
    CHECK(once == producers * each);
    CHECK(in_order);
  }
}

TEMPLATE_TEST_CASE("ring: batches go in and come out in order, as far as there is room, from every place", "[channel]", ring<int>,
                   spsc_ring<int>) {
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{3}, std::size_t{4}, std::size_t{10}}) {
    INFO("capacity " << capacity);
    TestType r{capacity};
    int in = 0;
    int out = 0;
    for (std::size_t batch = 1; batch <= 2 * capacity + 1; ++batch) {
      std::vector<int> items(batch);
      for (int& i : items) i = in++;
      ring_step why = ring_step::done;
      const std::size_t pushed = r.try_push_n(items.data(), batch, why);
      REQUIRE(pushed == std::min(batch, capacity));
      in -= static_cast<int>(batch - pushed);
      REQUIRE(r.size() == pushed);
      if (pushed == capacity) {
        REQUIRE(r.try_push_n(items.data(), 1, why) == 0);
        REQUIRE(why == ring_step::full);
      }
      const std::size_t some = (pushed + 1) / 2;
      const auto take = [&](int&& i) noexcept { CHECK(i == out++); };
      REQUIRE(r.try_pop_n(some, take) == some);
      REQUIRE(r.try_pop_n(capacity + 1, take) == pushed - some);
      REQUIRE(r.try_pop_n(1, take) == 0);
    }
    REQUIRE(in == out);
    r.close();
    ring_step why = ring_step::done;
    REQUIRE(r.try_push_n(&in, 1, why) == 0);
    REQUIRE(why == ring_step::closed);
  }
}

TEMPLATE_TEST_CASE("ring: a guarded one refuses plain pushes and lets its owner push, also when it is closed", "[channel]",
                   ring<quiet>, spsc_ring<quiet>) {
  TestType r{2};
  REQUIRE(push(r, 1) == ring_step::done);
  CHECK_FALSE(r.is_guarded());
  r.guard();
  CHECK(r.is_guarded());
  CHECK(push(r, 2) == ring_step::guarded);
  quiet two{2};
  r.push_claimed(two);
  CHECK(r.size() == 2);
  CHECK(pop(r) == 1);
  r.close();
  CHECK(push(r, 3) == ring_step::closed);
  quiet three{3};
  r.push_claimed(three);
  CHECK(pop(r) == 2);
  CHECK(pop(r) == 3);
  CHECK(pop(r) == -2);
  CHECK(pop(r) == -2);
}

TEST_CASE("ring: an spsc one that is closed while its producer pushes loses nothing", "[channel]") {
  for (int round = 0; round < 300; ++round) {
    spsc_ring<int> r{static_cast<std::size_t>(1 + round % 3)};
    int pushed = 0;
    int popped = 0;
    {
      std::jthread producer{[&] {
        for (int item = 0;;) {
          const ring_step s = r.try_push(item);
          if (s == ring_step::closed) return;
          if (s == ring_step::done) item = ++pushed;
        }
      }};
      std::jthread consumer{[&] {
        for (std::optional<int> out;;) {
          const ring_step s = r.try_pop(out);
          if (s == ring_step::closed) return;
          if (s != ring_step::done) continue;
          if (*out != popped) std::abort();
          ++popped;
        }
      }};
      for (int i = 0; i < round % 7; ++i) std::this_thread::yield();
      r.close();
    }
    REQUIRE(pushed == popped);
  }
}
