// A worker pool under submission, cancellation and shutdown at the same time, and then all of it once more on one processor.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/semaphore.hpp>

#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::errc;
using penstock::worker_pool;

penstock::overflow some_policy(stress::random& random) {
  constexpr penstock::overflow all[] = {penstock::overflow::wait, penstock::overflow::reject, penstock::overflow::caller_runs};
  return all[random.below<std::size_t>(3)];
}

// When nothing is left to run: each task that was let in is counted once, and measured once if it was run.
void check_stats(stress::context& c, const penstock::pool_stats& s, bool measured) {
  c.check(s.queued == 0 && s.submitted == s.completed + s.failed + s.expired + s.dropped + s.cancelled,
          "a task is counted twice, or not at all");
  c.check((s.run_time.count() == (measured ? s.completed + s.failed : 0) || s.time_every > 1) &&
              s.queue_wait.count() == s.run_time.count(),
          "a task is measured twice, or not at all");
}

// Threads submit while somebody ends the pool in one way or another (hazards 7, 8, 9). Whatever was accepted ran once or was dropped and
// destroyed; every future tells how it ended.
void churn(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random choose = c.generator(round * 100);
    std::atomic<int> posted{0}, ran{0}, alive{0};
    // Counts the tasks that exist, and takes part in the moves that tasks make.
    struct token {
      explicit token(std::atomic<int>& n) noexcept : count{&n} { ++*count; }
      token(token&& other) noexcept : count{other.count} { ++*count; }
      ~token() { --*count; }
      std::atomic<int>* count;
    };
    {
      worker_pool pool{{.threads = 1 + choose.below<std::size_t>(3),
                        .queue_capacity = 1 + choose.below<std::size_t>(8),
                        .overflow = some_policy(choose)}};
      stress::start_line start{4};
      std::vector<std::jthread> submitters;
      for (std::uint64_t t = 0; t < 3; ++t) {
        submitters.emplace_back([&, random = c.generator(round * 100 + t + 1)]() mutable {
          std::vector<penstock::future<int>> futures;
          start.wait();
          for (int i = 0; i < 50; ++i) {
            switch (random.below(4)) {
              case 0:
                futures.push_back(pool.submit([held = token{alive}, i] { return i; }));
                break;
              case 1:
                futures.push_back(pool.submit([held = token{alive}, i](const std::stop_token&) { return i; },
                                              {.deadline = penstock::deadline::after(random.below(50) * 1us)}));
                break;
              case 2:
                if (pool.try_post([&ran, held = token{alive}] { ++ran; })) ++posted;
                break;
              default:
                if (pool.post([&ran, held = token{alive}] { ++ran; })) ++posted;
            }
          }
          for (auto& f : futures) {
            try {
              static_cast<void>(f.get());
            } catch (const std::system_error& e) {
              c.check(e.code() == errc::closed || e.code() == errc::cancelled || e.code() == errc::rejected ||
                          e.code() == errc::timeout,
                      "an error that a future does not have");
            }
          }
        });
      }
      start.wait();
      std::this_thread::sleep_for(choose.below(150) * 1us);
      const int how = choose.below(4);
      if (how == 0) c.check(pool.shutdown().has_value(), "shutdown failed");
      if (how == 1) {
        // Somebody waits for the end of what is dropped meanwhile.
        std::jthread drainer{[&] { c.check(pool.drain().has_value(), "drain failed"); }};
        if (choose.one_in(2)) std::this_thread::yield();
        pool.request_stop();
      }
      if (how == 2) {
        c.check(pool.drain().has_value(), "drain failed");  // others go on submitting meanwhile
        pool.request_stop();                                // drained, then aborted
      }
      submitters.clear();
      if (how == 3) c.check(pool.drain().has_value(), "drain failed");
      if (how == 3) c.check(ran == posted, "an accepted task did not run by the end of drain()");
      if (how != 1 && how != 2) {
        static_cast<void>(pool.shutdown());
        c.check(ran == posted, "an accepted task did not run by the end of shutdown()");
      }
    }
    c.check(ran <= posted, "a task ran that was not accepted, or twice");
    c.check(alive == 0, "a task was not destroyed, or destroyed twice");
  }
}

