// penstock/combine/settled.hpp: how something ended, whatever it was: with a value or with an exception.
//
//   for (auto& page : co_await penstock::map_concurrent_settled(urls, penstock::limit(10), fetch)) {
//     if (page.succeeded()) store(page.value());
//     else log(page.exception());
//   }
//
// Thread safety  as any value; the exception belongs to one thread at a time.
#pragma once

#include <exception>
#include <type_traits>
#include <utility>
#include <variant>

#include <penstock/core/detail/result_operations.hpp>

namespace penstock::inline v0_1 {

/// T is an object type or void. Of a result<U> that holds an error that is the value; succeeded() is false then.
template <class T>
class [[nodiscard]] settled {
  using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

 public:
  using value_type = T;

  template <class... A>
    requires std::is_constructible_v<stored, A...>
  explicit settled(std::in_place_t, A&&... a) : outcome_{std::in_place_index<0>, std::forward<A>(a)...} {}
  explicit settled(std::exception_ptr why) noexcept : outcome_{std::in_place_index<1>, std::move(why)} {}

  /// Neither an exception nor a result with an error.
  [[nodiscard]] bool succeeded() const noexcept {
    if constexpr (detail::is_result<T>) {
      return outcome_.index() == 0 && std::get_if<0>(&outcome_)->has_value();
    } else {
      return outcome_.index() == 0;
    }
  }
  [[nodiscard]] bool has_exception() const noexcept { return outcome_.index() == 1; }

  /// The exception; null if there is none.
  [[nodiscard]] std::exception_ptr exception() const noexcept {
    return has_exception() ? *std::get_if<1>(&outcome_) : std::exception_ptr{};
  }
  /// The value; throws the exception if there is one.
  std::add_lvalue_reference_t<stored> value() & {
    check();
    return *std::get_if<0>(&outcome_);
  }
  const stored& value() const& {
    check();
    return *std::get_if<0>(&outcome_);
  }
  stored&& value() && {
    check();
    return std::move(*std::get_if<0>(&outcome_));
  }

 private:
  void check() const {
    if (has_exception()) std::rethrow_exception(*std::get_if<1>(&outcome_));
  }

  std::variant<stored, std::exception_ptr> outcome_;
};

}  // namespace penstock::inline v0_1
