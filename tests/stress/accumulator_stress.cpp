// Threads and coroutines that add to one accumulator by every way of adding, while its function fails, is tried again, is stopped, and the
// accumulator is closed: each item has exactly one fate, and who waits for it learns which.
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/batch/accumulator.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::accumulator;
using penstock::result;

constexpr int threads = 3;
constexpr int coroutines = 3;
constexpr int each = 60;
constexpr int items = (threads + coroutines) * each;

/// What became of the items: how often they were written and given up, and what their callers were told.
struct ledger {
  std::array<std::atomic<int>, items> written{};
  std::array<std::atomic<int>, items> failed{};
  std::array<std::atomic<int>, items> told{};  // 0: fire and forget; 1: written; 2: failed
  std::array<bool, items> inside{};            // it went in
};

penstock::accumulator_options<int> options_of(ledger& l, stress::random& random) {
  penstock::accumulator_options<int> o;
  o.max_batch_size = 1 + random.below<std::size_t>(6);
  o.capacity = 1 + random.below<std::size_t>(16);
  o.max_in_flight_batches = 1 + random.below<std::size_t>(2);
  if (random.one_in(2)) o.max_delay = random.below(100) * 1us;
  if (random.one_in(2)) o.max_idle = random.below(50) * 1us;
  if (random.one_in(2)) o.retry = penstock::retry_with(penstock::backoff::fixed(random.below(30) * 1us), 3, random());
  o.on_failed = [&l](std::span<int> given_up, const penstock::write_failure&) {
    for (const int i : given_up) ++l.failed[static_cast<std::size_t>(i)];
  };
  return o;
}

void tell(ledger& l, int i, penstock::future<void>&& f) {
  try {
    f.get();
    l.told[static_cast<std::size_t>(i)] = 1;
  } catch (const std::system_error&) {
    l.told[static_cast<std::size_t>(i)] = 2;
  }
}

void add_once(accumulator<int>& acc, ledger& l, int i, const std::stop_token& stop, stress::random& random) {
  bool& inside = l.inside[static_cast<std::size_t>(i)];
  int item = i;
  switch (random.below(6)) {
    case 0:
      inside = acc.push(std::move(item)).has_value();
      return;
    case 1:
      inside = acc.try_push(std::move(item)).has_value();
      return;
    case 2:
      inside = acc.try_push_for(random.below(100) * 1us, std::move(item)).has_value();
      return;
    case 3:
      inside = acc.push(stop, std::move(item)).has_value();
      return;
    case 4:
      if (auto f = acc.try_add(std::move(item))) {
        inside = true;
        tell(l, i, std::move(*f));
      }
      return;
    default:
      tell(l, i, acc.add(std::move(item)));  // of one that did not go in: an error, and no other fate
      return;
  }
}

penstock::task<> add_in_coroutine(accumulator<int>& acc, ledger& l, int first, stress::random random) {
  for (int i = first; i < first + each; ++i) {
    if (random.one_in(2)) {
      int item = i;
      const result<void> in = co_await (acc.async_push(item) | penstock::with_timeout(random.below(200) * 1us));
      l.inside[static_cast<std::size_t>(i)] = in.has_value();
    } else {
      const result<void> told = co_await acc.async_add(i);
      l.told[static_cast<std::size_t>(i)] = told ? 1 : 2;
    }
  }
}

// Outcomes for each item at random: -1 in `chance` that the item fails.
std::vector<result<void>> write(ledger& l, std::span<const int> batch, std::uint64_t chance, std::uint64_t seed) {
  stress::random random{seed};
  std::vector<result<void>> o(batch.size());
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (chance != 0 && random.below<std::uint64_t>(chance) == 0) {
      o[i] = penstock::errc::rejected;
    } else {
      ++l.written[static_cast<std::size_t>(batch[i])];
    }
  }
  return o;
}

