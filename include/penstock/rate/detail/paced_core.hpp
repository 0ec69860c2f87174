// penstock/rate/detail/paced_core.hpp: calls that wait together for a run, its timer, and at the most so many runs at a time.
//
// A *cell* paces one sequence of calls: a debounce has one, a keyed debounce one for each key. Each call brings a node with its arguments.
// The first call that waits for a run gives the *outcome*: its node is what all those who join share; the latest gives the arguments. When the run
// is due and there is a place (`max_running`), the node is *sent* to the scheduler; it *begins* there, unless it was cancelled on the way,
// and is home when it has ended. While there is no place the calls wait on, and others join them.
//
// Lock        lock_ guards the core and all its cells: what is decided under it is paced_state.hpp's part. Nothing of a user runs under it: what a change asks for (nodes to send, to give up, to
//             drop; timers to set) is noted in `consequences` and done after unlocking.
// Timer       one a cell, set to the earliest time at which something is to be done. Calls do not touch it when they put the run off: it fires,
//             looks, and is set anew. Who sets it has the role `setting`, so adding and removing never overlap; a thread that finds the role
//             taken leaves its wish in `wanted`. A timer that fires meanwhile leaves a note in `fired`. (On a context that runs what it is
//             given at once, a time that has come already runs the function within this role: wishes of others wait for its end.)
// Closing     forbids everything, gives up what has not begun, removes the timers, and waits for those that run. Who set a timer looks again
//             whether it was closed meanwhile, and removes it then; so none is left whoever was faster. A node that comes home later finds the
//             core closed, and touches neither the clock nor the timers: they may be gone.
// Lifetime    the core is counted: its handle is an owner, and each node from when it is sent until it is home; so is a timer's function while it
//             runs. A cell lives while anything of it is out: waiting, sent, running, its timer set.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/rate/detail/call_pace.hpp>
#include <penstock/rate/detail/paced_cell.hpp>
#include <penstock/rate/detail/paced_state.hpp>

namespace penstock::inline v0_1::detail {

/// `Derived` has, all noexcept:
///   run(Node& first)          calls the function with the arguments of first.latest; the outcome goes to `first`, unpublished
///   report(Node& first, bool wanted)    a failure that nobody looks at goes to the user's handler, as part of the run
///   publish(Node& first)      lets its callers see it, if there are any. May run their code
///   release()                 drops what is the user's: the function, and of each cell what clear() drops. Nothing runs any more
///   give_up(Node& first)      they get errc::cancelled, and the arguments are dropped
///   superseded(Node& old)     its arguments are dropped
///   retire(cell&, garbage&)   under the lock: the cell has nothing to do. Moves it there, or keeps it
///   for_each_cell(f)
template <class Derived, class Node, class Garbage, class Sync, class Scheduler>
class paced_core : public gate<paced_core<Derived, Node, Garbage, Sync, Scheduler>, Sync>,
                   public paced_state<Derived, Node, Garbage, Sync> {
  using state = paced_state<Derived, Node, Garbage, Sync>;

 public:
  using typename state::cell;
  using typename state::consequences;
  using timers = basic_timer_queue<Sync>;

  /// Born with one owner.
  paced_core(Scheduler where, timers& clock, const pace_rules& rules, std::size_t max_running) noexcept
      : state{rules, max_running}, where_{std::move(where)}, timers_{clock}, owners_{1}, busy_{0}, running_{0} {}

  void add_owner() noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }  // relaxed: the caller is an owner
  void drop_owner() noexcept {
    // release: what this owner did is done; acquire: pairs with it, for the last one destroys
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete static_cast<Derived*>(this);
  }

  /// Before anything else of a cell.
  void adopt(cell& c) noexcept {
    c.core = static_cast<Derived*>(this);
    c.fire = [](timer_entry<Sync>& self) noexcept {
      auto& of = static_cast<cell&>(self);
      static_cast<Derived*>(of.core)->fired(of);
    };
  }

