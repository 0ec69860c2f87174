#include <penstock/pool/submit_options.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <optional>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/pool/detail/priority_lines.hpp>
#include <penstock/pool/detail/task_queue.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

#include "../../support/catch.hpp"
#include "../../support/pool.hpp"
#include "../../support/until.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using test_support::error_of;
using test_support::gate;
using test_support::token;
using test_support::until;

using numbers = std::vector<int>;

move_only_function<void()> noting(numbers& log, int number) {
  return [&log, number] { log.push_back(number); };
}

}  // namespace

TEST_CASE("submit_options: a submission says itself what happens when the queue is full", "[worker_pool]") {
  std::atomic<int> ran{0};
  int expected = 1;
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = overflow::reject}};
  manual_clock clock;
  gate g{pool};
  CHECK(pool.post([&] { ++ran; }));
  CHECK(pool.post([&] { ++ran; }) == errc::rejected);
  CHECK(pool.post({.limits = {}}, [&] { ++ran; }) == errc::rejected);  // the pool's own
  SECTION("run it here") {
    std::thread::id where;
    CHECK(pool.post({.overflow = overflow::caller_runs}, [&] { where = std::this_thread::get_id(); }));
    CHECK(where == std::this_thread::get_id());
    future<std::thread::id> f = pool.submit([] { return std::this_thread::get_id(); }, {.overflow = overflow::caller_runs});
    REQUIRE(f.is_ready());
    CHECK(f.get() == std::this_thread::get_id());
  }
  SECTION("wait, until a deadline") {
    std::optional<result<void>> got;
    std::jthread poster{[&] {
      const deadline soon{clock.now() + 10ms, clock};
      got = pool.post({.overflow = overflow::wait, .limits = {.deadline = soon}}, [&] { ++ran; });
    }};
    until([&] { return pool.room_waiters() == 1; });
    clock.advance(10ms);
    poster.join();
    CHECK(*got == errc::timeout);
    const deadline passed{clock.now(), clock};
    CHECK(error_of(pool.submit([&] { ++ran; }, {.overflow = overflow::wait, .limits = {.deadline = passed}})) == errc::timeout);
  }
  SECTION("wait, until there is room") {
    future<int> got;
    std::jthread poster{[&] { got = pool.submit([&] { return ++ran; }, {.overflow = overflow::wait}); }};
    until([&] { return pool.room_waiters() == 1; });
    g.open();
    poster.join();
    CHECK(got.get() == ++expected);
  }
  SECTION("nothing, when stop was requested before") {
    std::stop_source stop;
    stop.request_stop();
    for (const overflow o :
         {overflow::wait, overflow::reject, overflow::caller_runs, overflow::drop_oldest, overflow::drop_lowest}) {
      CHECK(pool.post({.overflow = o, .limits = {.stop = stop.get_token()}}, [&] { ++ran; }) == errc::cancelled);
    }
  }
  g.open();
  CHECK(pool.drain());
  CHECK(ran == expected);
  CHECK(pool.dropped() == 0);
}

TEST_CASE("worker_pool: room_timeout ends each wait for room whose submission says no deadline itself",
          "[worker_pool][hazard-05]") {
  manual_clock clock;
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .room_timeout = 10ms, .clock = clock}};
  gate g{pool};
  CHECK(pool.post([] {}));
  std::optional<result<void>> got[3];
  std::error_code submitted;
  range_result many;
  {
    const deadline later{clock.now() + 30ms, clock};
    std::vector<std::jthread> posters;
    posters.emplace_back([&] { got[0] = pool.post([] {}); });
    posters.emplace_back([&] { got[1] = pool.post({.overflow = overflow::wait}, [] {}); });
    posters.emplace_back([&] { submitted = error_of(pool.submit([] {})); });
    posters.emplace_back([&] { many = pool.post_n(2, [](std::size_t) {}); });
    posters.emplace_back([&] { got[2] = pool.post({.limits = {.deadline = later}}, [] {}); });
    until([&] { return pool.room_waiters() == 5; });
    clock.advance(9ms);
    CHECK(pool.room_waiters() == 5);
    clock.advance(1ms);
    until([&] { return pool.room_waiters() == 1; });
    clock.advance(20ms);
  }
  for (const auto& r : got) CHECK(*r == errc::timeout);
  CHECK(submitted == errc::timeout);
  CHECK((many.count == 0 && many.error == errc::timeout));
  CHECK(pool.stats().rejected.timeout == 5);
  CHECK(pool.try_post([] {}) == errc::full);
  g.open();
  CHECK(pool.drain());
  worker_pool never{{.threads = 1, .queue_capacity = 1, .room_timeout = 0s}};
  gate closed{never};
  CHECK(never.post([] {}));
  CHECK(never.post([] {}) == errc::timeout);
  CHECK(never.post({.overflow = overflow::reject}, [] {}) == errc::rejected);
  CHECK_THROWS_AS(worker_pool({.room_timeout = -1ns}), std::invalid_argument);
}

