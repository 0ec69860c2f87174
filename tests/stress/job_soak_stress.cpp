// Jobs at half of what the workers can do, for as long as the tier says (10 minutes in the long one), while workers are killed and replaced, and
// somebody fetches jobs and goes silent: nothing is lost or done twice under leases that count, and after a while memory grows no more.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using queue_type = penstock::job_queue<int>;
using worker_type = penstock::job_worker<int>;

/// Bytes; 0 if it is not known.
std::size_t resident() {
  std::size_t pages = 0;
  std::ifstream{"/proc/self/statm"} >> pages >> pages;  // the second one
  return pages * 4096;
}

struct shop {
  penstock::worker_pool pool{{.threads = 2}};
  penstock::memory_store<int> store{{.capacity = 20'000, .keep_completed = {.count = 100}, .keep_failed = {.count = 100}}};
  queue_type queue{store};
  std::uint64_t ended = 0;  // of the workers that are gone
  std::uint64_t lost = 0;
  std::array<std::unique_ptr<worker_type>, 3> workers;

  void hire(std::size_t i, stress::random& random) {
    const auto handle = [](penstock::job<int>& j) {
      if (j.payload() % 64 == 0 && j.attempt() == 1) return penstock::job_outcome::failed("at first");
      if (j.payload() % 1024 == 1) return penstock::job_outcome::unrecoverable("always");
      if (j.payload() % 512 == 2) static_cast<void>(j.log("a line"));
      return penstock::job_outcome::done();
    };
    workers[i] = std::make_unique<worker_type>(queue, pool, handle,
                                               penstock::job_worker_options{.concurrency = 1 + random.below<std::size_t>(2),
                                                                            .batch = 1 + random.below<std::size_t>(16),
                                                                            .lock_duration = 20ms,
                                                                            .stalled_interval = 5ms,
                                                                            .max_stalled = 1'000'000});
  }
  void dismiss(std::size_t i, bool at_once) {
    if (at_once) workers[i]->request_stop();
    static_cast<void>(workers[i]->shutdown());
    const auto s = workers[i]->stats();
    ended += s.completed + s.failed;
    lost += s.lost;
    workers[i].reset();
  }
  void add(std::uint64_t n) {
    const int payload = static_cast<int>(n % 1'000'000);
    penstock::enqueue_options o{.attempts = 2, .priority = static_cast<std::uint32_t>(n % 4 == 0)};
    if (n % 8 == 3) o.delay = 1ms;
    if (n % 16 == 5) o.job_id = "job " + std::to_string(n);
    queue.add(payload, o).value();
  }
};

void soak(stress::context& c, std::chrono::milliseconds share) {
  shop s;
  stress::random random = c.generator(1);
  for (std::size_t i = 0; i < s.workers.size(); ++i) s.hire(i, random);
  std::uint64_t added = 0;
  penstock::event never;

  // What they can do: adding waits for room, so this is what is added in the long run.
  const auto begin = clock_type::now();
  const auto measure = std::min<std::chrono::milliseconds>(share / 8, 2s);
  while (clock_type::now() - begin < measure) s.add(added++);
  const double rate = static_cast<double>(added) / std::chrono::duration<double>(clock_type::now() - begin).count() / 2;

  std::atomic<bool> over{false};
  std::uint64_t kills = 0;
  std::uint64_t silent = 0;
  std::size_t settled_memory = 0;
  std::size_t most_memory = 0;
  {
    std::jthread killer{[&, mine = c.generator(2)]() mutable {
      while (!over) {
        static_cast<void>(never.try_wait_for(std::chrono::milliseconds{1 + mine.below(20)}));
        const auto i = mine.below<std::size_t>(s.workers.size());
        s.dismiss(i, mine.one_in(2));
        s.hire(i, mine);
        ++kills;
      }
    }};
    std::jthread deserter{[&, mine = c.generator(3)]() mutable {
      while (!over) {
        static_cast<void>(never.try_wait_for(std::chrono::milliseconds{1 + mine.below(10)}));
        std::vector<penstock::memory_lease<int>> leases;
        const penstock::job_time now = s.queue.now();
        static_cast<void>(s.store.fetch({.most = 3, .now = now, .lease_until = now + 2ms}, {}, leases));
        silent += leases.size();
      }
    }};
    const auto start = clock_type::now();
    std::uint64_t paced = 0;
    while (c.time_left()) {
      const auto now = clock_type::now();
      const auto wanted = static_cast<std::uint64_t>(rate * std::chrono::duration<double>(now - start).count());
      for (; paced < wanted; ++paced) s.add(added++);
      const std::size_t memory = resident();
      (now - begin < share / 3 ? settled_memory : most_memory) =
          std::max(now - begin < share / 3 ? settled_memory : most_memory, memory);
      static_cast<void>(never.try_wait_for(1ms));
    }
    over = true;
  }
  for (auto left = s.queue.counts().value(); left.waiting + left.delayed + left.active != 0; left = s.queue.counts().value()) {
    static_cast<void>(never.try_wait_for(1ms));
  }
  for (std::size_t i = 0; i < s.workers.size(); ++i) s.dismiss(i, false);
  c.check(s.ended == added, "a job is lost, or has two ends");
  c.check(kills > 0 && silent > 0, "nobody was killed");
  // Under the sanitizers memory that was freed is kept for a while.
  const std::size_t allowed = settled_memory + settled_memory / 20 + (std::size_t{4} << 20);
  c.check(stress::sanitized || most_memory <= allowed, "memory grows");
  std::printf(
      "stress %s: %llu jobs at %.0f a second, half of what they can do; %llu workers killed, %llu jobs deserted, %llu runs lost; "
      "%zu, then %zu KiB\n",
      c.name().c_str(), static_cast<unsigned long long>(added), rate, static_cast<unsigned long long>(kills),
      static_cast<unsigned long long>(silent), static_cast<unsigned long long>(s.lost), settled_memory >> 10, most_memory >> 10);
}

}  // namespace

int main() {
  stress::run run{"job_soak"};
  const auto quick = stress::current_tier() == stress::tier::long_ ? 6000ms : 500ms;
  run.scenario("half of capacity, with kills (hazard-32)", quick,
               [&](stress::context& c) { soak(c, stress::current_tier() == stress::tier::long_ ? quick * 100 : quick); });
  return run.finish();
}
