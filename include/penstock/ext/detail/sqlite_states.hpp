// penstock/ext/detail/sqlite_states.hpp: the states of jobs on the rows of a SQLite file, and what leads from one to another. The same as memory_jobs.hpp has, in the same
// order. Steps are made of them (sqlite_jobs.hpp).
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

/// A job to be added.
struct sqlite_new_job {
  const enqueue_options* options;
  std::string_view payload;
  job_watch* watch;
};
class sqlite_states {
 public:
  using effects = sqlite_effects;
  using row = sqlite_row;

  /// `self` is not 0: this store's among those that use the file.
  sqlite_states(sqlite_database& db, const sqlite_store_options& o, std::int64_t self)
      : rows_{db},
        schedules_{db},
        capacity_{static_cast<std::int64_t>(o.capacity)},
        keep_completed_{o.keep_completed},
        keep_failed_{o.keep_failed},
        self_{self} {}

  /// At the beginning and the end of a transaction.
  void load() {
    now = rows_.tallies();
    changes_ = 0;
    if (endings_seen_ < 0) endings_seen_ = now.endings;
  }
  /// False: nothing has changed.
  bool save() {
    if (changes_ == 0) return false;
    ++now.version;
    rows_.put(now);
    return true;
  }
  void saw_endings(std::int64_t upto) noexcept { endings_seen_ = upto; }

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
  void move(row& n, job_state to) noexcept {
    ++changes_;
    --now.of(n.state);
    ++now.of(to);
    n.state = to;
  }

  /// The job that counts in place of this one; no job: none does.
  [[nodiscard]] job_id duplicate_of(const enqueue_options& o, job_time at, std::optional<row>& there) {
    there.reset();
    if (!o.job_id.empty()) {
      if (const auto number = rows_.named(o.job_id)) there = rows_.find(*number);
    }
    if (there) return id_of(*there);
    if (!o.deduplicate) return {};
    auto g = rows_.guarded(o.deduplicate->id, at.count());
    if (!g) return {};
    if (g->live) there = rows_.find(g->job);
    if (o.deduplicate->replace && there && there->state == job_state::delayed) return {};
    return job_id{static_cast<std::uint64_t>(g->job), std::move(g->name)};
  }
  [[nodiscard]] job_added add_one(const sqlite_new_job& j, job_time at, effects& e, std::string_view schedule = {}) {
    const enqueue_options& o = *j.options;
    if (!o.job_id.empty() || o.deduplicate) {
      std::optional<row> there;
      if (job_id id = duplicate_of(o, at, there)) {
        if (o.deduplicate && o.deduplicate->extend && o.deduplicate->ttl.count() != 0 &&
            rows_.guarded(o.deduplicate->id, at.count())) {
          ++changes_;
          rows_.extend_guard(o.deduplicate->id, later(at, o.deduplicate->ttl));
        }
        if (recording) e.events.push_back({.what = job_event::kind::duplicate, .id = id});
        if (j.watch != nullptr) watch(there, *j.watch, e);
        return {.id = std::move(id), .duplicate = true};
      }
    }
    row n{.id = now.next_id++, .priority = o.priority, .due = later(at, o.delay), .watcher = j.watch != nullptr ? self_ : 0};
    n.flags = (o.lifo ? row::lifo : 0) | (o.remove_on_complete ? row::remove_on_complete : 0) |
              (o.remove_on_fail ? row::remove_on_fail : 0) | (j.payload.size() > inline_payload ? row::large : 0);
    n.job_id = o.job_id;
    n.schedule = schedule;
    if (j.watch != nullptr) e.notices.push_back({.job = static_cast<std::uint64_t>(n.id), .watch = j.watch});
    if (o.deduplicate) {
      const deduplication& d = *o.deduplicate;
      n.key = d.id;
      const auto g = rows_.guarded(d.id, at.count());
      // What replaces keeps the time that the first one set, unless each is to extend it.
      const std::int64_t expires = d.ttl.count() == 0 ? no_time.count() : g && !d.extend ? g->expires : later(at, d.ttl);
      if (g && g->live) {
        if (auto replaced = rows_.find(g->job)) remove(*replaced, e);
      }
      rows_.add_guard(d.id, n.id, o.job_id, expires, at.count());
    }
    ++changes_;
    n.state = o.delay.count() > 0 ? job_state::delayed : job_state::waiting;
    ++now.of(n.state);
    place(n, n.has(row::lifo), e);
    rows_.insert(n, at.count(), o, write_backoff(o.backoff), j.payload);
    emit(o.delay.count() > 0 ? job_event::kind::delayed : job_event::kind::added, n, 0, e);
    return {.id = id_of(n)};
  }
  void watch(std::optional<row>& there, job_watch& w, effects& e) {
    if (there && there->state != job_state::completed && there->state != job_state::failed) {
      if (there->watcher != self_) {
        there->watcher = there->watcher == 0 ? self_ : several;
        put(*there);
      }
      e.notices.push_back({.job = static_cast<std::uint64_t>(there->id), .watch = &w});
    } else {
      e.notices.push_back(
          {.watch = &w, .how = there ? there->state : job_state::waiting, .text = there ? rows_.text(*there) : nullptr});
    }
  }

