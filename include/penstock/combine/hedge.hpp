// penstock/combine/hedge.hpp: another attempt when the first one is late.
//
//   reply r = co_await penstock::hedge([&] { return ask(replicas.next(), query); }, 20ms, 3);   // captures by reference; see map_concurrent.hpp
//
// Against the slow few: when an attempt has not ended after a while (the 95th percentile of the latency is a good choice), it is begun once more,
// elsewhere if `f` so decides, and the first success counts. A few per cent more work then cut the tail of the latency. The work must bear being
// done twice.
//
// Attempts       f() begins one; or f(n), of the n-th, from 0. It returns a task, any operation that can be awaited, or a future. The next attempt
//                begins when the last one was begun `after` ago, or at once when an attempt fails, until there were `max_attempts`.
// Ends           with the first success; the others are stopped, and have ended before hedge() does. One that ends well all the same is dropped.
// Failures       an attempt fails by throwing, or by giving a result with an error. If all fail: combined_error with each exception; if f gives
//                results and nothing was thrown, the error of the first.
// Cancellation   a stop request reaches every attempt and lets none begin. If none ends well: errc::cancelled, thrown as a std::system_error unless f
//                gives results; an attempt that fails in another way meanwhile counts as above. The task of a future is asked
//                to stop (a promise cannot be); in any case it is awaited to its end.
// Allocation     two coroutine frames, one for each attempt beside f's own, and room for its failure.
// Source         J. Dean, L. A. Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013: hedged requests.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/combine/combined_error.hpp>
#include <penstock/combine/detail/in_flight.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/task.hpp>

namespace penstock::inline v0_1 {

namespace detail {

template <class F>
decltype(auto) begin_attempt(F& f, std::size_t n) {
  if constexpr (std::invocable<F&, std::size_t>) {
    return std::invoke(f, n);
  } else {
    static_cast<void>(n);
    return std::invoke(f);
  }
}
template <class F>
using attempt_of = decltype(begin_attempt(std::declval<F&>(), std::size_t{}));

template <class F>
concept begins_attempts = (std::invocable<F&> || std::invocable<F&, std::size_t>) && std::move_constructible<attempt_of<F>> &&
                          awaitable<attempt_of<F>> && !std::is_reference_v<await_result<attempt_of<F>>>;

template <class F>
class hedging {
 public:
  using value = await_result<attempt_of<F>>;
  using attempts = in_flight<value>;
  using attempt = typename attempts::child;

  hedging(F& f, std::size_t most, any_scheduler where) : f_{f}, most_{most}, attempts_{where} {}

  [[nodiscard]] attempts& running() noexcept { return attempts_; }
  /// Whether a further attempt may begin, now or later.
  [[nodiscard]] bool may_begin() const noexcept { return begun_ < most_ && !winner_ && !attempts_.stop_requested(); }

  /// Begins one, and as long as that throws, the next.
  void begin() noexcept {
    for (bool again = true; again && may_begin();) {
      const std::size_t n = begun_++;
      try {
        failures_.reserve(begun_);  // so that keeping its failure cannot fail
        attempts_.begin(n, begin_attempt(f_, n));
        again = false;
      } catch (...) {
        threw(n, std::current_exception());
      }
    }
  }

  /// Of an attempt that ended. True: it failed, and the next one is due.
  bool failed(attempt ended) noexcept {
    if (!ended.failed()) {
      if (!winner_) winner_.emplace(std::move(ended));
      attempts_.request_stop();
      return false;
    }
    if (winner_) return false;
    if (attempts_.stop_requested() && ended.was_cancelled()) return false;  // it complied
    if (!error_) error_ = ended.error();
    thrown_ = thrown_ || ended.threw();
    try {
      failures_.push_back({ended.index(), ended.failure()});
    } catch (...) {
      thrown_ = true;
    }
    return true;
  }

  /// What keeps an attempt from beginning at all.
  void threw(std::size_t n, std::exception_ptr why) noexcept {
    thrown_ = true;
    try {
      failures_.push_back({n, std::move(why)});
    } catch (...) {  // no room for it: it counts, though it is lost
    }
  }

  value finish() {
    if (winner_) return winner_->take();
    if (thrown_) throw combined_error{std::move(failures_)};
    if constexpr (is_result<value>) {
      return error_ ? error_ : make_error_code(errc::cancelled);
    } else {
      throw std::system_error{errc::cancelled, "penstock::hedge"};
    }
  }

 private:
  F& f_;
  std::size_t most_;
  std::size_t begun_ = 0;
  std::optional<attempt> winner_;  // its frame keeps the value
  std::vector<combined_error::failure> failures_;
  std::error_code error_;
  bool thrown_ = false;
  attempts attempts_;
};

template <class F>
task<typename hedging<F>::value> run_hedge(F f, timeout_modifier after, std::size_t most) {
  const any_scheduler where = co_await this_task::get_scheduler();
  const std::stop_token stop = co_await this_task::get_stop_token();
  hedging<F> h{f, most, where};
  const std::stop_callback passed_on{stop, typename hedging<F>::attempts::stop_all{&h.running()}};
  for (h.begin(); h.running().running() != 0;) {
    bool late = false;
    if (h.may_begin()) {
      try {
        const auto ended = co_await (h.running().ended() | after);
        late = !ended;
      } catch (...) {
        late = true;  // there is no thread for the timer: better early than never
      }
    } else {
      static_cast<void>(co_await h.running().ended());
    }
    if (late || h.failed(h.running().take())) h.begin();
  }
  co_return h.finish();
}

template <class = void>
void check_attempts(std::size_t max_attempts) {
  if (max_attempts == 0) throw std::invalid_argument{"penstock::hedge: max_attempts is 0"};
}

}  // namespace detail

/// Awaiting the task gives what awaiting f() gives, of the attempt that succeeds first. `after`: how long an attempt is given before the next one
/// begins beside it; zero or less: all begin at once. Throws std::invalid_argument if max_attempts is 0.
template <detail::begins_attempts F, class Rep, class Period>
[[nodiscard]] auto hedge(F f, std::chrono::duration<Rep, Period> after, std::size_t max_attempts) {
  detail::check_attempts(max_attempts);
  return detail::run_hedge<F>(std::move(f), with_timeout(after), max_attempts);
}

/// The same by a given clock, such as a manual_clock; it must outlive the task.
template <detail::begins_attempts F, class Rep, class Period, detail::timed_clock Clock>
[[nodiscard]] auto hedge(F f, std::chrono::duration<Rep, Period> after, std::size_t max_attempts, Clock& clock) {
  detail::check_attempts(max_attempts);
  return detail::run_hedge<F>(std::move(f), with_timeout(after, clock), max_attempts);
}

}  // namespace penstock::inline v0_1
