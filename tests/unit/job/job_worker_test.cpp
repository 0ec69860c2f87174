#include <penstock/job/job_worker.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/task.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/semaphore.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/recording_tracer.hpp"

using namespace std::chrono_literals;
using penstock::backoff;
using penstock::errc;
using penstock::job;
using penstock::job_counts;
using penstock::job_outcome;
using penstock::job_queue;
using penstock::job_state;
using penstock::job_worker;
using penstock::job_worker_options;
using penstock::memory_store;
using penstock::result;
using penstock::task;

namespace {

// One type for all handlers that are functions, and one for all that are coroutines: few instantiations.
using handler = std::function<job_outcome(job<int>&)>;
using lazy_handler = std::function<task<job_outcome>(job<int>&)>;

[[gnu::noinline]] std::string error_of(penstock::future<void>& f) {
  try {
    f.get();
    return "none";
  } catch (const penstock::job_failed& e) {
    return std::string{"failed: "} + e.what();
  } catch (const std::system_error& e) {
    return e.code().message();
  }
}

/// A queue and its worker, which runs when the test says so, at the time that it says.
struct bench {
  explicit bench(handler h, job_worker_options o = {}) { start(std::move(h), std::move(o)); }
  explicit bench(lazy_handler h, job_worker_options o = {}) {
    worker.emplace(queue, loop, std::move(h), std::move(o)), loop.run_all();
  }
  ~bench() { stop(); }
  void start(handler h, job_worker_options o = {}) {
    worker.emplace(queue, loop, std::move(h), std::move(o));
    loop.run_all();
  }
  // The destructor waits for what only the loop brings about.
  void stop() {
    if (!worker) return;
    worker->request_stop();
    loop.run_all();
    worker.reset();
  }
  void pass(std::chrono::nanoseconds by) {
    clock.advance(by);
    loop.run_all();
  }
  job_counts counts() { return queue.counts().value(); }

  penstock::manual_clock clock;
  penstock::manual_executor loop;
  memory_store<int> store{};
  job_queue<int> queue{store, {.clock = clock}};
  std::optional<job_worker<int>> worker;
};

/// Blocks, as far as the worker knows, and fails when the test says so.
struct slow_store : memory_store<int> {
  static constexpr bool blocks = true;
  result<penstock::job_fetched> fetch(const penstock::fetch_request& r, std::span<penstock::job_settlement<lease_type>> first,
                                      std::vector<lease_type>& leases) {
    if (failing.exchange(false)) return std::make_error_code(std::errc::io_error);
    if (out_of_memory) throw std::bad_alloc{};
    if (const int n = throwing.exchange(0); n == 2) {
      throwing = 1;
      throw std::system_error{std::make_error_code(std::errc::io_error)};
    } else if (n == 1) {
      throw std::runtime_error{"there is no such zone"};
    }
    return memory_store<int>::fetch(r, first, leases);
  }
  std::atomic<bool> failing{false};
  std::atomic<int> throwing{0};
  std::atomic<bool> out_of_memory{false};  // which fetching needs, but not settling
};

/// Has no step for cancelling, as a server.
struct plain_store {
  result<penstock::job_info> find(const penstock::job_id& id) { return of.find(id); }
  result<void> remove(const penstock::job_id& id) { return of.remove(id); }
  memory_store<int>& of;
};

}  // namespace

