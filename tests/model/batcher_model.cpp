// Single flight: loaders of a key share its load, give up, clear it, and see it fail; batches run one at a time, on the thread that makes them due
// or on an executor's; the end waits for all of it. The batch function writes plain data: two batches at a time, or one that its callers or the end
// do not see whole, are data races. A flight is freed with its last owner, and so is the core.
#include "support/frame.hpp"
#include "support/model_timers.hpp"
#include "support/suite.hpp"

#include <array>

#include <penstock/batch/detail/batcher_core.hpp>

// The mutex has a model of its own (parker_model.cpp). Here it is relacy's, which is one step.
template <>
class penstock::detail::polled_mutex<model::model_sync> : public model::mutex {};
// What is thread_local belongs to the one real thread, which all of the model's share.
template <>
struct penstock::detail::batch_thread<model::model_sync> {
  struct turn {};
  static bool busy() noexcept { return false; }
  static bool run_one() noexcept { return false; }
  static void wait(basic_one_shot<model::model_sync>& end) noexcept {
    blocking_wait<basic_one_shot<model::model_sync>, plain_node<model::model_sync>>{end}.run();
  }
};

namespace {

using model::mailbox;
using model::model_sync;
using model::require;
using model::stop_token;
using model::var;
using penstock::errc;
using penstock::detail::never;
using penstock::detail::outcome;
using penstock::detail::waiter_kind;
using penstock::detail::work_item;

struct value {
  explicit value(int n) : number{n} {}
  value(value&& other) noexcept : number{static_cast<int>(other.number)} {}
  value(const value& other) : number{static_cast<int>(other.number)} {}
  var<int> number;
};

constexpr int worker = 0;  // the thread that is one of the executor's
struct executor {
  mailbox* to = nullptr;  // null: any thread
  void execute(work_item& item) const noexcept { to != nullptr ? to->execute(item) : item.run(item); }
  bool is_inline() const noexcept { return to == nullptr; }
  bool running_here() const noexcept { return to == nullptr || rl::ctx().current_thread() == worker; }
};

using core = penstock::detail::batcher_core<int, value, std::hash<int>, std::equal_to<>, model_sync, executor>;
using flight = core::flight_type;
using options = core::options_type;
using ref = penstock::detail::state_ref<flight>;
using end_wait =
    penstock::detail::blocking_wait<penstock::detail::basic_one_shot<model_sync>, penstock::detail::plain_node<model_sync>>;

constexpr int failed = -1;
constexpr int given_up = -2;

template <class Derived, int Threads>
struct batcher_suite : model::suite<Derived, Threads> {
  model::timers clock;
  mailbox box;
  core* c = nullptr;
  model::atomic<int> version{1};  // of what is loaded
  model::atomic<int> failing{0};  // batches that are to fail
  model::atomic<int> left{0};
  var<int> batches{0};
  std::array<var<int>, 3> loaded;  // how often each key was

  void make(options&& o = {}, bool on_the_box = false) {
    for (var<int>& n : loaded) n = 0;
    auto run = [this](core& self, flight* first, std::size_t n) noexcept { process(self, first, n); };
    c = new core{executor{on_the_box ? &box : nullptr}, std::move(run), std::move(o), &clock};
  }
  void process(core& self, flight* first, std::size_t n) {
    batches = batches + 1;
    const int now = version.load(std::memory_order_acquire);
    const bool fails = failing.load(std::memory_order_acquire) != 0;
    if (fails) failing.store(0, std::memory_order_release);  // one batch at a time
    flight* all[4];
    for (std::size_t i = 0; i < n; ++i, first = first->after) {
      for (std::size_t j = 0; j < i; ++j) require(all[j]->key != first->key, "no key is in a batch twice");
      all[i] = first;
      var<int>& times = loaded[static_cast<std::size_t>(first->key)];
      times = times + 1;
      if (fails) {
        first->failed = errc::rejected;
      } else {
        first->emplace(first->key * 10 + now);
      }
    }
    self.land({all, n}, fails, true);
    self.gone();
  }
  ref join(int key, bool held = true) {
    std::error_code why;
    return ref{c->join(key, {.held = held}, why)};
  }
  static int outcome_of(flight& f) { return f.failed ? failed : static_cast<int>(f.peek().number); }
  static int get(flight& f) {
    f.assist(waiter_kind::thread);
    require(end_wait{f.ready()}.run() == outcome::granted, "told");
    return outcome_of(f);
  }
  int load(int key) {
    const ref f = join(key);
    return get(*f);
  }
  int load(int key, model::stop_state& stop) {
    std::error_code why;
    flight* const f = c->join(key, {.held = false}, why);
    end_wait waits{f->ready()};
    if (waits.run(stop_token{stop}, never) != outcome::granted) {
      c->abandon(*f);
      return given_up;
    }
    const ref mine{f};
    return outcome_of(*f);
  }
  bool last_of(int n) { return left.fetch_add(1, std::memory_order_acq_rel) + 1 == n; }
  void destroy() {
    c->close();
    c->wait();
    c->drop_owner();
  }
};

// Nobody is left in line by one who thinks that another one will come for it.
struct loads : batcher_suite<loads, 3> {
  void before() { make(); }
  void thread(unsigned index) {
    const int key = index == 2 ? 2 : 1;
    require(load(key) == key * 10 + 1, "the value of the key");
  }
  void after() {
    const auto s = c->stats();
    require(s.loads == 3 && s.keys + s.shared == 3, "each load is a key of a batch, or shares one");
    require(loaded[1] + loaded[2] == static_cast<int>(s.keys) && loaded[2] == 1, "each key as often as is said");
    destroy();
  }
};

// One gives up; another one who wants the same key stays, or gives up, too.
struct giving_up : batcher_suite<giving_up, 4> {
  model::stop_state stop;
  var<int> got[2] = {var<int>{0}, var<int>{0}};

