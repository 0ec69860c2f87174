// penstock/ext/detail/sqlite_states.hpp: the states of jobs on the rows of a SQLite file, and what leads from one to another. The same as
// memory_states.hpp has, in the same order. Steps are made of them (sqlite_jobs.hpp).
//
// All of it happens within a transaction. What follows from it is left in `effects`, and happens when the transaction counts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <penstock/ext/detail/sqlite_lines.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Database = sqlite_database>
class basic_sqlite_states : public basic_sqlite_lines<Database> {
  using base = basic_sqlite_lines<Database>;
  using families = basic_sqlite_families<Database>;

 public:
  using base::base;
  using base::now;
  using typename base::effects;
  using typename base::row;

 protected:
  using base::again;
  using base::changes_;
  using base::emit;
  using base::families_;
  using base::groups_;
  using base::keep_completed_;
  using base::keep_failed_;
  using base::leave;
  using base::make_ready;
  using base::move;
  using base::place;
  using base::put;
  using base::rows_;
  using base::schedules_;
  using base::self_;
  using base::several;

  void release(row& n, job_time at, job_time t, effects& e) {
    emit(job_event::kind::released, n, n.made + 1, e);
    again(n, at, t, true, e);
  }
  void promote(row& n, effects& e) {
    make_ready(n, n.has(row::lifo), e);
    emit(job_event::kind::promoted, n, 0, e);
  }
  /// Before gathered() nothing becomes of it.
  void wait(row& n, std::int64_t attempt, effects& e) {
    move(n, job_state::waiting_children);
    place(n, false, e);
    put(n);
    emit(job_event::kind::waiting_children, n, attempt, e);
  }
  /// No child is added any more with the parent: it may go on.
  void gathered(std::int64_t parent, job_time at, effects& e) {
    if (auto n = rows_.find(parent); n && n->has(row::gathering)) {
      n->flags &= ~row::gathering;
      put(*n);
    }
    look_after(parent, at, e);
  }
  /// How many wait again with it: those that failed because of it, too.
  [[nodiscard]] std::size_t redriven_with(const row& n) {
    std::size_t count = 1;
    if (!n.has(row::kin)) return count;
    for (std::optional<row> at = n; at && families_.only_cause(*at); at = families_.parent_of(*at)) ++count;
    return count;
  }
  void redrive(row& failed, effects& e) {
    std::int64_t next = 0;
    for (std::optional<row> at = failed; at; at = next != 0 ? rows_.find(next) : std::nullopt) {
      row& n = *at;
      if (!n.schedule.empty()) schedules_.again(n.schedule, n.id);
      n.made = 0;
      n.stalled = 0;
      n.progress = 0;
      n.ended = no_time.count();
      emit(job_event::kind::redriven, n, 0, e);
      if (!n.key.empty()) rows_.guard_again(n.key, n.id, n.job_id, n.has(row::guards_until_over));
      next = n.has(row::kin) ? families_.redriven(n) : 0;
      if (n.pending == 0) n.due = row::due_unknown;
      n.pending != 0 ? wait(n, 0, e) : make_ready(n, false, e);
    }
  }
  void remove(row& n, effects& e) {
    emit(job_event::kind::removed, n, 0, e);
    const std::int64_t parent = n.has(row::kin) ? families_.removed(n) : 0;
    forget(n, n.state, job_time{0}, nullptr, e);  // nobody says when
    // One that is not to be run yet is delayed, and so looked at by the next who knows the time.
    if (parent != 0) look_after(parent, job_time::min(), e);
  }
  /// And who is below it and not over. False, and nothing happens, if one of them is active.
  [[nodiscard]] bool remove_family(row& top, effects& e) {
    if (!top.has(row::kin)) return top.state != job_state::active && (remove(top, e), true);
    const std::vector<std::int64_t> all = families_.descend(top.id);
    for (const std::int64_t id : all) {
      const auto n = rows_.find(id);
      if (n && n->state == job_state::active) return false;
    }
    for (const std::int64_t id : all) {
      if (auto n = rows_.find(id)) remove(*n, e);
    }
    return true;
  }

