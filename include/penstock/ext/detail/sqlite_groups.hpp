// penstock/ext/detail/sqlite_groups.hpp: whose turn it is, in rows of a SQLite file. The laws are in job_group.hpp, and turns are taken as
// job_groups.hpp takes them in memory (WF2Q+: J. Bennett, H. Zhang, SIGCOMM 1996): of the groups whose turn has begun the one is served whose turn
// ends first; the virtual time goes on by the weights of those that take part, and idleness gives no credit.
//
// Until a group is used, all of this is a branch: sqlite_tallies::groups_used. From then on jobs without a group are a group, too, whose name is
// empty. Its jobs stay in the line of those that wait; jobs of others stand in a line for each group (sqlite_lane).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/ext/detail/sqlite_database.hpp>
#include <penstock/ext/detail/sqlite_rows.hpp>
#include <penstock/job/job_group.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Database = sqlite_database>
class basic_sqlite_groups {
  using statement = dependent<sqlite_statement, Database>;

 public:
  /// `now`: of the transaction that goes on; what of it is about groups is this one's to change.
  basic_sqlite_groups(Database& db, sqlite_tallies& now, const job_group_rule& usual) : db_{db}, now_{now}, usual_{usual} {}

  /// Whether some have become ready since this was asked.
  [[nodiscard]] bool released() noexcept { return std::exchange(released_, false); }

  /// One of that group is added.
  void admit(std::string_view name) {
    group g = insert(name);
    ++g.members;
    put(g);
  }
  /// One is known no longer. It is neither waiting nor active.
  void forget(std::string_view name) {
    if (auto g = name.empty() ? std::nullopt : find(name)) {
      if (--g->members == 0) {
        place(*g);
      } else {
        put(*g);
      }
    }
  }
  // Only while groups are used:

  /// It waits. False: its group cannot go on before others of it have ended.
  bool push(std::string_view name) {
    group g = insert(name);
    if (++g.waiting == 1) {
      place(g);
    } else {
      put(g);
    }
    return g.at != nowhere;
  }
  /// It waits no longer, and does not start.
  void erase(std::string_view name) {
    group g = insert(name);
    if (--g.waiting == 0) {
      place(g);
    } else {
      put(g);
    }
  }
  void ended(std::string_view name) {
    group g = insert(name);
    if (g.active-- == g.concurrency) {
      place(g);
    } else {
      put(g);
    }
  }
  /// The group whose turn it is, and whose first job starts; none: no job may.
  [[nodiscard]] std::optional<std::string> pop(job_time t) {
    if (now_.weights == 0) return std::nullopt;
    if (!first_of(eligible)) now_.turn = std::max(now_.turn, first_key_.integer(coming).value_or(now_.turn));
    begin_turns_.run(now_.turn, unit);
    auto g = first_of(eligible);
    if (!g) return std::nullopt;
    --g->waiting;
    ++g->active;
    if (g->paced()) {
      const std::int64_t last = last_start_.integer(sqlite_blob{g->name}).value_or(t.count());
      const std::int64_t at = std::max(t.count(), last);  // a clock that steps back gives nothing
      drop_starts(*g, at);
      add_start_.run(sqlite_blob{g->name}, at, ++now_.back);
      ++g->starts;
    }
    now_.turn += unit / now_.weights;
    take_out(*g);
    g->start += unit / g->weight;
    place(*g, true);
    return std::move(g->name);
  }
  /// Groups that have rested long enough go on; some that nobody needs are forgotten.
  void wake(job_time t) {
    if (job_time{now_.rests_until} <= t) {
      for (group& g : until(resting, t, 1000)) {
        drop_starts(g, t.count());
        place(g);
      }
    }
    for (group& g : until(leaving, t, 64)) drop(g);
  }
  void set_rule(std::string_view name, const job_group_rule& rule) {
    if (now_.groups_used == 0) use();
    group g = insert(name);
    take_out(g);
    g.weight = rule.weight;
    g.concurrency = bounded(rule.concurrency);
    g.max = bounded(rule.max);
    g.duration = rule.duration.count();
    const job_group_rule& usual = name.empty() ? job_group_rule{} : usual_;
    g.own_rule = rule.weight != usual.weight || rule.concurrency != usual.concurrency || rule.max != usual.max ||
                 rule.duration != usual.duration;
    if (!g.paced()) {
      drop_all_starts_.run(sqlite_blob{name});
      g.starts = 0;
    }
    place(g);
    note_rests();
    rest_if_unused();
  }

