// Allocations that fail, one after the other, while jobs are added and run: a job went in or is its caller's still, each that went in is run to its end, and
// nothing is leaked.
#include <chrono>
#include <cstddef>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include <penstock/core/manual_clock.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>

#include "../support/catch.hpp"
#include "../support/counting_new.hpp"

namespace {

using namespace std::chrono_literals;
using payload = std::unique_ptr<int>;

constexpr int jobs = 270;  // more than a store allocates at a time

using plain_store = penstock::memory_store<payload>;
struct watched_store : plain_store {
  using plain_store::plain_store;
  void subscribe(std::shared_ptr<penstock::store_listener> l) {
    plain_store::subscribe(std::move(l));
    ++listeners;
  }
  void unsubscribe(const penstock::store_listener& l) noexcept {
    plain_store::unsubscribe(l);
    --listeners;
  }
  int listeners = 0;
};
using queue_type = penstock::job_queue<payload, watched_store>;
using worker_type = penstock::job_worker<payload, watched_store>;

struct outcome {
  std::size_t refused = 0;
  std::size_t runs = 0;
  std::size_t children = 0;
  std::size_t ended = 0;
  bool lawful = true;
  bool unmade = false;  // the worker, at the first try
};

// With the n-th allocation failing while they are added, and run on this thread if `running`.
outcome add_and_run(long n, bool running) {
  outcome o;
  penstock::manual_clock clock;
  watched_store store{penstock::memory_store_options{.keep_completed = {.count = 0}, .keep_failed = {.count = 0}}};
  queue_type queue{store, {.clock = clock}};
  const auto handle = [&o](penstock::job<payload>& j) {
    ++o.runs;
    if (*j.payload() % 9 == 0 && j.attempt() == 1) throw 1;
    if (*j.payload() % 45 != 2 || !j.children().value().empty()) return penstock::job_outcome::done();
    j.add_child(std::make_unique<int>(1)).value();
    j.enqueue(std::make_unique<int>(1), {.name = "the name of a job that needs an allocation of its own"}).value();
    o.children += 2;
    return penstock::job_outcome::wait_for_children();
  };
  const auto work = [&] {
    return std::make_unique<worker_type>(queue, penstock::any_scheduler{}, handle, penstock::job_worker_options{.batch = 4});
  };
  std::unique_ptr<worker_type> worker;
  if (running) {
    counting_new::until_failure = n;
    try {
      worker = work();
    } catch (const std::bad_alloc&) {  // nothing is left of it
      o.unmade = true;
    }
    counting_new::until_failure = 0;
    o.lawful = store.listeners == (o.unmade ? 1 : 2);
    if (o.unmade) worker = work();
  }
  const std::string names[] = {"", "the name of a job that needs an allocation of its own"};
  for (int i = 0; i < jobs; ++i) {
    payload p = std::make_unique<int>(i);
    penstock::enqueue_options options{.attempts = i % 3 == 0 ? 2U : 1U, .priority = static_cast<std::uint32_t>(i % 2)};
    if (i % 16 == 0) options.job_id = names[1] + std::to_string(i);
    if (i % 16 == 1) options.deduplicate = penstock::deduplication{.id = names[1] + std::to_string(i)};
    counting_new::until_failure = n;  // of the queue's own: this test's do not fail
    try {
      queue.add(std::move(p), options).value();
    } catch (const std::bad_alloc&) {
      ++o.refused;
      o.lawful = o.lawful && p != nullptr;
    }
    n = counting_new::until_failure;
    counting_new::until_failure = 0;
  }
  if (!running) worker = work();
  clock.advance(10s);  // a worker that found no memory asks again
  const auto counts = queue.counts().value();
  o.lawful = o.lawful && counts.waiting + counts.delayed + counts.active + counts.waiting_children == 0;
  o.ended = worker->stats().completed + worker->stats().failed;
  return o;
}

}  // namespace

TEST_CASE("job_queue: without memory a job does not go in, and those that are in are run", "[job_queue][fault]") {
  for (const bool running : {false, true}) {
    static_cast<void>(add_and_run(0, running));  // what is made once for the process
    std::size_t refused = 0, unmade = 0;
    for (long n = 1; n < (counting_new::counts ? 60 : 2); ++n) {
      const long before = counting_new::living;
      const outcome o = add_and_run(n, running);
      const long after = counting_new::living;
      REQUIRE(after == before);
      REQUIRE(o.lawful);
      REQUIRE(o.ended == jobs - o.refused + o.children);
      REQUIRE(o.runs >= o.ended);
      refused += o.refused;
      unmade += o.unmade ? 1 : 0;
    }
    CHECK((refused > 10 || !counting_new::counts));
    CHECK((unmade > 10) == (running && counting_new::counts));
  }
}
