#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <penstock/core/manual_clock.hpp>
#include <penstock/route/anchor_hash.hpp>
#include <penstock/route/balancer.hpp>
#include <penstock/route/consistent_hash.hpp>
#include <penstock/route/hash_ring.hpp>
#include <penstock/route/jump.hpp>
#include <penstock/route/maglev.hpp>
#include <penstock/route/rendezvous.hpp>
#include <penstock/route/round_robin.hpp>

#include "support/catch.hpp"

using namespace penstock;
using namespace std::chrono_literals;

namespace {

using turns = balancer<std::string, round_robin, manual_clock>;

// Calls until the wanted endpoint was called n times; the others succeed.
void call(turns& b, endpoint_id wanted, int n, lease_outcome how) {
  for (int i = 0; n > 0 && i < 100'000; ++i) {
    auto lease = b.pick();
    if (lease.id() == wanted) {
      lease.end_as(how);
      --n;
    }
  }
  REQUIRE(n == 0);
}

struct three {
  explicit three(const balancer_options& options) : b{options, clock} {
    for (const char* name : {"a", "b", "c"}) ids.push_back(b.insert(name).value());
  }
  endpoint_state state(std::size_t i) { return b.stats(ids[i])->state; }

  manual_clock clock;
  turns b;
  std::vector<endpoint_id> ids;
};

}  // namespace

TEST_CASE("balancer health: so many failures in a row eject, for longer each time, and a probation ends that", "[balancer]") {
  three t{
      {.ejection = {.consecutive_failures = 3, .duration = 10s, .max_duration = 35s, .max_ejected_share = 1, .probation = 2}}};
  const endpoint_id a = t.ids[0];
  call(t.b, a, 2, lease_outcome::failure);
  call(t.b, a, 1, lease_outcome::success);
  call(t.b, a, 2, lease_outcome::failure);
  call(t.b, a, 1, lease_outcome::ignored);  // says nothing, neither way
  CHECK(t.state(0) == endpoint_state::listed);
  auto held = t.b.pick();
  while (held.id() != a) held = t.b.pick();
  call(t.b, a, 1, lease_outcome::failure);
  CHECK(t.state(0) == endpoint_state::ejected);
  CHECK(t.b.stats(a)->in_flight == 1);
  CHECK(t.b.size() == 2);
  held.failure();  // it is out; this does not count as another time
  for (const auto out : {10s, 20s, 35s, 35s}) {
    t.clock.advance(out - 1ns);
    for (int i = 0; i < 6; ++i) CHECK(t.b.pick().id() != a);
    t.clock.advance(1ns);
    call(t.b, a, 1, lease_outcome::success);
    CHECK(t.state(0) == endpoint_state::listed);
    call(t.b, a, 1, lease_outcome::failure);  // the first one on probation
    CHECK(t.state(0) == endpoint_state::ejected);
  }
  CHECK(t.b.stats(a)->ejections == 5);
  t.clock.advance(35s);
  call(t.b, a, 2, lease_outcome::success);
  CHECK(t.b.stats(a)->ejections == 0);
  call(t.b, a, 2, lease_outcome::failure);
  CHECK(t.state(0) == endpoint_state::listed);
  call(t.b, a, 1, lease_outcome::failure);
  CHECK(t.state(0) == endpoint_state::ejected);
  t.clock.advance(10s);
  call(t.b, a, 1, lease_outcome::success);
  CHECK(t.state(0) == endpoint_state::listed);
}

TEST_CASE("balancer health: without a probation, and after restore(), the first success ends the doubling", "[balancer]") {
  three t{{.ejection = {.consecutive_failures = 2, .duration = 10s, .max_ejected_share = 1, .probation = 0}}};
  const endpoint_id a = t.ids[0];
  const auto ejections = [&] { return t.b.stats(a)->ejections; };
  call(t.b, a, 2, lease_outcome::failure);
  t.clock.advance(10s);
  call(t.b, a, 2, lease_outcome::failure);  // the first one alone does not eject
  CHECK(ejections() == 2);
  CHECK(t.b.size() == 2);
  t.clock.advance(20s);
  call(t.b, a, 1, lease_outcome::success);
  CHECK(ejections() == 0);
  call(t.b, a, 2, lease_outcome::failure);
  CHECK(ejections() == 1);
  REQUIRE(t.b.restore(a));
  CHECK(ejections() == 1);
  call(t.b, a, 1, lease_outcome::success);
  CHECK(ejections() == 0);
}

TEST_CASE("balancer health: a share of failures in a window ejects, few calls do not", "[balancer]") {
  three t{{.ejection = {.consecutive_failures = 0, .failure_rate = 0.5, .minimum_calls = 10, .window = 10s}, .recovery = 1ms}};
  const auto step = [&](lease_outcome how) {
    call(t.b, t.ids[0], 1, how);
    t.clock.advance(100ms);  // far more than it takes to recover
  };
  for (int i = 0; i < 100; ++i) step(lease_outcome::success);  // before the window
  for (int i = 0; i < 4; ++i) {
    step(lease_outcome::failure);
    step(lease_outcome::success);
  }
  step(lease_outcome::failure);  // five of nine
  CHECK(t.state(0) == endpoint_state::listed);
  t.clock.advance(10s);  // another window
  for (int i = 0; i < 3; ++i) {
    for (int k = 0; k < 2; ++k) step(lease_outcome::failure);
    step(lease_outcome::success);
  }
  CHECK(t.state(0) == endpoint_state::listed);  // six of nine
  step(lease_outcome::failure);
  CHECK(t.state(0) == endpoint_state::ejected);
}

TEST_CASE("balancer health: no more are ejected than the ceiling says, and never the last one", "[balancer]") {
  three t{{.ejection = {.consecutive_failures = 1, .max_ejected_share = 0.4}}};
  CHECK(t.b.size() == 3);
  call(t.b, t.ids[0], 1, lease_outcome::failure);
  call(t.b, t.ids[1], 20, lease_outcome::failure);
  CHECK(t.b.size() == 2);  // one may always be out
  CHECK(t.state(1) == endpoint_state::listed);

  // Those that do not fail go: rather one that fails than none.
  REQUIRE(t.b.erase(t.ids[1]));
  REQUIRE(t.b.drain(t.ids[2]));
  CHECK(t.b.pick().id() == t.ids[0]);
  REQUIRE(t.b.restore(t.ids[2]));
  for (int i = 0; i < 4; ++i) CHECK(t.b.pick().id() == t.ids[2]);
  REQUIRE(t.b.restore(t.ids[0]));  // at once
  CHECK(t.b.size() == 2);
  CHECK(t.b.stats(t.ids[0])->share == 1);

  three none{{.ejection = {.consecutive_failures = 1, .max_ejected_share = 0}}};
  call(none.b, none.ids[0], 5, lease_outcome::failure);
  CHECK(none.b.size() == 3);
  three all{{.ejection = {.consecutive_failures = 1, .max_ejected_share = 1}}};
  for (std::size_t i = 0; i < 3; ++i) call(all.b, all.ids[i], 1, lease_outcome::failure);
  CHECK(all.b.size() == 1);
  CHECK(all.state(2) == endpoint_state::listed);
}

TEST_CASE("balancer health: failures halve the share, successes and time give it back", "[balancer]") {
  three t{{.ejection = {.max_ejected_share = 0}, .recovery = 4s}};
  const endpoint_id a = t.ids[0];
  const auto share = [&] { return t.b.stats(a)->share; };
  call(t.b, a, 1, lease_outcome::failure);
  CHECK(share() == 0.5);
  call(t.b, a, 1, lease_outcome::failure);
  CHECK(share() == 0.25);
  t.clock.advance(4s);
  CHECK(share() == Approx(0.625));
  t.clock.advance(-3s);
  CHECK(share() < 0.625);
  t.clock.advance(-10s);
  CHECK(share() == 0.25);  // a clock that steps back changes nothing
  call(t.b, a, 1, lease_outcome::success);
  CHECK(share() == Approx(0.25 + 0.75 / 8));
  call(t.b, a, 50, lease_outcome::failure);
  CHECK(share() == Approx(0.01));
  call(t.b, a, 60, lease_outcome::success);
  CHECK(share() == 1);
}

