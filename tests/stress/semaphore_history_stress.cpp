// Records what threads do with a semaphore and searches for an order of the calls that explains every answer.
#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include <penstock/core/sync_wait.hpp>
#include <penstock/sync/semaphore.hpp>

#include "support/linearizability.hpp"
#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using linearizability::answer;
using operation = linearizability::semaphore_operation;
using kind = operation::kind;

answer answer_of(const penstock::result<void>& r) {
  if (r) return answer::ok;
  if (r.error() == penstock::errc::closed) return answer::closed;
  if (r.error() == penstock::errc::empty) return answer::empty;
  return answer::gave_up;
}

struct shape {
  penstock::fairness fairness = penstock::fairness::eventual;
  std::int64_t most = 1;  // permits per call
  bool limits = false;    // deadlines, stop requests and, in the end, close
};

void history(stress::context& c, const shape& s, std::uint64_t number) {
  // With delays the sleeps are stretched, without them the fast paths meet.
  if (number % 2 == 0) {
    park_delay::enable(number, 50'000);
  } else {
    park_delay::disable();
  }
  constexpr int threads = 4;
  constexpr int calls = 24;
  stress::random choose = c.generator(number * 100);
  const std::int64_t permits = s.most + choose.below<std::int64_t>(2);
  penstock::semaphore semaphore{permits, {.fairness = s.fairness}};
  linearizability::recorder<operation> record{threads};
  stress::start_line start{threads};
  const bool closes = s.limits && choose.one_in(3);
  {
    std::vector<std::jthread> all;
    for (int t = 0; t < threads; ++t) {
      all.emplace_back([&, t, random = c.generator(number * 100 + static_cast<std::uint64_t>(t) + 1)]() mutable {
        start.wait();
        std::int64_t held = 0;
        const auto release = [&] {
          if (held > 0) record(t, {kind::release, held}, [&](operation& o) { semaphore.release(o.permits); });
          held = 0;
        };
        for (int i = 0; i < calls; ++i) {
          release();  // before waiting again: nobody waits for a permit while it holds one, so nothing can lock up
          operation o{kind::acquire, 1 + random.below(s.most)};
          std::stop_source stop;
          record(t, o, [&](operation& done) {
            const std::int64_t n = done.permits;
            switch (random.below(s.limits ? 6 : 3)) {
              case 0:
                done.got = answer_of(semaphore.acquire(n));
                break;
              case 1:
                done.got = answer_of(semaphore.try_acquire(n));
                break;
              case 2:
                done.got = answer_of(penstock::sync_wait(semaphore.async_acquire(n)));
                break;
              case 3:
                done.got = answer_of(semaphore.try_acquire_for(random.below(200) * 1us, n));
                break;
              case 4:
                done.got =
                    answer_of(penstock::sync_wait(semaphore.async_acquire(n) | penstock::with_timeout(random.below(200) * 1us)));
                break;
              default: {
                std::jthread stopper{[&stop, wait = random.below(100) * 1us] {
                  std::this_thread::sleep_for(wait);
                  stop.request_stop();
                }};
                done.got = answer_of(semaphore.acquire(stop.get_token(), n));
              }
            }
            if (done.got == answer::ok) held = n;
          });
          if (closes && t == 0 && i == calls / 2) {
            release();
            record(t, {kind::close, 0}, [&](operation&) { semaphore.close(); });
          }
          if (random.one_in(4)) std::this_thread::yield();
        }
        release();
      });
    }
  }
  auto calls_made = record.take();
  // Nobody overtakes a waiter that is owed something: then try_acquire() may say empty although permits are free. With single permits and no
  // wait that can give up, every free permit goes to that waiter in the end, and the strict model holds.
  if (s.most > 1 || s.limits) {
    for (auto& a : calls_made) {
      if (a.operation.got != answer::empty) continue;
      for (const auto& b : calls_made) {
        if (b.thread != a.thread && b.operation.what == kind::acquire && b.operation.got != answer::empty &&
            b.invoked < a.responded && a.invoked < b.responded) {
          a.operation.overtaking_forbidden = true;
        }
      }
    }
  }
  const auto wrong = linearizability::check(calls_made, linearizability::semaphore_model{permits});
  c.check(!wrong, wrong.value_or(""));
  c.check(semaphore.available() == permits, "permits were lost or made");
  c.check(semaphore.waiters() == 0, "somebody is left in the line");
}

}  // namespace

int main() {
  stress::run run{"semaphore_history"};
  for (const auto fairness : {penstock::fairness::eventual, penstock::fairness::fifo}) {
    const std::string name = fairness == penstock::fairness::fifo ? "fifo" : "eventual";
    const auto scenario = [&](const std::string& what, const shape& s) {
      run.scenario(name + ", " + what, 350ms, [&](stress::context& c) {
        for (std::uint64_t i = 0; c.time_left() && !c.failed(); ++i) history(c, s, i);
      });
    };
    scenario("one permit a call", {fairness, 1, false});
    scenario("up to three permits a call", {fairness, 3, false});
    scenario("deadlines, stop and close", {fairness, 2, true});
  }
  return run.finish();
}
