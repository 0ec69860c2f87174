#include <penstock/sync/shared_mutex.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/event.hpp>

#include "../../support/catch.hpp"
#include "sync_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using sync_testing::step_executor;
using sync_testing::until;

using guard = std::unique_lock<penstock::shared_mutex>;
using shared_guard = std::shared_lock<penstock::shared_mutex>;
static_assert(std::is_same_v<penstock::shared_mutex::guard, guard>);
static_assert(std::is_same_v<penstock::shared_mutex::shared_guard, shared_guard>);

TEST_CASE("shared_mutex: many read, or one writes", "[shared_mutex]") {
  penstock::shared_mutex m;
  {
    std::shared_lock first{m};
    std::shared_lock second{m};
    CHECK(m.try_lock_shared());
    m.unlock_shared();
    CHECK_FALSE(m.try_lock());
    CHECK_FALSE(std::unique_lock(m, 0s).owns_lock());
    CHECK(std::shared_lock(m, 0s).owns_lock());
    CHECK(std::shared_lock(m, std::chrono::steady_clock::now()).owns_lock());
  }
  {
    std::unique_lock writing{m};
    CHECK_FALSE(m.try_lock());
    CHECK_FALSE(m.try_lock_shared());
    CHECK_FALSE(std::unique_lock(m, std::try_to_lock).owns_lock());
    CHECK_FALSE(std::unique_lock(m, std::chrono::steady_clock::now()).owns_lock());
    CHECK_FALSE(std::shared_lock(m, std::try_to_lock).owns_lock());
    CHECK_FALSE(std::shared_lock(m, -1h).owns_lock());
    CHECK_FALSE(std::shared_lock(m, std::chrono::steady_clock::now()).owns_lock());
  }
  std::scoped_lock again{m};
  CHECK_FALSE(m.try_lock_shared());
}

TEST_CASE("shared_mutex: phases follow the order of arrival, so that neither side starves", "[shared_mutex][hazard-34]") {
  struct coroutine {
    static task<void> read(penstock::shared_mutex& m, std::string& log, char name, event& leave) {
      auto held = co_await m.async_lock_shared();
      if (!held) co_return;
      log += name;
      const auto r = co_await leave.async_wait();
      static_cast<void>(r);
    }
    static task<void> write(penstock::shared_mutex& m, std::string& log, char name, event& leave) {
      auto held = co_await m.async_lock();
      if (!held) co_return;
      log += name;
      const auto r = co_await leave.async_wait();
      static_cast<void>(r);
    }
  };
  penstock::shared_mutex m;
  std::string log;
  event leave_a, leave_b, leave_w, leave_v, leave_c;
  auto a = spawn(coroutine::read(m, log, 'a', leave_a));
  auto b = spawn(coroutine::read(m, log, 'b', leave_b));
  CHECK(log == "ab");
  auto w = spawn(coroutine::write(m, log, 'W', leave_w));
  auto c = spawn(coroutine::read(m, log, 'c', leave_c));  // others read, but a writer stands before it
  auto d = spawn(coroutine::read(m, log, 'd', leave_c));
  auto v = spawn(coroutine::write(m, log, 'V', leave_v));
  auto e = spawn(coroutine::read(m, log, 'e', leave_c));
  CHECK(m.waiters() == 5);
  CHECK_FALSE(m.try_lock_shared());
  leave_a.set();
  CHECK(log == "ab");
  leave_b.set();
  CHECK(log == "abW");
  leave_w.set();
  CHECK(log == "abWcd");  // together, and the one behind the second writer not with them
  leave_c.set();
  CHECK(log == "abWcdV");
  leave_v.set();
  CHECK(log == "abWcdVe");
  CHECK(m.waiters() == 0);
  REQUIRE(m.try_lock());
  m.unlock();
}

TEST_CASE("shared_mutex: when a writer in line gives up, the readers behind it enter", "[shared_mutex][hazard-02][race-10]") {
  manual_clock clock;
  penstock::shared_mutex m;
  std::shared_lock reading{m};
  SECTION("stopped") {
    auto writer = spawn(m.async_lock());
    auto first = spawn(m.async_lock_shared());
    auto second = spawn(m.async_lock_shared());
    REQUIRE_FALSE(first.done());
    writer.request_stop();
    CHECK(writer.result().error() == errc::cancelled);
    REQUIRE(first.done());
    REQUIRE(second.done());
    CHECK(first.result());
    CHECK(second.result());
  }
  SECTION("a thread that timed out") {
    bool got = true;
    std::jthread writer{[&] { got = m.try_lock_until({clock.now() + 10ms, clock}); }};
    until([&] { return m.waiters() == 1; });
    auto first = spawn(m.async_lock_shared());
    REQUIRE_FALSE(first.done());
    clock.advance(10ms);
    writer.join();
    CHECK_FALSE(got);
    REQUIRE(first.done());
    CHECK(first.result());
  }
  reading.unlock();
  REQUIRE(m.try_lock());
  m.unlock();
}

