#include <penstock/channel/broadcast.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using test_support::until;

// Knows how many of it there are, and how they came about; ends the program if one is destroyed twice. Moved from: value is -1. With
// `MayThrow` the n-th move throws, with either the n-th copy.
template <bool MayThrow>
class item {
 public:
  static inline std::atomic<int> living{0};
  static inline std::atomic<int> copies{0};
  static inline int moves_until_throw = 0;  // 0: never
  static inline int copies_until_throw = 0;

  explicit item(int v) noexcept : value{v}, self_{this} { ++living; }
  item(const item& other) : value{other.value}, self_{this} {
    if (copies_until_throw > 0 && --copies_until_throw == 0) throw std::runtime_error{"on purpose"};
    ++copies;
    ++living;
  }
  item(item&& other) noexcept(!MayThrow) : value{other.value}, self_{this} {
    if constexpr (MayThrow) {
      if (moves_until_throw > 0 && --moves_until_throw == 0) throw std::runtime_error{"on purpose"};
    }
    other.value = -1;
    ++living;
  }
  item& operator=(item&&) = delete;
  ~item() {
    if (std::exchange(self_, nullptr) != this) std::abort();
    --living;
  }

  int value;

 private:
  item* self_;
};
using quiet = item<false>;
using throwing = item<true>;

static_assert(std::ranges::input_range<subscription<int>>);
static_assert(std::movable<subscription<int>> && !std::copyable<subscription<int>>);
static_assert(!std::move_constructible<broadcast<int>>);

std::stop_token stopped_token() {
  std::stop_source stop;
  stop.request_stop();
  return stop.get_token();
}

// Every way to publish that does not wait for ever. They are tried where none may wait: the clock stands still.
template <class Item>
struct publish_form {
  const char* name;
  result<void> (*publish)(broadcast<Item>&, Item&, manual_clock&);
  errc when_full;
  bool stopped = false;
};
template <class Item>
constexpr publish_form<Item> publish_forms[] = {
    {"try_publish", [](broadcast<Item>& b, Item& i, manual_clock&) { return b.try_publish(std::move(i)); }, errc::full},
    {"try_publish_for 0", [](broadcast<Item>& b, Item& i, manual_clock&) { return b.try_publish_for(0ns, std::move(i)); },
     errc::timeout},
    {"try_publish_for less",
     [](broadcast<Item>& b, Item& i, manual_clock&) { return b.try_publish_for(std::chrono::hours::min(), std::move(i)); },
     errc::timeout},
    {"try_publish_until",
     [](broadcast<Item>& b, Item& i, manual_clock&) {
       return b.try_publish_until(std::chrono::steady_clock::time_point{}, std::move(i));
     },
     errc::timeout},
    {"deadline of a clock",
     [](broadcast<Item>& b, Item& i, manual_clock& k) { return b.publish({.deadline = {k.now(), k}}, std::move(i)); },
     errc::timeout},
    {"stopped", [](broadcast<Item>& b, Item& i, manual_clock&) { return b.publish(stopped_token(), std::move(i)); },
     errc::cancelled, true},
    {"async with_timeout",
     [](broadcast<Item>& b, Item& i, manual_clock& k) {
       return spawn(b.async_publish(std::move(i)) | with_timeout(0ns, k)).result();
     },
     errc::timeout},
    {"async stopped",
     [](broadcast<Item>& b, Item& i, manual_clock&) {
       return spawn(b.async_publish(std::move(i)) | with_stop(stopped_token())).result();
     },
     errc::cancelled, true},
};

