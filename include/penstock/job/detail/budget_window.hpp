// penstock/job/detail/budget_window.hpp: what requests earn and retries take, of the last ten steps of time; without a clock.
//
// Word        one for each step: its number in the upper half, in the lower one what was earned in it less what was taken, in thousandths of a retry.
//             Whoever comes in a new step takes the place of the one ten steps ago by the same compare-exchange that counts it.
// Decision    who withdraws adds up the words; the others' steps are over, so only his own can change meanwhile, and then the exchange fails.
// Order       relaxed throughout: an allowance publishes nothing.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class budget_window {
 public:
  static constexpr std::size_t steps = 10;
  static constexpr std::int64_t one = 1000;

  /// In thousandths: what a request earns, and what there is without requests.
  budget_window(std::int64_t earned, std::int64_t reserve) noexcept : earned_{earned}, reserve_{reserve} {}

  // relaxed, all below: a word is a count by itself, and nothing is published by it; a balance that is read while others change it is a guess anyway.

  void deposit(std::int32_t now) noexcept {
    auto& word = words_[place_of(now)].value;
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    while (!word.compare_exchange_weak(seen, changed(seen, now, earned_), std::memory_order_relaxed)) {
    }
  }
  bool try_withdraw(std::int32_t now) noexcept {
    auto& word = words_[place_of(now)].value;
    std::uint64_t seen = word.load(std::memory_order_relaxed);  // relaxed, both: as in deposit()
    for (;;) {
      if (reserve_ + before(now) + in_step(seen, now) < one) return false;
      if (word.compare_exchange_weak(seen, changed(seen, now, -one), std::memory_order_relaxed)) return true;
    }
  }
  /// In whole retries.
  [[nodiscard]] std::int64_t available(std::int32_t now) const noexcept {
    // relaxed: as in deposit()
    const std::int64_t here = in_step(words_[place_of(now)].value.load(std::memory_order_relaxed), now);
    return std::max<std::int64_t>(0, (reserve_ + before(now) + here) / one);
  }

 private:
  struct step_word {
    typename Sync::template atomic<std::uint64_t> value{0};
  };

  static constexpr std::int32_t step_of(std::uint64_t word) noexcept { return static_cast<std::int32_t>(word >> 32); }
  static constexpr std::int32_t balance_of(std::uint64_t word) noexcept {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(word));
  }
  // From `from` to `to`; steps wrap round.
  static constexpr std::int32_t distance(std::int32_t from, std::int32_t to) noexcept {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(to) - static_cast<std::uint32_t>(from));
  }
  static constexpr std::size_t place_of(std::int32_t step) noexcept { return static_cast<std::uint32_t>(step) % steps; }

  // What a word counts for in the window that ends with `now`: nothing, if it is older. One of a later step counts: the clock stepped back.
  static constexpr std::int64_t in_window(std::uint64_t word, std::int32_t now) noexcept {
    return distance(step_of(word), now) < static_cast<std::int32_t>(steps) ? balance_of(word) : 0;
  }
  static constexpr std::int64_t in_step(std::uint64_t word, std::int32_t now) noexcept {
    return distance(step_of(word), now) <= 0 ? balance_of(word) : 0;
  }
  static constexpr std::uint64_t changed(std::uint64_t word, std::int32_t now, std::int64_t by) noexcept {
    constexpr std::int64_t least = std::numeric_limits<std::int32_t>::min(), most = std::numeric_limits<std::int32_t>::max();
    const std::int32_t step = distance(step_of(word), now) < 0 ? step_of(word) : now;
    const auto balance = static_cast<std::int32_t>(std::clamp(in_step(word, now) + by, least, most));
    return (std::uint64_t{static_cast<std::uint32_t>(step)} << 32) | static_cast<std::uint32_t>(balance);
  }

  // Of the window without the step `now`.
  [[nodiscard]] std::int64_t before(std::int32_t now) const noexcept {
    std::int64_t sum = 0;
    for (std::size_t p = 0; p < steps; ++p) {
      // relaxed: as in deposit()
      if (p != place_of(now)) sum += in_window(words_[p].value.load(std::memory_order_relaxed), now);
    }
    return sum;
  }

  const std::int64_t earned_;
  const std::int64_t reserve_;
  std::array<step_word, steps> words_;
};

}  // namespace penstock::inline v0_1::detail
