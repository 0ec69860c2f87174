#include <penstock/batch/accumulator.hpp>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/recording_tracer.hpp"

using namespace std::chrono_literals;
using penstock::accumulator;
using penstock::errc;
using penstock::result;
using penstock::task;
using penstock::write_failure;

namespace {

using outcomes = std::vector<result<void>>;
using batches = std::vector<std::vector<int>>;
using options = penstock::accumulator_options<int>;

[[gnu::noinline]] std::string failure_of(penstock::future<void>& f) {
  try {
    f.get();
    return "none";
  } catch (const std::exception& e) {
    return e.what();
  }
}
[[gnu::noinline]] std::error_code error_of(penstock::future<void>& f) {
  try {
    f.get();
    return {};
  } catch (const std::system_error& e) {
    return e.code();
  }
}

/// Of a task that does nothing but end when it is asked to stop.
penstock::future<void> future_of_a_task() {
  using state = penstock::detail::future_state<void>;
  static constexpr state::task_functions task{[](state&, penstock::detail::waiter_kind) noexcept {},
                                              [](state& s) noexcept { s.set_error(errc::cancelled); }};
  penstock::detail::state_ref<state> s = penstock::detail::make_future_state<void>();
  s->set_task(task);
  return penstock::future<void>{std::move(s)};
}

/// Moves only, counts its living instances, and its destructor may do something.
struct thing {
  explicit thing(int v) noexcept : value{v} { ++living; }
  thing(thing&& other) noexcept : value{other.value} { ++living; }
  thing& operator=(thing&& other) noexcept = default;
  ~thing() {
    --living;
    if (at_end) at_end();
  }
  int value;
  static inline int living = 0;
  static inline std::function<void()> at_end;
};

/// One type for all functions that are coroutines and give nothing.
using lazy = std::function<task<>(std::span<const thing>)>;

/// An accumulator whose writer runs when the test says so, and does what the test says.
struct bench {
  explicit bench(options o = {})
      : acc{loop, [this](std::span<const int> b, std::stop_token s) { return write(b, std::move(s)); },
            with_clock(std::move(o))} {
    loop.run_all();
  }
  ~bench() {
    acc.abort();
    loop.run_all();
  }
  options with_clock(options o) {
    o.clock = clock;
    if (!o.on_failed) {
      o.on_failed = [this](std::span<int> items, const write_failure& f) {
        failed.emplace_back(items.begin(), items.end());
        why = f;
        why.errors = {};
      };
    }
    return o;
  }
  outcomes write(std::span<const int> b, std::stop_token) {
    written.emplace_back(b.begin(), b.end());
    return act ? act(b) : outcomes(b.size());
  }
  // Out of line, all of these: the test is compiled in half the time.
  [[gnu::noinline]] penstock::future<void> add(int i) { return acc.add(std::move(i)); }
  [[gnu::noinline]] void run() { loop.run_all(); }
  [[gnu::noinline]] void pass(std::chrono::nanoseconds t) {
    clock.advance(t);
    loop.run_all();
  }
  [[gnu::noinline]] void push_all(std::initializer_list<int> items) {
    for (const int i : items) acc.push(i).value();
  }
  [[nodiscard]] std::string account() const {
    const penstock::accumulator_stats s = acc.stats();
    return std::to_string(s.added) + " added, " + std::to_string(s.acknowledged) + " acknowledged, " + std::to_string(s.failed) +
           " failed, " + std::to_string(s.held) + " held";
  }
  [[nodiscard]] bool lawful() const {
    const penstock::accumulator_stats s = acc.stats();
    return s.added == s.acknowledged + s.failed + s.held;
  }

  penstock::manual_executor loop;
  penstock::manual_clock clock;
  batches written;
  batches failed;
  write_failure why;
  std::function<outcomes(std::span<const int>)> act;
  accumulator<int> acc;
};

}  // namespace