  void before() { make({}, true); }
  void thread(unsigned index) {
    if (index == 2) return void(stop.request_stop());
    if (index == 3) return box.run();
    if (index == 1 && rl::rand(2) == 0) {
      got[1] = load(1);
      require(got[1] == 11, "who stays is not concerned");
    } else {
      got[index] = load(1, stop);
      require(got[index] == 11 || got[index] == given_up, "the value or nothing");
    }
    if (last_of(2)) box.close();
  }
  void after() {
    const auto s = c->stats();
    require(s.loads == 2 && s.waiting == 0 && s.keys + s.abandoned + s.shared == 2, "each is accounted for");
    require(loaded[1] == static_cast<int>(s.keys), "what was dropped was not loaded");
    destroy();
  }
};

// Who asks after clear() gets what is loaded after it; a batch that failed is nobody's answer later.
struct clearing : batcher_suite<clearing, 2> {
  void before() {
    failing = 1;
    make({.cache = {.max_entries = 4, .negative_ttl = std::chrono::nanoseconds::max()}});
  }
  void thread(unsigned index) {
    if (index == 1) {
      version.store(2, std::memory_order_release);
      c->clear(1);
    }
    int got = load(1);
    if (got == failed) got = load(1);
    require(got == 12 || (index == 0 && got == 11), "not what was cleared");
  }
  void after() {
    if (const ref known{c->look(1)}) require(outcome_of(*known) == 12, "what was cleared is not remembered");
    destroy();
  }
};

// A load against the end. Who was let in is told before the end is over; who looks at its flight later may find the core gone.
struct closing : batcher_suite<closing, 3> {
  ref mine;
  model::atomic<bool> let_in{false};

  void before() { make({}, true); }
  void thread(unsigned index) {
    if (index == 2) return box.run();
    if (index == 0) {
      mine = join(1);
      if (mine) let_in.store(true, std::memory_order_release);
      if (last_of(2)) c->drop_owner();
      if (mine) require(get(*mine) == 11, "the value");
    } else {
      c->close();
      c->wait();
      if (let_in.load(std::memory_order_acquire)) require(mine->ready().is_set() && batches == 1, "it was told");
      box.close();
      if (last_of(2)) c->drop_owner();
    }
  }
  void after() { mine = {}; }
};

// A thread of the executor that waits runs the batch, and the runner that was sent for it comes in vain, or for another key.
struct helping : batcher_suite<helping, 3> {
  void before() { make({.max_batch_size = 1}, true); }
  void thread(unsigned index) {
    if (index == 2) return box.run();
    const int key = index == worker ? 1 : 2;
    require(load(key) == key * 10 + 1, "the value of the key");
    if (last_of(2)) box.close();
  }
  void after() {
    require(loaded[1] == 1 && loaded[2] == 1 && batches == 2, "each once");
    destroy();
  }
};

options windowed() { return {.max_delay = std::chrono::nanoseconds{10}}; }

// Two keys, and the time of the first one comes.
struct window : batcher_suite<window, 3> {
  ref f[2];
  void before() { make(windowed()); }
  void thread(unsigned index) {
    if (index == 2) {
      clock.advance_to(10);
    } else {
      f[index] = join(static_cast<int>(index) + 1);
    }
  }
  void after() {
    clock.advance_to(25);
    for (ref& r : f) {
      require(r->ready().is_set(), "it left when its time had come");
      r = {};
    }
    require(clock.none_pending(), "no timer is left");
    destroy();
  }
};

// The timer fires for a key that has been dropped, and is set again for another one, while the batcher is destroyed.
struct window_destroyed : batcher_suite<window_destroyed, 2> {
  ref kept;
  void before() {
    make(windowed());
    std::error_code why;
    flight* const dropped = c->join(1, {.held = false}, why);
    clock.advance_to(5);
    kept = join(2);
    c->abandon(*dropped);
  }
  void thread(unsigned index) {
    if (index == 0) {
      clock.advance_to(10);
    } else {
      destroy();
      require(kept->ready().is_set() && batches == 1, "told");
    }
  }
  void after() {
    require(clock.none_pending(), "no timer is left");
    kept = {};
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"batcher", argc, argv};
  session.random<loads>("loads");
  session.random<giving_up>("giving up");
  session.random<clearing>("clear and failure");
  session.random<closing>("load and close");
  session.random<helping>("a worker that waits");
  session.random<window>("window: two loads and the timer");
  session.random<window_destroyed>("window: destroyed");
  return session.result();
}
