// penstock/job/detail/breaker_core.hpp: the states of a circuit breaker, without a clock and without its user's functions.
//
//   closed ──too many fail, or are slow──> open ──time──> half_open ──the trials pass──> closed
//                                           ^────────the trials fail, or are overdue────┘
//
// Each stay in a state is a generation. A call belongs to the one that let it pass: what it tells in a later one counts in the totals only, so calls
// that were on their way when it opened decide nothing when it tries again.
//
// Fields      guarded by lock_, but for word_, which is written under the lock and read by who only wants to pass a closed one.
// Changes     one step makes one transition at the most, which the caller tells of after unlocking.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include <penstock/core/backoff.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/fresh_seed.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/job/circuit_breaker_options.hpp>
#include <penstock/job/detail/breaker_window.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class basic_breaker_core {
 public:
  using change = std::optional<dependent<breaker_transition, Sync>>;

  explicit basic_breaker_core(const circuit_breaker_options& o)
      : failure_share_{millionths(o.failure_rate)},
        slow_share_{millionths(o.slow_rate)},
        minimum_calls_{o.minimum_calls},
        trial_calls_{o.trial_calls},
        trial_timeout_{o.trial_timeout.count()},
        open_for_{o.open_for, o.seed != 0 ? o.seed : fresh_seed()},
        window_{o.window_calls, o.window.count()} {}

  [[nodiscard]] bool goes_by_time() const noexcept { return window_.by_time(); }

  /// Passes a closed one: the generation, for leave().
  [[nodiscard]] std::optional<dependent<std::uint64_t, Sync>> try_pass() const noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);  // relaxed: it leads to nothing that was written before
    if (state_of(word) != breaker_state::closed && state_of(word) != breaker_state::forced_closed) return std::nullopt;
    return word;
  }
  /// The same of any; nothing: refused.
  [[nodiscard]] std::optional<dependent<std::uint64_t, Sync>> enter(nanoseconds_point now, change& what) noexcept {
    std::scoped_lock guard{lock_};
    if (state() == breaker_state::open && now >= due_) {
      trials_ = {};
      admitted_ = 0;
      due_ = trial_timeout_ > 0 ? saturating_add(now, trial_timeout_) : never;
      move_to(breaker_state::half_open, breaker_reason::time, trials_, 0, what);
    } else if (state() == breaker_state::half_open && admitted_ == trial_calls_ && now >= due_) {
      open(breaker_reason::trials_overdue, trials_, now, what);
    }
    switch (state()) {
      case breaker_state::half_open:
        if (admitted_ == trial_calls_) break;
        ++admitted_;
        return word();
      case breaker_state::closed:
      case breaker_state::forced_closed:
        return word();
      case breaker_state::open:
      case breaker_state::forced_open:
        break;
    }
    ++refused_;
    return std::nullopt;
  }

  /// A call has ended. `now` is `unknown` where it was not looked at; false: it has to be, call again (with the same) and tell it.
  [[nodiscard]] bool leave(std::uint64_t passed, breaker_outcome how, bool slow, nanoseconds_point now, change& what) noexcept {
    std::scoped_lock guard{lock_};
    const bool counts = passed == word();
    if (counts && now == unknown && would_open(how, slow)) return false;
    ++(how == breaker_outcome::success ? succeeded_ : how == breaker_outcome::failure ? failed_ : ignored_);
    if (!counts) return true;
    const bool failed = how == breaker_outcome::failure;
    if (state() == breaker_state::half_open) {
      if (how == breaker_outcome::ignored) {
        --admitted_;  // another one may try
        return true;
      }
      trials_.add(failed, slow);
      decide_trials(now, what);
    } else if (state() == breaker_state::closed && how != breaker_outcome::ignored) {
      window_.add(failed, slow, now);
      const breaker_counts& c = window_.total();
      if (c.calls >= minimum_calls_) {
        if (const auto why = too_many(c, c.calls)) open(*why, c, now, what);
      }
    }
    return true;
  }

  /// To closed, forced_open or forced_closed; what was counted is forgotten.
  void force(breaker_state to, change& what) noexcept {
    std::scoped_lock guard{lock_};
    const breaker_counts seen = counted();
    window_.clear();
    open_for_.reset();
    move_to(to, breaker_reason::forced, seen, 0, what);
  }

  /// When a call will pass, or may try; `never`: nobody knows.
  [[nodiscard]] nanoseconds_point next_pass(nanoseconds_point now) const noexcept {
    std::scoped_lock guard{lock_};
    switch (state()) {
      case breaker_state::open:
        return due_;
      case breaker_state::forced_open:
        return never;
      case breaker_state::half_open:
      case breaker_state::closed:
      case breaker_state::forced_closed:
        break;
    }
    return now;
  }
  [[nodiscard]] breaker_state state_now() const noexcept {
    return state_of(word_.load(std::memory_order_relaxed));  // relaxed: as in try_pass()
  }
  [[nodiscard]] breaker_stats stats(nanoseconds_point now) noexcept {
    std::scoped_lock guard{lock_};
    window_.move_on(now);
    const breaker_counts& c = counted();
    return {state(), c.calls, c.failures, c.slow, succeeded_, failed_, ignored_, refused_, opened_, 0};
  }

  static constexpr nanoseconds_point unknown = -never;

 private:
  template <class T>
  using var = typename Sync::template var<T>;

  static constexpr std::uint64_t whole = 1'000'000;

  // Rounded down, so that two of three are two thirds; but one at least, for none is no share.
  static std::uint64_t millionths(double share) noexcept {
    return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(share * static_cast<double>(whole)));
  }
  static constexpr breaker_state state_of(std::uint64_t word) noexcept { return static_cast<breaker_state>(word & 7); }

  [[nodiscard]] std::uint64_t word() const noexcept { return word_.load(std::memory_order_relaxed); }  // relaxed: under the lock
  [[nodiscard]] breaker_state state() const noexcept { return state_of(word()); }
  [[nodiscard]] const breaker_counts& counted() const noexcept {
    return state() == breaker_state::half_open ? trials_ : window_.total();
  }

  // Whether they are at least so large a share of `of` calls.
  [[nodiscard]] std::optional<dependent<breaker_reason, Sync>> too_many(const breaker_counts& c,
                                                                        std::uint64_t of) const noexcept {
    if (c.failures * whole >= failure_share_ * of) return breaker_reason::failures;
    if (c.slow * whole >= slow_share_ * of) return breaker_reason::slow_calls;
    return std::nullopt;
  }
  // Whether such an outcome may make it open; never no if it would. A success without slowness may complete the minimum.
  [[nodiscard]] bool would_open(breaker_outcome how, bool slow) const noexcept {
    if (how == breaker_outcome::ignored) return false;
    if (state() == breaker_state::half_open) return true;
    if (state() != breaker_state::closed) return false;
    breaker_counts c = window_.total();
    c.add(how == breaker_outcome::failure, slow);
    if (c.calls < minimum_calls_) return false;
    // The one that falls out of a full ring may be a success, so one call less is counted.
    return too_many(c, c.calls > minimum_calls_ ? c.calls - 1 : c.calls).has_value();
  }
  // As soon as it is certain on which side of the shares they will end.
  void decide_trials(nanoseconds_point now, change& what) noexcept {
    if (const auto why = too_many(trials_, trial_calls_)) {
      open(*why, trials_, now, what);
      return;
    }
    breaker_counts at_worst = trials_;
    at_worst.failures += trial_calls_ - trials_.calls;
    at_worst.slow += trial_calls_ - trials_.calls;
    if (too_many(at_worst, trial_calls_) && trials_.calls < trial_calls_) return;
    const breaker_counts seen = trials_;
    open_for_.reset();
    move_to(breaker_state::closed, breaker_reason::trials_passed, seen, 0, what);
  }

  void open(breaker_reason why, breaker_counts seen, nanoseconds_point now, change& what) noexcept {
    const std::int64_t length = open_for_.next().count();
    due_ = saturating_add(now, length);
    window_.clear();
    ++opened_;
    move_to(breaker_state::open, why, seen, length, what);
  }
  void move_to(breaker_state to, breaker_reason why, breaker_counts seen, std::int64_t length, change& what) noexcept {
    const std::uint64_t number = ++transitions_;
    what = breaker_transition{number, state(), to, why, seen.calls, seen.failures, seen.slow, std::chrono::nanoseconds{length}};
    word_.store(number << 3 | static_cast<std::uint64_t>(to), std::memory_order_relaxed);  // relaxed: see try_pass()
  }

  const std::uint64_t failure_share_;
  const std::uint64_t slow_share_;
  const std::uint32_t minimum_calls_;
  const std::uint32_t trial_calls_;
  const std::int64_t trial_timeout_;

  typename Sync::template atomic<std::uint64_t> word_{0};  // the state in the lowest 3 bits, above it the generation
  mutable typename Sync::mutex lock_;
  backoff_delays<> open_for_;
  breaker_window<Sync> window_;
  breaker_counts trials_;       // that have ended
  std::uint32_t admitted_ = 0;  // on trial
  nanoseconds_point due_ = 0;   // open: when it may be tried; half-open: when the trials are overdue
  var<std::uint64_t> transitions_{0};
  var<std::uint64_t> succeeded_{0};
  var<std::uint64_t> failed_{0};
  var<std::uint64_t> ignored_{0};
  var<std::uint64_t> refused_{0};
  var<std::uint64_t> opened_{0};
};

using breaker_core = basic_breaker_core<std_sync>;

}  // namespace penstock::inline v0_1::detail
