// penstock/job/detail/worker_calls.hpp: what a worker asks of its store and tells it: one step for what was run and what is run next.
//
// A pause that a handler asks for (rate_limited) and the pause after an error are one time, before which nothing is fetched; what has ended is told
// all the same.
//
// Thread safety  turn() and tell() belong to a runner, everything else may be called concurrently.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <stop_token>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/result.hpp>
#include <penstock/job/detail/job_keeper.hpp>
#include <penstock/job/detail/job_runner.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/job_worker_options.hpp>

namespace penstock::inline v0_1::detail {

template <class Payload, class Store>
class worker_calls {
 public:
  using runner = job_runner<Payload, Store>;
  using lease = typename Store::lease_type;
  using settlement = job_settlement<lease>;

  /// All of them outlive it.
  worker_calls(Store& store, const job_worker_options& options, job_keeper<Payload, Store>& keeper, worker_signal& signal,
               const std::stop_source& quit)
      : store_{store}, options_{options}, keeper_{keeper}, signal_{signal}, quit_{quit} {}

  [[nodiscard]] bool quitting() const noexcept { return quit_.stop_requested(); }
  [[nodiscard]] job_time now() const noexcept { return keeper_.now(); }
  [[nodiscard]] static job_time later(job_time t, std::chrono::nanoseconds by) noexcept {
    return job_keeper<Payload, Store>::later(t, by);
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
  /// Somebody will look when it is over.
  void wake_after_hold() noexcept {
    keeper_.wake_by(job_time{hold_until_.load(std::memory_order_relaxed)});  // relaxed: a time
  }

  /// Tells the store of what a runner has run, and fetches its next batch. False: the store's error, and nothing has changed.
  bool turn(runner& r) noexcept {
    const job_time t = now();
    const bool fetches = !quitting() && !on_hold();
    job_fetched fetched;
    try {
      const fetch_request q{.worker = options_.name,
                            .most = fetches ? options_.batch : 0,
                            .now = t,
                            .lease_until = later(t, options_.lock_duration)};
      const result<dependent<job_fetched, Payload>> got = store_.fetch(q, r.results, r.next);
      if (!got) return keeper_.report({got.error()}), false;
      fetched = *got;
    } catch (...) {
      keeper_.report(job_store_failure::caught());
      if (!r.results.empty()) tell(r, r.batch.size());  // what cannot be fetched does not keep what was done
      return false;
    }
    account(r);
    r.renew_batch();
    r.fetched_at = t;
    if (fetches) {
      if (fetched.more) signal_.work_ready();
      if (fetched.next_due != no_time) keeper_.wake_by(fetched.next_due);
    } else if (!quitting()) {
      wake_after_hold();
    }
    return true;
  }
  /// What waits behind a long job in a batch does not keep what was done before it.
  void tell(runner& r, std::size_t upto) noexcept {
    r.fetched_at = now();
    try {
      if (const result<void> told = store_.settle(r.results, r.fetched_at); !told) return keeper_.report({told.error()});
    } catch (...) {
      return keeper_.report(job_store_failure::caught());
    }
    account(r);
    std::scoped_lock guard{r.lock};
    r.settled = upto;
  }

  /// The store was told of these.
  void count(std::span<const settlement> told) noexcept {
    std::array<std::uint64_t, lost_at + 1> n{};  // summed first: other runners count in the same words
    for (const settlement& s : told) ++n[s.stale ? lost_at : static_cast<std::size_t>(s.how)];
    for (std::size_t i = 0; i < n.size(); ++i) {
      if (n[i] != 0) settled_[i].fetch_add(n[i], std::memory_order_relaxed);  // relaxed: a count
    }
  }
  [[nodiscard]] std::uint64_t settled(settle_as how) const noexcept {
    return settled_[static_cast<std::size_t>(how)].load(std::memory_order_relaxed);  // relaxed: a count
  }
  [[nodiscard]] std::uint64_t lost() const noexcept {
    return settled_[lost_at].load(std::memory_order_relaxed);  // relaxed: a count
  }

 private:
  void account(runner& r) noexcept {
    count(r.results);
    r.results.clear();
    r.outbox.clear();
  }

  Store& store_;
  const job_worker_options& options_;
  job_keeper<Payload, Store>& keeper_;
  worker_signal& signal_;
  const std::stop_source& quit_;
  std::atomic<std::int64_t> hold_until_{0};  // nothing is fetched before; 0: no such time

  static constexpr std::size_t lost_at = 5;
  std::array<std::atomic<std::uint64_t>, lost_at + 1> settled_{};  // by settle_as; the last: lost
};

}  // namespace penstock::inline v0_1::detail
