// The hash ring against its definition, written down once more in the plainest way.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/route/concurrent_hash_ring.hpp>
#include <penstock/route/hash_ring.hpp>
#include <penstock/route/rendezvous.hpp>
#include <penstock/route/ring_diff.hpp>

#include "support/catch.hpp"
#include "support/counting_new.hpp"

namespace {

using penstock::ready_hash;
using ring_of_names = penstock::hash_ring<std::string>;

// A node whose points are another one's, or all at one place, if the test wants it.
struct chosen {
  int id;
  std::uint64_t hash;
  auto operator<=>(const chosen&) const = default;
  friend std::uint64_t penstock_hash(const chosen& c, std::uint64_t) { return c.hash; }
};
using ring_of_chosen = penstock::hash_ring<chosen>;

// Every point of every node in one vector; a lookup looks at all of them.
template <class Node>
struct plain_ring {
  std::map<Node, std::uint32_t> nodes;
  std::uint64_t seed = 0;

  std::vector<std::pair<std::uint64_t, Node>> points() const {
    std::vector<std::pair<std::uint64_t, Node>> all;
    for (const auto& [node, n] : nodes) {
      for (std::uint32_t i = 0; i < n; ++i) all.emplace_back(penstock::stable_hash(i, penstock::hash_of(node, seed)), node);
    }
    std::sort(all.begin(), all.end());
    return all;
  }
};

template <class Node>
std::size_t different(const penstock::hash_ring<Node>& ring, const plain_ring<Node>& plain, std::size_t random_keys) {
  const auto points = plain.points();
  if (points.size() != ring.points()) return points.size() + 1;
  std::vector<std::uint64_t> keys{0, 1, ~std::uint64_t{0}, ~std::uint64_t{0} - 1};
  for (std::size_t i = 0; i < points.size(); i += 1 + points.size() / 5000) {
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}})
      keys.push_back(points[i].first + offset);
  }
  std::mt19937_64 random{42};
  for (std::size_t i = 0; i < random_keys; ++i) keys.push_back(random());
  std::size_t wrong = 0;
  for (const std::uint64_t key : keys) {
    const auto at =
        std::lower_bound(points.begin(), points.end(), key, [](const auto& p, std::uint64_t k) { return p.first < k; });
    const Node* const found = ring.find(ready_hash{key});
    wrong += found != nullptr && *found == (at == points.end() ? points.front() : *at).second ? 0 : 1;
  }
  return wrong;
}

std::string name(std::size_t i) { return "node-" + std::to_string(i); }

}  // namespace

TEST_CASE("hash_ring: a key belongs to the first point at its hash or behind it, while nodes come, go and change their weights",
          "[hash_ring]") {
  const std::size_t nodes = GENERATE(std::size_t{1}, std::size_t{2}, std::size_t{60}, std::size_t{400});
  ring_of_names ring{{.virtual_nodes = 40, .seed = 7}};
  plain_ring<std::string> plain{{}, 7};
  for (std::size_t i = 0; i < nodes; ++i) {
    CHECK(ring.insert(name(i), {.weight = static_cast<double>(1 + i % 3)}));
    plain.nodes[name(i)] = 40 * static_cast<std::uint32_t>(1 + i % 3);
  }
  CHECK(different(ring, plain, 2000) == 0);
  const ring_of_names before = ring;
  const plain_ring plain_before = plain;
  for (std::size_t i = 1; i < nodes; i += 2) {
    CHECK(ring.reweight(name(i), i % 4 == 1 ? 0.5 : 2.5));
    plain.nodes[name(i)] = i % 4 == 1 ? 20 : 100;
  }
  CHECK(different(ring, plain, 2000) == 0);
  for (std::size_t i = 1; i < nodes; i += 1 + i % 4) {
    CHECK(ring.erase(std::string_view{name(i)}));
    plain.nodes.erase(name(i));
  }
  CHECK(different(ring, plain, 2000) == 0);
  CHECK(ring.size() == plain.nodes.size());
  CHECK(different(before, plain_before, 2000) == 0);  // the copy has not changed with it
}

