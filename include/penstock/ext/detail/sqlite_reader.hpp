// penstock/ext/detail/sqlite_reader.hpp: looking at jobs over a connection of its own, beside who writes: each look sees what was committed before
// it.
//
// Thread safety  every member may be called concurrently: one after the other.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/ext/detail/sqlite_rows.hpp>
#include <penstock/ext/detail/sqlite_schedules.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Database = sqlite_database>
class basic_sqlite_reader {
  using statement = dependent<sqlite_statement, Database>;
  using schedule_type = dependent<sqlite_schedule, Database>;
  using schedule_info = dependent<job_schedule_info, Database>;
  using group_info = dependent<job_group_info, Database>;
  using info_type = dependent<job_info, Database>;
  using child_type = dependent<job_child, Database>;
  using text_type = dependent<std::string, Database>;
  using fetched = dependent<job_fetched, Database>;

 public:
  basic_sqlite_reader(const std::string& path, const sqlite_store_options& o) : db_{path, SQLITE_OPEN_READWRITE, o.vfs} {
    tune(db_, o);
    rows_.emplace(db_);
    schedules_.emplace(db_);
    for (const char* order : {"major, minor", "minor"}) {
      lists_.push_back(std::make_unique<statement>(
          db_, std::string{info_columns} + " FROM jobs WHERE state IN (?1, ?4) ORDER BY " + order + " LIMIT ?2 OFFSET ?3"));
    }
    info_.emplace(db_, std::string{info_columns} + " FROM jobs WHERE id=?1");
    payload_.emplace(db_, "SELECT payload FROM jobs WHERE id=?1");
    large_.emplace(db_, "SELECT payload FROM payloads WHERE job=?1");
    logs_.emplace(db_, "SELECT text FROM logs WHERE job=?1 ORDER BY line");
    children_.emplace(db_,
                      "SELECT child, children.job_id, children.name, CASE WHEN children.state IN (3, 4) THEN children.state "
                      "ELSE coalesce(jobs.state, children.state) END, text FROM children LEFT JOIN jobs ON jobs.id=child "
                      "WHERE children.parent=?1 ORDER BY place");
    groups_.emplace(db_,
                    "SELECT name, weight, concurrency, max, duration, waiting, active FROM groups "
                    "WHERE own_rule<>0 OR waiting<>0 OR active<>0 ORDER BY name");
    head_.emplace(db_, "SELECT due FROM jobs WHERE state=0 ORDER BY major, minor LIMIT 1");
    head_of_.emplace(db_, "SELECT due FROM jobs WHERE state=6 AND grp=?1 ORDER BY major, minor LIMIT 1");
    turn_.emplace(
        db_,
        "SELECT name FROM groups WHERE at IN (1, 2) ORDER BY at DESC, key, \"order\" LIMIT 1");  // one whose turn has begun, or will
    first_due_.emplace(db_, "SELECT major FROM jobs WHERE state=1 ORDER BY major, minor LIMIT 1");
  }

