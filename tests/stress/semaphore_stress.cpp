// Threads and coroutines on one semaphore, by every way of acquiring; permits are conserved whatever ends a wait. Then all of it once more on
// one processor, where a thread that polls for another one stands in its way.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/semaphore.hpp>

#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::fairness;
using penstock::semaphore;

// A semaphore whose permits are counted from outside, too.
struct watched {
  watched(stress::context& c, std::int64_t count, fairness f) : context{c}, total{count}, permits{count, {.fairness = f}} {}

  void took(std::int64_t n) { context.check(held.fetch_add(n) + n <= total, "more permits are held than there are"); }
  void give_back(std::int64_t n) {
    held -= n;
    permits.release(n);
  }
  /// When nobody holds or waits any more.
  void judge() {
    context.check(held == 0 && permits.available() == total, "free + held is not the total");
    context.check(permits.waiters() == 0, "somebody is left in the line");
  }

  stress::context& context;
  const std::int64_t total;
  semaphore permits;
  std::atomic<std::int64_t> held{0};
};

bool expected_failure(const penstock::result<void>& r) {
  return r.error() == penstock::errc::timeout || r.error() == penstock::errc::cancelled || r.error() == penstock::errc::empty ||
         r.error() == penstock::errc::closed;
}

// One acquire by a thread, by a way drawn at random.
void use_once(watched& w, stress::random& random) {
  const std::int64_t n = 1 + random.below(w.total);
  penstock::result<void> r;
  switch (random.below(5)) {
    case 0:
      r = w.permits.acquire(n);
      break;
    case 1:
      r = w.permits.try_acquire(n);
      break;
    case 2:
      r = w.permits.try_acquire_for(random.below(300) * 1us, n);
      break;
    case 3: {
      std::stop_source stop;
      if (random.one_in(2)) stop.request_stop();
      r = w.permits.acquire({.stop = stop.get_token(), .deadline = penstock::deadline::after(random.below(300) * 1us)}, n);
      break;
    }
    default:
      if (penstock::result<penstock::permit> p = w.permits.acquire_permit(n)) {
        w.took(n);
        if (n > 1) {
          penstock::permit part = p->split(1);
          w.held -= 1;
          part.release();
        }
        w.held -= p->size();
      }
      return;
  }
  if (r) {
    w.took(n);
    if (random.one_in(8)) std::this_thread::yield();
    w.give_back(n);
  } else {
    w.context.check(expected_failure(r), "an error that this call does not have");
  }
}

// The same by a coroutine, as long as it is not stopped and the semaphore is not closed.
penstock::task<> use_in_coroutine(watched& w, stress::random random) {
  const std::stop_token stop = co_await penstock::this_task::get_stop_token();
  for (int i = 0; i < 200 && !stop.stop_requested(); ++i) {
    const std::int64_t n = 1 + random.below(w.total);
    penstock::result<void> r;
    if (random.one_in(2)) {
      r = co_await w.permits.async_acquire(n);
    } else {
      r = co_await (w.permits.async_acquire(n) | penstock::with_timeout(random.below(300) * 1us));
    }
    if (r) {
      w.took(n);
      w.give_back(n);
    } else {
      w.context.check(expected_failure(r), "an error that this call does not have");
      if (r.error() == penstock::errc::closed) break;
    }
  }
}

void mix(stress::context& c, fairness f) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random choose = c.generator(round * 100);
    watched w{c, 1 + choose.below<std::int64_t>(4), f};
    const bool closes = choose.one_in(3);
    {
      std::vector<penstock::spawned<void>> coroutines;
      stress::start_line start{5};
      std::vector<std::jthread> threads;
      for (std::uint64_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, random = c.generator(round * 100 + t + 1)]() mutable {
          start.wait();
          for (int i = 0; i < 200; ++i) use_once(w, random);
        });
      }
      start.wait();
      for (std::uint64_t i = 0; i < 8; ++i)
        coroutines.push_back(penstock::spawn(use_in_coroutine(w, c.generator(round * 100 + 10 + i))));
      // The size changes while all this goes on: taken away and given back, so the total is the same in the end.
      for (int i = 0; i < 20; ++i) {
        w.permits.reduce_permits(1);
        std::this_thread::sleep_for(choose.below(50) * 1us);
        w.permits.add_permits(1);
      }
      if (closes) w.permits.close();
      threads.clear();
      for (auto& coroutine : coroutines) coroutine.request_stop();
    }
    w.judge();
  }
}

