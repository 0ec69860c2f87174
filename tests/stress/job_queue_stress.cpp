// Producers, workers that come and go, handlers that fail, a consumer that stands still past its leases, and somebody who pauses and looks: each job has
// exactly one end, and who waits for it learns which; what is settled under leases that count adds up to that.
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/task.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/sync/event.hpp>

#include "support/park_delay.hpp"
#include "support/stress.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::job;
using penstock::job_outcome;

constexpr int producers = 2;
constexpr int each = 60;
constexpr int jobs = producers * each;

struct ledger {
  std::array<std::atomic<int>, jobs> runs{};
};
using queue_type = penstock::job_queue<int>;
using worker_type = penstock::job_worker<int>;

/// One in seven never succeeds; others fail now and then, but not when it would be the last time.
job_outcome run(ledger& l, job<int>& j, unsigned attempts) {
  const int n = ++l.runs[static_cast<std::size_t>(j.payload())];
  if (j.payload() % 7 == 0) return job_outcome::failed("always");
  if (n % 3 == 1 && j.attempt() < attempts) throw std::runtime_error{"now and then"};
  if (n % 5 == 4) return job_outcome::rate_limited(50us);
  return job_outcome::done();
}

void everybody(stress::context& c) {
  penstock::worker_pool pool{{.threads = 2}};
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round * 10);
    ledger l;
    penstock::memory_store<int> store{{.capacity = 24, .keep_completed = {.count = 10}, .keep_failed = {.count = 1000}}};
    queue_type queue{store};
    std::array<penstock::future<void>, jobs> ends;
    std::atomic<bool> over{false};
    std::atomic<int> adding{producers};
    std::atomic<std::uint64_t> settled_elsewhere{0};
    std::uint64_t completed = 0;
    const auto options = [&] {
      return penstock::job_worker_options{.concurrency = 1 + random.below<std::size_t>(3),
                                          .batch = 1 + random.below<std::size_t>(6),
                                          .lock_duration = 3ms,
                                          .stalled_interval = 1ms,
                                          .max_stalled = 1'000'000,
                                          .settle_within = random.below(100) * 1us};
    };
    const auto plain = [&](job<int>& j) { return run(l, j, 3); };
    const auto lazy = [&](job<int>& j) -> penstock::task<job_outcome> {
      auto turn = pool.schedule();
      co_await turn;
      co_return run(l, j, 3);
    };
    {
      std::optional<worker_type> steady;
      steady.emplace(queue, pool, plain, options());
      stress::start_line start{producers + 2};
      std::vector<std::jthread> threads;
      for (int p = 0; p < producers; ++p) {
        threads.emplace_back([&, p, mine = c.generator(round * 10 + 1 + static_cast<std::uint64_t>(p))]() mutable {
          start.wait();
          for (int i = p * each; i < (p + 1) * each; ++i) {
            const penstock::enqueue_options o{.attempts = 3,
                                              .backoff = penstock::backoff::fixed(mine.below(100) * 1us),
                                              .priority = mine.below(3U),
                                              .delay = mine.one_in(3) ? mine.below(200) * 1us : 0us,
                                              .lifo = mine.one_in(4)};
            ends[static_cast<std::size_t>(i)] = queue.submit(i, o).value().finished;
          }
          --adding;
        });
      }
      threads.emplace_back([&] {  // stands still past its leases, or settles late
        start.wait();
        while (!over) {
          std::vector<penstock::memory_lease<int>> leases;
          static_cast<void>(store.fetch({.most = 2, .now = queue.now(), .lease_until = queue.now() + 500us}, {}, leases));
          std::this_thread::sleep_for(300us);
          if (leases.size() != 2 || leases[0].payload() % 7 == 0) continue;
          penstock::job_settlement<penstock::memory_lease<int>> s{.lease = &leases[0]};
          static_cast<void>(store.settle({&s, 1}, queue.now()));
          if (!s.stale) ++settled_elsewhere;
        }
      });
      start.wait();
      while (true) {
        std::optional<worker_type> passing;
        passing.emplace(queue, pool, lazy, options());
        for (auto i = random.below<std::uint64_t>(40); i > 0; --i) {
          if (i % 16 == 3) static_cast<void>(queue.pause());
          std::this_thread::yield();
          if (i % 16 == 1) static_cast<void>(queue.resume());
        }
        static_cast<void>(queue.resume());
        if (random.one_in(2))
          static_cast<void>(passing->shutdown({.deadline = penstock::deadline::after(random.below(300) * 1us)}));
        const bool all_added = adding == 0;  // looked at first
        const auto counts = queue.counts().value();
        const bool last = all_added && counts.waiting + counts.delayed + counts.active == 0;
        if (last) over = true;
        passing->request_stop();
        // Its runners settle what they have run before they end: then its account is final.
        c.check(passing->shutdown().has_value(), "shut down");
        completed += passing->stats().completed;
        passing.reset();
        if (last) break;
      }
      threads.clear();
      int wrong = 0;
      for (int i = 0; i < jobs; ++i) {
        try {
          ends[static_cast<std::size_t>(i)].get();
          if (i % 7 == 0) ++wrong;
        } catch (const penstock::job_failed&) {
          if (i % 7 != 0) ++wrong;
        }
        if (l.runs[static_cast<std::size_t>(i)] == 0 && settled_elsewhere == 0) ++wrong;
      }
      c.check(wrong == 0, "a job ended otherwise than it should");
      c.check(steady->shutdown().has_value(), "shut down");
      const auto s = steady->stats();
      completed += s.completed;
    }
    const auto counts = queue.counts().value();
    c.check(counts.waiting + counts.delayed + counts.active == 0, "something is left");
    c.check(counts.failed == (jobs + 6) / 7, "dead letters are missing");
    c.check(completed + settled_elsewhere == jobs - counts.failed, "a job was completed twice, or never");
  }
}