  void settle(consequences& after) noexcept {
    const Scheduler where = where_;
    // What is told, dropped or fires may destroy the handle; a node that is sent owns the core itself.
    const bool holds =
        after.to_give_up != nullptr || after.superseded != nullptr || after.dropped != nullptr || after.to_set != nullptr;
    if (holds) add_owner();
    while (Node* const n = after.to_give_up) {
      after.to_give_up = n->following;
      derived().give_up(*n);
      drop_latest(*n);
      n->drop_owner();
    }
    if (Node* const n = std::exchange(after.superseded, nullptr)) {
      derived().superseded(*n);
      n->drop_owner();
    }
    drop(after);
    // Timers before runs, which may be called right here, take long, and destroy the handle.
    while (cell* const c = std::exchange(after.to_set, nullptr)) {
      after.to_set = c->next_to_set;
      set_timer(*c);
    }
    if (holds) drop_owner();
    while (work_item* const item = after.to_send.pop_front()) where.execute(*item);
  }

  /// Of a node that comes home. False: it was cancelled on the way.
  bool begin(Node& n) noexcept {
    if (!take(n)) return false;
    if (this->rules().spacing != 0) begin_spacing(*n.of);
    return true;
  }

  /// The node is home; nothing of it, nor of the core unless the caller owns it, is to be touched afterwards.
  void end(Node& n, bool began) noexcept {
    if (began) report(n);
    bool busy = began;
    {
      consequences after;
      {
        std::scoped_lock guard{this->lock_};
        cell& c = *n.of;
        if (began)
          running_.store(running_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);  // relaxed: under lock_
        c.out = c.out - 1;
        if (!this->closed() && !busy) {  // destruction waits while this may touch the timers
          busy = true;
          add_busy();
        }
        this->plan(c, c.seen, after);  // what has become due since then is the timer's
      }
      settle(after);
    }
    if (began) {
      derived().publish(n);
      drop_latest(n);
      std::scoped_lock guard{this->lock_};
      this->leave_line(n);
    }
    n.drop_owner();
    if (busy) drop_busy();
    drop_owner();
  }

  /// Nothing begins any more, and no timer is set.
  void close() noexcept {
    consequences after;
    {
      std::scoped_lock guard{this->lock_};
      this->close_state();
      derived().for_each_cell([&](cell& c) { this->cancel(c, after); });
    }
    settle(after);
    derived().for_each_cell([&](cell& c) { timers_.remove(c); });  // none comes or goes: it is closed
  }
  /// After close(): waits for those that run, then drops what is the user's.
  void wait_and_release() noexcept {
    blocking_wait<paced_core, plain_node<Sync>>{*this}.run();
    derived().release();
  }
  /// The same, left to the last one that runs: who asks is one of them.
  void release_at_end() noexcept {
    std::scoped_lock guard{this->lock_};
    orphaned_ = true;
  }
  [[nodiscard]] nanoseconds_point now() const noexcept { return timers_.now(); }
  /// How many run now.
  [[nodiscard]] std::size_t running() const noexcept {
    return running_.load(std::memory_order_relaxed);
  }  // relaxed: a figure to look at
  /// Those that destruction waits for: that run, or are on their way out.
  [[nodiscard]] std::size_t busy() const noexcept {
    return busy_.load(std::memory_order_acquire);  // acquire: pairs with the release in drop_busy()
  }

 protected:
  ~paced_core() = default;

  // After the end: what the cell still owns.
  void clear(cell& c) noexcept {
    if (Node* const n = c.last) {
      c.last = nullptr;
      n->drop_owner();
    }
  }

  timers& clock() const noexcept { return timers_; }

 private:
  friend gate<paced_core, Sync>;
  bool open() const noexcept { return busy() == 0; }
  bool enter() const noexcept { return busy_.load(std::memory_order_relaxed) == 0; }  // relaxed: lock_ orders the changes

  Derived& derived() noexcept { return static_cast<Derived&>(*this); }

