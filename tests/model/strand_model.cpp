// The line of a strand and the role of who runs it: no two pieces overlap, none is left behind, and the strand goes while its turn is under way.
// Every piece writes plain data: an overlap is a data race, and a piece that does not see what the last one wrote is one, too.
#include "support/frame.hpp"
#include "support/suite.hpp"

#include <penstock/core/detail/one_shot.hpp>
#include <penstock/pool/detail/strand_core.hpp>

namespace {

using model::mailbox;
using model::model_sync;
using model::require;
using model::scheduler;
using model::var;
using penstock::errc;
using penstock::detail::outcome;
using penstock::detail::work_item;

class core : public penstock::detail::strand_core<core, model_sync, scheduler> {
 public:
  static constexpr unsigned pieces_a_turn = 2;
  using base = penstock::detail::strand_core<core, model_sync, scheduler>;
  using base::base;
  void run_piece(work_item& item) noexcept { item.run(item); }
};
using room_wait = penstock::detail::blocking_wait<core::base, core::room_node>;
using drained_wait = penstock::detail::blocking_wait<core::base, core::drained_node>;

template <class Derived, int Threads, int Pieces, int Capacity = 4>
struct strand_suite : model::suite<Derived, Threads> {
  struct piece : work_item {
    strand_suite* of = nullptr;
    int number = 0;
  };

  core* c = nullptr;
  mailbox box;
  piece pieces[Pieces];
  var<int> ran{0};
  var<int> last[2] = {var<int>{-1}, var<int>{-1}};  // of each of two submitters
  int expected = Pieces;
  bool ordered = true;

  static void run_post(work_item& item) noexcept {
    auto& p = static_cast<piece&>(item);
    p.of->run_one(p.number);
  }
  static void run_resumption(work_item& item) noexcept { run_post(item); }

  void make(mailbox* where) {
    c = new core{scheduler{where}, Capacity, &run_post};
    for (int i = 0; i < Pieces; ++i) {
      pieces[i].of = this;
      pieces[i].number = i;
    }
  }
  void before() { make(&box); }
  void run_one(int number) {
    require(!ordered || last[number % 2] < number, "the order of one submitter");
    last[number % 2] = number;
    ran = ran + 1;
  }
  void push(int i) {
    pieces[i].run = [](work_item& item) noexcept { run_resumption(item); };
    c->push(pieces[i]);
  }
  penstock::result<void> try_post(int i) {
    pieces[i].run = &run_post;
    return c->try_push_post(pieces[i]);
  }
  outcome post(int i) {
    pieces[i].run = &run_post;
    room_wait wait{*c, pieces[i]};
    const outcome how = wait.run();
    c->sent(wait);
    return how;
  }
  void drain_and_end() {
    require(drained_wait{*c}.run() == outcome::granted, "drained");
    require(ran == expected, "all have run by then");
    c->drop_owner();  // at once: the turn may be on its way home
    box.close();
  }
  void after() { require(ran == expected, "all ran, once"); }
};

// The threads that bring work run it, on the spot: whoever sends the turn runs what is there.
struct two_bring : strand_suite<two_bring, 2, 4> {
  void before() { make(nullptr); }
  void thread(unsigned index) {
    push(static_cast<int>(index));
    push(static_cast<int>(index) + 2);
  }
  void after() {
    require(c->queued() == 0, "nothing is left");
    c->drop_owner();
    strand_suite::after();
  }
};

struct three_bring : strand_suite<three_bring, 3, 3> {
  void before() {
    make(nullptr);
    ordered = false;  // each is another submitter's
  }
  void thread(unsigned index) { push(static_cast<int>(index)); }
  void after() {
    c->drop_owner();
    strand_suite::after();
  }
};

// A worker; one who brings work, another who brings work, waits for the end and destroys.
struct drain_and_destroy : strand_suite<drain_and_destroy, 2, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      box.run();
    } else {
      push(0);
      require(try_post(2).has_value(), "there is room");
      push(1);
      drain_and_end();
    }
  }
};

