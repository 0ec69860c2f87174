// penstock/route/ring_diff.hpp: which keys move when a hash ring changes, and which share of all keys each node has.
//
//   penstock::hash_ring before = ring;                        // cheap: copies share what does not change
//   ring.insert("shard-4");
//   for (const auto& moved : penstock::diff(before, ring)) copy_keys(moved.first, moved.last, *moved.from, *moved.to);
//
//   for (const auto& [node, share] : penstock::ownership(ring)) print(*node, share);
//
// Both speak of hashes: a key is in a range if hash_of(key, ring.options().seed) is. The pointers are those of the rings, and live as long.
// Cost: linear in the points.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include <penstock/route/hash_ring.hpp>

namespace penstock::inline v0_1 {

/// The keys with hashes from `first` to `last`, both included, went from one node to another; nullptr where there was, or is, no node.
template <class Node>
struct moved_range {
  std::uint64_t first;
  std::uint64_t last;
  const Node* from;
  const Node* to;
};

template <class Node>
struct node_share {
  const Node* node;
  double share;  // of all hashes; 1 altogether
};

namespace detail {

template <class Node>
struct owned_range {
  std::uint64_t last;
  const Node* node;
};

template <class Node>
std::vector<owned_range<Node>> ranges_of(const hash_ring<Node>& ring) {
  std::vector<owned_range<Node>> ranges;
  ranges.reserve(ring.points() + 1);
  ring.each_range([&](std::uint64_t last, const Node& node) { ranges.push_back({last, &node}); });
  if (ranges.empty()) ranges.push_back({~std::uint64_t{0}, nullptr});
  return ranges;
}

}  // namespace detail

/// The migration plan from one ring to the other: the ranges of hashes whose node is another one, in order, as long as can be. Throws
/// std::invalid_argument if the rings have different seeds: no range of hashes means the same keys in both then.
template <class Node>
[[nodiscard]] std::vector<moved_range<Node>> diff(const hash_ring<Node>& before, const hash_ring<Node>& after) {
  if (before.options().seed != after.options().seed) throw std::invalid_argument{"penstock::diff: rings with different seeds"};
  const auto old = detail::ranges_of(before);
  const auto now = detail::ranges_of(after);
  const auto same = [](const Node* a, const Node* b) { return a == b || (a != nullptr && b != nullptr && *a == *b); };
  std::vector<moved_range<Node>> moved;
  std::uint64_t first = 0;
  for (std::size_t i = 0, j = 0; i < old.size() && j < now.size();) {  // both end at the greatest hash
    const std::uint64_t last = std::min(old[i].last, now[j].last);
    const Node* const from = old[i].node;
    const Node* const to = now[j].node;
    if (!same(from, to)) {
      if (!moved.empty() && moved.back().last + 1 == first && moved.back().from == from && moved.back().to == to) {
        moved.back().last = last;
      } else {
        moved.push_back({first, last, from, to});
      }
    }
    first = last + 1;
    if (old[i].last == last) ++i;
    if (now[j].last == last) ++j;
  }
  return moved;
}
template <class Node>
void diff(const hash_ring<Node>&&, const hash_ring<Node>&) = delete;  // the plan would point into a ring that is gone
template <class Node>
void diff(const hash_ring<Node>&, const hash_ring<Node>&&) = delete;

/// The nodes in their order, each with the share of all hashes that belongs to it.
template <class Node>
[[nodiscard]] std::vector<node_share<Node>> ownership(const hash_ring<Node>& ring) {
  std::vector<node_share<Node>> shares;
  for (const Node* node : ring.nodes()) shares.push_back({node, 0});
  std::uint64_t first = 0;
  ring.each_range([&](std::uint64_t last, const Node& node) {
    const auto before = [](const node_share<Node>& s, const Node& n) { return *s.node < n; };
    std::lower_bound(shares.begin(), shares.end(), node, before)->share += (static_cast<double>(last - first) + 1) * 0x1p-64;
    first = last + 1;
  });
  return shares;
}
template <class Node>
void ownership(const hash_ring<Node>&&) = delete;

}  // namespace penstock::inline v0_1
