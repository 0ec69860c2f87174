// A shard of a keyed_limiter: one line for all its keys, and the one timer of that line (line_alarm.hpp), which any thread may have to move.
#include "support/frame.hpp"
#include "support/model_timers.hpp"
#include "support/suite.hpp"

#include <penstock/rate/detail/keyed_shard.hpp>

namespace {

using model::deadline;
using model::frame;
using model::model_sync;
using model::require;
using model::stop_token;
using penstock::rate;
using penstock::detail::bucket_terms;
using penstock::detail::outcome;
using std::chrono::nanoseconds;

struct model_clock {
  std::int64_t now() const noexcept { return model::the_world.time; }
  model::timers& timers() const noexcept { return *timers_; }

  model::timers* timers_;
};

using shard = penstock::detail::keyed_shard<int, std::equal_to<>, model_clock, model_sync>;
using wait = penstock::detail::blocking_wait<shard, shard::request>;

// One token in ten. Both keys have used up their burst when the threads begin.
template <class Derived, int Threads>
struct shard_suite : model::suite<Derived, Threads> {
  static constexpr int ann = 1;
  static constexpr int bob = 2;

  model::timers timers;
  penstock::detail::key_memory<int> memory{1, 4};
  shard* keys = nullptr;
  model::stop_state stop;
  model::atomic<int> ends{0};

  static std::uint64_t hash_of(int key) { return static_cast<std::uint64_t>(key) << 33; }

  void make(std::int64_t burst) {
    keys = new shard{memory,
                     0,
                     model_clock{&timers},
                     penstock::keyed_overflow::shared,
                     bucket_terms::make(rate{1, nanoseconds{10}}, burst, "model"),
                     {}};
    require(take(ann, burst) && take(bob, burst), "there are that many");
  }
  void before() { make(1); }
  bool take(int key, std::int64_t n = 1) { return keys->take(key, hash_of(key), n, true).how == outcome::granted; }

  // As keyed_limiter::acquire().
  outcome acquire(int key, std::int64_t n = 1, const stop_token& token = {}) {
    const auto a = keys->take(key, hash_of(key), n, false);
    if (a.how != outcome::pending) return a.how;
    keys->look_by(a.look_at);
    wait w{*keys, &key, hash_of(key), n};
    return w.run_without_polling(token, deadline{});
  }
  void acquired(int key, std::int64_t n = 1) { require(acquire(key, n) == outcome::granted, "acquired"); }
  std::int64_t available(int key) {
    return keys->look_at(key, hash_of(key), [](const auto& account, const auto& terms, std::int64_t now, std::int64_t) {
      return account.available(terms, now);
    });
  }
  void give_up() {
    delete keys;
    keys = nullptr;
  }
  void after() {
    if (keys != nullptr) {
      penstock::keyed_limiter_stats s;
      keys->add_to(s);
      require(s.waiters == 0, "the line is empty");
      give_up();
    }
    require(timers.none_pending(), "no timer is left");
  }
};

// The timer serves a thread, which destroys the limiter while the timer's function may still be on its way out.
struct timer_serves : shard_suite<timer_serves, 2> {
  void thread(unsigned index) {
    if (index == 0) {
      acquired(ann);
      require(model::the_world.time >= 10, "not before its time");
      give_up();
    } else {
      timers.advance_to(10);
    }
  }
};

// The same with a frame: it may be resumed, and destroy the limiter, inside the timer's function.
struct frame_destroys : shard_suite<frame_destroys, 2> {
  using waiting = frame<shard, shard::owning_request, frame_destroys>;
  void thread(unsigned index) {
    if (index == 0) {
      waiting::begin(*this, {}, {}, {}, *keys, keys, int{ann}, hash_of(ann), 1);
    } else {
      timers.advance_to(10);
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted, "granted");
    give_up();
    ends.fetch_add(1);
  }
  void after() {
    require(ends.load() == 1, "it ended, once");
    shard_suite::after();
  }
};

// Two keys' waiters, one of whom needs the timer earlier than the other, in any order; the other one waits for the end of that.
struct two_keys : shard_suite<two_keys, 3> {
  void before() { make(2); }
  void thread(unsigned index) {
    if (index == 0) {
      acquired(ann, 2);
    } else if (index == 1) {
      acquired(bob);
      timers.advance_to(20);
    } else {
      timers.advance_to(10);
    }
  }
  void after() {
    require(available(ann) == 0 && available(bob) == 1, "no token was lost or made");
    shard_suite::after();
  }
};

// Two wait for the same key: the first is stopped, and the one behind it, who needs less, has its turn in time.
struct head_stopped : shard_suite<head_stopped, 3> {
  void before() { make(2); }
  void thread(unsigned index) {
    if (index == 0) {
      require(acquire(ann, 2, stop_token{stop}) == outcome::cancelled, "cancelled");
    } else if (index == 1) {
      acquired(ann);
    } else {
      if (rl::rand(2) == 0) timers.advance_to(10);
      stop.request_stop();
      timers.advance_to(10);
    }
  }
  void after() {
    require(available(ann) == 0, "no token was lost or made");
    shard_suite::after();
  }
};

// A token comes back, and all keys get a higher rate, while somebody takes its place in line and arms the timer for later.
struct earlier : shard_suite<earlier, 3> {
  void before() { make(2); }
  void thread(unsigned index) {
    if (index == 0) {
      acquired(ann, 2);
    } else if (index == 1) {
      keys->look_at(ann, hash_of(ann),
                    [](auto& account, const auto& terms, std::int64_t now, std::int64_t) { account.give_back(terms, now, 1); });
      keys->refresh();
    } else {
      keys->set_terms(bucket_terms::make(rate{1, nanoseconds{5}}, 2, "model"));
      timers.advance_to(5);
    }
  }
  void after() {
    require(available(ann) == 0, "no token was lost or made");
    shard_suite::after();
  }
};

// A frame with a deadline at the very time of its grant, and a thread behind it.
struct at_the_deadline : shard_suite<at_the_deadline, 3> {
  using waiting = frame<shard, shard::owning_request, at_the_deadline>;
  model::atomic<int> granted{0};

