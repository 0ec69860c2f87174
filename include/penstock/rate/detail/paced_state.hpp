// penstock/rate/detail/paced_state.hpp: what is decided of calls that wait together: which run, when, and in which order their outcomes come.
//
// It takes no lock, calls nothing of a user and sets no timer: what a change asks for is noted in `consequences`, which paced_core.hpp sees to after
// unlocking.
//
// Line           the outcomes that are open, by the order of their first calls: drain() waits for those before it.
// Thread safety  passive: guarded by its owner's lock.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/rate/detail/call_pace.hpp>
#include <penstock/rate/detail/paced_cell.hpp>

namespace penstock::inline v0_1::detail {

/// `Derived` has add_owner(), and retire() (paced_core.hpp).
template <class Derived, class Node, class Garbage, class Sync>
class paced_state {
 public:
  using cell = paced_cell<Node, Sync>;

  /// What a change asks for, once the lock is free again.
  struct consequences {
    work_list to_send;
    Node* to_give_up = nullptr;  // by `following`
    Node* superseded = nullptr;
    Node* dropped = nullptr;  // by `next_dropped`
    cell* to_set = nullptr;   // by `next_to_set`
    Garbage garbage{};
  };

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

 protected:
  paced_state(const pace_rules& rules, std::size_t max_running) noexcept : rules_{rules}, max_running_{max_running} {}
  ~paced_state() = default;

  const pace_rules& rules() const noexcept { return rules_; }
  std::size_t max_running() const noexcept { return max_running_; }
  void close_state() noexcept { closed_ = true; }

  /// A node that was sent begins. False: it was cancelled on the way.
  bool take_sent(Node& n) noexcept {
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
    return true;
  }
  /// An outcome that is not open any more.
  void leave_line(Node& n) noexcept {
    Node* const before = n.earlier;
    Node* const after = n.later;
    (before != nullptr ? before->later : oldest_) = after;
    (after != nullptr ? after->earlier : newest_) = before;
  }
  /// What it keeps of its last run.
  void drop_last(cell& c, consequences& after) noexcept {
    if (Node* const n = c.last) {
      n->next_dropped = after.dropped;
      after.dropped = n;
      c.last = nullptr;
    }
  }

 private:
  Derived& derived() noexcept { return static_cast<Derived&>(*this); }

  void enter_line(Node& n) noexcept {
    numbered_ = numbered_ + 1;
    n.number = numbered_;
    Node* const before = newest_;
    n.earlier = before;
    (before != nullptr ? before->later : oldest_) = &n;
    newest_ = &n;
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
    derived().add_owner();
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

  const pace_rules rules_;
  const std::size_t max_running_;
  typename Sync::template var<bool> closed_{false};
  typename Sync::template var<Node*> oldest_{nullptr};
  typename Sync::template var<Node*> newest_{nullptr};
  typename Sync::template var<std::uint64_t> numbered_{0};
};

}  // namespace penstock::inline v0_1::detail
