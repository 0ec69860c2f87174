#include <penstock/stream/operators.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>
#include <list>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <ranges>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/stream/generator.hpp>
#include <penstock/stream/pipeline.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/semaphore.hpp>

#include "../../support/catch.hpp"
#include "../../support/until.hpp"
#include "stream_testing.hpp"

namespace {

using namespace penstock;
using namespace std::chrono_literals;
using stream_testing::collect;
using stream_testing::count;
using test_support::until;

constexpr auto no_timer = manual_clock::time_point::max();

std::vector<int> upto(int n) {
  std::vector<int> all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

generator<int> generated(int n) {
  for (int i = 0; i < n; ++i) co_yield i;
}

TEST_CASE("from: every kind of source", "[pipeline]") {
  std::vector<int> numbers{1, 2, 3};
  CHECK(collect(from(numbers)) == numbers);
  CHECK(collect(from(std::as_const(numbers))) == numbers);
  CHECK(collect(from(std::vector{4, 5})) == std::vector{4, 5});
  CHECK(collect(from(std::views::iota(0, 3))) == upto(3));
  CHECK(collect(from(numbers | std::views::reverse)) == std::vector{3, 2, 1});
  CHECK(collect(from(generated(3))) == upto(3));
  CHECK(collect(from(count(0, 3))) == upto(3));
  CHECK(collect(from(std::vector<int>{})).empty());
  channel<int> c{4};
  for (int i = 0; i < 3; ++i) REQUIRE(c.push(std::move(i)));
  c.close();
  CHECK(collect(from(c)) == upto(3));
}

TEST_CASE("from: an owned container gives its elements away, a referenced one keeps them", "[pipeline]") {
  std::vector<std::string> words{"a long string that needs memory of its own", "b"};
  CHECK(collect(from(words)).size() == 2);
  CHECK(words[0].size() > 10);

  std::vector<std::unique_ptr<int>> owners;
  owners.push_back(std::make_unique<int>(7));
  const auto moved = collect(from(std::move(owners)));
  CHECK(*moved.at(0) == 7);

  // A view does not own what it shows.
  CHECK(collect(from(words | std::views::all)).size() == 2);
  CHECK(words[0].size() > 10);
}

TEST_CASE("from: a function that takes a stop token gets one that tells when the pipeline ends", "[pipeline]") {
  semaphore never{0};
  event asked;
  auto p = from([&](const std::stop_token& stop) {
             asked.set();
             return never.acquire(stop) ? std::optional{1} : std::nullopt;
           }) |
           to([](int) {});
  std::stop_source stop;
  std::jthread stopper{[&] {
    asked.wait();
    stop.request_stop();
  }};
  const result<void> ended = p.run(stop.get_token());
  REQUIRE(!ended);  // although its source came to an end, because of the stop
  CHECK(ended.error() == errc::cancelled);
}

TEST_CASE("map, filter: one for one, and those that are kept", "[pipeline]") {
  CHECK(collect(from(upto(4)) | map([](int i) { return std::to_string(i); })) == std::vector<std::string>{"0", "1", "2", "3"});
  CHECK(collect(from(upto(9)) | filter([](int i) { return i % 3 == 0; }) | map([](int i) { return i + 1; })) ==
        std::vector{1, 4, 7});
  CHECK(collect(from(upto(9)) | filter([](int) { return false; })).empty());
  struct point {
    int x;
  };
  CHECK(collect(from(std::vector<point>{{1}, {2}}) | map(&point::x)) == std::vector{1, 2});
}

TEST_CASE("map: items and functions that can only be moved", "[pipeline]") {
  auto offset = std::make_unique<int>(10);
  const auto all = collect(from(count(0, 3)) | map([](int i) { return std::make_unique<int>(i); }) |
                           map([o = std::move(offset)](std::unique_ptr<int> p) {
                             *p += *o;
                             return p;
                           }) |
                           filter([](const std::unique_ptr<int>& p) { return *p != 11; }) | buffer(2) | batch(2));
  REQUIRE(all.size() == 1);
  CHECK(*all[0][0] == 10);
  CHECK(*all[0][1] == 12);
}

TEST_CASE("flat_map: containers, views of the item, generators, nothing", "[pipeline]") {
  CHECK(collect(from(upto(4)) | flat_map([](int i) { return std::vector<int>(static_cast<std::size_t>(i), i); })) ==
        std::vector{1, 2, 2, 3, 3, 3});
  CHECK(collect(from(upto(3)) | flat_map([](int i) { return generated(i); })) == std::vector{0, 0, 1});
  CHECK(collect(from(upto(3)) | flat_map([](int) { return std::list<int>{}; })).empty());
  // The item lives as long as the view of it.
  const std::vector<std::string> lines{"a long line whose words do not fit into a string", "end"};
  const auto words = collect(from(lines) | flat_map([](std::string&& line) {
                               return std::views::iota(std::size_t{0}, line.size()) |
                                      std::views::filter([&line](std::size_t i) { return i == 0 || line[i - 1] == ' '; }) |
                                      std::views::transform([&line](std::size_t i) { return line[i]; });
                             }));
  CHECK(std::string(words.begin(), words.end()) == "allwwdnfiase");
}

TEST_CASE("batch: full ones, and the rest", "[pipeline]") {
  using batches = std::vector<std::vector<int>>;
  CHECK(collect(from(upto(5)) | batch(2)) == batches{{0, 1}, {2, 3}, {4}});
  CHECK(collect(from(upto(4)) | batch(2)) == batches{{0, 1}, {2, 3}});
  CHECK(collect(from(upto(3)) | batch(100)) == batches{{0, 1, 2}});
  CHECK(collect(from(upto(0)) | batch(2)).empty());
  CHECK_THROWS_AS(batch(0), std::invalid_argument);
  CHECK_THROWS_AS(batch(0, 1ms), std::invalid_argument);
  CHECK(collect(from(upto(5)) | batch(2, 1h)) == batches{{0, 1}, {2, 3}, {4}});
}

// Runs a pipeline from one channel into another, beside the test.
struct running {
  channel<int> in{16};
  channel<std::vector<int>> out{16};
  manual_clock clock;
  std::stop_source stop;
  result<void> ended = errc::empty;
  std::jthread thread;

  template <class P>
  void start(P pipeline) {
    thread = std::jthread{[this, p = std::move(pipeline)]() mutable { ended = p.run(stop.get_token()); }};
  }
  ~running() { stop.request_stop(); }
};

TEST_CASE("batch: one that lingers goes on when its time has come, and not before", "[pipeline]") {
  const bool through_map = GENERATE(false, true);  // a stage that cannot wait for a limited time gets a buffer behind it
  running r;
  if (through_map) {
    r.start(from(r.in) | map([](int i) { return i; }) | batch(3, 10ms, r.clock) | to(r.out));
  } else {
    r.start(from(r.in) | batch(3, 10ms, r.clock) | to(r.out));
  }
  for (int i : {0, 1, 2}) REQUIRE(r.in.push(std::move(i)));
  CHECK(r.out.pop() == std::vector{0, 1, 2});  // full: needs no time
  until([&] { return r.clock.next_timer() == no_timer; });
  REQUIRE(r.in.push(3));
  until([&] { return r.clock.next_timer() == r.clock.now() + 10ms; });
  r.clock.advance(9ms);
  REQUIRE(r.in.push(4));
  until([&] { return r.in.empty(); });
  CHECK(r.out.try_pop().error() == errc::empty);
  if (through_map) {  // give what is between the channel and the batch time to get there
    until([&] { return r.clock.next_timer() == r.clock.now() + 1ms; });
  }
  r.clock.advance(1ms);
  const auto lingered = r.out.pop();
  REQUIRE(lingered);
  CHECK(lingered->at(0) == 3);
  r.in.close();
  std::vector<int> rest(lingered->begin() + 1, lingered->end());
  while (auto more = r.out.pop()) rest.insert(rest.end(), more->begin(), more->end());
  CHECK(rest == std::vector{4});
  r.thread.join();
  CHECK(r.ended);
}

TEST_CASE("throttle: each item waits for its turn", "[pipeline]") {
  static_assert(acquirable<semaphore>);
  static_assert(!acquirable<event>);
  semaphore turns{0};
  channel<int> out{16};
  auto p = from(upto(3)) | throttle(turns) | to(out);
  result<void> ended = errc::empty;
  std::jthread runner{[&] { ended = p.run(); }};
  until([&] { return turns.waiters() == 1; });
  CHECK(out.try_pop().error() == errc::empty);
  turns.release();
  CHECK(out.pop() == 0);
  until([&] { return turns.waiters() == 1; });
  CHECK(out.try_pop().error() == errc::empty);
  turns.release(2);
  CHECK(out.pop() == 1);
  CHECK(out.pop() == 2);
  CHECK(out.pop().error() == errc::closed);
  runner.join();
  CHECK(ended);
  CHECK(turns.available() == 0);
}

TEST_CASE("throttle: a limiter that is closed ends the pipeline", "[pipeline]") {
  semaphore turns{1};
  std::vector<int> out;
  auto p = from(upto(3)) | throttle(turns) | tee([&](int) { turns.close(); }) | to(std::back_inserter(out));
  CHECK(p.run().error() == errc::closed);
  CHECK(out == upto(1));
}

TEST_CASE("buffer: keeps the order, and holds as many as it says", "[pipeline]") {
  CHECK_THROWS_AS(buffer(0), std::invalid_argument);
  for (const std::size_t n : {1U, 2U, 31U, 32U, 127U, 1000U}) {
    CHECK(collect(from(upto(500)) | buffer(n)) == upto(500));

    std::atomic<int> made = 0;
    std::atomic<int> most_ahead = 0;
    int taken = 0;
    auto p = from(count(0, 5000)) | tee([&](int) { ++made; }) | buffer(n) | to([&](int) {
               ++taken;  // this one, n in the buffer, and one that the thread before it has in its hand
               if (taken % 50 == 1) {
                 const int at_hand = n < 32 ? 0 : n < 128 ? static_cast<int>(n) / 4 : 32;  // fetched at once, and perhaps used up
                 const int full = std::min(5000, taken + static_cast<int>(n) + 1 - at_hand);
                 until([&] { return made >= full; });
                 for (int i = 0; i < 100; ++i) std::this_thread::yield();
               }
               most_ahead = std::max(most_ahead.load(), made - taken);
             });
    CHECK(p.run());
    CHECK(most_ahead <= static_cast<int>(n) + 1);
  }
}

TEST_CASE("parallel_map: in order", "[pipeline]") {
  for (const std::size_t threads : {1U, 2U, 4U}) {
    worker_pool pool{{.threads = threads}};
    for (const std::size_t n : {1U, 3U, 100U}) {
      CHECK(collect(from(upto(300)) | parallel_map(pool, n, [](int i) { return i; })) == upto(300));
      auto any = collect(from(upto(300)) | parallel_map(pool, n, [](int i) { return i; }, delivery::unordered));
      std::sort(any.begin(), any.end());
      CHECK(any == upto(300));
    }
    CHECK(collect(from(upto(0)) | parallel_map(pool, 2, [](int i) { return i; })).empty());
    CHECK_THROWS_AS(parallel_map(pool, 0, [](int i) { return i; }), std::invalid_argument);
  }
}

TEST_CASE("parallel_map: unordered results come as they finish, ordered ones wait for their turn", "[pipeline]") {
  event second_done;
  worker_pool pool{{.threads = 2}};
  const auto first_is_slow = [&](int i) {
    if (i == 0) second_done.wait();
    return i;
  };
  channel<int> out{1};
  SECTION("unordered") {
    auto p = from(upto(2)) | parallel_map(pool, 2, first_is_slow, delivery::unordered) | to(out);
    std::jthread runner{[&] { p.run().value(); }};
    CHECK(out.pop() == 1);
    second_done.set();
    CHECK(out.pop() == 0);
  }
  SECTION("ordered") {
    std::atomic<int> computed = 0;
    auto p = from(upto(2)) |
             parallel_map(pool, 2,
                          [&](int i) {
                            first_is_slow(i);
                            ++computed;
                            return i;
                          }) |
             to(out);
    std::jthread runner{[&] { p.run().value(); }};
    until([&] { return computed == 1; });
    CHECK(out.try_pop().error() == errc::empty);
    second_done.set();
    CHECK(out.pop() == 0);
    CHECK(out.pop() == 1);
  }
}

TEST_CASE("parallel_map: at most n items are taken and not delivered", "[pipeline]") {
  worker_pool pool{{.threads = 4}};
  const auto order = GENERATE(delivery::ordered, delivery::unordered);
  for (const int n : {1, 2, 7}) {
    std::atomic<int> made = 0;
    int taken = 0;
    int most = 0;
    auto p = from(count(0, 300)) | tee([&](int) { ++made; }) |
             parallel_map(
                 pool, static_cast<std::size_t>(n), [](int i) { return i; }, order) |
             to([&](int) {
               ++taken;
               if (taken % 20 == 1) until([&] { return made >= std::min(300, taken + n); });
               most = std::max(most, made - taken);
             });
    CHECK(p.run());
    CHECK(most <= n);
  }
}

TEST_CASE("parallel_map: several stages on a pool of one, and on one with a tiny queue", "[pipeline]") {
  for (const auto policy : {overflow::wait, overflow::caller_runs}) {
    worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = policy}};
    auto all = collect(
        from(upto(200)) | parallel_map(pool, 8, [](int i) { return i + 1; }) |
        parallel_map(pool, 8, [](int i) { return i - 1; }, delivery::unordered) | parallel_map(pool, 8, [](int i) { return i; }));
    std::sort(all.begin(), all.end());
    CHECK(all == upto(200));
  }
}

