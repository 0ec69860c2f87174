// What lets those in line pass when something has happened: event, auto_reset_event, wait_group, and the join of a task group.
#include "support/suite.hpp"

#include <penstock/combine/detail/end_list.hpp>
#include <penstock/core/detail/join.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/wait_group.hpp>

namespace {

using model::ended_with;
using model::model_sync;
using model::require;
using model::stop_token;
using model::var;
using penstock::errc;
using event = penstock::basic_event<model_sync>;
using auto_reset_event = penstock::basic_auto_reset_event<model_sync>;
using wait_group = penstock::basic_wait_group<model_sync>;
using join = penstock::detail::basic_join<model_sync>;
using end_list = penstock::detail::basic_end_list<model_sync>;

// Whoever returned from the wait destroys the object at once, however it was opened.
template <class Gate>
struct open_destroy : model::suite<open_destroy<Gate>, 2> {
  Gate* gate = nullptr;
  var<int> data{0};
  penstock::detail::end_link<model_sync> ended;

  void before() {
    if constexpr (std::is_same_v<Gate, wait_group>) {
      gate = new Gate{1};
    } else {
      gate = new Gate;
    }
    if constexpr (std::is_same_v<Gate, join>) gate->begin_one();
  }
  void thread(unsigned index) {
    if (index == 0) {
      if constexpr (std::is_same_v<Gate, join> || std::is_same_v<Gate, end_list>) {
        penstock::detail::blocking_wait<Gate, penstock::detail::plain_node<model_sync>>{*gate}.run();
      } else {
        gate->wait();
      }
      require(data == 42, "what was written before is visible");
      delete gate;
    } else {
      data = 42;
      if constexpr (std::is_same_v<Gate, wait_group>) {
        gate->done();
      } else if constexpr (std::is_same_v<Gate, join>) {
        gate->end_one();
      } else if constexpr (std::is_same_v<Gate, end_list>) {
        gate->push(ended);
      } else {
        gate->set();
      }
    }
  }
};

// The same for one who waits with a stop token and a deadline first, and without when those have ended it.
struct limited_destroy : model::suite<limited_destroy, 3> {
  event* e = nullptr;
  model::stop_state stop;
  var<int> data{0};

  void before() { e = new event; }
  void thread(unsigned index) {
    if (index == 0) {
      const auto how =
          penstock::detail::blocking_wait<event, penstock::detail::plain_node<model_sync>>{*e}.run(stop_token{stop}, 10);
      if (how != penstock::detail::outcome::granted) e->wait();
      require(data == 42, "what was written before is visible");
      delete e;
    } else if (index == 1) {
      data = 42;
      e->set();
    } else {
      stop.request_stop();
    }
  }
};

// Closed and opened again, while the one who opened it the first time may still be on the way out; then destroyed.
template <class Gate>
struct second_round : model::suite<second_round<Gate>, 2> {
  Gate* gate = nullptr;
  penstock::detail::basic_parker<model_sync> closed;
  var<int> data{0};

  void before() {
    if constexpr (std::is_same_v<Gate, wait_group>) {
      gate = new Gate{1};
    } else {
      gate = new Gate;
    }
  }
  void open() {
    if constexpr (std::is_same_v<Gate, wait_group>) {
      gate->done();
    } else {
      gate->set();
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      gate->wait();
      require(data == 1, "the first round");
      if constexpr (std::is_same_v<Gate, wait_group>) {
        gate->add();
      } else if constexpr (std::is_same_v<Gate, event>) {
        gate->reset();
      }
      closed.unpark();
      gate->wait();
      require(data == 2, "the second round");
      delete gate;
    } else {
      data = 1;
      open();
      closed.park();
      data = 2;
      open();
    }
  }
};

// A reset that follows at once takes the permission to pass from nobody who was in line; and who saw it set saw what was written before.
struct set_reset : model::suite<set_reset, 3> {
  event e;
  model::stop_state stop;
  var<int> data{0};

  void thread(unsigned index) {
    if (index == 0) {
      const auto r = e.wait(stop_token{stop});
      require(r || ended_with(r, errc::cancelled), "passed or cancelled");
      if (r) require(data == 42, "what was written before set() is visible");
    } else if (index == 1) {
      data = 42;
      const bool in_line = e.waiters() == 1;
      e.set();
      require(!in_line || e.waiters() == 0, "set() let the line pass");
      e.reset();
    } else {
      stop.request_stop();
    }
  }
};

// One signal goes round; it reaches the waiter that stays, whenever the other one is stopped.
struct signal_stop : model::suite<signal_stop, 4> {
  auto_reset_event e;
  model::stop_state stop;
  var<int> inside{0};

