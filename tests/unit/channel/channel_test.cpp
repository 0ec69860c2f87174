#include <penstock/channel/channel.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/counting_new.hpp"
#include "../../support/until.hpp"
#include "item.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using channel_testing::quiet;
using channel_testing::throwing;
using test_support::until;

static_assert(std::ranges::input_range<channel<int>>);
static_assert(!std::ranges::forward_range<channel<int>>);
static_assert(!std::copy_constructible<channel<int>> && !std::move_constructible<channel<int>>);

constexpr auto no_timer = manual_clock::time_point::max();

std::stop_token stopped_token() {
  std::stop_source stop;
  stop.request_stop();
  return stop.get_token();
}

template <class Item>
void fill(channel<Item>& c, int first = 0) {
  for (std::size_t n = c.size(); n < c.capacity(); ++n) REQUIRE(c.push(Item{first++}));
}

// Every way to push that does not wait for ever. They are tried where none may wait: the clock stands still.
template <class Item>
struct push_form {
  const char* name;
  result<void> (*push)(channel<Item>&, Item&, manual_clock&);
  errc when_full;
  bool stopped = false;
};
template <class Item>
constexpr push_form<Item> push_forms[] = {
    {"try_push", [](channel<Item>& c, Item& i, manual_clock&) { return c.try_push(std::move(i)); }, errc::full},
    {"try_push_for 0", [](channel<Item>& c, Item& i, manual_clock&) { return c.try_push_for(0ns, std::move(i)); }, errc::timeout},
    {"try_push_for less",
     [](channel<Item>& c, Item& i, manual_clock&) { return c.try_push_for(std::chrono::hours::min(), std::move(i)); },
     errc::timeout},
    {"try_push_until",
     [](channel<Item>& c, Item& i, manual_clock&) {
       return c.try_push_until(std::chrono::steady_clock::time_point{}, std::move(i));
     },
     errc::timeout},
    {"deadline of a clock",
     [](channel<Item>& c, Item& i, manual_clock& k) { return c.push({.deadline = {k.now(), k}}, std::move(i)); }, errc::timeout},
    {"stopped", [](channel<Item>& c, Item& i, manual_clock&) { return c.push(stopped_token(), std::move(i)); }, errc::cancelled,
     true},
    {"stopped, with a deadline",
     [](channel<Item>& c, Item& i, manual_clock& k) {
       return c.push({.stop = stopped_token(), .deadline = {k.now(), k}}, std::move(i));
     },
     errc::cancelled, true},
    {"async with_timeout",
     [](channel<Item>& c, Item& i, manual_clock& k) { return spawn(c.async_push(std::move(i)) | with_timeout(0ns, k)).result(); },
     errc::timeout},
    {"async with_deadline",
     [](channel<Item>& c, Item& i, manual_clock& k) {
       return spawn(c.async_push(std::move(i)) | with_deadline({k.now() - 1ns, k})).result();
     },
     errc::timeout},
    {"async stopped",
     [](channel<Item>& c, Item& i, manual_clock&) {
       return spawn(c.async_push(std::move(i)) | with_stop(stopped_token())).result();
     },
     errc::cancelled, true},
};

template <class Item>
struct pop_form {
  const char* name;
  result<Item> (*pop)(channel<Item>&, manual_clock&);
  errc when_empty;
  bool stopped = false;
};
template <class Item>
constexpr pop_form<Item> pop_forms[] = {
    {"try_pop", [](channel<Item>& c, manual_clock&) { return c.try_pop(); }, errc::empty},
    {"try_pop_for 0", [](channel<Item>& c, manual_clock&) { return c.try_pop_for(0ns); }, errc::timeout},
    {"try_pop_for less", [](channel<Item>& c, manual_clock&) { return c.try_pop_for(std::chrono::hours::min()); }, errc::timeout},
    {"try_pop_until", [](channel<Item>& c, manual_clock&) { return c.try_pop_until(std::chrono::steady_clock::time_point{}); },
     errc::timeout},
    {"deadline of a clock", [](channel<Item>& c, manual_clock& k) { return c.pop({.deadline = {k.now(), k}}); }, errc::timeout},
    {"stopped", [](channel<Item>& c, manual_clock&) { return c.pop(stopped_token()); }, errc::cancelled, true},
    {"stopped, with a deadline",
     [](channel<Item>& c, manual_clock& k) { return c.pop({.stop = stopped_token(), .deadline = {k.now(), k}}); },
     errc::cancelled, true},
    {"async with_timeout", [](channel<Item>& c, manual_clock& k) { return spawn(c.async_pop() | with_timeout(0ns, k)).result(); },
     errc::timeout},
    {"async with_deadline",
     [](channel<Item>& c, manual_clock& k) { return spawn(c.async_pop() | with_deadline({k.now() - 1ns, k})).result(); },
     errc::timeout},
    {"async stopped", [](channel<Item>& c, manual_clock&) { return spawn(c.async_pop() | with_stop(stopped_token())).result(); },
     errc::cancelled, true},
};

}  // namespace