TEST_CASE("worker_pool: one post_n() waits for room no longer than room_timeout in all", "[worker_pool][hazard-05]") {
  manual_clock clock;
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .room_timeout = 10ms, .clock = clock}};
  gate g{pool};
  CHECK(pool.post([] {}));
  range_result many;
  std::jthread poster{[&] { many = pool.post_n(2, [](std::size_t) {}); }};
  until([&] { return pool.room_waiters() == 1; });
  clock.advance(6ms);
  CHECK(pool.purge() == 1);  // lets the first one in
  until([&] { return pool.queued() == 1 && pool.room_waiters() == 1; });
  clock.advance(4ms);
  poster.join();
  CHECK((many.count == 1 && many.error == errc::timeout));
}

TEST_CASE("submit_options: drop_oldest puts a task in the place of the one that waited longest", "[worker_pool]") {
  numbers ran;
  std::atomic<int> living{0};
  worker_pool pool{{.threads = 1, .queue_capacity = 2, .overflow = overflow::drop_oldest}};
  gate g{pool};
  CHECK(pool.post([&ran, held = token{living}] { ran.push_back(1); }));
  future<void> second = pool.submit([&ran, held = token{living}] { ran.push_back(2); });
  CHECK(living == 2);
  CHECK(pool.post([&ran, held = token{living}] { ran.push_back(3); }));
  CHECK(living == 2);  // the first one is gone by now
  CHECK_FALSE(second.is_ready());
  future<void> fourth = pool.submit([&ran, held = token{living}] { ran.push_back(4); });
  REQUIRE(second.is_ready());
  CHECK(error_of(std::move(second)) == errc::rejected);
  CHECK(pool.try_post([] {}) == errc::full);  // never drops anything
  CHECK(pool.dropped() == 2);
  CHECK(pool.queued() == 2);
  g.open();
  fourth.get();
  CHECK(pool.drain());  // counts neither what was dropped nor what took its place twice
  CHECK(ran == numbers{3, 4});
  CHECK(living == 0);
  CHECK(pool.shutdown());
  CHECK(pool.post([] {}) == errc::closed);
}

TEST_CASE("submit_options: drop_lowest drops the newest of the least urgent tasks, or refuses the one that comes",
          "[worker_pool]") {
  numbers ran;
  worker_pool pool{{.threads = 1, .queue_capacity = 3, .overflow = overflow::drop_lowest, .priorities = 3}};
  gate g{pool};
  CHECK(pool.post({.priority = 1}, noting(ran, 10)));
  CHECK(pool.post({.priority = 2}, noting(ran, 20)));
  future<void> lowest = pool.submit(noting(ran, 21), {.priority = 2});
  CHECK(pool.post({.priority = 2}, noting(ran, 22)) == errc::rejected);
  CHECK(error_of(pool.submit(noting(ran, 23), {.priority = 2})) == errc::rejected);
  CHECK(pool.dropped() == 0);
  CHECK(pool.post({.priority = 1}, noting(ran, 11)));
  REQUIRE(lowest.is_ready());
  CHECK(error_of(std::move(lowest)) == errc::rejected);
  CHECK(pool.post({.priority = 0}, noting(ran, 0)));  // for 20
  CHECK(pool.post({.priority = 1}, noting(ran, 12)) == errc::rejected);
  CHECK(pool.post({.priority = 0}, noting(ran, 1)));  // for 11
  CHECK(pool.dropped() == 3);
  CHECK(pool.post({.overflow = overflow::drop_oldest, .priority = 2}, noting(ran, 24)));  // for 10
  g.open();
  CHECK(pool.drain());
  CHECK(ran == numbers{0, 1, 24});
  CHECK(pool.dropped() == 4);
}

