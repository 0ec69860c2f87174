// penstock/rate/detail/limiter_state.hpp: what a limiter decides: who starts, who stands in line, who is dropped, and what there is to tell of it.
//
// It waits for nothing and reads no clock: it is told the time. Who is won goes onto a list that its owner completes after unlocking.
//
// Invariants     after serve() nobody in line can start at the time that it was told; wanted_at() is when time alone will let next() start, `never` if it
//                will not, and may be too early if somebody has started since.
// Thread safety  passive: guarded by its owner's lock.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/owner.hpp>
#include <penstock/core/detail/wait_queue.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/result.hpp>
#include <penstock/observe/histogram.hpp>
#include <penstock/rate/detail/limiter_budget.hpp>
#include <penstock/rate/detail/limiter_line.hpp>
#include <penstock/rate/limiter_options.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class basic_limiter_state {
 public:
  using limiter_request = basic_limiter_request<Sync>;
  using won_list = wait_list<Sync>;
  static constexpr std::size_t event_kinds = 5;
  using event_counts = std::array<std::uint64_t, event_kinds>;

  /// `measures`: how long those waited that had their turn.
  basic_limiter_state(limiter_options o, nanoseconds_point now, bool measures = false)
      : waits{measures ? new waits_type : nullptr}, budget{std::move(o), now} {}

  using waits_type = dependent<histogram, Sync>;
  const owner<waits_type> waits;  // null: not measured. Its members need no lock

  limiter_budget<Sync> budget;

  [[nodiscard]] bool closed() const noexcept { return closed_; }
  [[nodiscard]] bool blocked(nanoseconds_point now) const noexcept { return now < blocked_until_; }
  [[nodiscard]] bool idle() const noexcept { return line_.empty() && budget.running() == 0; }
  [[nodiscard]] bool somebody_waits() const noexcept { return !line_.empty(); }
  [[nodiscard]] nanoseconds_point wanted_at() const noexcept { return line_.empty() ? never : wanted_at_; }
  [[nodiscard]] limiter_counts counts() const noexcept {
    limiter_counts c = counts_;
    c.queued = line_.size();
    c.running = budget.running();
    return c;
  }

  /// Whether it is decided at once.
  bool pass(limiter_request& r, nanoseconds_point now) noexcept {
    if (closed_) {
      r.how = outcome::closed;
      return true;
    }
    if (!may_pass(r.job, now)) return false;
    start(r.job, now);
    r.started_at = budget.started_at();
    r.how = outcome::granted;
    return true;
  }
  /// The same for one who never waits; `start` follows if it may.
  result<void> try_pass(const job_options& job, nanoseconds_point now) noexcept {
    if (closed_) return errc::closed;
    if (blocked(now)) {
      refuse_while_blocked(now);
      return errc::rejected;
    }
    if (!may_pass(job, now)) return errc::empty;
    return {};
  }
  void start(const job_options& job, nanoseconds_point now) noexcept {
    line_.take_turn(job.priority);
    ++counts_.started;
    if (budget.take(job.weight, now)) happened(limiter_event::depleted);
  }
  void undo(std::int64_t weight, nanoseconds_point since, nanoseconds_point now) noexcept {
    budget.undo(weight, since, now);
    --counts_.started;
  }

  /// Into the line, if there is room or somebody goes for it. False: refused.
  bool enter(limiter_request& r, nanoseconds_point now, won_list& won) noexcept {
    const limiter_options& o = budget.options();
    if (blocked(now)) {
      refuse_while_blocked(now);
      r.how = outcome::rejected;
      return false;
    }
    if (r.job.weight > budget.largest() || (line_.size() >= o.high_water && !make_room(r, now, won))) {
      dropped();
      r.how = outcome::rejected;
      return false;
    }
    r.since = now;
    line_.push_back(r);
    return true;
  }
  /// One has left the line because its wait was ended.
  void gave_up(const limiter_request& r) noexcept {
    line_.unlinked(r);
    ++counts_.gave_up;
    left_line();
  }

  /// When a job could start, were it alone; `never` if no time brings it.
  [[nodiscard]] nanoseconds_point ready_at(const job_options& job, nanoseconds_point now) noexcept {
    if (closed_) return never;
    const nanoseconds_point at = budget.ready_at(job.weight, now);
    return blocked(now) ? std::max(at, blocked_until_) : at;
  }

  void close() noexcept { closed_ = true; }
  void win_everybody(outcome how, won_list& won) noexcept {
    while (limiter_request* const r = line_.any()) win(*r, how, won);
  }
  /// Limits were tightened: what can never start any more must not hold up the others.
  void refuse_the_heavy(won_list& won) noexcept {
    const std::int64_t most = budget.largest();
    line_.for_each([&](limiter_request& r) {
      if (r.job.weight > most) drop(r, won);
    });
  }
  void retried() noexcept {
    ++counts_.retried;
    happened(limiter_event::retry);
  }

  /// Whether it has just become idle.
  bool became_idle() noexcept {
    const bool before = std::exchange(was_idle_, idle());
    if (!was_idle_ || before) return false;
    happened(limiter_event::idle);
    return true;
  }
  [[nodiscard]] bool anything_to_tell() const noexcept {
    return std::any_of(events_.begin(), events_.end(), [](std::uint64_t n) { return n != 0; });
  }
  event_counts take_events() noexcept { return std::exchange(events_, event_counts{}); }

  /// Lets start who can. `self` stands in line itself and is looking: it is told by being unlinked.
  void serve(nanoseconds_point now, won_list& won, const limiter_request* self) noexcept {
    wanted_at_ = never;
    while (limiter_request* const r = line_.next()) {
      const nanoseconds_point at = budget.ready_at(r->job.weight, now);
      if (at > now) {
        wanted_at_ = at;
        return;
      }
      start(r->job, now);
      r->started_at = budget.started_at();
      if (waits && r != self) waits->record(std::chrono::nanoseconds{std::max<nanoseconds_point>(now - r->since, 0)});
      if (r == self) {
        line_.unlink(*r);
        r->how = outcome::granted;
        left_line();
      } else {
        win(*r, outcome::granted, won);
      }
    }
  }

 private:
  bool may_pass(const job_options& job, nanoseconds_point now) noexcept {
    return !closed_ && !blocked(now) && line_.would_be_next(job.priority) && budget.ready_at(job.weight, now) <= now;
  }
  bool make_room(const limiter_request& r, nanoseconds_point now, won_list& won) noexcept {
    const limiter_options& o = budget.options();
    if (o.strategy == limiter_strategy::block) {
      while (limiter_request* const waiting = line_.any()) drop(*waiting, won);
      const std::int64_t spaced =
          o.min_time.count() == 0 ? 5'000'000'000 : (o.min_time.count() > never / 15 ? never : 15 * o.min_time.count());
      penalty_ = o.penalty ? o.penalty->count() : spaced;
      blocked_until_ = saturating_add(now, penalty_);
      return false;
    }
    if (o.strategy == limiter_strategy::reject_newest || line_.empty()) return false;
    while (line_.size() >= o.high_water) {  // more than one goes if the mark was lowered
      limiter_request& lowest = line_.least_urgent();
      const bool goes = o.strategy == limiter_strategy::drop_oldest ? lowest.job.priority >= r.job.priority
                                                                    : lowest.job.priority > r.job.priority;
      if (!goes) return false;
      drop(lowest, won);
      if (line_.empty()) break;
    }
    return o.high_water != 0;
  }
  void refuse_while_blocked(nanoseconds_point now) noexcept {
    blocked_until_ = saturating_add(now, penalty_);
    dropped();
  }
  void dropped() noexcept {
    ++counts_.dropped;
    happened(limiter_event::dropped);
  }
  void drop(limiter_request& r, won_list& won) noexcept {
    win(r, outcome::rejected, won);
    dropped();
  }
  void win(limiter_request& r, outcome how, won_list& won) noexcept {
    line_.unlink(r);
    r.how = how;
    won.push_back(r);
    left_line();
  }
  void left_line() noexcept {
    if (line_.empty()) happened(limiter_event::empty);
  }
  void happened(limiter_event e) noexcept { ++events_[static_cast<std::size_t>(e)]; }

  basic_limiter_line<Sync> line_;
  limiter_counts counts_;  // but for what is counted elsewhere
  event_counts events_{};  // that are to be told
  nanoseconds_point wanted_at_ = never;
  nanoseconds_point blocked_until_ = std::numeric_limits<nanoseconds_point>::min();
  std::int64_t penalty_ = 0;
  bool closed_ = false;
  bool was_idle_ = true;
};

using limiter_state = basic_limiter_state<std_sync>;

}  // namespace penstock::inline v0_1::detail
