// penstock/rate/detail/paced_core.hpp: calls that wait together for a run, its timer, and at the most so many runs at a time.
//
// A *cell* paces one sequence of calls: a debounce has one, a keyed debounce one for each key. Each call brings a node with its arguments.
// The first call that waits for a run gives the *outcome*: its node is what all those who join share; the latest gives the arguments. When the run
// is due and there is a place (`max_running`), the node is *sent* to the scheduler; it *begins* there, unless it was cancelled on the way,
// and is home when it has ended. While there is no place the calls wait on, and others join them.
//
// Lock        lock_ guards the core and all its cells. Nothing of a user runs under it: what a change asks for (nodes to send, to give up, to
//             drop; timers to set) is noted in `consequences` and done after unlocking.
// Timer       one a cell, set to the earliest time at which something is to be done. Calls do not touch it when they put the run off: it fires,
//             looks, and is set anew. Who sets it has the role `setting`, so adding and removing never overlap; a thread that finds the role
//             taken leaves its wish in `wanted`. A timer that fires meanwhile leaves a note in `fired`.
// Closing     forbids everything, gives up what has not begun, removes the timers, and waits for those that run. Who set a timer looks again
//             whether it was closed meanwhile, and removes it then; so none is left whoever was faster.
// Lifetime    the core is counted: its handle is an owner, and each node from when it is sent until it is home; so is a timer's function while it
//             runs. A cell lives while anything of it is out: waiting, sent, running, its timer set.
#pragma once

#include <atomic>
#include <cassert>
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

namespace penstock::inline v0_1::detail {

/// `Derived` has, all noexcept:
///   run(Node& first)          calls the function with the arguments of first.latest; the outcome goes to `first`, unpublished
///   publish(Node& first, bool wanted)   lets its callers see it, if there are any. May run their code
///   give_up(Node& first)      they get errc::cancelled, and the arguments are dropped
///   superseded(Node& old)     its arguments are dropped
///   retire(cell&, garbage&)   under the lock: the cell has nothing to do. Moves it there, or keeps it
///   for_each_cell(f)
template <class Derived, class Node, class Garbage, class Sync, class Scheduler>
class paced_core : public gate<paced_core<Derived, Node, Garbage, Sync, Scheduler>, Sync> {
 public:
  using cell = paced_cell<Node, Sync>;
  using timers = basic_timer_queue<Sync>;

  /// Born with one owner.
  paced_core(Scheduler where, timers& clock, const pace_rules& rules, std::size_t max_running) noexcept
      : where_{std::move(where)}, timers_{clock}, rules_{rules}, max_running_{max_running}, owners_{1}, executing_{0} {}

  void add_owner() noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }  // relaxed: the caller is an owner
  void drop_owner() noexcept {
    // release: what this owner did is done; acquire: pairs with it, for the last one destroys
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete static_cast<Derived*>(this);
  }

  /// What a change asks for, once the lock is free again.
  struct consequences {
    work_list to_send;
    Node* to_give_up = nullptr;  // by `following`
    Node* superseded = nullptr;
    Node* dropped = nullptr;  // by `next_dropped`
    cell* to_set = nullptr;   // by `next_to_set`
    Garbage garbage{};
  };

  /// Before anything else of a cell.
  void adopt(cell& c) noexcept {
    c.core = static_cast<Derived*>(this);
    c.fire = [](timer_entry<Sync>& self) noexcept {
      auto& of = static_cast<cell&>(self);
      static_cast<Derived*>(of.core)->fired(of);
    };
  }

  // --- under the lock

  /// Somebody calls. The outcome that the caller shares, which may be `fresh`, with an owner more. Precondition: not closed().
  Node* call(cell& c, Node& fresh, nanoseconds_point now, bool wants, consequences& after) noexcept {
    Node* first = c.waiting;
    const pace_verdict verdict = c.pace.call(rules_, now, first != nullptr);
    if (verdict == pace_verdict::follow) {
      if (first == nullptr) first = c.last;
      assert(first != nullptr);
    } else if (first == nullptr) {
      first = &fresh;
      fresh.of = &c;
      fresh.latest = &fresh;
      fresh.add_owner();
      c.waiting = &fresh;
    } else {
      after.superseded = first->latest;
      if (after.superseded == first) first->add_owner();  // it goes on owning itself as the outcome
      fresh.add_owner();
      first->latest = &fresh;
    }
    if (verdict == pace_verdict::run) c.urgent = true;
    if (wants) first->wanted = true;
    first->add_owner();
    plan(c, now, after);
    return first;
  }

