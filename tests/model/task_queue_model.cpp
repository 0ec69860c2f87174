// The queue of the worker pool: no task is lost between workers that search, sleep and end.
#include "support/pool_suite.hpp"

#include <penstock/pool/detail/helping_wait.hpp>

namespace {

using model::model_sync;
using model::require;
using model::stop_token;
using model::var;
using penstock::errc;
using penstock::detail::outcome;
using penstock::detail::work_item;

using queue = model::pool_queue;
using task = model::pool_task;
using room_wait = model::pool_room_wait;
using drained_wait = model::pool_drained_wait;

struct resumption : work_item {
  resumption() {
    run = [](work_item& item) noexcept {
      auto& self = static_cast<resumption&>(item);
      self.ran = self.ran + 1;
    };
  }
  var<int> ran{0};
};

template <class Derived, int Threads, int Workers, int Capacity>
struct queue_suite : model::pool_suite<Derived, Threads> {
  unsigned processors = 1;

  void before() {
    model::the_world.processors = processors;
    this->q = std::make_unique<queue>(Capacity, Workers, 2);
    model::pool_suite<Derived, Threads>::before();
  }
};

// A worker and one who submits and closes: what went in is run.
template <int Polls>
struct submit_close : queue_suite<submit_close<Polls>, 2, 1, 2> {
  submit_close() { this->polls = Polls; }
  void thread(unsigned index) {
    if (index == 0) {
      this->work();
    } else {
      this->push(0);
      this->q->close();
      require(!this->try_push(1), "closed");
    }
  }
  void after() {
    require(this->ran[0] == 1, "it ran");
    queue_suite<submit_close, 2, 1, 2>::after();
  }
};

// Without closing, the one who submits waits for the end of its tasks: a lost one is a deadlock.
template <int Polls, unsigned Processors = 1>
struct two_workers : queue_suite<two_workers<Polls, Processors>, 3, 2, 3> {
  two_workers() {
    this->polls = Polls;
    this->processors = Processors;
  }
  void thread(unsigned index) {
    if (index < 2) {
      this->work(index);
    } else {
      this->push(0);
      this->push(1);
      this->drain();
      require(this->ran[0] == 1 && this->ran[1] == 1, "both have run by then");
      this->push(2);
      this->q->close();
    }
  }
  void after() {
    require(this->ran[2] == 1, "it ran");
    queue_suite<two_workers, 3, 2, 3>::after();
  }
};

// More tasks than places: the one who submits waits for room, or gives up at its deadline.
struct room : queue_suite<room, 2, 1, 1> {
  room() { polls = 1; }
  void thread(unsigned index) {
    if (index == 0) {
      work();
    } else {
      for (int i = 0; i < 3; ++i) {
        task t{&ran[i]};
        const outcome how = i < 2 ? room_wait{*q, t}.run() : room_wait{*q, t}.run(10);
        require(how == outcome::granted || (i == 2 && how == outcome::timeout), "it went in, or timed out");
        if (how != outcome::granted) ran[i] = 1;
      }
      q->close();
    }
  }
  void after() {
    require(ran[0] == 1 && ran[1] == 1 && ran[2] == 1, "all ran");
    queue_suite::after();
  }
};

// Two who submit to a queue of one place, one of which is stopped while it waits for room.
struct room_stop : queue_suite<room_stop, 4, 1, 1> {
  model::stop_state stop;
  penstock::detail::basic_parker<model_sync> done[2];

  void thread(unsigned index) {
    if (index == 0) {
      work();
    } else if (index == 1) {
      for (auto& d : done) d.park();
      q->close();
    } else {
      task t{&ran[index - 2]};
      const outcome how = index == 2 ? room_wait{*q, t}.run(stop_token{stop}, model::never) : room_wait{*q, t}.run();
      require(how == outcome::granted || (index == 2 && how == outcome::cancelled), "it went in, or was cancelled");
      if (how != outcome::granted) ran[0] = 1;
      if (index == 3) stop.request_stop();
      done[index - 2].unpark();
    }
  }
  void after() {
    require(ran[0] == 1 && ran[1] == 1, "both ran or were cancelled");
    queue_suite::after();
  }
};

// Nobody makes room before the one who waits for it has been told that there will be none: closing tells him, or he is told when he comes.
template <int Polls>
struct room_close : queue_suite<room_close<Polls>, 2, 1, 1> {
  room_close() { this->polls = Polls; }
  void before() {
    queue_suite<room_close, 2, 1, 1>::before();
    this->push(0);
  }
  void thread(unsigned index) {
    if (index == 0) {
      task t{&this->ran[1]};
      require(room_wait{*this->q, t}.run() == outcome::closed, "closed");
      require(t.ran != nullptr, "the task stays with its owner");
      this->work();
    } else {
      this->q->close();
    }
  }
  void after() {
    require(this->ran[0] == 1 && this->ran[1] == 0, "what was in ran, what came too late did not");
    queue_suite<room_close, 2, 1, 1>::after();
  }
};

// A task takes the place of one that is queued, if that is not begun before: one of the two fates. Who waits for the end waits for both.
template <int Polls>
struct displacing : queue_suite<displacing<Polls>, 3, 1, 1> {
  var<int> dropped{0};
  bool refused = false;

