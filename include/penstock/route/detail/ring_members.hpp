// penstock/route/detail/ring_members.hpp: the nodes of a hash ring by slot, by order and by zone.
//
// Invariants     a node keeps its slot as long as it is in the ring, and copies of the ring keep it too; order_ holds the slots in use, in the
//                order of their nodes; zone 0 is no zone, zone z is zones_[z - 1].
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/route/detail/ring_points.hpp>
#include <penstock/route/ring_token.hpp>

namespace penstock::inline v0_1::detail {

template <class Node>
class ring_members {
 public:
  struct member {
    std::shared_ptr<ring_node<Node>> state;
    std::uint64_t hash = 0;
    double weight = 1;
    std::uint32_t points = 0;
    std::uint32_t zone = 0;
  };

  [[nodiscard]] std::size_t size() const noexcept { return order_.size(); }
  [[nodiscard]] std::size_t slots() const noexcept { return members_.size(); }
  [[nodiscard]] const std::vector<member_slot>& in_order() const noexcept { return order_; }
  [[nodiscard]] const member& operator[](member_slot slot) const noexcept { return members_[slot]; }
  [[nodiscard]] member& operator[](member_slot slot) noexcept { return members_[slot]; }
  /// The address alone, from a table that a lookup finds in the nearest cache.
  [[nodiscard]] const Node* node(member_slot slot) const noexcept { return nodes_[slot]; }
  [[nodiscard]] std::string_view zone_name(const member& m) const noexcept {
    return m.zone == 0 ? std::string_view{} : zones_[m.zone - 1].name;
  }

  template <class Name>
  [[nodiscard]] member_slot find(const Name& name) const {
    const auto at = place_of(name);
    return at != order_.end() && *nodes_[*at] == name ? *at : no_member;
  }
  [[nodiscard]] bool precedes(member_slot a, member_slot b) const { return *nodes_[a] < *nodes_[b]; }

  /// The node is not in yet. If it throws, nothing has changed.
  member_slot insert(member m, const std::string& zone_name) {
    if (order_.size() == order_.capacity()) order_.reserve(2 * order_.size() + 1);
    if (const std::size_t slots = members_.size() + 1;
        slots > std::min({nodes_.capacity(), free_.capacity(), members_.capacity()})) {
      // Doubling: one more each time would copy all of them each time.
      nodes_.reserve(2 * slots);
      free_.reserve(2 * slots);
      members_.reserve(2 * slots);
    }
    m.zone = zone_name.empty() ? 0 : zone_of(zone_name);
    const auto at = place_of(m.state->node);
    // From here on nothing throws.
    if (m.zone != 0) ++zones_[m.zone - 1].nodes;
    member_slot slot = static_cast<member_slot>(members_.size());
    const Node* const node = &m.state->node;
    if (free_.empty()) {
      members_.push_back(std::move(m));
      nodes_.push_back(node);
    } else {
      slot = free_.back();
      free_.pop_back();
      members_[slot] = std::move(m);
      nodes_[slot] = node;
    }
    order_.insert(at, slot);
    return slot;
  }

  /// Before erase(), unless the node has been inserted into this object: a copy has no room to spare.
  void make_room_to_erase() { free_.reserve(members_.size()); }
  /// Compares no nodes, which might throw.
  void erase(member_slot slot) noexcept {
    order_.erase(std::find(order_.begin(), order_.end(), slot));
    if (const std::uint32_t zone = members_[slot].zone; zone != 0) --zones_[zone - 1].nodes;
    nodes_[slot] = nullptr;
    members_[slot] = {};
    free_.push_back(slot);  // there is room
  }

  /// How many nodes can be chosen with at most `limit` of one zone.
  [[nodiscard]] std::size_t spread(std::size_t limit) const noexcept {
    std::size_t sum = size();
    for (const zone_count& z : zones_) sum -= z.nodes - std::min(z.nodes, limit);
    return sum;
  }

 private:
  struct zone_count {
    std::string name;
    std::size_t nodes = 0;
  };

  template <class Name>
  [[nodiscard]] auto place_of(const Name& name) const {
    return std::lower_bound(order_.begin(), order_.end(), name,
                            [&](member_slot slot, const Name& n) { return *nodes_[slot] < n; });
  }

  std::uint32_t zone_of(const std::string& name) {
    std::size_t unused = zones_.size();
    for (std::size_t z = 0; z < zones_.size(); ++z) {
      if (zones_[z].name == name) return static_cast<std::uint32_t>(z + 1);
      if (zones_[z].nodes == 0) unused = z;
    }
    if (unused == zones_.size()) {
      zones_.push_back({name, 0});
    } else {
      zones_[unused].name = name;
    }
    return static_cast<std::uint32_t>(unused + 1);
  }

  std::vector<member> members_;
  std::vector<const Node*> nodes_;
  std::vector<member_slot> order_;
  std::vector<member_slot> free_;
  std::vector<zone_count> zones_;
};

}  // namespace penstock::inline v0_1::detail
