// Deadlines, stop requests and grants at once, on the steady clock and on a manual one that other threads move.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/semaphore.hpp>

#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::semaphore;

struct tally {
  std::atomic<std::int64_t> granted{0};
  std::atomic<std::int64_t> ended{0};
};

// A wait with a deadline takes a permit for good, or ends without one.
template <class... Clock>
penstock::task<> take(stress::context& c, semaphore& s, std::chrono::nanoseconds timeout, tally& t, Clock&... clock) {
  const penstock::result<void> r = co_await (s.async_acquire() | penstock::with_timeout(timeout, clock...));
  if (r) ++t.granted;
  c.check(r || r.error() == penstock::errc::timeout || r.error() == penstock::errc::cancelled,
          "an error that this wait does not have");
  ++t.ended;
}

// Grants, stops and deadlines meet; `advance` moves the clock a little.
template <class Make, class Advance>
void churn(stress::context& c, std::uint64_t round, Make make, Advance advance) {
  constexpr int count = 60;
  semaphore s{0};
  tally t;
  std::int64_t released = 0;
  std::vector<std::stop_source> stops(count);
  {
    std::vector<penstock::spawned<void>> waits;
    stress::random choose = c.generator(round * 100);
    for (std::size_t i = 0; i < count; ++i)
      waits.push_back(penstock::spawn(make(s, t, choose) | penstock::with_stop(stops[i].get_token())));
    stress::start_line start{3};
    std::vector<std::jthread> others;
    others.emplace_back([&, random = c.generator(round * 100 + 1)]() mutable {
      start.wait();
      for (int i = 0; i < count / 3; ++i) {
        stops[random.template below<std::size_t>(count)].request_stop();
        if (random.one_in(4)) std::this_thread::yield();
      }
    });
    others.emplace_back([&, random = c.generator(round * 100 + 2)]() mutable {
      start.wait();
      for (int i = 0; i < 40; ++i) advance(random);
    });
    start.wait();
    for (int i = 0; i < count / 3; ++i) {
      s.release();
      ++released;
      if (choose.one_in(4)) std::this_thread::sleep_for(choose.below(20) * 1us);
    }
    others.clear();
    for (auto& stop : stops) stop.request_stop();
    for (auto& wait : waits) wait.wait();
  }
  c.check(t.ended == count, "a wait did not end");
  c.check(t.granted + s.available() == released, "a permit was lost between a grant and a deadline or stop");
  c.check(s.waiters() == 0, "somebody is left in the line");
}

void steady(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    churn(
        c, round, [&](semaphore& s, tally& t, stress::random& random) { return take(c, s, random.below(300) * 1us, t); },
        [](stress::random& random) { std::this_thread::sleep_for(random.below(10) * 1us); });
  }
}

void manual(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    penstock::manual_clock clock;
    churn(
        c, round, [&](semaphore& s, tally& t, stress::random& random) { return take(c, s, random.below(300) * 1us, t, clock); },
        [&](stress::random& random) { clock.advance((random.below(40) - 5) * 1us); });  // back at times
    c.check(clock.next_timer() == penstock::manual_clock::time_point::max(), "a timer is left");
  }
}

// Two threads move one clock while threads block on it: each wait ends when its time has come, and not before.
void blocked_on_a_manual_clock(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    penstock::manual_clock clock;
    semaphore s{0};
    std::atomic<int> waiting{4};
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, random = c.generator(round * 100 + t)]() mutable {
        for (int i = 0; i < 20; ++i) {
          const auto until = clock.now() + random.below(100) * 1us;
          const penstock::result<void> r = s.try_acquire_until({until, clock});
          c.check(!r && r.error() == penstock::errc::timeout, "a wait without permits did not time out");
          c.check(clock.now() >= until, "a wait ended before its deadline");
        }
        --waiting;
      });
    }
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        while (waiting > 0) {
          clock.advance(3us);
          std::this_thread::yield();
        }
      });
    }
  }
}

// Hazard 23: never before the deadline on the caller's clock, however often; four threads at a time.
void never_early(stress::context& c) {
  const int repeats = stress::current_tier() == stress::tier::long_ ? 10'000 : 100;
  semaphore s{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < repeats && !c.failed(); ++i) {
        const auto until = std::chrono::steady_clock::now() + 800us;
        const penstock::result<void> r = t % 2 == 0
                                             ? s.try_acquire_until(until)
                                             : penstock::spawn(s.async_acquire() | penstock::with_deadline(until)).result();
        c.check(std::chrono::steady_clock::now() >= until, "a wait ended before its deadline");
        c.check(!r && r.error() == penstock::errc::timeout, "a wait without permits did not time out");
      }
    });
  }
}

}  // namespace

int main() {
  stress::run run{"timer"};
  run.scenario("steady clock", 600ms, steady);
  run.scenario("steady clock, delays before each sleep", 300ms, [&](stress::context& c) {
    park_delay::enable(run.seed());
    steady(c);
    park_delay::disable();
  });
  run.scenario("manual clock", 600ms, manual);
  run.scenario("threads blocked on a manual clock", 300ms, blocked_on_a_manual_clock);
  run.scenario("never early", 100ms, never_early);
  return run.finish();
}
