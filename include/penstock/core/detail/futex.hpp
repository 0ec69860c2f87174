// penstock/core/detail/futex.hpp: the one place where a thread goes to sleep.
//
// On Linux a futex with an absolute deadline on CLOCK_MONOTONIC, which is libstdc++'s and libc++'s steady_clock; elsewhere (or with
// PENSTOCK_PORTABLE_PARK defined) a small table of mutexes and condition variables keyed by address.
//
// Lifetime    futex_wake() uses its argument as a number only. The word may be gone already, when its owner saw the new value
//             without sleeping: then the wake reaches nobody, or an unrelated sleeper at the same address, who looks again.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#if defined(__linux__) && !defined(PENSTOCK_PORTABLE_PARK)
#define PENSTOCK_DETAIL_FUTEX 1
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#else
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <new>
#endif

namespace penstock::inline v0_1::detail {

#if defined(PENSTOCK_DETAIL_FUTEX)

inline void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t deadline) noexcept {
  static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t) && std::atomic<std::uint32_t>::is_always_lock_free);
  timespec until{};
  const timespec* limit = nullptr;
  if (deadline != std::numeric_limits<std::int64_t>::max()) {
    const std::int64_t clamped = deadline < 0 ? 0 : deadline;  // the kernel refuses negative times; zero lies in the past too
    until.tv_sec = static_cast<time_t>(clamped / 1'000'000'000);
    until.tv_nsec = static_cast<long>(clamped % 1'000'000'000);
    limit = &until;
  }
  // FUTEX_WAIT_BITSET and not FUTEX_WAIT: its timeout is absolute, so a wait that is interrupted and repeated does not grow.
  ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, limit, nullptr, FUTEX_BITSET_MATCH_ANY);
}

inline void futex_wake(std::atomic<std::uint32_t>* word) noexcept {
  ::syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, nullptr, nullptr, 0);
}

/// From now on the calling thread's sleeps, and those of the threads that it starts, end as soon as their deadline has come. By default Linux lets
/// them last 50 µs longer, so that it can end several at a time (the timer slack). Only for threads of the library.
inline void wake_on_time() noexcept { ::prctl(PR_SET_TIMERSLACK, 1UL); }

#else

// All sleepers of one bucket are woken together and look again: a shared bucket costs time, never a wakeup.
struct sleep_bucket {
  std::mutex lock;
  std::condition_variable changed;
};

inline sleep_bucket& bucket_of(const void* address) noexcept {
  struct sleep_table {
    sleep_bucket buckets[64];
  };
  // Never destroyed, for threads may park while statics are; and not on the heap, for waiting does not allocate.
  alignas(sleep_table) static std::byte memory[sizeof(sleep_table)];
  static sleep_table* const table = ::new (static_cast<void*>(memory)) sleep_table;
  return table->buckets[(reinterpret_cast<std::uintptr_t>(address) >> 6) % 64];
}

inline void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t deadline) noexcept {
  sleep_bucket& bucket = bucket_of(&word);
  std::unique_lock guard{bucket.lock};
  // relaxed: the waker changed the word before it took the bucket's lock, so under the lock the new value is seen or the notify comes
  if (word.load(std::memory_order_relaxed) != expected) return;
  if (deadline == std::numeric_limits<std::int64_t>::max()) {
    bucket.changed.wait(guard);
  } else {
    using clock = std::chrono::steady_clock;
    bucket.changed.wait_until(guard,
                              clock::time_point{std::chrono::duration_cast<clock::duration>(std::chrono::nanoseconds{deadline})});
  }
}

inline void futex_wake(std::atomic<std::uint32_t>* word) noexcept {
  sleep_bucket& bucket = bucket_of(word);
  {
    std::scoped_lock guard{bucket.lock};
  }  // a sleeper is before its look, and will see the change, or inside its wait
  bucket.changed.notify_all();
}

inline void wake_on_time() noexcept {}

#endif

/// How many processors this process may run on, read once.
inline unsigned usable_processors() noexcept {
  static const unsigned count = [] {
#if defined(__linux__)
    // The affinity mask, and not the number of processors of the machine: `taskset -c 0` leaves one.
    cpu_set_t allowed;
    if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
      const int n = CPU_COUNT(&allowed);
      if (n > 0) return static_cast<unsigned>(n);
    }
#endif
    const unsigned n = std::thread::hardware_concurrency();  // only where there is no affinity mask to read
    return n == 0 ? 1U : n;
  }();
  return count;
}

}  // namespace penstock::inline v0_1::detail