TEST_CASE("submit_options: without priorities drop_lowest refuses the task that comes", "[worker_pool]") {
  numbers ran;
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = overflow::drop_lowest}};
  gate g{pool};
  CHECK(pool.post(noting(ran, 1)));
  CHECK(pool.post(noting(ran, 2)) == errc::rejected);
  g.open();
  CHECK(pool.drain());
  CHECK(ran == numbers{1});
  CHECK(pool.dropped() == 0);
}

TEST_CASE("submit_options: the destructor of a task that is dropped for another may use the pool", "[worker_pool][hazard-17]") {
  struct nosy {
    nosy(worker_pool& p, int& r) noexcept : pool{&p}, accepted{&r} {}
    nosy(nosy&& other) noexcept : pool{std::exchange(other.pool, nullptr)}, accepted{other.accepted} {}
    ~nosy() {
      if (pool != nullptr && *accepted < 3 && pool->post([] {}) && pool->queued() == 1) ++*accepted;
    }
    worker_pool* pool;
    int* accepted;
  };
  int accepted = 0;
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = overflow::drop_oldest}};
  gate g{pool};
  CHECK(pool.post([held = nosy{pool, accepted}] {}));
  CHECK(pool.post([held = nosy{pool, accepted}] {}));
  CHECK(accepted == 2);  // each posted one in the place of the next
  CHECK(pool.dropped() == 3);
}

TEST_CASE("submit_options: the shell of a task that was begun already is dropped without being counted", "[worker_pool]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .priorities = 2}};
  auto outer = pool.submit([&] {
    future<int> inner = pool.submit([] { return 5; });
    const int value = inner.get();  // runs it here, and leaves what lies in the queue
    const bool posted = pool.post({.overflow = overflow::drop_oldest}, [] {}).has_value();
    return posted ? value : 0;
  });
  CHECK(outer.get() == 5);
  CHECK(pool.drain());
  CHECK(pool.dropped() == 0);
}

TEST_CASE("submit_options: a worker that submits into its own full pool goes on, whatever the policy",
          "[worker_pool][hazard-18]") {
  constexpr int count = 10;
  for (const unsigned priorities : {1U, 2U}) {
    for (const overflow policy :
         {overflow::wait, overflow::reject, overflow::caller_runs, overflow::drop_oldest, overflow::drop_lowest}) {
      CAPTURE(priorities, static_cast<int>(policy));
      std::atomic<int> ran{0}, filled{0}, refused{0}, at_once{0};
      worker_pool pool{{.threads = 1, .queue_capacity = 1, .priorities = priorities}};
      CHECK(pool.post([&] {
        while (pool.try_post([&] { ++filled; })) {
        }
        for (int i = 0; i < count; ++i) {
          const int before = ran;
          const result<void> r = pool.post({.overflow = policy, .priority = 0, .expires_in = 1h}, [&] { ++ran; });
          if (r == errc::rejected) ++refused;
          if (ran != before) ++at_once;
        }
      }));
      CHECK(pool.drain());
      const int dropped = static_cast<int>(pool.dropped());
      switch (policy) {
        case overflow::wait:
        case overflow::caller_runs:
          CHECK(at_once == count);
          CHECK(dropped + refused == 0);
          break;
        case overflow::reject:
          CHECK(refused == count);
          break;
        case overflow::drop_oldest:
          CHECK(dropped == count);
          CHECK(ran == 1);
          break;
        case overflow::drop_lowest:
          CHECK(dropped == (priorities == 1 ? 0 : 1));
          CHECK(refused == (priorities == 1 ? count : count - 1));
          break;
      }
      // One lies in the queue and, without priorities, one in the worker's lane.
      CHECK(ran + filled + refused + dropped == count + (priorities == 1 ? 2 : 1));
    }
  }
}

