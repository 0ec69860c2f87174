// penstock/ext/detail/sqlite_schedules.hpp: the schedules of a store, as rows of its file: what they say, when the next job is due, and what became
// of the last one.
//
// Their laws are in job_schedule.hpp. When the next one of all is due is in `meta` (sqlite_tallies::schedule_next), so who fetches need not look.
// Zones are user's code, and processes know different ones. So who fetches asks them of what is due before his step, and the step adds what is still as it
// was looked at. Schedules in zones that he does not know he leaves to others.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/clock.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/ext/detail/sqlite_database.hpp>
#include <penstock/ext/detail/sqlite_rows.hpp>
#include <penstock/job/detail/schedule_times.hpp>
#include <penstock/job/job_schedule.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/job_time_zone.hpp>

namespace penstock::inline v0_1::detail {

/// A job's options as one text: each field after its length. Read by the same fields in the same order; later versions append.
template <class = void>
std::string write_options(const enqueue_options& o) {
  std::string all;
  const auto text = [&all](std::string_view s) { all.append(std::to_string(s.size())).append(":").append(s); };
  const auto number = [&text](std::int64_t n) { text(std::to_string(n)); };
  text(o.name);
  number(o.attempts);
  text(write_backoff(o.backoff));
  number(o.timeout.count());
  number(o.priority);
  number(o.delay.count());
  number((o.lifo ? 1 : 0) | (o.remove_on_complete ? 2 : 0) | (o.remove_on_fail ? 4 : 0) | (o.deduplicate ? 8 : 0) |
         (o.deduplicate && o.deduplicate->extend ? 16 : 0) | (o.deduplicate && o.deduplicate->replace ? 32 : 0));
  text(o.job_id);
  text(o.deduplicate ? std::string_view{o.deduplicate->id} : std::string_view{});
  number(o.deduplicate ? o.deduplicate->ttl.count() : 0);
  number(static_cast<std::int64_t>(o.keep_logs));
  text(o.group);
  return all;
}
template <class = void>
enqueue_options read_options(std::string_view all) {
  const auto text = [&all] {
    std::size_t size = 0;
    while (!all.empty() && all.front() != ':') {
      size = size * 10 + static_cast<std::size_t>(all.front() - '0');
      all.remove_prefix(1);
    }
    if (all.size() <= size) return std::string{};
    std::string s{all.substr(1, size)};
    all.remove_prefix(size + 1);
    return s;
  };
  const auto number = [&text] {
    const std::string s = text();
    return s.empty() ? std::int64_t{0} : std::int64_t{std::stoll(s)};
  };
  enqueue_options o;
  o.name = text();
  o.attempts = static_cast<unsigned>(number());
  o.backoff = read_backoff(text());
  o.timeout = std::chrono::nanoseconds{number()};
  o.priority = static_cast<std::uint32_t>(number());
  o.delay = std::chrono::nanoseconds{number()};
  const std::int64_t flags = number();
  o.lifo = (flags & 1) != 0;
  o.remove_on_complete = (flags & 2) != 0;
  o.remove_on_fail = (flags & 4) != 0;
  o.job_id = text();
  deduplication d{
      .id = text(), .ttl = std::chrono::nanoseconds{number()}, .extend = (flags & 16) != 0, .replace = (flags & 32) != 0};
  if ((flags & 8) != 0) o.deduplicate = std::move(d);
  o.keep_logs = static_cast<std::size_t>(number());
  o.group = text();
  return o;
}

struct sqlite_schedule {
  job_schedule_options options;
  std::string payload = {};
  job_time first{0};  ///< from which `every` counts
  job_time next = no_time;
  std::int64_t made = 0;
  job_id last = {};
  bool over = true;            ///< the last one
  job_time over_at = no_time;  ///< if it ended by itself

