// penstock/channel/detail/channel_forms.hpp: one push and one pop in the forms that a caller can choose from: a part of channel.hpp, which
// includes it.
#pragma once

#include <concepts>
#include <optional>
#include <utility>

#include <penstock/channel/channel.hpp>

namespace penstock::inline v0_1 {

template <class T, channel_policy Policy, class Sync>
inline result<void> basic_channel<T, Policy, Sync>::push(const stop_token& stop, T&& item) {
  push_wait wait{*this, this, &item};
  return wait.result_of(wait.run(stop, detail::never));
}

template <class T, channel_policy Policy, class Sync>
inline result<void> basic_channel<T, Policy, Sync>::push(const wait_limits& limits, T&& item) {
  push_wait wait{*this, this, &item};
  return wait.result_of(wait.run(limits.stop, limits.deadline));
}

template <class T, channel_policy Policy, class Sync>
inline result<void> basic_channel<T, Policy, Sync>::try_push(T&& item) {
  const detail::ring_step s = push_now(item);
  if (s == detail::ring_step::full && (rules_ != nullptr || tally_ != nullptr)) refused();
  return to_result(s);
}

template <class T, channel_policy Policy, class Sync>
inline result<void> basic_channel<T, Policy, Sync>::push(const T& item)
  requires std::copy_constructible<T>
{
  return push(T(item));
}

template <class T, channel_policy Policy, class Sync>
inline result<void> basic_channel<T, Policy, Sync>::push(const stop_token& stop, const T& item)
  requires std::copy_constructible<T>
{
  return push(stop, T(item));
}

template <class T, channel_policy Policy, class Sync>
inline result<void> basic_channel<T, Policy, Sync>::push(const wait_limits& limits, const T& item)
  requires std::copy_constructible<T>
{
  return push(limits, T(item));
}

template <class T, channel_policy Policy, class Sync>
inline result<void> basic_channel<T, Policy, Sync>::try_push(const T& item)
  requires std::copy_constructible<T>
{
  return try_push(T(item));
}

template <class T, channel_policy Policy, class Sync>
inline result<T> basic_channel<T, Policy, Sync>::pop(const stop_token& stop) {
  pop_wait wait{*this, this};
  return wait.result_of(wait.run(stop, detail::never));
}

template <class T, channel_policy Policy, class Sync>
inline result<T> basic_channel<T, Policy, Sync>::pop(const wait_limits& limits) {
  pop_wait wait{*this, this};
  return wait.result_of(wait.run(limits.stop, limits.deadline));
}

template <class T, channel_policy Policy, class Sync>
inline result<T> basic_channel<T, Policy, Sync>::try_pop() {
  std::optional<T> item;
  switch (pop_now(item)) {
    case detail::ring_step::done:
      return std::move(*item);
    case detail::ring_step::closed:
      return failure();
    default:
      return errc::empty;
  }
}

}  // namespace penstock::inline v0_1
