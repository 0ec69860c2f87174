// penstock/route/detail/placing.hpp: what the relatives of the hash ring share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <penstock/route/detail/xxh3.hpp>

namespace penstock::inline v0_1::detail {

template <class = void>
[[noreturn]] void refuse_weight(const char* who, double weight, const char* wanted) {
  throw std::invalid_argument{std::string{"penstock::"} + who + ": the weight is " + std::to_string(weight) + ", not " + wanted};
}
template <class = void>
void check_weight(const char* who, double weight) {
  if (!(weight > 0) || std::isinf(weight)) refuse_weight(who, weight, "positive and finite");
}
template <class = void>
void check_equal_weight(const char* who, double weight) {
  if (weight != 1) refuse_weight(who, weight, "1: all nodes are equal here");
}

/// A hash that is equally likely everywhere, taken to 0 ... n - 1. Without a division, and by the upper bits.
constexpr std::size_t scaled(std::uint64_t hash, std::size_t n) noexcept {
  return static_cast<std::size_t>(static_cast<uint128>(hash) * n >> 64);
}

/// A well mixed number for each state, those of successive states too: the output function of splitmix64 (Steele, Lea, Flood 2014).
constexpr std::uint64_t mixed(std::uint64_t state) noexcept {
  state += 0x9E3779B97F4A7C15;
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EB;
  return state ^ (state >> 31);
}

/// The addresses of nodes that lie side by side.
template <class Node>
[[nodiscard]] std::vector<const Node*> addresses_of(const std::vector<Node>& nodes) {
  std::vector<const Node*> all;
  all.reserve(nodes.size());
  for (const Node& node : nodes) all.push_back(&node);
  return all;
}

/// Where nodes stand that do not stand in their order: their places, sorted by node. at(place) is the node. Only find() compares nodes, so what
/// that throws comes before any change.
class node_order {
 public:
  struct found {
    std::size_t rank;  // where it is in the order, or belongs
    bool there;
  };

  template <class Name, class At>
  [[nodiscard]] found find(const Name& name, At at) const {
    const auto i =
        std::lower_bound(places_.begin(), places_.end(), name, [&](std::uint32_t p, const Name& n) { return at(p) < n; });
    return {static_cast<std::size_t>(i - places_.begin()), i != places_.end() && at(*i) == name};
  }
  [[nodiscard]] std::uint32_t place(std::size_t rank) const noexcept { return places_[rank]; }

  template <class = void>
  void make_room() {
    if (places_.size() == places_.capacity()) places_.reserve(2 * places_.size() + 1);
  }
  /// After make_room().
  template <class = void>
  void insert(std::size_t rank, std::uint32_t place) noexcept {
    places_.insert(places_.begin() + static_cast<std::ptrdiff_t>(rank), place);
  }
  template <class = void>
  void erase(std::size_t rank) noexcept {
    places_.erase(places_.begin() + static_cast<std::ptrdiff_t>(rank));
  }
  void move(std::size_t rank, std::uint32_t to) noexcept { places_[rank] = to; }

  friend bool operator==(const node_order&, const node_order&) = default;

 private:
  std::vector<std::uint32_t> places_;
};

}  // namespace penstock::inline v0_1::detail
