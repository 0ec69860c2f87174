// The timer queue: removal is synchronous, whoever fires (race 14).
#include "support/model_timers.hpp"
#include "support/suite.hpp"

#include <new>

namespace {

using model::require;
using model::var;
using queue_entry = penstock::detail::timer_entry<model::model_sync>;

// Counts how often it fired, in plain data: a remover that returns too early races with it.
struct alarm : queue_entry {
  alarm() {
    fire = [](queue_entry& e) noexcept {
      auto& self = static_cast<alarm&>(e);
      self.fired = self.fired + 1;
    };
  }
  var<int> fired{0};
};

// The entry is gone as soon as remove() returned.
template <int Firers>
struct fire_remove : model::suite<fire_remove<Firers>, 1 + Firers> {
  model::timers clock;
  alarm* e = nullptr;

  void before() {
    e = new alarm;
    clock.add(*e, 10);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const bool never_fired = clock.remove(*e);
      require(e->fired == (never_fired ? 0 : 1), "fired at most once, and remove() knows");
      delete e;
    } else {
      clock.advance_to(10);
    }
  }
  void after() { require(clock.none_pending(), "nothing is left"); }
};

// One pass fires two, and the second one's function waits until the first one is removed: the pass that goes on holds no remover up, and wakes none
// twice. The first one is gone as soon as remove() returned.
struct remove_first : model::suite<remove_first, 2> {
  struct waiting : alarm {
    penstock::detail::basic_parker<model::model_sync> removed;
  };
  model::timers clock;
  alarm* first = nullptr;
  waiting second;

  void before() {
    first = new alarm;
    second.fire = [](queue_entry& e) noexcept {
      auto& self = static_cast<waiting&>(e);
      self.removed.park();
      self.fired = self.fired + 1;
    };
    clock.add(*first, 10);
    clock.add(second, 10);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const bool never_fired = clock.remove(*first);
      require(first->fired == (never_fired ? 0 : 1), "fired at most once, and remove() knows");
      delete first;
      second.removed.unpark();
    } else {
      clock.advance_to(10);
    }
  }
  void after() { require(second.fired == 1 && clock.none_pending(), "the other one fired, and nothing is left"); }
};

// Adding races with the clock that moves past the entry's time.
struct add_fire : model::suite<add_fire, 2> {
  model::timers clock;
  alarm e;

  void thread(unsigned index) {
    if (index == 0) {
      clock.add(e, 10);
    } else {
      clock.advance_to(10);
    }
  }
  void after() { require(e.fired == 1 && clock.none_pending(), "fired once"); }
};

// The entry's function removes and frees it, as an operation does that ends by its timer, while others fire and remove their own.
struct remove_inside : model::suite<remove_inside, 3> {
  struct suicide : queue_entry {
    explicit suicide(model::timers& clock) : clock{clock} {
      fire = [](queue_entry& e) noexcept {
        auto& self = static_cast<suicide&>(e);
        require(!self.clock.remove(self), "it was not pending any more");
        delete &self;
      };
    }
    model::timers& clock;
  };
  model::timers clock;
  alarm* other = nullptr;

  void before() {
    clock.add(*new suicide{clock}, 10);
    other = new alarm;
    clock.add(*other, 10);
  }
  void thread(unsigned index) {
    if (index < 2) {
      clock.advance_to(10);
    } else {
      clock.remove(*other);
      delete other;
    }
  }
  void after() { require(clock.none_pending(), "nothing is left"); }
};

// An entry that was freed inside its function, and another one at the same address while that function still runs, and waits for the removal:
// removing the new one waits for the new one, if it is fired, and not for the old one.
struct same_address : model::suite<same_address, 3> {
  struct reused : alarm {
    model::timers* clock = nullptr;
    same_address* test = nullptr;
  };
  model::timers clock;
  alignas(reused) unsigned char place[sizeof(reused)];
  penstock::detail::basic_parker<model::model_sync> freed;
  penstock::detail::basic_parker<model::model_sync> removed;

  void before() {
    auto* const first = new (place) reused;
    first->clock = &clock;
    first->test = this;
    first->fire = [](queue_entry& e) noexcept {
      auto& self = static_cast<reused&>(e);
      same_address* const test = self.test;
      test->clock.remove(self);
      self.~reused();
      test->freed.unpark();
      test->removed.park();
    };
    clock.add(*first, 10);
  }
  void thread(unsigned index) {
    if (index == 0) {
      freed.park();
      auto* const second = new (place) reused;
      clock.insert_only(*second, 10);
      const bool never_fired = clock.remove(*second);
      require(second->fired == (never_fired ? 0 : 1), "fired at most once, and remove() knows");
      second->~reused();
      removed.unpark();
    } else {
      clock.advance_to(10);
    }
  }
};

// Three entries, one of them removed, one added on the way: the heap stays in order.
struct heap : model::suite<heap, 3> {
  model::timers clock;
  alarm e[4];

  void before() {
    clock.add(e[0], 30);
    clock.add(e[1], 10);
    clock.add(e[2], 20);
  }
  void thread(unsigned index) {
    if (index == 0) {
      clock.advance_to(20);
    } else if (index == 1) {
      clock.remove(e[2]);
    } else {
      clock.add(e[3], 15);
    }
  }
  void after() {
    require(e[1].fired == 1 && e[3].fired == 1 && e[0].fired == 0, "those that fell due fired, once");
    require(e[2].fired <= 1, "the removed one at most once");
    require(clock.remove(e[0]) && clock.none_pending(), "the later one is pending");
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"timer_queue", argc, argv};
  session.all<fire_remove<1>>("fire and remove");
  session.random<fire_remove<2>>("two firers and remove");
  session.all<remove_first>("remove the first of two");
  session.all<add_fire>("add and advance");
  session.random<remove_inside>("remove inside the entry's function");
  session.random<same_address>("another entry at the same address");
  session.random<heap>("add, remove and advance");
  return session.result();
}
