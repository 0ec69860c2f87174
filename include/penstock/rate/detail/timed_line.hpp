// penstock/rate/detail/timed_line.hpp: the family of names under which one takes from a shape and waits for it.
//
// token_bucket, sliding_window, fixed_window and leaky_bucket are this line over their shapes (shape.hpp); what waits is in timed_core.hpp.
#pragma once

#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/rate/detail/timed_core.hpp>

namespace penstock::inline v0_1::detail {

/// Every n is a number of tokens: std::invalid_argument unless 1 <= n, and unless it is at most what one request can ever have, which waiting would
/// not bring. Every wait ends with errc::closed when close() is called; with errc::rejected if n has become more than one request can ever have while
/// it waited; and with std::system_error if the thread of the clock's timers cannot be started.
template <shape Shape, clock Clock, class Sync>
class timed_line {
 public:
  using sync = Sync;
  using count = std::int64_t;
  using time_point = typename Clock::time_point;

  timed_line(const timed_line&) = delete;
  timed_line& operator=(const timed_line&) = delete;

  /// Waits until n can be had, behind those who wait already, and takes them all at once.
  result<void> acquire(count n = 1) {
    if (take(n)) return {};
    blocking wait{*core_, possible(n)};
    check_thread();
    return wait.take_result(wait.run_without_polling());
  }
  /// Also ends when stop is requested, with errc::cancelled; at once, and with nothing taken, if it was before the call.
  result<void> acquire(const typename Sync::stop_token& stop, count n = 1) { return acquire_within(stop, {}, n); }
  /// Also ends at a deadline, with errc::timeout. What can be had at once is taken even if the deadline has passed.
  result<void> acquire(const wait_limits& limits, count n = 1) { return acquire_within(limits.stop, limits.deadline, n); }

  /// Never waits: errc::empty if n cannot be had now, or others wait for their turn.
  result<void> try_acquire(count n = 1) {
    if (take(n)) return {};
    possible(n);
    return core_->is_closed() ? errc::closed : errc::empty;
  }
  /// Waits at the most for `timeout` on the clock of this object: errc::timeout after that, and never before.
  template <class Rep, class Period>
  result<void> try_acquire_for(std::chrono::duration<Rep, Period> timeout, count n = 1) {
    if (take(n)) return {};
    return acquire_within({}, after(timeout), n);
  }
  /// Until a point in time of the steady clock, of another clock of std's, or of any clock that is given with it: `{when, clock}`.
  result<void> try_acquire_until(basic_deadline<Sync> until, count n = 1) { return acquire_within({}, until, n); }

  /// `co_await x.async_acquire()` is a result<void>; observes the coroutine's stop token; takes with_timeout, with_stop and via.
  [[nodiscard]] auto async_acquire(count n = 1) { return async_operation<core, request, count>{*core_, possible(n)}; }

  /// Takes n if they are there, else as many as are; none if others wait. Never waits. Returns how many. Of shapes that can (token_bucket).
  [[nodiscard]] count try_acquire_up_to(count n)
    requires requires(Shape& s) { s.take_up_to(0, 0); }
  {
    positive(n);
    return core_->is_open() ? core_->shape().take_up_to(core_->clock().now(), n) : 0;
  }
  /// Waits until there is one at least, and takes as many as there are, n at the most. Returns how many.
  result<count> acquire_up_to(count n)
    requires requires(Shape& s) { s.take_up_to(0, 0); }
  {
    positive(n);
    return and_up_to(acquire(1), n);
  }
  result<count> acquire_up_to(const wait_limits& limits, count n)
    requires requires(Shape& s) { s.take_up_to(0, 0); }
  {
    positive(n);
    return and_up_to(acquire(limits, 1), n);
  }

  /// Gives n back that were taken and not needed: they serve who waits. What would be too much is dropped.
  /// May run resumed coroutines on this thread unless they have a scheduler.
  void refund(count n = 1) {
    positive(n);
    core_->change([n](Shape& s, nanoseconds_point now) { s.give_back(now, n); });
  }

