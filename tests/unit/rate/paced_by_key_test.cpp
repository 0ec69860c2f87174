// debounce_by_key and throttle_by_key, on a clock that the test moves.
#include <penstock/rate/debounce.hpp>
#include <penstock/rate/throttle.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using strings = std::vector<std::string>;

struct recorder {
  manual_clock clock;
  strings seen;
  move_only_function<int(const std::string&, int)> record() {
    return [this](const std::string& key, int n) {
      seen.push_back(key + std::to_string(n));
      return n;
    };
  }
  bool no_timer() { return clock.next_timer() == manual_clock::time_point::max(); }
};
using by_key = keyed_debounced<std::string, int(int)>;

std::error_code error_of(shared_future<int> f) {
  try {
    f.get();
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

TEST_CASE("debounce_by_key: each key has its own bursts, and leaves when its burst is over", "[debounce]") {
  recorder t;
  by_key f{any_scheduler{}, 10ms, t.record(), {.clock = t.clock}};
  CHECK(f("a", 1));
  t.clock.advance(5ms);
  auto b = f.submit("b", 1);
  CHECK(f("a", 2));
  CHECK(f.keys() == 2);
  CHECK(f.pending("a"));
  CHECK_FALSE(f.pending("c"));
  t.clock.advance(9ms);
  CHECK(t.seen.empty());
  CHECK(f("b", 2));
  t.clock.advance(1ms);
  CHECK(t.seen == strings{"a2"});
  CHECK(f.keys() == 1);
  t.clock.advance(9ms);
  CHECK(b.get() == 2);
  CHECK(t.seen == strings{"a2", "b2"});
  CHECK(f.keys() == 0);
  CHECK(t.no_timer());
}

TEST_CASE("debounce_by_key: max_keys bounds what is remembered; other keys are refused, and known ones are not [hazard-28]",
          "[debounce][hazard-28]") {
  recorder t;
  by_key f{any_scheduler{}, 10ms, t.record(), {.max_keys = 2, .clock = t.clock}};
  CHECK(f("a", 1));
  CHECK(f("b", 1));
  CHECK(f("c", 1) == errc::full);
  CHECK(error_of(f.submit("c", 1)) == errc::full);
  CHECK(f("a", 2));
  t.clock.advance(10ms);
  CHECK(t.seen == strings{"a2", "b1"});
  CHECK(f("c", 2));
  CHECK(f.keys() == 1);
}

TEST_CASE("debounce_by_key: cancel() and flush(), of one key and of all", "[debounce]") {
  recorder t;
  {
    by_key f{any_scheduler{}, 10ms, t.record(), {.clock = t.clock}};
    CHECK(f("a", 1));
    auto b = f.submit("b", 1);
    f.cancel("b");
    f.cancel("nobody");
    CHECK(error_of(b) == errc::cancelled);
    CHECK(f.flush("a").get() == 1);
    CHECK_FALSE(f.flush("nobody").valid());
    CHECK(t.seen == strings{"a1"});
    for (const char* key : {"c", "d", "e"}) CHECK(f(key, 1));
    f.flush();
    CHECK(t.seen.size() == 4);
    for (const char* key : {"c", "d", "e"}) CHECK(f(key, 2));
    f.cancel();
    t.clock.advance(100ms);
    CHECK(t.seen.size() == 4);
    CHECK(f.keys() == 0);
  }
  CHECK(t.no_timer());
  {  // keys without a timer leave, too
    by_key f{any_scheduler{}, std::chrono::hours::max(), t.record(), {.clock = t.clock}};
    CHECK(f("a", 1));
    CHECK(f("b", 1));
    f.cancel();
    CHECK(f.keys() == 0);
    CHECK(f("a", 1));
    f.cancel("a");
    CHECK(f.keys() == 0);
  }
}

TEST_CASE("debounce_by_key: a key leaves as soon as its calls are cancelled, not when its timer would fire", "[debounce]") {
  recorder t;
  by_key f{any_scheduler{}, 24h, t.record(), {.leading = true, .max_keys = 1, .clock = t.clock}};
  CHECK(f("a", 1));
  CHECK(f("a", 2));
  f.cancel("a");
  CHECK(f.keys() == 0);
  CHECK(t.no_timer());
  CHECK(f("b", 1));
  CHECK(f("b", 2));
  f.cancel();
  CHECK(f.keys() == 0);
  CHECK(t.no_timer());
  CHECK(t.seen == strings{"a1", "b1"});
}

TEST_CASE("debounce_by_key: drain() runs what waits, of one key or of all, and waits for it", "[debounce]") {
  recorder t;
  manual_executor loop;
  by_key f{any_scheduler{}, 10ms, t.record(), {.clock = t.clock}};
  CHECK(f("a", 1));
  CHECK(f("b", 1));
  CHECK(f.drain("a"));
  CHECK(t.seen == strings{"a1"});
  CHECK(f.drain("nobody"));
  CHECK(f("c", 1));
  CHECK(f.drain());
  CHECK(t.seen.size() == 3);
  by_key later{loop, 10ms, t.record(), {.clock = t.clock}};
  CHECK(later("a", 1));
  CHECK(later("b", 1));
  CHECK(later.drain("b", {.deadline = deadline::after(0ms)}) == errc::timeout);
  CHECK(loop.run_all() == 1);
  CHECK(later.drain("b"));
  CHECK(t.seen.back() == "b1");
  CHECK(later.drain({.deadline = deadline::after(0ms)}) == errc::timeout);
  CHECK(loop.run_all() == 1);
  CHECK(later.drain());
  CHECK(t.seen.back() == "a1");
}

TEST_CASE("throttle_by_key: each key runs once in an interval, and leaves when the next run may come at once", "[throttle]") {
  recorder t;
  keyed_throttled<std::string, int(int)> f{any_scheduler{}, 10ms, t.record(), {.clock = t.clock}};
  CHECK(f("a", 1));
  CHECK(f("b", 1));
  CHECK(f("a", 2));
  CHECK(t.seen == strings{"a1", "b1"});
  t.clock.advance(10ms);
  CHECK(t.seen == strings{"a1", "b1", "a2"});
  CHECK(f.keys() == 1);
  CHECK(f("a", 3));
  CHECK(t.seen.size() == 3);
  t.clock.advance(10ms);
  CHECK(t.seen.back() == "a3");
  t.clock.advance(10ms);
  CHECK(f.keys() == 0);
  CHECK(t.no_timer());
}

TEST_CASE("debounce_by_key: a key that is on its way to its context stays until the run is home, or destruction gives it up",
          "[debounce]") {
  recorder t;
  manual_executor loop;
  {
    auto f = debounce_by_key(loop, 10ms, [&](const std::string& key, int n) { t.seen.push_back(key + std::to_string(n)); },
                             {.clock = t.clock});
    CHECK(f("a", 1));
    CHECK(f("b", 1));
    t.clock.advance(10ms);
    CHECK(f.keys() == 2);
    CHECK(loop.run_one());
    CHECK(f.keys() == 1);
    auto b = f.submit("b", 2);
    t.clock.advance(10ms);
    CHECK(f.pending("b"));
    f.cancel("b");
    CHECK_THROWS_AS(b.get(), std::system_error);
    CHECK(f("b", 3));
    CHECK(f("c", 3));
    t.clock.advance(10ms);
  }
  loop.run_all();
  CHECK(t.seen == strings{"a1"});
  CHECK(t.no_timer());
  CHECK_THROWS_AS((by_key{loop, 1ms, t.record(), {.max_keys = 0, .clock = t.clock}}), std::invalid_argument);
}

}  // namespace
