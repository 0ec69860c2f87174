// penstock/rate/fixed_window.hpp: so many in each minute of the clock; what is simplest, and what many servers count.
//
//   penstock::fixed_window quota{1000, 1h};                          // 1000 in each hour since the clock's epoch
//   penstock::fixed_window calendar{1000, 1h, system_clock};         // from o'clock to o'clock
//
// Law            the windows begin at the multiples of `length` since the epoch of the clock. In each of them at the most `limit` are taken, less what is
//                refunded. At an edge twice the limit may pass in no time: all of it at the end of one window, and all of the next one's at its
//                beginning. Where that hurts, take a sliding_window or a token_bucket.
// Fairness       first come, first served: while somebody waits, nobody who comes takes anything, so a request for many is not starved.
// Thread safety, cancellation, destruction: as token_bucket.hpp says.
// Time           while the clock is behind the window that was seen last, that window goes on: stepping back gives nothing.
// Cost           the clock and one lock; one allocation, at construction.
#pragma once

#include <chrono>
#include <cstdint>

#include <penstock/core/clock.hpp>
#include <penstock/rate/detail/fixed_window_shape.hpp>
#include <penstock/rate/detail/window_line.hpp>

namespace penstock::inline v0_1 {

/// try_acquire(), acquire(), async_acquire() with their limits, refund(), available(), ready_at(), retry_after(), close() are those of
/// detail::timed_line; set_limit(), limit(), length() those of detail::window_line. One request can have `limit` at the most.
template <clock Clock = std::chrono::steady_clock, class Sync = detail::std_sync>
class fixed_window : public detail::window_line<detail::fixed_window_shape<Sync>, Clock, Sync> {
 public:
  /// Of a limit, a length, and a clock that must outlive it (none if all of its type tell the same time). Throws std::invalid_argument unless
  /// 1 <= limit <= 2^60 and 1 ns <= length.
  using detail::window_line<detail::fixed_window_shape<Sync>, Clock, Sync>::window_line;
};

template <class Rep, class Period>
fixed_window(std::int64_t, std::chrono::duration<Rep, Period>) -> fixed_window<>;
template <class Rep, class Period, clock Clock>
fixed_window(std::int64_t, std::chrono::duration<Rep, Period>, Clock&) -> fixed_window<Clock>;

}  // namespace penstock::inline v0_1
