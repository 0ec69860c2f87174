// penstock/pool/detail/resource_work.hpp: what a locked section of a resource pool has noted, done without the lock, and the timer: the fourth part of
// resource_core.hpp, which includes it.
#pragma once

#include <cstddef>
#include <mutex>
#include <utility>

#include <penstock/pool/detail/resource_core.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
void resource_core<Sync>::take_pending(work& todo) noexcept {
  if (!pending_.any()) [[likely]]
    return;
  todo.retired.append(pending_.retired);
  todo.checks.append(pending_.checks);
  todo.connects += std::exchange(pending_.connects, 0);
  todo.ended += std::exchange(pending_.ended, 0);
  todo.timer |= std::exchange(pending_.timer, false);
  if (!todo.entered) live_.begin_one();
  todo.entered = true;
}

template <class Sync>
void resource_core<Sync>::leave_to_keeper(wait_list<Sync>& won) noexcept {
  if (keeping_ || !pending_.any()) return;
  keeping_ = true;
  live_.begin_one();
  won.push_back(keeper_);
}

template <class Sync>
void resource_core<Sync>::do_work(work& todo, wait_list<Sync>& won) noexcept {
  bool timer = false;
  std::size_t ended = 1;  // this thread itself
  for (;;) {
    while (slot* const s = todo.checks.pop_front()) begin_check(*s);
    for (; todo.connects != 0; --todo.connects) begin_connect();
    won.complete_all();
    timer |= std::exchange(todo.timer, false);
    ended += std::exchange(todo.ended, 0);
    std::size_t destroyed = 0;
    while (slot* const s = todo.retired.pop_front()) {
      if (todo.on_timer && destroy_elsewhere(*s)) continue;
      destroy(*s);
      ++destroyed;
    }
    if (destroyed == 0) break;
    // Only now there is room for others.
    ended += destroyed;
    std::scoped_lock guard{lock_};
    retiring_ = retiring_ - destroyed;
    pump(time(), won);
    take_pending(todo);
  }
  if (timer) set_timer();
  for (; ended != 0; --ended) live_.end_one();  // with the last one *this may be gone
}

template <class Sync>
void resource_core<Sync>::destroyed_elsewhere() noexcept {
  work todo;
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    retiring_ = retiring_ - 1;
    ++pending_.ended;
    pump(time(), won);
    take_pending(todo);
  }
  settle(todo, won);
}

template <class Sync>
void resource_core<Sync>::keep() noexcept {
  work todo;
  todo.entered = true;  // by leave_to_keeper()
  wait_list<Sync> won;
  {
    std::scoped_lock guard{lock_};
    keeping_ = false;
    take_pending(todo);
  }
  do_work(todo, won);
}

template <class Sync>
void resource_core<Sync>::set_timer() noexcept {
  std::unique_lock guard{lock_};
  if (setting_timer_) return;  // that one looks at due_ again
  setting_timer_ = true;
  while (!gone_ && due_ < timer_at_) {
    if (timer_at_ != never) {
      guard.unlock();
      const bool taken_out = timers_.try_remove(*this);
      guard.lock();
      if (!taken_out && timer_at_ != never) break;  // fired: on_time() is on its way, and will set it anew
    }
    const nanoseconds_point at = timer_at_ = gone_ ? never : due_;
    if (at == never) break;
    guard.unlock();
    bool added = true;
    try {
      timers_.add(*this, at);  // a clock that is moved by hand may fire it in here
    } catch (...) {
      added = false;  // in a forked child: nothing is looked after there
    }
    guard.lock();
    if (!added) {
      timer_at_ = due_ = never;
      break;
    }
  }
  setting_timer_ = false;
}

}  // namespace penstock::inline v0_1::detail
