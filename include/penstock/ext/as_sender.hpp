// penstock/ext/as_sender.hpp: whatever can be awaited, as a sender of stdexec's (or another implementation's) with values and errors in channels of their own.
//
//   auto shipped = penstock::as_sender(orders.async_pop() | penstock::with_timeout(50ms))
//                | stdexec::then([](order o) { return ship(o); })                               // only with an order
//                | stdexec::upon_error([](auto why) { ... });                                   // a std::error_code or a std::exception_ptr
//
// What it completes with, in place of a result<T> that co_await would give: set_value(T), of result<void> set_value(); or set_error(std::error_code), which
// is how when_all() and others hear of it and stop the rest; errc::cancelled is set_stopped(), and what was thrown set_error(std::exception_ptr).
// Of what gives no result the value is the same. Everything else as without it (execution.hpp). It also takes what is no sender by itself:
// awaitables of other libraries, and task_group::join().
#pragma once

#include <concepts>
#include <exception>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/limited_task.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/detail/execution_library.hpp>
#include <penstock/ext/execution.hpp>

namespace penstock::inline v0_1 {

namespace detail::inline PENSTOCK_DETAIL_EXECUTION {

template <class Value>
struct split_signatures {
  using type = library::completion_signatures<library::set_value_t(Value), library::set_error_t(std::exception_ptr),
                                              library::set_stopped_t()>;
};
template <>
struct split_signatures<void> {
  using type =
      library::completion_signatures<library::set_value_t(), library::set_error_t(std::exception_ptr), library::set_stopped_t()>;
};
template <class T>
struct split_signatures<result<T>> {
  using type = library::completion_signatures<library::set_value_t(T), library::set_error_t(std::error_code),
                                              library::set_error_t(std::exception_ptr), library::set_stopped_t()>;
};
template <>
struct split_signatures<result<void>> {
  using type = library::completion_signatures<library::set_value_t(), library::set_error_t(std::error_code),
                                              library::set_error_t(std::exception_ptr), library::set_stopped_t()>;
};

template <class Receiver>
struct splitting_receiver {
  using receiver_concept = library_receiver_tag;

  void set_value() noexcept { library::set_value(std::move(to)); }
  template <class Value>
  void set_value(Value&& value) noexcept {
    if constexpr (is_result<std::remove_cvref_t<Value>>) {
      if (!value) {
        library::set_error(std::move(to), value.error());
      } else if constexpr (std::is_void_v<typename std::remove_cvref_t<Value>::value_type>) {
        library::set_value(std::move(to));
      } else {
        library::set_value(std::move(to), *std::forward<Value>(value));
      }
    } else {
      library::set_value(std::move(to), std::forward<Value>(value));
    }
  }
  void set_error(std::exception_ptr why) noexcept { library::set_error(std::move(to), std::move(why)); }
  void set_stopped() noexcept { library::set_stopped(std::move(to)); }
  [[nodiscard]] decltype(auto) get_env() const noexcept { return library::get_env(to); }

  Receiver to;
};

template <class Awaitable>
class [[nodiscard]] sender_of {
 public:
  using sender_concept = library_sender_tag;
  template <class Self, class... Environment>
  [[nodiscard]] static consteval auto get_completion_signatures() noexcept {
    return typename split_signatures<await_result<Awaitable>>::type{};
  }

  explicit sender_of(Awaitable a) : awaited_{std::move(a)} {}

  template <class Receiver>
  connected_sender<Awaitable, splitting_receiver<Receiver>> connect(Receiver r) && {
    return connected_sender<Awaitable, splitting_receiver<Receiver>>{std::move(awaited_),
                                                                     splitting_receiver<Receiver>{std::move(r)}};
  }

 private:
  Awaitable awaited_;
};

}  // namespace detail::inline PENSTOCK_DETAIL_EXECUTION

inline namespace PENSTOCK_DETAIL_EXECUTION {

/// Takes what it is given: it is connected once.
template <class Awaitable>
  requires(!std::is_lvalue_reference_v<Awaitable> && detail::awaitable<Awaitable>)
[[nodiscard]] auto as_sender(Awaitable&& awaitable) {
  return detail::sender_of<std::remove_cv_t<Awaitable>>{std::move(awaitable)};
}

}  // namespace PENSTOCK_DETAIL_EXECUTION

}  // namespace penstock::inline v0_1
