#include <penstock/core/detail/polling.hpp>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <limits>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/sync/shared_mutex.hpp>

#include "../../support/catch.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using core_test::pile;
using penstock::detail::basic_deadline;
using penstock::detail::nanoseconds_point;
using penstock::detail::never;
using penstock::detail::outcome;
using penstock::detail::polling;

namespace {

// A machine whose time the test makes: a yield takes as long as it says, a sleep lasts until its deadline.
struct slow_machine : penstock::detail::std_sync {
  static void begin(std::chrono::nanoseconds of_a_yield, bool several = true) {
    time = 3'600'000'000'000;
    yield_takes = of_a_yield.count();
    yields = 0;
    processors = several;
    asleep = {};
    pausing = {};
  }
  static nanoseconds_point now() noexcept { return time; }
  static void pause() noexcept {
    time += 40;
    if (pausing) std::exchange(pausing, {})();
  }
  static void yield() noexcept {
    ++yields;
    time += yield_takes;
  }
  static bool parallel() noexcept { return processors; }
  static void futex_wait(std::atomic<std::uint32_t>&, std::uint32_t, nanoseconds_point deadline) noexcept {
    if (asleep) return std::exchange(asleep, {})();
    if (deadline == never) std::abort();  // nobody would wake it
    if (time < deadline) time = deadline;
  }

  static inline nanoseconds_point time = 0;
  static inline nanoseconds_point yield_takes = 0;
  static inline int yields = 0;
  static inline bool processors = true;
  static inline std::function<void()> asleep;   // what happens during the next sleep, and ends it
  static inline std::function<void()> pausing;  // what happens during the next pause
};

int looks(polling<slow_machine> poll) {
  int n = 0;
  while (poll.again()) ++n;
  CHECK_FALSE(poll.again());
  return n;
}

}  // namespace

TEST_CASE("polling: comes to an end", "[polling][hazard-13]") {
  polling<> poll;
  int looks = 0;
  while (poll.again()) ++looks;
  CHECK(looks <= 43);
  CHECK_FALSE(poll.again());
}

TEST_CASE("polling: looks after each of twenty yields while these are short", "[polling]") {
  slow_machine::begin(1us);
  CHECK(looks(polling<slow_machine>{}) == 43);
  CHECK(slow_machine::yields == 20);
  slow_machine::begin(1us, false);
  CHECK(looks(polling<slow_machine>{}) == 20);  // a single processor: looking without yielding is in vain
  CHECK(slow_machine::yields == 20);
}

TEST_CASE("polling: the first yield that costs more than sleeping would is the last", "[polling][hazard-13]") {
  const bool several = GENERATE(true, false);
  slow_machine::begin(4ms, several);
  CHECK(looks(polling<slow_machine>{}) == (several ? 24 : 1));  // it looks once after it
  CHECK(slow_machine::yields == 1);
}

TEST_CASE("polling: who remembers a slow yield pauses instead for half a second", "[polling]") {
  penstock::detail::yield_memory memory;
  struct seen {
    int looks;
    int yields;
    bool operator==(const seen&) const = default;
  };
  const auto poll = [&](std::chrono::nanoseconds of_a_yield, std::chrono::nanoseconds later) {
    slow_machine::yields = 0;
    slow_machine::yield_takes = of_a_yield.count();
    slow_machine::time += later.count();
    const int n = looks(polling<slow_machine>{memory});
    return seen{n, slow_machine::yields};
  };
  slow_machine::begin(1us);
  CHECK(poll(1us, 0s) == seen{43, 20});
  CHECK(poll(3ms, 0s) == seen{24, 1});
  const auto before = slow_machine::now();
  CHECK(poll(1us, 0s) == seen{43, 0});
  CHECK(slow_machine::now() - before < 20'000);
  CHECK(poll(1us, 499ms) == seen{43, 0});
  CHECK(poll(1us, 1ms) == seen{43, 20});

  slow_machine::begin(1us, false);
  memory = {};
  CHECK(poll(3ms, 0s) == seen{1, 1});
  CHECK(poll(1us, 0s) == seen{0, 0});  // a single processor: pausing is in vain, too
}

TEST_CASE("polling: pauses that find nothing become rare, until they have found something", "[polling]") {
  slow_machine::begin(3ms);
  penstock::detail::yield_memory memory;
  const auto in_vain = [&] { return looks(polling<slow_machine>{memory}); };
  const auto without_pauses = [&] {
    int n = 0;
    while (in_vain() == 23) ++n;  // the looks before the first pause
    return n;                     // and one that paused
  };
  CHECK(in_vain() == 24);  // a slow yield
  for (const int n : {0, 0, 1, 3, 7, 15, 31, 63, 63}) CHECK(without_pauses() == n);
  for (int i = 0; i < 63; ++i) CHECK(in_vain() == 23);
  {
    polling<slow_machine> poll{memory};
    for (int i = 0; i < 30; ++i) CHECK(poll.again());  // found
  }
  for (const int n : {0, 0, 1}) CHECK(without_pauses() == n);
}

TEST_CASE("polling: no yield that may outlast the deadline", "[polling]") {
  slow_machine::begin(100ms);
  const auto yields_before = [](std::chrono::nanoseconds left) {
    slow_machine::yields = 0;
    looks(polling<slow_machine>{slow_machine::now() + left.count()});
    return slow_machine::yields;
  };
  CHECK(yields_before(1ms) == 0);
  CHECK(yields_before(0ns) == 0);
  CHECK(yields_before(-1h) == 0);
  CHECK(yields_before(1h) == 1);
  looks(polling<slow_machine>{std::numeric_limits<nanoseconds_point>::min()});
  CHECK(slow_machine::yields == 1);
}

TEST_CASE("polling: a timed wait is not late because others want the processors", "[polling][wait]") {
  slow_machine::begin(5ms);
  pile<slow_machine> gate;
  const auto late = [&](std::chrono::nanoseconds timeout) {
    const auto limit = basic_deadline<slow_machine>::after(timeout);
    CHECK(gate.take({}, limit) == outcome::timeout);
    return std::chrono::nanoseconds{slow_machine::now() - limit.when()};
  };
  CHECK(late(1ms) == 0ns);
  CHECK(late(50ms) == 0ns);
}

TEST_CASE("polling: a wait that is woken in vain near its deadline is not late either", "[polling][wait]") {
  slow_machine::begin(5ms);
  pile<slow_machine> gate;
  const auto limit = basic_deadline<slow_machine>::after(20ms);
  bool woken = false;
  slow_machine::asleep = [&] {
    slow_machine::time = limit.when() - 1'000'000;
    gate.announce();
    woken = gate.steal();
  };
  CHECK(gate.take({}, limit) == outcome::timeout);
  CHECK(woken);
  CHECK(slow_machine::now() == limit.when());
}

TEST_CASE("polling: a writer among readers stands in line before it yields", "[polling][wait][shared_mutex][hazard-34]") {
  slow_machine::begin(5ms, GENERATE(true, false));
  penstock::basic_shared_mutex<slow_machine> m;
  const auto begun = slow_machine::now();
  bool newcomer_enters = true;

  m.lock_shared();
  slow_machine::asleep = [&] {
    newcomer_enters = m.try_lock_shared();
    m.unlock_shared();
  };
  m.lock();
  CHECK_FALSE(newcomer_enters);
  CHECK(slow_machine::yields == 0);
  CHECK(slow_machine::now() - begun < 20'000);

  // Among writers it lends its processor: the one who holds the lock may need it, and nobody passes.
  slow_machine::asleep = [&] { m.unlock(); };
  m.lock();
  CHECK(slow_machine::yields == 1);
  m.unlock();
}

TEST_CASE("polling: a writer in line that is served soon does not sleep", "[polling][wait][shared_mutex]") {
  slow_machine::begin(5ms);
  penstock::basic_shared_mutex<slow_machine> m;
  m.lock_shared();
  const auto leave_when_it_stands_in_line = [&](auto& self) -> void {
    if (m.waiters() == 0) {
      slow_machine::pausing = [&] { self(self); };
    } else {
      m.unlock_shared();
    }
  };
  slow_machine::pausing = [&] { leave_when_it_stands_in_line(leave_when_it_stands_in_line); };
  m.lock();  // sleeping would end the program: nobody would wake it
  CHECK(slow_machine::yields == 0);
  m.unlock();
}
