// What debug builds report in place of hanging or of touching what is gone.
#include <cassert>

#if !defined(NDEBUG) && __has_include(<sys/wait.h>)

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <coroutine>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>

#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/core/timer_service.hpp>
#include <penstock/sync/semaphore.hpp>

#include "../../support/catch.hpp"
#include "support.hpp"

#if defined(__SANITIZE_THREAD__)
#define PENSTOCK_TEST_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PENSTOCK_TEST_THREAD_SANITIZER 1
#endif
#endif

using namespace std::chrono_literals;
using core_test::pile;
using penstock::deadline;
using penstock::task;
using penstock::with_deadline;

namespace {

// The signal that ends a child which runs the function: SIGABRT of an assertion, SIGALRM of one that hangs, 0 if it returns.
template <class F>
int signal_of(F f) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);  // Catch2 has a handler of its own
    std::signal(SIGALRM, SIG_DFL);
    std::fclose(stderr);
    ::alarm(20);
    try {
      f();
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(child > 0);
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE_FALSE((WIFEXITED(status) && WEXITSTATUS(status) != 0));
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

#if !defined(PENSTOCK_TEST_THREAD_SANITIZER)  // it does not support threads in a forked child

// The shared service has its thread in the parent, if another test began it: the child has one of its own.
using service = penstock::timer_service<>;
deadline in_a_millisecond(service& timers) { return {timers.now() + 1'000'000, timers}; }
// One that cannot have passed before it is waited for, however busy the machine is: then nothing would be left to report.
deadline in_an_hour(service& timers) { return {timers.now() + 3'600'000'000'000, timers}; }

// A deadline that passes before the coroutine waits is seen on its own thread: it tries until the timers' resumes it.
task<> time_out_then(pile<>& gate, service& timers, void (*then)(pile<>&, service&)) {
  const std::thread::id own = std::this_thread::get_id();
  while (std::this_thread::get_id() == own) {
    static_cast<void>(co_await (gate.async_take() | with_deadline(in_a_millisecond(timers))));
  }
  then(gate, timers);
}

void wait_for_a_coroutine(pile<>& gate, service& timers) {
  static_cast<void>(penstock::sync_wait(gate.async_take() | with_deadline(in_an_hour(timers))));
}
void wait_for_a_group(pile<>& gate, service& timers) {
  penstock::task_group group;
  group.spawn(gate.async_take() | with_deadline(in_an_hour(timers)));
  group.wait();
}
void wait_for_one_that_has_ended(pile<>& gate, service& timers) {
  gate.give();
  static_cast<void>(penstock::sync_wait(gate.async_take() | with_deadline(in_an_hour(timers))));
}
void wait_by_the_steady_clock(pile<>& gate, service&) { static_cast<void>(gate.take({}, deadline::after(1ms))); }
void wait_for_a_timer(pile<>& gate, service& timers) { static_cast<void>(gate.take({}, in_an_hour(timers))); }

int signal_on_the_timers_thread(void (*then)(pile<>&, service&)) {
  return signal_of([then] {
    service timers;
    pile<> gate;
    penstock::sync_wait(time_out_then(gate, timers, then));
  });
}

#endif

// A coroutine whose owner may destroy it at any time.
struct careless {
  struct promise_type {
    careless get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> frame;
};
careless take_in(pile<>& gate) {
  const auto r = co_await gate.async_take();
  static_cast<void>(r);
}

}  // namespace

TEST_CASE("misuse: adopting less than no permits is reported", "[misuse]") {
  CHECK(signal_of([] {
          penstock::semaphore s{0};
          const penstock::permit none{s, 0};
        }) == 0);
  CHECK(signal_of([] {
          penstock::semaphore s{0};
          penstock::permit p{s, -1};
          p.forget();
        }) == SIGABRT);
}

TEST_CASE("misuse: destroying a coroutine that stands in line is reported", "[misuse]") {
  CHECK(signal_of([] {
          pile<> gate;
          take_in(gate).frame.destroy();
        }) == SIGABRT);
  CHECK(signal_of([] {
          pile<> gate;
          const careless waiting = take_in(gate);
          gate.give();
          waiting.frame.destroy();
        }) == 0);
}

#if !defined(PENSTOCK_TEST_THREAD_SANITIZER)

// qemu's user mode aborts now and then when a forked child starts a thread: there the tests below say nothing.
static bool threads_in_a_child() { return std::getenv("PENSTOCK_TEST_EMULATED") == nullptr; }

TEST_CASE("misuse: blocking the thread of the timers until a coroutine ends is reported", "[misuse][timer_service]") {
  if (!threads_in_a_child()) return;
  CHECK(signal_on_the_timers_thread(wait_for_a_coroutine) == SIGABRT);
  CHECK(signal_on_the_timers_thread(wait_for_a_group) == SIGABRT);
  CHECK(signal_on_the_timers_thread(wait_for_one_that_has_ended) == 0);
  CHECK(signal_on_the_timers_thread(wait_by_the_steady_clock) == 0);
}

TEST_CASE("misuse: waiting for a timer on the thread that fires it is reported", "[misuse][timer_service]") {
  if (!threads_in_a_child()) return;
  CHECK(signal_on_the_timers_thread(wait_for_a_timer) == SIGABRT);
}

#endif

#endif
