// The waiting core itself, by a primitive with both outcomes: a unit is handed over, or its waiter is told to look again.
#include <penstock/core/detail/wait_operation.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using core_test::call_timer;
using core_test::census;
using core_test::counted;
using core_test::pile;
using penstock::deadline;
using penstock::errc;
using penstock::manual_clock;
using penstock::manual_executor;
using penstock::result;
using penstock::spawn;
using penstock::task;
using penstock::with_stop;
using penstock::with_timeout;
using penstock::detail::outcome;

namespace {

task<> note_thread(pile<>& gate, std::stop_token stop, std::vector<std::thread::id>& seen) {
  static_cast<void>(co_await (gate.async_take() | with_stop(std::move(stop))));
  seen.push_back(std::this_thread::get_id());
}

task<> hold(pile<>& gate, std::stop_token stop, counted, bool& cancelled) {
  const result<void> r = co_await (gate.async_take() | with_stop(std::move(stop)));
  cancelled = !r && r.error() == errc::cancelled;
}

// Gives a unit back when it is destroyed: takes the lock that a waker just held.
struct returns_unit {
  pile<>* gate;
  explicit returns_unit(pile<>& g) : gate{&g} {}
  returns_unit(const returns_unit&) = delete;
  returns_unit& operator=(const returns_unit&) = delete;
  ~returns_unit() { gate->give(); }
};
task<> take_and_return(pile<>& gate, int& passed) {
  const result<void> r = co_await gate.async_take();
  const returns_unit back{gate};
  if (r) ++passed;
}

// Knows how many locks the thread holds, and whether a stop callback is destroyed while it holds one.
struct checked_sync : penstock::detail::std_sync {
  static inline thread_local int held = 0;
  static inline std::atomic<int> violations = 0;

  class mutex {
   public:
    void lock() {
      lock_.lock();
      ++held;
    }
    void unlock() {
      --held;
      lock_.unlock();
    }
    bool try_lock() {
      if (!lock_.try_lock()) return false;
      ++held;
      return true;
    }

   private:
    std::mutex lock_;
  };

  template <class F>
  class stop_callback {
   public:
    stop_callback(const std::stop_token& stop, F f) : callback_{stop, checked{std::move(f)}} {}
    ~stop_callback() {
      if (held != 0) ++violations;
    }

   private:
    struct checked {
      F f;
      void operator()() const noexcept {
        if (held != 0) ++violations;
        f();
      }
    };
    std::stop_callback<checked> callback_;
  };

  class timers;
  static penstock::detail::basic_timer_queue<checked_sync>& steady_timers();
};

// Time that the test moves.
class checked_sync::timers final : public penstock::detail::basic_timer_queue<checked_sync> {
 public:
  using nanoseconds_point = penstock::detail::nanoseconds_point;
  nanoseconds_point now() const noexcept override { return time; }
  void add(entry& e, nanoseconds_point when) override { insert(e, when); }
  void move_to(nanoseconds_point to) {
    time = to;
    while (fire_next(to)) {
    }
  }
  std::atomic<nanoseconds_point> time = 0;
};
penstock::detail::basic_timer_queue<checked_sync>& checked_sync::steady_timers() {
  static timers queue;
  return queue;
}

// A wait whose end calls back, as an adapter would use it.
using checked_pile = pile<checked_sync>;
class checked_wait : public penstock::detail::completion_wait<checked_pile, checked_pile::node> {
 public:
  using base = penstock::detail::completion_wait<checked_pile, checked_pile::node>;
  using base::base;
  bool begin(const std::stop_token& stop, const penstock::detail::basic_deadline<checked_sync>& limit) {
    const bool decided = start(stop, limit, {}, [](base& self) noexcept { static_cast<checked_wait&>(self).end(); });
    if (decided) end();
    return decided;
  }
  bool ended = false;
  outcome ended_by = outcome::pending;

 private:
  void end() noexcept {
    if (checked_sync::held != 0) ++checked_sync::violations;
    finish();
    ended = true;
    ended_by = how;
  }
};

}  // namespace

