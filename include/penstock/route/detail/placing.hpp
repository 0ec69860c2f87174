// penstock/route/detail/placing.hpp: what the relatives of the hash ring share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <penstock/route/detail/xxh3.hpp>

namespace penstock::inline v0_1::detail {

[[noreturn]] inline void refuse_weight(const char* who, double weight, const char* wanted) {
  throw std::invalid_argument{std::string{"penstock::"} + who + ": the weight is " + std::to_string(weight) + ", not " + wanted};
}
inline void check_weight(const char* who, double weight) {
  if (!(weight > 0) || std::isinf(weight)) refuse_weight(who, weight, "positive and finite");
}
inline void check_equal_weight(const char* who, double weight) {
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

/// Where nodes stand that do not stand in their order: their places, sorted by node. at(place) is the node.
class node_order {
 public:
  static constexpr std::uint32_t nowhere = std::numeric_limits<std::uint32_t>::max();

  template <class Name, class At>
  [[nodiscard]] std::uint32_t find(const Name& name, At at) const {
    const auto i = lower_bound(name, at);
    return i != places_.end() && at(*i) == name ? *i : nowhere;
  }
  void make_room() {
    if (places_.size() == places_.capacity()) places_.reserve(2 * places_.size() + 1);
  }
  /// After make_room() only what compares throws. The node is not in.
  template <class Name, class At>
  void insert(const Name& name, std::uint32_t place, At at) {
    places_.insert(lower_bound(name, at), place);
  }
  template <class Name, class At>
  void erase(const Name& name, At at) {
    places_.erase(lower_bound(name, at));
  }
  template <class Name, class At>
  void move(const Name& name, std::uint32_t to, At at) {
    places_[static_cast<std::size_t>(lower_bound(name, at) - places_.begin())] = to;
  }

  friend bool operator==(const node_order&, const node_order&) = default;

 private:
  template <class Name, class At>
  [[nodiscard]] auto lower_bound(const Name& name, At at) const {
    return std::lower_bound(places_.begin(), places_.end(), name, [&](std::uint32_t p, const Name& n) { return at(p) < n; });
  }
  std::vector<std::uint32_t> places_;
};

}  // namespace penstock::inline v0_1::detail