struct pop_form {
  const char* name;
  result<int> (*pop)(subscription<int>&, manual_clock&);
  errc when_empty;
  bool stopped = false;
};
constexpr pop_form pop_forms[] = {
    {"try_pop", [](subscription<int>& s, manual_clock&) { return s.try_pop(); }, errc::empty},
    {"try_pop_for 0", [](subscription<int>& s, manual_clock&) { return s.try_pop_for(0ns); }, errc::timeout},
    {"try_pop_for less", [](subscription<int>& s, manual_clock&) { return s.try_pop_for(std::chrono::hours::min()); },
     errc::timeout},
    {"try_pop_until",
     [](subscription<int>& s, manual_clock&) { return s.try_pop_until(std::chrono::steady_clock::time_point{}); }, errc::timeout},
    {"deadline of a clock", [](subscription<int>& s, manual_clock& k) { return s.pop({.deadline = {k.now(), k}}); },
     errc::timeout},
    {"stopped", [](subscription<int>& s, manual_clock&) { return s.pop(stopped_token()); }, errc::cancelled, true},
    {"stopped, with a deadline",
     [](subscription<int>& s, manual_clock& k) { return s.pop({.stop = stopped_token(), .deadline = {k.now(), k}}); },
     errc::cancelled, true},
    {"async with_timeout",
     [](subscription<int>& s, manual_clock& k) { return spawn(s.async_pop() | with_timeout(0ns, k)).result(); }, errc::timeout},
    {"async with_deadline",
     [](subscription<int>& s, manual_clock& k) { return spawn(s.async_pop() | with_deadline({k.now() - 1ns, k})).result(); },
     errc::timeout},
    {"async stopped",
     [](subscription<int>& s, manual_clock&) { return spawn(s.async_pop() | with_stop(stopped_token())).result(); },
     errc::cancelled, true},
};

std::vector<int> rest(subscription<int>& s) {
  std::vector<int> items;
  for (auto r = s.try_pop(); r; r = s.try_pop()) items.push_back(*r);
  return items;
}

}  // namespace

TEST_CASE("broadcast: a subscriber sees what is published after it subscribed, and others do not disturb it", "[broadcast]") {
  broadcast<int> b{4};
  CHECK(b.capacity() == 4);
  CHECK(b.publish(0));  // to nobody
  auto first = b.subscribe();
  CHECK(b.publish(1));
  auto second = b.subscribe();
  CHECK(b.subscribers() == 2);
  CHECK(b.publish(2));
  CHECK(first.size() == 2);
  CHECK(second.size() == 1);
  CHECK(rest(first) == std::vector{1, 2});
  CHECK(first.empty());
  CHECK(rest(second) == std::vector{2});
  CHECK(first.try_pop().error() == errc::empty);
  const int kept = 3;
  CHECK(b.publish(kept));
  CHECK(b.try_publish(4));
  CHECK(rest(first) == std::vector{3, 4});
  CHECK(rest(second) == std::vector{3, 4});
}

TEMPLATE_TEST_CASE("broadcast: a publication that fails leaves its item with the caller, whatever the form",
                   "[broadcast][hazard-30]", quiet, throwing) {
  manual_clock clock;
  for (const auto& form : publish_forms<TestType>) {
    INFO(form.name);
    {
      broadcast<TestType> b{2};
      auto s = b.subscribe();
      CHECK(b.publish(TestType{1}));
      CHECK(b.publish(TestType{2}));
      TestType mine{7};
      CHECK(form.publish(b, mine, clock) == form.when_full);
      CHECK(mine.value == 7);

      CHECK(s.pop()->value == 1);
      if (form.stopped) {
        CHECK(form.publish(b, mine, clock) == errc::cancelled);
        CHECK(mine.value == 7);
      } else {
        CHECK(form.publish(b, mine, clock));
        CHECK(mine.value == -1);
      }
      TestType late{8};
      b.close();
      CHECK(form.publish(b, late, clock) == (form.stopped ? errc::cancelled : errc::closed));
      CHECK(late.value == 8);

      const broadcast_stats told = b.stats();
      CHECK(told.published == (form.stopped ? 2 : 3));
      CHECK(told.refused.full == (form.when_full == errc::full ? 1 : 0));
      CHECK(told.refused.timeout == (form.when_full == errc::timeout ? 1 : 0));
      CHECK(told.refused.cancelled == (form.stopped ? 3 : 0));
      CHECK(told.refused.closed == (form.stopped ? 0 : 1));
      CHECK(told.refused.total() == (form.stopped ? 3 : 2));
    }
    CHECK(TestType::living == 0);
  }
}

