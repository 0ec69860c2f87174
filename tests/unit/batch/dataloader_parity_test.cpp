// DataLoader's documented behaviours (its README, 2.2, and the names of its own tests), each on a batcher that is set up as a DataLoader is: one
// thread's event loop, batches that leave when the ready work is done, everything remembered, errors too. What differs says how; docs/batcher.md says why.
#include <penstock/batch/batcher.hpp>

#include <chrono>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;
using calls = std::vector<std::vector<int>>;
using function = move_only_function<task<std::vector<result<int>>>(std::span<const int>)>;
using loader_type = batcher<int, int>;
using options = batcher_options<int, int>;

options as_dataloader() {
  options o{.schedule = batch_schedule::ready_work, .max_in_flight_batches = 1000};
  o.cache = {.max_entries = std::numeric_limits<std::size_t>::max(), .negative_ttl = std::chrono::nanoseconds::max()};
  return o;
}

// Gives back each key; even ones fail if `odd_only`.
struct identity {
  manual_executor loop;
  calls seen;
  bool odd_only = false;
  bool throws = false;
  std::function<void()> during = [] {};
  loader_type loader;

  explicit identity(options o = as_dataloader()) : loader{loop, make(), std::move(o)} {}
  function make() {
    return [this](std::span<const int> k) { return run(std::vector<int>(k.begin(), k.end())); };
  }
  task<std::vector<result<int>>> run(std::vector<int> k) {
    seen.push_back(k);
    during();
    if (throws) throw std::runtime_error{"I am a terrible loader"};
    std::vector<result<int>> r;
    for (const int i : k) r.push_back(odd_only && i % 2 == 0 ? result<int>{errc::rejected} : result<int>{i});
    co_return r;
  }
  int get(int key) {
    auto f = loader.load(key);
    loop.run_all();
    return f.get();
  }
  std::string error(int key) {
    try {
      return std::to_string(get(key));
    } catch (const std::system_error& e) {
      return e.code().message();
    } catch (const std::exception& e) {
      return e.what();
    }
  }
};

const std::string rejected = make_error_code(errc::rejected).message();

}  // namespace

TEST_CASE("DataLoader: builds a really really simple data loader; supports loading multiple keys in one call, with errors too",
          "[batcher][parity]") {
  identity l;
  CHECK(l.get(1) == 1);
  l.odd_only = true;
  auto all = spawn(l.loop, l.loader.async_load_many({5, 7, 4}));
  l.loop.run_all();
  auto futures = all.result();
  CHECK(futures[0].get() == 5);
  CHECK(futures[1].get() == 7);
  CHECK_THROWS_AS(futures[2].get(), std::system_error);  // loadMany does not fail as a whole
  CHECK(l.loader.load_many(std::vector<int>{}).empty());
}

TEST_CASE("DataLoader: batches multiple requests, with max batch sizes, also with duplicate keys", "[batcher][parity]") {
  auto o = as_dataloader();
  o.max_batch_size = 3;
  identity l{std::move(o)};
  std::vector<shared_future<int>> all;
  for (const int key : {1, 2, 1, 1, 2, 3, 4}) all.push_back(l.loader.load(key));
  l.loop.run_all();
  CHECK(l.seen == calls{{1, 2, 3}, {4}});
  CHECK(all[3].get() == 1);
  CHECK(all[6].get() == 4);
}

TEST_CASE("DataLoader: batches cached requests (differs: what is cached is ready at once and does not wait for the batch)",
          "[batcher][parity]") {
  identity l;
  l.loader.prime(1, 1);
  auto one = l.loader.load(1);
  auto two = l.loader.load(2);
  CHECK(one.is_ready());
  CHECK_FALSE(two.is_ready());
  l.loop.run_all();
  CHECK(l.seen == calls{{2}});
  auto o = as_dataloader();
  o.max_batch_size = 1;  // max batch size respects cached results
  identity single{std::move(o)};
  single.loader.prime(1, 1);
  auto both = single.loader.load_many({1, 2});
  single.loop.run_all();
  CHECK(both[1].get() == 2);
  CHECK(single.seen == calls{{2}});
}

