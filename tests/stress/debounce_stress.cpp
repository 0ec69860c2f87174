// debounce and throttle under load: callers, the thread of the timers, a pool, cancel, flush and destruction at once.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/rate/debounce.hpp>
#include <penstock/rate/throttle.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;

struct call {
  int thread;
  int number;
};
using outcome = penstock::shared_future<call>;

// Runs do not overlap, and none takes place when it must not.
struct watch {
  stress::context& c;
  std::atomic<int> inside{0};
  std::atomic<bool> allowed{true};

  call run(call with) {
    c.check(++inside == 1, "two runs overlap");
    c.check(allowed, "a run after the destruction");
    --inside;
    return with;
  }
};

// What a caller gets is the run of its call or of a later one; or it was cancelled.
void check(stress::context& c, outcome& f, call own) {
  try {
    const call ran = f.get();
    c.check(ran.thread != own.thread || ran.number >= own.number, "the outcome of an older call");
  } catch (const std::system_error& e) {
    c.check(e.code() == penstock::errc::cancelled, "an error that there is not");
  }
}

template <class Make>
void churn(stress::context& c, Make make) {
  penstock::worker_pool pool{{.threads = 2}};
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    watch w{c};
    {
      auto f = make(pool, w);
      stress::start_line start{4};
      std::vector<std::jthread> threads;
      for (int t = 0; t < 3; ++t) {
        threads.emplace_back([&, t, random = c.generator(round * 10 + static_cast<std::uint64_t>(t))]() mutable {
          start.wait();
          for (int i = 0; i < 50; ++i) {
            outcome one = f.submit(call{t, i});
            if (random.one_in(4)) check(c, one, {t, i});
            if (random.one_in(8)) f.cancel();
            if (random.one_in(8)) static_cast<void>(f.flush());
          }
          outcome last = f.submit(call{t, 50});
          static_cast<void>(f.flush());
          check(c, last, {t, 50});
        });
      }
      start.wait();
      threads.clear();
      f(call{0, 51});
    }
    w.allowed = false;
  }
}

void debounced(stress::context& c) {
  churn(c, [](penstock::worker_pool& pool, watch& w) {
    return penstock::debounced<call(call)>{
        pool, 30us, [&w](call with) { return w.run(with); }, {.leading = true, .max_wait = 100us}};
  });
}
void throttled(stress::context& c) {
  churn(c, [](penstock::worker_pool&, watch& w) {
    return penstock::throttled<call(call)>{penstock::any_scheduler{}, 20us, [&w](call with) { return w.run(with); }};
  });
}

// The function calls itself while it is destroyed, on the steady clock: hazards 8 and 12.
void destroyed(stress::context& c) {
  penstock::worker_pool pool{{.threads = 2}};
  auto random = c.generator(0);
  while (c.time_left() && !c.failed()) {
    std::atomic<bool> gone{false};
    std::atomic<penstock::debounced<void(int)>*> self{nullptr};
    {
      penstock::debounced<void(int)> f{pool, 5us, [&](int n) {
                                         c.check(!gone, "a run after the destruction");
                                         if (auto* const again = self.load()) (*again)(n + 1);
                                       }};
      self = &f;
      f(0);
      const auto until = std::chrono::steady_clock::now() + random.below(60) * 1us;
      while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
    }
    gone = true;
  }
}

// Many keys come and go; each is run with its latest argument, and none is left.
void keyed(stress::context& c) {
  penstock::worker_pool pool{{.threads = 2}};
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    penstock::manual_clock clock;
    constexpr int keys = 16;
    std::vector<std::atomic<int>> seen(keys);
    std::atomic<int> refused{0};
    penstock::keyed_debounced<int, void(int)> f{
        pool, 10us, [&](int key, int n) { seen[static_cast<std::size_t>(key)] = n; }, {.max_keys = keys, .clock = clock}};
    {
      stress::start_line start{3};
      std::vector<std::jthread> threads;
      for (int t = 0; t < 2; ++t) {
        threads.emplace_back([&, t, random = c.generator(round * 10 + static_cast<std::uint64_t>(t))]() mutable {
          start.wait();
          for (int i = 1; i <= 200; ++i) {
            const int key = random.below(keys / 2) * 2 + t;
            if (!f(key, i)) ++refused;
            if (random.one_in(16)) f.cancel(key);
          }
          for (int key = t; key < keys; key += 2) {
            if (!f(key, 1000)) ++refused;
          }
        });
      }
      start.wait();
      for (int i = 0; i < 100; ++i) {
        clock.advance(3us);
        if (i % 32 == 0) f.flush();
      }
    }
    while (f.keys() != 0) {
      clock.advance(10us);
      std::this_thread::yield();
    }
    for (auto& last : seen) c.check(last == 1000, "a call was forgotten");
    c.check(refused == 0, "a key was refused although there was room");
    c.check(clock.next_timer() == penstock::manual_clock::time_point::max(), "a timer is left");
  }
}

}  // namespace

int main() {
  stress::run run{"debounce"};
  run.scenario("debounced on a pool", 250ms, debounced);
  run.scenario("throttled by the timers", 250ms, throttled);
  run.scenario("destroyed while the function calls itself", 200ms, destroyed);
  run.scenario("keys come and go", 250ms, keyed);
  return run.finish();
}