TEST_CASE("parallel_map: a pool that refuses or drops its tasks ends the pipeline", "[pipeline]") {
  const auto order = GENERATE(delivery::ordered, delivery::unordered);
  SECTION("closed") {
    worker_pool pool{{.threads = 1}};
    pool.shutdown().value();
    auto p = from(upto(3)) | parallel_map(pool, 2, [](int i) { return i; }, order) | to([](int) {});
    try {
      static_cast<void>(p.run());
      FAIL("no exception");
    } catch (const std::system_error& e) {
      CHECK(e.code() == errc::closed);
    }
  }
  SECTION("rejected") {
    event free;
    event began;
    worker_pool pool{{.threads = 1, .queue_capacity = 1, .overflow = overflow::reject}};
    REQUIRE(pool.post([&] {
      began.set();
      free.wait();
    }));
    began.wait();
    auto p = from(upto(3)) | tee([&](int i) {
               if (i == 2) free.set();  // which has been rejected by then, or is
             }) |
             parallel_map(pool, 3, [](int i) { return i; }, order) | to([](int) {});
    std::jthread rescue{[&] {
      until([&] { return pool.queued() == 1; });
      until([&] { return p.report().stages[1].items_in == 3 || p.report().stages[2].items_in == 2; });
      free.set();
    }};
    try {
      static_cast<void>(p.run());
      FAIL("no exception");
    } catch (const std::system_error& e) {
      CHECK(e.code() == errc::rejected);
    }
  }
  SECTION("dropped") {
    std::atomic<int> ran = 0;
    worker_pool pool{{.threads = 1}};
    auto p = from(upto(5)) |
             parallel_map(
                 pool, 5,
                 [&](int i) {
                   ++ran;
                   until([&] { return pool.queued() == 4; });
                   pool.request_stop();
                   return i;
                 },
                 order) |
             to([](int) {});
    try {
      static_cast<void>(p.run());
      FAIL("no exception");
    } catch (const std::system_error& e) {
      CHECK(e.code() == errc::cancelled);
    }
    CHECK(ran == 1);
  }
}

