// penstock/core/detail/parker.hpp: puts one thread to sleep until another one wakes it.
//
// States      empty → notified           unpark() came first: park() returns at once
//             empty → parked → notified  the sleeper announced itself: unpark() pays for a wake
//             parked → empty             the sleeper gave up at its deadline
// Ownership   one thread parks, one other thread unparks, once per round; reset() opens the next round.
// Lifetime    unpark() touches nothing of the parker after its exchange (race 3): the sleeper may see `notified` at once, return
//             and leave the stack frame that the parker lies in.
// Cost        unpark() of a thread that does not sleep yet: one exchange, no system call.
#pragma once

#include <atomic>
#include <cstdint>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class basic_parker {
 public:
  basic_parker() noexcept : state_{empty} {}
  basic_parker(const basic_parker&) = delete;
  basic_parker& operator=(const basic_parker&) = delete;

  /// Sleeps until unpark(), at the longest until `deadline` on the steady clock. False: the deadline passed, and nobody unparked.
  bool park_until(nanoseconds_point deadline) noexcept {
    std::uint32_t seen = empty;
    // acquire on failure: pairs with the exchange in unpark(). On success it announces sleep only, and relaxed would do; but g++
    // 12 warns about success orders that are weaker than the failure's.
    if (!state_.compare_exchange_strong(seen, parked, std::memory_order_acquire, std::memory_order_acquire)) return true;
    for (;;) {
      Sync::futex_wait(state_, parked, deadline);
      if (state_.load(std::memory_order_acquire) == notified) return true;  // acquire: pairs with the exchange in unpark()
      if (deadline != never && Sync::now() >= deadline) {
        seen = parked;
        // As above. If the exchange fails, unpark() came between, and its wake is ours.
        return !state_.compare_exchange_strong(seen, empty, std::memory_order_acquire, std::memory_order_acquire);
      }
    }
  }

  void park() noexcept { park_until(never); }

  /// For the one that parks: whether park() would return at once.
  [[nodiscard]] bool is_notified() const noexcept {
    return state_.load(std::memory_order_relaxed) == notified;  // relaxed: a hint, park() follows
  }

  /// Wakes the thread that parks, or lets its next park pass.
  void unpark() noexcept {
    // release: what the waker wrote (the outcome) is visible to the sleeper. Nothing of *this may be touched after this line.
    if (state_.exchange(notified, std::memory_order_release) == parked) Sync::futex_wake(&state_);
  }

  /// Opens the next round. Only after park() returned true, or before anyone can unpark.
  void reset() noexcept { state_.store(empty, std::memory_order_relaxed); }  // relaxed: linking, under a lock, publishes it

 private:
  static constexpr std::uint32_t empty = 0;
  static constexpr std::uint32_t parked = 1;
  static constexpr std::uint32_t notified = 2;

  typename Sync::template atomic<std::uint32_t> state_;
};

}  // namespace penstock::inline v0_1::detail
