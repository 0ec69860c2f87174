// The laws of the relatives of the hash ring, for random nodes and weights: shares within what chance allows, no key that moves without need.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include <rapidcheck.h>

#include <penstock/route/anchor_hash.hpp>
#include <penstock/route/jump.hpp>
#include <penstock/route/maglev.hpp>
#include <penstock/route/rendezvous.hpp>

#include "support/property.hpp"

namespace {

using penstock::ready_hash;
using penstock::stable_hash;
using weights_of = std::map<int, double>;

int between(int low, int high) { return *rc::gen::inRange(low, high + 1); }

constexpr std::size_t keys = 2000;
using owners = std::vector<int>;

template <class Placement>
owners all_of(const Placement& p, std::uint64_t salt) {
  owners all(keys);
  for (std::size_t i = 0; i < keys; ++i) all[i] = *p.find(ready_hash{stable_hash(i, salt)});
  return all;
}

// Twelve standard deviations of chi-square: what chance does not do in the lifetime of these tests, and any lopsided share does. `spread` is what the
// shares themselves scatter by, relative to their size.
void expect_shares(const owners& all, const weights_of& weights, double spread = 0) {
  std::map<int, double> found;
  for (const int node : all) {
    RC_ASSERT(weights.contains(node));
    ++found[node];
  }
  double sum = 0;
  for (const auto& [node, weight] : weights) sum += weight;
  double chi_square = 0;
  for (const auto& [node, weight] : weights) {
    const double expected = keys * weight / sum;
    chi_square += (found[node] - expected) * (found[node] - expected) / (expected + expected * expected * spread * spread);
  }
  const auto freedom = static_cast<double>(weights.size() - 1);
  RC_ASSERT(chi_square <= freedom + 12 * std::sqrt(2 * freedom) + 1e-9);  // and what rounding does to one node
}

weights_of some_weights(bool weighted) {
  weights_of weights;
  const int nodes = between(1, 60);
  for (int i = 0; i < nodes; ++i) weights[between(0, 1'000'000)] = weighted ? between(5, 40) / 10.0 : 1;
  return weights;
}

template <class Placement>
Placement made_of(const weights_of& weights, Placement p) {
  for (const auto& [node, weight] : weights) RC_ASSERT(p.insert(node, {.weight = weight}));
  return p;
}

// A sequence of changes. Only the keys of a node that goes move, and a node that comes takes keys, its share of them, and no others move.
template <class Placement>
void moves_little(Placement p, weights_of weights) {
  const auto salt = *rc::gen::arbitrary<std::uint64_t>();
  owners before = all_of(p, salt);
  expect_shares(before, weights);
  for (int step = 0; step < 6; ++step) {
    const bool goes = weights.size() > 1 && between(0, 2) != 0;
    int node = 2'000'000 + step;
    if (goes) {
      node = std::next(weights.begin(), between(0, static_cast<int>(weights.size()) - 1))->first;
      RC_ASSERT(p.erase(node));
      weights.erase(node);
    } else {
      RC_ASSERT(p.insert(node));
      weights[node] = 1;
    }
    const owners after = all_of(p, salt);
    for (std::size_t i = 0; i < keys; ++i) {
      if (before[i] != after[i]) RC_ASSERT((goes ? before[i] : after[i]) == node);
    }
    expect_shares(after, weights);
    before = after;
  }
}

void rendezvous_moves_little() {
  const weights_of weights = some_weights(between(0, 1) == 1);
  moves_little(made_of(weights, penstock::rendezvous<int>{{.seed = *rc::gen::arbitrary<std::uint64_t>()}}), weights);
}
void anchor_moves_little() {
  const weights_of weights = some_weights(false);
  const auto capacity = static_cast<std::uint32_t>(weights.size()) + static_cast<std::uint32_t>(between(6, 500));
  moves_little(made_of(weights, penstock::anchor_hash<int>{{.capacity = capacity, .seed = *rc::gen::arbitrary<std::uint64_t>()}}),
               weights);
}

// More weight takes keys from the others and gives none away.
void weights_are_monotone() {
  const weights_of weights = some_weights(true);
  const auto seed = *rc::gen::arbitrary<std::uint64_t>();
  weights_of heavier = weights;
  const int node = std::next(heavier.begin(), between(0, static_cast<int>(weights.size()) - 1))->first;
  heavier[node] += between(1, 30) / 10.0;
  const owners before = all_of(made_of(weights, penstock::rendezvous<int>{{.seed = seed}}), 1);
  const owners after = all_of(made_of(heavier, penstock::rendezvous<int>{{.seed = seed}}), 1);
  for (std::size_t i = 0; i < keys; ++i) RC_ASSERT(before[i] == after[i] || after[i] == node);

  const auto share = [&](const weights_of& w) {
    penstock::maglev<int> p{{.slots = 5003, .seed = seed}};
    std::size_t slots = 0;
    for (const auto& [n, weight] : w) p.insert(n, {.weight = weight});
    for (std::uint32_t i = 0; i < 5003; ++i) {
      slots += *p.find(ready_hash{static_cast<std::uint64_t>((i + 0.5) / 5003 * 0x1p64)}) == node;
    }
    return slots;
  };
  RC_ASSERT(share(weights) <= share(heavier) + 1);  // one: where the last round ends
}

void jump_moves_little() {
  penstock::jump<int> p{{.seed = *rc::gen::arbitrary<std::uint64_t>(),
                         .method = between(0, 1) == 0 ? penstock::jump_method::lamping_veach : penstock::jump_method::jump_back}};
  weights_of weights;
  const int nodes = between(2, 60);
  for (int i = 0; i < nodes; ++i) {
    const owners before = weights.empty() ? owners(keys, i) : all_of(p, 2);
    RC_ASSERT(p.insert(i));
    weights[i] = 1;
    const owners after = all_of(p, 2);
    for (std::size_t k = 0; k < keys; ++k) RC_ASSERT(before[k] == after[k] || after[k] == i);
  }
  owners before = all_of(p, 2);
  expect_shares(before, weights);
  const int gone = between(0, nodes - 1);
  const int last = nodes - 1;
  RC_ASSERT(p.erase(gone));
  weights.erase(gone);
  const owners after = all_of(p, 2);
  expect_shares(after, weights);
  for (std::size_t k = 0; k < keys; ++k) {
    if (before[k] == gone && gone != last) RC_ASSERT(after[k] == last);
    if (before[k] != gone && before[k] != last) RC_ASSERT(after[k] == before[k]);
  }
}

// No law of no other key that moves: but few, and shares that are more even than chance, since the slots are.
void maglev_is_even() {
  const weights_of weights = some_weights(between(0, 1) == 1);
  auto p = made_of(weights_of{}, penstock::maglev<int>{{.slots = 5003, .seed = *rc::gen::arbitrary<std::uint64_t>()}});
  for (const auto& [node, weight] : weights) RC_ASSERT(p.insert(node, {.weight = weight}));
  const owners before = all_of(p, 3);
  expect_shares(before, weights, 0.02);
  RC_ASSERT(p.insert(2'000'000));
  const owners after = all_of(p, 3);
  std::size_t others = 0;
  for (std::size_t k = 0; k < keys; ++k) others += before[k] != after[k] && after[k] != 2'000'000;
  RC_ASSERT(others < keys / 10);
  RC_ASSERT(p.erase(2'000'000));
  RC_ASSERT(all_of(p, 3) == before);
}

}  // namespace

int main() {
  test_support::try_cases("seed=1 max_success=40", "max_success=2000");
  bool ok = rc::check("rendezvous: moves only what must, and shares are as the weights", rendezvous_moves_little);
  ok = rc::check("anchor_hash: moves only what must, and shares are even", anchor_moves_little) && ok;
  ok = rc::check("jump: moves what it says, and shares are even", jump_moves_little) && ok;
  ok = rc::check("maglev: even shares, and few keys move", maglev_is_even) && ok;
  ok = rc::check("more weight, no fewer keys", weights_are_monotone) && ok;
  return ok ? 0 : 1;
}
