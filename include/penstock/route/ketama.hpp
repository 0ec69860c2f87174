// penstock/route/ketama.hpp: rings that other programs have laid out: ketama, exactly.
//
//   penstock::ketama_ring ring{{.mode = penstock::ketama_mode::hashring}};
//   ring.insert("10.0.0.1:11211");
//   ring.insert("10.0.0.2:11211", 2);
//   const std::string* server = ring.find("user-42");      // where Node's hashring finds it
//
// Ketama cuts MD5 digests of "name-0", "name-1", ... into four points of 32 bits each; a node has about 40 labels, so 160 points, times its share
// of the weights. So much is agreed on; the rest is not, and each mode is one program's way, to the last key:
//
//                          hashring (npm), the default              uhashring (Python)
//   labels of a node       floor(weight / total * 40 * nodes), in   40 * nodes * weight / total, in integers: 40 of 7 equal nodes
//                          doubles: of 7 equal nodes 39, not 40
//   a hash on a point      belongs to that point                    belongs to the next one
//   two points, one hash   the node that was added first            the node that was added last
//   weight 0               is 1                                     no points
//
// New rings are better off as hash_ring: here every node that comes or goes changes the number of labels of all the others.
//
// Thread safety  a plain value: concurrent reads are safe.
// Cost           a change lays out everything anew: one MD5 for four points, 10 ms for 1,000 nodes; assign() does it once for many. find() is
//                one MD5 (a quarter of a microsecond) and a lookup.
// Sources        R. Jones, libketama, 2007; 3rd-Eden/node-hashring 3.2.0; ultrabug/uhashring 2.1. docs/hash_ring.md says who else does it how.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/route/detail/md5.hpp>
#include <penstock/route/detail/ring_points.hpp>

namespace penstock::inline v0_1 {

enum class ketama_mode { hashring, uhashring };

struct ketama_options {
  ketama_mode mode = ketama_mode::hashring;
  /// Labels of a node of average weight ("vnode count", "vnodes").
  std::uint32_t labels = 40;
  /// Points of a label, 1 to 4 ("replicas"); 3 is what the Python package hash_ring does.
  std::uint32_t points_per_label = 4;

  friend bool operator==(const ketama_options&, const ketama_options&) = default;
};

struct ketama_node {
  std::string name;
  double weight = 1;

  friend bool operator==(const ketama_node&, const ketama_node&) = default;
};

template <class Points = detail::ring_points>
class basic_ketama_ring {
 public:
  /// Throws std::invalid_argument unless there are labels, at most 2^20, and 1 to 4 points of each.
  explicit basic_ketama_ring(const ketama_options& options = {}) : options_{options} {
    if (options.labels == 0 || options.labels > 1u << 20) refuse("labels", options.labels);
    if (options.points_per_label == 0 || options.points_per_label > 4) refuse("points_per_label", options.points_per_label);
  }

  basic_ketama_ring(const basic_ketama_ring&) = default;
  basic_ketama_ring(basic_ketama_ring&&) = default;
  basic_ketama_ring& operator=(const basic_ketama_ring& other) { return *this = basic_ketama_ring{other}; }  // all or nothing
  basic_ketama_ring& operator=(basic_ketama_ring&&) = default;
  ~basic_ketama_ring() = default;

  /// Adds a node behind those that are there. False, and nothing has changed, if it is there already. Throws std::invalid_argument if the weight is
  /// negative, more than 10^9 or no number, or, in the mode uhashring, no integer: the program itself fails then.
  bool insert(std::string_view name, double weight = 1) {
    if (contains(name)) return false;
    std::vector<detail::dependent<ketama_node, Points>> nodes = nodes_;
    nodes.push_back({std::string{name}, weight});
    assign(std::move(nodes));
    return true;
  }
  bool erase(std::string_view name) {
    std::vector<detail::dependent<ketama_node, Points>> nodes = nodes_;
    if (std::erase_if(nodes, [&](const ketama_node& n) { return n.name == name; }) == 0) return false;
    assign(std::move(nodes));
    return true;
  }
  /// The node keeps its place in the order. Throws like insert().
  bool reweight(std::string_view name, double weight) {
    std::vector<detail::dependent<ketama_node, Points>> nodes = nodes_;
    const auto at = std::find_if(nodes.begin(), nodes.end(), [&](const ketama_node& n) { return n.name == name; });
    if (at == nodes.end()) return false;
    at->weight = weight;
    assign(std::move(nodes));
    return true;
  }
  /// These nodes, in this order, instead of those that are there. Throws like insert(), and std::invalid_argument if two have one name; nothing has
  /// changed then.
  void assign(std::vector<detail::dependent<ketama_node, Points>> nodes) {
    check_names(nodes);
    Points points = laid_out(nodes);
    nodes_ = std::move(nodes);
    points_ = std::move(points);
  }