TEMPLATE_TEST_CASE("channel: a push that fails leaves its item with the caller, whatever the form", "[channel][hazard-30]", quiet,
                   throwing) {
  manual_clock clock;
  for (const auto& form : push_forms<TestType>) {
    INFO(form.name);
    {
      channel<TestType> c{2};
      TestType item{7};
      fill(c);
      CHECK(form.push(c, item, clock) == form.when_full);
      CHECK(item.value == 7);
      CHECK(c.size() == 2);

      // What can be had at once is had, even after the deadline; but not by one who was stopped before.
      CHECK(c.pop());
      if (form.stopped) {
        CHECK(form.push(c, item, clock) == errc::cancelled);
        CHECK(item.value == 7);
      } else {
        CHECK(form.push(c, item, clock));
        CHECK(item.value == -1);
      }

      TestType late{8};
      c.close();
      CHECK(form.push(c, late, clock) == (form.stopped ? errc::cancelled : errc::closed));
      CHECK(late.value == 8);
    }
    CHECK(TestType::living == 0);
  }
}

TEMPLATE_TEST_CASE("channel: a pop that fails says why, whatever the form", "[channel]", quiet, throwing) {
  manual_clock clock;
  for (const auto& form : pop_forms<TestType>) {
    INFO(form.name);
    channel<TestType> c{2};
    CHECK(form.pop(c, clock).error() == form.when_empty);
    fill(c, 1);
    const result<TestType> first = form.pop(c, clock);
    if (form.stopped) {
      CHECK(first.error() == errc::cancelled);
      CHECK(c.size() == 2);
      CHECK(c.pop()->value == 1);
    } else {
      CHECK(first->value == 1);
    }
    c.close();
    CHECK(c.size() == 1);
    if (!form.stopped) CHECK(form.pop(c, clock)->value == 2);
    if (form.stopped) CHECK(c.pop()->value == 2);
    CHECK(form.pop(c, clock).error() == (form.stopped ? errc::cancelled : errc::closed));
  }
  CHECK(TestType::living == 0);
}

TEMPLATE_TEST_CASE("channel: holds its capacity and not one more", "[channel]", quiet, throwing) {
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{5}, std::size_t{8}}) {
    channel<TestType> c{capacity};
    int in = 0;
    int out = 0;
    CHECK(c.capacity() == capacity);
    for (std::size_t lap = 0; lap < 2 * capacity + 1; ++lap) {
      REQUIRE(c.empty());
      fill(c, in);
      in += static_cast<int>(capacity);
      REQUIRE(c.size() == capacity);
      REQUIRE(c.try_push(TestType{-2}) == errc::full);
      for (std::size_t n = 0; n < capacity; ++n) REQUIRE(c.pop()->value == out++);
      REQUIRE(c.push(TestType{in++}));
      REQUIRE(c.pop()->value == out++);
    }
  }
  CHECK(TestType::living == 0);
}

TEMPLATE_TEST_CASE("channel: a capacity that cannot be is refused", "[channel][hazard-27]", quiet, throwing) {
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  for (const std::size_t capacity : {std::size_t{0}, most, most / 2 + 1, most / 8})
    CHECK_THROWS_AS(channel<TestType>{capacity}, std::invalid_argument);
}

TEST_CASE("channel: carries what can only be moved, what is copied, and pointers", "[channel]") {
  channel<std::unique_ptr<int>> owners{2};
  CHECK(owners.push(std::make_unique<int>(5)));
  CHECK(**owners.pop() == 5);
  channel<std::string> names{4};
  const std::string name = "a name that is too long to lie inside the string object";
  const std::stop_source stop;
  CHECK(names.push(name));
  CHECK(names.push(stop.get_token(), name));
  CHECK(names.push(wait_limits{}, name));
  CHECK(names.try_push(name));
  CHECK(names.try_push(name) == errc::full);
  for (int i = 0; i < 4; ++i) CHECK(names.pop() == name);
  int target = 0;
  int* pointer = &target;
  channel<int*> pointers{1};
  CHECK(pointers.push(std::move(pointer)));
  auto waiting = spawn(pointers.async_push(std::move(pointer)));
  CHECK(pointers.pop() == &target);
  CHECK(waiting.result());
  CHECK(pointers.pop() == &target);
}

namespace {

struct alignas(128) wide {
  explicit wide(int v) noexcept : value{v} {}
  wide(wide&& other) noexcept
      : value{other.value}, aligned{other.aligned && reinterpret_cast<std::uintptr_t>(this) % alignof(wide) == 0} {}
  int value;
  bool aligned = true;
};

template <class T>
concept poppable_by_coroutines = requires(channel<T>& c) { c.async_pop(); };
static_assert(poppable_by_coroutines<std::max_align_t>);
static_assert(!poppable_by_coroutines<wide>);  // no compiler would align it in a coroutine's frame

}  // namespace

