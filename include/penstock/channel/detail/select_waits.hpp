// penstock/channel/detail/select_waits.hpp: a selection by a thread, and by what goes on through a scheduler.
//
// What they add to selection.hpp is how the waiter sleeps and is woken: a thread parks, until the earliest of its steady deadlines at the
// longest; a coroutine suspends, and is handed to its scheduler by the arrival that ends its sleep.
#pragma once

#include <cstddef>
#include <utility>

#include <penstock/channel/detail/selection.hpp>
#include <penstock/core/detail/parker.hpp>
#include <penstock/core/detail/polling.hpp>
#include <penstock/core/detail/wait_mark.hpp>
#include <penstock/core/detail/work_item.hpp>

namespace penstock::inline v0_1::detail {

inline constexpr wait_kind kind_of_select{"select", {}, false};

/// A thread selects.
template <class Sync, class... Specs>
class blocking_selection : public selection<Sync, case_of<Specs>...> {
 public:
  using base = selection<Sync, case_of<Specs>...>;

  explicit blocking_selection(const Specs&... specs) : base{wake, specs...} { this->polls_ = true; }

  /// The index of the case that happened. Afterwards no node is linked, no callback runs and no timer is armed.
  std::size_t run() {
    if (this->look_first() || this->look_second()) return this->chosen();
    for (polling<Sync> poll; poll.again();) {
      if (this->look()) return this->chosen();
    }
    find_deadline();
    wait_mark<Sync> observed;
    observed.begin_thread(nullptr, kind_of_select, until_);
    for (bool over = this->begin(true); !over; over = this->proceed()) {
      if (parker_.park_until(until_)) {
        parker_.reset();
      } else if (this->stay_awake()) {
        until_ = never;
        this->expire(first_to_expire_);
      } else {
        parker_.park();  // somebody is about to wake us: that counts (race 9)
        parker_.reset();
      }
    }
    this->disarm();
    observed.end_granted();
    return this->chosen();
  }

 private:
  static void wake(select_waiter<Sync>& waiter) noexcept { static_cast<blocking_selection&>(waiter).parker_.unpark(); }

  // The steady clock needs no timer: the futex has a deadline.
  void find_deadline() noexcept {
    for (std::size_t i = 0; i < base::count; ++i) {
      this->visit(i, [&](auto& c) {
        if constexpr (base::template kind_of<decltype(c)> == case_kind::time) {
          if (this->enabled(i) && c.deadline().queue() == nullptr && c.deadline().when() < until_) {
            until_ = c.deadline().when();
            first_to_expire_ = i;
          }
        }
      });
    }
  }

  basic_parker<Sync> parker_;
  nanoseconds_point until_ = never;
  std::size_t first_to_expire_ = 0;
};

/// A coroutine, or whatever else goes on by a function that is called through a scheduler, selects. Two cases more than are asked for: stop is
/// requested of the coroutine (index sizeof...(Specs)), and the limit of the whole wait (one more).
template <class Sync, class Scheduler, class... Specs>
class completion_selection : public selection<Sync, case_of<Specs>..., case_of<stop_spec<Sync>>, case_of<time_spec<Sync>>>,
                             public work_item {
 public:
  using base = selection<Sync, case_of<Specs>..., case_of<stop_spec<Sync>>, case_of<time_spec<Sync>>>;
  using resume_function = void (*)(completion_selection&) noexcept;
  static constexpr std::size_t stopped = sizeof...(Specs);
  static constexpr std::size_t timed_out = stopped + 1;

  explicit completion_selection(const Specs&... specs) : base{wake, specs..., stop_spec<Sync>{}, time_spec<Sync>{}} {}

  /// True: a case happened, and nothing will be called. False: `resume(*this)` will be called on the scheduler, maybe before this returns.
  bool start(const typename Sync::stop_token& stop, const basic_deadline<Sync>& limit, Scheduler where, resume_function resume) {
    this->template at<stopped>().set(stop);
    this->template at<timed_out>().set(limit);
    if (this->look_first() || this->look_second()) return true;
    scheduler_ = std::move(where);
    resume_ = resume;
    this->run = [](work_item& self) noexcept {
      auto& me = static_cast<completion_selection&>(self);
      if (me.proceed()) me.resume_(me);
    };
    mark_.begin(nullptr, kind_of_select, limit.queue() == nullptr ? limit.when() : never);
    return this->begin(false);
  }

  /// After a start() that said true: `resume(*this)` will be called on the scheduler all the same.
  void resume_on(Scheduler where, resume_function resume) noexcept {
    disarm();
    resume_ = resume;
    this->run = [](work_item& self) noexcept {
      auto& me = static_cast<completion_selection&>(self);
      me.resume_(me);
    };
    where.execute(*this);
  }

  /// The resumed side calls this: afterwards no callback runs and no timer is armed.
  void disarm() noexcept {
    base::disarm();
    mark_.end_granted();
  }

 private:
  static void wake(select_waiter<Sync>& waiter) noexcept {
    auto& self = static_cast<completion_selection&>(waiter);
    const Scheduler to = self.scheduler_;  // a copy: once the item is handed over, the frame may be gone
    to.execute(self);
  }

  Scheduler scheduler_{};
  resume_function resume_ = nullptr;
  [[no_unique_address]] coroutine_mark<Sync> mark_;
};

}  // namespace penstock::inline v0_1::detail
