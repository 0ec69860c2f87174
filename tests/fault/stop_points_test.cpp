// Stop, grant, close and the deadline at every point of a wait, one after another and in pairs.
//
// The primitives are instantiated with a Sync whose every step outside a lock is a *point*. What another thread would do is done at a chosen
// point on the waiting thread itself, so each run is deterministic: points × points runs cover every place where a request can overtake the wait.
// A thread that would sleep lets the actions that are left happen one by one; if it would then sleep for ever, it is rescued and the run fails.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/semaphore.hpp>
#include <penstock/sync/wait_group.hpp>

#include "support/catch.hpp"

namespace {

using namespace penstock;
using detail::nanoseconds_point;
using detail::never;
using detail::outcome;

// The world around the one thread.
struct world {
  struct action {
    int at;  // the number of the point
    std::function<void()> run;
  };
  std::vector<action> actions;  // those that have not happened
  std::function<void()> rescue;
  bool rescued = false;
  int points = 0;
  int locks = 0;
  bool acting = false;
  nanoseconds_point now = 1000;

  void act(std::size_t which) {
    const std::function<void()> run = std::move(actions[which].run);
    actions.erase(actions.begin() + static_cast<std::ptrdiff_t>(which));
    acting = true;
    run();
    acting = false;
  }
  void point() {
    // With a lock held another thread would have to wait: it comes at the next point.
    if (acting || locks > 0) return;
    ++points;
    for (std::size_t i = 0; i < actions.size();) {
      if (actions[i].at <= points) {
        act(i);
      } else {
        ++i;
      }
    }
  }
  // What is left happens after all.
  void finish() {
    while (!actions.empty()) act(0);
  }
};
world* here = nullptr;

template <class T>
struct hooked_atomic : std::atomic<T> {
  using base = std::atomic<T>;
  using base::base;
  T load(std::memory_order o) const noexcept {
    here->point();
    return base::load(o);
  }
  void store(T v, std::memory_order o) noexcept {
    here->point();
    base::store(v, o);
  }
  T exchange(T v, std::memory_order o) noexcept {
    here->point();
    return base::exchange(v, o);
  }
  bool compare_exchange_strong(T& e, T v, std::memory_order s, std::memory_order f) noexcept {
    here->point();
    return base::compare_exchange_strong(e, v, s, f);
  }
  bool compare_exchange_weak(T& e, T v, std::memory_order s, std::memory_order f) noexcept {
    here->point();
    return base::compare_exchange_weak(e, v, s, f);
  }
  T fetch_add(T v, std::memory_order o) noexcept {
    here->point();
    return base::fetch_add(v, o);
  }
  T fetch_sub(T v, std::memory_order o) noexcept {
    here->point();
    return base::fetch_sub(v, o);
  }
  T fetch_or(T v, std::memory_order o) noexcept {
    here->point();
    return base::fetch_or(v, o);
  }
  T fetch_and(T v, std::memory_order o) noexcept {
    here->point();
    return base::fetch_and(v, o);
  }
};

struct hooked_mutex {
  void lock() noexcept {
    here->point();
    ++here->locks;
    is_taken_ = true;
  }
  void unlock() noexcept {
    is_taken_ = false;
    --here->locks;
    here->point();
  }
  bool is_free() const noexcept {  // of polled_mutex, which this one stands for
    here->point();
    return !is_taken_;
  }

 private:
  bool is_taken_ = false;
};

struct hooked_sync {
  template <class T>
  using atomic = hooked_atomic<T>;
  template <class T>
  using var = T;
  using access_check = detail::std_sync::access_check;
  using mutex = hooked_mutex;
  using stop_token = std::stop_token;
  template <class F>
  using stop_callback = std::stop_callback<F>;

