// penstock/ext/detail/sqlite_jobs.hpp: the steps of a store on a SQLite file. The same as memory_store's.
//
// A step runs within a transaction, and may run again: the transaction that it was in was undone with another step of it, or did not reach the disk.
// So a step changes nothing but the file, its answer and its `effects`, which are emptied before; what follows from it happens when the transaction
// counts. It throws what the file says, std::system_error, and std::bad_alloc; or answers an errc, and then has changed nothing.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/ext/detail/sqlite_scheduling.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

/// How a run ended.
struct sqlite_settlement {
  std::int64_t job;
  std::uint64_t fence;
  settle_as how;
  job_time at;
  const job_text* why;
  const job_text* value;
  std::span<const sqlite_new_job> then = {};
  bool stale = false;
};

template <class Database = sqlite_database>
class basic_sqlite_jobs : public basic_sqlite_scheduling<Database> {
  using base = basic_sqlite_scheduling<Database>;
  using families = basic_sqlite_families<Database>;
  using base::add_all;
  using base::add_scheduled;
  using base::again;
  using base::changes_;
  using base::duplicate_of;
  using base::each;
  using base::emit;
  using base::emit_if_drained;
  using base::end;
  using base::every;
  using base::families_;
  using base::gathered;
  using base::groups_;
  using base::holds;
  using base::later;
  using base::make_ready;
  using base::new_ones;
  using base::next_schedule;
  using base::note_schedules;
  using base::promote;
  using base::put;
  using base::redrive;
  using base::redriven_with;
  using base::release;
  using base::remove;
  using base::remove_family;
  using base::rows_;
  using base::schedules_;
  using base::wait;

 public:
  using base::base;
  using base::now;
  using base::recording;
  using base::room_for;
  using typename base::effects;
  using typename base::row;

  // Adding.

  result<void> add(std::span<const sqlite_new_job> jobs, job_time at, std::span<job_added> added, effects& e) {
    for (const sqlite_new_job& j : jobs) {
      if (!j.options->parent) continue;
      std::optional<row> there;
      if (duplicate_of(*j.options, at, there)) continue;
      const auto parent = rows_.find(j.options->parent);
      if (!parent) return errc::not_found;
      if (!families::takes_children(*parent)) return errc::stale;
    }
    if (!room_for(jobs.size())) {
      const std::size_t fresh = new_ones(jobs, at);
      if (!room_for(fresh)) {
        e.wanted_room = fresh;
        return errc::full;
      }
    }
    add_all(jobs, 0, at, added, e);
    return {};
  }

  // Running.

