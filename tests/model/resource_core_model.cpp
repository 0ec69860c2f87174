// The heart of resource_pool, as threads use it: resources that come back, break, are made here or elsewhere, waits that are stopped, and the end.
#include "support/model_timers.hpp"
#include "support/suite.hpp"

#include <memory>

#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/detail/polling.hpp>

// The mutex of the core has a model of its own (parker_model.cpp). Here it is relacy's, which is one step.
template <>
class penstock::detail::polled_mutex<model::model_sync> : public model::mutex {};

#include <penstock/pool/detail/resource_core.hpp>

namespace {

using model::model_sync;
using model::require;
using model::stop_token;
using model::var;
using penstock::detail::nanoseconds_point;
using penstock::detail::outcome;
using core = penstock::detail::resource_core<model_sync>;
using wait = penstock::detail::blocking_wait<core, core::request>;

struct connection : core::slot {
  var<int> used{0};  // by one at a time
};

// Makes its resources on the spot: on the thread of who acquires, or, in the background, on that of who found that one is needed.
struct pool : core {
  pool(const penstock::detail::resource_terms& t, model::timers& timers) : core{t, timers, 1} {}

  nanoseconds_point time() const noexcept override { return model::the_world.time; }
  void run_here(request& r) noexcept override {
    r.reserved = false;
    connect(&r);
  }
  void begin_connect() noexcept override { connect(nullptr); }
  void begin_check(slot&) noexcept override {}
  void destroy(slot& s) noexcept override { delete &static_cast<connection&>(s); }
  bool destroy_elsewhere(slot&) noexcept override { return false; }
  void report_leak(const std::source_location&, std::int64_t) noexcept override {}

  void connect(request* mine) noexcept {
    auto* const s = new connection;
    enlist(*s);
    const bool ok = down == 0;
    if (!ok) --down;
    s->built = ok;
    finished(s, ok, nullptr, mine, time());
  }
  outcome acquire(connection*& got, const stop_token& stop = {}, nanoseconds_point until = penstock::detail::never) {
    if (slot* const s = take_from_lane()) {
      got = static_cast<connection*>(s);
      ++served;
      return outcome::granted;
    }
    wait w{*this, borrower{}};
    const outcome how = w.run(stop, until);
    if (how != outcome::granted) return how;
    got = static_cast<connection*>(static_cast<slot*>(w.got));
    ++served;
    return how;
  }
  void give_back(connection& c, bool broken = false) {
    if (broken || !rest_on_lane(c)) release(c, 0, broken);
  }
  void end() {
    close();
    penstock::detail::blocking_wait<penstock::detail::basic_join<model_sync>, penstock::detail::plain_node<model_sync>>{live()}
        .run();
    stop_timer();
  }

  std::uint64_t served = 0;  // leases; for the checks at the end
  int down = 0;              // how many connects fail first; one is under way at a time
};

template <class Derived, int Threads, bool Background>
struct pool_suite : model::suite<Derived, Threads> {
  model::timers timers;
  std::unique_ptr<pool> p;
  connection* held = nullptr;

  void before() {
    model::the_world.polls = 0;
    p = std::make_unique<pool>(
        // In the background without a lane.
        penstock::detail::resource_terms{
            .max_size = 1, .max_waiters = 9, .max_connecting = 2, .lifo = !Background, .background = Background},
        timers);
  }
  void hold() { require(p->acquire(held) == outcome::granted, "the first one"); }
  void use(bool discard = false) {
    connection* c = nullptr;
    require(p->acquire(c) == outcome::granted, "granted");
    c->used = c->used + 1;  // a data race if two have it
    p->give_back(*c, discard);
  }
  void after() {
    const penstock::resource_pool_stats s = p->stats();
    require(s.in_use == 0 && s.connecting == 0 && s.waiting == 0, "nobody has anything, or waits");
    require(s.created == s.idle + s.discarded.total(), "no resource was lost");
    require(s.acquired == p->served, "each lease was counted once");
    p->end();
    p.reset();
    require(timers.none_pending(), "no timer is left");
  }
};

// Everybody uses the only one; it comes back at once, or breaks.
template <bool Background>
struct exclusive : pool_suite<exclusive<Background>, 3, Background> {
  void thread(unsigned index) { this->use(index == 1); }
};
// The only one comes back (or breaks) while one of those who wait for it is stopped, or late.
template <bool Background, bool Breaks, bool Late>
struct giving_up : pool_suite<giving_up<Background, Breaks, Late>, 3, Background> {
  model::stop_state stop;

