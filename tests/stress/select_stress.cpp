// select by threads and coroutines over several channels, with timeouts, stop requests, tickers, close and random delays before each sleep:
// every item comes out exactly once.
#include <penstock/channel/select.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <penstock/channel/channel.hpp>
#include <penstock/channel/ticker.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/sync_wait.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::errc;
using penstock::result;
using penstock::task;

constexpr std::size_t channels = 3;

// Items are numbers that their owner may lose by a wrong move: the pointer is the item.
using item = std::unique_ptr<std::uint32_t>;
using channel = penstock::channel<item>;

// What all parties of one round share.
struct arena {
  arena(stress::context& c, std::size_t capacity, std::size_t items) : context{c}, seen(items) {
    // Every other round the channels have options: there a push that waits is served under the lock, but a select is only woken.
    const bool metrics = capacity % 2 == 0;
    for (auto& ch : lines)
      ch = std::make_unique<channel>(penstock::channel_options<item>{.capacity = capacity, .metrics = metrics});
  }

  void take(item i) {
    context.check(i != nullptr && *i < seen.size(), "an item came out that never went in");
    if (i != nullptr && *i < seen.size()) context.check(seen[*i].fetch_add(1) == 0, "an item came out twice");
  }
  void close() {
    for (auto& ch : lines) ch->close();
  }
  // After all have ended.
  void judge() {
    std::size_t missing = 0;
    for (auto& n : seen) missing += n == 0 ? 1 : 0;
    context.check(missing == 0, std::to_string(missing) + " items were lost");
    for (auto& ch : lines) context.check(ch->empty() && ch->is_closed(), "drained");
  }

  stress::context& context;
  std::unique_ptr<channel> lines[channels];
  std::vector<std::atomic<int>> seen;
};

// One item, by a select that pushes to whichever of two channels has room; some attempts give up and are made again.
void push_one(arena& a, std::uint32_t number, stress::random& random) {
  auto i = std::make_unique<std::uint32_t>(number);
  while (i != nullptr) {
    channel& first = *a.lines[random.below(channels)];
    channel& second = *a.lines[random.below(channels)];
    const auto pushed = [&](result<void> r) { a.context.check(r.has_value() == (i == nullptr), "moved from if it was pushed"); };
    switch (random.below(5)) {
      case 0:
        penstock::select(penstock::on_push(first, std::move(i), pushed), penstock::on_timeout(random.below(50) * 1us, [] {}));
        break;
      case 1:
        penstock::select(penstock::on_push(first, std::move(i), pushed), penstock::otherwise([] { std::this_thread::yield(); }));
        break;
      case 2:
        static_cast<void>(first.push(std::move(i)));
        break;
      default:
        penstock::select(penstock::on_push(first, std::move(i), pushed), penstock::on_push(second, std::move(i), pushed));
    }
  }
}

// Pops by selects over all the channels until each of them is closed and drained.
void pop_all(arena& a, stress::random& random, const std::stop_token& stop) {
  bool open[channels] = {true, true, true};
  const auto got = [&](std::size_t which) {
    return [&, which](result<item> r) {
      if (r) {
        a.take(*std::move(r));
      } else {
        a.context.check(r == errc::closed, "closed is the only error");
        open[which] = false;
      }
    };
  };
  while (open[0] || open[1] || open[2]) {
    const std::size_t n = random.below(channels);
    const std::size_t m = (n + 1 + random.below(channels - 1)) % channels;
    switch (random.below(6)) {
      case 0:
        penstock::select(penstock::on_pop(*a.lines[n], got(n)), penstock::on_timeout(random.below(50) * 1us, [] {}));
        break;
      case 1:
        // With a limit: if all consumers waited for the same two, a producer could wait for the third one for ever.
        penstock::select(penstock::on_pop(*a.lines[n], got(n)), penstock::on_pop(*a.lines[m], got(m)),
                         penstock::on_timeout(random.below(500) * 1us, [] {}), penstock::on_stop(stop, [] {}));
        break;
      case 2:
        if (auto r = a.lines[n]->try_pop_for(random.below(50) * 1us)) a.take(*std::move(r));
        break;
      case 3:
        penstock::select(penstock::on_pop(*a.lines[n], got(n)), penstock::otherwise([] { std::this_thread::yield(); }));
        break;
      default:
        penstock::select(penstock::when(open[0], penstock::on_pop(*a.lines[0], got(0))),
                         penstock::when(open[1], penstock::on_pop(*a.lines[1], got(1))),
                         penstock::when(open[2], penstock::on_pop(*a.lines[2], got(2))));
    }
  }
}

