// Calls that wait together for a run: none is forgotten, no two runs overlap, and a core that is closed calls nothing and leaves no timer.
// Every run writes plain data: an overlap is a data race, and so is a run that close() and wait_idle() did not wait for. Each cell is
// freed as soon as it has nothing to do, so touching it later fails, too.
#include "support/frame.hpp"
#include "support/model_timers.hpp"
#include "support/suite.hpp"

#include <penstock/rate/detail/paced_core.hpp>

namespace {

using model::mailbox;
using model::model_sync;
using model::require;
using model::scheduler;
using model::var;
using penstock::detail::nanoseconds_point;
using penstock::detail::pace_rules;
using penstock::detail::work_item;

enum class fate : int { open, ran, given_up };

struct one_call : penstock::detail::paced_node<one_call, model_sync> {
  one_call(int n, void (*come_home)(work_item&) noexcept) : argument{n} { this->run = come_home; }
  void add_owner() noexcept { owners.fetch_add(1, std::memory_order_relaxed); }
  void drop_owner() noexcept {
    if (owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  void decide(fate f) noexcept {
    require(outcome.load(std::memory_order_relaxed) == fate::open, "decided once");
    outcome.store(f, std::memory_order_release);
  }
  model::atomic<int> owners{1};
  model::atomic<fate> outcome{fate::open};
  var<int> argument;  // 0: dropped
};

using cell = penstock::detail::paced_cell<one_call, model_sync>;
struct freed {
  freed() = default;
  freed(const freed&) = delete;
  freed& operator=(cell* c) noexcept {
    require(what == nullptr, "one at a time");
    what = c;
    return *this;
  }
  ~freed() { delete what; }
  cell* what = nullptr;
};

struct test_state {
  var<int> ran{0};
  var<int> last{0};  // the argument of the last run
  var<bool> gone{false};
};

class core : public penstock::detail::paced_core<core, one_call, freed, model_sync, scheduler> {
 public:
  using base = penstock::detail::paced_core<core, one_call, freed, model_sync, scheduler>;

  core(scheduler where, model::timers& clock, const pace_rules& rules, std::size_t most, test_state& t)
      : base{where, clock, rules, most}, most_{most}, test_{t} {}
  ~core() {
    require(released_, "released before it goes");
    if (cell* const c = cell_) {
      this->clear(*c);
      delete c;
    }
  }

  static void come_home(work_item& item) noexcept {
    auto& n = static_cast<one_call&>(item);
    core& self = *static_cast<core*>(static_cast<cell*>(n.of)->core);
    const bool begins = self.begin(n);
    if (begins) self.run(n);
    self.end(n, begins);
  }

  // The caller's outcome, which it owns; null: closed.
  one_call* call_with(int argument, nanoseconds_point now) {
    auto* const fresh = new one_call{argument, &come_home};
    one_call* outcome = nullptr;
    consequences after;
    {
      std::scoped_lock guard{this->wait_lock()};
      if (!this->closed()) {
        if (cell_ == nullptr) {
          cell_ = new cell;
          this->adopt(*cell_);
        }
        outcome = this->call(*cell_, *fresh, now, false, after);
      }
    }
    if (outcome != nullptr) this->settle(after);
    fresh->drop_owner();
    return outcome;
  }
  void cancel_all() {
    consequences after;
    {
      std::scoped_lock guard{this->wait_lock()};
      if (cell* const c = cell_) {
        this->cancel(*c, after);
        this->plan(*c, this->now(), after);
      }
    }
    this->settle(after);
  }
  void flush_all() {
    consequences after;
    {
      std::scoped_lock guard{this->wait_lock()};
      if (cell* const c = cell_) this->flush(*c, this->now(), after);
    }
    this->settle(after);
  }
  void destroy() {
    this->close();
    this->wait_and_release();
    this->drop_owner();
  }

  void (*inside)(core&) = nullptr;     // what the function does
  var<void (*)(core&)> told{nullptr};  // what the first caller does who learns that it is given up

  void run(one_call& first) noexcept {
    const int argument = static_cast<one_call*>(first.latest)->argument;
    require(argument != 0, "the arguments are there");
    if (most_ == 1) {
      require(!test_.gone, "the core is there");
      test_.ran = test_.ran + 1;
      test_.last = argument;
    }
    if (inside != nullptr) inside(*this);
    static_cast<one_call*>(first.latest)->argument = 0;
  }
  void report(one_call&, bool) noexcept {}
  void publish(one_call& first) noexcept { first.decide(fate::ran); }
  void release() noexcept {
    require(!released_, "released once");
    released_ = true;
    if (cell* const c = cell_) this->clear(*c);
  }
  void give_up(one_call& first) noexcept {
    static_cast<one_call*>(first.latest)->argument = 0;
    first.decide(fate::given_up);
    if (void (*const now)(core&) = told) {
      told = nullptr;
      now(*this);
    }
  }
  void superseded(one_call& old) noexcept { old.argument = 0; }
  void retire(cell& c, freed& garbage) noexcept {
    garbage = &c;
    cell_ = nullptr;
  }
  template <class F>
  void for_each_cell(F&& f) noexcept {
    if (cell* const c = cell_) f(*c);
  }

 private:
  const std::size_t most_;
  test_state& test_;
  var<cell*> cell_{nullptr};
  var<bool> released_{false};
};

constexpr pace_rules debounce{.wait = 10};
constexpr pace_rules both_edges{.wait = 10, .leading = true};
constexpr pace_rules throttle{.wait = 10, .max_wait = 10, .spacing = 10, .leading = true};

template <class Derived, int Threads>
struct paced_suite : model::suite<Derived, Threads>, test_state {
  model::timers clock;
  mailbox box;
  core* c = nullptr;
  one_call* outcomes[3] = {};

  void make(const pace_rules& rules, mailbox* where = nullptr, std::size_t most = 1) {
    c = new core{scheduler{where}, clock, rules, most, *this};
  }
  void call(int i, nanoseconds_point now) { outcomes[i] = c->call_with(i + 1, now); }
  fate of(int i) { return outcomes[i]->outcome.load(std::memory_order_acquire); }
  void forget() {
    for (one_call*& n : outcomes) {
      if (n != nullptr) std::exchange(n, nullptr)->drop_owner();
    }
  }
  // Alone again: whatever is due some time comes.
  void all_ran(int calls) {
    clock.advance_to(500);
    clock.advance_to(1'000);
    for (int i = 0; i < calls; ++i) require(of(i) == fate::ran, "every call was taken account of");
    require(clock.none_pending(), "no timer is left");
    c->destroy();
    forget();
  }
  // The destruction that others race with.
  void destroy_and_mark() {
    c->destroy();
    gone = true;
  }
  void none_open() {
    for (one_call* n : outcomes)
      require(n == nullptr || n->outcome.load(std::memory_order_acquire) != fate::open, "everybody was told");
    require(clock.none_pending(), "no timer is left");
    forget();
  }
};

// Two call while the time comes.
template <const pace_rules& Rules>
struct call_call_fire : paced_suite<call_call_fire<Rules>, 3> {
  void before() { this->make(Rules); }
  void thread(unsigned index) {
    if (index == 2) {
      this->clock.advance_to(10);
    } else {
      this->call(static_cast<int>(index), 0);
    }
  }
  void after() { this->all_ran(2); }
};

// The time has stepped back: the timer is set for earlier, by two at once, while it fires.
struct set_back : paced_suite<set_back, 3> {
  void before() {
    make(debounce);
    call(0, 100);
  }
  void thread(unsigned index) {
    if (index == 2) {
      clock.advance_to(110);
    } else {
      call(static_cast<int>(index) + 1, static_cast<int>(index) * 20);
    }
  }
  void after() { all_ran(3); }
};

// A run is due while another one runs elsewhere, where two threads could run both: it begins when that one has ended, without anybody's help.
struct elsewhere : paced_suite<elsewhere, 3> {
  void before() {
    make(both_edges, &box);
    call(0, 0);
    call(1, 0);
  }
  void thread(unsigned index) {
    if (index < 2) {
      box.run();
      box.close();  // a signal wakes one
    } else {
      clock.advance_to(10);
      box.close();
    }
  }
  void after() {
    clock.advance_to(20);
    box.run();
    require(ran == 2 && last == 2, "both, the later one last");
    all_ran(2);
  }
};

// The run is on its way, or runs on another thread, when it is cancelled and destroyed.
struct cancel_destroy : paced_suite<cancel_destroy, 3> {
  penstock::detail::basic_parker<model_sync> cancelled;
  void before() { make(both_edges, &box); }
  void thread(unsigned index) {
    if (index == 0) {
      box.run();
    } else if (index == 1) {
      c->cancel_all();
      cancelled.unpark();
    } else {
      call(0, 0);
      call(1, 0);
      clock.advance_to(10);
      cancelled.park();
      destroy_and_mark();
      box.close();
    }
  }
  void after() { none_open(); }
};

// The time comes while it is destroyed; the run happens in the thread that moves the time.
struct fire_destroy : paced_suite<fire_destroy, 2> {
  void before() {
    make(debounce);
    call(0, 0);
  }
  void thread(unsigned index) {
    if (index == 0) {
      clock.advance_to(10);
    } else {
      destroy_and_mark();
    }
  }
  void after() { none_open(); }
};

// The function calls itself while it is destroyed: a timer may be set just then.
struct call_inside_destroy : paced_suite<call_inside_destroy, 2> {
  one_call* inner = nullptr;
  void before() {
    make(debounce, &box);
    c->inside = [](core& self) {
      if (one_call* const n = self.call_with(9, self.now())) n->drop_owner();
    };
    call(0, 0);
    clock.advance_to(10);
  }
  void thread(unsigned index) {
    if (index == 0) {
      box.run();
    } else {
      destroy_and_mark();
      box.close();
    }
  }
  void after() { none_open(); }
};

// The function destroys it, while somebody else moves the time.
struct destroyed_inside : paced_suite<destroyed_inside, 2> {
  void before() {
    make(throttle, &box);
    c->inside = [](core& self) {
      self.close();
      self.release_at_end();
      self.drop_owner();
    };
    call(0, 0);
    call(1, 0);
  }
  void thread(unsigned index) {
    if (index == 0) {
      box.close();
      box.run();
    } else {
      clock.advance_to(10);
    }
  }
  void after() { none_open(); }
};

// Who learns that its call was cancelled destroys it, while others are still to be told and the run may have begun.
struct destroyed_when_told : paced_suite<destroyed_when_told, 2> {
  void before() {
    make(both_edges, &box);
    c->told = [](core& self) { self.destroy(); };
    call(0, 0);
    call(1, 0);
  }
  void thread(unsigned index) {
    if (index == 0) {
      box.close();
      box.run();
    } else {
      c->cancel_all();
      gone = true;
    }
  }
  void after() { none_open(); }
};

// Two run at a time; destruction waits for both, and the last to end wakes it.
struct overlap : paced_suite<overlap, 3> {
  void before() {
    make(debounce, &box, 2);
    call(0, 0);
    clock.advance_to(10);
    call(1, 10);
    clock.advance_to(20);
  }
  void thread(unsigned index) {
    if (index < 2) {
      box.run();
      box.close();  // a signal wakes one
    } else {
      destroy_and_mark();
      box.close();
    }
  }
  void after() { none_open(); }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"paced", argc, argv};
  session.random<call_call_fire<debounce>>("debounce: two calls and the timer");
  session.random<call_call_fire<throttle>>("throttle: two calls and the timer");
  session.random<set_back>("the timer is set for earlier");
  session.random<elsewhere>("runs elsewhere");
  session.random<cancel_destroy>("cancel, then destroy");
  session.random<fire_destroy>("fire and destroy");
  session.random<call_inside_destroy>("called inside and destroyed");
  session.random<destroyed_inside>("destroyed inside");
  session.random<destroyed_when_told>("destroyed by who is told");
  session.random<overlap>("two at a time, destroyed");
  return session.result();
}