 private:
  static constexpr std::int64_t unit = std::int64_t{1} << 28;  // of virtual time: a turn of weight 1
  static constexpr std::int64_t unlimited = std::numeric_limits<std::int64_t>::max();
  // Where a group is.
  static constexpr std::int64_t nowhere = 0;
  static constexpr std::int64_t coming = 1;    // its turn has not begun; by when it does
  static constexpr std::int64_t eligible = 2;  // it has; by when it ends
  static constexpr std::int64_t resting = 3;   // too many starts; by when it may go on
  static constexpr std::int64_t leaving = 4;   // without jobs and a rule; by when its last start counts no more

  struct group {
    std::string name = {};
    std::int64_t weight = 1;
    std::int64_t concurrency = unlimited;
    std::int64_t max = unlimited;
    std::int64_t duration = 0;
    bool own_rule = false;
    std::int64_t members = 0;  // known jobs, in whatever state
    std::int64_t waiting = 0;
    std::int64_t active = 0;
    std::int64_t starts = 0;  // that are remembered
    std::int64_t at = nowhere;
    std::int64_t key = 0;
    std::int64_t order = 0;
    std::int64_t start = 0;  // of its next turn
    [[nodiscard]] bool paced() const noexcept { return max != unlimited; }
  };
  [[nodiscard]] static std::int64_t bounded(std::size_t n) noexcept {
    return n > static_cast<std::size_t>(unlimited) ? unlimited : static_cast<std::int64_t>(n);
  }
  static group read(const typename statement::query& q) {
    group g;
    g.name = q.bytes(0);
    g.weight = q.integer(1);
    g.concurrency = q.integer(2);
    g.max = q.integer(3);
    g.duration = q.integer(4);
    g.own_rule = q.integer(5) != 0;
    g.members = q.integer(6);
    g.waiting = q.integer(7);
    g.active = q.integer(8);
    g.starts = q.integer(9);
    g.at = q.integer(10);
    g.key = q.integer(11);
    g.order = q.integer(12);
    g.start = q.integer(13);
    return g;
  }
  [[nodiscard]] std::optional<group> find(std::string_view name) {
    auto q = find_.ask(sqlite_blob{name});
    if (!q.next()) return std::nullopt;
    return read(q);
  }
  [[nodiscard]] std::optional<group> first_of(std::int64_t at) {
    auto q = first_.ask(at);
    if (!q.next()) return std::nullopt;
    return read(q);
  }
  [[nodiscard]] std::vector<group> until(std::int64_t at, job_time t, std::int64_t most) {
    std::vector<group> found;
    auto q = until_.ask(at, std::int64_t{t.count()}, most);
    while (q.next()) found.push_back(read(q));
    return found;
  }
  void put(const group& g) {
    put_.run(sqlite_blob{g.name}, g.weight, g.concurrency, g.max, g.duration, std::int64_t{g.own_rule}, g.members, g.waiting,
             g.active, g.starts, g.at, g.key, g.order, g.start);
  }
  group insert(std::string_view name) {
    if (auto g = find(name)) return *std::move(g);
    if (now_.groups_used == 0) use();
    group g;
    g.name = name;
    g.weight = usual_.weight;
    g.concurrency = bounded(usual_.concurrency);
    g.max = bounded(usual_.max);
    g.duration = usual_.duration.count();
    return g;
  }
  // From now on turns are taken: until now all jobs were without a group.
  void use() {
    now_.groups_used = 1;
    now_.weights = 0;
    group none;
    none.waiting = now_.of(job_state::waiting);
    none.active = now_.of(job_state::active);
    place(none);
  }
  void rest_if_unused() {
    const auto none = find("");
    if (others_.integer() || (none && none->own_rule)) return;
    erase_.run(sqlite_blob{std::string_view{}});
    now_.groups_used = 0;
    now_.weights = 0;
  }

