// penstock/rate/limiter.hpp: several limits at once for one kind of work, with a line in which urgency counts.
//
//   penstock::limiter api{{.max_concurrent = 8, .min_time = 20ms, .rates = {{{10, 1s}, 10}, {{5'000, 24h}, 5'000}}, .high_water = 200}};
//
//   auto answer = api.run([&] { return get(url); });                                    // here, when it is our turn
//   auto later = api.schedule(pool, [&] { return get(url); }, {.job = {.priority = 2}});  // a future
//   auto turn = co_await api.async_acquire_permit({.weight = 3});                       // a permit: until it goes, 3 of the 8 are taken
//   api.on_response({.retry_after = 30s});                                              // the server has asked for a pause
//
// What Bottleneck is to JavaScript; docs/pacing.md has the table of what is the same and what differs.
//
// Limits         limiter_options: how much runs at a time, the spacing of the starts, rates, a reservoir, and what the server said. A job takes its
//                weight from all of them in one step, under one lock, or from none. What it holds of max_concurrent it gives back at its end.
// Line           who is most urgent first (0 to 9), among equals who came first; each priority leaves one of sixteen of its turns to the next one
//                below that waits, so that all move on. Nobody passes who is next, however heavy that one is. A line that is full does what
//                limiter_strategy says. A blocked thread or a coroutine stands in line with no memory but its own; schedule() allocates a frame.
// Chains         with limiter_setup::chain a job that has had its turn here needs one there, too: it holds its place here while it waits there, and if
//                it gives up there, what it took here comes back (but for the spacing, and not to a later refresh or window). try_acquire() asks the whole chain in one step. A chain is fixed at the
//                construction, from the last link on, so it has no circle.
// Time           a clock of limiter_setup; one timer for the whole line. A clock that steps back lets nobody start until it has caught up.
// Thread safety  every member may be called concurrently, and by jobs and callbacks; destroying it not while a member runs, somebody waits, or
//                a permit or job of its own lives. That wait() has returned and nothing new comes is enough, if no job is to be tried again.
// Cancellation   a wait that is stopped or times out takes nothing.
// Exceptions     user code runs under no lock; on_event must not throw. In a forked child, where the clock has no thread, who waits ends with errc::closed.
// Cost           one lock and one look at the clock to start or to end a job.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/rate/detail/limiter_core.hpp>
#include <penstock/rate/detail/limiter_run.hpp>
#include <penstock/rate/detail/limiter_wait.hpp>
#include <penstock/rate/limiter_options.hpp>
#include <penstock/sync/detail/waitable.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/sync/permit.hpp>

namespace penstock::inline v0_1 {

/// Its wait(), wait(stop), wait(limits), try_wait(), try_wait_for(), try_wait_until() and async_wait() (detail::waitable) wait until it is idle: nobody
/// waits for a turn, and nothing runs.
template <class Sync>
class basic_limiter : public detail::waitable<basic_limiter<Sync>, Sync> {
  using core = detail::basic_limiter_core<Sync>;
  using state = typename core::state;

 public:
  using count = std::int64_t;
  using permit = basic_permit<basic_limiter>;

  /// Throws std::invalid_argument of options out of their ranges, std::bad_alloc, and std::system_error if the clock's thread cannot be started.
  explicit basic_limiter(limiter_options options = {}, limiter_setup setup = {})
      : core_{std::move(options), std::move(setup), core_of(setup.chain)} {}
  basic_limiter(const basic_limiter&) = delete;
  basic_limiter& operator=(const basic_limiter&) = delete;

  /// Waits for the turn of a job, and starts it. release() its weight at the end, or use a permit. Ends with errc::rejected if the line is full or
  /// the job is dropped from it, errc::closed after stop(). Every acquiring member throws std::invalid_argument of a weight or priority that no job
  /// can have.
  result<void> acquire(job_options job = {}) { return acquire(wait_limits{}, job); }
  /// Also ends when stop is requested, with errc::cancelled; at once, and without a turn, if it was before the call.
  result<void> acquire(const std::stop_token& stop, job_options job = {}) { return acquire(wait_limits{.stop = stop}, job); }
  /// Also ends at a deadline, with errc::timeout. A turn that can be had is taken even if the deadline has passed.
  result<void> acquire(const wait_limits& limits, job_options job = {}) {
    check(job);
    return detail::to_result(detail::limiter_wait_blocking<core>(core_, limits.stop, limits.deadline, job));
  }
  /// Never waits: errc::empty if the job cannot start now, here and in the whole chain.
  result<void> try_acquire(job_options job = {}) {
    check(job);
    return core_.try_start(job);
  }
  /// Waits at the most for `timeout` on the clock of this limiter: errc::timeout after that, and never before.
  template <class Rep, class Period>
  result<void> try_acquire_for(std::chrono::duration<Rep, Period> timeout, job_options job = {}) {
    return acquire(wait_limits{.deadline = core_.after(timeout)}, job);
  }
  result<void> try_acquire_until(deadline until, job_options job = {}) { return acquire(wait_limits{.deadline = until}, job); }
  /// `co_await l.async_acquire()` is a result<void>; observes the coroutine's stop token; takes with_timeout, with_stop and via.
  auto async_acquire(job_options job = {}) {
    check(job);
    return detail::limiter_operation<void, Sync>{*this, core_, job};
  }

