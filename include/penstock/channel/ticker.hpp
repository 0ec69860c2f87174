// penstock/channel/ticker.hpp: times as channels.
//
//   auto every_second = penstock::tick(1s);
//   select(on_pop(lines, read), on_pop(every_second, [&](auto) { report(); }));
//
//   for (auto due : penstock::tick(10ms, clock)) sample(due);      // until close()
//   auto late = penstock::after(5s);                               // one time only
//
// Invariants     the n-th tick is due at start + n * period, however late the earlier ones were noticed: there is no drift. At the most one
//                tick waits to be read: a reader that is slow loses ticks and never finds a queue of them. A tick is the time at which it was
//                due, so a reader can count what it lost; if several fell due at once (the machine slept), the latest of them is told.
// Thread safety  reading: any number of threads and coroutines. reset(), stop() and close(): by one at a time, also from what a tick resumes.
// Cancellation   stop(), reset() and the destructor are synchronous: when they return, no tick of before is on its way or to be read (race
//                14). Destroying it inside a coroutine that a tick has just resumed is allowed; while somebody waits for a tick it is not.
// Cost           one allocation at construction; a tick allocates nothing. A coroutine without a scheduler of its own goes on in the
//                clock's timer thread: what takes long belongs on a pool.
#pragma once

#include <chrono>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>

#include <penstock/channel/channel.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/core/result.hpp>

namespace penstock::inline v0_1 {

namespace detail {

/// What outlives a ticker that is destroyed by what its own tick resumes.
template <class TimePoint>
class tick_source : public timer_entry<std_sync>, public std::enable_shared_from_this<tick_source<TimePoint>> {
 public:
  using channel_type = channel<TimePoint>;

  explicit tick_source(timer_queue& timers) : timers_{timers} {
    this->fire = [](timer_entry<std_sync>& self) noexcept { static_cast<tick_source&>(self).due(); };
  }

  channel_type& ticks() noexcept { return ticks_; }

  /// The first tick after `first`, then one each `period` (never: no more).
  void start(std::int64_t first, std::int64_t period) {
    halt();
    const nanoseconds_point at = saturating_add(timers_.now(), first);
    {
      std::scoped_lock guard{lock_};
      due_ = at;
      period_ = period;
      armed_ = round_;
    }
    if (at != never) timers_.add(*this, at);
  }

  /// Afterwards no tick comes and none is there.
  void halt() noexcept {
    {
      std::scoped_lock guard{lock_};
      ++round_;  // a tick on its way arms no other one
    }
    timers_.remove(*this);  // waits for such a one, which may have armed the next tick before it could see the new round
    timers_.remove(*this);
    static_cast<void>(ticks_.try_pop());
  }

 private:
  void due() noexcept {
    const auto alive = this->shared_from_this();
    const nanoseconds_point now = timers_.now();
    std::uint64_t round = 0;
    nanoseconds_point at = 0;
    nanoseconds_point next = never;
    {
      std::scoped_lock guard{lock_};
      if (armed_ != round_) return;
      round = round_;
      at = due_;
      if (period_ != never) {
        if (now > at) at = saturating_add(at, (now - at) / period_ * period_);  // what fell due meanwhile is lost
        next = due_ = saturating_add(at, period_);
      }
    }
    using duration = typename TimePoint::duration;
    const TimePoint tick{std::chrono::duration_cast<duration>(std::chrono::nanoseconds{at})};
    static_cast<void>(ticks_.try_push(TimePoint{tick}));  // may run a coroutine, which may stop us, start us anew or drop us
    {
      std::scoped_lock guard{lock_};
      if (next == never || round != round_) return;
    }
    timers_.add(*this, next);  // the last touch: it was added before, so its thread runs and this does not throw
  }