TEST_CASE("wait: a unit that is handed over at the deadline is had or stays, whoever was first", "[wait][hazard-04]") {
  for (const bool grant_first : {true, false}) {
    manual_clock clock;
    pile<> gate;
    const auto due = (clock.now() + 10ms).time_since_epoch().count();
    call_timer giver{[&] { gate.give(); }};
    if (grant_first) clock.timers().add(giver, due);
    auto waiting = spawn(gate.async_take() | with_timeout(10ms, clock));
    if (!grant_first) clock.timers().add(giver, due);
    clock.advance(10ms);
    REQUIRE(waiting.done());
    const auto r = waiting.result();
    CHECK(r.has_value() == grant_first);
    if (!grant_first) CHECK(r.error() == errc::timeout);
    CHECK(gate.units() == (grant_first ? 0 : 1));
  }
}

TEST_CASE("wait: a unit that was handed over is not lost to a later timeout or stop", "[wait][hazard-04]") {
  manual_clock clock;
  manual_executor loop;
  pile<> gate;
  auto waiting = spawn(loop, gate.async_take() | with_timeout(10ms, clock));
  loop.run_all();
  gate.give();  // decided; the coroutine has not gone on yet
  clock.advance(1h);
  waiting.request_stop();
  loop.run_all();
  CHECK(waiting.result().has_value());
  CHECK(gate.units() == 0);
}

TEST_CASE("wait: giving, the clock and stop requests race on threads, and units are conserved", "[wait][hazard-01][hazard-04]") {
  for (int i = 0; i < 1'000; ++i) {
    manual_clock clock;
    pile<> gate;
    const deadline limit{clock.now() + 10ms, clock};
    std::stop_source stop;
    auto asynchronous = spawn(gate.async_take() | penstock::with_deadline(limit) | with_stop(stop.get_token()));
    outcome blocking = outcome::pending;
    {
      std::jthread taker{[&] { blocking = gate.take(stop.get_token(), limit); }};
      std::jthread giver{[&] {
        if (i % 2 == 0) {
          gate.give();
        } else {
          gate.announce();
        }
      }};
      if (i % 3 == 0) stop.request_stop();
      clock.advance(10ms);
    }
    REQUIRE(asynchronous.done());
    const int had = (asynchronous.result().has_value() ? 1 : 0) + (blocking == outcome::granted ? 1 : 0);
    REQUIRE(had + gate.units() == 1);
    REQUIRE(gate.waiters() == 0);
  }
}

TEST_CASE("wait: looking in vain again and again does not lengthen the one deadline", "[wait][hazard-05]") {
  manual_clock clock;
  manual_executor loop;
  pile<> gate;
  auto waiting = spawn(loop, gate.async_take() | with_timeout(10ms, clock));
  loop.run_all();
  for (int i = 0; i < 9; ++i) {
    clock.advance(1ms);
    gate.announce();
    CHECK(gate.steal());
    CHECK(loop.run_all() == 1);  // looks, and is in line again
    CHECK(gate.waiters() == 1);
  }
  clock.advance(1ms - 1ns);
  CHECK(loop.run_all() == 0);
  clock.advance(1ns);
  CHECK(loop.run_all() == 1);
  CHECK(waiting.result().error() == errc::timeout);
}

TEST_CASE("wait: who looked in vain keeps its place in line", "[wait]") {
  manual_executor loop;
  pile<> gate;
  auto first = spawn(loop, gate.async_take());
  auto second = spawn(loop, gate.async_take());
  loop.run_all();
  gate.announce();
  gate.steal();
  loop.run_all();
  gate.give();
  loop.run_all();
  CHECK(first.done());
  CHECK_FALSE(second.done());
  gate.give();
  loop.run_all();
  CHECK(second.done());
}

