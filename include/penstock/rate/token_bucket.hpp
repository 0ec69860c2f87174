// penstock/rate/token_bucket.hpp: so many in each time, and a burst after a pause.
//
//   penstock::token_bucket calls{penstock::rate{100, 1s}, 20};       // 100 a second; 20 at once after a pause
//   if (calls.acquire({.stop = token})) send(request);               // waits for its turn
//   if (!calls.try_acquire()) refuse(request, calls.retry_after());
//   co_await calls.async_acquire(bytes);                             // weighted; threads and coroutines stand in one line
//
// A token comes into the bucket each 1 / rate of time, up to `burst`; a call takes n of them, or waits. In any time t no more than burst + rate * t
// are taken, and when more are wanted all the time, no less than that but for what is not a whole token yet.
//
// Algorithm      GCRA, the generic cell rate algorithm (ITU-T I.371; ATM Forum Traffic Management 4.0, virtual scheduling; as a meter: RFC 2697), in
//                integers that carry the remainder: detail/gcra_scale.hpp says what is exact and what is rounded, detail/gcra.hpp how the whole bucket
//                is one atomic word.
// Fairness       first come, first served: while somebody waits, nobody who comes takes anything, so a request for many is not starved.
// Thread safety  every member may be called concurrently. It may be destroyed when no member runs, nobody waits and every operation that waited
//                has resumed.
// Cancellation   a wait that is stopped or times out takes nothing, and those behind it are served if they can be.
// Time           one that steps back earns nothing until it has come to where it was. Waits use the timers of the clock: its own thread if it is one
//                of std's (timer_service.hpp), and advance() of a manual_clock serves those whose time has come before it returns.
// Cost           try_acquire(): one look at the clock and one compare-exchange; no lock. Waiting does not allocate. One allocation at construction.
#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <penstock/core/clock.hpp>
#include <penstock/core/result.hpp>
#include <penstock/rate/detail/gcra.hpp>
#include <penstock/rate/detail/timed_line.hpp>
#include <penstock/rate/rate.hpp>

namespace penstock::inline v0_1 {

enum class warm_start : std::uint8_t {
  full,   ///< begins with a burst
  empty,  ///< begins as if it had just been used up
};

struct token_bucket_options {
  warm_start start = warm_start::full;
};

/// In place of a burst: one at a time, spaced by 1 / rate.
struct no_burst_t {};
inline constexpr no_burst_t no_burst{};

/// try_acquire(), acquire(), async_acquire() with their limits, acquire_up_to(), refund(), available(), ready_at(), retry_after(), close() are those of
/// detail::timed_line. One request can have `burst` at the most.
template <clock Clock = std::chrono::steady_clock, class Sync = detail::std_sync>
class token_bucket : public detail::timed_line<detail::basic_gcra<Sync>, Clock, Sync> {
  using line = detail::timed_line<detail::basic_gcra<Sync>, Clock, Sync>;

 public:
  using typename line::count;

  /// Throws std::invalid_argument unless 1 <= burst <= 2^45, and if the bucket would take more than ten million years to fill.
  token_bucket(const penstock::rate& rate, count burst, token_bucket_options options = {})
    requires detail::static_clock<Clock>
      : token_bucket{detail::clock_handle<Clock>{}, rate, burst, options} {}
  token_bucket(const penstock::rate& rate, no_burst_t, token_bucket_options options = {})
    requires detail::static_clock<Clock>
      : token_bucket{rate, 1, options} {}
  /// By a clock that must outlive the bucket.
  token_bucket(const penstock::rate& rate, count burst, Clock& clock, token_bucket_options options = {})
      : token_bucket{detail::clock_handle<Clock>{clock}, rate, burst, options} {}
  token_bucket(const penstock::rate& rate, no_burst_t, Clock& clock, token_bucket_options options = {})
      : token_bucket{rate, 1, clock, options} {}

  /// Takes n at once, even if they are not there yet, and even past those who wait: they are borrowed from the future. Returns how long it is until they
  /// are paid off: wait so long, for strict pacing; zero if they were there. errc::empty, and nothing is taken, if the debt would be more than
  /// `most_debt` (the burst at the most, which is the default). Throws std::invalid_argument unless 1 <= n <= burst() and 0 <= most_debt.
  [[nodiscard]] result<std::chrono::nanoseconds> consume_with_debt(count n, count most_debt = detail::gcra_scale::most_units) {
    this->possible(n);
    if (most_debt < 0) throw std::invalid_argument{"penstock::token_bucket: most_debt is " + std::to_string(most_debt)};
    if (this->is_closed()) return errc::closed;
    const detail::nanoseconds_point now = this->now();
    const detail::nanoseconds_point paid = this->shape().borrow(now, n, most_debt);
    if (paid == detail::never) return errc::empty;
    return std::chrono::nanoseconds{detail::saturating_add(paid, -now)};
  }

  /// Takes all that are there; returns how many. The beginning of the next token stays.
  count drain() noexcept { return this->shape().take_up_to(this->now(), detail::gcra_scale::most_units); }

  /// From now on the rate is another one: what was earned stays, a debt is paid off when it would have been, and counts as what comes until then at
  /// the new rate. Serves who waits. On a clock that has just stepped back, the time until it is where it was counts once more, at the new rate, unless
  /// all was taken. May run resumed coroutines on this thread unless they have a scheduler. Throws as the constructor does; then nothing has changed.
  void set_rate(const penstock::rate& rate) {
    this->change([&rate](auto& shape, detail::nanoseconds_point now) { shape.set_rate(now, rate); });
  }
  /// From now on at most so many are kept. A larger burst is no present: it fills at the rate. Requests that wait for more than the burst now is end
  /// with errc::rejected. As set_rate().
  void set_burst(count burst) {
    this->change([burst](auto& shape, detail::nanoseconds_point now) { shape.set_burst(now, burst); });
  }

  [[nodiscard]] penstock::rate rate() const noexcept { return this->shape().rate(); }
  [[nodiscard]] count burst() const noexcept { return this->shape().largest(); }

 private:
  token_bucket(detail::clock_handle<Clock> clock, const penstock::rate& rate, count burst, token_bucket_options options)
      : line{clock, rate, burst, clock.now(), options.start == warm_start::full} {}
};

token_bucket(const rate&, std::int64_t, token_bucket_options = {}) -> token_bucket<>;
token_bucket(const rate&, no_burst_t, token_bucket_options = {}) -> token_bucket<>;

}  // namespace penstock::inline v0_1