TEST_CASE("accumulator: without a delay a batch leaves at once, and the next one grows while it is on its way", "[accumulator]") {
  bench b;
  auto first = b.add(1);
  CHECK(b.loop.size() == 1);
  auto second = b.add(2);  // comes before the writer does, and travels with the first
  CHECK(b.loop.size() == 1);
  b.act = [&](std::span<const int> items) {
    if (items.front() == 1) b.push_all({3, 4});
    return outcomes(items.size());
  };
  CHECK_FALSE(first.is_ready());
  b.run();
  CHECK(b.written == batches{{1, 2}, {3, 4}});
  first.get();
  second.get();
  CHECK(b.account() == "4 added, 4 acknowledged, 0 failed, 0 held");
  CHECK(b.acc.stats().batches == 2);
  CHECK(b.acc.batch_sizes().max() == 2);
  CHECK(b.clock.next_timer() == penstock::manual_clock::time_point::max());
}

TEST_CASE("accumulator: a batch is full by items or by bytes, and what is heavier than a batch is refused", "[accumulator]") {
  bench b{{.max_batch_size = 3, .max_batch_bytes = 10, .max_delay = 1h, .capacity_bytes = 100, .item_bytes = [](const int& i) {
             return static_cast<std::size_t>(i);
           }}};
  b.push_all({1, 1});
  b.run();
  CHECK(b.written.empty());
  b.push_all({1, 1, 5, 5, 9});
  b.run();
  CHECK(b.written == batches{{1, 1, 1}, {1, 5}, {5}});  // the 9 has room in no other, and waits for company
  b.push_all({1});
  b.run();
  CHECK(b.written.back() == std::vector{9, 1});
  CHECK_THROWS_AS(b.acc.push(11), std::invalid_argument);
  CHECK_THROWS_AS(b.add(11), std::invalid_argument);
  CHECK(b.acc.stats().held_bytes == 0);
  CHECK(b.lawful());

  const auto refused = [](options o) {
    try {
      const bench never{std::move(o)};
    } catch (const std::invalid_argument& e) {
      return std::string{e.what()};
    }
    return std::string{"taken"};
  };
  CHECK(refused({.max_batch_size = 0}) == "penstock::accumulator: max_batch_size is 0");
  CHECK(refused({.max_delay = -1ns}) == "penstock::accumulator: max_delay is -1 ns");
  CHECK(refused({.capacity = 0}) == "penstock::accumulator: capacity is 0");
  CHECK(refused({.max_in_flight_batches = 0}) == "penstock::accumulator: max_in_flight_batches is 0");
}

TEST_CASE("accumulator: a batch leaves when its first item has waited for max_delay, or nothing came for max_idle",
          "[accumulator][hazard-23]") {
  bench b{{.max_batch_size = 4, .max_delay = 10ms, .max_idle = 3ms}};
  b.push_all({1});
  b.run();
  b.pass(2ms);
  b.push_all({2});
  b.pass(2ms);
  CHECK(b.written.empty());  // 4 ms after the first, 2 after the second
  b.pass(1ms - 1ns);
  CHECK(b.written.empty());
  b.pass(1ns);
  CHECK(b.written == batches{{1, 2}});

  for (const int i : {3, 4, 5}) {
    b.push_all({i});
    b.pass(2ms);
  }
  b.pass(1ms - 1ns);
  CHECK(b.written.size() == 1);
  b.pass(1ns);
  CHECK(b.written.back() == std::vector{3, 4, 5});

  b.push_all({6, 7, 8, 9, 10});  // one is full, and leaves; the other one begins to wait
  b.run();
  CHECK(b.written.back() == std::vector{6, 7, 8, 9});
  b.pass(3ms - 1ns);
  CHECK(b.written.back().size() == 4);
  b.pass(1ns);
  CHECK(b.written.back() == std::vector{10});

  b.push_all({11});
  b.acc.flush();
  b.run();
  CHECK(b.written.back() == std::vector{11});
  b.pass(1h);
  CHECK(b.clock.next_timer() == penstock::manual_clock::time_point::max());  // idle: no timer
}

TEST_CASE("accumulator: max_delay counts from the first item however often others come", "[accumulator]") {
  bench b{{.max_delay = 10ms}};
  for (int i = 0; i < 10; ++i) {
    b.push_all({i});
    b.run();
    b.pass(1ms);
    CHECK(b.written.size() == (i == 9 ? 1U : 0U));
  }
}