TEST_CASE("hash_ring: the mapping that other machines rely on does not change", "[hash_ring]") {
  ring_of_names ring;
  for (std::size_t i = 0; i < 10; ++i) ring.insert(name(i));
  std::string mapping;
  for (std::size_t i = 0; i < 32; ++i) mapping += ring.find("user-" + std::to_string(i))->back();
  CHECK(mapping == "27820706164612094838400080586561");
}

TEST_CASE("hash_ring: empty and moved-from rings, duplicates and unknown names", "[hash_ring]") {
  ring_of_names ring;
  CHECK(ring.empty());
  CHECK(ring.find("key") == nullptr);
  CHECK(ring.find_n("key", 3).empty());
  CHECK_FALSE(ring.acquire("key"));
  CHECK_FALSE(ring.erase("a"));
  CHECK_FALSE(ring.reweight("a", 2));
  CHECK(ring.insert("a"));
  CHECK_FALSE(ring.insert("a", {.weight = 9}));
  CHECK(ring.weight("a") == 1.0);
  CHECK_FALSE(ring.weight("b"));
  CHECK(ring.insert_range(std::vector{"b", "a", "b", "c"}) == 2);
  CHECK(ring.nodes().size() == 3);
  CHECK(*ring.nodes()[1] == "b");
  CHECK((ring.contains("c") && !ring.contains("d")));
  ring_of_names moved = std::move(ring);
  CHECK(moved.size() == 3);
  ring = ring_of_names{};  // NOLINT: a moved-from ring takes a new value
  CHECK(ring.insert("z"));
  CHECK(*ring.find("key") == "z");
  CHECK(moved.erase("a"));
  CHECK(moved.erase("b"));
  CHECK(moved.erase("c"));
  CHECK((moved.empty() && moved.points() == 0 && moved.find("key") == nullptr));
}

TEST_CASE("hash_ring: points with one hash lie in the order of their nodes, whatever the order of insertion",
          "[hash_ring][hazard-33]") {
  // 0 to 3 share all their points, 4 and 5 have their own; many points of one bucket, too.
  const std::vector<chosen> all{{0, 5}, {1, 5}, {2, 5}, {3, 5}, {4, 6}, {5, 7}};
  std::vector<std::size_t> order{0, 1, 2, 3, 4, 5};
  ring_of_chosen first{{.virtual_nodes = 50}};
  for (const std::size_t i : order) first.insert(all[i]);
  plain_ring<chosen> plain;
  for (const chosen& c : all) plain.nodes[c] = 50;
  CHECK(different(first, plain, 500) == 0);
  for (int round = 0; round < 20; ++round) {
    std::shuffle(order.begin(), order.end(), std::mt19937{static_cast<unsigned>(round)});
    ring_of_chosen ring{{.virtual_nodes = 50}};
    for (const std::size_t i : order) ring.insert(all[i]);
    CHECK(ring == first);
    CHECK(different(ring, plain, 500) == 0);
    CHECK(ring.find_n(ready_hash{0}, 6) == [&] {
      std::vector<const chosen*> same;
      for (const chosen* c : first.find_n(ready_hash{0}, 6)) {
        for (const chosen* mine : ring.nodes()) {
          if (*mine == *c) same.push_back(mine);
        }
      }
      return same;
    }());
  }
  // One that leaves takes its own points and no other's.
  first.erase(all[1]);
  plain.nodes.erase(all[1]);
  CHECK(different(first, plain, 500) == 0);
  CHECK(first.points() == 250);
}

TEST_CASE("hash_ring: thousands of points at one place are slow and right", "[hash_ring]") {
  ring_of_chosen ring{{.virtual_nodes = 10}};
  plain_ring<chosen> plain;
  for (int i = 0; i < 400; ++i) {
    ring.insert({i, 99});
    plain.nodes[{i, 99}] = 10;
  }
  CHECK(different(ring, plain, 500) == 0);
  for (int i = 0; i < 399; i += 3) {
    ring.erase(chosen{i, 99});
    plain.nodes.erase({i, 99});
  }
  CHECK(different(ring, plain, 500) == 0);
}

