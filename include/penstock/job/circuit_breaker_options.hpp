// penstock/job/circuit_breaker_options.hpp: when a circuit breaker opens and closes, and what it tells.
//
//   penstock::circuit_breaker database{{.failure_rate = 0.3, .window = 30s, .slow_call = 500ms, .slow_rate = 0.8,
//                                       .open_for = backoff::exponential(1s, 2min).with_jitter(jitter::equal),
//                                       .on_transition = [](const breaker_transition& t) { log(t.from, t.to, t.why); }}};
//
// Thread safety  values.
#pragma once

#include <chrono>
#include <cstdint>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/attempt_failure.hpp>
#include <penstock/core/backoff.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

enum class breaker_state : std::uint8_t {
  closed,         ///< calls pass
  open,           ///< calls are refused, for a while
  half_open,      ///< a few calls pass on trial; how they end decides
  forced_open,    ///< by force_open(), until reset()
  forced_closed,  ///< by force_closed(), until reset(): calls pass, and their outcomes decide nothing
};

/// How a call ended.
enum class breaker_outcome : std::uint8_t {
  success,
  failure,  ///< the other side's fault: refused, timed out, answered with an error of its own
  ignored,  ///< says nothing of it: cancelled, a mistake of the caller
};

/// Why the state changed.
enum class breaker_reason : std::uint8_t {
  failures,        ///< too many calls failed
  slow_calls,      ///< too many calls were slow
  time,            ///< it was open for long enough
  trials_passed,   ///< enough of the calls on trial ended well
  trials_overdue,  ///< the calls on trial have not ended in time
  forced,          ///< force_open(), force_closed(), reset()
};

struct breaker_transition {
  std::uint64_t number;  ///< 1 is the first: calls of on_transition may overlap, and come in another order
  breaker_state from;
  breaker_state to;
  breaker_reason why;
  std::uint64_t calls;                ///< that were looked at: of the window, or on trial
  std::uint64_t failures;             ///< of those
  std::uint64_t slow;                 ///< of those
  std::chrono::nanoseconds open_for;  ///< if it opens: how long calls will be refused
};

struct circuit_breaker_options {
  /// Opens when so large a share of the window's calls failed, in (0, 1], to a millionth.
  double failure_rate = 0.5;
  /// As long as the window holds fewer calls nothing opens; at least 1. (No more than window_calls where that counts.)
  std::uint32_t minimum_calls = 10;
  /// The window: so many calls, the last ones; 1 to 1'000'000. A byte for each.
  std::uint32_t window_calls = 100;
  /// If greater than 0: the calls that ended in so long a time, instead. It moves on in steps of a tenth of it.
  std::chrono::nanoseconds window{0};
  /// A call that takes so long is slow, however it ends (unless ignored). 0: none is, and the clock is not looked at for it.
  std::chrono::nanoseconds slow_call{0};
  /// Opens when so large a share of the window's calls was slow, in (0, 1], to a millionth.
  double slow_rate = 1;
  /// How long it stays open: the first time, the second time in a row, ...
  penstock::backoff open_for = backoff::fixed(std::chrono::seconds{30});
  /// Of open_for's jitter. 0: another one for each.
  std::uint64_t seed = 0;
  /// Half-open: so many calls pass on trial, at least 1. It opens, or closes, by the same shares of them, as soon as they are certain.
  std::uint32_t trial_calls = 5;
  /// Half-open for so long, and refusing calls because those on trial have not ended: it opens again when the next one comes. 0: it waits for ever.
  std::chrono::nanoseconds trial_timeout{0};
  /// Of what call() and async_call() see fail: whether it counts. Default: all but errc::cancelled (std::errc::operation_canceled), which is
  /// ignored. False: ignored.
  move_only_function<bool(const attempt_failure&) const> is_failure = {};
  /// Called on the thread whose call changed the state, under no lock. What it throws is dropped and counted (handler_failed).
  move_only_function<void(const breaker_transition&) const> on_transition = {};
  /// The steady clock, if nothing is said; must outlive it.
  any_clock clock = {};
};

/// One moment.
struct breaker_stats {
  breaker_state state = breaker_state::closed;  ///< open until a call comes, though its time may be over
  // What counts at the moment: the calls of the window or, half-open, those on trial that have ended.
  std::uint64_t calls = 0;
  std::uint64_t failures = 0;
  std::uint64_t slow = 0;
  // Since the beginning.
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
  std::uint64_t ignored = 0;
  std::uint64_t refused = 0;
  std::uint64_t opened = 0;          ///< how often
  std::uint64_t handler_failed = 0;  ///< calls of on_transition that threw
};

/// What a registry sees of a circuit_breaker (observe/registry.hpp).
template <class = void>
void describe(const breaker_stats& s, metric_sink& to) {
  to.kind("circuit_breaker");
  static constexpr metric state{"state", "1 for the state that it is in, else 0."};
  to.gauge(state, s.state == breaker_state::closed, {"state", "closed"});
  to.gauge(state, s.state == breaker_state::half_open, {"state", "half_open"});
  to.gauge(state, s.state == breaker_state::open, {"state", "open"});
  to.counter(metrics::completed, s.succeeded);
  to.counter(metrics::failed, s.failed);
  to.counter(metrics::rejected, s.refused, {"reason", "open"});
  to.counter({"ignored", "Calls that count neither way."}, s.ignored);
  to.counter({"opened", "Times that it opened."}, s.opened);
  to.counter({"handler_failed", "Calls of on_transition that threw."}, s.handler_failed);
}

}  // namespace penstock::inline v0_1
