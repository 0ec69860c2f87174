// penstock/rate/detail/fixed_window_shape.hpp: so many in each window of time; the windows stand side by side.
//
// Law            the windows begin at the multiples of their length since the clock's epoch. In each of them, what is taken less what is given back
//                is at the most the limit. So a length of time that lies across an edge may see twice the limit, however short it is.
// Clock          while it is behind the window that was seen last, that window goes on: stepping back gives nothing.
// Thread safety  every member may be called concurrently.
// Cost           one lock and no allocation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <mutex>

#include <penstock/core/detail/sync.hpp>
#include <penstock/rate/detail/window_limit.hpp>
#include <penstock/rate/detail/window_time.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class fixed_window_shape : public window_limit<Sync> {
  using window_limit<Sync>::lock_;
  using window_limit<Sync>::limit_;
  using window_limit<Sync>::length_;

 public:
  static constexpr std::int64_t most = std::int64_t{1} << 60;  // the greatest limit
  static constexpr const char* name = "fixed_window";

  using window_limit<Sync>::window_limit;

  bool try_take(std::int64_t now, std::int64_t n) noexcept {
    std::scoped_lock guard{lock_};
    if (now >= end()) {
      begins_ = begin_of_window(now, length_);
      taken_ = 0;
    }
    if (taken_ > limit_ - n) return false;
    taken_ = taken_ + n;
    return true;
  }

  [[nodiscard]] std::int64_t ready_at(std::int64_t now, std::int64_t n) const noexcept {
    std::scoped_lock guard{lock_};
    if (n > limit_) return never;
    return taken_at(now) <= limit_ - n ? now : end();
  }

  /// Of what was taken in an earlier window nothing is left to give back.
  void give_back(std::int64_t now, std::int64_t n) noexcept {
    std::scoped_lock guard{lock_};
    taken_ = std::max<std::int64_t>(0, taken_at(now) - n);
    if (now >= end()) begins_ = begin_of_window(now, length_);
  }

  [[nodiscard]] std::int64_t available(std::int64_t now) const noexcept {
    std::scoped_lock guard{lock_};
    return std::max<std::int64_t>(0, limit_ - taken_at(now));
  }

  /// From now on. What was taken in the window of now counts in the one of the new length.
  void set_limit(std::int64_t now, std::int64_t limit, std::int64_t length) noexcept {
    std::scoped_lock guard{lock_};
    taken_ = taken_at(now);
    begins_ = begin_of_window(std::max<std::int64_t>(now, begins_), length);
    limit_ = limit;
    length_ = length;
  }

 private:
  [[nodiscard]] std::int64_t end() const noexcept { return saturating_add(begins_, length_); }
  [[nodiscard]] std::int64_t taken_at(std::int64_t now) const noexcept { return now >= end() ? 0 : std::int64_t{taken_}; }

  // Guarded by lock_.
  typename Sync::template var<std::int64_t> begins_{std::numeric_limits<std::int64_t>::min()};
  typename Sync::template var<std::int64_t> taken_{0};
};

}  // namespace penstock::inline v0_1::detail
