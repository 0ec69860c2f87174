// Limiters under load: threads, coroutines and jobs take turns, give up, are dropped and released from all sides while the settings change; nothing
// runs beyond its limits, nothing is lost, and limiters go as soon as the last one who waited has gone on.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/rate/limiter.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::limiter;
using penstock::limiter_options;
using penstock::task;

constexpr int most = 4;

struct inside {
  std::atomic<int> weight{0};
  std::atomic<int> above{0};
  std::atomic<std::uint64_t> turns{0};

  void enter(int w) {
    if (weight.fetch_add(w) + w > most) above.fetch_add(1);
    turns.fetch_add(1);
  }
  void leave(int w) { weight.fetch_sub(w); }
};

// Everything at once, on the steady clock (hazards 1 to 4, 7, 10).
void everybody(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random choose = c.generator(round * 100);
    inside all;
    std::atomic<std::uint64_t> told_dropped{0};
    penstock::worker_pool pool{{.threads = 2, .queue_capacity = 64}};
    limiter last{{.max_concurrent = most}};
    std::optional<limiter> lives;
    lives.emplace(
        limiter_options{.max_concurrent = most,
                        .min_time = choose.below(3) * 1us,
                        .rates = {{{2'000'000, 1s}, 50}},
                        .reservoir = penstock::reservoir_options{.initial = 5, .refresh_interval = 50us, .refresh_amount = 40},
                        .high_water = 1 + choose.below<std::size_t>(6),
                        .strategy = static_cast<penstock::limiter_strategy>(choose.below(4)),
                        .penalty = 20us},
        penstock::limiter_setup{.chain = choose.one_in(2) ? &last : nullptr,
                                .on_event = [&](penstock::limiter_event e, std::uint64_t n) {
                                  if (e == penstock::limiter_event::dropped) told_dropped.fetch_add(n);
                                }});
    limiter& l = *lives;
    std::atomic<std::uint64_t> rejected{0};
    const auto turn = [&](auto& mine, int w) {
      if (mine) {
        all.enter(w);
        all.leave(w);
        mine->release();
      } else if (mine.error() == penstock::errc::rejected) {
        rejected.fetch_add(1);
      }
    };
    const auto resident = [&](stress::random random) -> task<> {
      for (int i = 0; i < 30; ++i) {
        const int w = 1 + random.below(most);
        auto waiting = l.async_acquire_permit({.weight = w, .priority = random.below(10U)}) |
                       penstock::with_timeout(random.below(200) * 1us);
        auto mine = co_await std::move(waiting);
        turn(mine, w);
      }
    };
    penstock::task_group residents{pool};
    {
      std::vector<std::jthread> threads;
      for (std::uint64_t t = 0; t < 2; ++t) {
        residents.spawn(resident(c.generator(round * 100 + 50 + t)));
        threads.emplace_back([&, random = c.generator(round * 100 + t + 1)]() mutable {
          for (int i = 0; i < 40 && !c.failed(); ++i) {
            const int w = 1 + random.below(most);
            const penstock::job_options job{.weight = w, .priority = random.below(10U)};
            switch (random.below(4)) {
              case 0: {
                auto mine = l.try_acquire_permit(job);
                turn(mine, w);
                break;
              }
              case 1: {
                auto mine = l.acquire_permit({.deadline = penstock::deadline::after(random.below(300) * 1us)}, job);
                turn(mine, w);
                break;
              }
              case 2: {
                auto done = l.schedule(pool,
                                       [&all, w]() -> penstock::result<void> {
                                         all.enter(w);
                                         all.leave(w);
                                         return {};
                                       },
                                       {.job = job});
                if (done.get() == penstock::errc::rejected) rejected.fetch_add(1);
                break;
              }
              default:
                l.on_response({.retry_after = random.below(20) * 1us, .remaining = random.below(3), .reset = 30us});
                if (random.one_in(3)) {
                  limiter_options o = l.options();
                  o.high_water = 1 + random.below<std::size_t>(6);
                  o.min_time = random.below(3) * 1us;
                  l.update_settings(o);
                }
            }
          }
        });
      }
    }
    residents.wait();
    l.stop();
    l.wait();
    c.check(all.above == 0, "more ran than may");
    c.check(l.counts().running == 0 && last.counts().running == 0, "a permit was lost");
    c.check(l.counts().dropped == rejected, "a job was dropped and not told, or the other way round");
    c.check(l.counts().started >= all.turns, "a turn was not counted");
    lives.reset();  // what was to be told has been told
    c.check(rejected == told_dropped, "an event was lost");
  }
}

// The last one who waits destroys the limiter, wherever it goes on (hazards 6, 12).
void gone_at_once(stress::context& c) {
  penstock::worker_pool pool{{.threads = 2}};
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random choose = c.generator(round);
    auto l = std::make_unique<limiter>(limiter_options{.max_concurrent = 1, .min_time = choose.below(3) * 1us},
                                       penstock::limiter_setup{.on_event = [](penstock::limiter_event, std::uint64_t) {}});
    std::atomic<int> left{3};
    std::atomic<bool> gone{false};
    const auto use = [&](auto where) -> task<> {
      for (int i = 0; i < 3; ++i) {
        auto waiting = l->async_acquire();
        const auto mine = co_await std::move(waiting);
        if (mine) l->release();
      }
      if (left.fetch_sub(1) == 1) {
        l.reset();
        gone = true;
      }
      static_cast<void>(where);
    };
    penstock::task_group on_pool{pool};
    penstock::task_group here;
    on_pool.spawn(use(0));
    here.spawn(use(1));
    on_pool.spawn(use(2));
    here.wait();
    on_pool.wait();
    c.check(gone, "nobody destroyed it");
  }
}

// A clock that one thread moves, and waiters that come and go meanwhile: nobody is forgotten, and no more start than the rate allows.
void moved_clock(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    penstock::manual_clock clock;
    const auto begin = clock.now();
    limiter l{{.rates = {{{1, 1ms}, 2}}}, {.clock = clock}};
    std::atomic<std::uint64_t> turns{0};
    std::atomic<int> running{2};
    std::atomic<std::uint64_t> above{0};
    {
      std::vector<std::jthread> threads;
      for (std::uint64_t t = 0; t < 2; ++t) {
        threads.emplace_back([&, random = c.generator(round * 10 + t)]() mutable {
          for (int i = 0; i < 25; ++i) {
            const auto until = clock.now() + random.below(4) * 1ms;
            const auto mine = random.one_in(3) ? l.acquire({.deadline = {until, clock}}) : l.acquire();
            if (!mine) continue;
            const std::uint64_t n = turns.fetch_add(1) + 1;
            if (n > 2 + static_cast<std::uint64_t>((clock.now() - begin) / 1ms)) above.fetch_add(1);
            l.release();
          }
          --running;
        });
      }
      while (running > 0) {
        clock.advance(1ms);
        std::this_thread::yield();
      }
    }
    c.check(above == 0, "more started than the rate allows");
    c.check(l.counts().started == turns, "a turn was lost");
  }
}

}  // namespace

int main() {
  stress::run run{"limiter"};
  run.scenario("everybody", 200ms, everybody);
  run.scenario("gone at once", 100ms, gone_at_once);
  run.scenario("a clock that is moved", 100ms, moved_clock);
  run.again_on_one_processor();
  return run.finish();
}
