// penstock/ext/detail/asio_completion.hpp: what an Asio handler is called with when something of penstock's has ended.
//
//   what is awaited gives        the handler's signature
//   result<void>                 void(error_code)                  of one of the library's own waits
//   result<T>                    void(error_code, T)               the same; T{} with an error
//   void, result<void>           void(std::exception_ptr)          of a task, a future and anything else, which may throw
//   T, result<T>                 void(std::exception_ptr, T)       the same; an error is the exception system_error of it
//
// A wait of the library's own that throws gives the code of what was thrown: a std::system_error's, not_enough_memory, errc::exception of others.
// Error codes and system_error are Asio's own types. errc::cancelled becomes asio::error::operation_aborted, by which Asio's users know it.
// A T without a default constructor comes in a std::optional.
#pragma once

#include <concepts>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>
#include <penstock/ext/detail/asio_library.hpp>

namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO {

template <class T>
using asio_argument = std::conditional_t<std::default_initializable<T>, T, std::optional<T>>;

/// A wait of the library's own, which ends with a result.
template <class Awaitable>
concept own_wait = waits_with_options<Awaitable> && is_result<await_result<Awaitable>>;

/// `arguments` from how the awaiting ended, where it may have thrown.
template <class Value>
struct asio_exception_completion {
  static_assert(std::is_void_v<Value> || std::is_object_v<Value>, "a reference cannot be handed to an Asio handler");
  using signature = void(std::exception_ptr, asio_argument<Value>);
  using arguments = std::tuple<std::exception_ptr, asio_argument<Value>>;
  static arguments of(coroutine_result<Value>& ended) {
    if (ended.failed()) return {ended.exception(), asio_argument<Value>{}};
    return {std::exception_ptr{}, ended.take()};
  }
};
template <>
struct asio_exception_completion<void> {
  using signature = void(std::exception_ptr);
  using arguments = std::tuple<std::exception_ptr>;
  static arguments of(coroutine_result<void>& ended) { return {ended.failed() ? ended.exception() : std::exception_ptr{}}; }
};
template <class T>
struct asio_exception_completion<result<T>> {
  using signature = void(std::exception_ptr, asio_argument<T>);
  using arguments = std::tuple<std::exception_ptr, asio_argument<T>>;
  static arguments of(coroutine_result<result<T>>& ended) {
    if (ended.failed()) return {ended.exception(), asio_argument<T>{}};
    result<T> r = ended.take();
    if (!r) return {std::make_exception_ptr(asio_system_error{to_asio_error(r.error())}), asio_argument<T>{}};
    return {std::exception_ptr{}, *std::move(r)};
  }
};
template <>
struct asio_exception_completion<result<void>> {
  using signature = void(std::exception_ptr);
  using arguments = std::tuple<std::exception_ptr>;
  static arguments of(coroutine_result<result<void>>& ended) {
    if (ended.failed()) return {ended.exception()};
    const result<void> r = ended.take();
    return {r ? std::exception_ptr{} : std::make_exception_ptr(asio_system_error{to_asio_error(r.error())})};
  }
};

/// The error code of a wait that threw: there was no thread for its timer, or no memory; or what it waits for has failed with an exception (a channel
/// that was closed with one, a batch), which may be any.
inline std::error_code asio_code_of(std::exception_ptr why) noexcept {
  try {
    std::rethrow_exception(std::move(why));
  } catch (const std::system_error& e) {
    return e.code();
  } catch (const std::bad_alloc&) {
    return std::make_error_code(std::errc::not_enough_memory);
  } catch (...) {
    return errc::exception;
  }
}

template <class Result>
struct asio_code_completion;
template <class T>
struct asio_code_completion<result<T>> {
  using signature = void(asio_error_code, asio_argument<T>);
  using arguments = std::tuple<asio_error_code, asio_argument<T>>;
  static arguments of(coroutine_result<result<T>>& ended) {
    if (ended.failed()) return {to_asio_error(asio_code_of(ended.exception())), asio_argument<T>{}};
    result<T> r = ended.take();
    if (!r) return {to_asio_error(r.error()), asio_argument<T>{}};
    return {asio_error_code{}, *std::move(r)};
  }
};
template <>
struct asio_code_completion<result<void>> {
  using signature = void(asio_error_code);
  using arguments = std::tuple<asio_error_code>;
  static arguments of(coroutine_result<result<void>>& ended) {
    if (ended.failed()) return {to_asio_error(asio_code_of(ended.exception()))};
    const result<void> r = ended.take();
    return {r ? asio_error_code{} : to_asio_error(r.error())};
  }
};

template <class Awaitable>
struct asio_completion_for : asio_exception_completion<await_result<Awaitable>> {};
template <own_wait Awaitable>
struct asio_completion_for<Awaitable> : asio_code_completion<await_result<Awaitable>> {};

/// A handler on its way to its executor, with what it is called with. Its memory there is that of the handler's allocator.
template <class Handler, class Arguments>
struct asio_call {
  using allocator_type = net::associated_allocator_t<Handler>;
  [[nodiscard]] allocator_type get_allocator() const noexcept { return net::get_associated_allocator(handler); }
  void operator()() { std::apply(std::move(handler), std::move(arguments)); }

  Handler handler;
  Arguments arguments;
};

}  // namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO
