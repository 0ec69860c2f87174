#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/backoff.hpp>
#include <penstock/core/detail/clock_handle.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/manual_clock.hpp>
#include <penstock/route/balancer.hpp>
#include <penstock/route/detail/pick_context.hpp>
#include <penstock/route/ip_address.hpp>
#include <penstock/route/peak_ewma.hpp>
#include <penstock/route/round_robin.hpp>
#include <penstock/route/sticky.hpp>
#include <penstock/route/weighted_round_robin.hpp>

#include "support/catch.hpp"

using namespace penstock;
using namespace std::chrono_literals;

namespace {

template <class Policy>
using of = balancer<std::string, Policy, manual_clock>;

// One lease after the other, each ended before the next one.
template <class Balancer>
std::string picks(Balancer& b, int n) {
  std::string all;
  for (int i = 0; i < n; ++i) {
    auto lease = b.pick();
    all += lease ? *lease : "-";
  }
  return all;
}

// Whom a call of up to five attempts goes to, and one of up to two.
template <class Policy>
std::string tried(manual_clock& clock) {
  of<Policy> b{{}, clock};
  for (const char* name : {"a", "b", "c"}) b.insert(name).value();
  std::string all;
  for (auto attempts = b.attempts(5); auto lease = attempts.next();) all += *lease;
  all += '|';
  for (auto attempts = b.attempts(2); auto lease = attempts.next();) all += *lease;
  return all;
}

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("balancer: round robin and its weighted form take turns", "[balancer]") {
  manual_clock clock;
  of<round_robin> even{{}, clock};
  CHECK_FALSE(even.pick());
  for (const char* name : {"a", "b", "c"}) REQUIRE(even.insert(name, {.weight = *name == 'a' ? 5.0 : 1.0}));
  CHECK(picks(even, 7) == "abcabca");

  of<weighted_round_robin> weighted{{}, clock};
  REQUIRE(weighted.insert("a", {.weight = 5}));
  REQUIRE(weighted.insert("b"));
  REQUIRE(weighted.insert("c"));
  CHECK(picks(weighted, 14) == "aabacaaaabacaa");  // nginx's own example
  const auto d = weighted.insert("d", {.weight = 7});
  std::map<char, int> count;
  for (char c : picks(weighted, 14 * 10)) ++count[c];
  CHECK(count == std::map<char, int>{{'a', 50}, {'b', 10}, {'c', 10}, {'d', 70}});
  CHECK(weighted.reweight(*d, 1));
  count.clear();
  for (char c : picks(weighted, 8 * 10)) ++count[c];
  CHECK(count['a'] >= 49);
  CHECK(count['d'] <= 11);
}

TEST_CASE("balancer: weighted round robin gives the sequence of nginx's loop, for weights that are no whole numbers, too",
          "[balancer]") {
  manual_clock clock;
  struct peer {
    double weight;
    double current = 0;
  };
  std::vector<peer> peers{{4}, {3}, {2.5}, {1}, {1}, {0.25}};
  of<weighted_round_robin> b{{}, clock};
  for (std::size_t i = 0; i < peers.size(); ++i) {
    REQUIRE(b.insert(std::string(1, static_cast<char>('a' + i)), {.weight = peers[i].weight}));
  }
  std::string expected;
  for (int n = 0; n < 300; ++n) {
    double total = 0;
    peer* best = nullptr;
    for (peer& p : peers) {
      p.current += p.weight;
      total += p.weight;
      if (best == nullptr || p.current > best->current) best = &p;
    }
    best->current -= total;
    expected += static_cast<char>('a' + (best - peers.data()));
  }
  CHECK(picks(b, 300) == expected);
}

TEST_CASE("balancer: peak_ewma picks as Finagle's formulas say", "[balancer]") {
  struct node {  // com.twitter.finagle.loadbalancer.p2c.P2CPeakEwma, its Metric and Node, in nanoseconds
    double cost = 0;
    double at = 0;
    int pending = 0;
    double decayed(double now) const { return cost * std::exp(-(now - at) / 10e9); }
    void observe(double rtt, double now) {
      const double before = decayed(now);
      cost = rtt > before ? rtt : before + rtt * (1 - std::exp(-(now - at) / 10e9));
      at = now;
    }
    double load(double now) const {
      if (cost == 0) return pending == 0 ? 0 : 1e9 + pending;  // its penalty is another one: peak_ewma::unknown
      return decayed(now) * (pending + 1);
    }
  };
  manual_clock clock;
  of<peak_ewma> b{{}, clock};
  REQUIRE(b.insert("0"));
  REQUIRE(b.insert("1"));
  std::array<node, 2> nodes;
  struct call {
    of<peak_ewma>::lease lease;
    std::size_t to;
    double began;
  };
  std::vector<call> calls;
  splitmix64 random{3};
  const auto now = [&] { return static_cast<double>(clock.now().time_since_epoch().count()); };
  int decided = 0;
  for (int step = 0; step < 3000; ++step) {
    clock.advance(std::chrono::nanoseconds{random() % 200'000'000});
    if (calls.size() > 12 || (!calls.empty() && random() % 2 == 0)) {
      const std::size_t which = random() % calls.size();
      std::swap(calls[which], calls.back());
      calls.back().lease.success();
      node& n = nodes[calls.back().to];
      n.observe(now() - calls.back().began, now());
      --n.pending;
      calls.pop_back();
      continue;
    }
    const double zero = nodes[0].load(now());
    const double one = nodes[1].load(now());
    auto lease = b.pick();  // of two it looks at both
    const auto to = static_cast<std::size_t>(lease->front() - '0');
    if (std::abs(zero - one) > 1e-9 * (zero + one)) {
      ++decided;
      if (to != (zero < one ? 0U : 1U)) FAIL("step " << step << ": " << zero << " and " << one);
    }
    ++nodes[to].pending;
    calls.push_back({std::move(lease), to, now()});
  }
  CHECK(decided > 1000);
}

TEST_CASE("balancer: the least loaded is picked, by weight, and equals take turns", "[balancer]") {
  manual_clock clock;
  of<least_connections> b{{}, clock};
  const auto a = b.insert("a");
  REQUIRE(b.insert("b"));
  REQUIRE(b.insert("c"));
  CHECK(picks(b, 6) == "abcabc");  // idle, all of them
  auto busy = b.pick();
  REQUIRE(*busy == "a");
  CHECK(picks(b, 6) == "bcbcbc");  // who comes behind a busy one has no more turns than others
  busy.ignore();
  std::vector<of<least_connections>::lease> held;
  for (int i = 0; i < 6; ++i) held.push_back(b.pick());
  for (const endpoint_stats& s : b.stats()) CHECK(s.in_flight == 2);
  const auto busiest = *a;
  for (auto& lease : held) {
    if (lease.id() == busiest) lease.ignore();
  }
  CHECK(*b.pick() == "a");
  CHECK(*b.pick() == "a");
  held.clear();
  REQUIRE(b.reweight(busiest, 2));
  for (int i = 0; i < 40; ++i) held.push_back(b.pick());
  CHECK(b.stats(busiest)->in_flight == 20);

  // Of two, the less loaded one; nobody is compared with itself.
  of<power_of_two_choices> two{{}, clock};
  REQUIRE(two.insert("a"));
  REQUIRE(two.insert("b"));
  std::vector<of<power_of_two_choices>::lease> leases;
  for (int i = 0; i < 50; ++i) leases.push_back(two.pick());
  for (const endpoint_stats& s : two.stats()) CHECK(s.in_flight == 25);
}

TEST_CASE("balancer: a lease counts until it ends, by whatever way", "[balancer]") {
  manual_clock clock;
  of<round_robin> b{{.measure_latency = true}, clock};
  const auto id = b.insert("a");
  const auto now = [&] { return *b.stats(*id); };
  auto lease = b.pick();
  CHECK(lease.id() == *id);
  CHECK(lease->size() == 1);
  auto moved = std::move(lease);
  CHECK_FALSE(lease);
  CHECK(now().in_flight == 1);
  clock.advance(30ms);
  moved.success();
  moved.failure();  // it has ended
  CHECK(now().in_flight == 0);
  CHECK(now().ended == 1);
  CHECK(now().failures == 0);
  CHECK(now().mean_latency == 30ms);
  {
    auto first = b.pick();
    first = b.pick();  // ends the one before
    CHECK(now().in_flight == 1);
    first.ignore();
  }
  CHECK(now().ended == 3);
  try {
    auto thrown = b.pick();
    throw 1;
  } catch (int) {
  }
  CHECK(now().failures == 1);
  CHECK(now().share == 0.5);
  CHECK(now().mean_latency == 15ms);  // of the two that succeeded; the other one ended at once
}

TEST_CASE("balancer: endpoints come, are drained, erased, and destroyed under no lock when their last lease ends",
          "[balancer][hazard-17][hazard-30]") {
  manual_clock clock;
  using functions = balancer<std::function<int()>, round_robin, manual_clock>;
  functions b{{.max_endpoints = 2}, clock};
  const auto number = [](const std::shared_ptr<int>& n) { return [n] { return *n; }; };
  const auto one = std::make_shared<int>(1);
  const auto two = std::make_shared<int>(2);
  const auto first = b.insert(number(one));
  const auto second = b.insert(number(two));
  std::function<int()> third = [] { return 3; };
  CHECK(b.insert(std::move(third)).error() == errc::full);
  REQUIRE(third);  // NOLINT: it is moved from only if there is room
  {
    auto lease = b.pick();
    REQUIRE((*lease)() == 1);
    CHECK(b.erase(*first));
    CHECK_FALSE(b.erase(*first));
    CHECK_FALSE(b.drain(*first));
    CHECK_FALSE(b.restore(*first));
    CHECK_FALSE(b.reweight(*first, 2));
    CHECK_FALSE(b.stats(*first));
    CHECK(one.use_count() == 2);
    CHECK(b.insert(third).error() == errc::full);  // its place is not free yet
    for (int i = 0; i < 4; ++i) CHECK((*b.pick())() == 2);
  }
  CHECK(one.use_count() == 1);
  struct cannot_be_copied {
    cannot_be_copied() = default;
    cannot_be_copied(cannot_be_copied&&) noexcept = default;
    cannot_be_copied(const cannot_be_copied&) { throw std::bad_alloc{}; }
    int operator()() const { return 4; }
  };
  const std::function<int()> throws{cannot_be_copied{}};
  CHECK_THROWS_AS(b.insert(throws), std::bad_alloc);
  const auto again = b.insert(third);  // so the place is free
  REQUIRE(again);
  CHECK(*again != *first);  // the same place, another endpoint
  CHECK_FALSE(b.erase(*first));

  auto lease = b.pick();
  CHECK(b.drain(*again));
  CHECK(b.drain(*second));
  CHECK_FALSE(b.pick());
  CHECK(b.size() == 0);
  CHECK(b.stats(*second)->state == endpoint_state::draining);
  CHECK(b.restore(*second));
  CHECK((*b.pick())() == 2);
  lease.ignore();
  CHECK(b.erase(*second));
  CHECK(two.use_count() == 1);

  // What an endpoint's end does may use the balancer.
  std::size_t seen = 0;
  std::shared_ptr<int> curious{new int{5}, [&](int* n) {
                                 delete n;
                                 seen = b.stats().size();
                               }};
  const auto fifth = b.insert(number(std::exchange(curious, nullptr)));
  REQUIRE(fifth);
  CHECK(b.erase(*fifth));
  CHECK(seen == 1);
}

TEST_CASE("balancer: what cannot be is refused by name", "[balancer]") {
  const auto refusal = [](const balancer_options& o) { return message_of([&] { balancer<int> b{o}; }); };
  CHECK(refusal({.max_endpoints = 0}) == "penstock::balancer: max_endpoints must be 1 to 2^24");
  CHECK(refusal({.ejection = {.failure_rate = NAN}}) == "penstock::balancer: ejection.failure_rate must be in [0, 1]");
  CHECK(refusal({.ejection = {.duration = 2s, .max_duration = 1s}}) ==
        "penstock::balancer: ejection.max_duration must not be less than ejection.duration");
  CHECK(refusal({.slow_start = {.minimum = 0}}) == "penstock::balancer: slow_start.minimum must be in (0, 1]");
  CHECK(refusal({.recovery = 0s}) == "penstock::balancer: recovery must be positive");
  CHECK(refusal({.retry_share = -1}) == "penstock::balancer: retry_share must be in [0, 10]");
  CHECK(refusal({}).empty());
  balancer<int> b;
  for (const double weight : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    CHECK(message_of([&] { (void)b.insert(1, {.weight = weight}); }) ==
          "penstock::balancer: the weight of an endpoint must be positive and finite");
  }
  CHECK(message_of([&] { (void)b.attempts(17); }) == "penstock::balancer: attempts must be 1 to 16");
  CHECK_FALSE(b.pick());
  CHECK(message_of([] { balancer<int, sticky> s{{}, sticky{.load_factor = 1}}; }) ==
        "penstock::sticky: load_factor must be 0, or greater than 1 and finite");
}

TEST_CASE("balancer: attempts go to another endpoint each time, within a budget of retries", "[balancer]") {
  manual_clock clock;
  std::vector<std::string> all{tried<round_robin>(clock),          tried<random_choice>(clock),
                               tried<weighted_round_robin>(clock), tried<least_connections>(clock),
                               tried<power_of_two_choices>(clock), tried<peak_ewma>(clock)};
  for (std::string& two_calls : all) {
    std::sort(two_calls.begin(), two_calls.begin() + 3);
    CHECK(two_calls.substr(0, 4) == "abc|");  // there is no fourth one for a fourth attempt
    CHECK(two_calls.size() == 6);
    CHECK(two_calls[4] != two_calls[5]);
  }

  const auto retries = [](of<round_robin>& b, int calls) {
    int n = 0;
    for (int i = 0; i < calls; ++i) {
      auto attempts = b.attempts(2);
      while (attempts.next()) {
      }
      n += static_cast<int>(attempts.made()) - 1;
    }
    return n;
  };
  of<round_robin> b{{.retry_share = 0.25}, clock};
  for (const char* name : {"a", "b"}) REQUIRE(b.insert(name));
  CHECK(retries(b, 1000) == 259);  // the ten that it begins with, and a quarter of each first attempt that found less than ten
  of<round_robin> alone{{.retry_share = 0}, clock};
  REQUIRE(alone.insert("a"));
  CHECK(retries(alone, 20) == 0);
  REQUIRE(alone.insert("b"));
  CHECK(retries(alone, 20) == 10);  // what was not made was not counted
  of<round_robin> seldom{{.retry_share = 0.0005}, clock};
  for (const char* name : {"a", "b"}) REQUIRE(seldom.insert(name));
  CHECK(retries(seldom, 10'000) == 14);
}

TEST_CASE("balancer: round robin finds who was not tried while others take its thread's turns", "[balancer]") {
  using context = detail::pick_context<manual_clock, detail::std_sync>;
  struct two_places {
    context& other;
    static std::uint32_t size() { return 2; }
    std::uint32_t at(std::uint32_t i) const {
      static_cast<void>(other.turn(2));  // so that this thread's next turn is the same place again
      return i;
    }
    static bool watched(std::uint32_t) { return false; }
    static double share(std::uint32_t, context&) { return 1; }
  };
  manual_clock clock;
  const detail::clock_handle<manual_clock> time{clock};
  detail::pick_stripes<detail::std_sync> stripes{0};
  context other{stripes.mine(), time, 0, {}};
  const std::array<std::uint32_t, 1> tried_before{0};
  context c{stripes.mine(), time, 0, tried_before};
  round_robin::picker<detail::std_sync> picker{{}, 2};
  CHECK(picker.choose(two_places{other}, c) == 1);
}

TEST_CASE("balancer: the own zone is preferred as long as enough of it is there", "[balancer]") {
  manual_clock clock;
  of<round_robin> b{{.ejection = {.consecutive_failures = 1}, .zone = "here", .zone_available_share = 0.6}, clock};
  for (const char* name : {"a", "b", "c"}) REQUIRE(b.insert(name, {.zone = "here"}));
  REQUIRE(b.insert("x", {.zone = "there"}));
  REQUIRE(b.insert("y"));
  CHECK(b.size() == 3);
  CHECK(picks(b, 3) == "abc");
  const auto fail = [&] { b.pick().failure(); };
  fail();
  CHECK(b.size() == 2);  // two of three are more than 0.6
  fail();
  CHECK(b.size() == 3);  // one of three is not: it and the two others
  clock.advance(10s);
  CHECK(picks(b, 60).find_first_of("xy") == std::string::npos);

  // Retries go beyond the zone when all of it has been tried: to who is well, by cost or by key.
  of<least_connections> by_cost{{.zone = "here", .retry_share = 1}, clock};
  of<sticky> by_key{{.zone = "here", .retry_share = 1}, clock};
  of<sticky> no_zone{{}, clock};
  REQUIRE(by_cost.insert("a", {.zone = "here"}));
  REQUIRE(by_key.insert("a", {.zone = "here"}));
  for (const char* name : {"w", "x", "y", "z"}) {
    const auto id = by_cost.insert(name);
    REQUIRE(id);
    if (*name == 'w') CHECK(by_cost.drain(*id));
    REQUIRE(by_key.insert(name));
    REQUIRE(no_zone.insert(name));
  }
  std::string all;
  std::vector<of<least_connections>::lease> held;
  auto attempts = by_cost.attempts(16);
  while (auto lease = attempts.next()) {
    all += *lease;
    held.push_back(std::move(lease));
  }
  CHECK(all.substr(0, 1) == "a");
  std::sort(all.begin(), all.end());
  CHECK(all == "axyz");
  auto again = by_cost.attempts(2);
  CHECK(*again.next() == "a");
  held.erase(held.begin() + 2);
  const auto idle = again.next();
  CHECK(by_cost.stats(idle.id())->in_flight == 1);
  int same = 0;
  for (int key = 0; key < 20; ++key) {
    auto by = by_key.attempts(key, 2);
    CHECK(*by.next() == "a");
    same += *by.next() == *no_zone.pick(key);
  }
  CHECK(same == 20);
}

TEST_CASE("balancer: a key keeps its endpoint, and alone the keys of one that goes move", "[balancer]") {
  manual_clock clock;
  balancer<std::string, sticky, manual_clock> b{{}, clock};
  std::vector<endpoint_id> ids;
  for (int i = 0; i < 10; ++i) ids.push_back(b.insert("server-" + std::to_string(i)).value());
  constexpr int keys = 2000;
  const auto placement = [&] {
    std::vector<std::string> where;
    for (int key = 0; key < keys; ++key) where.push_back(*b.pick(key));
    return where;
  };
  const auto before = placement();
  CHECK(placement() == before);
  std::map<std::string, int> count;
  for (const auto& name : before) ++count[name];
  double chi_squared = 0;
  for (const auto& [name, n] : count) chi_squared += (n - 200.0) * (n - 200.0) / 200.0;
  CHECK(chi_squared < 27.9);  // 9 degrees of freedom, p = 0.001

  // The order in which they came does not matter, and neither does who is asked.
  balancer<int, sticky, manual_clock> other{{}, clock};
  for (int i = 9; i >= 0; --i) REQUIRE(other.insert(i, {.name = "server-" + std::to_string(i)}));
  for (int key = 0; key < keys; key += 7)
    CHECK("server-" + std::to_string(*other.pick(key)) == before[static_cast<std::size_t>(key)]);

  REQUIRE(b.drain(ids[3]));
  const auto during = placement();
  for (std::size_t key = 0; key < keys; ++key) {
    if (before[key] != "server-3" && during[key] != before[key]) FAIL("a key moved that need not");
    if (during[key] == "server-3") FAIL("a drained one was picked");
  }
  REQUIRE(b.restore(ids[3]));
  CHECK(placement() == before);

  REQUIRE(b.reweight(ids[3], 3));
  const auto heavier = placement();
  int gained = 0;
  for (std::size_t key = 0; key < keys; ++key) {
    if (heavier[key] == before[key]) continue;
    CHECK(heavier[key] == "server-3");
    ++gained;
  }
  CHECK(gained + count["server-3"] == Approx(keys * 3 / 12.0).margin(3 * std::sqrt(keys * 0.25 * 0.75)));
  CHECK(b.attempts(before[0], 3).next());
}

TEST_CASE("balancer: a hot key goes on to other endpoints at the bound of its load", "[balancer]") {
  manual_clock clock;
  balancer<std::string, sticky, manual_clock> b{{}, sticky{.load_factor = 1.25}, clock};
  for (int i = 0; i < 10; ++i) REQUIRE(b.insert("server-" + std::to_string(i), {.weight = i == 0 ? 2.0 : 1.0}));
  std::vector<balancer<std::string, sticky, manual_clock>::lease> held;
  for (int n = 1; n <= 300; ++n) {
    held.push_back(b.pick("hot"));
    REQUIRE(held.back());
    for (const endpoint_stats& s : b.stats()) {
      if (s.in_flight > std::ceil(1.25 * n * s.weight / 11)) FAIL("more than the bound");
    }
  }
}

TEST_CASE("ip_address: texts, networks, and one key for a network", "[balancer]") {
  const auto parsed = [](std::string_view text) { return ip_address::parse(text); };
  CHECK(parsed("127.0.0.1") == ip_address{0x7f000001});
  static_assert(ip_address::parse("::1")->bytes()[15] == 1);
  struct pair {
    std::string_view a;
    std::string_view b;
    ip_prefix prefix;  // the network of a is b
  };
  constexpr ip_prefix all{.v4_bits = 32, .v6_bits = 128};
  for (const auto& [a, b, prefix] :
       {pair{"::ffff:127.0.0.1", "127.0.0.1", all}, pair{"::ffff:7f00:1", "127.0.0.1", all},
        pair{"2001:DB8:0:0::1", "2001:db8::0:1", all}, pair{"fe80::1%eth0", "fe80:0:0:0:0:0:0:1", all},
        pair{"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0", all}, pair{"::", "0:0:0:0:0:0:0.0.0.0", all},
        pair{"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8", all}, pair{"192.0.2.77", "192.0.2.0", {}},
        pair{"192.0.2.77", "192.0.2.64", {.v4_bits = 28}}, pair{"192.0.2.77", "0.0.0.0", {.v4_bits = 0}},
        pair{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", {}}, pair{"2001:db8:1:2:3:4:5:6", "2001:db8::", {.v6_bits = 45}},
        pair{"2001:db8:f:2:3:4:5:6", "2001:db8:8::", {.v6_bits = 45}}}) {
    INFO(a);
    REQUIRE((parsed(a) && parsed(b)));
    CHECK(parsed(a)->network(prefix) == *parsed(b));
  }
  for (const char* text : {"",
                           "1.2.3",
                           "1.2.3.4.5",
                           "1.2.3.256",
                           "01.2.3.4",
                           "1.2.3.4 ",
                           "1..3.4",
                           ":",
                           ":::",
                           "1:2:3:4:5:6:7",
                           "1:2:3:4:5:6:7:8:9",
                           "1::2::3",
                           "12345::",
                           "::1.2.3",
                           "1:2:3:4:5:6:7:1.2.3.4",
                           "1:2:3:4:5:6:7:",
                           ":1:2:3:4:5:6:7",
                           "g::",
                           "::%",
                           "[::1]",
                           "1:2:3:4:5:6:7:8::",
                           "::1:"}) {
    INFO(text);
    CHECK_FALSE(parsed(text));
  }
  CHECK(message_of([&] { (void)parsed("::")->network({.v6_bits = 129}); }) == "penstock::ip_address: v6_bits must be 0 to 128");
  const auto key = [&](std::string_view text) { return hash_of(parsed(text)->network()); };
  CHECK(key("10.1.2.3") == key("10.1.2.200"));
  CHECK(key("10.1.2.3") != key("10.1.3.3"));
}
