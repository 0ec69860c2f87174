// penstock/rate/keyed_limiter_options.hpp: what a keyed_limiter can be told, and what it tells of its keys.
#pragma once

#include <cstddef>
#include <cstdint>

#include <penstock/core/any_clock.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

/// What a new key gets that finds no place: all the places that it may have hold keys that have used something up.
enum class keyed_overflow : std::uint8_t {
  shared,  ///< all such keys of a shard share one bucket with the limit of every key
  refuse,  ///< nothing: errc::rejected
};

struct keyed_limiter_options {
  /// Places for keys, 1 at the least; their memory is taken at construction. Twice as many as there are keys that have used something up at a time
  /// keep every key near where it is looked for. Rounded up to a multiple of the number of shards.
  std::size_t max_keys = 65'536;
  /// Parts with a lock of their own, a power of two up to 4096. 0: four for each processor, fewer if there are few places.
  std::size_t shards = 0;
  keyed_overflow overflow = keyed_overflow::shared;
  any_clock clock = {};
  /// Where keys lie depends on it, so that nobody can choose keys that meet. 0: a random one.
  std::uint64_t seed = 0;
};

/// One of the heaviest keys.
template <class Key>
struct key_usage {
  Key key;
  std::uint32_t granted;   ///< tokens since the key came into its place, or since reset_counts(); stays at 2^32 - 1
  std::uint32_t refused;   ///< tokens that try_acquire() did not give; waiting is no refusal
  std::int64_t available;  ///< now
};

/// Calls that got nothing, by what they returned.
struct keyed_limiter_refusals {
  std::uint64_t empty = 0;      ///< did not want to wait
  std::uint64_t rejected = 0;   ///< no place for the key, or its burst was made smaller than what they waited for
  std::uint64_t timeout = 0;    ///< waited in vain
  std::uint64_t cancelled = 0;  ///< were stopped
  std::uint64_t closed = 0;
  [[nodiscard]] std::uint64_t total() const noexcept { return empty + rejected + timeout + cancelled + closed; }
};

/// Counts since construction, but for the first two.
struct keyed_limiter_stats {
  std::size_t keys = 0;          ///< that have a place now, those whose bucket is full again included
  std::size_t waiters = 0;       ///< now
  std::uint64_t replaced = 0;    ///< keys that gave their place, full again, to others
  std::uint64_t overflowed = 0;  ///< requests of keys without a place
  std::uint64_t accepted = 0;    ///< calls that got their tokens
  keyed_limiter_refusals refused;
};

/// What a registry sees of a keyed_limiter (observe/registry.hpp).
template <class = void>
void describe(const keyed_limiter_stats& s, metric_sink& to) {
  to.kind("keyed_limiter");
  to.gauge(metrics::depth, s.waiters);
  to.gauge({"keys", "Keys that have a place."}, s.keys);
  to.counter({"replaced", "Keys that gave their place to others."}, s.replaced);
  to.counter({"overflowed", "Requests of keys without a place."}, s.overflowed);
  to.counter(metrics::accepted, s.accepted);
  detail::describe_refusals(s.refused, to);
}

}  // namespace penstock::inline v0_1
