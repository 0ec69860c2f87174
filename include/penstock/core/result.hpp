// penstock/core/result.hpp: a value, or the reason why there is none.
//
//   if (auto permit = connections.acquire_permit(limits)) use(*permit);
//   else if (permit.error() == errc::timeout) try_later();
//
// The members are those of std::expected<T, std::error_code>, and under C++23 the two convert into each other. It is a type of
// its own and no alias, so that translation units in C++20 and in C++23 can meet in one program; for that reason nothing here
// depends on the language mode. Left out: transform_error (the type of the error is fixed), unexpected_type (an error converts by
// itself), a member swap (std::swap does), an emplace() that may throw, and conversions between results of different types
// (`return r.error()`).
//
// A trap         `std::expected<bool, std::error_code> e{r}` of a result<bool> takes has_value() for the value, as with anything that
//                tests as a bool. `std::expected<bool, std::error_code> e = r` and r.to_expected<std::expected>() do what is meant.
// Thread safety  as any value.
// Exceptions     value() throws std::system_error of the error. If an assignment throws, *this keeps what it had; only where
//                moving T may throw, and both sides have a value, it is T's own assignment, with T's guarantee.
#pragma once

#include <cassert>
#include <concepts>
#include <memory>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/result_operations.hpp>
#include <penstock/core/errc.hpp>

namespace penstock::inline v0_1 {

/// Trivially copyable and destructible if T is (and can be assigned).
template <class T>
class [[nodiscard]] result : public detail::result_operations<result<T>> {
  static_assert(std::is_object_v<T> && !std::is_array_v<T> && !detail::error_like<T>,
                "a result holds an object that is no error");

  static constexpr bool moves_safely = std::is_nothrow_move_constructible_v<T>;
  static constexpr bool copy_assignable = std::is_copy_constructible_v<T> && (moves_safely || std::is_copy_assignable_v<T>);
  static constexpr bool move_assignable = std::is_move_constructible_v<T> && (moves_safely || std::is_move_assignable_v<T>);

 public:
  using value_type = T;
  using error_type = std::error_code;

  constexpr result() noexcept(std::is_nothrow_default_constructible_v<T>)
    requires std::is_default_constructible_v<T>
      : value_{}, has_value_{true} {}

  template <class U = T>
    requires detail::value_for<U, T>
  constexpr explicit(!std::is_convertible_v<U, T>) result(U&& value) noexcept(std::is_nothrow_constructible_v<T, U>)
      : value_(std::forward<U>(value)), has_value_{true} {}

  template <detail::error_like E>
  constexpr result(E error) noexcept : error_(error), has_value_{false} {}

  template <class... A>
    requires std::is_constructible_v<T, A...>
  constexpr explicit result(std::in_place_t, A&&... a) noexcept(std::is_nothrow_constructible_v<T, A...>)
      : value_(std::forward<A>(a)...), has_value_{true} {}

  template <class E>
    requires detail::expected_of<std::remove_cvref_t<E>, T>
  constexpr result(E&& other) : has_value_{other.has_value()} {
    if (has_value_) {
      std::construct_at(std::addressof(value_), *std::forward<E>(other));
    } else {
      std::construct_at(std::addressof(error_), other.error());
    }
  }
  template <class E>
    requires(detail::expected_of<E, T> && std::is_copy_constructible_v<T>)
  constexpr operator E() const& {
    if (has_value_) return E(std::in_place, value_);
    return typename E::unexpected_type(error_);
  }
  template <class E>
    requires detail::expected_of<E, T>
  constexpr operator E() && {
    if (has_value_) return E(std::in_place, std::move(value_));
    return typename E::unexpected_type(error_);
  }

  constexpr result(const result&)
    requires std::is_trivially_copy_constructible_v<T>
  = default;
  constexpr result(const result& other) noexcept(std::is_nothrow_copy_constructible_v<T>)
    requires(std::is_copy_constructible_v<T> && !std::is_trivially_copy_constructible_v<T>)
      : has_value_{other.has_value_} {
    construct(other);
  }
  constexpr result(result&&)
    requires std::is_trivially_move_constructible_v<T>
  = default;
  constexpr result(result&& other) noexcept(moves_safely)
    requires(std::is_move_constructible_v<T> && !std::is_trivially_move_constructible_v<T>)
      : has_value_{other.has_value_} {
    construct(std::move(other));
  }

  constexpr result& operator=(const result&)
    requires(std::is_trivially_copy_constructible_v<T> && std::is_trivially_copy_assignable_v<T>)
  = default;
  result& operator=(const result& other)
    requires(copy_assignable && !(std::is_trivially_copy_constructible_v<T> && std::is_trivially_copy_assignable_v<T>))
  {
    return assign(other);
  }
  constexpr result& operator=(result&&)
    requires(std::is_trivially_move_constructible_v<T> && std::is_trivially_move_assignable_v<T>)
  = default;
  result& operator=(result&& other) noexcept(moves_safely)
    requires(move_assignable && !(std::is_trivially_move_constructible_v<T> && std::is_trivially_move_assignable_v<T>))
  {
    return assign(std::move(other));
  }

  constexpr ~result()
    requires std::is_trivially_destructible_v<T>
  = default;
  constexpr ~result() { destroy(); }

  [[nodiscard]] constexpr bool has_value() const noexcept { return has_value_; }
  constexpr explicit operator bool() const noexcept { return has_value_; }

