// A worker pool whose threads come, go, stand still and block while everybody submits, steals, cancels and ends it.
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::errc;
using penstock::worker_pool;

// What became of tasks: each one is run, refused or dropped, one of them and once.
struct account {
  // In each task; who destroys it without having run it has dropped it.
  class entry {
   public:
    explicit entry(account& a) noexcept : of_{&a} { ++a.made; }
    entry(entry&& other) noexcept : of_{std::exchange(other.of_, nullptr)} {}
    ~entry() {
      if (of_ != nullptr) ++of_->dropped;
    }
    void ran() noexcept { ++std::exchange(of_, nullptr)->ran; }

   private:
    account* of_;
  };
  [[nodiscard]] bool settled() const { return made == ran + dropped; }
  std::atomic<long> made{0}, ran{0}, dropped{0}, told{0};
};

struct workload {
  stress::context& c;
  account& all;
  worker_pool* pool = nullptr;  // which ends before this: its tasks look here

  template <class F>
  auto accounted(F f) {
    return [mine = account::entry{all}, f = std::move(f)]() mutable {
      mine.ran();
      f();
    };
  }
  void submit(stress::random& random, int depth) {
    switch (random.below(8)) {
      case 0: {
        auto f = pool->submit([mine = account::entry{all}]() mutable { mine.ran(); });
        if (random.one_in(4)) wait_for(std::move(f));
        break;
      }
      case 3: {  // one that says more, and may be asked to stop
        auto work = [mine = account::entry{all}](std::stop_token stop) mutable {
          mine.ran();
          for (int i = 0; i < 5 && !stop.stop_requested(); ++i) std::this_thread::yield();
        };
        penstock::submit_options options{.overflow = static_cast<penstock::overflow>(random.below(5)),
                                         .priority = random.below(pool->priorities())};
        if (random.one_in(2)) options.expires_in = random.below(100) * 1us;
        if (random.one_in(2)) options.on_expired = [this] { ++all.told; };
        auto f = pool->submit(std::move(work), std::move(options));
        if (random.one_in(2)) f.request_stop();
        if (random.one_in(4)) wait_for(std::move(f));
        break;
      }
      case 4:
        static_cast<void>(pool->post({.overflow = static_cast<penstock::overflow>(random.below(5)),
                                      .priority = random.below(pool->priorities()),
                                      .expires_in = random.below(100) * 1us,
                                      .on_expired = [this] { ++all.told; }},
                                     accounted([] {})));
        break;
      case 1:
        post([this, depth, seed = random()] {
          stress::random inner{seed};
          pool->blocking([&] {
            std::this_thread::yield();
            if (depth > 0) submit(inner, depth - 1);
          });
        });
        break;
      case 2:
        post([this, depth, seed = random()] {
          stress::random inner{seed};
          for (int i = inner.below(4); depth > 0 && i > 0; --i) submit(inner, depth - 1);
        });
        break;
      default:
        post([] {});
    }
  }
  template <class F>
  void post(F f) {
    static_cast<void>(pool->post(accounted(std::move(f))));
  }
  void wait_for(penstock::future<void> f) {
    try {
      f.get();
    } catch (const std::system_error& e) {
      c.check(e.code() == errc::cancelled || e.code() == errc::closed || e.code() == errc::rejected || e.code() == errc::timeout,
              "an error that a future does not have");
    }
  }
};

penstock::task<> hop(worker_pool& pool, int times, std::atomic<int>& ended) {
  for (int i = 0; i < times; ++i) co_await pool.schedule();
  ++ended;
}

