// penstock/combine/detail/child_value.hpp: what a child of a combinator gives, as an object that can be kept; and children that hear of a stop request.
#pragma once

#include <concepts>
#include <functional>
#include <type_traits>
#include <utility>
#include <variant>

#include <penstock/core/detail/limited_task.hpp>
#include <penstock/core/result.hpp>
#include <penstock/sync/detail/joined_future.hpp>

namespace penstock::inline v0_1::detail {

template <class Given>
constexpr auto unwrap() noexcept {
  using bare = std::remove_cvref_t<Given>;
  if constexpr (is_result<bare>) {
    return std::type_identity<typename bare::value_type>{};
  } else if constexpr (std::is_lvalue_reference_v<Given>) {
    return std::type_identity<std::reference_wrapper<std::remove_reference_t<Given>>>{};
  } else {
    return std::type_identity<bare>{};
  }
}
/// What awaiting a child gives, without the result<> around it: void, or an object type.
template <class Given>
using unwrapped = typename decltype(unwrap<Given>())::type;
template <class T>
using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;
template <class Given>
inline constexpr bool gives_nothing = std::is_void_v<unwrapped<Given>>;

template <class A>
inline constexpr bool gives_result = is_result<std::remove_cvref_t<await_result<A>>>;
template <class A>
using child_type = unwrapped<await_result<A>>;

/// Whether it has begun by the time that a combinator gets it, so that stopping it needs more than not to begin it.
template <class A>
inline constexpr bool has_begun_elsewhere = is_future<A> || stoppable_awaitable<A>;

/// What is awaited in place of a child: it hears of a stop request to the coroutine that awaits it, and has ended when it is over.
template <class A>
auto joinable(A child, promise_at_stop of_promise) {
  if constexpr (is_future<A>) {
    return joined_future<typename A::value_type>{std::move(child), of_promise};
  } else if constexpr (stoppable_awaitable<A>) {
    return as_task<A>(std::move(child));
  } else {
    static_cast<void>(of_promise);
    return child;
  }
}

}  // namespace penstock::inline v0_1::detail
