// penstock/rate/debounce.hpp: a function that runs once the calls of it have paused.
//
//   auto save = penstock::debounce(pool, 300ms, [&](document d) { return store.write(d); });
//   save(d);                                        // 300 ms after the last of many calls: one write, of the latest document
//   auto written = save.submit(d);                  // the same, and get(), wait or co_await what that write gave: a shared_future
//   save.drain().value();                           // now, and wait until it is done
//
//   auto notify = penstock::debounce_by_key(pool, 1s, [](const user& to, int unread) { … }, {.max_wait = 10s});   // for each user on its own
//
// Bursts         calls come in bursts: one is over when `wait` has passed without a call. By default the function runs then, on the trailing
//                edge, with the arguments of the latest call. `leading`: it runs on the first call of a burst, and on the trailing edge only if
//                more calls came. With leading alone those are not run: they get the outcome of the run that was. `max_wait`: calls that never
//                pause do not put it off for longer than that after the last run, or after the burst began.
// Outcomes       every caller of submit() gets the outcome of the run that took account of its call: never an older one, never none. Its value,
//                or what it threw, is shared by all who wait for it. What nobody looks at and throws goes to on_error; looking is submit(), not
//                flush() nor drain().
// Runs           on the context that was given (a worker_pool, a strand, any scheduler), also on the leading edge: neither the caller nor the
//                thread of the timers runs it, unless the context is `any_scheduler{}`, which runs it on whichever of the two makes it due. At
//                most max_running at a time, one by default: what is due meanwhile begins when the last run has ended, and until then takes the
//                latest arguments. A function that gives a task (anything that can be awaited) runs until that has ended; its value is the
//                outcome. The arguments live until then, and its stop token says when the object goes. on_error is part of the run; whoever
//                waits for the outcome goes on beside the next one.
// Thread safety  every member may be called concurrently, also by the function itself; but for construction and destruction. With max_running > 1
//                the function is called by several threads at a time.
// Locks          the function, its arguments' destructors, on_error and whoever waits for an outcome run under no lock. Keys are hashed,
//                compared, and moved into the table under one: let them do nothing else.
// Cancellation   cancel() gives up what has not begun, on its way to a thread too: those callers get errc::cancelled.
// Destruction    cancels, and waits until the runs that have begun have ended and their callers been told: afterwards nothing of the function is
//                called, and it, on_error and the last outcome are gone (a table of keys goes when what is on its way has come home). To lose
//                nothing, drain() before. Inside the function (on the thread that runs it) it waits for no run, for it would wait for itself:
//                the function and its state live on until the last one ends, and so must the clock if there are several. A function that is a
//                coroutine must not destroy it, nor may a thread that such a run needs in order to end. Who learns that its call was cancelled
//                may. The context and the clock must outlive it, and the context whatever is on its way there; the clock need not.
// drain()        blocks until runs are over that may need the very thread: never inside the function, nor in a task of its context unless another
//                thread of that is left to run it. On a pool of one, a strand or a loop such a wait never ends: co_await submit() there.
// Memory         for each key, and without keys once: one run that waits (one allocation: the outcome that its callers share, and arguments), one
//                further set of arguments, max_running runs, the last outcome until the burst is over. However many calls wait. Keys: at the most
//                max_keys are remembered, each until its burst is over and its runs have ended; calls with others are refused with errc::full
//                meanwhile.
// Cost           a call: one allocation, one lock, a look at the clock; the timer is set once a burst and moved when it fires, not at each call.
// Clock          any (any_clock). One that steps back: no time has passed since what then lies in the future, once the next call comes; until
//                then what waits keeps the time that it was due at.
// Fork           in a child of fork() calls throw std::system_error, and destruction waits for nothing.
// Source         the words and the edges are lodash's (`_.debounce` 4.17); what differs: docs/pacing.md.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <utility>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/rate/detail/paced.hpp>
#include <penstock/rate/detail/paced_by_key.hpp>