  /// The same forms, with an owner that releases.
  result<permit> acquire_permit(job_options job = {}) { return own(acquire(job), job); }
  result<permit> acquire_permit(const std::stop_token& stop, job_options job = {}) { return own(acquire(stop, job), job); }
  result<permit> acquire_permit(const wait_limits& limits, job_options job = {}) { return own(acquire(limits, job), job); }
  result<permit> try_acquire_permit(job_options job = {}) { return own(try_acquire(job), job); }
  auto async_acquire_permit(job_options job = {}) {
    check(job);
    return detail::limiter_operation<permit, Sync>{*this, core_, job};
  }

  /// A job of that weight has ended, here and in the chain. Serves who waits, and may run resumed coroutines on this thread unless they have a
  /// scheduler. Throws std::invalid_argument if less than that runs.
  void release(count weight = 1) {
    core::change_chain(core_, nullptr, [weight](state& s, detail::nanoseconds_point) { s.budget.end(weight); });
  }

  // Jobs that the limiter runs. `f` is called as f() or, if it takes one, f(std::stop_token); its value may be an awaitable (a task, a future), which
  // is then awaited before the job has ended. Where f gives T, these give a result<T>, and where it gives a result that result: errc::rejected, closed,
  // cancelled or timeout tell that f was not run to its end.

  /// Waits for the turn, and calls f on this thread. What f throws passes through. (Not for an f that gives an awaitable.)
  template <class F>
  auto run(F&& f, run_options options = {}) -> detail::limited<detail::attempt_result<F>> {
    check(options.job);
    return detail::limiter_run_blocking(*this, core_, f, options);
  }
  /// A task that does the same: f is called where the task runs, and its awaitable awaited there. With limits.stop in place of the task's own token.
  template <class F>
  [[nodiscard]] auto async_run(F f, run_options options = {}) -> task<detail::limited<detail::attempt_value<F>>> {
    check(options.job);
    const std::stop_token stop = options.limits.stop;
    auto job = detail::limiter_run_job<F>(*this, core_, std::move(f), std::move(options), std::nullopt);
    return stop.stop_possible() ? std::move(job) | with_stop(stop) : std::move(job);
  }
  /// The same in a context (a worker_pool, a strand, any scheduler), and a future of what f gives: it fails with the code of a result that holds an
  /// error. It stands in line when this returns. Dropping the future detaches. Throws std::bad_alloc.
  template <class Context, class F>
  auto schedule(Context&& context, F f, run_options options = {}) -> future<detail::attempt_value<F>> {
    check(options.job);
    promise<detail::attempt_value<F>> p;
    auto ended = p.get_future();
    detail::limiter_run_detached<F>(*this, core_, via(context).to, std::move(f), std::move(options), std::move(p));
    return ended;
  }
  /// A function that passes its arguments to f, when it is its turn: run() each time.
  template <class F>
  [[nodiscard]] auto wrap(F f, job_options job = {}) {
    return [this, f = std::move(f), job]<class... A>(A&&... arguments) mutable {
      return this->run([&] { return f(std::forward<A>(arguments)...); }, {.job = job});
    };
  }

  /// How long until such a job could start if nobody who waits or comes were before it, in the whole chain: 0 if now, nanoseconds::max() if
  /// only the end of others, or nothing, will let it. With a reservoir that is refreshed it may be too early, and never too late.
  [[nodiscard]] std::chrono::nanoseconds retry_after(job_options job = {}) {
    check(job);
    std::chrono::nanoseconds longest{0};
    for (core* at = &core_; at != nullptr; at = at->next) {
      longest = std::max(longest, at->look([&job](state& s, detail::nanoseconds_point now) {
        const detail::nanoseconds_point ready = s.ready_at(job, now);
        return ready == detail::never ? std::chrono::nanoseconds::max()
                                      : std::chrono::nanoseconds{std::max<count>(ready - now, 0)};
      }));
    }
    return longest;
  }

