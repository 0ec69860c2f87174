// What waits uses no processor: blocked threads, suspended coroutines, a timer thread with a far deadline, an idle pool. Nor does it wake up to
// look: who polls every few milliseconds uses little time, but is scheduled each time.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>
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
struct usage {
  std::chrono::microseconds processor_time{};
  long switches = 0;  // to and from its threads
};

usage used_so_far() {
#if defined(__unix__) || defined(__APPLE__)
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return {std::chrono::seconds{used.ru_utime.tv_sec + used.ru_stime.tv_sec} +
              std::chrono::microseconds{used.ru_utime.tv_usec + used.ru_stime.tv_usec},
          used.ru_nvcsw + used.ru_nivcsw};
#else
  return {};
#endif
}

// In 500 ms. This thread's own sleep is a switch or two; the sanitizers have a thread that wakes ten times a second or so.
constexpr std::chrono::microseconds most_time = stress::sanitized ? 5ms : 1ms;
constexpr long most_switches = stress::sanitized ? 40 : 10;

}  // namespace

int main() {
  stress::run run{"idle"};
  run.scenario("what waits sleeps", 500ms, [](stress::context& c) {
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
    usage least{std::chrono::microseconds::max(), std::numeric_limits<long>::max()};
    for (int i = 0; i < 3; ++i) {
      const usage before = used_so_far();
      std::this_thread::sleep_for(500ms);
      const usage after = used_so_far();
      least.processor_time = std::min(least.processor_time, after.processor_time - before.processor_time);
      least.switches = std::min(least.switches, after.switches - before.switches);
    }
    std::printf("stress %s: %lld us of processor time and %ld switches in 500 ms\n", c.name().c_str(),
                static_cast<long long>(least.processor_time.count()), least.switches);
    c.check(least.processor_time < most_time, "something uses the processor");
    c.check(least.switches < most_switches, "something polls");
    far.request_stop();
    on_pool.request_stop();
  });
  return run.finish();
}
