// penstock/route/jump.hpp: numbered buckets without any memory: a key's bucket is computed from its hash and how many there are.
//
//   std::size_t shard = penstock::jump_bucket(penstock::hash_of(key), shards);        // Lamping and Veach's, as everywhere
//   std::size_t other = penstock::jump_back_bucket(penstock::hash_of(key), shards);   // Ertl's: another mapping, no division, any number as fast
//
//   penstock::jump<std::string> servers;       // the same with nodes: the i-th one inserted has bucket i
//   servers.insert("db-0");
//   if (const std::string* server = servers.find(key)) ask(*server);
//
// With one bucket more, 1 of n + 1 keys moves, all to the new bucket; with one less, only the last bucket's keys move. Nothing else can leave: so
// jump suits shards, which are numbered and stay, and no fleet in which any server may fail. Shares are as fair as chance.
//
// erase()        removes any node all the same: the last node takes its bucket. So the keys of two nodes move, those of the one removed (all to what
//                was the last) and those of the last one (to all); removing the last node moves its own alone.
// The mapping    depends on the order of the nodes: all machines that share it insert and erase in the same order. There are no weights.
// Invariants     nodes_[i] has bucket i; order_ has all buckets in the order of their nodes.
// Thread safety  the functions have no state. jump is a plain value: concurrent reads are safe, a change is its owner's alone. What find() gives
//                stays valid until the next change.
// Cost           jump_bucket: ln(n) steps that depend on each other, some 20 to 60 ns. jump_back_bucket: some 5 to 15, whatever n is. Changes: log(n)
//                comparisons and what lies behind in a table of 4 bytes a node moves.
// Exceptions     a change that throws (comparing, allocating) has changed nothing if moving a node does not throw.
// Algorithms     J. Lamping, E. Veach, A Fast, Minimal Memory, Consistent Hash Algorithm, 2014 (arXiv 1406.2294); O. Ertl, JumpBackHash, 2024
//                (arXiv 2403.18682).
#pragma once

#include <bit>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include <penstock/route/detail/placing.hpp>
#include <penstock/route/hash.hpp>
#include <penstock/route/placement.hpp>

namespace penstock::inline v0_1 {

/// The bucket of a hash, 0 ... buckets - 1, by Lamping and Veach: the numbers of the paper and of its implementations in other languages.
/// 1 <= buckets < 2^31.
[[nodiscard]] constexpr std::size_t jump_bucket(std::uint64_t hash, std::size_t buckets) noexcept {
  assert(buckets > 0 && buckets < std::size_t{1} << 31);
  std::int64_t bucket = 0;
  for (std::int64_t next = 0; next < static_cast<std::int64_t>(buckets);) {
    bucket = next;
    hash = hash * 2862933555777941757u + 1;
    // The quotient depends on no step before, so the processor divides ahead.
    const double stretch = 0x1p31 / static_cast<double>(static_cast<std::int64_t>(hash >> 33) + 1);
    next = static_cast<std::int64_t>(static_cast<double>(bucket + 1) * stretch);
  }
  return static_cast<std::size_t>(bucket);
}

/// The bucket of a hash, 0 ... buckets - 1, by Ertl's method: the same laws and shares, in constant time and without floating-point numbers, but
/// other buckets. 1 <= buckets <= 2^32.
[[nodiscard]] constexpr std::size_t jump_back_bucket(std::uint64_t hash, std::size_t buckets) noexcept {
  assert(buckets > 0 && buckets <= std::uint64_t{1} << 32);
  if (buckets <= 1) return 0;
  // While there were q to 2q buckets, q a power of two, a key moved with probability 1/2 at least once. `moved` says for each such span whether it
  // did, `draw` where it moved last. Only in the highest span may that be beyond the buckets that there are; then we look for the move before.
  std::uint64_t state = hash;
  const std::uint64_t draw = detail::mixed(state);
  std::uint64_t moved = (draw ^ (draw >> 32)) & (std::bit_ceil(static_cast<std::uint64_t>(buckets)) - 1);
  while (moved != 0) {
    const std::uint64_t span = std::bit_floor(moved);
    // `moved` is the xor of the draw's halves, which says nothing about one of them alone; the spans take turns with both.
    std::uint64_t bucket = span + ((draw >> (std::popcount(moved) % 2 * 32)) & (span - 1));
    for (;;) {
      if (bucket < buckets) return static_cast<std::size_t>(bucket);
      state += 0x9E3779B97F4A7C15;
      bucket = detail::mixed(state) & (2 * span - 1);
      if (bucket < span) break;
    }
    moved ^= span;
  }
  return 0;
}

enum class jump_method : std::uint8_t {
  lamping_veach,  ///< jump_bucket()
  jump_back,      ///< jump_back_bucket()
};

struct jump_options {
  /// All machines that share a placement share it. A random one makes it hard to craft keys that fall on one node.
  std::uint64_t seed = 0;
  jump_method method = jump_method::lamping_veach;