TEST_CASE("channel: items lie as their type wants it, in the channel and in who waits", "[channel]") {
  channel<wide> c{3};
  for (int i = 0; i < 7; ++i) {
    CHECK(c.push(wide{i}));
    const result<wide> out = c.pop();
    CHECK(out->value == i);
    CHECK(out->aligned);
  }
  std::optional<result<wide>> waited;
  std::jthread waiting{[&] { waited.emplace(c.pop()); }};
  wide item{7};
  CHECK(spawn(c.async_push(std::move(item))).result());
  waiting.join();
  CHECK((*waited)->value == 7);
  CHECK((*waited)->aligned);
}

TEMPLATE_TEST_CASE("channel: who waits for an item gets it from the push", "[channel]", quiet, throwing) {
  channel<TestType> c{1};
  SECTION("a coroutine") {
    auto waiting = spawn(c.async_pop());
    CHECK_FALSE(waiting.done());
    CHECK(c.push(TestType{1}));
    REQUIRE(waiting.done());
    CHECK(waiting.result()->value == 1);
  }
  SECTION("a thread") {
    std::optional<result<TestType>> got;
    std::jthread waiting{[&] { got.emplace(c.pop()); }};
    CHECK(c.push(TestType{1}));
    waiting.join();
    CHECK((*got)->value == 1);
  }
  CHECK(c.empty());
}

TEMPLATE_TEST_CASE("channel: who waits for room gets it from the pop", "[channel]", quiet, throwing) {
  channel<TestType> c{1};
  fill(c, 1);
  TestType item{2};
  SECTION("a coroutine") {
    auto waiting = spawn(c.async_push(std::move(item)));
    CHECK_FALSE(waiting.done());
    CHECK(item.value == 2);
    CHECK(c.pop()->value == 1);
    REQUIRE(waiting.done());
    CHECK(waiting.result());
  }
  SECTION("a thread") {
    std::optional<result<void>> pushed;
    std::jthread waiting{[&] { pushed = c.push(std::move(item)); }};
    CHECK(c.pop()->value == 1);
    waiting.join();
    CHECK(*pushed);
  }
  CHECK(item.value == -1);
  CHECK(c.pop()->value == 2);
}

TEST_CASE("channel: coroutines that wait are served in the order of their coming", "[channel]") {
  channel<int> c{1};
  std::vector<spawned<result<int>>> consumers;
  for (int i = 0; i < 4; ++i) consumers.push_back(spawn(c.async_pop()));
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(c.push(static_cast<int>(i)));
    for (std::size_t k = 0; k < 4; ++k) CHECK(consumers[k].done() == (k <= i));
  }
  for (int i = 0; i < 4; ++i) CHECK(consumers[static_cast<std::size_t>(i)].result() == i);

  int items[] = {1, 2, 3};
  CHECK(c.push(0));
  std::vector<spawned<result<void>>> producers;
  for (int& i : items) producers.push_back(spawn(c.async_push(std::move(i))));
  for (int i = 0; i < 4; ++i) CHECK(c.pop() == i);
  for (auto& p : producers) CHECK(p.result());
}

TEST_CASE("channel: a consumer that was woken in vain keeps its place in the line", "[channel]") {
  channel<int> c{2};
  manual_executor loop;
  auto first = spawn(loop, c.async_pop());
  auto second = spawn(loop, c.async_pop());
  loop.run_all();
  CHECK(c.push(1));         // wakes the first ...
  CHECK(c.try_pop() == 1);  // ... for an item that another one takes
  loop.run_all();
  CHECK_FALSE(first.done());
  CHECK(c.push(2));
  loop.run_all();
  CHECK(first.done());
  CHECK_FALSE(second.done());
  CHECK(c.push(3));
  loop.run_all();
  CHECK(first.result() == 2);
  CHECK(second.result() == 3);
}

TEST_CASE("channel: a producer that was woken in vain keeps its place in the line", "[channel]") {
  channel<int> c{1};
  manual_executor loop;
  CHECK(c.push(0));
  int items[] = {1, 2};
  auto first = spawn(loop, c.async_push(std::move(items[0])));
  auto second = spawn(loop, c.async_push(std::move(items[1])));
  loop.run_all();
  CHECK(c.pop() == 0);   // wakes the first ...
  CHECK(c.try_push(9));  // ... for a place that another one takes
  loop.run_all();
  CHECK_FALSE(first.done());
  CHECK(c.pop() == 9);
  loop.run_all();
  CHECK(first.done());
  CHECK(c.pop() == 1);
  loop.run_all();
  CHECK(second.done());
  CHECK(c.pop() == 2);
  CHECK(first.result());
  CHECK(second.result());
}

