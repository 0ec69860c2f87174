// penstock/channel/detail/channel_tally.hpp: what a channel counts that was asked for metrics and for nothing else.
//
// The ring's positions say how many items went in and out, so the items themselves are counted by nobody. What is left is the peak, and what is
// rare. A push that has gone in tells went_in(): it compares with a number of pops that was seen once, and looks at the line that consumers write
// only where the depth may be a new peak; so that line is read about once in as many pushes as the peak is deep.
//
// Thread safety  every member may be called concurrently.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>

#include <penstock/channel/channel_options.hpp>
#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class channel_tally {
 public:
  /// relaxed, both: counters
  void refused() noexcept { refused_.fetch_add(1, std::memory_order_relaxed); }
  void discarded() noexcept { discarded_.fetch_add(1, std::memory_order_relaxed); }

  template <class Ring>
  void went_in(const Ring& items) noexcept {
    const std::size_t pushed = items.pushed();
    // relaxed, all: numbers that publish nothing. A number of pops that is out of date makes the depth look greater than it is, and so is looked at
    // again; if it is ahead of `pushed`, the difference wraps, and it is looked at again, too.
    if (pushed - popped_.load(std::memory_order_relaxed) <= peak_.load(std::memory_order_relaxed)) [[likely]]
      return;
    const std::size_t popped = items.popped();         // after `pushed`: the difference is no more than what was inside then
    popped_.store(popped, std::memory_order_relaxed);  // relaxed: as above, like the peak below
    const std::size_t depth = pushed - std::min(popped, pushed);
    std::size_t peak = peak_.load(std::memory_order_relaxed);
    while (depth > peak && !peak_.compare_exchange_weak(peak, depth, std::memory_order_relaxed, std::memory_order_relaxed)) {
    }
  }

  template <class Ring>
  [[nodiscard]] channel_stats read(const Ring& items) const noexcept {
    channel_stats s;
    s.discarded = discarded_.load(std::memory_order_relaxed);  // relaxed, all: as above
    const std::size_t out = items.popped();
    s.popped = out - std::min(s.discarded, out);
    s.pushed = std::max(items.pushed(), out);
    s.depth = s.weight = s.pushed - out;
    s.refused = refused_.load(std::memory_order_relaxed);  // relaxed: as above
    s.peak_depth = peak_.load(std::memory_order_relaxed);  // relaxed: as above
    return s;
  }

 private:
  alignas(cache_line) typename Sync::template atomic<std::size_t> peak_{0};
  typename Sync::template atomic<std::size_t> popped_{0};  // as many at least have been popped
  alignas(cache_line) typename Sync::template atomic<std::size_t> refused_{0};
  typename Sync::template atomic<std::size_t> discarded_{0};
};

}  // namespace penstock::inline v0_1::detail
