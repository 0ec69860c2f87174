// penstock/ext/detail/asio_outcome.hpp: what a coroutine gets that awaits an operation of Asio's, by the signature of its handlers (use_task.hpp).
#pragma once

#include <exception>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>

#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/detail/asio_library.hpp>

namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO {

template <class... Values>
struct asio_values {
  using type = std::tuple<Values...>;
};
template <class Value>
struct asio_values<Value> {
  using type = Value;
};
template <>
struct asio_values<> {
  using type = void;
};

/// What awaiting gives, and where a handler leaves it: nothing is left if it was destroyed uncalled.
template <class Signature>
class asio_outcome;

template <class... Values>
class asio_outcome<void(Values...)> {
 public:
  using type = typename asio_values<Values...>::type;
  template <class... V>
  void set(V&&... values) {
    values_.emplace(std::forward<V>(values)...);
  }
  type take() {
    if (!values_) throw std::system_error{errc::broken_promise};
    if constexpr (sizeof...(Values) == 1) {
      return std::get<0>(*std::move(values_));
    } else if constexpr (sizeof...(Values) > 1) {
      return *std::move(values_);
    }
  }

 private:
  std::optional<std::tuple<Values...>> values_;
};

template <class... Values>
class asio_outcome<void(asio_error_code, Values...)> {
 public:
  using type = result<typename asio_values<Values...>::type>;
  template <class... V>
  void set(const asio_error_code& e, V&&... values) {
    if (e) {
      error_ = from_asio_error(e);
    } else {
      error_ = {};
      values_.emplace(std::forward<V>(values)...);
    }
  }
  type take() {
    if (!values_) return error_;
    if constexpr (sizeof...(Values) == 0) {
      return {};
    } else if constexpr (sizeof...(Values) == 1) {
      return std::get<0>(*std::move(values_));
    } else {
      return *std::move(values_);
    }
  }
  void refuse(errc e) noexcept { error_ = e; }

 private:
  std::error_code error_ = errc::broken_promise;
  std::optional<std::tuple<Values...>> values_;
};

template <class... Values>
class asio_outcome<void(std::exception_ptr, Values...)> : public asio_outcome<void(Values...)> {
 public:
  template <class... V>
  void set(std::exception_ptr e, V&&... values) {
    why_ = std::move(e);
    asio_outcome<void(Values...)>::set(std::forward<V>(values)...);
  }
  typename asio_outcome<void(Values...)>::type take() {
    if (why_ != nullptr) std::rethrow_exception(std::move(why_));
    return asio_outcome<void(Values...)>::take();
  }

 private:
  std::exception_ptr why_;
};

}  // namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO
