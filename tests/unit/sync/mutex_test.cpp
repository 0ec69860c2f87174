#include <penstock/sync/mutex.hpp>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>

#include <penstock/sync/shared_mutex.hpp>

#include "../../support/catch.hpp"
#include "sync_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using sync_testing::step_executor;
using sync_testing::until;

using guard = std::unique_lock<penstock::mutex>;
static_assert(std::is_same_v<penstock::mutex::guard, guard>);

TEST_CASE("mutex: works with std's lock guards", "[mutex]") {
  penstock::mutex m;
  penstock::mutex other;
  {
    std::scoped_lock both{m, other};
    CHECK_FALSE(m.try_lock());
    CHECK_FALSE(other.try_lock());
    CHECK_FALSE(std::unique_lock{m, std::try_to_lock}.owns_lock());
    CHECK_FALSE(std::unique_lock{m, 0s}.owns_lock());
    CHECK_FALSE(std::unique_lock{m, std::chrono::steady_clock::now()}.owns_lock());
    CHECK_FALSE(m.try_lock_for(-1h));
  }
  {
    std::lock_guard mine{m};
  }
  CHECK(std::unique_lock{m, std::try_to_lock}.owns_lock());
  CHECK(std::unique_lock{m, 0s}.owns_lock());
  CHECK(std::unique_lock{m, std::chrono::steady_clock::now()}.owns_lock());
  REQUIRE(m.try_lock());
  m.unlock();
}

TEST_CASE("mutex: std's timed guards take time points of any of std's clocks", "[mutex]") {
  penstock::mutex m;
  using std::chrono::steady_clock;
  using std::chrono::system_clock;
  {
    const std::unique_lock first{m, system_clock::now() + 1h};
    CHECK(first.owns_lock());
    CHECK_FALSE(std::unique_lock{m, system_clock::now() + 1ms}.owns_lock());
    CHECK_FALSE(std::unique_lock{m, steady_clock::now() + 1ms}.owns_lock());
    CHECK_FALSE(m.try_lock_until(system_clock::now()));
  }
  penstock::shared_mutex s;
  const std::shared_lock reader{s, system_clock::now() + 1h};
  CHECK(reader.owns_lock());
  CHECK(std::shared_lock{s, system_clock::now()}.owns_lock());
  CHECK_FALSE(std::unique_lock{s, system_clock::now() + 1ms}.owns_lock());
}

TEST_CASE("mutex: works with std::condition_variable_any", "[mutex]") {
  penstock::mutex m;
  std::condition_variable_any changed;
  bool ready = false;
  std::jthread setter{[&] {
    std::scoped_lock mine{m};
    ready = true;
    changed.notify_one();
  }};
  std::unique_lock mine{m};
  changed.wait(mine, [&] { return ready; });
  CHECK(mine.owns_lock());
}

TEST_CASE("mutex: a coroutine that has it keeps the others out", "[mutex]") {
  penstock::mutex m{{.fairness = GENERATE(fairness::eventual, fairness::fifo)}};
  auto first = spawn(m.async_lock());
  auto second = spawn(m.async_lock());
  auto third = spawn(m.async_lock());
  REQUIRE(first.done());
  CHECK(m.waiters() == 2);
  {
    const auto held = first.result();
    REQUIRE(held);
    CHECK(held->owns_lock());
    CHECK(held->mutex() == &m);
    CHECK_FALSE(second.done());
    CHECK_FALSE(m.try_lock());
  }
  REQUIRE(second.done());
  CHECK_FALSE(third.done());
  second.result()->unlock();
  REQUIRE(third.done());
  CHECK(third.result());
  CHECK(m.try_lock());
  m.unlock();
}

TEST_CASE("mutex: threads and coroutines exclude each other", "[mutex]") {
  struct coroutine {
    static task<void> count(penstock::mutex& m, int& value, int n) {
      for (int i = 0; i < n; ++i) {
        auto held = co_await m.async_lock();
        if (held) ++value;
      }
    }
  };
  penstock::mutex m{{.fairness = GENERATE(fairness::eventual, fairness::fifo)}};
  int value = 0;  // guarded by m
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 2'000; ++i) {
          std::scoped_lock mine{m};
          ++value;
        }
      });
    }
    std::vector<spawned<void>> coroutines;
    for (int c = 0; c < 4; ++c) coroutines.push_back(spawn(coroutine::count(m, value, 500)));
    for (auto& c : coroutines) c.wait();
  }
  std::scoped_lock mine{m};
  CHECK(value == 6'000);
}