// What one brings ends on the worker, and another destroys the strand for it: who brought it touches nothing any more.
struct destroyed_behind_push : strand_suite<destroyed_behind_push, 3, 1> {
  using end = penstock::detail::basic_one_shot<model_sync>;
  std::unique_ptr<end> ended;
  void before() {
    strand_suite::before();
    ended = std::make_unique<end>();
    pieces[0].run = [](work_item& item) noexcept {
      auto& self = static_cast<destroyed_behind_push&>(*static_cast<piece&>(item).of);
      self.ran = self.ran + 1;
      self.ended->set();
    };
  }
  void thread(unsigned index) {
    if (index == 0) {
      box.run();
    } else if (index == 1) {
      c->push(pieces[0]);
    } else {
      require((penstock::detail::blocking_wait<end, penstock::detail::plain_node<model_sync>>{*ended}.run()) == outcome::granted,
              "it ended");
      drain_and_end();
    }
  }
  void after() {
    ended.reset();
    strand_suite::after();
  }
};

// Who waits for the end runs the work itself, while the turn is under way; it destroys the strand before the turn is home.
struct helped : strand_suite<helped, 2, 3> {
  void thread(unsigned index) {
    if (index == 0) {
      box.run();
    } else {
      push(0);
      push(1);
      push(2);
      c->help_until([] { return false; });
      drain_and_end();
    }
  }
};

// The same, and it stops half way.
struct helped_half_way : strand_suite<helped_half_way, 3, 4> {
  penstock::detail::basic_parker<model_sync> brought;
  void thread(unsigned index) {
    if (index == 0) {
      box.run();
    } else if (index == 1) {
      push(0);
      push(2);
      brought.unpark();
    } else {
      push(1);
      c->help_until([] { return true; });
      push(3);
      brought.park();
      drain_and_end();
    }
  }
};

// More posts than places.
struct room : strand_suite<room, 3, 4, 1> {
  penstock::detail::basic_parker<model_sync> posted;
  void thread(unsigned index) {
    if (index == 0) {
      box.run();
    } else if (index == 1) {
      require(post(0) == outcome::granted && post(2) == outcome::granted, "it went in");
      posted.unpark();
    } else {
      require(post(1) == outcome::granted && post(3) == outcome::granted, "it went in");
      posted.park();
      drain_and_end();
    }
  }
};

// Waiting for room, and closing.
struct room_and_close : strand_suite<room_and_close, 3, 2, 1> {
  penstock::detail::basic_parker<model_sync> posted;
  void thread(unsigned index) {
    if (index == 0) {
      box.run();
    } else if (index == 1) {
      expected = 0;
      for (int i = 0; i < 2; ++i) {
        const outcome how = post(i);
        require(how == outcome::granted || how == outcome::closed, "in or refused");
        expected += how == outcome::granted ? 1 : 0;
      }
      posted.unpark();
    } else {
      c->close();
      posted.park();
      drain_and_end();
    }
  }
};

// Nobody frees a place: closing alone ends the wait for one.
struct close_alone : strand_suite<close_alone, 2, 2, 1> {
  void thread(unsigned index) {
    if (index == 0) {
      expected = post(0) == outcome::granted ? 1 : 0;
      require(post(1) == outcome::closed, "refused");
      c->help_until([] { return false; });
      drain_and_end();
      box.run();
    } else {
      c->close();
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"strand", argc, argv};
  session.random<two_bring>("two bring and run");
  session.bounded<three_bring, 3>("three bring and run");
  session.random<drain_and_destroy>("drained, then destroyed");
  session.random<destroyed_behind_push>("destroyed behind a push");
  session.random<helped>("helped");
  session.random<helped_half_way>("helped half way");
  session.random<room>("waiting for room");
  session.random<close_alone>("close alone");
  session.random<room_and_close>("waiting for room and close");
  return session.result();
}
