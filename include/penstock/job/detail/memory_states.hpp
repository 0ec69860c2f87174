// penstock/job/detail/memory_states.hpp: the states of jobs in memory, and what leads from one to another. Guarded by the store's lock. Steps are made of
// them (memory_jobs.hpp).
//
// No change fails: what it needs is reserved before.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <penstock/core/detail/owner.hpp>
#include <penstock/job/detail/memory_lines.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Payload>
class memory_states : public memory_lines<Payload> {
  using base = memory_lines<Payload>;

 public:
  using node = typename base::node;
  using list = typename base::list;
  using effects = typename base::effects;
  using base::base;

  // Families (job_families.hpp).

  /// The parent of one that is about to be settled does not go on until gathered(). Null: none.
  [[nodiscard]] node* hold_parent(const node& n) const noexcept {
    node* const parent = families_.parent_of(n);
    if (parent != nullptr) parent->kin->gathering = true;
    return parent;
  }
  /// No child is added any more with the parent: it may go on.
  void gathered(node& n, job_time now, effects& e) noexcept {
    if (n.kin != nullptr) n.kin->gathering = false;
    look_after(&n, now, e);
  }
  /// A duplicate is a child, too. False: it has another parent.
  bool adopt(node& parent, node& child, owner<job_kin>& kin, job_time now, effects& e) noexcept {
    if (!families_.adopt(parent, child, kin)) return false;
    look_after(&parent, now, e);
    return true;
  }
  [[nodiscard]] const auto& families() const noexcept { return families_; }

  // By hand.

  void remove(node& n, effects& e) noexcept {
    leave(n);
    emit(job_event::kind::removed, n, 0);
    node* const parent = n.kin != nullptr ? families_.removed(n) : nullptr;
    forget(n, n.state, e);
    look_after(parent, job_time::min(),
               e);  // one that is not to be run yet is delayed, and so looked at by the next who knows the time
  }
  /// And who is below it and not over. False, and nothing happens, if one of them is active.
  [[nodiscard]] bool remove_family(node& top, effects& e) noexcept {
    if (top.kin == nullptr) return top.state != job_state::active && (remove(top, e), true);
    families_.descend(top);
    for (const node* n = &top; n != nullptr; n = families_.next(*n)) {
      if (n->state == job_state::active) return false;
    }
    for (node* n = &top; n != nullptr;) {
      node* const next = families_.next(*n);
      remove(*n, e);
      n = next;
    }
    return true;
  }
  void promote(node& n, effects& e) noexcept {
    delayed_.erase(n);
    make_ready(n, n.lifo, e);
    emit(job_event::kind::promoted, n, 0);
  }
  /// How many wait again with it: those that failed because of it, too.
  [[nodiscard]] std::size_t redriven_with(const node& n) const noexcept {
    std::size_t count = 1;
    for (const node* at = &n; families_.only_cause(*at); at = families_.parent_of(*at)) ++count;
    return count;
  }
  void redrive(node& failed, effects& e) noexcept {
    for (node* at = &failed; at != nullptr;) {
      node& n = *at;
      failed_.remove(n);
      n.attempts_made = 0;
      n.stalled = 0;
      n.progress = 0;
      n.ended_at = no_time;
      if (n.extras != nullptr && n.extras->schedule != nullptr) n.extras->schedule->again(n.number());
      if (n.extras != nullptr && !n.extras->deduplication_id.empty()) keys_.redriven(*n.extras, n);
      emit(job_event::kind::redriven, n, 0);
      at = n.kin != nullptr ? families_.redriven(n) : nullptr;
      if (n.kin != nullptr && n.kin->pending != 0) {
        wait(n, 0);
      } else {
        n.due = due_unknown;
        make_ready(n, false, e);
      }
    }
  }

  // Of the dead: with the lock held again.
  void reuse(node* dead) noexcept {
    while (dead != nullptr) {
      node* const next = dead->after;
      slab_.give_back(*dead);
      dead = next;
    }
  }
  /// Without the lock: user's code.
  static void destroy_payloads(node* dead) noexcept {
    for (; dead != nullptr; dead = dead->after) {
      dead->has_payload = false;
      std::destroy_at(std::addressof(dead->payload));
      dead->extras.reset();
      dead->why.reset();
      dead->value.reset();
      dead->kin.reset();
      decltype(dead->log){}.swap(dead->log);
    }
  }

 protected:
  using base::active_;
  using base::back_;
  using base::completed_;
  using base::delayed_;
  using base::emit;
  using base::failed_;
  using base::families_;
  using base::front_;
  using base::groups_;
  using base::keep_completed_;
  using base::keep_failed_;
  using base::keys_;
  using base::slab_;
  using base::tell;
  using base::waiting_children_;

