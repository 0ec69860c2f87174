// Loops and fork-join calls from all sides at the same time, nested at random, failing and stopped at random: every element is visited once, or the
// loop says why not, and every call returns. Then all of it once more on one processor.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <numeric>
#include <ranges>
#include <stop_token>
#include <thread>
#include <vector>

#include <penstock/combine/for_each.hpp>
#include <penstock/combine/invoke.hpp>
#include <penstock/combine/map_unordered.hpp>
#include <penstock/combine/reduce.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/detail/work_deque.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::errc;
using penstock::worker_pool;

struct on_purpose {};

long fibonacci(worker_pool& pool, int n) {
  if (n < 2) return n;
  const auto [a, b] = penstock::invoke(pool, [&] { return fibonacci(pool, n - 1); }, [&] { return fibonacci(pool, n - 2); });
  return a + b;
}

// What one thread may do, to a depth. Returns how many leaves it has visited, all of which are counted in `visited`, too.
class mix {
 public:
  mix(stress::context& c, worker_pool& pool) : context_{c}, pool_{pool} {}

  void once(stress::random random, int depth) {
    switch (random.below(depth > 0 ? 6 : 2)) {
      case 0:
        context_.check(fibonacci(pool_, 9) == 34, "a fork-join call went wrong");
        break;
      case 1: {
        const int n = random.below(100);
        context_.check(penstock::reduce(pool_, std::views::iota(0, n), 0) == n * (n - 1) / 2, "a sum is wrong");
        break;
      }
      case 2:
        loop(random, depth);
        break;
      case 3: {
        const std::uint64_t a = random.below<std::uint64_t>(1 << 30);
        penstock::invoke(
            pool_, [&] { once(context_.generator(a), depth - 1); }, [&] { once(context_.generator(a + 1), depth - 1); },
            [&] { once(context_.generator(a + 2), depth - 1); });
        break;
      }
      case 4: {
        int sum = 0;
        for (int i : penstock::map_unordered(pool_, std::views::iota(0, 20), [](int i) { return i; }, {.ahead = 3})) sum += i;
        context_.check(sum == 190, "a result is missing");
        break;
      }
      default:
        // A worker, or a thread from outside, that waits for a coroutine inside a loop.
        penstock::for_each(pool_, std::views::iota(0, 3), [&](int) { penstock::spawn(pool_, hop(pool_)).result(); });
    }
  }

 private:
  static penstock::task<void> hop(worker_pool& pool) {
    co_await pool.schedule();
    penstock::for_each(pool, std::views::iota(0, 3), [](int) {});
  }

  void loop(stress::random random, int depth) {
    const int n = 1 + random.below(20);
    const int failing = random.one_in(3) ? random.below(n) : -1;
    const int stopping = random.one_in(3) ? random.below(n) : -1;
    const std::uint64_t seed = random.below<std::uint64_t>(1 << 30);
    std::stop_source stop;
    std::vector<std::atomic<int>> visits(static_cast<std::size_t>(n));
    std::vector<std::exception_ptr> failures;
    try {
      const auto r = penstock::for_each(pool_, std::views::iota(0, n),
                                        [&](int i) {
                                          ++visits[static_cast<std::size_t>(i)];
                                          if (i == stopping) stop.request_stop();
                                          if (i == failing) throw on_purpose{};
                                          if (depth > 1 && i % 8 == 0)
                                            once(context_.generator(seed + static_cast<std::uint64_t>(i)), depth - 1);
                                        },
                                        {.chunk = random.below<std::size_t>(4), .stop = stop.get_token(), .failures = &failures});
      context_.check(r || (r.error() == errc::cancelled && stopping >= 0), "a loop ended without reason");
      context_.check(failing < 0 || visits[static_cast<std::size_t>(failing)] == 0, "an exception was lost");
      for (auto& v : visits) context_.check(v == 1 || (!r && v == 0), "an element was not visited, or twice");
    } catch (const on_purpose&) {
      context_.check(failing >= 0 && failures.size() == 1, "an exception that nobody threw, or was not kept");
      for (auto& v : visits) context_.check(v <= 1, "an element was visited twice");
    }
  }

