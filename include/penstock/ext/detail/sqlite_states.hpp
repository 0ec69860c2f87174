// penstock/ext/detail/sqlite_states.hpp: the states of jobs on the rows of a SQLite file, and what leads from one to another. The same as
// memory_jobs.hpp has, in the same order. Steps are made of them (sqlite_jobs.hpp).
//
// All of it happens within a transaction. What follows from it is left in `effects`, and happens when the transaction counts.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/clock.hpp>
#include <penstock/ext/detail/sqlite_families.hpp>
#include <penstock/ext/detail/sqlite_groups.hpp>
#include <penstock/ext/detail/sqlite_rows.hpp>
#include <penstock/ext/detail/sqlite_schedules.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

/// What follows from a step.
struct sqlite_effects {
  /// With `watch`: it waits from now on for the job's end, or (job 0) is to be called at once. Without: whoever waits for the job is to be called.
  struct notice {
    std::uint64_t job = 0;
    job_watch* watch = nullptr;
    job_state how = job_state::waiting;
    job_text text = {};
    bool known = true;  ///< false: the job that counts has ended, and is kept no longer
  };
  std::vector<notice> notices;
  std::vector<job_event> events;
  bool ready = false;           ///< there is work for listeners
  std::size_t wanted_room = 0;  ///< somebody was refused for want of it; 0: nobody
  std::int64_t endings_seen = -1;
  void clear() noexcept {
    notices.clear();
    events.clear();
    ready = false;
    wanted_room = 0;
    endings_seen = -1;
  }
};

class sqlite_states {
 public:
  using effects = sqlite_effects;
  using row = sqlite_row;

  /// `self` is not 0: this store's among those that use the file.
  sqlite_states(sqlite_database& db, const sqlite_store_options& o, std::int64_t self)
      : rows_{db},
        schedules_{db},
        families_{db, rows_},
        groups_{db, now, o.group_rule},
        capacity_{static_cast<std::int64_t>(o.capacity)},
        keep_completed_{o.keep_completed},
        keep_failed_{o.keep_failed},
        self_{self} {}

  /// At the beginning and the end of a transaction.
  void load() {
    now = rows_.tallies();
    changes_ = 0;
    if (endings_seen_ < 0) endings_seen_ = now.endings;
    endings_read_ = endings_seen_;
  }
  /// False: nothing has changed.
  bool save() {
    if (changes_ == 0) return false;
    ++now.version;
    rows_.put(now);
    return true;
  }
  void saw_endings(std::int64_t upto) noexcept { endings_seen_ = upto; }
  /// How jobs that somebody of this store waits for ended elsewhere, since the last time.
  void look_for_endings(effects& e) {
    for (auto& end : rows_.endings_after(endings_read_)) {
      e.notices.push_back({.job = static_cast<std::uint64_t>(end.job), .how = end.how, .text = std::move(end.text)});
    }
    endings_read_ = now.endings;
    e.endings_seen = now.endings;
  }

  sqlite_tallies now;  ///< of the transaction that goes on
  bool recording = false;

  [[nodiscard]] bool room_for(std::size_t jobs) const noexcept {
    return now.held() <= capacity_ && static_cast<std::int64_t>(jobs) <= capacity_ - now.held();
  }

 protected:
  static constexpr std::int64_t several = -1;
  static constexpr std::size_t every = static_cast<std::size_t>(-1);

  [[nodiscard]] static bool holds(const row& n, std::uint64_t fence) noexcept {
    return n.state == job_state::active && static_cast<std::uint64_t>(n.fence) == fence;
  }
  [[nodiscard]] static job_id id_of(const row& n) { return job_id{static_cast<std::uint64_t>(n.id), text_of(n.job_id)}; }
  [[nodiscard]] static std::int64_t later(job_time t, std::chrono::nanoseconds by) noexcept {
    return saturating_add(t.count(), by.count());
  }
  void put(const row& n, const job_text& why = nullptr, const job_text& value = nullptr) {
    ++changes_;
    rows_.put(n, why, value);
  }
  void move(row& n, job_state to) {
    ++changes_;
    leave(n);
    --now.of(n.state);
    ++now.of(to);
    n.state = to;
  }