void check_fates(stress::context& c, const ledger& l, const penstock::accumulator_stats& s) {
  std::uint64_t over = 0;
  for (std::size_t i = 0; i < items; ++i) {
    const int fates = l.written[i] + l.failed[i];
    over += static_cast<std::uint64_t>(fates);
    c.check(fates <= 1, "an item has more than one fate");
    c.check(!l.inside[i] || fates == 1, "an item went in, and was lost");
    if (l.told[i] == 1) c.check(l.written[i] == 1, "an item is said to be written, and was not");
    if (l.told[i] == 2) c.check(l.written[i] == 0, "an item is said to have failed, and was written");
  }
  c.check(s.added == over && s.added == s.acknowledged + s.failed && s.held == 0, "added is not acknowledged and failed");
}

void mix(stress::context& c) {
  penstock::worker_pool pool{{.threads = 2}};
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round * 100 + 99);
    auto l = std::make_unique<ledger>();
    std::atomic<std::uint64_t> calls{round};
    const std::uint64_t chance = random.one_in(3) ? 0 : 5;
    std::stop_source stop;
    auto acc = std::make_unique<accumulator<int>>(
        pool, [&](std::span<const int> batch) { return write(*l, batch, chance, calls++ * 7919); }, options_of(*l, random));
    {
      std::vector<penstock::spawned<void>> running;
      for (int i = 0; i < coroutines; ++i) {
        running.push_back(penstock::spawn(pool, add_in_coroutine(*acc, *l, (threads + i) * each,
                                                                 c.generator(round * 100 + 50 + static_cast<std::uint64_t>(i)))));
      }
      stress::start_line start{threads + 1};
      std::vector<std::jthread> adders;
      for (int t = 0; t < threads; ++t) {
        adders.emplace_back([&, t, mine = c.generator(round * 100 + static_cast<std::uint64_t>(t))]() mutable {
          start.wait();
          for (int i = t * each; i < (t + 1) * each; ++i) add_once(*acc, *l, i, stop.get_token(), mine);
        });
      }
      start.wait();
      for (std::uint64_t i = random.below<std::uint64_t>(50); i > 0; --i) {
        if (i % 8 == 0) acc->flush();
        std::this_thread::yield();
      }
      if (round % 4 == 0) stop.request_stop();
      if (round % 4 == 1) acc->close();
      if (round % 4 == 2) acc->abort();
      if (round % 4 == 3) c.check(acc->drain().has_value(), "drained");
      adders.clear();
      for (auto& r : running) r.wait();
    }
    acc->close();
    c.check(acc->drain().has_value(), "drained");
    check_fates(c, *l, acc->stats());
    acc.reset();
  }
}

// The function runs on whoever adds, and destruction writes what is left.
void inline_context(stress::context& c) {
  while (c.time_left() && !c.failed()) {
    std::vector<int> order;
    {
      accumulator<int> acc{penstock::any_scheduler{},
                           [&](std::span<const int> batch) { order.insert(order.end(), batch.begin(), batch.end()); },
                           {.max_batch_size = 7, .capacity = 20}};
      stress::start_line start{threads};
      std::vector<std::jthread> adders;
      for (int t = 0; t < threads; ++t) {
        adders.emplace_back([&, t] {
          start.wait();
          for (int i = t * each; i < (t + 1) * each; ++i) {
            if (i % 16 == 0) {
              acc.add(std::move(i)).get();
            } else {
              c.check(acc.push(std::move(i)).has_value(), "pushed");
            }
          }
        });
      }
      adders.clear();
    }
    c.check(order.size() == threads * each, "items are missing");
    std::array<int, threads> last;
    last.fill(-1);
    for (const int i : order) {
      int& before = last[static_cast<std::size_t>(i / each)];
      c.check(i > before, "a thread's items have changed their order");
      before = i;
    }
  }
}

}  // namespace

int main() {
  stress::run run{"accumulator"};
  run.scenario(
      penstock::detail::usable_processors() == 1 ? "all on one processor (hazard-13)" : "threads and coroutines (hazard-08)",
      250ms, mix);
  run.scenario("written by who adds", 100ms, inline_context);
  run.scenario("delays before each sleep", 200ms, [&](stress::context& c) {
    park_delay::enable(run.seed());
    mix(c);
    park_delay::disable();
  });
  run.again_on_one_processor();
  return run.finish();
}