TEST_CASE("parallel_map: run() on a worker of its pool is refused, and can be had elsewhere", "[pipeline]") {
  worker_pool pool{{.threads = 1}};
  std::vector<int> out;
  auto p = from(upto(3)) | parallel_map(pool, 2, [](int i) { return i; }) | to(std::back_inserter(out));
  CHECK(pool.submit([&] { return p.run().error() == errc::deadlock; }).get());
  CHECK(p.run());
  CHECK(out == upto(3));
}

TEST_CASE("tee: a function sees every item, a channel and an iterator get copies", "[pipeline]") {
  std::vector<int> seen;
  std::vector<int> copied;
  channel<int> side{10};
  const auto all = collect(from(upto(5)) | tee([&](const int& i) { seen.push_back(i); }) | tee(std::back_inserter(copied)) |
                           tee(side) | filter([](int i) { return i > 2; }));
  CHECK(all == std::vector{3, 4});
  CHECK(seen == upto(5));
  CHECK(copied == upto(5));
  CHECK(side.is_closed());
  CHECK(collect(from(side)) == upto(5));
}

TEST_CASE("tee, to: a full channel makes the pipeline wait, a closed one ends it", "[pipeline]") {
  channel<int> c{2};
  const bool sink = GENERATE(false, true);
  std::atomic<int> made = 0;
  result<void> ended = errc::empty;
  std::jthread runner{[&] {
    auto source = from(upto(100)) | tee([&](int) { ++made; });
    if (sink) {
      auto p = std::move(source) | to(c);
      ended = p.run();
    } else {
      auto p = std::move(source) | tee(c) | to([](int) {});
      ended = p.run();
    }
  }};
  until([&] { return made == 3; });
  for (int i = 0; i < 50; ++i) std::this_thread::yield();
  CHECK(made == 3);  // two in the channel, one that waits
  CHECK(c.pop() == 0);
  until([&] { return made == 4; });
  c.close();
  runner.join();
  CHECK(ended.error() == errc::closed);
  CHECK(made == 4);
}

