#include <penstock/sync/semaphore.hpp>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>

#include "../../support/catch.hpp"
#include "sync_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using detail::outcome;
using sync_testing::frozen_sync;
using sync_testing::step_executor;
using sync_testing::until;

using frozen_semaphore = basic_semaphore<frozen_sync>;
using frozen_request = sync_testing::frozen_wait<frozen_semaphore, frozen_semaphore::request>;

// A platform on which another thread comes right after each addition.
struct interrupted_sync : detail::std_sync {
  template <class T>
  struct atomic : std::atomic<T> {
    using std::atomic<T>::atomic;
    T fetch_add(T d, std::memory_order order) noexcept {
      const T before = std::atomic<T>::fetch_add(d, order);
      if (after_addition) after_addition();
      return before;
    }
  };
  static inline std::function<void()> after_addition;
};

semaphore_options any_fairness() { return {.fairness = GENERATE(fairness::eventual, fairness::fifo)}; }

TEST_CASE("semaphore: permits are taken all at once or not at all", "[semaphore]") {
  semaphore s{3, any_fairness()};
  CHECK(s.available() == 3);
  CHECK(s.acquire(2));
  CHECK(s.available() == 1);
  CHECK(s.try_acquire(2) == errc::empty);
  CHECK(s.available() == 1);
  CHECK(s.try_acquire());
  CHECK(s.try_acquire() == errc::empty);
  s.release(3);
  CHECK(s.available() == 3);
  CHECK(s.acquire(std::stop_token{}, 3));
  CHECK(s.available() == 0);
}

TEST_CASE("semaphore: asking for no permits takes nothing and does not wait", "[semaphore]") {
  semaphore s{0, any_fairness()};
  CHECK(s.acquire(0));
  CHECK(s.try_acquire(0));
  auto behind = spawn(s.async_acquire(2));
  auto none = spawn(s.async_acquire(0));
  CHECK(none.done());
  CHECK(s.waiters() == 1);
  behind.request_stop();
  CHECK(behind.done());
}

TEST_CASE("semaphore: a debt beyond max() is refused and changes nothing", "[semaphore]") {
  semaphore s{0};
  s.reduce_permits(semaphore::max());
  CHECK(s.available() == -semaphore::max());
  CHECK_THROWS_AS(s.reduce_permits(1), std::invalid_argument);
  CHECK_THROWS_AS(s.reduce_permits(semaphore::max()), std::invalid_argument);
  CHECK(s.available() == -semaphore::max());
  CHECK(s.try_acquire() == errc::empty);
}

TEST_CASE("semaphore: its limit can be set, and goes into debt for what is held", "[semaphore]") {
  semaphore s{5, any_fairness()};
  CHECK(s.acquire(4));
  s.set_limit(3);
  CHECK(s.limit() == 3);
  CHECK(s.available() == -1);
  auto waiting = spawn(s.async_acquire());
  s.release(1);
  CHECK_FALSE(waiting.done());
  s.set_limit(4);
  CHECK(waiting.done());
  CHECK(s.available() == 0);
  s.add_permits(2);
  s.reduce_permits(1);
  CHECK(s.limit() == 5);
  CHECK(s.available() == 1);
  CHECK_THROWS_AS(s.set_limit(-1), std::invalid_argument);
  s.release(semaphore::max() - 5);
  CHECK_THROWS_AS(s.set_limit(semaphore::max()), std::invalid_argument);
  CHECK(s.limit() == 5);
}

TEST_CASE("semaphore: counts out of range are refused and change nothing", "[semaphore]") {
  CHECK_THROWS_AS(semaphore{-1}, std::invalid_argument);
  CHECK_THROWS_AS(semaphore{semaphore::max() + 1}, std::invalid_argument);
  semaphore s{semaphore::max()};
  CHECK_THROWS_AS(s.release(), std::invalid_argument);
  CHECK_THROWS_AS(s.release(semaphore::max()), std::invalid_argument);
  CHECK(s.available() == semaphore::max());
  CHECK(s.acquire(semaphore::max()));
  s.release(semaphore::max());

  const std::stop_token stop;
  for (const std::ptrdiff_t n : {std::ptrdiff_t{-1}, semaphore::max() + 1, std::numeric_limits<std::ptrdiff_t>::min()}) {
    CHECK_THROWS_AS(s.acquire(n), std::invalid_argument);
    CHECK_THROWS_AS(s.acquire(stop, n), std::invalid_argument);
    CHECK_THROWS_AS(s.acquire(wait_limits{}, n), std::invalid_argument);
    CHECK_THROWS_AS(s.try_acquire(n), std::invalid_argument);
    CHECK_THROWS_AS(s.try_acquire_for(1ms, n), std::invalid_argument);
    CHECK_THROWS_AS(s.try_acquire_until({}, n), std::invalid_argument);
    CHECK_THROWS_AS(s.async_acquire(n), std::invalid_argument);
    CHECK_THROWS_AS(s.async_acquire_permit(n), std::invalid_argument);
    CHECK_THROWS_AS(s.acquire_permit(n), std::invalid_argument);
    CHECK_THROWS_AS(s.try_acquire_permit(n), std::invalid_argument);
    CHECK_THROWS_AS(s.release(n), std::invalid_argument);
    CHECK_THROWS_AS(s.add_permits(n), std::invalid_argument);
    CHECK_THROWS_AS(s.reduce_permits(n), std::invalid_argument);
  }
  CHECK(s.available() == semaphore::max());
}