TEST_CASE("broadcast: a pop that fails says why, whatever the form", "[broadcast]") {
  manual_clock clock;
  for (const auto& form : pop_forms) {
    INFO(form.name);
    broadcast<int> b{2};
    auto s = b.subscribe();
    CHECK(form.pop(s, clock).error() == form.when_empty);
    CHECK(b.publish(1));
    CHECK(b.publish(2));
    if (form.stopped) {
      CHECK(form.pop(s, clock).error() == errc::cancelled);
      CHECK(s.size() == 2);
      CHECK(s.pop() == 1);
    } else {
      CHECK(form.pop(s, clock) == 1);
    }
    b.close();
    if (!form.stopped) CHECK(form.pop(s, clock) == 2);
    if (form.stopped) CHECK(s.pop() == 2);
    CHECK(form.pop(s, clock).error() == (form.stopped ? errc::cancelled : errc::closed));
  }
}

TEST_CASE("broadcast: a capacity that cannot be is refused", "[broadcast][hazard-27]") {
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  for (const std::size_t capacity : {std::size_t{0}, most, most / 2 + 1, most / 8})
    CHECK_THROWS_AS(broadcast<int>{capacity}, std::invalid_argument);
}

TEST_CASE("broadcast: without subscribers an item is gone when publish() returns", "[broadcast]") {
  for (const auto policy : {slow_subscriber::wait, slow_subscriber::lose_oldest, slow_subscriber::disconnect}) {
    broadcast<quiet> b{1, {.when_slow = policy}};
    quiet mine{1};
    for (int i = 0; i < 3; ++i) CHECK(b.try_publish(std::move(mine)));
    CHECK(mine.value == -1);
    CHECK(quiet::living == 1);
    {
      auto s = b.subscribe();
      CHECK(s.try_pop().error() == errc::empty);
      CHECK(b.publish(quiet{2}));
      CHECK(s.pop()->value == 2);
    }
    CHECK(b.try_publish(quiet{3}));
    CHECK(quiet::living == 1);
    CHECK(b.stats().published == 5);
    CHECK(b.stats().unheard == 4);
  }
}

TEST_CASE("broadcast: the slowest subscriber holds a publishing thread back until it pops", "[broadcast]") {
  broadcast<int> b{2};
  auto fast = b.subscribe();
  auto slow = b.subscribe();
  CHECK(b.publish(1));
  CHECK(b.publish(2));
  CHECK(rest(fast) == std::vector{1, 2});
  CHECK(b.try_publish(3).error() == errc::full);
  std::atomic<bool> published{false};
  std::jthread publisher{[&] {
    if (b.publish(3)) published = true;
  }};
  until([&] { return b.waiting_publishers() == 1; });
  CHECK(fast.try_pop().error() == errc::empty);
  CHECK_FALSE(published);
  CHECK(slow.pop() == 1);
  until([&] { return published.load(); });
  CHECK(fast.pop() == 3);
}

TEST_CASE("broadcast: a subscriber that goes away releases what it held back", "[broadcast]") {
  for (const bool by_assignment : {false, true}) {
    broadcast<quiet> b{2};
    auto fast = b.subscribe();
    std::optional<subscription<quiet>> slow{b.subscribe()};
    CHECK(b.publish(quiet{1}));
    CHECK(b.publish(quiet{2}));
    CHECK(fast.pop()->value == 1);
    CHECK(fast.pop()->value == 2);
    CHECK(quiet::living == 2);
    quiet third{3};
    quiet fourth{4};
    auto waiting = spawn(b.async_publish(std::move(third)));
    auto behind = spawn(b.async_publish(std::move(fourth)));
    CHECK_FALSE(waiting.done());
    if (by_assignment) {
      *slow = b.subscribe();
    } else {
      slow.reset();
    }
    CHECK(waiting.done());
    CHECK(behind.done());
    CHECK(waiting.result());
    CHECK(behind.result());
    CHECK(fast.pop()->value == 3);
    CHECK(fast.pop()->value == 4);
    if (by_assignment) {
      CHECK(slow->pop()->value == 3);
      CHECK(slow->pop()->value == 4);
    }
    CHECK(quiet::living == 2);  // the two that were moved from
  }
  CHECK(quiet::living == 0);
}

