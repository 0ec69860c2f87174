// penstock/rate/detail/sliding_counter_shape.hpp: a window that slides, told from two counters.
//
// The windows lie side by side at the multiples of their length L since the clock's epoch; only the counts of the present one and of the one before
// are kept, and it is supposed that the requests of the latter were spread evenly: what counts at x after the edge is
// present + previous * (L - x) / L, rounded up.
//
// Law, error     with the limit N: at the most N in each of the windows side by side, and at the most N * (1 + w / L) in any length of time w <= L,
//                which is what a token bucket lets pass. An exact sliding window lets pass N in any w <= L, so this one may exceed it by up to
//                N * w / L, when the previous window's requests came late in it; and it may hold requests back for up to another L when they
//                came early. Both in whole numbers, without drift. In the net of what is given back.
// Clock          while it is behind the window that was seen last, that window stands at its beginning: stepping back gives nothing.
// Thread safety  every member may be called concurrently.
// Cost           one lock and no allocation; 48 bytes whatever the limit.
// Source         the approximation is well known from nginx-like proxies and Cloudflare's account of it (2017).
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
class sliding_counter_shape : public window_limit<Sync> {
  using window_limit<Sync>::lock_;
  using window_limit<Sync>::limit_;
  using window_limit<Sync>::length_;

 public:
  static constexpr std::int64_t most = std::int64_t{1} << 60;  // the greatest limit
  static constexpr const char* name = "sliding_window";

  using window_limit<Sync>::window_limit;

  bool try_take(std::int64_t now, std::int64_t n) noexcept {
    std::scoped_lock guard{lock_};
    counts c = counts_at(now);
    if (used(c, now) > limit_ - n) return false;
    c.present += n;
    counts_ = c;
    return true;
  }

  [[nodiscard]] std::int64_t ready_at(std::int64_t now, std::int64_t n) const noexcept {
    std::scoped_lock guard{lock_};
    const counts c = counts_at(now);
    return used(c, now) > limit_ - n ? when(c, now, n) : now;
  }

  /// From the present count, and what that does not have from the previous one.
  void give_back(std::int64_t now, std::int64_t n) noexcept {
    std::scoped_lock guard{lock_};
    counts c = counts_at(now);
    const std::int64_t from_present = std::min(n, c.present);
    c.present -= from_present;
    c.previous -= std::min(n - from_present, c.previous);
    counts_ = c;
  }

  [[nodiscard]] std::int64_t available(std::int64_t now) const noexcept {
    std::scoped_lock guard{lock_};
    return std::max<std::int64_t>(0, limit_ - used(counts_at(now), now));
  }

  /// From now on. With another length, what counts now counts as taken in the window of now.
  void set_limit(std::int64_t now, std::int64_t limit, std::int64_t length) noexcept {
    std::scoped_lock guard{lock_};
    counts c = counts_at(now);
    if (length != length_) c = {begin_of_window(std::max(now, c.begins), length), 0, used(c, now)};
    counts_ = c;
    limit_ = limit;
    length_ = length;
  }

 private:
  struct counts {
    std::int64_t begins;  // when the present window began
    std::int64_t previous;
    std::int64_t present;
  };

  // With lock_ held, all of them.
  [[nodiscard]] counts counts_at(std::int64_t now) const noexcept {
    const counts c = counts_;
    const std::int64_t end = saturating_add(c.begins, length_);
    if (now < end) return c;
    const std::int64_t begins = begin_of_window(now, length_);
    return {begins, begins == end ? c.present : 0, 0};
  }
  [[nodiscard]] std::int64_t used(const counts& c, std::int64_t now) const noexcept {
    const std::int64_t elapsed = std::max<std::int64_t>(0, now - c.begins);
    return saturating_add(c.present, c.previous - share_of(c.previous, elapsed, length_));
  }
  // When no more than `room` of `count`, taken in the window that began at `begins`, is supposed to be left in the sliding one.
  [[nodiscard]] std::int64_t fades_to(std::int64_t room, std::int64_t count, std::int64_t begins) const noexcept {
    const std::int64_t next = saturating_add(begins, length_);
    return saturating_add(next, length_ - share_of(length_, std::min(room, count), count));
  }
  [[nodiscard]] std::int64_t when(const counts& c, std::int64_t now, std::int64_t n) const noexcept {
    if (n > limit_) return never;
    const std::int64_t room = limit_ - n;
    if (c.present > room) return fades_to(room, c.present, c.begins);
    return std::max(now, fades_to(room - c.present, c.previous, saturating_add(c.begins, -length_)));
  }

  // Guarded by lock_.
  typename Sync::template var<counts> counts_{counts{std::numeric_limits<std::int64_t>::min(), 0, 0}};
};

}  // namespace penstock::inline v0_1::detail
