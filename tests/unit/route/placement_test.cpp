// The relatives of the hash ring: what they have in common, and what each has of its own, against definitions written down once more, plainly.
#include <algorithm>
#include <cmath>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/route/anchor_hash.hpp>
#include <penstock/route/hash_ring.hpp>
#include <penstock/route/jump.hpp>
#include <penstock/route/maglev.hpp>
#include <penstock/route/placement.hpp>
#include <penstock/route/rendezvous.hpp>

#include "support/catch.hpp"

namespace {

using penstock::jump_back_bucket;
using penstock::jump_bucket;
using penstock::ready_hash;
using penstock::stable_hash;

using ring = penstock::hash_ring<std::string>;
using rendezvous = penstock::rendezvous<std::string>;
using maglev = penstock::maglev<std::string>;
using jump = penstock::jump<std::string>;
using anchor = penstock::anchor_hash<std::string>;

static_assert(penstock::placement<ring> && penstock::placement<rendezvous> && penstock::placement<maglev>);
static_assert(penstock::placement<jump> && penstock::placement<anchor>);
static_assert(!penstock::placement<std::vector<std::string>>);

std::string name(int i) { return "node-" + std::to_string(i); }

// Empty if all is as it should be, else what is not.
template <penstock::placement Placement>
std::string common_behaviour(bool weighted) {
  Placement p;
  if (p.find("key") != nullptr || p.size() != 0 || !p.nodes().empty() || p.erase("node-0")) return "empty";
  if (!p.insert("node-0") || p.size() != 1) return "first node";
  for (int i = 0; i < 100; ++i) {
    if (*p.find(i) != "node-0") return "one node has all keys";
  }
  if (p.insert("node-0") || p.size() != 1) return "a duplicate is reported";
  for (int i = 1; i < 20; ++i) p.insert(name(i));

  const Placement before = p;
  for (const double bad : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity(), weighted ? -0.0 : 2.0}) {
    bool refused = false;
    try {
      p.insert("another", {.weight = bad});
    } catch (const std::invalid_argument& e) {
      refused = std::string_view{e.what()}.find("weight") != std::string_view::npos;
    }
    if (!refused || !(p == before)) return "weight " + std::to_string(bad);
  }
  if (p.erase("another") || !(p == before)) return "who is not there";

  if (*p.find("key") != *before.find("key")) return "a copy is the same";
  if (*p.find("key") != *p.find(ready_hash{stable_hash("key")})) return "a ready hash";
  if (*p.find(std::string{"key"}) != *p.find(std::string_view{"key"})) return "text is text";

  if (!p.erase(std::string_view{"node-7"}) || p.size() != 19 || p == before) return "erase";
  std::map<std::string, int> keys;
  for (int i = 0; i < 4000; ++i) ++keys[*p.find(i)];
  if (keys.size() != 19 || keys.contains("node-7")) return "the others have all keys";
  for (const std::string* node : p.nodes()) {
    if (!keys.contains(*node)) return "nodes() are those that are found";
  }
  while (p.size() != 0) {
    if (!p.erase(*p.find("key"))) return "erase what find() gave";  // the name is the node itself
  }
  if (p.find("key") != nullptr) return "empty again";
  return p.insert("node-0") && *p.find("key") == "node-0" ? "" : "used again";
}

// A node that is a number; the n-th comparison or copy from now on throws.
struct fragile {
  int id;
  static inline int until_failure = 0;
  static void touch() {
    if (until_failure > 0 && --until_failure == 0) throw std::runtime_error{"touched"};
  }
  explicit fragile(int n) : id{n} {}
  fragile(const fragile& other) : id{other.id} { touch(); }
  fragile(fragile&&) noexcept = default;
  fragile& operator=(const fragile& other) {
    touch();
    id = other.id;
    return *this;
  }
  fragile& operator=(fragile&&) noexcept = default;
  ~fragile() = default;
  friend bool operator==(const fragile& a, const fragile& b) { return touch(), a.id == b.id; }
  friend std::strong_ordering operator<=>(const fragile& a, const fragile& b) { return touch(), a.id <=> b.id; }
  friend std::uint64_t penstock_hash(const fragile& f, std::uint64_t seed) { return stable_hash(f.id, seed); }
};

