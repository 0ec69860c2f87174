// What waits must not allocate, and a promise allocates once.
#include <chrono>
#include <optional>
#include <stop_token>
#include <thread>

#include <penstock/core/manual_clock.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/sync/mutex.hpp>
#include <penstock/sync/semaphore.hpp>
#include <penstock/sync/shared_mutex.hpp>
#include <penstock/sync/wait_group.hpp>

#include "../../support/catch.hpp"
#include "../../support/counting_new.hpp"
#include "sync_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using sync_testing::until;

// How often the program allocates while f() runs.
template <class F>
long allocations_in(F&& f) {
  const long before = counting_new::made;
  f();
  return counting_new::made - before;
}

TEST_CASE("sync: a thread that waits allocates nothing, nor does who wakes it", "[sync]") {
  manual_clock clock;
  semaphore s{0};
  event e;
  auto_reset_event a;
  wait_group g{1};
  penstock::mutex m;
  penstock::shared_mutex sm;
  m.lock();
  sm.lock();
  std::stop_source stop;
  const wait_limits limits{.stop = stop.get_token(), .deadline = {clock.now() + 1h, clock}};
  long counted = -1;
  std::jthread waiting{[&] {
    counted = allocations_in([&] {
      static_cast<void>(s.acquire());
      static_cast<void>(s.acquire(limits));
      static_cast<void>(s.try_acquire_for(1h));
      e.wait();
      static_cast<void>(a.wait(limits));
      static_cast<void>(g.wait(stop.get_token()));
      m.lock();
      sm.lock_shared();
      sm.unlock_shared();
      m.unlock();
    });
  }};
  for (int i = 0; i < 3; ++i) {
    until([&] { return s.waiters() == 1; });
    s.release();
    until([&] { return s.available() == 0; });
  }
  until([&] { return e.waiters() == 1; });
  e.set();
  until([&] { return a.waiters() == 1; });
  a.set();
  until([&] { return g.waiters() == 1; });
  g.done();
  until([&] { return m.waiters() == 1; });
  m.unlock();
  until([&] { return sm.waiters() == 1; });
  sm.unlock();
  waiting.join();
  CHECK(counted == 0);
}

TEST_CASE("promise: allocates once, and giving and getting do not", "[future]") {
  std::optional<promise<int>> p;
  CHECK(allocations_in([&] { p.emplace(); }) == (counting_new::counts ? 1 : 0));
  std::optional<future<int>> f;
  int got = 0;
  CHECK(allocations_in([&] {
          f.emplace(p->get_future());
          p->set_value(4);
          got = f->get();
        }) == 0);
  CHECK(got == 4);
}

}  // namespace
