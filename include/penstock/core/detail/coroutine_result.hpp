// penstock/core/detail/coroutine_result.hpp: what a coroutine ends with, and how control passes from one coroutine to another.
#pragma once

#include <cassert>
#include <coroutine>
#include <exception>
#include <type_traits>
#include <utility>
#include <variant>

#include <penstock/core/detail/carried_context.hpp>
#include <penstock/core/detail/work_item.hpp>

namespace penstock::inline v0_1::detail {

/// The value or the exception of a coroutine; the part of a promise that has to differ for void.
template <class T>
class coroutine_result : public traced_promise {
 public:
  template <class U>
    requires std::is_constructible_v<T, U&&>
  void return_value(U&& value) {
    if constexpr (std::is_reference_v<T>) {
      outcome_.template emplace<1>(&value);
    } else {
      outcome_.template emplace<1>(std::forward<U>(value));
    }
  }
  void unhandled_exception() noexcept { outcome_.template emplace<2>(std::current_exception()); }

  [[nodiscard]] bool failed() const noexcept { return outcome_.index() == 2; }
  /// Gives the value away, or throws the exception. Once.
  T take() {
    // Moved out: an exception_ptr that two threads share is released under libstdc++'s own count, which the thread sanitizer cannot see.
    if (outcome_.index() == 2) std::rethrow_exception(std::move(std::get<2>(outcome_)));
    assert(outcome_.index() == 1);
    if constexpr (std::is_reference_v<T>) {
      return static_cast<T>(*std::get<1>(outcome_));
    } else {
      return std::move(std::get<1>(outcome_));
    }
  }
  [[nodiscard]] std::exception_ptr exception() noexcept { return std::move(std::get<2>(outcome_)); }

 private:
  using stored = std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, T>;
  std::variant<std::monostate, stored, std::exception_ptr> outcome_;
};

template <>
class coroutine_result<void> : public traced_promise {
 public:
  void return_void() const noexcept {}
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }

  [[nodiscard]] bool failed() const noexcept { return exception_ != nullptr; }
  void take() {
    if (exception_ != nullptr) std::rethrow_exception(std::move(exception_));
  }
  [[nodiscard]] std::exception_ptr exception() noexcept { return std::move(exception_); }

 private:
  std::exception_ptr exception_;
};

/// A coroutine that can be put on a scheduler's list. It goes on with the trace context that was current when it was set.
class resumption : public work_item {
 public:
  template <class Promise>
  void set(std::coroutine_handle<Promise> handle) noexcept {
    handle_ = handle;
    this->run = [](work_item& item) noexcept { static_cast<resumption&>(item).handle_.resume(); };
    if (capture_trace(handle)) [[unlikely]]
      this->run = [](work_item& item) noexcept { resume_traced<Promise>(static_cast<resumption&>(item).handle_); };
  }
  [[nodiscard]] std::coroutine_handle<> handle() const noexcept { return handle_; }

 private:
  std::coroutine_handle<> handle_;
};

/// What await_suspend() returns to go on with another coroutine on this thread. clang turns that into a jump at every optimisation level;
/// gcc does not below -O2 or under the sanitizers, and a loop of awaits would grow the stack: there the trampoline does it.
[[nodiscard]] inline std::coroutine_handle<> transfer_to(resumption& next) noexcept {
#if defined(__clang__)
  return next.handle();
#else
  trampoline::execute(next);
  return std::noop_coroutine();
#endif
}

/// What awaiting an expression gives.
template <class Awaitable>
decltype(auto) awaiter_of(Awaitable&& awaitable) {
  if constexpr (requires { std::forward<Awaitable>(awaitable).operator co_await(); }) {
    return std::forward<Awaitable>(awaitable).operator co_await();
  } else if constexpr (requires { operator co_await(std::forward<Awaitable>(awaitable)); }) {
    return operator co_await(std::forward<Awaitable>(awaitable));
  } else {
    return std::forward<Awaitable>(awaitable);
  }
}

template <class Awaitable>
using await_result = decltype(awaiter_of(std::declval<Awaitable>()).await_resume());

}  // namespace penstock::inline v0_1::detail