  [[nodiscard]] limiter_options options() const {
    return core_.look([](const state& s, detail::nanoseconds_point) { return s.budget.options(); });
  }
  /// Live: what waits, waits under the new limits from now on; jobs that are heavier than these allow are dropped. Rates keep what is
  /// there of the one at the same place in the list, to the part of a token; the reservoir keeps its level, and its times if its intervals and amounts
  /// stay. Throws as the constructor; then nothing has changed.
  void update_settings(limiter_options options) { core_.apply(std::move(options)); }

  /// The tokens in the reservoir; nothing if there is none.
  [[nodiscard]] std::optional<count> reservoir() const noexcept {
    return core_.look([](state& s, detail::nanoseconds_point now) { return s.budget.reservoir(now); });
  }
  /// Without effect if there is none. Throws std::invalid_argument if n is negative.
  void add_to_reservoir(count n) { fill_reservoir(n, true); }
  void set_reservoir(count n) { fill_reservoir(n, false); }

  /// Adopts what a server's answer said about its limits: see server_hints.
  void on_response(const server_hints& hints) noexcept {
    core_.change([&hints](state& s, detail::nanoseconds_point now) { s.budget.hint(hints, now); });
  }

  /// Forgets what servers have said, such as a pause that was far too long. Serves who waits.
  void clear_hints() noexcept {
    core_.change([](state& s, detail::nanoseconds_point) { s.budget.clear_hints(); });
  }

  /// Whether `block` keeps everybody out.
  [[nodiscard]] bool is_blocked() const noexcept {
    return core_.look([](const state& s, detail::nanoseconds_point now) { return s.blocked(now); });
  }

  /// Nobody comes in any more: errc::closed. Those in line, too, or they have their turn yet; what runs goes on. wait() for that. Can be called again
  /// to drop those who were to be finished. Jobs that had their turn here and wait in the next link of a chain run, here, and are not dropped: stop that one.
  void stop(limiter_stop how = limiter_stop::drop_waiting) noexcept { core_.stop(how); }
  [[nodiscard]] bool is_stopped() const noexcept {
    return core_.look([](const state& s, detail::nanoseconds_point) { return s.closed(); });
  }

  [[nodiscard]] limiter_counts counts() const noexcept {
    return core_.look([](const state& s, detail::nanoseconds_point) { return s.counts(); });
  }

  /// With limiter_setup::metrics: how long those waited that stood in line and had their turn, in nanoseconds; empty without. In a chain each link has the
  /// waits in its own line. Throws std::bad_alloc.
  [[nodiscard]] auto wait_times() const {
    using waits = std::remove_cvref_t<decltype(*core_.waits())>;
    return core_.waits() != nullptr ? core_.waits()->snapshot() : decltype(std::declval<const waits&>().snapshot()){};
  }

 private:
  friend detail::waitable<basic_limiter, Sync>;
  typename core::idle_line& waited_for() noexcept { return core_.idle; }

  template <class Limiter>  // of this type, whose members nobody is to know of yet
  static detail::limiter_core<Sync>* core_of(Limiter* of) noexcept {
    return of != nullptr ? &of->core_ : nullptr;
  }
  void check(const job_options& job) const {
    for (const core* at = &core_; at != nullptr; at = at->next) at->check(job);
  }
  void fill_reservoir(count n, bool add) {
    if (n < 0) throw std::invalid_argument{"penstock::limiter: the reservoir cannot have " + std::to_string(n)};
    core_.change([n, add](state& s, detail::nanoseconds_point now) { s.budget.fill_reservoir(n, add, now); });
  }
  result<permit> own(const result<void>& r, const job_options& job) {
    if (!r) return r.error();
    return permit{*this, job.weight};
  }

  mutable detail::limiter_core<Sync> core_;
};

template <class Sync>
void describe(const basic_limiter<Sync>& l, metric_sink& to) {
  describe(l.counts(), to);
  if (const std::int64_t most = l.options().max_concurrent; most != limiter_options::unlimited) to.gauge(metrics::limit, most);
  if (const auto waits = l.wait_times(); waits.count() != 0) to.times(metrics::queue_wait, waits);
}

}  // namespace penstock::inline v0_1