TEST_CASE("hash_ring: a weight makes points in proportion, at least one, and moves nobody else's", "[hash_ring]") {
  ring_of_names ring;
  ring.insert("a");
  ring.insert("tiny", {.weight = 1e-9});
  CHECK(ring.points() == 161);
  ring.reweight("tiny", 2.5);
  CHECK(ring.points() == 160 + 400);
  for (const double weight :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), 1e9}) {
    CHECK_THROWS_AS(ring.insert("b", {.weight = weight}), std::invalid_argument);
    CHECK_THROWS_AS(ring.reweight("a", weight), std::invalid_argument);
  }
  CHECK_THROWS_AS(ring_of_names{{.virtual_nodes = 0}}, std::invalid_argument);
  CHECK_THROWS_AS(ring_of_names{{.load_factor = 0.9}}, std::invalid_argument);
  CHECK_THROWS_AS(ring_of_names{{.load_factor = std::numeric_limits<double>::quiet_NaN()}}, std::invalid_argument);
  CHECK(ring.points() == 160 + 400);
  CHECK_FALSE(ring.contains("b"));
}

TEST_CASE("hash_ring: find_n gives the nodes to which the key would move, and spreads over zones", "[hash_ring]") {
  ring_of_names ring;
  for (std::size_t i = 0; i < 40; ++i) ring.insert(name(i), {.zone = i < 30 ? "big" : i < 38 ? "small" : ""});
  for (int k = 0; k < 50; ++k) {
    std::vector<std::string> preferred;
    ring_of_names rest = ring;
    for (int n = 0; n < 25; ++n) {
      preferred.push_back(*rest.find(k));
      rest.erase(preferred.back());
    }
    std::vector<std::string> found;
    for (const std::string* node : ring.find_n(k, 25)) found.push_back(*node);
    CHECK(found == preferred);
    // One of each zone, and of those that are nowhere in particular any number.
    const auto spread = ring.find_n(k, 9, {.max_per_zone = 1});
    CHECK(spread.size() == 4);
    std::map<std::string, int> of_zone;
    for (const std::string* node : spread)
      ++of_zone[std::stoi(node->substr(5)) < 30 ? "big" : std::stoi(node->substr(5)) < 38 ? "small" : ""];
    CHECK(of_zone == std::map<std::string, int>{{"big", 1}, {"small", 1}, {"", 2}});
    CHECK(spread[0] == ring.find(k));
  }
  CHECK(ring.find_n("key", 1000).size() == 40);
  std::array<const std::string*, 3> three{};
  CHECK(ring.find_n("key", std::span<const std::string*>{three}) == 3);
  CHECK(three[0] == ring.find("key"));
}

TEST_CASE("hash_ring: acquire keeps every node at its bound, and a key on its node while that has room", "[hash_ring]") {
  ring_of_names ring{{.load_factor = 1.25}};
  for (std::size_t i = 0; i < 20; ++i) ring.insert(name(i), {.weight = static_cast<double>(1 + i % 2)});
  CHECK(*ring.acquire("hot") == *ring.find("hot"));
  CHECK(ring.in_flight(*ring.find("hot")) == 0);
  std::vector<penstock::ring_token<std::string>> tokens;
  for (std::size_t all = 1; all <= 600; ++all) {
    tokens.push_back(
        ring.acquire(all % 3 == 0 ? "cold-" + std::to_string(all) : "hot"));  // two thirds of the requests have one key
    std::size_t sum = 0;
    bool within = true;
    for (std::size_t i = 0; i < 20; ++i) {
      const std::size_t mine = ring.in_flight(name(i));
      within = within && static_cast<double>(mine) < 1.25 * static_cast<double>(all) * static_cast<double>(1 + i % 2) / 30 + 1;
      sum += mine;
    }
    if (!within || sum != all) FAIL_CHECK("with " << all << " in flight");
  }
  // The load is the nodes': a copy sees it, a token outlives its node's place and the ring.
  ring_of_names copy = ring;
  const std::string node = *tokens[0];
  CHECK(copy.in_flight(node) == ring.in_flight(node));
  const std::size_t before = copy.in_flight(node);
  ring = ring_of_names{};
  copy.erase(node);
  CHECK(copy.in_flight(node) == 0);
  CHECK(*tokens[0] == node);
  CHECK(before > 0);
  tokens.clear();
  for (const std::string* n : copy.nodes()) CHECK(copy.in_flight(*n) == 0);
}

