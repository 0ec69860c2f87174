// penstock/core/detail/attempt.hpp: one call of a user's function that may have to be called again: how it is called, and how it ended.
//
// The function is called as f() or, if it takes one, f(std::stop_token); what it gives may be an awaitable, which its caller awaits. Where it gives
// T, an attempt keeps a result<T>, for it may have ended by its deadline; where it gives a result, that. A std::expected is such a T, but fails with its
// error.
#pragma once

#include <concepts>
#include <exception>
#include <optional>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/attempt_failure.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>

namespace penstock::inline v0_1::detail {

template <class F>
concept takes_stop_token = std::invocable<F&, std::stop_token>;

template <class F>
decltype(auto) call_with_stop(F& f, [[maybe_unused]] const std::stop_token& stop) {
  if constexpr (takes_stop_token<F>) {
    return f(stop);
  } else {
    return f();
  }
}

/// What the call gives, and what that gives when it is awaited.
template <class F>
using attempt_result = decltype(call_with_stop(std::declval<F&>(), std::declval<const std::stop_token&>()));
template <class F>
struct attempt_value_of {
  using type = attempt_result<F>;
};
template <class F>
  requires awaitable<attempt_result<F>>
struct attempt_value_of<F> {
  using type = await_result<attempt_result<F>>;
};
template <class F>
using attempt_value = typename attempt_value_of<F>::type;

/// A std::expected with the error that a result has.
template <class R>
concept expected_with_code = expected_like<R> && std::same_as<typename R::error_type, std::error_code>;

/// What a function that gives R would give as an error: thrown where it has no other way.
template <class R>
R given_as_error(std::error_code error, const char* what) {
  if constexpr (is_result<R>) {
    return error;
  } else if constexpr (expected_with_code<R>) {
    return R(typename R::unexpected_type(error));
  } else {
    throw std::system_error{error, what};
  }
}

/// How one attempt ended.
template <class R>
class attempt {
 public:
  using value = limited<R>;

  /// Calls f, and keeps what it gives or throws. At `until` stop is requested of it, if it takes a stop token; if it then ends with errc::cancelled,
  /// or another std::errc::operation_canceled, it has failed with errc::timeout. Throws what arming a timer throws: then f was not called.
  template <class F>
  void call(F& f, const std::stop_token& stop, const deadline& until) {
    if constexpr (takes_stop_token<F>) {
      if (!until.is_never()) {
        call_until(f, stop, until);
        return;
      }
    }
    keep([&]() -> decltype(auto) { return call_with_stop(f, stop); });
  }
  template <class Get>
  void keep(Get get) noexcept {
    try {
      if constexpr (std::is_void_v<R>) {
        get();
        value_.emplace();
      } else {
        value_.emplace(get());
      }
    } catch (...) {
      thrown_ = std::current_exception();
    }
  }
  void keep_thrown() noexcept { thrown_ = std::current_exception(); }
  void keep_value(value v) { value_.emplace(std::move(v)); }

  [[nodiscard]] bool failed() const noexcept {
    if (thrown_ != nullptr || !value_->has_value()) return true;
    if constexpr (expected_like<R>) return !(*value_)->has_value();
    return false;
  }
  /// Of the `number`-th attempt, which failed. Of an expected with another type of error no more is told than that.
  [[nodiscard]] attempt_failure failure(unsigned number) const {
    if (thrown_ != nullptr) return {thrown_, {}, number};
    if (!value_->has_value()) return {nullptr, value_->error(), number};
    if constexpr (expected_with_code<R>) return {nullptr, (*value_)->error(), number};
    return {nullptr, {}, number};
  }
  /// Once.
  value take() {
    if (thrown_ != nullptr) std::rethrow_exception(std::move(thrown_));
    return std::move(*value_);
  }
  /// The same as f gives it: an error where f gives no result is thrown as a std::system_error.
  R take_plain() {
    if constexpr (std::is_same_v<value, R>) {
      return take();
    } else {
      value ended = take();
      if constexpr (expected_with_code<R>) {
        if (!ended) return given_as_error<R>(ended.error(), "");
      }
      return static_cast<R>(std::move(ended).value());
    }
  }

 private:
  template <class F>
  void call_until(F& f, const std::stop_token& stop, const deadline& until) {
    task_limit limit;
    const std::stop_callback stopped{stop, task_limit::on_stop{&limit}};
    std::optional<armed_timer<dependent<task_limit, F>>> timer;
    if (until.passed()) {
      limit.interrupt(outcome::timeout);
    } else {
      timer.emplace(until.queue() != nullptr ? *until.queue() : std_sync::steady_timers(), until.when(), limit);
    }
    keep([&]() -> decltype(auto) { return f(limit.get_stop_token()); });
    if (!failed() || !limit.timed_out(failure(0).code())) return;
    thrown_ = nullptr;
    value_.emplace(errc::timeout);
  }

  std::optional<value> value_;
  std::exception_ptr thrown_;
};

}  // namespace penstock::inline v0_1::detail
