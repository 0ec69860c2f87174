// penstock/ext/detail/execution_signatures.hpp: how senders complete, as types.
#pragma once

#include <exception>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/sending.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/ext/detail/execution_queries.hpp>

namespace penstock::inline v0_1 {

namespace execution {

template <class... Signatures>
struct completion_signatures {};

}  // namespace execution

namespace detail {

template <class Sender>
struct signatures_of {};

template <class Sender>
  requires std::is_base_of_v<sending<Sender>, Sender>
struct signatures_of<Sender> {
 private:
  template <class Value>
  struct set_value {
    using type = execution::set_value_t(Value);
  };
  template <class Value>
    requires std::is_void_v<Value>
  struct set_value<Value> {
    using type = execution::set_value_t();
  };

 public:
  using type = execution::completion_signatures<typename set_value<await_result<Sender>>::type,
                                                execution::set_error_t(std::exception_ptr), execution::set_stopped_t()>;
};
template <class Scheduler>
struct signatures_of<schedule_awaiter<Scheduler>> {
  using type = execution::completion_signatures<execution::set_value_t(), execution::set_stopped_t()>;
};

template <class Receiver, class Signature>
struct takes;
template <class Receiver, class... Values>
struct takes<Receiver, execution::set_value_t(Values...)> {
  static constexpr bool value = requires(Receiver&& r, Values&&... v) {
    { std::move(r).set_value(std::forward<Values>(v)...) } noexcept;
  };
};
template <class Receiver, class Error>
struct takes<Receiver, execution::set_error_t(Error)> {
  static constexpr bool value = requires(Receiver&& r, Error&& e) {
    { std::move(r).set_error(std::forward<Error>(e)) } noexcept;
  };
};
template <class Receiver>
struct takes<Receiver, execution::set_stopped_t()> {
  static constexpr bool value = requires(Receiver&& r) {
    { std::move(r).set_stopped() } noexcept;
  };
};

template <class Receiver, class Completions>
struct takes_all;
template <class Receiver, class... Signatures>
struct takes_all<Receiver, execution::completion_signatures<Signatures...>> {
  static constexpr bool value = (takes<Receiver, Signatures>::value && ...);
};

}  // namespace detail

}  // namespace penstock::inline v0_1