// Waits are stopped while permits come and go: whoever is cancelled must take no grant with it, and those that nobody stops are all served.
penstock::task<> wait_once(watched& w, std::int64_t n, std::atomic<int>& ended) {
  const penstock::result<void> r = co_await w.permits.async_acquire(n);
  if (r) {
    w.took(n);
    w.give_back(n);
  }
  ++ended;
}

void cancellation_storm(stress::context& c, fairness f) {
  constexpr int waiters = 64;
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    watched w{c, 3, f};
    c.check(w.permits.try_acquire(3).has_value(), "a fresh semaphore is empty");
    w.took(3);
    std::atomic<int> ended{0};
    std::vector<std::stop_source> stops(waiters);
    {
      std::vector<std::thread> blocked;
      std::vector<penstock::spawned<void>> coroutines;
      stress::random choose = c.generator(round * 100);
      for (std::size_t i = 0; i < waiters; ++i) {
        coroutines.push_back(
            penstock::spawn(wait_once(w, 1 + choose.below(3), ended) | penstock::with_stop(stops[i].get_token())));
      }
      for (int i = 0; i < 2; ++i) {
        blocked.emplace_back([&] {
          c.check(w.permits.acquire(2).has_value(), "a wait that nobody stopped failed");
          w.took(2);
          w.give_back(2);
        });
      }
      stress::start_line start{3};
      std::vector<std::jthread> storm;
      for (std::uint64_t t = 0; t < 2; ++t) {
        storm.emplace_back([&, random = c.generator(round * 100 + t + 1)]() mutable {
          start.wait();
          for (int i = 0; i < waiters / 2; ++i) stops[random.below<std::size_t>(waiters)].request_stop();
        });
      }
      start.wait();
      for (int i = 0; i < 3; ++i) {
        w.give_back(1);
        std::this_thread::yield();
      }
      storm.clear();
      for (auto& coroutine : coroutines) coroutine.wait();
      for (auto& thread : blocked) thread.join();
    }
    c.check(ended == waiters, "a wait did not end");
    w.judge();
  }
}

// Everybody waits and nobody releases: close() lets all of them go, with every way of waiting.
void close_with_waiters(stress::context& c, fairness f) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    watched w{c, 1, f};
    c.check(w.permits.try_acquire().has_value(), "a fresh semaphore is empty");
    std::atomic<int> closed{0};
    {
      std::vector<penstock::spawned<penstock::result<void>>> coroutines;
      for (int i = 0; i < 4; ++i) coroutines.push_back(penstock::spawn(w.permits.async_acquire()));
      stress::start_line start{4};
      std::vector<std::jthread> threads;
      for (int t = 0; t < 3; ++t) {
        threads.emplace_back([&] {
          start.wait();
          if (w.permits.acquire().error() == penstock::errc::closed) ++closed;
        });
      }
      start.wait();
      if (round % 2 == 0) std::this_thread::sleep_for(20us);
      w.permits.close();
      threads.clear();
      for (auto& coroutine : coroutines) {
        if (coroutine.result().error() == penstock::errc::closed) ++closed;
      }
    }
    c.check(closed == 7, "a wait did not end as closed");
    w.permits.release();
    w.judge();
  }
}

}  // namespace

int main() {
  stress::run run{"semaphore"};
  const bool one_processor = penstock::detail::usable_processors() == 1;
  for (const fairness f : {fairness::eventual, fairness::fifo}) {
    const std::string name = f == fairness::fifo ? "fifo: " : "eventual: ";
    run.scenario(name + (one_processor ? "all on one processor (hazard-13)" : "threads and coroutines"), 250ms,
                 [&](stress::context& c) { mix(c, f); });
    run.scenario(name + "threads and coroutines, delays before each sleep", 150ms, [&](stress::context& c) {
      park_delay::enable(run.seed());
      mix(c, f);
      park_delay::disable();
    });
    run.scenario(name + "cancellation storm", 150ms, [&](stress::context& c) { cancellation_storm(c, f); });
    run.scenario(name + "close", 100ms, [&](stress::context& c) { close_with_waiters(c, f); });
  }
  run.again_on_one_processor();
  return run.finish();
}
