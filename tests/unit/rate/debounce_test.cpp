// debounce and throttle, on a clock that the test moves. The cases that begin with "lodash" are that library's documented behaviours (its
// documentation and the names of its own tests, 4.17); those that differ say how.
#include <penstock/rate/debounce.hpp>
#include <penstock/rate/throttle.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using function = move_only_function<int(int)>;
using outcome = shared_future<int>;

// When the function ran, and with what.
struct run {
  int at;
  int argument;
  friend bool operator==(const run&, const run&) = default;
  friend std::ostream& operator<<(std::ostream& out, const run& r) { return out << r.argument << " at " << r.at; }
};
using runs = std::vector<run>;

struct recorder {
  manual_clock clock;
  manual_clock::time_point start = clock.now();
  runs seen;

  int now() const { return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - start).count()); }
  function record() {
    return [this](int argument) {
      seen.push_back({now(), argument});
      return argument * 10;
    };
  }
  debounced<int(int)> debounce_it(std::chrono::milliseconds wait, debounce_options o = {}) {
    o.clock = clock;
    return {any_scheduler{}, wait, record(), std::move(o)};
  }
  throttled<int(int)> throttle_it(std::chrono::milliseconds interval, throttle_options o = {}) {
    o.clock = clock;
    return {any_scheduler{}, interval, record(), std::move(o)};
  }
  // The call at each of these times has the time for its argument.
  template <class Paced>
  void call_at(Paced& f, std::initializer_list<int> times) {
    for (const int at : times) {
      go_to(at);
      f(at);
    }
  }
  void go_to(int at) { clock.advance(std::chrono::milliseconds{at - now()}); }
  bool no_timer() { return clock.next_timer() == manual_clock::time_point::max(); }
};

