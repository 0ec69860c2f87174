// Threads at one retry budget, and at one circuit breaker: no retry is lost or made, no more calls are on trial than may be, every call is counted
// once, and every change of state is told once. And retries, which stop requests and deadlines meet anywhere: each ends, with what its report says.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/job/circuit_breaker.hpp>
#include <penstock/job/retry.hpp>
#include <penstock/job/retry_budget.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::breaker_state;
using penstock::circuit_breaker;
using penstock::manual_clock;

constexpr int threads = 3;

template <class F>
void together(F each) {
  stress::start_line start{threads};
  std::vector<std::jthread> all;
  for (int i = 0; i < threads; ++i) {
    all.emplace_back([&start, &each, i] {
      start.wait();
      each(i);
    });
  }
}

void budget_conserves(stress::context& c) {
  for (int round = 0; c.time_left(); ++round) {
    manual_clock clock;
    penstock::retry_budget budget{{.ratio = 0.25, .min_per_second = 1, .clock = clock}};
    std::atomic<std::int64_t> taken{0};
    together([&](int i) {
      auto random = c.generator(static_cast<std::uint64_t>(round * threads + i));
      for (int n = 0; n < 400; ++n) {
        budget.deposit();
        if (random.one_in(2) && budget.try_withdraw()) ++taken;
      }
    });
    while (budget.try_withdraw()) ++taken;
    c.check(taken == 10 + threads * 100, "retries were lost or made");
  }
}

void budget_moves_on(stress::context& c) {
  manual_clock clock;
  penstock::retry_budget budget{{.ratio = 0.25, .min_per_second = 0, .window = 1ms, .clock = clock}};
  std::atomic<std::int64_t> deposited{0};
  std::atomic<std::int64_t> taken{0};
  together([&](int) {
    while (c.time_left()) {
      for (int n = 0; n < 100; ++n) {
        ++deposited;  // before: whoever withdraws has been paid for
        budget.deposit();
        if (budget.try_withdraw()) ++taken;
      }
      clock.advance(100us);
    }
  });
  // What a thread that stands still while a step passes takes twice is rare: it would show if steps were counted twice.
  c.check(taken * 4 <= deposited + deposited / 20, "more retries than requests have earned");
  c.check(taken > 0, "there were retries");
}

void breaker_counts(stress::context& c) {
  manual_clock clock;
  std::atomic<std::uint64_t> told{0};
  std::atomic<std::uint64_t> sum_of_numbers{0};
  circuit_breaker breaker{{.minimum_calls = 8,
                           .window_calls = 16,
                           .slow_call = 1h,
                           .open_for = penstock::backoff::fixed(1us),
                           .trial_calls = 2,
                           .on_transition =
                               [&](const penstock::breaker_transition& t) {
                                 ++told;
                                 sum_of_numbers += t.number;
                               },
                           .clock = clock}};
  std::atomic<std::uint64_t> passed{0};
  std::atomic<std::uint64_t> refused{0};
  together([&](int i) {
    auto random = c.generator(static_cast<std::uint64_t>(i));
    while (c.time_left()) {
      for (int n = 0; n < 100; ++n) {
        auto permit = breaker.try_acquire();
        if (!permit) {
          ++refused;
          clock.advance(100ns);
          continue;
        }
        ++passed;
        if (random.one_in(2)) permit->failure();
        if (random.one_in(8)) permit->ignored();
      }
    }
  });
  const auto s = breaker.stats();
  c.check(s.succeeded + s.failed + s.ignored == passed, "a call was not counted, or twice");
  c.check(s.refused == refused, "a refusal was not counted, or twice");
  c.check(s.opened > 0, "it opened");
  c.check(sum_of_numbers == told * (told + 1) / 2, "a change was told twice, or never");
}

