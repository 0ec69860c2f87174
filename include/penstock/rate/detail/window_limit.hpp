// penstock/rate/detail/window_limit.hpp: what the shapes of windows have in common: a limit for a length of time, under a lock.
#pragma once

#include <cstdint>
#include <mutex>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class window_limit {
 public:
  /// At the most `limit` (> 0) in `length` (> 0) nanoseconds.
  window_limit(std::int64_t limit, std::int64_t length) noexcept : limit_{limit}, length_{length} {}

  [[nodiscard]] std::int64_t largest() const noexcept {
    std::scoped_lock guard{lock_};
    return limit_;
  }
  [[nodiscard]] std::int64_t length() const noexcept {
    std::scoped_lock guard{lock_};
    return length_;
  }

 protected:
  ~window_limit() = default;

  mutable typename Sync::mutex lock_;  // guards what follows, and all that a shape adds
  typename Sync::template var<std::int64_t> limit_;
  typename Sync::template var<std::int64_t> length_;
};

}  // namespace penstock::inline v0_1::detail