TEST_CASE("submit_options: a task that has not begun by its latest start is not run", "[worker_pool]") {
  manual_clock clock;
  manual_clock other;
  std::atomic<int> ran{0}, told{0}, living{0};
  std::thread::id where;
  worker_pool pool{{.threads = 1, .clock = clock}};
  const std::thread::id worker = pool.submit([] { return std::this_thread::get_id(); }).get();
  std::optional<gate> g{pool};
  const auto hear = [&] {
    ++told;
    where = std::this_thread::get_id();
    CHECK(pool.post([] {}));  // under no lock
  };
  const auto work = [&] { return [&ran, held = token{living}] { ++ran; }; };
  CHECK(pool.post({.expires_in = 10ms, .on_expired = hear}, work()));
  CHECK(pool.post({.start_before = {other.now() + 10ms, other}, .on_expired = hear}, work()));
  future<void> one = pool.submit(work(), {.expires_in = 10ms, .on_expired = hear});
  future<void> two = pool.submit(work(), {.start_before = {clock.now() + 10ms, clock}});
  CHECK(pool.post({.expires_in = std::chrono::hours::max(), .on_expired = hear}, work()));
  CHECK(pool.expired() == 0);
  SECTION("at it") {
    clock.advance(10ms);
    other.advance(10ms);
    g.reset();
    CHECK(error_of(std::move(one)) == errc::timeout);
    CHECK(error_of(std::move(two)) == errc::timeout);
    CHECK(pool.drain());
    CHECK(ran == 1);
    CHECK(told == 3);
    CHECK(where == worker);
    CHECK(pool.expired() == 4);
  }
  SECTION("but a moment before it is") {
    clock.advance(10ms - 1ns);
    other.advance(10ms - 1ns);
    g.reset();
    one.get();
    two.get();
    CHECK(pool.drain());
    CHECK(ran == 5);
    CHECK(told == 0);
    CHECK(pool.expired() == 0);
  }
  SECTION("each by its clock") {
    clock.advance(10ms);
    g.reset();
    CHECK(pool.drain());
    CHECK(ran == 2);
    CHECK(told == 2);
    CHECK(pool.expired() == 3);
  }
  SECTION("nor is it told so when it is dropped") {
    clock.advance(10ms);
    pool.request_stop();
    CHECK(error_of(std::move(one)) == errc::cancelled);
    g.reset();
    CHECK(pool.shutdown());
    CHECK(ran + told == 0);
    CHECK(pool.expired() == 0);
  }
  CHECK(living == 0);
  CHECK(pool.failed() == 0);
}

TEST_CASE("submit_options: a task expires also when the one that waits for it, or its submitter, would run it", "[worker_pool]") {
  manual_clock clock;
  std::atomic<int> ran{0};
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = overflow::caller_runs, .clock = clock}};
  CHECK(pool.submit([&] {
              future<int> inner = pool.submit([&] { return ++ran; }, {.expires_in = 1ms});
              clock.advance(1ms);
              return error_of(std::move(inner));
            })
            .get() == errc::timeout);
  CHECK(pool.drain());
  gate g{pool};
  CHECK(pool.post([] {}));
  CHECK(pool.post({.expires_in = -1ms}, [&] { ++ran; }));
  CHECK(error_of(pool.submit([&] { ++ran; }, {.expires_in = 0ms})) == errc::timeout);
  CHECK(ran == 0);
  CHECK(pool.expired() == 3);
}

TEST_CASE("submit_options: the future of an expired task is ready when the callback has run and what both held is gone",
          "[worker_pool]") {
  struct looks_at_its_end {
    looks_at_its_end(const future<void>& f, int& t) noexcept : late{&f}, too_late{&t} {}
    looks_at_its_end(looks_at_its_end&& other) noexcept : late{std::exchange(other.late, nullptr)}, too_late{other.too_late} {}
    ~looks_at_its_end() { look(); }
    void look() const {
      if (late != nullptr && late->is_ready()) ++*too_late;
    }
    const future<void>* late;
    int* too_late;
  };
  int told = 0;
  int too_late = 0;
  future<void> late;
  worker_pool pool{{.threads = 1}};
  gate g{pool};
  late = pool.submit([held = looks_at_its_end{late, too_late}] {},
                     {.expires_in = 0ms, .on_expired = [&told, held = looks_at_its_end{late, too_late}] {
                        ++told;
                        held.look();
                      }});
  g.open();
  CHECK(pool.drain());
  CHECK(told == 1);
  CHECK(too_late == 0);
  REQUIRE(late.is_ready());
  CHECK(error_of(std::move(late)) == errc::timeout);
}