TEST_CASE("DataLoader: coalesces identical requests, also across sized batches; caches repeated requests", "[batcher][parity]") {
  auto o = as_dataloader();
  o.max_batch_size = 2;
  identity l{std::move(o)};
  auto all = l.loader.load_many({1, 2, 1, 3});
  l.loop.run_all();
  CHECK(all[2].get() == 1);
  CHECK(l.seen == calls{{1, 2}, {3}});
  CHECK(l.get(1) == 1);
  CHECK(l.get(4) == 4);
  CHECK(l.seen == calls{{1, 2}, {3}, {4}});
}

TEST_CASE("DataLoader: clears single value in loader, clears all values in loader", "[batcher][parity]") {
  identity l;
  auto first = l.loader.load_many({1, 2});
  l.loop.run_all();
  l.loader.clear(1);
  auto second = l.loader.load_many({1, 2});
  l.loop.run_all();
  l.loader.clear_all();
  auto third = l.loader.load_many({1, 2});
  l.loop.run_all();
  CHECK(l.seen == calls{{1, 2}, {1}, {1, 2}});
}

TEST_CASE("DataLoader: allows priming the cache, does not prime keys that already exist, allows forcefully priming",
          "[batcher][parity]") {
  identity l;
  CHECK(l.loader.prime(1, 11));
  auto both = l.loader.load_many({1, 2});
  l.loop.run_all();
  CHECK(both[0].get() == 11);
  CHECK(both[1].get() == 2);
  CHECK_FALSE(l.loader.prime(1, 12));
  CHECK_FALSE(l.loader.prime(2, 12));
  CHECK(l.get(1) == 11);
  CHECK(l.loader.clear(1).prime(1, 12));
  CHECK(l.loader.clear(2).prime(2, 12));
  CHECK(l.get(1) == 12);
  CHECK(l.get(2) == 12);
  CHECK(l.seen == calls{{2}});
}

TEST_CASE(
    "DataLoader: resolves to error to indicate failure, beside successes; caches failed fetches; can clear values from cache "
    "after errors",
    "[batcher][parity]") {
  identity l;
  l.odd_only = true;
  auto both = l.loader.load_many({2, 3});
  l.loop.run_all();
  CHECK(both[1].get() == 3);
  CHECK(l.error(2) == rejected);
  CHECK(l.seen == calls{{2, 3}});
  l.loader.clear(2);
  CHECK(l.error(2) == rejected);
  CHECK(l.seen == calls{{2, 3}, {2}});
  // handles priming the cache with an error
  CHECK(l.loader.prime(4, std::make_exception_ptr(std::runtime_error{"Error: 4"})));
  CHECK(l.loader.prime(6, errc::closed));
  CHECK(l.error(4) == "Error: 4");
  CHECK(l.error(6) == make_error_code(errc::closed).message());
  CHECK(l.seen.size() == 2);
}

TEST_CASE("DataLoader: propagates error to all loads, and does not cache what failed as a whole", "[batcher][parity]") {
  identity l;
  l.throws = true;
  auto both = l.loader.load_many({1, 2});
  l.loop.run_all();
  CHECK_THROWS_WITH(both[0].get(), "I am a terrible loader");
  CHECK_THROWS_WITH(both[1].get(), "I am a terrible loader");
  l.throws = false;
  CHECK(l.get(1) == 1);
  CHECK(l.seen == calls{{1, 2}, {1}});
}

TEST_CASE(
    "DataLoader: may disable batching, may disable caching (differs: keys are not repeated in a batch when the cache is "
    "disabled)",
    "[batcher][parity]") {
  auto o = as_dataloader();
  o.max_batch_size = 1;
  identity single{std::move(o)};
  auto both = single.loader.load_many({1, 2});
  single.loop.run_all();
  CHECK(single.seen == calls{{1}, {2}});
  o = as_dataloader();
  o.cache = {};
  identity l{std::move(o)};
  for (int round = 0; round < 2; ++round) {
    auto all = l.loader.load_many({1, 3, 1, 2});
    l.loop.run_all();
    CHECK(all[2].get() == 1);
  }
  CHECK(l.seen == calls{{1, 3, 2}, {1, 3, 2}});
}