  void before() { make(2); }
  void thread(unsigned index) {
    if (index == 0) {
      waiting::begin(*this, {}, deadline{10, timers}, {}, *keys, keys, int{ann}, hash_of(ann), 1);
    } else if (index == 1) {
      acquired(ann);
    } else {
      timers.advance_to(10);
      timers.advance_to(20);
    }
  }
  void ended(outcome how) {
    require(how == outcome::granted || how == outcome::timeout, "granted or timed out");
    if (how == outcome::granted) granted.fetch_add(1, std::memory_order_relaxed);
    ends.fetch_add(1);
  }
  void after() {
    require(ends.load() == 1, "it ended, once");
    require(granted.load() + 1 + available(ann) == 2, "no token was lost or made");
    shard_suite::after();
  }
};

// The timer is armed for somebody who has left, and is moved on for the one who waits now; who is stopped meanwhile, and destroys the limiter.
struct stopped_then_destroyed : shard_suite<stopped_then_destroyed, 3> {
  void before() {
    make(2);
    keys->look_by(10);
  }
  void thread(unsigned index) {
    if (index == 0) {
      require(acquire(ann, 2, stop_token{stop}) == outcome::cancelled, "cancelled");
      give_up();
    } else if (index == 1) {
      stop.request_stop();
    } else {
      timers.advance_to(10);
    }
  }
};

// close() against who takes a place in line. Nobody moves the clock.
struct closes : shard_suite<closes, 3> {
  void thread(unsigned index) {
    if (index == 2) {
      keys->close();
    } else {
      require(acquire(index == 0 ? ann : bob) == outcome::closed, "closed");
    }
  }
  void after() {
    timers.advance_to(20);
    shard_suite::after();
  }
};

// While somebody waits for a key, nobody who comes later takes anything of it.
struct nobody_overtakes : shard_suite<nobody_overtakes, 2> {
  void before() { make(2); }
  void thread(unsigned index) {
    if (index == 0) {
      acquired(ann, 2);
    } else {
      timers.advance_to(10);
      penstock::keyed_limiter_stats s;
      keys->add_to(s);
      if (s.waiters == 1) require(!take(ann), "the one in line comes first");
      timers.advance_to(20);
      timers.advance_to(30);
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  model::session session{"keyed", argc, argv};
  session.random<timer_serves>("the timer serves a thread, then destroyed");
  session.random<frame_destroys>("the timer serves a frame, then destroyed");
  session.random<two_keys>("two keys");
  session.random<head_stopped>("the first in line is stopped");
  session.random<earlier>("refund and a higher rate");
  session.random<at_the_deadline>("a deadline at the time of the grant");
  session.random<stopped_then_destroyed>("stopped, then destroyed");
  session.random<closes>("acquire and close");
  session.random<nobody_overtakes>("nobody overtakes");
  return session.result();
}