  stress::context& context_;
  worker_pool& pool_;
};

void everything(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round * 1000);
    worker_pool pool{{.threads = 1 + random.below<std::size_t>(4), .queue_capacity = 1 + random.below<std::size_t>(8)}};
    mix all{c, pool};
    std::vector<std::jthread> outside;
    const auto callers = static_cast<std::uint64_t>(random.one_in(8) ? 10 : 2);  // ten: more than there are lanes for guests
    for (std::uint64_t t = 1; t <= callers; ++t) {
      outside.emplace_back([&, t] {
        for (std::uint64_t i = 0; i < 5; ++i) all.once(c.generator(round * 1000 + t * 10 + i), 3);
      });
    }
    std::vector<penstock::future<void>> inside;
    for (std::uint64_t t = 0; t < 4; ++t)
      inside.push_back(pool.submit([&, t] { all.once(c.generator(round * 1000 + 500 + t), 3); }));
    for (auto& f : inside) f.get();
    outside.clear();
    c.check(pool.drain().has_value() && pool.failed() == 0, "something is left, or an exception went astray");
  }
}

// The pool goes while threads from outside still ask for help: they get none, and end.
void ending(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round);
    worker_pool pool{{.threads = 1 + random.below<std::size_t>(3)}};
    std::vector<std::jthread> outside;
    for (int t = 0; t < 2; ++t) {
      outside.emplace_back([&] {
        for (int i = 0; i < 10; ++i) c.check(fibonacci(pool, 8) == 21, "a fork-join call went wrong");
      });
    }
    auto inside = pool.submit([&] { return fibonacci(pool, 12); });
    if (random.one_in(2)) {
      c.check(pool.shutdown().has_value(), "shutdown failed");
    } else {
      pool.request_stop();
    }
    try {
      c.check(inside.get() == 144, "a fork-join call went wrong");
    } catch (const std::system_error& e) {
      c.check(e.code() == errc::cancelled, "an error that a future does not have");
    }
  }
}

// The deque alone: an owner that pushes and pops at random, and two thieves. Each item is had once.
void deque(stress::context& c) {
  struct item {
    int had = 0;  // plain: two who have the same one race
  };
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round);
    penstock::detail::work_deque<item> d{std::size_t{1} << random.below(5)};
    std::vector<item> items(2000);
    std::atomic<bool> over{false};
    std::atomic<int> had{0};
    {
      stress::start_line start{3};
      std::vector<std::jthread> thieves;
      for (int t = 0; t < 2; ++t) {
        thieves.emplace_back([&] {
          start.wait();
          for (bool last = false; !last;) {
            last = over;
            while (item* const i = d.steal()) {
              ++i->had;
              ++had;
            }
          }
        });
      }
      start.wait();
      const auto pop = [&] {
        item* const i = d.pop();
        if (i == nullptr) return false;
        ++i->had;
        ++had;
        return true;
      };
      for (item& i : items) {
        while (!d.push(&i)) pop();
        for (int n = random.below(3); n > 0; --n) pop();
      }
      while (pop()) {
      }
      over = true;
    }
    int sum = 0;
    for (const item& i : items) sum += i.had == 1 ? 1 : 0;
    c.check(had == 2000 && sum == 2000, "an item was lost, or had twice");
  }
}

}  // namespace

int main() {
  stress::run run{"bulk"};
  run.scenario("loops and calls of all kinds", 350ms, everything);
  run.scenario("loops and calls of all kinds, delays before each sleep", 150ms, [&](stress::context& c) {
    park_delay::enable(run.seed());
    everything(c);
    park_delay::disable();
  });
  run.scenario("the pool ends meanwhile", 150ms, ending);
  run.scenario("the deque", 150ms, deque);
  run.again_on_one_processor();
  return run.finish();
}
