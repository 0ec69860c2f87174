// penstock/job/memory_store.hpp: jobs in the memory of this process.
//
//   penstock::memory_store<mail> store{{.capacity = 100'000}};
//   penstock::job_queue<mail> mails{store};                        // a queue without a store of its own
//
// A job_store (job_store.hpp says what its parts mean). Payloads are kept as they are, and never serialised; they live no longer than the process.
//
// Invariants     at the most `capacity` jobs are not over, but for those that settlements add (job_settlement::then); redriving needs room, too. Of those
//                that are over, the newest are kept as the options say. A parent keeps what its children gave until it is gone itself. Jobs of priority 0 are a list, the others and the delayed ones heaps: O(1), and O(log n).
//                With groups, each start O(log groups) more.
// User code      payloads move in under the lock, without throwing; they are destroyed, and everybody is told, under none.
// Thread safety  every member may be called concurrently, but for construction and destruction. Leases outlive a job, but not the store.
// Cancellation   nothing waits.
// Destruction    destroys the payloads; who watches a job is told that it was removed. No lease may be left (asserted).
// Cost           one lock an operation, however many jobs it is about, and a second one if payloads are to be destroyed.
// Allocation     chunks of 256 jobs, which are used again and never given back; one more for a job with attempts, a timeout, a name, a key or `remove_…`;
//                one for each name and key; two for a child, one for a parent; some for a group, which is forgotten when it has neither jobs nor a rule.
//                Fetching and settling allocate nothing, but for `then`, the reason of a parent that fails with its child (without memory: the child's own),
//                and room for the times of starts of a group with a `max`: 8 bytes each, doubling.
// Fork           a child has a copy of the jobs, which are run twice if it has workers of its own.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/result.hpp>
#include <penstock/job/detail/memory_admin.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/memory_lease.hpp>
#include <penstock/job/memory_store_options.hpp>

namespace penstock::inline v0_1 {

/// Its members that look and mend are in its base.
template <class Payload>
class memory_store : public detail::memory_admin<Payload> {
  static_assert(std::is_object_v<Payload> && std::is_nothrow_move_constructible_v<Payload> &&
                    std::is_nothrow_destructible_v<Payload>,
                "the payload of a job moves without throwing");
  using base = detail::memory_admin<Payload>;
  using typename base::addition;
  using typename base::due_schedules;
  using typename base::effects;
  using typename base::jobs;
  using typename base::node;
  template <class T>
  using answer = typename base::template answer<T>;

 public:
  using payload_type = Payload;
  using options_type = memory_store_options;
  using lease_type = memory_lease<Payload>;
  static constexpr bool blocks = false;

  /// Throws std::invalid_argument if the capacity is 0 or an age negative.
  explicit memory_store(memory_store_options o = {}) : base{checked(o)} {}
  ~memory_store() {
    assert(leases_ == 0 && "a memory_store was destroyed before its leases");
    static_cast<void>(this->obliterate(true));
  }

  /// Adds all of them, or none: errc::full; listeners are told when there is room for as many. errc::stale and errc::not_found, if a parent that is named
  /// has ended, has not begun, or is gone. `added` is empty, or gets an answer for each. Throws std::invalid_argument of options out of their ranges, a
  /// parent that is not before its child, or more of them than the capacity, std::bad_alloc; then nothing has changed.
  result<void> add(std::span<const job_entry<Payload>> entries, job_time now, std::span<job_added> added = {}) {
    assert(added.empty() || added.size() == entries.size());
    if (entries.size() > jobs_.capacity()) {
      throw std::invalid_argument{"penstock::memory_store: " + std::to_string(entries.size()) + " jobs at a time, and room for " +
                                  std::to_string(jobs_.capacity())};
    }
    addition a{entries.size()};
    a.prepare(entries, 0, false);
    return change([&](effects& e) -> result<void> {
      if (const result<void> there = find_parents(entries, a, now); !there) return there;
      if (!jobs_.room_for(entries.size())) {
        const std::size_t fresh_ones = new_ones(entries, a, now);
        if (!jobs_.room_for(fresh_ones)) {
          wanted_room_ = wanted_room_ == 0 ? fresh_ones : std::min(wanted_room_, fresh_ones);
          return errc::full;
        }
      }
      reserve(a, now);
      reserve_parents(entries, a);
      add_all(entries, 0, nullptr, a, now, e, added);
      return {};
    });
  }