  timer_queue& timers_;
  channel_type ticks_{1};
  std::mutex lock_;
  nanoseconds_point due_ = never;  // the next tick's; guarded by lock_, as all that follows
  std::int64_t period_ = never;
  std::uint64_t round_ = 0;  // how often it was halted
  std::uint64_t armed_ = 0;  // the round that the timer belongs to
};

}  // namespace detail

/// A channel of times: what tick() and after() make. To be read like a channel, in a select too.
template <clock Clock>
class ticker {
 public:
  using time_point = typename Clock::time_point;
  using value_type = time_point;
  using channel_type = penstock::channel<time_point>;

  /// One tick after `first`, and then one each `period`; the maximum means never. Throws std::invalid_argument unless 0 < period, and what
  /// starting a timer thread throws.
  ticker(std::chrono::nanoseconds first, std::chrono::nanoseconds period, timer_queue& timers)
      : source_{(check(period), std::make_shared<detail::tick_source<time_point>>(timers))},
        repeats_{period.count() != detail::never} {
    source_->start(first.count(), period.count());
  }
  ticker(const ticker&) = delete;
  ticker& operator=(const ticker&) = delete;
  ~ticker() { source_->halt(); }

  /// The channel that the ticks come through. Do not push to it.
  [[nodiscard]] channel_type& channel() noexcept { return source_->ticks(); }

  /// Waits for the next tick. errc::closed after close(); the others as channel's.
  result<time_point> pop() { return channel().pop(); }
  result<time_point> pop(const std::stop_token& stop) { return channel().pop(stop); }
  result<time_point> pop(const wait_limits& limits) { return channel().pop(limits); }
  result<time_point> try_pop() { return channel().try_pop(); }
  [[nodiscard]] auto async_pop() { return channel().async_pop(); }
  [[nodiscard]] auto begin() { return channel().begin(); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  /// No more ticks, and one that was not read is gone. Those who wait go on waiting: for reset() or close().
  void stop() noexcept { source_->halt(); }

  /// Begins anew, from now: of tick(), one tick each `period` (std::invalid_argument unless 0 < period); of after(), one after this time.
  /// No effect after close().
  template <class Rep, class Period>
  void reset(std::chrono::duration<Rep, Period> duration) {
    const std::chrono::nanoseconds d{detail::saturating_nanoseconds(duration)};
    if (repeats_) check(d);
    if (!channel().is_closed()) source_->start(d.count(), repeats_ ? d.count() : detail::never);
  }

  /// No more ticks, for good: those who wait get errc::closed, and loops over this end.
  void close() noexcept {
    source_->halt();
    channel().close();
  }

 private:
  static void check(std::chrono::nanoseconds period) {
    if (period.count() <= 0) throw std::invalid_argument{"penstock::tick: period is " + std::to_string(period.count()) + " ns"};
  }

  const std::shared_ptr<detail::tick_source<time_point>> source_;
  const bool repeats_;
};

/// A tick each `period` of a clock, the first one after one period. Throws std::invalid_argument unless 0 < period.
template <class Rep, class Period, clock Clock>
[[nodiscard]] ticker<Clock> tick(std::chrono::duration<Rep, Period> period, Clock& c) {
  const std::chrono::nanoseconds p{detail::saturating_nanoseconds(period)};
  return ticker<Clock>{p, p, detail::timers_of(c)};
}
template <class Rep, class Period>
[[nodiscard]] ticker<detail::dependent<std::chrono::steady_clock, Rep>> tick(std::chrono::duration<Rep, Period> period) {
  std::chrono::steady_clock c;
  return tick(period, c);
}

/// One tick, `delay` from now; at once if that is not positive. The channel is not closed by it: reset() makes another one.
template <class Rep, class Period, clock Clock>
[[nodiscard]] ticker<Clock> after(std::chrono::duration<Rep, Period> delay, Clock& c) {
  return ticker<Clock>{std::chrono::nanoseconds{detail::saturating_nanoseconds(delay)}, std::chrono::nanoseconds::max(),
                       detail::timers_of(c)};
}
template <class Rep, class Period>
[[nodiscard]] ticker<detail::dependent<std::chrono::steady_clock, Rep>> after(std::chrono::duration<Rep, Period> delay) {
  std::chrono::steady_clock c;
  return after(delay, c);
}

}  // namespace penstock::inline v0_1
