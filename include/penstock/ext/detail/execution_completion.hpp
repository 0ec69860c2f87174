// penstock/ext/detail/execution_completion.hpp: tells a receiver what became of a wait, and passes on to the wait the stop requests that come from
// the receiver's side.
#pragma once

#include <exception>
#include <optional>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/detail/execution_queries.hpp>

namespace penstock::inline v0_1::detail {

template <class Value>
[[nodiscard]] bool was_cancelled([[maybe_unused]] const Value& v) noexcept {
  if constexpr (is_result<Value>) {
    return !v && v.error() == errc::cancelled;
  } else {
    return false;
  }
}

/// Tells of what take() gives or throws. The receiver, and whatever holds it, may be gone then. Nothing is told inside a catch clause: what a receiver
/// goes on with may take long, and use exceptions of its own.
template <class Receiver, class Take, class Calls = receiver_calls<Receiver>>
void complete_receiver(Receiver& receiver, Take take) noexcept {
  std::exception_ptr thrown;
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Take&>>) {
      take();
      Calls::set_value(receiver);
    } else {
      decltype(auto) value = take();
      if (was_cancelled(value)) {
        Calls::set_stopped(receiver);
      } else {
        Calls::set_value(receiver, std::forward<decltype(value)>(value));
      }
    }
    return;
  } catch (const std::system_error& e) {
    if (e.code() != errc::cancelled) thrown = std::current_exception();
  } catch (...) {
    thrown = std::current_exception();
  }
  if (thrown != nullptr) {
    Calls::set_error(receiver, std::move(thrown));
  } else {
    Calls::set_stopped(receiver);
  }
}

/// Whether a token says by its type that stop is never requested.
template <class Token>
concept never_stopped = requires { requires !Token::stop_possible(); };

template <class Token, class F>
struct stop_callback_type {
  using type = typename Token::template callback_type<F>;
};
template <class F>
struct stop_callback_type<std::stop_token, F> {
  using type = std::stop_callback<F>;
};

/// Calls F when stop is requested, from listen() until reset(), which waits for a call on another thread. F may lead to reset(), and destroy *this.
template <class Token, class F>
class stop_listener {
 public:
  void listen(Token token, F f) {
    if (token.stop_possible()) callback_.emplace(std::move(token), std::move(f));
  }
  void reset() noexcept { callback_.reset(); }

 private:
  std::optional<typename stop_callback_type<Token, F>::type> callback_;
};
template <never_stopped Token, class F>
class stop_listener<Token, F> {
 public:
  void listen(Token, F) noexcept {}
  void reset() noexcept {}
};

/// What a wait that takes nothing but a std::stop_token is given in place of another token.
template <class Token>
class stop_relay {
 public:
  /// Throws std::bad_alloc.
  [[nodiscard]] std::stop_token token_for(const Token& token) {
    if (!token.stop_possible()) return {};
    source_.emplace();
    std::stop_token relayed = source_->get_token();
    listener_.listen(token, request{this});
    return relayed;
  }
  void reset() noexcept { listener_.reset(); }

 private:
  struct request {
    stop_relay* relay;
    void operator()() const noexcept {
      std::stop_source here{*relay->source_};  // a copy: the wait may end in here, and *relay with it
      here.request_stop();
    }
  };

  std::optional<std::stop_source> source_;
  stop_listener<Token, request> listener_;
};
template <never_stopped Token>
class stop_relay<Token> {
 public:
  [[nodiscard]] std::stop_token token_for(const Token&) noexcept { return {}; }
  void reset() noexcept {}
};
template <>
class stop_relay<std::stop_token> {
 public:
  [[nodiscard]] std::stop_token token_for(std::stop_token token) noexcept { return token; }
  void reset() noexcept {}
};

}  // namespace penstock::inline v0_1::detail