// Tasks that submit tasks from inside, which the other workers steal, while others submit from outside and somebody ends the pool. Whatever was
// accepted ran once, or was dropped once.
struct family {
  std::atomic<int> accepted{0}, ran{0}, dropped{0}, alive{0};

  class member {
   public:
    member(family& of, worker_pool& pool, int depth) noexcept : of_{&of}, pool_{&pool}, depth_{depth} { ++of_->alive; }
    member(member&& other) noexcept : of_{other.of_}, pool_{other.pool_}, depth_{other.depth_}, live_{other.live_} {
      other.live_ = false;
      ++of_->alive;
    }
    ~member() {
      if (live_) ++of_->dropped;  // or refused
      --of_->alive;
    }
    void operator()() {
      live_ = false;
      ++of_->ran;
      for (int i = 0; i < 3 && depth_ > 0; ++i) of_->submit(*pool_, depth_ - 1, i);
    }

   private:
    family* of_;
    worker_pool* pool_;
    int depth_;
    bool live_ = true;
  };

  std::atomic<int> refused{0};
  void submit(worker_pool& pool, int depth, int how) {
    const penstock::result<void> put =
        how == 0 ? pool.try_post(member{*this, pool, depth}) : pool.post(member{*this, pool, depth});
    ++(put ? accepted : refused);
  }
};

void inside(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random choose = c.generator(round * 10);
    family f;
    const int how = choose.below(5);
    const bool measured = choose.one_in(4);
    {
      worker_pool pool{{.threads = 1 + choose.below<std::size_t>(4),
                        .queue_capacity = choose.one_in(2) ? 1 + choose.below<std::size_t>(4) : 64,
                        .overflow = some_policy(choose),
                        .metrics = measured,
                        .time_every = choose.one_in(2) ? 3U : 1U}};
      {
        stress::start_line start{3};
        std::vector<std::jthread> submitters;
        for (int t = 0; t < 2; ++t) {
          submitters.emplace_back([&, t] {
            start.wait();
            for (int i = 0; i < 10; ++i) f.submit(pool, 3, t);
          });
        }
        start.wait();
        for (int i = choose.below(200); i > 0; --i) std::this_thread::yield();
        if (how == 1) c.check(pool.shutdown().has_value(), "shutdown failed");
        if (how == 2) pool.request_stop();
      }
      if (how == 3) {
        c.check(pool.drain().has_value() && f.ran == f.accepted && pool.queued() == 0,
                "a task did not run by the end of drain()");
        f.submit(pool, 2, 1);
        pool.request_stop();
      }
      if (how != 0) {
        static_cast<void>(pool.shutdown());
        check_stats(c, pool.stats(), measured);
      }
    }
    c.check(f.ran + f.dropped == f.accepted + f.refused, "a task neither ran nor was dropped, or both");
    c.check(how == 2 || how == 3 || f.ran == f.accepted, "an accepted task did not run");
    c.check(f.alive == 0, "a task was not destroyed, or destroyed twice");
  }
}

// Submissions of all kinds, from outside and from inside. Each task meets one fate: it is run, refused, expired, dropped for another, or cancelled by
// request_stop; what its submitter, its future and its callback hear agrees with that.
class fates {
 public:
  std::atomic<int> posted{0}, ran{0}, told{0}, alive{0};

  /// One task's, which its callback and its future's reader share.
  struct fate {
    std::atomic<int> ran{0}, told{0};
  };
  using shared = std::shared_ptr<fate>;

