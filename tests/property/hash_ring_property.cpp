// The laws of a hash ring for random nodes, weights and changes: shares within what chance allows, no key that moves without need, no order that
// matters, bounds that hold.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <rapidcheck.h>

#include <penstock/route/hash_ring.hpp>
#include <penstock/route/ring_diff.hpp>

#include "support/property.hpp"

namespace {

using penstock::ready_hash;
using penstock::stable_hash;
using ring = penstock::hash_ring<int>;

int between(int low, int high) { return *rc::gen::inRange(low, high + 1); }

// Keys that are everywhere, and the same in each case.
std::uint64_t key(std::size_t i) { return stable_hash(i, 77); }
constexpr std::size_t keys = 3000;

struct given {
  ring now;
  std::map<int, double> weights;
};

given some_ring() {
  given g{ring{{.virtual_nodes = static_cast<std::uint32_t>(between(1, 200)), .seed = *rc::gen::arbitrary<std::uint64_t>()}}, {}};
  const int nodes = between(1, 40);
  for (int i = 0; i < nodes; ++i) {
    const int node = between(0, 1000);
    const double weight = between(1, 40) / 10.0;
    RC_ASSERT(g.now.insert(node, {.weight = weight}) == g.weights.emplace(node, weight).second);
  }
  return g;
}

int any_node(const given& g) { return std::next(g.weights.begin(), between(0, static_cast<int>(g.weights.size()) - 1))->first; }

// Where every key is, and that diff() says which of them moved.
template <class Allowed>
void moves_only(const ring& before, const ring& after, Allowed allowed) {
  const auto moved = penstock::diff(before, after);
  for (std::size_t i = 0; i < keys; ++i) {
    const int* const from = before.find(ready_hash{key(i)});
    const int* const to = after.find(ready_hash{key(i)});
    const bool stays = from == to || (from != nullptr && to != nullptr && *from == *to);
    const auto at =
        std::lower_bound(moved.begin(), moved.end(), key(i), [](const auto& m, std::uint64_t k) { return m.last < k; });
    const bool listed = at != moved.end() && at->first <= key(i);
    RC_ASSERT(listed == !stays);
    if (stays) continue;
    RC_ASSERT((at->from == nullptr ? from == nullptr : *at->from == *from) &&
              (at->to == nullptr ? to == nullptr : *at->to == *to));
    RC_ASSERT(allowed(from, to));
  }
}

void changes_move_little() {
  given g = some_ring();
  for (int step = 0; step < 4 && !g.now.empty(); ++step) {
    const ring before = g.now;
    const int node = any_node(g);
    switch (between(0, 2)) {
      case 0:  // only the keys of the one that goes move
        RC_ASSERT(g.now.erase(node));
        g.weights.erase(node);
        moves_only(before, g.now, [&](const int* from, const int*) { return *from == node; });
        break;
      case 1: {  // keys move only to the one that comes
        const int fresh = 2000 + step;
        RC_ASSERT(g.now.insert(fresh));
        g.weights[fresh] = 1;
        moves_only(before, g.now, [&](const int*, const int* to) { return *to == fresh; });
        break;
      }
      default: {  // a greater weight only gains, a smaller one only loses
        const double weight = between(1, 60) / 10.0;
        const bool more = weight >= g.weights[node];
        RC_ASSERT(g.now.reweight(node, weight));
        g.weights[node] = weight;
        moves_only(before, g.now, [&](const int* from, const int* to) { return more ? *to == node : *from == node; });
      }
    }
  }
}

void order_does_not_matter() {
  const given g = some_ring();
  std::vector<std::pair<int, double>> nodes(g.weights.begin(), g.weights.end());
  for (std::size_t i = nodes.size(); i > 1; --i)
    std::swap(nodes[i - 1], nodes[static_cast<std::size_t>(between(0, static_cast<int>(i) - 1))]);
  ring other{g.now.options()};
  for (const auto& [node, weight] : nodes) {
    other.insert(node, {.weight = 1});
    if (*rc::gen::arbitrary<bool>()) {
      other.insert(5000);
      other.erase(node);
      other.insert(node, {.weight = weight});
    } else {
      other.reweight(node, weight);
    }
  }
  other.erase(5000);
  RC_ASSERT(other == g.now);
  RC_ASSERT(penstock::diff(other, g.now).empty());
}

// The share of a node with p of P points has the mean p/P and, for points like darts, the variance p (P - p) / (P^2 (P + 1)). The sum of the
// squares over the variances is close to chi-square with one degree less than nodes: 6 of its standard deviations are beyond chance.
void shares_are_fair() {
  const int nodes = between(10, 1000);
  ring r{{.seed = *rc::gen::arbitrary<std::uint64_t>()}};
  std::map<int, double> points;
  std::vector<int> light;
  std::vector<int> heavy;
  for (int i = 0; i < nodes; ++i) {
    (i % 3 == 0 ? heavy : light).push_back(i);
    points[i] = i % 3 == 0 ? 320 : 160;
  }
  r.insert_range(light);
  r.insert_range(heavy, {.weight = 2});
  const auto all = static_cast<double>(r.points());
  double chi_square = 0;
  for (const auto& [node, share] : penstock::ownership(r)) {
    const double p = points[*node];
    const double difference = share - p / all;
    chi_square += difference * difference * all * all * (all + 1) / (p * (all - p));
  }
  const double expected = nodes - 1;
  RC_ASSERT(std::abs(chi_square - expected) < 6 * std::sqrt(2 * expected) + 0.1 * expected);
}

void bounds_hold() {
  const given g = some_ring();
  const double c = between(100, 200) / 100.0;
  ring r{{.virtual_nodes = g.now.options().virtual_nodes, .load_factor = c}};
  for (const auto& [node, weight] : g.weights) r.insert(node, {.weight = weight});
  std::vector<penstock::ring_token<int>> tokens;
  for (int i = 0; i < 300; ++i) {
    if (!tokens.empty() && between(0, 3) == 0) {
      std::swap(tokens.back(), tokens[static_cast<std::size_t>(between(0, static_cast<int>(tokens.size()) - 1))]);
      tokens.pop_back();
      continue;
    }
    const int k = between(0, 5);
    tokens.push_back(r.acquire(k));
    // The one that was chosen is within its bound, and all those between it and the key are at theirs.
    const auto bound = [&](int node) {
      const double points = std::max(1.0, std::round(g.weights.at(node) * r.options().virtual_nodes));
      return std::ceil(c * (points / static_cast<double>(r.points())) * static_cast<double>(tokens.size()));
    };
    const int chosen = *tokens.back();
    RC_ASSERT(static_cast<double>(r.in_flight(chosen)) <= bound(chosen));
    for (const int* node : r.find_n(k, r.size())) {
      if (*node == chosen) break;
      RC_ASSERT(static_cast<double>(r.in_flight(*node)) >= bound(*node));
    }
    std::size_t sum = 0;
    for (const int* node : r.nodes()) sum += r.in_flight(*node);
    RC_ASSERT(sum == tokens.size());
  }
}

}  // namespace

int main() {
  test_support::try_cases("seed=1 max_success=40", "max_success=2000");
  bool ok = rc::check("changes move only what they must, and diff() says what", changes_move_little);
  ok = rc::check("the order of calls does not matter", order_does_not_matter) && ok;
  ok = rc::check("shares are fair", shares_are_fair) && ok;
  ok = rc::check("bounded loads hold", bounds_hold) && ok;
  return ok ? 0 : 1;
}