TEST_CASE("balancer health: who is new, or comes back, begins slowly", "[balancer]") {
  three t{{.ejection = {.consecutive_failures = 1, .duration = 10s, .probation = 0},
           .slow_start = {.duration = 20s, .minimum = 0.2}}};
  const auto share = [&](std::size_t i) { return t.b.stats(t.ids[i])->share; };
  CHECK(share(0) == 0.2);
  t.clock.advance(10s);
  CHECK(share(0) == 0.5);
  t.clock.advance(10s);
  CHECK(share(0) == 1);
  call(t.b, t.ids[0], 1, lease_outcome::success);
  call(t.b, t.ids[0], 1, lease_outcome::failure);
  t.clock.advance(10s);
  call(t.b, t.ids[1], 1, lease_outcome::success);  // a pick, which lets it in again
  CHECK(t.state(0) == endpoint_state::listed);
  CHECK(share(0) == 0.2);
  t.clock.advance(5s);
  CHECK(share(0) == 0.25);

  // In the picks of a policy that looks at no load: one of three with a share of 0.25.
  int picked = 0;
  constexpr int n = 3000;
  for (int i = 0; i < n; ++i) {
    auto lease = t.b.pick();
    picked += lease.id() == t.ids[0];
    lease.ignore();
  }
  CHECK(picked == Approx(n * 0.25 / 2.25).margin(70));  // four standard deviations
  REQUIRE(t.b.drain(t.ids[1]));
  REQUIRE(t.b.restore(t.ids[1]));
  CHECK(share(1) == 0.2);
}

