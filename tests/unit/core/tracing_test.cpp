#include <penstock/core/tracer.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/trace_context.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/recording_tracer.hpp"
#include "../../support/until.hpp"

using namespace penstock;
using namespace std::chrono_literals;
using trace_testing::recording_tracer;
using trace_testing::span_of;
using trace_testing::told;
using kind = told::kind;

TEST_CASE("trace_context: is read from a traceparent and written as one, and what is none is refused", "[trace]") {
  const std::string text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const std::optional<trace_context> c = trace_context::parse(text);
  REQUIRE(c);
  CHECK(*c == trace_context{0x0af7651916cd43dd, 0x8448eb211c80319c, 0xb7ad6b7169203331, 1});
  CHECK(to_traceparent(*c) == text);
  CHECK(trace_context::parse("01" + text.substr(2) + "-more") == c);  // a later version may have more
  for (const char* wrong :
       {"", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0af7651916cd43dd8448eb211c80319c.b7ad6b7169203331-01"}) {
    CHECK_FALSE(trace_context::parse(wrong));
  }
}

TEST_CASE("trace_session: there is one at a time, its tracer hears nothing of its own doing, and nothing once it is over",
          "[trace]") {
  recording_tracer first;
  recording_tracer second;
  event e;
  manual_executor loop;
  {
    const trace_session session{first};
    CHECK_THROWS_AS(trace_session{second}, std::logic_error);
    auto waits = spawn(loop, e.async_wait());
    loop.run_all();
    CHECK(first.count(kind::wait_begins) == 1);
    e.set();
    loop.run_all();
    CHECK(waits.result());
    CHECK(first.count(kind::wait_ended) == 1);
  }
  e.reset();
  auto waits = spawn(loop, e.async_wait());
  {
    const trace_session session{first};
    loop.run_all();
  }
  const trace_session next{second};  // the wait belongs to the session in which it began
  e.set();
  loop.run_all();
  CHECK(waits.result());
  CHECK(first.count(kind::wait_begins) == 2);
  CHECK(first.count(kind::wait_ended) == 1);
  CHECK(second.all().empty());
}

namespace {

struct reentrant final : tracer {
  void wait_begins(const trace_wait&) noexcept override {
    ++calls;
    static_cast<void>(e->try_wait_for(100us));  // a wait within a hook
  }
  event* e = nullptr;
  int calls = 0;
};

task<std::uint64_t> child(event& e) {
  const std::uint64_t at_first = current_trace().span;
  static_cast<void>(co_await e.async_wait());
  const std::uint64_t then = current_trace().span;
  co_return at_first == then ? then : 0;
}

// Looks at its context again and again, while others go on between. Gives the number of the looks that saw the right one.
task<int> looks(event& first, event& second, std::uint64_t mine, manual_executor& other) {
  int right = 0;
  const auto look = [&](std::uint64_t expected) { right += current_trace().span == expected ? 1 : 0; };
  look(mine);
  static_cast<void>(co_await first.async_wait());
  look(mine);
  {
    const trace_scope inner{span_of(mine + 1)};
    const std::uint64_t of_child = co_await child(second);
    right += of_child == mine + 1 ? 1 : 0;
    look(mine + 1);
    auto elsewhere = any_scheduler{other}.schedule();
    co_await elsewhere;
    look(mine + 1);
  }
  look(mine);
  co_return right;
}

}  // namespace

TEST_CASE("tracer: what a hook does itself is not told", "[trace]") {
  reentrant t;
  event inside;
  event e;
  t.e = &inside;
  const trace_session session{t};
  auto waits = spawn(e.async_wait());
  e.set();
  CHECK(waits.result());
  CHECK(t.calls == 1);
}

TEST_CASE("current_trace: goes with coroutines, however they take turns on a thread, and comes back when they suspend",
          "[trace]") {
  recording_tracer t;
  const trace_session session{t};
  manual_executor loop;
  manual_executor other;
  event first;
  event second;
  std::vector<spawned<int>> all;
  for (const std::uint64_t id : {100u, 200u, 300u, 400u}) {
    const trace_scope here{span_of(id)};
    auto work = looks(first, second, id, other);
    // Inline: on whichever thread completes what it awaits.
    all.push_back(id >= 300 ? spawn(std::move(work)) : spawn(loop, std::move(work)));
  }
  CHECK(current_trace().span == 0);
  const trace_scope foreign{span_of(7)};  // of who runs them
  const auto run = [&](auto step) {
    step();
    CHECK(current_trace().span == 7);
  };
  run([&] { loop.run_all(); });
  run([&] {
    const detail::trampoline here;  // the inline ones go on one after the other, and each what it begins behind both
    first.set();
  });
  run([&] { loop.run_all(); });
  run([&] { second.set(); });
  run([&] { loop.run_all(); });
  run([&] { other.run_all(); });
  run([&] { loop.run_all(); });
  for (auto& one : all) {
    REQUIRE(one.done());
    CHECK(one.result() == 6);
  }
}

task<> waits_in_a_scope(event& e, std::uint64_t id) {
  const trace_scope here{span_of(id)};
  static_cast<void>(co_await e.async_wait());
}
task<trace_context> looks_around() { co_return current_trace(); }

TEST_CASE("current_trace: stays with its thread when a coroutine suspends or ends in a scope of its own, traced or not",
          "[trace]") {
  recording_tracer t;
  std::optional<trace_session> session;
  for (const bool traced_at_the_beginning : {false, true}) {
    CAPTURE(traced_at_the_beginning);
    const trace_scope foreign{span_of(7)};
    if (traced_at_the_beginning) session.emplace(t);
    event e;
    std::vector<spawned<void>> all;
    for (const std::uint64_t id : {100u, 200u, 300u}) {
      all.push_back(spawn(waits_in_a_scope(e, id)));
      CHECK(current_trace() == span_of(7));
    }
    std::optional<spawned<trace_context>> behind;
    {
      const detail::trampoline here;
      all.push_back(spawn(waits_in_a_scope(e, 400)));
      behind.emplace(spawn(looks_around()));
    }
    CHECK(behind->result() == span_of(7));
    if (!traced_at_the_beginning) session.emplace(t);
    e.set();  // in the order in which they began: each scope puts back what was before it
    CHECK(current_trace() == span_of(7));
    for (auto& one : all) one.result();
    session.reset();
  }
}

TEST_CASE("tracer: is told of waits that are entered, with their kind, their context and how they end", "[trace]") {
  recording_tracer t;
  const trace_session session{t};
  manual_clock clock;
  event set{true};
  event e;
  REQUIRE(set.wait(wait_limits{}));           // no wait at all
  REQUIRE(spawn(set.async_wait()).result());  // nor this
  REQUIRE(t.all().empty());

  const trace_scope here{span_of(5)};
  auto late = spawn(e.async_wait() | with_timeout(10ms, clock));
  clock.advance(10ms);
  CHECK(late.result().error() == errc::timeout);

  std::jthread waits{[&] {
    const trace_scope there{span_of(6)};
    static_cast<void>(e.wait(wait_limits{}));
  }};
  test_support::until([&] { return e.waiters() == 1; });
  e.set();
  waits.join();

  const std::vector<told> all = t.all();
  REQUIRE(all.size() == 4);
  CHECK((all[0].what == kind::wait_begins && all[0].coroutine && all[0].context == 5 && all[0].name == "event"));
  CHECK((all[1].what == kind::wait_ended && all[1].coroutine && all[1].context == 5 && all[1].error == errc::timeout));
  CHECK((all[2].what == kind::wait_begins && !all[2].coroutine && all[2].context == 6));
  CHECK((all[3].what == kind::wait_ended && !all[3].coroutine && all[3].context == 6 && !all[3].error));
}
