// penstock/route/hash_ring.hpp: which node a key belongs to, so that little moves when nodes come and go.
//
//   penstock::hash_ring<std::string> ring;                      // 160 points for a node of weight 1
//   ring.insert("cache-1");
//   ring.insert("cache-2", {.weight = 2, .zone = "eu-west"});   // twice the share
//   if (const std::string* node = ring.find(user_id)) send(*node);
//   auto replicas = ring.find_n(user_id, 3, {.max_per_zone = 1});
//   auto token = ring.acquire(user_id);                         // bounded loads: a hot key overflows to the next node
//
// Each node has points on a circle of 2^64 hashes, and a key belongs to the node of the first point at its own hash or behind it. So a node that
// leaves gives its keys to all the others and moves no other key, and one that comes takes its share from all.
//
// The mapping    is part of the interface and the same on every machine: point i of a node is stable_hash(i, hash_of(node, seed)), a key's place
//                is hash_of(key, seed) (route/hash.hpp), points with one hash lie in the order of their nodes.
// Invariants     the layout depends on the set of nodes, their weights and the options, not on the order of calls. A node has
//                max(1, round(virtual_nodes * weight)) points; another weight adds or takes its last points, and those of no other node.
// Thread safety  a plain value: concurrent reads (find, find_n, acquire, ...) are safe, a change is its owner's alone. For readers that go on while
//                nodes change there is concurrent_hash_ring. The nodes found stay where they are as long as they are in the ring or in a copy of it.
// Copies         share the points' blocks and the nodes (a copy of 1,000 nodes takes microseconds), and so what is in flight on them: the load is
//                the node's. Equal rings have equal options, nodes, weights and zones.
// Cost           find(): one byte, five words that stand together and a pointer are read. insert(), erase(): what lies round the node's own points is made anew,
//                and when the number of points has doubled, everything. Both need the node's place in the order: log(size()) comparisons.
// Memory         14 to 18 bytes a point (4 for the lookup, 8 for its whole hash, the rest for blocks), about 100 bytes a node.
// Exceptions     a change that throws has changed nothing. Lookups throw what a user's hash throws.
// Algorithms     D. Karger et al., Consistent Hashing and Random Trees, STOC 1997; bounded loads: V. Mirrokni, M. Thorup, M. Zadimoghaddam,
//                Consistent Hashing with Bounded Loads, SODA 2018 (arXiv 1608.01350).
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/route/detail/ring_members.hpp>
#include <penstock/route/detail/ring_points.hpp>
#include <penstock/route/hash.hpp>
#include <penstock/route/hash_ring_options.hpp>
#include <penstock/route/ring_token.hpp>

namespace penstock::inline v0_1 {

template <class Node>
class hash_ring {
  static_assert(routable<Node>, "a node has a hash_of(): see route/hash.hpp");
  static_assert(std::totally_ordered<Node>, "nodes have an order, by which points with one hash lie");

 public:
  using node_type = Node;

  /// An empty ring. Throws std::invalid_argument if virtual_nodes is 0 or more than 2^20, or load_factor no number of at least 1.
  explicit hash_ring(const hash_ring_options& options = {}) : options_{options} {
    if (options.virtual_nodes == 0 || options.virtual_nodes > 1u << 20) refuse("virtual_nodes", options.virtual_nodes);
    if (!(options.load_factor >= 1) || std::isinf(options.load_factor)) refuse("load_factor", options.load_factor);
  }

  hash_ring(const hash_ring&) = default;
  hash_ring(hash_ring&&) = default;
  hash_ring& operator=(const hash_ring& other) { return *this = hash_ring{other}; }  // all or nothing
  hash_ring& operator=(hash_ring&&) = default;
  ~hash_ring() = default;

  [[nodiscard]] const hash_ring_options& options() const noexcept { return options_; }
  [[nodiscard]] std::size_t size() const noexcept { return members_.size(); }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  /// The points of all nodes together.
  [[nodiscard]] std::size_t points() const noexcept { return points_.size(); }

