// penstock/job/detail/job_runner.hpp: one of the jobs of a worker that run at a time, the leases behind it, and what wakes it.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/result.hpp>
#include <penstock/job/detail/job_outbox.hpp>
#include <penstock/job/job.hpp>
#include <penstock/job/job_codec.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1::detail {

/// What a worker and its store share.
class worker_signal final : public store_listener {
 public:
  // If it is set already, who takes it looks after that: the store's lock orders its look and what was put in before this.
  void work_ready() noexcept override {
    if (!news.load()) news.store(true);
    if (!work.is_set()) work.set();
  }
  auto_reset_event work;
  std::atomic<bool> news{
      false};  // that was the store, and no run that has ended: for shared_calls, which clears it before it asks
};

/// One of the jobs that run at a time, and the leases behind it.
template <class Payload, class Store>
class job_runner final : public job_run<Payload> {
 public:
  using lease = typename Store::lease_type;

  job_runner(Store& s, std::size_t most) : store{s} {
    batch.reserve(most);
    next.reserve(most);
    results.reserve(most);
    held.reserve(most);
  }
  const Payload& payload() const noexcept override { return batch[current].payload(); }
  job_id id() const noexcept override { return batch[current].id(); }
  std::string_view name() const noexcept override { return batch[current].name(); }
  unsigned attempt() const noexcept override { return batch[current].attempt(); }
  std::uint64_t fence() const noexcept override { return batch[current].fence(); }
  result<void> progress(double done) override { return store.progress(batch[current], done); }
  result<void> log(std::string line) override { return store.log(batch[current], std::move(line)); }
  result<void> enqueue(Payload&& payload, const enqueue_options& o, bool child) override {
    if (!has_families<Store> && (child || o.parent)) return errc::unsupported;
    // What the store cannot write down is refused here: with the settlement it would be for ever, and the job never over.
    if constexpr (Store::blocks && job_encodable<Payload>) static_cast<void>(job_codec<Payload>::encode(payload));
    outbox.put(std::move(payload), o, child);
    return {};
  }
  result<dependent<std::vector<job_child>, Payload>> children() const override { return store.children(id()); }
  std::stop_token get_stop_token() override {
    std::scoped_lock guard{lock};
    if (!stop) {
      stop.emplace();
      if (unwanted) stop->request_stop();  // nobody listens yet
    }
    return stop->get_token();
  }

  /// False: the lease is lost already, or the job was cancelled.
  bool begin(std::size_t i, job_time stop_when) noexcept {
    std::scoped_lock guard{lock};
    if (held[i].lost || why_cancelled(i) != nullptr) return false;
    current = i;
    running = true;
    unwanted = false;
    stop_at = stop_when;
    return true;
  }
  /// True: the job was taken from this run, or was to be.
  bool end() noexcept {
    std::optional<dependent<std::stop_source, Payload>> gone;  // destroyed after unlocking
    std::scoped_lock guard{lock};
    gone.swap(stop);
    running = false;
    finished = current + 1;
    stop_at = no_time;
    cancelled_as = why_cancelled(current);
    return held[current].lost;
  }
  /// One that does not begin: handed back, or failed if it was cancelled.
  [[nodiscard]] job_settlement<lease> not_run(std::size_t i) noexcept {
    std::scoped_lock guard{lock};
    finished = std::max(finished, i + 1);
    job_text why = why_cancelled(i);
    const settle_as how = why != nullptr ? settle_as::failed : settle_as::released;
    return {.lease = &batch[i], .how = how, .why = std::move(why)};
  }
  /// False: it has no such job, or that one's run has ended. Otherwise the job fails when its run ends, or does not begin; stop is to be requested of what is
  /// put into `running_one`, without the lock. Throws std::bad_alloc; then nothing has changed.
  [[nodiscard]] bool cancel(const job_id& which, const job_text& why,
                            std::optional<dependent<std::stop_source, Payload>>& running_one) {
    std::scoped_lock guard{lock};
    for (std::size_t i = std::max(settled, finished); i < held.size(); ++i) {
      if (held[i].lost || !(held[i].id == which)) continue;
      if (why_cancelled(i) == nullptr) cancelled.emplace_back(i, why);
      if (running && current == i) running_one = unwant();
      return true;
    }
    return false;
  }
  /// With the lock held. Null: it was not.
  [[nodiscard]] job_text why_cancelled(std::size_t i) const noexcept {
    for (const auto& [place, why] : cancelled) {
      if (place == i) return why;
    }
    return nullptr;
  }
  /// With the lock held: the run that goes on is not wanted any more. Stop is to be requested of what this gives, without the lock; if nobody has asked for the
  /// token yet, the wish is kept.
  [[nodiscard]] std::optional<dependent<std::stop_source, Payload>> unwant() noexcept {
    unwanted = true;
    stop_at = no_time;
    return stop;
  }
  /// The batch was fetched, or all of the last one was told to the store.
  void renew_batch() noexcept {
    {
      std::scoped_lock guard{lock};
      batch.swap(next);
      held.clear();
      for (const lease& l : batch) held.push_back({.id = l.id(), .fence = l.fence()});
      cancelled.clear();
      settled = 0;
      finished = 0;
    }
    next.clear();
  }

  Store& store;
  std::vector<lease> batch;
  std::vector<lease> next;
  std::vector<job_settlement<lease>> results;  // of the batch, that the store was not told of
  job_outbox<Payload> outbox;                  // what these are to add
  job_time fetched_at{0};
  std::size_t current = 0;
  job_time began{0};      // this run, with metrics
  job_text cancelled_as;  // the run that has ended; null: it was not

  // Of one whose calls are shared (shared_calls.hpp):
  auto_reset_event told;                                          // there is a batch, or it is dismissed
  bool dismissed = false;                                         // nothing will come any more
  std::size_t company = std::numeric_limits<std::size_t>::max();  // how many may tell their results in one call with it
  job_time retry_at{0};                                           // its results are not told before

  polled_mutex<> lock;
  // Guarded by it:
  std::vector<dependent<lease_ticket, Payload>> held;                           // as batch
  std::size_t settled = 0;                                                      // how many of them the store was told of
  std::size_t finished = 0;                                                     // how many of them have ended, and will be told
  std::vector<std::pair<std::size_t, dependent<job_text, Payload>>> cancelled;  // places in `held`, and why
  std::optional<dependent<std::stop_source, Payload>> stop;
  bool running = false;
  bool unwanted = false;
  job_time stop_at = no_time;
};

}  // namespace penstock::inline v0_1::detail
