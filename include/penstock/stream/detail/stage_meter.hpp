// penstock/stream/detail/stage_meter.hpp: what one stage of a pipeline did, measured so that it is not felt.
//
// Counts are words that one thread writes and any may read: a plain load and store each, no read-modify-write. The clock is not read for every
// item: after a call that took less than `slow` the next one to be timed is twice as far away, up to `furthest` calls, and a timed call
// stands for those that were skipped before it; after a slow call the next one is timed. So a stage of nanoseconds reads the clock for one
// item in 64 (about 1 ns per item), and one of milliseconds for each.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <penstock/stream/report.hpp>

namespace penstock::inline v0_1::detail {

class stage_meter {
 public:
  using clock = std::chrono::steady_clock;

  explicit stage_meter(std::string name) noexcept : name_{std::move(name)} {}
  // Before the pipeline runs: nothing is measured yet.
  stage_meter(stage_meter&& other) noexcept : name_{std::move(other.name_)} {}
  stage_meter& operator=(stage_meter&&) = delete;

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
    const stopwatch t{busy_};
    return f();
  }
  /// Around what waits, and only when it does.
  template <class F>
  decltype(auto) waiting_in(F&& f) {
    const stopwatch t{wait_in_};
    return f();
  }
  template <class F>
  decltype(auto) waiting_out(F&& f) {
    const stopwatch t{wait_out_};
    return f();
  }

  /// All but items_in.
  [[nodiscard]] stage_report read(stage_kind kind) const {
    return {.name = name_,
            .kind = kind,
            .items_out = out_.load(std::memory_order_relaxed),
            .busy = std::chrono::nanoseconds{busy_.load(std::memory_order_relaxed)},
            .wait_in = std::chrono::nanoseconds{wait_in_.load(std::memory_order_relaxed)},
            .wait_out = std::chrono::nanoseconds{wait_out_.load(std::memory_order_relaxed)}};
  }

 private:
  using word = std::atomic<std::int64_t>;
  static constexpr std::int64_t slow = 4'000;  // nanoseconds
  static constexpr std::uint32_t furthest = 64;

  static std::int64_t elapsed(clock::time_point since) noexcept {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now() - since).count();
  }

  struct stopwatch {  // also when what it measures throws
    word& to;
    clock::time_point began = clock::now();
    explicit stopwatch(word& w) noexcept : to{w} {}
    stopwatch(const stopwatch&) = delete;
    stopwatch& operator=(const stopwatch&) = delete;
    ~stopwatch() { to.fetch_add(elapsed(began), std::memory_order_relaxed); }
  };
  struct timed {
    stage_meter& meter;
    clock::time_point began = clock::now();
    explicit timed(stage_meter& m) noexcept : meter{m} {}
    timed(const timed&) = delete;
    timed& operator=(const timed&) = delete;
    ~timed() {
      const std::int64_t took = elapsed(began);
      std::uint32_t& every = meter.every_;
      meter.busy_.store(meter.busy_.load(std::memory_order_relaxed) + took * every, std::memory_order_relaxed);
      every = took >= slow ? 1 : every < furthest ? every * 2 : furthest;
      meter.until_timed_ = every;
    }
  };

  std::string name_;
  std::uint32_t until_timed_ = 1;
  std::uint32_t every_ = 1;
  std::atomic<std::uint64_t> out_{0};
  word busy_{0};
  word wait_in_{0};
  word wait_out_{0};
};

/// Collects the stages' reports, in order.
class report_builder {
 public:
  /// `in` is what the stages before it have given.
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
  [[nodiscard]] std::vector<stage_report> take() { return std::move(stages_); }

 private:
  std::vector<stage_report> stages_;
  std::size_t group_ = 0;
};

}  // namespace penstock::inline v0_1::detail