  class task {
   public:
    task(fates& of, worker_pool& pool, shared its, int depth, std::uint64_t seed) noexcept
        : of_{&of}, pool_{&pool}, fate_{std::move(its)}, depth_{depth}, seed_{seed} {
      ++of_->alive;
    }
    task(task&& other) noexcept
        : of_{other.of_}, pool_{other.pool_}, fate_{std::move(other.fate_)}, depth_{other.depth_}, seed_{other.seed_} {
      ++of_->alive;
    }
    ~task() { --of_->alive; }
    int operator()() const {
      ++fate_->ran;
      ++of_->ran;
      stress::random random{seed_};
      for (int i = 0; i < depth_; ++i) of_->post(*pool_, random, depth_ - 1);
      return 1;
    }

   private:
    fates* of_;
    worker_pool* pool_;
    shared fate_;
    int depth_;
    std::uint64_t seed_;
  };

  void post(worker_pool& pool, stress::random& random, int depth) {
    const auto its = std::make_shared<fate>();
    const penstock::result<void> put = pool.post(options(pool, random, its), make(pool, random, its, depth));
    if (put) ++posted;
    if (!put && its->ran + its->told != 0) ++wrong;
  }
  auto submit(worker_pool& pool, stress::random& random) {
    auto its = std::make_shared<fate>();
    auto f = pool.submit(make(pool, random, its, 1), options(pool, random, its));
    return std::pair{std::move(f), std::move(its)};
  }
  void look(penstock::future<int>& f, const fate& its) {
    std::error_code why;
    try {
      static_cast<void>(f.get());
    } catch (const std::system_error& e) {
      why = e.code();
    }
    const bool right = !why                   ? its.ran == 1 && its.told == 0
                       : why == errc::timeout ? its.ran == 0  // expired, or waited for room in vain
                                              : its.ran + its.told == 0;
    if (!right) ++wrong;
  }

  std::atomic<int> wrong{0};

 private:
  task make(worker_pool& pool, stress::random& random, const shared& its, int depth) {
    return {*this, pool, its, depth, random.below<std::uint64_t>(1'000'000)};
  }
  penstock::submit_options options(worker_pool& pool, stress::random& random, shared its) {
    using penstock::overflow;
    constexpr overflow all[] = {overflow::wait, overflow::reject, overflow::caller_runs, overflow::drop_oldest,
                                overflow::drop_lowest};
    penstock::submit_options o{.overflow = all[random.below<std::size_t>(5)], .priority = random.below(pool.priorities())};
    if (random.one_in(4)) o.limits.deadline = penstock::deadline::after(random.below(100) * 1us);
    if (random.one_in(3)) {
      o.expires_in = random.below(100) * 1us;
      o.on_expired = [this, held = std::move(its)] { ++held->told, ++told; };
    }
    return o;
  }
};

void options_of_submissions(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random choose = c.generator(round * 10);
    const bool futures = choose.one_in(2);
    const bool stopped = choose.one_in(3);
    const bool measured = choose.one_in(2);
    fates all;
    {
      worker_pool pool{{.threads = 1 + choose.below<std::size_t>(3),
                        .queue_capacity = 1 + choose.below<std::size_t>(6),
                        .priorities = 1 + choose.below<unsigned>(3),
                        .metrics = measured,
                        .time_every = choose.one_in(2) ? 3U : 1U}};
      {
        stress::start_line start{3};
        std::vector<std::jthread> submitters;
        for (std::uint64_t t = 0; t < 2; ++t) {
          submitters.emplace_back([&, random = c.generator(round * 10 + t + 1)]() mutable {
            std::vector<std::pair<penstock::future<int>, fates::shared>> given;
            start.wait();
            for (int i = 0; i < 30; ++i) {
              if (futures && random.one_in(2)) {
                given.push_back(all.submit(pool, random));
              } else {
                all.post(pool, random, 2);
              }
            }
            for (auto& [f, its] : given) all.look(f, *its);
          });
        }
        start.wait();
        for (int i = choose.below(200); i > 0; --i) std::this_thread::yield();
        static_cast<void>(pool.stats());  // while all of that goes on
        if (stopped) pool.request_stop();
      }
      c.check(pool.drain().has_value() && pool.queued() == 0, "drain failed");
      check_stats(c, pool.stats(), measured);
      const auto expired = static_cast<int>(pool.expired());
      const auto dropped = static_cast<int>(pool.dropped());
      c.check(expired == all.told, "an expired task is not counted once, or was not told of once");
      const int ended = all.ran + expired + dropped;
      if (!futures && !stopped) c.check(ended == all.posted, "an accepted task met no fate, or two");
      if (!futures) c.check(ended <= all.posted, "an accepted task met two fates");
    }
    c.check(all.wrong == 0, "a task ran, or did not, against what was said of it");
    c.check(all.alive == 0, "a task was not destroyed, or destroyed twice");
  }
}

