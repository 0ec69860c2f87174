// What waits uses no processor: blocked threads, suspended coroutines, a timer thread with a far deadline, an idle pool.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <stop_token>
#include <thread>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/semaphore.hpp>

#include "support/stress.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <sys/resource.h>
#endif

namespace {

using namespace std::chrono_literals;

// Of the whole process.
std::chrono::microseconds processor_time() {
#if defined(__unix__) || defined(__APPLE__)
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return std::chrono::seconds{used.ru_utime.tv_sec + used.ru_stime.tv_sec} +
         std::chrono::microseconds{used.ru_utime.tv_usec + used.ru_stime.tv_usec};
#else
  return {};
#endif
}

}  // namespace

int main() {
  stress::run run{"idle"};
  run.scenario("waiting uses less than one percent of a processor", 500ms, [](stress::context& c) {
    penstock::semaphore s{0};
    penstock::channel<int> channel{1};
    penstock::worker_pool pool{{.threads = 4}};
    auto far = penstock::spawn(s.async_acquire() | penstock::with_timeout(1h));
    auto on_pool = penstock::spawn(pool, channel.async_pop());
    std::vector<std::jthread> blocked;
    for (int i = 0; i < 2; ++i) {
      blocked.emplace_back([&](const std::stop_token& stop) { c.check(!s.acquire(stop), "a permit out of nothing"); });
      blocked.emplace_back([&](const std::stop_token& stop) {
        c.check(!channel.pop({.stop = stop, .deadline = penstock::deadline::after(2h)}), "an item out of nothing");
      });
    }
    std::this_thread::sleep_for(100ms);  // until they sleep
    // The best of three: a first wake of the sanitizer's or the kernel's housekeeping is not ours.
    auto least = std::chrono::microseconds::max();
    for (int i = 0; i < 3; ++i) {
      const auto before = processor_time();
      std::this_thread::sleep_for(500ms);
      least = std::min(least, processor_time() - before);
    }
    std::printf("stress %s: %lld us of processor time in 500 ms\n", c.name().c_str(), static_cast<long long>(least.count()));
    c.check(least < 5ms, "something polls");
    far.request_stop();
    on_pool.request_stop();
  });
  return run.finish();
}
