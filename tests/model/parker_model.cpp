// The parker: a thread sleeps, another one wakes it, and the parker is gone when the sleeper returns (race 3). And the mutex that sleeps in the same
// way.
#include "support/suite.hpp"

#include <penstock/core/detail/parker.hpp>
#include <penstock/core/detail/polled_mutex.hpp>

namespace {

using parker = penstock::detail::basic_parker<model::model_sync>;
using model::var;

// The sleeper frees the parker at once; what the waker wrote before is visible to it.
template <bool Timed>
struct unpark_park : model::suite<unpark_park<Timed>, 2> {
  parker* p = nullptr;
  var<int> outcome{0};

  void before() { p = new parker; }
  void thread(unsigned index) {
    if (index == 0) {
      // Who gave up at the deadline goes back if the waker is on its way, as blocking_wait does.
      if (!p->park_until(Timed ? 10 : model::never)) {
        model::require(Timed && model::the_world.time >= 10, "gave up before the deadline");
        p->park();
      }
      model::require(outcome == 42, "the outcome is there");
      delete p;
    } else {
      outcome = 42;
      p->unpark();
    }
  }
};

struct unpark_park_spurious : unpark_park<true> {
  void before() {
    unpark_park::before();
    model::the_world.spurious_wakes = 3;
  }
};

// Two rounds; a second parker tells the waker that the next one is open.
struct rounds : model::suite<rounds, 2> {
  parker there;
  parker back;
  var<int> round{0};

  void thread(unsigned index) {
    if (index == 0) {
      there.park();
      model::require(round == 1, "first round");
      there.reset();
      back.unpark();
      there.park();
      model::require(round == 2, "second round");
    } else {
      round = 1;
      there.unpark();
      back.park();
      round = 2;
      there.unpark();
    }
  }
};

// Whoever is the last one to have had the mutex frees it at once.
template <int Threads, int Polls>
struct exclusion : model::suite<exclusion<Threads, Polls>, Threads> {
  penstock::detail::polled_mutex<model::model_sync>* m = nullptr;
  var<int> left{Threads};

  void before() {
    m = new penstock::detail::polled_mutex<model::model_sync>;
    model::the_world.polls = Polls;
  }
  void thread(unsigned) {
    m->lock();
    left = left - 1;
    const bool last = left == 0;
    m->unlock();
    if (last) delete m;
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"parker", argc, argv};
  session.all<unpark_park<false>>("unpark and park");
  session.all<unpark_park<true>>("unpark, park and deadline");
  session.random<unpark_park_spurious>("unpark, park, deadline and spurious wakes");
  session.all<rounds>("two rounds");
  session.random<rounds>("two rounds at random");
  session.all<exclusion<2, 0>>("mutex, two threads");
  session.bounded<exclusion<3, 0>, 3>("mutex, three threads");
  session.random<exclusion<3, 1>>("mutex, three threads that poll");
  return session.result();
}
