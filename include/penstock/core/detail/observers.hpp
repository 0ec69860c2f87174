// penstock/core/detail/observers.hpp: whether anybody observes tasks and waits; one word, which every submission and every wait that is entered looks at.
#pragma once

#include <atomic>

namespace penstock::inline v0_1::detail {

struct observers {
  static constexpr unsigned tracer = 1;   // one is installed (core/tracer.hpp)
  static constexpr unsigned watcher = 2;  // waits are noted (observe/who_waits.hpp)

  // relaxed, both: a hint. Who sees it late observes later; who sees it set looks again, at what the word stands for.
  [[nodiscard]] static bool any() noexcept { return seen.load(std::memory_order_relaxed) != 0; }
  [[nodiscard]] static bool trace() noexcept { return (seen.load(std::memory_order_relaxed) & tracer) != 0; }

  static inline constinit std::atomic<unsigned> seen{0};
};

}  // namespace penstock::inline v0_1::detail
