// penstock/rate/detail/line_alarm.hpp: the one timer of a line in which several may be the next to be served.
//
// Armed       for the earliest time at which anybody in line could be served, or earlier. Who comes sees to that before it is linked (look_by()); whoever
//             leaves only makes it later. So nothing has to be armed under the owner's lock, or after a node was linked (race 4).
// Moving it   is one thread's at a time (moving_): the others, a timer that fires meanwhile included, leave word (wanted_, fired_), and that
//             thread looks again. It never waits for a timer that goes off, which may resume somebody's coroutine first: due() is on its way then, and
//             sees to what is wanted. It completes whom it served last of all: they may destroy the owner.
// Destruction waits for the timer's function until it touches the owner no more (on_timer_), not for what it makes go on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>

#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/detail/join.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/core/detail/wait_queue.hpp>
#include <penstock/core/detail/work_item.hpp>

namespace penstock::inline v0_1::detail {

/// `Owner` has `wait_lock()` and, noexcept and with that held:
///   serve(won)          wins all who can be served now, and calls want() for the others
///   end_all(how, won)   wins all with that outcome
/// A member of the owner, which outlives neither its lock nor the clock.
template <class Owner, class Clock, class Sync>
class line_alarm {
 public:
  using list = wait_list<Sync>;

  line_alarm(Owner& owner, const Clock& clock) noexcept : owner_{owner}, clock_{clock} {
    timer_.fire = [](timer_entry<Sync>& self) noexcept { static_cast<entry&>(self).alarm.due(); };
  }
  line_alarm(const line_alarm&) = delete;
  line_alarm& operator=(const line_alarm&) = delete;
  ~line_alarm() {
    {
      std::unique_lock guard{owner_.wait_lock()};
      gone_ = true;
      if (!moving_ && armed_for_ != never) {  // else due() moves it, and takes it out
        guard.unlock();
        if (clock_.timers().try_remove(timer_)) on_timer_.end_one();
      }
    }
    blocking_wait<basic_join<Sync>, plain_node<Sync>>{on_timer_}.run();
  }

  /// With the lock held: whether the line is looked at by then.
  [[nodiscard]] bool looks_by(std::int64_t when) const noexcept { return armed_for_ <= when || wanted_ <= when; }
  /// With the lock held, by serve().
  void want(std::int64_t when) noexcept {
    if (when < wanted_) wanted_ = when;
  }

  /// Sees to it that the line is looked at by then. Throws what starting the timer thread throws.
  void look_by(std::int64_t when) {
    {
      std::scoped_lock guard{owner_.wait_lock()};
      want(when);
      if (moving_ || wanted_ >= armed_for_) return;
      moving_ = true;
    }
    list won;
    move(won);
    won.complete_all();
  }

  /// Serves who can be served now, and arms the timer. Throws what starting the timer thread throws.
  void look_now() {
    {
      std::scoped_lock guard{owner_.wait_lock()};
      fired_ = true;
      if (moving_) return;
      moving_ = true;
    }
    list won;
    move(won);
    won.complete_all();
  }

 private:
  struct entry : timer_entry<Sync> {
    explicit entry(line_alarm& a) noexcept : alarm{a} {}
    line_alarm& alarm;
  };

  void due() noexcept {
    const trampoline later;  // what goes on inline, and may destroy the owner, does so behind the last touch
    list won;
    bool mine = false;
    {
      std::scoped_lock guard{owner_.wait_lock()};
      armed_for_ = never;
      fired_ = true;
      mine = !moving_;
      moving_ = true;
    }
    if (mine) move(won);  // throws nothing: the timer thread runs
    on_timer_.end_one();  // the last touch
    won.complete_all();
  }

  // Without the lock, by the one who set moving_. Completing those it won is the last touch, and the caller's part.
  void move(list& won) {
    for (;;) {
      std::int64_t when = never;
      {
        std::unique_lock guard{owner_.wait_lock()};
        if (fired_) {
          fired_ = false;
          wanted_ = never;
          owner_.serve(won);
        }
        if (armed_for_ != never && (gone_ || wanted_ < armed_for_)) {
          guard.unlock();
          const bool taken_out = clock_.timers().try_remove(timer_);
          if (taken_out) on_timer_.end_one();
          guard.lock();
          if (taken_out) armed_for_ = never;
          if (fired_) continue;
        }
        // Armed early enough; or it could not be taken out: then due() is on its way.
        if (armed_for_ != never || wanted_ == never || gone_) {
          moving_ = false;
          return;
        }
        when = wanted_;
        armed_for_ = when;
        on_timer_.begin_one();
      }
      try {
        clock_.timers().add(timer_, when);  // may go off here
      } catch (...) {
        {
          std::scoped_lock guard{owner_.wait_lock()};
          moving_ = false;
          fired_ = false;
          armed_for_ = never;
          wanted_ = never;
          owner_.end_all(outcome::rejected, won);  // nobody would wake them
        }
        on_timer_.end_one();
        won.complete_all();
        throw;
      }
    }
  }

  template <class T>
  using var = typename Sync::template var<T>;

  Owner& owner_;
  const Clock& clock_;
  var<bool> moving_{false};  // guarded by the owner's lock, as all of these
  var<bool> fired_{false};
  var<bool> gone_{false};
  var<std::int64_t> armed_for_{never};
  var<std::int64_t> wanted_{never};
  entry timer_{*this};         // guarded by moving_
  basic_join<Sync> on_timer_;  // the timer while it is armed, and each due() until it touches nothing any more
};

}  // namespace penstock::inline v0_1::detail
