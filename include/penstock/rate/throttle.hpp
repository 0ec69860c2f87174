// penstock/rate/throttle.hpp: a function that runs at most once in an interval, however often it is called.
//
//   auto draw = penstock::throttle(pool, 16ms, [&](progress p) { bar.show(p); });
//   draw(p);                                        // at once the first time; then every 16 ms, with the latest progress
//
//   auto touch = penstock::throttle_by_key(pool, 1min, [&](const session_id& id) { return db.seen(id); }, {.trailing = false});
//
// The law        two runs never begin within one interval, however long they are on their way: leading, trailing, late or after cancel(); only
//                flush() asks for one before its time. So the next one is not sent before the last one has begun.
//                With a trailing edge (the default) the last call is always taken account of, an interval after the last run at the latest, or
//                when that has ended. Without a leading edge the first run comes one interval after the first call.
//
// In all else it is debounce.hpp: outcomes that are shared, where and how many runs there are, threads, locks, cancellation, destruction, memory,
// clock.
// (The stage `throttle(limiter)` of a pipeline is another one of this name, with one argument: there each item waits for its turn, and none is
// left out.)
//
// Source         the words and the edges are lodash's (`_.throttle` 4.17), where a throttle is a debounce whose maxWait is its wait; what
//                differs: docs/pacing.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <utility>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/rate/detail/paced.hpp>
#include <penstock/rate/detail/paced_by_key.hpp>

namespace penstock::inline v0_1 {

struct throttle_options {
  bool leading = true;            ///< run at once if the last run is an interval ago
  bool trailing = true;           ///< run later what was called meanwhile
  std::size_t max_running = 1;    ///< runs at a time, for each key; at least 1
  std::size_t max_keys = 10'000;  ///< of throttle_by_key: that are remembered; at least 1
  any_clock clock = {};           ///< the steady clock; it must outlive the object
  /// Gets what a run threw that no caller looks at, on the thread that ran it, as part of the run. What it throws itself is dropped, and counted
  /// in failed(). Default: only counted.
  move_only_function<void(std::exception_ptr) const> on_error = {};
};

namespace detail {
template <class = void>
paced_settings to_settings(std::int64_t interval, throttle_options&& o) {
  return {.rules = {.wait = interval, .max_wait = interval, .spacing = interval, .leading = o.leading, .trailing = o.trailing},
          .max_running = o.max_running,
          .clock = o.clock,
          .on_error = std::move(o.on_error)};
}
}  // namespace detail

template <class Signature>
class throttled;

/// What throttle() makes. The members are those of detail::paced: operator(), submit, cancel, flush, drain, pending, running, failed.
template <class R, class... A>
class throttled<R(A...)> : public detail::paced<R(A...)> {
 public:
  /// Over a context. Throws std::invalid_argument if the interval is negative, max_running is 0, neither edge is wanted, or there is nothing to
  /// call; and what starting a timer thread throws.
  template <class Context, class Rep, class Period>
  throttled(Context&& context, std::chrono::duration<Rep, Period> interval, move_only_function<R(A...)> f,
            throttle_options options = {})
      : detail::paced<R(A...)>{via(context).to, "throttle", std::move(f),
                               detail::to_settings(detail::saturating_nanoseconds(interval), std::move(options))} {}
};

/// The signature is that of `f`; where that has several (a generic lambda), name it: `throttled<void(int)>{…}`. Throws as above.
template <class Context, class Rep, class Period, class F>
[[nodiscard]] auto throttle(Context&& context, std::chrono::duration<Rep, Period> interval, F&& f,
                            throttle_options options = {}) {
  return throttled<detail::signature_of<F>>{context, interval, std::forward<F>(f), std::move(options)};
}

template <class Key, class Signature, class Hash = std::hash<Key>, class Equal = std::equal_to<Key>>
class keyed_throttled;

/// The same for each key on its own; what throttle_by_key() makes. `f(key, arguments…)`. The members are those of detail::paced_by_key.
template <class Key, class R, class... A, class Hash, class Equal>
class keyed_throttled<Key, R(A...), Hash, Equal> : public detail::paced_by_key<Key, R(A...), Hash, Equal> {
 public:
  /// Throws as throttled, and std::invalid_argument if max_keys is 0.
  template <class Context, class Rep, class Period>
  keyed_throttled(Context&& context, std::chrono::duration<Rep, Period> interval, move_only_function<R(const Key&, A...)> f,
                  throttle_options options = {})
      : keyed_throttled{via(context).to, std::move(f), options.max_keys,
                        detail::to_settings(detail::saturating_nanoseconds(interval), std::move(options))} {}

 private:
  keyed_throttled(any_scheduler where, move_only_function<R(const Key&, A...)>&& f, std::size_t max_keys,
                  detail::paced_settings&& s)
      : detail::paced_by_key<Key, R(A...), Hash, Equal>{where, "throttle_by_key", std::move(f), std::move(s), max_keys} {}
};

/// The key is the first argument of `f`. Throws as above.
template <class Context, class Rep, class Period, class F>
[[nodiscard]] auto throttle_by_key(Context&& context, std::chrono::duration<Rep, Period> interval, F&& f,
                                   throttle_options options = {}) {
  using of = detail::keyed_signature<detail::signature_of<F>>;
  return keyed_throttled<typename of::key, typename of::type>{context, interval, std::forward<F>(f), std::move(options)};
}

template <class R, class... A>
void describe(const throttled<R(A...)>& p, metric_sink& to) {
  to.kind("throttle");
  describe(static_cast<const detail::paced<R(A...)>&>(p), to);
}
template <class Key, class R, class... A, class Hash, class Equal>
void describe(const keyed_throttled<Key, R(A...), Hash, Equal>& p, metric_sink& to) {
  to.kind("throttle_by_key");
  describe(static_cast<const detail::paced_by_key<Key, R(A...), Hash, Equal>&>(p), to);
}

}  // namespace penstock::inline v0_1
