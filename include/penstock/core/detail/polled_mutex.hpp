// penstock/core/detail/polled_mutex.hpp: a mutex for sections of a few dozen instructions that many threads want.
//
// A thread that finds such a mutex taken gains nothing by going to sleep at once: the system call takes longer than the section, and whoever unlocks
// then has to pay for another one. So lock() tries again for a while, with pauses and then yields between; but then it sleeps as any other would,
// for the holder may have lost its processor to a thread of higher priority that waits here.
//
// Thread safety  as std::mutex.
#pragma once

#include <penstock/core/detail/polling.hpp>
#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class polled_mutex {
 public:
  void lock() noexcept {
    if (!mutex_.try_lock()) lock_slowly();
  }
  bool try_lock() noexcept { return mutex_.try_lock(); }
  void unlock() noexcept { mutex_.unlock(); }

 private:
  void lock_slowly() noexcept {
    for (polling<Sync> poll; poll.again();) {
      Sync::pause();  // each try takes the line away from the holder
      if (mutex_.try_lock()) return;
    }
    mutex_.lock();
  }

  typename Sync::mutex mutex_;
};

}  // namespace penstock::inline v0_1::detail
