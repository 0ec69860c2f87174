#include <penstock/channel/watch.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using test_support::until;

static_assert(std::is_trivially_copyable_v<watcher<int>>);
static_assert(!std::is_move_constructible_v<watch<int>>);

std::stop_token stopped_token() {
  std::stop_source stop;
  stop.request_stop();
  return stop.get_token();
}

struct wait_form {
  const char* name;
  result<void> (*wait)(watcher<int>&, manual_clock&);
  errc when_unchanged;
  bool stopped = false;
};
constexpr wait_form wait_forms[] = {
    {"try_wait_changed", [](watcher<int>& w, manual_clock&) { return w.try_wait_changed(); }, errc::empty},
    {"try_wait_changed_for 0", [](watcher<int>& w, manual_clock&) { return w.try_wait_changed_for(0ns); }, errc::timeout},
    {"try_wait_changed_for less",
     [](watcher<int>& w, manual_clock&) { return w.try_wait_changed_for(std::chrono::hours::min()); }, errc::timeout},
    {"try_wait_changed_until",
     [](watcher<int>& w, manual_clock&) { return w.try_wait_changed_until(std::chrono::steady_clock::time_point{}); },
     errc::timeout},
    {"deadline of a clock", [](watcher<int>& w, manual_clock& k) { return w.wait_changed({.deadline = {k.now(), k}}); },
     errc::timeout},
    {"stopped", [](watcher<int>& w, manual_clock&) { return w.wait_changed(stopped_token()); }, errc::cancelled, true},
    {"async with_timeout",
     [](watcher<int>& w, manual_clock& k) { return spawn(w.async_wait_changed() | with_timeout(0ns, k)).result(); },
     errc::timeout},
    {"async stopped",
     [](watcher<int>& w, manual_clock&) { return spawn(w.async_wait_changed() | with_stop(stopped_token())).result(); },
     errc::cancelled, true},
};

}  // namespace

TEST_CASE("watch: holds the latest value and counts the versions", "[watch]") {
  watch<std::string> w{"first"};
  CHECK(w.get() == "first");
  CHECK(w.version() == 0);
  CHECK(w.set("second"));
  CHECK(w.set("third"));
  CHECK(w.get() == "third");
  CHECK(w.version() == 2);
  CHECK(w.update([](std::string& s) { s += " and more"; }));
  CHECK(w.read([](const std::string& s) { return s.size(); }) == 14);
  CHECK(w.version() == 3);
}

TEST_CASE("watch: many sets between two looks are one change, and a look makes it seen", "[watch]") {
  watch<int> w{0};
  CHECK(w.set(1));
  auto mine = w.subscribe();
  CHECK_FALSE(mine.changed());  // the value that was there counts as seen
  CHECK(mine.get() == 1);
  CHECK(w.set(2));
  CHECK(w.set(3));
  CHECK(mine.changed());
  CHECK(mine.wait_changed());
  CHECK(mine.wait_changed());  // waiting does not make it seen
  auto copy = mine;
  CHECK(mine.get() == 3);
  CHECK_FALSE(mine.changed());
  CHECK(mine.seen() == 3);
  CHECK(mine.try_wait_changed().error() == errc::empty);
  CHECK(copy.changed());
  CHECK(copy.read([](const int& v) { return v; }) == 3);
  CHECK_FALSE(copy.changed());
}

TEST_CASE("watch: a wait that finds no change says why, whatever the form", "[watch]") {
  manual_clock clock;
  for (const auto& form : wait_forms) {
    INFO(form.name);
    watch<int> w{0};
    auto mine = w.subscribe();
    CHECK(form.wait(mine, clock).error() == form.when_unchanged);
    CHECK(w.set(1));
    if (form.stopped) {
      CHECK(form.wait(mine, clock).error() == errc::cancelled);
    } else {
      CHECK(form.wait(mine, clock));
    }
    w.close();
    // The last value comes first.
    if (!form.stopped) CHECK(form.wait(mine, clock));
    CHECK(mine.get() == 1);
    CHECK(form.wait(mine, clock).error() == (form.stopped ? errc::cancelled : errc::closed));
  }
}

TEST_CASE("watch: one set wakes all who wait, threads and coroutines", "[watch]") {
  watch<int> w{0};
  auto on_thread = w.subscribe();
  std::atomic<int> seen{0};
  std::jthread thread{[&] {
    if (on_thread.wait_changed()) seen = on_thread.get();
  }};
  auto on_coroutine = w.subscribe();
  auto other = w.subscribe();
  auto first = spawn(on_coroutine.async_wait_changed());
  auto second = spawn(other.async_wait_changed());
  CHECK_FALSE(first.done());
  CHECK(w.set(7));
  CHECK(first.done());
  CHECK(second.done());
  CHECK(first.result());
  CHECK(second.result());
  until([&] { return seen == 7; });
}

