// penstock/job/detail/worker_core.hpp: the coroutines that fetch jobs, run them and settle them, and the keeper that sees to time.
//
// Runners      `concurrency` of them, each with a batch of leases of its own. In one step with the store a runner settles what it has run and fetches the next.
//              Without work they stand in the line of one auto-reset event, which a store that has work sets: one goes on, and if it leaves some it
//              sets the event again. So no work waits while a runner does: whoever adds sets the event after the job is in, and a runner looks
//              after it has taken the signal.
// Keeper       renews leases, takes back those that ran out, wakes a runner when a delayed job is due, and requests stop of runs whose time has passed. It
//              runs on the clock's timer thread, by a scheduler that hands it over to that thread always: were it resumed by a runner, it would go on
//              behind the handler that runs there, and leases would run out. With a store that blocks it is a thread.
// Who may touch what   a runner's batch and results are its own. What the keeper needs of them (`held`: the numbers of the leases; why and when to
//              stop the run) is a copy under the runner's lock.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/backoff.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/coroutine_result.hpp>
#include <penstock/core/detail/root.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/task.hpp>
#include <penstock/job/detail/job_runner.hpp>
#include <penstock/job/job.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/job_worker_options.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/wait_group.hpp>

namespace penstock::inline v0_1::detail {

template <class Payload, class Store>
class worker_core {
 public:
  using runner = job_runner<Payload, Store>;

  worker_core(Store& store, const any_clock& clock, job_worker_options&& o)
      : options{std::move(o)}, signal{std::make_shared<worker_signal>()}, store_{store}, clock_{clock} {
    const job_time t = now();
    renew_at_ = later(t, options.lock_duration / 2);
    stalled_at_ = later(t, options.stalled_interval);
    for (std::size_t i = 0; i < options.concurrency; ++i) runners.push_back(std::make_unique<runner>(store, options.batch));
    ended.add(static_cast<std::ptrdiff_t>(options.concurrency));
  }

  [[nodiscard]] timer_queue& timers() const noexcept {
    timer_queue* const own = clock_.after(std::chrono::nanoseconds{0}).queue();
    return own != nullptr ? *own : std_sync::steady_timers();
  }
  [[nodiscard]] bool quitting() const noexcept { return quit.stop_requested(); }

  template <class F>
  root<void> run(F& handle, runner& r, any_scheduler where) {
    for (;;) {
      if (!turn(r)) {
        if (quitting()) break;  // what the store could not be told of runs out there
        auto pause = never_set_.async_wait() | with_stop(quit.get_token()) |
                     with_deadline(deadline{later(now(), options.error_pause).count(), timers()});
        static_cast<void>(co_await std::move(pause));
        continue;
      }
      if (r.batch.empty()) {
        if (quitting()) break;
        auto idle = signal->work.async_wait() | with_stop(quit.get_token());
        static_cast<void>(co_await std::move(idle));
        continue;
      }
      for (std::size_t i = 0; i < r.batch.size(); ++i) {
        bool may_begin = !quitting() && !on_hold();
        if (may_begin && options.pace.acquire) {
          try {
            auto turn_to_run = options.pace.acquire() | with_stop(quit.get_token());
            const result<void> got = co_await std::move(turn_to_run);
            may_begin = got.has_value();
          } catch (...) {
            may_begin = false;
          }
          if (!may_begin && !quitting()) hold_until(later(now(), options.error_pause));  // or it would be fetched again at once
        }
        if (!may_begin || !begin(r, i)) {
          r.results.push_back({.lease = &r.batch[i], .how = settle_as::released});
          continue;
        }
        job_outcome outcome = job_outcome::done();
        std::exception_ptr failure;
        try {
          job<Payload> j{r};
          using answer_type = std::invoke_result_t<F&, job<Payload>&>;
          using value_type = typename job_answer_of<answer_type>::type;
          if constexpr (!job_answer_of<answer_type>::awaited) {
            if constexpr (std::is_void_v<value_type>) {
              handle(j);
            } else {
              outcome = outcome_of(handle(j));
            }
          } else {
            auto answer = stoppable(handle(j), r);
            if constexpr (std::is_void_v<value_type>) {
              co_await std::move(answer);
            } else {
              auto value = co_await std::move(answer);
              outcome = outcome_of(std::move(value));
            }
          }
        } catch (...) {
          failure = std::current_exception();
        }
        if (failure) outcome = outcome_of(std::move(failure));
        end(r, i, outcome);
      }
      if (!where.is_inline()) {  // others want the thread, too
        auto others = where.schedule();
        co_await others;
      }
    }
    ended.done();  // the last touch but for the end of the coroutine, which the destructor waits for
  }

