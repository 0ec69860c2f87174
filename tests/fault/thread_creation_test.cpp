// The N-th thread cannot be created. This program defines pthread_create in front of the real one.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>

#include <penstock/combine/supervise.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/rate/token_bucket.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/semaphore.hpp>

#include "support/catch.hpp"
#include "support/until.hpp"

#if defined(__linux__)

#include <dlfcn.h>
#include <pthread.h>

#include <cerrno>

using namespace std::chrono_literals;

// Where a sanitizer is linked statically its own pthread_create goes by this name, and must not be left out.
extern "C" [[gnu::weak]] int __interceptor_pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);

namespace {

constexpr std::size_t every = SIZE_MAX;
std::atomic<std::size_t> until_failure = 0;  // 0: all succeed; n: the n-th from now on fails; every: all fail
std::atomic<std::size_t> created = 0;

struct failing_thread {
  explicit failing_thread(std::size_t nth) {
    until_failure = nth;
    created = 0;
  }
  failing_thread(const failing_thread&) = delete;
  failing_thread& operator=(const failing_thread&) = delete;
  ~failing_thread() { until_failure = 0; }
};

}  // namespace

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                              void* argument) noexcept {
  if (until_failure == every || (until_failure != 0 && --until_failure == 0)) return EAGAIN;
  ++created;
  if (__interceptor_pthread_create != nullptr) return __interceptor_pthread_create(thread, attributes, start, argument);
  using function = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  const auto next = reinterpret_cast<function>(::dlsym(RTLD_NEXT, "pthread_create"));
  return next(thread, attributes, start, argument);
}

TEST_CASE("thread creation: the interposed function is the one that std::thread calls", "[fault]") {
  const failing_thread first{1};
  REQUIRE_THROWS_AS(std::thread([] {}), std::system_error);
  std::thread second{[] {}};
  second.join();
  REQUIRE(created == 1);
}

TEST_CASE("thread creation: a pool joins the workers that it has when the next one cannot be started", "[fault][hazard-20]") {
  constexpr std::size_t threads = 5;
  for (std::size_t n = 1; n <= threads; ++n) {
    const failing_thread nth{n};
    // A worker that is not joined ends the program, by std::thread's destructor; memory that it holds is the leak check's.
    REQUIRE_THROWS_AS(penstock::worker_pool(penstock::worker_pool_options{.threads = threads}), std::system_error);
    REQUIRE(created == n - 1);
  }
  penstock::worker_pool pool{{.threads = threads}};
  REQUIRE(pool.submit([] { return 42; }).get() == 42);
}

TEST_CASE("thread creation: a pool that cannot grow stays as it was", "[fault][hazard-20]") {
  penstock::worker_pool pool{{.threads = 2, .max_threads = 32}};
  for (std::size_t n = 1; n <= 4; ++n) {
    {
      const failing_thread nth{n};
      REQUIRE_THROWS_AS(pool.resize(6), std::system_error);
      REQUIRE(created == n - 1);
    }
    REQUIRE(pool.threads() == 2);
    test_support::until([&] { return pool.running_threads() == 2; });  // those that were started end again
    REQUIRE(pool.submit([] { return 42; }).get() == 42);
  }
  REQUIRE(pool.resize(6));
  REQUIRE(pool.running_threads() == 6);
}

TEST_CASE("thread creation: work for which no thread can be started is done by those that are there, or when the next comes",
          "[fault][hazard-20]") {
  penstock::event go_on;
  SECTION("in place of one that blocks") {
    penstock::worker_pool pool{{.threads = 1}};
    penstock::event blocks, ran;
    REQUIRE(pool.post([&] {
      pool.blocking([&] {
        blocks.set();
        go_on.wait();
      });
    }));
    blocks.wait();
    {
      const failing_thread first{1};
      REQUIRE(pool.post([&] { ran.set(); }));
      REQUIRE(created == 0);
    }
    REQUIRE(pool.running_threads() == 1);
    REQUIRE(pool.post([] {}));  // tries again
    ran.wait();
    REQUIRE(pool.running_threads() == 2);
    go_on.set();
  }
  SECTION("in place of one that was idle for long") {
    penstock::manual_clock clock;
    penstock::worker_pool pool{{.threads = 2, .clock = clock, .keep_alive = 1ms}};
    test_support::until([&] {
      clock.advance(1ms);
      return pool.running_threads() == 1;
    });
    auto busy = pool.submit([&] { go_on.wait(); });
    test_support::until([&] { return pool.queued() == 0; });
    auto waits = [&] {
      const failing_thread first{1};
      return pool.submit([] { return 42; });
    }();
    go_on.set();
    busy.wait();
    REQUIRE(waits.get() == 42);
  }
}