  [[nodiscard]] const std::vector<detail::dependent<ketama_node, Points>>& nodes() const noexcept { return nodes_; }
  [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
  [[nodiscard]] bool empty() const noexcept { return nodes_.empty(); }
  /// Points with different hashes in the mode uhashring, all points in the other.
  [[nodiscard]] std::size_t points() const noexcept { return points_.size(); }
  [[nodiscard]] bool contains(std::string_view name) const noexcept {
    return std::any_of(nodes_.begin(), nodes_.end(), [&](const ketama_node& n) { return n.name == name; });
  }

  /// The name of the node that the key belongs to, nullptr if there are no points.
  [[nodiscard]] const std::string* find(std::string_view key) const noexcept {
    const detail::member_slot slot = points_.find(place_of(key));
    return slot == detail::no_member ? nullptr : &nodes_[slot].name;
  }
  /// Up to n different nodes in the order of their points from the key on ("range").
  [[nodiscard]] std::vector<detail::dependent<const std::string*, Points>> find_n(std::string_view key, std::size_t n) const {
    std::vector<detail::dependent<const std::string*, Points>> found;
    if (n == 0) return found;
    points_.walk(place_of(key), [&](detail::member_slot slot) {
      const std::string* const name = &nodes_[slot].name;
      if (std::find(found.begin(), found.end(), name) == found.end()) found.push_back(name);
      return found.size() == std::min(n, size());
    });
    return found;
  }

  friend bool operator==(const basic_ketama_ring& a, const basic_ketama_ring& b) {
    return a.options_ == b.options_ && a.nodes_ == b.nodes_;
  }

 private:
  template <class Value>
  [[noreturn]] static void refuse(const char* what, Value value) {
    throw std::invalid_argument{std::string{"penstock::ketama_ring: "} + what + " is " + std::to_string(value)};
  }

  static void check_names(const std::vector<detail::dependent<ketama_node, Points>>& nodes) {
    std::vector<detail::dependent<std::string_view, Points>> names;
    names.reserve(nodes.size());
    for (const ketama_node& n : nodes) names.push_back(n.name);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice == names.end()) return;
    throw std::invalid_argument{"penstock::ketama_ring: two nodes are called " + std::string{*twice}};
  }

  static std::uint32_t word(const detail::md5::digest& d, std::size_t i) noexcept {
    return std::uint32_t{d[4 * i]} | std::uint32_t{d[4 * i + 1]} << 8 | std::uint32_t{d[4 * i + 2]} << 16 |
           std::uint32_t{d[4 * i + 3]} << 24;
  }
  // Points stand at multiples of 2^32: one behind a point is before the next.
  [[nodiscard]] std::uint64_t place_of(std::string_view key) const noexcept {
    return std::uint64_t{word(detail::md5::of(key), 0)} << 32 | (options_.mode == ketama_mode::uhashring ? 1 : 0);
  }

  // How many labels each node has.
  [[nodiscard]] std::vector<detail::dependent<std::uint64_t, Points>> shares(
      const std::vector<detail::dependent<ketama_node, Points>>& nodes) const {
    const bool integers = options_.mode == ketama_mode::uhashring;
    double total = 0;  // exact for integers up to 2^53
    for (const ketama_node& n : nodes) {
      if (!(n.weight >= 0) || n.weight > 1e9 || (integers && n.weight != std::floor(n.weight))) refuse("the weight", n.weight);
      total += integers || n.weight != 0 ? n.weight : 1;
    }
    std::vector<detail::dependent<std::uint64_t, Points>> labels;
    for (const ketama_node& n : nodes) {
      if (integers) {
        const std::uint64_t product = options_.labels * nodes.size() * static_cast<std::uint64_t>(n.weight);
        labels.push_back(total == 0 ? 0 : product / static_cast<std::uint64_t>(total));
      } else {
        const double percentage = (n.weight == 0 ? 1 : n.weight) / total;
        labels.push_back(static_cast<std::uint64_t>(percentage * options_.labels * static_cast<double>(nodes.size())));
      }
    }
    return labels;
  }

  [[nodiscard]] Points laid_out(const std::vector<detail::dependent<ketama_node, Points>>& nodes) const {
    std::vector<detail::dependent<detail::ring_point, Points>> points;
    const std::vector<detail::dependent<std::uint64_t, Points>> labels = shares(nodes);
    for (std::size_t n = 0; n < nodes.size(); ++n) {
      for (std::uint64_t i = 0; i < labels[n]; ++i) {
        const auto digest = detail::md5::of(nodes[n].name + '-' + std::to_string(i));
        for (std::size_t p = 0; p < options_.points_per_label; ++p) {
          points.push_back({std::uint64_t{word(digest, p)} << 32, static_cast<detail::member_slot>(n)});
        }
      }
    }
    // Of those with one hash the one that counts comes first.
    const bool last_wins = options_.mode == ketama_mode::uhashring;
    const auto before = [&](const detail::ring_point& a, const detail::ring_point& b) {
      return a.hash < b.hash || (a.hash == b.hash && (last_wins ? a.slot > b.slot : a.slot < b.slot));
    };
    std::sort(points.begin(), points.end(), before);
    if (last_wins) {
      const auto same = [](const detail::ring_point& a, const detail::ring_point& b) { return a.hash == b.hash; };
      points.erase(std::unique(points.begin(), points.end(), same), points.end());
    }
    Points laid;
    laid.insert(points, nodes.size(), before);
    return laid;
  }

  ketama_options options_;
  std::vector<detail::dependent<ketama_node, Points>> nodes_;
  Points points_;
};

using ketama_ring = basic_ketama_ring<>;

}  // namespace penstock::inline v0_1