TEST_CASE("watch: a wait that is stopped or times out has no effect", "[watch][hazard-04]") {
  manual_clock clock;
  watch<int> w{0};
  auto mine = w.subscribe();
  auto timed = spawn(mine.async_wait_changed() | with_timeout(10ms, clock));
  clock.advance(9ms);
  CHECK_FALSE(timed.done());
  clock.advance(1ms);
  CHECK(timed.result().error() == errc::timeout);
  std::stop_source stop;
  std::atomic<bool> cancelled{false};
  {
    std::jthread thread{[&] { cancelled = mine.wait_changed(stop.get_token()).error() == errc::cancelled; }};
    stop.request_stop();
  }
  CHECK(cancelled);
  CHECK(w.set(1));
  CHECK(mine.wait_changed());
}

TEST_CASE("watch: a change that came in time counts although the wait is stopped later", "[watch][hazard-04]") {
  manual_executor loop;
  watch<int> w{0};
  auto mine = w.subscribe();
  std::stop_source stop;
  auto waiting = spawn(loop, mine.async_wait_changed() | with_stop(stop.get_token()));
  loop.run_all();
  CHECK(w.set(1));
  stop.request_stop();
  loop.run_all();
  CHECK(waiting.result());
}

TEST_CASE("watch: closing ends the waits, and the last value stays", "[watch][hazard-08]") {
  watch<int> w{0};
  auto mine = w.subscribe();
  auto other = w.subscribe();
  std::atomic<bool> ended{false};
  std::jthread thread{[&] { ended = !mine.wait_changed().has_value(); }};
  auto waiting = spawn(other.async_wait_changed());
  CHECK(w.update([](int&) {}));  // a version, even if the value is the same
  CHECK(waiting.result());
  CHECK(other.get() == 0);
  auto again = spawn(other.async_wait_changed());
  thread.join();
  CHECK_FALSE(ended);  // it saw the change
  w.close();
  w.close();
  CHECK(w.is_closed());
  CHECK(again.result().error() == errc::closed);
  CHECK(w.set(2).error() == errc::closed);
  CHECK(w.update([](int& v) { v = 3; }).error() == errc::closed);
  CHECK(w.get() == 0);
  CHECK(w.version() == 1);
  CHECK(mine.wait_changed());
  CHECK(mine.get() == 0);
  CHECK(mine.wait_changed().error() == errc::closed);
  CHECK_FALSE(mine.changed());
}

TEST_CASE("watch: holds what can only be moved, which is looked at where it lies", "[watch]") {
  watch<std::unique_ptr<int>> w{std::make_unique<int>(1)};
  auto mine = w.subscribe();
  CHECK(w.set(std::make_unique<int>(2)));
  CHECK(mine.read([](const std::unique_ptr<int>& p) { return *p; }) == 2);
  CHECK(w.read([](const std::unique_ptr<int>& p) -> const int& { return *p; }) == 2);
}

TEST_CASE("watch: a value stays as long as somebody looks at it, and no longer", "[watch][hazard-17][hazard-30]") {
  struct counted {
    explicit counted(int v, int& l) : value{v}, living{&l} { ++*living; }
    counted(const counted& other) : value{other.value}, living{other.living} { ++*living; }
    ~counted() { --*living; }
    int value;
    int* living;
  };
  int living = 0;
  {
    watch<counted> w{counted{1, living}};
    CHECK(living == 1);
    w.read([&](const counted& old) {
      CHECK(w.set(counted{2, living}));  // nothing is locked meanwhile
      CHECK(w.get().value == 2);
      CHECK(old.value == 1);
      CHECK(living == 2);
    });
    CHECK(living == 1);
  }
  CHECK(living == 0);
}

TEST_CASE("watch: what an update throws reaches its caller, and nothing has changed", "[watch]") {
  watch<std::string> w{"old"};
  auto mine = w.subscribe();
  CHECK_THROWS_AS(w.update([](std::string& s) {
    s = "new";
    throw std::runtime_error{"on purpose"};
  }),
                  std::runtime_error);
  CHECK(w.get() == "old");
  CHECK_FALSE(mine.changed());
}

TEST_CASE("watch: an update is done again when another one was quicker", "[watch]") {
  watch<int> w{0};
  int calls = 0;
  CHECK(w.update([&](int& v) {
    if (++calls == 1) CHECK(w.set(10));
    ++v;
  }));
  CHECK(calls == 2);
  CHECK(w.get() == 11);
  constexpr int each = 2000;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < each; ++i) static_cast<void>(w.update([](int& v) { ++v; }));
      });
    }
  }
  CHECK(w.get() == 11 + 2 * each);
}