namespace penstock::inline v0_1 {

struct debounce_options {
  bool leading = false;  ///< run on the first call of a burst
  bool trailing = true;  ///< run when a burst is over, if calls came that were not run
  /// A burst that goes on does not put a run off for longer. Less than `wait` counts as `wait`; the maximum: it may for ever.
  std::chrono::nanoseconds max_wait = std::chrono::nanoseconds::max();
  std::size_t max_running = 1;    ///< runs at a time, for each key; at least 1
  std::size_t max_keys = 10'000;  ///< of debounce_by_key: that are remembered; at least 1
  any_clock clock = {};           ///< the steady clock; it must outlive the object
  /// Gets what a run threw that no caller looks at, on the thread that ran it, as part of the run. What it throws itself is dropped, and counted
  /// in failed(). Default: only counted.
  move_only_function<void(std::exception_ptr) const> on_error = {};
};

namespace detail {
template <class = void>
paced_settings to_settings(std::int64_t wait, debounce_options&& o) {
  const std::int64_t max_wait = o.max_wait.count();
  return {.rules = {.wait = wait,
                    .max_wait = max_wait < 0 ? max_wait : std::max(max_wait, wait),
                    .leading = o.leading,
                    .trailing = o.trailing},
          .max_running = o.max_running,
          .clock = o.clock,
          .on_error = std::move(o.on_error)};
}
}  // namespace detail

template <class Signature>
class debounced;

/// What debounce() makes. The members are those of detail::paced: operator(), submit, cancel, flush, drain, pending, running, failed.
template <class R, class... A>
class debounced<R(A...)> : public detail::paced<R(A...)> {
 public:
  /// Over a context. `wait`: 0 or more; with 0 a run takes what is called while another one runs. Throws std::invalid_argument if wait or
  /// max_wait is negative, max_running is 0, neither edge is wanted, or there is nothing to call; and what starting a timer thread throws.
  template <class Context, class Rep, class Period>
  debounced(Context&& context, std::chrono::duration<Rep, Period> wait, move_only_function<R(A...)> f,
            debounce_options options = {})
      : detail::paced<R(A...)>{via(context).to, "debounce", std::move(f),
                               detail::to_settings(detail::saturating_nanoseconds(wait), std::move(options))} {}
};

/// The signature is that of `f`; where that has several (a generic lambda), name it: `debounced<void(int)>{…}`. Throws as above.
template <class Context, class Rep, class Period, class F>
[[nodiscard]] auto debounce(Context&& context, std::chrono::duration<Rep, Period> wait, F&& f, debounce_options options = {}) {
  return debounced<detail::signature_of<F>>{context, wait, std::forward<F>(f), std::move(options)};
}

template <class Key, class Signature, class Hash = std::hash<Key>, class Equal = std::equal_to<Key>>
class keyed_debounced;

/// The same for each key on its own; what debounce_by_key() makes. `f(key, arguments…)`. The members are those of detail::paced_by_key.
template <class Key, class R, class... A, class Hash, class Equal>
class keyed_debounced<Key, R(A...), Hash, Equal> : public detail::paced_by_key<Key, R(A...), Hash, Equal> {
 public:
  /// Throws as debounced, and std::invalid_argument if max_keys is 0.
  template <class Context, class Rep, class Period>
  keyed_debounced(Context&& context, std::chrono::duration<Rep, Period> wait, move_only_function<R(const Key&, A...)> f,
                  debounce_options options = {})
      : keyed_debounced{via(context).to, std::move(f), options.max_keys,
                        detail::to_settings(detail::saturating_nanoseconds(wait), std::move(options))} {}

 private:
  keyed_debounced(any_scheduler where, move_only_function<R(const Key&, A...)>&& f, std::size_t max_keys,
                  detail::paced_settings&& s)
      : detail::paced_by_key<Key, R(A...), Hash, Equal>{where, "debounce_by_key", std::move(f), std::move(s), max_keys} {}
};

/// The key is the first argument of `f`. Throws as above.
template <class Context, class Rep, class Period, class F>
[[nodiscard]] auto debounce_by_key(Context&& context, std::chrono::duration<Rep, Period> wait, F&& f,
                                   debounce_options options = {}) {
  using of = detail::keyed_signature<detail::signature_of<F>>;
  return keyed_debounced<typename of::key, typename of::type>{context, wait, std::forward<F>(f), std::move(options)};
}

template <class R, class... A>
void describe(const debounced<R(A...)>& p, metric_sink& to) {
  to.kind("debounce");
  describe(static_cast<const detail::paced<R(A...)>&>(p), to);
}
template <class Key, class R, class... A, class Hash, class Equal>
void describe(const keyed_debounced<Key, R(A...), Hash, Equal>& p, metric_sink& to) {
  to.kind("debounce_by_key");
  describe(static_cast<const detail::paced_by_key<Key, R(A...), Hash, Equal>&>(p), to);
}

}  // namespace penstock::inline v0_1
