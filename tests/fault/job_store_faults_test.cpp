// Each call of a store fails once, and its answer is lost once, and then many at random, under a queue and two workers, of which one is stopped half
// way: each job has its end, none is completed twice under leases that count, none is run more often than its attempts allow, and nobody waits for
// ever.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/task.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../support/catch.hpp"
#include "../support/faulty_store.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::job;
using penstock::job_id;
using penstock::job_outcome;
using penstock::job_state;
using test_support::fault;

using store_type = test_support::faulty_store<penstock::memory_store<int>>;
using worker_type = penstock::job_worker<int, store_type>;
using handler = std::function<penstock::task<job_outcome>(job<int>&)>;

constexpr int jobs = 12;
std::string name_of(int payload) { return "job " + std::to_string(payload); }
// What each is to do, and how often it may be run.
constexpr unsigned attempts_of(int payload) { return payload % 4 == 3 ? 2 : 1; }
constexpr bool is_hopeless(int payload) { return payload == 7; }

struct account {
  std::string wrong;       // what is, if anything
  std::size_t calls = 0;   // of the store
  bool limited = false;    // one job was, by whom it calls
  int runs = 0;            // of handlers, all together
  std::uint64_t lost = 0;  // runs that did not count
};

penstock::task<job_outcome> handle(job<int>& j, penstock::event& go_on, account& a) {
  ++a.runs;
  const int payload = j.payload();
  if (j.attempt() > attempts_of(payload)) a.wrong += "; " + name_of(payload) + " is run too often";
  try {
    static_cast<void>(j.progress(0.5));
    static_cast<void>(j.log("begun"));
  } catch (const std::bad_alloc&) {
  }
  if (payload == 5 || payload == 10) {  // longer than a lease
    auto wait = go_on.async_wait();
    const penstock::result<void> over = co_await std::move(wait);
    if (!over) co_return job_outcome::failed("stopped");
  }
  if (payload == 8 && !std::exchange(a.limited, true)) co_return job_outcome::rate_limited(2s);
  if (is_hopeless(payload) || (payload % 4 == 3 && j.attempt() == 1)) co_return job_outcome::failed("no");
  co_return job_outcome::done();
}

// `arm` says when the store fails. `stops`: one of the workers is stopped half way, the other one at the end.
account run(const std::function<void(store_type&)>& arm, bool stops) {
  account a;
  penstock::manual_clock clock;
  penstock::manual_executor loop;
  penstock::event go_on;
  penstock::memory_store<int> memory{{.keep_completed = {.count = jobs}}};
  store_type store{memory};
  penstock::job_queue<int, store_type> queue{store, {.clock = clock}};
  const handler h = [&](job<int>& j) { return handle(j, go_on, a); };
  std::array<std::optional<worker_type>, 2> workers;
  for (std::size_t i = 0; i < 2; ++i) {
    workers[i].emplace(queue, loop, h,
                       penstock::job_worker_options{.concurrency = 2 - i,
                                                    .batch = 1 + 2 * i,
                                                    .lock_duration = 10s,
                                                    .stalled_interval = 4s,
                                                    .max_stalled = 100,
                                                    .settle_within = 0s,
                                                    .error_pause = 1s});
  }
  arm(store);
  std::vector<penstock::future<void>> ends;
  const auto stop = [&](std::optional<worker_type>& w) {
    w->request_stop();
    loop.run_all();
    a.lost += w->stats().lost;
    w.reset();
  };
  for (int payload = 0; payload < jobs; ++payload) {
    const penstock::enqueue_options o{.attempts = attempts_of(payload),
                                      .backoff = penstock::backoff::fixed(1s),
                                      .priority = payload % 3 == 0 ? 1U : 0U,
                                      .delay = payload % 5 == 1 ? 3s : 0s,
                                      .job_id = name_of(payload)};
    for (bool in = false; !in;) {  // whoever has no answer adds it again: by its name it is one job
      try {
        if (auto added = queue.submit(payload, o)) ends.push_back(std::move(added->finished)), in = true;
      } catch (const std::bad_alloc&) {
      }
    }
    loop.run_all();
  }
  for (int second = 0; second < 200; ++second) {
    clock.advance(1s);
    loop.run_all();
    if (second == 18 && stops) stop(workers[0]);
    if (second == 25) go_on.set();
    loop.run_all();
    const auto c = memory.counts().value();
    if (second > 25 && c.waiting + c.delayed + c.active == 0) break;
  }
  a.calls = store.calls();
  for (int payload = 0; payload < jobs; ++payload) {
    const auto info = memory.find(job_id{name_of(payload)});
    const job_state wanted = is_hopeless(payload) ? job_state::failed : job_state::completed;
    if (!info || info->state != wanted) a.wrong += "; " + name_of(payload) + " has not ended as it should";
    if (store.completions(name_of(payload)) != (is_hopeless(payload) ? 0 : 1)) {
      a.wrong += "; " + name_of(payload) + " was completed " + std::to_string(store.completions(name_of(payload))) + " times";
    }
  }
  for (const auto& end : ends) {
    if (!end.is_ready()) a.wrong += "; a future is not told";
  }
  for (auto& w : workers) {
    if (w) stop(w);
  }
  return a;
}

}  // namespace

TEST_CASE("job_worker: whatever call of its store fails, each job is run to one end", "[job_worker][fault][hazard-32]") {
  const auto never = [](store_type& s) { s.fail(0, fault::refused); };
  for (const bool stops : {false, true}) {
    const account usual = run(never, stops);
    REQUIRE(usual.wrong == "");
    for (const fault how : {fault::refused, fault::reply_lost, fault::no_memory}) {
      for (std::size_t n = 1; n <= usual.calls; ++n) {
        const account a = run([&](store_type& s) { s.fail(n, how); }, stops);
        INFO("lost " << a.lost << ", runs " << a.runs << " and not " << usual.runs);
        INFO("call " << n << " of " << usual.calls << ", fault " << static_cast<int>(how) << ", stops " << stops);
        REQUIRE(a.wrong == "");
        // Who is refused once does not lose what was done.
        if (how != fault::reply_lost && !stops) REQUIRE((a.lost == usual.lost && a.runs == usual.runs));
      }
      for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        const account a = run([&](store_type& s) { s.fail_some(2 + seed % 4, seed << 32, how); }, stops);
        INFO("seed " << seed << ", fault " << static_cast<int>(how) << ", stops " << stops);
        REQUIRE(a.wrong == "");
      }
    }
  }
}
