// penstock/job/detail/shared_calls.hpp: one call to a store that blocks for all the runs of a worker that have something for it.
//
// A run that has ended, or has nothing to do, stands in line. The caller, a coroutine of its own, takes all that stand there by then, tells the store
// in one call how their jobs ended, fetches as many as these runs can begin, and gives each its own. While it waits for the answer others end and
// come into the line: so a call carries one job when there is one, and fifty when fifty are ended during a call, without anybody waiting for company.
// Nobody is given a job that has to wait behind another one of its call (but those of a `batch`).
//
// Errors         a call that failed is divided: those who had something to tell do it next in two calls, and so on, so that what the store does not
//                take (or what makes it fail) becomes one run's own affair. They fetch nothing until they were heard.
// Invariants     a runner is in line, or in the group of the call under way, or runs what it was given; what it holds is touched by the caller in the
//                first two cases only, by the runner itself in the last.
// Thread safety  enter() belongs to the runner, call() is one coroutine.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/detail/root.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/job/detail/job_keeper.hpp>
#include <penstock/job/detail/job_runner.hpp>
#include <penstock/job/detail/worker_calls.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/job_worker_options.hpp>
#include <penstock/sync/wait_group.hpp>

namespace penstock::inline v0_1::detail {

template <class Payload, class Store>
class shared_calls {
 public:
  using runner = job_runner<Payload, Store>;
  using lease = typename Store::lease_type;
  using settlement = job_settlement<lease>;

  /// All of them outlive it. Throws std::bad_alloc; later nothing here allocates.
  shared_calls(Store& store, const job_worker_options& options, job_keeper<Payload, Store>& keeper, worker_signal& signal,
               worker_calls<Payload, Store>& calls, const std::stop_source& quit)
      : store_{store},
        options_{options},
        keeper_{keeper},
        signal_{signal},
        calls_{calls},
        quit_{quit},
        left_{options.concurrency} {
    line_.reserve(left_);
    group_.reserve(left_);
    const std::size_t jobs = std::max(at_a_time, options.batch);
    told_.reserve(jobs);
    leases_.reserve(jobs);
  }

  /// The runner has ended what it was given, or begins. It goes on when its event is set, with a batch, or it is dismissed.
  void enter(runner& r) noexcept {
    {
      std::scoped_lock guard{lock_};
      line_.push_back(&r);
    }
    // If it is set already, who takes it looks at the line after that: the lock orders that look and this entry.
    if (!signal_.work.is_set()) signal_.work.set();
  }

  /// Ends when all runners are dismissed.
  root<void> call(any_scheduler where, wait_group& ended) {
    while (choose()) {
      if (group_.empty()) {
        if (quits_) {  // not whether it quits by now: then choose() has not dismissed those who stand there
          auto next = signal_.work.async_wait();
          static_cast<void>(co_await std::move(next));
        } else {
          auto next = signal_.work.async_wait() | with_stop(quit_.get_token());
          static_cast<void>(co_await std::move(next));
        }
        continue;
      }
      turn();
      if (!where.is_inline()) {  // what was given to runs begins first: what has ended by then goes with the next call
        auto others = where.schedule();
        co_await others;
      }
    }
    ended.done();  // the last touch but for the end of the coroutine, which the destructor waits for
  }

 private:
  static constexpr std::size_t at_a_time = 128;  // jobs: a longer call would keep a server from others
  static constexpr std::size_t anybody = std::numeric_limits<std::size_t>::max();

  // Forms the group of the next call; it is empty if there is nothing to ask or to tell. False: nobody is left.
  bool choose() noexcept {
    // Cleared before the store is asked: what was added before is seen, what comes later sets it again.
    if (signal_.news.exchange(false)) asked_ = true;
    group_.clear();
    const bool quits = quits_ = calls_.quitting();
    const bool held = !quits && calls_.on_hold();
    const job_time t = calls_.now();
    job_time retry_next = no_time;
    const std::size_t most = std::max<std::size_t>(at_a_time / options_.batch, 1);
    std::size_t company = anybody;
    {
      std::scoped_lock guard{lock_};
      const auto take = [&](auto wanted) {
        std::erase_if(line_, [&](runner* r) {
          if (!wanted(*r)) return false;
          group_.push_back(r);
          return true;
        });
      };
      take([&](const runner& r) {
        if (r.results.empty()) return false;
        if (!quits && r.retry_at > t) {
          retry_next = std::min(retry_next, r.retry_at);
          return false;
        }
        if (group_.size() >= std::min({most, company, r.company})) return false;
        company = std::min(company, r.company);
        return true;
      });
      tellers_ = group_.size();
      fetches_ = !quits && !held && company == anybody;
      const bool idle_too = quits || (fetches_ && (asked_ || tellers_ != 0));
      if (idle_too) take([&](const runner& r) { return r.results.empty() && (quits || group_.size() < most); });
    }
    // Then some are handed back, each before all others: the first one last.
    if (quits || held) std::reverse(group_.begin(), group_.begin() + static_cast<std::ptrdiff_t>(tellers_));
    if (held && (asked_ || tellers_ != 0)) calls_.wake_after_hold();
    if (retry_next != no_time) keeper_.wake_by(retry_next);  // an earlier alarm took the place of that one
    while (quits && group_.size() > tellers_) {              // who has nothing to tell may go
      dismiss(*group_.back());
      group_.pop_back();
    }
    return left_ != 0;
  }
  void dismiss(runner& r) noexcept {
    --left_;
    r.dismissed = true;
    r.told.set();  // the last touch
  }
  void stand_again(runner& r) noexcept {
    std::scoped_lock guard{lock_};
    line_.push_back(&r);
  }

