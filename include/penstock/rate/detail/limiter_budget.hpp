// penstock/rate/detail/limiter_budget.hpp: what a limiter may still let start, and when: all of its limits at one point in time.
//
// It waits for nothing and reads no clock: it is told the time, and a time that steps back is taken for the latest one that was told.
//
// Thread safety  passive: guarded by its owner's lock.
// Exceptions     only the constructor and apply() throw: std::invalid_argument, and std::bad_alloc; then nothing has changed.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/rate/detail/gcra.hpp>
#include <penstock/rate/detail/gcra_scale.hpp>
#include <penstock/rate/limiter_options.hpp>

namespace penstock::inline v0_1::detail {

/// The tokens of a reservoir and when more of them come.
class limiter_reservoir {
 public:
  limiter_reservoir(const reservoir_options& o, std::int64_t level, nanoseconds_point now) noexcept
      : o_{o}, level_{level}, next_refresh_{after(now, o.refresh_interval)}, next_increase_{after(now, o.increase_interval)} {}

  [[nodiscard]] std::int64_t level() const noexcept { return level_; }
  void add(std::int64_t n) noexcept { level_ = saturating_add(level_, n); }
  /// What was taken at `since` and is not needed: of no use if there was a refresh since, and within the maximum if there was an increase. advance() was
  /// called.
  void give_back(std::int64_t n, nanoseconds_point since) noexcept {
    if (since < refreshed_at_) return;
    const std::int64_t full = since < increased_at_ ? std::max(level_, o_.increase_maximum) : never;
    level_ = std::min(saturating_add(level_, n), full);
  }
  void set(std::int64_t n) noexcept { level_ = n; }

  /// Brings the level up to date.
  template <class = void>
  void advance(nanoseconds_point now) noexcept {
    nanoseconds_point since =
        std::numeric_limits<nanoseconds_point>::min();  // the increases before the last refresh do not matter
    if (now >= next_refresh_) {
      since = next_refresh_ + (now - next_refresh_) / o_.refresh_interval.count() * o_.refresh_interval.count();
      level_ = o_.refresh_amount;
      refreshed_at_ = since;
      next_refresh_ = saturating_add(since, o_.refresh_interval.count());
    }
    if (now < next_increase_) return;
    const std::int64_t step = o_.increase_interval.count();
    if (since > next_increase_) next_increase_ += (since - next_increase_ + step - 1) / step * step;
    if (now < next_increase_) return;
    const std::int64_t times = (now - next_increase_) / step + 1;
    increased_at_ = now;
    next_increase_ = saturating_add(next_increase_, times > never / step ? never : times * step);
    const std::int64_t room = std::max<std::int64_t>(o_.increase_maximum - level_, 0);
    const bool overflows = o_.increase_amount != 0 && times > room / o_.increase_amount;
    level_ += overflows ? room : std::min(room, times * o_.increase_amount);
  }

  /// Not later than when there is enough, if nobody takes; `never` if no time brings it. advance() was called.
  template <class = void>
  [[nodiscard]] nanoseconds_point enough_at(std::int64_t weight, nanoseconds_point now) const noexcept {
    if (level_ >= weight) return now;
    nanoseconds_point at = never;
    if (o_.refresh_amount >= weight) at = next_refresh_;
    if (o_.increase_amount > 0 && o_.increase_maximum >= weight && next_increase_ != never) {
      const std::int64_t steps = (weight - level_ - 1) / o_.increase_amount;  // after the next one
      const std::int64_t interval = o_.increase_interval.count();
      at = std::min(at, saturating_add(next_increase_, steps > never / interval ? never : steps * interval));
    }
    // A refresh before that takes the increases back: it looks again then.
    return at == never ? never : std::min(at, next_refresh_);
  }

  /// Whether it comes back in the same way.
  [[nodiscard]] bool goes_by(const reservoir_options& o) const noexcept {
    return o_.refresh_interval == o.refresh_interval && o_.refresh_amount == o.refresh_amount &&
           o_.increase_interval == o.increase_interval && o_.increase_amount == o.increase_amount &&
           o_.increase_maximum == o.increase_maximum;
  }

 private:
  static nanoseconds_point after(nanoseconds_point now, std::chrono::nanoseconds interval) noexcept {
    return interval.count() == 0 ? never : saturating_add(now, interval.count());
  }

