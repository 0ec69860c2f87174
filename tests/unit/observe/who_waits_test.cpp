#include <penstock/observe/who_waits.hpp>

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/batch/accumulator.hpp>
#include <penstock/batch/batcher.hpp>
#include <penstock/channel/channel.hpp>
#include <penstock/channel/select.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/trace_context.hpp>
#include <penstock/core/tracer.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/pool/resource_pool.hpp>
#include <penstock/pool/strand.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/rate/adaptive_limit.hpp>
#include <penstock/rate/keyed_limiter.hpp>
#include <penstock/rate/limiter.hpp>
#include <penstock/rate/sliding_window.hpp>
#include <penstock/rate/token_bucket.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/mutex.hpp>
#include <penstock/sync/semaphore.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"

using namespace penstock;
using namespace std::chrono_literals;
using test_support::until;

static_assert(detail::type_word<semaphore>() == "semaphore");
static_assert(detail::type_word<channel<std::vector<int>>>() == "channel");
static_assert(detail::type_word<int>() == "int");

TEST_CASE("who_waits: knows nobody who began before the watch, and whom it knows until he goes on", "[who_waits]") {
  event e;
  manual_executor loop;
  auto early = spawn(loop, e.async_wait());
  loop.run_all();
  std::optional<wait_watch> watch{std::in_place};
  std::optional<wait_watch> another{std::in_place};
  watch.reset();
  CHECK(who_waits().empty());
  auto late = spawn(loop, e.async_wait());
  loop.run_all();
  another.reset();
  auto unseen = spawn(loop, e.async_wait());
  loop.run_all();
  CHECK(who_waits().size() == 1);
  e.set();
  CHECK(who_waits().size() == 1);  // it has been served, and its context has not run it yet
  loop.run_all();
  CHECK(who_waits().empty());
  CHECK((early.done() && late.done() && unseen.done()));
}

TEST_CASE("who_waits: tells threads and coroutines, where, for what, since when and until when", "[who_waits]") {
  const wait_watch watch;
  semaphore permits{0};
  channel<int> orders{1};
  channel<int> never{1};
  const named_place whole{permits, "database permits"};
  const named_place part{reinterpret_cast<const char*>(&orders), sizeof orders, "orders"};
  std::uint64_t number = 0;
  {
    std::jthread blocked{[&] {
      number = detail::number_of_this_thread();
      static_cast<void>(permits.try_acquire_for(1h));
    }};
    until([&] { return who_waits().size() == 1; });
    manual_executor loop;
    const trace_scope here{trace_context{.span = 42}};
    auto pops = spawn(loop, orders.async_pop());
    loop.run_all();
    std::jthread selects{[&] { select(on_pop(orders, [](result<int>) {}), on_pop(never, [](result<int>) {})); }};
    until([&] { return who_waits().size() == 3; });

    const std::vector<waiter_info> all = who_waits();
    CHECK((all[0].waits >= all[1].waits && all[1].waits >= all[2].waits));
    CHECK((all[0].name == "database permits" && all[0].where == "semaphore" && all[0].how.empty() && all[0].place == &permits));
    CHECK((all[0].coroutine == nullptr && all[0].thread == number && !all[0].trace));
    CHECK((all[0].left && *all[0].left > 0h && *all[0].left <= 1h));
    CHECK((all[1].name == "orders" && all[1].where == "channel" && all[1].how == "pop" && all[1].coroutine != nullptr));
    CHECK((!all[1].left && all[1].trace.span == 42));
    CHECK((all[2].name.empty() && all[2].where == "select" && all[2].place == nullptr));

    const std::string table = dump_waiters(all);
    CHECK(table.find("database permits") != std::string::npos);
    CHECK(table.find("channel pop") != std::string::npos);
    CHECK(table.find("000000000000002a") != std::string::npos);

    const std::string odd = dump_waiters({{.name = "one\ntwo\x1b[31m\xc2\x9b"
                                                   "31m \xc3\xb6"}});
    CHECK(odd.find("one?two?[31m?31m \xc3\xb6 ") != std::string::npos);

    permits.release();
    orders.close();
    loop.run_all();
    static_cast<void>(pops.result());
  }
  CHECK(who_waits().empty());
}

TEST_CASE("who_waits: what has joined a registry has its name there, as long as it is joined", "[who_waits][registry]") {
  const wait_watch watch;
  registry all;
  semaphore permits{0};
  resource_pool<int> connections{[] { return 1; }, {.max_size = 1}};
  auto of_permits = all.join("permits", permits);
  const auto of_connections = all.join("connections", connections);
  const auto lease = connections.acquire();
  manual_executor loop;
  auto first = spawn(loop, permits.async_acquire());
  loop.run_all();
  const auto waits_for_one = [](resource_pool<int>& of) -> task<bool> { co_return (co_await of.async_acquire()).has_value(); };
  auto second = spawn(loop, waits_for_one(connections));
  loop.run_all();
  auto waits = who_waits();
  REQUIRE(waits.size() == 2);
  CHECK((waits[0].where == "semaphore" && waits[0].name == "permits"));
  CHECK((waits[1].where == "resource_pool" && waits[1].name == "connections"));
  {
    const named_place closer{permits, "permits of the database"};  // the newest of two
    CHECK(who_waits()[0].name == "permits of the database");
  }
  CHECK(who_waits()[0].name == "permits");
  of_permits.leave();
  CHECK(who_waits()[0].name.empty());
  permits.release();
  connections.close();
  loop.run_all();
  CHECK((first.done() && second.done()));
}