TEST_CASE("DataLoader: complex cache behavior via clearAll()", "[batcher][parity]") {
  identity l;
  l.during = [&] { l.loader.clear_all(); };  // it forgets as soon as a batch leaves
  for (int round = 0; round < 2; ++round) {
    auto all = l.loader.load_many({1, 2, 1});
    l.loop.run_all();
    CHECK(all[2].get() == 1);
  }
  CHECK(l.seen == calls{{1, 2}, {1, 2}});
}

TEST_CASE("DataLoader: supports manual dispatch", "[batcher][parity]") {
  auto o = as_dataloader();
  o.schedule = batch_schedule::flush_only;
  identity l{std::move(o)};
  auto all = l.loader.load_many({1, 2});
  l.loader.flush();
  l.loop.run_all();
  all = l.loader.load_many({1, 3});
  l.loader.flush();
  l.loop.run_all();
  auto never = l.loader.load(4);  // (differs: DataLoader would never load it, a batcher flushes in the end)
  l.loop.run_all();
  CHECK(l.seen == calls{{1, 2}, {3}});
  l.loader.close();
  l.loop.run_all();
  CHECK(never.get() == 4);
}

TEST_CASE("DataLoader: batches loads occurring within promises: what is ready runs before a batch leaves", "[batcher][parity]") {
  identity l;
  auto hop_and_load = [](identity& on, int key) -> task<int> {
    const any_scheduler loop = on.loop.get_scheduler();
    for (int i = 1; i < key; ++i) {
      co_await loop.schedule();
      co_await loop.schedule();
    }
    auto r = co_await on.loader.async_load(key);
    co_return *r;
  };
  auto a = spawn(l.loop, hop_and_load(l, 1));
  auto b = spawn(l.loop, hop_and_load(l, 2));
  auto c = spawn(l.loop, hop_and_load(l, 3));
  auto d = spawn(l.loop, hop_and_load(l, 4));
  l.loop.run_all();
  CHECK(d.result() == 4);
  CHECK(l.seen == calls{{1, 2, 3, 4}});
}

TEST_CASE("DataLoader: can call a loader from a loader; the nested N+1 case is one query for each level", "[batcher][parity]") {
  // a and b load by way of deep, and every user of theirs loads on: three levels, as many queries.
  identity deep;
  calls of_a;
  calls of_b;
  const auto by_way_of_deep = [&deep](calls& seen) {
    return function{[&deep, &seen](std::span<const int> k) {
      seen.emplace_back(k.begin(), k.end());
      auto through = [](identity& d, std::vector<int> mine) -> task<std::vector<result<int>>> {
        auto all = co_await d.loader.async_load_many(std::move(mine));
        std::vector<result<int>> r;
        for (auto& f : all) r.emplace_back(f.get());
        co_return r;
      };
      return through(deep, std::vector<int>(k.begin(), k.end()));
    }};
  };
  {
    loader_type a{deep.loop, by_way_of_deep(of_a), as_dataloader()};
    loader_type b{deep.loop, by_way_of_deep(of_b), as_dataloader()};
    auto resolve = [](loader_type& first, loader_type& next, int key) -> task<int> {
      auto one = co_await first.async_load(key);
      auto two = co_await next.async_load(*one + 100);
      co_return *two;
    };
    auto a1 = spawn(deep.loop, resolve(a, b, 1));
    auto b1 = spawn(deep.loop, resolve(b, a, 2));
    auto a2 = spawn(deep.loop, resolve(a, b, 3));
    auto b2 = spawn(deep.loop, resolve(b, a, 4));
    deep.loop.run_all();
    CHECK(a1.result() == 101);
    CHECK(b2.result() == 104);
  }
  CHECK(of_a == calls{{1, 3}, {102, 104}});
  CHECK(of_b == calls{{2, 4}, {101, 103}});
  CHECK(deep.seen.size() == 2);
  CHECK(deep.seen[0].size() == 4);
}
