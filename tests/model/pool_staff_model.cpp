// The queue of the worker pool while its workers come, go, block and stand still: no task is left behind, and no worker.
#include "support/pool_suite.hpp"

#include <penstock/core/detail/one_shot.hpp>
#include <penstock/pool/detail/helping_wait.hpp>

namespace {

using model::model_sync;
using model::require;
using model::var;
using parker = penstock::detail::basic_parker<model_sync>;

using queue = model::pool_queue;
using task = model::pool_task;

// Threads 0 and 1 are those of the pool, of which `Workers` are there from the beginning; thread 2 uses it.
template <class Derived, int Workers>
struct staff_suite : model::pool_suite<Derived, 3> {
  using base = model::pool_suite<Derived, 3>;
  using base::q;
  penstock::detail::nanoseconds_point keep_idle = model::never;

  // The places of the pool's threads, as in pool_threads.hpp.
  model_sync::mutex places_lock;
  var<bool> taken[2] = {var<bool>{true}, var<bool>{Workers == 2}};
  var<bool> over{false};
  var<int> pool{0};  // what who starts a thread may touch, and nobody any more after the end
  parker born[2];

  void before() {
    q = std::make_unique<queue>(4, Workers, 2, 1, 2);
    q->provide_slot(1, [](auto&) {});
    q->keep_idle(keep_idle, nullptr);
    q->on_short_of_workers(
        [](void* self) noexcept {
          auto& me = *static_cast<staff_suite*>(self);
          {
            std::scoped_lock guard{me.places_lock};
            const int place = me.taken[0] ? 1 : 0;
            require(!me.taken[place], "there is a place");
            require(!me.over, "nobody is started after the end");
            me.taken[place] = true;
            me.born[place].unpark();
          }
          me.pool = me.pool + 1;
        },
        this);
    base::before();
  }
  void pool_thread(unsigned index) {
    queue::slot& me = q->slot_of(index);
    for (bool there = index < Workers;; there = false) {
      if (!there) {
        born[index].park();
        born[index].reset();
        if (!has_place(index)) return;  // everything is over
        q->arrive(me);
      }
      this->work(index);
      const bool last = gives_back(index);
      q->left();
      if (last) return;
    }
  }
  bool has_place(unsigned index) {
    std::scoped_lock guard{places_lock};
    return taken[index];
  }
  bool gives_back(unsigned index) {
    std::scoped_lock guard{places_lock};
    taken[index] = false;
    return over;
  }
  // The other threads end, those that are not there, too.
  void end() {
    q->close();
    this->drain();
    pool = 0;
    bool absent[2];
    {
      std::scoped_lock guard{places_lock};
      over = true;
      for (int i = 0; i < 2; ++i) absent[i] = !taken[i];
    }
    for (int i = 0; i < 2; ++i) {
      if (absent[i]) born[i].unpark();
    }
  }
  void thread(unsigned index) {
    if (index < 2) {
      pool_thread(index);
    } else {
      static_cast<Derived*>(this)->use();
    }
  }
  void after() {
    require(q->workers() == 0, "nobody is left");
    base::after();
  }
};

// A pool of one whose worker blocks until a task from outside has run, which comes before or after: another worker is started for it. Afterwards
// there are two, of which one is awake: what they run is never at the same time.
template <int Polls>
struct blocked : staff_suite<blocked<Polls>, 1> {
  parker done;
  var<int> exclusive{0};

  blocked() { this->polls = Polls; }
  static void wait(void* suite, queue::slot& me) {
    auto& self = *static_cast<blocked*>(suite);
    self.q->block(me);
    self.done.park();
    self.q->unblock(me);
  }
  static void tell(void* suite, queue::slot&) { static_cast<blocked*>(suite)->done.unpark(); }
  static void alone(void* suite, queue::slot&) {
    auto& self = *static_cast<blocked*>(suite);
    self.exclusive = self.exclusive + 1;
  }
  void use() {
    this->push(0, wait);
    this->push(1, tell);
    this->drain();
    this->push(2, alone);
    this->push(3, alone);
    this->end();
  }
  void after() {
    this->expect_all_ran(4);
    staff_suite<blocked, 1>::after();
  }
};

// The same with a task from inside, before it blocks or within.
template <int Polls, bool Before>
struct blocked_inside : staff_suite<blocked_inside<Polls, Before>, 1> {
  parker done;

  blocked_inside() { this->polls = Polls; }
  static void wait(void* suite, queue::slot& me) {
    auto& self = *static_cast<blocked_inside*>(suite);
    const auto give = [&] {
      task t{&self.ran[1], nullptr, tell, suite};
      require(self.q->try_push(me, t).has_value(), "there is room");
    };
    if (Before) give();
    self.q->block(me);
    if (!Before) give();
    self.done.park();
    self.q->unblock(me);
  }
  static void tell(void* suite, queue::slot&) { static_cast<blocked_inside*>(suite)->done.unpark(); }
  void use() {
    this->push(0, wait);
    this->drain();
    this->end();
  }
  void after() {
    this->expect_all_ran(2);
    staff_suite<blocked_inside, 1>::after();
  }
};

// The only worker waits for the end of a coroutine, and runs what is resumed meanwhile; but it ends by a task, which comes at the same time or was
// there before. Another worker is started for that one; afterwards one is awake.
template <int Polls, bool Before>
struct helps : staff_suite<helps<Polls, Before>, 1> {
  struct resumption : penstock::detail::work_item {
    resumption() {
      run = [](work_item& item) noexcept {
        auto& self = static_cast<resumption&>(item);
        self.ran = self.ran + 1;
      };
    }
    var<int> ran{0};
  };
  penstock::detail::basic_one_shot<model_sync> end_of_it;
  resumption item;
  var<int> exclusive{0};

