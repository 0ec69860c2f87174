// The places of a balancer: an endpoint is there for whoever was let in, is destroyed once, by the last one, and its place can be used again at
// once. And the roster: who is told that it saw one has seen one.
#include "support/suite.hpp"

#include <penstock/route/detail/endpoint_roster.hpp>
#include <penstock/route/detail/endpoint_use.hpp>

namespace {

using model::model_sync;
using model::require;
using model::var;
using use_word = penstock::detail::endpoint_use<model_sync>;

// A place with the user's value: plain data, so a use that races with the making or the end of the value fails.
template <class Derived, int Threads>
struct place_suite : model::suite<Derived, Threads> {
  struct place {
    use_word use;
    var<int> value{0};  // 0: nobody lives here
    var<int> freed{0};
  };
  std::unique_ptr<place> p;
  model::mutex lock;      // the table's
  var<bool> free{false};  // guarded by lock
  var<int> lived{0};      // how many moved in

  void before() {
    p = std::make_unique<place>();
    move_in(1);
  }
  void move_in(int value) {
    p->value = value;
    lived = lived + 1;
    p->use.let_in();
  }
  // By whom the word told.
  void move_out() {
    require(p->value != 0, "destroyed once");
    p->value = 0;
    p->freed = p->freed + 1;
    std::scoped_lock guard{lock};
    free = true;
  }
  void pick() {
    if (p->use.try_enter()) {
      require(p->value != 0, "the endpoint is there");
      if (p->use.leave()) move_out();
    } else if (p->use.back_out()) {
      move_out();
    }
  }
  void erase() {
    if (p->use.retire()) move_out();
  }
  void after() {
    require(p->freed == lived && p->value == 0, "destroyed");
    require((p->use.load() & 0xffffffff) == 0, "nobody is inside, and the place is as new");
    p.reset();
  }
};

struct one_pick : place_suite<one_pick, 2> {
  void thread(unsigned index) { index == 0 ? erase() : pick(); }
};
struct two_picks : place_suite<two_picks, 3> {
  void thread(unsigned index) { index == 0 ? erase() : pick(); }
};

// The place is used again as soon as it is free, while somebody still comes by the old roster.
template <int Threads>
struct used_again : place_suite<used_again<Threads>, Threads> {
  void thread(unsigned index) {
    if (index > 0) return this->pick();
    this->erase();
    {
      std::scoped_lock guard{this->lock};
      if (!this->free) return;
      this->free = false;
    }
    this->move_in(2);
    this->erase();
  }
};

// Who drained an endpoint and sees nobody inside has it alone.
struct drained : place_suite<drained, 2> {
  void thread(unsigned index) {
    if (index > 0) return pick();
    p->use.shut();
    if (use_word::in_flight(p->use.observe()) == 0) p->value = 2;
  }
  void after() {
    p->use.let_in();
    erase();
    place_suite::after();
  }
};

// Once or twice: relacy keeps the last three values of an atomic, so what is older than the second change is not seen after it.
template <int Changes>
struct roster_suite : model::suite<roster_suite<Changes>, 2> {
  std::unique_ptr<penstock::detail::endpoint_roster<model_sync>> roster;

  void before() {
    roster = std::make_unique<penstock::detail::endpoint_roster<model_sync>>(2);
    const std::uint32_t first[] = {1, 2};
    roster->assign(first);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const std::uint32_t second[] = {2, 3};
      if (Changes == 2) roster->assign(second);
      roster->assign(std::span{second}.first(1));
      return;
    }
    const std::uint32_t seen = roster->version();
    const std::uint32_t n = roster->size_as_part();
    std::uint32_t all[2] = {};
    for (std::uint32_t i = 0; i < n; ++i) all[i] = roster->at(i);
    if (!roster->unchanged(seen)) return;
    require((n == 2 && all[0] + 1 == all[1]) || (n == 1 && all[0] == 2), "one roster");
  }
  void after() { roster.reset(); }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"balancer", argc, argv};
  session.all<one_pick>("pick and erase");
  session.bounded<two_picks, 3>("two pick and one erases");
  session.bounded<used_again<2>, 4>("used again");
  session.random<used_again<3>>("used again, two pick");
  session.all<drained>("drain and pick");
  session.all<roster_suite<1>>("a roster that changes once");
  session.bounded<roster_suite<2>, 4>("a roster that changes twice");
  return session.result();
}
