// penstock/pool/detail/worker_stats.hpp: what one worker of a pool counts and measures.
//
// Counts are words that one thread writes and any may read: a plain load and store each, no read-modify-write.
//
// A worker that measures reads the clock when it finds work after a rest, at the beginning and the end of each task that is timed (one in so many),
// and when it finds no more work. Where the last piece was timed, its end is the beginning of the next one, so a worker that times each piece reads the
// clock once for each, with the search for the next piece at its beginning (some 20 ns). Its busy time is the time between wake() and rest(),
// whichever pieces are timed. Nobody knows when a piece began that is not timed and follows another such one: those who look see by the counts that it
// is still the same.
//
// Thread safety  the worker's own, but for add_to(), which is anybody's, and what says that it is shared.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/observe/busy_time.hpp>
#include <penstock/observe/detail/event_timing.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/pool/detail/work.hpp>
#include <penstock/pool/pool_stats.hpp>

namespace penstock::inline v0_1::detail {

/// Submissions that were refused. Thread-safe.
class alignas(cache_line) refusals {  // on a line of its own, lest who polls for room disturb the others
 public:
  void count(std::error_code why) noexcept {
    if (why == errc::closed) return add(closed_);
    if (why == errc::full) return add(full_);
    if (why == errc::rejected) return add(rejected_);
    if (why == errc::timeout) return add(timeout_);
    if (why == errc::cancelled) return add(cancelled_);
  }
  [[nodiscard]] pool_rejections read() const noexcept {
    // relaxed, all: counters
    return {.closed = closed_.load(std::memory_order_relaxed),
            .full = full_.load(std::memory_order_relaxed),
            .rejected = rejected_.load(std::memory_order_relaxed),
            .timeout = timeout_.load(std::memory_order_relaxed),
            .cancelled = cancelled_.load(std::memory_order_relaxed)};
  }

 private:
  static void add(std::atomic<std::size_t>& n) noexcept { n.fetch_add(1, std::memory_order_relaxed); }  // relaxed: a counter

  std::atomic<std::size_t> closed_{0}, full_{0}, rejected_{0}, timeout_{0}, cancelled_{0};
};

/// What became of a task that a thread took out in order to run it.
enum class fate : unsigned char {
  completed,
  failed,
  expired,
  cancelled,
  begun_before,  ///< by somebody who waited for it, who counts it
};

[[nodiscard]] constexpr bool was_run(fate how) noexcept { return how == fate::completed || how == fate::failed; }

/// The times of one worker, or of all those who are none. Two histograms: it belongs on the heap.
template <class Sync>
class worker_meter {
 public:
  worker_meter(const any_clock& clock, std::uint32_t time_every) noexcept : clock_{clock}, weight_{time_every} {}

  [[nodiscard]] nanoseconds_point now() const noexcept { return clock_.now(); }

  // By the worker. Its thread is there, from before it is started until it ends.
  void arrive() noexcept { presence_.enter(at(now())); }
  void leave() noexcept { presence_.leave(at(now())); }

  /// It has found work after a rest.
  void wake() noexcept {
    last_ = now();
    work_.enter(at(last_));
  }
  /// A piece begins; if it is a task that is timed, it was submitted at `since`.
  void begin(nanoseconds_point since) noexcept {
    if (last_ == untimed) {
      if (since == untimed) return;  // began_ says so already
      last_ = now();
    }
    began_.store(last_, std::memory_order_relaxed);  // relaxed: worker_record::active_ publishes the first one
  }
  void end() noexcept {
    if (last_ == untimed) return;
    last_ = weight_ == 1 ? now() : untimed;
    began_.store(last_, std::memory_order_relaxed);  // relaxed: as above
  }
  /// A task ends, which was submitted at `since`.
  void end_task(nanoseconds_point since) noexcept {
    if (since == untimed) return end();
    const nanoseconds_point began = std::exchange(last_, now());
    record(since, began, last_);
  }
  /// There is no more work.
  void rest() noexcept { work_.leave(at(last_ != untimed ? last_ : now())); }

