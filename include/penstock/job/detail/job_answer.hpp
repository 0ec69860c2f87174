// penstock/job/detail/job_answer.hpp: what handlers give, and what that says of the run.
#pragma once

#include <concepts>
#include <exception>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/result.hpp>
#include <penstock/job/job.hpp>

namespace penstock::inline v0_1::detail {

template <class R>
concept job_answer = std::is_void_v<R> || std::same_as<R, result<void>> || std::same_as<R, job_outcome>;

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
inline job_outcome outcome_of(const result<void>& r) {
  return r ? job_outcome::done() : job_outcome::failed(r.error().message());
}
inline job_outcome outcome_of_failure(std::exception_ptr failure) noexcept {
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
