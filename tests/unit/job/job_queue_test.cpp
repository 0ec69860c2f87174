#include <penstock/job/job_queue.hpp>

#include <memory>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"

using namespace std::chrono_literals;
using penstock::errc;
using penstock::job;
using penstock::job_event;
using penstock::job_id;
using penstock::job_outcome;
using penstock::job_queue;
using penstock::job_state;
using penstock::memory_store;
using penstock::result;
using penstock::task;

namespace {

using letter = std::unique_ptr<std::string>;  // moves only

template <class Answer>
inline constexpr bool handler_gives = penstock::detail::handles_jobs<Answer (*)(job<letter>&), letter>;

std::error_code error_of(penstock::future<void>& f) {
  try {
    f.get();
    return {};
  } catch (const std::system_error& e) {
    return e.code();
  }
}

}  // namespace

static_assert(handler_gives<void> && handler_gives<result<void>> && handler_gives<job_outcome>);
static_assert(handler_gives<task<>> && handler_gives<task<result<void>>> && handler_gives<task<job_outcome>> &&
              handler_gives<penstock::future<void>>);
static_assert(handler_gives<int> && handler_gives<task<result<bool>>> && !handler_gives<void*> && !handler_gives<task<letter>> &&
              !penstock::detail::handles_jobs<void (*)(job<int>&), letter>);
static_assert(penstock::job_store<memory_store<letter>>);

TEST_CASE("job_queue: what is not added stays its caller's", "[job_queue]") {
  memory_store<letter> store{{.capacity = 2}};
  job_queue<letter> queue{store};
  const auto write = [](const char* s) { return std::make_unique<std::string>(s); };
  letter a = write("a");
  letter b = write("b");
  const job_id first = queue.add(std::move(a), {.job_id = "one"}).value();
  CHECK(a == nullptr);
  CHECK(queue.add(std::move(b), {.job_id = "one"}).value() == first);
  std::vector<letter> two;
  two.push_back(write("c")), two.push_back(write("d"));
  CHECK(queue.try_put_bulk(two).error() == errc::full);
  CHECK(queue.add(std::move(b)).has_value());
  letter e = write("e");
  CHECK(queue.try_add(std::move(e)).error() == errc::full);
  CHECK(queue.try_submit(std::move(e)).error() == errc::full);
  CHECK_THROWS_AS(queue.submit(std::move(e), {.attempts = 0}), std::invalid_argument);
  CHECK((e != nullptr && *e == "e" && *two[1] == "d"));
  CHECK(queue.drain().value() == 2);
  const std::vector<job_id> ids = queue.add_bulk(two, {.delay = 1h}).value();
  CHECK(queue.list(job_state::delayed).value().at(1).id == ids.at(1));
  CHECK(queue.find(job_id{"one"}).error() == errc::not_found);
}

TEST_CASE("job_queue: who adds to a full one waits in line, until there is room, or no longer than he wants", "[job_queue]") {
  penstock::manual_clock clock;
  memory_store<int> store{{.capacity = 2}};
  job_queue<int> queue{store, {.clock = clock}};
  const job_id first = queue.add(1).value();
  const job_id second = queue.add(2).value();
  CHECK(queue.try_add_for(0s, 3).error() == errc::timeout);
  std::stop_source stop;
  auto third = penstock::spawn(queue.async_add(3));
  auto stopped = penstock::spawn(queue.async_add(4) | penstock::with_stop(stop.get_token()));
  auto late = penstock::spawn(queue.async_add(5) | penstock::with_timeout(1s, clock));
  auto last = penstock::spawn(queue.async_add(6));
  clock.advance(1s);
  stop.request_stop();
  CHECK(late.result().error() == errc::timeout);
  CHECK(stopped.result().error() == errc::cancelled);
  CHECK(queue.add(stop.get_token(), 7).error() == errc::cancelled);
  std::vector<int> two{8, 9};
  CHECK(queue.put_bulk(two, {}, {.deadline = penstock::deadline::after(0s, clock)}).error() == errc::timeout);
  CHECK_FALSE(third.done());
  queue.remove(first).value();
  CHECK(third.done());
  CHECK_FALSE(last.done());
  queue.remove(second).value();
  CHECK(queue.payload(last.result().value()).value() == 6);
  CHECK(queue.payload(third.result().value()).value() == 3);
  std::vector<int> three{1, 2, 3};
  CHECK_THROWS_AS(queue.put_bulk(three), std::invalid_argument);  // never fits
  CHECK(queue.drain().value() == 2);
  CHECK(queue.put_bulk(two));
}

