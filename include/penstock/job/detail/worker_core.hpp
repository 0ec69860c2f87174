// penstock/job/detail/worker_core.hpp: the coroutines that fetch jobs, run them and settle them.
//
// Runners      `concurrency` of them, each with a batch of leases of its own. In one step with the store a runner settles what it has run and fetches the next.
//              Without work they stand in the line of one auto-reset event, which a store that has work sets: one goes on, and if it leaves some it
//              sets the event again. So no work waits while a runner does: whoever adds sets the event after the job is in, and a runner looks
//              after it has taken the signal.
//              With a store that blocks one call is for all of them, and they wait for what they are given: shared_calls.hpp.
// Keeper       sees to time, beside them: job_keeper.hpp. A runner's batch and results are its own.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
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
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/fresh_seed.hpp>
#include <penstock/core/detail/open_span.hpp>
#include <penstock/core/detail/root.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/task.hpp>
#include <penstock/job/detail/job_answer.hpp>
#include <penstock/job/detail/job_keeper.hpp>
#include <penstock/job/detail/job_runner.hpp>
#include <penstock/job/detail/shared_calls.hpp>
#include <penstock/job/detail/worker_calls.hpp>
#include <penstock/job/job.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/job_worker_options.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/wait_group.hpp>

namespace penstock::inline v0_1::detail {

template <class Payload, class Store>
class worker_core {
 public:
  using runner = job_runner<Payload, Store>;

  worker_core(Store& store, const any_clock& clock, job_worker_options&& o)
      : options{std::move(o)},
        signal{std::make_shared<dependent<worker_signal, Payload>>()},
        keeper{store, clock, options, runners, *signal},
        store_{store},
        calls_{store, options, keeper, *signal, quit} {
    for (std::size_t i = 0; i < options.concurrency; ++i) runners.push_back(std::make_unique<runner>(store, options.batch));
    ended.add(static_cast<std::ptrdiff_t>(options.concurrency));
    if (options.metrics) times_ = std::make_unique<times>();
    if constexpr (Store::blocks) {
      if (options.concurrency == 1) return;
      shared_.emplace(store, options, keeper, *signal, calls_, quit);
      ended.add(1);
    }
  }

  [[nodiscard]] bool quitting() const noexcept { return quit.stop_requested(); }

