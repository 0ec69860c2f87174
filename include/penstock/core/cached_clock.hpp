// penstock/core/cached_clock.hpp: the steady clock, read now and then; for who asks for the time more often than it changes for them.
//
//   penstock::cached_clock clock{1ms};                                  // refreshed each millisecond by the timer thread
//   penstock::token_bucket requests{penstock::rate{50'000, 1s}, 500, clock};
//
//   penstock::cached_clock loop_time;                                   // refreshed by hand:
//   for (;;) { auto events = poll(); loop_time.refresh(); handle(events); }
//
// now() is one load, where a look at the clock of the system costs some 25 ns.
//
// Error          the time lies behind the steady clock's, by less than what has passed since the last refresh: the resolution, and what the timer thread
//                is late. That is the system's part: some 60 us where a processor is free, and the time until the scheduler lets it run where others want
//                all of them. No bound can be promised. (Measured at 1 ms, with ten programs that want two processors: half of all looks lay within 0.6 ms,
//                99 % within 6 ms, all within 11 ms; benchmarks/token_bucket_bench.cpp, cached_clock_age.) It never runs ahead and never steps back. A limiter
//                on it never grants more than burst + rate * (t + that error) in a time t: what has come in one resolution may come at once, so a rate
//                whose burst is shorter than the resolution is not reached.
// Waits          use the timers of the steady clock itself, and are served when they go off: not later by the error.
// any_clock      does not take one: what goes by an any_clock (limiter, keyed_limiter) asks the timers for the time.
// Thread safety  every member may be called concurrently.
// Cost           now(): one relaxed load. Refreshing by the timer thread: about 5 µs of a processor each time.
// Destruction    ends the refreshing, synchronously.
#pragma once

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/timer_service.hpp>

namespace penstock::inline v0_1 {

template <class Sync>
class basic_cached_clock : private detail::timer_entry<Sync> {
 public:
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<std::chrono::steady_clock, duration>;
  static constexpr bool is_steady = true;

  /// Refreshed by hand.
  basic_cached_clock() noexcept { refresh(); }
  /// Refreshed each `resolution`. Throws std::invalid_argument unless it is positive, and what starting the timer thread throws.
  template <class Rep, class Period>
  explicit basic_cached_clock(std::chrono::duration<Rep, Period> resolution) : basic_cached_clock{} {
    resolution_ = detail::saturating_nanoseconds(resolution);
    if (resolution_ <= 0)
      throw std::invalid_argument{"penstock::cached_clock: resolution is " + std::to_string(resolution_) + " ns"};
    this->fire = [](detail::timer_entry<Sync>& self) noexcept { static_cast<basic_cached_clock&>(self).due(); };
    timers().add(*this, detail::saturating_add(timers().now(), resolution_));
  }
  basic_cached_clock(const basic_cached_clock&) = delete;
  basic_cached_clock& operator=(const basic_cached_clock&) = delete;
  ~basic_cached_clock() {
    if (resolution_ == 0) return;
    ending_.store(true, std::memory_order_relaxed);  // relaxed: the lock of the timers orders it; what misses it is removed below
    timers().remove(*this);                          // waits for a refresh that runs, which may have armed the next one,
    timers().remove(*this);                          // and that one would see that it ends
  }

  /// The time of the last refresh, on the steady clock.
  [[nodiscard]] time_point now() const noexcept {
    return time_point{duration{now_.load(std::memory_order_relaxed)}};  // relaxed: only a number
  }

  /// Looks at the steady clock.
  void refresh() noexcept {
    const detail::nanoseconds_point seen = Sync::now();
    detail::nanoseconds_point known = now_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
    while (known < seen && !now_.compare_exchange_weak(known, seen, std::memory_order_relaxed)) {  // relaxed: only a number
    }
  }

  /// Those of the steady clock.
  [[nodiscard]] static timer_queue& timers() noexcept {
    return timer_service<detail::dependent<std::chrono::steady_clock, Sync>>::shared();
  }

 private:
  void due() noexcept {
    refresh();
    if (ending_.load(std::memory_order_relaxed)) return;  // relaxed: as above
    // The last touch. It was added before, so its thread runs and this does not throw.
    timers().add(*this, detail::saturating_add(now_.load(std::memory_order_relaxed), resolution_));
  }

  std::atomic<detail::nanoseconds_point> now_{0};
  std::atomic<bool> ending_{false};
  detail::nanoseconds_point resolution_ = 0;  // 0: by hand
};

using cached_clock = basic_cached_clock<detail::std_sync>;

}  // namespace penstock::inline v0_1