  /// Shared. A task that is timed was run from `began` to `ended`. It stands for as many as its chance was one in.
  void record(nanoseconds_point since, nanoseconds_point began, nanoseconds_point ended) noexcept {
    const auto length = [](nanoseconds_point from, nanoseconds_point to) {
      return static_cast<std::uint64_t>(std::max<nanoseconds_point>(to - from, 0));
    };
    const std::uint64_t weight = event_timing::weight(since, weight_);
    queue_wait_.record_n(length(since, began), weight);
    run_time_.record_n(length(began, ended), weight);
  }

  /// For how long what runs now has done so, after `pieces` others: if nobody knows when it began, since somebody asked for the first time.
  [[nodiscard]] std::chrono::nanoseconds running(nanoseconds_point until, std::size_t pieces) const noexcept {
    const nanoseconds_point began = began_.load(std::memory_order_relaxed);  // relaxed: see begin()
    if (began != untimed) return std::chrono::nanoseconds{until - began};
    const std::scoped_lock guard{looking_};
    if (std::exchange(looked_at_, pieces) != pieces) first_look_ = until;
    return std::chrono::nanoseconds{std::max<nanoseconds_point>(until - first_look_, 0)};
  }
  /// Throws std::bad_alloc.
  void add_to(pool_stats& sum, nanoseconds_point until) const {
    sum.queue_wait.merge(queue_wait_.snapshot());
    sum.run_time.merge(run_time_.snapshot());
    sum.busy.merge({work_.snapshot(at(until)).busy, presence_.snapshot(at(until)).busy});
  }

 private:
  struct timeline {
    using duration = std::chrono::nanoseconds;
    using time_point = std::chrono::time_point<timeline, duration>;
  };
  using time_point = typename timeline::time_point;
  static time_point at(nanoseconds_point t) noexcept { return time_point{std::chrono::nanoseconds{t}}; }

  const any_clock clock_;
  const std::uint64_t weight_;
  nanoseconds_point last_ =
      0;  // when the last piece ended, or the worker found the first one after a rest; untimed: nobody has looked
  std::atomic<nanoseconds_point> began_{0};
  mutable std::mutex looking_;
  // How many pieces had ended when somebody looked last; guarded by looking_. At first: never so many.
  mutable std::size_t looked_at_ = std::numeric_limits<std::size_t>::max();
  mutable nanoseconds_point first_look_ = 0;  // when it was seen first; likewise
  basic_busy_time<timeline> presence_{1, at(now())};
  basic_busy_time<timeline> work_{1, at(now())};
  histogram queue_wait_;
  histogram run_time_;
};

/// What a worker counts. One for all those who are no workers counts by count_shared() only.
template <class Sync>
class worker_record {
 public:
  /// Measures from now on. Before the worker's thread is started; once, though its place may be that of several threads, one after the other. Throws
  /// std::bad_alloc.
  void measure(const any_clock& clock, std::uint32_t time_every) {
    if (meter_ == nullptr) meter_ = std::make_unique<worker_meter<Sync>>(clock, time_every);
  }
  [[nodiscard]] worker_meter<Sync>* meter() const noexcept { return meter_.get(); }

  void arrive() noexcept {
    if (meter_ != nullptr) meter_->arrive();
  }
  void leave() noexcept {
    if (meter_ != nullptr) meter_->leave();
  }

  /// The worker begins a piece of work; `since` is that of a task.
  void begin(nanoseconds_point since) noexcept {
    if (has_to_note_) [[unlikely]]
      note_beginning(since);
  }
  /// `resumption`: it counts as one.
  void end(bool resumption) noexcept {
    if (meter_ != nullptr) meter_->end();
    if (resumption) add(resumed_);
  }
  void end_task(fate how, nanoseconds_point since) noexcept {
    if (meter_ != nullptr) was_run(how) ? meter_->end_task(since) : meter_->end();
    count(how);
  }
  /// It has found no more work.
  void rest() noexcept {
    if (!active_.load(std::memory_order_relaxed)) return;  // relaxed: the worker's own
    if (meter_ != nullptr) meter_->rest();
    has_to_note_ = true;
    active_.store(false, std::memory_order_relaxed);  // relaxed: a statistic
  }