  /// What is due, and when to come back.
  job_time upkeep() noexcept {
    const job_time t = now();
    if (t >= renew_at_) {
      renew(t);
      renew_at_ = later(t, options.lock_duration / 2);
    }
    if (t >= stalled_at_) {
      try {
        if (const result<stalled_jobs> r = store_.take_back_stalled(t, options.max_stalled); !r) report(r.error());
      } catch (...) {
        report(std::make_error_code(std::errc::not_enough_memory));
      }
      stalled_at_ = later(t, options.stalled_interval);
    }
    const job_time stop_next = stop_late_runs(t);
    std::int64_t wake = wake_at_.load();
    while (wake <= t.count()) {
      if (!wake_at_.compare_exchange_weak(wake, never)) continue;
      signal->work_ready();
      wake = wake_at_.load();
    }
    return std::min({renew_at_, stalled_at_, stop_next, job_time{wake}});
  }
  root<void> keep() {
    while (!kept_.load()) {
      const job_time next = upkeep();
      auto rest = alarm_.async_wait() | with_deadline(deadline{next.count(), timers()});
      static_cast<void>(co_await std::move(rest));
    }
  }
  /// The same for a store that blocks, on a thread of its own.
  void keep_here() noexcept {
    while (!kept_.load()) {
      const job_time next = upkeep();
      static_cast<void>(alarm_.wait(wait_limits{.deadline = deadline{next.count(), timers()}}));
    }
  }
  void end_keeping() noexcept {
    kept_.store(true);
    alarm_.set();
  }

  /// Takes the jobs away from the runs that go on, so that others may run them, and requests stop of those.
  void give_up_runs() noexcept {
    try {
      for (const auto& r : runners) {
        std::vector<lease_ticket> tickets;
        std::optional<std::stop_source> stop;
        {
          std::scoped_lock guard{r->lock};
          for (std::size_t i = std::max(r->settled, r->finished); i < r->held.size(); ++i) {
            tickets.push_back(r->held[i]);
            r->held[i].lost = true;
          }
          if (r->running) stop = r->unwant();
        }
        if (const result<void> back = store_.hand_back(tickets, now()); !back) report(back.error());
        if (stop) request_stop(*stop);
      }
    } catch (...) {
      report(std::make_error_code(std::errc::not_enough_memory));
    }
  }

  [[nodiscard]] job_worker_stats stats() const noexcept {
    const auto of = [](const std::atomic<std::uint64_t>& n) { return n.load(std::memory_order_relaxed); };  // relaxed: counts
    std::size_t running = 0;
    for (const auto& r : runners) {
      std::scoped_lock guard{r->lock};
      if (r->running) ++running;
    }
    return {.completed = of(settled_[static_cast<std::size_t>(settle_as::completed)]),
            .failed = of(settled_[static_cast<std::size_t>(settle_as::failed)]),
            .retried = of(settled_[static_cast<std::size_t>(settle_as::retry)]),
            .released = of(settled_[static_cast<std::size_t>(settle_as::released)]),
            .lost = of(settled_[lost_at]),
            .store_errors = of(store_errors_),
            .running = running};
  }

  const job_worker_options options;
  const std::shared_ptr<worker_signal> signal;
  std::stop_source quit;
  wait_group ended;  // the runners
  std::vector<std::unique_ptr<runner>> runners;

