// penstock/route/rendezvous.hpp: the node that scores highest for a key; the fairest placement, and the one without anything to tune.
//
//   penstock::rendezvous<std::string> servers;
//   servers.insert("10.0.0.1:80");
//   servers.insert("10.0.0.2:80", {.weight = 2});
//   if (const std::string* server = servers.find(session_id)) send(*server);
//
// Every node has a score for every key, made of both hashes, and the highest one has the key. So a node that leaves gives its keys to all others by
// their weights and moves no other key, one that comes takes exactly its share, and shares are as fair as chance with that many keys is.
//
// The mapping    the same for every order of calls: the score of a node is mixed(hash_of(key, seed) ^ hash_of(node, seed)), as 0 < u < 1; the least
//                -ln(u) / weight wins, and of equal weights the highest u, which is the same. A balancer's sticky policy with this seed
//                as its key_seed sends keys to the same names. Two machines whose logarithms differ in the last bit differ in about one key in 10^13.
// Invariants     nodes_, hashes_ and weights_ lie in the nodes' order; uniform_ says that all weights are equal.
// Thread safety  a plain value: concurrent reads are safe, a change is its owner's alone. What find() gives stays valid until the next change.
// Cost           find(): a nanosecond a node, two with different weights (a logarithm only for those that may win). insert(), erase():
//                memory moves. 8 bytes a node, 16 and the node in all. Good up to some hundred nodes; beyond that take another placement.
// Exceptions     insert() may throw what comparing, a user's hash or allocating throws, and then nothing has changed if moving a node does not throw.
// Algorithm      D. Thaler, C. Ravishankar, Using Name-Based Mappings to Increase Hit Rates, IEEE/ACM ToN 6(1), 1998; the logarithm form: C.
//                Schindelhauer, G. Schomaker, Weighted Distributed Hash Tables, SPAA 2005.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/route/detail/placing.hpp>
#include <penstock/route/hash.hpp>
#include <penstock/route/placement.hpp>

namespace penstock::inline v0_1 {

struct rendezvous_options {
  /// All machines that share a placement share it. A random one makes it hard to craft keys that fall on one node.
  std::uint64_t seed = 0;

  friend bool operator==(const rendezvous_options&, const rendezvous_options&) = default;
};

template <class Node>
class rendezvous {
  static_assert(routable<Node>, "a node has a hash_of(): see route/hash.hpp");
  static_assert(std::totally_ordered<Node>, "nodes have an order");

 public:
  using node_type = Node;

  explicit rendezvous(const rendezvous_options& options = {}) noexcept : options_{options} {}
  rendezvous(const rendezvous&) = default;
  rendezvous(rendezvous&&) = default;
  rendezvous& operator=(const rendezvous& other) { return *this = rendezvous{other}; }  // all or nothing
  rendezvous& operator=(rendezvous&&) = default;
  ~rendezvous() = default;