TEST_CASE("broadcast: when the last subscriber goes away every publisher goes on", "[broadcast]") {
  broadcast<int> b{1};
  std::optional<subscription<int>> s{b.subscribe()};
  CHECK(b.publish(1));
  std::array<int, 3> items{2, 3, 4};
  std::vector<spawned<result<void>>> waiting;
  for (int& i : items) waiting.push_back(spawn(b.async_publish(std::move(i))));
  CHECK_FALSE(waiting[0].done());
  s.reset();
  for (auto& w : waiting) {
    CHECK(w.done());
    CHECK(w.result());
  }
}

TEST_CASE("broadcast: publishers in line go on in their order, one for each place", "[broadcast]") {
  broadcast<int> b{2};
  auto s = b.subscribe();
  CHECK(b.publish(1));
  CHECK(b.publish(2));
  std::array<int, 3> items{3, 4, 5};
  std::vector<spawned<result<void>>> waiting;
  for (int& i : items) waiting.push_back(spawn(b.async_publish(std::move(i))));
  CHECK(s.pop() == 1);
  CHECK(waiting[0].done());
  CHECK_FALSE(waiting[1].done());
  CHECK(rest(s) == std::vector{2, 3, 4, 5});
  for (auto& w : waiting) CHECK(w.result());
}

TEST_CASE("broadcast: a publisher that times out or is stopped in line keeps its item, and those behind it go on",
          "[broadcast][hazard-02]") {
  manual_clock clock;
  broadcast<quiet> b{1};
  auto s = b.subscribe();
  CHECK(b.publish(quiet{1}));
  quiet two{2};
  quiet three{3};
  quiet four{4};
  std::stop_source stop;
  auto timed = spawn(b.async_publish(std::move(two)) | with_timeout(10ms, clock));
  auto stopped = spawn(b.async_publish(std::move(three)) | with_stop(stop.get_token()));
  auto behind = spawn(b.async_publish(std::move(four)));
  clock.advance(9ms);
  CHECK_FALSE(timed.done());
  clock.advance(1ms);
  CHECK(timed.result().error() == errc::timeout);
  stop.request_stop();
  CHECK(stopped.result().error() == errc::cancelled);
  CHECK(two.value == 2);
  CHECK(three.value == 3);
  CHECK(s.pop()->value == 1);
  CHECK(behind.result());
  CHECK(s.pop()->value == 4);
}

TEST_CASE("broadcast: a publisher that was called, overtaken and stopped leaves the room to the next one",
          "[broadcast][hazard-01]") {
  manual_executor loop;
  broadcast<int> b{1};
  auto s = b.subscribe();
  CHECK(b.publish(1));
  int two = 2;
  int three = 3;
  std::stop_source stop;
  auto first = spawn(loop, b.async_publish(std::move(two)) | with_stop(stop.get_token()));
  auto second = spawn(b.async_publish(std::move(three)));
  loop.run_all();
  // In this order: second, first. So the one on the loop is called when the other one has gone.
  CHECK(s.pop() == 1);
  CHECK(second.done());
  CHECK(s.pop() == 3);      // calls the first
  CHECK(b.try_publish(4));  // and somebody is quicker
  auto third = spawn(b.async_publish(std::move(three)));
  stop.request_stop();
  loop.run_all();
  CHECK(first.result().error() == errc::cancelled);
  CHECK_FALSE(third.done());
  CHECK(s.pop() == 4);
  CHECK(third.result());
  CHECK(s.pop() == 3);
}