  /// Settles `first`, then leases up to `most` jobs, which are appended to `leases`: by priority, and in order. Those whose time has come are promoted before,
  /// and those that schedules say are due added. Throws std::bad_alloc, and what copying a schedule's payload throws; then nothing has changed.
  answer<job_fetched> fetch(const fetch_request& r, std::span<job_settlement<lease_type>> first,
                            std::vector<lease_type>& leases) {
    leases.reserve(leases.size() + r.most);
    due_schedules due = look_for_due(r.now);
    std::optional<addition> a = prepare(first, due);
    return change([&](effects& e) -> answer<job_fetched> {
      settle_all(first, a, r.now, e);
      if (!due.empty()) add_due(due, *a, r.now, e);
      jobs_.promote_due(r.now, e);
      for (std::size_t i = 0; i < r.most; ++i) {
        node* const n = jobs_.start_next(r.now, r.lease_until);
        if (n == nullptr) break;
        leases.push_back(lease_of(*n));
      }
      return job_fetched{.more = jobs_.something_ready(), .next_due = next_due()};
    });
  }

  /// Each settlement says afterwards whether it counts or was `stale`; its lease is used up either way. Throws, if there is something in a `then`, what add()
  /// throws but for the capacity; then nothing has changed.
  result<void> settle(std::span<job_settlement<lease_type>> settlements, job_time now) {
    std::optional<addition> a = prepare(settlements);
    return change([&](effects& e) -> result<void> {
      settle_all(settlements, a, now, e);
      return {};
    });
  }

  /// Lets leases run out later.
  result<void> extend(std::span<lease_ticket> tickets, job_time /*now*/, job_time until) noexcept {
    std::scoped_lock guard{lock_};
    for (lease_ticket& t : tickets) {
      node* const n = jobs_.find(t.id);
      t.lost = n == nullptr || !jobs::holds(*n, t.fence);
      if (!t.lost) n->lease_until = until;
    }
    return {};
  }
  /// As settle_as::released, by somebody who has no hold on the lease itself: that one is stale then.
  result<void> hand_back(std::span<lease_ticket> tickets, job_time now) noexcept {
    return change([&](effects& e) -> result<void> {
      for (lease_ticket& t : tickets) {
        node* const n = jobs_.find(t.id);
        t.lost = n == nullptr || !jobs::holds(*n, t.fence);
        if (!t.lost) jobs_.release(*n, now, now, e);
      }
      return {};
    });
  }
  /// Jobs whose lease has run out wait again, before the others; or have failed, if that happened more than `max_stalled` times.
  answer<stalled_jobs> take_back_stalled(job_time now, unsigned max_stalled) {
    static const job_text why = std::make_shared<const std::string>("stalled more often than allowed");
    return change([&](effects& e) -> answer<stalled_jobs> { return jobs_.take_back(now, max_stalled, why, e); });
  }

  /// errc::stale, of both, if the lease was lost.
  result<void> progress(const lease_type& lease, double done) noexcept {
    return change([&](effects&) -> result<void> {
      if (lease.node_ == nullptr || !jobs::holds(*lease.node_, lease.fence_)) return errc::stale;
      jobs_.progress(*lease.node_, done);
      return {};
    });
  }
  /// Throws std::bad_alloc.
  result<void> log(const lease_type& lease, std::string line) {
    std::scoped_lock guard{lock_};
    if (lease.node_ == nullptr || !jobs::holds(*lease.node_, lease.fence_)) return errc::stale;
    node& n = *lease.node_;
    const std::size_t keep = n.extras != nullptr ? n.extras->keep_logs : enqueue_options::usual_logs;
    if (keep == 0) return {};
    n.log.push_back(std::move(line));
    if (n.log.size() > keep) n.log.erase(n.log.begin());
    return {};
  }

 private:
  static const memory_store_options& checked(const memory_store_options& o) {
    if (o.capacity == 0) throw std::invalid_argument{"penstock::memory_store: capacity is 0"};
    if (o.keep_completed.age.count() < 0 || o.keep_failed.age.count() < 0) {
      throw std::invalid_argument{"penstock::memory_store: a keep_rule's age is negative"};
    }
    detail::check(o.group_rule);
    return o;
  }

  using base::add_all;
  using base::add_due;
  using base::change;
  using base::find_parents;
  using base::jobs_;
  using base::lease_of;
  using base::leases_;
  using base::lock_;
  using base::look_for_due;
  using base::new_ones;
  using base::next_due;
  using base::prepare;
  using base::reserve;
  using base::reserve_parents;
  using base::settle_all;
  using base::wanted_room_;
};

}  // namespace penstock::inline v0_1