  helps() { this->polls = Polls; }
  static void wait(void* suite, queue::slot& me) {
    auto& self = *static_cast<helps*>(suite);
    if (Before) self.push_inside(me, 1, tell);
    penstock::detail::helping_wait<queue>{*self.q, me, self.end_of_it}.run([](penstock::detail::work_item& i) { i.run(i); });
  }
  static void tell(void* suite, queue::slot&) { static_cast<helps*>(suite)->end_of_it.set(); }
  static void alone(void* suite, queue::slot&) {
    auto& self = *static_cast<helps*>(suite);
    self.exclusive = self.exclusive + 1;
  }
  void use() {
    this->push(0, wait);
    require(this->q->push(item), "a worker lives");
    if (!Before) this->push(1, tell);
    this->drain();
    require(item.ran == 1, "it has run by then");
    this->push(2, alone);
    this->push(3, alone);
    this->end();
  }
  void after() {
    this->expect_all_ran(4);
    staff_suite<helps, 1>::after();
  }
};

// Who submits starts a thread, while the work is done without it and the pool ends: the pool's end waits for the thread.
template <int Polls>
struct started_late : staff_suite<started_late<Polls>, 1> {
  parker done;
  bool accepted = false;

  started_late() { this->polls = Polls; }
  void before() {
    staff_suite<started_late, 1>::before();
    this->push(0, wait);
  }
  static void wait(void* suite, queue::slot& me) {
    auto& self = *static_cast<started_late*>(suite);
    self.q->block(me);
    self.done.park();
    self.q->unblock(me);
  }
  void thread(unsigned index) {
    if (index == 1) {
      task t{&this->ran[1]};
      accepted = this->q->try_push(t).has_value();
    }
    staff_suite<started_late, 1>::thread(index);
  }
  void use() {
    done.unpark();
    this->end();
  }
  void after() {
    require(this->ran[0] == 1 && this->ran[1] == (accepted ? 1 : 0), "what went in ran");
    staff_suite<started_late, 1>::after();
  }
};

// Idle workers leave at any time, down to one, while one task waits for another: whoever is missing is started again, even if it is just leaving.
template <int Polls>
struct kept : staff_suite<kept<Polls>, 2> {
  parker done;

  kept() {
    this->polls = Polls;
    this->keep_idle = 10;
  }
  static void wait(void* suite, queue::slot&) { static_cast<kept*>(suite)->done.park(); }
  static void tell(void* suite, queue::slot&) { static_cast<kept*>(suite)->done.unpark(); }
  void use() {
    this->push(0, wait);
    this->push(1, tell);
    this->drain();
    this->push(2);
    this->end();
  }
  void after() {
    this->expect_all_ran(3);
    staff_suite<kept, 2>::after();
  }
};

// A pool shrinks while one of its workers fills its lane, and grows again.
template <int Polls>
struct resized : staff_suite<resized<Polls>, 2> {
  resized() { this->polls = Polls; }
  static void give(void* suite, queue::slot& me) { static_cast<resized*>(suite)->push_inside(me, 1); }
  void use() {
    this->push(0, give);
    require(this->q->resize(1).before == 2, "it were two");
    this->push(2);
    this->drain();
    require(this->ran[1] == 1, "what a worker left behind ran, too");
    const auto grown = this->q->resize(2);
    require(grown.before == 1, "it was one");
    require(this->q->resize(2).before == 2, "it were two again");
    this->q->undo(grown);
    require(this->q->target() == 2, "only the newest change is undone");
    this->push(3);
    this->end();
  }
  void after() {
    this->expect_all_ran(4);
    staff_suite<resized, 2>::after();
  }
};

// Tasks from outside and from inside wait while the pool is paused.
template <int Polls>
struct paused : staff_suite<paused<Polls>, 2> {
  var<int> held_back{0};

  paused() { this->polls = Polls; }
  static void give(void* suite, queue::slot& me) { static_cast<paused*>(suite)->push_inside(me, 1); }
  static void look(void* suite, queue::slot&) { require(static_cast<paused*>(suite)->held_back == 1, "not before resume()"); }
  void use() {
    this->push(0, give);
    this->q->pause();
    this->push(2, look);
    held_back = 1;
    this->q->resume();
    this->drain();
    this->q->pause();
    this->push(3);
    this->end();  // resumes
  }
  void after() {
    this->expect_all_ran(4);
    staff_suite<paused, 2>::after();
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"pool_staff", argc, argv};
  session.random<blocked<0>>("blocked");
  session.random<blocked<1>>("blocked, searching");
  session.random<blocked_inside<0, true>>("blocked for what it has queued before");
  session.random<blocked_inside<0, false>>("blocked for what it queues then");
  session.random<helps<0, false>>("a helper that needs a task");
  session.random<helps<1, false>>("a helper that needs a task, searching");
  session.random<helps<0, true>>("a helper that needs a task it has queued");
  session.random<started_late<0>>("a thread that comes late");
  session.random<kept<0>>("idle ones leave");
  session.random<kept<1>>("idle ones leave, searching");
  session.random<resized<0>>("resized");
  session.random<paused<0>>("paused");
  return session.result();
}
