// penstock/ext/detail/sqlite_rows.hpp: the statements that read and write jobs as rows of a SQLite file (sqlite_row.hpp), keys, and news of ends.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/ext/detail/sqlite_database.hpp>
#include <penstock/ext/detail/sqlite_row.hpp>
#include <penstock/ext/detail/sqlite_schema.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Database = sqlite_database>
class basic_sqlite_rows {
  using statement = dependent<sqlite_statement, Database>;
  using row_type = dependent<sqlite_row, Database>;
  using fetched_type = dependent<sqlite_fetched, Database>;

 public:
  explicit basic_sqlite_rows(Database& db) : db_{db} {}

  [[nodiscard]] sqlite_tallies tallies() {
    auto q = tallies_.ask();
    sqlite_tallies t;
    if (!q.next()) throw_sqlite(SQLITE_CORRUPT, "penstock::sqlite_store: " + db_.path());
    t.version = q.integer(0);
    t.next_id = q.integer(1);
    t.fences = q.integer(2);
    t.front = q.integer(3);
    t.back = q.integer(4);
    t.endings = q.integer(5);
    t.paused = q.integer(6);
    for (int i = 0; i < 5; ++i) t.in[static_cast<std::size_t>(i)] = q.integer(7 + i);
    t.schedule_next = q.integer(12);
    t.schedules_starve = q.integer(13);
    t.of(job_state::waiting_children) = q.integer(14);
    t.groups_used = q.integer(15);
    t.weights = q.integer(16);
    t.turn = q.integer(17);
    t.rests_until = q.integer(18);
    return t;
  }
  void put(const sqlite_tallies& t) {
    put_tallies_.run(t.version, t.next_id, t.fences, t.front, t.back, t.endings, t.paused, t.in[0], t.in[1], t.in[2], t.in[3],
                     t.in[4], t.schedule_next, t.schedules_starve, t.in[5], t.groups_used, t.weights, t.turn, t.rests_until);
  }

  [[nodiscard]] std::optional<row_type> find(std::int64_t id) {
    auto q = find_.ask(id);
    if (!q.next()) return std::nullopt;
    return row(q);
  }
  [[nodiscard]] std::optional<row_type> find(const job_id& id) {
    if (id.number() != 0) return find(static_cast<std::int64_t>(id.number()));
    if (id.name() == nullptr) return std::nullopt;
    const auto number = named_.integer(std::string_view{*id.name()});
    return number ? find(*number) : std::nullopt;
  }
  [[nodiscard]] std::optional<std::int64_t> named(std::string_view name) { return named_.integer(name); }
  /// The first ones of a line.
  [[nodiscard]] std::vector<row_type> first(job_state s, std::int64_t most) {
    std::vector<row_type> found = all(first_.ask(static_cast<std::int64_t>(s), most));
    if (found.empty() && s == job_state::waiting) found = all(first_.ask(waiting_in_group, most));
    return found;
  }
  /// Of the delayed or active ones: whose time has come.
  [[nodiscard]] std::vector<row_type> due(job_state s, std::int64_t now, std::int64_t most) {
    return all(due_.ask(static_cast<std::int64_t>(s), now, most));
  }
  [[nodiscard]] job_time first_due() {
    const auto t = first_major_.integer();
    return t ? job_time{*t} : no_time;
  }
  /// What is known of how a job ended: of a completed one what it gave, of others the last failure.
  [[nodiscard]] job_text text(const row_type& r) {
    auto q = texts_.ask(r.id);
    return q.next() ? q.text(r.state == job_state::completed ? 1 : 0) : nullptr;
  }