 private:
  [[nodiscard]] job_time now() const noexcept { return job_time{clock_.now()}; }
  [[nodiscard]] static job_time later(job_time t, std::chrono::nanoseconds by) noexcept {
    return job_time{saturating_add(t.count(), by.count())};
  }
  [[nodiscard]] bool on_hold() const noexcept {
    const std::int64_t until = hold_until_.load(std::memory_order_relaxed);  // relaxed: a time, and nothing behind it
    return until != 0 && now().count() < until;
  }
  void hold_until(job_time t) noexcept {
    std::int64_t seen = hold_until_.load(std::memory_order_relaxed);  // relaxed, both: a time, and nothing behind it
    while (seen < t.count() && !hold_until_.compare_exchange_weak(seen, t.count(), std::memory_order_relaxed)) {
    }
  }
  /// Somebody is to look at the store by then.
  void wake_by(job_time t) noexcept {
    std::int64_t seen = wake_at_.load();
    while (t.count() < seen) {
      if (wake_at_.compare_exchange_weak(seen, t.count())) return alarm_.set();
    }
  }

  // Tells the store of what was run, and fetches. False: the store's error, and nothing has changed.
  bool turn(runner& r) noexcept {
    const job_time t = now();
    const bool fetches = !quitting() && !on_hold();
    job_fetched fetched;
    try {
      const fetch_request q{
          .worker = options.name, .most = fetches ? options.batch : 0, .now = t, .lease_until = later(t, options.lock_duration)};
      const result<job_fetched> got = store_.fetch(q, r.results, r.next);
      if (!got) return report(got.error()), false;
      fetched = *got;
    } catch (...) {
      return report(std::make_error_code(std::errc::not_enough_memory)), false;
    }
    account(r);
    r.renew_batch();
    r.fetched_at = t;
    if (fetches) {
      if (fetched.more) signal->work_ready();
      if (fetched.next_due != no_time) wake_by(fetched.next_due);
    } else if (!quitting()) {
      wake_by(job_time{hold_until_.load(std::memory_order_relaxed)});  // relaxed: a time
    }
    return true;
  }
  bool begin(runner& r, std::size_t i) noexcept {
    const std::chrono::nanoseconds timeout = r.batch[i].policy().timeout;
    const job_time stop_at = timeout.count() != 0 ? later(now(), timeout) : no_time;
    if (!r.begin(i, stop_at)) {
      if (options.pace.release) released_pace();
      return false;
    }
    if (stop_at != no_time) wake_by(stop_at);
    return true;
  }
  void end(runner& r, std::size_t i, const job_outcome& outcome) noexcept {
    r.end();
    if (options.pace.release) released_pace();
    const auto& lease = r.batch[i];
    const job_policy& policy = lease.policy();
    const bool again = lease.attempt() < policy.attempts;
    job_settlement<typename Store::lease_type> s{.lease = &r.batch[i], .why = outcome.why()};
    switch (outcome.what()) {
      case job_outcome::kind::done:
        break;
      case job_outcome::kind::failed:
        s.how = again ? settle_as::retry : settle_as::failed;
        if (again) s.at = later(now(), delay_after(policy, lease.attempt(), lease.fence()));
        break;
      case job_outcome::kind::unrecoverable:
        s.how = settle_as::failed;
        break;
      case job_outcome::kind::retry_after:
        s.how = again ? settle_as::retry : settle_as::failed;
        if (again) s.at = later(now(), outcome.delay());
        break;
      case job_outcome::kind::rate_limited:
        s.how = settle_as::released;
        s.at = later(now(), outcome.delay());
        hold_until(s.at);
        break;
    }
    r.results.push_back(std::move(s));
    if (i + 1 < r.batch.size() && now() - r.fetched_at >= options.settle_within) tell(r, i + 1);
  }
  // What waits behind a long job in a batch does not keep what was done before it.
  void tell(runner& r, std::size_t upto) noexcept {
    r.fetched_at = now();
    try {
      if (const result<void> told = store_.settle(r.results, r.fetched_at); !told) return report(told.error());
    } catch (...) {
      return report(std::make_error_code(std::errc::not_enough_memory));
    }
    account(r);
    std::scoped_lock guard{r.lock};
    r.settled = upto;
  }
  void account(runner& r) noexcept {
    std::array<std::uint64_t, lost_at + 1> n{};  // summed first: other runners count in the same words
    for (const auto& s : r.results) ++n[s.stale ? lost_at : static_cast<std::size_t>(s.how)];
    r.results.clear();
    for (std::size_t i = 0; i < n.size(); ++i) {
      if (n[i] != 0) settled_[i].fetch_add(n[i], std::memory_order_relaxed);  // relaxed: a count
    }
  }
  [[nodiscard]] std::chrono::nanoseconds delay_after(const job_policy& policy, unsigned attempt,
                                                     std::uint64_t fence) const noexcept {
    splitmix64 random{options.seed ^ fence};
    return policy.backoff.next_delay(attempt, random,
                                     attempt > 1 ? policy.backoff.growth_at(attempt - 1) : std::chrono::nanoseconds{});
  }