  void count(fate how) noexcept {
    if (how == fate::completed) add(completed_);
    if (how == fate::failed) add(failed_);
    if (how == fate::cancelled) add(cancelled_);
  }
  // relaxed, both: counters
  void count_shared(fate how) noexcept {
    if (how == fate::completed) completed_.fetch_add(1, std::memory_order_relaxed);
    if (how == fate::failed) failed_.fetch_add(1, std::memory_order_relaxed);
    if (how == fate::cancelled) count_cancelled_shared();
  }
  /// A task that no queue has counted.
  void count_completed_here() noexcept { add(completed_here_); }
  void count_run_here(fate how) noexcept {
    if (how == fate::completed) return count_completed_here();
    add(ended_here_);
    count(how);
  }
  void count_run_here_shared(fate how) noexcept {
    ended_here_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
    count_shared(how);
  }
  void count_cancelled_shared() noexcept { cancelled_.fetch_add(1, std::memory_order_relaxed); }  // relaxed: a counter
  void count_cancelled() noexcept { add(cancelled_); }
  void count_resumed() noexcept { add(resumed_); }
  void count_steal() noexcept { add(steals_); }
  void count_wake() noexcept { add(wakes_); }

  /// `until`: now, if it measures. Throws std::bad_alloc.
  void add_to(pool_stats& sum, std::size_t index, nanoseconds_point until) const {
    add_to(sum, until);
    if (!active_.load(std::memory_order_acquire)) return;  // acquire: pairs with the release in begin()
    ++sum.active;
    if (meter_ == nullptr) return;
    // relaxed, all: counters
    const std::size_t pieces = completed_.load(std::memory_order_relaxed) + failed_.load(std::memory_order_relaxed) +
                               cancelled_.load(std::memory_order_relaxed) + resumed_.load(std::memory_order_relaxed);
    const std::chrono::nanoseconds running = meter_->running(until, pieces);
    if (running < sum.longest_running) return;
    sum.longest_running = running;
    sum.longest_worker = index;
  }
  void add_to(pool_stats& sum, nanoseconds_point until) const {
    // relaxed, all: counters
    const std::size_t completed_here = completed_here_.load(std::memory_order_relaxed);
    sum.completed += completed_.load(std::memory_order_relaxed) + completed_here;
    sum.failed += failed_.load(std::memory_order_relaxed);
    sum.cancelled += cancelled_.load(std::memory_order_relaxed);
    sum.submitted += ended_here_.load(std::memory_order_relaxed) + completed_here;  // relaxed, below, too
    sum.resumed += resumed_.load(std::memory_order_relaxed);
    sum.steals += steals_.load(std::memory_order_relaxed);
    sum.wakes += wakes_.load(std::memory_order_relaxed);
    if (meter_ != nullptr) meter_->add_to(sum, until);
  }

 private:
  using counter = std::atomic<std::size_t>;

  void note_beginning(nanoseconds_point since) noexcept {
    const bool rested = !active_.load(std::memory_order_relaxed);  // relaxed: the worker's own
    if (meter_ != nullptr) {
      if (rested) meter_->wake();
      meter_->begin(since);
    }
    if (rested) active_.store(true, std::memory_order_release);  // release: pairs with the acquire in add_to()
    has_to_note_ = meter_ != nullptr;
  }
  // relaxed, both: one thread writes it, and it publishes nothing
  static void add(counter& c) noexcept { c.store(c.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }

  std::unique_ptr<worker_meter<Sync>> meter_;  // null: it only counts
  bool has_to_note_ = true;  // when a piece begins: it is the first one after a rest, or each one is measured. The worker's own
  std::atomic<bool> active_{false};
  counter completed_{0};
  counter failed_{0};
  counter completed_here_{0};  // tasks that found no room and were run where they were submitted
  counter ended_here_{0};      // others of these
  counter cancelled_{0};
  counter resumed_{0};
  counter steals_{0};
  counter wakes_{0};
};

}  // namespace penstock::inline v0_1::detail