  [[nodiscard]] const rendezvous_options& options() const noexcept { return options_; }
  [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
  [[nodiscard]] bool empty() const noexcept { return nodes_.empty(); }

  /// Adds a node. False, and nothing has changed, if it is there already. Throws std::invalid_argument unless the weight is positive and finite.
  bool insert(Node node, const placement_options& options = {}) {
    detail::check_weight("rendezvous", options.weight);
    const std::size_t i = place_of(node);
    if (i < size() && nodes_[i] == node) return false;
    const std::uint64_t hash = hash_of(node, options_.seed);
    make_room();
    // From here on nothing throws, unless moving a node does.
    const auto at = static_cast<std::ptrdiff_t>(i);
    nodes_.insert(nodes_.begin() + at, std::move(node));
    hashes_.insert(hashes_.begin() + at, hash);
    weights_.insert(weights_.begin() + at, options.weight);
    settle();
    return true;
  }

  /// Removes a node; whatever compares with a node names it (a std::string_view for a std::string). Whether it was there.
  template <class Name>
  bool erase(const Name& name) {
    const std::size_t i = place_of(name);
    if (i == size() || !(nodes_[i] == name)) return false;
    const auto at = static_cast<std::ptrdiff_t>(i);
    nodes_.erase(nodes_.begin() + at);
    hashes_.erase(hashes_.begin() + at);
    weights_.erase(weights_.begin() + at);
    settle();
    return true;
  }

  /// All nodes, in their order.
  [[nodiscard]] std::vector<const Node*> nodes() const { return detail::addresses_of(nodes_); }

  /// The node that the key belongs to, nullptr if there is none. A key is anything that hash_of() takes, also a ready_hash.
  template <routable Key>
  [[nodiscard]] const Node* find(const Key& key) const {
    if (empty()) return nullptr;
    const std::uint64_t hash = hash_of(key, options_.seed);
    return nodes_.data() + (uniform_ ? highest(hash) : first(hash));
  }

  /// Fills `out` with distinct nodes in order of preference: the first is find()'s, and the one that the key would move to if those before it left
  /// comes next. The number of nodes found, the smaller one of out.size() and size(). Up to 16 of them allocate nothing.
  template <routable Key>
  std::size_t find_n(const Key& key, std::span<const Node*> out) const {
    const std::uint64_t hash = hash_of(key, options_.seed);
    const std::size_t n = std::min(out.size(), size());
    if (n == 0) return 0;
    using scored = std::pair<double, detail::dependent<std::size_t, Key>>;
    std::array<scored, 16> few;
    std::vector<scored> many(n > few.size() ? n : 0);
    const std::span<scored> best{many.empty() ? few.data() : many.data(), n};  // a heap: the last of them is in front
    for (std::size_t i = 0; i < size(); ++i) {
      const scored candidate{wait(score(hash, i), i), i};
      if (i < n) {
        best[i] = candidate;
        std::push_heap(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(i + 1));
      } else if (candidate < best[0]) {
        std::pop_heap(best.begin(), best.end());
        best[n - 1] = candidate;
        std::push_heap(best.begin(), best.end());
      }
    }
    std::sort_heap(best.begin(), best.end());
    for (std::size_t i = 0; i < n; ++i) out[i] = nodes_.data() + best[i].second;
    return n;
  }

  friend bool operator==(const rendezvous&, const rendezvous&) = default;

 private:
  [[nodiscard]] std::uint64_t score(std::uint64_t hash, std::size_t i) const noexcept { return detail::mixed(hash ^ hashes_[i]); }
  // Never 0 and never 1.
  [[nodiscard]] static double fraction(std::uint64_t score) noexcept {
    return (static_cast<double>(score >> 11) + 0.5) * 0x1p-53;
  }
  // Exponentially distributed with the weight as its rate: the first of several such is each one with a probability as its weight.
  [[nodiscard]] double wait(std::uint64_t score, std::size_t i) const noexcept {
    return -std::log(fraction(score)) / weights_[i];
  }

  [[nodiscard]] std::size_t highest(std::uint64_t hash) const noexcept {
    std::size_t best = 0;
    std::uint64_t best_score = score(hash, 0);
    for (std::size_t i = 1; i < hashes_.size(); ++i) {
      const std::uint64_t s = score(hash, i);
      if (s <= best_score) continue;
      best_score = s;
      best = i;
    }
    return best;
  }

  [[nodiscard]] std::size_t first(std::uint64_t hash) const noexcept {
    constexpr double slack = 1 + 1e-9;  // far more than what rounding does: who is left out would have lost
    std::size_t best = 0;
    double shortest = wait(score(hash, 0), 0);
    for (std::size_t i = 1; i < hashes_.size(); ++i) {
      const std::uint64_t s = score(hash, i);
      if (1 - fraction(s) > shortest * weights_[i] * slack) continue;  // -ln(u) >= 1 - u, so most need no logarithm
      const double w = wait(s, i);
      if (w >= shortest) continue;
      shortest = w;
      best = i;
    }
    return best;
  }

  template <class Name>
  [[nodiscard]] std::size_t place_of(const Name& name) const {
    const auto before = [](const Node& node, const Name& n) { return node < n; };
    return static_cast<std::size_t>(std::lower_bound(nodes_.begin(), nodes_.end(), name, before) - nodes_.begin());
  }
  void make_room() {
    const std::size_t more = 2 * size() + 1;
    if (nodes_.size() == nodes_.capacity()) nodes_.reserve(more);
    if (hashes_.size() == hashes_.capacity()) hashes_.reserve(more);
    if (weights_.size() == weights_.capacity()) weights_.reserve(more);
  }
  void settle() noexcept {
    uniform_ = std::all_of(weights_.begin(), weights_.end(), [&](double w) { return w == weights_.front(); });
  }

  rendezvous_options options_;
  std::vector<Node> nodes_;
  std::vector<std::uint64_t> hashes_;
  std::vector<double> weights_;
  bool uniform_ = true;
};

}  // namespace penstock::inline v0_1
