// penstock/ext/detail/sqlite_scheduling.hpp: how schedules are put into a SQLite file, and the jobs that are due by them added.
//
// All of it happens within a transaction. Precondition of put: it was checked.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/ext/detail/sqlite_adding.hpp>
#include <penstock/ext/detail/sqlite_schedules.hpp>
#include <penstock/job/job_schedule.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

template <class Database = sqlite_database>
class basic_sqlite_scheduling : public basic_sqlite_adding<Database> {
  using base = basic_sqlite_adding<Database>;

 public:
  using base::base;
  using base::now;
  using base::room_for;
  using typename base::effects;
  using typename base::row;

  /// `in_zone`: its first time from `at` on, if it names a time zone.
  void put_schedule(const job_schedule_options& o, std::string_view payload, job_time at, job_time in_zone, effects& e) {
    const std::optional<sqlite_schedule> old = schedules_.find(o.id);
    sqlite_schedule s = old.value_or(sqlite_schedule{});
    const bool same = old && o.every == old->options.every && o.when == old->options.when &&
                      o.time_zone == old->options.time_zone && o.start == old->options.start;
    s.options = o;
    s.payload = payload;
    s.first = o.start;
    if (o.when.empty() && o.start.count() == 0) s.first = same ? old->first : at;
    if (!same || old->next > o.end || old->next == no_time) s.next = o.time_zone.empty() ? s.times().from(at) : in_zone;
    if (static_cast<std::uint64_t>(s.made) >= o.limit) s.next = no_time;
    schedules_.put(s);
    note_schedules();
    e.ready = true;
  }
  result<void> remove_schedule(std::string_view id) {
    if (!schedules_.erase(id)) return errc::not_found;
    note_schedules();
    return {};
  }

  /// What schedules want waited for room, and now there is some.
  bool feed_schedules() {
    if (now.schedules_starve == 0 || !room_for(1)) return false;
    ++changes_;
    now.schedules_starve = 0;
    return true;
  }

 protected:
  using base::add_one;
  using base::changes_;
  using base::duplicate_of;
  using base::schedules_;

  void add_scheduled(job_time at, const std::vector<sqlite_due>& zoned, effects& e) {
    std::vector<sqlite_due> due;
    for (sqlite_schedule& s : schedules_.due(at)) due.emplace_back(std::move(s), nullptr, at);
    for (const sqlite_due& looked_at : zoned) {
      auto s = schedules_.find(looked_at.of.options.id);
      sqlite_due d = looked_at;
      if (s && d.renew(std::move(*s))) due.push_back(std::move(d));
    }
    if (due.empty()) return;
    std::sort(due.begin(), due.end(), [](const sqlite_due& a, const sqlite_due& b) {
      return a.of.next != b.of.next ? a.of.next < b.of.next : a.of.options.id < b.of.options.id;
    });
    ++changes_;
    now.schedules_starve = 0;
    for (sqlite_due& d : due) {
      sqlite_schedule& s = d.of;
      const enqueue_options& o = s.options.options;
      if (d.makes(at)) {
        std::optional<row> there;
        if (!room_for(1) && !duplicate_of(o, at, there)) {
          now.schedules_starve = 1;
          break;
        }
        const job_added added =
            add_one({.options = &o, .payload = s.payload, .watch = nullptr}, at, e, {.schedule = s.options.id});
        if (!added.duplicate) s.begun(added.id);
      }
      s.next = static_cast<std::uint64_t>(s.made) >= s.options.limit ? no_time : d.next;
      schedules_.put(s);
    }
    note_schedules();
  }
  /// When somebody is to come for them again; for those that are left to others it is not this process.
  [[nodiscard]] job_time next_schedule(job_time at, const sqlite_zoned& zoned) {
    const job_time next = now.next_schedule();
    return next <= at ? schedules_.next_but(zoned.others) : next;
  }
  void note_schedules() {
    ++changes_;
    now.schedule_next = schedules_.next().count();
  }
};

}  // namespace penstock::inline v0_1::detail