TEST_CASE("submit_options: what the callback of an expired task throws reaches the handler", "[worker_pool][hazard-19]") {
  std::atomic<int> handled{0};
  worker_pool pool{{.threads = 1, .on_error = [&](const std::exception_ptr&) { ++handled; }}};
  const auto fail = [] { throw std::runtime_error{"on purpose"}; };
  CHECK(pool.post({.expires_in = 0ms, .on_expired = fail}, [] {}));
  CHECK(error_of(pool.submit([] {}, {.expires_in = 0ms, .on_expired = fail})) == errc::timeout);
  CHECK(pool.drain());
  CHECK(handled == 2);
  CHECK(pool.failed() == 2);
  CHECK(pool.expired() == 2);
}

TEST_CASE("submit_options: what makes no sense is refused by name", "[worker_pool]") {
  CHECK_THROWS_AS(worker_pool({.priorities = 0}), std::invalid_argument);
  CHECK_THROWS_AS(worker_pool({.priorities = 17}), std::invalid_argument);
  worker_pool pool{{.threads = 1, .priorities = 2}};
  CHECK(pool.priorities() == 2);
  const deadline now = deadline::after(0ms);
  CHECK_THROWS_AS(static_cast<void>(pool.post({.priority = 2}, [] {})), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(pool.submit([] {}, {.priority = 2})), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(pool.post({.start_before = now, .expires_in = 0ms}, [] {})), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(pool.submit([] {}, {.start_before = now, .expires_in = 0ms})), std::invalid_argument);
  void (*const none)() = nullptr;
  CHECK_THROWS_AS(static_cast<void>(pool.post({.expires_in = 1h}, none)), std::invalid_argument);
  CHECK_THROWS_AS(static_cast<void>(pool.submit(none, {.expires_in = 1h})), std::invalid_argument);
  CHECK(pool.drain());
  CHECK(pool.failed() == 0);
}

TEST_CASE("submit_options: a task that was stopped before does not count as dropped for another", "[worker_pool]") {
  worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = overflow::drop_oldest}};
  {
    gate g{pool};
    auto stopped = pool.submit([] {});
    stopped.request_stop();
    CHECK(pool.post([] {}));
  }
  CHECK(pool.drain());
  CHECK(pool.dropped() == 0);
  CHECK(pool.stats().cancelled == 1);
}

TEST_CASE("submit_options: a task that accepts a stop token gets one", "[worker_pool]") {
  worker_pool pool{{.threads = 1}};
  CHECK(pool.submit([](const std::stop_token& stop) { return stop.stop_possible(); }, {.expires_in = 1h}).get());
}

TEST_CASE("submit_options: tasks begin in the order of their priorities, and in their own order within one", "[worker_pool]") {
  numbers ran;
  worker_pool pool{{.threads = 1, .priorities = 3}};
  gate g{pool};
  for (const int n : {20, 21}) CHECK(pool.post({.priority = 2}, noting(ran, n)));
  CHECK(pool.post(noting(ran, 10)));  // usually the middle one
  for (const int n : {0, 1}) CHECK(pool.post({.priority = 0}, noting(ran, n)));
  CHECK(pool.post_n(1, [&](std::size_t) { ran.push_back(11); }));
  CHECK(pool.post({.priority = 2}, noting(ran, 22)));
  CHECK(pool.queued() == 7);
  g.open();
  CHECK(pool.drain());
  CHECK(ran == numbers{0, 1, 10, 11, 20, 21, 22});
}

TEST_CASE("submit_options: a priority passes each sixteenth of its turns on to the next that waits", "[worker_pool]") {
  numbers ran;
  worker_pool pool{{.threads = 1, .priorities = 3}};
  gate g{pool};
  for (int i = 0; i < 600; ++i) CHECK(pool.post({.priority = 0}, noting(ran, 0)));
  for (int i = 0; i < 40; ++i) CHECK(pool.post({.priority = 1}, noting(ran, 1)));
  for (int i = 0; i < 4; ++i) CHECK(pool.post({.priority = 2}, noting(ran, 2)));
  g.open();
  CHECK(pool.drain());
  numbers expected;
  for (int i = 1; i <= 640; ++i) expected.push_back(i % 16 != 0 ? 0 : i % 256 != 0 ? 1 : 2);
  for (const int n : {1, 1, 2, 2}) expected.push_back(n);  // 600 of the most urgent have gone by then
  CHECK(ran == expected);
}