std::error_code error_of(outcome& f) {
  try {
    static_cast<void>(f.get());
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

TEST_CASE("lodash debounce: runs once, `wait` after the last of several calls, with the latest arguments", "[debounce]") {
  recorder t;
  auto f = t.debounce_it(32ms);
  t.call_at(f, {0, 10, 20});
  CHECK(f.pending());
  t.go_to(51);
  CHECK(t.seen.empty());
  t.go_to(200);
  CHECK(t.seen == runs{{52, 20}});
  CHECK_FALSE(f.pending());
  t.call_at(f, {300});
  t.go_to(400);
  CHECK(t.seen == runs{{52, 20}, {332, 300}});
  CHECK(t.no_timer());
}

TEST_CASE("lodash debounce: `leading` runs at once, and again on the trailing edge only if more calls came", "[debounce]") {
  recorder t;
  auto f = t.debounce_it(32ms, {.leading = true});
  t.call_at(f, {0});
  CHECK(t.seen == runs{{0, 0}});
  t.go_to(100);
  CHECK(t.seen.size() == 1);
  t.call_at(f, {100, 110, 120});
  t.go_to(200);
  CHECK(t.seen == runs{{0, 0}, {100, 100}, {152, 120}});
}

TEST_CASE("lodash debounce: `leading` without `trailing` runs the first call of each burst, and the others get its result",
          "[debounce]") {
  recorder t;
  auto f = t.debounce_it(32ms, {.leading = true, .trailing = false});
  outcome first = f.submit(1);
  t.go_to(20);
  outcome second = f.submit(2);
  t.go_to(51);  // the second call went on with the burst
  outcome third = f.submit(3);
  CHECK(first.get() == 10);
  CHECK(second.get() == 10);
  CHECK(third.get() == 10);
  t.go_to(83);
  outcome next = f.submit(4);
  CHECK(next.get() == 40);
  CHECK(t.seen == runs{{0, 1}, {83, 4}});
}

TEST_CASE("lodash debounce: `maxWait` runs a burst that does not end, with what was called last, and the burst goes on",
          "[debounce]") {
  recorder t;
  auto f = t.debounce_it(32ms, {.max_wait = 64ms});
  t.call_at(f, {0, 20, 40, 60, 80, 100, 120, 140});
  CHECK(t.seen == runs{{64, 60}, {128, 120}});
  t.go_to(300);
  CHECK(t.seen == runs{{64, 60}, {128, 120}, {172, 140}});
}

TEST_CASE("lodash debounce: a call after `maxWait` ran waits for the trailing edge, also with `leading`", "[debounce]") {
  recorder t;
  auto f = t.debounce_it(32ms, {.leading = true, .max_wait = 64ms});
  t.call_at(f, {0, 20, 40, 60, 80});
  CHECK(t.seen == runs{{0, 0}, {64, 60}});
  t.go_to(300);
  CHECK(t.seen == runs{{0, 0}, {64, 60}, {112, 80}});
}

TEST_CASE("lodash debounce: `maxWait` less than `wait` counts as `wait`", "[debounce]") {
  recorder t;
  auto f = t.debounce_it(100ms, {.max_wait = 10ms});
  t.call_at(f, {0});
  t.go_to(99);
  CHECK(t.seen.empty());
  t.call_at(f, {99});
  t.go_to(100);
  CHECK(t.seen == runs{{100, 99}});
}

TEST_CASE("lodash debounce: `wait` 0 differs: each call runs, and what comes during a run waits for its end", "[debounce]") {
  recorder t;
  manual_executor loop;
  {
    debounced<int(int)> f{loop, 0ms, t.record(), {.clock = t.clock}};
    f(1);
    f(2);
    f(3);  // the run of 1 is on its way to the loop: 3 takes the place of 2
    CHECK(loop.size() == 1);
    loop.run_all();
    CHECK(t.seen == runs{{0, 1}, {0, 3}});
  }
  loop.run_all();
}

TEST_CASE("lodash throttle: runs at once, then once in an interval with the latest arguments", "[throttle]") {
  recorder t;
  auto f = t.throttle_it(32ms);
  t.call_at(f, {0, 10, 20, 30, 40, 50, 60, 70});
  t.go_to(300);
  CHECK(t.seen == runs{{0, 0}, {32, 30}, {64, 60}, {96, 70}});
  CHECK(t.no_timer());
}

TEST_CASE("lodash throttle: no trailing run when it was called once", "[throttle]") {
  recorder t;
  auto f = t.throttle_it(32ms);
  t.call_at(f, {0});
  t.go_to(300);
  CHECK(t.seen == runs{{0, 0}});
}

TEST_CASE("lodash throttle: without `leading` the first run comes one interval after the first call", "[throttle]") {
  recorder t;
  auto f = t.throttle_it(32ms, {.leading = false});
  t.call_at(f, {0, 10});
  t.go_to(31);
  CHECK(t.seen.empty());
  t.go_to(300);
  CHECK(t.seen == runs{{32, 10}});
}

TEST_CASE("lodash throttle: without `trailing` what is called within the interval is not run", "[throttle]") {
  recorder t;
  auto f = t.throttle_it(32ms, {.trailing = false});
  t.call_at(f, {0, 10, 31, 32, 40, 63, 65});
  t.go_to(300);
  CHECK(t.seen == runs{{0, 0}, {32, 32}, {65, 65}});
}

TEST_CASE("lodash throttle: the second run comes as soon as it may, and here never sooner", "[throttle]") {
  recorder t;
  auto late = t.throttle_it(128ms, {.leading = false});
  t.call_at(late, {0, 192});  // ran at 128; lodash begins anew at 192 and runs at 320
  t.go_to(255);
  CHECK(t.seen == runs{{128, 0}});
  t.go_to(256);
  CHECK(t.seen == runs{{128, 0}, {256, 192}});
  t.go_to(1000);
  t.seen.clear();
  auto f = t.throttle_it(100ms);
  t.call_at(f, {1000, 1050,
                1160});  // ran at 1100; lodash takes 1160 for the beginning of a burst and runs it then, 60 ms after the last
  t.go_to(2000);
  CHECK(t.seen == runs{{1000, 1000}, {1100, 1050}, {1200, 1160}});
}

TEST_CASE("lodash: cancel() drops what waits; the next call begins anew, but a throttle keeps its interval",
          "[debounce][throttle]") {
  recorder t;
  {
    auto f = t.debounce_it(32ms, {.leading = true});
    t.call_at(f, {0});
    outcome dropped = f.submit(1);
    f.cancel();
    CHECK_FALSE(f.pending());
    CHECK(error_of(dropped) == errc::cancelled);
    f(2);
    CHECK(t.seen == runs{{0, 0}, {0, 2}});
    t.go_to(100);
    CHECK(t.seen.size() == 2);
  }
  t.seen.clear();
  {
    auto f = t.throttle_it(32ms);
    t.call_at(f, {100, 110});
    f.cancel();
    t.call_at(f, {120});  // lodash runs this one now
    CHECK(t.seen == runs{{100, 100}});
    t.go_to(200);
    CHECK(t.seen == runs{{100, 100}, {132, 120}});
  }
  CHECK(t.no_timer());
}

TEST_CASE("lodash: flush() runs what waits now and gives its result, or the last one when nothing waits", "[debounce]") {
  recorder t;
  auto f = t.debounce_it(32ms);
  CHECK_FALSE(f.flush().valid());  // lodash: undefined
  CHECK(t.seen.empty());
  t.call_at(f, {0, 5});
  outcome now = f.flush();
  CHECK(now.get() == 50);
  CHECK(f.flush().get() == 50);
  t.go_to(100);
  CHECK(t.seen == runs{{5, 5}});
  CHECK_FALSE(f.flush().valid());  // lodash: 50, for ever
  CHECK(f.drain());
  f(6);
  CHECK(f.drain());
  CHECK(t.seen == runs{{5, 5}, {100, 6}});
  f.cancel();
  CHECK(t.seen.size() == 2);
}

TEST_CASE("lodash: a function may call itself, debounced or throttled", "[debounce][throttle]") {
  recorder t;
  debounced<int(int)>* self = nullptr;
  debounced<int(int)> f{any_scheduler{},
                        10ms,
                        [&](int n) {
                          t.seen.push_back({t.now(), n});
                          if (n > 0) (*self)(n - 1);
                          return n;
                        },
                        {.clock = t.clock}};
  self = &f;
  f(2);
  t.go_to(100);
  CHECK(t.seen == runs{{10, 2}, {20, 1}, {30, 0}});
}

TEST_CASE("lodash: works when the time is set back [hazard-24]", "[debounce][throttle][hazard-24]") {
  recorder t;
  t.go_to(1000);
  auto f = t.debounce_it(32ms);
  auto g = t.throttle_it(32ms);
  f(1);
  g(2);  // runs
  g(3);
  t.clock.set(t.start);
  f(4);  // due 32 ms from now, not at 1032
  g(5);
  t.go_to(31);
  CHECK(t.seen == runs{{1000, 2}});
  t.go_to(32);
  CHECK(t.seen.size() == 3);
  CHECK(std::count(t.seen.begin(), t.seen.end(), run{32, 4}) == 1);
  CHECK(std::count(t.seen.begin(), t.seen.end(), run{32, 5}) == 1);
  t.go_to(2000);
  CHECK(t.seen.size() == 3);
  CHECK(t.no_timer());
}

TEST_CASE("lodash#4400, #4815: callers get the result of the run that took account of their call, not of an earlier one",
          "[debounce]") {
  recorder t;
  auto f = t.debounce_it(10ms);
  outcome a = f.submit(1);
  outcome b = f.submit(2);
  CHECK_FALSE(a.is_ready());
  t.go_to(10);
  CHECK(a.get() == 20);
  CHECK(b.get() == 20);
  outcome c = f.submit(3);
  CHECK_FALSE(c.is_ready());
  auto waiting = spawn([](outcome o) -> task<int> { co_return co_await o; }(c));
  t.go_to(20);
  CHECK(waiting.result() == 30);
  CHECK(c.get() == 30);
}

TEST_CASE("lodash#3864: runs do not overlap; what is due meanwhile runs when the last one has ended, with the latest arguments",
          "[debounce]") {
  recorder t;
  promise<void> gates[2];
  std::vector<int> begun;
  std::optional<future<void>> doors[2] = {gates[0].get_future(), gates[1].get_future()};
  auto f = debounce(any_scheduler{}, 10ms,
                    [&](int n) -> task<int> {
                      begun.push_back(n);
                      if (begun.size() <= 2) co_await std::move(*doors[begun.size() - 1]);
                      co_return n;
                    },
                    {.clock = t.clock});
  outcome a = f.submit(1);
  t.go_to(10);
  CHECK(begun == std::vector{1});
  outcome b = f.submit(2);
  t.go_to(50);
  outcome c = f.submit(3);
  CHECK(begun == std::vector{1});
  CHECK(f.running() == 1);
  CHECK(f.pending());
  gates[0].set_value();
  CHECK(a.get() == 1);
  CHECK(begun == std::vector{1, 3});
  CHECK_FALSE(b.is_ready());
  gates[1].set_value();
  CHECK(b.get() == 3);
  CHECK(c.get() == 3);
}

TEST_CASE("debounce: max_running lets runs overlap, up to that many", "[debounce]") {
  recorder t;
  manual_executor loop;
  {
    debounced<int(int)> f{loop, 10ms, t.record(), {.max_running = 2, .clock = t.clock}};
    f(1);
    t.go_to(10);
    f(2);
    t.go_to(20);
    f(3);
    t.go_to(30);
    CHECK(loop.size() == 2);
    f(4);
    loop.run_all();
  }
  CHECK(t.seen == runs{{30, 1}, {30, 2}, {30, 4}});
}

TEST_CASE("debounce: an exception reaches every caller of the run; on_error gets what nobody looks at [hazard-19]",
          "[debounce][hazard-19]") {
  manual_clock clock;
  std::vector<std::string> unseen;
  debounced<int(int)> f{any_scheduler{},
                        10ms,
                        [](int n) -> int { throw std::runtime_error{std::to_string(n)}; },
                        {.clock = clock, .on_error = [&](std::exception_ptr e) {
                           try {
                             std::rethrow_exception(e);
                           } catch (const std::runtime_error& r) {
                             unseen.emplace_back(r.what());
                           }
                         }}};
  outcome a = f.submit(1);
  f(2);
  outcome b = f.submit(3);
  clock.advance(10ms);
  CHECK_THROWS_WITH(a.get(), "3");
  CHECK_THROWS_WITH(b.get(), "3");
  CHECK_THROWS_WITH(a.get(), "3");
  CHECK(unseen.empty());
  f(4);
  clock.advance(10ms);
  CHECK(unseen == std::vector<std::string>{"4"});
  CHECK(f.failed() == 2);
  f(5);
  CHECK(f.drain());  // who drains, or flushes and goes, does not look
  f(6);
  f.flush();
  CHECK(unseen == std::vector<std::string>{"4", "5", "6"});
  CHECK(f.failed() == 4);
}

TEST_CASE("debounce: on_error is part of the run: the next one is sent afterwards; what it throws is counted", "[debounce]") {
  manual_clock clock;
  manual_executor loop;
  std::size_t on_its_way = 9, running = 0;
  debounced<int(int)>* self = nullptr;
  debounced<int(int)> f{loop,
                        0ms,
                        [&](int n) -> int {
                          if (n == 1) (*self)(2);  // due, but there is no place
                          throw std::runtime_error{"no"};
                        },
                        {.clock = clock, .on_error = [&](const std::exception_ptr&) {
                           if (running == 0) {
                             on_its_way = loop.size();
                             running = self->running();
                           }
                           throw 1;
                         }}};
  self = &f;
  f(1);
  CHECK(loop.run_one());
  CHECK(on_its_way == 0);
  CHECK(running == 1);
  CHECK(f.failed() == 2);
  loop.run_all();
  CHECK(f.failed() == 4);
}

TEST_CASE(
    "throttle: the interval counts from when a run begins, however long it was on its way, and cancel() does not shorten it",
    "[throttle]") {
  recorder t;
  manual_executor loop;
  {
    throttled<int(int)> f{loop, 100ms, t.record(), {.clock = t.clock}};
    f(1);
    t.go_to(99);
    loop.run_all();
    f(2);
    t.go_to(198);
    loop.run_all();
    CHECK(t.seen == runs{{99, 1}});
    t.go_to(199);
    loop.run_all();
    CHECK(t.seen == runs{{99, 1}, {199, 2}});
    t.go_to(1000);
    f(3);
    t.go_to(1110);
    f(4);  // would be due, but 3 has not begun
    t.go_to(1120);
    loop.run_all();
    CHECK(t.seen.back() == run{1120, 3});
    t.go_to(1219);
    loop.run_all();
    CHECK(t.seen.back() == run{1120, 3});
    t.go_to(1220);
    loop.run_all();
    CHECK(t.seen.back() == run{1220, 4});
    t.go_to(2000);
    f(5);
    loop.run_all();
    f(6);
    f.flush();  // on its way
    f.cancel();
    t.go_to(2002);
    f(7);
    loop.run_all();
    t.go_to(2099);
    loop.run_all();
    CHECK(t.seen.back() == run{2000, 5});
    t.go_to(2100);
    loop.run_all();
    CHECK(t.seen.back() == run{2100, 7});
    t.go_to(3000);
    CHECK(t.no_timer());
  }
  t.seen.clear();
  t.go_to(4000);
  throttled<int(int)> two{loop, 100ms, t.record(), {.max_running = 2, .clock = t.clock}};
  two(1);
  t.go_to(4050);
  two(2);
  t.go_to(4150);  // due, and there is a place; but who knows when 1 begins
  loop.run_all();
  CHECK(t.seen == runs{{4150, 1}});
  t.go_to(4250);
  loop.run_all();
  CHECK(t.seen == runs{{4150, 1}, {4250, 2}});
}

TEST_CASE("debounce: drain() waits for every run that was asked for", "[debounce]") {
  manual_clock clock;
  promise<void> gate;
  std::optional<future<void>> door = gate.get_future();
  auto f = debounce(any_scheduler{}, 10ms,
                    [&](int n) -> task<int> {
                      if (n == 1) co_await std::move(*door);
                      co_return n;
                    },
                    {.max_running = 2, .clock = clock});
  f(1);
  clock.advance(10ms);
  f(2);
  CHECK(f.drain({.deadline = deadline::after(0ms)}) == errc::timeout);
  CHECK(f.running() == 1);
  CHECK_FALSE(f.pending());
  gate.set_value();
  CHECK(f.drain());
}

TEST_CASE("debounce: at its end the task behind a future that the function gave is asked to stop, and awaited", "[debounce]") {
  manual_clock clock;
  std::atomic<bool> over{false};
  event begun;
  worker_pool pool{{.threads = 1}};
  {
    auto f = debounce(any_scheduler{}, 10ms,
                      [&](int n) {
                        return pool.submit([&, n](const std::stop_token& stop) {
                          begun.set();
                          test_support::until([&] { return stop.stop_requested(); });
                          over = true;
                          return n;
                        });
                      },
                      {.clock = clock});
    f(1);
    clock.advance(10ms);
    begun.wait();
  }
  CHECK(over);
}

TEST_CASE("debounce: runs on its context, the leading edge too; cancel() takes back what is on its way there", "[debounce]") {
  recorder t;
  manual_executor loop;
  {
    debounced<int(int)> f{loop, 10ms, t.record(), {.leading = true, .clock = t.clock}};
    outcome a = f.submit(1);
    CHECK(t.seen.empty());
    CHECK(f.pending());
    f.cancel();
    CHECK(error_of(a) == errc::cancelled);
    f(2);
    CHECK(loop.run_all() == 2);  // the cancelled one comes home; then there is a place for this one
    CHECK(t.seen == runs{{0, 2}});
    f(3);
    t.go_to(10);
    CHECK(t.seen.size() == 1);
  }
  CHECK(loop.run_all() == 1);  // destroyed before it began
  CHECK(t.seen.size() == 1);
}

TEST_CASE("debounce: destruction gives up what has not begun and leaves no timer", "[debounce]") {
  recorder t;
  std::optional<debounced<int(int)>> f;
  debounce_options o{.clock = t.clock};
  f.emplace(any_scheduler{}, 10ms, t.record(), std::move(o));
  outcome a = f->submit(1);
  f.reset();
  CHECK(error_of(a) == errc::cancelled);
  CHECK(t.no_timer());
  t.go_to(100);
  CHECK(t.seen.empty());
}

TEST_CASE("debounce: the function may destroy it, and lives on until it returns [hazard-11]", "[debounce][hazard-11]") {
  manual_clock clock;
  std::unique_ptr<debounced<int(int)>> f;
  auto alive = std::make_shared<int>(7);
  f = std::make_unique<debounced<int(int)>>(
      any_scheduler{}, 10ms,
      [&f, kept = alive](int n) {
        f.reset();
        return *kept + n;
      },
      debounce_options{.clock = clock});
  outcome a = f->submit(1);
  CHECK(alive.use_count() == 2);
  clock.advance(10ms);
  CHECK(a.get() == 8);
  CHECK(alive.use_count() == 1);
  CHECK(clock.next_timer() == manual_clock::time_point::max());
}

TEST_CASE("debounce: what is on its way when it is destroyed touches neither its clock nor its function any more [hazard-11]",
          "[debounce][hazard-11]") {
  manual_executor loop;
  auto alive = std::make_shared<int>(7);
  {
    manual_clock clock;
    debounced<std::shared_ptr<int>(int)> f{loop,
                                           10ms,
                                           [alive](int) { return alive; },
                                           {.leading = true, .clock = clock, .on_error = [alive](const std::exception_ptr&) {}}};
    f(1);
    loop.run_all();
    CHECK(alive.use_count() == 4);  // the last outcome, too
    f(2);
    clock.advance(10ms);
  }
  CHECK(alive.use_count() == 1);
  CHECK(loop.run_all() == 1);
}

TEST_CASE("debounce: who learns that its call was cancelled may destroy it; cancel() leaves no timer [hazard-11]",
          "[debounce][hazard-11]") {
  recorder t;
  std::optional<debounced<int(int)>> f;
  f.emplace(any_scheduler{}, 10ms, t.record(), debounce_options{.clock = t.clock});
  (*f)(0);
  CHECK_FALSE(t.no_timer());
  f->cancel();
  CHECK(t.no_timer());
  auto waiting = spawn([](std::optional<debounced<int(int)>>& one) -> task<void> {
    outcome mine = one->submit(1);
    const auto ready = co_await mine.async_wait();
    CHECK(ready);
    one.reset();
  }(f));
  f->cancel();
  CHECK_FALSE(f.has_value());
  waiting.result();
}

TEST_CASE("debounce: superseded arguments go at once, under no lock [hazard-17]", "[debounce][hazard-17]") {
  manual_clock clock;
  struct probe {
    std::shared_ptr<move_only_function<void()>> when_gone;
    probe(const probe&) = default;
    explicit probe(std::shared_ptr<move_only_function<void()>> w) : when_gone{std::move(w)} {}
    ~probe() {
      if (when_gone && *when_gone) (*when_gone)();
    }
  };
  int asked = 0;
  auto look = std::make_shared<move_only_function<void()>>();
  auto held = std::make_shared<int>(1);
  auto f = debounce(any_scheduler{}, 10ms, [](const probe&, std::shared_ptr<int>) {}, {.clock = clock});
  *look = [&] {
    static_cast<void>(f.pending());  // takes the lock
    ++asked;
  };
  f(probe{look}, held);
  const auto one = held.use_count();
  f(probe{look}, held);
  f(probe{look}, held);
  CHECK(held.use_count() == one);
  clock.advance(10ms);
  CHECK(held.use_count() == 1);
  f(probe{look}, held);
  f.cancel();
  CHECK(held.use_count() == 1);
  CHECK(asked > 4);
  *look = nullptr;
}

TEST_CASE("debounce: huge times mean never; flush() still runs [hazard-22]", "[debounce][hazard-22]") {
  recorder t;
  debounced<int(int)> f{any_scheduler{}, std::chrono::hours::max(), t.record(), {.clock = t.clock}};
  f(1);
  CHECK(t.no_timer());
  t.clock.advance(std::chrono::hours{24 * 365});
  CHECK(t.seen.empty());
  CHECK(f.flush().get() == 10);
  f(2);
}

TEST_CASE("debounce, throttle: what makes no sense is refused", "[debounce][throttle]") {
  recorder t;
  CHECK_THROWS_AS(t.debounce_it(-1ms), std::invalid_argument);
  CHECK_THROWS_AS(t.debounce_it(1ms, {.max_wait = -1ms}), std::invalid_argument);
  CHECK_THROWS_AS(t.debounce_it(1ms, {.trailing = false}), std::invalid_argument);
  CHECK_THROWS_AS(t.throttle_it(1ms, {.max_running = 0}), std::invalid_argument);
  CHECK_THROWS_WITH(t.throttle_it(-1ms), "penstock::throttle: interval is -1000000 ns");
  CHECK_THROWS_AS((debounced<int(int)>{any_scheduler{}, 1ms, nullptr, {.clock = t.clock}}), std::invalid_argument);
}

}  // namespace
