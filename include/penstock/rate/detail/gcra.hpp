// penstock/rate/detail/gcra.hpp: a token bucket in one atomic word, which knows no clock and nobody who waits.
//
// Word        what is used up, on the scale (gcra_scale.hpp), in the upper 48 bits, and in the lower 16 the generation of the scale that it counts on.
//             Taking is one compare-exchange. 48 bits are enough because the epoch of the scale moves on, after 52 days or 2^46 units at the latest;
//             a change of rate or burst is the same step with another scale.
// Scales      two, one of which is in force: the one of the generation's parity. change() writes the other one and then moves the word on to
//             the next generation, so a compare-exchange that counted on the old scale fails, and read() begins anew. (A thread that stands still between its look and its
//             exchange while the scale changes a multiple of 65,536 times, and finds the very same word, would count n tokens by the old scale.)
// Changes     keep the level: what was earned until then was earned at the old rate; a level above the new burst is cut, one below it is not
//             raised. A debt is paid off when it would have been before the change, so a cut of the rate does not deepen it, and the new rate counts from then on.
// Time steps back: a level is a difference to the latest time that was used, so an earlier time earns nothing and loses nothing. But the word does not know that
//             time: a change of the scale at an earlier one, with tokens left at that, begins there, so what lies between counts again, at the new rate.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <string_view>