TEST_CASE("channel: a consumer that is stopped after it was woken neither takes nor strands an item", "[channel][hazard-01]") {
  channel<int> c{2};
  manual_executor loop;
  auto first = spawn(loop, c.async_pop());
  auto second = spawn(loop, c.async_pop());
  loop.run_all();
  SECTION("the item is gone: the stop counts, and the next item is the next one's") {
    CHECK(c.push(1));
    first.request_stop();
    CHECK(c.try_pop() == 1);
    loop.run_all();
    REQUIRE(first.done());
    CHECK(first.result() == errc::cancelled);
    CHECK_FALSE(second.done());
    CHECK(c.push(2));
    loop.run_all();
    CHECK(second.result() == 2);
  }
  SECTION("the item is there: it is taken") {
    CHECK(c.push(1));
    first.request_stop();
    loop.run_all();
    CHECK(first.result() == 1);
    CHECK_FALSE(second.done());
    second.request_stop();
    loop.run_all();
    CHECK(second.result() == errc::cancelled);
  }
  SECTION("stopped while it waits: the item is the next one's") {
    first.request_stop();
    CHECK(c.push(1));
    loop.run_all();
    CHECK(first.result() == errc::cancelled);
    CHECK(second.result() == 1);
  }
  CHECK(c.empty());
}

TEST_CASE("channel: a producer that is stopped after it was woken keeps its item and strands no place", "[channel][hazard-01]") {
  channel<quiet> c{1};
  manual_executor loop;
  fill(c, 0);
  quiet one{1};
  quiet two{2};
  auto first = spawn(loop, c.async_push(std::move(one)));
  auto second = spawn(loop, c.async_push(std::move(two)));
  loop.run_all();
  CHECK(c.pop()->value == 0);
  first.request_stop();
  CHECK(c.try_push(quiet{9}));
  loop.run_all();
  REQUIRE(first.done());
  CHECK(first.result() == errc::cancelled);
  CHECK(one.value == 1);
  CHECK_FALSE(second.done());
  CHECK(c.pop()->value == 9);
  loop.run_all();
  CHECK(second.result());
  CHECK(c.pop()->value == 2);
}

TEMPLATE_TEST_CASE("channel: a wait that is stopped ends with cancelled, and others go on waiting", "[channel]", quiet,
                   throwing) {
  channel<TestType> c{1};
  SECTION("coroutines") {
    auto popper = spawn(c.async_pop());
    auto other = spawn(c.async_pop());
    popper.request_stop();
    CHECK(popper.result().error() == errc::cancelled);
    CHECK(c.push(TestType{1}));
    CHECK(other.result()->value == 1);

    fill(c, 2);
    TestType item{3};
    auto pusher = spawn(c.async_push(std::move(item)));
    pusher.request_stop();
    CHECK(pusher.result() == errc::cancelled);
    CHECK(item.value == 3);
    CHECK(c.pop()->value == 2);
    CHECK(c.empty());
  }
  SECTION("threads") {
    std::stop_source stop;
    std::optional<result<TestType>> popped;
    std::jthread popper{[&] { popped.emplace(c.pop(stop.get_token())); }};
    stop.request_stop();
    popper.join();
    CHECK(popped->error() == errc::cancelled);

    fill(c, 2);
    std::stop_source stop_push;
    TestType item{3};
    std::optional<result<void>> pushed;
    std::jthread pusher{[&] { pushed = c.push(stop_push.get_token(), std::move(item)); }};
    stop_push.request_stop();
    pusher.join();
    CHECK(*pushed == errc::cancelled);
    CHECK(item.value == 3);
    CHECK(c.pop()->value == 2);
  }
}

TEST_CASE("channel: a coroutine gives up at its deadline and not before", "[channel]") {
  manual_clock clock;
  channel<quiet> c{1};
  auto popper = spawn(c.async_pop() | with_timeout(10ms, clock));
  clock.advance(9ms);
  CHECK_FALSE(popper.done());
  clock.advance(1ms);
  REQUIRE(popper.done());
  CHECK(popper.result().error() == errc::timeout);

  fill(c, 1);
  quiet item{2};
  auto pusher = spawn(c.async_push(std::move(item)) | with_deadline({clock.now() + 10ms, clock}));
  clock.advance(10ms - 1ns);
  CHECK_FALSE(pusher.done());
  clock.advance(1ns);
  REQUIRE(pusher.done());
  CHECK(pusher.result() == errc::timeout);
  CHECK(item.value == 2);
  CHECK(clock.next_timer() == no_timer);

  auto in_time = spawn(c.async_push(std::move(item)) | with_timeout(10ms, clock));
  clock.advance(9ms);
  CHECK(c.pop()->value == 1);
  clock.advance(9ms);
  CHECK(in_time.result());
  CHECK(c.pop()->value == 2);
  CHECK(clock.next_timer() == no_timer);
}

