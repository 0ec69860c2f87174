// penstock/batch/detail/batch_metrics.hpp: what a batcher notes of its batches: how large they were, how long keys waited and the function took.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>

#include <penstock/batch/batcher_options.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/observe/histogram.hpp>

namespace penstock::inline v0_1::detail {

/// Every member may be called concurrently.
template <class Flight>
class batch_metrics {
  using sync = typename Flight::sync;

 public:
  explicit batch_metrics(bool with_times) {
    if (with_times) times_ = std::make_unique<times>();
  }

  [[nodiscard]] bool has_times() const noexcept { return times_ != nullptr; }
  /// The function is about to be called with these.
  void called(std::span<Flight* const> flights, nanoseconds_point now) noexcept {
    sizes_.record(flights.size());
    if (times_ == nullptr) return;
    for (Flight* const f : flights) times_->queue.record(std::chrono::nanoseconds{saturating_difference(now, f->at)});
  }
  void returned(nanoseconds_point began, nanoseconds_point now) noexcept {
    if (times_ != nullptr) times_->function.record(std::chrono::nanoseconds{saturating_difference(now, began)});
  }
  void was_split() noexcept { splits_.fetch_add(1, std::memory_order_relaxed); }  // relaxed: a counter

  void tell(batcher_stats& s) const {
    s.split = splits_.load(std::memory_order_relaxed);  // relaxed: a counter
    s.batch_size = sizes_.snapshot();
    s.batches = s.batch_size.count();
    if (times_ == nullptr) return;
    s.queue_time = times_->queue.snapshot();
    s.function_time = times_->function.snapshot();
  }

 private:
  struct times {
    histogram queue;
    histogram function;
  };

  std::unique_ptr<times> times_;
  batch_sizes sizes_;
  typename sync::template atomic<std::uint64_t> splits_{0};
};

}  // namespace penstock::inline v0_1::detail