  displacing() { this->polls = Polls; }
  void before() {
    queue_suite<displacing, 3, 1, 1>::before();
    task t{&this->ran[0], &dropped};
    require(this->q->try_push(t).has_value(), "there is room");
  }
  void thread(unsigned index) {
    if (index == 0) {
      this->work();
    } else if (index == 1) {
      task displaced;
      task t{&this->ran[1]};
      refused = !this->q->push_over(t, 0, penstock::detail::displaced::oldest, displaced);
      if (!displaced) return;
      require(!refused, "none goes for one that is refused");
      static_cast<void>(task{std::move(displaced)});
      this->q->finish_here();
    } else {
      this->drain();
      require(this->ran[0] + dropped == 1, "it ran or was dropped by then");
      this->q->close();
    }
  }
  void after() {
    require(this->ran[0] + dropped == 1, "it ran or was dropped");
    require(this->ran[1] == (refused ? 0 : 1), "the other one ran, or was refused");
    queue_suite<displacing, 3, 1, 1>::after();
  }
};

// A task that its submitter runs: the worker stays until it has ended, and what it did is visible then. None begins after that.
template <int Polls>
struct caller_runs : queue_suite<caller_runs<Polls>, 3, 1, 1> {
  bool refused = false;

  caller_runs() { this->polls = Polls; }
  void thread(unsigned index) {
    if (index == 0) {
      this->work();
      require(this->ran[1] == 0 || this->ran[1] == 1, "nothing runs any more");  // a race if it does
    } else if (index == 1) {
      if (this->q->begin_here()) {
        this->ran[1] = this->ran[1] + 1;
        this->q->finish_here();
      } else {
        refused = true;
      }
    } else {
      this->q->close();
    }
  }
  void after() {
    require(refused || this->ran[1] == 1, "refused, or it ran");
    queue_suite<caller_runs, 3, 1, 1>::after();
  }
};

// Resumptions come from outside, count against no capacity, and none is lost, not even while the last worker ends.
template <int Polls>
struct resumptions : queue_suite<resumptions<Polls>, 3, 1, 1> {
  resumption items[2];

  resumptions() { this->polls = Polls; }
  void thread(unsigned index) {
    if (index == 0) {
      this->work();
    } else if (index == 1) {
      require(this->q->push(items[0]), "a worker lives");
      this->drain();
      require(items[0].ran == 1, "it has run by then");
      this->q->close();
    } else if (!this->q->push(items[1])) {
      items[1].run(items[1]);  // the last worker has ended
    }
  }
  void after() {
    require(items[1].ran == 1, "it ran");
    queue_suite<resumptions, 3, 1, 1>::after();
  }
};

// A worker waits for the end of a coroutine, which comes from a resumption of the pool or from outside, and runs resumptions meanwhile. Whoever
// returned from the wait destroys what it waited for.
template <class Derived, int Threads, int Workers>
struct help_suite : queue_suite<Derived, Threads, Workers, 1> {
  using one_shot = penstock::detail::basic_one_shot<model_sync>;
  struct ending : work_item {
    ending() {
      run = [](work_item& item) noexcept {
        auto& self = static_cast<ending&>(item);
        self.data = 42;
        self.end->set();
      };
    }
    one_shot* end = nullptr;
    var<int> data{0};
  };
  one_shot* end = nullptr;
  ending last;
  resumption item;

