// The wait of a coroutine, without the coroutine: an operation in a frame of its own, which is freed by the very function that resumes it
// (races 3, 4, 6, 7, 8 and 14). It resumes on the completing thread, or through a scheduler on a thread of its own.
#include "support/frame.hpp"
#include "support/model_timers.hpp"
#include "support/suite.hpp"

#include <penstock/core/detail/one_shot.hpp>
#include <penstock/sync/semaphore.hpp>

namespace {

using model::deadline;
using model::frame;
using model::mailbox;
using model::model_sync;
using model::require;
using model::scheduler;
using model::stop_token;
using model::var;
using penstock::fairness;
using penstock::detail::outcome;
using one_shot = penstock::detail::basic_one_shot<model_sync>;
using semaphore = penstock::basic_semaphore<model_sync>;

template <class Derived, int Threads>
struct one_shot_suite : model::suite<Derived, Threads> {
  using waiting = frame<one_shot, penstock::detail::plain_node<model_sync>, one_shot_suite>;

  one_shot* shot = nullptr;
  var<int> data{0};
  var<int> ends{0};
  model::stop_state stop;
  model::timers clock;
  mailbox box;
  bool closes_box = false;

  void before() {
    shot = new one_shot;
    model::the_world.steady_timers = &clock;
  }
  void begin(const stop_token& token, const deadline& limit, mailbox* where = nullptr) {
    closes_box = where != nullptr;
    waiting::begin(*this, token, limit, scheduler{where}, *shot);
  }
  void set() {
    data = 42;
    shot->set();
  }
  void ended(outcome how) {
    require(how == outcome::granted || how == outcome::timeout || how == outcome::cancelled, "it has an outcome");
    require(how != outcome::granted || data == 42, "what was written before set() is visible");
    require(how != outcome::timeout || model::the_world.time >= 10, "not before its time");
    ends = ends + 1;
    if (closes_box) box.close();
  }
  void after() {
    require(ends == 1, "it ended, once");
    require(clock.none_pending(), "no timer is left");
    delete shot;
  }
};

// The end destroys the primitive too: set() touches neither after completing.
struct set_destroys : one_shot_suite<set_destroys, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      waiting::begin(*this, {}, {}, {}, *shot);
    } else {
      set();
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted && data == 42, "granted");
    ends = ends + 1;
    delete shot;
  }
  void after() { require(ends == 1, "it ended, once"); }

  using waiting = frame<one_shot, penstock::detail::plain_node<model_sync>, set_destroys>;
};

// The steady deadline of a coroutine is a timer; `Set`, `Stop` and `Timer` say what happens, `Box` where it resumes.
template <bool Set, bool Stop, bool Timer, bool Box>
struct ends_once : one_shot_suite<ends_once<Set, Stop, Timer, Box>, 1 + Set + Stop + Timer + Box> {
  void thread(unsigned index) {
    if (index == 0) {
      this->begin(Stop ? stop_token{this->stop} : stop_token{},
                  Timer ? deadline{std::chrono::steady_clock::time_point{std::chrono::nanoseconds{10}}} : deadline{},
                  Box ? &this->box : nullptr);
    } else if (Set && index == 1) {
      this->set();
    } else if (Stop && index == 1 + Set) {
      this->stop.request_stop();
    } else if (Timer && index == 1 + Set + Stop) {
      this->clock.advance_to(10);
    } else {
      this->box.run();
    }
  }
};

// Two waiters of a semaphore, one of which may be stopped; the permit that is released reaches the other one, and comes back.
template <fairness Fairness, bool Box>
struct semaphore_stop : model::suite<semaphore_stop<Fairness, Box>, 4 + Box> {
  using waiting = frame<semaphore, semaphore::request, semaphore_stop>;

  semaphore s{0, {Fairness}};
  model::stop_state stop;
  mailbox box;
  model::atomic<int> ends{0};