TEST_CASE("who_waits: workers that sleep for want of work do not wait, one that waits for a coroutine does", "[who_waits]") {
  const wait_watch watch;
  worker_pool pool{{.threads = 1}};
  event e;
  const named_place name{e, "the end"};
  auto task_blocks = pool.submit([&] { return spawn(pool, e.async_wait()).result(); });
  until([&] { return who_waits().size() == 2; });
  const std::vector<waiter_info> all = who_waits();
  CHECK((all[0].where == "future" || all[1].where == "future"));
  CHECK((all[0].name == "the end" || all[1].name == "the end"));
  e.set();
  CHECK(task_blocks.get());
  pool.drain().value();
  until([&] { return pool.stats().idle == 1; });
  CHECK(who_waits().empty());
  std::vector<spawned<result<void>>> many;  // more than it has expected
  e.reset();
  for (int i = 0; i < 200; ++i) many.push_back(spawn(e.async_wait()));
  CHECK(who_waits().size() == 200);
  e.set();
}

namespace {

// What the list says of somebody who waits for this.
template <class Operation>
waiter_info told_of(Operation wait) {
  auto waits = spawn(std::move(wait));
  const std::vector<waiter_info> all = who_waits();
  REQUIRE(all.size() == 1);
  waits.request_stop();
  static_cast<void>(waits.result());
  return all[0];
}
template <class Operation>
std::string words_of(Operation wait) {
  const waiter_info w = told_of(std::move(wait));
  return std::string{w.where} + (w.how.empty() ? "" : " ") + std::string{w.how};
}

// The names of the places of spans that begin.
struct begun_at final : tracer {
  void started(trace_span& s) noexcept override { names.push_back(name_of(s.place)); }
  std::vector<std::string> names;
};

}  // namespace

TEST_CASE("who_waits: calls what is waited for as people do", "[who_waits]") {
  const wait_watch watch;
  manual_clock clock;
  manual_executor loop;
  semaphore permits{0};
  CHECK(words_of(permits.async_acquire()) == "semaphore");
  CHECK(words_of(permits.async_acquire_permit()) == "semaphore");
  mutex door;
  door.lock();
  CHECK(words_of(door.async_lock()) == "semaphore");  // which it is made of
  door.unlock();
  channel<int> full{1};
  REQUIRE(full.try_push(1));
  const int another = 2;
  CHECK(words_of(full.async_push(another)) == "channel push");
  CHECK(words_of(full.async_reserve()) == "channel reserve");
  resource_pool<int> connections{[] { return 1; }, {.max_size = 1, .max_overflow = 0}};
  const auto lease = connections.acquire();
  CHECK(words_of(connections.async_acquire()) == "resource_pool");
  limiter jobs{{.max_concurrent = 1}};
  REQUIRE(jobs.try_acquire());
  CHECK(words_of(jobs.async_acquire()) == "limiter");
  jobs.release();
  adaptive_limit<> calls{{.initial = 1}};
  const auto permit = calls.acquire();
  CHECK(words_of(calls.async_acquire()) == "adaptive_limit");
  token_bucket<manual_clock> tokens{rate{1, 1s}, 1, clock};
  REQUIRE(tokens.try_acquire());
  CHECK(words_of(tokens.async_acquire()) == "token_bucket");
  sliding_window<manual_clock> window{1, 1s, clock};
  REQUIRE(window.try_acquire());
  CHECK(words_of(window.async_acquire()) == "sliding_window");
  keyed_limiter<int> users{rate{1, 1s}, 1, {.max_keys = 10, .clock = clock}};
  REQUIRE(users.try_acquire(7));
  CHECK(words_of(users.async_acquire(7)) == "keyed_limiter");
  accumulator<int> writes{loop, [](std::span<const int>) {}};
  REQUIRE(writes.push(1));
  CHECK(words_of(writes.async_drain()) == "accumulator end");
  writes.close();
  loop.run_all();
}

TEST_CASE("who_waits: a select has the deadline that it was given", "[who_waits][select]") {
  const wait_watch watch;
  channel<int> never{1};
  const auto left = told_of(async_select(pop_case(never)) | with_timeout(1h)).left;
  CHECK((left && *left > 0h && *left <= 1h));
  CHECK_FALSE(told_of(async_select(pop_case(never))).left);
}

TEST_CASE("who_waits: what keeps its line on the heap is found by its name, too", "[who_waits][registry]") {
  const wait_watch watch;
  manual_clock clock;
  manual_executor loop;
  registry all;
  token_bucket<manual_clock> tokens{rate{1, 1s}, 1, clock};
  REQUIRE(tokens.try_acquire());
  const auto joined = all.join("calls", tokens);
  CHECK(told_of(tokens.async_acquire()).name == "calls");
  accumulator<int> writes{loop, [](std::span<const int>) {}};
  const named_place of_writes{writes, "writes"};
  REQUIRE(writes.push(1));
  CHECK(told_of(writes.async_drain()).name == "writes");
  loop.run_all();
  CHECK(writes.drain());

  begun_at spans;
  const trace_session session{spans};
  batcher<int, int> squares{loop, [](std::span<const int> keys) { return std::vector<int>(keys.begin(), keys.end()); }};
  const named_place of_squares{squares, "squares"};
  auto loads = squares.load(3);
  loop.run_all();
  CHECK(loads.get() == 3);
  REQUIRE(writes.push(2));
  writes.close();
  loop.run_all();
  strand serial{loop};
  const named_place of_serial{serial, "serial"};
  REQUIRE(serial.post([] {}));
  loop.run_all();
  CHECK(spans.names == std::vector<std::string>{"squares", "writes", "serial"});
}