  bool take(Node& n) noexcept {
    std::scoped_lock guard{this->lock_};
    if (!this->take_sent(n)) return false;
    add_busy();
    running_.store(running_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // relaxed: lock_ orders the changes
    return true;
  }
  // Of a run that begins now, and not when it was sent: what waits is due later, unless it was asked for.
  void begin_spacing(cell& c) noexcept {
    const nanoseconds_point now = timers_.now();
    consequences after;
    {
      std::scoped_lock guard{this->lock_};
      c.seen = now;
      c.pace.began(now);
      c.urgent = c.asked;
      if (this->max_running() > 1) this->plan(c, now, after);  // else the end of this one does it
    }
    settle(after);
  }

  void report(Node& n) noexcept {
    bool wanted = false;
    {
      std::scoped_lock guard{this->lock_};
      wanted = n.wanted;
    }
    derived().report(n, wanted);
  }

  // With the lock held.
  void add_busy() noexcept {
    busy_.store(busy_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // relaxed: lock_ orders the changes
  }
  void drop_busy() noexcept {
    wait_list<Sync> won;
    bool release = false;
    {
      std::scoped_lock guard{this->lock_};
      const std::size_t left = busy_.load(std::memory_order_relaxed) - 1;  // relaxed: lock_ orders the changes
      busy_.store(left, std::memory_order_release);                        // release: pairs with the acquire in busy()
      if (left == 0) {
        this->waiters_.win_all(outcome::granted, won);
        release = orphaned_;
      }
    }
    won.complete_all();
    if (release) derived().release();  // the caller owns the core
  }

  static void drop(consequences& after) noexcept {
    while (Node* const n = after.dropped) {
      after.dropped = n->next_dropped;
      n->drop_owner();
    }
  }

  static void drop_latest(Node& first) noexcept {
    if (Node* const latest = first.latest; latest != &first) latest->drop_owner();
  }

  // By who has the role, until the timer is as wanted.
  void set_timer(cell& c) noexcept {
    bool added = false;
    for (;;) {
      nanoseconds_point to = never;
      nanoseconds_point from = never;
      {
        consequences after;
        std::unique_lock guard{this->lock_};
        if (c.fired) {
          c.fired = false;
          c.set_for = never;
        }
        const bool unused = c.idle() && c.set_for != never;
        if (this->closed() || (c.wanted >= c.set_for && !unused)) {
          const bool remove = this->closed() && added;
          c.setting = false;
          if (!this->closed() && c.idle()) {
            this->drop_last(c, after);
            derived().retire(c, after.garbage);
          }
          guard.unlock();
          if (remove) timers_.remove(c);  // who closed may have looked before it was set
          drop(after);
          return;
        }
        from = c.set_for;
        to = unused ? never : c.wanted;
        c.set_for = to;
      }
      if (from != never) {  // the clock stepped back: it fires too late; or it is not needed any more
        timers_.remove(c);
        std::scoped_lock guard{this->lock_};
        c.fired = false;  // that was before
      }
      if (to == never) continue;
      added = true;
      timers_.add(c,
                  to);  // one was added at construction, so the thread is there and this does not throw. It may fire right here
    }
  }

  void fired(cell& c) noexcept {
    add_owner();  // what runs may destroy the handle
    const nanoseconds_point now = timers_.now();
    {
      consequences after;
      {
        std::scoped_lock guard{this->lock_};
        if (c.setting) {
          c.fired = true;
        } else {
          c.set_for = never;
        }
        this->plan(c, now, after);
      }
      settle(after);
    }
    drop_owner();
  }

  const Scheduler where_;
  timers& timers_;
  typename Sync::template atomic<std::uint32_t> owners_;
  typename Sync::template atomic<std::size_t> busy_;     // changes under lock_
  typename Sync::template atomic<std::size_t> running_;  // as well
  typename Sync::template var<bool> orphaned_{false};    // guarded by lock_: closed by one that runs, so the last one releases
};

}  // namespace penstock::inline v0_1::detail