TEST_CASE("job_queue: a future is told even if its job is removed, or the queue goes", "[job_queue]") {
  std::vector<penstock::future<void>> ends;
  {
    job_queue<int> queue;
    auto twin = queue.submit(1, {.job_id = "x"}).value();
    ends.push_back(queue.submit(2, {.job_id = "x"}).value().finished);
    ends.push_back(std::move(twin.finished));
    const job_id gone = queue.submit(3).value().id;  // its future was dropped: nobody minds
    CHECK(queue.remove(gone).has_value());
    CHECK_FALSE(ends[0].is_ready());
    // Only the ttl of one that is gone keeps it away: nobody can say how that one ended.
    const penstock::enqueue_options often{.deduplicate = penstock::deduplication{.id = "k", .ttl = 1h}};
    CHECK(queue.remove(queue.add(4, often).value()).has_value());
    auto unknown = queue.submit(5, often).value().finished;
    CHECK(error_of(unknown) == errc::not_found);
  }
  for (auto& f : ends) CHECK(error_of(f) == errc::cancelled);
}

TEST_CASE("job_queue: redrives the dead letters that are wanted", "[job_queue]") {
  memory_store<int> store{{.capacity = 2003}};
  job_queue<int> queue{store};
  for (int i = 0; i < 2003; ++i) queue.add(i % 3 == 0 ? "bill" : "note", i).value();
  std::vector<memory_store<int>::lease_type> leases;
  store.fetch({.most = 2003, .now = queue.now(), .lease_until = penstock::no_time}, {}, leases).value();
  std::vector<penstock::job_settlement<memory_store<int>::lease_type>> all;
  for (auto& l : leases) all.push_back({.lease = &l, .how = penstock::settle_as::failed});
  store.settle(all, queue.now()).value();
  const auto named = [](const char* name) { return [name](const penstock::job_info& i) { return *i.name == name; }; };

  CHECK(queue.redrive_if(named("bill"), 3).value() == 3);
  CHECK(queue.redrive_if(named("bill")).value() == 665);  // beyond the first thousand, too
  CHECK(queue.redrive_if(named("letter")).value() == 0);
  CHECK(queue.counts()->waiting == 668);
  CHECK(queue.counts()->failed == 1335);
  CHECK_THROWS_AS(queue.redrive_if([](const penstock::job_info&) -> bool { throw std::runtime_error{"asked"}; }),
                  std::runtime_error);
  // As far as there is room; what somebody else has redriven meanwhile does not count.
  std::vector<int> more(1330, 0);
  queue.add_bulk(std::span<int>{more}).value();
  CHECK(queue
            .redrive_if([&](const penstock::job_info& i) {
              static_cast<void>(queue.redrive(i.id));
              return true;
            })
            .value() == 0);
  CHECK(queue.counts()->waiting == 2003);
}

TEST_CASE("job_queue: tells observers what happens, in order, and costs others nothing", "[job_queue]") {
  penstock::manual_clock clock;
  penstock::manual_executor loop;
  memory_store<int> store;
  job_queue<int> queue{store, {.clock = clock, .event_capacity = 16}};
  job_queue<int> other{store, {.clock = clock}};  // shares the store, and so sees the same
  queue.add(0).value();
  auto seen = other.events();
  {
    penstock::job_worker<int> worker{queue, loop, [](job<int>& j) -> result<void> {
                                       if (j.attempt() == 1 && j.payload() == 7) return errc::rejected;
                                       return {};
                                     }};
    const job_id id = queue.add(7, {.attempts = 2, .backoff = penstock::backoff::fixed(1s)}).value();
    loop.run_all();
    clock.advance(1s);
    loop.run_all();
    std::string told;
    for (auto e = seen.try_pop(); e; e = seen.try_pop()) {
      if (e->id != id) continue;
      told += std::to_string(static_cast<int>(e->what)) + "/" + std::to_string(e->attempt) + (e->why ? " " + *e->why : "") + "; ";
    }
    CHECK(told == "0/0; 2/1; 5/1 rejected; 8/0 rejected; 2/2 rejected; 3/2 rejected; ");
    CHECK(queue.payload(id).value() == 7);
    CHECK(queue.clean(job_state::completed, 1s + 1ns).value() == 0);
    CHECK(queue.clean(job_state::completed, 1s).value() == 1);  // the other one has ended just now
    worker.request_stop();
    loop.run_all();
  }
}
