// penstock/route/placement.hpp: what the hash ring and its relatives have in common: nodes come and go, and every key has one.
//
//   template <penstock::placement Placement>
//   const std::string* home_of(const Placement& servers, std::string_view user) {
//     return servers.find(user);
//   }
//
//   hash_ring       any weights; find_n, zones, bounded loads, an exact migration plan            route/hash_ring.hpp
//   rendezvous      any weights, nothing to tune, the fairest; each lookup looks at every node    route/rendezvous.hpp
//   maglev          any weights, the fastest lookup; a change builds a table anew                 route/maglev.hpp
//   jump            equal nodes, no memory at all; only the last node leaves cheaply              route/jump.hpp
//   anchor_hash     equal nodes, any of them leaves; how many there can be is fixed               route/anchor_hash.hpp
//
// docs/placement.md has their measures and says which to take.
#pragma once

#include <concepts>
#include <cstddef>
#include <ranges>
#include <type_traits>

#include <penstock/route/hash.hpp>

namespace penstock::inline v0_1 {

struct placement_options {
  /// The node's share relative to those of the others, positive and finite. A placement of equal nodes takes only 1.
  double weight = 1;
};

/// A plain value that gives each key a node: concurrent reads are safe, a change is its owner's alone.
///   insert(node, {.weight = w})  whether it was new; a node that is there already is left as it is. Throws std::invalid_argument on a weight
///                                that the placement does not take; then, and whenever it throws, nothing has changed
///   erase(node)                  whether it was there
///   find(key)                    the node of anything that hash_of() takes, a ready_hash too; nullptr if there is no node
///   size(), nodes()              how many, and const Node* of each
template <class Type>
concept placement =
    std::copyable<Type> && requires(Type& p, const Type& c, const typename Type::node_type& node, ready_hash key) {
      { p.insert(node, {.weight = 1.0}) } -> std::same_as<bool>;
      { p.erase(node) } -> std::same_as<bool>;
      { c.find(key) } -> std::same_as<const typename Type::node_type*>;
      { c.size() } -> std::same_as<std::size_t>;
      { c.nodes() } -> std::ranges::forward_range;
    };

}  // namespace penstock::inline v0_1
