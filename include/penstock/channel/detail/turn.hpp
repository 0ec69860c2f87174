// penstock/channel/detail/turn.hpp: waiting for another thread that is between two steps of one operation.
#pragma once

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

/// Another operation has begun what it cannot give back, and moves or copies one item: it needs the processor more than we do. A few pauses,
/// longer each time, then yields; never sleeps.
template <class Sync>
class turn_wait {
 public:
  void wait() noexcept {
    if (round_ < 6 && Sync::parallel()) {
      for (int i = 1 << round_; i > 0; --i) Sync::pause();
      ++round_;
    } else {
      Sync::yield();
    }
  }

 private:
  int round_ = 0;
};

}  // namespace penstock::inline v0_1::detail