  void make_ready(node& n, bool first, effects& e) noexcept {
    n.state = job_state::waiting;
    if (groups_.push(n, first, first ? --front_ : ++back_)) e.ready = true;
  }
  void delay(node& n, effects& e) noexcept {
    n.state = job_state::delayed;
    if (delayed_.empty() || n.due.count() < delayed_.top().major)
      e.ready = true;  // whoever waits for the next one waits too long
    delayed_.push(n.due.count(), ++back_, n);
  }
  void again(node& n, job_time at, job_time now, bool first, effects& e) noexcept {
    if (at > now) {
      n.due = at;
      delay(n, e);
    } else {
      n.due = now;
      make_ready(n, first, e);
    }
  }
  void deactivate(node& n) noexcept {
    active_.remove(n);
    groups_.ended(n);
    n.fence = 0;
  }
  void stall(node& n) noexcept {
    deactivate(n);
    emit(job_event::kind::stalled, n, n.attempts_made + 1);
    ++n.stalled;
  }
  void leave(node& n) noexcept {
    switch (n.state) {
      case job_state::waiting:
        groups_.erase(n);
        break;
      case job_state::delayed:
        delayed_.erase(n);
        break;
      case job_state::active:
        deactivate(n);
        break;
      case job_state::completed:
        completed_.remove(n);
        break;
      case job_state::failed:
        failed_.remove(n);
        break;
      case job_state::waiting_children:
        waiting_children_.remove(n);
        break;
    }
  }
  void wait(node& n, unsigned attempt) noexcept {
    n.state = job_state::waiting_children;
    waiting_children_.push_back(n);
    emit(job_event::kind::waiting_children, n, attempt);
  }

  void end(node& n, job_state how, job_time now, effects& e) noexcept { look_after(end_one(n, how, now, e), now, e); }
  /// Something happened to a child of it, or to itself, by which it may go on or fail; and so its parent.
  void look_after(node* at, job_time now, effects& e) noexcept {
    while (at != nullptr) {
      node& n = *at;
      at = nullptr;
      const auto fate = families_.of(n);
      if (fate == decltype(fate)::stays) continue;
      waiting_children_.remove(n);
      if (fate == decltype(fate)::fails) {
        n.kin->by_child = true;
        n.why = families_.why(n);
        emit(job_event::kind::failed, n, n.attempts_made);
        at = end_one(n, job_state::failed, now, e);
      } else {
        if (n.kin != nullptr) n.kin->goes_on = false;
        const bool due = n.due <= now || n.due <= n.added_at;
        if (due) n.due = now;  // or due_unknown
        due ? make_ready(n, n.lifo, e) : delay(n, e);
        emit(due ? job_event::kind::promoted : job_event::kind::delayed, n, 0);
      }
    }
  }
  /// Its parent, if that one is to be looked after.
  [[nodiscard]] node* end_one(node& n, job_state how, job_time now, effects& e) noexcept {
    node* const parent = n.kin != nullptr ? families_.ended(n, how) : nullptr;
    keep(n, how, now, e);
    return parent;
  }
  void keep(node& n, job_state how, job_time now, effects& e) noexcept {
    const bool completed = how == job_state::completed;
    const bool at_once = n.extras != nullptr && (completed ? n.extras->remove_on_complete : n.extras->remove_on_fail);
    const keep_limits& limits = completed ? keep_completed_ : keep_failed_;
    n.ended_at = now;
    if (n.extras != nullptr && n.extras->schedule != nullptr) n.extras->schedule->ended(n.number(), now);
    if (at_once || limits.count == 0) return forget(n, how, e);
    n.state = how;
    tell(n, how, e);
    if (n.extras != nullptr && !n.extras->deduplication_id.empty()) keys_.over(*n.extras, n, !completed);
    list& over = completed ? completed_ : failed_;
    over.push_back(n);
    // Two at the most a time: what a job adds is paid for, and a change of the clock makes nobody wait.
    for (int i = 0; i < 2 && (over.size() > limits.count || now - over.front()->ended_at > limits.age); ++i)
      remove(*over.front(), e);
  }
  /// It is in no line any more.
  [[gnu::always_inline]] inline void forget(node& n, job_state how, effects& e) noexcept {
    tell(n, how, e);
    if (n.extras != nullptr) {
      if (n.extras->schedule != nullptr) n.extras->schedule->ended(n.number(), no_time);
      if (n.extras->name != nullptr) keys_.forget_name(*n.extras->name);
      if (!n.extras->deduplication_id.empty() && n.state != job_state::completed) keys_.over(*n.extras, n, false);
    }
    groups_.forget(n);
    n.known = false;
    if (++n.generation == 0) n.generation = 1;  // so that no number is 0
    if (n.pins == 0) bury(n, e);
  }
  void bury(node& n, effects& e) noexcept {
    n.after = e.dead;
    e.dead = &n;
  }
};

}  // namespace penstock::inline v0_1::detail