TEST_CASE("thread creation: a helper gets the coroutine for which no thread can be started", "[fault][hazard-18][hazard-20]") {
  // Of the two workers one is inside blocking(), and the other waits for a coroutine of the pool: what is resumed then is for a third, which cannot be
  // started.
  penstock::event blocks, waits, go_on, resume;
  bool resumed_there = false;
  penstock::worker_pool pool{{.threads = 2}};
  auto blocked = pool.submit([&] {
    pool.blocking([&] {
      blocks.set();
      go_on.wait();
    });
  });
  blocks.wait();
  auto helps = pool.submit([&] {
    const auto me = std::this_thread::get_id();
    auto coroutine = [&]() -> penstock::task<> {
      waits.set();
      static_cast<void>(co_await resume.async_wait());
      resumed_there = std::this_thread::get_id() == me;
    };
    penstock::spawn(pool, coroutine()).result();
  });
  waits.wait();
  bool alone = false;  // or a third thread was there already: the second worker may have been late to take what it got
  {
    const failing_thread each{every};
    alone = pool.running_threads() == 2;
    resume.set();
    helps.wait();
  }
  go_on.set();
  blocked.wait();
  CHECK((resumed_there || !alone));
}

namespace {

// A clock whose timers no other test has used, so that their thread has not been started.
struct own_clock {
  using duration = std::chrono::steady_clock::duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<own_clock>;
  static constexpr bool is_steady = true;
  static time_point now() noexcept { return time_point{std::chrono::steady_clock::now().time_since_epoch()}; }
};

}  // namespace

TEST_CASE("thread creation: a supervised task is begun anew at once if the thread for the delay cannot be started",
          "[fault][hazard-20]") {
  own_clock clock;
  int runs = 0;
  auto work = [&]() -> penstock::task<int> {
    if (++runs < 3) throw std::runtime_error{"on purpose"};
    co_return runs;
  };
  const failing_thread first{1};
  auto running = penstock::spawn(penstock::supervise(work, {.backoff = penstock::backoff::fixed(1ms), .clock = clock}));
  REQUIRE(running.result() == 3);
  REQUIRE(created == 1);  // for the second delay
}

// A clock of its own, so that its timer thread is not running yet.
struct other_wall_clock : std::chrono::system_clock {};

TEST_CASE("thread creation: who waits for a limiter whose timer thread cannot be started is told, and the next try may succeed",
          "[fault][hazard-20]") {
  penstock::token_bucket<other_wall_clock> bucket{penstock::rate{1, 1h}, 1};
  REQUIRE(bucket.try_acquire());
  {
    const failing_thread first{1};
    REQUIRE_THROWS_AS(bucket.acquire(), std::system_error);
  }
  {
    const failing_thread first{1};
    auto waiting = penstock::spawn(bucket.async_acquire());
    REQUIRE_THROWS_AS(waiting.result(), std::system_error);
  }
  REQUIRE(bucket.waiters() == 0);
  bucket.set_rate(penstock::rate{1, 1ms});
  REQUIRE(bucket.acquire());
}

// The shared timer threads start once in a process, so what happens before and after is one test case.
TEST_CASE("thread creation: a deadline whose timer thread cannot be started is an error, and the line is as it was",
          "[fault][hazard-20]") {
  penstock::semaphore s{0};
  std::chrono::system_clock wall;
  SECTION("blocking, on a clock that needs a timer") {
    {
      const failing_thread first{1};
      REQUIRE_THROWS_AS(s.try_acquire_until({std::chrono::system_clock::now() + 1h, wall}), std::system_error);
      REQUIRE(created == 0);
    }
    REQUIRE(s.waiters() == 0);
    REQUIRE(s.try_acquire_until({std::chrono::system_clock::now() + 1ms, wall}).error() == penstock::errc::timeout);
  }
  SECTION("a coroutine's, with a stop token") {
    std::stop_source stop;
    {
      const failing_thread first{1};
      auto failed = penstock::spawn(s.async_acquire() | penstock::with_timeout(1h) | penstock::with_stop(stop.get_token()));
      REQUIRE(failed.done());
      REQUIRE_THROWS_AS(failed.result(), std::system_error);
      REQUIRE(created == 0);
    }
    stop.request_stop();  // reaches nobody: the wait has unregistered
    REQUIRE(s.waiters() == 0);
    REQUIRE(penstock::spawn(s.async_acquire() | penstock::with_timeout(1ms)).result().error() == penstock::errc::timeout);
  }
  s.release();
  REQUIRE(s.try_acquire());
}

#else

TEST_CASE("thread creation: cannot be made to fail here", "[fault]") { WARN("not tested in this build"); }

#endif
