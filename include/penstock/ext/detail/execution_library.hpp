// penstock/ext/detail/execution_library.hpp: which implementation of std::execution it is (stdexec.hpp, beman_execution.hpp or std_execution.hpp), its tags on what is
// penstock's, and its questions to them (execution_queries.hpp).
//
// What is built on it lies in an inline namespace named after the implementation.
#pragma once

#include <concepts>
#include <exception>
#include <type_traits>
#include <utility>

#if defined(PENSTOCK_STD_EXECUTION)
#include <execution>
#define PENSTOCK_DETAIL_EXECUTION over_std_execution
#elif defined(PENSTOCK_BEMAN_EXECUTION)
#include <beman/execution/execution.hpp>
#define PENSTOCK_DETAIL_EXECUTION over_beman_execution
#else
#include <stdexec/execution.hpp>
#define PENSTOCK_DETAIL_EXECUTION over_stdexec
#endif

#include <penstock/core/detail/sending.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/ext/detail/execution_queries.hpp>

namespace penstock::inline v0_1 {

namespace detail::inline PENSTOCK_DETAIL_EXECUTION {

#if defined(PENSTOCK_STD_EXECUTION)
namespace library {
using namespace ::std::execution;
using ::std::get_stop_token;
using ::std::get_stop_token_t;
using ::std::never_stop_token;
}  // namespace library
#elif defined(PENSTOCK_BEMAN_EXECUTION)
namespace library = ::beman::execution;
#else
namespace library = ::stdexec;
#endif

// Renamed by P4154; stdexec has the old names all the time.
#if defined(PENSTOCK_STD_EXECUTION) || defined(PENSTOCK_BEMAN_EXECUTION)
using library_sender_tag = library::sender_tag;
using library_receiver_tag = library::receiver_tag;
using library_operation_state_tag = library::operation_state_tag;
using library_scheduler_tag = library::scheduler_tag;
#else
using library_sender_tag = library::sender_t;
using library_receiver_tag = library::receiver_t;
using library_operation_state_tag = library::operation_state_t;
using library_scheduler_tag = library::scheduler_t;
#endif

}  // namespace detail::inline PENSTOCK_DETAIL_EXECUTION

namespace execution {

struct operation_state_tag : detail::library_operation_state_tag {};
struct scheduler_tag : detail::library_scheduler_tag {};

}  // namespace execution

namespace detail {

template <class Scheduler>
struct stated_completions<schedule_awaiter<Scheduler>> {
  using type = library::completion_signatures<library::set_value_t(), library::set_stopped_t()>;
};

template <class Environment>
using library_token = std::remove_cvref_t<decltype(library::get_stop_token(std::declval<const Environment&>()))>;

// Where an environment does not say, the implementation answers that stop is never requested: those may be of penstock's own kind.
template <class Environment>
  requires(!std::same_as<library_token<Environment>, library::never_stop_token>)
struct environment_stop_token<Environment> {
  static library_token<Environment> of(const Environment& e) noexcept { return library::get_stop_token(e); }
};

template <class Receiver>
  requires std::derived_from<typename Receiver::receiver_concept, library_receiver_tag>
struct receiver_calls<Receiver> {
  template <class... Values>
  static void set_value(Receiver& r, Values&&... values) noexcept {
    library::set_value(std::move(r), std::forward<Values>(values)...);
  }
  static void set_error(Receiver& r, std::exception_ptr why) noexcept { library::set_error(std::move(r), std::move(why)); }
  static void set_stopped(Receiver& r) noexcept { library::set_stopped(std::move(r)); }
  [[nodiscard]] static decltype(auto) environment(const Receiver& r) noexcept { return library::get_env(r); }
};

template <>
struct query_answer<any_scheduler, library::get_forward_progress_guarantee_t> {
  static library::forward_progress_guarantee of(const any_scheduler& s) noexcept {
    return s.is_inline() ? library::forward_progress_guarantee::weakly_parallel : library::forward_progress_guarantee::parallel;
  }
};

template <class Scheduler>
struct query_answer<scheduled_attributes<Scheduler>, library::get_completion_scheduler_t<library::set_value_t>> {
  static const Scheduler& of(const scheduled_attributes<Scheduler>& a) noexcept { return a.to; }
};

}  // namespace detail

}  // namespace penstock::inline v0_1