  void before() {
    queue_suite<Derived, Threads, Workers, 1>::before();
    end = new one_shot;
    last.end = end;
    this->push(0, wait);
  }
  // A worker that waits inside the task.
  static void wait(void* suite, queue::slot& me) {
    auto& self = *static_cast<Derived*>(suite);
    penstock::detail::helping_wait<queue>{*self.q, me, *self.end}.run([](work_item& i) { i.run(i); });
    require(self.last.data == 42, "visible to who waited");
    delete self.end;
  }
  void after() {
    require(last.data == 42, "it ended");
    queue_suite<Derived, Threads, Workers, 1>::after();
  }
};

template <int Polls>
struct help_alone : help_suite<help_alone<Polls>, 2, 1> {
  help_alone() { this->polls = Polls; }
  void thread(unsigned index) {
    if (index == 0) {
      this->work();
    } else {
      require(this->q->push(this->item) && this->q->push(this->last), "a worker lives");
      this->drain();
      require(this->item.ran == 1, "it has run by then");
      this->q->close();
    }
  }
};

// The end comes from outside, at the same time as a resumption.
template <int Polls>
struct help_outside : help_suite<help_outside<Polls>, 3, 1> {
  help_outside() { this->polls = Polls; }
  void thread(unsigned index) {
    if (index == 0) {
      this->work();
    } else if (index == 1) {
      require(this->q->push(this->item), "a worker lives");
      this->q->close();
    } else {
      this->last.run(this->last);
    }
  }
  void after() {
    require(this->item.ran == 1, "it ran");
    help_suite<help_outside, 3, 1>::after();
  }
};

// Another worker searches, sleeps or takes what the helper would have taken.
template <int Polls>
struct help_two : help_suite<help_two<Polls>, 3, 2> {
  help_two() { this->polls = Polls; }
  void thread(unsigned index) {
    if (index < 2) {
      this->work(index);
    } else {
      require(this->q->push(this->item) && this->q->push(this->last), "a worker lives");
      this->drain();
      this->q->close();
    }
  }
};

// A task submits another one from inside and waits for it: only the other worker can run it, wherever that one is on its way to sleep.
template <class Derived, int Polls>
struct stolen_suite : queue_suite<Derived, 3, 2, 1> {
  penstock::detail::basic_parker<model_sync> done;

  stolen_suite() { this->polls = Polls; }
  static void tell(void* suite, queue::slot&) { static_cast<Derived*>(suite)->done.unpark(); }
  void thread(unsigned index) {
    if (index < 2) {
      this->work(index);
    } else {
      this->push(0, Derived::give_and_wait);
      this->drain();
      require(this->ran[0] == 1, "it has run by then");
      this->q->close();
    }
  }
};

template <int Polls>
struct stolen_task : stolen_suite<stolen_task<Polls>, Polls> {
  static void give_and_wait(void* suite, queue::slot& me) {
    auto& self = *static_cast<stolen_task*>(suite);
    self.push_inside(me, 1, stolen_task::tell);
    self.done.park();
  }
  void after() {
    require(this->ran[1] == 1, "it ran");
    queue_suite<stolen_task, 3, 2, 1>::after();
  }
};

// The same with a resumption, or with a fork-join job.
template <int Polls, bool Fork>
struct stolen_item : stolen_suite<stolen_item<Polls, Fork>, Polls> {
  struct telling : work_item {
    telling() {
      run = [](work_item& item) noexcept {
        auto& me = static_cast<telling&>(item);
        me.data = me.data + 1;
        me.told->unpark();
      };
    }
    penstock::detail::basic_parker<model_sync>* told = nullptr;
    var<int> data{0};
  } item;

  static void give_and_wait(void* suite, queue::slot& me) {
    auto& self = *static_cast<stolen_item*>(suite);
    self.item.told = &self.done;
    if (Fork) {
      require(self.q->fork(me.forks, self.item), "there is room");
    } else {
      self.q->push(me, self.item);
    }
    self.done.park();
    require(self.item.data == 1, "visible to who waited");
  }
};

// Two tasks from outside, of which the first waits for the second: both workers are needed, and the second task may have to wait for room.
template <int Polls, int Capacity>
struct dependent : queue_suite<dependent<Polls, Capacity>, 3, 2, Capacity> {
  penstock::detail::basic_parker<model_sync> done;