  [[nodiscard]] schedule_times times(std::shared_ptr<const job_time_zone> zone = {}) const {
    schedule_times t{.zone = std::move(zone), .every = options.every, .first = first, .end = options.end};
    if (!options.when.empty()) t.calendar.emplace(options.when);
    return t;
  }
  void begun(const job_id& id) {
    ++made;
    last = id;
    over = false;
    over_at = no_time;
  }
};

/// One that is due at `now`, and what follows from its times. To be asked without a lock, if there is a zone.
struct sqlite_due {
  sqlite_schedule of;
  job_time next;       ///< the time after this one
  job_time after_end;  ///< the first time since the last one was over; no_time: that does not matter

  sqlite_due(sqlite_schedule&& s, const std::shared_ptr<const job_time_zone>& zone, job_time now) : of{std::move(s)} {
    const schedule_times times = of.times(zone);
    next = times.from(job_time{saturating_add(now.count(), 1)});
    after_end = of.options.overlap || of.over_at == no_time ? no_time : times.from(of.over_at);
  }
  /// Whether one is to be made of its time that has come. Without overlap one at which the last one was not over is left out, also if nobody looked then.
  [[nodiscard]] bool makes(job_time now) const noexcept {
    if (of.options.overlap) return true;
    return of.over && (of.over_at == no_time || of.over_at <= of.next || after_end <= now);
  }
  /// What the step finds in place of what was looked at. False: somebody else has seen to it, or has put another one.
  [[nodiscard]] bool renew(sqlite_schedule&& s) {
    const job_schedule_options& a = s.options;
    const job_schedule_options& b = of.options;
    if (s.next != of.next || s.first != of.first || a.when != b.when || a.time_zone != b.time_zone || a.end != b.end)
      return false;
    if (s.over_at != of.over_at || a.overlap != b.overlap) after_end = no_time;  // it was not over then
    of = std::move(s);
    return true;
  }
};

/// Those of them in zones that this process knows.
struct sqlite_zoned {
  std::vector<sqlite_due> due = {};
  job_time others = job_time::min();  ///< what else is due in zones until then is left to others
};
inline constexpr std::size_t scheduled_at_once = 100;

/// Throws std::bad_alloc, and what a zone that is known throws.
template <class Schedule>
sqlite_zoned ask_zones(const job_time_zones& zones, std::vector<Schedule>&& due, job_time now) {
  sqlite_zoned z{.others = now};
  for (Schedule& s : due) {
    std::shared_ptr<const job_time_zone> zone;
    try {
      if (zones) zone = zones(s.options.time_zone);
    } catch (const std::invalid_argument&) {  // there is none
    }
    if (zone == nullptr) continue;
    if (z.due.size() == scheduled_at_once) {
      z.others = job_time::min();
      break;
    }
    z.due.emplace_back(std::move(s), zone, now);
  }
  return z;
}

template <class Database = sqlite_database>
class basic_sqlite_schedules {
  using statement = dependent<sqlite_statement, Database>;
  using schedule_type = dependent<sqlite_schedule, Database>;

 public:
  explicit basic_sqlite_schedules(Database& db) : db_{db} {}

  [[nodiscard]] std::optional<schedule_type> find(std::string_view id) {
    auto q = find_.ask(id);
    if (!q.next()) return std::nullopt;
    return schedule(q);
  }
  // The next ones first.