// Everything at once, until somebody ends it.
void everything(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random choose = c.generator(round * 100);
    account all;
    std::atomic<long> begun{0}, ended{0}, failures{0};
    std::atomic<int> hopped{0};
    const bool flaky = choose.one_in(4);
    const bool measured = choose.one_in(2);
    std::atomic<bool> constructed{false};
    std::atomic<int> starts{0};
    {
      penstock::worker_pool_options options{.threads = 1 + choose.below<std::size_t>(3),
                                            .queue_capacity = 1 + choose.below<std::size_t>(16),
                                            .on_error = [&](const std::exception_ptr&) { ++failures; },
                                            .metrics = measured,
                                            .time_every = 1,
                                            .max_threads = 6,
                                            .keep_alive = choose.one_in(2) ? choose.below(200) * 1us : 0us,
                                            .min_threads = 1 + choose.below<std::size_t>(2),
                                            .on_thread_start =
                                                [&](std::size_t) {
                                                  if (flaky && constructed && starts++ % 3 == 0)
                                                    throw std::runtime_error{"on purpose"};
                                                  ++begun;
                                                },
                                            .on_thread_exit = [&](std::size_t) { ++ended; }};
      if (choose.one_in(2)) options.on_thread_start = [&](std::size_t) { ++begun; };
      if (choose.one_in(3)) options.overflow = penstock::overflow::caller_runs;
      if (choose.one_in(2)) options.priorities = 3;
      if (choose.one_in(4)) options.room_timeout = choose.below(100) * 1us;
      workload work{c, all};
      worker_pool pool{std::move(options)};
      work.pool = &pool;
      constructed = true;
      stress::start_line start{5};
      std::atomic<bool> over{false};
      std::vector<std::jthread> threads;
      for (std::uint64_t t = 0; t < 2; ++t) {
        threads.emplace_back([&, random = c.generator(round * 100 + t + 1)]() mutable {
          start.wait();
          for (int i = 0; i < 60; ++i) work.submit(random, 3);
        });
      }
      threads.emplace_back([&, random = c.generator(round * 100 + 10)]() mutable {
        start.wait();
        while (!over) {
          try {
            const auto r = pool.resize(1 + random.below<std::size_t>(6));
            c.check(r || r.error() == errc::closed, "resize failed");
          } catch (const std::runtime_error&) {
            c.check(flaky, "a thread could not begin");
          }
          if (random.one_in(2)) std::this_thread::yield();
        }
      });
      threads.emplace_back([&, random = c.generator(round * 100 + 11)]() mutable {
        start.wait();
        while (!over) {
          switch (random.below(4)) {
            case 0:
              pool.pause();
              std::this_thread::yield();
              break;
            case 1:
              if (random.one_in(4)) pool.purge();
              break;
            case 2:
              static_cast<void>(pool.stats());
              [[fallthrough]];
            default:
              pool.resume();
              std::this_thread::yield();
          }
        }
        pool.resume();
      });
      start.wait();
      std::vector<penstock::spawned<void>> coroutines;
      for (int i = 0; i < 4; ++i) coroutines.push_back(penstock::spawn(pool, hop(pool, 20, hopped)));
      const int how = choose.below(4);
      if (how == 0) {
        std::this_thread::sleep_for(choose.below(300) * 1us);
        pool.request_stop();
      }
      if (how == 1) {
        std::this_thread::sleep_for(choose.below(300) * 1us);
        c.check(pool.shutdown().has_value(), "shutdown failed");
      }
      threads[0].join();
      threads[1].join();
      for (auto& one : coroutines) one.wait();
      over = true;
      threads.clear();
      if (how == 2) {
        c.check(pool.drain().has_value(), "drain failed");
        c.check(all.settled(), "a task is left after drain()");
        const penstock::pool_stats s = pool.stats();
        c.check(static_cast<std::size_t>(all.dropped) == s.rejected.total() + s.expired + s.dropped + s.cancelled,
                "a task was not run, and it is not counted why");
        c.check(static_cast<std::size_t>(all.told) <= s.expired, "told of a task that did not expire");
        c.check(s.queued == 0 && s.submitted == s.completed + s.failed + s.expired + s.dropped + s.cancelled,
                "a task is counted twice, or not at all");
        c.check(s.run_time.count() == (measured ? s.completed + s.failed : 0), "a task is measured twice, or not at all");
      }
    }
    c.check(all.settled(), "a task was neither run, refused nor dropped, or twice");
    c.check(hopped == 4, "a coroutine did not end");
    c.check(begun == ended, "a thread began and did not end");
    c.check(failures == 0 || flaky, "an exception came from nowhere");
  }
}

// Waits for each other that only as many threads as the pool may have can end: each start that is lost is a hang.
void together(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round);
    const std::size_t threads = 1 + random.below<std::size_t>(3);
    penstock::manual_clock clock;
    worker_pool pool{{.threads = threads, .clock = clock, .max_threads = 8, .keep_alive = 1ms}};
    std::atomic<bool> over{false};
    std::jthread time{[&] {
      while (!over) clock.advance(1ms);
    }};
    for (int i = 0; i < 10; ++i) {
      std::vector<penstock::future<void>> all;
      // Each waits for the next one, and the last for nothing: one thread for each is enough, and one less is not.
      const std::size_t n = random.one_in(2) ? threads : 8;
      std::vector<penstock::event> events(n);
      const bool inside = random.one_in(2);
      const auto link = [&, n](std::size_t k) {
        return [&pool, &events, threads, n, k] {
          const auto wait = [&] {
            if (k + 1 < n) events[k + 1].wait();
          };
          if (n > threads) {
            pool.blocking(wait);
          } else {
            wait();
          }
          events[k].set();
        };
      };
      if (inside) {
        pool.submit([&] {
              for (std::size_t k = 0; k < n; ++k) all.push_back(pool.submit(link(k)));
            })
            .get();
      } else {
        for (std::size_t k = 0; k < n; ++k) all.push_back(pool.submit(link(k)));
      }
      for (auto& f : all) f.wait();
    }
    over = true;
  }
}

// Whoever hears of the end of a task, or of all, destroys at once what told it.
void short_lives(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round);
    std::atomic<int> ran{0};
    worker_pool pool{{.threads = 1 + random.below<std::size_t>(2), .queue_capacity = 2}};
    for (int i = 0; i < 20; ++i) {
      auto f = pool.submit([&ran] { return ++ran; });
      if (random.one_in(3)) f.request_stop();
      switch (random.below(3)) {
        case 0:
          f.wait();
          break;
        case 1:
          static_cast<void>(penstock::sync_wait(f.async_wait()));
          break;
        default:
          if (random.one_in(2)) c.check(pool.drain() && f.is_ready(), "drained, and a future is not ready");
      }
    }
    const int before = ran;
    if (random.one_in(2)) pool.request_stop();
    if (random.one_in(2)) c.check(pool.shutdown() && ran >= before, "shutdown failed");
  }
}

}  // namespace

int main() {
  stress::run run{"pool_threads"};
  const bool one_processor = penstock::detail::usable_processors() == 1;
  run.scenario(one_processor ? "everything at once on one processor (hazard-13)" : "everything at once", 400ms, everything);
  run.scenario("everything at once, delays before each sleep", 150ms, [&](stress::context& c) {
    park_delay::enable(run.seed());
    everything(c);
    park_delay::disable();
  });
  run.scenario("threads that are needed", 250ms, together);
  run.scenario("pools and futures that live as long as a task (hazard-07, hazard-12)", 150ms, short_lives);
  run.again_on_one_processor();
  return run.finish();
}
