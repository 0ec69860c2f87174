// Strands on a pool: pieces never overlap, keep each submitter's order and are all run, whatever waits, closes and goes meanwhile; then all of it
// once more on one processor.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/modifiers.hpp>
#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/pool/strand.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::strand;
using penstock::task;
using penstock::worker_pool;

// Plain data that only pieces of one strand touch, and a count of those that are inside: the first says it to the thread sanitizer, the
// second to everybody.
struct resource {
  std::atomic<int> inside{0};
  int overlaps = 0;
  int visits = 0;
  int last[4] = {-1, -1, -1, -1};
  int disorder = 0;

  void visit() {
    if (inside.fetch_add(1) != 0) ++overlaps;
    if (++visits % 4 == 0) std::this_thread::yield();  // whoever should not come in has time to
    if (inside.fetch_sub(1) != 1) ++overlaps;
  }
  void visit(std::size_t submitter, int number) {
    visit();
    if (number <= last[submitter]) ++disorder;
    last[submitter] = number;
  }
};

// Threads from outside, workers, and coroutines bring work to strands that are small, so that workers wait for room and help (hazards 7, 10, 18).
void everybody(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random choose = c.generator(round * 100);
    worker_pool pool{{.threads = 1 + choose.below<std::size_t>(3), .queue_capacity = 64}};
    constexpr std::size_t strands = 2;
    resource shared[strands];
    std::atomic<int> accepted[strands] = {};
    {
      strand s[strands] = {strand{pool, {.capacity = 1 + choose.below<std::size_t>(4)}}, strand{pool, {.capacity = 40}}};
      penstock::task_group residents{pool};
      const auto resident = [&](std::size_t at, std::size_t other) -> task<> {
        for (int i = 0; i < 20; ++i) {
          co_await s[at].schedule();
          shared[at].visit();
          accepted[at].fetch_add(1);
          co_await s[other].schedule();
          shared[other].visit();
          accepted[other].fetch_add(1);
        }
      };
      const auto bring = [&](std::size_t submitter, stress::random random) {
        for (int i = 0; i < 60 && !c.failed(); ++i) {
          const std::size_t at = random.below(strands);
          const auto piece = [&shared, submitter, at, i] { shared[at].visit(submitter, i); };
          switch (random.below(5)) {
            case 0:
              if (s[at].try_post(piece)) accepted[at].fetch_add(1);
              break;
            case 1:
              if (s[at].post({.deadline = penstock::deadline::after(random.below(30) * 1us)}, piece)) accepted[at].fetch_add(1);
              break;
            case 2:
              s[at].submit(piece).get();
              accepted[at].fetch_add(1);
              break;
            case 3:
              if (random.one_in(4)) c.check(s[at].drain().has_value(), "drain failed");
              break;
            default:
              c.check(s[at].post(piece).has_value(), "a post failed");
              accepted[at].fetch_add(1);
          }
        }
      };
      residents.spawn(resident(0, 1));
      residents.spawn(resident(1, 0));
      std::vector<std::jthread> outside;
      for (std::size_t t = 0; t < 2; ++t)
        outside.emplace_back([&, t, random = c.generator(round * 100 + t + 1)] { bring(t, random); });
      std::vector<penstock::future<void>> inside;
      for (std::size_t t = 2; t < 4; ++t) {
        inside.push_back(pool.submit([&, t, random = c.generator(round * 100 + t + 1)] { bring(t, random); }));
      }
      for (auto& f : inside) f.get();
      outside.clear();
      residents.wait();
    }
    for (std::size_t i = 0; i < strands; ++i) {
      c.check(shared[i].overlaps == 0, "two pieces of one strand overlapped");
      c.check(shared[i].disorder == 0, "the order of a submitter was not kept");
      c.check(shared[i].visits == accepted[i], "a piece was lost, or ran twice");
    }
  }
}

// Strands come and go on workers and outside, with what is still queued in them, while others post and close (hazards 7, 8).
void build_and_destroy(stress::context& c) {
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    worker_pool pool{{.threads = 1 + round % 2}};
    const auto use = [&](stress::random random, bool on_worker) {
      int ran = 0;
      std::atomic<int> accepted{0};
      {
        strand s{pool, {.capacity = 2}};
        std::jthread other{[&, again = random.below(4)] {
          for (int i = 0; i < again; ++i) {
            // A worker that joins a thread is not there for that thread's room.
            if (on_worker ? s.try_post([&] { ++ran; }) : s.post([&] { ++ran; })) ++accepted;
          }
        }};
        if (random.one_in(2)) s.close();
        for (int i = random.below(6); i > 0; --i) {
          if (s.post([&] { ++ran; })) ++accepted;
        }
        other.join();
      }
      c.check(ran == accepted, "an accepted piece did not run before the strand was gone");
    };
    for (std::uint64_t i = 0; i < 20; ++i) {
      auto inside = pool.submit([&, random = c.generator(round * 100 + i)] { use(random, true); });
      use(c.generator(round * 100 + 50 + i), false);
      inside.get();
    }
  }
}

}  // namespace

int main() {
  stress::run run{"strand"};
  run.scenario("everybody (hazard-18, hazard-10)", 400ms, everybody);
  run.scenario("everybody, delays before each sleep", 200ms, [&](stress::context& c) {
    park_delay::enable(run.seed());
    everybody(c);
    park_delay::disable();
  });
  run.scenario("build and destroy (hazard-07)", 250ms, build_and_destroy);
  run.again_on_one_processor();
  return run.finish();
}