TEST_CASE("channel: an item that comes at the deadline is given or stays, and is not lost", "[channel][hazard-04]") {
  manual_clock clock;
  channel<int> c{1};
  manual_executor loop;
  auto popper = spawn(loop, c.async_pop() | with_timeout(10ms, clock));
  loop.run_all();
  SECTION("the item first: it was promised") {
    CHECK(c.push(1));
    clock.advance(10ms);
    loop.run_all();
    CHECK(popper.result() == 1);
  }
  SECTION("the deadline first") {
    clock.advance(10ms);
    CHECK(c.push(1));
    loop.run_all();
    CHECK(popper.result() == errc::timeout);
    CHECK(c.pop() == 1);
  }
  SECTION("a wake in vain does not lengthen the wait") {
    clock.advance(5ms);
    CHECK(c.push(1));
    CHECK(c.try_pop() == 1);
    loop.run_all();
    clock.advance(5ms);
    loop.run_all();
    CHECK(popper.result() == errc::timeout);
  }
  CHECK(c.empty());
}

TEMPLATE_TEST_CASE("channel: a thread gives up at its deadline and not before", "[channel]", quiet, throwing) {
  manual_clock clock;
  channel<TestType> c{1};
  std::atomic<bool> ended{false};
  const wait_limits limits{.deadline = {clock.now() + 10ms, clock}};
  const auto pass_the_deadline = [&](std::jthread& waiting) {
    until([&] { return clock.next_timer() != no_timer; });
    clock.advance(10ms - 1ns);
    CHECK_FALSE(ended);
    clock.advance(1ns);
    waiting.join();
    CHECK(clock.next_timer() == no_timer);
  };
  SECTION("that pops") {
    std::optional<result<TestType>> got;
    std::jthread waiting{[&] {
      got.emplace(c.pop(limits));
      ended = true;
    }};
    pass_the_deadline(waiting);
    CHECK(got->error() == errc::timeout);
  }
  SECTION("that pushes") {
    fill(c, 1);
    TestType item{2};
    std::optional<result<void>> got;
    std::jthread waiting{[&] {
      got = c.push(limits, std::move(item));
      ended = true;
    }};
    pass_the_deadline(waiting);
    CHECK(*got == errc::timeout);
    CHECK(item.value == 2);
    CHECK(c.size() == 1);
  }
}

TEST_CASE("channel: a timeout that overflows means for ever", "[channel][hazard-22]") {
  channel<int> c{1};
  std::optional<result<int>> popped;
  std::jthread popper{[&] { popped = c.try_pop_for(std::chrono::hours::max()); }};
  CHECK(c.push(1));
  popper.join();
  CHECK(*popped == 1);
  CHECK(c.push(2));
  std::optional<result<void>> pushed;
  std::jthread pusher{[&] { pushed = c.try_push_for(std::chrono::nanoseconds::max(), 3); }};
  CHECK(c.pop() == 2);
  pusher.join();
  CHECK(*pushed);
  CHECK(c.pop() == 3);
}

TEMPLATE_TEST_CASE("channel: closing ends every wait for room at once", "[channel]", quiet, throwing) {
  channel<TestType> c{1};
  fill(c, 1);
  TestType items[] = {TestType{2}, TestType{3}, TestType{4}};
  auto coroutine = spawn(c.async_push(std::move(items[0])));
  std::optional<result<void>> got[2];
  std::jthread one{[&] { got[0] = c.push(std::move(items[1])); }};
  std::jthread two{[&] { got[1] = c.push(std::stop_source{}.get_token(), std::move(items[2])); }};
  c.close();
  CHECK(c.is_closed());
  one.join();
  two.join();
  REQUIRE(coroutine.done());
  CHECK(coroutine.result() == errc::closed);
  CHECK(*got[0] == errc::closed);
  CHECK(*got[1] == errc::closed);
  for (int i = 0; i < 3; ++i) CHECK(items[i].value == i + 2);
  CHECK(c.pop()->value == 1);
  CHECK(c.pop().error() == errc::closed);
  c.close();
  CHECK(c.pop().error() == errc::closed);
}

TEMPLATE_TEST_CASE("channel: closing ends every wait for an item when there is none", "[channel]", quiet, throwing) {
  channel<TestType> c{1};
  auto coroutine = spawn(c.async_pop());
  std::optional<result<TestType>> got;
  std::jthread thread{[&] { got.emplace(c.pop()); }};
  c.close();
  thread.join();
  CHECK(got->error() == errc::closed);
  REQUIRE(coroutine.done());
  CHECK(coroutine.result().error() == errc::closed);
}

TEST_CASE("channel: a consumer that was woken for an item still gets it after the channel is closed", "[channel]") {
  channel<int> c{1};
  manual_executor loop;
  auto first = spawn(loop, c.async_pop());
  auto second = spawn(loop, c.async_pop());
  loop.run_all();
  CHECK(c.push(1));
  c.close();
  loop.run_all();
  CHECK(first.result() == 1);
  CHECK(second.result() == errc::closed);
}