  /// Adds a node. False, and nothing has changed, if it is there already. Throws std::invalid_argument unless the weight is a positive number
  /// and makes at most 2^24 points, std::length_error at 2^32 points altogether.
  bool insert(Node node, const ring_node_options& options = {}) { return insert_all({&node, 1}, options) == 1; }

  /// Adds nodes, all with these options; those that are there already are left as they are. The number of nodes added. Faster than one by
  /// one; throws like insert(), and then none is added.
  template <std::ranges::input_range Nodes>
    requires std::constructible_from<Node, std::ranges::range_reference_t<Nodes>>
  std::size_t insert_range(Nodes&& nodes, const ring_node_options& options = {}) {
    std::vector<Node> fresh;
    for (auto&& node : nodes) fresh.emplace_back(std::forward<decltype(node)>(node));
    return insert_all(fresh, options);
  }

  /// Removes a node; whatever compares with a node names it (a std::string_view for a std::string). Whether it was there.
  template <class Name>
  bool erase(const Name& name) {
    const detail::member_slot slot = members_.find(name);
    if (slot == detail::no_member) return false;
    members_.make_room_to_erase();
    points_.erase(points_of(slot, 0, members_[slot].points), order());
    members_.erase(slot);
    return true;
  }

  /// Gives a node another weight. Whether it is there. Throws like insert().
  template <class Name>
  bool reweight(const Name& name, double weight) {
    const std::uint32_t wanted = points_for(weight);
    const detail::member_slot slot = members_.find(name);
    if (slot == detail::no_member) return false;
    auto& member = members_[slot];
    if (wanted > member.points) {
      check_room(wanted - member.points);
      points_.insert(points_of(slot, member.points, wanted), members_.slots(), order());
    } else {
      points_.erase(points_of(slot, wanted, member.points), order());
    }
    member.points = wanted;
    member.weight = weight;
    return true;
  }

  void clear() noexcept {
    points_ = {};
    members_ = {};
  }

  template <class Name>
  [[nodiscard]] bool contains(const Name& name) const {
    return members_.find(name) != detail::no_member;
  }
  /// The weight of a node, if it is there.
  template <class Name>
  [[nodiscard]] std::optional<double> weight(const Name& name) const {
    const detail::member_slot slot = members_.find(name);
    return slot == detail::no_member ? std::nullopt : std::optional{members_[slot].weight};
  }
  /// All nodes, in their order.
  [[nodiscard]] std::vector<const Node*> nodes() const {
    std::vector<const Node*> all;
    all.reserve(size());
    for (const detail::member_slot slot : members_.in_order()) all.push_back(members_.node(slot));
    return all;
  }

  /// The node that the key belongs to, nullptr if the ring is empty. A key is anything that hash_of() takes, also a ready_hash.
  template <routable Key>
  [[nodiscard]] const Node* find(const Key& key) const {
    const std::uint64_t hash = hash_of(key, options_.seed);
    detail::member_slot slot = 0;
    return points_.find_quickly(hash, slot) ? members_.node(slot) : find_slowly(hash);
  }

  /// Fills `out` with distinct nodes for the key, in order of preference: the first is find()'s, and the one that the key would move to if
  /// those before it left comes next. The number of nodes found, which is smaller than `out` if there are no more, or no more that the spread admits.
  template <routable Key>
  std::size_t find_n(const Key& key, std::span<const Node*> out, zone_spread spread = {}) const {
    const std::size_t limit = spread.max_per_zone == 0 ? std::numeric_limits<std::size_t>::max() : spread.max_per_zone;
    out = out.first(std::min(out.size(), members_.spread(limit)));
    if (out.empty()) return 0;
    return find_distinct(hash_of(key, options_.seed), out, limit);
  }
  template <routable Key>
  [[nodiscard]] std::vector<const Node*> find_n(const Key& key, std::size_t n, zone_spread spread = {}) const {
    std::vector<const Node*> found(std::min(n, size()));
    found.resize(find_n(key, std::span<const Node*>{found}, spread));
    return found;
  }

