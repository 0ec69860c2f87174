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
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/result.hpp>
#include <penstock/job/detail/job_addition.hpp>
#include <penstock/job/detail/job_schedules.hpp>
#include <penstock/job/detail/memory_jobs.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/job/memory_lease.hpp>
#include <penstock/job/memory_store_options.hpp>

namespace penstock::inline v0_1 {

template <class Payload>
class memory_store {
  static_assert(std::is_object_v<Payload> && std::is_nothrow_move_constructible_v<Payload> &&
                    std::is_nothrow_destructible_v<Payload>,
                "the payload of a job moves without throwing");
  using jobs = detail::memory_jobs<Payload>;
  using node = typename jobs::node;
  using effects = typename jobs::effects;
  using schedule_records = detail::job_schedules<Payload>;
  using addition = detail::job_addition<Payload>;
  using listeners = std::vector<std::shared_ptr<store_listener>>;

 public:
  using payload_type = Payload;
  using options_type = memory_store_options;
  using lease_type = memory_lease<Payload>;
  static constexpr bool blocks = false;

  /// Throws std::invalid_argument if the capacity is 0 or an age negative.
  explicit memory_store(memory_store_options o = {})
      : time_zones_{o.time_zones},
        jobs_{checked(o).capacity,
              {o.keep_completed.count, o.keep_completed.age},
              {o.keep_failed.count, o.keep_failed.age},
              o.group_rule},
        listeners_{std::make_shared<const listeners>()} {}
  memory_store(const memory_store&) = delete;
  memory_store& operator=(const memory_store&) = delete;
  ~memory_store() {
    assert(leases_ == 0 && "a memory_store was destroyed before its leases");
    static_cast<void>(obliterate(true));
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
  result<job_fetched> fetch(const fetch_request& r, std::span<job_settlement<lease_type>> first,
                            std::vector<lease_type>& leases) {
    leases.reserve(leases.size() + r.most);
    due_schedules due = look_for_due(r.now);
    std::optional<addition> a = prepare(first, due);
    return change([&](effects& e) -> result<job_fetched> {
      settle_all(first, a, r.now, e);
      if (!due.empty()) add_due(due, *a, r.now, e);
      jobs_.promote_due(r.now, e);
      for (std::size_t i = 0; i < r.most; ++i) {
        node* const n = jobs_.start_next(r.now, r.lease_until);
        if (n == nullptr) break;
        ++leases_;
        leases.push_back(lease_type{*this, *n});
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
  result<stalled_jobs> take_back_stalled(job_time now, unsigned max_stalled) {
    static const job_text why = std::make_shared<const std::string>("stalled more often than allowed");
    return change([&](effects& e) -> result<stalled_jobs> { return jobs_.take_back(now, max_stalled, why, e); });
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

  [[nodiscard]] result<job_counts> counts() const noexcept {
    std::scoped_lock guard{lock_};
    return jobs_.counts();
  }
  /// errc::not_found
  [[nodiscard]] result<job_info> find(const job_id& id) const noexcept {
    std::scoped_lock guard{lock_};
    const node* const n = jobs_.find(id);
    if (n == nullptr) return errc::not_found;
    return jobs::info(*n);
  }
  /// `count` of the jobs in a state from the `first` one on (0): as they will be fetched or become due, or as they came to it. O(n log n), under the
  /// lock: to look at, not to work with. Throws std::bad_alloc.
  [[nodiscard]] result<std::vector<job_info>> list(job_state s, std::size_t first, std::size_t count) const {
    std::vector<job_info> found;
    std::scoped_lock guard{lock_};
    const std::vector<node*> all = jobs_.in_order(s);
    for (std::size_t i = first; i < all.size() && i - first < count; ++i) found.push_back(jobs::info(*all[i]));
    return found;
  }
  /// errc::not_found. Throws std::bad_alloc.
  [[nodiscard]] result<std::vector<std::string>> logs(const job_id& id) const {
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
  result<std::size_t> redrive_all(std::size_t most) noexcept {
    return change([&](effects& e) -> result<std::size_t> {
      std::size_t n = 0;
      for (node* oldest; n < most && (oldest = jobs_.oldest_failed()) != nullptr; ++n) {
        if (!jobs_.room_for(jobs_.redriven_with(*oldest))) break;
        jobs_.redrive(*oldest, e);
      }
      return n;
    });
  }
  /// Removes those that wait, and with `delayed_too` those; and parents that would, because the last of their open children went. How many.
  result<std::size_t> drain(bool delayed_too) noexcept {
    return change([&](effects& e) -> result<std::size_t> { return jobs_.drain(delayed_too, e); });
  }
  /// Removes up to `most` of the completed or the failed ones that ended at `ended_by` or earlier; how many. Of other states none.
  result<std::size_t> clean(job_state s, job_time ended_by, std::size_t most) noexcept {
    return change([&](effects& e) -> result<std::size_t> { return jobs_.clean(s, ended_by, most, e); });
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
  [[nodiscard]] result<std::vector<job_child>> children(const job_id& id) const {
    std::scoped_lock guard{lock_};
    const node* const n = jobs_.find(id);
    if (n == nullptr) return errc::not_found;
    return jobs_.families().children(*n);
  }
  /// From now on; of jobs without a group if the name is empty. memory_store_options::group_rule (of these: job_group_rule{}) lets the group be forgotten when
  /// it has no jobs. Throws std::invalid_argument that names the value, std::bad_alloc; then nothing has changed.
  result<void> set_group(std::string_view name, const job_group_rule& rule) {
    detail::check(rule);
    detail::new_job_groups<node> fresh;
    detail::start_log room;
    if (!name.empty()) static_cast<void>(detail::prepare_group(fresh, name));
    room.reserve_one();
    return change([&](effects&) -> result<void> {
      jobs_.set_group(name, rule, fresh, std::move(room));
      return {};
    });
  }
  /// In the order of their names. Throws std::bad_alloc.
  [[nodiscard]] result<std::vector<job_group_info>> groups() const {
    std::scoped_lock guard{lock_};
    return jobs_.groups();
  }
  /// See job_schedule.hpp. errc::unsupported if payloads cannot be copied, or it names a time zone and the store's options have none. Throws
  /// std::invalid_argument that names the value, std::bad_alloc, and what copying the payload and asking the zone throw; then nothing has changed.
  result<void> put_schedule(const job_schedule_options& o, const Payload& payload, job_time now) {
    detail::check(o);
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
  [[nodiscard]] result<std::vector<job_schedule_info>> schedules() const {
    std::scoped_lock guard{lock_};
    return schedules_.infos();
  }

  /// Throws std::bad_alloc.
  void subscribe(std::shared_ptr<store_listener> listener) {
    std::scoped_lock guard{listening_};
    auto changed = std::make_shared<listeners>(*all_listeners());
    changed->push_back(std::move(listener));
    set_listeners(std::move(changed));
  }
  /// Without memory for the change, the listener stays until the next one.
  void unsubscribe(const store_listener& listener) noexcept {
    std::scoped_lock guard{listening_};
    try {
      auto changed = std::make_shared<listeners>(*all_listeners());
      std::erase_if(*changed, [&](const auto& l) { return l.get() == &listener; });
      set_listeners(std::move(changed));
    } catch (const std::bad_alloc&) {
    }
  }
  /// Events that were not told, for too many came at a time.
  [[nodiscard]] std::uint64_t events_lost() const noexcept {
    std::scoped_lock guard{lock_};
    return jobs_.events_lost();
  }

 private:
  friend lease_type;
  struct unpinned {
    memory_store* store;
    node* job;
    ~unpinned() {
      static_cast<void>(store->change([this](effects& e) -> result<void> {
        store->jobs_.unpin(*job, e);
        return {};
      }));
    }
  };

  static const memory_store_options& checked(const memory_store_options& o) {
    if (o.capacity == 0) throw std::invalid_argument{"penstock::memory_store: capacity is 0"};
    if (o.keep_completed.age.count() < 0 || o.keep_failed.age.count() < 0) {
      throw std::invalid_argument{"penstock::memory_store: a keep_rule's age is negative"};
    }
    detail::check(o.group_rule);
    return o;
  }
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
      if (a->extras[at] == nullptr) a->extras[at] = std::make_unique<detail::job_extras>();
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
      if (node* const p = jobs_.find(entry.options->parent)) detail::reserve_parent(p->kin);
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
    std::unique_ptr<detail::job_extras> extras = a.extras.empty() ? nullptr : std::move(a.extras[at]);
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

  using due_schedules = std::vector<typename schedule_records::due_schedule>;
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
  [[nodiscard]] job_time next_due() const noexcept {
    return std::min(jobs_.next_due(), jobs_.paused() || schedules_.starved ? no_time : schedules_.next_at());
  }

  void settle_all(std::span<job_settlement<lease_type>> settlements, std::optional<addition>& a, job_time now, effects& e) {
    if (a) {
      reserve(*a, now);
      for (const auto& s : settlements) {
        if (s.how == settle_as::waiting_children && !s.then.empty()) detail::reserve_parent(s.lease->node_->kin);
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
  void drop(lease_type& lease) noexcept {
    static_cast<void>(change([&](effects& e) -> result<void> {
      --leases_;
      jobs_.unpin(*lease.node_, e);
      return {};
    }));
  }

  /// One step, and what follows from it. The step may throw before it has changed anything.
  template <class F>
  auto change(F f) {
    effects e;
    std::shared_ptr<const listeners> tell;
    bool events = false;
    std::unique_lock guard{lock_};
    jobs_.record(somebody_records());
    auto answer = f(e);
    if (jobs_.group_released()) e.ready = true;
    if (schedules_.starved && jobs_.room_for(1)) schedules_.starved = false, e.ready = true;
    if (e.ready && !jobs_.something_ready() && next_due() == no_time) e.ready = false;  // it was taken in the same step
    events = !jobs_.events().empty();
    const bool room = wanted_room_ != 0 && jobs_.room_for(wanted_room_);
    if (room) wanted_room_ = 0;
    if (e.ready || room) tell = listeners_;
    guard.unlock();
    if (e.dead != nullptr) {
      jobs::destroy_payloads(e.dead);
      guard.lock();
      jobs_.reuse(e.dead);
      guard.unlock();
    }
    for (job_watch* w = e.told; w != nullptr;) {
      job_watch* const next = w->next;  // read first: it may destroy itself
      w->tell();
      w = next;
    }
    if (events) deliver();
    if (e.ready || room) {
      for (const auto& l : *tell) {
        if (e.ready) l->work_ready();
        if (room) l->room_made();
      }
    }
    return answer;
  }
  // With the lock held.
  bool somebody_records() const noexcept {
    for (const auto& l : *listeners_) {
      if (l->wants_events()) return true;
    }
    return false;
  }
  // One thread at a time, so that events are told in their order: others leave theirs to it.
  void deliver() noexcept {
    std::unique_lock guard{lock_};
    if (delivering_) return;
    delivering_ = true;
    while (!jobs_.events().empty()) {
      std::swap(on_their_way_, jobs_.events());
      const std::shared_ptr<const listeners> tell = listeners_;
      guard.unlock();
      for (const auto& l : *tell) l->happened(on_their_way_);
      on_their_way_.clear();
      guard.lock();
    }
    delivering_ = false;
  }

  std::shared_ptr<const listeners> all_listeners() const noexcept {
    std::scoped_lock guard{lock_};
    return listeners_;
  }
  void set_listeners(std::shared_ptr<const listeners> l) noexcept {
    std::scoped_lock guard{lock_};
    listeners_.swap(l);
  }

  const job_time_zones time_zones_;
  mutable detail::polled_mutex<> lock_;
  jobs jobs_;                   // guarded by lock_, as are the next six
  schedule_records schedules_;  // but for next_at()
  std::size_t leases_ = 0;
  std::size_t wanted_room_ = 0;  // the least that somebody asked for in vain, since listeners were told; 0: nobody did
  std::shared_ptr<const listeners> listeners_;  // replaced as a whole
  bool delivering_ = false;
  std::vector<job_event> on_their_way_;  // of who delivers
  std::mutex listening_;                 // one change of listeners_ at a time
};

}  // namespace penstock::inline v0_1