  struct outlook {
    std::vector<schedule_type> zoned = {};  ///< schedules in time zones that are due
    std::optional<fetched> idle = {};       ///< nothing else is to be done: what fetch() would say without doing anything
  };
  [[nodiscard]] outlook before_fetch(job_time now) {
    std::scoped_lock guard{lock_};
    outlook o;
    const sqlite_tallies t = rows_->tallies();
    job_time schedule = t.next_schedule();
    if (schedule <= now) {
      o.zoned = schedules_->due_in_zones(now);
      schedule = schedules_->next_but(now);
    }
    if (t.something_ready()) return o;
    job_fetched f;
    if (t.of(job_state::delayed) != 0) f.next_due = job_time{first_due_->integer().value_or(0)};
    f.next_due = std::min({f.next_due, schedule, job_time{t.rests_until}});
    if (f.next_due > now) o.idle = f;
    return o;
  }
  [[nodiscard]] std::vector<schedule_info> schedules() {
    std::scoped_lock guard{lock_};
    std::vector<schedule_info> found;
    for (schedule_type& s : schedules_->all()) {
      found.push_back(
          {.options = std::move(s.options), .made = static_cast<std::uint64_t>(s.made), .next_at = s.next, .last = s.last});
    }
    return found;
  }
  /// In the order of their names.
  [[nodiscard]] std::vector<group_info> groups() {
    std::scoped_lock guard{lock_};
    std::vector<group_info> found;
    const sqlite_tallies t = rows_->tallies();
    const auto size = [](std::int64_t n) {
      return n == no_time.count() ? std::numeric_limits<std::size_t>::max() : static_cast<std::size_t>(n);
    };
    if (t.groups_used == 0 && t.of(job_state::waiting) + t.of(job_state::active) != 0) {
      found.push_back({.waiting = size(t.of(job_state::waiting)), .active = size(t.of(job_state::active))});
    }
    auto q = groups_->ask();
    while (q.next()) {
      found.push_back({.group = std::string{q.bytes(0)},
                       .rule = {.weight = static_cast<std::uint32_t>(q.integer(1)),
                                .concurrency = size(q.integer(2)),
                                .max = size(q.integer(3)),
                                .duration = std::chrono::nanoseconds{q.integer(4)}},
                       .waiting = size(q.integer(5)),
                       .active = size(q.integer(6))});
    }
    return found;
  }
  [[nodiscard]] sqlite_tallies tallies() {
    std::scoped_lock guard{lock_};
    return rows_->tallies();
  }
  /// See job_counts.
  [[nodiscard]] std::pair<sqlite_tallies, job_time> tallies_and_next() {
    std::scoped_lock guard{lock_};
    const sqlite_tallies t = rows_->tallies();
    std::optional<std::int64_t> waits;
    if (t.groups_used == 0) {
      if (t.of(job_state::waiting) != 0) waits = head_->integer();
    } else if (t.weights != 0) {
      auto group = turn_->ask();
      if (group.next()) waits = group.bytes(0).empty() ? head_->integer() : head_of_->integer(group.bytes(0));
    }
    if (waits == sqlite_row::due_unknown) return {t, no_time};
    const auto delayed = t.of(job_state::delayed) != 0 ? first_due_->integer() : std::nullopt;
    return {t, job_time{std::min(waits.value_or(no_time.count()), delayed.value_or(no_time.count()))}};
  }
  [[nodiscard]] std::optional<info_type> find(const job_id& id) {
    std::scoped_lock guard{lock_};
    const std::int64_t number = number_of(id);
    auto q = info_->ask(number);
    if (!q.next()) return std::nullopt;
    return info(q);
  }
  [[nodiscard]] std::vector<info_type> list(job_state s, std::size_t first, std::size_t count) {
    std::scoped_lock guard{lock_};
    std::vector<info_type> found;
    auto q = lists_[s == job_state::active ? 1 : 0]->ask(static_cast<std::int64_t>(s), bounded(count), bounded(first),
                                                         s == job_state::waiting ? waiting_in_group : -1);
    while (q.next()) found.push_back(info(q));
    return found;
  }
  [[nodiscard]] std::optional<std::vector<text_type>> logs(const job_id& id) {
    std::scoped_lock guard{lock_};
    const std::int64_t number = number_of(id);
    if (!rows_->find(number)) return std::nullopt;
    std::vector<text_type> lines;
    auto q = logs_->ask(number);
    while (q.next()) lines.emplace_back(q.bytes(0));
    return lines;
  }
  [[nodiscard]] std::optional<std::vector<child_type>> children(const job_id& id) {
    std::scoped_lock guard{lock_};
    const std::int64_t number = number_of(id);
    if (!rows_->find(number)) return std::nullopt;
    std::vector<child_type> found;
    auto q = children_->ask(number);
    while (q.next()) {
      found.push_back({.id = job_id{static_cast<std::uint64_t>(q.integer(0)), q.text(1)},
                       .name = q.text(2),
                       .state = state_of(q.integer(3)),
                       .text = q.text(4)});
    }
    return found;
  }
  [[nodiscard]] std::optional<text_type> payload(const job_id& id) {
    std::scoped_lock guard{lock_};
    const std::int64_t number = number_of(id);
    const auto row = rows_->find(number);
    if (!row) return std::nullopt;
    auto q = (row->has(sqlite_row::large) ? large_ : payload_)->ask(number);
    if (!q.next()) return std::nullopt;
    return std::string{q.bytes(0)};
  }

 private:
  static constexpr const char* info_columns =
      "SELECT id, job_id, state, priority, made, stalled, progress, why, value, name, added, due, started, ended, major, parent, "
      "pending, grp";

  [[nodiscard]] static std::int64_t bounded(std::size_t n) noexcept {
    return static_cast<std::int64_t>(n > static_cast<std::size_t>(no_time.count()) ? static_cast<std::size_t>(no_time.count())
                                                                                   : n);
  }
  [[nodiscard]] static job_time time_of(const typename statement::query& q, int column) noexcept {
    return q.null(column) ? no_time : job_time{q.integer(column)};
  }
  [[nodiscard]] static job_time due_of(std::int64_t due) noexcept {
    return due != sqlite_row::due_unknown ? job_time{due} : no_time;
  }
  [[nodiscard]] static info_type info(const typename statement::query& q) {
    info_type i{.id = job_id{static_cast<std::uint64_t>(q.integer(0)), q.text(1)},
                .state = state_of(q.integer(2)),
                .priority = static_cast<std::uint32_t>(q.integer(3)),
                .attempts_made = static_cast<unsigned>(q.integer(4)),
                .stalled = static_cast<unsigned>(q.integer(5)),
                .progress = q.real(6),
                .why = q.text(7),
                .value = q.text(8),
                .name = q.text(9)};
    i.added_at = time_of(q, 10);
    i.due_at = due_of(q.integer(11));
    i.started_at = time_of(q, 12);
    i.ended_at = time_of(q, 13);
    if (q.integer(15) != 0) i.parent = job_id{static_cast<std::uint64_t>(q.integer(15))};
    i.group = q.text(17);
    i.children = static_cast<std::size_t>(q.integer(16));
    if (i.state == job_state::active) i.leased_until = time_of(q, 14);
    return i;
  }
  /// 0: there is none.
  [[nodiscard]] std::int64_t number_of(const job_id& id) {
    if (id.number() != 0) return static_cast<std::int64_t>(id.number());
    return id.name() != nullptr ? rows_->named(*id.name()).value_or(0) : 0;
  }

  std::mutex lock_;
  Database db_;
  std::optional<basic_sqlite_rows<Database>> rows_;
  std::optional<basic_sqlite_schedules<Database>> schedules_;
  std::vector<std::unique_ptr<statement>> lists_;
  std::optional<statement> info_;
  std::optional<statement> payload_;
  std::optional<statement> large_;
  std::optional<statement> logs_;
  std::optional<statement> children_;
  std::optional<statement> groups_;
  std::optional<statement> head_;
  std::optional<statement> head_of_;
  std::optional<statement> turn_;
  std::optional<statement> first_due_;
};

using sqlite_reader = basic_sqlite_reader<>;

}  // namespace penstock::inline v0_1::detail