TEST_CASE("broadcast: who is too slow loses the oldest items and is told how many", "[broadcast]") {
  broadcast<int> b{3, {.when_slow = slow_subscriber::lose_oldest}};
  auto slow = b.subscribe();
  auto fast = b.subscribe();
  for (int i = 0; i < 10; ++i) {
    CHECK(b.try_publish(i));
    CHECK(fast.pop() == i);
  }
  CHECK(slow.size() == 10);
  CHECK(slow.pop().error() == errc::lagged);
  CHECK(slow.lost() == 7);
  CHECK(slow.pop() == 7);
  CHECK(b.publish(10));
  CHECK(b.publish(11));
  CHECK(slow.pop().error() == errc::lagged);
  CHECK(slow.lost() == 1);
  CHECK(slow.total_lost() == 8);
  CHECK(rest(slow) == std::vector{9, 10, 11});
  CHECK(rest(fast) == std::vector{10, 11});
  CHECK(fast.total_lost() == 0);
  const broadcast_stats told = b.stats();
  CHECK(told.subscribers == 2);
  CHECK(told.capacity == 3);
  CHECK(told.published == 12);
  CHECK(told.unheard == 0);
  CHECK(told.lost == 8);
  CHECK(told.disconnected == 0);
}

TEST_CASE("broadcast: a loop over a subscription passes over what was lost", "[broadcast]") {
  broadcast<int> b{2, {.when_slow = slow_subscriber::lose_oldest}};
  auto s = b.subscribe();
  for (int i = 0; i < 5; ++i) CHECK(b.publish(i));
  b.close();
  std::vector<int> seen;
  for (const int i : s) seen.push_back(i);
  CHECK(seen == std::vector{3, 4});
  CHECK(s.total_lost() == 3);
}

TEST_CASE("broadcast: a coroutine that was woken and overtaken before it ran is told of it", "[broadcast]") {
  manual_executor loop;
  broadcast<int> b{2, {.when_slow = slow_subscriber::lose_oldest}};
  auto s = b.subscribe();
  auto popping = spawn(loop, s.async_pop());
  loop.run_all();
  for (int i = 0; i < 3; ++i) CHECK(b.publish(i));
  loop.run_all();
  CHECK(popping.result().error() == errc::lagged);
  CHECK(s.lost() == 1);
  CHECK(rest(s) == std::vector{1, 2});
}

TEST_CASE("broadcast: who is too slow is disconnected, for good, and nobody else", "[broadcast]") {
  broadcast<quiet> b{2, {.when_slow = slow_subscriber::disconnect}};
  {
    auto slow = b.subscribe();
    auto fast = b.subscribe();
    for (int i = 0; i < 3; ++i) {
      CHECK(b.try_publish(quiet{i}));
      CHECK(fast.pop()->value == i);
    }
    CHECK(slow.pop().error() == errc::disconnected);
    CHECK(slow.lost() == 1);
    CHECK(b.subscribers() == 1);
    CHECK(b.stats().lost == 1);
    CHECK(b.stats().disconnected == 1);
    CHECK(quiet::living == 0);
    CHECK(slow.try_pop().error() == errc::disconnected);
    CHECK(spawn(slow.async_pop()).result().error() == errc::disconnected);
    CHECK(slow.begin() == slow.end());
    CHECK(b.publish(quiet{3}));
    CHECK(fast.pop()->value == 3);
    slow = b.subscribe();  // may begin anew
    CHECK(b.publish(quiet{4}));
    CHECK(slow.pop()->value == 4);
    CHECK(slow.lost() == 0);
  }
  CHECK(quiet::living == 0);
}

TEST_CASE("broadcast: closing lets in nothing more, drains, and then says why", "[broadcast][hazard-08]") {
  broadcast<int> b{4};
  auto s = b.subscribe();
  auto drained = b.subscribe();
  auto waiting = spawn(drained.async_pop());
  CHECK(b.publish(1));
  CHECK(waiting.result() == 1);
  auto last = spawn(drained.async_pop());
  CHECK_FALSE(b.is_closed());
  b.close(std::make_error_code(std::errc::network_down));
  b.close();  // only the first counts
  CHECK(b.is_closed());
  CHECK(last.result().error() == std::errc::network_down);
  CHECK(b.publish(2).error() == errc::closed);
  CHECK(s.pop() == 1);
  CHECK(s.pop().error() == std::errc::network_down);
  CHECK(s.pop().error() == std::errc::network_down);
  auto late = b.subscribe();
  CHECK(late.pop().error() == std::errc::network_down);
}

