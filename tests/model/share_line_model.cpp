// The line of adaptive_limit, as threads use it: places that come back, limits that move, waits that are stopped.
#include "support/suite.hpp"

#include <penstock/rate/detail/share_line.hpp>

namespace {

using model::model_sync;
using model::require;
using model::stop_token;
using model::var;
using penstock::detail::outcome;
using line = penstock::detail::share_line<model_sync>;
using wait = penstock::detail::blocking_wait<line, line::request>;

constexpr double half[] = {0.5};

template <class Derived, int Threads, int Limit>
struct line_suite : model::suite<Derived, Threads> {
  line l{half, 1, Limit};

  void acquire(std::size_t share) {
    wait w{l, share};
    require(w.run() == outcome::granted, "granted");
  }
  void leave(std::size_t share) {
    penstock::detail::wait_list<model_sync> won;
    {
      std::scoped_lock guard{l.wait_lock()};
      l.leave(share, won);
    }
    won.complete_all();
  }
  void set_limit(std::ptrdiff_t n) {
    penstock::detail::wait_list<model_sync> won;
    {
      std::scoped_lock guard{l.wait_lock()};
      l.set_limit(n, won);
    }
    won.complete_all();
  }
  void after() {
    require(l.in_flight() == 0 && l.waiting() == 0, "nobody is left");
    require(l.enter(0) == outcome::granted, "and there is room");
  }
};

// One place for those without a share.
struct mutual_exclusion : line_suite<mutual_exclusion, 3, 1> {
  var<int> count{0};

  mutual_exclusion() { model::the_world.polls = 1; }
  void thread(unsigned) {
    for (int i = 0; i < 2; ++i) {
      acquire(0);
      count = count + 1;  // a data race if two are inside
      leave(0);
    }
  }
};

// The share has one place of its own, and borrows the other one.
struct shares : line_suite<shares, 3, 1> {
  void thread(unsigned index) {
    const std::size_t share = index == 0 ? 0 : 1;
    acquire(share);
    leave(share);
  }
};

// The only place goes to the one who stays, although the one before it is stopped.
struct stopped : line_suite<stopped, 3, 1> {
  model::stop_state stop;

  void before() { require(l.enter(0) == outcome::granted, "free"); }
  void thread(unsigned index) {
    if (index == 0) {
      wait w{l, 0};
      if (w.run(stop_token{stop}, penstock::detail::never) == outcome::granted) leave(0);
    } else if (index == 1) {
      acquire(0);
      leave(0);
    } else {
      leave(0);
      stop.request_stop();
    }
  }
};

// A greater limit lets those in line pass.
struct grown : line_suite<grown, 3, 1> {
  void before() { require(l.enter(0) == outcome::granted, "free"); }
  void thread(unsigned index) {
    if (index < 2) {
      acquire(0);
    } else {
      set_limit(3);
    }
  }
  void after() {
    require(l.in_flight() == 3, "all are in");
    for (int i = 0; i < 3; ++i) leave(0);
    line_suite::after();
  }
};

struct closed : line_suite<closed, 3, 1> {
  void before() { require(l.enter(0) == outcome::granted, "free"); }
  void thread(unsigned index) {
    if (index < 2) {
      wait w{l, 0};
      require(w.run() == outcome::closed, "closed");
    } else {
      penstock::detail::wait_list<model_sync> won;
      {
        std::scoped_lock guard{l.wait_lock()};
        l.close(won);
      }
      won.complete_all();
    }
  }
  void after() {
    leave(0);
    require(l.in_flight() == 0 && l.waiting() == 0, "nobody is left");
    require(l.enter(0) == outcome::closed, "closed");
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"share_line", argc, argv};
  session.random<mutual_exclusion>("mutual exclusion");
  session.random<shares>("a share and a borrower");
  session.random<stopped>("the first in line is stopped");
  session.random<grown>("a greater limit");
  session.random<closed>("acquire and close");
  return session.result();
}
