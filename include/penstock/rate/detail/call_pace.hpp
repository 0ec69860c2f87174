// penstock/rate/detail/call_pace.hpp: when calls lead to runs: the arithmetic of debounce and throttle, without a clock and without threads.
//
// Calls come in bursts. A burst begins with a call and is over when it has been quiet: `wait` has passed since its last call, and
// `spacing` since the last run. On its leading edge (its first call) and on its trailing edge (`wait` after the last call; later calls put
// it off) a run is due; `max_wait` after the last run, or after the beginning of the burst, one is due in any case. With a trailing
// edge, calls that come in between wait for it; without one they follow the run that was.
//
// A debounce has no spacing. A throttle is a debounce whose max_wait is its wait, as in lodash, and whose spacing is its wait, too: so no two
// of its runs begin within one interval, which lodash does not promise.
//
// Clock       times may step back: then no time has passed since what lies in the future.
// Fields      plain, guarded by the lock of who keeps it.
#pragma once

#include <algorithm>
#include <cstdint>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

/// In nanoseconds; not negative, and max_wait >= wait. `never`: no such limit.
struct pace_rules {
  std::int64_t wait = 0;
  std::int64_t max_wait = never;
  std::int64_t spacing = 0;
  bool leading = false;
  bool trailing = true;
};

/// What a call asks for.
enum class pace_verdict : std::uint8_t {
  run,     ///< a run, now
  wait,    ///< a run, when it is due
  follow,  ///< no run: there was one for it
};

template <class Sync>
class call_pace {
 public:
  /// Somebody calls. `waiting`: earlier calls wait for a run.
  pace_verdict call(const pace_rules& rules, nanoseconds_point now, bool waiting) noexcept {
    if (last_run_ > now) last_run_ = now;  // the clock stepped back
    if (began_ > now) began_ = now;
    const bool first = !waiting && is_quiet(rules, now);
    last_call_ = now;
    open_ = true;
    if (first) {
      last_run_ = now;  // max_wait counts from here
      ran_ = false;
      if (rules.leading) return pace_verdict::run;
    }
    if (rules.trailing) return pace_verdict::wait;
    return rules.max_wait != never && now >= saturating_add(last_run_, rules.max_wait) ? pace_verdict::run : pace_verdict::follow;
  }

  /// When the calls that wait are due.
  [[nodiscard]] nanoseconds_point due(const pace_rules& rules) const noexcept {
    const nanoseconds_point at = std::min(saturating_add(last_call_, rules.wait), saturating_add(last_run_, rules.max_wait));
    // The last run may have begun after the last call: it was on its way for so long.
    return ran_ ? std::max(at, saturating_add(last_run_, rules.spacing)) : at;
  }

  /// When the burst is over if nobody calls; the past if there is none.
  [[nodiscard]] nanoseconds_point quiet(const pace_rules& rules) const noexcept {
    if (!open_) return -never;
    const nanoseconds_point calm = saturating_add(last_call_, rules.wait);
    return ran_ ? std::max(calm, saturating_add(last_run_, rules.spacing)) : calm;
  }
  [[nodiscard]] bool is_quiet(const pace_rules& rules, nanoseconds_point now) const noexcept { return now >= quiet(rules); }
  [[nodiscard]] bool open() const noexcept { return open_; }

  /// A run is sent on its way, and begins about now.
  void ran(nanoseconds_point now) noexcept {
    last_run_ = now;
    ran_ = true;
  }
  /// It begins. Who has a spacing must say so: that counts from here.
  void began(nanoseconds_point now) noexcept {
    ran(now);
    open_ = true;
    began_ = now;
    has_begun_ = true;
  }
  /// What was sent does not take place after all: as if the last call had been the one that led to the last run that began.
  void did_not_run() noexcept {
    ran_ = has_begun_;
    if (!has_begun_) return;
    last_run_ = began_;
    last_call_ = began_;
  }

  /// The burst is over.
  void close() noexcept { open_ = false; }
  /// The same at the user's word; but the spacing from the last run is kept.
  void forget(const pace_rules& rules) noexcept {
    if (!ran_ || rules.spacing == 0) open_ = false;
  }

 private:
  typename Sync::template var<nanoseconds_point> last_call_{0};
  typename Sync::template var<nanoseconds_point> last_run_{0};  // or the beginning of the burst, if that is later
  typename Sync::template var<bool> open_{false};
  typename Sync::template var<bool> ran_{false};             // last_run_ is a run
  typename Sync::template var<nanoseconds_point> began_{0};  // the last run that began
  typename Sync::template var<bool> has_begun_{false};
};

}  // namespace penstock::inline v0_1::detail