  void pass() {
    inside = inside + 1;  // a data race if two pass by one signal
    e.set();
  }
  void thread(unsigned index) {
    if (index == 0) {
      if (e.wait(stop_token{stop})) pass();
    } else if (index == 1) {
      e.wait();
      pass();
    } else if (index == 2) {
      e.set();
      if (e.try_wait()) pass();
    } else {
      stop.request_stop();
    }
  }
  void after() { require(e.is_set() && e.waiters() == 0, "the signal is still there"); }
};

// The last of several to finish wakes the waiter, who sees what all of them wrote, and destroys the group.
struct parts : model::suite<parts, 3> {
  wait_group* group = nullptr;
  var<int> data[2] = {var<int>{0}, var<int>{0}};

  void before() { group = new wait_group{2}; }
  void thread(unsigned index) {
    if (index == 2) {
      group->wait();
      require(data[0] == 1 && data[1] == 1, "both parts");
      delete group;
    } else {
      data[index] = 1;
      group->done();
    }
  }
};

// Each part announces a further one before it is done.
struct announce_more : model::suite<announce_more, 3> {
  wait_group group{1};
  penstock::detail::basic_parker<model_sync> announced;
  var<int> data[2] = {var<int>{0}, var<int>{0}};

  void thread(unsigned index) {
    if (index == 0) {
      group.add();
      announced.unpark();
      data[0] = 1;
      group.done();
    } else if (index == 1) {
      announced.park();
      data[1] = 1;
      group.done();
    } else {
      group.wait();
      require(data[0] == 1 && data[1] == 1, "both parts");
    }
  }
  void after() { require(group.count() == 0, "all are done"); }
};

struct children : model::suite<children, 3> {
  join* j = nullptr;
  var<int> data[2] = {var<int>{0}, var<int>{0}};

  void before() {
    j = new join;
    j->begin_one();
    j->begin_one();
  }
  void thread(unsigned index) {
    if (index == 2) {
      penstock::detail::blocking_wait<join, penstock::detail::plain_node<model_sync>>{*j}.run();
      require(data[0] == 1 && data[1] == 1, "both children");
      delete j;
    } else {
      data[index] = 1;
      j->end_one();
    }
  }
};

// The owner destroys each frame when it takes it, and the list when it has taken all, whoever still is on the way out of push().
template <int Pushers>
struct take_ends : model::suite<take_ends<Pushers>, Pushers + 1> {
  struct frame : penstock::detail::end_link<model_sync> {
    var<int> data{0};
  };
  end_list* ends = nullptr;
  frame* frames[Pushers] = {};

  void before() {
    ends = new end_list;
    for (frame*& f : frames) f = new frame;
  }
  void thread(unsigned index) {
    if (index < Pushers) {
      frames[index]->data = 42;
      ends->push(*frames[index]);
      return;
    }
    for (int i = 0; i < Pushers; ++i) {
      penstock::detail::blocking_wait<end_list, penstock::detail::plain_node<model_sync>>{*ends}.run();
      auto* const taken = static_cast<frame*>(ends->take());
      require(taken != nullptr, "one has ended");
      require(taken->data == 42, "what was written before is visible");
      delete taken;
    }
    require(ends->take() == nullptr, "each ended once");
    delete ends;
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"gate", argc, argv};
  session.all<open_destroy<event>>("event: set and wait, then destroy");
  session.all<open_destroy<auto_reset_event>>("auto_reset_event: set and wait, then destroy");
  session.all<open_destroy<wait_group>>("wait_group: done and wait, then destroy");
  session.all<open_destroy<join>>("join: end and wait, then destroy");
  session.all<open_destroy<end_list>>("end_list: push and wait, then destroy");
  session.random<limited_destroy>("event: set, stop, timeout and wait, then destroy");
  session.random<second_round<event>>("event: two rounds, then destroy");
  session.random<second_round<auto_reset_event>>("auto_reset_event: two rounds, then destroy");
  session.random<second_round<wait_group>>("wait_group: two rounds, then destroy");
  session.random<set_reset>("event: set, reset, wait and stop");
  session.random<signal_stop>("auto_reset_event: stop and a follower");
  session.random<parts>("wait_group: two parts");
  session.random<announce_more>("wait_group: a part announces another");
  session.random<children>("join: two children");
  session.all<take_ends<1>>("end_list: push, wait and take, then destroy");
  session.random<take_ends<2>>("end_list: two that end");
  return session.result();
}
