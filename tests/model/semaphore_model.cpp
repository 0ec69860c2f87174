// The semaphore, with both kinds of fairness, as threads use it.
#include "support/suite.hpp"

#include <penstock/sync/semaphore.hpp>

namespace {

using model::ended_with;
using model::model_sync;
using model::require;
using model::stop_token;
using model::var;
using penstock::errc;
using penstock::fairness;
using penstock::detail::outcome;
using semaphore = penstock::basic_semaphore<model_sync>;
using wait = penstock::detail::blocking_wait<semaphore, semaphore::request>;

constexpr fairness fifo = fairness::fifo;
constexpr fairness eventual = fairness::eventual;

template <class Derived, int Threads, fairness Fairness, int Permits>
struct semaphore_suite : model::suite<Derived, Threads> {
  semaphore s{Permits, {Fairness}};

  // Now and then a waiter has stood in line for long enough to be owed its permits.
  semaphore_suite() { model::the_world.tick = Fairness == eventual ? 300'000 : 0; }
  void left(std::ptrdiff_t permits) {
    require(s.available() == permits, "no permit was lost or made");
    require(s.waiters() == 0, "the line is empty");
  }
  void acquire(std::ptrdiff_t n = 1) { require(s.acquire(n).has_value(), "acquired"); }
};

template <fairness Fairness>
struct handover : semaphore_suite<handover<Fairness>, 2, Fairness, 0> {
  var<int> data{0};

  handover() { model::the_world.tick = 0; }  // this one is explored in full
  void thread(unsigned index) {
    if (index == 0) {
      this->acquire();
      require(data == 42, "what was written before release() is visible");
    } else {
      data = 42;
      this->s.release();
    }
  }
  void after() { this->left(0); }
};

template <fairness Fairness>
struct mutual_exclusion : semaphore_suite<mutual_exclusion<Fairness>, 3, Fairness, 1> {
  var<int> count{0};

  mutual_exclusion() { model::the_world.polls = 1; }
  void thread(unsigned) {
    for (int i = 0; i < 2; ++i) {
      this->acquire();
      count = count + 1;  // a data race if two are inside
      this->s.release();
    }
  }
  void after() {
    require(count == 6, "everyone was inside");
    this->left(1);
  }
};

// Requests of different sizes, and a newcomer that does not wait.
template <fairness Fairness>
struct sizes : semaphore_suite<sizes<Fairness>, 4, Fairness, 2> {
  void thread(unsigned index) {
    if (index == 3) {
      if (this->s.try_acquire()) this->s.release();
      return;
    }
    const std::ptrdiff_t n = index == 0 ? 2 : 1;
    this->acquire(n);
    this->s.release(n);
  }
  void after() { this->left(2); }
};

// One waiter needs the permits of two releases, and sees what both releasers wrote.
template <fairness Fairness>
struct two_releases : semaphore_suite<two_releases<Fairness>, 3, Fairness, 0> {
  var<int> data[2] = {var<int>{0}, var<int>{0}};

  void thread(unsigned index) {
    if (index == 2) {
      this->acquire(2);
      require(data[0] == 1 && data[1] == 1, "both");
    } else {
      data[index] = 1;
      this->s.release();
    }
  }
  void after() { this->left(0); }
};

// A big request and a small one share what comes.
template <fairness Fairness>
struct big_and_small : semaphore_suite<big_and_small<Fairness>, 3, Fairness, 0> {
  void thread(unsigned index) {
    if (index < 2) {
      this->acquire(index == 0 ? 2 : 1);
    } else {
      this->s.release(1);
      this->s.release(2);
    }
  }
  void after() { this->left(0); }
};

// One permit goes round: it reaches the waiter that stays, whenever the other one is stopped (hazard 1, races 10 and 12).
template <fairness Fairness>
struct stop_and_follower : semaphore_suite<stop_and_follower<Fairness>, 4, Fairness, 0> {
  model::stop_state stop;

  void thread(unsigned index) {
    if (index == 0) {
      const auto r = this->s.acquire(stop_token{stop});
      require(r || ended_with(r, errc::cancelled), "acquired or cancelled");
      if (r) this->s.release();
    } else if (index == 1) {
      this->acquire();
      this->s.release();
    } else if (index == 2) {
      this->s.release();
      if (this->s.try_acquire()) this->s.release();  // a newcomer may leave a woken waiter with nothing
    } else {
      stop.request_stop();
    }
  }
  void after() { this->left(1); }
};

// The waiter is woken, a newcomer takes the permit, the waiter is stopped: its wake is for the one behind it (race 12).
struct woken_then_stopped : semaphore_suite<woken_then_stopped, 3, eventual, 0> {
  model::stop_state stop;

