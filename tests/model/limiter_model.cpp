// The limiter's core: a line in which a stop, a deadline, the timer, the end of another job, new settings and close decide who is served, and which
// whoever is served last may destroy while a timer is being armed for it. And a wait for one's turn in two of them, one after the other.
#include "support/frame.hpp"
#include "support/model_timers.hpp"
#include "support/suite.hpp"

#include <penstock/rate/detail/limiter_wait.hpp>

namespace {

using model::deadline;
using model::frame;
using model::mailbox;
using model::model_sync;
using model::require;
using model::stop_token;
using penstock::job_options;
using penstock::limiter_options;
using penstock::limiter_stop;
using penstock::detail::outcome;
using std::chrono::nanoseconds;

struct nothing {};  // what is resumed goes through a mailbox: the trampoline is thread_local, and the model's threads are one
using core = penstock::detail::basic_limiter_core<model_sync, nothing>;
using state = core::state;

template <class Derived, int Threads>
struct limiter_suite : model::suite<Derived, Threads> {
  model::timers clock;
  core* l = nullptr;
  model::stop_state stop;
  model::atomic<int> ends{0};

  core* make(limiter_options o, core* chained = nullptr) { return new core{std::move(o), clock, {}, chained}; }
  static outcome wait(core& c, const stop_token& stop, job_options job = {}) {
    return penstock::detail::limiter_wait_blocking<core>(c, stop, deadline{}, job);
  }
  static void acquire(core& c, job_options job = {}) { require(wait(c, {}, job) == outcome::granted, "granted"); }
  static void release(core& c, std::int64_t weight = 1) {
    core::change_chain(c, nullptr, [weight](state& s, std::int64_t) { s.budget.end(weight); });
  }
  void advance_to(std::int64_t to) { clock.advance_to(to); }
  static std::int64_t started(core& c) {
    return static_cast<std::int64_t>(c.look([](const state& s, std::int64_t) { return s.counts().started; }));
  }
  void destroy(core*& c) {
    delete c;
    c = nullptr;
  }
  void after() {
    if (l != nullptr) {
      require(l->look([](const state& s, std::int64_t) { return s.idle(); }), "nobody waits and nothing runs");
      destroy(l);
    }
    require(clock.none_pending(), "no timer is left");
  }
};

// The heavy head is stopped: the one behind it needs less, and no time brings that.
struct head_stopped : limiter_suite<head_stopped, 3> {
  void before() {
    l = make({.max_concurrent = 2});
    acquire(*l);
  }
  void thread(unsigned index) {
    if (index == 0) {
      require(wait(*l, stop_token{stop}, {.weight = 2}) == outcome::cancelled, "cancelled");
    } else if (index == 1) {
      acquire(*l);
      release(*l);
    } else {
      stop.request_stop();
    }
  }
  void after() {
    release(*l);
    limiter_suite::after();
  }
};

// A frame whose deadline is the time of its turn, which is stopped just then. It goes on, and ends its job, on whichever thread that is.
struct all_at_once : limiter_suite<all_at_once, 3> {
  using waiting = frame<core, core::request, all_at_once>;
  void before() {
    l = make({.min_time = nanoseconds{10}});
    acquire(*l);
    release(*l);
  }
  void thread(unsigned index) {
    if (index == 0) {
      waiting::begin(*this, stop_token{stop}, deadline{10, clock}, {}, *l, job_options{});
    } else if (index == 1) {
      advance_to(10);
    } else {
      stop.request_stop();
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted || how == outcome::timeout || how == outcome::cancelled, "one of the three");
    require(how != outcome::granted || model::the_world.time >= 10, "not before its time");
    if (how == outcome::granted) release(*l);
    ends.fetch_add(1);
  }
  void after() {
    require(ends.load() == 1, "it ended, once");
    limiter_suite::after();
  }
};

// The timer serves a frame, which destroys the limiter elsewhere, while the thread that began it may still arm that timer.
struct served_then_destroyed : limiter_suite<served_then_destroyed, 3> {
  using waiting = frame<core, core::request, served_then_destroyed>;
  mailbox box;
  void before() {
    l = make({.min_time = nanoseconds{10}});
    acquire(*l);
    release(*l);
  }
  void thread(unsigned index) {
    if (index == 0) {
      waiting::begin(*this, {}, {}, {&box}, *l, job_options{});
    } else if (index == 1) {
      advance_to(10);
    } else {
      box.run();
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted, "granted");
    release(*l);
    destroy(l);
    ends.fetch_add(1);
    box.close();
  }
  void after() {
    require(ends.load() == 1, "it ended, once");
    limiter_suite::after();
  }
};

// The spacing becomes less while waiters take their places, and the timer is armed for later, or goes off.
struct settings : limiter_suite<settings, 4> {
  void before() {
    l = make({.min_time = nanoseconds{20}});
    acquire(*l);
    release(*l);
  }
  void thread(unsigned index) {
    if (index < 2) {
      acquire(*l);
      release(*l);
      advance_to(100);
    } else if (index == 2) {
      l->apply({.min_time = nanoseconds{5}});
    } else {
      advance_to(5);
      advance_to(20);
    }
  }
};

// It stops while two come and a job ends: one may have its turn yet, the other has not, and nobody is left.
struct stopped : limiter_suite<stopped, 3> {
  void before() {
    l = make({.max_concurrent = 1});
    acquire(*l);
  }
  void thread(unsigned index) {
    if (index == 1) {
      release(*l);
      l->stop(limiter_stop::drop_waiting);
      require(wait(*l, {}) == outcome::closed, "nobody comes in any more");
    } else {
      const outcome how = wait(*l, {});
      require(how == outcome::granted || how == outcome::closed, "granted or closed");
      if (how == outcome::granted) ends.fetch_add(1);
    }
  }
  void after() {
    require(ends.load() <= 1, "one at the most");
    if (ends.load() == 1) release(*l);
    limiter_suite::after();
  }
};

// Who had its turn in the first link is stopped in the second: its place in the first is for the one that waits there.
struct chain : limiter_suite<chain, 3> {
  core* last = nullptr;
  void before() {
    last = make({.max_concurrent = 1});
    l = make({.max_concurrent = 1}, last);
    acquire(*last);
  }
  void thread(unsigned index) {
    if (index < 2) {
      const outcome how = wait(*l, index == 0 ? stop_token{stop} : stop_token{});
      require(how == outcome::granted || (how == outcome::cancelled && index == 0), "granted, or cancelled");
      if (how == outcome::granted) release(*l);
    } else {
      stop.request_stop();
      core::change_chain(*last, nullptr, [](state& s, std::int64_t) { s.budget.end(1); });
    }
  }
  void after() {
    require(started(*l) == started(*last) - 1, "all or nothing, but for the one that was there before");
    limiter_suite::after();
    destroy(last);
  }
};

// Whoever waits for it to be idle destroys it: behind the end of the last job, behind what is told of that, and while the timer goes off that was armed
// for one that was stopped.
struct idle_then_destroyed : limiter_suite<idle_then_destroyed, 3> {
  penstock::detail::basic_parker<model_sync> gone;
  model::var<int> told{0};
  bool tells = false;
  void before() {
    tells = rl::rand(2) == 0;
    decltype(penstock::limiter_setup::on_event) on_event;
    if (tells) on_event = [this](penstock::limiter_event, std::uint64_t) { told = told + 1; };
    l = new core{{.min_time = nanoseconds{10}}, clock, std::move(on_event), nullptr};
    acquire(*l);
  }
  void thread(unsigned index) {
    if (index == 0) {
      require(wait(*l, stop_token{stop}) == outcome::cancelled, "cancelled");
      gone.unpark();
      advance_to(10);
    } else if (index == 1) {
      gone.park();
      penstock::detail::blocking_wait<core::idle_line, core::idle_line::node>{l->idle}.run_without_polling();
      destroy(l);
    } else {
      core& c = *l;
      stop.request_stop();
      release(c);
    }
  }
  void after() {
    require((told > 0) == tells, "that it is empty or idle");
    limiter_suite::after();
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"limiter", argc, argv};
  session.random<head_stopped>("the first in line is stopped");
  session.random<all_at_once>("turn, deadline and stop at once");
  session.random<served_then_destroyed>("the timer serves a frame, then destroyed");
  session.random<settings>("new settings while the timer is armed");
  session.random<stopped>("acquire, release and stop");
  session.random<chain>("stopped in the second link");
  session.random<idle_then_destroyed>("idle, then destroyed");
  return session.result();
}
