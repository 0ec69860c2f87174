// Who waited may destroy what it waited for as soon as the wait has returned, although the other thread is still inside the call that ended
// the wait (hazard 12). Each object is built anew at the same place, so a late touch meets its successor; sanitizers see it at once.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/sync/wait_group.hpp>

#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;

// Owner: builds, hands over, waits, destroys. Partner: signals. In the long tier at least 10^5 times (hazard 7).
template <class T, class Wait, class Signal>
void build_wait_destroy(stress::context& c, Wait wait, Signal signal) {
  const std::uint64_t least = stress::current_tier() == stress::tier::long_ ? 100'000 : 0;
  struct alignas(T) place {
    std::byte bytes[sizeof(T)];
  };
  const auto memory = std::make_unique<place>();
  std::atomic<T*> handed_over{nullptr};
  std::atomic<std::uint64_t> signals{0};
  std::jthread partner{[&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      T* const t = handed_over.exchange(nullptr);
      if (t != nullptr) {
        ++signals;
        signal(*t);
      } else {
        std::this_thread::yield();
      }
    }
  }};
  for (std::uint64_t round = 0; (c.time_left() || round < least) && !c.failed(); ++round) {
    T* const t = ::new (static_cast<void*>(memory->bytes)) T;
    handed_over = t;
    c.check(wait(*t, round), "the wait failed");
    c.check(signals == round + 1, "the wait passed without a signal: something of the one before was late");
    t->~T();
    if constexpr (!stress::sanitized) std::memset(memory->bytes, 0x55, sizeof(T));
  }
}

// A blocked thread, a polling one and a coroutine take turns.
template <class T>
bool wait_somehow(T& t, std::uint64_t round) {
  if (round % 3 == 0) std::this_thread::sleep_for(1us);
  if (round % 3 == 1) return penstock::sync_wait(t.async_wait()).has_value();
  t.wait();
  return true;
}

struct one_part : penstock::wait_group {
  one_part() : penstock::wait_group{1} {}
};

struct promised {
  penstock::promise<std::uint64_t> promise;
  penstock::future<std::uint64_t> future = promise.get_future();
};

// A coroutine that ends on the partner's thread while its owner waits for the end and destroys the frame.
penstock::task<std::uint64_t> passes(penstock::event& e, std::uint64_t value) {
  const penstock::result<void> r = co_await e.async_wait();
  co_return r ? value : 0;
}

void coroutines(stress::context& c) {
  std::atomic<penstock::event*> handed_over{nullptr};
  std::jthread partner{[&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      if (penstock::event* const e = handed_over.exchange(nullptr)) e->set();
    }
  }};
  for (std::uint64_t round = 1; c.time_left() && !c.failed(); ++round) {
    penstock::event e;
    if (round % 2 == 0) {
      auto one = penstock::spawn(passes(e, round));
      handed_over = &e;
      c.check(one.result() == round, "a coroutine lost its value");
    } else {
      penstock::task_group group;
      group.spawn(passes(e, round));
      group.spawn(passes(e, round));
      handed_over = &e;
      group.wait();
    }
    // set() has woken everybody, and is still the partner's business: wait until the event is done with.
    e.wait();
  }
}

}  // namespace

int main() {
  stress::run run{"lifetime"};
  for (const bool delays : {false, true}) {
    if (delays) park_delay::enable(run.seed(), 20'000);
    const std::string how = delays ? ", delays before each sleep" : "";
    run.scenario("event" + how, 200ms, [](stress::context& c) {
      build_wait_destroy<penstock::event>(c, wait_somehow<penstock::event>, [](penstock::event& e) { e.set(); });
    });
    run.scenario("auto_reset_event" + how, 200ms, [](stress::context& c) {
      build_wait_destroy<penstock::auto_reset_event>(c, wait_somehow<penstock::auto_reset_event>,
                                                     [](penstock::auto_reset_event& e) { e.set(); });
    });
    run.scenario("wait_group" + how, 200ms, [](stress::context& c) {
      build_wait_destroy<one_part>(c, wait_somehow<one_part>, [](one_part& g) { g.done(); });
    });
    run.scenario("promise and future" + how, 200ms, [](stress::context& c) {
      build_wait_destroy<promised>(
          c, [](promised& p, std::uint64_t) { return p.future.get() == 7; },
          [](promised& p) { p.promise.set_value(std::uint64_t{7}); });
    });
    run.scenario("coroutine frames" + how, 200ms, coroutines);
  }
  return run.finish();
}
