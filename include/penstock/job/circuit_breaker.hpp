// penstock/job/circuit_breaker.hpp: leaves alone for a while what keeps failing.
//
//   penstock::circuit_breaker database{{.failure_rate = 0.5, .open_for = backoff::exponential(1s, 1min)}};
//
//   result<row> r = database.call([&] { return query(id); });         // errc::rejected at once while it is open; exceptions pass
//   auto loading = database.async_call([&] { return load(id); });     // the same for coroutines
//
//   auto permit = database.try_acquire();                             // by hand
//   if (!permit) return cached(id);
//   if (!ask(id)) permit->failure();                                  // otherwise the end of the scope is a success
//
// States         closed: calls pass. When too large a share of the last ones failed, or was slow, it opens: calls are refused, which costs nobody a
//                wait and gives the other side a rest. After that a few pass on trial (half-open), and decide whether it closes or opens anew, for
//                longer if open_for grows. It changes when somebody calls: there is no thread and no timer.
// Late outcomes  a call that began before the last change decides nothing.
// Thread safety  every member may be called concurrently, by on_transition and is_failure too. A permit belongs to one thread at a time.
// Cancellation   nothing here waits. Calls that are cancelled are ignored; one on trial gives its place to another. So is what a deadline outside
//                cancels: one that is to count as a failure belongs inside, `async_call([&] { return load(id) | with_timeout(300ms); })`.
// Exceptions     an exception that leaves call()'s function counts as a failure (is_failure) and passes through; what is_failure throws takes
//                its place. What on_transition throws is dropped, and counted.
// Destruction    all permits must have ended, and all tasks of async_call().
// Cost           closed: one load to pass, a lock for the outcome; a look at the clock only with `window` (one) or slow_call (two). Open: a lock and
//                a look at the clock. Nothing allocates but the construction and async_call()'s frame.
// Source         M. Nygard, "Release It!", 2007. What the best known ones do is compared in docs/retry.md.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/clock.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/attempt.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>
#include <penstock/job/circuit_breaker_options.hpp>
#include <penstock/job/detail/breaker_core.hpp>

namespace penstock::inline v0_1 {

template <class Sync = detail::std_sync>
class basic_circuit_breaker {
  using core = detail::basic_breaker_core<Sync>;

 public:
  /// One call. Its end is a success, or a failure if an exception is on its way out of the scope (compared with the time of acquisition by
  /// std::uncaught_exceptions(): where a coroutine that keeps it may be resumed inside a destructor, say its end).
  class [[nodiscard]] permit {
   public:
    /// Owns nothing.
    permit() noexcept = default;
    permit(permit&& other) noexcept
        : from_{std::exchange(other.from_, nullptr)},
          passed_{other.passed_},
          began_{other.began_},
          exceptions_{other.exceptions_} {}
    permit& operator=(permit&& other) noexcept {
      if (this != &other) {
        end();
        from_ = std::exchange(other.from_, nullptr);
        passed_ = other.passed_;
        began_ = other.began_;
        exceptions_ = other.exceptions_;
      }
      return *this;
    }
    ~permit() { end(); }

    explicit operator bool() const noexcept { return from_ != nullptr; }

    /// Each ends the call now; nothing happens if it has ended.
    void success() noexcept { end_as(breaker_outcome::success); }
    void failure() noexcept { end_as(breaker_outcome::failure); }
    void ignored() noexcept { end_as(breaker_outcome::ignored); }
    void end_as(breaker_outcome how) noexcept {
      if (from_ != nullptr) std::exchange(from_, nullptr)->leave(passed_, began_, how);
    }

   private:
    friend basic_circuit_breaker;
    permit(basic_circuit_breaker& from, std::uint64_t passed, detail::nanoseconds_point began) noexcept
        : from_{&from}, passed_{passed}, began_{began}, exceptions_{std::uncaught_exceptions()} {}

    void end() noexcept {
      if (from_ != nullptr)
        end_as(std::uncaught_exceptions() > exceptions_ ? breaker_outcome::failure : breaker_outcome::success);
    }

    basic_circuit_breaker* from_ = nullptr;
    std::uint64_t passed_ = 0;
    detail::nanoseconds_point began_ = 0;
    int exceptions_ = 0;
  };

  /// Throws std::invalid_argument that names the option which cannot be.
  explicit basic_circuit_breaker(circuit_breaker_options options = {}) : options_{checked(std::move(options))}, core_{options_} {}
  basic_circuit_breaker(const basic_circuit_breaker&) = delete;
  basic_circuit_breaker& operator=(const basic_circuit_breaker&) = delete;

  /// errc::rejected while it is open, or half-open with as many calls on trial as there may be.
  [[nodiscard]] result<permit> try_acquire() noexcept {
    auto passed = core_.try_pass();
    if (!passed) {
      typename core::change what;
      passed = core_.enter(options_.clock.now(), what);
      if (what) tell(*what);
    }
    if (!passed) return errc::rejected;
    return permit{*this, *passed, options_.slow_call.count() > 0 ? options_.clock.now() : 0};
  }

