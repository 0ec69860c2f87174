// penstock/route/maglev.hpp: the node of a key from one look into a table; the fastest placement, with nearly equal shares.
//
//   penstock::maglev<std::string> servers;                    // a table of 65,537 slots, 131 KB
//   servers.insert_range(names);                              // one table for all: quicker than one by one
//   servers.insert("10.0.0.9:80", {.weight = 2});
//   if (const std::string* server = servers.find(session_id)) send(*server);
//
// Each node has the slots in an order of its own; they take turns, and whose turn it is takes its next free one. So of equal nodes none has more
// than one slot more than another. The price: when a node comes or goes, keys move between the others, too: with the default table and 100 nodes 1.6
// times as many as must move, with 1,000 6.6 times, 0.7 % of all (docs/placement.md); and all of the table is made anew.
//
// The mapping    the same for every order of calls: it depends on the set of nodes, their weights and the options.
// Weights        the heaviest nodes take one slot each round, the others in proportion; everybody has a slot, so shares below 1 / slots are rounded
//                up. Each share is right to about one slot.
// Invariants     members_ lie in the nodes' order; table_ is empty, or each slot has a node's place there.
// Thread safety  a plain value: concurrent reads are safe, a change is its owner's alone. What find() gives stays valid until the next change.
// Cost           find(): one read of the table. A change: a millisecond for 65,537 slots, some more if weights differ a lot.
//                2 bytes a slot, 16 a node.
// Exceptions     a change that throws (comparing, a user's hash, allocating) has changed nothing if moving a node does not throw.
// Algorithm      D. Eisenbud et al., Maglev: A Fast and Reliable Software Network Load Balancer, NSDI 2016; weights as Envoy has them.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <ranges>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/route/detail/maglev_table.hpp>
#include <penstock/route/detail/placing.hpp>
#include <penstock/route/hash.hpp>
#include <penstock/route/placement.hpp>

namespace penstock::inline v0_1 {

struct maglev_options {
  /// A prime, 2 ... 2^31 - 1: the paper's smaller table. At least some 100 times the number of nodes, for even shares; more moves a little less.
  std::uint32_t slots = 65'537;
  /// All machines that share a placement share it. A random one makes it hard to craft keys that fall on one node.
  std::uint64_t seed = 0;

  friend bool operator==(const maglev_options&, const maglev_options&) = default;
};

template <class Node>
class maglev {
  static_assert(routable<Node>, "a node has a hash_of(): see route/hash.hpp");
  static_assert(std::totally_ordered<Node>, "nodes have an order, by which they take turns");

 public:
  using node_type = Node;

  /// Throws std::invalid_argument unless slots is a prime below 2^31.
  explicit maglev(const maglev_options& options = {}) : options_{options} {
    bool prime = options.slots >= 2 && options.slots < 1u << 31;
    for (std::uint64_t d = 2; prime && d * d <= options.slots; ++d) prime = options.slots % d != 0;
    if (!prime)
      throw std::invalid_argument{"penstock::maglev: slots is " + std::to_string(options.slots) + ", no prime below 2^31"};
  }

  maglev(const maglev&) = default;
  maglev(maglev&&) = default;
  maglev& operator=(const maglev& other) { return *this = maglev{other}; }  // all or nothing
  maglev& operator=(maglev&&) = default;
  ~maglev() = default;

  [[nodiscard]] const maglev_options& options() const noexcept { return options_; }
  [[nodiscard]] std::size_t size() const noexcept { return members_.size(); }
  [[nodiscard]] bool empty() const noexcept { return table_.empty(); }

  /// Adds a node. False, and nothing has changed, if it is there already. Throws std::invalid_argument unless the weight is positive and
  /// finite, std::length_error if there were more nodes than slots, or than 2^16.
  bool insert(Node node, const placement_options& options = {}) {
    return insert_range(std::ranges::subrange{std::make_move_iterator(&node), std::make_move_iterator(&node + 1)}, options) == 1;
  }

  /// Adds nodes, all with these options; those that are there already are left as they are. The number of nodes added. Throws like insert(), and
  /// then none is added.
  template <std::ranges::input_range Nodes>
    requires std::constructible_from<Node, std::ranges::range_reference_t<Nodes>>
  std::size_t insert_range(Nodes&& nodes, const placement_options& options = {}) {
    detail::check_weight("maglev", options.weight);
    std::vector<member> fresh;
    for (auto&& node : nodes) {
      fresh.push_back({Node(std::forward<decltype(node)>(node)), 0, options.weight});
      fresh.back().hash = hash_of(fresh.back().node, options_.seed);
    }
    const auto before = [](const member& a, const member& b) { return a.node < b.node; };
    const auto same = [](const member& a, const member& b) { return a.node == b.node; };
    std::sort(fresh.begin(), fresh.end(), before);
    std::vector<member> next;
    next.reserve(size() + fresh.size());
    // Of equal ones those that were there before come first, and stay.
    std::merge(members_.begin(), members_.end(), std::make_move_iterator(fresh.begin()), std::make_move_iterator(fresh.end()),
               std::back_inserter(next), before);
    next.erase(std::unique(next.begin(), next.end(), same), next.end());
    const std::size_t added = next.size() - size();
    if (added != 0) replace(std::move(next));
    return added;
  }

  /// Removes a node; whatever compares with a node names it (a std::string_view for a std::string). Whether it was there.
  template <class Name>
  bool erase(const Name& name) {
    const auto before = [](const member& m, const Name& n) { return m.node < n; };
    const auto at = std::lower_bound(members_.begin(), members_.end(), name, before);
    if (at == members_.end() || !(at->node == name)) return false;
    std::vector<member> next;
    next.reserve(size());
    next.insert(next.end(), members_.begin(), at);
    next.insert(next.end(), at + 1, members_.end());
    replace(std::move(next));
    return true;
  }

  /// All nodes, in their order.
  [[nodiscard]] std::vector<const Node*> nodes() const {
    std::vector<const Node*> all;
    all.reserve(size());
    for (const member& m : members_) all.push_back(&m.node);
    return all;
  }

  /// The node that the key belongs to, nullptr if there is none. A key is anything that hash_of() takes, also a ready_hash.
  template <routable Key>
  [[nodiscard]] const Node* find(const Key& key) const {
    if (empty()) return nullptr;
    return &members_[table_[detail::scaled(hash_of(key, options_.seed), options_.slots)]].node;
  }

  friend bool operator==(const maglev& a, const maglev& b) { return a.options_ == b.options_ && a.members_ == b.members_; }

 private:
  struct member {
    Node node;
    std::uint64_t hash;
    double weight;

    friend bool operator==(const member&, const member&) = default;
  };

  void replace(std::vector<member> next) {
    std::vector<detail::dependent<std::uint16_t, Node>> table;
    if (!next.empty()) {
      if (next.size() > options_.slots || next.size() > 1u << 16) {
        throw std::length_error{"penstock::maglev: " + std::to_string(next.size()) + " nodes"};
      }
      std::vector<detail::dependent<std::uint64_t, Node>> hashes;
      std::vector<detail::dependent<double, Node>> weights;
      for (const member& m : next) {
        hashes.push_back(m.hash);
        weights.push_back(m.weight);
      }
      table = detail::maglev_fill<detail::dependent<std::uint64_t, Node>>{hashes, weights, options_.slots}.filled();
    }
    members_ = std::move(next);
    table_ = std::move(table);
  }

  maglev_options options_;
  std::vector<member> members_;
  std::vector<detail::dependent<std::uint16_t, Node>> table_;
};

}  // namespace penstock::inline v0_1
