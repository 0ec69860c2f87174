// penstock/job/detail/job_keeper.hpp: sees to time for a worker: renews leases, takes back those that ran out, wakes a runner when a delayed job is due, and
// requests stop of runs whose time has passed.
//
// Where it runs        on the clock's timer thread, by a scheduler that hands it over to that thread always: were it resumed by a runner, it would go on
//                      behind the handler that runs there, and leases would run out. With a store that blocks it is a thread.
// Who may touch what   the runners' batches are theirs. What the keeper needs of them (`held`: the numbers of the leases; why and when to stop the run)
//                      is a copy under each runner's lock.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/backoff.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/request_stop.hpp>
#include <penstock/core/detail/root.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/timer_service.hpp>
#include <penstock/job/detail/job_runner.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/job_worker_options.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1::detail {

/// Runs a coroutine on the thread that fires a clock's timers. One item at a time.
template <class Sync = std_sync>
class basic_timer_context {
 public:
  /// Throws std::system_error if that thread cannot be started.
  explicit basic_timer_context(basic_timer_queue<Sync>& timers) : timers_{timers}, entry_{*this} {
    timers_.add(entry_, never - 1);  // so that execute() does not throw
    timers_.remove(entry_);
  }
  ~basic_timer_context() { timers_.remove(entry_); }
  void execute(work_item& item) noexcept {
    entry_.item = &item;
    timers_.add(entry_, timers_.now());
  }

 private:
  struct entry : timer_entry<Sync> {
    explicit entry(basic_timer_context&) noexcept {
      this->fire = [](timer_entry<Sync>& self) noexcept {
        work_item& next = *static_cast<entry&>(self).item;
        next();  // the last touch
      };
    }
    work_item* item = nullptr;
  };
  basic_timer_queue<Sync>& timers_;
  entry entry_;
};

using timer_context = basic_timer_context<>;

template <class Payload, class Store>
class job_keeper {
 public:
  using runner = job_runner<Payload, Store>;
  using runners = std::vector<std::unique_ptr<runner>>;

  /// All of them outlive it; there are as many runners as there will be before it begins.
  job_keeper(Store& store, const any_clock& clock, const job_worker_options& options, const runners& all, worker_signal& signal)
      : store_{store}, clock_{clock}, options_{options}, runners_{all}, signal_{signal} {
    const job_time t = now();
    renew_at_ = later(t, options_.lock_duration / 2);
    stalled_at_ = later(t, options_.stalled_interval);
  }

  [[nodiscard]] timer_queue& timers() const noexcept {
    timer_queue* const own = clock_.after(std::chrono::nanoseconds{0}).queue();
    return own != nullptr ? *own : std_sync::steady_timers();
  }
  [[nodiscard]] job_time now() const noexcept { return job_time{clock_.now()}; }
  [[nodiscard]] static job_time later(job_time t, std::chrono::nanoseconds by) noexcept {
    return job_time{saturating_add(t.count(), by.count())};
  }

  root<void> keep() {
    while (!over_.load()) {
      const job_time next = upkeep();
      auto rest = alarm_.async_wait() | with_deadline(deadline{next.count(), timers()});
      static_cast<void>(co_await std::move(rest));
    }
  }
  /// The same for a store that blocks, on a thread of its own.
  void keep_here() noexcept {
    while (!over_.load()) {
      const job_time next = upkeep();
      static_cast<void>(alarm_.wait(wait_limits{.deadline = deadline{next.count(), timers()}}));
    }
  }
  void end() noexcept {
    over_.store(true);
    alarm_.set();
  }

  /// Somebody is to look at the store by then.
  void wake_by(job_time t) noexcept {
    std::int64_t seen = wake_at_.load();
    while (t.count() < seen) {
      if (wake_at_.compare_exchange_weak(seen, t.count())) return alarm_.set();
    }
  }
  /// Takes the jobs away from the runs that go on, so that others may run them, and requests stop of those. In few calls, and none after one that fails: a
  /// store that is out of reach keeps who asks waiting once, and not once for each run.
  void give_up_runs() noexcept {
    std::vector<lease_ticket> tickets;
    for (std::size_t n = runners_.size(); n-- > 0;) {  // each job goes before all others, so the first one last
      runner& r = *runners_[n];
      try {
        tickets.reserve(tickets.size() + options_.batch);
      } catch (...) {
        report(job_store_failure::caught());
      }
      std::scoped_lock guard{r.lock};
      for (std::size_t i = r.held.size(); i-- > std::max(r.settled, r.finished);) {
        if (r.why_cancelled(i) != nullptr) continue;  // it is not to be run by others
        if (tickets.size() < tickets.capacity()) tickets.push_back(r.held[i]);
        r.held[i].lost = true;
      }
    }
    hand_back(tickets);
    for (const auto& r : runners_) {  // also if the store could not be told: the runner will
      std::optional<dependent<std::stop_source, Payload>> stop;
      {
        std::scoped_lock guard{r->lock};
        if (r->running) stop = r->unwant();
      }
      if (stop) request_stop(*stop);
    }
  }