void trials_are_bounded(stress::context& c) {
  constexpr int trials = 2;
  manual_clock clock;
  while (c.time_left()) {
    circuit_breaker breaker{
        {.minimum_calls = 1, .open_for = penstock::backoff::fixed(1s), .trial_calls = trials, .clock = clock}};
    breaker.try_acquire()->failure();
    clock.advance(1s);
    std::atomic<int> passed{0};
    std::vector<circuit_breaker::permit> kept(threads);
    together([&](int i) {
      for (int n = 0; n < 3; ++n) {
        if (auto permit = breaker.try_acquire()) {
          ++passed;
          if (n == 0 && i == 0) {  // another one may try in its place
            permit->ignored();
            --passed;
            continue;
          }
          kept[static_cast<std::size_t>(i)] = std::move(*permit);  // the one before ends as a success
        }
      }
    });
    const auto s = breaker.stats();
    // Two successes close it: then everybody passes.
    c.check(s.state == breaker_state::closed || passed == trials, "more, or fewer, on trial than may be");
  }
}

// One thread retries, one requests stop at some time, and one moves the clock, until all is over.
void retries_end(stress::context& c) {
  using penstock::errc;
  using penstock::result;
  using penstock::retry_end;
  manual_clock clock;
  std::atomic<bool> over{false};
  std::mutex lock;
  std::stop_source* current = nullptr;  // guarded by lock, and what it points to
  penstock::event never;
  together([&](int i) {
    auto random = c.generator(static_cast<std::uint64_t>(i));
    while (i == 1 && !over) {
      clock.advance(std::chrono::microseconds{random.below(20)});
      std::this_thread::yield();
    }
    while (i == 2 && !over) {
      for (auto turns = random.below(20); turns > 0; --turns) std::this_thread::yield();
      const std::scoped_lock guard{lock};
      if (current != nullptr) current->request_stop();
    }
    for (int n = 0; i == 0 && c.time_left(); ++n) {
      std::stop_source stop;
      unsigned calls = 0;
      const auto fails = random.below(6U);
      auto work = [&](const std::stop_token& token) -> result<unsigned> {
        if (++calls <= fails) return token.stop_requested() ? errc::cancelled : errc::busy;
        return calls;
      };
      auto waits = [&]() -> penstock::task<result<unsigned>> {
        auto pause = never.async_wait() | penstock::with_timeout(5us, clock);
        if (++calls <= fails) co_return (co_await std::move(pause)).error();
        co_return calls;
      };
      const penstock::retry_policy policy{.attempts = 4,
                                          .backoff = penstock::backoff::fixed(10us).with_jitter(penstock::jitter::full)};
      penstock::retry_report report;
      penstock::retry_options options{.limits = {.stop = stop.get_token()},
                                      .timeout = random.one_in(2) ? 20us : 1h,
                                      .attempt_timeout = random.one_in(2) ? 0us : 4us,
                                      .report = &report,
                                      .clock = clock};
      if (random.one_in(2)) {
        const std::scoped_lock guard{lock};
        current = &stop;
      }
      const result<unsigned> given = n % 2 == 0 ? penstock::retry(work, policy, std::move(options))
                                                : penstock::sync_wait(penstock::async_retry(waits, policy, std::move(options)));
      {
        const std::scoped_lock guard{lock};
        current = nullptr;
      }
      c.check(report.attempts == calls, "an attempt was not counted, or twice");
      c.check(given.has_value() == (report.end == retry_end::success), "its end is not what the report says");
      c.check(!given || *given == fails + 1, "it ended with another attempt's value");
      c.check(report.end != retry_end::cancelled || stop.stop_requested(), "nobody requested stop");
      c.check(report.end != retry_end::not_retried && report.end != retry_end::no_budget,
              "what was not cancelled is tried again");
      c.check(report.end != retry_end::exhausted || report.attempts == 4, "there were attempts left");
    }
    over = true;
  });
}

}  // namespace

int main() {
  stress::run run{"retry"};
  run.scenario("budget: nothing is lost or made", 150ms, budget_conserves);
  run.scenario("budget: while its window moves on", 150ms, budget_moves_on);
  run.scenario("breaker: every call and every change counts once", 200ms, breaker_counts);
  run.scenario("breaker: trials are bounded", 150ms, trials_are_bounded);
  run.scenario("retry: stops and deadlines anywhere", 200ms, retries_end);
  return run.finish();
}