  woken_then_stopped() { model::the_world.tick = 0; }  // nobody is owed anything
  void thread(unsigned index) {
    if (index == 0) {
      if (s.acquire(stop_token{stop})) s.release();
    } else if (index == 1) {
      acquire();
      s.release();
    } else {
      s.release();
      bool taken = s.try_acquire().has_value();
      for (int i = 0; i < 2 && taken; ++i) {  // these two releases look at the line, the third one leaves it to the woken waiter
        s.release();
        taken = s.try_acquire().has_value();
      }
      stop.request_stop();
      if (taken) s.release();
    }
  }
  void after() { left(1); }
};

// A deadline instead of a stop request: the waiter withdraws by itself.
template <fairness Fairness>
struct timeout_and_follower : semaphore_suite<timeout_and_follower<Fairness>, 3, Fairness, 0> {
  void thread(unsigned index) {
    if (index == 0) {
      const outcome how = wait{this->s, 1}.run(100'000);
      require(how == outcome::granted || how == outcome::timeout, "granted or timed out");
      if (how == outcome::granted) this->s.release();
    } else if (index == 1) {
      this->acquire();
      this->s.release();
    } else {
      this->s.release();
    }
  }
  void after() { this->left(1); }
};

// A request for more than there is stands first in line and is cancelled: the one behind it is served (hazard 2).
template <fairness Fairness>
struct cancelled_head : semaphore_suite<cancelled_head<Fairness>, 3, Fairness, 1> {
  model::stop_state stop;

  void thread(unsigned index) {
    if (index == 0) {
      require(ended_with(this->s.acquire(stop_token{stop}, 5), errc::cancelled), "cancelled");
    } else if (index == 1) {
      this->acquire();
    } else {
      stop.request_stop();
    }
  }
  void after() { this->left(0); }
};

// Closing ends every wait, those that have just been woken too (race 13).
template <fairness Fairness>
struct close_acquire : semaphore_suite<close_acquire<Fairness>, 4, Fairness, 0> {
  var<int> granted[2] = {var<int>{0}, var<int>{0}};

  void thread(unsigned index) {
    if (index < 2) {
      const auto r = this->s.acquire();
      require(r || ended_with(r, errc::closed), "acquired or closed");
      granted[index] = r ? 1 : 0;
    } else if (index == 2) {
      this->s.release();
    } else {
      this->s.close();
    }
  }
  void after() {
    require(ended_with(this->s.try_acquire(), errc::closed), "closed");
    this->left(1 - granted[0] - granted[1]);
  }
};

// Closing alone reaches a waiter, whenever it links.
template <fairness Fairness>
struct close_alone : semaphore_suite<close_alone<Fairness>, 2, Fairness, 0> {
  close_alone() { model::the_world.tick = 0; }  // this one is explored in full
  void thread(unsigned index) {
    if (index == 0) {
      require(ended_with(this->s.acquire(), errc::closed), "closed");
    } else {
      this->s.close();
    }
  }
  void after() { this->left(0); }
};

// Permits are taken away while they are used: a debt is paid before anybody is served.
template <fairness Fairness>
struct debt : semaphore_suite<debt<Fairness>, 3, Fairness, 1> {
  void thread(unsigned index) {
    if (index == 0) {
      this->s.reduce_permits(2);
    } else if (index == 1) {
      this->acquire();
    } else {
      this->s.release(1);
      this->s.add_permits(1);
    }
  }
  void after() { this->left(0); }
};

// Strictly in order: while somebody waits for two, nobody else gets the one that is free.
struct no_overtaking : semaphore_suite<no_overtaking, 2, fifo, 0> {
  void thread(unsigned index) {
    if (index == 0) {
      acquire(2);
    } else {
      s.release();
      if (s.waiters() == 1) require(ended_with(s.try_acquire(), errc::empty), "the one in line comes first");
      s.release();
    }
  }
  void after() { left(0); }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"semaphore", argc, argv};
  session.all<handover<eventual>>("eventual: acquire and release");
  session.all<handover<fifo>>("fifo: acquire and release");
  session.all<close_alone<eventual>>("eventual: acquire and close");
  session.random<mutual_exclusion<eventual>>("eventual: mutual exclusion");
  session.random<mutual_exclusion<fifo>>("fifo: mutual exclusion");
  session.random<sizes<eventual>>("eventual: requests of different sizes");
  session.random<sizes<fifo>>("fifo: requests of different sizes");
  session.random<two_releases<eventual>>("eventual: two releases for one request");
  session.random<two_releases<fifo>>("fifo: two releases for one request");
  session.random<big_and_small<eventual>>("eventual: a big and a small request");
  session.random<big_and_small<fifo>>("fifo: a big and a small request");
  session.random<stop_and_follower<eventual>>("eventual: stop and a follower");
  session.random<stop_and_follower<fifo>>("fifo: stop and a follower");
  session.random<woken_then_stopped>("eventual: a woken waiter is stopped");
  session.random<timeout_and_follower<eventual>>("eventual: timeout and a follower");
  session.random<timeout_and_follower<fifo>>("fifo: timeout and a follower");
  session.random<cancelled_head<eventual>>("eventual: the first in line is cancelled");
  session.random<cancelled_head<fifo>>("fifo: the first in line is cancelled");
  session.random<close_acquire<eventual>>("eventual: acquire, release and close");
  session.random<close_acquire<fifo>>("fifo: acquire, release and close");
  session.random<debt<eventual>>("eventual: debt");
  session.random<debt<fifo>>("fifo: debt");
  session.all<no_overtaking>("fifo: nobody overtakes");
  return session.result();
}