TEST_CASE("broadcast: closing ends the waits of threads and of publishers", "[broadcast][hazard-08]") {
  broadcast<quiet> b{1};
  auto slow = b.subscribe();
  auto s = b.subscribe();
  CHECK(b.publish(quiet{1}));
  CHECK(s.pop()->value == 1);
  std::atomic<int> ended{0};
  {
    std::jthread reader{[&] {
      if (s.pop().error() == errc::closed) ++ended;
    }};
    std::jthread publisher{[&] {
      quiet mine{2};
      if (b.publish(std::move(mine)).error() == errc::closed && mine.value == 2) ++ended;
    }};
    quiet third{3};
    auto waiting = spawn(b.async_publish(std::move(third)));
    b.close();
    CHECK(waiting.result().error() == errc::closed);
    CHECK(third.value == 3);
  }
  CHECK(ended == 2);
  CHECK(slow.pop()->value == 1);
  CHECK(slow.pop().error() == errc::closed);
}

TEST_CASE("broadcast: a wait for an item ends when it is stopped or times out, and loses nothing", "[broadcast][hazard-04]") {
  manual_clock clock;
  broadcast<int> b{2};
  auto s = b.subscribe();
  auto timed = spawn(s.async_pop() | with_timeout(10ms, clock));
  clock.advance(9ms);
  CHECK_FALSE(timed.done());
  clock.advance(1ms);
  CHECK(timed.result().error() == errc::timeout);
  std::stop_source stop;
  std::atomic<bool> cancelled{false};
  {
    std::jthread waiting{[&] { cancelled = s.pop(stop.get_token()).error() == errc::cancelled; }};
    stop.request_stop();
  }
  CHECK(cancelled);
  {
    auto waiting = spawn(s.async_pop());
    waiting.request_stop();
    CHECK(waiting.result().error() == errc::cancelled);
  }
  CHECK(b.publish(1));
  CHECK(s.pop() == 1);
}

TEST_CASE("broadcast: an item that was there in time is popped although the wait is stopped later", "[broadcast][hazard-04]") {
  manual_executor loop;
  broadcast<int> b{2};
  auto s = b.subscribe();
  std::stop_source stop;
  auto popping = spawn(loop, s.async_pop() | with_stop(stop.get_token()));
  loop.run_all();
  CHECK(b.publish(1));
  stop.request_stop();
  loop.run_all();
  CHECK(popping.result() == 1);
}

TEST_CASE("broadcast: a copy that throws takes nothing", "[broadcast]") {
  for (const auto policy : {slow_subscriber::wait, slow_subscriber::lose_oldest}) {
    broadcast<quiet> b{1, {.when_slow = policy}};
    auto s = b.subscribe();
    auto other = b.subscribe();
    quiet::copies_until_throw = 0;
    CHECK(b.publish(quiet{1}));
    quiet::copies_until_throw = 1;
    CHECK_THROWS_AS(s.pop(), std::runtime_error);
    quiet::copies_until_throw = 1;
    CHECK_THROWS_AS(spawn(s.async_pop()).result(), std::runtime_error);
    CHECK(s.size() == 1);
    CHECK(s.pop()->value == 1);
    CHECK(other.pop()->value == 1);
    CHECK(b.publish(quiet{2}));  // the place is free, and not pinned
    CHECK(s.pop()->value == 2);
    CHECK(other.pop()->value == 2);
  }
  CHECK(quiet::living == 0);
}

TEST_CASE("broadcast: a move that throws publishes nothing, and the room is the next one's", "[broadcast]") {
  broadcast<throwing> b{1};
  auto s = b.subscribe();
  throwing one{1};
  throwing::moves_until_throw = 1;
  CHECK_THROWS_AS(b.publish(std::move(one)), std::runtime_error);
  CHECK(one.value == 1);
  CHECK(s.try_pop().error() == errc::empty);
  CHECK(b.publish(std::move(one)));
  throwing two{2};
  throwing three{3};
  auto unlucky = spawn(b.async_publish(std::move(two)));
  auto next = spawn(b.async_publish(std::move(three)));
  throwing::moves_until_throw = 1;  // who reads alone copies an item of this kind
  const result<throwing> first = s.pop();
  CHECK(first->value == 1);
  CHECK_THROWS_AS(unlucky.result(), std::runtime_error);
  CHECK(two.value == 2);
  CHECK(next.result());
  CHECK(s.pop()->value == 3);

  broadcast<throwing> unheard{1};
  throwing four{4};
  throwing::moves_until_throw = 1;
  CHECK_THROWS_AS(unheard.publish(std::move(four)), std::runtime_error);
  CHECK(unheard.publish(std::move(four)));
  CHECK(unheard.stats().published == 1);
  CHECK(unheard.stats().unheard == 1);
}