TEST_CASE("channel: what a wait leaves behind is destroyed once", "[channel][hazard-30]") {
  {
    channel<quiet> c{3};
    quiet waiting{10};
    {
      fill(c);
      auto dropped = spawn(c.async_push(std::move(waiting)));  // stops and joins when it goes
    }
    CHECK(waiting.value == 10);
    CHECK(quiet::living == 4);
    {
      auto never_awaited = c.async_push(std::move(waiting));
    }
    {
      auto never_awaited = c.async_pop();
    }
    CHECK(quiet::living == 4);
    CHECK(c.pop()->value == 0);
    auto popper = spawn(c.async_pop());  // has its item, which nobody looks at
    CHECK(popper.done());
    CHECK(quiet::living == 3);
  }
  CHECK(quiet::living == 0);
}

TEST_CASE("channel: an item's destructor may use the channel", "[channel][hazard-17]") {
  struct echo {
    channel<echo>* back = nullptr;
    int left = 0;
    echo(channel<echo>* c, int n) noexcept : back{c}, left{n} {}
    echo(echo&& other) noexcept : back{std::exchange(other.back, nullptr)}, left{other.left} {}
    ~echo() {
      if (back != nullptr && left > 0) static_cast<void>(back->try_push(echo{back, left - 1}));
    }
  };
  channel<echo> c{2};
  CHECK(c.push(echo{&c, 2}));
  CHECK(c.pop()->left == 2);
  CHECK(c.pop()->left == 1);
  CHECK(c.pop()->left == 0);
  CHECK(c.try_pop().error() == errc::empty);
}

TEST_CASE("channel: is a range of its items until it is closed and drained", "[channel]") {
  channel<quiet> c{2};
  std::jthread producer{[&] {
    for (int i = 0; i < 100; ++i) {
      if (!c.push(quiet{i})) return;
    }
    c.close();
  }};
  int expected = 0;
  std::vector<quiet> kept;
  kept.reserve(100);
  for (quiet& i : c) {
    CHECK(i.value == expected++);
    if (expected % 2 == 0) kept.push_back(std::move(i));
  }
  CHECK(expected == 100);
  CHECK(kept.size() == 50);
  CHECK(c.begin() == c.end());
  for (quiet& i : c) FAIL_CHECK("an item after the end: " << i.value);
}

TEST_CASE("channel: leaving a loop over it early leaves the other items inside", "[channel]") {
  channel<int> c{8};
  CHECK(c.push_range(std::vector{1, 2, 3, 4, 5}));
  for (const int i : c) {
    if (i == 2) break;
  }
  CHECK(c.size() == 3);
  c.close();
  std::vector<int> rest;
  for (const int i : c | std::views::transform([](int n) { return n * 10; })) rest.push_back(i);
  CHECK(rest == std::vector{30, 40, 50});
}

TEST_CASE("channel: a range goes in as far as there is room, in order, and says how far", "[channel]") {
  manual_clock clock;
  channel<quiet> c{3};
  std::vector<quiet> items;
  items.reserve(5);
  for (int i = 0; i < 5; ++i) items.emplace_back(i);
  SECTION("timed out") {
    const range_result r = c.push_range(items, {.deadline = {clock.now(), clock}});
    CHECK(r.count == 3);
    CHECK(r.error == errc::timeout);
    CHECK_FALSE(r);
    for (int i = 0; i < 3; ++i) CHECK(c.pop()->value == i);
    for (int i = 0; i < 5; ++i) CHECK(items[static_cast<std::size_t>(i)].value == (i < 3 ? -1 : i));
  }
  SECTION("stopped before") {
    const range_result r = c.push_range(items, {.stop = stopped_token()});
    CHECK(r.count == 0);
    CHECK(r.error == errc::cancelled);
    CHECK(c.empty());
    CHECK(items[0].value == 0);
  }
  SECTION("stopped while it waits") {
    std::stop_source stop;
    std::optional<range_result> r;
    std::jthread pusher{[&] { r = c.push_range(items, {.stop = stop.get_token()}); }};
    until([&] { return c.size() == 3; });
    stop.request_stop();
    pusher.join();
    CHECK(r->count == 3);
    CHECK(r->error == errc::cancelled);
    CHECK(items[3].value == 3);
  }
  SECTION("closed while it waits") {
    std::optional<range_result> r;
    std::jthread pusher{[&] { r = c.push_range(items); }};
    until([&] { return c.size() == 3; });
    CHECK(c.pop()->value == 0);
    until([&] { return c.size() == 3; });
    c.close();
    pusher.join();
    CHECK(r->count == 4);
    CHECK(r->error == errc::closed);
    CHECK(items[4].value == 4);
  }
  SECTION("closed before") {
    c.close();
    const range_result r = c.push_range(items);
    CHECK(r.count == 0);
    CHECK(r.error == errc::closed);
  }
  SECTION("as others make room") {
    std::optional<range_result> r;
    std::jthread pusher{[&] { r = c.push_range(items); }};
    for (int i = 0; i < 5; ++i) CHECK(c.pop()->value == i);
    pusher.join();
    CHECK(*r);
    CHECK(r->count == 5);
    CHECK_FALSE(r->error);
  }
  SECTION("nothing of nothing") {
    const range_result r = c.push_range(std::span<quiet>{});
    CHECK(r);
    CHECK(r.count == 0);
  }
}

