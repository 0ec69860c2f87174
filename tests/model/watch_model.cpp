// The watch: its value under readers and writers, and the line of those who wait for a change.
#include "support/frame.hpp"
#include "support/suite.hpp"

#include <penstock/channel/watch.hpp>

namespace {

using model::ended_with;
using model::model_sync;
using model::require;
using model::stop_token;
using model::var;
using penstock::errc;
using penstock::detail::outcome;

// Two halves that are always the same, each access an event: a read beside a write or a destruction is a race.
struct pair {
  pair(int v) : a{v}, b{v} {}
  pair(const pair& other) : a{static_cast<int>(other.a)}, b{static_cast<int>(other.b)} {}
  ~pair() { a = b = -1; }
  operator int() const {
    require(a == b, "not torn");
    return a;
  }
  var<int> a;
  var<int> b;
};

template <class Derived, int Threads>
struct watch_suite : model::suite<Derived, Threads> {
  using watch = penstock::basic_watch<pair, model_sync>;
  using watcher = typename watch::watcher;
  std::unique_ptr<watch> w;

  void before() { w = std::make_unique<watch>(pair{0}); }
  void set(int v) { require(w->set(pair{v}).has_value(), "set"); }
};

// A change wakes who waits, who then sees it and what was written before.
struct set_wait : watch_suite<set_wait, 2> {
  var<int> data{0};
  void thread(unsigned index) {
    if (index == 0) {
      watcher mine = w->subscribe();
      if (mine.seen() == 1) return;
      require(mine.wait_changed().has_value(), "changed");
      require(mine.get() == 1 && data == 42 && !mine.changed(), "the value, and what was written before");
    } else {
      data = 42;
      set(1);
    }
  }
  void after() { w.reset(); }
};

// Values only go forward, the last one is seen by all, and closing ends the waits.
struct set_set_close : watch_suite<set_set_close, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      set(1);
      set(2);
      w->close();
      require(ended_with(w->set(pair{3}), errc::closed), "closed");
    } else {
      watcher mine = w->subscribe();
      int last = mine.get();
      while (mine.wait_changed()) {
        const int now = mine.get();
        require(now > last, "newer each time");
        last = now;
      }
      require(last == 2, "the last one was seen");
    }
  }
  void after() { w.reset(); }
};

// No update is lost.
struct update_update : watch_suite<update_update, 3> {
  void thread(unsigned index) {
    if (index < 2) {
      const auto r = w->update([](pair& p) {
        p.a += 1;
        p.b += 1;
      });
      require(r.has_value(), "updated");
    } else {
      const int first = w->get();
      require(w->get() >= first, "never backwards");
    }
  }
  void after() {
    require(w->get() == 2 && w->version() == 2, "both");
    w.reset();
  }
};

// A wait that is stopped leaves the change to be seen.
struct set_stop : watch_suite<set_stop, 3> {
  model::stop_state stop;
  void thread(unsigned index) {
    if (index == 0) {
      watcher mine{w->subscribe()};
      const bool early = mine.seen() == 1;
      const auto r = mine.wait_changed(stop_token{stop});
      require(r || ended_with(r, errc::cancelled), "changed or cancelled");
      if (!r && !early) require(mine.wait_changed().has_value(), "it is still to be seen");
      require(mine.get() == 1, "the value");
    } else if (index == 1) {
      set(1);
    } else {
      stop.request_stop();
    }
  }
  void after() { w.reset(); }
};

// Coroutines wait, and go on on a thread of their own.
struct coroutines : watch_suite<coroutines, 4> {
  using waiting = model::frame<const watch, typename watch::change_node, coroutines>;
  model::stop_state stop;
  model::mailbox box;
  model::atomic<int> ends{0};
  void thread(unsigned index) {
    if (index == 0) {
      waiting::begin(*this, stop_token{stop}, {}, model::scheduler{&box}, *w, std::uint64_t{0});
      waiting::begin(*this, {}, {}, model::scheduler{&box}, *w, std::uint64_t{0});
    } else if (index == 1) {
      set(1);
    } else if (index == 2) {
      stop.request_stop();
    } else {
      box.run();
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted || how == outcome::cancelled, "changed or cancelled");
    if (how == outcome::granted) require(w->get() == 1, "the value");
    if (ends.fetch_add(1) == 1) box.close();
  }
  void after() {
    require(ends.load() == 2, "both ended");
    w.reset();
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"watch", argc, argv};
  session.bounded<set_wait, 3>("set and wait");
  session.random<set_set_close>("set twice and close");
  session.random<update_update>("two updates and a reader");
  session.random<set_stop>("set, wait and stop");
  session.random<coroutines>("coroutines, and stop");
  return session.result();
}
