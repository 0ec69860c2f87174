// penstock/core/manual_clock.hpp: a clock that stands still until it is told to move.
//
//   penstock::manual_clock clock;
//   auto waiting = penstock::spawn(ready.async_wait() | penstock::with_timeout(10ms, clock));
//   clock.advance(10ms);   // the wait has timed out when this returns
//
// Everything that takes a clock takes this one, so a whole system of limiters, timeouts and retries runs in a test without a
// sleep and with the same result each time.
//
// Invariants     advance() moves through the pending timers one by one: each one fires at its own time, and timers that it arms
//                on the way fire too if they fall due before the target.
// Thread safety  every member may be called concurrently, and from within a timer. Destroying the clock while timers are pending
//                is a precondition violation.
#pragma once

#include <atomic>
#include <cassert>
#include <chrono>
#include <mutex>

#include <penstock/core/clock.hpp>
#include <penstock/core/timer_service.hpp>

namespace penstock::inline v0_1 {

class manual_clock {
 public:
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<manual_clock, duration>;
  static constexpr bool is_steady = false;  // set() may step back

  /// Starts one hour after its epoch, so that code which subtracts does not meet negative times by accident.
  manual_clock() noexcept : manual_clock{time_point{std::chrono::hours{1}}} {}
  explicit manual_clock(time_point start) noexcept : timers_{start.time_since_epoch().count()} {}
  manual_clock(const manual_clock&) = delete;
  manual_clock& operator=(const manual_clock&) = delete;

  [[nodiscard]] time_point now() const noexcept { return time_point{duration{timers_.now()}}; }

  /// Moves the time forward and fires, on this thread, every timer that falls due on the way. A negative duration steps back.
  /// Called from a timer it moves the place that the advance which fires that timer leads to.
  void advance(duration by) { timers_.move(by.count()); }

  /// Jumps to a time. Forward: as advance(). Backward: nothing fires, and pending timers wait for their time to come again.
  void set(time_point to) { timers_.jump(to.time_since_epoch().count()); }

  /// The timers that wait for this clock.
  [[nodiscard]] timer_queue& timers() noexcept { return timers_; }

  /// When the earliest pending timer is due; time_point::max() if there is none.
  [[nodiscard]] time_point next_timer() noexcept { return time_point{duration{timers_.next()}}; }

 private:
  class queue final : public timer_queue {
   public:
    explicit queue(detail::nanoseconds_point start) noexcept : now_{start}, target_{start} {}
    ~queue() { assert(earliest() == detail::never && "a manual_clock was destroyed while timers are pending"); }

    [[nodiscard]] detail::nanoseconds_point now() const noexcept override { return now_.load(); }
    [[nodiscard]] detail::nanoseconds_point next() noexcept { return earliest(); }

    void add(entry& e, detail::nanoseconds_point when) override {
      insert(e, when);
      // Whoever moves the time stores it before looking at the queue, and the queue's lock orders that look and our insert: one
      // of us sees.
      while (earliest() <= now() && fire_next(now())) {
      }
    }

    void move(std::int64_t by) {
      {
        std::scoped_lock guard{moving_};
        target_ = detail::saturating_add(target_, by);
        if (target_ < now_) now_ = target_;
      }
      run();
    }

    void jump(detail::nanoseconds_point to) {
      {
        std::scoped_lock guard{moving_};
        target_ = to;
        if (to < now_) now_ = to;
      }
      run();
    }

   private:
    // Goes on to where all the calls so far lead to: a timer, or another thread, may have moved that meanwhile.
    void run() {
      for (bool arrived = false;;) {
        const detail::nanoseconds_point next = earliest();
        if (step_to(next)) {
          fire_next(next);
          arrived = false;
        } else if (arrived) {
          return;
        } else {
          arrived = true;  // look once more: a timer may have been armed before the last step and after the look
        }
      }
    }

    // False: `next` lies beyond the target, which has been reached.
    bool step_to(detail::nanoseconds_point next) noexcept {
      std::scoped_lock guard{moving_};
      const bool due = next <= target_ && next != detail::never;
      const detail::nanoseconds_point to = due ? next : target_;
      if (now_ < to) now_ = to;
      return due;
    }

    std::atomic<detail::nanoseconds_point> now_;
    std::mutex moving_;
    detail::nanoseconds_point target_;  // where all the calls so far lead to; guarded by moving_
  };

  queue timers_;
};

}  // namespace penstock::inline v0_1