/// Blocks, as far as workers know, so that their runs share calls; one call in thirty fails, and nothing has changed then.
struct far_store : penstock::memory_store<int> {
  using base = penstock::memory_store<int>;
  static constexpr bool blocks = true;
  far_store() : base{{.keep_completed = {.count = 10}}} {}
  penstock::result<penstock::job_fetched> fetch(const penstock::fetch_request& r,
                                                std::span<penstock::job_settlement<lease_type>> first,
                                                std::vector<lease_type>& leases) {
    const int n = ++calls;
    if (fails && n % 30 == 7) return std::make_error_code(std::errc::io_error);
    if (n % 4 == 0) std::this_thread::yield();
    return base::fetch(r, first, leases);
  }
  std::atomic<int> calls{0};
  std::atomic<bool> fails{true};
};
using far_queue = penstock::job_queue<int, far_store>;
using far_worker = penstock::job_worker<int, far_store>;
const auto nothing = [](job<int>&) {};

// Workers whose runs share calls come and go: each job is completed once.
void shared_calls(stress::context& c) {
  penstock::worker_pool pool{{.threads = 2}};
  stress::random random = c.generator(77);
  while (c.time_left() && !c.failed()) {
    far_store store;
    far_queue queue{store};
    std::atomic<std::uint64_t> ended{0};
    std::uint64_t completed = 0;
    {
      std::jthread producer{[&] {
        for (int i = 0; i < jobs; ++i) queue.add(i, {.delay = i % 8 == 0 ? 50us : 0us}).value();
        for (int i = 0; i < jobs; i += 8) {
          std::vector<int> some(8, i);
          queue.put_bulk(some).value();
        }
        ++ended;
      }};
      for (bool last = false; !last;) {
        far_worker passing{queue,
                           pool,
                           nothing,
                           {.concurrency = 2 + random.below<std::size_t>(6),
                            .batch = 1 + random.below<std::size_t>(2),
                            .lock_duration = 3ms,
                            .stalled_interval = 1ms,
                            .max_stalled = 1'000'000,
                            .error_pause = 100us}};
        for (auto i = random.below<std::uint64_t>(60); i > 0; --i) std::this_thread::yield();
        const bool all_added = ended != 0;  // looked at first
        const auto counts = queue.counts().value();
        last = all_added && counts.waiting + counts.delayed + counts.active == 0;
        if (random.one_in(2)) passing.request_stop();
        c.check(passing.shutdown().has_value(), "shut down");
        completed += passing.stats().completed;
      }
    }
    c.check(completed == 2 * jobs, "a job was completed twice, or never");
  }
}

