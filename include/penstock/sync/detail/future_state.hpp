// penstock/sync/detail/future_state.hpp: what a promise and its future share: one allocation, counted, with room for one outcome.
//
// States        empty → decided, once: a value, an exception or an error code is written, then `ready` is set, which publishes it. The future's
//               side reads it after a wait on `ready`, and takes it, once.
// Ownership     counted. There is no virtual function: who allocates says how it is destroyed, so that a type derived from this one can keep
//               more in the same allocation (a pool, the callable that computes the value).
// Lifetime      the last of the two sides destroys the state, and with it a value that nobody took, on its own thread and under no lock.
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>
#include <exception>
#include <memory>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include <penstock/core/detail/one_shot.hpp>

namespace penstock::inline v0_1::detail {

enum class waiter_kind : std::uint8_t { thread, coroutine };

template <class T, class Sync = std_sync>
class future_state {
 public:
  using value_type = T;
  using destroy_function = void (*)(future_state&) noexcept;

  /// Born with one owner, who adopts it in a state_ref.
  explicit future_state(destroy_function destroy) noexcept : destroy_{destroy}, owners_{1} {}
  future_state(const future_state&) = delete;
  future_state& operator=(const future_state&) = delete;

  void add_owner() noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }  // relaxed: the caller is an owner
  /// The same before anybody else knows the state.
  void add_first_owner() noexcept {
    // relaxed, both: it is this thread's alone
    owners_.store(owners_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void drop_owner() noexcept {
    // release: what this owner did is done; acquire: pairs with it, for the last one destroys
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy_(*this);
  }

  /// What a derived type knows of the task that computes the outcome.
  struct task_functions {
    /// What a thread that is about to block for the outcome does first, or a coroutine that is about to await it. It may bring the outcome
    /// about, as when a worker runs a task that it waits for and that nobody has begun, or when nobody is left who would.
    void (*assist)(future_state&, waiter_kind) noexcept;
    /// Asks the task to stop; may bring the outcome about. By who holds a share, and keeps it until this returns.
    void (*request_stop)(future_state&) noexcept;
  };
  /// By a derived type, before the state is shared.
  void set_task(const task_functions& functions) noexcept { task_ = &functions; }
  void assist(waiter_kind who) noexcept {
    if (task_ != nullptr && !ready_.is_set()) task_->assist(*this, who);
  }
  void request_stop() noexcept {
    if (task_ != nullptr && !ready_.is_set()) task_->request_stop(*this);
  }
  /// False: whoever gives the outcome knows nothing of a stop request.
  [[nodiscard]] bool has_task() const noexcept { return task_ != nullptr; }

  /// The line of those who wait for the outcome.
  [[nodiscard]] basic_one_shot<Sync>& ready() noexcept { return ready_; }

  /// Makes the value; publish() then lets the other side see it. If making it throws, the state is still empty.
  template <class... Arguments>
  void emplace(Arguments&&... arguments) {
    if constexpr (std::is_reference_v<T>) {
      outcome_.template emplace<1>(std::addressof(arguments)...);
    } else {
      outcome_.template emplace<1>(static_cast<Arguments&&>(arguments)...);
    }
  }
  void publish() noexcept { ready_.set(); }

  // Or one of these, once.
  void set_exception(std::exception_ptr e) noexcept {
    assert(e != nullptr);
    outcome_.template emplace<2>(std::move(e));
    publish();
  }
  void set_error(std::error_code e) noexcept {
    outcome_.template emplace<3>(e);
    publish();
  }
  /// What f() returns, or the exception that it throws.
  template <class F>
  bool set_from(F&& f) noexcept {
    std::exception_ptr failure;
    try {
      if constexpr (std::is_void_v<T>) {
        static_cast<F&&>(f)();
        emplace();
      } else {
        emplace(static_cast<F&&>(f)());
      }
    } catch (...) {
      failure = std::current_exception();
    }
    // Outside the handler: the exception is then the state's alone. Two threads that share one release it under libstdc++'s own count, which
    // the thread sanitizer cannot see.
    if (failure) return set_exception(std::move(failure)), false;
    publish();
    return true;
  }

  /// After `ready`, once: gives the value away, throws the exception, or throws std::system_error.
  T take() {
    if (outcome_.index() == 2) std::rethrow_exception(std::move(std::get<2>(outcome_)));
    if (outcome_.index() == 3) throw std::system_error{std::get<3>(outcome_), "penstock::future"};
    assert(outcome_.index() == 1);
    if constexpr (std::is_reference_v<T>) {
      return static_cast<T>(**std::get_if<1>(&outcome_));
    } else if constexpr (!std::is_void_v<T>) {
      return std::move(*std::get_if<1>(&outcome_));
    }
  }

  /// After `ready`, as often as one likes and by several threads at a time; nobody may take() then. What take() gives, left where it is.
  [[nodiscard]] std::add_lvalue_reference_t<const T> peek() const {
    if (const auto* const e = std::get_if<2>(&outcome_)) std::rethrow_exception(*e);
    if (const auto* const e = std::get_if<3>(&outcome_)) throw std::system_error{*e, "penstock::future"};
    assert(outcome_.index() == 1);
    if constexpr (std::is_reference_v<T>) {
      return **std::get_if<1>(&outcome_);
    } else if constexpr (!std::is_void_v<T>) {
      return *std::get_if<1>(&outcome_);
    }
  }

 private:
  struct nothing {};
  using stored =
      std::conditional_t<std::is_void_v<T>, nothing, std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, T>>;

  const destroy_function destroy_;
  const task_functions* task_ = nullptr;  // null: a promise's
  typename Sync::template atomic<std::uint32_t> owners_;
  basic_one_shot<Sync> ready_;
  std::variant<std::monostate, stored, std::exception_ptr, std::error_code> outcome_;  // published by ready_
};

/// One owner of a state.
template <class State>
class state_ref {
 public:
  state_ref() noexcept = default;
  /// Adopts: does not count.
  explicit state_ref(State* s) noexcept : state_{s} {}
  state_ref(state_ref&& other) noexcept : state_{std::exchange(other.state_, nullptr)} {}
  state_ref& operator=(state_ref&& other) noexcept {
    state_ref gone{std::move(other)};
    std::swap(state_, gone.state_);
    return *this;
  }
  ~state_ref() {
    if (state_ != nullptr) state_->drop_owner();
  }

  /// Another owner.
  [[nodiscard]] state_ref share() const noexcept {
    state_->add_owner();
    return state_ref{state_};
  }
  State* operator->() const noexcept { return state_; }
  State& operator*() const noexcept { return *state_; }
  explicit operator bool() const noexcept { return state_ != nullptr; }

 private:
  State* state_ = nullptr;
};

/// A state that holds nothing else, owned by the result.
template <class T>
[[nodiscard]] state_ref<future_state<T>> make_future_state() {
  using state = future_state<T>;
  return state_ref<state>{new state{[](state& s) noexcept { delete &s; }}};
}

}  // namespace penstock::inline v0_1::detail
