// Readers and writers.
#include "support/suite.hpp"

#include <penstock/sync/shared_mutex.hpp>

namespace {

using model::require;
using model::var;
using shared_mutex = penstock::basic_shared_mutex<model::model_sync>;

// A writer is alone, readers are not; each reader sees whole writes. With polls a writer that finds readers looks on from its place in line.
template <int Writers, int Readers, int Polls = 0>
struct readers_writers : model::suite<readers_writers<Writers, Readers, Polls>, Writers + Readers> {
  shared_mutex m;
  var<int> a{0};
  var<int> b{0};

  readers_writers() { model::the_world.polls = Polls; }
  void thread(unsigned index) {
    if (index < Writers) {
      m.lock();
      a = a + 1;
      b = b + 1;
      m.unlock();
    } else {
      m.lock_shared();
      require(a == b, "a whole write");
      m.unlock_shared();
    }
  }
  void after() { require(a == Writers && b == Writers && m.waiters() == 0, "all have written"); }
};

// Whoever comes while a writer stands in line stands behind it.
struct no_overtaking : model::suite<no_overtaking, 2> {
  shared_mutex m;
  var<int> a{0};

  void thread(unsigned index) {
    if (index == 0) {
      m.lock();
      a = a + 1;
      m.unlock();
    } else {
      m.lock_shared();
      if (m.waiters() == 1) require(!m.try_lock_shared(), "the writer in line comes first");
      m.unlock_shared();
    }
  }
  void after() { require(a == 1 && m.waiters() == 0, "it has written"); }
};

// Cancelled writers do not hold the readers behind them up.
struct stopped_writer : model::suite<stopped_writer, 4> {
  shared_mutex m;
  model::stop_state stop;
  var<int> a{0};

  void thread(unsigned index) {
    if (index < 2) {
      m.lock_shared();
      require(a >= 0, "readable");
      m.unlock_shared();
    } else if (index == 2) {
      if (auto guard = m.lock(model::stop_token{stop})) a = a + 1;
    } else {
      stop.request_stop();
    }
  }
  void after() {
    require(m.waiters() == 0 && m.try_lock(), "nobody holds it");
    m.unlock();
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"shared_mutex", argc, argv};
  session.random<readers_writers<2, 1>>("two writers and a reader");
  session.random<readers_writers<1, 2>>("a writer and two readers");
  session.random<readers_writers<1, 2, 1>>("a polling writer and two readers");
  session.all<no_overtaking>("nobody overtakes a writer");
  session.random<stopped_writer>("a stopped writer between readers");
  return session.result();
}