TEST_CASE("semaphore: a release that is refused has lent nobody permits that do not exist", "[semaphore]") {
  basic_semaphore<interrupted_sync> s{10};
  interrupted_sync::after_addition = [&] { CHECK_FALSE(s.try_acquire(1'000)); };
  CHECK_THROWS_AS(s.release(basic_semaphore<interrupted_sync>::max()), std::invalid_argument);
  interrupted_sync::after_addition = {};
  CHECK(s.available() == 10);
}

TEST_CASE("semaphore: a release of millions adds them and serves who waits, as a small one does", "[semaphore]") {
  semaphore s{10, any_fairness()};
  s.release((1 << 26) + 1);
  CHECK(s.available() == (1 << 26) + 11);
  CHECK(s.try_acquire((1 << 26) + 11));
  auto waiting = spawn(s.async_acquire(70'000'000));
  s.release(70'000'001);
  REQUIRE(waiting.done());
  CHECK(waiting.result());
  CHECK(s.available() == 1);
}

TEST_CASE("semaphore: coroutines are served in the order of their arrival", "[semaphore]") {
  semaphore s{0, any_fairness()};
  std::vector<spawned<result<void>>> line;
  for (int i = 0; i < 5; ++i) line.push_back(spawn(s.async_acquire()));
  CHECK(s.waiters() == 5);
  for (std::size_t served = 0; served < line.size(); ++served) {
    for (std::size_t i = 0; i < line.size(); ++i) CHECK(line[i].done() == (i < served));
    s.release();
  }
  for (auto& w : line) CHECK(w.result());
  CHECK(s.available() == 0);
}

TEST_CASE("semaphore: threads and coroutines stand in one line", "[semaphore]") {
  semaphore s{0, {.fairness = fairness::fifo}};
  std::vector<int> order;  // guarded by the single permit
  const auto thread = [&](int id) {
    return [&s, &order, id] {
      if (!s.acquire()) return;
      order.push_back(id);
      s.release();
    };
  };
  struct coroutine {
    static task<void> run(semaphore& s, std::vector<int>& order, int id) {
      const auto acquired = co_await s.async_acquire();
      if (!acquired) co_return;
      order.push_back(id);
      s.release();
    }
  };
  std::jthread first{thread(1)};
  until([&] { return s.waiters() == 1; });
  auto second = spawn(coroutine::run(s, order, 2));
  std::jthread third{thread(3)};
  until([&] { return s.waiters() == 3; });
  auto fourth = spawn(coroutine::run(s, order, 4));
  REQUIRE(s.waiters() == 4);
  s.release();
  first.join();
  second.wait();
  third.join();
  fourth.wait();
  CHECK(order == std::vector{1, 2, 3, 4});
}

TEST_CASE("semaphore: threads that wait are served by one release of many", "[semaphore]") {
  semaphore s{0, any_fairness()};
  std::vector<std::jthread> threads;
  std::atomic<int> served{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      if (s.acquire(2)) ++served;
    });
  }
  until([&] { return s.waiters() == 4; });
  s.release(8);
  threads.clear();
  CHECK(served == 4);
  CHECK(s.available() == 0);
}

TEST_CASE("semaphore: a timed wait gives up at its deadline and not before", "[semaphore]") {
  manual_clock clock;
  semaphore s{0, any_fairness()};
  SECTION("a coroutine") {
    auto waiting = spawn(s.async_acquire() | with_timeout(10ms, clock));
    clock.advance(9'999'999ns);
    REQUIRE_FALSE(waiting.done());
    clock.advance(1ns);
    REQUIRE(waiting.done());
    CHECK(waiting.result() == errc::timeout);
  }
  SECTION("a coroutine with a deadline") {
    auto waiting = spawn(s.async_acquire() | with_deadline({clock.now() + 10ms, clock}));
    clock.advance(9ms);
    REQUIRE_FALSE(waiting.done());
    clock.advance(1ms);
    CHECK(waiting.result() == errc::timeout);
  }
  SECTION("a thread") {
    std::optional<result<void>> got;
    std::jthread waiting{[&] { got = s.try_acquire_until({clock.now() + 10ms, clock}); }};
    until([&] { return s.waiters() == 1; });
    clock.advance(9ms);
    CHECK(s.waiters() == 1);
    clock.advance(1ms);
    waiting.join();
    CHECK(*got == errc::timeout);
  }
  CHECK(s.waiters() == 0);
}

TEST_CASE("semaphore: the example of its header", "[semaphore]") {
  penstock::semaphore connections{8};
  std::ptrdiff_t free_inside = 0;
  if (auto permit = connections.acquire_permit({.deadline = penstock::deadline::after(50ms)}))
    free_inside = connections.available();
  CHECK(free_inside == 7);
  CHECK(connections.available() == 8);
}

TEST_CASE("semaphore: a time point of another clock of std's will do", "[semaphore]") {
  semaphore s{1};
  CHECK(s.try_acquire_until(std::chrono::system_clock::now() + 1h));
  CHECK(s.try_acquire_until(std::chrono::system_clock::now() + 1ms) == errc::timeout);
  CHECK(s.acquire({.deadline = std::chrono::system_clock::now() + 1ms}) == errc::timeout);
  auto waiting = spawn(s.async_acquire() | with_deadline(std::chrono::system_clock::now() + 1ms));
  CHECK(waiting.result() == errc::timeout);
}

TEST_CASE("semaphore: a clock that steps back makes a timed wait longer, never shorter", "[semaphore][hazard-24]") {
  manual_clock clock;
  semaphore s{0};
  auto waiting = spawn(s.async_acquire() | with_timeout(10ms, clock));
  clock.advance(5ms);
  clock.advance(-20ms);
  clock.advance(24ms);
  REQUIRE_FALSE(waiting.done());
  clock.advance(1ms);
  CHECK(waiting.result() == errc::timeout);
}

TEST_CASE("semaphore: free permits are taken even if the deadline has passed", "[semaphore]") {
  manual_clock clock;
  semaphore s{3};
  CHECK(s.try_acquire_until({clock.now() - 1ms, clock}));
  CHECK(s.try_acquire_for(0s));
  auto late = spawn(s.async_acquire() | with_timeout(0s, clock));
  REQUIRE(late.done());
  CHECK(late.result());
  CHECK(s.try_acquire_until({clock.now() - 1ms, clock}) == errc::timeout);
  CHECK(s.try_acquire_for(0s) == errc::timeout);
}

TEST_CASE("semaphore: a stop requested before the call takes nothing, even if permits are free", "[semaphore]") {
  semaphore s{1, any_fairness()};
  std::stop_source stop;
  stop.request_stop();
  CHECK(s.acquire(stop.get_token()) == errc::cancelled);
  CHECK(s.acquire({.stop = stop.get_token()}) == errc::cancelled);
  CHECK(s.acquire_permit(stop.get_token()).error() == errc::cancelled);
  auto waiting = spawn(s.async_acquire() | with_stop(stop.get_token()));
  REQUIRE(waiting.done());
  CHECK(waiting.result() == errc::cancelled);
  CHECK(s.available() == 1);
}

TEST_CASE("semaphore: a stop request ends a wait", "[semaphore][hazard-14]") {
  semaphore s{0, any_fairness()};
  SECTION("of a coroutine, which ends and frees its frame inside the request") {
    std::stop_source stop;
    auto waiting = spawn(s.async_acquire_permit() | with_stop(stop.get_token()));
    REQUIRE_FALSE(waiting.done());
    stop.request_stop();
    REQUIRE(waiting.done());
    CHECK(waiting.result().error() == errc::cancelled);
  }
  SECTION("of a coroutine by its own token") {
    auto waiting = spawn(s.async_acquire());
    waiting.request_stop();
    CHECK(waiting.result() == errc::cancelled);
  }
  SECTION("of a thread") {
    std::stop_source stop;
    std::optional<result<void>> got;
    std::jthread waiting{[&] { got = s.acquire(stop.get_token()); }};
    until([&] { return s.waiters() == 1; });
    stop.request_stop();
    waiting.join();
    CHECK(*got == errc::cancelled);
  }
  CHECK(s.waiters() == 0);
  CHECK(s.available() == 0);
}

TEST_CASE("semaphore: a cancelled coroutine goes on in its own context", "[semaphore][hazard-15]") {
  semaphore s{0};
  step_executor executor;
  auto waiting = spawn(s.async_acquire() | via(executor));
  waiting.request_stop();
  CHECK_FALSE(waiting.done());
  CHECK_FALSE(executor.idle());
  executor.run_all();
  CHECK(waiting.result() == errc::cancelled);
}

TEST_CASE("semaphore: a woken waiter that is cancelled passes the wake on", "[semaphore][hazard-01][race-12]") {
  frozen_semaphore s{0};
  step_executor executor;
  std::stop_source stop;
  frozen_request two{s, 2};
  frozen_request one{s, 1};
  two.begin(executor, std::chrono::nanoseconds::max(), stop.get_token());
  one.begin(executor);
  REQUIRE(s.waiters() == 2);
  s.release(2);  // wakes the first one, which is not running yet
  REQUIRE(s.waiters() == 1);
  CHECK(s.try_acquire());  // overtaken: one permit is too few for it now
  stop.request_stop();
  executor.run_all();
  REQUIRE(two.ended());
  CHECK(two.result() == outcome::cancelled);
  REQUIRE(one.ended());
  CHECK(one.result() == outcome::granted);
  CHECK(s.available() == 0);
}

TEST_CASE("semaphore: one woken waiter at a time, and it serves those behind it when it arrives", "[semaphore][hazard-01]") {
  frozen_semaphore s{0};
  step_executor executor;
  frozen_request first{s, 1};
  frozen_request second{s, 1};
  first.begin(executor);
  second.begin(executor);
  s.release();
  s.release();  // the second permit came while the first waiter was on its way
  CHECK(s.waiters() == 1);
  executor.run_all();
  REQUIRE(first.ended());
  REQUIRE(second.ended());
  CHECK(first.result() == outcome::granted);
  CHECK(second.result() == outcome::granted);
  CHECK(s.available() == 0);
}

TEST_CASE("semaphore: when the head of the line gives up, those behind it are served", "[semaphore][hazard-02][race-10]") {
  manual_clock clock;
  semaphore s{0, any_fairness()};
  auto small = std::optional<spawned<result<void>>>{};
  SECTION("stopped") {
    auto big = spawn(s.async_acquire(5));
    small.emplace(spawn(s.async_acquire(1)));
    s.release();
    REQUIRE_FALSE(small->done());
    big.request_stop();
    CHECK(big.result() == errc::cancelled);
  }
  SECTION("timed out") {
    auto big = spawn(s.async_acquire(5) | with_timeout(1ms, clock));
    small.emplace(spawn(s.async_acquire(1)));
    s.release();
    REQUIRE_FALSE(small->done());
    clock.advance(1ms);
    CHECK(big.result() == errc::timeout);
  }
  SECTION("a stopped thread") {
    std::stop_source stop;
    std::optional<result<void>> got;
    std::jthread big{[&] { got = s.acquire(stop.get_token(), 5); }};
    until([&] { return s.waiters() == 1; });
    small.emplace(spawn(s.async_acquire(1)));
    s.release();
    REQUIRE_FALSE(small->done());
    stop.request_stop();
    big.join();
    CHECK(*got == errc::cancelled);
  }
  SECTION("a thread that timed out by the steady clock") {
    std::optional<result<void>> got;
    std::jthread big{[&] { got = s.try_acquire_for(1ms, 5); }};
    small.emplace(spawn(s.async_acquire(1)));
    s.release();
    big.join();
    CHECK(*got == errc::timeout);
  }
  REQUIRE(small->done());
  CHECK(small->result());
  CHECK(s.available() == 0);
}

TEST_CASE("semaphore: a wait for many that is cancelled keeps none of them", "[semaphore][hazard-03][race-11]") {
  semaphore s{2, any_fairness()};
  auto waiting = spawn(s.async_acquire(3));
  CHECK(s.available() == 2);
  waiting.request_stop();
  CHECK(waiting.result() == errc::cancelled);
  CHECK(s.available() == 2);
  s.release();
  CHECK(s.try_acquire(3));
}

TEST_CASE("semaphore: free and held permits add up after every step of a random history", "[semaphore][hazard-03]") {
  const semaphore_options options = any_fairness();
  const unsigned seed = GENERATE(1U, 2U, 3U, 4U, 5U, 6U, 7U, 8U);
  INFO("seed " << seed);
  std::mt19937 random{seed};
  const auto pick = [&](int below) { return static_cast<int>(random() % static_cast<unsigned>(below)); };

  manual_clock clock;
  std::ptrdiff_t total = 4;
  semaphore s{total, options};
  std::vector<permit> held;
  std::deque<spawned<result<permit>>> waiting;
  for (int step = 0; step < 500; ++step) {
    switch (pick(7)) {
      case 0:
      case 1:
        waiting.push_back(spawn(s.async_acquire_permit(pick(6)) | with_timeout(std::chrono::milliseconds{pick(20)}, clock)));
        break;
      case 2:
        if (!held.empty()) held.erase(held.begin() + pick(static_cast<int>(held.size())));
        break;
      case 3:
        if (!waiting.empty()) waiting[static_cast<std::size_t>(pick(static_cast<int>(waiting.size())))].request_stop();
        break;
      case 4:
        clock.advance(std::chrono::milliseconds{pick(5)});
        break;
      case 5:
        if (auto p = s.try_acquire_permit(pick(3))) held.push_back(std::move(*p));
        break;
      default:
        if (const int n = pick(3); total + n <= 8) {
          s.add_permits(n);
          total += n;
        } else {
          s.reduce_permits(n);
          total -= n;
        }
    }
    for (auto w = waiting.begin(); w != waiting.end();) {
      if (!w->done()) {
        ++w;
        continue;
      }
      if (auto p = w->result()) held.push_back(std::move(*p));
      w = waiting.erase(w);
    }
    std::ptrdiff_t sum = s.available();
    for (const permit& p : held) sum += p.size();
    REQUIRE(sum == total);
    REQUIRE(s.waiters() == waiting.size());
  }
  waiting.clear();
  held.clear();
  CHECK(s.available() == total);
}

TEST_CASE("semaphore: a grant that was committed beats the deadline", "[semaphore][hazard-04][race-09]") {
  manual_clock clock;
  step_executor executor;
  semaphore s{0, any_fairness()};
  auto waiting = spawn(s.async_acquire() | with_timeout(10ms, clock) | via(executor));
  SECTION("released first: the permit is its own, though it goes on after the deadline") {
    clock.advance(9ms);
    s.release();
    clock.advance(1ms);
    executor.run_all();
    CHECK(waiting.result());
    CHECK(s.available() == 0);
  }
  SECTION("timed out first: the permit stays free") {
    clock.advance(10ms);
    s.release();
    executor.run_all();
    CHECK(waiting.result() == errc::timeout);
    CHECK(s.available() == 1);
  }
  SECTION("stopped after the release: the permit is its own") {
    s.release();
    waiting.request_stop();
    executor.run_all();
    CHECK(waiting.result());
    CHECK(s.available() == 0);
  }
}

TEST_CASE("semaphore: release, deadline and stop at once leave the permit in exactly one place",
          "[semaphore][hazard-01][hazard-04][hazard-06][race-05]") {
  const semaphore_options options = any_fairness();
  for (int round = 0; round < 300; ++round) {
    manual_clock clock;
    semaphore s{0, options};
    std::stop_source stop;
    std::optional<result<void>> got;
    {
      std::jthread waiting{[&] { got = s.acquire({.stop = stop.get_token(), .deadline = {clock.now() + 1ms, clock}}); }};
      until([&] { return s.waiters() == 1; });
      std::jthread releasing{[&] { s.release(); }};
      if (round % 2 == 0) {
        clock.advance(1ms);
      } else {
        stop.request_stop();
      }
    }
    REQUIRE(s.available() == (*got ? 0 : 1));
    if (!*got) REQUIRE(got->error() == (round % 2 == 0 ? errc::timeout : errc::cancelled));
  }
}

TEST_CASE("semaphore: a waiter that is overtaken again and again keeps its one deadline", "[semaphore][hazard-05]") {
  frozen_semaphore s{0};
  step_executor executor;
  frozen_request waiting{s, 1};
  waiting.begin(executor, 400us);
  for (int i = 0; i < 3; ++i) {
    frozen_sync::advance(100us);
    s.release();
    REQUIRE(s.try_acquire());
    executor.run_all();
    REQUIRE_FALSE(waiting.ended());
    REQUIRE(s.waiters() == 1);
  }
  frozen_sync::advance(99'999ns);
  executor.run_all();
  REQUIRE_FALSE(waiting.ended());
  frozen_sync::advance(1ns);
  executor.run_all();
  REQUIRE(waiting.ended());
  CHECK(waiting.result() == outcome::timeout);
}

TEST_CASE("semaphore: a release does not touch a waiter that has gone", "[semaphore][hazard-06]") {
  semaphore s{0, any_fairness()};
  {
    auto gone = spawn(s.async_acquire());
    CHECK(s.waiters() == 1);
  }  // stopped, its frame freed
  CHECK(s.waiters() == 0);
  s.release();
  CHECK(s.available() == 1);
}

TEST_CASE("semaphore: what runs when a waiter is served may use the same semaphore", "[semaphore][hazard-17][race-16]") {
  struct coroutine {
    static task<void> hold_briefly(semaphore& s, int& served) {
      auto p = co_await s.async_acquire_permit();
      static_cast<void>(s.waiters());  // takes the lock
      if (p) ++served;
    }  // gives the permit back inside the release() that granted it
    static task<void> close_again(semaphore& s, int& closed) {
      const auto r = co_await s.async_acquire();
      static_cast<void>(s.waiters());
      s.close();
      s.release();
      if (r == errc::closed) ++closed;
    }
  };
  semaphore s{0, any_fairness()};
  SECTION("release") {
    int served = 0;
    std::deque<spawned<void>> line;
    for (int i = 0; i < 10'000; ++i) line.push_back(spawn(coroutine::hold_briefly(s, served)));
    s.release();
    CHECK(served == 10'000);
    CHECK(s.available() == 1);
    CHECK(s.waiters() == 0);
  }
  SECTION("close") {
    int closed = 0;
    std::deque<spawned<void>> line;
    for (int i = 0; i < 100; ++i) line.push_back(spawn(coroutine::close_again(s, closed)));
    s.close();
    CHECK(closed == 100);
    CHECK(s.available() == 100);
  }
}

TEST_CASE("semaphore: a huge timeout means for ever and a negative one means now", "[semaphore][hazard-22]") {
  manual_clock clock;
  semaphore s{0, any_fairness()};
  CHECK(s.try_acquire_for(-1h) == errc::timeout);
  CHECK(s.try_acquire_for(std::chrono::hours::min()) == errc::timeout);
  CHECK(s.try_acquire_until(std::chrono::steady_clock::time_point::min()) == errc::timeout);

  auto coroutine = spawn(s.async_acquire() | with_timeout(std::chrono::hours::max(), clock));
  clock.advance(24h * 365 * 100);
  REQUIRE_FALSE(coroutine.done());
  s.release();
  CHECK(coroutine.result());

  const auto waits = [&](auto acquire) {
    std::optional<result<void>> got;
    std::jthread thread{[&] { got = acquire(); }};
    until([&] { return s.waiters() == 1; });
    s.release();
    thread.join();
    return got->has_value();
  };
  CHECK(waits([&] { return s.try_acquire_for(std::chrono::hours::max()); }));
  CHECK(waits([&] { return s.try_acquire_for(std::chrono::nanoseconds::max()); }));
  CHECK(waits([&] { return s.try_acquire_for(std::chrono::duration<double>::max()); }));
  CHECK(waits([&] { return s.try_acquire_until(std::chrono::steady_clock::time_point::max()); }));
  CHECK(waits([&] { return s.try_acquire_until({manual_clock::time_point::max(), clock}); }));
}

TEST_CASE("semaphore: with fairness::fifo nobody overtakes a request for many", "[semaphore][hazard-34][race-15]") {
  semaphore s{3, {.fairness = fairness::fifo}};
  REQUIRE(s.acquire());
  auto big = spawn(s.async_acquire(3));
  REQUIRE(s.available() == 2);
  CHECK(s.try_acquire() == errc::empty);
  CHECK(s.try_acquire_for(0s) == errc::timeout);
  auto small = spawn(s.async_acquire());
  CHECK_FALSE(small.done());
  s.release();
  REQUIRE(big.done());
  CHECK_FALSE(small.done());
  s.release(3);
  REQUIRE(small.done());
  CHECK(big.result());
  CHECK(small.result());
  CHECK(s.available() == 2);
  CHECK(s.try_acquire());  // with nobody in line the fast path is open again
}

TEST_CASE("semaphore: with fairness::eventual a waiter is overtaken for half a millisecond at the most",
          "[semaphore][hazard-34][race-15]") {
  frozen_semaphore s{0};
  step_executor executor;
  frozen_request waiting{s, 1};
  waiting.begin(executor);
  frozen_sync::advance(499'999ns);
  s.release();
  CHECK(s.try_acquire());  // woken and overtaken
  SECTION("it looks in vain in time, and the next permit comes after its patience has ended: handed over") {
    executor.run_all();
    frozen_sync::advance(1ns);
  }
  SECTION("its patience has ended when it looks: it keeps the next permit for itself from then on") {
    frozen_sync::advance(1ns);
    executor.run_all();
  }
  REQUIRE_FALSE(waiting.ended());
  s.release();
  CHECK(s.available() == 0);
  CHECK(s.try_acquire() == errc::empty);
  executor.run_all();
  REQUIRE(waiting.ended());
  CHECK(waiting.result() == outcome::granted);
  s.release();
  CHECK(s.try_acquire());
}

TEST_CASE("semaphore: with fairness::eventual a woken waiter that does not arrive holds those behind it up for a bounded time",
          "[semaphore][hazard-34][race-15]") {
  const auto between = GENERATE(1us, 20us, 400us, 1000us);  // from one release to the next
  frozen_semaphore s{0};
  step_executor busy;
  step_executor executor;
  frozen_request woken{s, 1};
  frozen_request waiting{s, 1};
  woken.begin(busy);
  waiting.begin(executor);
  s.release();  // wakes the first one, whose executor does not run
  std::chrono::nanoseconds overtaken_for{0};
  int after_patience = 0;
  while (s.try_acquire()) {
    REQUIRE(after_patience < 32);
    if (overtaken_for >= 500us) ++after_patience;
    frozen_sync::advance(between);
    overtaken_for += between;
    s.release();
  }
  CHECK(overtaken_for >= 500us);
  executor.run_all();
  REQUIRE(waiting.ended());
  CHECK(waiting.result() == outcome::granted);

  // The one that was late has kept its place, and nobody overtakes it from now on.
  auto third = frozen_request{s, 1};
  third.begin(executor);
  busy.run_all();
  REQUIRE_FALSE(woken.ended());
  s.release();
  CHECK(s.try_acquire() == errc::empty);
  busy.run_all();
  REQUIRE(woken.ended());
  CHECK(woken.result() == outcome::granted);
  REQUIRE_FALSE(third.ended());
  s.release();
  executor.run_all();
  REQUIRE(third.ended());
  s.release();
  CHECK(s.try_acquire());
}

TEST_CASE("semaphore: permits are kept for a request for many that stands behind a woken waiter that does not arrive",
          "[semaphore][hazard-34][race-15]") {
  frozen_semaphore s{0};
  step_executor busy;
  step_executor executor;
  frozen_request woken{s, 1};
  frozen_request big{s, 3};
  woken.begin(busy);
  big.begin(executor);
  s.release();
  frozen_sync::advance(500us);
  s.release();
  CHECK(s.try_acquire() == errc::empty);  // two are free, and kept
  SECTION("it gets them") {
    s.release();
    executor.run_all();
    REQUIRE(big.ended());
    CHECK(s.available() == 0);
    s.release();
    busy.run_all();
    REQUIRE(woken.ended());
  }
  SECTION("the woken one arrives before there are enough, and comes first") {
    busy.run_all();
    REQUIRE(woken.ended());
    CHECK(s.available() == 1);
    CHECK(s.try_acquire() == errc::empty);
    s.release(2);
    executor.run_all();
    REQUIRE(big.ended());
  }
  CHECK(woken.result() == outcome::granted);
  CHECK(big.result() == outcome::granted);
  CHECK(s.available() == 0);
  s.release();
  CHECK(s.try_acquire());
}

TEST_CASE("semaphore: the line is left to a woken waiter that is on its way for less than half a millisecond",
          "[semaphore][race-15]") {
  frozen_semaphore s{0};
  step_executor executor;
  frozen_request first{s, 1};
  frozen_request second{s, 1};
  first.begin(executor);
  second.begin(executor);
  frozen_sync::advance(499us);
  s.release();  // wakes the first one
  frozen_sync::advance(499us);
  s.release();
  CHECK(s.waiters() == 1);  // the second one is owed permits by now, but stands behind
  executor.run_all();
  REQUIRE(first.ended());
  REQUIRE(second.ended());
  CHECK(s.available() == 0);
}

TEST_CASE("semaphore: with fairness::eventual a patient request for many collects single permits", "[semaphore][hazard-34]") {
  frozen_semaphore s{0};
  step_executor executor;
  frozen_request big{s, 3};
  big.begin(executor);
  frozen_sync::advance(500us);
  s.release();
  CHECK(s.try_acquire() == errc::empty);  // kept for the one in line
  s.release();
  CHECK(s.try_acquire() == errc::empty);
  s.release();
  executor.run_all();
  REQUIRE(big.ended());
  CHECK(big.result() == outcome::granted);
  CHECK(s.available() == 0);
}

TEST_CASE("semaphore: a waiter that is owed its permits when it looks in vain has them kept at once", "[semaphore][race-15]") {
  frozen_semaphore s{0};
  step_executor executor;
  frozen_request two{s, 2};
  two.begin(executor);
  s.release(2);
  REQUIRE(s.try_acquire());  // woken and overtaken: there is one left
  frozen_sync::advance(500us);
  executor.run_all();
  REQUIRE_FALSE(two.ended());
  CHECK(s.available() == 1);
  CHECK(s.try_acquire() == errc::empty);  // without a release in between
  s.release();
  executor.run_all();
  REQUIRE(two.ended());
  CHECK(two.result() == outcome::granted);
}

TEST_CASE("semaphore: permits that were kept for one that gave up are free though others wait",
          "[semaphore][hazard-02][race-15]") {
  frozen_semaphore s{0};
  step_executor executor;
  frozen_request big{s, 5};
  frozen_request two{s, 2};
  std::stop_source stop;
  big.begin(executor, std::chrono::nanoseconds::max(), stop.get_token());
  frozen_sync::advance(500us);
  two.begin(executor);
  s.release();
  REQUIRE(s.try_acquire() == errc::empty);  // kept for the big one
  stop.request_stop();
  executor.run_all();
  REQUIRE(big.ended());
  CHECK(big.result() == outcome::cancelled);
  CHECK(s.try_acquire());  // the one behind it has just come, and nothing is kept for it yet
  s.release(2);
  executor.run_all();
  REQUIRE(two.ended());
  CHECK(two.result() == outcome::granted);
  CHECK(s.available() == 0);
}

TEST_CASE("semaphore: a reserved permit is free again when the one that it was kept for gives up", "[semaphore][hazard-02]") {
  frozen_semaphore s{0};
  step_executor executor;
  frozen_request big{s, 2};
  big.begin(executor, 1ms);
  frozen_sync::advance(500us);
  s.release();
  REQUIRE(s.try_acquire() == errc::empty);
  frozen_sync::advance(500us);
  executor.run_all();
  REQUIRE(big.ended());
  CHECK(big.result() == outcome::timeout);
  CHECK(s.try_acquire());
}

TEST_CASE("semaphore: reducing below what is free makes a debt that releases pay first", "[semaphore]") {
  semaphore s{2, any_fairness()};
  s.reduce_permits(3);
  CHECK(s.available() == -1);
  CHECK(s.try_acquire() == errc::empty);
  auto waiting = spawn(s.async_acquire());
  s.release();
  CHECK(s.available() == 0);
  REQUIRE_FALSE(waiting.done());
  s.add_permits(1);
  REQUIRE(waiting.done());
  CHECK(waiting.result());
  CHECK(s.available() == 0);
}

TEST_CASE("semaphore: close ends every kind of wait, now and from now on", "[semaphore][hazard-08][race-13]") {
  manual_clock clock;
  semaphore s{0, any_fairness()};
  std::stop_source stop;
  std::vector<result<void>> got(3);
  {
    std::jthread plain{[&] { got[0] = s.acquire(); }};
    std::jthread timed{[&] { got[1] = s.try_acquire_for(1h); }};
    std::jthread stoppable{[&] { got[2] = s.acquire({.stop = stop.get_token(), .deadline = {clock.now() + 1h, clock}}); }};
    auto coroutine = spawn(s.async_acquire(7));
    auto timed_coroutine = spawn(s.async_acquire() | with_timeout(1h, clock));
    auto owner = spawn(s.async_acquire_permit());
    until([&] { return s.waiters() == 6; });
    s.close();
    CHECK(coroutine.result() == errc::closed);
    CHECK(timed_coroutine.result() == errc::closed);
    CHECK(owner.result().error() == errc::closed);
  }
  for (const auto& r : got) CHECK(r == errc::closed);

  s.close();
  CHECK(s.is_closed());
  CHECK(s.waiters() == 0);
  s.release(5);
  CHECK(s.available() == 5);
  CHECK(s.acquire() == errc::closed);
  CHECK(s.acquire(0) == errc::closed);
  CHECK(s.acquire(stop.get_token()) == errc::closed);
  CHECK(s.try_acquire() == errc::closed);
  CHECK(s.try_acquire_for(1h) == errc::closed);
  CHECK(s.acquire_permit().error() == errc::closed);
  auto late = spawn(s.async_acquire());
  REQUIRE(late.done());
  CHECK(late.result() == errc::closed);
}

TEST_CASE("semaphore: a waiter on its way when the semaphore closes finds it closed", "[semaphore][race-13]") {
  frozen_semaphore s{0};
  step_executor executor;
  frozen_request woken{s, 1};
  woken.begin(executor);
  s.release();
  s.close();
  executor.run_all();
  REQUIRE(woken.ended());
  CHECK(woken.result() == outcome::closed);
  CHECK(s.available() == 1);
}

TEST_CASE("semaphore: nobody who comes while it closes is left behind", "[semaphore][hazard-08]") {
  const semaphore_options options = any_fairness();
  for (int round = 0; round < 300; ++round) {
    semaphore s{0, options};
    result<void> got;
    {
      std::jthread waiting{[&] { got = s.acquire(); }};
      if (round % 3 == 0) until([&] { return s.waiters() == 1; });
      s.close();
    }
    REQUIRE(got == errc::closed);
  }
}

TEST_CASE("semaphore: no permit is lost between threads that acquire, time out and stop", "[semaphore]") {
  semaphore s{3, any_fairness()};
  std::atomic<std::ptrdiff_t> held{0};
  std::atomic<bool> exceeded{false};
  std::stop_source stop;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 2'000; ++i) {
          const std::ptrdiff_t n = 1 + (i + t) % 3;
          result<permit> p = (i + t) % 4 == 0   ? s.acquire_permit({.deadline = deadline::after(10us)}, n)
                             : (i + t) % 4 == 1 ? s.acquire_permit(stop.get_token(), n)
                                                : s.acquire_permit(n);
          if (!p) continue;
          if (held.fetch_add(n) + n > 3) exceeded = true;
          held -= n;
        }
      });
    }
  }
  CHECK_FALSE(exceeded);
  CHECK(s.available() == 3);
  CHECK(s.waiters() == 0);
}

}  // namespace