// Changes in which each comparison and each copy throws once; how many of them changed something all the same.
template <template <class> class Placement>
int changed_by_throwing() {
  Placement<fragile> p;
  for (int i = 0; i < 20; ++i) p.insert(fragile{i * 7 % 20 * 2});
  int changed = 0;
  const auto each_touch_throws = [&](auto change) {
    const Placement<fragile> before = p;
    for (int n = 1;; ++n) {
      fragile::until_failure = n;
      try {
        change();
        fragile::until_failure = 0;
        return;
      } catch (const std::runtime_error&) {
        fragile::until_failure = 0;
      }
      bool same = p == before && p.nodes().size() == before.nodes().size();
      for (int key = 0; key < 50; ++key) same = same && *p.find(key) == *before.find(key);
      changed += same ? 0 : 1;
      p = before;
    }
  };
  each_touch_throws([&] { p.insert(fragile{15}); });
  for (const int gone : {4, 38, 0}) each_touch_throws([&] { p.erase(fragile{gone}); });
  Placement<fragile> other;
  for (int i = 100; i < 110; ++i) other.insert(fragile{i});
  each_touch_throws([&] { p = other; });
  return changed;
}

// Both of the laws for one more bucket, and even shares: the least and the greatest number of keys of a bucket, 1000 on average.
template <class Bucket>
void check_buckets(Bucket bucket) {
  for (const std::size_t buckets : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 13u, 16u, 17u, 31u, 64u, 100u}) {
    std::vector<int> keys(buckets);
    std::size_t wrong = 0;
    for (std::uint64_t i = 0; i < 1000 * buckets; ++i) {
      const std::size_t b = bucket(stable_hash(i), buckets);
      const std::size_t next = bucket(stable_hash(i), buckets + 1);
      if (b >= buckets || (next != b && next != buckets)) ++wrong;
      if (b < buckets) ++keys[b];
    }
    CAPTURE(buckets);
    CHECK(wrong == 0);
    CHECK(*std::min_element(keys.begin(), keys.end()) > 850);
    CHECK(*std::max_element(keys.begin(), keys.end()) < 1150);
  }
}

}  // namespace

TEST_CASE("placement: the ring and its relatives agree on what is empty, one node, a duplicate, a bad weight, a copy",
          "[placement]") {
  CHECK(common_behaviour<ring>(true) == "");
  CHECK(common_behaviour<rendezvous>(true) == "");
  CHECK(common_behaviour<maglev>(true) == "");
  CHECK(common_behaviour<jump>(false) == "");
  CHECK(common_behaviour<anchor>(false) == "");
}

TEST_CASE("placement: a comparison or a copy that throws has changed nothing", "[placement]") {
  CHECK(changed_by_throwing<penstock::hash_ring>() == 0);
  CHECK(changed_by_throwing<penstock::rendezvous>() == 0);
  CHECK(changed_by_throwing<penstock::maglev>() == 0);
  CHECK(changed_by_throwing<penstock::jump>() == 0);
  CHECK(changed_by_throwing<penstock::anchor_hash>() == 0);
}

TEST_CASE("anchor_hash: one that was moved from is empty", "[anchor_hash]") {
  anchor p;
  p.insert("a");
  const anchor moved = std::move(p);
  CHECK((p.empty() && p.find("key") == nullptr && *moved.find("key") == "a"));  // NOLINT: that is what is tested
}