TEST_CASE("shared_mutex: a timed wait gives up at its deadline and not before", "[shared_mutex]") {
  manual_clock clock;
  penstock::shared_mutex m;
  const deadline soon{clock.now() + 10ms, clock};
  SECTION("readers behind a writer") {
    std::unique_lock writing{m};
    auto waiting = spawn(m.async_lock_shared() | with_timeout(10ms, clock));
    bool got = true;
    std::optional<result<shared_guard>> limited;
    std::jthread until_then{[&] { got = m.try_lock_shared_until(soon); }};
    std::jthread with_limits{[&] { limited = m.lock_shared({.deadline = soon}); }};
    until([&] { return m.waiters() == 3; });
    clock.advance(9ms);
    CHECK(m.waiters() == 3);
    clock.advance(1ms);
    until_then.join();
    with_limits.join();
    CHECK(waiting.result().error() == errc::timeout);
    CHECK_FALSE(got);
    CHECK(limited->error() == errc::timeout);
  }
  SECTION("a writer behind a reader") {
    std::shared_lock reading{m};
    std::optional<result<guard>> limited;
    std::jthread with_limits{[&] { limited = m.lock({.deadline = soon}); }};
    until([&] { return m.waiters() == 1; });
    clock.advance(9ms);
    CHECK(m.waiters() == 1);
    clock.advance(1ms);
    with_limits.join();
    CHECK(limited->error() == errc::timeout);
  }
  CHECK(m.lock_shared({.deadline = soon}));
  CHECK(m.lock({.deadline = soon}));
}

TEST_CASE("shared_mutex: a stopped wait takes nothing", "[shared_mutex]") {
  penstock::shared_mutex m;
  std::stop_source stop;
  {
    std::unique_lock writing{m};
    auto coroutine = spawn(m.async_lock_shared() | with_stop(stop.get_token()));
    std::optional<result<shared_guard>> reader;
    std::optional<result<guard>> writer;
    std::jthread first{[&] { reader = m.lock_shared(stop.get_token()); }};
    std::jthread second{[&] { writer = m.lock(stop.get_token()); }};
    until([&] { return m.waiters() == 3; });
    stop.request_stop();
    first.join();
    second.join();
    CHECK(coroutine.result().error() == errc::cancelled);
    CHECK(reader->error() == errc::cancelled);
    CHECK(writer->error() == errc::cancelled);
  }
  CHECK(m.lock(stop.get_token()).error() == errc::cancelled);
  CHECK(m.lock_shared(stop.get_token()).error() == errc::cancelled);
  REQUIRE(m.try_lock());
  m.unlock();
}

TEST_CASE("shared_mutex: a lock is never lost to a deadline", "[shared_mutex][hazard-04][race-09]") {
  manual_clock clock;
  step_executor executor;
  penstock::shared_mutex m;
  std::unique_lock writing{m};
  auto reader = spawn(m.async_lock_shared() | with_timeout(10ms, clock) | via(executor));
  auto writer = spawn(m.async_lock() | with_timeout(20ms, clock) | via(executor));
  writing.unlock();
  clock.advance(10ms);
  executor.run_all();
  {
    const auto held = reader.result();
    REQUIRE(held);
    CHECK_FALSE(writer.done());
  }
  clock.advance(10ms);
  executor.run_all();
  {
    const auto held = writer.result();
    REQUIRE(held);
    CHECK_FALSE(m.try_lock_shared());
  }
  REQUIRE(m.try_lock());
  m.unlock();
}

TEST_CASE("shared_mutex: writers among readers, threads and coroutines, see and leave consistent data", "[shared_mutex]") {
  struct coroutine {
    static task<void> write(penstock::shared_mutex& m, int& a, int& b, int n) {
      for (int i = 0; i < n; ++i) {
        auto held = co_await m.async_lock();
        if (!held) co_return;
        ++a;
        ++b;
      }
    }
  };
  penstock::shared_mutex m;
  int a = 0;  // guarded by m, as is b
  int b = 0;
  std::atomic<bool> torn{false};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 1'000; ++i) {
          std::shared_lock reading{m};
          if (a != b) torn = true;
        }
      });
    }
    threads.emplace_back([&] {
      for (int i = 0; i < 1'000; ++i) {
        std::unique_lock writing{m};
        ++a;
        ++b;
      }
    });
    auto coroutine = spawn(coroutine::write(m, a, b, 1'000));
    coroutine.wait();
  }
  CHECK_FALSE(torn);
  CHECK(a == 2'000);
  CHECK(b == 2'000);
}

}  // namespace
