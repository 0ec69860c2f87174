// penstock/channel/channel_options.hpp: what a channel can be asked for beyond its capacity, and what it can tell.
//
//   penstock::channel<page> pages{{.capacity = 1024, .max_weight = 64 << 20, .weight = [](const page& p) { return p.size(); }}};
//   penstock::channel<sample> latest{{.capacity = 16, .when_full = when_full::drop_oldest}};
//
// Cost  what is not asked for costs nothing. `metrics` alone are some instructions a push, for the peak: the rest is read off the ring. With any of the
//       others a channel takes its lock once per push and once per pop.
#pragma once

#include <chrono>
#include <cstddef>
#include <limits>

#include <penstock/core/move_only_function.hpp>
#include <penstock/core/range_result.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

/// Who uses a channel. A promise: debug builds report two threads at one end of an spsc channel.
enum class channel_policy : unsigned char {
  mpmc,  ///< many producers, many consumers
  spsc,  ///< one producer and one consumer at a time; quicker there and back. abort() counts as the consumer's, reserve() as the producer's
};

/// What a push does that finds no room.
enum class when_full : unsigned char {
  wait,         ///< it waits
  reject,       ///< it fails with errc::rejected, in every form
  drop_newest,  ///< its own item is dropped, and it succeeds
  drop_oldest,  ///< as many of the oldest items are dropped as it needs room; not with channel_policy::spsc
};

template <class T>
struct channel_options {
  std::size_t capacity = 1024;  ///< items; at least 1
  /// The sum of the weights inside, in the unit of `weight`. A heavier item is std::invalid_argument.
  std::size_t max_weight = std::numeric_limits<std::size_t>::max();
  /// What an item weighs: the same each time it is asked. Must not throw, and must not come back to the channel.
  move_only_function<std::size_t(const T&) const> weight = {};
  /// Depth (weight, if there is `weight`, else items) from which above_high_water() holds until the depth has fallen to low_water. 0: none.
  std::size_t high_water = 0;
  std::size_t low_water = 0;
  penstock::when_full when_full = when_full::wait;
  /// Gets each item that `when_full` drops, on the thread that pushes, without a lock. Must not throw.
  move_only_function<void(T&&) const> on_drop = {};
  bool metrics = false;  ///< count what stats() tells; whoever waits looks at the clock twice
};

/// What happened in a channel since it was made; zero, but for depth and weight, unless channel_options::metrics.
/// pushed == popped + dropped_oldest + discarded + depth, whenever nothing runs.
struct channel_stats {
  std::size_t depth = 0;                   ///< items inside
  std::size_t weight = 0;                  ///< what they weigh
  std::size_t peak_depth = 0;              ///< the most items that were inside after a push
  std::size_t pushed = 0;                  ///< items that went in
  std::size_t popped = 0;                  ///< items that consumers took
  std::size_t refused = 0;                 ///< pushes that found no room and did not wait
  std::size_t dropped_newest = 0;          ///< by when_full::drop_newest; these never went in
  std::size_t dropped_oldest = 0;          ///< by when_full::drop_oldest
  std::size_t discarded = 0;               ///< by abort()
  std::size_t push_waits = 0;              ///< times that somebody stood in line for room
  std::size_t pop_waits = 0;               ///< for an item, likewise
  std::chrono::nanoseconds push_waited{};  ///< how long they took, altogether
  std::chrono::nanoseconds pop_waited{};
};

namespace detail {

template <class = void>
void describe_counts(const channel_stats& s, metric_sink& to) {
  if (s.pushed + s.refused + s.dropped_newest + s.push_waits + s.pop_waits == 0) return;
  to.gauge({"weight", "What the items inside weigh."}, s.weight);
  to.gauge({"peak_depth", "The most items that were inside."}, s.peak_depth);
  to.counter(metrics::accepted, s.pushed);
  to.counter(metrics::completed, s.popped);
  to.counter(metrics::rejected, s.refused, {"reason", "full"});
  to.counter(metrics::rejected, s.dropped_newest, {"reason", "dropped_newest"});
  to.counter(metrics::dropped, s.dropped_oldest, {"reason", "dropped_oldest"});
  to.counter(metrics::dropped, s.discarded, {"reason", "aborted"});
  to.counter({"push_waits", "Times that somebody stood in line for room."}, s.push_waits);
  to.counter({"pop_waits", "Times that somebody stood in line for an item."}, s.pop_waits);
  to.counter({"push_waited", "Time in line for room."}, s.push_waited);
  to.counter({"pop_waited", "Time in line for an item."}, s.pop_waited);
}

}  // namespace detail

/// The counts alone; of a channel a registry sees more (channel/channel.hpp).
template <class = void>
void describe(const channel_stats& s, metric_sink& to) {
  to.kind("channel");
  to.gauge(metrics::depth, s.depth);
  detail::describe_counts(s, to);
}

}  // namespace penstock::inline v0_1