  /// What try_acquire() could have now; negative while there is a debt. A snapshot.
  [[nodiscard]] count available() const noexcept { return core_->shape().available(core_->clock().now()); }
  /// The earliest time at which n can be had if nobody else takes any before; those who wait are not counted. Now, or later.
  [[nodiscard]] time_point ready_at(count n = 1) const {
    return time_point_of<Clock>(core_->shape().ready_at(core_->clock().now(), possible(n)));
  }
  /// How long that is from now; zero if they can be had at once: what a server tells in Retry-After.
  [[nodiscard]] std::chrono::nanoseconds retry_after(count n = 1) const {
    const nanoseconds_point now = core_->clock().now();
    return std::chrono::nanoseconds{core_->shape().ready_at(now, possible(n)) - now};
  }

  /// Every wait ends with errc::closed, now and from now on. Idempotent.
  void close() noexcept { core_->close(); }
  [[nodiscard]] bool is_closed() const noexcept { return core_->is_closed(); }
  /// How many stand in line now.
  [[nodiscard]] std::size_t waiters() const noexcept { return core_->waiters(); }

  /// For names (observe/named_place.hpp).
  friend std::pair<const void*, std::size_t> inner_place(const timed_line& l) noexcept { return {l.core_, sizeof(core)}; }

 protected:
  using core = timed_core<Shape, Clock, Sync>;
  using request = typename core::request;

  /// The arguments of the shape's constructor follow the clock. Allocates the core.
  template <class... Arguments>
  explicit timed_line(clock_handle<Clock> clock, Arguments&&... arguments)
      : core_{new core{clock, std::forward<Arguments>(arguments)...}} {}
  ~timed_line() { core_->leave(); }

  Shape& shape() noexcept { return core_->shape(); }
  const Shape& shape() const noexcept { return core_->shape(); }
  [[nodiscard]] nanoseconds_point now() const noexcept { return core_->clock().now(); }
  /// `f(shape, now)` changes the shape in a way that may let the head of the line pass.
  template <class F>
  void change(F f) {
    core_->change(std::move(f));
  }

  /// n, or std::invalid_argument.
  static count positive(count n) {
    if (n < 1) [[unlikely]]
      refuse(n);
    return n;
  }
  count possible(count n) const {
    if (positive(n) > 1 && n > core_->shape().largest()) [[unlikely]] {  // one can always be had
      refuse(n);
    }
    return n;
  }

 private:
  using blocking = blocking_wait<core, request>;

  [[noreturn]] static void refuse(count n) {
    throw std::invalid_argument{std::string{"penstock::"} + std::string{Shape::name} + ": n is " + std::to_string(n) +
                                (n < 1 ? "" : ", more than one request can ever have")};
  }

  bool take(count n) { return core_->take(positive(n)); }

  result<void> acquire_within(const typename Sync::stop_token& stop, const basic_deadline<Sync>& limit, count n) {
    blocking wait{*core_, possible(n)};
    check_thread();
    return wait.take_result(wait.run_without_polling(stop, limit));
  }

  result<count> and_up_to(const result<void>& first, count n) {
    if (!first) return first.error();
    return n > 1 ? 1 + try_acquire_up_to(n - 1) : count{1};
  }

  template <class Rep, class Period>
  basic_deadline<Sync> after(std::chrono::duration<Rep, Period> timeout) const {
    if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>) {
      return basic_deadline<Sync>::after(timeout);
    } else {
      auto& timers = core_->clock().timers();
      return {saturating_add(timers.now(), saturating_nanoseconds(timeout)), timers};
    }
  }

  // A thread that fires the timers would wait for itself.
  void check_thread() const noexcept {
    assert(timers_of_this_thread == nullptr || static_cast<const void*>(&core_->clock().timers()) != timers_of_this_thread);
  }

  core* const core_;
};

template <class Shape, class Clock, class Sync>
void describe(const timed_line<Shape, Clock, Sync>& l, metric_sink& to) {
  to.kind(Shape::name);
  to.gauge(metrics::depth, l.waiters());
  to.gauge({"available", "What can be had now; negative while there is a debt."}, l.available());
}

}  // namespace penstock::inline v0_1::detail
