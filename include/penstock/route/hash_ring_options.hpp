// penstock/route/hash_ring_options.hpp: what a hash ring and its nodes can be told.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace penstock::inline v0_1 {

struct hash_ring_options {
  /// Points of a node of weight 1. The shares of equal nodes scatter by about 1 / sqrt(virtual_nodes): 8 % with 160.
  std::uint32_t virtual_nodes = 160;
  /// All machines that share a ring share it. A random one makes it hard to craft keys that fall on one node.
  std::uint64_t seed = 0;
  /// acquire(): how far above its share of the requests in flight a node may go; 1.25 is a quarter. At least 1: the closer, the more requests leave
  /// the node of their key.
  double load_factor = 1.25;

  friend bool operator==(const hash_ring_options&, const hash_ring_options&) = default;
};

struct ring_node_options {
  /// The node's share relative to those of the others, positive.
  double weight = 1;
  /// Where it stands (a rack, a data centre), for find_n() to spread over. Empty: nowhere in particular, and no spread leaves it out.
  std::string zone = {};
};

struct zone_spread {
  /// At most so many nodes of one zone; 0: any number.
  std::size_t max_per_zone = 0;
};

}  // namespace penstock::inline v0_1