  friend bool operator==(const jump_options&, const jump_options&) = default;
};

template <class Node>
class jump {
  static_assert(std::totally_ordered<Node>, "nodes have an order, by which they are found");

 public:
  using node_type = Node;

  explicit jump(const jump_options& options = {}) noexcept : options_{options} {}
  jump(const jump&) = default;
  jump(jump&&) = default;
  jump& operator=(const jump& other) { return *this = jump{other}; }  // all or nothing
  jump& operator=(jump&&) = default;
  ~jump() = default;

  [[nodiscard]] const jump_options& options() const noexcept { return options_; }
  [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
  [[nodiscard]] bool empty() const noexcept { return nodes_.empty(); }

  /// Adds a node as the last bucket. False, and nothing has changed, if it is there already. Throws std::invalid_argument unless the weight
  /// is 1, std::length_error at 2^31 - 1 nodes.
  bool insert(Node node, const placement_options& options = {}) {
    detail::check_equal_weight("jump", options.weight);
    const auto found = order_.find(node, at());
    if (found.there) return false;
    if (size() >= std::numeric_limits<std::int32_t>::max()) throw std::length_error{"penstock::jump: 2^31 - 1 nodes"};
    order_.make_room();
    nodes_.push_back(std::move(node));
    order_.insert(found.rank, static_cast<std::uint32_t>(size() - 1));
    return true;
  }

  /// Removes a node; whatever compares with a node names it. The last node takes its bucket. Whether it was there.
  template <class Name>
  bool erase(const Name& name) {
    const auto found = order_.find(name, at());
    if (!found.there) return false;
    const std::uint32_t bucket = order_.place(found.rank);
    if (bucket + 1 != size()) {
      order_.move(order_.find(nodes_.back(), at()).rank, bucket);
      nodes_[bucket] = std::move(nodes_.back());
    }
    order_.erase(found.rank);
    nodes_.pop_back();
    return true;
  }

  /// All nodes, in the order of their buckets.
  [[nodiscard]] std::vector<const Node*> nodes() const { return detail::addresses_of(nodes_); }

  /// The node that the key belongs to, nullptr if there is none. A key is anything that hash_of() takes, also a ready_hash.
  template <routable Key>
  [[nodiscard]] const Node* find(const Key& key) const {
    if (empty()) return nullptr;
    const std::uint64_t hash = hash_of(key, options_.seed);
    return nodes_.data() +
           (options_.method == jump_method::jump_back ? jump_back_bucket(hash, size()) : jump_bucket(hash, size()));
  }

  friend bool operator==(const jump&, const jump&) = default;

 private:
  [[nodiscard]] auto at() const noexcept {
    return [this](std::uint32_t bucket) -> const Node& { return nodes_[bucket]; };
  }

  jump_options options_;
  std::vector<Node> nodes_;
  detail::node_order order_;
};

}  // namespace penstock::inline v0_1
