// Threads and coroutines on one adaptive_limit with partitions, by every way of acquiring, while the limit jumps up and down and drives a semaphore.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/rate/adaptive_limit.hpp>
#include <penstock/sync/semaphore.hpp>

#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::adaptive_permit;
using penstock::errc;
using penstock::partition_id;

// 1 to 8, in no order.
struct jumps {
  static constexpr bool needs_baseline = false;
  std::uint64_t state = 1;
  double update(const penstock::latency_window&, double) noexcept {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return static_cast<double>(1 + (state >> 61));
  }
};

struct watched {
  explicit watched(stress::context& c)
      : context{c},
        limit{{.initial = 4,
               .highest = 8,
               .window = 1us,
               .min_samples = 4,
               .partitions = {{"a", 50}, {"b", 25}},
               .target = driven}} {}

  void use(penstock::result<adaptive_permit> p, stress::random& random) {
    if (!p) {
      context.check(
          p.error() == errc::full || p.error() == errc::timeout || p.error() == errc::cancelled || p.error() == errc::closed,
          "an error that this call does not have");
      return;
    }
    ++granted;
    // 8 and what the partitions own; a permit that is counted here is not given back yet.
    context.check(held.fetch_add(1) < 8 + 4 + 2, "more are in flight than the limit and the guaranteed shares");
    if (random.one_in(8)) std::this_thread::yield();
    --held;
    p->end_as(static_cast<penstock::call_outcome>(random.below(3)));
  }

  stress::context& context;
  penstock::semaphore driven{1};
  penstock::adaptive_limit<jumps> limit;
  std::atomic<int> held{0};
  std::atomic<int> granted{0};
};

void use_once(watched& w, stress::random& random) {
  const partition_id p{random.below<std::size_t>(3)};
  switch (random.below(3)) {
    case 0:
      return w.use(w.limit.try_acquire(p), random);
    case 1:
      return w.use(w.limit.try_acquire_for(random.below(300) * 1us, p), random);
    default:
      return w.use(w.limit.acquire(p), random);
  }
}

penstock::task<> use_in_coroutine(watched& w, stress::random random) {
  for (int i = 0; i < 100; ++i) {
    const partition_id p{random.below<std::size_t>(3)};
    if (random.one_in(2)) {
      auto permit = co_await w.limit.async_acquire(p);
      w.use(std::move(permit), random);
    } else {
      auto permit = co_await (w.limit.async_acquire(p) | penstock::with_timeout(random.below(300) * 1us));
      w.use(std::move(permit), random);
    }
  }
}

void mix(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    watched w{c};
    {
      std::vector<penstock::spawned<void>> coroutines;
      stress::start_line start{4};
      std::vector<std::jthread> threads;
      for (std::uint64_t t = 0; t < 3; ++t) {
        threads.emplace_back([&, random = c.generator(round * 100 + t)]() mutable {
          start.wait();
          for (int i = 0; i < 200; ++i) use_once(w, random);
        });
      }
      start.wait();
      for (std::uint64_t i = 0; i < 8; ++i)
        coroutines.push_back(penstock::spawn(use_in_coroutine(w, c.generator(round * 100 + 10 + i))));
      if (round % 3 == 0) w.limit.close();
      threads.clear();
      for (auto& coroutine : coroutines) coroutine.wait();
    }
    c.check(w.limit.in_flight() == 0 && w.limit.waiters() == 0, "somebody is left");
    c.check(w.driven.limit() == w.limit.limit() && w.driven.available() == w.limit.limit(), "the last limit was not told last");
    c.check(w.granted > 0 || round % 3 == 0, "nobody got through");
  }
}

}  // namespace

int main() {
  stress::run run{"adaptive_limit"};
  run.scenario(penstock::detail::usable_processors() == 1 ? "all on one processor (hazard-13)" : "threads and coroutines", 200ms,
               mix);
  run.scenario("delays before each sleep", 150ms, [&](stress::context& c) {
    park_delay::enable(run.seed());
    mix(c);
    park_delay::disable();
  });
  run.again_on_one_processor();
  return run.finish();
}