  dependent() { this->polls = Polls; }
  static void wait(void* suite, queue::slot&) { static_cast<dependent*>(suite)->done.park(); }
  static void tell(void* suite, queue::slot&) { static_cast<dependent*>(suite)->done.unpark(); }
  void thread(unsigned index) {
    if (index < 2) {
      this->work(index);
    } else {
      this->push(0, wait);
      task t{&this->ran[1], nullptr, tell, this};
      require(room_wait{*this->q, t}.run() == outcome::granted, "there is room in the end");
      this->q->close();
    }
  }
  void after() {
    require(this->ran[0] == 1 && this->ran[1] == 1, "both ran");
    queue_suite<dependent, 3, 2, Capacity>::after();
  }
};

// Tasks from inside that nobody waits for but the one who drains: every count is seen, in the right order, whoever runs them.
template <int Polls>
struct inside : queue_suite<inside<Polls>, 3, 2, 1> {
  inside() { this->polls = Polls; }
  static void give(void* suite, queue::slot& me) { static_cast<inside*>(suite)->push_inside(me, 1); }
  void thread(unsigned index) {
    if (index < 2) {
      this->work(index);
    } else {
      this->push(0, give);
      this->drain();
      require(this->ran[0] == 1 && this->ran[1] == 1, "both have run by then");
      this->push(2);
      this->q->close();
    }
  }
  void after() {
    require(this->ran[2] == 1, "it ran");
    queue_suite<inside, 3, 2, 1>::after();
  }
};

// More tasks from inside than there are nodes: nodes that come back from a thief are used again.
struct nodes : queue_suite<nodes, 2, 2, 1> {
  static void give(void* suite, queue::slot& me) {
    auto& self = *static_cast<nodes*>(suite);
    self.push_inside(me, 1);
    task t{&self.ran[2]};
    if (!self.q->try_push(me, t)) t.run(me);  // or to the injection, or to the place of one that was stolen meanwhile
    self.q->close();
  }
  void before() {
    queue_suite::before();
    push(0, give);
  }
  void thread(unsigned index) { work(index); }
  void after() {
    require(ran[0] == 1 && ran[1] == 1 && ran[2] == 1, "all ran");
    queue_suite::after();
  }
};

// What waits from before begins with a worker that takes several at a time, and the other one steals.
template <int Polls>
struct taken_along : queue_suite<taken_along<Polls>, 2, 2, 6> {
  var<int> more[2] = {var<int>{0}, var<int>{0}};

  taken_along() { this->polls = Polls; }
  void before() {
    queue_suite<taken_along, 2, 2, 6>::before();
    for (int i = 0; i < 4; ++i) this->push(i);
    for (auto& one : more) {
      task t{&one};
      require(this->q->try_push(t).has_value(), "there is room");
    }
    this->q->close();
  }
  void thread(unsigned index) { this->work(index); }
  void after() {
    this->expect_all_ran(4);
    for (auto& one : more) require(one == 1, "it ran");
    queue_suite<taken_along, 2, 2, 6>::after();
  }
};

// Everything is dropped while a task submits from inside: what was accepted is run or destroyed, and none begins that could know of the stop.
template <int Polls>
struct drop : queue_suite<drop<Polls>, 3, 2, 4> {
  var<int> dropped[3] = {var<int>{0}, var<int>{0}, var<int>{0}};
  bool accepted = false;

  drop() { this->polls = Polls; }
  void before() {
    queue_suite<drop, 3, 2, 4>::before();
    task first{&this->ran[0], &dropped[0], give, this};
    require(this->q->try_push(first).has_value(), "there is room");
    task second{&this->ran[1], &dropped[1], nullptr, this};
    require(this->q->try_push(second).has_value(), "there is room");
  }
  static void give(void* suite, queue::slot& me) {
    auto& self = *static_cast<drop*>(suite);
    task t{&self.ran[2], &self.dropped[2], nullptr, suite};
    self.accepted = self.q->try_push(me, t).has_value();
    if (!self.accepted) t.dropped = nullptr;
  }
  void thread(unsigned index) {
    if (index < 2) {
      this->work(index);
    } else {
      this->q->close(penstock::detail::at_close::drop);
      while (this->q->drop_one()) {
      }
    }
  }
  void after() {
    require(this->ran[0] + dropped[0] == 1 && this->ran[1] + dropped[1] == 1, "run or dropped");
    require(this->ran[2] + dropped[2] == (accepted ? 1 : 0), "run or dropped if it was accepted");
    queue_suite<drop, 3, 2, 4>::after();
  }
};

// A task that has heard of the stop ends: its worker begins no other one, neither from its lane nor from outside.
template <int Polls>
struct drop_told : queue_suite<drop_told<Polls>, 2, 1, 4> {
  penstock::detail::basic_parker<model_sync> entered, stopped;