TEST_CASE("rendezvous: the least -ln(u) / weight has the key, also when no logarithm is taken", "[rendezvous]") {
  rendezvous equal{{.seed = 5}}, various{{.seed = 5}};
  std::map<std::string, double> weights;
  for (int i = 60; i-- > 0;) {
    weights[name(i)] = 0.25 * (1 + i % 9);
    equal.insert(name(i), {.weight = 3});
    various.insert(name(i), {.weight = weights[name(i)]});
  }
  const auto expected = [&](std::uint64_t key, const std::string& but, bool by_weight) {
    std::string best;
    double shortest = std::numeric_limits<double>::infinity();
    for (const auto& [node, weight] : weights) {
      const std::uint64_t score = penstock::detail::mixed(stable_hash(key, 5) ^ stable_hash(node, 5));
      const double u = (static_cast<double>(score >> 11) + 0.5) / 9007199254740992.0;
      const double wait = -std::log(u) / (by_weight ? weight : 1);
      if (node == but || wait >= shortest) continue;
      shortest = wait;
      best = node;
    }
    return best;
  };
  std::size_t wrong = 0;
  for (std::uint64_t key = 0; key < 1000; ++key) {
    const std::string first = expected(key, "", true);
    std::vector<const std::string*> order(3);
    if (*various.find(key) != first || *equal.find(key) != expected(key, "", false)) ++wrong;
    if (various.find_n(key, order) != 3 || *order[0] != first || *order[1] != expected(key, first, true)) ++wrong;
  }
  CHECK(wrong == 0);
  std::vector<const std::string*> all(100);
  CHECK(various.find_n("key", all) == 60);
  CHECK(rendezvous{}.find_n("key", all) == 0);
}