TEST_CASE("accumulator: who finds it full waits in line, or is refused and keeps the item",
          "[accumulator][hazard-01][hazard-02][hazard-04]") {
  bench b{{.max_batch_size = 2, .max_delay = 1h, .capacity = 3, .capacity_bytes = 10, .item_bytes = [](const int& i) {
             return static_cast<std::size_t>(i % 10);
           }}};
  b.push_all({1, 1, 4});
  int item = 2;
  CHECK(b.acc.try_push(std::move(item)).error() == errc::full);
  CHECK(b.acc.try_add(3).error() == errc::full);
  CHECK(b.acc.push({.deadline = penstock::deadline::after(0s)}, 5).error() == errc::timeout);
  CHECK(b.acc.push({.deadline = {b.clock.now(), b.clock}}, 5).error() == errc::timeout);
  std::stop_source stopped;
  stopped.request_stop();
  CHECK(b.acc.push(stopped.get_token(), 5).error() == errc::cancelled);
  CHECK(b.acc.stats().refused == penstock::accumulator_refusals{.full = 2, .timeout = 2, .cancelled = 1});

  int heavy = 9;
  int light = 12;
  int late = 23;
  std::stop_source stop;
  auto a = penstock::spawn(b.acc.async_push(heavy) | penstock::with_stop(stop.get_token()));
  auto c = penstock::spawn(b.acc.async_push(light));
  auto d = penstock::spawn(b.acc.async_push(late) | penstock::with_timeout(1ms, b.clock));
  CHECK(b.acc.stats().waiting == 3);
  bool overtaken = false;
  b.act = [&](std::span<const int> items) {
    if (items.front() == 1) b.clock.advance(1ms);                    // the deadline passes before there is room
    if (items.front() == 9) overtaken = b.acc.stats().waiting != 1;  // 9 + 2 is too much, and it is behind
    return outcomes(items.size());
  };
  b.run();  // what is inside is due, since somebody waits
  stop.request_stop();
  CHECK(d.result().error() == errc::timeout);
  CHECK(a.result().has_value());
  CHECK(c.result().has_value());
  CHECK_FALSE(overtaken);
  b.acc.flush();
  b.run();
  CHECK(b.written == batches{{1, 1}, {4}, {9}, {12}});

  b.push_all({8});
  auto e = penstock::spawn(b.acc.async_push(heavy) | penstock::with_stop(stop.get_token()));
  CHECK(e.result().error() == errc::cancelled);
  std::stop_source other;
  auto f = penstock::spawn(b.acc.async_push(heavy) | penstock::with_stop(other.get_token()));
  auto g = penstock::spawn(b.acc.async_push(light));
  CHECK_FALSE(g.done());
  other.request_stop();
  CHECK(f.result().error() == errc::cancelled);
  CHECK(g.result().has_value());  // it fits, once the heavy one is out of the way
  auto told = b.acc.add({.deadline = {b.clock.now(), b.clock}}, 9);
  CHECK(error_of(told) == errc::timeout);
  CHECK(b.lawful());
}