  /// See job_worker::cancel(). False: no run of this worker that goes on or will begin. Throws std::bad_alloc.
  [[nodiscard]] bool cancel_run(const job_id& id, const job_text& why) {
    for (const auto& r : runners_) {
      std::optional<dependent<std::stop_source, Payload>> stop;
      if (!r->cancel(id, why, stop)) continue;
      if (stop) request_stop(*stop);
      return true;
    }
    return false;
  }

  /// The store has failed; counted, and told.
  void report(const job_store_failure& why) noexcept {
    store_errors_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a count
    if (!options_.on_store_error) return;
    try {
      options_.on_store_error(why);
    } catch (...) {
    }
  }
  [[nodiscard]] std::uint64_t store_errors() const noexcept {
    // relaxed: a count
    return store_errors_.load(std::memory_order_relaxed);
  }

 private:
  void hand_back(std::span<lease_ticket> tickets) noexcept {
    constexpr std::size_t at_a_time = 128;  // a longer call would keep a server from others
    try {
      for (; !tickets.empty(); tickets = tickets.subspan(std::min(at_a_time, tickets.size()))) {
        const result<void> back = store_.hand_back(tickets.first(std::min(at_a_time, tickets.size())), now());
        if (!back) return report({back.error()});
      }
    } catch (...) {
      report(job_store_failure::caught());
    }
  }
  // What is due, and when to come back.
  job_time upkeep() noexcept {
    const job_time t = now();
    if (t >= renew_at_) {
      // After an error soon again, while the leases hold still.
      renew_at_ = later(t, renew(t) ? options_.lock_duration / 2 : std::min(options_.error_pause, options_.lock_duration / 8));
    }
    if (t >= stalled_at_) {
      try {
        if (const result<dependent<stalled_jobs, Payload>> r = store_.take_back_stalled(t, options_.max_stalled); !r)
          report({r.error()});
      } catch (...) {
        report(job_store_failure::caught());
      }
      stalled_at_ = later(t, options_.stalled_interval);
    }
    const job_time stop_next = stop_late_runs(t);
    std::int64_t wake = wake_at_.load();
    while (wake <= t.count()) {
      if (!wake_at_.compare_exchange_weak(wake, never)) continue;
      signal_.work_ready();
      wake = wake_at_.load();
    }
    return std::min({renew_at_, stalled_at_, stop_next, job_time{wake}});
  }
  // False: the store's error.
  bool renew(job_time t) noexcept {
    try {
      tickets_.clear();
      owners_.clear();
      for (const auto& r : runners_) {
        std::scoped_lock guard{r->lock};
        for (std::size_t i = r->settled; i < r->held.size(); ++i) {
          if (r->held[i].lost) continue;
          tickets_.push_back(r->held[i]);
          owners_.push_back(r.get());
        }
      }
      if (tickets_.empty()) return true;
      if (const result<void> done = store_.extend(tickets_, t, later(t, options_.lock_duration)); !done)
        return report({done.error()}), false;
    } catch (...) {
      return report(job_store_failure::caught()), false;
    }
    for (std::size_t n = 0; n < tickets_.size(); ++n) {
      if (tickets_[n].lost) lose(*owners_[n], tickets_[n].fence);
    }
    return true;
  }
  void lose(runner& r, std::uint64_t fence) noexcept {
    std::optional<dependent<std::stop_source, Payload>> stop;
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
    for (const auto& r : runners_) {
      std::optional<dependent<std::stop_source, Payload>> stop;
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

  Store& store_;
  const any_clock clock_;
  const job_worker_options& options_;
  const runners& runners_;
  worker_signal& signal_;
  std::atomic<std::int64_t> wake_at_{never};  // lowered by runners, taken by the keeper
  auto_reset_event alarm_;                    // wake_at_ was lowered, or it is over
  std::atomic<bool> over_{false};
  std::atomic<std::uint64_t> store_errors_{0};
  // Of who keeps:
  job_time renew_at_;
  job_time stalled_at_;
  std::vector<lease_ticket> tickets_;
  std::vector<runner*> owners_;
};

}  // namespace penstock::inline v0_1::detail
