// penstock/core/detail/result_operations.hpp: what a result is made of and from, and the operations that chain results.
#pragma once

#include <concepts>
#include <functional>
#include <system_error>
#include <type_traits>
#include <utility>

namespace penstock::inline v0_1 {

template <class T>
class result;

namespace detail {

template <class R>
inline constexpr bool is_result = false;
template <class T>
inline constexpr bool is_result<result<T>> = true;

template <class E>
concept error_like = std::same_as<std::remove_cvref_t<E>, std::error_code> || std::is_error_code_enum_v<std::remove_cvref_t<E>>;

// std::expected is known by its shape and not by its name: C++20 lacks the name, and a class must read the same in every
// translation unit.
template <class E>
concept expected_like = requires {
  typename E::value_type;
  typename E::error_type;
  typename E::unexpected_type;
};
template <class E, class T>
concept expected_of =
    expected_like<E> && std::same_as<typename E::value_type, T> && std::same_as<typename E::error_type, std::error_code>;

// What a result<T> takes as its value: neither an error nor another result or expected, even if T could be made of those, as
// bool can.
template <class U, class T>
concept value_for =
    !is_result<std::remove_cvref_t<U>> && !error_like<U> && !std::same_as<std::remove_cvref_t<U>, std::in_place_t> &&
    (!expected_like<std::remove_cvref_t<U>> || std::same_as<std::remove_cvref_t<U>, T>) && std::is_constructible_v<T, U>;

// What result<T> and result<void> share: they differ only in the value.
template <class Self>
struct result_operations {
  /// The same as a std::expected, whose name C++20 lacks: `r.to_expected<std::expected>()`.
  template <template <class, class> class Expected>
  [[nodiscard]] constexpr auto to_expected() const& {
    return expected<Expected>(self());
  }
  template <template <class, class> class Expected>
  [[nodiscard]] constexpr auto to_expected() && {
    return expected<Expected>(std::move(self()));
  }

  /// The error, or `otherwise` if there is a value: `r.error_or({})`.
  [[nodiscard]] std::error_code error_or(std::error_code otherwise) const noexcept {
    return self().has_value() ? otherwise : self().error();
  }

  /// f(value) or f(), which returns a result, if there is a value; else the error.
  template <class F>
  constexpr auto and_then(F&& f) & {
    return chain(self(), std::forward<F>(f));
  }
  template <class F>
  constexpr auto and_then(F&& f) const& {
    return chain(self(), std::forward<F>(f));
  }
  template <class F>
  constexpr auto and_then(F&& f) && {
    return chain(std::move(self()), std::forward<F>(f));
  }

  /// A result of f(value) or f() if there is a value; else the error.
  template <class F>
  constexpr auto transform(F&& f) & {
    return mapped(self(), std::forward<F>(f));
  }
  template <class F>
  constexpr auto transform(F&& f) const& {
    return mapped(self(), std::forward<F>(f));
  }
  template <class F>
  constexpr auto transform(F&& f) && {
    return mapped(std::move(self()), std::forward<F>(f));
  }

  /// *this if there is a value; else f(error), which returns a result of the same type.
  template <class F>
  constexpr Self or_else(F&& f) const& {
    return self().has_value() ? Self(self()) : std::invoke(std::forward<F>(f), self().error());
  }
  template <class F>
  constexpr Self or_else(F&& f) && {
    return self().has_value() ? Self(std::move(self())) : std::invoke(std::forward<F>(f), self().error());
  }

 private:
  template <template <class, class> class Expected, class R>
  static constexpr auto expected(R&& r) {
    using type = Expected<typename Self::value_type, std::error_code>;
    if (!r.has_value()) return type(typename type::unexpected_type(r.error()));
    if constexpr (std::is_void_v<typename Self::value_type>) {
      return type();
    } else {
      return type(std::in_place, *std::forward<R>(r));
    }
  }

  constexpr Self& self() noexcept { return static_cast<Self&>(*this); }
  constexpr const Self& self() const noexcept { return static_cast<const Self&>(*this); }

  template <class R, class F>
  static constexpr decltype(auto) call(R&& r, F&& f) {
    if constexpr (std::is_void_v<typename Self::value_type>) {
      return std::invoke(std::forward<F>(f));
    } else {
      return std::invoke(std::forward<F>(f), *std::forward<R>(r));
    }
  }
  template <class R, class F>
  static constexpr auto chain(R&& r, F&& f) {
    using next = std::remove_cvref_t<decltype(call(std::forward<R>(r), std::forward<F>(f)))>;
    static_assert(is_result<next>, "and_then needs a function that returns a result");
    if (!r.has_value()) return next(r.error());
    return next(call(std::forward<R>(r), std::forward<F>(f)));
  }
  template <class R, class F>
  static constexpr auto mapped(R&& r, F&& f) {
    using value = std::remove_cv_t<decltype(call(std::forward<R>(r), std::forward<F>(f)))>;
    if (!r.has_value()) return result<value>(r.error());
    if constexpr (std::is_void_v<value>) {
      call(std::forward<R>(r), std::forward<F>(f));
      return result<value>();
    } else {
      return result<value>(std::in_place, call(std::forward<R>(r), std::forward<F>(f)));
    }
  }
};

}  // namespace detail
}  // namespace penstock::inline v0_1
