// penstock/channel/detail/water_mark.hpp: whether a channel is fuller than is good for it, with hysteresis, and those who wait until it is not.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>

#include <penstock/core/detail/gate.hpp>
#include <penstock/sync/detail/waitable.hpp>

namespace penstock::inline v0_1::detail {

/// wait(), wait(stop), wait(limits), try_wait(), try_wait_for(), try_wait_until(), async_wait(): until the mark is not exceeded.
/// Lock order: the channel's lock, then this one's; whoever waits here takes this one's alone.
template <class Sync>
class water_mark : public gate<water_mark<Sync>, Sync>, public waitable<water_mark<Sync>, Sync> {
 public:
  water_mark(std::size_t high, std::size_t low) noexcept : high_{high}, low_{low}, above_{false} {}

  [[nodiscard]] bool above() const noexcept {
    return above_.load(std::memory_order_acquire);  // acquire: pairs with the release in set()
  }

  /// With the channel's lock held; those who waited are completed with what else was won under it.
  void depth_is(std::size_t depth, wait_list<Sync>& won) noexcept {
    if (retired_) return;
    // relaxed: changes under the channel's lock
    const bool above = above_.load(std::memory_order_relaxed);
    if (!above && high_ != 0 && depth >= high_) set(true, won);
    if (above && depth <= low_) set(false, won);
  }
  /// The channel is closed: nobody waits here from now on.
  void retire(wait_list<Sync>& won) noexcept {
    retired_ = true;
    set(false, won);
  }

 private:
  friend gate<water_mark, Sync>;
  bool open() const noexcept { return !above(); }
  bool enter() const noexcept { return !above_.load(std::memory_order_relaxed); }  // relaxed: lock_ orders the changes

  void set(bool above, wait_list<Sync>& won) noexcept {
    std::scoped_lock guard{this->lock_};
    above_.store(above, std::memory_order_release);  // release: pairs with the acquire in above()
    if (!above) this->waiters_.win_all(outcome::granted, won);
  }

  const std::size_t high_;
  const std::size_t low_;
  typename Sync::template atomic<bool> above_;
  bool retired_ = false;  // guarded by the channel's lock
};

}  // namespace penstock::inline v0_1::detail
