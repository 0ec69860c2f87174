// penstock/job/detail/breaker_window.hpp: how the last calls ended: a number of them, or those of a stretch of time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

struct breaker_counts {
  std::uint64_t calls = 0;
  std::uint64_t failures = 0;
  std::uint64_t slow = 0;

  void add(bool failed, bool was_slow) noexcept {
    ++calls;
    failures += failed ? 1 : 0;
    slow += was_slow ? 1 : 0;
  }
  void remove(const breaker_counts& c) noexcept {
    calls -= c.calls;
    failures -= c.failures;
    slow -= c.slow;
  }
};

/// Guarded by who keeps it.
template <class Sync>
class breaker_window {
 public:
  /// With a length of 0 ns: of so many calls.
  breaker_window(std::uint32_t calls, std::int64_t length)
      : step_{length / static_cast<std::int64_t>(steps)}, ring_(length == 0 ? calls : 0) {}

  /// Whether it needs to be told the time.
  [[nodiscard]] bool by_time() const noexcept { return ring_.empty(); }

  void add(bool failed, bool slow, nanoseconds_point now) noexcept {
    if (by_time()) {
      move_on(now);
      of_steps_[place()].add(failed, slow);
    } else {
      std::uint8_t& oldest = ring_[at_];
      if (oldest != 0) total_.remove({1, std::uint64_t{(oldest & failure) != 0}, std::uint64_t{(oldest & slowness) != 0}});
      oldest = static_cast<std::uint8_t>(call | (failed ? failure : 0) | (slow ? slowness : 0));
      if (++at_ == ring_.size()) at_ = 0;
    }
    total_.add(failed, slow);
  }
  void clear() noexcept {
    total_ = {};
    at_ = 0;
    for (std::uint8_t& c : ring_) c = 0;
    of_steps_ = {};
  }
  /// Lets go of what is too old, if it goes by time.
  void move_on(nanoseconds_point now) noexcept {
    if (!by_time()) return;
    const std::int64_t to = now / step_;
    if (to <= latest_) return;  // the clock may step back: then time stands still
    const std::int64_t over = saturating_difference(to, latest_);
    for (std::int64_t i = 0; i < over && i < static_cast<std::int64_t>(steps); ++i) {
      latest_ = over <= static_cast<std::int64_t>(steps) ? latest_ + 1 : to - i;
      breaker_counts& oldest = of_steps_[place()];
      total_.remove(oldest);
      oldest = {};
    }
    latest_ = to;
  }
  [[nodiscard]] const breaker_counts& total() const noexcept { return total_; }

 private:
  static constexpr std::size_t steps = 10;
  static constexpr std::uint8_t call = 1, failure = 2, slowness = 4;

  [[nodiscard]] std::size_t place() const noexcept { return static_cast<std::uint64_t>(latest_) % steps; }

  std::int64_t step_;                                // ns
  std::vector<dependent<std::uint8_t, Sync>> ring_;  // empty: by time
  std::size_t at_ = 0;                               // of the oldest one
  std::array<breaker_counts, steps> of_steps_;       // by the number of the step
  std::int64_t latest_ = -never;                     // step
  breaker_counts total_;
};

}  // namespace penstock::inline v0_1::detail
