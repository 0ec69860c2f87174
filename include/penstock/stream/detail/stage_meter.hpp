// penstock/stream/detail/stage_meter.hpp: what one stage of a pipeline did, measured so that it is not felt.
//
// Counts are words that one thread writes and any may read: a plain load and store each, no read-modify-write. The clock is not read for every
// item: after a call that took less than `slow` the next one to be timed is twice as far away, up to `furthest` calls, and a timed call
// stands for those that were skipped before it, if it is quick itself; a slow one stands for itself alone, the skipped ones count as the quick
// one before them did. After a slow call the next one is timed. So a stage of nanoseconds reads the clock for one
// item in 64 (about 1 ns per item), and one of milliseconds for each. What is still going on counts until now: a wait, a task on a pool, and a
// call if it is timed.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <penstock/stream/report.hpp>

namespace penstock::inline v0_1::detail {

/// Time that several threads spend, perhaps at once; what they spend just now counts. For what lasts: a lock at either end of it.
template <class Clock>
class basic_shared_time {
 public:
  static std::int64_t now() noexcept { return std::chrono::nanoseconds{Clock::now().time_since_epoch()}.count(); }

  struct running {  // also when what it measures throws
    basic_shared_time& to;
    const std::int64_t began;
    explicit running(basic_shared_time& t) noexcept : to{t}, began{t.begin()} {}
    running(const running&) = delete;
    running& operator=(const running&) = delete;
    ~running() { to.end(began); }
  };

  [[nodiscard]] std::chrono::nanoseconds total() const noexcept {
    std::scoped_lock guard{lock_};
    return std::chrono::nanoseconds{ended_ + running_ * now() - began_};
  }

 private:
  std::int64_t begin() noexcept {
    std::scoped_lock guard{lock_};
    const std::int64_t t = now();
    ++running_;
    began_ += t;
    return t;
  }
  void end(std::int64_t began) noexcept {
    std::scoped_lock guard{lock_};
    ended_ += now() - began;
    --running_;
    began_ -= began;
  }

  mutable std::mutex lock_;
  std::int64_t ended_ = 0;  // the time of what has ended
  std::int64_t running_ = 0;
  std::int64_t began_ = 0;  // the sum of when those that run began
};

/// Clock: a type, for each stage has several and none has room for a reference. A test's stands still between its calls.
template <class Clock = std::chrono::steady_clock>
class basic_stage_meter {
  using shared_time = basic_shared_time<Clock>;

 public:
  explicit basic_stage_meter(std::string name) noexcept : name_{std::move(name)} {}
  // Before the pipeline runs: nothing is measured yet.
  basic_stage_meter(basic_stage_meter&& other) noexcept : name_{std::move(other.name_)} {}
  basic_stage_meter& operator=(basic_stage_meter&&) = delete;

  // By the one thread that takes from the stage. What a stage gives is what the next one gets: nobody counts that a second time.
  // relaxed, everywhere here: statistics publish nothing.
  void count_out() noexcept { out_.store(out_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }

  /// Calls f(), now and then with the clock in hand.
  template <class F>
  decltype(auto) work(F&& f) {
    if (--until_timed_ != 0) [[likely]]
      return f();
    const timed t{*this};
    return f();
  }
  /// The same, each time, for calls that run on several threads at once.
  template <class F>
  decltype(auto) work_shared(F&& f) {
    const typename shared_time::running t{busy_shared_};
    return f();
  }
  /// Around what waits, and only when it does.
  template <class F>
  decltype(auto) waiting_in(F&& f) {
    const typename shared_time::running t{wait_in_};
    return f();
  }
  template <class F>
  decltype(auto) waiting_out(F&& f) {
    const typename shared_time::running t{wait_out_};
    return f();
  }

  /// All but items_in.
  [[nodiscard]] stage_report read(stage_kind kind) const {
    return {.name = name_,
            .kind = kind,
            .items_out = out_.load(std::memory_order_relaxed),  // relaxed: a figure, see below
            .busy = busy_shared_.total() + busy(),
            .wait_in = wait_in_.total(),
            .wait_out = wait_out_.total()};
  }

 private:
  // relaxed, wherever these are used: figures for a report, each written by one thread; they publish nothing.
  using word = std::atomic<std::int64_t>;
  static constexpr std::int64_t slow = 4'000;  // nanoseconds
  static constexpr std::uint32_t furthest = 64;

  // A call that ends just now is perhaps counted twice, or not yet. relaxed: see above.
  [[nodiscard]] std::chrono::nanoseconds busy() const noexcept {
    const std::int64_t began = began_.load(std::memory_order_relaxed);
    const std::int64_t going_on = began == 0 ? 0 : shared_time::now() - began;
    return std::chrono::nanoseconds{busy_.load(std::memory_order_relaxed) + (going_on > 0 ? going_on : 0)};
  }

  // Also when what it measures throws. relaxed, here, too: see above.
  struct timed {
    basic_stage_meter& meter;
    const std::int64_t began = shared_time::now();
    explicit timed(basic_stage_meter& m) noexcept : meter{m} { meter.began_.store(began, std::memory_order_relaxed); }
    timed(const timed&) = delete;
    timed& operator=(const timed&) = delete;
    ~timed() {
      const std::int64_t took = shared_time::now() - began;
      meter.began_.store(0, std::memory_order_relaxed);  // relaxed, here and below: see above
      std::uint32_t& every = meter.every_;
      const bool quick = took < slow;
      if (quick) meter.usual_ = took;
      const std::int64_t skipped = (std::int64_t{every} - 1) * meter.usual_;
      meter.busy_.store(meter.busy_.load(std::memory_order_relaxed) + took + skipped, std::memory_order_relaxed);
      every = !quick ? 1 : every < furthest ? every * 2 : furthest;
      meter.until_timed_ = every;
    }
  };

  std::string name_;
  std::uint32_t until_timed_ = 1;
  std::uint32_t every_ = 1;
  std::int64_t usual_ = 0;  // what the last quick one took
  std::atomic<std::uint64_t> out_{0};
  word busy_{0};
  word began_{0};  // the call that is timed just now; 0: none
  shared_time busy_shared_;
  shared_time wait_in_;
  shared_time wait_out_;
};

using stage_meter = basic_stage_meter<>;

/// Collects the stages' reports, in order.
class report_builder {
 public:
  /// `in` is what the stages before it have given.
  template <class = void>
  void add(stage_report s, std::uint64_t in, std::size_t parallelism = 1) {
    s.items_in = in;
    s.group = group_;
    s.parallelism = parallelism;
    stages_.push_back(std::move(s));
  }
  /// By the stage that was added last.
  [[nodiscard]] std::uint64_t given() const noexcept { return stages_.back().items_out; }
  /// What follows has other threads.
  void next_group() noexcept { ++group_; }
  template <class = void>
  [[nodiscard]] std::vector<stage_report> take() {
    return std::move(stages_);
  }

 private:
  std::vector<stage_report> stages_;
  std::size_t group_ = 0;
};

}  // namespace penstock::inline v0_1::detail
