// penstock/sync/detail/waitable.hpp: the family of names under which one waits for something that needs no further words.
//
// `Derived` is the owner of the line (wait_operation.hpp), or waited_for() gives it; its nodes are plain ones.
#pragma once

#include <chrono>

#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>

namespace penstock::inline v0_1::detail {

template <class Derived, class Sync>
class waitable {
 public:
  /// Blocks until it has happened; without limit, so it cannot fail.
  void wait() noexcept {
    before_blocking();
    blocking(line()).run();
  }
  /// Also ends when stop is requested, with errc::cancelled; at once if it was before the call.
  result<void> wait(const typename Sync::stop_token& stop) {
    if (!stop.stop_requested()) before_blocking();
    return to_result(blocking(line()).run(stop, never));
  }
  /// Also ends at a deadline, with errc::timeout. What has happened is seen even if the deadline has passed. Throws std::system_error
  /// if the deadline is by a clock whose timer thread cannot be started.
  result<void> wait(const wait_limits& limits) {
    if (!limits.stop.stop_requested()) before_blocking();
    return to_result(blocking(line()).run(limits.stop, limits.deadline));
  }
  /// Never waits: errc::empty if it has not happened.
  result<void> try_wait() noexcept {
    plain_node<Sync> look;
    if (line().try_pass(look)) return to_result(look.how);
    return errc::empty;
  }
  /// Waits at the most for `timeout`: errc::timeout after that, and never before. Negative: as zero.
  template <class Rep, class Period>
  result<void> try_wait_for(std::chrono::duration<Rep, Period> timeout) {
    return wait(wait_limits{.deadline = deadline::after(timeout)});
  }
  result<void> try_wait_until(deadline until) { return wait(wait_limits{.deadline = until}); }

  /// `co_await x.async_wait()` is a result<void>; observes the coroutine's stop token; takes with_timeout, with_stop and via.
  auto async_wait() noexcept { return operation(line()); }

 private:
  // Who waits may have something better to do than to sleep: even if the deadline is near, or has passed, for who polls with short timeouts would
  // otherwise never do it.
  void before_blocking() noexcept {
    if constexpr (requires(Derived& d) { d.assist(); }) static_cast<Derived&>(*this).assist();
  }
  auto& line() noexcept {
    auto& self = static_cast<Derived&>(*this);
    if constexpr (requires { self.waited_for(); }) {
      return self.waited_for();
    } else {
      return self;
    }
  }

  template <class Owner>
  static blocking_wait<Owner, plain_node<Sync>> blocking(Owner& owner) noexcept {
    return blocking_wait<Owner, plain_node<Sync>>{owner};
  }
  template <class Owner>
  static async_operation<Owner, plain_node<Sync>> operation(Owner& owner) noexcept {
    return async_operation<Owner, plain_node<Sync>>{owner};
  }
};

}  // namespace penstock::inline v0_1::detail
