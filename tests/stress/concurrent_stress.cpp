// map_concurrent, map_as_completed, hedge and supervise on a pool: children that end at once from several threads, failures, stop requests and timeouts at any
// moment. Each item has one outcome, never more than `limit` are in flight, and nothing runs any more when the combinator has ended.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <penstock/combine/combined_error.hpp>
#include <penstock/combine/hedge.hpp>
#include <penstock/combine/map_as_completed.hpp>
#include <penstock/combine/map_concurrent.hpp>
#include <penstock/combine/supervise.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::errc;
using penstock::limit;
using penstock::task;

struct scene {
  std::atomic<int> in_flight{0};
  std::atomic<int> most{0};
  std::atomic<int> begun{0};
  penstock::event never;  // what a lazy item waits for: only a stop request ends it, or its timeout

  void enter() noexcept {
    ++begun;
    const int now = ++in_flight;
    int seen = most;
    while (now > seen && !most.compare_exchange_weak(seen, now)) {
    }
  }
};

enum class kind { quick, hops, waits, fails };

// A value that lies on the heap, so that one which is lost or given twice is the sanitizer's business, too.
task<std::string> item(scene& s, kind how, int i) {
  s.enter();
  struct leave {
    scene& s;
    ~leave() { --s.in_flight; }
  } const at_the_end{s};
  if (how == kind::hops) {
    const penstock::any_scheduler where = co_await penstock::this_task::get_scheduler();
    co_await where.schedule();
  }
  if (how == kind::waits) {
    const auto r = co_await (s.never.async_wait() | penstock::with_timeout(10us));
    if (r.error() == errc::cancelled) throw std::system_error{r.error()};
  }
  if (how == kind::fails) throw std::runtime_error{std::to_string(i)};
  co_return std::to_string(i) + std::string(20, 'x');
}

void map_once(stress::context& c, stress::random& r, penstock::worker_pool& pool) {
  scene s;
  const int n = r.below(200);
  const int most = 1 + r.below(12);
  const int trip = r.one_in(2) ? r.below(n + 1) : -1;
  const bool settled = r.one_in(3);
  const auto seed = r();
  const auto begin = [&s, trip, seed](int i) {
    stress::random mine{seed + static_cast<std::uint64_t>(i)};
    return item(s, i == trip ? kind::fails : static_cast<kind>(mine.below(mine.one_in(8) ? 3 : 2)), i);
  };
  const int stop_after = r.one_in(2) ? r.below(300) : -1;
  const auto stop = [&](auto& running) {
    if (stop_after < 0) return;
    for (int i = 0; i < stop_after; ++i) std::this_thread::yield();
    running.request_stop();
  };
  try {
    if (settled) {
      auto running = penstock::spawn(
          pool, penstock::map_concurrent_settled(std::views::iota(0, n), limit(static_cast<std::size_t>(most)), begin));
      stop(running);
      const auto all = running.result();
      c.check(static_cast<int>(all.size()) == s.begun && (stop_after >= 0 || s.begun == n), "an outcome for each that began");
      for (int i = 0; i < static_cast<int>(all.size()); ++i) {
        const auto& o = all[static_cast<std::size_t>(i)];
        c.check(o.has_value() != (i == trip || o.error() == errc::cancelled), "the outcome is the item's");
        c.check(!o.has_value() || o->starts_with(std::to_string(i) + "x"), "the value is the item's");
      }
    } else {
      auto running =
          penstock::spawn(pool, penstock::map_concurrent(std::views::iota(0, n), limit(static_cast<std::size_t>(most)), begin));
      stop(running);
      const auto all = running.result();
      c.check(static_cast<int>(all.size()) == n && (trip < 0 || trip == n), "all of them, and none failed");
      for (int i = 0; i < n; ++i) c.check(all[static_cast<std::size_t>(i)].starts_with(std::to_string(i) + "x"), "in order");
    }
  } catch (const penstock::combined_error& e) {
    c.check(e.failures().size() == 1 && static_cast<int>(e.failures()[0].index) == trip, "the one that failed");
  } catch (const std::system_error& e) {
    c.check(e.code() == errc::cancelled && stop_after >= 0, "cancelled only if stopped");
  }
  c.check(s.in_flight == 0, "nothing runs any more");
  c.check(s.most <= most, "no more than allowed at a time");
}

