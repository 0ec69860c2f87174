// penstock/job/detail/job_schedules.hpp: the schedules of a store, in the order in which they are due. Guarded by the store's lock, but for what is said to be
// done without it: copying payloads, and asking time zones, is user's code.
//
// Adding what is due takes three steps. Looking, under the lock: which are due, and is the last job of each over? Then without it: a copy of the payload, and the
// time after this one. Then, under the lock and with the fetch that wants them: those that nobody else has seen to meanwhile are added, and move on. What was
// seen to is known by its time, which only goes on.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/job/detail/job_node.hpp>
#include <penstock/job/detail/schedule_times.hpp>
#include <penstock/job/job_schedule.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/job_time_zone.hpp>

namespace penstock::inline v0_1::detail {

template <class Payload>
class job_schedules {
 public:
  struct record {
    job_schedule_options options;
    dependent<schedule_times, Payload> times = {};
    std::shared_ptr<const Payload> payload;
    std::shared_ptr<schedule_run> run;
    // These change.
    job_time next = no_time;
    bool gone = false;
  };
  using ptr = std::shared_ptr<record>;
  /// One that is due.
  struct due_schedule {
    ptr of;
    job_time at;       // its record's `next`
    bool make = true;  // false: the last one is not over
    job_time over_at;  // of the last one
    job_time next{0};
    std::optional<Payload> payload = {};
  };

  struct earlier {
    [[nodiscard]] bool operator()(const ptr& a, const ptr& b) const noexcept {
      return a->next != b->next ? a->next < b->next : a->options.id < b->options.id;
    }
  };
  using ids = std::map<std::string, ptr, std::less<>>;
  using times = std::set<ptr, earlier>;
  /// One that is to be put: its places are made already.
  struct single {
    ptr of;
    ids by_id = {};
    times by_time = {};
  };

  job_schedules() = default;
  job_schedules(const job_schedules&) = delete;
  job_schedules& operator=(const job_schedules&) = delete;

  /// When the next one is due, as far as who holds no lock can know: what was put since by others he is told by the store's listeners. no_time: never.
  [[nodiscard]] job_time next_at() const noexcept {
    return job_time{next_at_.load(std::memory_order_relaxed)};  // relaxed: a time, and nothing behind it
  }

  /// Without the lock, in place of `old` with that `next` and `made` (null: of none). Throws std::invalid_argument, std::bad_alloc, and what copying the payload
  /// and asking the zone throw.
  [[nodiscard]] static single prepare(const job_schedule_options& o, const Payload& payload,
                                      const std::shared_ptr<const job_time_zone>& zone, job_time now, const ptr& old,
                                      job_time old_next, std::uint64_t made) {
    single s{.of = std::make_shared<record>()};
    record& r = *s.of;
    const bool same = old != nullptr && o.every == old->options.every && o.when == old->options.when &&
                      o.time_zone == old->options.time_zone && o.start == old->options.start;
    r.options = o;
    r.times = {.zone = zone, .every = o.every, .first = o.start, .end = o.end};
    if (!o.when.empty()) {
      r.times.calendar.emplace(o.when);
    } else if (o.start.count() == 0) {
      r.times.first = same ? old->times.first : now;
    }
    r.payload = std::make_shared<const Payload>(payload);
    r.run = old != nullptr ? old->run : std::make_shared<schedule_run>();
    r.next = same && old_next <= o.end && old_next != no_time ? old_next : r.times.from(now);
    if (made >= o.limit) r.next = no_time;
    s.by_id.emplace(o.id, s.of);
    s.by_time.insert(s.of);
    return s;
  }
  /// Null: there is none of that name.
  [[nodiscard]] ptr named(std::string_view id) const noexcept {
    const auto at = by_id_.find(id);
    return at != by_id_.end() ? at->second : nullptr;
  }
  [[nodiscard]] std::vector<dependent<job_schedule_info, Payload>> infos() const {
    std::vector<dependent<job_schedule_info, Payload>> all;
    for (const ptr& r : by_time_) {
      all.push_back({.options = r->options, .made = r->run->made, .next_at = r->next, .last = r->run->last});
    }
    return all;
  }

  /// `r` in place of `old`, which is named() of its name and had `old_next` when both were looked at. False: that has changed, and nothing has.
  [[nodiscard]] bool put(single& r, const ptr& old, job_time old_next) noexcept {
    const ptr there = named(r.of->options.id);
    if (there != old || (old != nullptr && old->next != old_next)) return false;
    if (old != nullptr) erase(*old);
    by_id_.insert(r.by_id.extract(r.by_id.begin()));
    by_time_.insert(r.by_time.extract(r.by_time.begin()));
    note_next();
    return true;
  }
  /// Who asks holds it still: its payload is destroyed without the lock.
  void erase(record& r) noexcept {
    r.gone = true;
    const auto at = by_id_.find(r.options.id);
    by_time_.erase(at->second);
    by_id_.erase(at);
    note_next();
  }

  [[nodiscard]] ids erase_all() noexcept {
    for (const ptr& r : by_time_) r->gone = true;
    by_time_.clear();
    starved = false;
    next_at_.store(no_time.count(), std::memory_order_relaxed);  // relaxed: see next_at()
    return std::exchange(by_id_, {});
  }

  /// Those that are due, but not many at a time: the others still are afterwards.
  [[nodiscard]] std::vector<due_schedule> due(job_time now) const {
    std::vector<due_schedule> all;
    for (auto at = by_time_.begin(); at != by_time_.end() && (*at)->next <= now && all.size() < at_once; ++at) {
      const record& r = **at;
      all.push_back({.of = *at, .at = r.next, .make = r.options.overlap || r.run->over, .over_at = r.run->over_at});
    }
    return all;
  }
  /// Without the lock: what is wanted for it.
  static void look(due_schedule& d, job_time now) {
    const record& r = *d.of;
    // A time at which the last one was not over is left out also if nobody looked then.
    if (d.make && !r.options.overlap && d.over_at != no_time && d.over_at > d.at) d.make = r.times.from(d.over_at) <= now;
    d.next = r.times.from(later(now));
    if (d.make) d.payload.emplace(*r.payload);
  }
  [[nodiscard]] static bool current(const due_schedule& d) noexcept { return !d.of->gone && d.of->next == d.at; }
  /// A duplicate: no job was added.
  void move_on(const due_schedule& d, const job_added& added) noexcept {
    record& r = *d.of;
    auto place = by_time_.extract(d.of);
    if (!added.duplicate) r.run->begun(added.id);
    r.next = r.run->made >= r.options.limit ? no_time : d.next;
    by_time_.insert(std::move(place));
    note_next();
  }
  /// What is due waits for room, and who makes some says so.
  bool starved = false;

 private:
  static constexpr std::size_t at_once = 100;
  static job_time later(job_time t) noexcept { return job_time{saturating_add(t.count(), 1)}; }
  void note_next() noexcept {
    const job_time next = by_time_.empty() ? no_time : (*by_time_.begin())->next;
    next_at_.store(next.count(), std::memory_order_relaxed);  // relaxed: see next_at()
  }

  ids by_id_;
  times by_time_;
  std::atomic<std::int64_t> next_at_ = no_time.count();
};

}  // namespace penstock::inline v0_1::detail