  void insert(const row_type& r, const enqueue_options& o, std::string_view backoff_text, std::string_view payload) {
    insert_.run(r.id, lane(r), r.major, r.minor, r.priority, r.flags, r.due, r.added, r.watcher, std::int64_t{o.attempts},
                std::int64_t{o.timeout.count()}, backoff_text, static_cast<std::int64_t>(o.keep_logs), std::string_view{o.name},
                std::string_view{o.job_id}, std::string_view{r.key}, std::string_view{r.schedule},
                sqlite_blob{r.has(row_type::large) ? std::string_view{} : payload}, r.parent, std::string_view{r.group});
    if (r.has(row_type::large)) insert_payload_.run(r.id, sqlite_blob{payload});
  }
  /// What the latest failure, or the job, gave is left as it was if it is null.
  void put(const row_type& r, const job_text& why = nullptr, const job_text& value = nullptr) {
    put_.run(r.id, lane(r), r.major, r.minor, r.made, r.stalled, r.fence, r.due, r.started, r.ended, r.progress, r.watcher,
             r.flags, why, value, r.parent, r.pending, r.failed_by);
  }
  void erase(const row_type& r) {
    erase_.run(r.id);
    if (r.has(row_type::large)) erase_payload_.run(r.id);
    if (r.has(row_type::logged)) erase_logs_.run(r.id);
  }
  /// The next ones that wait without a group, or in that one, with all that a lease needs but the fence.
  void ready(std::int64_t most, std::vector<row_type>& rows, std::vector<fetched_type>& got) {
    ready(ready_.ask(most), rows, got);
  }
  void ready_of(std::string_view group, std::vector<row_type>& rows, std::vector<fetched_type>& got) {
    ready(ready_of_.ask(group), rows, got);
  }
  void log(row_type& r, std::string_view line) {
    const auto keep = keep_logs_.integer(r.id).value_or(0);
    if (keep == 0) return;
    const std::int64_t number = last_line_.integer(r.id).value_or(0) + 1;
    insert_log_.run(r.id, number, line);
    if (number > keep) trim_logs_.run(r.id, number - keep);
    if (r.has(row_type::logged)) return;
    r.flags |= row_type::logged;
    put(r);
  }

  // Keys that keep others of the same kind away.

  struct guard {
    std::int64_t job = 0;
    job_text name = {};
    bool live = false;
    std::int64_t expires = no_time.count();  ///< no_time: with the job
  };
  [[nodiscard]] std::optional<guard> guarded(std::string_view key, std::int64_t now) {
    auto q = guard_.ask(key);
    if (!q.next()) return std::nullopt;
    guard g{.job = q.integer(0), .name = q.text(1), .live = q.integer(2) != 0};
    g.expires = q.integer(3);
    const bool counts = g.expires == no_time.count() ? g.live : now < g.expires;
    return counts ? std::optional{std::move(g)} : std::nullopt;
  }
  void add_guard(std::string_view key, std::int64_t job, std::string_view name, std::int64_t expires, std::int64_t now) {
    sweep_guards_.run(now);
    add_guard_.run(key, job, name, expires);
  }
  void extend_guard(std::string_view key, std::int64_t expires) { extend_guard_.run(key, expires); }
  /// That job is over: it guards no longer than its ttl says.
  void guard_over(std::string_view key, std::int64_t job) {
    drop_guard_.run(key, job, no_time.count());
    live_guard_.run(key, job, std::int64_t{0});
  }
  /// It waits again: so it guards again, if nobody else does.
  void guard_again(std::string_view key, std::int64_t job, std::string_view name, bool until_over) {
    live_guard_.run(key, job, std::int64_t{1});
    if (until_over) guard_if_free_.run(key, job, name, no_time.count());
  }

  // What ended and is waited for in other processes.

  /// `at`: 0 if nobody says when; then it counts from the next one of which somebody does.
  void add_ending(std::int64_t number, std::int64_t job, job_state how, const job_text& text, std::int64_t at) {
    add_ending_.run(number, job, static_cast<std::int64_t>(how), text, at);
    if (at == 0) return;
    date_endings_.run(at);
    sweep_endings_.run(at - std::int64_t{3'600'000'000'000});
  }
  struct ending {
    std::int64_t number;
    std::int64_t job;
    job_state how;
    job_text text;
  };
  [[nodiscard]] std::vector<ending> endings_after(std::int64_t number) {
    std::vector<ending> found;
    auto q = endings_.ask(number);
    while (q.next()) {
      found.push_back({q.integer(0), q.integer(1), static_cast<job_state>(q.integer(2)), q.text(3)});
    }
    return found;
  }

