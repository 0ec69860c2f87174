// The token bucket: its word while the scale changes, and the line with its one timer, whose keeper may be any thread, until it is given up.
#include "support/frame.hpp"
#include "support/model_timers.hpp"
#include "support/suite.hpp"

#include <penstock/rate/detail/gcra.hpp>
#include <penstock/rate/detail/timed_core.hpp>

namespace {

using model::deadline;
using model::frame;
using model::mailbox;
using model::model_sync;
using model::require;
using model::scheduler;
using model::stop_token;
using model::var;
using penstock::rate;
using penstock::detail::outcome;
using gcra = penstock::detail::basic_gcra<model_sync>;
using std::chrono::nanoseconds;

const rate one_in_ten{1, nanoseconds{10}};

// --- the word

template <class Derived, int Threads>
struct word_suite : model::suite<Derived, Threads> {
  gcra bucket{one_in_ten, 3, 0, true};
  model::atomic<int> granted{0};

  void take(std::int64_t now, std::int64_t n) {
    if (bucket.try_take(now, n)) granted.fetch_add(static_cast<int>(n), std::memory_order_relaxed);
  }
  // Nothing was earned: what was granted and what is left are the burst.
  void conserved(std::int64_t now) { require(granted.load() + bucket.available(now) == 3, "no token was lost or made"); }
};

// Long after the epoch, which each of them finds too far behind; one gives back.
struct takers : word_suite<takers, 3> {
  static constexpr std::int64_t later = penstock::detail::gcra_scale::longest + 1;
  void thread(unsigned index) {
    this->take(later, index == 0 ? 2 : 1);
    if (index == 1 && this->bucket.try_take(later, 1)) this->bucket.give_back(later, 1);
  }
  void after() {
    require(this->granted.load() >= 2, "as many as there are");
    this->conserved(later);
  }
};

// The scale changes, twice, so that the place of the first one is written again, while others count on it.
struct changes : word_suite<changes, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      this->bucket.set_rate(0, rate{1, nanoseconds{7}});
      this->bucket.set_rate(0, rate{1, nanoseconds{1000}});
    } else if (index == 1) {
      this->take(0, 1);
      this->take(0, 1);
    } else {
      const std::int64_t there = this->bucket.available(0);
      require(1 <= there && there <= 3, "one scale or the other");
      require(this->bucket.ready_at(0, 3) <= 3000, "one scale or the other");
    }
  }
  void after() {
    require(this->granted.load() == 2, "both");
    this->conserved(0);
    require(this->bucket.ready_at(0, 3) == 2000, "by the last rate");
  }
};

// --- the line

struct model_clock {
  using duration = nanoseconds;
  using time_point = std::chrono::time_point<model_clock, duration>;

  time_point now() const { return time_point{duration{model::the_world.time}}; }
  model::timers& timers() { return timers_; }

  model::timers timers_;
};

using core = penstock::detail::timed_core<gcra, model_clock, model_sync>;
using request = core::request;
using wait = penstock::detail::blocking_wait<core, request>;

template <class Derived, int Threads>
struct line_suite : model::suite<Derived, Threads> {
  model_clock clock;
  core* line = nullptr;
  model::stop_state stop;
  model::atomic<int> granted{0};
  model::atomic<int> ends{0};

  void before() {
    line = new core{penstock::detail::clock_handle<model_clock>{clock}, one_in_ten, std::int64_t{3}, std::int64_t{0}, false};
  }
  void acquire(std::int64_t n) {
    const outcome how = wait{*line, n}.run_without_polling();
    require(how == outcome::granted, "acquired");
    granted.fetch_add(static_cast<int>(n), std::memory_order_relaxed);
  }
  void advance_to(std::int64_t to) { clock.timers().advance_to(to); }
  void give_up() {
    line->leave();
    line = nullptr;
  }
  void after() {
    if (line != nullptr) {
      require(line->waiters() == 0, "the line is empty");
      give_up();
    }
    require(clock.timers().none_pending(), "no timer is left");
  }
};