TEST_CASE("channel: a range wakes as many consumers as it brings items", "[channel]") {
  channel<int> c{8};
  std::vector<spawned<result<int>>> consumers;
  for (int i = 0; i < 4; ++i) consumers.push_back(spawn(c.async_pop()));
  const range_result r = c.push_range(std::array{1, 2, 3});
  CHECK(r.count == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    REQUIRE(consumers[i].done());
    CHECK(consumers[i].result() == static_cast<int>(i) + 1);
  }
  CHECK_FALSE(consumers[3].done());
}

TEST_CASE("channel: nobody sleeps beside an item while a range waits for its next element", "[channel]") {
  channel<int> from{4};
  channel<int> to{4};
  auto first = spawn(to.async_pop());
  range_result moved;
  std::jthread pipe{[&] { moved = to.push_range(from); }};  // waits for `from` between elements
  CHECK(from.push(1));
  until([&] { return first.done(); });
  CHECK(first.result() == 1);
  CHECK(from.push(2));
  from.close();
  pipe.join();
  CHECK(moved.count == 2);
  CHECK(to.pop() == 2);
}

TEST_CASE("channel: a range may be views and temporaries of the item's type", "[channel]") {
  channel<int> c{8};
  const std::vector<int> numbers{1, 2, 3};
  CHECK(c.push_range(numbers | std::views::transform([](int i) { return i * 2; })).count == 3);
  CHECK(c.pop() == 2);
  CHECK(c.pop() == 4);
  CHECK(c.pop() == 6);
}

TEST_CASE("channel: several items come out at once, as many as there are and as many as are wanted", "[channel]") {
  manual_clock clock;
  channel<int> c{8};
  std::vector<int> out;
  CHECK(c.push_range(std::array{1, 2, 3, 4, 5}));
  range_result r = c.pop_n(std::back_inserter(out), 3);
  CHECK(r);
  CHECK(r.count == 3);
  r = c.pop_n(std::back_inserter(out), 0);
  CHECK(r);
  CHECK(r.count == 0);
  r = c.pop_n(std::back_inserter(out), 100);
  CHECK(r);
  CHECK(r.count == 2);
  CHECK(out == std::vector{1, 2, 3, 4, 5});
  r = c.pop_n(std::back_inserter(out), 1, {.deadline = {clock.now(), clock}});
  CHECK(r.count == 0);
  CHECK(r.error == errc::timeout);
  r = c.pop_n(std::back_inserter(out), 1, {.stop = stopped_token()});
  CHECK(r.error == errc::cancelled);
  CHECK(c.push(6));
  c.close();
  CHECK(c.pop_n(std::back_inserter(out), 2).count == 1);
  r = c.pop_n(std::back_inserter(out), 2);
  CHECK(r.count == 0);
  CHECK(r.error == errc::closed);
  CHECK(out.size() == 6);
}

TEST_CASE("channel: taking several items wakes as many producers as it makes room for", "[channel]") {
  channel<int> c{3};
  for (int i = 0; i < 3; ++i) REQUIRE(c.push(i));
  int items[] = {3, 4, 5, 6};
  std::vector<spawned<result<void>>> producers;
  for (int& i : items) producers.push_back(spawn(c.async_push(std::move(i))));
  std::vector<int> out;
  CHECK(c.pop_n(std::back_inserter(out), 2).count == 2);
  CHECK(producers[0].done());
  CHECK(producers[1].done());
  CHECK_FALSE(producers[2].done());
  CHECK(c.pop_n(std::back_inserter(out), 10).count >= 3);
  while (out.size() < 7) CHECK(c.pop_n(std::back_inserter(out), 10));
  for (int i = 0; i < 7; ++i) CHECK(out[static_cast<std::size_t>(i)] == i);
  for (auto& p : producers) CHECK(p.result());
}

namespace {

// Who pushed it, and his how-manieth it is.
struct message {
  std::size_t from = 0;
  int number = 0;
};

constexpr int each = 400;

task<> produce(channel<message>& c, std::size_t from) {
  for (int n = 0; n < each; ++n) {
    message m{from, n};
    if (!co_await c.async_push(std::move(m))) co_return;
  }
}

struct tally {
  explicit tally(std::size_t producers) : arrived(producers, std::vector<int>(each)), last(producers, -1) {}
  void take(const message& m) {
    ++arrived[m.from][static_cast<std::size_t>(m.number)];
    if (m.number <= last[m.from]) in_order = false;
    last[m.from] = m.number;
  }
  std::vector<std::vector<int>> arrived;
  std::vector<int> last;
  bool in_order = true;
};

task<> consume(channel<message>& c, tally& t) {
  for (;;) {
    const result<message> m = co_await c.async_pop();
    if (!m) co_return;
    t.take(*m);
  }
}

}  // namespace