  /// It is not in that state any more, and does not start.
  void leave(const row& n) {
    if (now.groups_used == 0) [[likely]]
      return;
    if (n.state == job_state::waiting) groups_.erase(n.group);
    if (n.state == job_state::active) groups_.ended(n.group);
  }
  /// Its place in the line of its state, if it is not over.
  void place(row& n, bool first, effects& e) {
    if (n.state == job_state::waiting) {
      n.major = n.priority;
      n.minor = first ? --now.front : ++now.back;
      if (now.groups_used == 0 || groups_.push(n.group)) e.ready = true;
    } else if (n.state == job_state::waiting_children) {
      n.major = ++now.back;
      n.minor = 0;
    } else {
      n.major = n.due;
      n.minor = ++now.back;
      // Whoever waits for the next one waits too long, if this one is it. It is counted, but not in the line yet.
      if (!e.ready && (now.of(job_state::delayed) == 1 || job_time{n.due} < rows_.first_due())) e.ready = true;
    }
  }
  void make_ready(row& n, bool first, effects& e, const job_text& why = nullptr) {
    move(n, job_state::waiting);
    place(n, first, e);
    put(n, why);
  }
  void again(row& n, job_time at, job_time t, bool first, effects& e, const job_text& why = nullptr) {
    if (at <= t) return make_ready(n, first, e, why);
    n.due = at.count();
    move(n, job_state::delayed);
    place(n, first, e);
    put(n, why);
  }
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
      const auto fate = sqlite_families::of(*n);
      if (fate == sqlite_families::fate::stays) return;
      if (fate == sqlite_families::fate::fails) {
        n->flags |= row::by_child;
        const job_text why = families_.why(*n);
        emit(job_event::kind::failed, *n, n->made, e, why);
        id = end_one(*n, job_state::failed, at, why, nullptr, e);
      } else {
        n->flags &= ~row::goes_on;
        const bool due = n->due <= at.count() || n->due <= n->added;
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
    const auto most = static_cast<std::int64_t>(rule.count);
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
  void emit(job_event::kind what, const row& n, std::int64_t attempt, effects& e, const job_text& why = nullptr,
            const job_text& value = nullptr) {
    if (!recording) [[likely]]
      return;
    e.events.push_back({.what = what, .id = id_of(n), .attempt = static_cast<unsigned>(attempt), .why = why, .value = value});
  }

  void emit_if_drained(effects& e) const {
    if (recording && now.of(job_state::waiting) == 0 && now.of(job_state::active) == 0) {
      e.events.push_back({.what = job_event::kind::drained});
    }
  }

  /// The first ones of a line, up to `most` and while `wanted`: `f` takes them out of it.
  template <class F, class Wanted>
  std::size_t each(job_state s, std::size_t most, F f, Wanted wanted) {
    std::size_t n = 0;
    while (n < most) {
      std::vector<row> some = rows_.first(s, static_cast<std::int64_t>(std::min<std::size_t>(most - n, 256)));
      if (some.empty()) return n;
      for (row& r : some) {
        if (r.has(row::kin)) {  // what became of others may have changed it
          const auto fresh = rows_.find(r.id);
          if (!fresh || fresh->state != s) continue;
          r = *fresh;
        }
        if (!wanted(r)) return n;
        f(r);
        ++n;
      }
    }
    return n;
  }
  template <class F>
  std::size_t each(job_state s, std::size_t most, F f) {
    return each(s, most, std::move(f), [](const row&) { return true; });
  }

  sqlite_rows rows_;
  sqlite_schedules schedules_;
  sqlite_families families_;
  sqlite_groups groups_;
  const std::int64_t capacity_;
  const keep_rule keep_completed_;
  const keep_rule keep_failed_;
  const std::int64_t self_;
  std::int64_t endings_seen_ = -1;
  std::int64_t endings_read_ = -1;  // in the transaction that goes on
  std::size_t changes_ = 0;
};

}  // namespace penstock::inline v0_1::detail