TEST_CASE("broadcast: an item is stored once, copied for all readers but the last, and destroyed when all have it",
          "[broadcast][hazard-28][hazard-30]") {
  for (const auto policy : {slow_subscriber::wait, slow_subscriber::lose_oldest, slow_subscriber::disconnect}) {
    broadcast<quiet> b{2, {.when_slow = policy}};
    auto first = b.subscribe();
    auto second = b.subscribe();
    auto third = b.subscribe();
    quiet::copies = 0;
    CHECK(b.publish(quiet{1}));
    CHECK(quiet::copies == 0);
    CHECK(first.pop()->value == 1);
    CHECK(third.pop()->value == 1);
    CHECK(quiet::copies == 2);
    CHECK(quiet::living == 1);
    CHECK(second.pop()->value == 1);
    CHECK(quiet::copies == 2);
    CHECK(quiet::living == 0);
  }
}

TEST_CASE("broadcast: what was not read is destroyed with the last subscription", "[broadcast][hazard-30]") {
  for (const auto policy : {slow_subscriber::wait, slow_subscriber::lose_oldest, slow_subscriber::disconnect}) {
    broadcast<quiet> b{3, {.when_slow = policy}};
    {
      auto first = b.subscribe();
      auto second = b.subscribe();
      for (int i = 0; i < 3; ++i) CHECK(b.publish(quiet{i}));
      CHECK(first.pop()->value == 0);
      if (policy != slow_subscriber::wait) CHECK(b.publish(quiet{3}));
      CHECK(quiet::living == 3);
    }
    CHECK(quiet::living == 0);
  }
}

namespace {

// Publishes once more when it is destroyed unread or read: what would deadlock if it were destroyed under a lock, or in a publisher's turn.
struct chatty {
  explicit chatty(std::function<void()> f) : last_words{std::move(f)} {}
  chatty(const chatty&) = default;
  chatty(chatty&& other) noexcept : last_words{std::exchange(other.last_words, nullptr)} {}
  ~chatty() {
    if (last_words) last_words();
  }
  std::function<void()> last_words;
};

}  // namespace

TEST_CASE("broadcast: the destructor of an item may use the broadcast", "[broadcast][hazard-17]") {
  // What two have read.
  for (const auto policy : {slow_subscriber::wait, slow_subscriber::lose_oldest}) {
    broadcast<chatty> b{1, {.when_slow = policy}};
    int said = 0;
    auto first = b.subscribe();
    auto second = b.subscribe();
    CHECK(b.publish(chatty{[&] {
      if (++said == 2) CHECK(b.try_publish(chatty{nullptr}));
    }}));
    static_cast<void>(first.pop());
    static_cast<void>(second.pop());
    CHECK(said == 2);  // each its copy; the last one got the item itself
  }
  for (const auto policy : {slow_subscriber::wait, slow_subscriber::lose_oldest}) {
    broadcast<chatty> b{1, {.when_slow = policy}};
    int said = 0;
    std::optional<subscription<chatty>> s{b.subscribe()};
    const auto say = [&] {
      ++said;
      CHECK(b.try_publish(chatty{nullptr}));
    };
    CHECK(b.publish(chatty{say}));
    if (policy == slow_subscriber::lose_oldest) {
      CHECK(b.publish(chatty{nullptr}));  // evicts it
      CHECK(said == 1);
      CHECK(s->pop().error() == errc::lagged);
      CHECK(s->lost() == 2);
      CHECK(b.publish(chatty{say}));
      CHECK(said == 1);
    }
    const int before = said;
    s.reset();  // passes it unread
    CHECK(said == before + 1);
    CHECK(b.publish(chatty{say}));  // to nobody
    CHECK(said == before + 2);
  }
}

