// penstock/route/anchor_hash.hpp: equal nodes of which any one may leave and come back, with quick lookups and quick changes.
//
//   penstock::anchor_hash<std::string> servers{{.capacity = 4096}};   // how many there can be; at least what you have at peak times
//   servers.insert("10.0.0.1:80");
//   servers.erase("10.0.0.1:80");                                     // its keys move, and no others
//   if (const std::string* server = servers.find(session_id)) send(*server);
//
// There are `capacity` buckets, and some of them work. A key goes to a bucket of all; if that one does not work, to one of those that worked when it
// was removed, and so on. So a node that leaves gives its keys evenly to all others and moves no other key, and a new one takes its share from all:
// it gets the bucket that was removed last.
//
// The mapping    depends on the order of changes: all machines that share it insert and erase in the same order, with the same capacity. A node that
//                comes back has its old keys again only if no other one has come since. There are no weights.
// Invariants     (the paper's name in brackets) left_[b] is 0 if bucket b works, else how many worked after it was removed (A); removed_ has the
//                removed ones, the last one on top (R); working_[0 ... size() - 1] are those that work (W, N), place_[b] is where b stands there, or
//                stood last (L); successor_[b] is the bucket that took its place there (K).
// Thread safety  a plain value: concurrent reads are safe, a change is its owner's alone. What find() gives stays valid until its node leaves or
//                the next insert().
// Cost           find(): about 1 + ln(capacity / size()) steps, each a multiplication or three and a read. Changes: constant, and log(n) comparisons.
// Memory         20 bytes a bucket, and the nodes.
// Exceptions     a change that throws (comparing, allocating) has changed nothing if moving a node does not throw.
// Algorithm      G. Mendelson, S. Vargaftik, K. Barabash, D. Lorenz, I. Keslassy, A. Orda, AnchorHash: A Scalable Consistent Hash, IEEE/ACM ToN
//                29(2), 2021 (arXiv 1812.09674), with minimal memory (algorithm 3).
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <penstock/route/detail/placing.hpp>
#include <penstock/route/hash.hpp>
#include <penstock/route/placement.hpp>

namespace penstock::inline v0_1 {

struct anchor_options {
  /// The most nodes that there can ever be, 1 ... 2^31. Twice or four times what is usual costs a lookup a step more; another capacity is another
  /// mapping.
  std::uint32_t capacity = 1024;
  /// All machines that share a placement share it. A random one makes it hard to craft keys that fall on one node.
  std::uint64_t seed = 0;

  friend bool operator==(const anchor_options&, const anchor_options&) = default;
};

template <class Node>
class anchor_hash {
  static_assert(std::totally_ordered<Node>, "nodes have an order, by which they are found");

 public:
  using node_type = Node;

  /// Throws std::invalid_argument if the capacity is 0 or more than 2^31.
  explicit anchor_hash(const anchor_options& options = {}) : options_{options} {
    const std::uint32_t capacity = options.capacity;
    if (capacity == 0 || capacity > 1u << 31) {
      throw std::invalid_argument{"penstock::anchor_hash: the capacity is " + std::to_string(capacity)};
    }
    left_.resize(capacity);
    for (std::uint32_t b = 0; b < capacity; ++b) left_[b] = b;  // removed from the last to the first: b worked beside it
    successor_ = place_ = working_ = left_;
    removed_.reserve(capacity);
    for (std::uint32_t b = capacity; b-- > 0;) removed_.push_back(b);
  }
  anchor_hash(const anchor_hash&) = default;
  anchor_hash(anchor_hash&&) = default;
  anchor_hash& operator=(const anchor_hash& other) { return *this = anchor_hash{other}; }  // all or nothing
  anchor_hash& operator=(anchor_hash&&) = default;
  ~anchor_hash() = default;

  [[nodiscard]] const anchor_options& options() const noexcept { return options_; }
  [[nodiscard]] std::size_t size() const noexcept { return left_.size() - removed_.size(); }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] std::size_t capacity() const noexcept { return left_.size(); }

  /// Adds a node. False, and nothing has changed, if it is there already. Throws std::invalid_argument unless the weight is 1, std::length_error
  /// if there are as many nodes as the capacity.
  bool insert(Node node, const placement_options& options = {}) {
    detail::check_equal_weight("anchor_hash", options.weight);
    const auto found = order_.find(node, at());
    if (found.there) return false;
    if (removed_.empty())
      throw std::length_error{"penstock::anchor_hash: all " + std::to_string(capacity()) + " places are taken"};
    const std::uint32_t b = removed_.back();
    order_.make_room();
    if (b >= nodes_.size()) {
      nodes_.emplace_back(std::move(node));  // buckets are first used one after the other
    } else {
      nodes_[b].emplace(std::move(node));
    }
    order_.insert(found.rank, b);
    const auto before = static_cast<std::uint32_t>(size());
    removed_.pop_back();
    left_[b] = 0;
    place_[working_[before]] = before;
    working_[place_[b]] = successor_[b] = b;
    return true;
  }

  /// Removes a node; whatever compares with a node names it. Whether it was there.
  template <class Name>
  bool erase(const Name& name) {
    const auto found = order_.find(name, at());
    if (!found.there) return false;
    const std::uint32_t b = order_.place(found.rank);
    removed_.push_back(b);
    order_.erase(found.rank);
    const auto after = static_cast<std::uint32_t>(size());
    left_[b] = after;
    working_[place_[b]] = successor_[b] = working_[after];
    place_[working_[after]] = place_[b];
    nodes_[b].reset();
    return true;
  }

  /// All nodes, in the order of their buckets.
  [[nodiscard]] std::vector<const Node*> nodes() const {
    std::vector<const Node*> all;
    all.reserve(size());
    for (const auto& node : nodes_) {
      if (node) all.push_back(&*node);
    }
    return all;
  }

  /// The node that the key belongs to, nullptr if there is none. A key is anything that hash_of() takes, also a ready_hash.
  template <routable Key>
  [[nodiscard]] const Node* find(const Key& key) const {
    if (empty()) return nullptr;
    return &*nodes_[bucket(hash_of(key, options_.seed))];
  }

  friend bool operator==(const anchor_hash&, const anchor_hash&) = default;

 private:
  [[nodiscard]] auto at() const noexcept {
    return [this](std::uint32_t b) -> const Node& { return *nodes_[b]; };
  }

  [[nodiscard]] std::uint32_t bucket(std::uint64_t hash) const noexcept {
    auto b = static_cast<std::uint32_t>(detail::scaled(hash, left_.size()));
    while (left_[b] != 0) {
      // Another number for each bucket: the keys of one that was removed scatter over all that were left.
      auto h =
          static_cast<std::uint32_t>(detail::scaled(detail::mixed(hash ^ (b + std::uint64_t{1}) * 0xD1342543DE82EF95), left_[b]));
      while (left_[h] >= left_[b]) h = successor_[h];  // removed before b: what took its place then
      b = h;
    }
    return b;
  }

  anchor_options options_;
  std::vector<std::uint32_t> left_, successor_, place_, working_, removed_;
  std::vector<std::optional<Node>> nodes_;
  detail::node_order order_;
};

}  // namespace penstock::inline v0_1