  static void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, nanoseconds_point deadline) noexcept {
    here->point();
    while (word.load() == expected) {
      if (!here->actions.empty()) {
        here->act(0);
      } else if (deadline != never) {
        here->now = deadline;
        return;
      } else if (here->rescued) {
        std::terminate();  // not even that woke it
      } else {
        here->rescued = true;
        here->rescue();
      }
    }
  }
  static void futex_wake(std::atomic<std::uint32_t>*) noexcept { here->point(); }
  static void pause() noexcept {}
  static void yield() noexcept { here->point(); }
  static bool parallel() noexcept { return false; }
  static nanoseconds_point now() noexcept { return here->now; }
  static detail::basic_timer_queue<hooked_sync>& steady_timers();
  using thread_id = int;
  static thread_id this_thread() noexcept { return 0; }
};

}  // namespace

// What is done with it held is one step for the others.
template <>
class penstock::detail::polled_mutex<hooked_sync> : public hooked_mutex {};

namespace {

class hand_clock final : public detail::basic_timer_queue<hooked_sync> {
 public:
  [[nodiscard]] nanoseconds_point now() const noexcept override { return here->now; }
  void add(entry& e, nanoseconds_point when) override {
    insert(e, when);
    fire();
  }
  void fire() noexcept {
    while (fire_next(here->now)) {
    }
  }
  bool idle() noexcept { return earliest() == never; }
};
hand_clock timers;
detail::basic_timer_queue<hooked_sync>& hooked_sync::steady_timers() { return timers; }

// Calls `run(w, at)` with every choice of points for the actions, from "before the wait" (0) to "after its last point".
template <std::size_t Actions, class Run>
int at_every_point(Run run) {
  const auto once = [&](const std::array<int, Actions>& at) {
    world w;
    here = &w;
    run(w, at);
    REQUIRE(w.actions.empty());
    REQUIRE_FALSE(w.rescued);
    REQUIRE(w.locks == 0);
    return w.points;
  };
  std::array<int, Actions> last;
  last.fill(1'000'000);
  const int points = once(last);  // all of them while the thread sleeps
  REQUIRE(points > 5);
  int runs = 1;
  if constexpr (Actions == 1) {
    for (int i = 0; i <= points + 1; ++i, ++runs) once({i});
  } else {
    for (int i = 0; i <= points + 1; ++i) {
      for (int j = 0; j <= points + 1; ++j, ++runs) once({i, j});
    }
  }
  return runs;
}

using hooked_semaphore = basic_semaphore<hooked_sync>;
using hooked_event = basic_event<hooked_sync>;

// A wait as a coroutine has it, without the coroutine.
template <class Owner, class Node>
class probe : public detail::completion_wait<Owner, Node> {
 public:
  using base = detail::completion_wait<Owner, Node>;
  using base::base;

  void begin(const std::stop_token& stop = {}, nanoseconds_point deadline = never) {
    const detail::basic_deadline<hooked_sync> limit =
        deadline == never ? detail::basic_deadline<hooked_sync>{} : detail::basic_deadline<hooked_sync>{deadline, timers};
    if (this->start(stop, limit, any_scheduler{}, [](base& self) noexcept { static_cast<probe&>(self).ended_ = true; }))
      ended_ = true;
  }
  [[nodiscard]] bool ended() const noexcept { return ended_; }
  outcome end() {
    REQUIRE(ended_);
    this->finish();
    return this->how;
  }

 private:
  bool ended_ = false;
};
using semaphore_probe = probe<hooked_semaphore, hooked_semaphore::request>;

// What is free is as much as it should be and can be had; and who waits then is served by the next release. Leaves the semaphore empty.
void check_that_it_works(hooked_semaphore& s, std::int64_t free) {
  REQUIRE(s.waiters() == 0);
  REQUIRE(s.available() == free);
  REQUIRE(s.try_acquire(free));
  semaphore_probe next{s, 1};
  next.begin();
  REQUIRE_FALSE(next.ended());
  s.release();
  REQUIRE(next.ended());
  REQUIRE(next.end() == outcome::granted);
  REQUIRE(s.available() == 0);
}

}  // namespace

