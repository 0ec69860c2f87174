// The waiting core as a thread uses it (wait_queue, wait_operation, blocking_wait), through its smallest owner.
#include "support/model_timers.hpp"
#include "support/suite.hpp"

#include <penstock/core/detail/one_shot.hpp>

namespace {

using model::model_sync;
using model::require;
using model::stop_token;
using model::var;
using penstock::detail::outcome;
using one_shot = penstock::detail::basic_one_shot<model_sync>;
using wait = penstock::detail::blocking_wait<one_shot, penstock::detail::plain_node<model_sync>>;
using deadline = penstock::detail::basic_deadline<model_sync>;

template <class Derived, int Threads>
struct one_shot_suite : model::suite<Derived, Threads> {
  one_shot* shot = nullptr;
  var<int> data{0};

  void before() { shot = new one_shot; }
  void after() {
    require(shot->is_set(), "set");
    delete shot;
  }
  void set() {
    data = 42;
    shot->set();
  }
  void check(outcome how) { require(how != outcome::granted || data == 42, "what was written before set() is visible"); }
};

// Whoever returned from the wait destroys the object at once.
struct destroy_after_wait : one_shot_suite<destroy_after_wait, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      check(wait{*shot}.run());
      delete shot;
    } else {
      set();
    }
  }
  void after() {}
};

struct destroy_after_poll : destroy_after_wait {
  void before() {
    destroy_after_wait::before();
    model::the_world.polls = 2;
    model::the_world.spurious_wakes = 1;
  }
};

struct look_only : one_shot_suite<look_only, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      if (shot->is_set()) require(data == 42, "visible to who saw it set");
    } else {
      set();
    }
  }
};

// Two waiters whose frames are gone as soon as they return.
struct two_waiters : one_shot_suite<two_waiters, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      set();
    } else {
      const outcome how = wait{*shot}.run();
      require(how == outcome::granted, "granted");
      check(how);
    }
  }
};

// Grant, stop request and the registration of its callback.
struct wait_stop : one_shot_suite<wait_stop, 3> {
  model::stop_state stop;

  void thread(unsigned index) {
    if (index == 0) {
      const outcome how = wait{*shot}.run(stop_token{stop}, model::never);
      require(how == outcome::granted || how == outcome::cancelled, "granted or cancelled");
      check(how);
    } else if (index == 1) {
      set();
    } else {
      stop.request_stop();
    }
  }
};

// Nobody sets it: the stop request alone ends the wait, whenever it comes.
struct stop_alone : one_shot_suite<stop_alone, 2> {
  model::stop_state stop;

  void thread(unsigned index) {
    if (index == 0) {
      require(wait{*shot}.run(stop_token{stop}, model::never) == outcome::cancelled, "cancelled");
    } else {
      stop.request_stop();
    }
  }
  void after() { delete shot; }
};

// A waiter in the middle of the line is cancelled, the others are served.
struct stop_among_waiters : one_shot_suite<stop_among_waiters, 4> {
  model::stop_state stop;

  void thread(unsigned index) {
    if (index == 0) {
      set();
    } else if (index == 1) {
      stop.request_stop();
    } else {
      const outcome how = index == 2 ? wait{*shot}.run(stop_token{stop}, model::never) : wait{*shot}.run();
      require(how == outcome::granted || (index == 2 && how == outcome::cancelled), "the outcome is its own");
      check(how);
    }
  }
};

// The steady deadline of a thread: the waiter withdraws by itself, or finds that it was granted meanwhile.
struct wait_timeout : one_shot_suite<wait_timeout, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      const outcome how = wait{*shot}.run(10);
      require(how == outcome::granted || (how == outcome::timeout && model::the_world.time >= 10), "granted or timed out");
      check(how);
    } else {
      set();
    }
  }
};

// Grant, stop request, and the deadline of another clock, whose timer interrupts from a third thread.
struct wait_stop_timer : one_shot_suite<wait_stop_timer, 4> {
  model::stop_state stop;
  model::timers clock;

  void thread(unsigned index) {
    if (index == 0) {
      const outcome how = wait{*shot}.run(stop_token{stop}, deadline{10, clock});
      require(how == outcome::granted || how == outcome::cancelled || how == outcome::timeout, "one of the three");
      check(how);
    } else if (index == 1) {
      set();
    } else if (index == 2) {
      stop.request_stop();
    } else {
      clock.advance_to(10);
    }
  }
  void after() {
    require(clock.none_pending(), "no timer is left");
    one_shot_suite::after();
  }
};

// Nobody sets it: the timer alone ends the wait, whenever it fires.
struct timer_alone : one_shot_suite<timer_alone, 2> {
  model::timers clock;

  void thread(unsigned index) {
    if (index == 0) {
      require(wait{*shot}.run(stop_token{}, deadline{10, clock}) == outcome::timeout, "timed out");
    } else {
      clock.advance_to(10);
    }
  }
  void after() { delete shot; }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"one_shot", argc, argv};
  session.all<destroy_after_wait>("set and wait, then destroy");
  session.random<destroy_after_poll>("set and wait with polling, then destroy");
  session.all<look_only>("set and is_set");
  session.random<two_waiters>("set and two waiters");
  session.bounded<stop_alone, 3>("stop alone");
  session.random<wait_stop>("set, wait and stop");
  session.random<stop_among_waiters>("set, two waiters and stop");
  session.bounded<wait_timeout, 3>("set, wait and timeout");
  session.bounded<timer_alone, 3>("timer alone");
  session.random<wait_stop_timer>("set, wait, stop and timer");
  return session.result();
}
