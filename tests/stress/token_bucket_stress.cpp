// Threads and coroutines on one token bucket, by every way of taking, with deadlines, stop requests, refunds and changes of the rate. On a manual
// clock whose every token is accounted for; on the steady clock, where no more may be granted than the rate allows; and destroyed by who was served.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/rate/token_bucket.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::errc;
using penstock::rate;

bool expected_failure(const penstock::result<void>& r) {
  return r.error() == errc::timeout || r.error() == errc::cancelled || r.error() == errc::empty;
}

// One token in 10 ns, more places than will ever be filled: what was taken and what is left is the time that passed.
struct accounted {
  explicit accounted(stress::context& c) : context{c} {}

  void ended(const penstock::result<void>& r, std::int64_t n) {
    if (r) {
      taken += n;
    } else {
      context.check(expected_failure(r), "an error that this call does not have");
    }
  }
  void give_back(std::int64_t n) {
    taken -= n;
    bucket.refund(n);
  }

  stress::context& context;
  penstock::manual_clock clock;
  const penstock::manual_clock::time_point start = clock.now();
  penstock::token_bucket<penstock::manual_clock> bucket{
      rate{1, 10ns}, 1'000'000'000, clock, {.start = penstock::warm_start::empty}};
  std::atomic<std::int64_t> taken{0};
};

void take_once(accounted& a, stress::random& random) {
  const std::int64_t n = 1 + random.below(4);
  switch (random.below(8)) {
    case 0:
      return a.ended(a.bucket.acquire(n), n);
    case 1:
      return a.ended(a.bucket.try_acquire(n), n);
    case 2:
      return a.ended(a.bucket.try_acquire_for(random.below(100) * 1ns, n), n);
    case 3: {
      std::stop_source stop;
      std::jthread canceller{[&] { stop.request_stop(); }};
      return a.ended(a.bucket.acquire({.stop = stop.get_token(), .deadline = {a.clock.now() + 200ns, a.clock}}, n), n);
    }
    case 4:
      a.taken += a.bucket.try_acquire_up_to(n);
      return;
    case 5:
      if (a.bucket.consume_with_debt(n, 8)) a.taken += n;
      return;
    case 6:
      a.bucket.set_rate(rate{1, 10ns});  // the same, on another scale: nothing may get lost on the way
      return;
    default:
      a.taken += a.bucket.drain();
      if (a.bucket.try_acquire(n)) a.bucket.refund(n);
  }
}

penstock::task<> take_in_coroutine(accounted& a, stress::random random, std::atomic<bool>& ending) {
  // Not without end: it goes on inside the call that served it, and while the clock brings tokens fast enough that call would not return.
  for (int i = 0; i < 200 && !ending.load(); ++i) {
    const std::int64_t n = 1 + random.below(4);
    penstock::result<void> r;
    if (random.one_in(2)) {
      r = co_await a.bucket.async_acquire(n);
    } else {
      r = co_await (a.bucket.async_acquire(n) | penstock::with_timeout(random.below(100) * 1ns, a.clock));
    }
    a.ended(r, n);
    if (!r && r.error() == errc::cancelled) break;
  }
}

void conserved(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    accounted a{c};
    std::atomic<bool> ending{false};
    std::atomic<int> running{2};
    {
      std::vector<penstock::spawned<void>> coroutines;
      for (std::uint64_t i = 0; i < 4; ++i) {
        coroutines.push_back(penstock::spawn(take_in_coroutine(a, c.generator(round * 100 + 10 + i), ending)));
      }
      stress::start_line start{3};
      std::vector<std::jthread> threads;
      for (std::uint64_t t = 0; t < 2; ++t) {
        threads.emplace_back([&, random = c.generator(round * 100 + t)]() mutable {
          start.wait();
          for (int i = 0; i < 100; ++i) take_once(a, random);
          --running;
        });
      }
      start.wait();
      stress::random random = c.generator(round * 100 + 50);
      while (running > 0) a.clock.advance(random.below(60) * 1ns);
      ending = true;
      for (auto& coroutine : coroutines) coroutine.request_stop();
      for (auto& coroutine : coroutines) coroutine.wait();
    }
    // To a whole token, and out of debt.
    a.clock.advance(1000ns - (a.clock.now() - a.start) % 10ns);
    const std::int64_t earned = (a.clock.now() - a.start) / 10ns;
    c.check(a.taken + a.bucket.available() == earned, "a token was lost or made");
    c.check(a.bucket.waiters() == 0, "somebody is left in the line");
  }
}

// The rate goes up and down; at no time is more granted than at the highest rate.
void law(stress::context& c) {
  const rate low{1000, 1s};
  const rate high{200'000, 1s};
  constexpr std::int64_t burst = 20;
  const auto begin = std::chrono::steady_clock::now();
  penstock::token_bucket bucket{high, burst};
  std::atomic<std::int64_t> taken{0};
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < 3; ++t) {
      threads.emplace_back([&, t, random = c.generator(t)]() mutable {
        while (c.time_left() && !c.failed()) {
          const std::int64_t n = 1 + random.below(burst);
          penstock::result<void> r;
          switch (random.below(4)) {
            case 0:
              r = bucket.acquire(n);
              break;
            case 1:
              r = bucket.try_acquire(n);
              break;
            default:
              r = bucket.try_acquire_for(random.below(1000) * 1us, n);
          }
          if (r) taken += n;
          if (t == 0) bucket.set_rate(random.one_in(4) ? low : high);
          if (r && random.one_in(8)) {
            bucket.refund(n);
            taken -= n;
          }
        }
      });
    }
  }
  const std::chrono::nanoseconds passed = std::chrono::steady_clock::now() - begin;
  c.check((taken - burst) * 1'000'000 <= passed.count() * 200, "more was granted than the rate allows");
  c.check(bucket.waiters() == 0, "somebody is left in the line");
}

// A coroutine owns the bucket that it waits for. It is served by the timer thread, or stopped at about the same time; a second one, served before,
// keeps the timer changing hands.
penstock::task<> wait_and_destroy(std::chrono::nanoseconds period, std::atomic<int>& ended) {
  auto bucket = std::make_unique<penstock::token_bucket<>>(rate{1, period}, 3,
                                                           penstock::token_bucket_options{.start = penstock::warm_start::empty});
  const auto wait = [](penstock::token_bucket<>& b) -> penstock::task<> { static_cast<void>(co_await b.async_acquire()); };
  {
    auto other = penstock::spawn(wait(*bucket));
    static_cast<void>(co_await bucket->async_acquire(2));
    other.request_stop();
    co_await std::move(other);
  }
  bucket.reset();
  ++ended;
}

void destroyed(stress::context& c) {
  stress::random random = c.generator(1);
  while (c.time_left() && !c.failed()) {
    std::atomic<int> ended{0};
    auto first = penstock::spawn(wait_and_destroy(random.below(40'000) * 1ns + 1ns, ended));
    auto second = penstock::spawn(wait_and_destroy(random.below(40'000) * 1ns + 1ns, ended));
    for (int i = random.below(200); i > 0; --i) penstock::detail::std_sync::pause();
    first.request_stop();
    first.wait();
    second.wait();
    c.check(ended == 2, "both ended");
  }
}

}  // namespace

int main() {
  stress::run run{"token_bucket"};
  run.scenario("every token is accounted for (hazard-01, hazard-03, hazard-04)", 400ms, conserved);
  run.scenario("never more than the rate (hazard-25)", 250ms, law);
  run.scenario("destroyed by who was served (hazard-06)", 250ms, destroyed);
  return run.finish();
}
