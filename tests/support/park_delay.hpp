// A hook that stretches the moment between a thread's last look and its sleep.
//
// Including this defines `syscall` in the program, in front of libc's: so in one translation unit of a program only. While a delay is set,
// every FUTEX_WAIT that goes through it (penstock's parking, libstdc++'s atomic waits) is preceded by a sleep of 0 to 200 µs, drawn
// from a seeded generator for each thread. What was decided before the sleep is then old when the kernel looks: a wakeup that can be lost
// is lost within seconds, where plain stress finds nothing in minutes.
//
// Inert where nothing parks through syscall(): not on Linux, or with PENSTOCK_PORTABLE_PARK.
#pragma once

#include <atomic>
#include <cstdint>

#if defined(__linux__) && !defined(PENSTOCK_PORTABLE_PARK)
#define PENSTOCK_TEST_PARK_DELAY 1
#include <dlfcn.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdarg>
#endif

namespace park_delay {

#if defined(PENSTOCK_TEST_PARK_DELAY)
inline constexpr bool active = true;
#else
inline constexpr bool active = false;
#endif

inline std::atomic<std::uint32_t> longest_ns{0};  // 0: no delays
inline std::atomic<std::uint64_t> next_seed{1};

/// Delays every futex wait from now on; `seed` makes each thread's delays repeatable.
inline void enable(std::uint64_t seed, std::uint32_t longest = 200'000) noexcept {
  next_seed = seed;
  longest_ns = longest;
}
inline void disable() noexcept { longest_ns = 0; }

#if defined(PENSTOCK_TEST_PARK_DELAY)

inline thread_local std::uint64_t generator = 0;  // 0: not seeded yet

inline void pause_a_while(std::uint32_t longest) noexcept {
  if (generator == 0) generator = next_seed.fetch_add(0x9e3779b97f4a7c15, std::memory_order_relaxed) | 1;
  generator ^= generator << 13;  // xorshift64 (Marsaglia 2003)
  generator ^= generator >> 7;
  generator ^= generator << 17;
  const timespec length{0, static_cast<long>((generator >> 16) % longest)};
  ::nanosleep(&length, nullptr);
}

#endif

}  // namespace park_delay

#if defined(PENSTOCK_TEST_PARK_DELAY)

extern "C" long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);

  using function = long (*)(long, ...);
  // Not a static with a guard: a contended guard waits through this very function.
  static std::atomic<function> next{nullptr};
  function forward = next.load(std::memory_order_relaxed);  // relaxed: every thread finds the same
  if (forward == nullptr) {
    forward = reinterpret_cast<function>(::dlsym(RTLD_NEXT, "syscall"));
    next.store(forward, std::memory_order_relaxed);
  }
  if (number == SYS_futex) {
    const long command = a[1] & FUTEX_CMD_MASK;
    const std::uint32_t longest = park_delay::longest_ns.load(std::memory_order_relaxed);
    if (longest != 0 && (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET)) park_delay::pause_a_while(longest);
  }
  return forward(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#endif