TEST_CASE("job_worker: runs what is added, and settles it as the handler says", "[job_worker]") {
  std::vector<int> ran;
  bench b{handler{[&](job<int>& j) {
    ran.push_back(j.payload());
    if (j.payload() == 2) throw std::runtime_error{"bad"};
    if (j.payload() == 3) return job_outcome::unrecoverable("hopeless");
    if (j.payload() == 4) throw penstock::job_error{job_outcome::unrecoverable("gone")};
    if (j.payload() == 5) throw 5;
    return job_outcome::done();
  }}};
  std::vector<penstock::submitted_job<>> jobs;
  for (int i = 1; i <= 5; ++i) jobs.push_back(b.queue.submit(i, {.attempts = i == 3 || i == 4 ? 9U : 1U}).value());
  jobs.push_back(b.queue.submit(6, {.delay = 1h}).value());
  b.loop.run_all();
  CHECK(ran == std::vector<int>{1, 2, 3, 4, 5});
  b.queue.remove(jobs[5].id).value();
  std::string errors;
  for (auto& j : jobs) errors += error_of(j.finished) + "; ";
  CHECK(errors ==
        "none; failed: bad; failed: hopeless; failed: gone; failed: an exception that is no std::exception; cancelled; ");
  const auto s = b.worker->stats();
  CHECK(s.completed + 10 * s.failed + 100 * s.running + 1000 * s.lost == 41);
  CHECK(b.counts().failed == 4);
}

TEST_CASE("job_worker: tries again after the backoff, and not more often than the job says", "[job_worker]") {
  std::vector<unsigned> attempts;
  bench b{handler{[&](job<int>& j) {
    attempts.push_back(j.attempt());
    if (j.payload() == 7 && j.attempt() == 1) return job_outcome::retry_after(1min);
    return j.payload() == 1 && j.attempt() == 2 ? job_outcome::done() : job_outcome::failed("no");
  }}};
  b.queue.add(1, {.attempts = 2}).value();  // at once
  b.loop.run_all();
  CHECK(attempts == std::vector<unsigned>{1, 2});
  attempts.clear();
  auto dead = b.queue.submit(2, {.attempts = 3, .backoff = backoff::exponential(1s, 10s)}).value();
  b.loop.run_all();
  CHECK(attempts.size() == 1);
  b.pass(1s - 1ns);
  CHECK(attempts.size() == 1);
  b.pass(1ns);
  CHECK(attempts.size() == 2);
  b.pass(2s - 1ns);
  CHECK_FALSE(dead.finished.is_ready());
  b.pass(1ns);
  CHECK(attempts == std::vector<unsigned>{1, 2, 3});
  CHECK(error_of(dead.finished) == "failed: no");
  // A delayed job, too, runs when it is due and nobody adds anything; and the handler may say itself how long to wait.
  attempts.clear();
  b.queue.add(7, {.attempts = 2, .delay = 5s}).value();
  b.loop.run_all();
  b.pass(5s);
  CHECK(attempts.size() == 1);
  b.pass(1min - 1ns);
  CHECK(attempts.size() == 1);
  b.pass(1ns);
  CHECK(attempts.size() == 2);
  // Jitter keeps workers apart that nobody has told from each other, though the fences of their jobs are the same.
  const auto drawn = [](std::uint64_t seed) {
    bench alone{handler{[](job<int>&) { return job_outcome::failed("no"); }}, {.seed = seed}};
    const auto id =
        alone.queue.add(1, {.attempts = 2, .backoff = backoff::fixed(24h).with_jitter(penstock::jitter::full)}).value();
    alone.loop.run_all();
    return alone.queue.find(id).value().due_at;
  };
  CHECK(drawn(0) != drawn(0));
  CHECK(drawn(7) == drawn(7));
}