TEST_CASE("accumulator: whatever the function does, each caller learns of its own item", "[accumulator][hazard-19][hazard-31]") {
  bench b;
  std::vector<penstock::future<void>> f;
  for (const int i : {1, 2, 3}) {
    f.push_back(b.add(i));
    if (i == 1) b.acc.flush();  // a batch of its own
  }
  int calls = 0;
  b.act = [&](std::span<const int> items) -> outcomes {
    switch (++calls) {
      case 1:  // {1}
        throw std::runtime_error{"no"};
      case 2:  // {2, 3}: short
        return outcomes(1);
      case 3:  // {4}: long
        return outcomes(2);
      default: {
        outcomes o(items.size());
        o[1] = errc::rejected;
        o[2] = errc::timeout;
        return o;
      }
    }
  };
  b.run();
  CHECK(failure_of(f[0]) == "no");
  CHECK(failure_of(f[1]) == "a batch function gave 1 answers for a batch of 2");
  try {
    f[2].get();
    FAIL("nothing was thrown");
  } catch (const penstock::wrong_batch_size& e) {
    CHECK(e.batch_size() == 2);
    CHECK(e.answers() == 1);
  }
  auto fourth = b.add(4);
  b.acc.flush();
  f.clear();
  for (const int i : {5, 6, 7, 8}) f.push_back(b.add(i));
  b.run();
  CHECK(failure_of(fourth) == "a batch function gave 2 answers for a batch of 1");
  f[0].get();
  CHECK(error_of(f[1]) == errc::rejected);
  CHECK(error_of(f[2]) == errc::timeout);
  f[3].get();
  CHECK(b.failed == batches{{1}, {2, 3}, {4}, {6, 7}});
  CHECK(b.why.error == errc::rejected);
  CHECK(b.account() == "8 added, 2 acknowledged, 6 failed, 0 held");
}

TEST_CASE("accumulator: what failed is tried again after the backoff, alone and in its place, until the policy gives up",
          "[accumulator]") {
  bench b{{.retry = penstock::retry_with(penstock::backoff::linear(10ms, 1s), 3, 1)}};
  b.act = [&](std::span<const int> items) {
    outcomes o(items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (items[i] < 0) o[i] = errc::rejected;
    }
    return o;
  };
  auto good = b.add(1);
  b.run();
  auto before = b.add(2);
  b.acc.flush();
  auto mixed = b.add(-3);
  auto next = b.add(4);
  b.run();
  CHECK(next.is_ready());
  CHECK(b.written == batches{{1}, {2}, {-3, 4}});
  b.push_all({5});
  b.run();
  b.pass(10ms - 1ns);
  CHECK(b.written.size() == 3);
  CHECK(b.acc.stats().in_flight == 1);
  b.pass(1ns);
  CHECK(b.written.back() == std::vector{-3});
  b.pass(20ms - 1ns);
  CHECK(b.written.size() == 4);
  CHECK_FALSE(mixed.is_ready());
  b.pass(1ns);
  CHECK(error_of(mixed) == errc::rejected);
  CHECK(b.failed == batches{{-3}});
  CHECK(b.why.attempt == 3);
  CHECK(b.written.back() == std::vector{5});
  CHECK(b.acc.stats().attempts == 6);
  CHECK(b.lawful());
  good.get();
  before.get();
}

TEST_CASE("accumulator: a batch has the span of its first item as its parent, whoever let that in, and runs in its own",
          "[accumulator][trace]") {
  using kind = trace_testing::told::kind;
  trace_testing::recording_tracer t;
  const penstock::trace_session session{t};
  std::vector<std::uint64_t> seen;
  const penstock::trace_scope maker{trace_testing::span_of(99)};
  bench b{{.max_batch_size = 1, .capacity = 2}};
  b.act = [&](std::span<const int> some) {
    seen.push_back(penstock::current_trace().span);
    return outcomes{some[0] == 2 ? result<void>{errc::rejected} : result<void>{}};
  };
  std::vector<penstock::spawned<result<void>>> pushes;
  std::vector<int> items{1, 2, 3};
  for (int& i : items) {
    const penstock::trace_scope here{trace_testing::span_of(static_cast<std::uint64_t>(20 + i))};
    pushes.push_back(penstock::spawn(b.acc.async_push(i)));  // the last one waits for room
  }
  b.run();
  const auto begun = t.all(kind::started);
  const auto ended = t.all(kind::finished);
  REQUIRE((begun.size() == 3 && ended.size() == 3 && seen.size() == 3));
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK((begun[i].parent == 21 + i && begun[i].context == seen[i]));
    CHECK(ended[i].how == (i == 1 ? penstock::trace_outcome::failed : penstock::trace_outcome::completed));
  }
}

