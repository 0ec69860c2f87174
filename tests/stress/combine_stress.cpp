// Combinators on a pool: children end at the same time on several threads, fail, hop and ignore stop requests, while somebody requests stop. Whatever
// happens, nobody is under way when a combinator ends, never more than its limit were, and what it gives is right.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/combine/quorum.hpp>
#include <penstock/combine/race.hpp>
#include <penstock/combine/when_all.hpp>
#include <penstock/combine/when_all_settled.hpp>
#include <penstock/combine/when_any.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/future.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using namespace penstock;

enum class kind { all, each, any, first, some };

// What the children of one combinator share.
struct scene {
  scene(stress::context& c, worker_pool& p, std::size_t limit) : context{c}, pool{p}, most{limit} {}

  stress::context& context;
  worker_pool& pool;
  event gate;
  std::size_t most;
  std::atomic<std::size_t> under_way{0};
  std::atomic<int> succeeded{0};
  std::atomic<int> failed{0};
};

struct under_way {
  explicit under_way(scene& s) : at{s} { s.context.check(++s.under_way <= s.most, "more children than the limit allows"); }
  under_way(const under_way&) = delete;
  under_way& operator=(const under_way&) = delete;
  ~under_way() { --at.under_way; }
  scene& at;
};

struct child_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

task<std::size_t> child(scene& s, std::size_t index, unsigned what, unsigned hops) {
  const under_way here{s};
  for (unsigned i = 0; i < hops; ++i) co_await s.pool.schedule();
  if (what == 0) {
    ++s.failed;
    throw child_error{"x"};
  }
  if (what < 4) {
    const result<void> r = what == 1 ? result<void>{} : co_await s.gate.async_wait();
    if (!r) throw std::system_error{r.error()};
  } else if (what == 4) {
    static_cast<void>(co_await (s.gate.async_wait() | with_stop({})));
  }
  ++s.succeeded;
  co_return index;
}

std::vector<task<std::size_t>> children(scene& s, stress::random& random, std::size_t count, bool may_fail) {
  std::vector<task<std::size_t>> all;
  for (std::size_t i = 0; i < count; ++i) {
    unsigned what = random.below(6U);
    if (what == 0 && (!may_fail || !random.one_in(4))) what = 5;
    all.push_back(child(s, i, what, random.below(4U)));
  }
  return all;
}

void judge_winners(scene& s, const std::vector<winner<std::size_t>>& winners, std::size_t needed) {
  std::vector<std::size_t> indices;
  for (const auto& w : winners) {
    s.context.check(w.index == w.value, "the value of another child");
    indices.push_back(w.index);
  }
  std::ranges::sort(indices);
  s.context.check(indices.size() == needed && std::ranges::adjacent_find(indices) == indices.end(), "the same winner twice");
}

task<winner<std::size_t>> one_of(kind k, std::vector<task<std::size_t>> all, limit most) {
  return k == kind::any ? when_any(std::move(all), most) : race(std::move(all), most);
}

task<> combine_and_judge(scene& s, std::vector<task<std::size_t>> all, kind k, std::size_t needed, bool may_stop) {
  const std::size_t count = all.size();
  const limit most{s.most};
  bool stopped = false;
  bool failed = false;
  try {
    if (k == kind::all) {
      const auto values = co_await when_all(std::move(all), most);
      s.context.check(values.size() == count, "not all values");
      for (std::size_t i = 0; i < values.size(); ++i) s.context.check(values[i] == i, "values in the wrong order");
      s.context.check(s.failed == 0, "a failure vanished");
    } else if (k == kind::each) {
      const auto outcomes = co_await when_all_settled(std::move(all), most);
      s.context.check(outcomes.size() == count, "not all outcomes");
      int values = 0;
      int errors = 0;
      for (std::size_t i = 0; i < outcomes.size(); ++i) {
        if (outcomes[i]) {
          ++values;
          s.context.check(*outcomes[i] == i, "outcomes in the wrong order");
        } else if (outcomes[i].error() == errc::cancelled) {
          s.context.check(may_stop, "cancelled, though nobody asked for it");
        } else {
          ++errors;
        }
      }
      s.context.check(values == s.succeeded && errors == s.failed, "an outcome that is none of the children's");
    } else if (k == kind::some) {
      const auto winners = co_await quorum(needed, std::move(all), most);
      judge_winners(s, winners, needed);
    } else {
      const winner<std::size_t> w = co_await one_of(k, std::move(all), most);
      judge_winners(s, std::vector{w}, 1);
    }
  } catch (const combined_error& e) {
    failed = true;
    s.context.check(e.failures().size() == static_cast<std::size_t>(s.failed), "a failure was lost");
    for (const auto& f : e.failures()) s.context.check(!detail::code_of(f.why), "a cancelled child counted as failed");
  } catch (const std::system_error& e) {
    stopped = e.code() == errc::cancelled;
    s.context.check(stopped, "an error of unknown origin");
  }
  s.context.check(s.under_way == 0, "a child outlived its combinator");
  s.context.check(!stopped || may_stop, "cancelled, though nobody asked for it");
  s.context.check(!failed || s.failed > 0, "failed without a failure");
}