TEST_CASE("stop points: a stop requested before the call gets nothing, even what is free", "[fault]") {
  world w;
  here = &w;
  std::stop_source stop;
  stop.request_stop();
  hooked_semaphore s{1};
  CHECK(s.acquire(stop.get_token()).error() == errc::cancelled);
  basic_channel<int, channel_policy::mpmc, hooked_sync> c{1};
  CHECK(c.push(stop.get_token(), 1).error() == errc::cancelled);
  CHECK(c.try_push(1));
  CHECK(c.pop(stop.get_token()).error() == errc::cancelled);
  CHECK(s.available() == 1);
  CHECK(c.size() == 1);
  CHECK(w.points > 0);
}

TEST_CASE("stop points: a blocked acquire is stopped at every step, and takes nothing", "[fault]") {
  for (const fairness f : {fairness::eventual, fairness::fifo}) {
    at_every_point<1>([&](world& w, const auto& at) {
      hooked_semaphore s{0, {f}};
      std::stop_source stop;
      w.actions = {{at[0], [&] { stop.request_stop(); }}};
      w.rescue = [&] { s.close(); };
      REQUIRE(s.acquire(stop.get_token()).error() == errc::cancelled);
      w.finish();
      check_that_it_works(s, 0);
    });
  }
}

TEST_CASE("stop points: stop and a permit at every two steps, and the permit is had or free", "[fault]") {
  for (const fairness f : {fairness::eventual, fairness::fifo}) {
    int granted = 0;
    const int runs = at_every_point<2>([&](world& w, const auto& at) {
      hooked_semaphore s{0, {f}};
      std::stop_source stop;
      w.actions = {{at[0], [&] { stop.request_stop(); }}, {at[1], [&] { s.release(); }}};
      w.rescue = [&] { s.close(); };
      const result<void> r = s.acquire(stop.get_token());
      w.finish();
      REQUIRE((r || r.error() == errc::cancelled));
      check_that_it_works(s, r ? 0 : 1);
      granted += r ? 1 : 0;
    });
    CHECK(granted > 0);
    CHECK(granted < runs);
  }
}

TEST_CASE("stop points: close and a permit at every two steps", "[fault]") {
  for (const fairness f : {fairness::eventual, fairness::fifo}) {
    at_every_point<2>([&](world& w, const auto& at) {
      hooked_semaphore s{0, {f}};
      w.actions = {{at[0], [&] { s.close(); }}, {at[1], [&] { s.release(); }}};
      w.rescue = [&] { s.release(); };
      const result<void> r = s.acquire();
      w.finish();
      REQUIRE((r || r.error() == errc::closed));
      REQUIRE(s.available() == (r ? 0 : 1));
      REQUIRE(s.waiters() == 0);
    });
  }
}

TEST_CASE("stop points: a permit that comes and is taken by somebody else, at every two steps", "[fault]") {
  at_every_point<2>([&](world& w, const auto& at) {
    hooked_semaphore s{0};
    std::optional<bool> stolen;
    w.actions = {{at[0], [&] { s.release(); }}, {at[1], [&] {
                                                   stolen = s.try_acquire().has_value();
                                                   w.actions.push_back({w.points + 1, [&] { s.release(*stolen ? 1 : 0); }});
                                                 }}};
    w.rescue = [&] { s.close(); };
    REQUIRE(s.acquire());
    w.finish();
    REQUIRE(stolen.has_value());
    check_that_it_works(s, 0);
  });
}