TEST_CASE("job_worker: renews leases however long a job takes, and takes back what others have lost", "[job_worker][hazard-32]") {
  penstock::event go_on;
  std::vector<std::string> said;
  bench b{lazy_handler{[&](job<int>& j) -> task<job_outcome> {
            const auto number = std::to_string(j.payload());
            auto wait = go_on.async_wait();
            const auto r = co_await std::move(wait);
            said.push_back(number + (r ? " went on" : " was stopped"));
            co_return job_outcome::done();
          }},
          {.lock_duration = 10s, .stalled_interval = 4s}};
  b.queue.add(1).value();
  b.loop.run_all();
  b.pass(1h);
  CHECK(said.empty());
  CHECK(b.counts().active == 1);
  // Another worker's, which has gone silent. It is not to be run more often than it may stall.
  std::vector<penstock::memory_lease<int>> leases;
  b.queue.add(2).value();
  for (int i = 0; i < 2; ++i) {
    b.store.fetch({.now = b.queue.now(), .lease_until = b.queue.now() + 4s}, {}, leases).value();
    b.pass(8s);
  }
  CHECK(b.counts().failed == 1);
  leases.clear();
  // Taken away: stop is requested at the next renewal, and what the run gives does not count.
  b.store.obliterate(true).value();
  b.pass(5s);
  CHECK(said == std::vector<std::string>{"1 was stopped"});
  CHECK(b.worker->stats().lost == 1);
  // The time of one is limited: what it gives all the same counts.
  auto late = b.queue.submit(3, {.timeout = 3s}).value();
  b.loop.run_all();
  b.pass(3s - 1ns);
  CHECK_FALSE(late.finished.is_ready());
  b.pass(1ns);
  CHECK(error_of(late.finished) == "none");
  CHECK(said.back() == "3 was stopped");
}

TEST_CASE("job_worker: a handler that blocks does not hold up the leases", "[job_worker][hazard-32]") {
  bench* here = nullptr;
  std::vector<bool> leased;
  bench b{handler{[&](job<int>& j) {
            for (int i = 0; i < 3; ++i) {  // time passes inside it, on the thread that has fetched it
              here->clock.advance(8s);
              leased.push_back(here->queue.find(j.id()).value().leased_until > here->queue.now());
            }
            return job_outcome::done();
          }},
          {.lock_duration = 10s, .stalled_interval = 1s}};
  here = &b;
  b.queue.add(1, {.delay = 1s}).value();
  b.queue.add(2).value();
  b.loop.run_all();
  CHECK(leased == std::vector<bool>(6, true));
  CHECK(b.worker->stats().completed == 2);
}

