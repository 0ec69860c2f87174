#include <penstock/core/detail/timer_queue.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "../../support/catch.hpp"
#include "support.hpp"

using core_test::call_timer;
using penstock::detail::nanoseconds_point;

namespace {

// Timers that fire when the test says so.
class hand_queue final : public penstock::timer_queue {
 public:
  nanoseconds_point now() const noexcept override { return 0; }
  void add(entry& e, nanoseconds_point when) override { insert(e, when); }
  using penstock::timer_queue::earliest;
  using penstock::timer_queue::fire_next;
  using penstock::timer_queue::insert;
};

}  // namespace

TEST_CASE("timer_queue: an empty queue has nothing to fire", "[timer_queue]") {
  hand_queue queue;
  CHECK(queue.earliest() == penstock::detail::never);
  CHECK_FALSE(queue.fire_next(penstock::detail::never));
  call_timer never_added;
  CHECK_FALSE(queue.remove(never_added));
}

TEST_CASE("timer_queue: adding tells whether the new entry is the earliest", "[timer_queue]") {
  hand_queue queue;
  call_timer a;
  call_timer b;
  call_timer c;
  CHECK(queue.insert(a, 10));
  CHECK_FALSE(queue.insert(b, 10));
  CHECK(queue.insert(c, 9));
  CHECK(queue.remove(a));
  CHECK(queue.remove(b));
  CHECK(queue.remove(c));
  CHECK_FALSE(queue.remove(c));
}

