// penstock/ext/detail/execution_queries.hpp: what senders, schedulers and receivers ask each other, by objects that stand for the questions.
//
// Each implementation of std::execution has such objects of its own. query_answer, environment_stop_token and receiver_calls are
// specialised for those of one (execution_library.hpp), before anything is connected with it.
#pragma once

#include <exception>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/sending.hpp>
#include <penstock/core/scheduler.hpp>

namespace penstock::inline v0_1 {

namespace execution {

// In the signatures of completions, as std::execution writes them: set_value_t(int), set_error_t(std::exception_ptr), set_stopped_t().
struct set_value_t {};
struct set_error_t {};
struct set_stopped_t {};

/// How far what runs on a scheduler gets without the others there.
enum class forward_progress_guarantee { concurrent, parallel, weakly_parallel };

struct get_stop_token_t {};
/// Asks a receiver's environment.
inline constexpr get_stop_token_t get_stop_token{};

struct get_forward_progress_guarantee_t {};
/// Asks a scheduler.
inline constexpr get_forward_progress_guarantee_t get_forward_progress_guarantee{};

template <class Completion>
struct get_completion_scheduler_t {};
/// Asks the attributes of a sender: where it completes in this way.
template <class Completion>
inline constexpr get_completion_scheduler_t<Completion> get_completion_scheduler{};

}  // namespace execution

namespace detail {

/// What runs on a context has a thread until it returns; what goes on inline has that of somebody else.
template <>
struct query_answer<any_scheduler, execution::get_forward_progress_guarantee_t> {
  static execution::forward_progress_guarantee of(const any_scheduler& s) noexcept {
    return s.is_inline() ? execution::forward_progress_guarantee::weakly_parallel
                         : execution::forward_progress_guarantee::parallel;
  }
};

template <class Scheduler>
struct query_answer<scheduled_attributes<Scheduler>, execution::get_completion_scheduler_t<execution::set_value_t>> {
  static const Scheduler& of(const scheduled_attributes<Scheduler>& a) noexcept { return a.to; }
};

/// Of environments that do not say: nobody requests stop.
struct unstoppable_token {
  static constexpr bool stop_requested() noexcept { return false; }
  static constexpr bool stop_possible() noexcept { return false; }
};

template <class Environment>
struct environment_stop_token {
  static auto of(const Environment& e) noexcept {
    if constexpr (requires { e.query(execution::get_stop_token); }) {
      return e.query(execution::get_stop_token);
    } else {
      return unstoppable_token{};
    }
  }
};

/// How a receiver is told, and asked. An implementation has functions for it, and its own receivers need not let others at their members.
template <class Receiver>
struct receiver_calls {
  template <class... Values>
  static void set_value(Receiver& r, Values&&... values) noexcept {
    static_assert(noexcept(std::move(r).set_value(std::forward<Values>(values)...)), "the members of a receiver are noexcept");
    std::move(r).set_value(std::forward<Values>(values)...);
  }
  static void set_error(Receiver& r, std::exception_ptr why) noexcept { std::move(r).set_error(std::move(why)); }
  static void set_stopped(Receiver& r) noexcept { std::move(r).set_stopped(); }

  [[nodiscard]] static decltype(auto) environment(const Receiver& r) noexcept {
    if constexpr (requires { r.get_env(); }) {
      return r.get_env();
    } else {
      struct says_nothing {};
      return says_nothing{};
    }
  }
};

template <class Receiver>
[[nodiscard]] auto receiver_stop_token(const Receiver& r) noexcept {
  using environment = std::remove_cvref_t<decltype(receiver_calls<Receiver>::environment(r))>;
  return environment_stop_token<environment>::of(receiver_calls<Receiver>::environment(r));
}

template <class Receiver>
using receiver_token = decltype(receiver_stop_token(std::declval<const Receiver&>()));

}  // namespace detail

}  // namespace penstock::inline v0_1
