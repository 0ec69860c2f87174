// penstock/core/detail/sync.hpp: what a synchronising core asks of its platform, as one traits parameter.
//
// Every lock-free or hand-locked core is a template over `Sync` and uses nothing of <atomic>, <mutex>, <stop_token> or <thread> but what
// it finds there. `std_sync` below is what programs get; the model checker's tests instantiate the very same headers with a traits class
// that explores interleavings and memory orders (tests/model/).
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <stop_token>
#include <thread>

#include <penstock/core/detail/futex.hpp>

namespace penstock::inline v0_1::detail {

// Our own: the standard's constant warns in headers, for it may differ between translation units.
#if defined(__aarch64__)
inline constexpr std::size_t cache_line = 128;
#else
inline constexpr std::size_t cache_line = 64;
#endif

/// A point in time in nanoseconds of some clock; the greatest value means "never".
using nanoseconds_point = std::int64_t;
inline constexpr nanoseconds_point never = std::numeric_limits<nanoseconds_point>::max();

template <class Sync>
class basic_timer_queue;

struct std_sync {
  template <class T>
  using atomic = std::atomic<T>;
  /// Plain data that a lock or a hand-over orders; the model checker watches each access.
  template <class T>
  using var = T;
  /// Memory that is handed over without a var: the model checker is told of each access.
  struct access_check {
    static void write() noexcept {}
  };
  using mutex = std::mutex;
  using stop_token = std::stop_token;
  template <class F>
  using stop_callback = std::stop_callback<F>;

  /// Blocks while `word == expected`, at the longest until `deadline` on the steady clock. May return for no reason.
  static void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, nanoseconds_point deadline) noexcept {
    detail::futex_wait(word, expected, deadline);
  }
  /// Wakes the one thread that may wait on the word. `word` may be gone by now: only its address is used.
  static void futex_wake(std::atomic<std::uint32_t>* word) noexcept { detail::futex_wake(word); }

  /// A hint to the processor inside a polling loop (about 40 ns on x86-64).
  static void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");  // `yield` is a no-op on most cores; isb waits about as long as x86's pause
#endif
  }
  static void yield() noexcept { std::this_thread::yield(); }

  /// How many threads of this process can run at a time.
  static unsigned processors() noexcept { return detail::usable_processors(); }
  /// Whether that is more than one; polling for another thread is in vain otherwise.
  static bool parallel() noexcept { return processors() > 1; }

  static nanoseconds_point now() noexcept {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  /// The timers of the steady clock (core/timer_service.hpp).
  template <class = void>  // so that only who calls it compiles the service
  static basic_timer_queue<std_sync>& steady_timers();

  using thread_id = std::thread::id;
  static thread_id this_thread() noexcept { return std::this_thread::get_id(); }
};

}  // namespace penstock::inline v0_1::detail