task<void> push_async(arena& a, std::uint32_t from, std::uint32_t to, stress::random random) {
  for (std::uint32_t number = from; number < to; ++number) {
    auto i = std::make_unique<std::uint32_t>(number);
    while (i != nullptr) {
      channel& first = *a.lines[random.below(channels)];
      channel& second = *a.lines[random.below(channels)];
      if (random.one_in(3)) {
        auto s = co_await penstock::async_select(penstock::push_case(first, std::move(i)),
                                                 penstock::timeout_case(random.below(80) * 1us));
        a.context.check(s.has_value() && (s->index() == 0) == (i == nullptr), "moved from if it was pushed");
      } else {
        auto s =
            co_await penstock::async_select(penstock::push_case(first, std::move(i)), penstock::push_case(second, std::move(i)));
        a.context.check(s.has_value() && i == nullptr, "pushed");
      }
    }
  }
}

// Until it is stopped, or everything is closed and drained. A channel that was found closed is left out: it would happen again and again, and
// where that runs in place, inside close(), nobody would close the next one.
task<void> pop_async(arena& a, stress::random random) {
  using penstock::pop_case;
  using penstock::when;
  bool open[channels] = {true, true, true};
  while (open[0] || open[1] || open[2]) {
    auto operation = penstock::async_select(when(open[0], pop_case(*a.lines[0])), when(open[1], pop_case(*a.lines[1])),
                                            when(open[2], pop_case(*a.lines[2])));
    if (random.one_in(4)) operation = std::move(operation) | penstock::with_timeout(random.below(80) * 1us);
    auto s = co_await std::move(operation);
    if (!s) {
      if (s.error() == errc::cancelled) co_return;
      continue;
    }
    const std::size_t which = s->index();
    result<item>& r = which == 0 ? s->get<0>() : which == 1 ? s->get<1>() : s->get<2>();
    if (r) {
      a.take(*std::move(r));
    } else {
      a.context.check(r == errc::closed && open[which], "closed is the only error, once");
      open[which] = false;
    }
  }
}

constexpr std::uint32_t per_producer = stress::sanitized ? 60 : 200;

void threads_round(stress::context& c, std::uint64_t round) {
  constexpr std::uint32_t producers = 3;
  stress::random choice = c.generator(round);
  arena a{c, 1 + choice.below<std::size_t>(3), producers * per_producer};
  std::stop_source stop;
  {
    std::vector<std::jthread> consumers;
    for (std::uint64_t t = 0; t < 3; ++t) {
      consumers.emplace_back([&, t] {
        stress::random random = c.generator(round * 16 + t + 1);
        pop_all(a, random, stop.get_token());
      });
    }
    {
      std::vector<std::jthread> pushing;
      for (std::uint32_t t = 0; t < producers; ++t) {
        pushing.emplace_back([&, t] {
          stress::random random = c.generator(round * 16 + t + 8);
          for (std::uint32_t i = 0; i < per_producer; ++i) push_one(a, t * per_producer + i, random);
        });
      }
      if (round % 2 == 0) stop.request_stop();
    }
    a.close();
  }
  a.judge();
}

void coroutines_round(stress::context& c, std::uint64_t round, penstock::worker_pool& pool) {
  constexpr std::uint32_t producers = 4;
  stress::random choice = c.generator(round);
  arena a{c, 1 + choice.below<std::size_t>(3), producers * per_producer};
  {
    // One that is stopped on the way, three that stay, and a thread.
    auto leaves = penstock::spawn(pool, pop_async(a, c.generator(round * 16 + 1)));
    std::vector<penstock::spawned<void>> stay;
    for (std::uint64_t t = 0; t < 3; ++t) stay.push_back(penstock::spawn(pool, pop_async(a, c.generator(round * 16 + t + 2))));
    std::jthread thread{[&] {
      stress::random random = c.generator(round * 16 + 6);
      pop_all(a, random, {});
    }};
    {
      std::vector<penstock::spawned<void>> pushing;
      for (std::uint32_t t = 0; t < producers; ++t) {
        pushing.push_back(
            penstock::spawn(pool, push_async(a, t * per_producer, (t + 1) * per_producer, c.generator(round * 16 + t + 8))));
      }
      leaves.request_stop();
      leaves.wait();
      for (auto& p : pushing) p.wait();
    }
    a.close();
    for (auto& s : stay) s.wait();
  }
  a.judge();
}