TEST_CASE("job_worker: a registry sees how much of it is in use and, with metrics, how long jobs waited and handlers ran",
          "[job_worker][registry]") {
  penstock::event go_on;
  bench b{lazy_handler{[&](job<int>& j) -> task<job_outcome> {
            auto wait = go_on.async_wait();
            static_cast<void>(co_await std::move(wait));
            co_return j.payload() == 1 ? job_outcome::failed("no") : job_outcome::done();
          }},
          {.concurrency = 4, .metrics = true}};
  penstock::registry all{{.clock = b.clock}};
  const auto joined = all.join("mail", *b.worker);
  b.queue.add(1).value();
  b.queue.add(2).value();
  const auto empty = all.snapshot();
  b.loop.run_all();
  const auto before = all.snapshot();
  CHECK(before.since(empty).find("mail")->values("queue_wait_seconds")->count() == 2);
  b.pass(4s);
  const auto half = all.snapshot().since(before);
  CHECK(half.find("mail")->utilization() == 0.5);
  CHECK(half.find("mail")->values("run_seconds")->count() == 0);  // none has ended
  go_on.set();
  b.loop.run_all();
  const auto interval = all.snapshot().since(before);
  const auto* const times = interval.find("mail")->values("run_seconds");
  CHECK(times->count() == 2);  // also of what failed
  CHECK(times->quantile(0.5) >= 4'000'000'000U);
  CHECK(times->quantile(0.5) < 4'100'000'000U);
  CHECK(interval.find("mail")->run_law().rate == 0.5);

  bench plain{handler{[](job<int>&) { return job_outcome::done(); }}};
  plain.queue.add(1).value();
  plain.loop.run_all();
  CHECK(plain.worker->stats().concurrency == 1);
  CHECK_FALSE(plain.worker->stats().run_time);
  CHECK_FALSE(plain.worker->stats().queue_wait);
}

TEST_CASE("job_worker: a job's wait is counted from when it was due to when its handler begins, for each run",
          "[job_worker][registry]") {
  bench b{handler{[&](job<int>& j) {
            b.clock.advance(j.payload() * 1s);
            if (j.payload() == 3) return job_outcome::failed("no");
            return j.payload() == 2 && j.attempt() == 1 ? job_outcome::retry_after(3s) : job_outcome::done();
          }},
          {.batch = 2, .metrics = true}};
  penstock::registry all{{.clock = b.clock}};
  const auto joined = all.join("queue", b.queue);
  const auto head_wait = [&] { return all.snapshot().find("queue")->total("head_wait_seconds"); };
  const auto waits = [&] { return b.worker->stats().queue_wait.value(); };
  CHECK(head_wait() == 0);
  b.queue.add(1, {.delay = 5s}).value();
  b.clock.advance(4s);
  CHECK(head_wait() == 0);  // it is not due yet
  b.clock.advance(3s);
  CHECK(head_wait() == 2);  // it is, and nobody has come
  b.queue.add(2, {.attempts = 2, .priority = 1}).value();
  b.loop.run_all();
  // The first one has waited for 2 s, the other one for 1 s: behind the first of its batch.
  CHECK(waits().count() == 2);
  CHECK(waits().max() == 2'000'000'000U);
  CHECK(waits().min() == 1'000'000'000U);
  CHECK(head_wait() == 0);
  b.clock.advance(9s);
  CHECK(head_wait() == 6);
  b.loop.run_all();
  CHECK(waits().count() == 3);  // a further attempt waits anew, since it is due
  CHECK(waits().max() == 6'000'000'000U);
  // Of one that was redriven nobody knows since when it was due: it is not counted, and no wait is told of the queue.
  const auto dead = b.queue.add(3).value();
  b.loop.run_all();
  CHECK(waits().count() == 4);
  b.queue.redrive(dead).value();
  CHECK(all.snapshot().find("queue")->find("head_wait_seconds") == nullptr);
  b.loop.run_all();
  CHECK(b.worker->stats().failed == 2);
  CHECK(waits().count() == 4);
}

TEST_CASE("job_worker: its end waits for what runs, and hands back what has not begun or takes too long", "[job_worker]") {
  penstock::event go_on;
  int stopped = 0;
  bench b{lazy_handler{[&](job<int>& j) -> task<job_outcome> {
            if (j.payload() == 9) co_return job_outcome::done();  // the next one of its batch runs
            const std::stop_token mine = j.get_stop_token();
            auto wait = go_on.async_wait();
            const auto r = co_await std::move(wait);
            if (!r && mine.stop_requested()) ++stopped;
            co_return job_outcome::done();
          }},
          {.concurrency = 4, .batch = 2}};
  std::vector<int> payloads{9, 2, 3, 4, 5};
  const std::vector<penstock::job_id> ids = b.queue.add_bulk(payloads).value();
  b.loop.run_all();
  CHECK(b.worker->stats().running == 3);
  CHECK(b.counts().active == 5);
  SECTION("in time") {
    CHECK(b.worker->shutdown({.deadline = penstock::deadline::after(0s, b.clock)}).error() == errc::timeout);
    CHECK(b.counts().waiting == 4);  // others may run them, before these have ended; but not the one that has
    const auto back = b.queue.list(job_state::waiting).value();
    for (std::size_t i = 0; i < back.size(); ++i) CHECK(back[i].id == ids.at(i + 1));  // in their order
    CHECK(b.counts().active == 1);
    b.loop.run_all();
    CHECK(stopped == 3);
    CHECK(b.worker->stats().lost == 4);
    CHECK(b.worker->stats().completed == 1);
    CHECK(b.worker->shutdown());
  }
  SECTION("without haste") {
    std::jthread end{[&] { b.worker->shutdown().value(); }};
    while (b.loop.size() == 0) std::this_thread::yield();  // the one without work is told first
    go_on.set();
    b.loop.run_all();
    end.join();
    CHECK(stopped == 0);
    CHECK(b.worker->stats().completed == 4);
    CHECK(b.worker->stats().released == 1);
    CHECK(b.counts().active == 0);
  }
}

TEST_CASE("job_worker: cancels a job that runs, that it has fetched, or that nobody has begun", "[job_worker]") {
  penstock::event go_on;
  std::string ran;
  bench b{lazy_handler{[&](job<int>& j) -> task<job_outcome> {
            ran += std::to_string(j.payload());
            j.enqueue(99, {.delay = 1h}).value();
            auto wait = go_on.async_wait();
            const auto r = co_await std::move(wait);
            if (!r) ran += "!";
            if (j.payload() == 5) co_return job_outcome::rate_limited(1h);
            if (j.payload() == 6) throw std::runtime_error{"stopped"};
            co_return job_outcome::done(7);
          }},
          {.batch = 2}};
  std::vector<penstock::submitted_job<>> jobs;
  for (int i = 0; i < 4; ++i)
    jobs.push_back(b.queue.submit(i, {.attempts = 9, .priority = static_cast<std::uint32_t>(i)}).value());
  const auto cancel = [&b](const penstock::job_id& id, std::string_view why = "cancelled") {
    const result<void> r = b.worker->cancel(id, why);
    return r ? std::string{"ok"} : r.error().message();
  };
  const auto text = [](errc e) { return make_error_code(e).message(); };
  b.loop.run_all();  // 0 runs, 1 is behind it, 2 and 3 wait
  std::string said = cancel(jobs[1].id);
  said += cancel(jobs[0].id, "no more");
  said += cancel(jobs[0].id);
  said += cancel(jobs[2].id);
  CHECK(said == "okokokok");
  CHECK(b.counts().active == 2);
  CHECK(error_of(jobs[2].finished) == "cancelled");  // it was removed
  b.loop.run_all();
  CHECK(ran == "0!3");
  CHECK(error_of(jobs[0].finished) + "|" + error_of(jobs[1].finished) == "failed: no more|failed: cancelled");
  const auto first = b.queue.find(jobs[0].id).value();
  CHECK((first.attempts_made == 1 && first.value == nullptr));
  CHECK(b.worker->stats().failed == 2);
  CHECK(cancel(jobs[0].id) + cancel(jobs[2].id) == text(errc::stale) + text(errc::not_found));
  go_on.set();
  b.loop.run_all();
  CHECK(cancel(jobs[3].id) == text(errc::stale));
  CHECK(b.counts().delayed == 1);  // of the one that has completed
  // Another worker's.
  std::vector<penstock::memory_lease<int>> leases;
  b.queue.pause().value();
  const penstock::job_id others = b.queue.add(4).value();
  b.queue.resume().value();
  b.store.fetch({.now = b.queue.now(), .lease_until = b.queue.now() + 9h}, {}, leases).value();
  CHECK(cancel(others) == text(errc::busy));
  // At the end of the worker it is not handed back, whatever its handler ends with; and how long that one wants to be left alone counts.
  go_on.reset();
  std::vector<int> two{5, 6};
  std::vector<penstock::job_id> ids = b.queue.add_bulk(two, {.attempts = 2}).value();
  b.loop.run_all();
  CHECK(cancel(ids[0]) == "ok");
  b.loop.run_all();
  CHECK(ran == "0!35!");
  CHECK(b.counts().waiting == 1);
  b.pass(1h);
  const penstock::job_id named = b.queue.add(8, {.job_id = "eight"}).value();
  b.loop.run_all();
  CHECK(ran == "0!35!6");
  CHECK(cancel(ids[1]) == "ok");
  b.worker->request_stop();
  CHECK(cancel(penstock::job_id{"eight"}) == "ok");
  b.loop.run_all();
  CHECK(ran == "0!35!6!");
  CHECK(*b.queue.find(ids[1]).value().why == "cancelled");
  CHECK(b.queue.find(named).error() == errc::not_found);
  leases.clear();
  // In a store that has no step for it.
  plain_store plain{b.store};
  CHECK(penstock::detail::cancel_in(plain, ids[1]).error() == errc::stale);
  const penstock::job_id last = b.queue.add(9).value();
  CHECK(penstock::detail::cancel_in(plain, last));
  CHECK(penstock::detail::cancel_in(plain, last).error() == errc::not_found);
}

TEST_CASE("job_worker: keeps the pace, and the peace of who asks for it", "[job_worker]") {
  penstock::semaphore turns{1};
  int ran = 0;
  job_worker_options o{.concurrency = 2, .batch = 3, .pace = penstock::paced_by(turns)};
  bench b{handler{[&](job<int>& j) {
            ++ran;
            CHECK(turns.available() == 0);
            return j.payload() == 9 && ran < 4 ? job_outcome::rate_limited(1min) : job_outcome::done();
          }},
          std::move(o)};
  std::vector<int> payloads{1, 2, 9, 4};
  b.queue.add_bulk(payloads).value();
  b.loop.run_all();
  CHECK(ran == 3);
  CHECK(turns.available() == 1);
  CHECK(b.counts().delayed == 1);  // it is no attempt; and the one behind it waits, too
  CHECK(b.counts().waiting == 1);
  b.queue.add(5).value();
  b.loop.run_all();
  b.pass(1min - 1ns);
  CHECK(ran == 3);
  b.pass(1ns);
  CHECK(ran == 6);
  CHECK(b.worker->stats().completed == 5);
  turns.close();  // no pace to keep any more: a job is not fetched and handed back without end
  b.queue.add(6).value();
  b.loop.run_all();
  CHECK(b.worker->stats().released < 9);
  CHECK(b.counts().waiting == 1);
  // What was fetched with one that hurries nobody is handed back in its order.
  std::string order;
  bench orderly{handler{[&](job<int>& j) {
                  order += std::to_string(j.payload());
                  return order == "9" ? job_outcome::rate_limited(1min) : job_outcome::done();
                }},
                {.batch = 4}};
  std::vector<int> four{9, 1, 2, 3};
  orderly.queue.add_bulk(four).value();
  orderly.loop.run_all();
  orderly.pass(1min);
  CHECK(order == "91239");
}

TEST_CASE("job_worker: a store that blocks has a thread for its leases, and one that fails is asked again", "[job_worker]") {
  slow_store store;
  job_queue<int, slow_store> queue{store};
  penstock::event failed, ran, ran_last;
  std::atomic<std::size_t> errors{0};
  std::string said;  // first, by the only runner
  const auto handle = [&](job<int>& j) {
    store.out_of_memory = j.payload() == 2;
    (j.payload() == 2 ? ran_last : ran).set();
  };
  store.failing = true;
  {
    job_worker w{queue,
                 penstock::any_scheduler{},
                 handle,
                 {.lock_duration = 1ms, .stalled_interval = 1ms, .error_pause = 1ms, .on_store_error = [&](std::error_code) {
                    ++errors, failed.set();
                  }}};
    failed.wait();
    queue.add(1).value();
    ran.wait();
    CHECK(w.stats().store_errors == 1);
  }
  CHECK(errors == 1);
  CHECK(queue.counts().value().completed == 1);
  store.throwing = 2;
  {
    job_worker w{queue,
                 penstock::any_scheduler{},
                 handle,
                 {.error_pause = 1ms, .on_store_error = [&](const penstock::job_store_failure& f) {
                    if (said.size() < 80) said += f.what() + (f.code == errc::exception ? "!" : "; " + f.code.message() + "!");
                  }}};
    queue.add(2).value();
    ran_last.wait();
  }
  const auto text = [](std::errc e) { return std::make_error_code(e).message(); };
  CHECK(said == text(std::errc::io_error) + "; " + text(std::errc::io_error) + "!there is no such zone!" +
                    std::bad_alloc{}.what() + "; " + text(std::errc::not_enough_memory) + "!");
  CHECK(queue.counts().value().completed == 2);  // though nothing could be fetched any more
  CHECK_THROWS_AS((job_worker{queue, penstock::any_scheduler{}, handle, {.concurrency = 0}}), std::invalid_argument);
  CHECK_THROWS_AS((job_worker{queue, penstock::any_scheduler{}, handle, {.lock_duration = 1ms - 1ns}}), std::invalid_argument);
}

TEST_CASE("job_worker: the span of a run has the one in which the job was added as its parent, and says how it ended",
          "[job_worker][trace]") {
  using kind = trace_testing::told::kind;
  trace_testing::recording_tracer t;
  const penstock::trace_session session{t};
  std::vector<std::uint64_t> seen;
  const handler run = [&](job<int>& j) {
    seen.push_back(penstock::current_trace().span);
    if (j.payload() == 1) j.enqueue(3).value();
    if (j.payload() == 2) throw std::runtime_error{"two"};
    return j.payload() == 3 ? job_outcome::failed("three") : job_outcome::done();
  };
  bench b{run};
  b.stop();
  {
    const penstock::trace_scope here{trace_testing::span_of(3)};
    b.queue.add(1, {.name = "one"}).value();
    b.queue.add(2).value();
    b.queue.add(4, {.trace = trace_testing::span_of(4)}).value();
  }
  const penstock::trace_scope maker{trace_testing::span_of(99)};  // is nobody's parent
  b.start(run);
  const auto begun = t.all(kind::started);
  const auto ended = t.all(kind::finished);
  REQUIRE((begun.size() == 4 && ended.size() == 4 && seen.size() == 4));
  CHECK((begun[0].parent == 3 && begun[0].name == "one" && begun[0].of == penstock::traced::job && begun[0].context == seen[0]));
  CHECK((begun[1].parent == 3 && begun[2].parent == 4));
  CHECK((begun[3].parent == seen[0] && begun[3].context == seen[3]));  // added by the first one
  CHECK((ended[0].how == penstock::trace_outcome::completed && ended[2].how == penstock::trace_outcome::completed));
  CHECK((ended[1].how == penstock::trace_outcome::failed && ended[1].why == "two"));
  CHECK((ended[3].how == penstock::trace_outcome::failed && ended[3].why.empty()));
  CHECK(penstock::current_trace().span == 99);
}

TEST_CASE("job_worker: runs what schedules say is due, when it is due", "[job_worker][job_schedule]") {
  std::string ran;
  bench b{handler{[&](job<int>& j) {
    ran += std::to_string(j.payload());
    return job_outcome::done();
  }}};
  b.queue.schedule({.id = "daily", .when = "30 1 * * *"}, 1).value();  // the clock begins an hour after its epoch
  b.queue.schedule({.id = "often", .every = 20min}, 2).value();
  const auto pass = [&](std::chrono::nanoseconds by) {
    b.pass(by);
    return std::exchange(ran, {});
  };
  std::string all = pass(0s);
  for (const auto by : {19min, 1min, 10min, 9min, 1min}) all += "|" + pass(by);
  CHECK(all == "2||2|1||2");
  CHECK(b.queue.unschedule("often").has_value());
  CHECK(pass(24h) == "1");
  CHECK(b.queue.schedules().value().at(0).made == 2);
  // Two at a time of a group, whoever runs them.
  b.queue.set_group("g", {.max = 2, .duration = 10s}).value();
  for (const int p : {3, 4, 5}) b.queue.add(p, {.group = "g"}).value();
  all = pass(0s);
  for (const auto by : {9s, 1s}) all += "|" + pass(by);
  CHECK(all == "34||5");
  CHECK(b.queue.groups().value().at(0).waiting == 0);
  job_queue<int> steady{b.store};
  CHECK_THROWS_AS(steady.schedule({.id = "x", .when = "@daily"}, 1), std::invalid_argument);
}