TEST_CASE("jump: the numbers that the paper's function gives elsewhere", "[jump]") {
  // Guava's tests of Hashing.consistentHash, and ClickHouse's of jumpConsistentHash.
  const std::vector<std::size_t> golden{0, 55, 62, 8, 45, 59, 86, 97, 82, 59, 73, 37, 17, 56, 86, 21, 90, 37, 38, 83};
  std::vector<std::size_t> found;
  for (std::uint64_t key = 0; key < 20; ++key) found.push_back(jump_bucket(key, 100));
  CHECK(found == golden);
  STATIC_REQUIRE(jump_bucket(10863919174838991u, 11) == 6);
  STATIC_REQUIRE(jump_bucket(2016238256797177309u, 11) == 3);
  CHECK(jump_bucket(1673758223894951030u, 11) == 5);
  CHECK(jump_bucket(2, 100'001) == 80'343);
  CHECK(jump_bucket(2201, 100'001) == 22'152);
  CHECK(jump_bucket(2202, 100'001) == 15'018);
  CHECK(jump_bucket(42, 57) == 43);
  CHECK(jump_bucket(256, 1024) == 520);
  CHECK(jump_bucket(3735883980u, 666) == 361);
  CHECK(jump_bucket(16045690984833335023u, 255) == 237);
}

TEST_CASE("jump: with one bucket more keys move to it alone, and shares are even, by both methods", "[jump]") {
  check_buckets(jump_bucket);
  check_buckets(jump_back_bucket);
  CHECK(jump_back_bucket(0x123456789abcdef0, std::size_t{1} << 32) < std::size_t{1} << 32);
}

TEST_CASE("jump: the i-th node has bucket i, and the last one takes the place of a node that goes", "[jump]") {
  jump p{{.seed = 9, .method = penstock::jump_method::jump_back}};
  std::vector<std::string> buckets;
  for (int i = 0; i < 30; ++i) {
    buckets.push_back(name(i * 7 % 30));
    p.insert(buckets.back());
  }
  const auto agrees = [&] {
    std::vector<std::string> nodes;
    for (const std::string* node : p.nodes()) nodes.push_back(*node);
    if (nodes != buckets) return false;
    for (int key = 0; key < 300; ++key) {
      if (*p.find(key) != buckets[jump_back_bucket(stable_hash(key, 9), buckets.size())]) return false;
    }
    return true;
  };
  CHECK(agrees());
  for (int i = 0; i < 29; ++i) {
    const std::size_t gone = static_cast<std::size_t>(i) * 11 % buckets.size();
    REQUIRE(p.erase(buckets[gone]));
    buckets[gone] = buckets.back();
    buckets.pop_back();
    REQUIRE(agrees());
  }
}

TEST_CASE("maglev: the table is that of the paper's loop, with weights, for any order of calls", "[maglev]") {
  for (const std::uint32_t slots : {7u, 251u, 257u, 1009u, 5003u}) {
    CAPTURE(slots);
    std::map<std::string, double> weights;
    for (int i = 0; i < (slots == 7 ? 7 : slots == 5003 ? 200 : 40); ++i) {
      // By a tenth; one that has nearly all, where rounds are skipped; or equal.
      weights[name(i)] = slots == 1009 ? 0.1 * (1 + i % 10) : slots == 5003 && i != 7 ? 0.003 * (1 + i % 16) : 1;
    }
    maglev p{{.slots = slots, .seed = 3}}, backwards{{.slots = slots, .seed = 3}};
    for (const auto& [node, weight] : weights) p.insert(node, {.weight = weight});
    for (auto i = weights.rbegin(); i != weights.rend(); ++i) backwards.insert(i->first, {.weight = i->second});
    CHECK(p == backwards);

    std::vector<std::string> table(slots);
    std::map<std::string, std::uint64_t> next, credit;
    for (std::uint32_t filled = 0; filled < slots;) {
      for (const auto& [node, weight] : weights) {
        const std::uint64_t hash = stable_hash(node, 3);
        const std::uint64_t begin = penstock::detail::scaled(penstock::detail::mixed(hash), slots);
        const std::uint64_t step = 1 + penstock::detail::scaled(penstock::detail::mixed(~hash), slots - 1);
        const auto share = static_cast<std::uint64_t>(std::round(weight * 0x1p32));
        if (!credit.contains(node)) credit[node] = (std::uint64_t{1} << 32) - share;
        if ((credit[node] += share) >> 32 == 0 || filled == slots) continue;
        credit[node] -= std::uint64_t{1} << 32;
        while (!table[(begin + next[node] * step) % slots].empty()) ++next[node];
        table[(begin + next[node] * step) % slots] = node;
        ++filled;
      }
    }
    std::size_t wrong = 0;
    std::map<std::string, int> had;
    for (std::uint32_t slot = 0; slot < slots; ++slot) {
      const auto middle = static_cast<std::uint64_t>((slot + 0.5) / slots * 0x1p64);
      if (*p.find(ready_hash{middle}) != table[slot]) ++wrong;
      ++had[table[slot]];
    }
    CHECK(wrong == 0);
    CHECK(had.size() == weights.size());
  }
}

TEST_CASE("maglev: refuses what is no prime and more nodes than slots; adds many at once", "[maglev]") {
  for (const std::uint32_t bad : {0u, 1u, 4u, 65'536u, 65'537u * 3, (1u << 31) + 11}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(maglev{{.slots = bad}}, std::invalid_argument);
  }
  maglev p{{.slots = 3}};
  CHECK(p.insert_range(std::vector<std::string>{"b", "a", "b"}) == 2);
  CHECK(p.insert_range(std::vector<std::string_view>{"a", "c"}) == 1);
  const maglev before = p;
  CHECK_THROWS_AS(p.insert("d"), std::length_error);
  CHECK(p == before);
}

TEST_CASE("anchor_hash: a node that comes back has its keys again, and no more nodes than the capacity fit", "[anchor_hash]") {
  CHECK_THROWS_AS(anchor{{.capacity = 0}}, std::invalid_argument);
  anchor p{{.capacity = 12}};
  for (int i = 0; i < 12; ++i) p.insert(name(i));
  const anchor full = p;
  CHECK_THROWS_AS(p.insert("one more"), std::length_error);
  CHECK(p == full);
  const std::vector<int> gone{3, 11, 0, 7, 5};
  for (const int i : gone) REQUIRE(p.erase(name(i)));
  for (auto i = gone.rbegin(); i != gone.rend(); ++i) REQUIRE(p.insert(name(*i)));
  std::size_t moved = 0;
  for (int key = 0; key < 2000; ++key) moved += *p.find(key) != *full.find(key);
  CHECK(moved == 0);
}
