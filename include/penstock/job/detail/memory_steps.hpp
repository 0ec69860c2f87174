// penstock/job/detail/memory_steps.hpp: the steps of a store in memory that add jobs, or settle them, which may add others. What may fail happens before
// anything has changed.
#pragma once

#include <algorithm>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <penstock/core/detail/owner.hpp>
#include <penstock/core/result.hpp>
#include <penstock/job/detail/job_addition.hpp>
#include <penstock/job/detail/memory_core.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/memory_lease.hpp>

namespace penstock::inline v0_1::detail {

template <class Payload>
class memory_steps : public memory_core<Payload> {
  using base = memory_core<Payload>;

 protected:
  using typename base::effects;
  using typename base::jobs;
  using typename base::node;
  using typename base::schedule_records;
  using addition = job_addition<Payload>;
  using lease_type = memory_lease<Payload>;
  using due_schedules = std::vector<typename schedule_records::due_schedule>;
  using base::base;
  using base::change;
  using base::jobs_;
  using base::leases_;
  using base::lock_;
  using base::schedules_;

  /// Of what settlements and schedules add; none: nothing.
  static std::optional<addition> prepare(std::span<const job_settlement<lease_type>> settlements,
                                         std::span<const typename schedule_records::due_schedule> due = {}) {
    std::size_t size = due.size();
    for (const auto& s : settlements) size += s.then.size();
    if (size == 0) return std::nullopt;
    std::optional<addition> a{std::in_place, size};
    std::size_t from = 0;
    for (const auto& s : settlements) a->prepare(s.then, std::exchange(from, from + s.then.size()), true);
    for (const auto& d : due) {
      const std::size_t at = from++;
      if (!d.make) continue;
      a->prepare(d.of->options.options, at, false);
      if (a->extras.empty()) a->extras.resize(size);
      if (a->extras[at] == nullptr) a->extras[at] = owner<job_extras>{new job_extras};
      a->extras[at]->schedule = d.of->run;
    }
    return a;
  }

