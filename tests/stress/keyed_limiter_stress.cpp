// Threads and coroutines take from keys and wait for them, give up, are stopped, while limits change and keys are invented: nobody hangs, and
// no key gets more than its law.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <stop_token>
#include <thread>
#include <vector>

#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/rate/keyed_limiter.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using limiter = penstock::keyed_limiter<std::uint64_t>;

}  // namespace

int main() {
  stress::run run{"keyed_limiter"};
  run.scenario("keys come, wait, give up and go (hazard-01, hazard-04)", 300ms, [](stress::context& c) {
    constexpr double per_second = 20'000;
    constexpr std::int64_t burst = 8;
    constexpr int threads = 4;
    constexpr std::uint64_t hot = 3;
    limiter limits{penstock::rate{20'000, 1s}, burst, {.max_keys = 128, .shards = 2}};
    std::atomic<std::int64_t> granted[hot] = {};
    stress::start_line start{threads};
    const auto began = std::chrono::steady_clock::now();
    {
      std::vector<std::jthread> all;
      for (int t = 0; t < threads; ++t) {
        all.emplace_back([&, t] {
          auto random = c.generator(static_cast<std::uint64_t>(t));
          start.wait();
          while (c.time_left()) {
            const std::uint64_t key = random.below(hot);
            const auto n = static_cast<std::int64_t>(1 + random.below(3u));
            switch (random.below(6u)) {
              case 0:
                if (limits.try_acquire(key, n)) granted[key] += n;
                break;
              case 1:
                if (limits.acquire(key, n)) granted[key] += n;
                break;
              case 2:
                if (limits.try_acquire_for(key, std::chrono::microseconds{random.below(200)}, n)) granted[key] += n;
                break;
              case 3: {
                std::stop_source stop;
                auto waiting = penstock::spawn(limits.async_acquire(key, n) | penstock::with_stop(stop.get_token()));
                std::this_thread::yield();
                stop.request_stop();
                if (waiting.result()) granted[key] += n;
                break;
              }
              case 4:
                for (int i = 0; i < 20; ++i) static_cast<void>(limits.try_acquire(hot + random.below(100'000u), n));
                break;
              default:
                if (random.one_in(10)) limits.set_limit(penstock::rate{20'000, 1s}, burst);  // the same again: keeps what is used
                if (random.one_in(10)) static_cast<void>(limits.heaviest(3));
                break;
            }
          }
        });
      }
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    for (const auto& g : granted) {
      c.check(static_cast<double>(g) <= static_cast<double>(burst) + per_second * seconds, "a key got more than its law");
      c.check(g > 0, "a key got nothing");
    }
    const penstock::keyed_limiter_stats s = limits.stats();
    c.check(s.waiters == 0, "somebody is left in line");
    c.check(s.keys <= 128, "more keys than places");
  });

  run.scenario("the limiter goes when the last one has been served (hazard-12)", 200ms, [](stress::context& c) {
    while (c.time_left()) {
      limiter limits{penstock::rate{100'000, 1s}, 1, {.max_keys = 4, .shards = 1}};
      std::vector<decltype(penstock::spawn(limits.async_acquire(1)))> waiting;
      for (std::uint64_t i = 0; i < 8; ++i) waiting.push_back(penstock::spawn(limits.async_acquire(i / 2)));
      std::jthread blocked{[&] { c.check(limits.acquire(1).has_value(), "a wait failed"); }};
      for (auto& w : waiting) c.check(w.result().has_value(), "a wait failed");
    }
  });
  return run.finish();
}
