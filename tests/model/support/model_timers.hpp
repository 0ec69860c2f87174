// tests/model/support/model_timers.hpp: a clock that a test moves, over the real timer queue.
#pragma once

#include "model_sync.hpp"

#include <penstock/core/detail/timer_queue.hpp>

namespace model {

class timers final : public penstock::detail::basic_timer_queue<model_sync> {
 public:
  using penstock::detail::basic_timer_queue<model_sync>::fire_next;

  nanoseconds_point now() const noexcept override { return the_world.time; }

  void add(entry& e, nanoseconds_point when) override {
    insert(e, when);
    // The time is stored before the queue is looked at, and the queue's lock orders that look and this insertion.
    while (earliest() <= now() && fire_next(now())) {
    }
  }

  /// Leaves firing to whoever moves the clock.
  void insert_only(entry& e, nanoseconds_point when) noexcept { insert(e, when); }

  /// Fires what falls due, on this thread.
  void advance_to(nanoseconds_point to) {
    the_world.time = std::max(the_world.time, to);
    fire_due(now(), std::numeric_limits<std::size_t>::max());
  }

  bool none_pending() noexcept { return earliest() == never; }
};

}  // namespace model
