#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#endif

#include <penstock/core/deadline.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/strand.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

using namespace std::chrono_literals;
using penstock::errc;
using penstock::manual_executor;
using penstock::spawn;
using penstock::strand;
using penstock::task;
using penstock::via;
using penstock::worker_pool;
using test_support::until;

namespace {

// What was called, in its order.
struct notes {
  std::vector<int> order;
  void operator()(int i) { order.push_back(i); }
  [[nodiscard]] bool is(std::vector<int> expected) const { return order == expected; }
};

std::error_code code_of(auto&& f) {
  try {
    f();
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

}  // namespace

TEST_CASE("strand: what is posted and what is resumed runs in the order in which it came", "[strand]") {
  manual_executor executor;
  strand s{executor};
  notes seen;
  const auto hop = [&](int i) -> task<> {
    co_await s.schedule();
    seen(i);
  };
  REQUIRE(s.post([&] { seen(1); }));
  auto two = spawn(hop(2));
  REQUIRE(s.post([&] { seen(3); }));
  auto four = s.submit([&] { seen(4); });
  CHECK(s.queued() == 3);  // resumptions count for nothing
  CHECK(seen.order.empty());
  executor.run_all();
  CHECK(seen.is({1, 2, 3, 4}));
  CHECK(two.done());
  CHECK(four.is_ready());
  CHECK(s.queued() == 0);
}

TEST_CASE("strand: it is one piece of work in its context, and lets others run after 32 pieces", "[strand]") {
  manual_executor executor;
  strand s{executor};
  int ran = 0;
  for (int i = 0; i < 70; ++i) REQUIRE(s.post([&] { ++ran; }));
  CHECK(executor.size() == 1);
  for (const int expected : {32, 64, 70}) {
    REQUIRE(executor.run_one());
    CHECK(ran == expected);
  }
  CHECK(executor.size() == 0);
  REQUIRE(s.post([&] { ++ran; }));
  CHECK(executor.size() == 1);
  executor.run_all();
  CHECK(ran == 71);
}

TEST_CASE("strand: a piece that posts is not interrupted by what it posts", "[strand]") {
  manual_executor executor;
  strand s{executor};
  notes seen;
  REQUIRE(s.post([&] {
    seen(1);
    REQUIRE(s.post([&] { seen(3); }));
    seen(2);
  }));
  executor.run_all();
  CHECK(seen.is({1, 2, 3}));
}

TEST_CASE("strand: try_post never waits, post waits for room within its limits", "[strand]") {
  manual_executor executor;
  penstock::manual_clock clock;
  strand s{executor, {.capacity = 2}};
  CHECK(s.capacity() == 2);
  notes seen;
  REQUIRE(s.try_post([&] { seen(1); }));
  REQUIRE(s.try_post([&] { seen(2); }));
  CHECK(s.try_post([&] { seen(0); }).error() == errc::full);
  CHECK(s.post({.deadline = penstock::deadline::after(0s)}, [&] { seen(0); }).error() == errc::timeout);

  std::stop_source stop;
  stop.request_stop();
  CHECK(s.post({.stop = stop.get_token()}, [&] { seen(0); }).error() == errc::cancelled);
  CHECK(code_of([&] { s.submit([] {}, {.stop = stop.get_token()}).get(); }) == errc::cancelled);

  // One is stopped while it waits, one times out, one gets the place.
  std::stop_source later;
  penstock::result<void> stopped, timed_out, granted;
  std::jthread one{[&] { stopped = s.post({.stop = later.get_token()}, [&] { seen(0); }); }};
  until([&] { return s.room_waiters() == 1; });
  std::jthread two{[&] { timed_out = s.post({.deadline = penstock::deadline::after(10s, clock)}, [&] { seen(0); }); }};
  until([&] { return s.room_waiters() == 2; });
  std::jthread three{[&] { granted = s.post([&] { seen(3); }); }};
  until([&] { return s.room_waiters() == 3; });
  later.request_stop();
  one.join();
  clock.advance(10s);
  two.join();
  CHECK(stopped.error() == errc::cancelled);
  CHECK(timed_out.error() == errc::timeout);
  executor.run_all();
  three.join();
  CHECK(granted);
  executor.run_all();
  CHECK(seen.is({1, 2, 3}));

  const penstock::strand_stats told = s.stats();
  CHECK(told.capacity == 2);
  CHECK(told.queued == 0);
  CHECK(told.accepted == 3);
  CHECK(told.completed == 3);
  CHECK(told.refused.full == 1);
  CHECK(told.refused.timeout == 2);
  CHECK(told.refused.cancelled == 3);
  CHECK(told.refused.total() == 6);
}

TEST_CASE("strand: an exception of a posted function is handed on and counted, one of a submitted function is its future's",
          "[strand][hazard-19]") {
  manual_executor executor;
  std::string told;
  const auto on_error = [&](std::exception_ptr e) {
    try {
      std::rethrow_exception(e);
    } catch (const std::exception& known) {
      told = known.what();
    }
    throw 1;  // a handler that fails harms nobody
  };
  strand s{executor, {.on_error = on_error}};
  bool went_on = false;
  penstock::strand_stats inside;
  REQUIRE(s.post([] { throw std::runtime_error{"posted"}; }));
  auto f = s.submit([]() -> int { throw std::logic_error{"submitted"}; });
  REQUIRE(s.post([&] {
    went_on = true;
    inside = s.stats();
  }));
  CHECK(s.stats().queued == 3);
  executor.run_all();
  CHECK(inside.running == 1);
  CHECK(inside.failed == 2);
  CHECK(inside.completed == 0);
  const penstock::strand_stats after = s.stats();
  CHECK(after.running == 0);
  CHECK(after.accepted == 3);
  CHECK(after.completed == 1);
  CHECK(after.failed == 2);
  CHECK(after.errors == 1);
  CHECK(told == "posted");
  CHECK(s.failed() == 1);
  CHECK_THROWS_AS(f.get(), std::logic_error);
  CHECK(went_on);
}

TEST_CASE("strand: what a function holds is released when it has run, and when it is refused", "[strand][hazard-30]") {
  manual_executor executor;
  strand s{executor, {.capacity = 1}};
  const auto held = std::make_shared<int>();
  auto f = s.submit([held] {});
  CHECK(s.try_post([held] {}).error() == errc::full);
  CHECK(held.use_count() == 2);
  executor.run_all();
  CHECK(held.use_count() == 1);  // though the future is still there
  REQUIRE(s.post([held] {}));
  CHECK(held.use_count() == 2);
  executor.run_all();
  CHECK(held.use_count() == 1);
  s.close();
  CHECK(s.post([held] {}).error() == errc::closed);
  CHECK(code_of([&] { s.submit([held] {}).get(); }) == errc::closed);
  CHECK(held.use_count() == 1);
}

TEST_CASE("strand: nothing to call, and no capacity, are errors at once", "[strand]") {
  manual_executor executor;
  CHECK_THROWS_AS((strand{executor, {.capacity = 0}}), std::invalid_argument);
  strand s{executor};
  void (*nothing)() = nullptr;
  CHECK_THROWS_AS(s.post(nothing), std::invalid_argument);
  CHECK_THROWS_AS(s.try_post(std::function<void()>{}), std::invalid_argument);
  CHECK_THROWS_AS(s.submit(nothing), std::invalid_argument);
}

TEST_CASE("strand: closing refuses functions, also those that wait for room, but no coroutine", "[strand][hazard-08]") {
  manual_executor executor;
  strand s{executor, {.capacity = 1}};
  notes seen;
  REQUIRE(s.post([&] { seen(1); }));
  penstock::result<void> waited;
  std::jthread waiter{[&] { waited = s.post([&] { seen(0); }); }};
  until([&] { return s.room_waiters() == 1; });
  s.close();
  waiter.join();
  CHECK(waited.error() == errc::closed);
  CHECK(s.try_post([&] { seen(0); }).error() == errc::closed);
  const auto hop = [&]() -> task<> {
    co_await s.schedule();
    seen(2);
  };
  auto resumed = spawn(hop());
  executor.run_all();
  CHECK(seen.is({1, 2}));
  CHECK(resumed.done());
  const penstock::strand_stats told = s.stats();
  CHECK(told.accepted == 1);  // no coroutine
  CHECK(told.completed == 1);
  CHECK(told.refused.closed == 2);
  CHECK(told.refused.total() == 2);
}

TEST_CASE("strand: a coroutine has it to itself between its suspensions", "[strand]") {
  manual_executor executor;
  strand s{executor};
  penstock::event go;
  notes seen;
  const auto child = [&](int i) -> task<int> {
    seen(i);
    co_return i;
  };
  const auto talk = [&]() -> task<> {
    seen(1);
    const int two = co_await child(2);  // no suspension: nobody comes in between
    seen(two + 1);
    static_cast<void>(co_await go.async_wait());
    seen(5);
    CHECK(s.running_here());
  };
  auto session = spawn(s, talk());
  REQUIRE(s.post([&] { seen(4); }));
  executor.run_all();
  CHECK(seen.is({1, 2, 3, 4}));
  CHECK_FALSE(session.done());
  go.set();
  CHECK(seen.order.size() == 4);  // it goes on on the strand, not here
  executor.run_all();
  CHECK(seen.is({1, 2, 3, 4, 5}));
  CHECK(session.done());
}

TEST_CASE("strand: a coroutine can visit it, and goes back to its own context", "[strand]") {
  manual_executor here;
  manual_executor there;
  strand s{there};
  notes seen;
  const auto inner = [&]() -> task<int> {
    seen(s.running_here() ? 1 : 0);
    co_return 7;
  };
  const auto outer = [&]() -> task<> {
    const int got = co_await (inner() | via(s));
    seen(got);
    CHECK(here.running_here());
    CHECK_FALSE(s.running_here());
  };
  auto whole = spawn(here, outer());
  here.run_all();
  CHECK(seen.order.empty());
  there.run_all();
  CHECK(seen.is({1}));
  here.run_all();
  CHECK(seen.is({1, 7}));
  CHECK(whole.done());
}

TEST_CASE("strand: what another context runs inside a piece is no piece, and a coroutine of the strand does not go on in it",
          "[strand]") {
  manual_executor executor;
  manual_executor nested;
  strand s{executor};
  penstock::event go;
  notes seen;
  const auto elsewhere = [&]() -> task<> { static_cast<void>(co_await go.async_wait()); };
  const auto resident = [&]() -> task<> {
    co_await (elsewhere() | via(nested));
    seen(3);
  };
  auto r = spawn(s, resident());
  executor.run_all();
  nested.run_all();
  go.set();
  REQUIRE(s.post([&] {
    seen(1);
    CHECK(s.running_here());
    nested.run_all();  // the child ends in here
    CHECK(s.running_here());
    seen(2);
  }));
  executor.run_all();
  CHECK(seen.is({1, 2, 3}));
  CHECK(r.done());

  bool outside = true;
  const auto look = [&]() -> task<> {
    outside = !s.running_here();
    co_return;
  };
  REQUIRE(s.post([&] {
    auto l = spawn(nested, look());
    nested.run_all();
    // The same for what is queued behind this piece on its thread, and run because the piece blocks.
    penstock::sync_wait(look());
    CHECK(outside);
  }));
  executor.run_all();
  CHECK(outside);
}

TEST_CASE("strand: waiting for itself is an error at once", "[strand][hazard-18]") {
  manual_executor executor;
  strand s{executor, {.capacity = 1}};
  bool ran = false;
  REQUIRE(s.post([&] {
    auto f = s.submit([&] { ran = true; });
    CHECK(s.post([&] { ran = true; }).error() == errc::deadlock);
    CHECK(s.post({.deadline = penstock::deadline::after(1h)}, [&] { ran = true; }).error() == errc::deadlock);
    CHECK(s.try_post([&] { ran = true; }).error() == errc::full);
    CHECK(s.drain().error() == errc::deadlock);
    CHECK(code_of([&] { f.get(); }) == errc::deadlock);
  }));
  executor.run_all();
  CHECK_FALSE(ran);
  const penstock::strand_stats told = s.stats();
  CHECK(told.accepted == 2);
  CHECK(told.completed == 1);
  CHECK(told.dropped == 1);
  CHECK(told.refused.deadlock == 2);
  CHECK(told.refused.full == 1);
  CHECK(told.refused.total() == 3);

  // Also from another strand's piece that runs inside.
  strand outer{executor};
  REQUIRE(outer.post([&] {
    REQUIRE(s.post([&] { CHECK(outer.drain().error() == errc::deadlock); }));
    CHECK(s.drain());
  }));
  executor.run_all();
}

TEST_CASE("strand: a coroutine awaits a function of its own strand", "[strand]") {
  manual_executor executor;
  strand s{executor};
  const auto ask = [&]() -> task<int> {
    auto answer = s.submit([] { return 42; });
    co_return co_await std::move(answer);
  };
  auto asked = spawn(s, ask());
  executor.run_all();
  REQUIRE(asked.done());
  CHECK(asked.result() == 42);
}

TEST_CASE("strand: the only worker of a pool can wait for a strand of the pool", "[strand][hazard-18]") {
  worker_pool pool{{.threads = 1}};
  auto all = pool.submit([&] {
    notes seen;
    strand s{pool, {.capacity = 2}};
    for (int i = 0; i < 100; ++i) REQUIRE(s.post([&seen, i] { seen(i); }));  // for room
    CHECK(s.submit([&] { return seen.order.size(); }).get() == 100);         // for a future
    REQUIRE(s.post([&] { seen(100); }));
    CHECK(s.drain());  // for the end
    CHECK(seen.order.size() == 101);
    const auto on_strand = [&]() -> task<int> {
      co_await s.schedule();
      co_return 7;
    };
    CHECK(spawn(s, on_strand()).result() == 7);  // for a coroutine
    REQUIRE(s.post([&] { seen(101); }));
    return std::is_sorted(seen.order.begin(), seen.order.end());
  });
  CHECK(all.get());
}

TEST_CASE("strand: its destructor finishes what is queued, and a turn may come after it", "[strand][hazard-10]") {
  std::atomic<int> ran{0};
  worker_pool pool{{.threads = 1}};
  {
    strand s{pool};
    for (int i = 0; i < 100; ++i) {
      REQUIRE(s.post([&] {
        ++ran;
        if (s.post([&] { ++ran; }).has_value()) --ran;
      }));
    }
  }
  CHECK(ran == 100);

  manual_executor executor;
  const auto whole = [&]() -> task<> {
    strand s{executor};
    REQUIRE(s.post([&] { ++ran; }));
    co_return;  // here the destructor runs it: the executor's thread waits for it
  };
  auto w = spawn(executor, whole());
  executor.run_one();
  CHECK(w.done());
  CHECK(ran == 101);
  CHECK(executor.size() == 1);  // the turn that was overtaken
  executor.run_all();
}

TEST_CASE("strand: in a pool that has shut down its work runs on the thread that brings it", "[strand]") {
  worker_pool pool{{.threads = 1}};
  strand s{pool};
  REQUIRE(pool.shutdown());
  std::thread::id where;
  REQUIRE(s.post([&] { where = std::this_thread::get_id(); }));
  CHECK(where == std::this_thread::get_id());
}

TEST_CASE("strand: without a context it runs where the work is brought, still one after the other", "[strand]") {
  strand s{penstock::any_scheduler{}};
  notes seen;
  REQUIRE(s.post([&] {
    seen(0);
    for (int i = 1; i <= 70; ++i) REQUIRE(s.post([&, i] { seen(i); }));
    CHECK(seen.order.size() == 1);
  }));
  CHECK(seen.order.size() == 71);
  CHECK(std::is_sorted(seen.order.begin(), seen.order.end()));
}

TEST_CASE("strand: one over another runs within it", "[strand]") {
  manual_executor executor;
  strand outer{executor};
  strand inner{outer};
  notes seen;
  REQUIRE(inner.post([&] {
    seen(1);
    CHECK(inner.running_here());
  }));
  REQUIRE(outer.post([&] { seen(2); }));
  executor.run_all();
  CHECK(seen.is({1, 2}));
}

TEST_CASE("strand: a future of one that has gone is ready, and may be waited for", "[strand]") {
  manual_executor executor;
  penstock::future<int> f;
  {
    strand s{executor};
    f = s.submit([] { return 5; });
    executor.run_all();
  }
  CHECK(f.get() == 5);
}

TEST_CASE("strand: threads of a pool do not overlap in it, and keep the order of each submitter", "[strand]") {
  worker_pool pool{{.threads = 3}};
  strand s{pool, {.capacity = 8}};
  int last[2] = {-1, -1};
  bool ordered = true;
  int ran = 0;
  {
    std::vector<std::jthread> submitters;
    for (int t = 0; t < 2; ++t) {
      submitters.emplace_back([&, t] {
        for (int i = 0; i < 500; ++i) {
          s.post([&, t, i] {
             ordered = ordered && last[t] == i - 1;
             last[t] = i;
             ++ran;
           }).value();
        }
      });
    }
  }
  REQUIRE(s.drain());
  CHECK(ran == 1000);
  CHECK(ordered);
}

#if defined(__linux__)
TEST_CASE("strand: in a forked child it refuses functions instead of hanging, and can be destroyed", "[strand][hazard-21]") {
  worker_pool pool{{.threads = 1}};
  auto s = std::make_unique<strand>(pool);
  penstock::event began;
  penstock::event go;
  REQUIRE(s->post([&] {  // the parent's worker is in it when the child is made
    began.set();
    go.wait();
  }));
  began.wait();
  auto waiting = s->submit([] {});
  const ::pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);  // if it hangs
    const auto refused = std::errc::operation_not_permitted;
    int right = 0;
    if (const auto r = s->post([] {}); !r && r.error() == refused) right |= 1;
    if (const auto r = s->try_post([] {}); !r && r.error() == refused) right |= 2;
    if (code_of([&] { s->submit([] {}).get(); }) == refused) right |= 4;
    if (code_of([&] { waiting.get(); }) == refused) right |= 8;
    if (const auto r = s->drain(); !r && r.error() == refused) right |= 16;
    if (s->stats().accepted == 0) right |= 32;
    s.reset();
    ::_exit(right);
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  go.set();
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 63);
  waiting.get();  // the parent's is as it was
}

TEST_CASE("strand: one that is destroyed inside one of its pieces ends the program", "[strand][hazard-11]") {
  const ::pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);  // the test framework's handler is for the parent
    ::close(2);                     // it says why
    manual_executor executor;
    auto* const s = new strand{executor};
    static_cast<void>(s->post([&] { delete s; }));
    executor.run_all();
    ::_exit(0);
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
}
#endif