TEST_CASE("balancer health: with a placement, the keys of an endpoint that is out go to its next one, and come back",
          "[balancer]") {
  manual_clock clock;
  balancer<std::string, consistent_hash<hash_ring>, manual_clock> b{
      {.ejection = {.consecutive_failures = 1, .duration = 10s}, .key_seed = 7}, clock};
  hash_ring<std::string> ring{{.seed = 7}};
  std::vector<endpoint_id> ids;
  for (const char* name : {"a", "b", "c", "d"}) {
    const double weight = *name == 'a' ? 2 : 1;
    ids.push_back(b.insert(name, {.weight = weight}).value());
    ring.insert(name, {.weight = weight});
  }
  const auto where = [&](int key) { return *b.pick(key); };
  const auto all_as = [&](std::size_t out) {  // the first of the preferred ones that is not `out`
    for (int key = 0; key < 500; ++key) {
      const auto preferred = ring.find_n(key, 2);
      const std::string& expected =
          out < ids.size() && *preferred[0] == std::string(1, static_cast<char>('a' + out)) ? *preferred[1] : *preferred[0];
      if (where(key) != expected) return false;
    }
    return true;
  };
  CHECK(all_as(4));
  REQUIRE(b.drain(ids[1]));
  CHECK(all_as(1));
  REQUIRE(b.restore(ids[1]));
  CHECK(all_as(4));
  int key = 0;
  while (where(key) != "c") ++key;
  b.pick(key).failure();
  CHECK(b.stats(ids[2])->state == endpoint_state::ejected);
  CHECK(all_as(2));
  clock.advance(10s);
  CHECK(all_as(4));

  std::string attempts;
  for (auto at = b.attempts(key, 8); auto lease = at.next();) attempts += *lease;
  CHECK(attempts.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(attempts[i] == ring.find_n(key, 4)[i]->front());

  REQUIRE(b.erase(ids[3]));
  CHECK_FALSE(b.erase(ids[3]));
  ring.erase("d");
  REQUIRE(b.reweight(ids[1], 3));
  CHECK_FALSE(b.reweight(ids[3], 3));
  ring.reweight("b", 3);
  CHECK(all_as(4));
  for (const endpoint_id id : {ids[0], ids[1], ids[2]}) REQUIRE(b.drain(id));
  CHECK_FALSE(b.pick(1));
}

namespace {

// Empty if all keys are where the placement says, else what is not so.
template <template <class> class Placement>
std::string follows_its_placement(manual_clock& clock, bool takes_weights) {
  balancer<char, consistent_hash<Placement>, manual_clock> b{{.key_seed = 7}, clock};
  Placement<placed_endpoint> expected;
  std::vector<endpoint_id> ids;
  const auto name_of = [](std::uint32_t place) { return hash_of(std::string(1, static_cast<char>('a' + place)), 7); };
  for (std::uint32_t i = 0; i < 5; ++i) {
    ids.push_back(b.insert(static_cast<char>('a' + i), {.name = std::string(1, static_cast<char>('a' + i))}).value());
    expected.insert(placed_endpoint{name_of(i), i});
  }
  constexpr int keys = 400;
  const auto all = [&] {
    std::string where;
    for (int key = 0; key < keys; ++key) where += *b.pick(key);
    return where;
  };
  const auto is_as_expected = [&] {
    for (int key = 0; key < keys; ++key) {
      if (*b.pick(key) != static_cast<char>('a' + expected.find(ready_hash{hash_of(key, 7)})->place)) return false;
    }
    return true;
  };
  if (!is_as_expected()) return "a key is not where the placement has it";
  const std::string before = all();
  if (!b.reweight(ids[1], 1) || all() != before) return "the same weight moves keys";
  try {
    b.insert('x', {.weight = 2}).value();
    if (!takes_weights) return "a weight that the placement does not take";
    if (!b.erase(b.stats().back().id)) return "the last one is not there";
  } catch (const std::invalid_argument&) {
    if (takes_weights) return "a weight is refused";
  }
  if (!is_as_expected()) return "an endpoint that went, or never came, has left something";

  b.drain(ids[2]);
  const std::string during = all();
  std::string heirs;
  for (std::size_t k = 0; k < keys; ++k) {
    if (before[k] == 'c' ? during[k] == 'c' : during[k] != before[k]) return "a key of another one moves in a drain";
    if (before[k] == 'c' && heirs.find(during[k]) == std::string::npos) heirs += during[k];
  }
  if (heirs.size() != 4) return "its keys do not go to all others: " + heirs;
  b.restore(ids[2]);
  if (all() != before) return "keys do not come back";

  for (int key = 0; key < 20; ++key) {
    std::string tried;
    for (auto attempts = b.attempts(key, 8); auto lease = attempts.next();) tried += *lease;
    if (tried[0] != before[static_cast<std::size_t>(key)]) return "the first attempt goes elsewhere";
    std::sort(tried.begin(), tried.end());
    if (tried != "abcde") return "attempts are not all different: " + tried;
    for (int i = 0; i < 40; ++i) static_cast<void>(b.attempts(key, 1).next());  // earns the retries of the next one
  }

  b.erase(ids[1]);
  expected.erase(placed_endpoint{name_of(1), 1});
  if (!is_as_expected()) return "without b";
  b.insert('b', {.name = "b"}).value();  // at the place that is free
  expected.insert(placed_endpoint{name_of(1), 1});
  return is_as_expected() ? "" : "with b again";
}

}  // namespace

TEST_CASE("balancer: keys are where each of the placements says, in drains, retries and after changes, too", "[balancer]") {
  manual_clock clock;
  CHECK(follows_its_placement<rendezvous>(clock, true) == "");
  CHECK(follows_its_placement<maglev>(clock, true) == "");
  CHECK(follows_its_placement<anchor_hash>(clock, false) == "");
  CHECK(follows_its_placement<jump>(clock, false) == "");
}

TEST_CASE("balancer health: ignored calls do not thin out a window's failures", "[balancer]") {
  three t{{.ejection = {.consecutive_failures = 0, .failure_rate = 0.5, .minimum_calls = 4}}};
  for (int i = 0; i < 2; ++i) {
    call(t.b, t.ids[0], 1, lease_outcome::failure);
    call(t.b, t.ids[0], 10, lease_outcome::ignored);
    call(t.b, t.ids[0], 1, lease_outcome::success);
  }
  CHECK(t.state(0) == endpoint_state::listed);
  call(t.b, t.ids[0], 1, lease_outcome::failure);  // three of five
  CHECK(t.state(0) == endpoint_state::ejected);
}