  // These are the last that may fail.
  void reserve(addition& a, job_time now) {
    jobs_.reserve(a.size);
    if (!a.fresh.empty()) jobs_.reserve(a.fresh, now);
  }
  void reserve_parents(std::span<const job_entry<Payload>> entries, const addition& a) {
    if (a.extras.empty()) return;
    for (const auto& entry : entries) {
      if (!entry.options->parent) continue;
      if (node* const p = jobs_.find(entry.options->parent)) reserve_parent(p->kin);
    }
  }
  // Of those that will be added.
  result<void> find_parents(std::span<const job_entry<Payload>> entries, const addition& a, job_time now) noexcept {
    if (a.extras.empty()) return {};
    for (const auto& entry : entries) {
      if (!entry.options->parent) continue;
      node* there = nullptr;
      if (jobs_.duplicate_of(*entry.options, now, there)) continue;
      const node* const p = jobs_.find(entry.options->parent);
      if (p == nullptr) return errc::not_found;
      if (!jobs_.families().takes_children(*p)) return errc::stale;
    }
    return {};
  }
  // How many of them need room.
  std::size_t new_ones(std::span<const job_entry<Payload>> entries, addition& a, job_time now) noexcept {
    std::size_t n = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      node* there = nullptr;
      const bool duplicate =
          (entries[i].parent < i && a.duplicates[entries[i].parent]) || jobs_.duplicate_of(*entries[i].options, now, there);
      if (!duplicate) ++n;
      if (duplicate && !a.duplicates.empty()) a.duplicates[i] = true;
    }
    return n;
  }
  // `settled`: whose children they may be.
  void add_all(std::span<const job_entry<Payload>> entries, std::size_t from, node* settled, addition& a, job_time now,
               effects& e, std::span<job_added> added) noexcept {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      job_added one = add_one(entries[i], from + i, from, settled, a, now, e);
      if (!added.empty()) added[i] = std::move(one);
    }
    if (a.nodes.empty()) return;
    for (std::size_t i = from; i < from + entries.size(); ++i) {
      if (a.nodes[i] != nullptr) jobs_.gathered(*a.nodes[i], now, e);
    }
  }
  job_added add_one(const job_entry<Payload>& entry, std::size_t at, std::size_t from, node* settled, addition& a, job_time now,
                    effects& e) noexcept {
    using other = job_entry<Payload>;
    owner<job_extras> extras = a.extras.empty() ? nullptr : std::move(a.extras[at]);
    node* parent = nullptr;
    if (extras != nullptr) {
      if (entry.parent == other::settled_job) {
        parent = settled;
      } else if (entry.parent != other::no_entry) {
        parent = a.nodes[from + entry.parent];
        if (parent == nullptr) {
          if (entry.watch != nullptr) jobs::say(*entry.watch, e);
          return {.duplicate = true};
        }
      } else if (entry.options->parent) {
        parent = jobs_.find(entry.options->parent);
        if (parent != nullptr && (parent->kin == nullptr || !jobs_.families().takes_children(*parent))) parent = nullptr;
      }
      node* there = nullptr;
      if (job_id id = jobs_.duplicate_of(*entry.options, now, there)) {
        jobs_.extend_guard(*entry.options, now);
        jobs_.duplicated(id);
        if (parent != nullptr && there != nullptr) jobs_.adopt(*parent, *there, extras->kin, now, e);
        if (entry.watch != nullptr) jobs::watch(there, *entry.watch, e);
        return {.id = std::move(id), .duplicate = true};
      }
    }
    job_id id = jobs_.add(std::move(*entry.payload), *entry.options, std::move(extras), a.fresh, entry.watch, parent, now, e);
    if (!a.nodes.empty()) a.nodes[at] = jobs_.find(id);
    return {.id = std::move(id)};
  }

  // Without the lock but for a look: copying payloads is user's code.
  due_schedules look_for_due(job_time now) {
    due_schedules due;
    if constexpr (std::copy_constructible<Payload>) {
      if (schedules_.next_at() > now) [[likely]]
        return due;
      {
        std::scoped_lock guard{lock_};
        if (!jobs_.paused()) due = schedules_.due(now);
      }
      for (auto& d : due) schedule_records::look(d, now);
    }
    return due;
  }
  // They are the last of the addition.
  [[gnu::noinline]] void add_due(due_schedules& due, addition& a, job_time now, effects& e) noexcept {
    schedules_.starved = false;
    const std::size_t from = a.size - due.size();
    for (std::size_t i = 0; i < due.size() && !jobs_.paused(); ++i) {
      auto& d = due[i];
      if (!schedule_records::current(d)) continue;
      const enqueue_options& o = d.of->options.options;
      node* there = nullptr;
      job_added added{.duplicate = true};
      if (d.make && (jobs_.room_for(1) || jobs_.duplicate_of(o, now, there))) {
        added = add_one({&*d.payload, &o}, from + i, from, nullptr, a, now, e);
      } else if (d.make) {
        schedules_.starved = true;
        return;
      }
      schedules_.move_on(d, added);
    }
  }

  void settle_all(std::span<job_settlement<lease_type>> settlements, std::optional<addition>& a, job_time now, effects& e) {
    if (a) {
      reserve(*a, now);
      for (const auto& s : settlements) {
        if (s.how == settle_as::waiting_children && !s.then.empty()) reserve_parent(s.lease->node_->kin);
        reserve_parents(s.then, *a);
      }
    }
    std::size_t from = 0;
    for (auto& s : settlements) {
      settle_one(s, a ? &*a : nullptr, from, now, e);
      from += s.then.size();
    }
  }
  void settle_one(job_settlement<lease_type>& s, addition* a, std::size_t from, job_time now, effects& e) noexcept {
    assert(s.lease->node_ != nullptr && "a lease was settled twice");
    node& n = *std::exchange(s.lease->node_, nullptr);
    --leases_;
    s.stale = !jobs::holds(n, s.lease->fence_);
    jobs_.unpin(n, e);  // one that is known stays
    if (s.stale) return;
    node* const held = s.then.empty() ? nullptr : jobs_.hold_parent(n);  // it may get others with the last of its children
    switch (s.how) {
      case settle_as::completed:
        jobs_.complete(n, std::move(s.value), now, e);
        break;
      case settle_as::failed:
        jobs_.fail(n, std::move(s.why), now, e);
        break;
      case settle_as::retry:
        jobs_.retry(n, std::move(s.why), s.at, now, e);
        break;
      case settle_as::released:
        jobs_.release(n, s.at, now, e);
        break;
      case settle_as::waiting_children:
        jobs_.wait_for_children(n);
        if (!s.then.empty()) add_all(s.then, from, &n, *a, now, e, {});
        jobs_.gathered(n, now, e);
        break;
    }
    if (s.how != settle_as::waiting_children && !s.then.empty()) add_all(s.then, from, nullptr, *a, now, e, {});
    if (held != nullptr) jobs_.gathered(*held, now, e);
    if (s.how == settle_as::completed || s.how == settle_as::failed) jobs_.emit_if_drained();
  }
  [[nodiscard]] lease_type lease_of(node& n) noexcept {
    ++leases_;
    return lease_type{*this, n};
  }

 private:
  friend lease_type;
  void drop(lease_type& lease) noexcept {
    static_cast<void>(change([&](effects& e) -> result<void> {
      --leases_;
      jobs_.unpin(*lease.node_, e);
      return {};
    }));
  }
};

}  // namespace penstock::inline v0_1::detail