TEST_CASE("accumulator: handlers that throw are counted, and the items count as failed", "[accumulator]") {
  bench b{{.retry = [](const write_failure&) -> std::optional<std::chrono::nanoseconds> { throw 1; },
           .on_failed = [](std::span<int>, const write_failure&) { throw 2; }}};
  b.act = [](std::span<const int>) -> outcomes { throw std::runtime_error{"no"}; };
  auto f = b.add(1);
  b.run();
  CHECK(failure_of(f) == "no");
  CHECK(b.acc.stats().handler_failed == 2);
  CHECK(b.acc.stats().failed == 1);
}

TEST_CASE("accumulator: close writes what is inside, abort gives it back, and nobody is forgotten", "[accumulator][hazard-08]") {
  bench b{{.max_delay = 1h, .capacity = 2}};
  auto f = b.add(1);
  b.push_all({2});
  int third = 3;
  auto waits = penstock::spawn(b.acc.async_push(third));
  b.acc.close();
  CHECK(waits.result().error() == errc::closed);
  CHECK(b.acc.push(4).error() == errc::closed);
  auto refused = b.add(5);
  CHECK(error_of(refused) == errc::closed);
  b.run();
  CHECK(b.written == batches{{1, 2}});
  f.get();
  CHECK(b.acc.drain().has_value());
  CHECK(b.lawful());

  bench c{{.max_delay = 1h, .retry = penstock::retry_with(penstock::backoff::fixed(1h), 100, 1)}};
  c.act = [](std::span<const int> items) { return outcomes(items.size(), result<void>{errc::rejected}); };
  auto tried = c.add(1);
  c.acc.flush();
  c.run();
  auto untried = c.add(2);
  CHECK_FALSE(tried.is_ready());
  c.acc.abort();
  c.run();
  CHECK(error_of(tried) == errc::rejected);
  CHECK(error_of(untried) == errc::cancelled);
  CHECK(c.failed == batches{{1}, {2}});
  CHECK(c.written == batches{{1}});  // not again
  CHECK(c.why.attempt == 0);
  CHECK(c.why.closing);
  CHECK(c.lawful());
}

TEST_CASE("accumulator: drain waits for what was added before and no longer, and knows that it would wait for itself",
          "[accumulator][hazard-11]") {
  bench b;
  CHECK(b.acc.drain().has_value());
  b.push_all({1});
  CHECK(b.acc.drain({.deadline = {b.clock.now(), b.clock}}).error() == errc::timeout);
  penstock::manual_executor others;
  auto before = penstock::spawn(others, b.acc.async_drain());
  b.push_all({2});
  auto behind = penstock::spawn(others, b.acc.async_drain());
  others.run_all();
  std::error_code inside;
  b.act = [&](std::span<const int> items) {
    if (items.front() == 1) {
      inside = b.acc.drain().error();
      b.push_all({3});  // goes on its way later
    } else if (items.front() == 2) {
      others.run_all();
      CHECK(before.done());
      CHECK_FALSE(behind.done());
    }
    return outcomes(items.size());
  };
  b.run();
  others.run_all();
  CHECK(inside == errc::deadlock);
  CHECK(behind.done());
  CHECK(b.written == batches{{1}, {2}, {3}});  // draining closes a batch

  for (const std::size_t writers : {1U, 2U}) {
    std::vector<std::error_code> told;
    const auto wait_inside = [&](accumulator<int>& acc) {
      told.push_back(acc.push(2).error());
      told.push_back(acc.drain().error());
    };
    accumulator<int>* here = nullptr;
    bench c{{.capacity = 1,
             .max_in_flight_batches = writers,
             .retry = [&](const write_failure&) -> std::optional<std::chrono::nanoseconds> {
               wait_inside(*here);
               return std::nullopt;
             },
             .on_failed = [&](std::span<int>, const write_failure&) { wait_inside(*here); }}};
    here = &c.acc;
    c.act = [&](std::span<const int> items) {
      wait_inside(*here);
      return outcomes(items.size(), result<void>{errc::rejected});
    };
    c.push_all({1});
    c.run();
    CHECK(told == std::vector<std::error_code>(6, errc::deadlock));
    CHECK(c.lawful());
  }

  // Who began to drain first, and came to the line last, waits for no more than what was inside then.
  bench d{{.retry = [](const write_failure&) { return std::optional{1h}; }}};
  d.act = [](std::span<const int> items) {
    outcomes o(items.size());
    if (items.front() == 2) o[0] = errc::rejected;
    return o;
  };
  d.push_all({1});
  auto first = d.acc.async_drain();
  d.push_all({2});
  auto second = penstock::spawn(d.acc.async_drain());
  auto overtaken = penstock::spawn(std::move(first));
  d.run();
  CHECK(overtaken.done());
  CHECK_FALSE(second.done());
}

