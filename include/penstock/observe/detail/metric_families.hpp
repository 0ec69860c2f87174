// penstock/observe/detail/metric_families.hpp: the numbers of a snapshot by what they are about, as Prometheus wants them, and the bounds of its buckets.
//
// Bounds   the same for every histogram of a unit, so that they can be added up: 1, 2.5, 5 of each decade from a microsecond to 100 s, powers of two up
//          to 2^20 for numbers. A bucket of ours that lies across a bound (it is at most 0.8 % wide with the default precision) counts above it: what
//          is said to be "within" never was longer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include <penstock/observe/registry_snapshot.hpp>

namespace penstock::inline v0_1::detail {

/// One family: the numbers that stand under one name.
struct metric_family {
  struct member {
    const component_snapshot* component;
    const metric_value* value;
  };

  std::string_view name;
  std::string_view help;
  metric_type type;
  std::vector<member> members = {};
};

/// In order of first appearance. Refers into the snapshot.
template <class Snapshot>
[[nodiscard]] std::vector<metric_family> families_of(const Snapshot& s) {
  std::vector<metric_family> families;
  std::map<std::string_view, decltype(s.components.size())> place;
  for (const auto& c : s.components) {
    for (const auto& m : c.metrics) {
      const auto [at, fresh] = place.try_emplace(m.family, families.size());
      if (fresh) families.push_back({m.family, m.help, m.type});
      families[at->second].members.push_back({&c, &m});
    }
  }
  return families;
}

struct bucket_bound {
  std::uint64_t greatest;  ///< in the histogram's unit
  double le;               ///< in the metric's
};

inline constexpr auto time_bounds = [] {
  std::array<bucket_bound, 25> bounds{};
  for (std::uint64_t i = 0, decade = 1000; i < bounds.size(); ++i) {
    const std::uint64_t greatest = i % 3 == 0 ? decade : i % 3 == 1 ? decade / 2 * 5 : decade * 5;
    if (i % 3 == 2) decade *= 10;
    bounds[i] = {greatest,
                 static_cast<double>(greatest) / 1e9};  // divided, not multiplied: so it is the double nearest to 0.0025
  }
  return bounds;
}();

inline constexpr auto number_bounds = [] {
  std::array<bucket_bound, 21> bounds{};
  for (std::size_t i = 0; i < bounds.size(); ++i) bounds[i] = {std::uint64_t{1} << i, static_cast<double>(std::uint64_t{1} << i)};
  return bounds;
}();

template <class Bound = bucket_bound>
[[nodiscard]] std::span<const Bound> bounds_of(metric_unit unit) noexcept {
  if (unit == metric_unit::seconds) return time_bounds;
  return number_bounds;
}

/// f(le, how many were no greater) for each bound but infinity.
template <class F>
void for_each_bound(const metric_value& m, F f) {
  auto bucket = m.distribution.buckets().begin();
  std::uint64_t within = 0;
  for (const bucket_bound& b : bounds_of(m.unit)) {
    for (; bucket != m.distribution.buckets().end() && bucket->greatest <= b.greatest; ++bucket) within += bucket->count;
    f(b.le, within);
  }
}

}  // namespace penstock::inline v0_1::detail
