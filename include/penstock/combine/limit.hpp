// penstock/combine/limit.hpp: how many of many may be under way at a time.
//
//   auto pages = co_await penstock::when_all(std::move(fetches), penstock::limit(8));
//
// Thread safety  a value.
#pragma once

#include <cstddef>
#include <stdexcept>

namespace penstock::inline v0_1 {

/// At most `most` children have begun and not ended. Without one they all begin at once.
struct limit {
  /// Throws std::invalid_argument if `at_most` is zero.
  constexpr explicit limit(std::size_t at_most) : most{at_most} {
    if (at_most == 0) throw std::invalid_argument{"penstock::limit: at most 0 under way, so none would ever begin"};
  }

  std::size_t most;
};

}  // namespace penstock::inline v0_1