// Resumed inline, on whatever thread completes: the coroutine's frame goes while others are on their way out of it.
void inline_round(stress::context& c, std::uint64_t round) {
  arena a{c, 1, 2 * per_producer};
  {
    auto popping = penstock::spawn(pop_async(a, c.generator(round * 16 + 1)));
    auto also = penstock::spawn(pop_async(a, c.generator(round * 16 + 2)));
    {
      std::vector<std::jthread> pushing;
      for (std::uint32_t t = 0; t < 2; ++t) {
        pushing.emplace_back([&, t] {
          stress::random random = c.generator(round * 16 + t + 8);
          for (std::uint32_t i = 0; i < per_producer; ++i) push_one(a, t * per_producer + i, random);
        });
      }
    }
    a.close();
    popping.wait();
    also.wait();
  }
  a.judge();
}

// One item and one stop, at the same moment, again and again: the item comes out or is still there.
void stop_round(stress::context& c, stress::random& random) {
  penstock::channel<int> one{1};
  penstock::channel<int> two{1};
  std::stop_source stop;
  int taken = 0;
  stress::start_line start{3};
  {
    std::jthread selecting{[&] {
      const auto got = [&](result<int> r) { taken += r ? 1 : 0; };
      start.wait();
      penstock::select(penstock::on_pop(one, got), penstock::on_pop(two, got), penstock::on_stop(stop.get_token(), [] {}));
    }};
    std::jthread pushing{[&] {
      start.wait();
      c.check((random.one_in(2) ? one : two).push(1).has_value(), "pushed");
    }};
    start.wait();
    stop.request_stop();
  }
  c.check(one.size() + two.size() + static_cast<std::size_t>(taken) == 1, "the item came out, or is there");
}

// A ticker that is destroyed, reset and read while another thread moves its clock.
void ticker_round(stress::context& c, stress::random& random, penstock::manual_clock& clock) {
  auto ticks = penstock::tick(1us, clock);
  penstock::channel<int> other{1};
  for (std::uint64_t n = random.below(4u); n > 0; --n) {
    std::size_t which = penstock::select(penstock::on_pop(ticks, [&](auto due) { c.check(due.has_value(), "a tick"); }),
                                         penstock::on_pop(other, [&](result<int>) { c.check(false, "nothing was pushed"); }));
    c.check(which == 0, "the tick");
    if (random.one_in(3)) ticks.reset(random.below(3) * 1us + 1us);
  }
  if (random.one_in(2)) {
    ticks.stop();
    c.check(ticks.try_pop() == errc::empty, "nothing of before");
  }
}

}  // namespace

int main() {
  stress::run run{"select"};
  park_delay::enable(run.seed());
  std::uint64_t round = 0;
  run.scenario("threads", 300ms, [&](stress::context& c) {
    do threads_round(c, ++round);
    while (c.time_left() && !c.failed());
  });
  run.scenario("coroutines on a pool and a thread", 300ms, [&](stress::context& c) {
    penstock::worker_pool pool{{.threads = 3}};
    do coroutines_round(c, ++round, pool);
    while (c.time_left() && !c.failed());
  });
  run.scenario("coroutines resumed in place", 200ms, [&](stress::context& c) {
    do inline_round(c, ++round);
    while (c.time_left() && !c.failed());
  });
  run.scenario("an item and a stop request", 200ms, [&](stress::context& c) {
    stress::random random = c.generator(7);
    do stop_round(c, random);
    while (c.time_left() && !c.failed());
  });
  run.scenario("tickers", 200ms, [&](stress::context& c) {
    stress::random random = c.generator(8);
    penstock::manual_clock clock;
    std::jthread moving{[&](const std::stop_token& over) {
      while (!over.stop_requested()) clock.advance(1us);
    }};
    do ticker_round(c, random, clock);
    while (c.time_left() && !c.failed());
    moving.request_stop();
    moving.join();
  });
  park_delay::disable();
  run.scenario("threads, without delays", 200ms, [&](stress::context& c) {
    do threads_round(c, ++round);
    while (c.time_left() && !c.failed());
  });
  return run.finish();
}