TEST_CASE("timer_queue: fires in the order of a sorted model under random additions and removals", "[timer_queue]") {
  const unsigned seed = GENERATE(1U, 2U, 3U, 4U);
  INFO("seed " << seed);
  std::mt19937 random{seed};
  hand_queue queue;
  std::map<std::pair<nanoseconds_point, std::uint64_t>, call_timer*> model;  // sorted by time, then by order of arming
  std::map<call_timer*, std::pair<nanoseconds_point, std::uint64_t>> keys;
  std::vector<std::unique_ptr<call_timer>> timers;
  call_timer* last_fired = nullptr;
  for (int i = 0; i < 300; ++i) {
    timers.push_back(std::make_unique<call_timer>());
    timers.back()->what = [&last_fired, self = timers.back().get()] { last_fired = self; };
  }
  std::uint64_t armed = 0;
  for (int i = 0; i < 20'000; ++i) {
    call_timer& timer = *timers[random() % timers.size()];
    const auto known = keys.find(&timer);
    const unsigned action = random() % 8;
    if (action < 4) {
      if (known != keys.end()) continue;
      const auto when = static_cast<nanoseconds_point>(random() % 100);
      const std::pair key{when, armed++};
      const bool first = model.empty() || key < model.begin()->first;
      REQUIRE(queue.insert(timer, when) == first);
      model.emplace(key, &timer);
      keys.emplace(&timer, key);
    } else if (action < 6) {
      REQUIRE(queue.remove(timer) == (known != keys.end()));
      if (known != keys.end()) {
        model.erase(known->second);
        keys.erase(known);
      }
    } else {
      const auto now = static_cast<nanoseconds_point>(random() % 100);
      const bool due = !model.empty() && model.begin()->first.first <= now;
      last_fired = nullptr;
      REQUIRE(queue.fire_next(now) == due);
      REQUIRE(last_fired == (due ? model.begin()->second : nullptr));
      if (due) {
        keys.erase(model.begin()->second);
        model.erase(model.begin());
      }
    }
    REQUIRE(queue.earliest() == (model.empty() ? penstock::detail::never : model.begin()->first.first));
  }
  while (!model.empty()) {
    REQUIRE(queue.fire_next(1'000));
    REQUIRE(last_fired == model.begin()->second);
    model.erase(model.begin());
  }
}

TEST_CASE("timer_queue: equal times fire in the order of arming", "[timer_queue]") {
  hand_queue queue;
  std::vector<int> order;
  std::vector<std::unique_ptr<call_timer>> timers;
  for (int i = 0; i < 1'000; ++i) {
    timers.push_back(std::make_unique<call_timer>([&order, i] { order.push_back(i); }));
    queue.insert(*timers.back(), 5);
  }
  for (std::size_t i = 100; i < 200; ++i) REQUIRE(queue.remove(*timers[i]));
  while (queue.fire_next(5)) {
  }
  REQUIRE(order.size() == 900);
  for (std::size_t i = 0; i < order.size(); ++i) REQUIRE(order[i] == static_cast<int>(i < 100 ? i : i + 100));
}

TEST_CASE("timer_queue: an entry may be removed and destroyed inside its own function", "[timer_queue]") {
  hand_queue queue;
  auto timer = std::make_unique<call_timer>();
  bool removed = true;
  timer->what = [&] {
    removed = queue.remove(*timer);
    auto keep = std::move(timer->what);  // the function itself outlives the entry
    timer.reset();
  };
  queue.insert(*timer, 1);
  CHECK(queue.fire_next(1));
  CHECK_FALSE(removed);
  CHECK(timer == nullptr);
  CHECK_FALSE(queue.fire_next(1));
}

TEST_CASE("timer_queue: an entry that its own function removed is free: another one may lie at its address", "[timer_queue]") {
  hand_queue queue;
  bool waited_for = true;
  call_timer timer;
  timer.what = [&] {
    queue.remove(timer);
    // From here on the address means nothing to the queue. A thread that waited for this function now would wait for ever.
    std::jthread{[&] { waited_for = queue.remove(timer); }}.join();
  };
  queue.insert(timer, 1);
  CHECK(queue.fire_next(1));
  CHECK_FALSE(waited_for);
}

TEST_CASE("timer_queue: an entry may be armed again inside its own function", "[timer_queue]") {
  hand_queue queue;
  int fired = 0;
  call_timer timer;
  timer.what = [&] {
    if (++fired < 3) queue.insert(timer, 1);
  };
  queue.insert(timer, 1);
  while (queue.fire_next(1)) {
  }
  CHECK(fired == 3);
}

TEST_CASE("timer_queue: one entry may remove and fire others", "[timer_queue]") {
  hand_queue queue;
  int fired = 0;
  call_timer other{[&] { fired += 1; }};
  call_timer nested{[&] { fired += 10; }};
  call_timer first{[&] {
    CHECK(queue.remove(other));
    CHECK(queue.fire_next(3));
  }};
  queue.insert(first, 1);
  queue.insert(other, 2);
  queue.insert(nested, 3);
  CHECK(queue.fire_next(1));
  CHECK(fired == 10);
}

TEST_CASE("timer_queue: removing an entry whose function runs on another thread waits for it", "[timer_queue]") {
  for (int round = 0; round < 200; ++round) {
    hand_queue queue;
    std::atomic<bool> running = false;
    std::atomic<int> removing = 0;
    std::atomic<bool> finished = false;
    call_timer timer{[&] {
      running = true;
      core_test::yield_until([&] { return removing == 2; });
      for (int i = 0; i < round; ++i) std::this_thread::yield();  // removers get into their wait, or they do not
      finished = true;
    }};
    queue.insert(timer, 1);
    std::jthread firing{[&] { queue.fire_next(1); }};
    const auto remove = [&] {
      core_test::yield_until([&] { return running.load(); });
      ++removing;
      const bool pending = queue.remove(timer);
      return !pending && finished;
    };
    bool other_waited = false;
    {
      std::jthread other{[&] { other_waited = remove(); }};
      REQUIRE(remove());
    }
    REQUIRE(other_waited);
  }
}

TEST_CASE("timer_queue: many entries come out in order, however they went in", "[timer_queue]") {
  constexpr std::size_t count = 200'000;
  hand_queue queue;
  const bool ascending = GENERATE(true, false);
  nanoseconds_point last = -1;
  std::size_t fired = 0;
  bool sorted = true;
  std::vector<call_timer> timers(count);
  for (std::size_t i = 0; i < count; ++i) {
    timers[i].what = [&, i] {
      const auto when = static_cast<nanoseconds_point>(timers[i].when);
      sorted = sorted && last <= when;
      last = when;
      ++fired;
    };
    queue.insert(timers[i], static_cast<nanoseconds_point>(ascending ? i : count - i));
  }
  while (queue.fire_next(static_cast<nanoseconds_point>(count))) {
  }
  CHECK(fired == count);
  CHECK(sorted);
}