TEST_CASE("accumulator: a function may be a coroutine, several may be on their way, and abort stops them", "[accumulator]") {
  penstock::event go[3];
  std::vector<int> ended;
  bool stopped = false;
  {
    accumulator<thing> acc{penstock::any_scheduler{},
                           [&](std::span<const thing> items) -> task<result<void>> {
                             const int i = items.front().value;
                             const auto waited = co_await go[i].async_wait();
                             if (!waited) stopped = true;
                             if (!waited) co_return waited.error();
                             ended.push_back(i);
                             if (i == 1) throw std::runtime_error{"one"};
                             co_return result<void>{};
                           },
                           {.max_batch_size = 1, .capacity = 8, .max_in_flight_batches = 2}};
    auto written = penstock::spawn(acc.async_add(thing(0)));
    auto failing = penstock::spawn(acc.async_add(thing(1)));
    auto last = acc.add(thing(2));
    CHECK(acc.stats().in_flight == 2);
    CHECK(acc.stats().limit == 2);
    go[1].set();
    CHECK_THROWS_WITH(failing.result(), "one");
    go[0].set();
    CHECK(written.result().has_value());
    CHECK(ended == std::vector{1, 0});
    acc.abort();
    CHECK(stopped);
    CHECK(error_of(last) == errc::cancelled);
    auto refused = penstock::spawn(acc.async_add(thing(0)));
    CHECK(refused.result().error() == errc::closed);
    CHECK(acc.stats().failed == 2);
  }
  CHECK(thing::living == 0);

  // A future is waited for to its end: who gives it may read the items until then.
  penstock::promise<result<void>> answer;
  penstock::future<void> outcome;
  {
    accumulator<int> acc{penstock::any_scheduler{}, [&](std::span<const int>) { return answer.get_future(); }};
    outcome = acc.add(1);
    acc.abort();
    CHECK_FALSE(outcome.is_ready());
    answer.set_value(result<void>{std::error_code{}});  // an error, whatever its value
  }
  CHECK_THROWS_AS(outcome.get(), std::system_error);

  // A task behind it is asked to stop.
  {
    accumulator<int> acc{penstock::any_scheduler{}, [&](std::span<const int>) { return future_of_a_task(); }};
    outcome = acc.add(1);
    acc.abort();
  }
  CHECK(error_of(outcome) == errc::cancelled);

  // The forms that remain: nothing, and a task of nothing. Destruction writes what is left.
  int sum = 0;
  {
    accumulator<int> plain{penstock::any_scheduler{}, [&](std::span<const int> items) { sum += items.front(); }};
    accumulator<thing> late{penstock::any_scheduler{},
                            lazy{[&](std::span<const thing> items) -> task<> {
                              sum += items.front().value;
                              co_return;
                            }},
                            {.max_delay = 1h}};
    plain.add(1).get();
    late.push(thing{10}).value();
    CHECK(sum == 1);
  }
  CHECK(sum == 11);
}

TEST_CASE("accumulator: an item is destroyed once, under no lock, and batches that are over are used again",
          "[accumulator][hazard-17][hazard-28][hazard-30]") {
  const void* first_place = nullptr;
  const void* last_place = nullptr;
  {
    accumulator<thing> acc{penstock::any_scheduler{},
                           lazy{[&](std::span<const thing> items) -> task<> {
                             if (first_place == nullptr) first_place = items.data();
                             last_place = items.data();
                             if (items.size() == 1) throw std::runtime_error{"one"};
                             co_return;
                           }},
                           {.max_batch_size = 100, .max_delay = 1h, .capacity = 150}};
    thing::at_end = [&] { static_cast<void>(acc.stats()); };  // hangs where the lock is held
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 100; ++i) acc.push(thing{i}).value();
      CHECK(thing::living == 0);
    }
    CHECK(first_place == last_place);
    auto failing = acc.add(thing{1});
    acc.flush();
    CHECK(failure_of(failing) == "one");
    acc.close();
    CHECK(acc.push(thing{2}).error() == errc::closed);
    CHECK(acc.stats().acknowledged == 300);
    thing::at_end = nullptr;
  }
  CHECK(thing::living == 0);
}