TEST_CASE("channel: threads and coroutines on both ends get each item once, each producer's in its order", "[channel]") {
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{3}, std::size_t{64}}) {
    channel<message> c{capacity};
    std::vector<tally> tallies(4, tally{4});
    {
      std::vector<spawned<void>> consumers;
      std::vector<std::jthread> consuming;
      for (std::size_t i = 0; i < 2; ++i) {
        consumers.push_back(spawn(consume(c, tallies[i])));
        consuming.emplace_back([&c, &t = tallies[2 + i]] {
          for (const message& m : c) t.take(m);
        });
      }
      {
        std::vector<spawned<void>> producers;
        std::vector<std::jthread> producing;
        for (std::size_t i = 0; i < 2; ++i) {
          producing.emplace_back([&c, i] {
            for (int n = 0; n < each; ++n) {
              if (!c.push(message{i, n})) return;
            }
          });
          producers.push_back(spawn(produce(c, 2 + i)));
        }
        for (auto& p : producers) p.wait();
      }
      c.close();
      for (auto& k : consumers) k.wait();
    }
    int once = 0;
    for (std::size_t from = 0; from < 4; ++from) {
      for (std::size_t n = 0; n < each; ++n) {
        int copies = 0;
        for (const tally& t : tallies) copies += t.arrived[from][n];
        once += copies == 1 ? 1 : 0;
      }
    }
    CHECK(once == 4 * each);
    for (const tally& t : tallies) CHECK(t.in_order);
  }
}

TEST_CASE("channel: a chain of coroutines needs no stack for its length", "[channel]") {
  // Each item that comes out lets one in, and so on: resumptions do not nest.
  channel<message> c{1};
  tally t{1};
  auto consumer = spawn(consume(c, t));
  auto producer = spawn(produce(c, 0));
  producer.wait();
  c.close();
  consumer.wait();
  CHECK(t.last[0] == each - 1);
  CHECK(t.in_order);
}

TEST_CASE("channel: allocates when it is made and never again, waiting included", "[channel][hazard-28]") {
  const long before = counting_new::living;
  {
    channel<message> c{16};
    std::atomic<int> popped{0};
    std::jthread consumer{[&] {
      for ([[maybe_unused]] const message& m : c) ++popped;
    }};
    until([&] {  // once around: the thread has begun
      CHECK(c.push(message{}));
      return popped > 0;
    });
    until([&] { return c.empty(); });
    const long made = counting_new::made;
    for (int i = 0; i < 20'000; ++i) {
      if (!c.push(message{0, i})) break;
      if (i % 64 == 0) until([&] { return c.empty(); });  // then it sleeps, now and then
    }
    until([&] { return c.empty(); });
    const long made_meanwhile = counting_new::made - made;
    c.close();
    consumer.join();
    CHECK(made_meanwhile == 0);  // they are not counted under the sanitizers
  }
  CHECK(counting_new::living == before);
}

TEST_CASE("channel: several who are woken in vain go back to their places in line", "[channel][hazard-34]") {
  manual_executor loop;
  channel<int> c{4};
  std::vector<int> order;
  const auto consume = [&](int who) -> task<> {
    const auto got = co_await c.async_pop();
    if (got) order.push_back(who);
  };
  std::vector<spawned<void>> waiting;
  for (int who = 1; who <= 3; ++who) waiting.push_back(spawn(loop, consume(who)));
  loop.run_all();
  REQUIRE(c.waiting_consumers() == 3);
  std::vector<int> two{1, 2};
  REQUIRE(c.push_range(two).count == 2);  // wakes 1 and 2
  REQUIRE(c.try_pop());                   // but somebody is quicker
  REQUIRE(c.try_pop());
  loop.run_all();
  REQUIRE(c.waiting_consumers() == 3);
  for (int i = 0; i < 3; ++i) {
    REQUIRE(c.push(i));
    loop.run_all();
  }
  CHECK(order == std::vector{1, 2, 3});
}

TEST_CASE("channel: pop_n takes what is inside in one step, before it wakes a producer", "[channel]") {
  channel<int> c{2};
  std::vector<int> two{1, 2};
  REQUIRE(c.push_range(two).count == 2);
  int three = 3;
  auto waiting = spawn(c.async_push(std::move(three)));
  std::array<int, 8> out{};
  CHECK(c.pop_n(out.begin(), 8).count == 2);
  CHECK(out[1] == 2);
  CHECK(waiting.done());
  CHECK(c.size() == 1);
}
