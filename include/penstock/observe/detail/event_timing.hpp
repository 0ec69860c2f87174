// penstock/observe/detail/event_timing.hpp: which events are timed: each of them while they are rare, one in so many otherwise.
//
// Looks at the clock cost what a short task does, so of a flood only a sample is timed, by chance (one_in.hpp). What happens now and then can be timed
// each time, and must: a sample of a few is none. The clock itself tells which it is, for nothing else is looked at: where events that are timed begin
// so far apart that 2 µs pass for each, the next one is timed for certain; where less passes, chance decides again.
//
// Bias           whether an event is timed is decided by those before it, never by itself, and each counts as many as its chance was one in: sums and
//                counts are right on average, whichever way it was.
// The time       at which an event began says which way it was by its lowest bit: a nanosecond is lost, unless each event is timed.
//
// Thread safety  any thread. Two events that begin at a time may both take the other for the last: one too many or too few is timed, with its weight.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/observe/detail/one_in.hpp>

namespace penstock::inline v0_1::detail {

/// In place of the time at which something began: it is not measured. No clock says that.
inline constexpr nanoseconds_point untimed = std::numeric_limits<nanoseconds_point>::min();

class event_timing {
 public:
  /// Precondition: every > 0.
  explicit event_timing(std::uint32_t every) noexcept : chance_{every}, rare_{every > 1} {}

  [[nodiscard]] std::uint32_t every() const noexcept { return chance_.every(); }

  /// For `n` that begin at once now: the time, or untimed. Out of line, lest those who do not measure save registers for it.
  [[nodiscard, gnu::noinline]] nanoseconds_point stamp(const any_clock& clock, std::size_t n = 1) const noexcept {
    const bool certain = n <= most_at_once && rare_.load(std::memory_order_relaxed);  // relaxed: a guess
    if (!certain && !chance_.picked()) return untimed;
    const nanoseconds_point now = clock.now();
    if (every() == 1) return now;
    const auto at_once =
        static_cast<nanoseconds_point>(std::clamp<std::size_t>(n, 1, 1024));  // so the product fits, whatever every() is
    // relaxed, all: guesses
    const nanoseconds_point passed = now - last_.load(std::memory_order_relaxed);
    last_.store(now, std::memory_order_relaxed);
    const bool rare = passed >= rare_from * at_once * (certain ? 1 : every());
    if (rare != rare_.load(std::memory_order_relaxed)) rare_.store(rare, std::memory_order_relaxed);
    return (now & ~nanoseconds_point{1}) | (certain ? 1 : 0);
  }

  /// For how many an event counts that began at `since`, of which one in `every` is timed by chance.
  [[nodiscard]] static std::uint64_t weight(nanoseconds_point since, std::uint64_t every) noexcept {
    return (since & 1) != 0 ? 1 : every;  // with 1 it is the same
  }
  [[nodiscard]] std::uint64_t weight(nanoseconds_point since) const noexcept { return weight(since, every()); }

 private:
  static constexpr nanoseconds_point rare_from = 2'000;  // from one to the next
  static constexpr std::size_t most_at_once = 16;        // what comes in larger numbers is not rare

  const one_in chance_;
  mutable std::atomic<bool> rare_;  // the next one is timed for certain; at first it is
  // When one began that was timed. On a line of its own: what else an event reads rarely changes.
  alignas(cache_line) mutable std::atomic<nanoseconds_point> last_{0};
};

}  // namespace penstock::inline v0_1::detail