TEST_CASE("accumulator: with metrics it tells how long items waited until their batch left", "[accumulator]") {
  bench b{{.max_batch_size = 2, .metrics = true, .time_every = 1}};
  penstock::registry all{{.clock = b.clock}};
  const auto joined = all.join("b", b.acc);
  const penstock::registry_snapshot before = all.snapshot();
  std::vector<std::size_t> inside;
  b.act = [&](std::span<const int> items) {
    const penstock::accumulator_stats s = b.acc.stats();
    inside = {s.queued, s.held};
    return outcomes(items.size());
  };
  b.push_all({1});
  b.clock.advance(1s);
  b.push_all({2, 3});  // 3 is alone in the second batch
  CHECK(b.acc.stats().queued == 3);
  CHECK(all.snapshot().find("b")->total("depth") == 3);
  b.pass(2s);
  CHECK(b.written == batches{{1, 2}, {3}});
  CHECK(inside == std::vector<std::size_t>{0, 1});  // while 3 is written
  const penstock::histogram_snapshot times = b.acc.wait_times();
  CHECK(times.count() == 3);
  CHECK(times.min() == std::uint64_t{2'000'000'000});
  CHECK(times.max() == std::uint64_t{3'000'000'000});
  const penstock::registry_interval i = all.snapshot().since(before);
  CHECK(i.find("b")->rate("queue_wait_seconds") == 1);  // 3 of them in 3 s, of 7 s in all
  CHECK(std::abs(i.find("b")->queue_law().expected() - 7.0 / 3) < 0.03);

  b.push_all({4});  // of a batch that never leaves
  b.acc.abort();
  b.run();
  CHECK(b.acc.wait_times().count() == 3);

  bench without;
  without.push_all({1});
  without.run();
  CHECK(without.written == batches{{1}});
  CHECK(without.acc.wait_times().count() == 0);
}

TEST_CASE("accumulator: of many items some are timed, and stand for all; of few each is", "[accumulator]") {
  bench b{{.metrics = true}};
  for (int n = 0; n < 100; ++n) {
    b.push_all({n});
    b.clock.advance(1ms);
    b.run();
  }
  CHECK(b.acc.wait_times().count() == 100);
  CHECK(b.acc.wait_times().min() == std::uint64_t{999'999});  // a nanosecond is lost
  CHECK(b.acc.wait_times().max() == std::uint64_t{999'999});
  for (int n = 0; n < 4000; ++n) b.push_all({n});
  b.clock.advance(1ms);
  b.run();
  CHECK(std::abs(static_cast<double>(b.acc.wait_times().count() - 100) - 4000) < 0.3 * 4000);
  CHECK(b.acc.stats().acknowledged == 4100);
}

TEST_CASE("accumulator: an item that waited for room has waited since it went in", "[accumulator]") {
  bench b{{.capacity = 1, .metrics = true, .time_every = 1}};
  b.push_all({1});
  auto second = penstock::spawn([](accumulator<int>& acc) -> task<> {
    int item = 2;
    auto in = acc.async_push(item);
    const result<void> pushed = co_await std::move(in);
    pushed.value();
  }(b.acc));
  CHECK(b.acc.stats().waiting == 1);
  b.pass(5s);
  CHECK(b.written == batches{{1}, {2}});
  second.wait();
  const penstock::histogram_snapshot times = b.acc.wait_times();
  CHECK(times.count() == 2);
  CHECK(times.min() == 0);
  CHECK(times.max() == std::uint64_t{5'000'000'000});
}