  semaphore_stop() { model::the_world.tick = Fairness == fairness::eventual ? 300'000 : 0; }
  void thread(unsigned index) {
    if (index == 0) {
      waiting::begin(*this, stop_token{stop}, {}, scheduler{Box ? &box : nullptr}, s, 1);
    } else if (index == 1) {
      waiting::begin(*this, {}, {}, scheduler{Box ? &box : nullptr}, s, 1);
    } else if (index == 2) {
      s.release();
    } else if (index == 3) {
      stop.request_stop();
    } else {
      box.run();
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted || how == outcome::cancelled, "acquired or cancelled");
    if (how == outcome::granted) s.release();
    if (ends.fetch_add(1) == 1 && Box) box.close();
  }
  void after() {
    require(ends.load() == 2, "both ended");
    require(s.available() == 1 && s.waiters() == 0, "the permit came back");
  }
};

// A thread and a coroutine in the same line.
template <fairness Fairness>
struct mixed : model::suite<mixed<Fairness>, 3> {
  using waiting = frame<semaphore, semaphore::request, mixed>;

  semaphore s{0, {Fairness}};
  var<int> inside{0};
  var<int> ends{0};

  mixed() { model::the_world.tick = Fairness == fairness::eventual ? 300'000 : 0; }
  void thread(unsigned index) {
    if (index == 0) {
      waiting::begin(*this, {}, {}, {}, s, 1);
    } else if (index == 1) {
      require(s.acquire().has_value(), "acquired");
      inside = inside + 1;
      s.release();
    } else {
      s.release();
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted, "acquired");
    inside = inside + 1;
    ends = ends + 1;
    s.release();
  }
  void after() {
    require(ends == 1 && inside == 2, "both were inside");
    require(s.available() == 1 && s.waiters() == 0, "the permit came back");
  }
};

// A woken waiter arrives, whenever its context runs; releases serve the line past it once it is overdue (race 15).
struct overdue : model::suite<overdue, 3> {
  using waiting = frame<semaphore, semaphore::request, overdue>;

  semaphore s{0, {fairness::eventual}};
  mailbox late;
  model::atomic<int> ends{0};

  overdue() { model::the_world.tick = 300'000; }
  void before() {
    waiting::begin(*this, {}, {}, scheduler{&late}, s, 1);
    waiting::begin(*this, {}, {}, scheduler{&late}, s, 2);
    waiting::begin(*this, {}, {}, scheduler{&late}, s, 1);
    s.release();  // the first one is on its way, unless so much time has passed that it was given its permit
  }
  void thread(unsigned index) {
    if (index == 0) {
      late.run();
    } else {
      for (int i = 0; i < 2; ++i) {
        if (s.try_acquire()) s.release();
        s.release();
      }
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted, "acquired");
    if (ends.fetch_add(1) == 2) late.close();
  }
  void after() {
    require(ends.load() == 3, "all ended");
    require(s.available() == 1 && s.waiters() == 0, "no permit was lost or made");
    require(s.try_acquire().has_value(), "nobody is kept from it");
  }
};

}  // namespace

int main(int argc, char** argv) {
  constexpr fairness eventual = fairness::eventual;
  constexpr fairness fifo = fairness::fifo;
  model::session session{"completion_wait", argc, argv};
  session.all<set_destroys>("set and wait, then destroy");
  session.bounded<ends_once<false, true, false, false>, 3>("stop alone");
  session.bounded<ends_once<false, false, true, false>, 3>("timer alone");
  session.random<ends_once<true, true, false, false>>("set and stop");
  session.random<ends_once<true, false, true, false>>("set and timer");
  session.random<ends_once<true, true, true, false>>("set, stop and timer");
  session.random<ends_once<true, true, true, true>>("set, stop and timer through a scheduler");
  session.random<semaphore_stop<eventual, false>>("semaphore, eventual: stop and a follower");
  session.random<semaphore_stop<fifo, false>>("semaphore, fifo: stop and a follower");
  session.random<semaphore_stop<eventual, true>>("semaphore, eventual: stop and a follower through a scheduler");
  session.random<semaphore_stop<fifo, true>>("semaphore, fifo: stop and a follower through a scheduler");
  session.random<mixed<eventual>>("semaphore, eventual: a thread and a coroutine");
  session.random<mixed<fifo>>("semaphore, fifo: a thread and a coroutine");
  session.random<overdue>("semaphore, eventual: a woken waiter is overdue");
  return session.result();
}
