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
//             taken leaves its wish in `wanted`. A timer that fires meanwhile leaves a note in `fired`. (On a context that runs what it is
//             given at once, a time that has come already runs the function within this role: wishes of others wait for its end.)
// Closing     forbids everything, gives up what has not begun, removes the timers, and waits for those that run. Who set a timer looks again
//             whether it was closed meanwhile, and removes it then; so none is left whoever was faster. A node that comes home later finds the
//             core closed, and touches neither the clock nor the timers: they may be gone.
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
///   report(Node& first, bool wanted)    a failure that nobody looks at goes to the user's handler, as part of the run
///   publish(Node& first)      lets its callers see it, if there are any. May run their code
///   release()                 drops what is the user's: the function, and of each cell what clear() drops. Nothing runs any more
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
      : where_{std::move(where)}, timers_{clock}, rules_{rules}, max_running_{max_running}, owners_{1}, busy_{0}, running_{0} {}

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
      enter_line(fresh);
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
    c.asked = true;
    plan(c, now, after);
  }

  /// Nothing begins of what was called so far. plan(), or see_to(), comes next.
  void cancel(cell& c, consequences& after) noexcept {
    if (Node* const first = c.waiting) {
      c.waiting = nullptr;
      c.urgent = false;
      c.asked = false;
      leave_line(*first);
      first->following = after.to_give_up;
      after.to_give_up = first;
    }
    if (c.sent != nullptr) c.pace.did_not_run();
    while (Node* const first = c.sent) {
      c.sent = first->following;
      leave_line(*first);
      first->add_owner();  // it comes home some time
      first->following = after.to_give_up;
      after.to_give_up = first;
    }
    c.pace.forget(rules_);
  }

  /// Instead of plan(), where several cells change at once: an idle one is taken away by who sets the timers.
  void see_to(cell& c, consequences& after) noexcept {
    if (!c.idle()) return;
    c.wanted = never;
    set_later(c, after);
  }

  /// After each change: what is to be done now, and when to look again.
  void plan(cell& c, nanoseconds_point now, consequences& after) noexcept {
    if (closed_) return;
    c.seen = now;
    nanoseconds_point look = never;
    if (c.waiting != nullptr && (c.urgent || now >= c.pace.due(rules_))) {
      c.urgent = true;
      // With a spacing, when one that is on its way begins is not known yet.
      if (c.out < max_running_ && (rules_.spacing == 0 || c.asked || c.sent == nullptr)) send(c, now, after);
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
    if (c.untimed()) {
      derived().retire(c, after.garbage);
    } else {
      set_later(c, after);  // its timer goes now, not when it fires
    }
  }

  /// The number that the latest outcome has, of all cells.
  [[nodiscard]] std::uint64_t newest() const noexcept { return numbered_; }
  /// The earliest that is still open with a number greater than `from` and no greater than `to`, of one cell if that is not null.
  [[nodiscard]] Node* open_between(std::uint64_t from, std::uint64_t to, const cell* of) const noexcept {
    Node* n = oldest_;
    while (n != nullptr && (n->number <= from || (of != nullptr && n->of != of))) n = n->later;
    return n != nullptr && n->number <= to ? n : nullptr;
  }

  [[nodiscard]] bool closed() const noexcept { return closed_; }

  // --- without the lock

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
    if (!take_sent(n)) return false;
    if (rules_.spacing != 0) begin_spacing(*n.of);
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
        if (!closed_ && !busy) {  // destruction waits while this may touch the timers
          busy = true;
          add_busy();
        }
        plan(c, c.seen, after);  // what has become due since then is the timer's
      }
      settle(after);
    }
    if (began) {
      derived().publish(n);
      drop_latest(n);
      std::scoped_lock guard{this->lock_};
      leave_line(n);
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
      closed_ = true;
      derived().for_each_cell([&](cell& c) { cancel(c, after); });
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
  const pace_rules& rules() const noexcept { return rules_; }

 private:
  friend gate<paced_core, Sync>;
  bool open() const noexcept { return busy() == 0; }
  bool enter() const noexcept { return busy_.load(std::memory_order_relaxed) == 0; }  // relaxed: lock_ orders the changes

  Derived& derived() noexcept { return static_cast<Derived&>(*this); }

  bool take_sent(Node& n) noexcept {
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
      if (max_running_ > 1) plan(c, now, after);  // else the end of this one does it
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

  void enter_line(Node& n) noexcept {
    numbered_ = numbered_ + 1;
    n.number = numbered_;
    Node* const before = newest_;
    n.earlier = before;
    (before != nullptr ? before->later : oldest_) = &n;
    newest_ = &n;
  }
  void leave_line(Node& n) noexcept {
    Node* const before = n.earlier;
    Node* const after = n.later;
    (before != nullptr ? before->later : oldest_) = after;
    (after != nullptr ? after->earlier : newest_) = before;
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
    c.asked = false;
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
    if (at < c.set_for) set_later(c, after);
  }
  void set_later(cell& c, consequences& after) noexcept {
    if (c.setting) return;
    c.setting = true;
    c.next_to_set = after.to_set;
    after.to_set = &c;
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
        if (closed_ || (c.wanted >= c.set_for && !unused)) {
          const bool remove = closed_ && added;
          c.setting = false;
          if (!closed_ && c.idle()) {
            drop_last(c, after);
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
  typename Sync::template atomic<std::size_t> busy_;     // changes under lock_
  typename Sync::template atomic<std::size_t> running_;  // as well
  // Guarded by lock_.
  typename Sync::template var<bool> closed_{false};
  typename Sync::template var<bool> orphaned_{false};  // closed by one that runs: the last one releases
  typename Sync::template var<Node*> oldest_{nullptr};
  typename Sync::template var<Node*> newest_{nullptr};
  typename Sync::template var<std::uint64_t> numbered_{0};
};

}  // namespace penstock::inline v0_1::detail
