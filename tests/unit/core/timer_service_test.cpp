#include <penstock/core/timer_service.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "../../support/catch.hpp"
#include "support.hpp"

using namespace std::chrono_literals;
using core_test::call_timer;
using penstock::detail::nanoseconds_point;
using penstock::detail::std_sync;

namespace {

// Stands where the test put it. The service sleeps by it, so the test wakes the service by a timer that is due.
struct test_clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<test_clock>;
  static constexpr bool is_steady = true;
  time_point now() const noexcept { return time_point{duration{time->load()}}; }

  std::atomic<std::int64_t>* time = nullptr;
};

constexpr std::int64_t hour = 3'600'000'000'000;

#if defined(__SANITIZE_THREAD__)
constexpr bool thread_sanitizer = true;
#elif defined(__has_feature)
constexpr bool thread_sanitizer = __has_feature(thread_sanitizer);
#else
constexpr bool thread_sanitizer = false;
#endif

// Returns when the service has fired everything that is due.
void wake_and_wait(penstock::timer_queue& service) {
  std::promise<void> fired;
  call_timer now{[&] { fired.set_value(); }};
  service.add(now,
              std::numeric_limits<std::int64_t>::min());  // the earliest of all: the others that are due follow in the same pass
  fired.get_future().wait();
  service.remove(now);
  std::promise<void> again;
  call_timer last{[&] { again.set_value(); }};
  service.add(last, service.now());  // behind what was due
  again.get_future().wait();
  service.remove(last);
}

}  // namespace

TEST_CASE("timer_service: fires by its own clock, in order, and not before", "[timer_service][hazard-23]") {
  std::atomic<std::int64_t> time = hour;
  std::vector<int> order;  // written by the service's thread, read after wake_and_wait()
  penstock::timer_service<test_clock> service{test_clock{&time}};
  CHECK(service.now() == hour);
  call_timer third{[&] { order.push_back(3); }};
  call_timer first{[&] { order.push_back(1); }};
  call_timer second{[&] { order.push_back(2); }};
  service.add(third, 4 * hour);
  service.add(first, 2 * hour);
  service.add(second, 3 * hour);
  wake_and_wait(service);
  CHECK(order.empty());
  time = 2 * hour - 1;
  wake_and_wait(service);
  CHECK(order.empty());
  time = 2 * hour;
  wake_and_wait(service);
  CHECK(order == std::vector{1});
  time = 10 * hour;
  wake_and_wait(service);
  CHECK(order == std::vector{1, 2, 3});
}

TEST_CASE("timer_service: a clock that steps back holds its timers up", "[timer_service][hazard-24]") {
  std::atomic<std::int64_t> time = 5 * hour;
  std::atomic<int> fired = 0;
  penstock::timer_service<test_clock> service{test_clock{&time}};
  call_timer timer{[&] { ++fired; }};
  service.add(timer, 6 * hour);
  time = hour;
  wake_and_wait(service);
  CHECK(fired == 0);
  time = 6 * hour;
  wake_and_wait(service);
  CHECK(fired == 1);
}

TEST_CASE("timer_service: a removed timer does not fire", "[timer_service]") {
  std::atomic<std::int64_t> time = hour;
  std::atomic<int> fired = 0;
  penstock::timer_service<test_clock> service{test_clock{&time}};
  call_timer timer{[&] { ++fired; }};
  service.add(timer, 2 * hour);
  CHECK(service.remove(timer));
  CHECK_FALSE(service.remove(timer));
  time = 3 * hour;
  wake_and_wait(service);
  CHECK(fired == 0);
}

TEST_CASE("timer_service: a timer may arm itself again and remove others on the service's thread", "[timer_service]") {
  std::promise<void> done;
  penstock::timer_service<> service;
  call_timer far;
  service.add(far, penstock::detail::saturating_add(service.now(), hour));
  int ticks = 0;
  call_timer tick;
  tick.what = [&] {
    if (++ticks < 5) {
      service.add(tick, service.now());
    } else {
      service.remove(far);
      done.set_value();
    }
  };
  service.add(tick, service.now());
  done.get_future().wait();
  service.remove(tick);
  CHECK(ticks == 5);
  CHECK_FALSE(service.remove(far));
}

TEST_CASE("timer_service: ten thousand timers of less than a millisecond each never fire early", "[timer_service][hazard-23]") {
  constexpr std::size_t count = 10'000;
  std::mt19937 random{7};
  std::atomic<std::size_t> fired = 0;
  std::atomic<int> early = 0;
  std::promise<void> all;
  std::vector<call_timer> timers(count);
  penstock::timer_service<> service;
  for (call_timer& timer : timers) {
    const nanoseconds_point due = std_sync::now() + 1'000 * static_cast<nanoseconds_point>(random() % 800);
    timer.what = [&, due] {
      if (std_sync::now() < due) ++early;
      if (++fired == count) all.set_value();
    };
    service.add(timer, due);
  }
  all.get_future().wait();
  for (call_timer& timer : timers) service.remove(timer);  // waits for the last function
  CHECK(early == 0);
}

TEST_CASE("timer_service: a million timers can be pending, and removed in any order", "[timer_service]") {
  constexpr std::size_t count = thread_sanitizer ? 100'000 : 1'000'000;  // it makes every access some ten times as long
  std::atomic<std::int64_t> time = 0;
  std::atomic<std::size_t> fired = 0;
  penstock::timer_service<test_clock> service{test_clock{&time}};
  struct timer : penstock::detail::timer_entry<std_sync> {
    std::atomic<std::size_t>* fired = nullptr;
  };
  std::mt19937_64 random{11};
  const auto timers = std::make_unique<timer[]>(count);
  for (std::size_t i = 0; i < count; ++i) {
    timers[i].fired = &fired;
    timers[i].fire = [](penstock::detail::timer_entry<std_sync>& self) noexcept { ++*static_cast<timer&>(self).fired; };
    service.add(timers[i], hour + static_cast<std::int64_t>(random() % 1'000'000'000));
  }
  std::vector<std::size_t> order(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), random);
  std::size_t removed = 0;
  for (std::size_t i = 0; i < count / 2; ++i) removed += service.remove(timers[order[i]]) ? 1U : 0U;
  CHECK(removed == count / 2);
  CHECK(fired == 0);
  time = 2 * hour;
  wake_and_wait(service);
  CHECK(fired == count - count / 2);
}

TEST_CASE("timer_service: threads add and remove at the same time, and each timer fires once or is removed", "[timer_service]") {
  penstock::timer_service<> service;
  std::atomic<int> fired = 0;
  std::atomic<int> removed = 0;
  constexpr int threads = 3;
  constexpr int rounds = 2'000;
  {
    std::vector<std::jthread> users;
    for (int t = 0; t < threads; ++t) {
      users.emplace_back([&, t] {
        for (int i = 0; i < rounds; ++i) {
          call_timer timer{[&] { ++fired; }};
          service.add(timer, service.now() + 1'000 * ((i + t) % 4));
          for (int spin = 0; spin < i % 7; ++spin) std::this_thread::yield();
          if (service.remove(timer)) ++removed;
        }
      });
    }
  }
  CHECK(fired + removed == threads * rounds);
}

TEST_CASE("timer_service: the shared one is one, and goes by the steady clock", "[timer_service]") {
  auto& service = penstock::timer_service<>::shared();
  CHECK(&service == &penstock::timer_service<>::shared());
  CHECK(&service == &std_sync::steady_timers());
  const nanoseconds_point before = std_sync::now();
  const nanoseconds_point by_service = service.now();
  CHECK(before <= by_service);
  CHECK(by_service <= std_sync::now());
}