  void before() {
    pool_suite<giving_up, 3, Background>::before();
    this->hold();
  }
  void thread(unsigned index) {
    if (index == 0) {
      connection* c = nullptr;
      const outcome how = Late ? this->p->acquire(c, {}, 100) : this->p->acquire(c, stop_token{stop});
      if (how == outcome::granted) this->p->give_back(*c);
    } else if (index == 1) {
      this->use();
    } else {
      this->p->give_back(*this->held, Breaks);
      if (!Late) stop.request_stop();
    }
  }
};

// A connect fails; the timer lets the next attempt begin, by who is first in line by then.
template <bool Background>
struct attempt : pool_suite<attempt<Background>, 3, Background> {
  model::stop_state stop;

  void before() {
    pool_suite<attempt, 3, Background>::before();
    this->p->down = 1;
  }
  void thread(unsigned index) {
    if (index == 0) {
      connection* c = nullptr;
      if (this->p->acquire(c, stop_token{stop}) == outcome::granted) this->p->give_back(*c);
    } else if (index == 1) {
      this->use();
    } else {
      for (bool stopped = false; this->p->stats().created == 0; model_sync::yield()) {
        this->timers.advance_to(model::the_world.time + 2'000'000);
        if (!stopped && this->p->stats().connect_failures != 0) {
          stopped = true;
          stop.request_stop();
        }
      }
    }
  }
};

// Closed while one waits and one comes; what is leased is destroyed when it comes back. Then the pool goes, behind the last release.
template <bool Background>
struct closing : pool_suite<closing<Background>, 3, Background> {
  void before() {
    pool_suite<closing, 3, Background>::before();
    this->hold();
  }
  void thread(unsigned index) {
    if (index == 0) {
      connection* c = nullptr;
      const outcome how = this->p->acquire(c);
      if (how == outcome::granted) this->p->give_back(*c);
      require(how == outcome::granted || how == outcome::closed, "served, or told");
    } else if (index == 1) {
      this->p->give_back(*this->held);
    } else {
      this->p->close();
    }
  }
};
// Nobody who comes after an eviction gets what was there before, wherever that is.
struct evicted : pool_suite<evicted, 2, false> {
  void thread(unsigned index) {
    if (index == 0) {
      use();
      use();
    } else {
      p->evict_all();
      connection* c = nullptr;
      require(p->acquire(c) == outcome::granted, "granted");
      require(c->generation == 1, "made after the eviction");
      p->give_back(*c);
    }
  }
};
struct ending : pool_suite<ending, 2, false> {
  void before() {
    pool_suite<ending, 2, false>::before();
    hold();
  }
  void thread(unsigned index) {
    if (index == 0) {
      p->give_back(*held);
    } else {
      p->end();
      p.reset();
    }
  }
  void after() {}
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"resource_core", argc, argv};
  session.random<exclusive<false>>("here: everybody uses the only one");
  session.random<exclusive<true>>("background: everybody uses the only one");
  session.random<giving_up<false, true, false>>("here: it breaks, and who waits is stopped");
  session.random<giving_up<true, false, false>>("background: it comes back, and who waits is stopped");
  session.random<giving_up<false, true, true>>("here: it breaks, and who waits is late");
  session.random<attempt<false>>("here: the next attempt");
  session.random<closing<false>>("here: close");
  session.random<evicted>("here: evicted");
  session.random<ending>("destroyed behind the last release");
  return session.result();
}