  /// Its place in the line of its state, waiting or delayed.
  void place(row& n, bool first, effects& e) {
    if (n.state == job_state::waiting) {
      n.major = n.priority;
      n.minor = first ? --now.front : ++now.back;
      e.ready = true;
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
  void redrive(row& n, effects& e) {
    if (!n.schedule.empty()) schedules_.again(n.schedule, n.id);
    n.made = 0;
    n.stalled = 0;
    n.progress = 0;
    n.ended = no_time.count();
    emit(job_event::kind::redriven, n, 0, e);
    make_ready(n, false, e);
  }
  void remove(row& n, effects& e) {
    emit(job_event::kind::removed, n, 0, e);
    forget(n, n.state, job_time{latest_}, nullptr, e);
  }

  void end(row& n, job_state how, job_time at, const job_text& why, const job_text& value, effects& e) {
    const bool completed = how == job_state::completed;
    const keep_rule& keep = completed ? keep_completed_ : keep_failed_;
    n.ended = at.count();
    if (!n.schedule.empty()) schedules_.ended(n.schedule, n.id, at);
    const job_text& text = completed ? value : why;
    if (n.has(completed ? row::remove_on_complete : row::remove_on_fail) || keep.count == 0) return forget(n, how, at, text, e);
    tell(n, how, at, text, e);
    if (!n.key.empty()) rows_.guard_over(n.key, n.id);
    move(n, how);
    n.major = ++now.back;
    n.minor = 0;
    put(n, why, value);
    // Two at the most a time: what a job adds is paid for, and a change of the clock makes nobody wait.
    if (now.of(how) <= static_cast<std::int64_t>(keep.count) && keep.age == std::chrono::nanoseconds::max()) return;
    for (row& oldest : rows_.first(how, 2)) {
      if (now.of(how) <= static_cast<std::int64_t>(keep.count) &&
          saturating_difference(at.count(), oldest.ended) <= keep.age.count())
        break;
      remove(oldest, e);
    }
  }
  void forget(row& n, job_state how, job_time at, const job_text& text, effects& e) {
    tell(n, how, at, text, e);
    ++changes_;
    --now.of(n.state);
    rows_.erase(n);
    if (!n.key.empty()) rows_.guard_over(n.key, n.id);
    if (!n.schedule.empty()) schedules_.ended(n.schedule, n.id, no_time);
  }
  /// Those who wait for its end: here, or in other processes.
  void tell(row& n, job_state how, job_time at, const job_text& text, effects& e) {
    if (n.watcher == 0) return;
    latest_ = std::max(latest_, at.count());
    if (n.watcher != self_) rows_.add_ending(++now.endings, n.id, how, text, latest_);
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
  const std::int64_t capacity_;
  const keep_rule keep_completed_;
  const keep_rule keep_failed_;
  const std::int64_t self_;
  std::int64_t endings_seen_ = -1;
  std::int64_t latest_ = 0;  // the latest time that an ending was told at
  std::size_t changes_ = 0;
};

}  // namespace penstock::inline v0_1::detail