 private:
  static constexpr int columns = 23;
  /// The line of a waiting job is its group's.
  [[nodiscard]] static std::int64_t lane(const row_type& r) noexcept {
    return r.state == job_state::waiting && !r.group.empty() ? waiting_in_group : static_cast<std::int64_t>(r.state);
  }
  void ready(typename statement::query q, std::vector<row_type>& rows, std::vector<fetched_type>& got) {
    std::size_t i = rows.size();
    while (q.next()) {
      rows.push_back(row(q));
      const row_type& r = rows.back();
      fetched_type f{
          .number = static_cast<std::uint64_t>(r.id), .job_id = text_of(r.job_id), .attempt = static_cast<unsigned>(r.made) + 1};
      if (r.due != sqlite_row::due_unknown) f.due_since = job_time{r.due};
      f.policy.attempts = static_cast<unsigned>(r.attempts);
      f.policy.timeout = std::chrono::nanoseconds{q.integer(columns)};
      f.policy.backoff = read_backoff(q.bytes(columns + 1));
      f.name = q.bytes(columns + 2);
      if (!r.has(row_type::large)) f.payload = q.bytes(columns + 3);
      got.push_back(std::move(f));
    }
    for (; i < rows.size(); ++i) {
      if (!rows[i].has(row_type::large)) continue;
      auto p = payload_.ask(rows[i].id);
      if (!p.next()) throw_sqlite(SQLITE_CORRUPT, "penstock::sqlite_store: " + db_.path());
      got[i].payload = p.bytes(0);
    }
  }
  static row_type row(const typename statement::query& q) {
    row_type r;
    r.id = q.integer(0);
    r.state = state_of(q.integer(1));
    r.major = q.integer(2);
    r.minor = q.integer(3);
    r.priority = q.integer(4);
    r.flags = q.integer(5);
    r.made = q.integer(6);
    r.stalled = q.integer(7);
    r.fence = q.integer(8);
    r.due = q.integer(9);
    if (!q.null(10)) r.started = q.integer(10);
    if (!q.null(11)) r.ended = q.integer(11);
    r.progress = q.real(12);
    r.watcher = q.integer(13);
    r.job_id = q.bytes(14);
    r.key = q.bytes(15);
    r.attempts = q.integer(16);
    r.schedule = q.bytes(17);
    r.added = q.integer(18);
    r.parent = q.integer(19);
    r.pending = q.integer(20);
    r.failed_by = q.integer(21);
    r.group = q.bytes(22);
    return r;
  }
  static std::vector<row_type> all(typename statement::query q) {
    std::vector<row_type> found;
    while (q.next()) found.push_back(row(q));
    return found;
  }
  static std::string select(std::string_view more, std::string_view where) {
    std::string sql{
        "SELECT id, state, major, minor, priority, flags, made, stalled, fence, due, started, ended, progress, watcher, job_id, "
        "key, attempts, schedule, added, parent, pending, failed_by, grp"};
    return sql.append(more).append(" FROM jobs WHERE ").append(where);
  }

