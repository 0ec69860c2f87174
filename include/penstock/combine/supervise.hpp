// penstock/combine/supervise.hpp: a task that is begun anew when it fails.
//
//   auto consumer = penstock::supervise([&] { return consume(queue); },
//                                       {.backoff = backoff::exponential(100ms, 30s).with_jitter(jitter::full),
//                                        .max_restarts = 5, .within = 1min,
//                                        .on_restart = [](const restart& r) { log(r.why, r.delay); }});
//   co_await std::move(consumer);   // in two steps: g++ 12 destroys the temporaries of a co_await expression twice, such as on_restart here
//
// Ends           when the task returns, with what it gives; when stop is requested; or when it fails for the (max_restarts + 1)-th time within
//                `within` (Erlang's restart intensity), with the last failure: a supervisor that restarts for ever hides what is broken.
// Failures       the task fails by throwing, or by giving a result with an error.
// Cancellation   a stop request (of the awaiting coroutine, or `supervise(...) | with_stop(token)`, `| with_timeout(...)`) reaches the task, ends the
//                wait for the next restart, and lets none begin. What the task then ends with is the end; during the wait: errc::cancelled, thrown
//                as a std::system_error unless the task gives results.
// Delays         backoff's first delay, second, ...; after a run of at least `within` they begin anew. They are waited for, not slept. If the thread
//                of the timers cannot be started, the task is begun anew at once.
// Structured     one run at a time, and none when it has ended.
// Allocation     a coroutine frame, those of the tasks, and the times of the last max_restarts restarts.
// Source         the supervision trees of Erlang/OTP (supervisor: intensity and period).
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <limits>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/backoff.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/fresh_seed.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1 {

/// A restart that is about to come.
struct restart {
  std::size_t number;              ///< of those so far, from 1
  std::exception_ptr why;          ///< what the task threw; a std::system_error of the error that it gave
  std::chrono::nanoseconds delay;  ///< until it is begun anew
};

struct supervise_options {
  /// How long to wait before a restart: unless said otherwise 0.1 s, 0.2 s, ... 10 s.
  penstock::backoff backoff = backoff::exponential(std::chrono::milliseconds{100}, std::chrono::seconds{10});
  /// The seed of the backoff's jitter. 0: another one for each task.
  std::uint64_t seed = 0;
  /// How many restarts are allowed in any stretch of time of the length `within`. 0: none.
  std::size_t max_restarts = 5;
  /// Zero or less: restarts do not count, however many, and the delays never begin anew.
  std::chrono::nanoseconds within = std::chrono::minutes{1};
  /// What is told of each restart before the wait for it. An exception that it throws ends the supervision.
  move_only_function<void(const restart&)> on_restart = {};
  /// By which `within` and the delays are measured; it must outlive the task.
  any_clock clock = {};

  /// For max_restarts: as many as it takes.
  static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();
};

namespace detail {

/// How many restarts there were lately, and how long the next one has to wait.
template <class Make>
class restarts {
 public:
  explicit restarts(const supervise_options& o)
      : most_{o.max_restarts}, within_{o.within}, delays_{o.backoff, o.seed != 0 ? o.seed : fresh_seed()} {}

  /// False: it was one too many.
  [[nodiscard]] bool allowed(std::chrono::nanoseconds began, std::chrono::nanoseconds failed) {
    if (within_ <= std::chrono::nanoseconds::zero()) return true;
    if (failed - began >= within_) delays_.reset();
    if (most_ == supervise_options::unlimited) return true;
    while (!times_.empty() && failed - times_.front() >= within_) times_.pop_front();
    if (times_.size() >= most_) return false;
    times_.push_back(failed);
    return true;
  }
  [[nodiscard]] restart next(std::exception_ptr why) { return {++number_, std::move(why), delays_.next()}; }

 private:
  std::size_t most_;
  std::chrono::nanoseconds within_;
  dependent<backoff_delays<>, Make> delays_;
  std::deque<dependent<std::chrono::nanoseconds, Make>> times_;
  std::size_t number_ = 0;
};

template <class Make>
task<await_result<std::invoke_result_t<Make&>>> run_supervised(Make make, supervise_options options) {
  using value = await_result<std::invoke_result_t<Make&>>;
  const std::stop_token stop = co_await this_task::get_stop_token();
  restarts<Make> all{options};
  event never_set;  // what the delays wait for
  for (;;) {
    const std::chrono::nanoseconds began{options.clock.now()};
    std::error_code error;
    std::exception_ptr why;
    try {
      if constexpr (std::is_void_v<value>) {
        co_await std::invoke(make);
        co_return;
      } else {
        value given = co_await std::invoke(make);
        if constexpr (is_result<value>) error = given.error_or({});
        if (!error) co_return given;
      }
    } catch (...) {
      why = std::current_exception();
    }
    const bool last = stop.stop_requested() || !all.allowed(began, std::chrono::nanoseconds{options.clock.now()});
    if (last && why != nullptr) std::rethrow_exception(std::move(why));
    if constexpr (is_result<value>) {
      if (last) co_return error;
    }
    restart next = all.next(why != nullptr ? std::move(why) : std::make_exception_ptr(std::system_error{error}));
    if (options.on_restart) options.on_restart(next);
    next.why = nullptr;
    try {
      const deadline_modifier delay = with_deadline(options.clock.after(next.delay));
      static_cast<void>(co_await (never_set.async_wait() | delay));
    } catch (...) {  // there is no thread for the timer: better early than never
    }
    if (stop.stop_requested()) {  // also after the delay: a request may have come just then
      if constexpr (is_result<value>) {
        co_return errc::cancelled;
      } else {
        throw std::system_error{errc::cancelled, "penstock::supervise"};
      }
    }
  }
}

}  // namespace detail

/// `make_task()` gives a task, or anything else that can be awaited, for each run. Awaiting what this returns gives what the task gives.
template <class Make>
  requires std::invocable<Make&> && detail::awaitable<std::invoke_result_t<Make&>> &&
           (!std::is_reference_v<detail::await_result<std::invoke_result_t<Make&>>>)
[[nodiscard]] auto supervise(Make make_task, supervise_options options = {}) {
  return detail::run_supervised<Make>(std::move(make_task), std::move(options));
}

}  // namespace penstock::inline v0_1