  reservoir_options o_;
  std::int64_t level_;
  nanoseconds_point next_refresh_;
  nanoseconds_point next_increase_;
  nanoseconds_point refreshed_at_ = std::numeric_limits<nanoseconds_point>::min();
  nanoseconds_point increased_at_ = std::numeric_limits<nanoseconds_point>::min();
};

template <class Sync>
class limiter_budget {
  using rate = dependent<gcra, Sync>;

 public:
  static constexpr std::int64_t heaviest = std::int64_t{1} << 40;  // so that no sum of what runs overflows

  limiter_budget(limiter_options o, nanoseconds_point now) : latest_{now}, paused_until_{now}, window_end_{now} {
    apply(std::move(o), now);
  }

  [[nodiscard]] const limiter_options& options() const noexcept { return options_; }

  /// Live. Rates that stay at their place in the list keep what is there, to the part of a token; the reservoir keeps its level, and its times if it comes
  /// back as before. So however often it is called, nobody starves.
  void apply(limiter_options o, nanoseconds_point told) {
    check(o);
    const nanoseconds_point now = time(told);
    const std::size_t kept = std::min(rates_.size(), o.rates.size());
    for (std::size_t i = 0; i < kept; ++i) gcra_scale::make(o.rates[i].rate, o.rates[i].burst, now, name);
    std::vector<std::unique_ptr<rate>> rates(o.rates.size());
    for (std::size_t i = kept; i < rates.size(); ++i) {
      rates[i] = std::make_unique<rate>(o.rates[i].rate, o.rates[i].burst, now, true, name);
    }
    // From here on nothing throws.
    for (std::size_t i = 0; i < kept; ++i) {
      const rate_limit& r = o.rates[i];
      if (r.rate != options_.rates[i].rate || r.burst != options_.rates[i].burst) rates_[i]->set(now, r.rate, r.burst);
      rates[i] = std::move(rates_[i]);
    }
    rates_ = std::move(rates);
    if (!o.reservoir) {
      reservoir_.reset();
    } else {
      if (reservoir_) reservoir_->advance(now);
      if (!reservoir_ || !reservoir_->goes_by(*o.reservoir)) {
        reservoir_.emplace(*o.reservoir, reservoir_ ? reservoir_->level() : o.reservoir->initial, now);
      }
    }
    next_start_ = started_at_ == never ? now : saturating_add(started_at_, o.min_time.count());
    options_ = std::move(o);
  }

  /// The most that a job can weigh.
  [[nodiscard]] std::int64_t largest() const noexcept {
    std::int64_t most = std::min(options_.max_concurrent, heaviest);
    for (const rate_limit& r : options_.rates) most = std::min(most, r.burst);
    return most;
  }

  [[nodiscard]] std::int64_t running() const noexcept { return running_; }
  /// Whether anything comes with time.
  [[nodiscard]] bool takes_time() const noexcept {
    return options_.min_time.count() != 0 || !options_.rates.empty() || options_.reservoir.has_value();
  }

  /// When so much can start if nothing else starts before; the time that was told, or an earlier one, if it can at once; `never` if only what others
  /// do can bring it. With a reservoir that is refreshed, which may lower the level meanwhile, it may tell a time that is too early, and never one that
  /// is too late.
  [[nodiscard]] nanoseconds_point ready_at(std::int64_t weight, nanoseconds_point told) noexcept {
    const nanoseconds_point now = time(told);
    if (options_.max_concurrent != limiter_options::unlimited && weight > options_.max_concurrent - running_) return never;
    nanoseconds_point at = std::max(next_start_, paused_until_);
    if (now < window_end_ && weight > window_left_) at = std::max(at, window_end_);
    if (reservoir_) {
      reservoir_->advance(now);
      at = std::max(at, reservoir_->enough_at(weight, now));
    }
    for (const auto& r : rates_) at = std::max(at, r->ready_at(now, weight));
    return at <= now ? told : at;
  }

  /// Only what can start now. True: the reservoir has come to 0.
  bool take(std::int64_t weight, nanoseconds_point told) noexcept {
    const nanoseconds_point now = time(told);
    running_ += weight;
    started_at_ = now;
    next_start_ = saturating_add(now, options_.min_time.count());
    if (now < window_end_) window_left_ -= weight;
    for (const auto& r : rates_) static_cast<void>(r->try_take(now, weight));
    if (!reservoir_) return false;
    reservoir_->add(-weight);
    return reservoir_->level() == 0;
  }

  /// Something that ran has ended. Throws std::invalid_argument if not so much runs.
  void end(std::int64_t weight) {
    if (weight < 0 || weight > running_) {
      throw std::invalid_argument{"penstock::limiter: release of " + std::to_string(weight) + ", but " +
                                  std::to_string(running_) + " runs"};
    }
    running_ -= weight;
  }