TEST_CASE("stop points: the deadline passes at every step beside a permit", "[fault]") {
  for (const fairness f : {fairness::eventual, fairness::fifo}) {
    at_every_point<2>([&](world& w, const auto& at) {
      hooked_semaphore s{0, {f}};
      const nanoseconds_point deadline = w.now + 100;
      w.actions = {{at[0], [&] { w.now += 200; }}, {at[1], [&] { s.release(); }}};
      detail::blocking_wait<hooked_semaphore, hooked_semaphore::request> wait{s, 1};
      const outcome how = wait.run(deadline);
      REQUIRE((how == outcome::granted || (how == outcome::timeout && w.now >= deadline)));
      w.finish();
      check_that_it_works(s, how == outcome::granted ? 0 : 1);
    });
  }
}

TEST_CASE("stop points: a big request that is stopped lets the small one behind it pass", "[fault]") {
  for (const fairness f : {fairness::eventual, fairness::fifo}) {
    at_every_point<1>([&](world& w, const auto& at) {
      hooked_semaphore s{1, {f}};
      std::stop_source stop;
      std::optional<semaphore_probe> small;
      // Whenever the big one is stopped, the small one comes first: in front of it, behind it, or with nobody there.
      w.actions = {{at[0], [&] {
                      small.emplace(s, 1);
                      small->begin();
                      w.actions.push_back({w.points + 1, [&] { stop.request_stop(); }});
                    }}};
      w.rescue = [&] { s.release(4); };
      REQUIRE(s.acquire(stop.get_token(), 5).error() == errc::cancelled);
      w.finish();
      REQUIRE(small->ended());
      REQUIRE(small->end() == outcome::granted);
      check_that_it_works(s, 0);
    });
  }
}

TEST_CASE("stop points: of two in line the first one is stopped as a permit comes, and one of them has it", "[fault]") {
  for (const fairness f : {fairness::eventual, fairness::fifo}) {
    int granted = 0;
    const int runs = at_every_point<2>([&](world& w, const auto& at) {
      hooked_semaphore s{0, {f}};
      std::stop_source stop;
      semaphore_probe behind{s, 1};
      bool in_line = false;
      // The second one comes just before the permit, if the first one has not ended by then.
      w.actions = {{at[0], [&] { stop.request_stop(); }}, {at[1], [&] {
                                                             in_line = true;
                                                             behind.begin();
                                                             s.release();
                                                           }}};
      w.rescue = [&] { s.close(); };
      const result<void> r = s.acquire(stop.get_token());
      w.finish();
      REQUIRE(in_line);
      REQUIRE((r || r.error() == errc::cancelled));
      REQUIRE(behind.ended() == !r);
      if (r) s.release();
      REQUIRE(behind.ended());
      REQUIRE(behind.end() == outcome::granted);
      check_that_it_works(s, 0);
      granted += r ? 1 : 0;
    });
    CHECK(granted > 0);
    CHECK(granted < runs);
  }
}

TEST_CASE("stop points: who was woken in vain and is stopped passes its place on", "[fault]") {
  for (const fairness f : {fairness::eventual, fairness::fifo}) {
    at_every_point<2>([&](world& w, const auto& at) {
      hooked_semaphore s{0, {f}};
      std::stop_source stop;
      semaphore_probe behind{s, 1};
      bool stolen = false;
      // The permit wakes the first in line; before it arrives somebody else takes the permit, and it is stopped.
      w.actions = {{at[0],
                    [&] {
                      behind.begin();
                      s.release();
                    }},
                   {at[1], [&] {
                      stolen = s.try_acquire().has_value();
                      stop.request_stop();
                    }}};
      w.rescue = [&] { s.close(); };
      const result<void> r = s.acquire(stop.get_token());
      w.finish();
      REQUIRE((r || r.error() == errc::cancelled));
      if (stolen) s.release();
      if (r) s.release();
      REQUIRE(behind.ended());
      REQUIRE(behind.end() == outcome::granted);
      check_that_it_works(s, s.available());
    });
  }
}

