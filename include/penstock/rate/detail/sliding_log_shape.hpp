// penstock/rate/detail/sliding_log_shape.hpp: a window that slides, exactly: when each request passed is remembered for the window's length.
//
// Law            in the `length` up to and including any time, not counting its beginning, what is taken less what is given back is at the most
//                the limit. What would not break that is not refused.
// Clock          while it is behind the latest time that was told, that one counts: stepping back gives nothing, nor does a thread that reads it
//                before another one and comes after it.
// Thread safety  every member may be called concurrently.
// Cost           16 bytes for each of `limit`, allocated once, and again when the limit is raised. Taking: one lock, and a step for each entry that
//                has become too old. The time when n can be had: at the most n steps, more only after the limit was lowered.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <vector>

#include <penstock/core/detail/sync.hpp>
#include <penstock/rate/detail/window_limit.hpp>
#include <penstock/rate/detail/window_time.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class sliding_log_shape : public window_limit<Sync> {
  using window_limit<Sync>::lock_;
  using window_limit<Sync>::limit_;
  using window_limit<Sync>::length_;

 public:
  static constexpr std::int64_t most = std::int64_t{1} << 24;  // the greatest limit
  static constexpr const char* name = "sliding_window";

  /// At the most `limit` (> 0) in any `length` (> 0) nanoseconds.
  sliding_log_shape(std::int64_t limit, std::int64_t length)
      : window_limit<Sync>{limit, length}, log_(static_cast<std::size_t>(limit)) {}

  bool try_take(std::int64_t now, std::int64_t n) noexcept {
    std::scoped_lock guard{lock_};
    now = forget(now);
    if (used_ > limit_ - n) return false;
    record(now, n);
    return true;
  }

  [[nodiscard]] std::int64_t ready_at(std::int64_t now, std::int64_t n) const noexcept {
    std::scoped_lock guard{lock_};
    return when(now, n);
  }

  /// From the latest entries: so it is as if the last requests had not been.
  void give_back(std::int64_t now, std::int64_t n) noexcept {
    std::scoped_lock guard{lock_};
    forget(now);
    while (n > 0 && entries_ > 0) {
      entry& latest = log_[place_of(entries_ - 1)];
      const std::int64_t part = std::min(n, latest.amount);
      latest.amount -= part;
      used_ = used_ - part;
      n -= part;
      if (latest.amount == 0) entries_ = entries_ - 1;
    }
  }

  [[nodiscard]] std::int64_t available(std::int64_t now) const noexcept {
    std::scoped_lock guard{lock_};
    std::int64_t left = used_;
    for (std::size_t i = 0; i < entries_ && too_old(log_[place_of(i)], now); ++i) left -= log_[place_of(i)].amount;
    return std::max<std::int64_t>(0, limit_ - left);
  }

  /// From now on, for what passed before as well. Throws std::bad_alloc; then nothing has changed.
  void set_limit(std::int64_t now, std::int64_t limit, std::int64_t length) {
    std::vector<entry> room(static_cast<std::size_t>(limit));
    std::scoped_lock guard{lock_};  // unlocks before `room`, by then the old log, is freed
    forget(now);                    // by the old length: what is gone does not come back
    limit_ = limit;
    length_ = length;
    forget(now);
    if (room.size() <= log_.size()) return;
    for (std::size_t i = 0; i < entries_; ++i) room[i] = log_[place_of(i)];
    first_ = 0;
    log_.swap(room);
  }

 private:
  struct entry {
    std::int64_t time = 0;
    std::int64_t amount = 0;
  };

  // With lock_ held, all of them.
  [[nodiscard]] std::size_t place_of(std::size_t i) const noexcept {
    const std::size_t place = first_ + i;
    return place < log_.size() ? place : place - log_.size();
  }
  [[nodiscard]] bool too_old(const entry& e, std::int64_t now) const noexcept { return saturating_add(e.time, length_) <= now; }

  // Says what time it is.
  std::int64_t forget(std::int64_t now) noexcept {
    latest_ = now = std::max<std::int64_t>(now, latest_);
    while (entries_ > 0 && too_old(log_[first_], now)) {
      used_ = used_ - log_[first_].amount;
      first_ = place_of(1);
      entries_ = entries_ - 1;
    }
    return now;
  }
  // There is room: each entry stands for one at least, and all of them for no more than the log has places.
  void record(std::int64_t now, std::int64_t n) noexcept {
    used_ = used_ + n;
    if (entries_ > 0) {
      entry& latest = log_[place_of(entries_ - 1)];
      if (latest.time == now) {
        latest.amount += n;
        return;
      }
    }
    log_[place_of(entries_)] = {now, n};
    entries_ = entries_ + 1;
  }
  [[nodiscard]] std::int64_t when(std::int64_t now, std::int64_t n) const noexcept {
    if (n > limit_) return never;
    std::int64_t left = used_;
    std::int64_t at = now;
    for (std::size_t i = 0; left > limit_ - n; ++i) {
      const entry& oldest = log_[place_of(i)];
      left -= oldest.amount;
      at = std::max(at, saturating_add(oldest.time, length_));
    }
    return at;
  }

  // Guarded by lock_.
  std::vector<entry> log_;  // a ring, oldest first
  typename Sync::template var<std::size_t> first_{0};
  typename Sync::template var<std::size_t> entries_{0};
  typename Sync::template var<std::int64_t> used_{0};  // the sum of their amounts
  typename Sync::template var<std::int64_t> latest_{std::numeric_limits<std::int64_t>::min()};
};

}  // namespace penstock::inline v0_1::detail