// Hazard 7, and tasks that submit tasks while the pool is destroyed (hazard 10). In the long tier at least 10^5 pools.
void build_and_destroy(stress::context& c) {
  const std::uint64_t least = stress::current_tier() == stress::tier::long_ ? 100'000 : 0;
  for (std::uint64_t round = 0; (c.time_left() || round < least) && !c.failed(); ++round) {
    stress::random random = c.generator(round);
    std::atomic<int> accepted{0}, ran{0};
    struct chain {
      worker_pool& pool;
      std::atomic<int>&accepted, &ran;
      int left;
      void operator()() const {
        ++ran;
        if (left > 0 && pool.post(chain{pool, accepted, ran, left - 1})) ++accepted;
      }
    };
    {
      worker_pool pool{{.threads = 1 + random.below<std::size_t>(4), .queue_capacity = 2}};
      for (int i = random.below(4); i > 0; --i) {
        if (pool.post(chain{pool, accepted, ran, random.below(5)})) ++accepted;
      }
    }
    c.check(accepted == ran, "an accepted task did not run before the pool was gone");
  }
}

// Hazard 18: every worker waits for tasks that wait for tasks.
int sum_by_halves(worker_pool& pool, int from, int to) {
  if (to - from == 1) return from;
  const int middle = from + (to - from) / 2;
  penstock::future<int> left = pool.submit([&pool, from, middle] { return sum_by_halves(pool, from, middle); });
  const int right = sum_by_halves(pool, middle, to);
  return left.get() + right;
}

void nested(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round);
    worker_pool pool{{.threads = 1 + random.below<std::size_t>(3), .queue_capacity = 1 + random.below<std::size_t>(4)}};
    c.check(pool.submit([&pool] { return sum_by_halves(pool, 0, 64); }).get() == 63 * 64 / 2, "a nested task is lost");
  }
}

// Hazard 19: each exception of a posted task reaches the handler and the counter.
void exceptions(stress::context& c) {
  while (c.time_left() && !c.failed()) {
    constexpr int tasks = 100;
    std::atomic<int> handled{0};
    {
      worker_pool pool{{.threads = 3, .queue_capacity = 8, .on_error = [&handled](const std::exception_ptr&) { ++handled; }}};
      for (int i = 0; i < tasks; ++i) {
        const penstock::result<void> r = pool.post([i] {
          if (i % 2 == 0) throw std::runtime_error{"on purpose"};
        });
        c.check(r.has_value(), "a task was refused");
      }
      c.check(pool.drain().has_value() && pool.failed() == tasks / 2, "a failure was not counted");
    }
    c.check(handled == tasks / 2, "an exception did not reach the handler");
  }
}

// Hazard 15: whoever releases, grants, stops or times out, a coroutine of the pool goes on on the pool.
penstock::task<> hop(stress::context& c, worker_pool& pool, penstock::semaphore& s, stress::random random,
                     std::atomic<int>& ended) {
  for (int i = 0; i < 30; ++i) {
    penstock::result<void> r;
    if (random.one_in(2)) {
      r = co_await s.async_acquire();
    } else {
      r = co_await (s.async_acquire() | penstock::with_timeout(random.below(100) * 1us));
    }
    c.check(pool.running_here(), "a coroutine went on outside its pool");
    if (r) s.release();
    if (random.one_in(4)) co_await pool.schedule();
  }
  ++ended;
}

