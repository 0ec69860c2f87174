// penstock/channel/detail/channel_timed.hpp: pushes and pops that a length or a point of time ends: a channel's pushes and pops with a deadline,
// under the names that the standard has for them.
//
// Thread safety  as the channel, whose base it is.
#pragma once

#include <chrono>
#include <concepts>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/result.hpp>

namespace penstock::inline v0_1::detail {

template <class Channel, class T>
class channel_timed_forms {
 public:
  template <class Rep, class Period>
  result<void> try_push_for(std::chrono::duration<Rep, Period> timeout, T&& item) {
    return self().push({.deadline = deadline::after(timeout)}, std::move(item));
  }
  result<void> try_push_until(deadline until, T&& item) { return self().push({.deadline = until}, std::move(item)); }
  template <class Rep, class Period>
  result<void> try_push_for(std::chrono::duration<Rep, Period> timeout, const T& item)
    requires std::copy_constructible<T>
  {
    return try_push_for(timeout, T(item));
  }
  result<void> try_push_until(deadline until, const T& item)
    requires std::copy_constructible<T>
  {
    return try_push_until(until, T(item));
  }
  template <class Rep, class Period>
  result<T> try_pop_for(std::chrono::duration<Rep, Period> timeout) {
    return self().pop({.deadline = deadline::after(timeout)});
  }
  result<T> try_pop_until(deadline until) { return self().pop({.deadline = until}); }

 private:
  friend Channel;
  channel_timed_forms() = default;
  [[nodiscard]] Channel& self() noexcept { return static_cast<Channel&>(*this); }
};

}  // namespace penstock::inline v0_1::detail
