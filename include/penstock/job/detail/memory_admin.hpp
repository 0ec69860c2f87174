// penstock/job/detail/memory_admin.hpp: what people and tools ask of a memory_store: looking, mending, groups and schedules.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/result.hpp>
#include <penstock/job/detail/memory_steps.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/memory_store_options.hpp>

namespace penstock::inline v0_1::detail {

/// Public of memory_store, which inherits it.
template <class Payload>
class memory_admin : public memory_steps<Payload> {
  using base = memory_steps<Payload>;

 protected:
  using base::change;
  using base::jobs_;
  using base::lock_;
  using base::schedules_;
  using typename base::effects;
  using typename base::jobs;
  using typename base::node;
  using typename base::schedule_records;

 public:
  /// A result<T>, which nobody looks into before a store is used: there are many, and each costs to compile.
  template <class T>
  using answer = result<dependent<T, Payload>>;

  /// Nothing is fetched until resume(). What runs goes on.
  result<void> pause() noexcept {
    return change([&](effects&) -> result<void> {
      jobs_.pause(true);
      return {};
    });
  }
  result<void> resume() noexcept {
    return change([&](effects& e) -> result<void> {
      jobs_.pause(false);
      e.ready = true;
      return {};
    });
  }

  [[nodiscard]] answer<job_counts> counts() const noexcept {
    std::scoped_lock guard{lock_};
    return jobs_.counts();
  }
  /// errc::not_found
  [[nodiscard]] answer<job_info> find(const job_id& id) const noexcept {
    std::scoped_lock guard{lock_};
    const node* const n = jobs_.find(id);
    if (n == nullptr) return errc::not_found;
    return jobs::info(*n);
  }
  /// `count` of the jobs in a state from the `first` one on (0): as they will be fetched or become due, or as they came to it. O(n log n), under the
  /// lock: to look at, not to work with. Throws std::bad_alloc.
  [[nodiscard]] answer<std::vector<job_info>> list(job_state s, std::size_t first, std::size_t count) const {
    std::vector<dependent<job_info, Payload>> found;
    std::scoped_lock guard{lock_};
    const std::vector<node*> all = jobs_.in_order(s);
    for (std::size_t i = first; i < all.size() && i - first < count; ++i) found.push_back(jobs::info(*all[i]));
    return found;
  }
  /// errc::not_found. Throws std::bad_alloc.
  [[nodiscard]] answer<std::vector<std::string>> logs(const job_id& id) const {
    std::scoped_lock guard{lock_};
    const node* const n = jobs_.find(id);
    if (n == nullptr) return errc::not_found;
    return n->log;
  }
  /// A copy of it. errc::not_found. Throws what copying throws.
  [[nodiscard]] result<Payload> payload(const job_id& id)
    requires std::copy_constructible<Payload>
  {
    node* n = nullptr;
    {
      std::scoped_lock guard{lock_};
      n = jobs_.find(id);
      if (n == nullptr) return errc::not_found;
      ++n->pins;
    }
    const unpinned at_end{this, n};  // copied without the lock: it is user's code
    return result<Payload>{std::in_place, n->payload};
  }

  /// With the jobs below it that are not over. errc::not_found; errc::busy if it or one of those is active: then nothing happens.
  result<void> remove(const job_id& id) noexcept {
    return change([&](effects& e) -> result<void> {
      node* const n = jobs_.find(id);
      if (n == nullptr) return errc::not_found;
      if (!jobs_.remove_family(*n, e)) return errc::busy;
      return {};
    });
  }
  /// As remove(), but not of one that is over: errc::stale.
  result<void> cancel(const job_id& id) noexcept {
    return change([&](effects& e) -> result<void> {
      node* const n = jobs_.find(id);
      if (n == nullptr) return errc::not_found;
      if (n->state == job_state::completed || n->state == job_state::failed) return errc::stale;
      if (!jobs_.remove_family(*n, e)) return errc::busy;
      return {};
    });
  }
  /// A delayed one waits no longer for its time. errc::not_found if there is none of that id, or it is not delayed.
  result<void> promote(const job_id& id) noexcept {
    return change([&](effects& e) -> result<void> {
      node* const n = jobs_.find(id);
      if (n == nullptr || n->state != job_state::delayed) return errc::not_found;
      jobs_.promote(*n, e);
      return {};
    });
  }
  /// A dead letter is tried again, with all its attempts; a parent that failed with it, and with no other child, waits for it again. One that has failed with
  /// a child, and is redriven itself, is run without that one. errc::not_found if there is none of that id, errc::full.
  result<void> redrive(const job_id& id) noexcept {
    return change([&](effects& e) -> result<void> {
      node* const n = jobs_.find(id);
      if (n == nullptr || n->state != job_state::failed) return errc::not_found;
      if (!jobs_.room_for(jobs_.redriven_with(*n))) return errc::full;
      jobs_.redrive(*n, e);
      return {};
    });
  }
  /// The oldest of them, up to `most` or as there is room; how many.
  answer<std::size_t> redrive_all(std::size_t most) noexcept {
    return change([&](effects& e) -> answer<std::size_t> {
      std::size_t n = 0;
      for (node* oldest; n < most && (oldest = jobs_.oldest_failed()) != nullptr; ++n) {
        if (!jobs_.room_for(jobs_.redriven_with(*oldest))) break;
        jobs_.redrive(*oldest, e);
      }
      return n;
    });
  }
  /// Removes those that wait, and with `delayed_too` those; and parents that would, because the last of their open children went. How many.
  answer<std::size_t> drain(bool delayed_too) noexcept {
    return change([&](effects& e) -> answer<std::size_t> { return jobs_.drain(delayed_too, e); });
  }
  /// Removes up to `most` of the completed or the failed ones that ended at `ended_by` or earlier; how many. Of other states none.
  answer<std::size_t> clean(job_state s, job_time ended_by, std::size_t most) noexcept {
    return change([&](effects& e) -> answer<std::size_t> { return jobs_.clean(s, ended_by, most, e); });
  }
  /// Removes everything, schedules too, but for the rules of groups. errc::busy, and nothing happens, while some are active; with `active_too` these lose
  /// their leases.
  result<void> obliterate(bool active_too) noexcept {
    typename schedule_records::ids schedules;  // destroyed without the lock
    return change([&](effects& e) -> result<void> {
      if (!active_too && jobs_.counts().active != 0) return errc::busy;
      jobs_.remove_all(e);
      schedules = schedules_.erase_all();
      return {};
    });
  }