  /// Precondition: has_value().
  constexpr T& operator*() & noexcept { return assert(has_value_), value_; }
  constexpr const T& operator*() const& noexcept { return assert(has_value_), value_; }
  constexpr T&& operator*() && noexcept { return assert(has_value_), std::move(value_); }
  constexpr T* operator->() noexcept { return assert(has_value_), std::addressof(value_); }
  constexpr const T* operator->() const noexcept { return assert(has_value_), std::addressof(value_); }

  /// Throws std::system_error of error() if there is no value.
  constexpr T& value() & { return check(), value_; }
  constexpr const T& value() const& { return check(), value_; }
  constexpr T&& value() && { return check(), std::move(value_); }

  template <class U>
  [[nodiscard]] constexpr T value_or(U&& otherwise) const& {
    return has_value_ ? value_ : static_cast<T>(std::forward<U>(otherwise));
  }
  template <class U>
  [[nodiscard]] constexpr T value_or(U&& otherwise) && {
    return has_value_ ? std::move(value_) : static_cast<T>(std::forward<U>(otherwise));
  }

  /// Precondition: !has_value().
  [[nodiscard]] constexpr const std::error_code& error() const noexcept { return assert(!has_value_), error_; }

  /// The arguments must not refer into *this.
  template <class... A>
    requires std::is_nothrow_constructible_v<T, A...>
  constexpr T& emplace(A&&... a) noexcept {
    destroy();
    has_value_ = true;
    return *std::construct_at(std::addressof(value_), std::forward<A>(a)...);
  }

  friend constexpr bool operator==(const result& a, const result& b)
    requires std::equality_comparable<T>
  {
    return a.has_value_ == b.has_value_ && (a.has_value_ ? a.value_ == b.value_ : a.error_ == b.error_);
  }
  template <class U>
    requires(!detail::is_result<U> && !detail::error_like<U> && !detail::expected_of<U, T>)
  friend constexpr bool operator==(const result& a, const U& b) {
    return a.has_value_ && a.value_ == b;
  }
  template <detail::error_like E>
  friend constexpr bool operator==(const result& a, const E& b) {
    return !a.has_value_ && a.error_ == b;
  }

 private:
  constexpr void check() const {
    if (!has_value_) throw std::system_error{error_};
  }
  constexpr void destroy() noexcept {
    if (has_value_) std::destroy_at(std::addressof(value_));
  }
  template <class Other>
  constexpr void construct(Other&& other) {
    if (has_value_) {
      std::construct_at(std::addressof(value_), std::forward<Other>(other).value_);
    } else {
      std::construct_at(std::addressof(error_), other.error_);
    }
  }

  // What is assigned may lie inside the old value, so that goes last.
  template <class Other>
  result& assign(Other&& other) {
    if (!other.has_value_) {
      const std::error_code error = other.error_;
      destroy();
      has_value_ = false;
      std::construct_at(std::addressof(error_), error);
    } else if constexpr (moves_safely) {
      T value(std::forward<Other>(other).value_);  // may throw: nothing has changed yet
      destroy();
      has_value_ = true;
      std::construct_at(std::addressof(value_), std::move(value));
    } else if (has_value_) {
      value_ = std::forward<Other>(other).value_;
    } else {
      const std::error_code error = error_;
      try {
        std::construct_at(std::addressof(value_), std::forward<Other>(other).value_);
      } catch (...) {
        std::construct_at(std::addressof(error_), error);
        throw;
      }
      has_value_ = true;
    }
    return *this;
  }

  union {
    T value_;
    std::error_code error_;
  };
  bool has_value_;
};

/// Done, or the reason why not. Trivially copyable.
template <>
class [[nodiscard]] result<void> : public detail::result_operations<result<void>> {
 public:
  using value_type = void;
  using error_type = std::error_code;

  // The error is not built before there is one: that would cost a call on every success.
  constexpr result() noexcept : none_{}, has_value_{true} {}

  template <detail::error_like E>
  constexpr result(E error) noexcept : error_(error), has_value_{false} {}

  template <class E>
    requires detail::expected_of<std::remove_cvref_t<E>, void>
  constexpr result(E&& other) noexcept : none_{}, has_value_{other.has_value()} {
    if (!has_value_) std::construct_at(std::addressof(error_), other.error());
  }
  template <class E>
    requires detail::expected_of<E, void>
  constexpr operator E() const {
    if (has_value_) return E();
    return typename E::unexpected_type(error_);
  }

  [[nodiscard]] constexpr bool has_value() const noexcept { return has_value_; }
  constexpr explicit operator bool() const noexcept { return has_value_; }
  /// Precondition: has_value().
  constexpr void operator*() const noexcept { assert(has_value_); }
  /// Throws std::system_error of error() if it was not done.
  constexpr void value() const {
    if (!has_value_) throw std::system_error{error_};
  }
  /// Precondition: !has_value().
  [[nodiscard]] constexpr const std::error_code& error() const noexcept { return assert(!has_value_), error_; }
  constexpr void emplace() noexcept { has_value_ = true; }

  friend constexpr bool operator==(const result& a, const result& b) noexcept {
    return a.has_value_ == b.has_value_ && (a.has_value_ || a.error_ == b.error_);
  }
  template <detail::error_like E>
  friend constexpr bool operator==(const result& a, const E& b) {
    return !a.has_value_ && a.error_ == b;
  }

 private:
  struct none {};
  union {
    none none_;
    std::error_code error_;
  };
  bool has_value_;
};

static_assert(std::is_trivially_copyable_v<result<void>>);

}  // namespace penstock::inline v0_1