// The timer serves a thread, which gives the bucket up while the timer, or the keeper, may still be on its way out.
struct timer_serves : line_suite<timer_serves, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      this->acquire(1);
      require(model::the_world.time >= 10, "not before its time");
      this->give_up();
    } else {
      this->advance_to(10);
    }
  }
};

// The same with a frame, which may be resumed while the thread that began it still keeps the timer.
struct frame_destroys : line_suite<frame_destroys, 2> {
  using waiting = frame<core, request, frame_destroys>;
  void thread(unsigned index) {
    if (index == 0) {
      waiting::begin(*this, {}, {}, {}, *this->line, 1);
    } else {
      this->advance_to(10);
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted, "granted");
    this->give_up();
    this->ends.fetch_add(1);
  }
  void after() {
    require(this->ends.load() == 1, "it ended, once");
    line_suite::after();
  }
};

// The head is stopped: the one behind it needs less, so the timer must go off earlier.
struct head_stopped : line_suite<head_stopped, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      const outcome how = wait{*this->line, 3}.run_without_polling(stop_token{this->stop}, deadline{});
      require(how == outcome::cancelled, "cancelled");
    } else if (index == 1) {
      this->acquire(1);
    } else {
      this->stop.request_stop();
      this->advance_to(10);
    }
  }
  void after() {
    require(this->line->shape().available(10) == 0, "no token was lost or made");
    line_suite::after();
  }
};

// A refund, or a higher rate, comes while a waiter takes its place and arms the timer for later.
struct earlier : line_suite<earlier, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      this->acquire(2);
    } else if (index == 1) {
      this->line->change([](gcra& g, std::int64_t now) { g.give_back(now, 1); });
    } else {
      this->line->change([](gcra& g, std::int64_t now) { g.set_rate(now, rate{1, nanoseconds{5}}); });
      this->advance_to(5);
    }
  }
  void after() {
    require(this->line->shape().available(5) == 0, "no token was lost or made");
    line_suite::after();
  }
};

// A frame with a deadline at the very time of its grant, and a thread behind it.
struct at_the_deadline : line_suite<at_the_deadline, 3> {
  using waiting = frame<core, request, at_the_deadline>;
  void thread(unsigned index) {
    if (index == 0) {
      waiting::begin(*this, {}, deadline{10, this->clock.timers()}, {}, *this->line, 1);
    } else if (index == 1) {
      this->acquire(1);
    } else {
      this->advance_to(10);
      this->advance_to(20);
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted || how == outcome::timeout, "granted or timed out");
    if (how == outcome::granted) this->granted.fetch_add(1, std::memory_order_relaxed);
    this->ends.fetch_add(1);
  }
  void after() {
    require(this->ends.load() == 1, "it ended, once");
    require(this->granted.load() + this->line->shape().available(20) == 2, "no token was lost or made");
    line_suite::after();
  }
};

// The last one who waits is stopped and gives the bucket up while its timer goes off.
struct stopped_then_destroyed : line_suite<stopped_then_destroyed, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      const outcome how = wait{*this->line, 1}.run_without_polling(stop_token{this->stop}, deadline{});
      require(how == outcome::cancelled || how == outcome::granted, "cancelled or granted");
      this->give_up();
    } else if (index == 1) {
      this->stop.request_stop();
    } else {
      this->advance_to(10);
    }
  }
};

// While somebody waits, nobody who comes later takes anything.
struct nobody_overtakes : line_suite<nobody_overtakes, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      this->acquire(2);
    } else {
      this->advance_to(10);
      if (this->line->waiters() == 1) require(!this->line->take(1), "the one in line comes first");
      this->advance_to(20);
      this->advance_to(30);
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"token_bucket", argc, argv};
  session.random<takers>("word: three take");
  session.random<changes>("word: the scale changes");
  session.random<timer_serves>("line: the timer serves a thread, then destroyed");
  session.random<frame_destroys>("line: the timer serves a frame, then destroyed");
  session.random<head_stopped>("line: the first in line is stopped");
  session.random<earlier>("line: refund and a higher rate");
  session.random<at_the_deadline>("line: a deadline at the time of the grant");
  session.random<stopped_then_destroyed>("line: stopped, then destroyed");
  session.random<nobody_overtakes>("line: nobody overtakes");
  return session.result();
}