  /// `zoned`: as they were looked at before. `scheduling`: false if the file has no room for what schedules want; that is tried again in a second.
  [[nodiscard]] job_fetched fetch(const fetch_request& r, std::span<sqlite_settlement> first, const sqlite_zoned& zoned,
                                  bool scheduling, std::vector<sqlite_fetched>& got, effects& e) {
    got.clear();
    settle(first, r.now, e);
    if (scheduling && job_time{now.schedule_next} <= r.now && now.paused == 0) add_scheduled(r.now, zoned.due, e);
    if (now.of(job_state::delayed) != 0) {
      for (row& d : rows_.due(job_state::delayed, r.now.count(), promoted_at_once)) promote(d, e);
    }
    if (now.groups_used != 0) {
      ++changes_;
      groups_.wake(r.now);
    }
    std::vector<row> rows;
    if (now.something_ready() && now.groups_used == 0 && r.most != 0) {
      rows_.ready(static_cast<std::int64_t>(std::min<std::size_t>(r.most, 1U << 30)), rows, got);
      for (std::size_t i = 0; i < rows.size(); ++i) start(rows[i], r, got[i], e);
    }
    while (now.something_ready() && now.groups_used != 0 && rows.size() < r.most) {
      const std::optional<std::string> group = groups_.pop(r.now);
      if (!group) break;
      group->empty() ? rows_.ready(1, rows, got) : rows_.ready_of(*group, rows, got);
      start(rows.back(), r, got.back(), e);
    }
    const job_time scheduled = scheduling ? next_schedule(r.now, zoned) : job_time{later(r.now, std::chrono::seconds{1})};
    return {.more = now.something_ready(), .next_due = std::min({next_due(), scheduled, job_time{now.rests_until}})};
  }
  void settle(std::span<sqlite_settlement> settlements, job_time at, effects& e) {
    for (sqlite_settlement& s : settlements) {
      std::optional<row> n = rows_.find(s.job);
      s.stale = !n || !holds(*n, s.fence);
      if (s.stale) continue;
      std::int64_t held = 0;  // its parent, which may get others with the last of its children
      if (auto parent = s.then.empty() ? std::nullopt : families_.parent_of(*n)) {
        parent->flags |= row::kin | row::gathering;
        put(*parent);
        held = parent->id;
      }
      settle(*n, s, at, e);
      if (s.how == settle_as::waiting_children) {
        add_all(s.then, n->id, at, {}, e);
        gathered(n->id, at, e);
      } else {
        add_all(s.then, 0, at, {}, e);
        if (s.how == settle_as::completed || s.how == settle_as::failed) emit_if_drained(e);
      }
      if (held != 0) gathered(held, at, e);
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
    const auto stall = [&](row& n) {
      if (n.has(row::kin)) n = *rows_.find(n.id);  // the end of another one may have changed it
      emit(job_event::kind::stalled, n, n.made + 1, e);
      ++n.stalled;
    };
    const auto too_often = [&](const row& n) { return n.stalled >= std::int64_t{max_stalled}; };
    for (row& n : late) {
      if (!too_often(n)) continue;
      ++taken.failed;
      stall(n);
      emit(job_event::kind::failed, n, n.made + 1, e, why);
      end(n, job_state::failed, at, why, nullptr, e);
      emit_if_drained(e);
    }
    std::erase_if(late, too_often);
    for (auto n = late.rbegin(); n != late.rend(); ++n) {  // each goes before all others, so the first one last
      ++taken.back;
      stall(*n);
      n->due = at.count();
      make_ready(*n, true, e);
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
    if (!remove_family(*n, e)) return errc::busy;
    return {};
  }
  result<void> cancel(const job_id& id, effects& e) {
    const std::optional<row> n = rows_.find(id);
    if (n && (n->state == job_state::completed || n->state == job_state::failed)) return errc::stale;
    return remove(id, e);
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
    if (!room_for(redriven_with(*n))) return errc::full;
    redrive(*n, e);
    return {};
  }
  [[nodiscard]] std::size_t redrive_all(std::size_t most, effects& e) {
    return each(
        job_state::failed, most, [&](row& n) { redrive(n, e); }, [&](const row& n) { return room_for(redriven_with(n)); });
  }
  [[nodiscard]] std::size_t drain(bool delayed_too, effects& e) {
    const auto gone = [&](row& n) { remove(n, e); };
    std::size_t n = 0;
    for (std::size_t before = n + 1; n != before;) {  // again: those whose children all went
      before = n;
      n += each(job_state::waiting, every, gone);
      if (delayed_too) n += each(job_state::delayed, every, gone);
    }
    return n;
  }
  [[nodiscard]] std::size_t clean(job_state s, job_time ended_by, std::size_t most, effects& e) {
    if (s != job_state::completed && s != job_state::failed) return 0;
    return each(s, most, [&](row& n) { remove(n, e); }, [&](const row& n) { return n.ended <= ended_by.count(); });
  }
  result<void> obliterate(bool active_too, effects& e) {
    if (!active_too && now.of(job_state::active) != 0) return errc::busy;
    for (const job_state s :  // those that wait for others first, so that none goes on
         {job_state::waiting_children, job_state::waiting, job_state::delayed, job_state::active, job_state::completed,
          job_state::failed}) {
      static_cast<void>(each(s, every, [&](row& n) { remove(n, e); }));
    }
    schedules_.erase_all();
    note_schedules();
    return {};
  }

  // Groups.

  void set_group(std::string_view name, const job_group_rule& rule) {
    ++changes_;
    groups_.set_rule(name, rule);
  }
  /// Whether a group that could not start jobs can since this was asked.
  [[nodiscard]] bool group_released() noexcept { return groups_.released() && now.something_ready(); }
  [[nodiscard]] job_time next_due() { return now.of(job_state::delayed) != 0 ? rows_.first_due() : no_time; }

 private:
  static constexpr std::int64_t promoted_at_once = 1000;

  void settle(row& n, const sqlite_settlement& s, job_time at, effects& e) {
    using kind = job_event::kind;
    switch (s.how) {
      case settle_as::completed:
        ++n.made;
        emit(kind::completed, n, n.made, e, nullptr, *s.value);
        return end(n, job_state::completed, at, nullptr, *s.value, e);
      case settle_as::failed:
        ++n.made;
        emit(kind::failed, n, n.made, e, *s.why);
        if (n.made >= n.attempts) emit(kind::retries_exhausted, n, n.made, e, *s.why);
        return end(n, job_state::failed, at, *s.why, nullptr, e);
      case settle_as::retry:
        ++n.made;
        emit(kind::retried, n, n.made, e, *s.why);
        return again(n, s.at, at, n.has(row::lifo), e, *s.why);
      case settle_as::released:
        return release(n, s.at, at, e);
      case settle_as::waiting_children:
        n.due = n.added;  // it has begun
        n.flags |= row::kin | row::gathering;
        return wait(n, n.made + 1, e);
    }
  }

  void start(row& n, const fetch_request& r, sqlite_fetched& got, effects& e) {
    n.fence = ++now.fences;
    n.started = r.now.count();
    n.major = r.lease_until.count();
    n.minor = ++now.back;
    --now.of(job_state::waiting);  // its group knows already
    ++now.of(job_state::active);
    n.state = job_state::active;
    put(n);
    got.fence = static_cast<std::uint64_t>(n.fence);
    emit(job_event::kind::started, n, n.made + 1, e);
  }
};

using sqlite_jobs = basic_sqlite_jobs<>;

}  // namespace penstock::inline v0_1::detail