  void turn() noexcept {
    const job_time t = calls_.now();
    std::span<settlement> told;
    if (tellers_ == 1) {
      told = group_.front()->results;
    } else {
      for (std::size_t i = 0; i < tellers_; ++i) {
        for (settlement& s : group_[i]->results) told_.push_back(std::move(s));
      }
      told = told_;
    }
    asked_ = !fetches_;  // those who only tell now will be free
    job_fetched fetched;
    std::optional<dependent<job_store_failure, Payload>> failure;
    try {
      const fetch_request q{.worker = options_.name,
                            .most = fetches_ ? options_.batch * group_.size() : 0,
                            .now = t,
                            .lease_until = calls_.later(t, options_.lock_duration),
                            .runs = group_.size()};
      if (const result<dependent<job_fetched, Payload>> got = store_.fetch(q, told, leases_); got) {
        fetched = *got;
      } else {
        failure.emplace(job_store_failure{got.error()});
      }
    } catch (...) {
      failure.emplace(job_store_failure::caught());
    }
    if (failure) {
      asked_ = true;
      keeper_.report(*failure);
      return failed(t, failure->thrown != nullptr);
    }
    calls_.count(told);
    told_.clear();
    if (fetched.more) asked_ = true;
    if (fetched.next_due != no_time) keeper_.wake_by(fetched.next_due);
    for (std::size_t i = 0; i < tellers_; ++i) {
      group_[i]->results.clear();
      group_[i]->outbox.clear();
      group_[i]->company = anybody;
    }
    give(t);
  }
  // Each its part of what was fetched; those for whom there is none stand in line again.
  void give(job_time t) noexcept {
    std::size_t given = 0;
    std::size_t places = group_.size();
    for (runner* const r : group_) {
      const std::size_t mine = (leases_.size() - given + places - 1) / places;
      --places;
      for (std::size_t i = 0; i < mine; ++i) r->next.push_back(std::move(leases_[given++]));
      r->renew_batch();
      r->fetched_at = t;
      if (mine != 0) {
        r->told.set();  // from now on it is the runner's
      } else {
        stand_again(*r);
      }
    }
    leases_.clear();
  }
  // Nothing has changed. `thrown`: it was too much, and may do in parts.
  void failed(job_time t, bool thrown) noexcept {
    const bool quits = calls_.quitting();
    const job_time later = calls_.later(t, options_.error_pause);
    std::size_t from = 0;
    for (std::size_t i = 0; i < tellers_; ++i) {
      runner& r = *group_[i];
      if (tellers_ > 1) {
        for (settlement& s : r.results) s = std::move(told_[from++]);
      }
      const bool again = r.company != anybody;
      if (quits && (again || tellers_ == 1)) {  // what the store could not be told of runs out there
        dismiss(r);
        continue;
      }
      r.company = std::max<std::size_t>(tellers_ / 2, 1);
      r.retry_at = thrown && !again ? t : later;
      stand_again(r);
    }
    told_.clear();
    for (std::size_t i = tellers_; i < group_.size(); ++i) stand_again(*group_[i]);
    if (fetches_) calls_.hold_until(later);
    keeper_.wake_by(later);
  }

  Store& store_;
  const job_worker_options& options_;
  job_keeper<Payload, Store>& keeper_;
  worker_signal& signal_;
  worker_calls<Payload, Store>& calls_;
  const std::stop_source& quit_;

  polled_mutex<> lock_;
  std::vector<runner*> line_;  // guarded by it

  // The caller's.
  std::size_t left_;            // runners that were not dismissed
  std::vector<runner*> group_;  // those of the call under way: first those who have something to tell
  std::size_t tellers_ = 0;     // how many these are
  bool fetches_ = false;
  bool quits_ = false;  // as choose() has seen it
  bool asked_ = true;   // somebody said that there may be work, and the store was not asked since
  std::vector<settlement> told_;
  std::vector<lease> leases_;
};

}  // namespace penstock::inline v0_1::detail