  /// Counts a request on the first node from the key on, in the order of the points, that has less than its bound in flight: load_factor times
  /// its share of all that is in flight, this request included, rounded up. So no node is taken beyond ceil(load_factor * share * all) of that moment,
  /// and a key stays on its node as long as that has room. An empty token if the ring is empty. Thread-safe; does not wait or allocate.
  template <routable Key>
  [[nodiscard]] ring_token<Node> acquire(const Key& key) const {
    if (empty()) return {};
    const std::uint64_t hash = hash_of(key, options_.seed);
    // acquire: pairs with the release in ring_token::release(); whose place is free in the sum has left its node, too
    std::int64_t all = load_->in_flight.fetch_add(1, std::memory_order_acquire) + 1;
    for (;;) {
      ring_token<Node> token;
      const auto take = [&](detail::member_slot slot) {
        const auto& member = members_[slot];
        // In this order: a bound that is a whole number comes out as one, where the rounding of the share would add a request.
        const double product = options_.load_factor * (static_cast<double>(member.points) * static_cast<double>(all));
        const auto bound = static_cast<std::int64_t>(std::ceil(product / static_cast<double>(points())));
        // relaxed, both: only the number counts; the order against the sum is above
        std::int64_t mine = member.state->in_flight.load(std::memory_order_relaxed);
        while (mine < bound) {
          if (!member.state->in_flight.compare_exchange_weak(mine, mine + 1, std::memory_order_relaxed)) continue;
          token = ring_token<Node>{member.state};
          return true;
        }
        return false;
      };
      if (points_.walk(hash, take)) return token;
      // The bounds add up to more than was in flight: others have come since, so the sum has grown.
      all = load_->in_flight.load(std::memory_order_acquire);  // acquire: as above
    }
  }

  /// What is in flight on a node: the tokens that acquire() gave for it, from this ring and its copies.
  template <class Name>
  [[nodiscard]] std::size_t in_flight(const Name& name) const {
    const detail::member_slot slot = members_.find(name);
    if (slot == detail::no_member) return 0;
    return static_cast<std::size_t>(members_[slot].state->in_flight.load(std::memory_order_relaxed));  // relaxed: a statistic
  }

  /// Calls use(last, node) for the ranges of hashes in order: the keys behind the previous call's `last` (the first time: from 0) up to and with
  /// this one belong to the node. The last range ends at the greatest hash. No calls if the ring is empty.
  template <class Use>
  void each_range(Use&& use) const {
    const Node* first = nullptr;
    std::uint64_t end = 0;
    points_.each([&](const detail::ring_point& p) {
      const bool shadowed = first != nullptr && p.hash == end;  // the node before it has all keys up to this point
      if (first == nullptr) first = members_.node(p.slot);
      end = p.hash;
      if (!shadowed) use(p.hash, *members_.node(p.slot));
    });
    if (first != nullptr && end != ~std::uint64_t{0}) use(~std::uint64_t{0}, *first);
  }

  friend bool operator==(const hash_ring& a, const hash_ring& b) {
    const auto same = [&](detail::member_slot i, detail::member_slot j) {
      const auto &m = a.members_[i], &n = b.members_[j];
      return *a.members_.node(i) == *b.members_.node(j) && m.weight == n.weight &&
             a.members_.zone_name(m) == b.members_.zone_name(n);
    };
    return a.options_ == b.options_ && std::ranges::equal(a.members_.in_order(), b.members_.in_order(), same);
  }

 private:
  template <class Value>
  [[noreturn]] static void refuse(const char* what, Value value) {
    throw std::invalid_argument{std::string{"penstock::hash_ring: "} + what + " is " + std::to_string(value)};
  }

  [[nodiscard]] std::uint32_t points_for(double weight) const {
    const double points = std::round(weight * options_.virtual_nodes);
    if (!(weight > 0) || !(points <= 1 << 24)) refuse("the weight", weight);
    return std::max(static_cast<std::uint32_t>(points), std::uint32_t{1});
  }
  void check_room(std::uint64_t more) const {
    if (points() + more >= detail::no_member) throw std::length_error{"penstock::hash_ring: 2^32 points"};
  }

