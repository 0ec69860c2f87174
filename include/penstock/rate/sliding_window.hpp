// penstock/rate/sliding_window.hpp: never more than so many in any minute, whenever it begins.
//
//   penstock::sliding_window calls{100, 1min};                       // exact: the time of each of the last hundred is kept
//   penstock::approximate_sliding_window hits{1'000'000, 1min};      // two counters, whatever the limit
//
// Law            sliding_window: in any `length` of time, not counting its beginning, at the most `limit` are taken, less what is refunded; what would
//                not break that is not refused. As a token bucket with burst = limit passes up to twice the limit in a `length`, this is the one for
//                "no more than 100 in any minute" that is checked to the letter.
//                approximate_sliding_window: supposes that what was taken in the last full window (they begin at the multiples of `length` since
//                the epoch) came evenly. At the most `limit` in each of those, and limit * (1 + w / length) in any time w <= length, so it may
//                exceed the exact one by limit * w / length; and it may hold back for up to one length what the exact one lets pass.
// Fairness       first come, first served: while somebody waits, nobody who comes takes anything, so a request for many is not starved.
// Thread safety, cancellation, destruction: as token_bucket.hpp says.
// Time           while the clock is behind the latest time that was seen, it stands still: stepping back gives nothing.
// Cost           the clock and one lock. sliding_window: 16 bytes for each of `limit`, allocated at construction, and when the limit is raised.
#pragma once

#include <chrono>
#include <cstdint>

#include <penstock/core/clock.hpp>
#include <penstock/rate/detail/sliding_counter_shape.hpp>
#include <penstock/rate/detail/sliding_log_shape.hpp>
#include <penstock/rate/detail/window_line.hpp>

namespace penstock::inline v0_1 {

/// try_acquire(), acquire(), async_acquire() with their limits, refund(), available(), ready_at(), retry_after(), close() are those of
/// detail::timed_line; set_limit(), limit(), length() those of detail::window_line. One request can have `limit` at the most.
template <clock Clock = std::chrono::steady_clock, class Sync = detail::std_sync>
class sliding_window : public detail::window_line<detail::sliding_log_shape<Sync>, Clock, Sync> {
 public:
  /// Of a limit, a length, and a clock that must outlive it (none if all of its type tell the same time). Throws std::invalid_argument unless
  /// 1 <= limit <= 2^24 and 1 ns <= length.
  using detail::window_line<detail::sliding_log_shape<Sync>, Clock, Sync>::window_line;
};

/// The same, told from two counters.
template <clock Clock = std::chrono::steady_clock, class Sync = detail::std_sync>
class approximate_sliding_window : public detail::window_line<detail::sliding_counter_shape<Sync>, Clock, Sync> {
 public:
  /// Of a limit, a length, and a clock that must outlive it (none if all of its type tell the same time). Throws std::invalid_argument unless
  /// 1 <= limit <= 2^60 and 1 ns <= length.
  using detail::window_line<detail::sliding_counter_shape<Sync>, Clock, Sync>::window_line;
};

template <class Rep, class Period>
sliding_window(std::int64_t, std::chrono::duration<Rep, Period>) -> sliding_window<>;
template <class Rep, class Period, clock Clock>
sliding_window(std::int64_t, std::chrono::duration<Rep, Period>, Clock&) -> sliding_window<Clock>;
template <class Rep, class Period>
approximate_sliding_window(std::int64_t, std::chrono::duration<Rep, Period>) -> approximate_sliding_window<>;
template <class Rep, class Period, clock Clock>
approximate_sliding_window(std::int64_t, std::chrono::duration<Rep, Period>, Clock&) -> approximate_sliding_window<Clock>;

}  // namespace penstock::inline v0_1
