// penstock/core/detail/polled_mutex.hpp: a mutex for sections of a few dozen instructions that many threads want.
//
// A thread that finds such a mutex taken gains nothing by going to sleep at once: the system call takes longer than the section, and whoever unlocks
// then has to pay for another one. So lock() tries again for a while, with pauses and then yields between; but then it sleeps as any other would,
// for the holder may have lost its processor to a thread of higher priority that waits here.
//
// States         unlocked → locked → unlocked     nobody sleeps: unlock() wakes nobody
//                … → contended → unlocked         somebody sleeps, or is about to: unlock() wakes one. Who has slept takes it as contended, for it
//                                                 does not know whether there are others.
// Source         the third mutex of U. Drepper, "Futexes are tricky" (2011).
// Lifetime       unlock() touches nothing after its exchange: the next one may destroy the mutex.
// Thread safety  as std::mutex. Not fair.
// Looking        is_free() takes nothing. Who reads, acquiring, what was written with the mutex held, and then finds it free, knows that the writer has
//                left: a thread that sees the write sees the lock that was taken before it, or what came later.
// Cost           one compare-exchange to lock, one exchange to unlock, both inline: as sections are short, a call of the C library would be
//                as much again.
#pragma once

#include <atomic>
#include <cstdint>

#include <penstock/core/detail/polling.hpp>
#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class polled_mutex {
 public:
  polled_mutex() = default;
  polled_mutex(const polled_mutex&) = delete;
  polled_mutex& operator=(const polled_mutex&) = delete;

  void lock() noexcept {
    if (!take()) [[unlikely]]
      lock_slowly();
  }
  /// False: it seemed to be taken. Then a look was all: the holder keeps its line.
  bool try_lock() noexcept { return state_.load(std::memory_order_relaxed) == unlocked && take(); }  // relaxed: a hint
  /// Whether nobody has it. True: who had it last, as far as this thread knows, touches nothing of it any more, and what it wrote is visible.
  [[nodiscard]] bool is_free() const noexcept {
    return state_.load(std::memory_order_acquire) == unlocked;  // acquire: pairs with the release in unlock()
  }
  void unlock() noexcept {
    // release: pairs with the acquire of who locks next. Nothing of *this is touched after it: waking uses the address as a number.
    if (state_.exchange(unlocked, std::memory_order_release) == contended) [[unlikely]]
      Sync::futex_wake(&state_);
  }

 private:
  bool take() noexcept {
    std::uint32_t seen = unlocked;
    // acquire: pairs with the release in unlock(). relaxed, on failure: nothing was got
    return state_.compare_exchange_strong(seen, locked, std::memory_order_acquire, std::memory_order_relaxed);
  }
  [[gnu::noinline]] void lock_slowly() noexcept {
    for (polling<Sync> poll; poll.again();) {
      Sync::pause();  // each try takes the line away from the holder, and so does a look
      if (try_lock()) return;
    }
    // acquire: as in take()
    while (state_.exchange(contended, std::memory_order_acquire) != unlocked) Sync::futex_wait(state_, contended, never);
  }

  static constexpr std::uint32_t unlocked = 0;
  static constexpr std::uint32_t locked = 1;
  static constexpr std::uint32_t contended = 2;

  typename Sync::template atomic<std::uint32_t> state_{unlocked};
};

}  // namespace penstock::inline v0_1::detail
