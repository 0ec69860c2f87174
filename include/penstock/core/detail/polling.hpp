// penstock/core/detail/polling.hpp: how long a thread looks before it sleeps.
//
// Sleeping and being woken costs about 50 µs, what is awaited often comes within one. So a waiter polls a short counted while: twenty
// bare looks, then looks after 1, 2 and 4 pauses, then looks after each of twenty yields. The yields are what keeps more threads than
// processors from collapsing: a poller gives way to the thread that it waits for. On a single processor there are the yields only.
//
//   for (polling<Sync> poll; poll.again();) if (ready()) return;
#pragma once

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class polling {
 public:
  /// Waits a little and tells to look again; false once it is time to sleep. At most about 30 µs in all.
  bool again() noexcept {
    if (round_ == 0 && !Sync::parallel()) round_ = first_yield;
    const int round = round_++;
    if (round < first_pause) return true;
    if (round < first_yield) {
      for (int i = 1 << (round - first_pause); i > 0; --i) Sync::pause();
      return true;
    }
    if (round < last) {
      Sync::yield();
      return true;
    }
    return false;
  }

 private:
  static constexpr int first_pause = 20;
  static constexpr int first_yield = first_pause + 3;
  static constexpr int last = first_yield + 20;
  int round_ = 0;
};

}  // namespace penstock::inline v0_1::detail
