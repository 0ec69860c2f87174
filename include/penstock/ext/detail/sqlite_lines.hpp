// penstock/ext/detail/sqlite_lines.hpp: the lines that jobs in a SQLite file stand in (sqlite_schema.hpp), and what a step leaves to be done. The same as
// memory_lines.hpp has.
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
#include <penstock/core/detail/dependent.hpp>
#include <penstock/ext/detail/sqlite_families.hpp>
#include <penstock/ext/detail/sqlite_groups.hpp>
#include <penstock/ext/detail/sqlite_rows.hpp>
#include <penstock/ext/detail/sqlite_schedules.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

/// What follows from a step.
template <class Event = job_event>
struct basic_sqlite_effects {
  /// With `watch`: it waits from now on for the job's end, or (job 0) is to be called at once. Without: whoever waits for the job is to be called.
  struct notice {
    std::uint64_t job = 0;
    job_watch* watch = nullptr;
    job_state how = job_state::waiting;
    job_text text = {};
    bool known = true;  ///< false: the job that counts has ended, and is kept no longer
  };
  std::vector<notice> notices;
  std::vector<Event> events;
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

using sqlite_effects = basic_sqlite_effects<>;

template <class Database = sqlite_database>
class basic_sqlite_lines {
 public:
  using effects = dependent<sqlite_effects, Database>;
  using row = dependent<sqlite_row, Database>;

  /// `self` is not 0: this store's among those that use the file.
  basic_sqlite_lines(Database& db, const sqlite_store_options& o, std::int64_t self)
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
    n.due = std::max(at, t).count();
    if (at <= t) return make_ready(n, first, e, why);
    move(n, job_state::delayed);
    place(n, first, e);
    put(n, why);
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

  basic_sqlite_rows<Database> rows_;
  basic_sqlite_schedules<Database> schedules_;
  basic_sqlite_families<Database> families_;
  basic_sqlite_groups<Database> groups_;
  const std::int64_t capacity_;
  const keep_rule keep_completed_;
  const keep_rule keep_failed_;
  const std::int64_t self_;
  std::int64_t endings_seen_ = -1;
  std::int64_t endings_read_ = -1;  // in the transaction that goes on
  std::size_t changes_ = 0;
};

}  // namespace penstock::inline v0_1::detail
