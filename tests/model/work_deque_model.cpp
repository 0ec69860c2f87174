// The work-stealing deque: of those who want an item one gets it, with what was written before it was pushed, and no sleeper is forgotten.
//
// Three orders are beyond relacy, whose loads come in program order and whose release sequences are those of C++11: the acquire in a thief's
// look at the top, the acquire in push(), the release that ends a pop in vain. Their comments argue for them.
#include "support/suite.hpp"

#include <penstock/pool/detail/work_deque.hpp>

namespace {

using model::atomic;
using model::model_sync;
using model::require;
using model::var;

// Plain data: two who got the same item race, and so does who got it without an order after its push.
struct item {
  var<int> pushed{0};
  var<int> taken{0};
};
using deque = penstock::detail::work_deque<item, model_sync>;

template <class Derived, int Threads, int Capacity, int Items>
struct deque_suite : model::suite<Derived, Threads> {
  std::unique_ptr<deque> d;
  item items[Items];
  bool in[Items] = {};

  void before() { d = std::make_unique<deque>(Capacity); }
  bool push(int i) {
    items[i].pushed = i + 1;
    return in[i] = d->push(&items[i]);
  }
  bool take(item* got) {
    if (got == nullptr) return false;
    require(got->pushed == got - items + 1, "what was written before the push is visible");
    got->taken = got->taken + 1;
    return true;
  }
  bool pop() { return take(d->pop()); }
  bool steal() { return take(d->steal()); }
  void after() {
    while (pop()) {
    }
    require(d->empty() && !steal(), "nothing is left");
    for (int i = 0; i < Items; ++i) require(items[i].taken == (in[i] ? 1 : 0), "each that went in was taken, and once");
    d.reset();
  }
};

// The owner and a thief, or two, want the same one.
template <int Threads>
struct last_item : deque_suite<last_item<Threads>, Threads, 2, 1> {
  void thread(unsigned index) {
    if (index == 0) {
      require(this->push(0), "there is room");
      this->pop();
    } else {
      this->steal();
    }
  }
};

// Two items, two thieves: the owner's second pop meets them at the last one.
struct two_items : deque_suite<two_items, 3, 2, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      require(push(0) && push(1), "there is room");
      pop();
      pop();
    } else {
      steal();
    }
  }
};

// A place that the owner took back is filled again while thieves look at it.
struct pushed_again : deque_suite<pushed_again, 3, 2, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      require(push(0) && push(1), "there is room");
      pop();
      push(2);
      pop();
    } else {
      steal();
      if (index == 1) steal();
    }
  }
};

// Round the array: a slot is written again as soon as its item was taken, and not before.
struct round_and_round : deque_suite<round_and_round, 2, 2, 5> {
  void thread(unsigned index) {
    if (index == 0) {
      for (int i = 0; i < 5; ++i) push(i);
      pop();
    } else {
      for (int i = 0; i < 3; ++i) steal();
    }
  }
};

// A deque of one place: full unless the item was taken; the owner, whose pop found it gone or got it, has room then.
struct single_place : deque_suite<single_place, 3, 1, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      require(push(0), "there is room");
      push(1);
      pop();
      require(push(2), "there is room after a pop, whoever got the item");
    } else {
      steal();
    }
  }
};

// The pool's protocol for sleeping: publish, then look for sleepers; announce, then look for work.
struct nobody_sleeps : deque_suite<nobody_sleeps, 2, 2, 1> {
  atomic<int> sleepers{0};
  bool woken = false;
  bool seen = false;

  void thread(unsigned index) {
    if (index == 0) {
      push(0);
      woken = sleepers.load() != 0;
    } else {
      sleepers.store(1);
      seen = !d->empty();
    }
  }
  void after() {
    require(woken || seen, "the sleeper was seen, or saw the work");
    deque_suite::after();
  }
};

// The same with who looks by stealing, while the owner takes another one back.
struct nobody_sleeps_stealing : deque_suite<nobody_sleeps_stealing, 2, 2, 2> {
  atomic<int> sleepers{0};
  bool woken = false;
  bool got = false;

  void thread(unsigned index) {
    if (index == 0) {
      push(0);
      push(1);
      woken = sleepers.load() != 0;
      pop();
    } else {
      sleepers.store(1);
      got = steal();
    }
  }
  void after() {
    require(woken || got, "the sleeper was seen, or got the work");
    deque_suite::after();
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"work_deque", argc, argv};
  session.all<last_item<2>>("the last item");
  session.bounded<last_item<3>, 3>("the last item, two thieves");
  session.bounded<two_items, 3>("two items, two thieves");
  session.random<two_items>("two items, two thieves, at random");
  session.random<pushed_again>("pushed again");
  session.bounded<round_and_round, 3>("round and round");
  session.random<round_and_round>("round and round, at random");
  session.random<single_place>("a single place");
  session.all<nobody_sleeps>("nobody sleeps");
  session.bounded<nobody_sleeps_stealing, 3>("nobody sleeps, stealing");
  return session.result();
}
