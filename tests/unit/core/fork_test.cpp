#include <penstock/core/detail/fork.hpp>

#if __has_include(<sys/wait.h>)

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <system_error>

#include <penstock/core/modifiers.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/timer_service.hpp>

#include "../../support/catch.hpp"
#include "support.hpp"

using core_test::call_timer;

namespace {

// What the function returned in a forked child.
template <class F>
int in_child(F f) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(f());  // without destructors and exit handlers: they are the parent's
  int status = 0;
  REQUIRE(child > 0);
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

constexpr std::int64_t hour = 3'600'000'000'000;

}  // namespace

TEST_CASE("fork: an origin knows the process that remembered it", "[fork][hazard-21]") {
  penstock::detail::process_origin origin;
  origin.remember();
  CHECK_FALSE(origin.forked());
  CHECK_NOTHROW(origin.check());
  CHECK(in_child([&] { return origin.forked() ? 1 : 0; }) == 1);
  CHECK(in_child([&] {
          origin.remember();
          return origin.forked() ? 1 : 0;
        }) == 0);
  CHECK_FALSE(origin.forked());
}

TEST_CASE("fork: arming a timer in a forked child is an error, not a hang", "[fork][hazard-21]") {
  penstock::timer_service<> service;
  call_timer before;
  service.add(before, service.now() + hour);  // starts the thread
  const auto add = [&] {
    call_timer timer;
    try {
      service.add(timer, service.now() + hour);
      service.remove(timer);
    } catch (const std::system_error& e) {
      return e.code() == std::errc::operation_not_permitted ? 1 : 2;
    }
    return 0;
  };
  CHECK(in_child(add) == 1);
  CHECK(add() == 0);  // the parent goes on as before
  CHECK(service.remove(before));
}

TEST_CASE("fork: a wait with a timeout in a forked child ends with the error", "[fork][hazard-21]") {
  auto& service = penstock::timer_service<>::shared();
  call_timer before;
  service.add(before, service.now() + hour);
  const auto timed_wait = [] {
    core_test::pile<> gate;
    try {
      static_cast<void>(penstock::sync_wait(gate.async_take() | penstock::with_timeout(std::chrono::hours{1})));
    } catch (const std::system_error&) {
      return gate.waiters() == 0 ? 1 : 2;
    }
    return 0;
  };
  CHECK(in_child(timed_wait) == 1);
  CHECK(service.remove(before));
}

#endif
