// penstock/ext/detail/sqlite_jobs.hpp: every step between the states of jobs, on the rows of a SQLite file. The same steps as memory_jobs.hpp has, in the same order.
//
// A step runs within a transaction, and may run again: the transaction that it was in was undone with another step of it, or did not reach the disk. So a
// step changes nothing but the file, its answer and its `effects`, which are emptied before; what follows from it happens when the transaction counts.
// It throws what the file says, std::system_error, and std::bad_alloc; or answers an errc, and then has changed nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/clock.hpp>
#include <penstock/ext/detail/sqlite_rows.hpp>
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
/// How a run ended.
struct sqlite_settlement {
  std::int64_t job;
  std::uint64_t fence;
  settle_as how;
  job_time at;
  const job_text* why;
  const job_text* value;
  bool stale = false;
};

class sqlite_jobs {
 public:
  using effects = sqlite_effects;
  using row = sqlite_row;
  static constexpr std::int64_t promoted_at_once = 1000;

  /// `self` is not 0: this store's among those that use the file.
  sqlite_jobs(sqlite_database& db, const sqlite_store_options& o, std::int64_t self)
      : rows_{db},
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

  // Adding.

  result<void> add(std::span<const sqlite_new_job> jobs, job_time at, std::span<job_added> added, effects& e) {
    if (!room_for(jobs.size())) {
      const auto fresh = static_cast<std::size_t>(std::count_if(jobs.begin(), jobs.end(), [&](const sqlite_new_job& j) {
        std::optional<row> there;
        return !duplicate_of(*j.options, at, there);
      }));
      if (!room_for(fresh)) {
        e.wanted_room = fresh;
        return errc::full;
      }
    }
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      job_added a = add_one(jobs[i], at, e);
      if (!added.empty()) added[i] = std::move(a);
    }
    return {};
  }

  // Running.

  [[nodiscard]] job_fetched fetch(const fetch_request& r, std::span<sqlite_settlement> first, std::vector<sqlite_fetched>& got,
                                  effects& e) {
    got.clear();
    settle(first, r.now, e);
    if (now.of(job_state::delayed) != 0) {
      for (row& d : rows_.due(job_state::delayed, r.now.count(), promoted_at_once)) promote(d, e);
    }
    if (now.something_ready() && r.most != 0) {
      std::vector<row> rows;
      rows_.ready(static_cast<std::int64_t>(std::min<std::size_t>(r.most, 1U << 30)), rows, got);
      for (std::size_t i = 0; i < rows.size(); ++i) {
        row& n = rows[i];
        n.fence = ++now.fences;
        n.started = r.now.count();
        n.major = r.lease_until.count();
        n.minor = ++now.back;
        move(n, job_state::active);
        rows_.put(n);
        got[i].fence = static_cast<std::uint64_t>(n.fence);
        emit(job_event::kind::started, n, n.made + 1, e);
      }
    }
    return {.more = now.something_ready(), .next_due = next_due()};
  }
  void settle(std::span<sqlite_settlement> settlements, job_time at, effects& e) {
    for (sqlite_settlement& s : settlements) {
      std::optional<row> n = rows_.find(s.job);
      s.stale = !n || !holds(*n, s.fence);
      if (s.stale) continue;
      switch (s.how) {
        case settle_as::completed:
          ++n->made;
          emit(job_event::kind::completed, *n, n->made, e, nullptr, *s.value);
          end(*n, job_state::completed, at, nullptr, *s.value, e);
          emit_if_drained(e);
          break;
        case settle_as::failed:
          ++n->made;
          emit(job_event::kind::failed, *n, n->made, e, *s.why);
          if (n->made >= n->attempts) emit(job_event::kind::retries_exhausted, *n, n->made, e, *s.why);
          end(*n, job_state::failed, at, *s.why, nullptr, e);
          emit_if_drained(e);
          break;
        case settle_as::retry:
          ++n->made;
          emit(job_event::kind::retried, *n, n->made, e, *s.why);
          again(*n, s.at, at, n->has(row::lifo), e, *s.why);
          break;
        case settle_as::released:
        case settle_as::waiting_children:
          release(*n, s.at, at, e);
          break;
      }
    }
  }
  void extend(std::span<lease_ticket> tickets, job_time until) {
    for (lease_ticket& t : tickets) {
      std::optional<row> n = rows_.find(t.id);
      t.lost = !n || !holds(*n, t.fence);
      if (t.lost) continue;
      n->major = until.count();
      put(*n);
    }
  }
  void hand_back(std::span<lease_ticket> tickets, job_time at, effects& e) {
    for (lease_ticket& t : tickets) {
      std::optional<row> n = rows_.find(t.id);
      t.lost = !n || !holds(*n, t.fence);
      if (!t.lost) release(*n, at, at, e);
    }
  }
  [[nodiscard]] stalled_jobs take_back(job_time at, unsigned max_stalled, const job_text& why, effects& e) {
    stalled_jobs taken;
    std::vector<row> late = rows_.due(job_state::active, at.count(), std::numeric_limits<std::int64_t>::max());
    std::sort(late.begin(), late.end(), [](const row& a, const row& b) { return a.minor < b.minor; });  // as they were fetched
    for (row& n : late) {
      emit(job_event::kind::stalled, n, n.made + 1, e);
      if (++n.stalled > std::int64_t{max_stalled}) {
        ++taken.failed;
        emit(job_event::kind::failed, n, n.made + 1, e, why);
        end(n, job_state::failed, at, why, nullptr, e);
        emit_if_drained(e);
      } else {
        ++taken.back;
        make_ready(n, true, e);
      }
    }
    return taken;
  }
  result<void> progress(const lease_ticket& t, double done, effects& e) {
    std::optional<row> n = rows_.find(t.id);
    if (!n || !holds(*n, t.fence)) return errc::stale;
    n->progress = done;
    put(*n);
    if (recording) {
      emit(job_event::kind::progress, *n, n->made + 1, e);
      e.events.back().progress = done;
    }
    return {};
  }
  result<void> log(const lease_ticket& t, std::string_view line) {
    std::optional<row> n = rows_.find(t.id);
    if (!n || !holds(*n, t.fence)) return errc::stale;
    ++changes_;
    rows_.log(*n, line);
    return {};
  }

  // By hand.

  void pause(bool paused, effects& e) {
    e.ready = !paused;
    if ((now.paused != 0) == paused) return;
    ++changes_;
    now.paused = paused ? 1 : 0;
    if (recording) e.events.push_back({.what = paused ? job_event::kind::paused : job_event::kind::resumed});
  }
  result<void> remove(const job_id& id, effects& e) {
    std::optional<row> n = rows_.find(id);
    if (!n) return errc::not_found;
    if (n->state == job_state::active) return errc::busy;
    remove(*n, e);
    return {};
  }
  result<void> promote(const job_id& id, effects& e) {
    std::optional<row> n = rows_.find(id);
    if (!n || n->state != job_state::delayed) return errc::not_found;
    promote(*n, e);
    return {};
  }
  result<void> redrive(const job_id& id, effects& e) {
    std::optional<row> n = rows_.find(id);
    if (!n || n->state != job_state::failed) return errc::not_found;
    if (!room_for(1)) return errc::full;
    redrive(*n, e);
    return {};
  }
  [[nodiscard]] std::size_t redrive_all(std::size_t most, effects& e) {
    return each(job_state::failed, most, [&](row& n) { redrive(n, e); }, [&](const row&) { return room_for(1); });
  }
  [[nodiscard]] std::size_t drain(bool delayed_too, effects& e) {
    const auto gone = [&](row& n) { remove(n, e); };
    std::size_t n = each(job_state::waiting, every, gone);
    if (delayed_too) n += each(job_state::delayed, every, gone);
    return n;
  }
  [[nodiscard]] std::size_t clean(job_state s, job_time ended_by, std::size_t most, effects& e) {
    if (s != job_state::completed && s != job_state::failed) return 0;
    return each(s, most, [&](row& n) { remove(n, e); }, [&](const row& n) { return n.ended <= ended_by.count(); });
  }
  result<void> obliterate(bool active_too, effects& e) {
    if (!active_too && now.of(job_state::active) != 0) return errc::busy;
    for (const job_state s :
         {job_state::waiting, job_state::delayed, job_state::active, job_state::completed, job_state::failed}) {
      static_cast<void>(each(s, every, [&](row& n) { remove(n, e); }));
    }
    return {};
  }

  /// How jobs that somebody of this store waits for ended elsewhere, since the last time.
  void look_for_endings(effects& e) {
    for (auto& end : rows_.endings_after(endings_seen_)) {
      e.endings_seen = end.number;
      e.notices.push_back({.job = static_cast<std::uint64_t>(end.job), .how = end.how, .text = std::move(end.text)});
    }
  }
  [[nodiscard]] job_time next_due() { return now.of(job_state::delayed) != 0 ? rows_.first_due() : no_time; }

 private:
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
  [[nodiscard]] job_added add_one(const sqlite_new_job& j, job_time at, effects& e) {
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
  const std::int64_t capacity_;
  const keep_rule keep_completed_;
  const keep_rule keep_failed_;
  const std::int64_t self_;
  std::int64_t endings_seen_ = -1;
  std::int64_t latest_ = 0;  // the latest time that an ending was told at
  std::size_t changes_ = 0;
};

}  // namespace penstock::inline v0_1::detail
