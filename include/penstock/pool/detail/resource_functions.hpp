// penstock/pool/detail/resource_functions.hpp: how a resource is made and checked: by a plain function or by a coroutine.
#pragma once

#include <concepts>
#include <memory>
#include <new>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>

namespace penstock::inline v0_1 {

/// What a factory may ask for as its parameter.
struct connect_request {
  std::stop_token stop;  ///< requested when the pool is closed
  penstock::deadline
      deadline;  ///< connect_timeout from the beginning; on the thread of an acquire() its deadline, if that is earlier
};

namespace detail {

template <class R>
struct without_task {
  using type = R;
  static constexpr bool is_coroutine = false;
};
template <class R>
struct without_task<task<R>> {
  using type = R;
  static constexpr bool is_coroutine = true;
};
template <class R>
inline constexpr bool holds_result = false;
template <class T>
inline constexpr bool holds_result<result<T>> = true;

template <class F>
  requires(std::is_invocable_v<F&, const connect_request&> || std::is_invocable_v<F&>)
decltype(auto) call_factory(F& f, const connect_request& request) {
  if constexpr (std::is_invocable_v<F&, const connect_request&>) {
    return f(request);
  } else {
    return f();
  }
}
template <class F>
using made_by = decltype(call_factory(std::declval<F&>(), std::declval<const connect_request&>()));

template <class T, class V>
void construct_resource(void* place, V&& made) {
  if constexpr (holds_result<std::remove_cvref_t<V>>) {
    ::new (place) T(std::move(made).value());
  } else {
    ::new (place) T(std::forward<V>(made));
  }
}

/// Makes a T at a place, or throws.
template <class T>
class resource_factory {
 public:
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, resource_factory> &&
             requires(F& f, const connect_request& r) { call_factory(f, r); })
  resource_factory(F&& factory) {
    using stored = std::decay_t<F>;
    using made = made_by<stored>;
    static_assert(!std::is_void_v<made>, "the factory returns the resource, a result<T> of it, or a task of one of these");
    if constexpr (without_task<made>::is_coroutine) {
      begin_ = [f = std::make_shared<stored>(std::forward<F>(factory))](void* place, const connect_request& request) {
        return await<stored>(f, place, request);
      };
    } else {
      call_ = [f = stored(std::forward<F>(factory))](void* place, const connect_request& request) mutable {
        if constexpr (holds_result<made>) {
          construct_resource<T>(place, call_factory(f, request));
        } else {
          ::new (place) T(call_factory(f, request));  // not moved, if it is a T
        }
      };
    }
  }

  [[nodiscard]] bool is_coroutine() const noexcept { return static_cast<bool>(begin_); }
  void call(void* place, const connect_request& request) { call_(place, request); }
  task<> begin(void* place, const connect_request& request) { return begin_(place, request); }

 private:
  template <class F>
  static task<> await(std::shared_ptr<F> f, void* place, connect_request request) {
    auto made = co_await call_factory(*f, request);
    construct_resource<T>(place, std::move(made));
  }

  move_only_function<void(void*, const connect_request&)> call_;
  move_only_function<task<>(void*, const connect_request&)> begin_;
};

/// Tells whether a T still works.
template <class T>
class resource_check {
 public:
  resource_check() = default;
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, resource_check> && std::is_invocable_v<std::decay_t<F>&, T&>)
  resource_check(F&& check) {
    if constexpr (std::same_as<std::invoke_result_t<std::decay_t<F>&, T&>, task<bool>>) {
      begin_ = std::forward<F>(check);
    } else {
      call_ = std::forward<F>(check);
    }
  }

  explicit operator bool() const noexcept { return call_ || begin_; }
  [[nodiscard]] bool is_coroutine() const noexcept { return static_cast<bool>(begin_); }
  bool call(T& resource) { return call_(resource); }
  task<bool> begin(T& resource) { return begin_(resource); }

 private:
  move_only_function<bool(T&)> call_;
  move_only_function<task<bool>(T&)> begin_;
};

}  // namespace detail

}  // namespace penstock::inline v0_1
