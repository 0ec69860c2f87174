// penstock/observe/busy_time.hpp: how much of the time that a set of slots (threads, permits, connections) had was spent busy.
//
//   penstock::busy_time working{4};                        // four slots, from now on
//   { penstock::busy_scope scope{working}; serve(); }      // any thread; or enter() and leave(), also on different threads
//   double u = working.snapshot().utilization();           // since construction
//
//   auto before = working.snapshot();  …                   // or over an interval:
//   double recent = working.snapshot().since(before).utilization();
//
// Utilization is an integral, not a mean of samples: the busy time is the area under the number of busy slots, and is exact at
// any moment, also for slots that have been busy since long before the interval and are so still.
//
// Invariants     busy_ and offered_ are the integrals of active_ and slots_ from the start to latest_; all change under mutex_.
//                latest_ never decreases: a time point earlier than one already seen counts as the latest seen, so a clock that
//                steps back, or two threads that read the clock in one order and arrive in the other, shorten no integral.
// Clock          only Clock::time_point is used, but for the forms without a time point, which need a static Clock::now(). With
//                a clock that is an object pass time points, or give the object to busy_scope.
// Thread safety  every member may be called concurrently.
// Cost           every member: one lock of a mutex that is held for a few instructions (about 10 ns alone). Meant for the change
//                between idle and busy: a worker enters when it finds work and leaves when it runs out, not around each task.
//                Where many threads change state at high rates give each its own and merge the snapshots.
#pragma once

#include <cassert>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <limits>
#include <mutex>
#include <stdexcept>

namespace penstock::inline v0_1 {

class metric_sink;

namespace detail {

template <class Clock>
concept has_static_now = requires {
  { Clock::now() } -> std::convertible_to<typename Clock::time_point>;
};

// total + elapsed * slots, at most nanoseconds::max(). No argument is negative.
[[nodiscard]] constexpr std::chrono::nanoseconds add_slot_time(std::chrono::nanoseconds total, std::chrono::nanoseconds elapsed,
                                                               std::uint32_t slots) noexcept {
  using std::chrono::nanoseconds;
  if (slots == 0) return total;
  return elapsed > (nanoseconds::max() - total) / slots ? nanoseconds::max() : total + elapsed * slots;
}

}  // namespace detail

/// Slot time up to one moment, or within an interval: a plain value.
struct busy_snapshot {
  std::chrono::nanoseconds busy{};     // summed over the slots that were busy; 292 years at most, where it stays
  std::chrono::nanoseconds offered{};  // elapsed time times the number of slots, likewise

  /// The share of the offered time that was busy; 0 if none was offered. Above 1 only if more entered than there were slots.
  [[nodiscard]] double utilization() const noexcept {
    return offered.count() == 0 ? 0.0 : static_cast<double>(busy.count()) / static_cast<double>(offered.count());
  }

  /// Adds the slots of another component.
  void merge(const busy_snapshot& other) noexcept {
    busy = detail::add_slot_time(busy, other.busy, 1);
    offered = detail::add_slot_time(offered, other.offered, 1);
  }

  /// What happened after `earlier`, a snapshot of the same component (or of the same ones, merged).
  [[nodiscard]] busy_snapshot since(const busy_snapshot& earlier) const noexcept {
    return {busy - earlier.busy, offered - earlier.offered};
  }

  friend bool operator==(const busy_snapshot&, const busy_snapshot&) = default;
};

/// As text (observe/metric_text.hpp, ext/fmt.hpp).
template <std::same_as<metric_sink> Sink>
void describe(const busy_snapshot& s, Sink& to) {
  to.kind("busy_time");
  to.counter(Sink::common::busy, s.busy);
  to.counter(Sink::common::offered, s.offered);
  to.gauge({"utilization", "The share of the offered time that was busy."}, s.utilization());
}

template <class Clock = std::chrono::steady_clock>
class basic_busy_time {
 public:
  using time_point = typename Clock::time_point;

  /// All slots idle from `start` on. Throws std::invalid_argument if there are no slots.
  basic_busy_time(std::uint32_t slots, time_point start) : slots_{slots}, latest_{start} {
    if (slots == 0) throw std::invalid_argument{"penstock::busy_time: the number of slots is 0"};
  }

  explicit basic_busy_time(std::uint32_t slots = 1)
    requires detail::has_static_now<Clock>
      : basic_busy_time{slots, Clock::now()} {}

  basic_busy_time(const basic_busy_time&) = delete;
  basic_busy_time& operator=(const basic_busy_time&) = delete;

  /// One more slot is busy from `now` on.
  void enter(time_point now) noexcept {
    const std::scoped_lock guard{mutex_};
    advance(now);
    ++active_;
  }

  /// One slot less is busy from `now` on. Precondition: there were more enter()s than leave()s.
  void leave(time_point now) noexcept {
    const std::scoped_lock guard{mutex_};
    advance(now);
    assert(active_ > 0 && "penstock::busy_time: leave() without enter()");
    --active_;
  }

  /// The integrals up to `now`, slots that are still busy included. Successive snapshots never decrease.
  [[nodiscard]] busy_snapshot snapshot(time_point now) const noexcept {
    const std::scoped_lock guard{mutex_};
    advance(now);
    return {busy_, offered_};
  }

  void enter() noexcept
    requires detail::has_static_now<Clock>
  {
    enter(Clock::now());
  }

  void leave() noexcept
    requires detail::has_static_now<Clock>
  {
    leave(Clock::now());
  }

  [[nodiscard]] busy_snapshot snapshot() const noexcept
    requires detail::has_static_now<Clock>
  {
    return snapshot(Clock::now());
  }

 private:
  // A snapshot moves latest_ too: were it not to, an enter() or leave() that arrives late could take back time already reported.
  void advance(time_point now) const noexcept {
    if (now <= latest_) return;
    const auto elapsed = std::chrono::duration_cast<std::chrono::nanoseconds>(now - latest_);
    busy_ = detail::add_slot_time(busy_, elapsed, active_);
    offered_ = detail::add_slot_time(offered_, elapsed, slots_);
    latest_ = now;
  }

  mutable std::mutex mutex_;
  const std::uint32_t slots_;
  std::uint32_t active_ = 0;
  mutable time_point latest_;
  mutable std::chrono::nanoseconds busy_{};
  mutable std::chrono::nanoseconds offered_{};
};

/// One slot is busy as long as this object lives, on whichever thread it ends. The busy_time, and the clock if one is given,
/// outlive it.
template <class Clock>
class [[nodiscard]] busy_scope {
 public:
  explicit busy_scope(basic_busy_time<Clock>& time) noexcept
    requires detail::has_static_now<Clock>
      : time_{time} {
    time_.enter();
  }

  /// For a clock that is an object.
  busy_scope(basic_busy_time<Clock>& time, const Clock& clock) noexcept : time_{time}, clock_{&clock} {
    time_.enter(clock.now());
  }

  busy_scope(const busy_scope&) = delete;
  busy_scope& operator=(const busy_scope&) = delete;

  ~busy_scope() {
    if constexpr (detail::has_static_now<Clock>) {
      time_.leave();
    } else {
      time_.leave(clock_->now());
    }
  }

 private:
  basic_busy_time<Clock>& time_;
  const Clock* clock_ = nullptr;
};

using busy_time = basic_busy_time<>;

}  // namespace penstock::inline v0_1
