// penstock/ext/detail/connected_wait.hpp: a wait of the library's own that tells a receiver, in place of a coroutine.
//
// The awaiter that a coroutine's frame would hold lies in the operation state, and is begun by start(). Stop requests of a std::stop_token are its own
// affair; those of another kind of token interrupt it. What begin() says of the coroutine's frame holds for *this: once it stands in line it may be gone.
#pragma once

#include <memory>
#include <new>
#include <stop_token>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/limited_task.hpp>
#include <penstock/core/detail/sending.hpp>
#include <penstock/core/detail/wait_queue.hpp>
#include <penstock/ext/detail/execution_completion.hpp>
#include <penstock/ext/detail/execution_queries.hpp>

namespace penstock::inline v0_1::detail {

struct any_waiter {
  void go_on() noexcept;
};
/// What can be begun without a coroutine, and says that this is all that there is to it: others (the join of a group) do more for who awaits them.
template <class Operation>
concept begins_by_itself =
    std::is_base_of_v<sending<Operation>, Operation> &&
    requires(decltype(awaiter_of(std::declval<Operation>()))& awaiter, any_waiter& w, const std::stop_token& stop) {
      { awaiter.begin(w, stop) } -> std::same_as<bool>;
    };

template <class Operation, class Receiver>
  requires begins_by_itself<Operation>
class connected_sender<Operation, Receiver> {
  using awaiter_type = decltype(awaiter_of(std::declval<Operation>()));
  using token_type = receiver_token<Receiver>;

 public:
  using operation_state_concept = execution::operation_state_tag;

  connected_sender(Operation&& o, Receiver&& r) : receiver_(std::move(r)), operation_(std::move(o)) {}
  connected_sender(connected_sender&&) = delete;
  ~connected_sender() {
    if (made_) std::destroy_at(&awaiter_);
  }

  void start() & noexcept {
    bool waits = false;
    std::exception_ptr failed;
    try {
      token_type token = receiver_stop_token(receiver_);
      if constexpr (!joined) {
        if (!has_own_stop() && token.stop_requested()) {
          receiver_calls<Receiver>::set_stopped(receiver_);
          return;
        }
      }
      ::new (static_cast<void*>(&awaiter_)) awaiter_type(awaiter_of(std::move(operation_)));
      made_ = true;
      waits = begin(std::move(token));  // *this may be gone
    } catch (...) {
      failed = std::current_exception();
    }
    if (waits) return;
    if (failed != nullptr) {
      stop_.reset();
      receiver_calls<Receiver>::set_error(receiver_, std::move(failed));
    } else {
      go_on();
    }
  }

  /// By the awaiter: the wait is over.
  void go_on() noexcept {
    stop_.reset();
    complete_receiver(receiver_, [this]() -> decltype(auto) { return awaiter_.await_resume(); });
  }

 private:
  // A spawned coroutine is asked to stop, and waited for.
  static constexpr bool joined = stoppable_awaitable<Operation>;
  static constexpr bool interrupted =
      !joined && !std::same_as<token_type, std::stop_token> && requires(awaiter_type& a) { a.interrupt(outcome::cancelled); };

  struct end_early {
    connected_sender* self;
    void operator()() const noexcept {
      if constexpr (joined) {
        self->operation_.request_stop();
      } else if constexpr (interrupted) {
        self->awaiter_.interrupt(outcome::cancelled);
      }
    }
  };

  [[nodiscard]] bool has_own_stop() noexcept {
    if constexpr (requires { operation_.options(); }) {
      return operation_.options().stop.has_value();
    } else {
      return false;
    }
  }
  bool begin(token_type token) {
    if constexpr (joined || interrupted) {
      if (!has_own_stop()) stop_.listen(std::move(token), end_early{this});
      return awaiter_.begin(*this, std::stop_token{});
    } else {
      return awaiter_.begin(*this, has_own_stop() ? std::stop_token{} : stop_.token_for(std::move(token)));
    }
  }

  Receiver receiver_;
  Operation operation_;  // holds the options, which the awaiter refers to
  union {
    awaiter_type awaiter_;
  };
  bool made_ = false;
  [[no_unique_address]] std::conditional_t<joined || interrupted, stop_listener<token_type, end_early>, stop_relay<token_type>>
      stop_;
};

}  // namespace penstock::inline v0_1::detail