task<> take_some(stress::context& c, scene& s, int n, int most, int take) {
  std::vector<bool> seen(static_cast<std::size_t>(n));
  auto results = penstock::map_as_completed(std::views::iota(0, n), limit(static_cast<std::size_t>(most)),
                                            [&s](int i) { return item(s, i % 2 == 0 ? kind::hops : kind::quick, i); });
  int got = 0;
  while (got < take) {
    auto r = co_await results.next();
    if (!r) break;
    ++got;
    const auto i = static_cast<std::size_t>(std::stoi(*r));
    c.check(!seen[i], "each result once");
    seen[i] = true;
  }
  c.check(got == (take < n ? take : n), "every result was given");
  co_await results.cancel();
  c.check(s.in_flight == 0, "nothing runs after cancel()");
}

void hedge_once(stress::context& c, stress::random& r, penstock::worker_pool& pool) {
  scene s;
  const auto after = std::chrono::microseconds{r.below(60)};
  const int good = r.below(4);  // 3: none is
  const bool stopped = r.one_in(4);
  auto running = penstock::spawn(pool, penstock::hedge(
                                           [&](std::size_t i) {
                                             const int n = static_cast<int>(i);
                                             return item(s, n == good ? kind::hops : n % 2 == 0 ? kind::waits : kind::fails, n);
                                           },
                                           after, 3));
  if (stopped) running.request_stop();
  try {
    const std::string won = running.result();
    c.check(won.ends_with("xx"), "a whole value");
  } catch (const penstock::combined_error& e) {
    c.check(!e.failures().empty(), "with its failures");
  } catch (const std::system_error& e) {
    c.check(e.code() == errc::cancelled && stopped, "cancelled only if stopped");
  }
  c.check(s.in_flight == 0, "the losers were joined");
  c.check(s.begun <= 3, "no more than three attempts");
}

void supervise_once(stress::context& c, stress::random& r, penstock::worker_pool& pool) {
  scene s;
  const int failures = r.below(6);
  const std::size_t allowed = r.below<std::size_t>(6);
  std::atomic<int> told{0};
  const auto run = [&](scene& of, int n) { return item(of, n < failures ? kind::fails : kind::hops, n); };
  const auto make = [&, n = 0]() mutable { return run(s, n++); };
  auto running = penstock::spawn(pool, penstock::supervise(make, {.backoff = penstock::backoff::fixed(r.below(20) * 1us),
                                                                  .max_restarts = allowed,
                                                                  .on_restart = [&](const penstock::restart&) { ++told; }}));
  const bool stopped = r.one_in(2);
  if (stopped) {
    for (int i = r.below(100); i > 0; --i) std::this_thread::yield();
    running.request_stop();
  }
  try {
    c.check(running.result().starts_with(std::to_string(failures) + "x") && s.begun == failures + 1,
            "the run that ends well is the last");
  } catch (const std::system_error& e) {
    c.check(e.code() == errc::cancelled && stopped, "cancelled only if stopped");
  } catch (const std::runtime_error& e) {
    c.check(e.what() == std::to_string(s.begun - 1), "the last failure");
    c.check(stopped || s.begun == static_cast<int>(allowed) + 1, "it gave up too early");
  }
  c.check(s.most == 1 && s.in_flight == 0, "one run at a time, and none in the end");
  c.check(told == s.begun - 1 || (stopped && told == s.begun), "every restart is told of");
}

}  // namespace

int main() {
  stress::run run{"concurrent"};
  run.scenario("map_concurrent on a pool", 500ms, [](stress::context& c) {
    penstock::worker_pool pool{{.threads = 3}};
    stress::random r = c.generator(1);
    while (c.time_left() && !c.failed()) map_once(c, r, pool);
  });
  run.scenario("map_as_completed on a pool", 300ms, [](stress::context& c) {
    penstock::worker_pool pool{{.threads = 3}};
    stress::random r = c.generator(1);
    while (c.time_left() && !c.failed()) {
      scene s;
      const int n = 1 + r.below(100);
      const int most = 1 + r.below(8);
      penstock::spawn(pool, take_some(c, s, n, most, r.below(2 * n))).result();
      c.check(s.most <= most, "no more than allowed at a time");
    }
  });
  run.scenario("hedge on a pool", 300ms, [](stress::context& c) {
    penstock::worker_pool pool{{.threads = 3}};
    stress::random r = c.generator(1);
    while (c.time_left() && !c.failed()) hedge_once(c, r, pool);
  });
  run.scenario("supervise on a pool (hazard-12)", 150ms, [](stress::context& c) {
    penstock::worker_pool pool{{.threads = 3}};
    stress::random r = c.generator(1);
    while (c.time_left() && !c.failed()) supervise_once(c, r, pool);
  });
  return run.finish();
}
