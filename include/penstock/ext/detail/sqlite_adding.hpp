// penstock/ext/detail/sqlite_adding.hpp: how jobs come into a SQLite file: alone, with their families, or in place of others that they are like.
//
// Each sees those before it of the same step: names and keys that they have taken, and what they have replaced.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/clock.hpp>
#include <penstock/ext/detail/sqlite_states.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

/// A job to be added.
struct sqlite_new_job {
  const enqueue_options* options;
  std::string_view payload;
  job_watch* watch;
  std::size_t parent = job_entry<int>::no_entry;  ///< as job_entry::parent
};
template <class Database = sqlite_database>
class basic_sqlite_adding : public basic_sqlite_states<Database> {
  using base = basic_sqlite_states<Database>;
  using families = basic_sqlite_families<Database>;

 public:
  using base::base;
  using base::look_for_endings;
  using base::now;
  using base::recording;
  using typename base::effects;
  using typename base::row;

 protected:
  using base::changes_;
  using base::emit;
  using base::endings_read_;
  using base::families_;
  using base::gathered;
  using base::groups_;
  using base::id_of;
  using base::later;
  using base::look_after;
  using base::place;
  using base::put;
  using base::remove;
  using base::rows_;
  using base::self_;
  using base::several;

  /// The job that counts in place of this one, also if it is over and only its ttl keeps others away; no job: none does.
  [[nodiscard]] job_id duplicate_of(const enqueue_options& o, job_time at, std::optional<row>& there) {
    there.reset();
    if (!o.job_id.empty()) {
      if (const auto number = rows_.named(o.job_id)) there = rows_.find(*number);
    }
    if (there) return id_of(*there);
    if (!o.deduplicate) return {};
    auto g = rows_.guarded(o.deduplicate->id, at.count());
    if (!g) return {};
    there = rows_.find(g->job);  // none: it is over, and not kept
    if (o.deduplicate->replace && g->live && there && there->state == job_state::delayed) return {};
    return job_id{static_cast<std::uint64_t>(g->job), std::move(g->name)};
  }
  struct add_as {
    std::int64_t parent = 0;         ///< whose child it is
    bool gathers = false;            ///< children of it follow
    std::string_view schedule = {};  ///< that makes it
  };
  [[nodiscard]] job_added add_one(const sqlite_new_job& j, job_time at, effects& e, const add_as& as) {
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
        if (as.parent != 0 && there && families_.adopt(as.parent, *there, o, ++now.back)) {
          ++changes_;
          look_after(as.parent, at, e);
          there = rows_.find(there->id);
        }
        if (j.watch != nullptr) watch(there, *j.watch, e);
        return {.id = std::move(id), .duplicate = true};
      }
    }
    row n{.id = now.next_id++, .priority = o.priority, .due = later(at, o.delay), .watcher = j.watch != nullptr ? self_ : 0};
    n.added = at.count();
    n.flags = (o.lifo ? row::lifo : 0) | (o.remove_on_complete ? row::remove_on_complete : 0) |
              (o.remove_on_fail ? row::remove_on_fail : 0) | (j.payload.size() > inline_payload ? row::large : 0) |
              (as.gathers ? row::kin | row::gathering : 0) |
              (o.deduplicate && o.deduplicate->ttl.count() == 0 ? row::guards_until_over : 0);
    n.job_id = o.job_id;
    n.schedule = as.schedule;
    n.group = o.group;
    if (!o.group.empty()) groups_.admit(o.group);
    if (j.watch != nullptr) e.notices.push_back({.job = static_cast<std::uint64_t>(n.id), .watch = j.watch});
    if (as.parent != 0)
      families_.join(as.parent, n, o, ++now.back);  // before another child is replaced, which may have been the last
    if (o.deduplicate) {
      const deduplication& d = *o.deduplicate;
      n.key = d.id;
      const auto g = rows_.guarded(d.id, at.count());
      // What replaces keeps the time that the first one set, unless each is to extend it.
      const std::int64_t expires = d.ttl.count() == 0 ? no_time.count() : g && !d.extend ? g->expires : later(at, d.ttl);
      rows_.add_guard(d.id, n.id, o.job_id, expires, at.count());
      if (g && g->live) {
        if (auto replaced = rows_.find(g->job)) remove(*replaced, e);
      }
    }
    ++changes_;
    n.state = as.gathers ? job_state::waiting_children : o.delay.count() > 0 ? job_state::delayed : job_state::waiting;
    ++now.of(n.state);
    place(n, n.has(row::lifo), e);
    rows_.insert(n, o, write_backoff(o.backoff), j.payload);
    using kind = job_event::kind;
    emit(as.gathers ? kind::waiting_children : o.delay.count() > 0 ? kind::delayed : kind::added, n, 0, e);
    return {.id = id_of(n)};
  }
  void watch(std::optional<row>& there, job_watch& w, effects& e) {
    if (there && there->state != job_state::completed && there->state != job_state::failed) {
      if (endings_read_ < now.endings) look_for_endings(e);  // it may be one that was redriven: who waited before is told first
      if (there->watcher != self_) {
        there->watcher = there->watcher == 0 ? self_ : several;
        put(*there);
      }
      e.notices.push_back({.job = static_cast<std::uint64_t>(there->id), .watch = &w});
    } else {
      e.notices.push_back({.watch = &w,
                           .how = there ? there->state : job_state::waiting,
                           .text = there ? rows_.text(*there) : nullptr,
                           .known = there.has_value()});
    }
  }

  // How many of them need room.
  [[nodiscard]] std::size_t new_ones(std::span<const sqlite_new_job> jobs, job_time at) {
    std::size_t n = 0;
    std::vector<bool> duplicates(jobs.size());
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      std::optional<row> there;
      duplicates[i] = (jobs[i].parent < i && duplicates[jobs[i].parent]) || duplicate_of(*jobs[i].options, at, there);
      if (!duplicates[i]) ++n;
    }
    return n;
  }
  /// `settled`: whose children they may be.
  void add_all(std::span<const sqlite_new_job> jobs, std::int64_t settled, job_time at, std::span<job_added> added, effects& e) {
    std::vector<bool> gathers;
    std::vector<std::int64_t> ids;  // 0: a duplicate
    for (const sqlite_new_job& j : jobs) {
      if (j.parent >= jobs.size()) continue;
      if (gathers.empty()) gathers.resize(jobs.size());
      gathers[j.parent] = true;
    }
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      const sqlite_new_job& j = jobs[i];
      job_added one{.id = {}, .duplicate = true};
      add_as as{.gathers = !gathers.empty() && gathers[i]};
      if (j.parent < jobs.size() && ids[j.parent] == 0) {
        if (j.watch != nullptr) e.notices.push_back({.watch = j.watch});
      } else {
        if (j.parent < jobs.size()) as.parent = ids[j.parent];
        if (j.parent == job_entry<int>::settled_job) as.parent = settled;
        if (j.options->parent) {
          const auto parent = rows_.find(j.options->parent);
          if (parent && families::takes_children(*parent)) as.parent = parent->id;
        }
        one = add_one(j, at, e, as);
      }
      if (!gathers.empty()) ids.push_back(one.duplicate ? 0 : static_cast<std::int64_t>(one.id.number()));
      if (!added.empty()) added[i] = std::move(one);
    }
    for (std::size_t i = 0; i < gathers.size(); ++i) {
      if (gathers[i] && ids[i] != 0) gathered(ids[i], at, e);
    }
  }
};

}  // namespace penstock::inline v0_1::detail
