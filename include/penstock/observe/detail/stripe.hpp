// penstock/observe/detail/stripe.hpp: a small number for the calling thread, by which contended state is spread over cache lines.
#pragma once

#include <atomic>
#include <cstddef>

namespace penstock::inline v0_1::detail {

// Zero until the thread first asks: a constant initialiser, so that no access pays for a guard. It is only a number: nothing is
// registered, and nothing happens when the thread ends.
inline constinit thread_local std::size_t this_thread_stripe = 0;
inline constinit std::atomic<std::size_t> next_stripe{0};

// Successive threads get successive numbers, so the first n threads of a process share no stripe out of n.
[[nodiscard]] inline std::size_t stripe_of_this_thread() noexcept {
  if (this_thread_stripe == 0) [[unlikely]] {
    this_thread_stripe = next_stripe.fetch_add(1, std::memory_order_relaxed) + 1;  // relaxed: only uniqueness matters
  }
  return this_thread_stripe;
}

inline constinit thread_local std::size_t this_thread_looks = 0;

// Whether it is time that the thread looks for others on its stripe: once in 16 times, for a look costs as much again as what it is to make cheap.
[[nodiscard]] inline bool looks_for_others() noexcept { return ++this_thread_looks % 16 == 0; }

// For a thread that found another one on its stripe: only the one that lost moves, so that the two part.
inline void leave_stripe() noexcept { ++this_thread_stripe; }

}  // namespace penstock::inline v0_1::detail