  drop_told() { this->polls = Polls; }
  static void give(void* suite, queue::slot& me) {
    auto& self = *static_cast<drop_told*>(suite);
    self.push_inside(me, 1);
    self.entered.unpark();
    self.stopped.park();
  }
  void thread(unsigned index) {
    if (index == 0) {
      this->work();
    } else {
      this->push(0, give);
      entered.park();
      this->push(2);
      this->q->close(penstock::detail::at_close::drop);
      stopped.unpark();
      while (this->q->drop_one()) {
      }
    }
  }
  void after() {
    require(this->ran[1] == 0 && this->ran[2] == 0, "none has begun");
    queue_suite<drop_told, 2, 1, 4>::after();
  }
};

// The resumption that ends a helper's wait lies in the lane of a worker that is busy until it has run.
template <int Polls>
struct help_inside : help_suite<help_inside<Polls>, 3, 2> {
  penstock::detail::basic_parker<model_sync> told;
  struct telling : help_suite<help_inside<Polls>, 3, 2>::ending {
    telling() {
      this->run = [](work_item& item) noexcept {
        auto& self = static_cast<telling&>(item);
        self.data = 42;
        auto* const p = self.told;
        self.end->set();
        p->unpark();
      };
    }
    penstock::detail::basic_parker<model_sync>* told = nullptr;
  } item_inside;

  help_inside() { this->polls = Polls; }
  static void give_and_wait(void* suite, queue::slot& me) {
    auto& self = *static_cast<help_inside*>(suite);
    self.item_inside.end = self.end;
    self.item_inside.told = &self.told;
    self.last.data = 42;
    self.q->push(me, self.item_inside);
    self.told.park();
  }
  void thread(unsigned index) {
    if (index < 2) {
      this->work(index);
    } else {
      task t{&this->ran[1], nullptr, give_and_wait, this};
      require(room_wait{*this->q, t}.run() == outcome::granted, "there is room in the end");
      this->q->close();
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"task_queue", argc, argv};
  session.bounded<submit_close<0>, 3>("submit and close");
  session.bounded<submit_close<1>, 2>("submit and close, searching");
  session.random<two_workers<0>>("two workers");
  session.random<two_workers<2>>("two workers, searching");
  session.random<two_workers<1, 4>>("two workers, each with a processor");
  session.random<room>("waiting for room");
  session.random<room_stop>("waiting for room and stop");
  session.bounded<room_close<0>, 3>("waiting for room and close");
  session.bounded<room_close<1>, 3>("waiting for room and close, polling first");
  session.random<caller_runs<0>>("caller runs");
  session.random<caller_runs<1>>("caller runs, searching");
  session.random<displacing<0>>("displacing");
  session.random<displacing<1>>("displacing, searching");
  session.random<resumptions<0>>("resumptions");
  session.random<resumptions<2>>("resumptions, searching");
  session.bounded<help_alone<0>, 2>("helping");
  session.random<help_alone<1>>("helping, polling first");
  session.random<help_outside<0>>("helping until told from outside");
  session.random<help_outside<1>>("helping until told from outside, polling first");
  session.random<help_two<0>>("helping beside another worker");
  session.random<help_two<1>>("helping beside another worker that searches");
  session.random<stolen_task<0>>("a task that is stolen");
  session.random<stolen_task<1>>("a task that is stolen by one that searches");
  session.random<stolen_item<0, false>>("a resumption that is stolen");
  session.random<stolen_item<1, true>>("a job that is stolen");
  session.random<dependent<0, 1>>("one waits for the next, which waits for room");
  session.random<dependent<1, 2>>("one waits for the next, searching");
  session.random<inside<0>>("from inside");
  session.random<inside<1>>("from inside, searching");
  session.random<nodes>("nodes that come back");
  session.random<taken_along<0>>("several at a time");
  session.random<drop<0>>("dropped while one is submitted from inside");
  session.random<drop<1>>("dropped while one is submitted from inside, searching");
  session.random<drop_told<0>>("none begins after a stop");
  session.random<help_inside<0>>("helping a worker that waits");
  session.random<help_inside<1>>("helping a worker that waits, polling first");
  return session.result();
}
