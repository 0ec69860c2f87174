// penstock/combine/settled.hpp: how one child ended: with a value, an error code, or an exception.
//
//   for (penstock::settled<page>& s : co_await when_all_settled(std::move(fetches))) {
//     if (s) keep(*std::move(s));
//     else if (s.error() == errc::timeout) ++late;
//     else log(s.exception());
//   }
//
// Thread safety  as any value. An exception that two threads look at at a time is shared by them.
#pragma once

#include <cassert>
#include <exception>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include <penstock/core/errc.hpp>

namespace penstock::inline v0_1 {

namespace detail {

/// The code of the std::system_error that an exception is; none if it is another.
template <class = void>
[[nodiscard]] std::error_code code_of(const std::exception_ptr& why) noexcept {
  if (why == nullptr) return {};
  try {
    std::rethrow_exception(why);
  } catch (const std::system_error& e) {
    return e.code();
  } catch (...) {
    return {};
  }
}

}  // namespace detail

/// T is std::monostate for a child that gives nothing, std::reference_wrapper for one that gives a reference. A child that gives a result<T>
/// ends with the result's value or with its code.
template <class T>
class [[nodiscard]] settled {
 public:
  using value_type = T;

  template <class... A>
  explicit settled(std::in_place_t, A&&... a) noexcept(std::is_nothrow_constructible_v<T, A...>)
      : how_{std::in_place_index<0>, std::forward<A>(a)...} {}
  explicit settled(std::error_code code) noexcept : how_{std::in_place_index<1>, code} {}
  /// Precondition: why is not null.
  explicit settled(std::exception_ptr why) noexcept : how_{std::in_place_index<2>, std::move(why)} {}

  [[nodiscard]] bool has_value() const noexcept { return how_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  /// Precondition: has_value().
  T& operator*() & noexcept { return assert(has_value()), *std::get_if<0>(&how_); }
  const T& operator*() const& noexcept { return assert(has_value()), *std::get_if<0>(&how_); }
  T&& operator*() && noexcept { return assert(has_value()), std::move(*std::get_if<0>(&how_)); }
  T* operator->() noexcept { return assert(has_value()), std::get_if<0>(&how_); }
  const T* operator->() const noexcept { return assert(has_value()), std::get_if<0>(&how_); }

  /// If there is no value: throws what the child threw, or std::system_error of its code.
  T& value() & { return check(), **this; }
  const T& value() const& { return check(), **this; }
  T&& value() && { return check(), *std::move(*this); }

  /// What the child threw; null if it ended with a value or an error code.
  [[nodiscard]] std::exception_ptr exception() const noexcept {
    const auto* const why = std::get_if<2>(&how_);
    return why != nullptr ? *why : nullptr;
  }
  /// The code that it ended with, also that of a std::system_error that it threw; errc::cancelled if it never began because of a stop request.
  /// No error if it has a value, or threw something else.
  [[nodiscard]] std::error_code error() const noexcept {
    if (const auto* const code = std::get_if<1>(&how_)) return *code;
    return detail::code_of(exception());
  }

 private:
  void check() const {
    if (const auto* const code = std::get_if<1>(&how_)) throw std::system_error{*code};
    if (const auto* const why = std::get_if<2>(&how_)) std::rethrow_exception(*why);
  }

  std::variant<T, std::error_code, std::exception_ptr> how_;
};

}  // namespace penstock::inline v0_1
