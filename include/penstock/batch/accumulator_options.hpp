// penstock/batch/accumulator_options.hpp: when a batch of writes leaves, how much may wait, and what becomes of writes that fail.
//
//   penstock::accumulator<row> rows{pool, insert, {.max_batch_size = 500, .max_delay = 5ms, .capacity = 10'000,
//                                                  .retry = penstock::retry_with(penstock::backoff::exponential(10ms, 1s), 5, seed)}};
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/retry_policy.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

/// How an attempt to write a batch failed.
struct write_failure {
  std::exception_ptr exception = {};  ///< what the function threw; null if it gave errors
  std::error_code error = {};         ///< the error that it gave, or the first of several
  /// Where it gave an outcome for each item: the error of each one that failed, in the order of the items. Else empty.
  std::span<const std::error_code> errors = {};
  unsigned attempt = 1;   ///< the first one is 1; 0: it was not tried, for abort() came first
  std::size_t items = 0;  ///< that failed
  bool closing = false;   ///< close() was called: whoever waits for the end waits for further attempts
};

/// Asked when an attempt has failed, on the context that writes: how long to wait before those items are tried again, or nothing: they have
/// failed for good. Calls overlap only with max_in_flight_batches > 1. What it throws counts as "nothing". A retry_policy will do
/// (core/retry_policy.hpp), such as retry_with() gives.
using write_retry = move_only_function<std::optional<std::chrono::nanoseconds>(const write_failure&) const>;

template <class Item>
struct accumulator_options {
  static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

  // When a batch leaves: when it holds so much, when its oldest item has waited for so long, when nothing has come for a while, on flush(), when
  // somebody waits for room, or on close(); but not before one of max_in_flight_batches is free.
  std::size_t max_batch_size = 1024;        ///< at least 1; a batch never holds more
  std::size_t max_batch_bytes = unlimited;  ///< as item_bytes counts; at least 1. A heavier item is refused
  std::chrono::nanoseconds max_delay{
      0};  ///< 0: it leaves at once when no other is on its way, and grows while one is (group commit)
  /// Nothing was added for so long. Counts only where max_delay is not 0.
  std::chrono::nanoseconds max_idle = std::chrono::nanoseconds::max();

  // Items that were added and are not over, on their way, too. Whoever adds more waits.
  std::size_t capacity = 8 * 1024;         ///< at least 1
  std::size_t capacity_bytes = unlimited;  ///< at least 1; a heavier item is refused

  /// Batches on their way at a time; at least 1. With 1, items are written in the order in which they were added; with more, an accumulator
  /// keeps no order between batches.
  std::size_t max_in_flight_batches = 1;

  move_only_function<std::size_t(const Item&) const> item_bytes =
      {};                  ///< default: items weigh nothing. Called by who adds, under no lock
  write_retry retry = {};  ///< default: the first failure counts
  /// Gets the items that have failed for good, in order, before those who wait for them are told; may move from them (to spill them to a
  /// file). On the context that writes. Calls overlap only with max_in_flight_batches > 1. What it throws is dropped and counted (handler_failed).
  move_only_function<void(std::span<Item>, const write_failure&) const> on_failed = {};
  any_clock clock = {};  ///< must outlive it
  bool metrics = false;  ///< keep how long items waited (accumulator::wait_times()); 37 KB
  /// With metrics: where items come faster than every 2 µs, one in so many is timed, picked by chance. 1: each, for a look at the clock more. At least 1.
  std::uint32_t time_every = 16;
};

/// Items that did not go in, by why.
struct accumulator_refusals {
  std::uint64_t closed = 0;
  std::uint64_t full = 0;  ///< of those that do not wait
  std::uint64_t timeout = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t deadlock = 0;   ///< its own function would have waited for room
  std::uint64_t no_memory = 0;  ///< to keep the item, or moving it threw

  [[nodiscard]] std::uint64_t total() const noexcept { return closed + full + timeout + cancelled + deadlock + no_memory; }

  friend bool operator==(const accumulator_refusals&, const accumulator_refusals&) = default;
};

/// A snapshot. Always: added == acknowledged + failed + held.
struct accumulator_stats {
  std::uint64_t added = 0;         ///< items that went in
  std::uint64_t acknowledged = 0;  ///< items that were written
  std::uint64_t failed = 0;        ///< items that have failed for good, and were told so: their futures, on_failed
  accumulator_refusals refused = {};
  std::uint64_t batches = 0;         ///< that are over
  std::uint64_t attempts = 0;        ///< calls of the function
  std::uint64_t handler_failed = 0;  ///< calls of retry or on_failed that threw
  std::size_t held = 0;              ///< items that went in and are not over
  std::size_t queued = 0;            ///< of these, the ones whose batch has not left
  std::size_t held_bytes = 0;
  std::size_t in_flight = 0;  ///< batches on their way, those that wait to be tried again, too
  std::size_t limit = 0;      ///< max_in_flight_batches
  std::size_t waiting = 0;    ///< callers that wait for room
};

/// What a registry sees of an accumulator (observe/registry.hpp).
template <class = void>
void describe(const accumulator_stats& s, metric_sink& to) {
  to.kind("accumulator");
  to.gauge(metrics::depth, s.queued);
  to.gauge(metrics::waiters, s.waiting);
  to.gauge(metrics::in_flight, s.in_flight);
  to.gauge(metrics::limit, s.limit);
  to.gauge({"held", "Items that are not over, those on their way, too."}, s.held);
  to.gauge({"held_bytes", "What the items that are not over weigh."}, s.held_bytes);
  to.counter(metrics::accepted, s.added);
  to.counter(metrics::completed, s.acknowledged);
  to.counter(metrics::failed, s.failed);
  to.counter(metrics::rejected, s.refused.closed, {"reason", "closed"});
  to.counter(metrics::rejected, s.refused.full, {"reason", "full"});
  to.counter(metrics::rejected, s.refused.timeout, {"reason", "timeout"});
  to.counter(metrics::rejected, s.refused.cancelled, {"reason", "cancelled"});
  to.counter(metrics::rejected, s.refused.deadlock, {"reason", "deadlock"});
  to.counter(metrics::rejected, s.refused.no_memory, {"reason", "no_memory"});
  to.counter({"batches", "Batches that are over."}, s.batches);
  to.counter({"attempts", "Calls of the function."}, s.attempts);
  to.counter({"handler_failed", "Calls of retry or on_failed that threw."}, s.handler_failed);
}

}  // namespace penstock::inline v0_1