// One job after the other: whoever goes to sleep just then must hear of it, and of delayed ones, too.
void one_by_one(stress::context& c) {
  penstock::worker_pool pool{{.threads = 2}};
  queue_type queue;
  const worker_type a{queue, pool, [](job<int>&) {}, {.concurrency = 2}};
  const worker_type b{queue, pool, [](job<int>&) {}, {.batch = 3}};
  for (int i = 0; c.time_left(); ++i) {
    auto job = queue.submit(i, {.delay = i % 8 == 0 ? 100us : 0us}).value();
    job.finished.get();
  }
  c.check(queue.counts().value().active == 0, "something is left");
}
void one_by_one_shared(stress::context& c) {
  penstock::worker_pool pool{{.threads = 2}};
  far_store store;
  store.fails = false;
  far_queue queue{store};
  const far_worker a{queue, pool, nothing, {.concurrency = 3}};
  const far_worker b{queue, pool, nothing, {.concurrency = 2}};
  for (int i = 0; c.time_left(); ++i) {
    auto one = queue.submit(i, {.delay = i % 8 == 0 ? 100us : 0us}).value();
    auto two = queue.submit(i).value();
    one.finished.get();
    two.finished.get();
  }
}

// Whoever has cancelled a job, and was told so, can rely on it: it does not complete. Others do, however close somebody came to cancelling them.
void cancelled(stress::context& c) {
  penstock::worker_pool pool{{.threads = 2}};
  for (std::uint64_t round = 0; c.time_left() && !c.failed(); ++round) {
    stress::random random = c.generator(round);
    queue_type queue;
    penstock::event never;
    std::array<penstock::submitted_job<>, 24> all;
    std::array<bool, all.size()> promised{};
    worker_type w{queue,
                  pool,
                  [&never](job<int>& j) {
                    if (j.payload() % 4 == 0) static_cast<void>(never.wait(j.get_stop_token()));
                  },
                  {.concurrency = 1 + random.below<std::size_t>(2), .batch = 1 + random.below<std::size_t>(3)}};
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = queue.submit(static_cast<int>(i), {.attempts = 2}).value();
    const auto cancel = [&](std::size_t i) {
      penstock::result<void> r = w.cancel(all[i].id);
      while (!r && r.error() == penstock::errc::busy) {  // it is being fetched, or settled
        std::this_thread::yield();
        r = w.cancel(all[i].id);
      }
      promised[i] = r.has_value();
      c.check(r || (i % 4 != 0 && r.error() == penstock::errc::stale), "a job that is not over could not be cancelled");
    };
    // First those that do not end by themselves: what was run before one of them in its batch is settled behind it, and busy until then.
    for (std::size_t i = 0; i < all.size(); i += 4) cancel(i);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i % 4 != 0 && random.one_in(2)) cancel(i);
    }
    int wrong = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      bool completed = true;
      try {
        all[i].finished.get();
      } catch (const std::exception&) {
        completed = false;
      }
      if (completed == promised[i]) ++wrong;
    }
    c.check(wrong == 0, "a job that was cancelled has completed, or another one has not");
  }
}

}  // namespace

int main() {
  stress::run run{"job_queue"};
  run.scenario("everybody (hazard-32)", 250ms, everybody);
  run.scenario("shared calls (hazard-32)", 120ms, shared_calls);
  run.scenario("one by one", 80ms, one_by_one);
  run.scenario("cancelled", 80ms, cancelled);
  run.scenario("one by one, shared calls", 80ms, one_by_one_shared);
  run.scenario("delays before each sleep", 150ms, [&](stress::context& c) {
    park_delay::enable(run.seed());
    one_by_one(c);
    park_delay::disable();
  });
  run.scenario("delays before each sleep, shared calls", 100ms, [&](stress::context& c) {
    park_delay::enable(run.seed());
    one_by_one_shared(c);
    park_delay::disable();
  });
  run.again_on_one_processor();
  return run.finish();
}