TEST_CASE("to: a channel is closed at the end, unless it is to be kept", "[pipeline]") {
  channel<int> closes{10};
  CHECK((from(upto(3)) | to(closes)).run());
  CHECK(closes.is_closed());
  channel<int> keeps{10};
  CHECK((from(upto(3)) | tee(keeps, at_end::keep) | to(keeps, at_end::keep)).run());
  CHECK(!keeps.is_closed());
  CHECK(keeps.size() == 6);
}

TEST_CASE("merge: all items of all streams, each stream in its order", "[pipeline]") {
  worker_pool pool{{.threads = 2}};
  channel<int> c{4};
  std::jthread producer{[&] {
    for (int i = 2000; i < 2100; ++i) static_cast<void>(c.push(std::move(i)));
    c.close();
  }};
  auto all = collect(from(count(0, 100)) | merge(from(count(1000, 1100)) | buffer(3), from(c),
                                                 from(count(3000, 3100)) | parallel_map(pool, 3, [](int i) { return i; })));
  CHECK(all.size() == 400);
  for (int first : {0, 1000, 2000, 3000}) {
    std::vector<int> mine;
    std::copy_if(all.begin(), all.end(), std::back_inserter(mine), [&](int i) { return i >= first && i < first + 1000; });
    CHECK(mine.size() == 100);
    CHECK(std::is_sorted(mine.begin(), mine.end()));
  }
  CHECK(collect(from(count(0, 0)) | merge(from(count(0, 0)))).empty());
}

}  // namespace