  [[nodiscard]] auto order() const noexcept {
    return [this](const detail::ring_point& a, const detail::ring_point& b) {
      return a.hash < b.hash || (a.hash == b.hash && a.slot != b.slot && members_.precedes(a.slot, b.slot));
    };
  }
  [[nodiscard]] std::vector<detail::dependent<detail::ring_point, Node>> points_of(detail::member_slot slot, std::uint32_t first,
                                                                                   std::uint32_t end) const {
    std::vector<detail::dependent<detail::ring_point, Node>> points;
    points.reserve(end - first);
    for (std::uint32_t i = first; i < end; ++i)
      points.push_back({detail::xxh3_hash(std::uint64_t{i}, members_[slot].hash), slot});
    std::sort(points.begin(), points.end(), order());
    return points;
  }

  std::size_t insert_all(std::span<Node> nodes, const ring_node_options& options) {
    const std::uint32_t points = points_for(options.weight);
    check_room(std::uint64_t{points} * nodes.size());
    if (load_ == nullptr) load_ = std::make_shared<detail::ring_load>();
    std::vector<detail::dependent<detail::member_slot, Node>> slots;
    slots.reserve(nodes.size());
    try {
      std::vector<detail::dependent<detail::ring_point, Node>> fresh;
      fresh.reserve(points * nodes.size());
      for (Node& node : nodes) {
        if (contains(node)) continue;
        const std::uint64_t hash = hash_of(node, options_.seed);
        auto state = std::make_shared<detail::ring_node<Node>>(std::move(node), load_);
        slots.push_back(members_.insert({std::move(state), hash, options.weight, points, 0}, options.zone));
        for (std::uint32_t i = 0; i < points; ++i) fresh.push_back({detail::xxh3_hash(std::uint64_t{i}, hash), slots.back()});
      }
      std::sort(fresh.begin(), fresh.end(), order());
      points_.insert(fresh, members_.slots(), order());
    } catch (...) {
      for (const detail::member_slot slot : slots) members_.erase(slot);
      throw;
    }
    return slots.size();
  }

  // Out of line: one lookup in fifty.
  [[gnu::noinline]] const Node* find_slowly(std::uint64_t hash) const noexcept {
    const detail::member_slot slot = points_.find(hash);
    return slot == detail::no_member ? nullptr : members_.node(slot);
  }

  std::size_t find_distinct(std::uint64_t hash, std::span<const Node*> out, std::size_t limit) const {
    std::size_t found = 0;
    std::vector<detail::dependent<bool, Node>> seen(out.size() > 16 ? members_.slots() : 0);  // few are compared with each other
    std::vector<detail::dependent<std::uint32_t, Node>> zones;
    points_.walk(hash, [&](detail::member_slot slot) {
      const Node* const node = members_.node(slot);
      const auto chosen = out.first(found);
      if (seen.empty() ? std::find(chosen.begin(), chosen.end(), node) != chosen.end() : seen[slot]) return false;
      if (!seen.empty()) seen[slot] = true;
      const std::uint32_t zone = members_[slot].zone;
      if (zone != 0 && limit < out.size()) {
        if (static_cast<std::size_t>(std::count(zones.begin(), zones.end(), zone)) == limit) return false;
        zones.push_back(zone);
      }
      out[found++] = node;
      return found == out.size();
    });
    return found;
  }

  hash_ring_options options_;
  detail::ring_points points_;
  detail::ring_members<Node> members_;
  std::shared_ptr<detail::ring_load> load_;
};

/// What a registry sees of a ring (observe/registry.hpp). Nobody may change the ring while it is joined: of one that changes join a concurrent_hash_ring.
template <class Node>
void describe(const hash_ring<Node>& ring, metric_sink& to) {
  to.kind("hash_ring");
  to.gauge({"nodes", "Nodes on the ring."}, ring.size());
  to.gauge({"points", "Points on the ring."}, ring.points());
}

}  // namespace penstock::inline v0_1