  void end(row& n, job_state how, job_time at, const job_text& why, const job_text& value, effects& e) {
    if (const std::int64_t parent = end_one(n, how, at, why, value, e); parent != 0) look_after(parent, at, e);
  }
  /// Something happened to a child of it, or to itself, by which it may go on or fail; and so its parent.
  void look_after(std::int64_t id, job_time at, effects& e) {
    while (id != 0) {
      std::optional<row> n = rows_.find(id);
      id = 0;
      if (!n) return;
      const auto fate = families::of(*n);
      if (fate == families::fate::stays) return;
      if (fate == families::fate::fails) {
        n->flags |= row::by_child;
        const job_text why = families_.why(*n);
        emit(job_event::kind::failed, *n, n->made, e, why);
        id = end_one(*n, job_state::failed, at, why, nullptr, e);
      } else {
        n->flags &= ~row::goes_on;
        const bool due = n->due <= at.count() || n->due <= n->added;
        if (due) n->due = at.count();  // or due_unknown
        move(*n, due ? job_state::waiting : job_state::delayed);
        place(*n, n->has(row::lifo), e);
        put(*n);
        emit(due ? job_event::kind::promoted : job_event::kind::delayed, *n, 0, e);
      }
    }
  }
  /// Its parent, if that one is to be looked after; 0: none.
  [[nodiscard]] std::int64_t end_one(row& n, job_state how, job_time at, const job_text& why, const job_text& value, effects& e) {
    const std::int64_t parent = n.has(row::kin) ? families_.ended(n, how, how == job_state::completed ? value : why) : 0;
    keep(n, how, at, why, value, e);
    return parent;
  }
  void keep(row& n, job_state how, job_time at, const job_text& why, const job_text& value, effects& e) {
    const bool completed = how == job_state::completed;
    const keep_rule& rule = completed ? keep_completed_ : keep_failed_;
    n.ended = at.count();
    if (!n.schedule.empty()) schedules_.ended(n.schedule, n.id, at);
    const job_text& text = completed ? value : why;
    if (n.has(completed ? row::remove_on_complete : row::remove_on_fail) || rule.count == 0) return forget(n, how, at, text, e);
    tell(n, how, at, text, e);
    if (!n.key.empty()) rows_.guard_over(n.key, n.id);
    move(n, how);
    n.major = ++now.back;
    n.minor = 0;
    put(n, why, value);
    // Two at the most a time: what a job adds is paid for, and a change of the clock makes nobody wait.
    const auto most = static_cast<std::int64_t>(std::min(rule.count, std::size_t{1} << 62));  // whoever keeps all says max()
    if (now.of(how) <= most && rule.age == std::chrono::nanoseconds::max()) return;
    for (row& oldest : rows_.first(how, 2)) {
      if (now.of(how) <= most && saturating_difference(at.count(), oldest.ended) <= rule.age.count()) break;
      remove(oldest, e);
    }
  }
  void forget(row& n, job_state how, job_time at, const job_text& text, effects& e) {
    tell(n, how, at, text, e);
    ++changes_;
    leave(n);
    --now.of(n.state);
    rows_.erase(n);
    if (!n.key.empty()) rows_.guard_over(n.key, n.id);
    if (!n.schedule.empty()) schedules_.ended(n.schedule, n.id, no_time);
    if (n.has(row::kin)) families_.forget(n);
    if (!n.group.empty()) groups_.forget(n.group);
  }
  /// Those who wait for its end: here, or in other processes.
  void tell(row& n, job_state how, job_time at, const job_text& text, effects& e) {
    if (n.watcher == 0) return;
    if (n.watcher != self_) rows_.add_ending(++now.endings, n.id, how, text, std::max<std::int64_t>(at.count(), 0));
    if (n.watcher == self_ || n.watcher == several) {
      e.notices.push_back({.job = static_cast<std::uint64_t>(n.id), .how = how, .text = text});
    }
    n.watcher = 0;
  }
};

}  // namespace penstock::inline v0_1::detail