  Database& db_;
  statement tallies_{
      db_,
      "SELECT version, next_id, fences, front, back, endings, paused, waiting, delayed, active, completed, failed, "
      "schedule_next, schedules_starve, families, groups_used, weights, turn, rests_until FROM meta"};
  statement put_tallies_{
      db_,
      "UPDATE meta SET version=?1, next_id=?2, fences=?3, front=?4, back=?5, endings=?6, paused=?7, waiting=?8, delayed=?9, "
      "active=?10, completed=?11, failed=?12, schedule_next=?13, schedules_starve=?14, families=?15, "
      "groups_used=?16, weights=?17, turn=?18, rests_until=?19"};
  statement find_{db_, select("", "id=?1")};
  statement first_{db_, select("", "state=?1 ORDER BY major, minor LIMIT ?2")};
  statement due_{db_, select("", "state=?1 AND major<=?2 ORDER BY major, minor LIMIT ?3")};
  statement ready_{db_, select(", timeout, backoff, name, payload", "state=0 ORDER BY major, minor LIMIT ?1")};
  statement ready_of_{db_, select(", timeout, backoff, name, payload", "state=6 AND grp=?1 ORDER BY major, minor LIMIT 1")};
  statement named_{db_, "SELECT id FROM jobs WHERE job_id=?1"};
  statement first_major_{db_, "SELECT major FROM jobs WHERE state=1 ORDER BY major, minor LIMIT 1"};
  statement texts_{db_, "SELECT why, value FROM jobs WHERE id=?1"};
  statement payload_{db_, "SELECT payload FROM payloads WHERE job=?1"};
  statement insert_{
      db_,
      "INSERT INTO jobs(id, state, major, minor, priority, flags, due, added, watcher, attempts, timeout, "
      "backoff, keep_logs, name, job_id, key, schedule, payload, parent, grp, made, stalled, fence, progress, pending, "
      "failed_by) "
      "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, 0, 0, 0, 0, 0, 0)"};
  statement insert_payload_{db_, "INSERT INTO payloads VALUES(?1, ?2)"};
  statement put_{
      db_,
      "UPDATE jobs SET state=?2, major=?3, minor=?4, made=?5, stalled=?6, fence=?7, due=?8, started=?9, ended=?10, progress=?11, "
      "watcher=?12, flags=?13, why=coalesce(?14, why), value=coalesce(?15, value), parent=?16, "
      "pending=?17, failed_by=?18 WHERE id=?1"};
  statement erase_{db_, "DELETE FROM jobs WHERE id=?1"};
  statement erase_payload_{db_, "DELETE FROM payloads WHERE job=?1"};
  statement erase_logs_{db_, "DELETE FROM logs WHERE job=?1"};
  statement keep_logs_{db_, "SELECT keep_logs FROM jobs WHERE id=?1"};
  statement last_line_{db_, "SELECT max(line) FROM logs WHERE job=?1"};
  statement insert_log_{db_, "INSERT INTO logs VALUES(?1, ?2, ?3)"};
  statement trim_logs_{db_, "DELETE FROM logs WHERE job=?1 AND line<=?2"};
  statement guard_{db_, "SELECT job, name, live, expires FROM keys WHERE key=?1"};
  statement add_guard_{db_, "INSERT OR REPLACE INTO keys VALUES(?1, ?2, ?3, 1, ?4)"};
  statement extend_guard_{db_, "UPDATE keys SET expires=?2 WHERE key=?1"};
  statement drop_guard_{db_, "DELETE FROM keys WHERE key=?1 AND job=?2 AND expires=?3"};
  statement live_guard_{db_, "UPDATE keys SET live=?3 WHERE key=?1 AND job=?2"};
  statement guard_if_free_{db_, "INSERT OR IGNORE INTO keys VALUES(?1, ?2, ?3, 1, ?4)"};
  statement sweep_guards_{db_, "DELETE FROM keys WHERE key IN (SELECT key FROM keys WHERE live=0 AND expires<=?1 LIMIT 2)"};
  statement add_ending_{db_, "INSERT INTO endings VALUES(?1, ?2, ?3, ?4, ?5)"};
  statement date_endings_{db_, "UPDATE endings SET at=?1 WHERE at=0 AND (SELECT at FROM endings ORDER BY number LIMIT 1)=0"};
  statement sweep_endings_{
      db_, "DELETE FROM endings WHERE number IN (SELECT number FROM endings ORDER BY number LIMIT 2) AND at<?1 AND at<>0"};
  statement endings_{db_, "SELECT number, job, state, text FROM endings WHERE number>?1 ORDER BY number"};
};

}  // namespace penstock::inline v0_1::detail
