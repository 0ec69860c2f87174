// penstock/stream/detail/ends.hpp: what may stand at an end of a pipeline and is waited for: channels, their endpoints, broadcasts and the like.
#pragma once

#include <concepts>
#include <exception>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/channel/channel.hpp>
#include <penstock/channel/endpoints.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>

namespace penstock::inline v0_1::detail {

template <class Source>
using popped = decltype(std::declval<Source&>().pop(std::declval<const wait_limits&>()));

/// A channel, a receiver, a subscription, a ticker.
template <class Source>
concept poppable = requires { typename popped<Source>::value_type; } &&
                   std::same_as<popped<Source>, result<typename popped<Source>::value_type>>;

/// A channel, a sender.
template <class Target>
concept pushable = requires(Target& t, const wait_limits& limits, typename Target::value_type&& item) {
  { t.push(limits, std::move(item)) } -> std::same_as<result<void>>;
};
/// A broadcast.
template <class Target>
concept publishable = requires(Target& t, const wait_limits& limits, typename Target::value_type&& item) {
  { t.publish(limits, std::move(item)) } -> std::same_as<result<void>>;
};

/// Somebody else's: an lvalue, which must outlive the run.
template <class End>
class held {
  static_assert(std::is_lvalue_reference_v<End>);

 public:
  explicit held(End end) noexcept : end_{&end} {}
  [[nodiscard]] std::remove_reference_t<End>* get() noexcept { return end_; }
  void release() noexcept {}

 private:
  std::remove_reference_t<End>* end_;
};
/// The pipeline's own: a handle that was moved in, and goes away when the pipeline has ended.
template <class End>
  requires std::is_object_v<End>
class held<End> {
 public:
  explicit held(End&& end) : end_{std::move(end)} {}
  /// Null once it was released.
  [[nodiscard]] End* get() noexcept { return end_ ? &*end_ : nullptr; }
  void release() noexcept { end_.reset(); }

 private:
  std::optional<End> end_;
};

// What is closed when one says that an end is.
template <class End>
End& closed_with(End& end) noexcept {
  return end;
}
template <class T, channel_policy Policy>
channel<T, Policy>& closed_with(const sender<T, Policy>& end) noexcept {
  return end.channel();
}
template <class T, channel_policy Policy>
channel<T, Policy>& closed_with(sender<T, Policy>& end) noexcept {
  return end.channel();
}
template <class T, channel_policy Policy>
channel<T, Policy>& closed_with(const receiver<T, Policy>& end) noexcept {
  return end.channel();
}
template <class T, channel_policy Policy>
channel<T, Policy>& closed_with(receiver<T, Policy>& end) noexcept {
  return end.channel();
}

/// Says to whoever is on the other side of `end` why it is closed, if it can be closed for a reason: with the exception, or with the error.
template <class End>
void close_end(End& end, const std::exception_ptr& exception, std::error_code error) noexcept {
  auto& inside = closed_with(end);
  if constexpr (requires { inside.close(exception); }) {
    if (exception != nullptr) return inside.close(exception);
  }
  if constexpr (requires { inside.close(error); }) {
    inside.close(exception != nullptr ? make_error_code(errc::cancelled) : error);
  }
}

}  // namespace penstock::inline v0_1::detail
