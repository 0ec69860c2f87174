#include <penstock/testing/seeded_executor.hpp>

#include <algorithm>
#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>

#include "../../support/catch.hpp"

using penstock::find_failing_seed;
using penstock::seeded_executor;
using penstock::spawn;
using penstock::task;

namespace {

task<> write(penstock::any_scheduler here, std::string& log, std::string text) {
  for (const char c : text) {
    log.push_back(c);
    co_await here.schedule();
  }
}

// Three coroutines that write their letters; the log is the interleaving. Each goes through the queue five times: to begin, after
// each of three letters, and from the task's end to its awaiter.
std::string interleave(seeded_executor& loop) {
  std::string log;
  auto a = spawn(loop, write(loop.get_scheduler(), log, "abc"));
  auto b = spawn(loop, write(loop.get_scheduler(), log, "ABC"));
  auto c = spawn(loop, write(loop.get_scheduler(), log, "123"));
  CHECK(loop.run_all() == 15);
  return log;
}

// Looks and then takes, with a gap between: two may take the last one.
task<> take_last(penstock::any_scheduler here, int& stock) {
  if (stock > 0) {
    co_await here.schedule();
    --stock;
  }
}

bool never_oversold(seeded_executor& loop) {
  int stock = 1;
  auto one = spawn(loop, take_last(loop.get_scheduler(), stock));
  auto two = spawn(loop, take_last(loop.get_scheduler(), stock));
  loop.run_all();
  return stock >= 0;
}

}  // namespace

TEST_CASE("seeded_executor: the same seed gives the same interleaving, other seeds give others", "[seeded_executor]") {
  std::set<std::string> logs;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    seeded_executor first{seed};
    seeded_executor second{seed};
    CHECK(first.seed() == seed);
    const std::string log = interleave(first);
    REQUIRE(log == interleave(second));
    REQUIRE(first.choices() == second.choices());
    // Each coroutine's own order is kept whatever the interleaving.
    std::string letters;
    std::copy_if(log.begin(), log.end(), std::back_inserter(letters), [](char c) { return c >= 'a'; });
    REQUIRE(letters == "abc");
    logs.insert(log);
  }
  CHECK(logs.size() > 40);
}

TEST_CASE("seeded_executor: the order belongs to the seed on every machine", "[seeded_executor]") {
  seeded_executor loop{2024};
  const std::string log = interleave(loop);
  CHECK(log == "ABaCbc123");
}

TEST_CASE("seeded_executor: recorded choices replay an interleaving", "[seeded_executor]") {
  seeded_executor recorded{7};
  const std::string log = interleave(recorded);
  CHECK(recorded.choices().size() == 15);
  seeded_executor replayed{recorded.choices()};
  CHECK(interleave(replayed) == log);
  CHECK(replayed.choices() == recorded.choices());
}

TEST_CASE("seeded_executor: after the last replayed choice the oldest item runs", "[seeded_executor]") {
  seeded_executor loop{seeded_executor::choice_list{2, 2}};
  CHECK(interleave(loop) == "12aA3bBcC");
}

TEST_CASE("seeded_executor: a choice that does not fit is noticed, and the oldest item runs from there on", "[seeded_executor]") {
  seeded_executor fits{seeded_executor::choice_list{2}};
  CHECK(interleave(fits).front() == '1');
  CHECK_FALSE(fits.diverged());
  seeded_executor loop{seeded_executor::choice_list{2, 3, 2}};
  CHECK(interleave(loop) == "1aA2bB3cC");
  CHECK(loop.diverged());
  CHECK(loop.choices()[1] == 0);
}

TEST_CASE("seeded_executor: finds the seed of an interleaving that goes wrong, and that seed shows it again",
          "[seeded_executor]") {
  const auto failure = find_failing_seed(0, 100, never_oversold);
  REQUIRE(failure);
  CHECK(failure->error == nullptr);
  seeded_executor by_seed{failure->seed};
  CHECK_FALSE(never_oversold(by_seed));
  seeded_executor by_choices{failure->choices};
  CHECK_FALSE(never_oversold(by_choices));
}

TEST_CASE("seeded_executor: scenarios that go well find nothing, ones that throw are reported", "[seeded_executor]") {
  std::vector<std::uint64_t> seeds;
  CHECK_FALSE(find_failing_seed(10, 5, [&](seeded_executor& loop) {
    seeds.push_back(loop.seed());
    return interleave(loop).size() == 9;
  }));
  CHECK(seeds == std::vector<std::uint64_t>{10, 11, 12, 13, 14});
  const auto failure = find_failing_seed(0, 10, [](seeded_executor& loop) -> bool {
    if (loop.seed() == 3) throw std::runtime_error{"third"};
    return true;
  });
  REQUIRE(failure);
  CHECK(failure->seed == 3);
  CHECK_THROWS_WITH(std::rethrow_exception(failure->error), "third");
}
