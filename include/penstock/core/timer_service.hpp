// penstock/core/timer_service.hpp: one thread that fires the timers of a clock.
//
// Users seldom meet it: with_timeout() and deadlines use shared(). The thread starts with the first timer, sleeps in one futex until the
// earliest deadline and uses no processor while nothing is due.
//
// Thread safety  every member may be called concurrently.
// Blocking       without a scheduler a coroutine goes on where its timeout fires: on this thread, which serves all timers of its clock in the
//                process. What blocks there (a lock, a file) holds them all up, and what waits there for one of them waits for ever. So
//                give a coroutine that blocks a scheduler (spawn(pool, …), `| via(pool)`). Debug builds assert that a thread of a
//                timer_service does not block until a coroutine has ended, nor until a deadline that it serves itself.
// Complexity     adding O(1), removing O(log n) amortised; nothing is allocated for a timer.
// Lateness       on Linux some 10 µs where a processor is free: the thread asks for the least timer slack, as do event loops that wait by a timerfd (by
//                default Linux adds 50 µs, so that one waking serves several). A thread that a timer's function starts inherits that.
// Destruction    ends the thread. Timers that are still pending then are a precondition violation.
// Fork           the thread does not exist in a forked child: adding a timer there throws std::system_error.
#pragma once

#include <atomic>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <new>
#include <thread>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/fork.hpp>
#include <penstock/core/detail/timer_queue.hpp>

namespace penstock::inline v0_1 {

using timer_queue = detail::basic_timer_queue<detail::std_sync>;

template <clock Clock = std::chrono::steady_clock>
class timer_service final : public timer_queue {
 public:
  explicit timer_service(Clock clock = {}) : clock_{clock} {}

  ~timer_service() {
    assert(earliest() == detail::never && "a timer_service was destroyed while timers are pending");
    {
      std::scoped_lock guard{thread_lock_};
      if (!thread_.joinable()) return;
      ending_.store(true, std::memory_order_relaxed);  // relaxed: ordered by the change of signal_, which the thread acquires
    }
    wake();
    thread_.join();
  }

  /// The service that this process shares. It is never destroyed, so waits may go on while statics are.
  static timer_service& shared() noexcept {
    alignas(timer_service) static std::byte memory[sizeof(timer_service)];  // not on the heap: it could fail
    static timer_service* const service = ::new (static_cast<void*>(memory)) timer_service;
    return *service;
  }

  [[nodiscard]] detail::nanoseconds_point now() const noexcept override {
    return detail::saturating_nanoseconds(clock_.now().time_since_epoch());
  }

  /// Throws std::system_error if the thread cannot be started, or in a forked child.
  void add(entry& e, detail::nanoseconds_point when) override {
    if (!started_.load(std::memory_order_acquire)) start();  // acquire: pairs with the release in start()
    origin_.check();
    if (insert(e, when)) wake();
  }

 private:
  // A clock that can be set may jump past a deadline while the thread sleeps by the steady clock: look at least this often.
  static constexpr std::int64_t longest_sleep = Clock::is_steady ? detail::never : 500'000'000;

  void start() {
    std::scoped_lock guard{thread_lock_};
    if (thread_.joinable()) return;
    origin_.remember();
    thread_ = std::thread{[this] { run(); }};
    started_.store(true, std::memory_order_release);  // release: pairs with the acquire in add()
  }

  void wake() noexcept {
    signal_.fetch_add(1, std::memory_order_release);  // release: pairs with the acquire in run()
    detail::std_sync::futex_wake(&signal_);
  }

  void run() noexcept {
    detail::timers_of_this_thread = static_cast<timer_queue*>(this);
    detail::wake_on_time();
    for (;;) {
      const std::uint32_t seen = signal_.load(std::memory_order_acquire);  // acquire: pairs with the release in wake()
      // relaxed: written before the change of signal_
      if (ending_.load(std::memory_order_relaxed)) return;
      fire_due(now(), std::numeric_limits<std::size_t>::max());
      // An entry that becomes the earliest from here on changes signal_, so the sleep below does not begin or ends.
      const detail::nanoseconds_point next = earliest();
      if (next == detail::never) {
        detail::std_sync::futex_wait(signal_, seen, detail::never);
        continue;
      }
      const std::int64_t left = detail::saturating_add(next, -now());
      if (left <= 0) continue;
      detail::std_sync::futex_wait(signal_, seen,
                                   detail::saturating_add(detail::std_sync::now(), left < longest_sleep ? left : longest_sleep));
    }
  }

  [[no_unique_address]] Clock clock_;
  std::atomic<std::uint32_t> signal_{0};
  std::atomic<bool> started_{false};
  std::atomic<bool> ending_{false};
  std::mutex thread_lock_;
  std::thread thread_;  // guarded by thread_lock_
  detail::process_origin origin_;
};

namespace detail {
template <class>
inline basic_timer_queue<std_sync>& std_sync::steady_timers() {
  return timer_service<std::chrono::steady_clock>::shared();
}
}  // namespace detail

}  // namespace penstock::inline v0_1
