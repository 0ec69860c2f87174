// penstock/rate/detail/limit_meter.hpp: from samples to a limit: windows, the baseline, and what no algorithm may do.
//
// Window      closes with the first sample after its length when it has enough of them. The length is at least twice the latest mean latency, so that
//             what a change of the limit did is seen before the next one; but it is at most twice what the last window had or took, so that one
//             absurd sample does not stop it all for hours. A window that has not filled in eight lengths is thrown away if it was idle, with less
//             than half a call in flight on average: what was measured may be long out of date. Where calls are just slow it goes on.
// Baseline    what a call takes without a queue. It is measured where there is none: in windows in which less than half of the limit was used, and in
//             *probes*: when that was `probe_every` windows ago, half of what was in flight is the limit for two windows, one to drain and one to
//             measure; a drop in them ends the probe, and is told to the algorithm. (So a latency that was inflated by a queue is not taken for
//             the unloaded one, which would let the limit grow, which would inflate it further. If more than half of what is in flight is queue, a
//             probe measures too much, but less than before: the next ones halve the error.) Between these it only falls, by 5 % a window at the
//             most. What it cannot see is a queue that stands from the beginning below half of the limit: nothing is refused there, so nothing is
//             probed; it is found when half of the limit is used.
// Bounds      the algorithm's answer is clamped to [lowest, highest], and is no increase in a window in which less than half of the limit was used:
//             so the limit never exceeds the greater of its initial value and one step more than twice the most that was ever in flight.
//
// Thread safety  none: its owner's lock guards it. It knows no clock, and no time but the differences that it is told.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <penstock/core/clock.hpp>
#include <penstock/rate/limit_algorithm.hpp>

namespace penstock::inline v0_1::detail {

struct limit_meter_options {
  double initial;
  double lowest;
  double highest;
  std::int64_t window;  // ns
  std::size_t min_samples;
  unsigned probe_every;  // windows; 0: never
};

template <limit_algorithm Algorithm>
class limit_meter {
 public:
  limit_meter(const limit_meter_options& options, Algorithm algorithm) noexcept(std::is_nothrow_move_constructible_v<Algorithm>)
      : options_{options},
        probes_{options.probe_every != 0 && needs_baseline<Algorithm>()},
        algorithm_{std::move(algorithm)},
        limit_{options.initial},
        length_{options.window} {
    // The first value comes from whatever load there was at the start: it is verified early.
    age_ = options.probe_every - options.probe_every / 6;
  }

  [[nodiscard]] std::ptrdiff_t limit() const noexcept { return static_cast<std::ptrdiff_t>(limit_); }
  [[nodiscard]] std::int64_t baseline() const noexcept { return baseline_; }
  [[nodiscard]] bool probing() const noexcept { return probe_ != probe::none; }

  /// A call ended at `now` (ns) after `latency` (ns), and with it `in_flight` were in flight. The limit may have changed.
  void record(std::int64_t now, std::int64_t latency, std::ptrdiff_t in_flight, bool dropped) noexcept {
    if (samples() == 0 || now < start_) start_ = now;  // the first one, or a clock that stepped back
    const std::int64_t open = saturating_difference(now, start_);
    const auto took = static_cast<double>(std::clamp(latency, std::int64_t{1}, longest));
    window_.in_flight = std::max(window_.in_flight, in_flight);
    busy_ += took;
    if (dropped) {
      ++window_.drops;
    } else {
      ++window_.successes;
      total_ += took;
    }
    if (open < length_) return;
    if (samples() >= options_.min_samples) {
      close(open);
    } else if (open / 8 < length_ || busy_ >= static_cast<double>(open) / 2) {
      return;
    }
    window_ = {};
    total_ = busy_ = 0;
  }

 private:
  static constexpr std::int64_t longest = std::int64_t{1} << 61;  // 73 years: twice that does not overflow

  enum class probe : std::uint8_t { none, draining, measuring };

  [[nodiscard]] std::size_t samples() const noexcept { return window_.successes + window_.drops; }
  [[nodiscard]] bool half_used() const noexcept { return 2 * static_cast<double>(window_.in_flight) >= std::floor(limit_); }

  void close(std::int64_t open) noexcept {
    if (window_.successes != 0) {
      window_.latency = static_cast<std::int64_t>(total_ / static_cast<double>(window_.successes));
      length_ = std::max(options_.window, 2 * std::min(window_.latency, std::max(length_, open)));
    }
    if (probe_ != probe::none) {
      go_on_probing();
    } else if (window_.successes == 0 || !look_at_baseline()) {
      adapt();
    }
  }

  void adapt() noexcept {
    window_.baseline = baseline_;
    double next = static_cast<double>(algorithm_.update(std::as_const(window_), limit_));
    if (!(next >= options_.lowest)) next = next != next ? limit_ : options_.lowest;
    next = std::min(next, options_.highest);
    if (next > limit_ && !half_used()) return;
    limit_ = next;
  }

  // True: a probe begins.
  bool look_at_baseline() noexcept {
    if (baseline_ == 0) {
      baseline_ = window_.latency;
    } else if (!half_used()) {
      // One that rises may be a queue's, below half of the limit: that is no reason to put off the probe.
      age_ = window_.latency > baseline_ ? age_ + 1 : 0;
      baseline_ += (window_.latency - baseline_) / 4;
    } else if (!probes_ || ++age_ < options_.probe_every) {
      if (window_.latency < baseline_) baseline_ = std::max(window_.latency, baseline_ - baseline_ / 20);
    } else if (limit_ > options_.lowest) {
      before_probe_ = limit_;
      limit_ = std::max(options_.lowest, std::min(limit_, static_cast<double>(window_.in_flight)) / 2);
      probe_ = probe::draining;
      return true;
    } else {
      baseline_ = window_.latency;
      age_ = 0;
    }
    return false;
  }

  void go_on_probing() noexcept {
    const bool overloaded = window_.drops != 0;
    if (probe_ == probe::draining && !overloaded) {
      probe_ = probe::measuring;
      return;
    }
    if (probe_ == probe::measuring && window_.successes != 0) baseline_ = window_.latency;
    age_ = 0;
    limit_ = before_probe_;
    probe_ = probe::none;
    if (overloaded) adapt();
  }

  const limit_meter_options options_;
  const bool probes_;
  Algorithm algorithm_;
  double limit_;
  std::int64_t length_;  // of the present window
  std::int64_t start_ = 0;
  latency_window window_;
  double total_ = 0;  // of the successes' latencies
  double busy_ = 0;   // of all latencies
  std::int64_t baseline_ = 0;
  unsigned age_ = 0;  // of the baseline, in windows
  probe probe_ = probe::none;
  double before_probe_ = 0;
};

}  // namespace penstock::inline v0_1::detail