void coroutines(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    constexpr int count = 20;
    std::atomic<int> ended{0};
    penstock::semaphore s{2};
    {
      worker_pool pool{{.threads = 2, .queue_capacity = 1}};
      std::vector<penstock::spawned<void>> all;
      for (std::uint64_t i = 0; i < count; ++i)
        all.push_back(penstock::spawn(pool, hop(c, pool, s, c.generator(round * 100 + i), ended)));
      for (int i = 0; i < 200; ++i) {
        if (s.try_acquire()) s.release();  // from outside the pool
      }
      all[0].request_stop();
      for (auto& one : all) one.wait();
    }
    c.check(ended == count, "a coroutine did not end");
    c.check(s.available() == 2 && s.waiters() == 0, "a permit was lost");
  }
}

// Hazard 18: workers block for coroutines that need them, or that end elsewhere.
void blocking(stress::context& c) {
  struct local {
    static penstock::task<int> hop(worker_pool& pool, int times) {
      for (int i = 0; i < times; ++i) co_await pool.schedule();
      co_return 1;
    }
    static penstock::task<int> take(penstock::semaphore& s) {
      const penstock::result<void> r = co_await s.async_acquire();
      co_return r ? 1 : 0;
    }
    static penstock::task<int> nest(worker_pool& pool, penstock::semaphore& s, int levels) {
      if (levels == 0) co_return co_await take(s);
      auto below = penstock::spawn(pool, nest(pool, s, levels - 1));
      co_return below.result();
    }
  };
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    constexpr int count = 20;
    stress::random random = c.generator(round);
    penstock::semaphore s{0};
    worker_pool pool{{.threads = 1 + random.below<std::size_t>(3)}};
    std::vector<penstock::future<int>> all;
    int wanted = 0;
    for (int i = 0; i < count; ++i) {
      const int n = random.below(5);
      switch (random.below(4)) {
        case 0:
          all.push_back(pool.submit([&pool, n] { return penstock::spawn(pool, local::hop(pool, n)).result(); }));
          break;
        case 1:
          all.push_back(pool.submit([&s] { return penstock::sync_wait(local::take(s)); }));
          ++wanted;
          break;
        case 2:
          all.push_back(pool.submit([&pool, &s] { return penstock::sync_wait(local::take(s) | penstock::via(pool)); }));
          ++wanted;
          break;
        default:
          all.push_back(pool.submit([&pool, &s, n] { return penstock::spawn(pool, local::nest(pool, s, n)).result(); }));
          ++wanted;
      }
    }
    for (int i = 0; i < wanted; ++i) {
      if (random.one_in(3)) std::this_thread::yield();
      s.release();
    }
    int ended = 0;
    for (auto& one : all) ended += one.get();
    c.check(ended == count, "a wait for a coroutine ended without its value");
    c.check(pool.drain().has_value() && s.available() == 0, "a permit was lost");
  }
}

}  // namespace

int main() {
  stress::run run{"worker_pool"};
  run.scenario("submission and shutdown", 250ms, churn);
  run.scenario("submission and shutdown, delays before each sleep", 200ms, [&](stress::context& c) {
    park_delay::enable(run.seed());
    churn(c);
    park_delay::disable();
  });
  run.scenario("tasks that submit tasks", 200ms, inside);
  run.scenario("tasks that submit tasks, delays before each sleep", 100ms, [&](stress::context& c) {
    park_delay::enable(run.seed());
    inside(c);
    park_delay::disable();
  });
  run.scenario("options of submissions", 150ms, options_of_submissions);
  run.scenario("construction and destruction", 200ms, build_and_destroy);
  run.scenario("tasks that wait for tasks", 150ms, nested);
  run.scenario("exceptions", 100ms, exceptions);
  run.scenario("coroutines", 200ms, coroutines);
  run.scenario("workers that block for coroutines", 200ms, blocking);
  run.scenario("workers that block for coroutines, delays before each sleep", 100ms, [&](stress::context& c) {
    park_delay::enable(run.seed());
    blocking(c);
    park_delay::disable();
  });
  run.again_on_one_processor();
  return run.finish();
}
