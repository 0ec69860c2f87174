// penstock/pool/detail/idle_lane.hpp: idle resources that are to be had without a lock, as long as nothing else is going on in their pool.
//
// One word says which of up to `places` slots lie on the lane, and whether it is *shut*. Borrowing one and giving it back is one compare-exchange of
// that word. Everything else happens under the pool's lock, whose holder shuts the lane first, has all that was on it, and opens it again when it
// leaves, if a slot may be borrowed, and come back, with nothing else to be done: nobody in line, the pool open, none too many.
//
// Invariants     a slot is on the lane, or has one owner: who took it, or, while the lane is shut, the holder of the lock.
//                While the lane is shut, only the holder of the lock changes the word.
// Order          the one that was put last is taken first; if it is gone, one of those with the lowest numbers, so that the others get old.
// No ABA         a place that is set means that this slot is idle, whatever happened since one looked. Nothing is read through the word before the
//                compare-exchange has succeeded; and what a putter read before that (whether the slot may come back) is kept by the one who shuts
//                the lane: it does not open before every lease is back that may not come back by the lane.
// Memory order   who takes a slot sees all that who put it had done: acquire and release on the word. In between there are only
//                read-modify-writes of it, and the stores of open(), whose lock holder has acquired what was there.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <penstock/core/detail/sync.hpp>
#include <penstock/pool/detail/resource_slot.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
class idle_lane {
 public:
  using slot = resource_slot<Sync>;

  // --- without the lock

  /// Null: none is there, or the lane is shut.
  slot* try_take() noexcept {
    word seen = word_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
    while ((seen & all) != 0) {
      const unsigned last = static_cast<unsigned>(seen >> last_at) & last_mask;
      const unsigned place = (seen >> last & 1) != 0 ? last : static_cast<unsigned>(std::countr_zero(seen));
      // acquire: pairs with the release in try_put() and open()
      if (word_.compare_exchange_weak(seen, seen & ~bit(place), std::memory_order_acquire, std::memory_order_relaxed))
        return slots_[place];
    }
    return nullptr;
  }
  /// Of one's own, which has a place. False: the lane is shut. Otherwise nothing of *this is touched any more: it may be gone.
  bool try_put(slot& s) noexcept {
    const word mine = bit(s.place);
    const word last = static_cast<word>(s.place) << last_at;
    word seen = word_.load(std::memory_order_relaxed);  // relaxed: the compare-exchange decides
    while ((seen & is_shut) == 0) {
      // release: pairs with the acquire in try_take() and shut()
      if (word_.compare_exchange_weak(seen, (seen & all) | mine | last, std::memory_order_release, std::memory_order_relaxed))
        return true;
    }
    return false;
  }
  [[nodiscard]] bool may_have_some() const noexcept {
    return (word_.load(std::memory_order_relaxed) & all) != 0;  // relaxed: a hint
  }

  // --- with the lock held

  /// All that is on it goes to the back of `idle`, the one that was put last behind the others. How many more are out than when it was
  /// opened; it may be fewer.
  std::ptrdiff_t shut(slot_list<Sync>& idle) noexcept {
    if (!open_) return 0;
    open_ = false;
    const word seen = word_.exchange(is_shut, std::memory_order_acquire);  // acquire: pairs with the release in try_put()
    const unsigned last = static_cast<unsigned>(seen >> last_at) & last_mask;
    for (word left = seen & all & ~bit(last); left != 0; left &= left - 1) idle.push_back(*slots_[std::countr_zero(left)]);
    if ((seen & bit(last)) != 0) idle.push_back(*slots_[last]);
    return static_cast<std::ptrdiff_t>(opened_with_) - std::popcount(seen & all);
  }
  /// With those from the back of `idle` that have a place and may go there, but for `but` ones that stay.
  template <class May>
  void open(slot_list<Sync>& idle, std::size_t but, May may) noexcept {
    word on_it = 0;
    word last = 0;
    for (slot* s = idle.back(); s != nullptr && idle.size() > but;) {
      slot* const before = s->before;
      if (s->place != no_place && may(*s)) {
        if (on_it == 0) last = static_cast<word>(s->place) << last_at;
        on_it |= bit(s->place);
        idle.remove(*s);
      }
      s = before;
    }
    opened_with_ = static_cast<std::size_t>(std::popcount(on_it));
    open_ = true;
    word_.store(on_it | last, std::memory_order_release);  // release: pairs with the acquire in try_take()
  }

  /// A place for a new one, if there is any left.
  void admit(slot& s) noexcept {
    const word taken = taken_;
    if (taken == all) return;
    s.place = static_cast<std::uint8_t>(std::countr_one(taken));
    slots_[s.place] = &s;
    taken_ = taken | bit(s.place);
  }
  /// Of one that is not on the lane and will not be.
  void dismiss(slot& s) noexcept {
    taken_ = taken_ & ~bit(s.place);
    s.place = no_place;
  }
  /// How often those that have a place have been leased.
  [[nodiscard]] std::uint64_t uses() const noexcept {
    std::uint64_t n = 0;
    // relaxed: a count, of about now
    for (word left = taken_; left != 0; left &= left - 1)
      n += slots_[std::countr_zero(left)]->uses.load(std::memory_order_relaxed);
    return n;
  }

 private:
  using word = std::uint64_t;
  static constexpr unsigned places = 56;
  static constexpr word all = (word{1} << places) - 1;
  static constexpr unsigned last_at = places;  // where the number of the last one stands
  static constexpr unsigned last_mask = 63;
  static constexpr word is_shut = word{1} << 63;
  static_assert(places < resource_slot<Sync>::no_place);
  static constexpr std::uint8_t no_place = resource_slot<Sync>::no_place;
  static constexpr word bit(unsigned place) noexcept { return word{1} << place; }

  typename Sync::template atomic<word> word_{is_shut};
  typename Sync::template var<bool> open_{false};  // guarded by the pool's lock, as all that follows
  typename Sync::template var<std::size_t> opened_with_{0};
  typename Sync::template var<word> taken_{0};
  // Written by the holder of the lock while the place is nobody's; read by who took it.
  slot* slots_[places]{};
};

}  // namespace penstock::inline v0_1::detail