TEST_CASE("hash_ring: a bound that is a whole number is kept to the request", "[hash_ring]") {
  // Of 25 requests 7, which 7 / 25 * 25 misses with rounded numbers: that gives 7.000000000000001, whose ceiling is 8.
  ring_of_names ring{{.virtual_nodes = 1, .load_factor = 1}};
  ring.insert("seven", {.weight = 7});
  ring.insert("eighteen", {.weight = 18});
  int hot = 0;
  while (*ring.find(hot) != "seven") ++hot;
  std::vector<penstock::ring_token<std::string>> tokens;
  for (int all = 1; all <= 250; ++all) {
    tokens.push_back(ring.acquire(hot));
    if (all % 25 == 0 && ring.in_flight("seven") != static_cast<std::size_t>(all / 25 * 7)) FAIL_CHECK("with " << all);
  }
}

TEST_CASE("hash_ring: points are found with any number of slots", "[hash_ring]") {
  // A slot takes the lower bits of a point's word; with many millions of them also those that tell the bucket.
  for (const std::size_t slots : {std::size_t{4}, std::size_t{1} << 20, std::size_t{1} << 28, (std::size_t{1} << 32) - 2}) {
    penstock::detail::ring_points ring;
    std::vector<penstock::detail::ring_point> points;
    std::mt19937_64 random{slots};
    for (std::size_t i = 0; i < 5000; ++i) points.push_back({random(), static_cast<std::uint32_t>(random() % slots)});
    const auto before = [](const auto& a, const auto& b) { return a.hash < b.hash; };
    std::sort(points.begin(), points.end(), before);
    ring.insert(points, slots, before);
    std::size_t wrong = 0;
    for (int i = 0; i < 5000; ++i) {
      const std::uint64_t key = random();
      const auto at = std::lower_bound(points.begin(), points.end(), penstock::detail::ring_point{key, 0}, before);
      const std::uint32_t expected = (at == points.end() ? points.front() : *at).slot;
      std::uint32_t found = 0;
      wrong += ring.find(key) != expected || (ring.find_quickly(key, found) && found != expected);
    }
    CAPTURE(slots);
    CHECK(wrong == 0);
  }
}

TEST_CASE("hash_ring: a change that throws has changed nothing", "[hash_ring]") {
  if (!counting_new::counts) return;
  ring_of_names ring{{.virtual_nodes = 30}};
  for (std::size_t i = 0; i < 50; ++i) ring.insert(name(i), {.zone = "z"});
  const ring_of_names before = ring;
  plain_ring<std::string> plain;
  for (std::size_t i = 0; i < 50; ++i) plain.nodes[name(i)] = 30;
  const std::vector<std::string> added(3, "a name that is too long to be kept in place");
  std::vector<std::string> many;
  for (std::size_t i = 100; i < 200; ++i) many.push_back(name(i));
  const auto each_allocation_fails = [&](auto change) {
    for (long n = 1;; ++n) {
      counting_new::until_failure = n;
      try {
        change();
        counting_new::until_failure = 0;
        break;
      } catch (const std::bad_alloc&) {
        counting_new::until_failure = 0;
      }
      if (!(ring == before) || ring.points() != before.points()) FAIL_CHECK("allocation " << n);
      if (n % 16 == 1 && different(ring, plain, 50) != 0) FAIL_CHECK("allocation " << n);
    }
    CHECK_FALSE(ring == before);
    ring = before;
  };
  each_allocation_fails([&] { ring.insert_range(added, {.zone = "another zone, with a long name"}); });
  each_allocation_fails([&] { ring.insert_range(many); });  // everything is made anew
  each_allocation_fails([&] { ring.erase("node-7"); });
  each_allocation_fails([&] { ring.reweight("node-7", 3); });
  each_allocation_fails([&] { ring.reweight("node-7", 0.1); });
  ring_of_names other{{.virtual_nodes = 10}};
  for (std::size_t i = 0; i < 20; ++i) other.insert(name(i));
  each_allocation_fails([&] { ring = other; });
}