  /// When the latest job started; it must be asked right after take().
  [[nodiscard]] nanoseconds_point started_at() const noexcept { return started_at_; }

  /// What was taken at `since` is not needed: it comes back as if it had not been, but for the spacing; not to a server's window or a refresh of the
  /// reservoir that came later, which it was not taken from.
  void undo(std::int64_t weight, nanoseconds_point since, nanoseconds_point told) noexcept {
    const nanoseconds_point now = time(told);
    running_ -= weight;
    if (now < window_end_ && since > window_begin_) window_left_ = saturating_add(window_left_, weight);
    for (const auto& r : rates_) r->give_back(now, weight);
    if (!reservoir_) return;
    reservoir_->advance(now);
    reservoir_->give_back(weight, since);
  }

  [[nodiscard]] std::optional<std::int64_t> reservoir(nanoseconds_point told) noexcept {
    if (!reservoir_) return {};
    reservoir_->advance(time(told));
    return reservoir_->level();
  }
  void fill_reservoir(std::int64_t n, bool add, nanoseconds_point told) noexcept {
    if (!reservoir_) return;
    reservoir_->advance(time(told));
    add ? reservoir_->add(n) : reservoir_->set(n);
  }

  void clear_hints() noexcept { paused_until_ = window_end_ = latest_; }
  /// Answers may come out of order, so what is stricter counts, unless it is about a later window of the server's. Servers tell whole seconds: ends
  /// that lie no further apart than one are the same.
  void hint(const server_hints& h, nanoseconds_point told) noexcept {
    const nanoseconds_point now = time(told);
    if (h.retry_after) paused_until_ = std::max(paused_until_, saturating_add(now, h.retry_after->count()));
    if (!h.remaining || !h.reset || h.reset->count() <= 0) return;
    constexpr std::int64_t second = 1'000'000'000;
    const std::int64_t left = std::max<std::int64_t>(*h.remaining, 0);
    const nanoseconds_point end = saturating_add(now, h.reset->count());
    if (now >= window_end_ || end > saturating_add(window_end_, second)) {
      window_begin_ = now;
      window_end_ = end;
      window_left_ = left;
    } else if (saturating_add(end, second) >= window_end_) {
      window_left_ = std::min(window_left_, left);
    }
  }

 private:
  static constexpr const char* name = "limiter";

  nanoseconds_point time(nanoseconds_point told) noexcept { return latest_ = std::max(latest_, told); }

  template <class T>
  static void demand(bool right, const char* what, T is) {
    if (!right) throw std::invalid_argument{std::string{"penstock::limiter: "} + what + " is " + std::to_string(is)};
  }
  static void check(const limiter_options& o) {
    demand(o.max_concurrent > 0, "max_concurrent", o.max_concurrent);
    demand(o.min_time.count() >= 0, "min_time (ns)", o.min_time.count());
    for (const rate_limit& r : o.rates) demand(r.burst > 0, "burst", r.burst);
    if (o.penalty) demand(o.penalty->count() >= 0, "penalty (ns)", o.penalty->count());
    if (!o.reservoir) return;
    const reservoir_options& r = *o.reservoir;
    demand(r.initial >= 0, "reservoir.initial", r.initial);
    demand(r.refresh_interval.count() >= 0, "reservoir.refresh_interval (ns)", r.refresh_interval.count());
    demand(r.refresh_amount >= 0, "reservoir.refresh_amount", r.refresh_amount);
    demand(r.increase_interval.count() >= 0, "reservoir.increase_interval (ns)", r.increase_interval.count());
    demand(r.increase_amount >= 0, "reservoir.increase_amount", r.increase_amount);
    demand(r.increase_maximum >= 0, "reservoir.increase_maximum", r.increase_maximum);
  }

  limiter_options options_;
  std::vector<std::unique_ptr<rate>> rates_;  // by their place in the options
  std::optional<dependent<limiter_reservoir, Sync>> reservoir_;
  std::int64_t running_ = 0;
  nanoseconds_point latest_;              // that was told
  nanoseconds_point started_at_ = never;  // the latest start; never: there was none
  nanoseconds_point next_start_ = never;
  nanoseconds_point paused_until_;
  nanoseconds_point window_end_;                                                    // of the server's window
  nanoseconds_point window_begin_ = std::numeric_limits<nanoseconds_point>::min();  // when we heard of it first
  std::int64_t window_left_ = 0;                                                    // what may start before that
};

}  // namespace penstock::inline v0_1::detail
