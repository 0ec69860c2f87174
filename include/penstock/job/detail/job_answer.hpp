// penstock/job/detail/job_answer.hpp: what handlers give, and what that says of the run.
#pragma once

#include <concepts>
#include <exception>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>
#include <penstock/job/job.hpp>
#include <penstock/job/job_codec.hpp>

namespace penstock::inline v0_1::detail {

/// What one of several handlers has given, or will give (job_handlers.hpp).
template <class Outcome = job_outcome>
struct basic_eventual_outcome {
  std::optional<task<Outcome>> later = {};
  Outcome now = Outcome::done();
};
using eventual_outcome = basic_eventual_outcome<>;

template <class R>
inline constexpr bool ends_a_run = std::same_as<R, job_outcome> || job_value<R>;
template <class T>
inline constexpr bool ends_a_run<result<T>> = job_value<T>;
template <class R>
concept job_answer = ends_a_run<std::remove_cvref_t<R>> || std::same_as<R, eventual_outcome>;

/// What a run ends with, and whether that is to be awaited.
template <class R>
struct job_answer_of {
  using type = R;
  static constexpr bool awaited = false;
};
template <class R>
  requires(!job_answer<R> && requires { typename std::type_identity_t<await_result<R>>; })
struct job_answer_of<R> {
  using type = await_result<R>;
  static constexpr bool awaited = true;
};
template <class F, class Payload>
concept handles_jobs =
    std::invocable<F&, job<Payload>&> && job_answer<typename job_answer_of<std::invoke_result_t<F&, job<Payload>&>>::type>;

inline job_outcome outcome_of(job_outcome o) noexcept { return o; }
template <class = void>
job_outcome outcome_of(std::string value) {
  return job_outcome::done(std::move(value));
}
template <job_encodable T>
  requires(!std::same_as<T, std::string>)
job_outcome outcome_of(const T& value) {
  return job_outcome::done(value);
}
template <class T>
job_outcome outcome_of(result<T> r) {
  if (!r) return job_outcome::failed(r.error().message());
  if constexpr (std::is_void_v<T>) {
    return job_outcome::done();
  } else {
    return outcome_of(*std::move(r));
  }
}
template <class = void>
job_outcome outcome_of_failure(std::exception_ptr failure) noexcept {
  try {
    try {
      std::rethrow_exception(std::move(failure));
    } catch (const job_error& e) {
      return e.outcome();
    } catch (const std::exception& e) {
      return job_outcome::failed(e.what());
    } catch (...) {
      return job_outcome::failed("an exception that is no std::exception");
    }
  } catch (...) {
    return job_outcome::failed_without_memory();
  }
}

}  // namespace penstock::inline v0_1::detail