TEST_CASE("rendezvous: a look at the next nodes allocates nothing", "[placement]") {
  if (!counting_new::counts) return;
  penstock::rendezvous<int> nodes;
  for (int i = 0; i < 40; ++i) nodes.insert(i, {.weight = 1.0 + i % 3});
  const long made = counting_new::made;
  std::array<const int*, 16> next{};
  CHECK(nodes.find_n(1, next) == 16);
  CHECK(counting_new::made == made);
}

TEST_CASE("concurrent_hash_ring: a reader sees each change, a snapshot none, and what throws publishes nothing", "[hash_ring]") {
  penstock::concurrent_hash_ring<std::string> ring;
  auto reader = ring.reader();
  CHECK(reader.find("key") == nullptr);
  CHECK_FALSE(ring.find("key"));
  CHECK_FALSE(ring.acquire("key"));
  CHECK(ring.insert(name(0)));
  CHECK(*reader.find("key") == name(0));
  const auto before = ring.snapshot();
  const ring_of_names* const same = &*reader;
  CHECK_FALSE(ring.insert(name(0)));
  CHECK_FALSE(ring.erase("nobody"));
  CHECK_THROWS_AS(ring.reweight(name(0), -1), std::invalid_argument);
  CHECK_THROWS_AS(ring.update([](ring_of_names& r) {
    r.clear();
    throw std::runtime_error{"no"};
  }),
                  std::runtime_error);
  CHECK(&*reader == same);  // nothing has been published
  const auto token = ring.acquire("key");
  ring.update([](ring_of_names& r) {
    for (std::size_t i = 1; i < 20; ++i) r.insert(name(i));
    r.erase(name(3));
  });
  CHECK(reader->size() == 19);
  CHECK(reader->in_flight(name(0)) == 1);
  CHECK(before->size() == 1);
  CHECK(ring.find("key") == *reader.find("key"));
  reader.release();
  CHECK(ring.insert_range(std::vector{"a", "b"}) == 2);
  auto moved = std::move(reader);
  CHECK(moved->contains("a"));
}

TEST_CASE("diff and ownership: the ranges that move, from whom to whom, and each node's share", "[hash_ring]") {
  ring_of_names ring;
  const ring_of_names none;
  for (std::size_t i = 0; i < 9; ++i) ring.insert(name(i), {.weight = i == 8 ? 4.0 : 1.0});
  double sum = 0;
  for (const auto& [node, share] : penstock::ownership(ring)) {
    sum += share;
    CHECK(share == Approx(*node == name(8) ? 4.0 / 12 : 1.0 / 12).epsilon(0.35));
  }
  CHECK(sum == Approx(1));
  CHECK(penstock::ownership(none).empty());
  const ring_of_names before = ring;
  CHECK(penstock::diff(before, ring).empty());
  ring.erase(name(3));
  ring.insert("new");
  ring.reweight(name(8), 2);
  const auto moved = penstock::diff(before, ring);
  std::mt19937_64 random{5};
  std::vector<std::uint64_t> keys{0, ~std::uint64_t{0}};
  for (const auto& m : moved) keys.insert(keys.end(), {m.first, m.last, m.first - 1, m.last + 1});
  for (int i = 0; i < 5000; ++i) keys.push_back(random());
  std::size_t wrong = 0;
  for (const std::uint64_t key : keys) {
    const auto& from = *before.find(ready_hash{key});
    const auto& to = *ring.find(ready_hash{key});
    const auto at = std::find_if(moved.begin(), moved.end(), [&](const auto& m) { return m.first <= key && key <= m.last; });
    const bool listed = at != moved.end();
    wrong += listed ? *at->from != from || *at->to != to : from != to;
    wrong += listed && from == to;
  }
  CHECK(wrong == 0);
  const auto all = penstock::diff(none, ring);
  CHECK((all.front().first == 0 && all.back().last == ~std::uint64_t{0} && all.front().from == nullptr));
  const ring_of_names seeded{{.seed = 1}};
  CHECK_THROWS_AS(penstock::diff(ring, seeded), std::invalid_argument);
}