  // A task's waits observe the job's own stop token.
  template <class Answer>
  static auto stoppable(Answer answer, runner& r) {
    if constexpr (is_task<Answer>) {
      return std::move(answer) | with_stop(r.get_stop_token());
    } else {
      static_cast<void>(r);
      return answer;
    }
  }
  static job_outcome outcome_of(job_outcome o) noexcept { return o; }
  static job_outcome outcome_of(const result<void>& r) {
    return r ? job_outcome::done() : job_outcome::failed(r.error().message());
  }
  static job_outcome outcome_of(std::exception_ptr failure) noexcept {
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

  void renew(job_time t) noexcept {
    try {
      tickets_.clear();
      owners_.clear();
      for (const auto& r : runners) {
        std::scoped_lock guard{r->lock};
        for (std::size_t i = r->settled; i < r->held.size(); ++i) {
          if (r->held[i].lost) continue;
          tickets_.push_back(r->held[i]);
          owners_.push_back(r.get());
        }
      }
      if (tickets_.empty()) return;
      if (const result<void> done = store_.extend(tickets_, t, later(t, options.lock_duration)); !done)
        return report(done.error());
    } catch (...) {
      return report(std::make_error_code(std::errc::not_enough_memory));
    }
    for (std::size_t n = 0; n < tickets_.size(); ++n) {
      if (tickets_[n].lost) lose(*owners_[n], tickets_[n].fence);
    }
  }
  void lose(runner& r, std::uint64_t fence) noexcept {
    std::optional<std::stop_source> stop;
    {
      std::scoped_lock guard{r.lock};
      for (std::size_t i = r.settled; i < r.held.size(); ++i) {
        if (r.held[i].fence != fence) continue;  // settled meanwhile
        r.held[i].lost = true;
        if (r.running && r.current == i) stop = r.unwant();
      }
    }
    if (stop) request_stop(*stop);
  }
  // When the next one is to be stopped.
  job_time stop_late_runs(job_time t) noexcept {
    job_time next = no_time;
    for (const auto& r : runners) {
      std::optional<std::stop_source> stop;
      {
        std::scoped_lock guard{r->lock};
        if (r->stop_at <= t) {
          stop = r->unwant();
        } else {
          next = std::min(next, r->stop_at);
        }
      }
      if (stop) request_stop(*stop);
    }
    return next;
  }

  void released_pace() const noexcept {
    try {
      options.pace.release();
    } catch (...) {
    }
  }
  void report(std::error_code why) noexcept {
    store_errors_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a count
    if (!options.on_store_error) return;
    try {
      options.on_store_error(why);
    } catch (...) {
    }
  }

  Store& store_;
  const any_clock clock_;
  event never_set_;
  std::atomic<std::int64_t> hold_until_{0};   // nothing is fetched before; 0: no such time
  std::atomic<std::int64_t> wake_at_{never};  // lowered by runners, taken by the keeper
  auto_reset_event alarm_;                    // wake_at_ was lowered, or it is over
  std::atomic<bool> kept_{false};
  // The keeper's:
  job_time renew_at_;
  job_time stalled_at_;
  std::vector<lease_ticket> tickets_;
  std::vector<runner*> owners_;

  static constexpr std::size_t lost_at = 5;
  std::array<std::atomic<std::uint64_t>, lost_at + 1> settled_{};  // by settle_as; the last: lost
  std::atomic<std::uint64_t> store_errors_{0};
};

}  // namespace penstock::inline v0_1::detail