  template <class F>
  root<void> run(F& handle, runner& r, any_scheduler where) {
    for (;;) {
      if (shared_) {
        shared_->enter(r);
        auto batch = r.told.async_wait();
        static_cast<void>(co_await std::move(batch));
        if (r.dismissed) break;
      } else if (!calls_.turn(r)) {
        if (quitting()) break;  // what the store could not be told of runs out there
        auto pause = never_set_.async_wait() | with_stop(quit.get_token()) |
                     with_deadline(deadline{later(now(), options.error_pause).count(), keeper.timers()});
        static_cast<void>(co_await std::move(pause));
        continue;
      } else if (r.batch.empty()) {
        if (quitting()) break;
        auto idle = signal->work.async_wait() | with_stop(quit.get_token());
        static_cast<void>(co_await std::move(idle));
        continue;
      }
      for (std::size_t i = 0; i < r.batch.size(); ++i) {
        bool may_begin = !quitting() && !calls_.on_hold();
        if (may_begin && options.pace.acquire) {
          try {
            auto turn_to_run = options.pace.acquire() | with_stop(quit.get_token());
            const result<void> got = co_await std::move(turn_to_run);
            may_begin = got.has_value();
          } catch (...) {
            may_begin = false;
          }
          if (!may_begin && !quitting())
            calls_.hold_until(later(now(), options.error_pause));  // or it would be fetched again at once
        }
        if (!may_begin) {  // nor does what is behind it; each goes before all others, so the first one last
          for (std::size_t n = r.batch.size(); n-- > i;) r.results.push_back(r.not_run(n));
          break;
        }
        if (!begin(r, i)) {
          r.results.push_back(r.not_run(i));
          continue;
        }
        job_outcome outcome = job_outcome::done();
        std::exception_ptr failure;
        std::optional<dependent<open_span, Payload>> span;
        if (observers::trace()) [[unlikely]]
          begin_span(span, r.batch[i]);
        try {
          job<Payload> j{r};
          using answer_type = std::invoke_result_t<F&, job<Payload>&>;
          using value_type = typename job_answer_of<answer_type>::type;
          if constexpr (std::same_as<answer_type, eventual_outcome>) {
            auto answer = handle(j);
            if (answer.later) {
              auto rest = stoppable(*std::move(answer.later), r);
              outcome = co_await std::move(rest);
            } else {
              outcome = std::move(answer.now);
            }
          } else if constexpr (!job_answer_of<answer_type>::awaited) {
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
        if (span) [[unlikely]]
          span->end(failure ? trace_outcome::failed : as_traced(outcome), failure);
        if (failure) outcome = outcome_of_failure(std::move(failure));
        end(r, i, outcome);
      }
      if (!shared_ && !where.is_inline()) {  // others want the thread, too
        auto others = where.schedule();
        co_await others;
      }
    }
    ended.done();  // the last touch but for the end of the coroutine, which the destructor waits for
  }

  /// Whether the runners' calls are shared: then call() is to be run, too.
  [[nodiscard]] bool shares() const noexcept { return shared_.has_value(); }
  root<void> call(any_scheduler where) { return shared_->call(where, ended); }

  [[nodiscard]] job_worker_stats stats() const {
    std::size_t running = 0;
    for (const auto& r : runners) {
      std::scoped_lock guard{r->lock};
      if (r->running) ++running;
    }
    return {.completed = calls_.settled(settle_as::completed),
            .failed = calls_.settled(settle_as::failed),
            .retried = calls_.settled(settle_as::retry),
            .released = calls_.settled(settle_as::released),
            .waited = calls_.settled(settle_as::waiting_children),
            .lost = calls_.lost(),
            .store_errors = keeper.store_errors(),
            .running = running,
            .concurrency = runners.size(),
            .queue_wait = times_ ? std::optional{times_->wait.snapshot()} : std::nullopt,
            .run_time = times_ ? std::optional{times_->run.snapshot()} : std::nullopt};
  }

  const job_worker_options options;
  const std::shared_ptr<dependent<worker_signal, Payload>> signal;
  std::stop_source quit;
  wait_group ended;  // the runners
  std::vector<std::unique_ptr<runner>> runners;
  job_keeper<Payload, Store> keeper;

 private:
  struct times {
    dependent<histogram, Payload> wait;
    dependent<histogram, Payload> run;
  };
  [[nodiscard]] job_time now() const noexcept { return keeper.now(); }
  [[nodiscard]] static job_time later(job_time t, std::chrono::nanoseconds by) noexcept {
    return job_keeper<Payload, Store>::later(t, by);
  }
  [[gnu::cold]] void begin_span(std::optional<dependent<open_span, Payload>>& span,
                                const typename Store::lease_type& lease) noexcept {
    trace_context parent;
    if constexpr (requires { lease.trace(); }) parent = lease.trace();
    span.emplace(traced::job, &store_, lease.name(), parent).begin();
  }
  [[nodiscard]] static trace_outcome as_traced(const job_outcome& o) noexcept {
    switch (o.what()) {
      case job_outcome::kind::done:
      case job_outcome::kind::wait_for_children:
        return trace_outcome::completed;
      case job_outcome::kind::rate_limited:
        return trace_outcome::cancelled;
      default:
        return trace_outcome::failed;
    }
  }
  bool begin(runner& r, std::size_t i) noexcept {
    const std::chrono::nanoseconds timeout = r.batch[i].policy().timeout;
    const job_time stop_at = timeout.count() != 0 ? later(now(), timeout) : no_time;
    if (!r.begin(i, stop_at)) {
      if (options.pace.release) released_pace();
      return false;
    }
    if (stop_at != no_time) keeper.wake_by(stop_at);
    if (times_) {
      r.began = now();
      const job_time since = r.batch[i].due_since();
      if (since != no_time) times_->wait.record(std::max(r.began - since, job_time{0}));  // its clock may be another host's
    }
    return true;
  }
  void end(runner& r, std::size_t i, const job_outcome& outcome) noexcept {
    if (times_) times_->run.record(std::max(now() - r.began, job_time{0}));
    const bool given_up = r.end();
    if (options.pace.release) released_pace();
    const auto& lease = r.batch[i];
    const job_policy& policy = lease.policy();
    const bool again = lease.attempt() < policy.attempts;
    job_settlement<typename Store::lease_type> s{.lease = &r.batch[i], .why = outcome.why(), .value = outcome.value()};
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
        calls_.hold_until(s.at);
        break;
      case job_outcome::kind::wait_for_children:
        s.how = settle_as::waiting_children;
        break;
    }
    if (r.cancelled_as != nullptr) {  // whatever it gave
      s.how = settle_as::failed;
      s.why = std::move(r.cancelled_as);
      s.value = nullptr;
    } else if (given_up &&
               s.how != settle_as::completed) {  // it was stopped: if the job is here still, that is no failure of its own
      s.how = settle_as::released;
      s.at = {};
    }
    s.then = r.outbox.close(s.how == settle_as::completed || s.how == settle_as::waiting_children);
    r.results.push_back(std::move(s));
    if (i + 1 < r.batch.size() && now() - r.fetched_at >= options.settle_within) calls_.tell(r, i + 1);
  }
  [[nodiscard]] std::chrono::nanoseconds delay_after(const job_policy& policy, unsigned attempt,
                                                     std::uint64_t fence) const noexcept {
    splitmix64 random{seed_ ^ fence};
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

  void released_pace() const noexcept {
    try {
      options.pace.release();
    } catch (...) {
    }
  }

  Store& store_;
  worker_calls<Payload, Store> calls_;
  std::optional<shared_calls<Payload, Store>> shared_;  // with a store that blocks, and more than one run at a time
  std::unique_ptr<times> times_;                        // with metrics
  const std::uint64_t seed_ = options.seed != 0 ? options.seed : fresh_seed();
  event never_set_;
};

}  // namespace penstock::inline v0_1::detail
