// penstock/ext/detail/awaited_sender.hpp: the operation state of another library's sender in a coroutine's frame, and the receiver that lets it go on.
#pragma once

#include <coroutine>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stop_token>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <penstock/core/detail/async_wait.hpp>
#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/ext/detail/execution_library.hpp>

namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_EXECUTION {

/// What the sender may ask of the coroutine that awaits it.
struct coroutine_environment {
  [[nodiscard]] const std::stop_token& query(const library::get_stop_token_t&) const noexcept { return stop; }
  [[nodiscard]] any_scheduler query(const library::get_scheduler_t&) const noexcept { return where; }

  std::stop_token stop;
  any_scheduler where;
};

template <class... Values>
using decayed_values = std::tuple<std::decay_t<Values>...>;

template <class... Ways>
struct only_way {
  static_assert(sizeof...(Ways) <= 1, "the sender completes with values in more than one way: put into_variant() around it");
  using type = std::tuple<>;
};
template <class Way>
struct only_way<Way> {
  using type = Way;
};
/// The values of a sender, as a tuple.
template <class Sender>
using values_of_sender = typename library::value_types_of_t<Sender, coroutine_environment, decayed_values, only_way>::type;

template <class Error>
[[nodiscard]] std::exception_ptr as_exception(Error&& e) noexcept {
  using type = std::decay_t<Error>;
  if constexpr (std::is_same_v<type, std::exception_ptr>) {
    return std::forward<Error>(e);
  } else if constexpr (std::is_same_v<type, std::error_code>) {
    return std::make_exception_ptr(std::system_error{e});
  } else {
    return std::make_exception_ptr(std::forward<Error>(e));
  }
}

template <class Sender>
class sender_awaiter {
  using values = values_of_sender<Sender>;
  struct receiver {
    using receiver_concept = library_receiver_tag;

    template <class... Values>
    void set_value(Values&&... v) noexcept {
      try {
        self->outcome_.template emplace<1>(std::forward<Values>(v)...);
      } catch (...) {
        self->outcome_.template emplace<2>(std::current_exception());
      }
      self->go_on();
    }
    template <class Error>
    void set_error(Error&& e) noexcept {
      self->outcome_.template emplace<2>(as_exception(std::forward<Error>(e)));
      self->go_on();
    }
    void set_stopped() noexcept { self->go_on(); }
    [[nodiscard]] const coroutine_environment& get_env() const noexcept { return *self->environment_; }

    sender_awaiter* self;
  };
  using operation = library::connect_result_t<Sender, receiver>;

 public:
  explicit sender_awaiter(Sender&& s) : sender_{std::move(s)} {}
  sender_awaiter(sender_awaiter&&) = delete;
  ~sender_awaiter() {
    if (connected_) std::destroy_at(&operation_);
  }

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  [[gnu::noinline]] void await_suspend(std::coroutine_handle<Promise> waiting) {
    environment_.emplace(coroutine_environment{stop_token_of(waiting.promise()), scheduler_of(waiting.promise())});
    resumption_.set(waiting);
    ::new (static_cast<void*>(&operation_)) operation(library::connect(std::move(sender_), receiver{this}));
    connected_ = true;
    library::start(operation_);  // the last touch: the coroutine may have gone on
  }
  auto await_resume() {
    if (outcome_.index() == 0) throw std::system_error{make_error_code(errc::cancelled), "penstock::from_sender"};
    if (outcome_.index() == 2) std::rethrow_exception(std::move(std::get<2>(outcome_)));
    if constexpr (std::tuple_size_v<values> == 1) {
      return std::get<0>(std::move(std::get<1>(outcome_)));
    } else if constexpr (std::tuple_size_v<values> > 1) {
      return std::move(std::get<1>(outcome_));
    }
  }

 private:
  void go_on() noexcept {
    const any_scheduler to = environment_->where;  // a copy: the frame may be gone before execute() returns
    if (to.running_here()) {
      trampoline::execute(resumption_);
    } else {
      to.execute(resumption_);
    }
  }

  Sender sender_;
  std::optional<coroutine_environment> environment_;
  resumption resumption_;
  std::variant<std::monostate, values, std::exception_ptr> outcome_;  // nothing: stopped
  union {
    operation operation_;
  };
  bool connected_ = false;
};

/// A sender that has not begun: await it, once.
template <class Sender>
class [[nodiscard]] awaited_sender {
 public:
  template <class S>
  explicit awaited_sender(S&& s) : sender_(std::forward<S>(s)) {}
  awaited_sender(awaited_sender&&) = default;
  awaited_sender& operator=(awaited_sender&&) = default;
  sender_awaiter<Sender> operator co_await() && { return sender_awaiter<Sender>{std::move(sender_)}; }

 private:
  Sender sender_;
};

}  // namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_EXECUTION