  // Where it belongs, and writes it. `served`: it was just given a turn, so what is due to it is known.
  void place(group& g, bool served = false) {
    const bool was_ready = g.at == coming || g.at == eligible;
    const bool rested = g.at == resting;
    take_out(g);
    if (g.waiting == 0) {
      if (g.members == 0 && !g.own_rule && !g.name.empty() && g.active == 0) {
        g.at = leaving;
        g.key = g.starts == 0 ? std::numeric_limits<std::int64_t>::min()
                              : saturating_add(last_start_.integer(sqlite_blob{g.name}).value_or(0), g.duration);
      }
    } else if (g.active >= g.concurrency) {
      // Somebody of it has to end.
    } else if (g.paced() && g.starts >= g.max) {
      // The start that has to be forgotten first. More than `max` of them: the rule was another one.
      g.at = resting;
      g.key = saturating_add(start_at_.integer(sqlite_blob{g.name}, g.starts - g.max).value_or(0), g.duration);
    } else {
      if (!served && !was_ready) {
        g.start = std::max(g.start, now_.turn);
        released_ = true;
      }
      now_.weights += g.weight;
      g.at = coming;
      g.key = g.start;
    }
    g.order = ++now_.back;  // those of the same time in the order in which they came
    put(g);
    if (rested || g.at == resting) note_rests();
  }
  void note_rests() { now_.rests_until = first_key_.integer(resting).value_or(no_time.count()); }
  void take_out(group& g) noexcept {
    if (g.at == coming || g.at == eligible) now_.weights -= g.weight;
    g.at = nowhere;
  }
  void drop_starts(group& g, std::int64_t t) {
    drop_starts_.run(sqlite_blob{g.name}, t - g.duration);
    g.starts -= db_.changes();
  }
  void drop(const group& g) {
    drop_all_starts_.run(sqlite_blob{g.name});
    erase_.run(sqlite_blob{g.name});
    rest_if_unused();
  }

  Database& db_;
  sqlite_tallies& now_;
  const job_group_rule usual_;
  bool released_ = false;
  statement find_{db_, "SELECT * FROM groups WHERE name=?1"};
  statement first_{db_, "SELECT * FROM groups WHERE at=?1 ORDER BY key, \"order\" LIMIT 1"};
  statement first_key_{db_, "SELECT min(key) FROM groups WHERE at=?1"};
  statement until_{db_, "SELECT * FROM groups WHERE at=?1 AND key<=?2 ORDER BY key, \"order\" LIMIT ?3"};
  statement begin_turns_{db_, "UPDATE groups SET at=2, key=start + ?2 / weight WHERE at=1 AND key<=?1"};
  statement put_{db_, "INSERT OR REPLACE INTO groups VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"};
  statement erase_{db_, "DELETE FROM groups WHERE name=?1"};
  statement others_{db_, "SELECT 1 FROM groups WHERE name<>x'' LIMIT 1"};
  statement add_start_{db_, "INSERT INTO group_starts VALUES(?1, ?2, ?3)"};
  statement last_start_{db_, "SELECT max(at) FROM group_starts WHERE name=?1"};
  statement start_at_{db_, "SELECT at FROM group_starts WHERE name=?1 ORDER BY at, number LIMIT 1 OFFSET ?2"};
  statement drop_starts_{db_, "DELETE FROM group_starts WHERE name=?1 AND at<=?2"};
  statement drop_all_starts_{db_, "DELETE FROM group_starts WHERE name=?1"};
};

}  // namespace penstock::inline v0_1::detail