  /// The children of a job, in the order in which they came, without those that were removed. errc::not_found. Throws std::bad_alloc.
  [[nodiscard]] answer<std::vector<job_child>> children(const job_id& id) const {
    std::scoped_lock guard{lock_};
    const node* const n = jobs_.find(id);
    if (n == nullptr) return errc::not_found;
    return jobs_.families().children(*n);
  }
  /// From now on; of jobs without a group if the name is empty. memory_store_options::group_rule (of these: job_group_rule{}) lets the group be forgotten when
  /// it has no jobs. Throws std::invalid_argument that names the value, std::bad_alloc; then nothing has changed.
  result<void> set_group(std::string_view name, const job_group_rule& rule) {
    check(rule);
    new_job_groups<node> fresh;
    dependent<start_log, Payload> room;
    if (!name.empty()) static_cast<void>(prepare_group(fresh, name));
    room.reserve_one();
    return change([&](effects&) -> result<void> {
      jobs_.set_group(name, rule, fresh, std::move(room));
      return {};
    });
  }
  /// In the order of their names. Throws std::bad_alloc.
  [[nodiscard]] answer<std::vector<job_group_info>> groups() const {
    std::scoped_lock guard{lock_};
    return jobs_.groups();
  }
  /// See job_schedule.hpp. errc::unsupported if payloads cannot be copied, or it names a time zone and the store's options have none. Throws
  /// std::invalid_argument that names the value, std::bad_alloc, and what copying the payload and asking the zone throw; then nothing has changed.
  result<void> put_schedule(const job_schedule_options& o, const Payload& payload, job_time now) {
    check(o);
    if constexpr (std::copy_constructible<Payload>) {
      std::shared_ptr<const job_time_zone> zone;
      if (!o.time_zone.empty()) {
        if (!time_zones_) return errc::unsupported;
        zone = time_zones_(o.time_zone);
        if (zone == nullptr) throw std::invalid_argument{"penstock::memory_store: there is no time zone \"" + o.time_zone + "\""};
      }
      for (;;) {  // once more, if somebody else has changed it meanwhile
        typename schedule_records::ptr old;
        job_time old_next = no_time;
        std::uint64_t made = 0;
        {
          std::scoped_lock guard{lock_};
          old = schedules_.named(o.id);
          if (old != nullptr) old_next = old->next, made = old->run->made;
        }
        typename schedule_records::single fresh = schedule_records::prepare(o, payload, zone, now, old, old_next, made);
        const bool done = change([&](effects& e) { return e.ready = schedules_.put(fresh, old, old_next); });
        if (done) return {};
      }
    } else {
      static_cast<void>(payload), static_cast<void>(now);
      return errc::unsupported;
    }
  }
  /// What it has added stays. errc::not_found.
  result<void> remove_schedule(std::string_view id) noexcept {
    typename schedule_records::ptr gone;  // destroyed without the lock
    std::scoped_lock guard{lock_};
    gone = schedules_.named(id);
    if (gone == nullptr) return errc::not_found;
    schedules_.erase(*gone);
    return {};
  }
  /// The next one first. Throws std::bad_alloc.
  [[nodiscard]] answer<std::vector<job_schedule_info>> schedules() const {
    std::scoped_lock guard{lock_};
    return schedules_.infos();
  }

 protected:
  explicit memory_admin(const memory_store_options& o)
      : base{o.capacity, {o.keep_completed.count, o.keep_completed.age}, {o.keep_failed.count, o.keep_failed.age}, o.group_rule},
        time_zones_{o.time_zones} {}

 private:
  struct unpinned {
    memory_admin* store;
    node* job;
    ~unpinned() {
      static_cast<void>(store->change([this](effects& e) -> result<void> {
        store->jobs_.unpin(*job, e);
        return {};
      }));
    }
  };

  const job_time_zones time_zones_;
};

}  // namespace penstock::inline v0_1::detail