TEST_CASE("stop points: a coroutine's acquire with stop and a permit at every two steps", "[fault]") {
  for (const fairness f : {fairness::eventual, fairness::fifo}) {
    at_every_point<2>([&](world& w, const auto& at) {
      hooked_semaphore s{0, {f}};
      std::stop_source stop;
      w.actions = {{at[0], [&] { stop.request_stop(); }}, {at[1], [&] { s.release(); }}};
      semaphore_probe wait{s, 1};
      wait.begin(stop.get_token());
      w.finish();
      REQUIRE(wait.ended());
      const outcome how = wait.end();
      REQUIRE((how == outcome::granted || how == outcome::cancelled));
      check_that_it_works(s, how == outcome::granted ? 0 : 1);
    });
  }
}

TEST_CASE("stop points: a coroutine's acquire with its deadline and a permit at every two steps", "[fault]") {
  at_every_point<2>([&](world& w, const auto& at) {
    hooked_semaphore s{0};
    const nanoseconds_point deadline = w.now + 100;
    w.actions = {{at[0],
                  [&] {
                    w.now += 200;
                    timers.fire();
                  }},
                 {at[1], [&] { s.release(); }}};
    semaphore_probe wait{s, 1};
    wait.begin({}, deadline);
    w.finish();
    REQUIRE(wait.ended());
    const outcome how = wait.end();
    REQUIRE((how == outcome::granted || how == outcome::timeout));
    check_that_it_works(s, how == outcome::granted ? 0 : 1);
    REQUIRE(timers.idle());
  });
}

TEST_CASE("stop points: a wait for an event with stop and the event at every two steps", "[fault]") {
  at_every_point<2>([&](world& w, const auto& at) {
    hooked_event e;
    std::stop_source stop;
    w.actions = {{at[0], [&] { stop.request_stop(); }}, {at[1], [&] { e.set(); }}};
    w.rescue = [&] { e.set(); };
    const result<void> r = e.wait(stop.get_token());
    w.finish();
    REQUIRE((r || r.error() == errc::cancelled));
    REQUIRE(e.is_set());
    REQUIRE(e.try_wait());
  });
  at_every_point<2>([&](world& w, const auto& at) {
    basic_auto_reset_event<hooked_sync> e;
    std::stop_source stop;
    w.actions = {{at[0], [&] { stop.request_stop(); }}, {at[1], [&] { e.set(); }}};
    w.rescue = [&] { e.set(); };
    const result<void> r = e.wait(stop.get_token());
    w.finish();
    REQUIRE(e.is_set() == !r);  // the signal was taken, or waits for the next one
  });
  at_every_point<2>([&](world& w, const auto& at) {
    basic_wait_group<hooked_sync> g{2};
    w.actions = {{at[0], [&] { g.done(); }}, {at[1], [&] { g.done(); }}};
    w.rescue = [&] { g.done(g.count()); };
    g.wait();
    REQUIRE(g.count() == 0);
    w.finish();
  });
}

TEST_CASE("stop points: a blocked push or pop of a channel is stopped at every step, and the item is inside or kept", "[fault]") {
  at_every_point<1>([&](world& w, const auto& at) {
    basic_channel<std::string, channel_policy::mpmc, hooked_sync> c{1};
    REQUIRE(c.try_push("first"));
    std::stop_source stop;
    w.actions = {{at[0], [&] { stop.request_stop(); }}};
    w.rescue = [&] { c.close(); };
    std::string item = "second";
    REQUIRE(c.push(stop.get_token(), std::move(item)).error() == errc::cancelled);
    w.finish();
    REQUIRE(item == "second");
    REQUIRE(c.size() == 1);
  });
  at_every_point<1>([&](world& w, const auto& at) {
    basic_channel<std::string, channel_policy::mpmc, hooked_sync> c{1};
    std::stop_source stop;
    w.actions = {{at[0], [&] { stop.request_stop(); }}};
    w.rescue = [&] { c.close(); };
    REQUIRE(c.pop(stop.get_token()).error() == errc::cancelled);
    w.finish();
    REQUIRE(c.empty());
  });
}