  /// Calls f() or f(stop), unless it is open. Where f gives T, a result<T>, and where it gives a result that result; an error in it is a failure,
  /// as it is in a std::expected (which is such a T).
  template <class F>
  auto call(F&& f, const std::stop_token& stop = {}) -> detail::limited<detail::attempt_result<F>> {
    using value = detail::attempt_result<F>;
    static_assert(!detail::awaitable<value>, "call() does not await: use async_call()");
    result<permit> mine = try_acquire();
    if (!mine) return mine.error();
    detail::attempt<value> ended;
    ended.call(f, stop, {});
    settle(*mine, ended);
    return ended.take();
  }
  /// A task that does the same; f may give what can be awaited. It asks for its permit when it begins.
  template <class F>
  [[nodiscard]] auto async_call(F f) -> task<detail::limited<detail::attempt_value<F>>> {
    return run<F>(*this, std::move(f));
  }

  /// While it is forced open all calls are refused; while it is forced closed all pass, and decide nothing.
  void force_open() noexcept { force(breaker_state::forced_open); }
  void force_closed() noexcept { force(breaker_state::forced_closed); }
  /// Closed, as if it were new: ends what was forced, too. Totals stay.
  void reset() noexcept { force(breaker_state::closed); }

  [[nodiscard]] breaker_state state() const noexcept { return core_.state_now(); }
  /// How long until a call may pass, or try to; nanoseconds::max() if it was forced open. For the retry_after of a retry_policy.
  [[nodiscard]] std::chrono::nanoseconds retry_after() const noexcept {
    const detail::nanoseconds_point now = options_.clock.now();
    const detail::nanoseconds_point next = core_.next_pass(now);
    if (next == detail::never) return std::chrono::nanoseconds::max();
    return std::chrono::nanoseconds{next > now ? detail::saturating_difference(next, now) : 0};
  }
  [[nodiscard]] breaker_stats stats() noexcept {
    breaker_stats s = core_.stats(options_.clock.now());
    s.handler_failed = handler_failed_.load(std::memory_order_relaxed);  // relaxed: a count
    return s;
  }

 private:
  template <class F>
  static task<detail::limited<detail::attempt_value<F>>> run(basic_circuit_breaker& self, F f) {
    using value = detail::attempt_value<F>;
    result<permit> mine = self.try_acquire();
    if (!mine) co_return mine.error();
    detail::attempt<value> ended;
    const std::stop_token stop = co_await this_task::get_stop_token();
    if constexpr (detail::awaitable<detail::attempt_result<F>>) {
      try {
        auto call = detail::call_with_stop(f, stop);
        if constexpr (std::is_void_v<value>) {
          co_await std::move(call);
          ended.keep_value({});
        } else {
          ended.keep_value(co_await std::move(call));
        }
      } catch (...) {
        ended.keep_thrown();
      }
    } else {
      ended.call(f, stop, {});
    }
    self.settle(*mine, ended);
    co_return ended.take();
  }

  template <class R>
  void settle(permit& p, const detail::attempt<R>& ended) {
    if (!ended.failed()) {
      p.success();
      return;
    }
    const attempt_failure f = ended.failure(1);
    const bool counts = options_.is_failure ? options_.is_failure(f) : f.code() != std::errc::operation_canceled;
    p.end_as(counts ? breaker_outcome::failure : breaker_outcome::ignored);
  }

  void leave(std::uint64_t passed, detail::nanoseconds_point began, breaker_outcome how) noexcept {
    const bool times = options_.slow_call.count() > 0;
    detail::nanoseconds_point now = times || core_.goes_by_time() ? options_.clock.now() : core::unknown;
    const bool slow = times && detail::saturating_difference(now, began) >= options_.slow_call.count();
    typename core::change what;
    if (!core_.leave(passed, how, slow, now, what)) {
      now = options_.clock.now();
      static_cast<void>(core_.leave(passed, how, slow, now, what));
    }
    if (what) tell(*what);
  }
  void force(breaker_state to) noexcept {
    typename core::change what;
    core_.force(to, what);
    tell(*what);
  }
  void tell(const breaker_transition& what) noexcept {
    if (!options_.on_transition) return;
    try {
      options_.on_transition(what);
    } catch (...) {
      handler_failed_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a count
    }
  }

  static circuit_breaker_options checked(circuit_breaker_options o) {
    const auto require = [](bool holds, const char* what) {
      if (!holds) throw std::invalid_argument{std::string{"penstock::circuit_breaker: "} + what};
    };
    require(o.failure_rate > 0 && o.failure_rate <= 1, "failure_rate must be in (0, 1]");
    require(o.slow_rate > 0 && o.slow_rate <= 1, "slow_rate must be in (0, 1]");
    require(o.window_calls >= 1 && o.window_calls <= 1'000'000, "window_calls must be 1 to 1000000");
    require(o.window.count() == 0 || o.window >= std::chrono::microseconds{1}, "window must be 0 or at least 1 us");
    require(o.minimum_calls >= 1, "minimum_calls is 0");
    require(o.window.count() > 0 || o.minimum_calls <= o.window_calls, "minimum_calls is more than window_calls");
    require(o.slow_call.count() >= 0, "slow_call is negative");
    require(o.trial_calls >= 1, "trial_calls is 0");
    require(o.trial_timeout.count() >= 0, "trial_timeout is negative");
    return o;
  }

  const circuit_breaker_options options_;
  core core_;
  std::atomic<std::uint64_t> handler_failed_{0};
};

using circuit_breaker = basic_circuit_breaker<>;

}  // namespace penstock::inline v0_1