  /// What waits runs as soon as there is a place.
  void flush(cell& c, nanoseconds_point now, consequences& after) noexcept {
    if (c.waiting == nullptr) return;
    c.urgent = true;
    plan(c, now, after);
  }

  /// Nothing begins of what was called so far. plan(), or see_to(), comes next.
  void cancel(cell& c, consequences& after) noexcept {
    if (Node* const first = c.waiting) {
      c.waiting = nullptr;
      c.urgent = false;
      first->following = after.to_give_up;
      after.to_give_up = first;
    }
    while (Node* const first = c.sent) {
      c.sent = first->following;
      first->add_owner();  // it comes home some time
      first->following = after.to_give_up;
      after.to_give_up = first;
      c.pace.did_not_run();
    }
    c.pace.forget(rules_);
  }

  /// Instead of plan(), where several cells change at once: an idle one is taken away later, by its timer.
  void see_to(cell& c, nanoseconds_point now, consequences& after) noexcept {
    if (c.idle() && c.untimed()) want(c, now, after);
  }

  /// After each change: what is to be done now, and when to look again.
  void plan(cell& c, nanoseconds_point now, consequences& after) noexcept {
    if (closed_) return;
    nanoseconds_point look = never;
    if (c.waiting != nullptr && (c.urgent || now >= c.pace.due(rules_))) {
      c.urgent = true;
      if (c.out < max_running_) send(c, now, after);
    }
    if (c.waiting != nullptr) {
      if (!c.urgent) look = c.pace.due(rules_);
    } else if (c.pace.open()) {
      if (c.pace.is_quiet(rules_, now)) {
        c.pace.close();
      } else {
        look = c.pace.quiet(rules_);
      }
    }
    want(c, look, after);
    if (!c.idle()) return;
    drop_last(c, after);
    if (c.untimed()) derived().retire(c, after.garbage);
  }

  [[nodiscard]] bool closed() const noexcept { return closed_; }

  // --- without the lock

  void settle(consequences& after) noexcept {
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
    while (Node* const n = after.dropped) {
      after.dropped = n->next_dropped;
      n->drop_owner();
    }
    // Timers before runs, which may be called right here, take long, and destroy the handle.
    if (after.to_set != nullptr) {
      add_owner();  // a timer may fire at once
      while (cell* const c = std::exchange(after.to_set, nullptr)) {
        after.to_set = c->next_to_set;
        set_timer(*c);
      }
      drop_owner();
    }
    const Scheduler where = where_;
    while (work_item* const item = after.to_send.pop_front()) where.execute(*item);
  }

  /// Of a node that comes home. False: it was cancelled on the way.
  bool begin(Node& n) noexcept {
    std::scoped_lock guard{this->lock_};
    cell& c = *n.of;
    Node* before = nullptr;
    Node* at = c.sent;
    while (at != nullptr && at != &n) {
      before = at;
      at = at->following;
    }
    if (at == nullptr) return false;
    if (before != nullptr) {
      before->following = n.following;
    } else {
      c.sent = n.following;
    }
    executing_.store(executing_.load(std::memory_order_relaxed) + 1,
                     std::memory_order_relaxed);  // relaxed: lock_ orders the changes
    return true;
  }

