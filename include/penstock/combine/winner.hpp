// penstock/combine/winner.hpp: which child it was, and what it gave.
//
//   auto [index, page] = co_await when_any(fetch(mirror_a), fetch(mirror_b));
//
// Thread safety  a value.
#pragma once

#include <cstddef>

namespace penstock::inline v0_1 {

template <class T>
struct winner {
  std::size_t index;  ///< its position among the arguments, or in the range
  /// What it gave; std::monostate for void, std::reference_wrapper for a reference. Of arguments that give different types, a std::variant
  /// with an alternative for each argument, at the argument's position.
  T value;

  friend bool operator==(const winner&, const winner&) = default;
};

}  // namespace penstock::inline v0_1