#include <penstock/core/detail/sync.hpp>
#include <penstock/rate/detail/gcra_scale.hpp>
#include <penstock/rate/rate.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class basic_gcra {
 public:
  static constexpr const char* name = "token_bucket";

  /// Throws what gcra_scale::make() throws, which names `who`.
  basic_gcra(const penstock::rate& r, std::int64_t burst, nanoseconds_point now, bool full, const char* who = name) : rate_{r} {
    const gcra_scale s = gcra_scale::make(r, burst, now, who);
    scales_[0].set(s);
    word_.store(pack(full ? -s.full() : 0, 0), std::memory_order_relaxed);  // relaxed: nobody else knows *this yet
  }

  bool try_take(nanoseconds_point now, std::int64_t n) noexcept {
    return update(now, [n](const gcra_scale& s, gcra_scale::position& p) {
      if (n > s.burst || p.limit - p.used < n * s.unit) return false;
      p.used += n * s.unit;
      return true;
    });
  }

  /// Takes n, or as many whole tokens as there are; tells how many.
  std::int64_t take_up_to(nanoseconds_point now, std::int64_t n) noexcept {
    std::int64_t taken = 0;
    update(now, [n, &taken](const gcra_scale& s, gcra_scale::position& p) {
      taken = std::max<std::int64_t>(0, std::min(n, (p.limit - p.used) / s.unit));
      p.used += taken * s.unit;
      return taken != 0;
    });
    return taken;
  }

  /// Takes n though they may not be there, if that leaves a debt of at the most `debt` tokens; n and debt at most largest(). When it is paid
  /// off: `now` if there is none, and before `never` though it be longer; `never` if it was refused.
  nanoseconds_point borrow(nanoseconds_point now, std::int64_t n, std::int64_t debt) noexcept {
    nanoseconds_point paid = never;
    const bool taken = update(now, [&](const gcra_scale& s, gcra_scale::position& p) {
      if (n > s.burst) return false;
      const std::int64_t missing = n * s.unit - (p.limit - p.used);
      // Else each change would make room for as deep a debt once more.
      if (missing > 0 && missing + s.owed(now) > std::min(debt, s.burst) * s.unit) return false;
      p.used += n * s.unit;
      paid = p.used <= p.limit ? now : std::clamp(s.time_of(p.used), now, never - 1);
      return true;
    });
    return taken ? paid : never;
  }

  // One that fills the bucket forgets the part of a unit that was issued beyond: it comes again if the clock steps back after it.
  void give_back(nanoseconds_point now, std::int64_t n) noexcept {
    update(now, [n](const gcra_scale& s, gcra_scale::position& p) {
      p.used = std::max(p.used - std::min(n, s.burst) * s.unit, p.limit - s.full());
      return true;
    });
  }

  [[nodiscard]] nanoseconds_point ready_at(nanoseconds_point now, std::int64_t n) const noexcept {
    gcra_scale s;
    const std::int64_t word = read(s);
    return s.ready_at(used_of(word), now, n);
  }
  [[nodiscard]] std::int64_t available(nanoseconds_point now) const noexcept {
    gcra_scale s;
    const std::int64_t word = read(s);
    return s.available(used_of(word), now);
  }
  [[nodiscard]] std::int64_t largest() const noexcept {
    gcra_scale s;
    read(s);
    return s.burst;
  }

  [[nodiscard]] penstock::rate rate() const noexcept {
    std::scoped_lock guard{change_lock_};
    return rate_;
  }
  /// Throws what gcra_scale::make() throws; then nothing has changed.
  void set_rate(nanoseconds_point now, const penstock::rate& r) {
    std::scoped_lock guard{change_lock_};
    change(now, gcra_scale::make(r, current().burst, now, name));
    rate_ = r;
  }
  void set_burst(nanoseconds_point now, std::int64_t burst) {
    std::scoped_lock guard{change_lock_};
    change(now, gcra_scale::make(rate_, burst, now, name));
  }
  /// Both in one step: what is refused, or rounded, goes by the new rate and the new burst together.
  void set(nanoseconds_point now, const penstock::rate& r, std::int64_t burst) {
    std::scoped_lock guard{change_lock_};
    change(now, gcra_scale::make(r, burst, now, name));
    rate_ = r;
  }

 private:
  struct stored_scale {
    void set(const gcra_scale& s) noexcept {
      // release, all: who reads one of these finds the word at a later generation than its own, too (see read())
      epoch.store(s.epoch, std::memory_order_release);
      ratio.store(s.ratio, std::memory_order_release);
      unit.store(s.unit, std::memory_order_release);
      burst.store(s.burst, std::memory_order_release);
    }
    // Fills in what is there: a copy of what has just been written would stall.
    void get(gcra_scale& s) const noexcept {
      // acquire, all: pair with the releases in set()
      s.epoch = epoch.load(std::memory_order_acquire);
      s.ratio = ratio.load(std::memory_order_acquire);
      s.unit = unit.load(std::memory_order_acquire);
      s.burst = burst.load(std::memory_order_acquire);
    }

    typename Sync::template atomic<std::int64_t> epoch{0};
    typename Sync::template atomic<std::uint64_t> ratio{0};
    typename Sync::template atomic<std::int64_t> unit{1};
    typename Sync::template atomic<std::int64_t> burst{1};
  };

  static constexpr int generation_bits = 16;
  static constexpr std::int64_t generation_mask = (std::int64_t{1} << generation_bits) - 1;

  static constexpr std::int64_t pack(std::int64_t used, std::int64_t generation) noexcept {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(used) << generation_bits) | (generation & generation_mask);
  }
  static constexpr std::int64_t used_of(std::int64_t word) noexcept { return word >> generation_bits; }

  [[nodiscard]] const stored_scale& scale_of(std::int64_t word) const noexcept { return scales_[word & 1]; }

  // `decide(scale, position)` moves position.used and returns true, or returns false: then nothing changes.
  template <class Decide>
  bool update(nanoseconds_point now, Decide decide) noexcept {
    for (;;) {
      gcra_scale s;
      std::int64_t word = read(s);
      const std::uint64_t elapsed = s.elapsed(now);
      const gcra_scale::amount issued = s.issued(elapsed);
      if (!gcra_scale::in_range(elapsed) || issued.whole > gcra_scale::most_issued) [[unlikely]] {
        move_epoch(now, word);
        continue;
      }
      gcra_scale::position p = s.place(used_of(word), issued);
      if (!decide(s, p)) return false;
      // relaxed: tokens give access to nothing, and as a read-modify-write it does not break the chain of releases from change()
      if (word_.compare_exchange_weak(word, pack(p.used, word), std::memory_order_relaxed, std::memory_order_relaxed)) {
        return true;
      }
    }
  }

  // The word, and the scale that it counts on.
  std::int64_t read(gcra_scale& s) const noexcept {
    for (;;) {
      const std::int64_t word = word_.load(std::memory_order_acquire);  // acquire: pairs with the release in change()
      scale_of(word).get(s);
      // Relaxed: whatever get() saw of a later scale, it acquired the change of the word that came before that was written.
      if (((word_.load(std::memory_order_relaxed) ^ word) & generation_mask) == 0) return word;
    }
  }

  // With change_lock_ held: the scale in force.
  [[nodiscard]] gcra_scale current() const noexcept {
    gcra_scale s;
    scale_of(word_.load(std::memory_order_relaxed)).get(s);  // relaxed: the lock orders the changes of the generation
    return s;
  }

  // Nothing but the epoch changes.
  [[gnu::noinline]] void move_epoch(nanoseconds_point now, std::int64_t seen) noexcept {
    std::scoped_lock guard{change_lock_};
    // relaxed: the lock orders the changes of the generation
    if (((word_.load(std::memory_order_relaxed) ^ seen) & generation_mask) != 0) return;  // somebody else has moved it
    gcra_scale next = current();
    next.epoch = now;
    change(now, next);
  }

  // With change_lock_ held.
  void change(nanoseconds_point now, gcra_scale next) noexcept {
    std::int64_t word = word_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
    const gcra_scale old = current();
    for (;;) {
      const gcra_scale::position p = old.place(used_of(word), old.issued_ever(old.elapsed(now)));
      const std::int64_t level = p.limit - p.used;
      std::int64_t used = 0;
      if (level >= 0) {
        next.epoch = std::max(now, old.epoch);  // a time before the epoch counts as the epoch, here too
        used = -std::min(next.unit == old.unit ? level : scaled(level, next, old.unit), next.full());
      } else {
        next.epoch = old.time_of(p.used);  // a debt, or time that stepped back: nothing is earned before this time
      }
      scales_[(word + 1) & 1].set(next);
      // release: pairs with the acquire in read(), for the scale
      if (word_.compare_exchange_weak(word, pack(used, word + 1), std::memory_order_release, std::memory_order_relaxed)) return;
    }
  }

  // level * to.unit / from, rounded down; to.full() if that is less (the product may be more than 64 bits hold).
  static constexpr std::int64_t scaled(std::int64_t level, const gcra_scale& to, std::int64_t from) noexcept {
    const uint128 kept =
        uint128{static_cast<std::uint64_t>(level)} * static_cast<std::uint64_t>(to.unit) / static_cast<std::uint64_t>(from);
    return static_cast<std::int64_t>(std::min(kept, uint128{static_cast<std::uint64_t>(to.full())}));
  }

  typename Sync::template atomic<std::int64_t> word_{0};
  stored_scale scales_[2];
  mutable typename Sync::mutex change_lock_;
  penstock::rate rate_;  // guarded by change_lock_
};

using gcra = basic_gcra<>;

}  // namespace penstock::inline v0_1::detail