TEST_CASE("mutex: a timed wait gives up at its deadline and not before", "[mutex]") {
  manual_clock clock;
  penstock::mutex m;
  std::unique_lock held{m};
  auto waiting = spawn(m.async_lock() | with_timeout(10ms, clock));
  bool got = true;
  std::optional<result<guard>> limited;
  std::jthread until_then{[&] { got = m.try_lock_until({clock.now() + 10ms, clock}); }};
  std::jthread with_limits{[&] { limited = m.lock({.deadline = {clock.now() + 10ms, clock}}); }};
  until([&] { return m.waiters() == 3; });
  clock.advance(9ms);
  CHECK(m.waiters() == 3);
  clock.advance(1ms);
  until_then.join();
  with_limits.join();
  CHECK(waiting.result().error() == errc::timeout);
  CHECK_FALSE(got);
  CHECK(limited->error() == errc::timeout);
  held.unlock();
  const auto late = m.lock({.deadline = {clock.now() - 1s, clock}});  // free, so it is had
  CHECK(late);
}

TEST_CASE("mutex: a stopped wait takes nothing", "[mutex]") {
  penstock::mutex m;
  std::stop_source stop;
  {
    std::unique_lock held{m};
    auto waiting = spawn(m.async_lock() | with_stop(stop.get_token()));
    auto behind = spawn(m.async_lock());
    std::optional<result<guard>> got;
    std::jthread thread{[&] { got = m.lock(stop.get_token()); }};
    until([&] { return m.waiters() == 3; });
    stop.request_stop();
    thread.join();
    CHECK(waiting.result().error() == errc::cancelled);
    CHECK(got->error() == errc::cancelled);
    held.unlock();
    CHECK(behind.result());
  }
  CHECK(m.lock(stop.get_token()).error() == errc::cancelled);  // although it is free
  CHECK(m.lock(std::stop_token{}));
  REQUIRE(m.try_lock());
  m.unlock();
}

TEST_CASE("mutex: the lock is never lost to a deadline", "[mutex][hazard-04][race-09]") {
  manual_clock clock;
  step_executor executor;
  penstock::mutex m{{.fairness = GENERATE(fairness::eventual, fairness::fifo)}};
  std::unique_lock held{m};
  auto waiting = spawn(m.async_lock() | with_timeout(10ms, clock) | via(executor));
  held.unlock();
  clock.advance(10ms);
  executor.run_all();
  {
    const auto mine = waiting.result();
    REQUIRE(mine);
    CHECK_FALSE(m.try_lock());
  }
  REQUIRE(m.try_lock());
  m.unlock();
}

TEST_CASE("mutex: a result with the lock that nobody looked at gives the lock back", "[mutex]") {
  penstock::mutex m;
  {
    auto unseen = spawn(m.async_lock());
  }
  REQUIRE(m.try_lock());
  m.unlock();
}

TEST_CASE("mutex: a long line of coroutines passes inside one unlock", "[mutex][hazard-17][race-16]") {
  struct coroutine {
    static task<void> touch(penstock::mutex& m, int& value) {
      auto held = co_await m.async_lock();
      static_cast<void>(m.waiters());
      if (held) ++value;
    }
  };
  penstock::mutex m;
  int value = 0;
  std::unique_lock held{m};
  std::deque<spawned<void>> line;
  for (int i = 0; i < 10'000; ++i) line.push_back(spawn(coroutine::touch(m, value)));
  held.unlock();
  CHECK(value == 10'000);
}

TEST_CASE("mutex: may be unlocked on another thread than it was locked on", "[mutex]") {
  penstock::mutex m;
  std::unique_lock held{m};
  std::jthread{[mine = std::move(held)]() mutable { mine.unlock(); }}.join();
  REQUIRE(m.try_lock());
  m.unlock();
}

}  // namespace
