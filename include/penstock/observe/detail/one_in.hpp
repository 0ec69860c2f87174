// penstock/observe/detail/one_in.hpp: picks one event in so many, for what is too dear to be measured each time.
//
// Each event is picked by chance and for itself, so no rhythm of a workload, however regular, meets that of the picking. What was picked stands for
// `every()` events: recorded with that weight, sums and numbers are right on average, whatever the sizes of the values.
//
// The chance is a linear congruential sequence of each thread (D. E. Knuth's MMIX constants), the same one in each: a program, or a test, that does
// the same has the same events picked.
//
// Cost           one multiplication in memory of the thread's own: some 2 ns, where a look at the clock takes 20 to 30.
#pragma once

#include <cstdint>

namespace penstock::inline v0_1::detail {

class one_in {
 public:
  /// Precondition: every > 0.
  explicit constexpr one_in(std::uint32_t every) noexcept
      : every_{every}, below_{((std::uint64_t{1} << 32) + every - 1) / every} {}

  [[nodiscard]] bool picked() const noexcept {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return state_ >> 32 < below_;
  }
  [[nodiscard]] std::uint32_t every() const noexcept { return every_; }

 private:
  static constinit inline thread_local std::uint64_t state_ = 0x9e3779b97f4a7c15u;

  std::uint32_t every_;
  std::uint64_t below_;  // of 2^32
};

}  // namespace penstock::inline v0_1::detail