namespace {

struct alignas(128) wide {
  explicit wide(int v) noexcept : value{v} {}
  wide(const wide& other) noexcept
      : value{other.value}, aligned{other.aligned && reinterpret_cast<std::uintptr_t>(this) % alignof(wide) == 0} {}
  int value;
  bool aligned = true;
};
template <class T>
concept poppable_by_coroutines = requires(subscription<T>& s) { s.async_pop(); };
static_assert(poppable_by_coroutines<std::max_align_t>);
static_assert(!poppable_by_coroutines<wide>);

}  // namespace

TEST_CASE("broadcast: items lie as their type wants it", "[broadcast]") {
  broadcast<wide> b{3};
  auto s = b.subscribe();
  auto other = b.subscribe();
  for (int i = 0; i < 7; ++i) {
    CHECK(b.publish(wide{i}));
    for (auto* reader : {&s, &other}) {
      const result<wide> out = reader->pop();
      CHECK(out->value == i);
      CHECK(out->aligned);
    }
  }
}

TEST_CASE("broadcast: a subscription that is moved goes on where it was", "[broadcast]") {
  broadcast<int> b{4};
  auto s = b.subscribe();
  for (int i = 0; i < 3; ++i) CHECK(b.publish(i));
  CHECK(s.pop() == 0);
  subscription<int> moved{std::move(s)};
  CHECK(s.size() == 0);
  CHECK(s.empty());
  CHECK(moved.size() == 2);
  CHECK(b.subscribers() == 1);
  CHECK(moved.pop() == 1);
  auto third = b.subscribe();
  third = std::move(moved);
  CHECK(b.subscribers() == 1);
  CHECK(third.pop() == 2);
  auto& itself = third;
  third = std::move(itself);
  CHECK(b.publish(3));
  CHECK(third.pop() == 3);
}

TEST_CASE("broadcast: big items are shared and not copied", "[broadcast]") {
  broadcast<std::shared_ptr<const std::string>> b{4};
  auto first = b.subscribe();
  auto second = b.subscribe();
  auto text = std::make_shared<const std::string>("long");
  CHECK(b.publish(text));
  CHECK(first.pop()->get() == text.get());
  CHECK(second.pop()->get() == text.get());
  CHECK(text.use_count() == 1);
}

namespace {

constexpr int each = 500;

task<> publish_all(broadcast<int>& b, int from) {
  for (int i = 0; i < each; ++i) {
    int value = from * each + i;
    const result<void> r = co_await b.async_publish(std::move(value));
    if (!r) break;
  }
}
task<> pop_all(subscription<int> s, std::vector<int>& seen) {
  for (;;) {
    const result<int> r = co_await s.async_pop();
    if (!r) break;
    seen.push_back(*r);
  }
}

}  // namespace

TEST_CASE("broadcast: threads and coroutines publish and pop beside each other, in one order for all", "[broadcast]") {
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{3}, std::size_t{64}}) {
    broadcast<int> b{capacity};
    std::array<std::vector<int>, 4> seen;
    {
      std::vector<spawned<void>> popping;
      std::vector<std::jthread> readers;
      for (std::size_t i = 0; i < 2; ++i) {
        popping.push_back(spawn(pop_all(b.subscribe(), seen[i])));
        readers.emplace_back([s = b.subscribe(), &mine = seen[2 + i]]() mutable {
          for (const int item : s) mine.push_back(item);
        });
      }
      {
        auto coroutine = spawn(publish_all(b, 0));
        std::jthread thread{[&] {
          for (int i = 0; i < each; ++i) {
            if (!b.publish(each + i)) return;
          }
        }};
        coroutine.wait();
      }
      b.close();
      for (auto& p : popping) p.wait();
    }
    for (const auto& mine : seen) {
      CHECK(mine.size() == 2 * each);
      CHECK(mine == seen[0]);
    }
    int last[2] = {-1, each - 1};
    for (const int item : seen[0]) CHECK(std::exchange(last[item / each], item) == item - 1);
  }
}