TEST_CASE("wait: who is stopped after it was woken takes what is there, or passes the wake on", "[wait][hazard-01]") {
  manual_executor loop;
  pile<> gate;
  auto lucky = spawn(loop, gate.async_take());
  loop.run_all();
  gate.announce();
  lucky.request_stop();
  loop.run_all();
  CHECK(lucky.result().has_value());
  CHECK(gate.gave_up_ == 0);

  auto unlucky = spawn(loop, gate.async_take());
  loop.run_all();
  gate.announce();
  CHECK(gate.steal());
  unlucky.request_stop();
  loop.run_all();
  CHECK(unlucky.result().error() == errc::cancelled);
  CHECK(gate.gave_up_ == 1);
  CHECK(gate.unlinked_ == 0);
}

TEST_CASE("wait: a stop callback may end the coroutine and free its frame", "[wait][hazard-14]") {
  census c;
  pile<> gate;
  std::stop_source stop;
  bool cancelled = false;
  penstock::task_group group;
  group.spawn(hold(gate, stop.get_token(), counted{c}, cancelled));  // the frame frees itself at its end
  CHECK(c.living == 1);
  stop.request_stop();
  CHECK(cancelled);
  CHECK(c.living == 0);
}

TEST_CASE("wait: a timer may end the coroutine and free its frame", "[wait][hazard-14]") {
  manual_clock clock;
  pile<> gate;
  penstock::task_group group;
  group.spawn(gate.async_take() | with_timeout(1ms, clock));
  group.spawn(gate.async_take() | with_timeout(1ms, clock));
  CHECK(group.running() == 2);
  clock.advance(1ms);
  CHECK(group.running() == 0);
}

TEST_CASE("wait: a coroutine that is stopped by another thread goes on where it belongs", "[wait][hazard-15]") {
  manual_executor loop;
  pile<> gate;
  std::stop_source stop;
  std::vector<std::thread::id> seen;
  auto waiting = spawn(loop, note_thread(gate, stop.get_token(), seen));
  loop.run_all();
  std::jthread{[&] { stop.request_stop(); }}.join();
  CHECK(gate.waiters() == 0);
  CHECK(seen.empty());
  loop.run_all();
  CHECK(seen == std::vector{std::this_thread::get_id()});
}

TEST_CASE("wait: no lock is held when a waiter is completed or a stop callback runs or goes", "[wait][hazard-16][hazard-17]") {
  using limit = penstock::detail::basic_deadline<checked_sync>;
  checked_sync::violations = 0;
  checked_sync::timers timers;
  checked_pile gate;
  SECTION("granted") {
    std::stop_source stop;
    checked_wait wait{gate};
    REQUIRE_FALSE(wait.begin(stop.get_token(), limit{10, timers}));
    gate.give();
    CHECK(wait.ended_by == outcome::granted);
  }
  SECTION("woken") {
    std::stop_source stop;
    checked_wait wait{gate};
    REQUIRE_FALSE(wait.begin(stop.get_token(), limit{10, timers}));
    gate.announce();
    CHECK(wait.ended_by == outcome::granted);
  }
  SECTION("stopped") {
    std::stop_source stop;
    checked_wait wait{gate};
    REQUIRE_FALSE(wait.begin(stop.get_token(), limit{10, timers}));
    stop.request_stop();
    CHECK(wait.ended_by == outcome::cancelled);
  }
  SECTION("timed out") {
    std::stop_source stop;
    checked_wait wait{gate};
    REQUIRE_FALSE(wait.begin(stop.get_token(), limit{10, timers}));
    timers.move_to(10);
    CHECK(wait.ended_by == outcome::timeout);
  }
  SECTION("without having to wait") {
    std::stop_source stop;
    gate.give();
    checked_wait wait{gate};
    CHECK(wait.begin(stop.get_token(), limit{10, timers}));
    CHECK(wait.ended_by == outcome::granted);
    stop.request_stop();
    checked_wait late{gate};
    CHECK(late.begin(stop.get_token(), limit{10, timers}));
    CHECK(late.ended_by == outcome::cancelled);
  }
  SECTION("a thread that blocks, by turns given to, stopped and timed out") {
    for (int i = 0; i < 30; ++i) {
      std::stop_source stop;
      outcome ended = outcome::pending;
      const auto now = timers.now();
      std::jthread waiter{[&] { ended = gate.take(stop.get_token(), limit{now + 10, timers}); }};
      core_test::yield_until([&] { return gate.waiters() == 1; });
      if (i % 3 == 0) gate.give();
      if (i % 3 == 1) stop.request_stop();
      if (i % 3 == 2) timers.move_to(now + 10);
      waiter.join();
      REQUIRE(ended == (i % 3 == 0 ? outcome::granted : i % 3 == 1 ? outcome::cancelled : outcome::timeout));
    }
  }
  CHECK(checked_sync::violations == 0);
}

