// penstock/rate/leaky_bucket.hpp: as many as the bucket holds, then as fast as it leaks: aiolimiter's AsyncLimiter.
//
//   penstock::leaky_bucket calls{100, 30s};                   // up to 100 at once, and 100 in 30 s
//   if (calls.acquire()) call();
//   if (!calls.has_capacity(10)) return busy();
//   penstock::leaky_bucket paced{1, 1500ms};                  // no bursts: one each 1.5 s
//
// Each request pours its amount into the bucket, which leaks at max_rate / period; one that would make it overflow waits. That is a token bucket
// looked at from the other side (a bucket with room for n tokens' worth is a bucket with n tokens), and it is the same code: everything that
// token_bucket.hpp says holds, with burst = max_rate. So in any time t at the most max_rate * (1 + t / period) pass: up to twice max_rate in the
// first period after a pause. Where max_rate in any period is meant to the letter, take a sliding_window.
//
// Unlike aiolimiter: amounts are whole numbers, and who came first is served first, also if it asks for much.
#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <penstock/core/clock.hpp>
#include <penstock/rate/detail/gcra.hpp>
#include <penstock/rate/detail/timed_line.hpp>
#include <penstock/rate/rate.hpp>

namespace penstock::inline v0_1 {

namespace detail {

template <class Sync>
struct leaky_shape : basic_gcra<Sync> {
  static constexpr const char* name = "leaky_bucket";
  using basic_gcra<Sync>::basic_gcra;
};

}  // namespace detail

/// try_acquire(), acquire(), async_acquire() with their limits, refund(), available(), ready_at(), retry_after(), close() are those of
/// detail::timed_line. One request can have `max_rate` at the most.
template <clock Clock = std::chrono::steady_clock, class Sync = detail::std_sync>
class leaky_bucket : public detail::timed_line<detail::leaky_shape<Sync>, Clock, Sync> {
  using line = detail::timed_line<detail::leaky_shape<Sync>, Clock, Sync>;

 public:
  using typename line::count;

  /// Begins empty: with all of its capacity. Throws std::invalid_argument unless 1 <= max_rate <= 2^45 and 1 ns <= period.
  explicit leaky_bucket(count max_rate, std::chrono::nanoseconds period = std::chrono::minutes{1})
    requires detail::static_clock<Clock>
      : leaky_bucket{detail::clock_handle<Clock>{}, max_rate, period} {}
  /// By a clock that must outlive the bucket.
  leaky_bucket(count max_rate, std::chrono::nanoseconds period, Clock& clock)
      : leaky_bucket{detail::clock_handle<Clock>{clock}, max_rate, period} {}

  /// Whether `amount` would go in now; false if it never can. Those who wait are not counted. Throws std::invalid_argument if amount < 1.
  [[nodiscard]] bool has_capacity(count amount = 1) const { return line::positive(amount) <= this->available(); }
  /// What is in it now.
  [[nodiscard]] count level() const noexcept { return max_rate() - this->available(); }
  [[nodiscard]] count max_rate() const noexcept { return this->shape().largest(); }

  /// From now on it holds, and leaks, so much: the free capacity stays what it is, but for what is more than the new one. Serves who waits; may run resumed
  /// coroutines on this thread unless they have a scheduler. Throws as the constructor does; then nothing has changed.
  void set_rate(count max_rate, std::chrono::nanoseconds period) {
    const penstock::rate leak{checked(max_rate), period};
    this->change([&](auto& shape, detail::nanoseconds_point now) { shape.set(now, leak, max_rate); });
  }

 private:
  leaky_bucket(detail::clock_handle<Clock> clock, count max_rate, std::chrono::nanoseconds period)
      : line{clock, penstock::rate{checked(max_rate), period}, max_rate, clock.now(), true} {}

  static count checked(count max_rate) {
    if (max_rate < 1 || max_rate > detail::gcra_scale::most_units) {
      throw std::invalid_argument{"penstock::leaky_bucket: max_rate is " + std::to_string(max_rate)};
    }
    return max_rate;
  }
};

leaky_bucket(std::int64_t) -> leaky_bucket<>;
leaky_bucket(std::int64_t, std::chrono::nanoseconds) -> leaky_bucket<>;

}  // namespace penstock::inline v0_1
