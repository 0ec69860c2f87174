// penstock/batch/batcher_options.hpp: when a batcher's batches leave, what it remembers, and what it tells of itself.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>

#include <penstock/batch/batch_cache.hpp>
#include <penstock/core/any_clock.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

/// When a batch leaves. (Whatever is said here: what is flush()ed leaves, and at most max_in_flight_batches are under way.)
enum class batch_schedule : std::uint8_t {
  natural,  ///< at once if a place is free; otherwise when a batch ends. With `max_delay`: once the oldest key has waited that long, or it is full
  ready_work,  ///< when the executor has run what was ready, as DataLoader's tick: see `quiet_rounds`
  flush_only,  ///< when flush() is called, or it is full
};

template <class Key, class Value>
struct batcher_options {
  batch_schedule schedule = batch_schedule::natural;
  std::size_t max_batch_size =
      std::numeric_limits<std::size_t>::max();  ///< keys of a batch; at least 1, which is no batching at all
  /// A batch is full when its keys have so many bytes, by `key_bytes`. One key alone may have more.
  std::size_t max_batch_bytes = std::numeric_limits<std::size_t>::max();
  /// The size of a key, in bytes; called once for each load that is not shared. Needed for max_batch_bytes. A key of more counts as max_batch_bytes.
  move_only_function<std::size_t(const Key&) const> key_bytes = {};
  /// With batch_schedule::natural: how long the oldest key waits for others; 0: no window. With the inline executor, a batch whose time has come runs
  /// on the thread of the timers and holds up all others of that clock: give such a batcher a pool.
  std::chrono::nanoseconds max_delay = std::chrono::nanoseconds::zero();
  /// With batch_schedule::ready_work: a batch goes to the back of the executor's line again, until so many times in a row no key has come meanwhile.
  /// On an executor of one thread a round is all the work that was ready when it began. At least 1.
  std::size_t quiet_rounds = 3;
  /// A schedule of one's own, with batch_schedule::flush_only: called when a first key has come, on the thread that loads, under no lock; it
  /// calls what it is given, once, when the keys that came so far are to leave. That may be kept and called whenever one likes. It must not throw,
  /// and is called by two threads at a time if what it was given is called while it still runs.
  move_only_function<void(std::function<void()>)> on_first_key = {};
  /// Batches under way at a time; at least 1. While all are, keys gather.
  std::size_t max_in_flight_batches = 1;
  /// Keys that have not left; at least 1. A load beyond is refused with errc::full.
  std::size_t max_waiting_keys = 1'000'000;
  /// When the batch function throws, or answers with the wrong count: call it again with each half, and so on, so that only what cannot be loaded
  /// alone fails. Costs up to 2n further calls for n keys.
  bool split_failed_batches = false;
  batch_cache_options cache = {};
  any_batch_cache<Key, Value> own_cache = {};  ///< instead of `cache`
  any_clock clock = {};                        ///< for max_delay, ttl and metrics: the steady clock; it must outlive the batcher
  bool metrics = false;                        ///< times as histograms: a look at the clock for each load, and 72 KiB
};

namespace detail {
using batch_sizes = basic_histogram<4, 24>;
}

/// Since construction, but for the first four lines.
struct batcher_stats {
  std::size_t waiting = 0;    ///< keys that have not left
  std::size_t in_flight = 0;  ///< batches under way
  std::size_t limit = 0;      ///< max_in_flight_batches
  std::size_t cached = 0;     ///< keys that are remembered

  std::uint64_t loads = 0;      ///< that were asked for, and not refused
  std::uint64_t hits = 0;       ///< answered from a cache
  std::uint64_t shared = 0;     ///< joined a load of the same key
  std::uint64_t keys = 0;       ///< that left in batches
  std::uint64_t batches = 0;    ///< calls of the batch function
  std::uint64_t failed = 0;     ///< keys that were answered with an error or an exception
  std::uint64_t abandoned = 0;  ///< keys that were dropped, for everybody who had asked for them gave up
  std::uint64_t refused = 0;    ///< loads: too many keys waited
  std::uint64_t closed = 0;     ///< loads that came after close()
  std::uint64_t split = 0;      ///< batches that failed and were tried again in halves

  basic_histogram_snapshot<4, 24> batch_size;  ///< keys of a call
  std::optional<histogram::snapshot_type> queue_time =
      {};  ///< with metrics: of keys, from the load until the batch function is called
  std::optional<histogram::snapshot_type> function_time = {};  ///< with metrics: of the batch function

  /// Of the loads, those that cost no key of a batch: 0 … 1.
  [[nodiscard]] double saved() const noexcept {
    return loads == 0 ? 0.0 : static_cast<double>(hits + shared) / static_cast<double>(loads);
  }
};

/// What a registry sees of a batcher (observe/registry.hpp); times only with `metrics`.
template <class = void>
void describe(const batcher_stats& s, metric_sink& to) {
  to.kind("batcher");
  to.gauge(metrics::depth, s.waiting);
  to.gauge(metrics::in_flight, s.in_flight);
  to.gauge(metrics::limit, s.limit);
  to.gauge({"cached", "Keys that are remembered."}, s.cached);
  to.counter(metrics::accepted, s.loads);
  to.counter(metrics::completed, s.keys - std::min(s.failed, s.keys));
  to.counter(metrics::failed, s.failed);
  to.counter(metrics::rejected, s.refused, {"reason", "full"});
  to.counter(metrics::rejected, s.closed, {"reason", "closed"});
  to.counter(metrics::dropped, s.abandoned, {"reason", "abandoned"});
  to.counter({"hits", "Loads that were answered from a cache."}, s.hits);
  to.counter({"shared", "Loads that joined one of the same key."}, s.shared);
  to.counter({"batches", "Calls of the batch function."}, s.batches);
  to.counter({"split", "Batches that failed and were tried again in halves."}, s.split);
  to.histogram({"batch_size", "Keys of a call of the batch function."}, s.batch_size);
  if (s.queue_time) to.times(metrics::queue_wait, *s.queue_time);
  if (s.function_time) to.times(metrics::run, *s.function_time);
}

}  // namespace penstock::inline v0_1