TEST_CASE("wait: the check for locks itself notices a callback that goes under one", "[wait][hazard-16]") {
  checked_sync::violations = 0;
  std::stop_source stop;
  checked_sync::mutex lock;
  const auto nothing = [] {};
  {
    const checked_sync::stop_callback<decltype(nothing)> callback{stop.get_token(), nothing};
  }
  CHECK(checked_sync::violations == 0);
  std::optional<checked_sync::stop_callback<decltype(nothing)>> callback;
  callback.emplace(stop.get_token(), nothing);
  lock.lock();
  stop.request_stop();
  callback.reset();
  lock.unlock();
  CHECK(checked_sync::violations == 2);
  checked_sync::violations = 0;
}

TEST_CASE("wait: what a resumed coroutine destroys may use the primitive that woke it", "[wait][hazard-17]") {
  pile<> gate;
  int passed = 0;
  penstock::task_group group;
  for (int i = 0; i < 1'000; ++i) group.spawn(take_and_return(gate, passed));
  CHECK(gate.waiters() == 1'000);
  gate.give();  // goes through all of them
  CHECK(passed == 1'000);
  CHECK(gate.units() == 1);
}

TEST_CASE("wait: a thread that was stopped before takes nothing, one whose deadline passed takes what is there", "[wait]") {
  manual_clock clock;
  pile<> gate;
  std::stop_source stop;
  CHECK(gate.take({}, deadline{clock.now(), clock}) == outcome::timeout);
  CHECK(gate.take({}, deadline::after(-1s)) == outcome::timeout);
  gate.give();
  CHECK(gate.take({}, deadline{clock.now(), clock}) == outcome::granted);
  gate.give();
  CHECK(gate.take(stop.get_token(), deadline::after(0s)) == outcome::granted);
  gate.give();
  stop.request_stop();
  CHECK(gate.take(stop.get_token(), {}) == outcome::cancelled);
  CHECK(gate.take(stop.get_token(), deadline{clock.now() + 1s, clock}) == outcome::cancelled);
  CHECK(gate.units() == 1);
}

TEST_CASE("wait: a thread with the longest timeout waits, by every clock", "[wait][hazard-22]") {
  manual_clock clock;
  for (const bool by_hand : {false, true}) {
    pile<> gate;
    const deadline limit =
        by_hand ? deadline::after(std::chrono::hours::max(), clock) : deadline::after(std::chrono::hours::max());
    outcome ended = outcome::pending;
    std::jthread waiter{[&] { ended = gate.take({}, limit); }};
    core_test::yield_until([&] { return gate.waiters() == 1; });
    clock.advance(24h * 365 * 100);
    CHECK(gate.waiters() == 1);
    gate.give();
    waiter.join();
    CHECK(ended == outcome::granted);
  }
}

TEST_CASE("wait: threads never give up before their deadline", "[wait][hazard-23]") {
  std::atomic<int> early = 0;
  std::atomic<int> granted = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        pile<> gate;
        for (int i = 0; i < 125; ++i) {
          const auto before = std::chrono::steady_clock::now();
          if (gate.take({}, deadline::after(800us)) != outcome::timeout) ++granted;
          if (std::chrono::steady_clock::now() - before < 800us) ++early;
        }
      });
    }
  }
  CHECK(early == 0);
  CHECK(granted == 0);
}