  [[nodiscard]] std::vector<schedule_type> all() { return found(all_.ask()); }
  /// Those in UTC.
  [[nodiscard]] std::vector<schedule_type> due(job_time now) {
    return found(due_.ask(std::int64_t{now.count()}, static_cast<std::int64_t>(scheduled_at_once)));
  }
  /// The others.
  [[nodiscard]] std::vector<schedule_type> due_in_zones(job_time now) {
    return found(due_in_zones_.ask(std::int64_t{now.count()}));
  }
  [[nodiscard]] job_time next() { return job_time{next_.integer().value_or(no_time.count())}; }
  /// But for those in zones until then.
  [[nodiscard]] job_time next_but(job_time zoned_until) {
    return job_time{next_but_.integer(std::int64_t{zoned_until.count()}).value_or(no_time.count())};
  }
  void put(const schedule_type& s) {
    const job_schedule_options& o = s.options;
    const auto limit = static_cast<std::int64_t>(
        std::min<std::uint64_t>(o.limit, static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())));
    put_.run(std::string_view{o.id}, std::string_view{write_options(o.options)}, std::int64_t{o.every.count()},
             std::string_view{o.when}, std::int64_t{o.start.count()}, std::int64_t{o.end.count()}, limit, std::int64_t{o.overlap},
             std::int64_t{s.first.count()}, std::int64_t{s.next.count()}, s.made, static_cast<std::int64_t>(s.last.number()),
             std::string_view{s.last.name() != nullptr ? *s.last.name() : std::string_view{}}, std::int64_t{s.over},
             std::int64_t{s.over_at.count()}, sqlite_blob{s.payload}, std::string_view{o.time_zone});
  }
  [[nodiscard]] bool erase(std::string_view id) {
    erase_.run(id);
    return db_.changes() != 0;
  }
  void erase_all() { erase_all_.run(); }
  /// That job of it is over, or (`again`) is to be run again.
  void ended(std::string_view id, std::int64_t job, job_time at) { ended_.run(id, job, std::int64_t{at.count()}); }
  void again(std::string_view id, std::int64_t job) { again_.run(id, job); }

 private:
  static std::vector<schedule_type> found(typename statement::query q) {
    std::vector<schedule_type> all;
    while (q.next()) all.push_back(schedule(q));
    return all;
  }
  static schedule_type schedule(const typename statement::query& q) {
    schedule_type s;
    job_schedule_options& o = s.options;
    o.id = q.bytes(0);
    o.options = read_options(q.bytes(1));
    o.every = std::chrono::nanoseconds{q.integer(2)};
    o.when = q.bytes(3);
    o.start = std::chrono::nanoseconds{q.integer(4)};
    o.end = std::chrono::nanoseconds{q.integer(5)};
    o.limit = static_cast<std::uint64_t>(q.integer(6));
    if (q.integer(6) == std::numeric_limits<std::int64_t>::max()) o.limit = std::numeric_limits<std::uint64_t>::max();
    o.overlap = q.integer(7) != 0;
    s.first = job_time{q.integer(8)};
    s.next = job_time{q.integer(9)};
    s.made = q.integer(10);
    if (q.integer(11) != 0) s.last = job_id{static_cast<std::uint64_t>(q.integer(11)), q.text(12)};
    s.over = q.integer(13) != 0;
    s.over_at = job_time{q.integer(14)};
    s.payload = q.bytes(15);
    o.time_zone = q.bytes(16);
    return s;
  }

  Database& db_;
  statement find_{db_, "SELECT * FROM schedules WHERE id=?1"};
  statement all_{db_, "SELECT * FROM schedules ORDER BY next, id"};
  statement due_{db_, "SELECT * FROM schedules WHERE next<=?1 AND zone IS NULL ORDER BY next, id LIMIT ?2"};
  statement due_in_zones_{db_, "SELECT * FROM schedules WHERE next<=?1 AND zone IS NOT NULL ORDER BY next, id"};
  statement next_{db_, "SELECT min(next) FROM schedules"};
  statement next_but_{db_, "SELECT min(next) FROM schedules WHERE zone IS NULL OR next>?1"};
  statement put_{db_,
                 "INSERT OR REPLACE INTO schedules VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, "
                 "?17)"};
  statement erase_{db_, "DELETE FROM schedules WHERE id=?1"};
  statement erase_all_{db_, "DELETE FROM schedules"};
  statement ended_{db_, "UPDATE schedules SET over=1, over_at=?3 WHERE id=?1 AND last=?2 AND over=0"};
  statement again_{db_, "UPDATE schedules SET over=0 WHERE id=?1 AND last=?2"};
};

}  // namespace penstock::inline v0_1::detail