void combine(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round);
    worker_pool pool{{.threads = 1 + random.below<std::size_t>(3)}};
    for (int i = 0; i < 20; ++i) {
      const std::size_t count = 1 + random.below<std::size_t>(24);
      scene s{c, pool, 1 + random.below<std::size_t>(random.one_in(2) ? 4 : 32)};
      const bool may_stop = random.one_in(2);
      const kind k = static_cast<kind>(random.below(5));
      auto all = children(s, random, count, random.one_in(2));
      auto judged = spawn(pool, combine_and_judge(s, std::move(all), k, 1 + random.below(count), may_stop));
      const unsigned pause = random.below(40U);
      std::jthread opener{[&s, pause] {
        for (unsigned n = 0; n < pause; ++n) std::this_thread::yield();
        s.gate.set();
      }};
      if (may_stop) {
        for (unsigned n = random.below(40U); n > 0; --n) std::this_thread::yield();
        judged.request_stop();
      }
      judged.result();
    }
  }
}

// Futures whose promises are given by several threads while the combinator gives them up; without a scheduler, so that it ends on any of them.
void futures(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round);
    constexpr std::size_t count = 8;
    std::vector<promise<std::size_t>> promises(count);
    std::vector<future<std::size_t>> all;
    for (auto& p : promises) all.push_back(p.get_future());
    const std::size_t needed = 1 + random.below(count);
    auto q = spawn(quorum(needed, std::move(all), limit{1 + random.below(count)}));
    const bool stops = random.one_in(3);
    stress::start_line start{2};
    const auto give = [&](std::size_t parity) {
      start.wait();
      for (std::size_t i = parity; i < count; i += 2) promises[i].set_value(i);
    };
    {
      std::jthread even{[&] { give(0); }};
      std::jthread odd{[&] { give(1); }};
      if (stops) q.request_stop();
    }
    try {
      const auto winners = q.result();
      c.check(winners.size() == needed, "too few");
      for (const auto& w : winners) c.check(w.index == w.value, "the value of another future");
    } catch (const std::system_error& e) {
      c.check(stops && e.code() == errc::cancelled, "cancelled, though nobody asked for it");
    }
  }
}

// Tasks of a pool, some of which end only when they are stopped. When the combinator has ended none of them runs, and none begins.
void pool_tasks(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round);
    event never;
    std::atomic<int> begun{0}, running{0};
    worker_pool pool{{.threads = 1 + random.below<std::size_t>(3), .queue_capacity = 32}};
    for (int i = 0; i < 20; ++i) {
      const std::size_t count = 1 + random.below<std::size_t>(12);
      std::vector<future<std::size_t>> all;
      for (std::size_t n = 0; n < count; ++n) {
        const unsigned what = random.below(8U);
        all.push_back(pool.submit([&begun, &running, &never, n, what](std::stop_token stop) {
          ++begun;
          ++running;
          if (what == 1) static_cast<void>(never.wait(stop));
          --running;
          if (what == 2) throw child_error{"x"};
          return n;
        }));
      }
      auto any = spawn(when_any(std::move(all), limit{1 + random.below(count)}));
      for (unsigned n = random.below(20U); n > 0; --n) std::this_thread::yield();
      any.request_stop();  // those that wait for it may hold all threads
      try {
        c.check(any.result().value < count, "a value that is none of theirs");
      } catch (const combined_error& e) {
        c.check(!e.failures().empty(), "a failure was lost");
      } catch (const std::system_error& e) {
        c.check(e.code() == errc::cancelled, "an error of unknown origin");
      }
      c.check(running == 0, "a task outlived its combinator");
      const int before = begun;
      c.check(pool.drain().has_value() && begun == before, "a task began after its combinator had ended");
    }
  }
}

}  // namespace

int main() {
  const bool one_processor = detail::usable_processors() == 1;
  stress::run run{"combine"};
  run.scenario("children of a pool that end, fail and are stopped", 500ms, combine);
  run.scenario("futures given by several threads", 200ms, futures);
  run.scenario(one_processor ? "tasks of a pool on one processor (hazard-13)" : "tasks of a pool (hazard-07, hazard-12)", 200ms,
               pool_tasks);
  run.again_on_one_processor();
  return run.finish();
}
