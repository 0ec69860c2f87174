// penstock/ext/detail/stdexec_queries.hpp: the questions that stdexec's senders, receivers and schedulers ask (execution_queries.hpp).
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include <stdexec/execution.hpp>

#include <penstock/core/detail/sending.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/ext/detail/execution_queries.hpp>

namespace penstock::inline v0_1::detail {

template <class Environment>
using stdexec_token = std::remove_cvref_t<decltype(stdexec::get_stop_token(std::declval<const Environment&>()))>;

// Where an environment does not say, stdexec answers that stop is never requested: those may be of penstock's own kind.
template <class Environment>
  requires(!std::same_as<stdexec_token<Environment>, stdexec::never_stop_token>)
struct environment_stop_token<Environment> {
  static stdexec_token<Environment> of(const Environment& e) noexcept { return stdexec::get_stop_token(e); }
};

template <>
struct query_answer<any_scheduler, stdexec::get_forward_progress_guarantee_t> {
  static stdexec::forward_progress_guarantee of(const any_scheduler& s) noexcept {
    return s.is_inline() ? stdexec::forward_progress_guarantee::weakly_parallel : stdexec::forward_progress_guarantee::parallel;
  }
};

template <class Scheduler>
struct query_answer<scheduled_attributes<Scheduler>, stdexec::get_completion_scheduler_t<stdexec::set_value_t>> {
  static const Scheduler& of(const scheduled_attributes<Scheduler>& a) noexcept { return a.to; }
};

}  // namespace penstock::inline v0_1::detail