  /// The node is home; nothing of it, nor of the core unless the caller owns it, is to be touched afterwards.
  void end(Node& n, bool began) noexcept {
    const nanoseconds_point now = timers_.now();
    bool wanted = false;
    {
      consequences after;
      {
        std::scoped_lock guard{this->lock_};
        wanted = n.wanted;
        cell& c = *n.of;
        c.out = c.out - 1;
        plan(c, now, after);
      }
      settle(after);
    }
    if (began) {
      derived().publish(n, wanted);
      drop_latest(n);
      wait_list<Sync> won;
      {
        std::scoped_lock guard{this->lock_};
        const std::size_t left = executing_.load(std::memory_order_relaxed) - 1;  // relaxed: lock_ orders the changes
        executing_.store(left, std::memory_order_release);                        // release: pairs with the acquire in open()
        if (left == 0) this->waiters_.win_all(outcome::granted, won);
      }
      won.complete_all();
    }
    n.drop_owner();
    drop_owner();
  }

  /// Nothing begins any more, and no timer is set.
  void close() noexcept {
    consequences after;
    {
      std::scoped_lock guard{this->lock_};
      closed_ = true;
      derived().for_each_cell([&](cell& c) { cancel(c, after); });
    }
    settle(after);
    derived().for_each_cell([&](cell& c) { timers_.remove(c); });  // none comes or goes: it is closed
  }
  [[nodiscard]] nanoseconds_point now() const noexcept { return timers_.now(); }
  /// How many run now.
  [[nodiscard]] std::size_t executing() const noexcept {
    return executing_.load(std::memory_order_acquire);  // acquire: pairs with the release in end()
  }
  /// Waits for those that run.
  void wait_idle() noexcept { blocking_wait<paced_core, plain_node<Sync>>{*this}.run(); }

 protected:
  ~paced_core() = default;

  // After the end: what the cell still owns.
  void clear(cell& c) noexcept {
    if (Node* const n = c.last) n->drop_owner();
  }

  timers& clock() const noexcept { return timers_; }
  const pace_rules& rules() const noexcept { return rules_; }

 private:
  friend gate<paced_core, Sync>;
  bool open() const noexcept { return executing() == 0; }
  bool enter() const noexcept { return executing_.load(std::memory_order_relaxed) == 0; }  // relaxed: lock_ orders the changes

  Derived& derived() noexcept { return static_cast<Derived&>(*this); }

  static void drop_latest(Node& first) noexcept {
    if (Node* const latest = first.latest; latest != &first) latest->drop_owner();
  }

  void drop_last(cell& c, consequences& after) noexcept {
    if (Node* const n = c.last) {
      n->next_dropped = after.dropped;
      after.dropped = n;
      c.last = nullptr;
    }
  }

  void send(cell& c, nanoseconds_point now, consequences& after) noexcept {
    Node& n = *c.waiting;
    c.waiting = nullptr;
    c.urgent = false;
    n.following = c.sent;
    c.sent = &n;
    c.out = c.out + 1;
    c.pace.ran(now);
    drop_last(c, after);
    n.add_owner();
    c.last = &n;
    add_owner();
    after.to_send.push_back(n);
  }

  void want(cell& c, nanoseconds_point at, consequences& after) noexcept {
    c.wanted = at;
    if (c.setting || at >= c.set_for) return;
    c.setting = true;
    c.next_to_set = after.to_set;
    after.to_set = &c;
  }

  // By who has the role, until the timer is as wanted.
  void set_timer(cell& c) noexcept {
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
        if (closed_ || c.wanted >= c.set_for) {
          const bool remove = closed_;
          c.setting = false;
          if (!remove && c.idle() && c.untimed()) derived().retire(c, after.garbage);
          guard.unlock();
          if (remove) timers_.remove(c);  // who closed may have looked before it was set
          return;
        }
        from = c.set_for;
        to = c.wanted;
        c.set_for = to;
      }
      if (from != never) {  // the clock stepped back, or the rules changed: it fires too late
        timers_.remove(c);
        std::scoped_lock guard{this->lock_};
        c.fired = false;  // that was before
      }
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
        plan(c, now, after);
      }
      settle(after);
    }
    drop_owner();
  }

  const Scheduler where_;
  timers& timers_;
  const pace_rules rules_;
  const std::size_t max_running_;
  typename Sync::template atomic<std::uint32_t> owners_;
  typename Sync::template atomic<std::size_t> executing_;  // changes under lock_
  typename Sync::template var<bool> closed_{false};        // guarded by lock_
};

}  // namespace penstock::inline v0_1::detail