TEST_CASE("submit_options: what a worker submits, and who waits for room, has its priority, too", "[worker_pool]") {
  numbers ran;
  worker_pool pool{{.threads = 1, .queue_capacity = 3, .priorities = 2}};
  SECTION("from inside") {
    CHECK(pool.submit([&] {
                static_cast<void>(pool.post_n(1, [&](std::size_t) { ran.push_back(10); }));
                static_cast<void>(pool.post({.priority = 1}, noting(ran, 11)));
                return pool.post({.priority = 0}, noting(ran, 0)).has_value();
              })
              .get());
    CHECK(pool.drain());
    CHECK(ran == numbers{0, 10, 11});
  }
  SECTION("waiting") {
    std::optional<gate> g{pool};
    for (const int n : {10, 11, 12}) CHECK(pool.post({.priority = 1}, noting(ran, n)));
    std::jthread poster{[&] { static_cast<void>(pool.post({.priority = 0}, noting(ran, 0))); }};
    until([&] { return pool.room_waiters() == 1; });
    g.reset();
    poster.join();
    CHECK(pool.drain());
    CHECK(ran == numbers{10, 0, 11, 12});
  }
}

TEST_CASE("submit_options: who finds room while he polls for it, or before he sleeps, goes in with his priority",
          "[worker_pool]") {
  using queue = detail::task_queue<move_only_function<void()>>;
  numbers ran;
  queue q{4, 1, 2, 2};
  auto low = noting(ran, 10);
  auto lower = noting(ran, 11);
  auto high = noting(ran, 0);
  CHECK(detail::blocking_wait<queue, queue::room_node>{q, low, 1U}.run() == detail::outcome::granted);
  CHECK(detail::blocking_wait<queue, queue::room_node>{q, lower, 1U}.run_without_polling() == detail::outcome::granted);
  CHECK(q.try_push(high, 0));
  q.close();
  detail::work<move_only_function<void()>> found;
  while (q.next(q.slot_of(0), found)) found();
  CHECK(ran == numbers{0, 10, 11});
}

TEST_CASE("submit_options: tasks of all priorities are dropped by request_stop, and finished by shutdown", "[worker_pool]") {
  numbers ran;
  std::vector<future<void>> all;
  worker_pool pool{{.threads = 1, .priorities = 16}};
  gate g{pool};
  for (unsigned p = 0; p < 16; ++p) all.push_back(pool.submit(noting(ran, static_cast<int>(p)), {.priority = p}));
  SECTION("dropped") {
    pool.request_stop();
    for (auto& f : all) CHECK(error_of(std::move(f)) == errc::cancelled);
    CHECK(ran.empty());
  }
  SECTION("finished") {
    g.open();
    CHECK(pool.shutdown());
    for (auto& f : all) CHECK_FALSE(error_of(std::move(f)));
    CHECK(ran.size() == 16);
  }
  g.open();
  CHECK(pool.drain());
  CHECK(pool.queued() == 0);
}

TEST_CASE("priority_lines: nothing waits longer than is promised, whatever comes and goes", "[worker_pool]") {
  constexpr unsigned levels = 3;
  constexpr std::size_t capacity = 200;
  struct item {
    unsigned level = 0;
    std::size_t bound = 0;  // the pop that takes it at the latest
  };
  for (unsigned seed = 0; seed < 20; ++seed) {
    detail::priority_lines<item> lines{capacity, levels};
    std::mt19937 random{seed};
    const auto below = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
    std::size_t inside[levels] = {};
    std::size_t size = 0, pops = 0;
    bool kept = true;
    for (int step = 0; step < 20'000; ++step) {
      const unsigned mood = static_cast<unsigned>(step / 500) % 4;  // floods of one level, and times of dearth
      if (size < capacity && below(mood == 3 ? 3 : 2) == 0) {
        const unsigned level = mood < 2 && below(8) != 0 ? mood : below(levels);
        const std::size_t before = inside[level];
        item one{level, pops + (before + before / 15 + 2) * (level == 0 ? 1 : level == 1 ? 16 : 256)};
        lines.push(one, level);
        ++inside[level];
        ++size;
      } else if (size > 0) {
        item one;
        lines.pop(one);
        ++pops;
        --inside[one.level];
        --size;
        kept = kept && pops <= one.bound;
      }
    }
    CHECK(kept);
  }
}
