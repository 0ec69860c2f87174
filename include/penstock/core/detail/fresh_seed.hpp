// penstock/core/detail/fresh_seed.hpp: a seed that nobody else has, for jitter whose seed nobody chose.
#pragma once

#include <atomic>
#include <cstdint>

#include <penstock/core/backoff.hpp>
#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

[[nodiscard]] inline std::uint64_t fresh_seed() noexcept {
  static std::atomic<std::uint64_t> asked{0};
  const std::uint64_t number = asked.fetch_add(1, std::memory_order_relaxed);  // relaxed: it need only be different
  // The place in memory tells processes apart that began at the same time.
  return splitmix64{static_cast<std::uint64_t>(std_sync::now()) + (number << 40) + reinterpret_cast<std::uintptr_t>(&asked)}();
}

}  // namespace penstock::inline v0_1::detail
