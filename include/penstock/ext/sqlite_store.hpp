// penstock/ext/sqlite_store.hpp: jobs in a file, which outlive the process; several processes may share it. CMake's target penstock::sqlite.
//
//   std::chrono::system_clock wall;
//   penstock::sqlite_store<mail> store{"mails.db"};
//   penstock::job_queue<mail, penstock::sqlite_store<mail>> mails{store, {.clock = wall}};   // the rest as in memory
//
// A job_store (job_store.hpp says what its parts mean, memory_store.hpp what each member does). Payloads go through job_codec<Payload>.
//
// Time           the file outlives the process, and processes share it: the queue's clock is one on which all agree, std::chrono::system_clock.
// Durability     full: what a call has done is on the disk when it returns. Many threads' calls travel in one transaction, so a thousand of them may
//                cost one wait for the disk. With normal there is no wait, and a loss of power takes the last ones.
// Processes      one writes at a time; others wait, busy_timeout at the most. A process knows of its own jobs at once, and of those of others every
//                poll_interval: workers ask again by then, and what ended elsewhere is told to who waits for it (not to observers). All use the
//                same options.
// Errors         a full disk, a file that cannot be written, a lock that is held for too long: the call gives an error of sqlite_error.hpp, nothing
//                has changed, and one may ask again. What a schedule wants and the file has no room for waits, and is tried again each second; what is
//                there is run meanwhile. A file that is something else, corrupt, or of a later version is refused at construction,
//                unchanged.
// Time zones     the file keeps a zone's name, and each process brings the zones that it knows (sqlite_store_options::time_zones). What is due in a zone
//                that a process does not know it leaves to the others.
// Bad payloads   one that the codec cannot read (another version wrote it) is a dead letter, and its reason says so.
// Thread safety  every member may be called concurrently, but for construction and destruction. Every member may wait for the disk.
// User code      codecs run, zones are asked, and everybody is told, on the thread that asks, under no lock; of what other processes did on the
//                store's own thread, which looks for it.
// Cancellation   nothing can be stopped.
// Destruction    leaves the jobs in the file; who watches one is told that it is gone. Leases may outlive it.
// Cost           O(log n) for each job, and O(log groups) for each start where there are groups; one transaction for all that came while the last one
//                was on its way.
// Allocation     the encoded payloads, leases, what is read.
// Fork           a child must not use it: SQLite's connections do not survive that.
#pragma once

#include <sqlite3.h>

#include <cassert>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/result.hpp>
#include <penstock/ext/detail/sqlite_core.hpp>
#include <penstock/ext/detail/sqlite_payloads.hpp>
#include <penstock/ext/sqlite_error.hpp>
#include <penstock/ext/sqlite_lease.hpp>
#include <penstock/ext/sqlite_store_options.hpp>
#include <penstock/job/job_codec.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1 {

template <class Payload>
class sqlite_store {
  static_assert(job_encodable<Payload>, "a payload that leaves the process needs a job_codec");
  static_assert(std::is_nothrow_move_constructible_v<Payload> && std::is_nothrow_destructible_v<Payload>,
                "the payload of a job moves without throwing");
  using core = detail::dependent<detail::sqlite_core, Payload>;
  using jobs = detail::dependent<detail::sqlite_jobs, Payload>;
  using effects = detail::dependent<detail::sqlite_effects, Payload>;
  using reader = detail::dependent<detail::sqlite_reader, Payload>;
  using payloads = detail::sqlite_payloads<Payload>;

 public:
  using payload_type = Payload;
  using options_type = sqlite_store_options;
  using lease_type = sqlite_lease<Payload>;
  static constexpr bool blocks = true;

  /// Makes the file if there is none. Throws std::system_error of sqlite_errc that names it, and std::invalid_argument of options out of their
  /// ranges.
  explicit sqlite_store(const std::string& path, const sqlite_store_options& o = {})
      : capacity_{detail::checked(o).capacity}, time_zones_{o.time_zones}, core_{std::make_unique<core>(path, o)} {}

  /// Adds all of them, or none: errc::full; listeners are told when there is room for as many. Throws what the codec throws besides.
  result<void> add(std::span<const job_entry<Payload>> entries, job_time now, std::span<job_added> added = {}) {
    assert(added.empty() || added.size() == entries.size());
    if (entries.size() > capacity_) {
      throw std::invalid_argument{"penstock::sqlite_store: " + std::to_string(entries.size()) + " jobs at a time, and room for " +
                                  std::to_string(capacity_)};
    }
    typename payloads::addition a;
    payloads::encode(entries, false, a);
    return core_->change([&](jobs& j, effects& e) { return j.add(a.jobs, now, added, e); }, a.watches);
  }

  /// Throws what a time zone that is known throws of a schedule that is due; then nothing has changed. Who only settles (`most` is 0) asks no zone: what has
  /// ended can be told whatever zones do.
  result<job_fetched> fetch(const fetch_request& r, std::span<job_settlement<lease_type>> first,
                            std::vector<lease_type>& leases) {
    detail::sqlite_zoned zoned;
    if (!time_zones_) zoned.others = r.now;
    if (first.empty() || (r.most != 0 && time_zones_ && core_->next_schedule() <= r.now)) {
      auto outlook = core_->look([&](reader& look) -> result<typename reader::outlook> { return look.before_fetch(r.now); });
      if (!outlook) return outlook.error();
      zoned = detail::ask_zones(time_zones_, std::move(outlook->zoned), r.now);
      if (first.empty() && outlook->idle && zoned.due.empty()) return polled(*outlook->idle, r.now);  // nothing is to be written
    }
    typename payloads::ends settled;
    payloads::encode(first, settled);
    std::vector<detail::sqlite_fetched> got;
    bool scheduling = true;
    const auto step = [&](jobs& j, effects& e) -> result<job_fetched> {
      return j.fetch(r, settled.all, zoned, scheduling, got, e);
    };
    result<job_fetched> fetched = core_->change(step, settled.watches);
    // Where there is no room for what schedules want, what is there is run all the same, and makes some.
    if (!fetched && fetched.error() == sqlite_errc::full) {
      scheduling = false;
      fetched = core_->change(step, settled.watches);
    }
    if (!fetched) return fetched;
    payloads::answer(first, settled.all);
    open(got, r.now, leases);
    return polled(*fetched, r.now);
  }

  result<void> settle(std::span<job_settlement<lease_type>> settlements, job_time now) {
    if (settlements.empty()) return {};
    typename payloads::ends settled;
    payloads::encode(settlements, settled);
    const result<void> done = core_->change(
        [&](jobs& j, effects& e) -> result<void> {
          j.settle(settled.all, now, e);
          return {};
        },
        settled.watches);
    if (done) payloads::answer(settlements, settled.all);
    return done;
  }
  result<void> extend(std::span<lease_ticket> tickets, job_time /*now*/, job_time until) {
    if (tickets.empty()) return {};
    return core_->change([&](jobs& j, effects&) -> result<void> {
      j.extend(tickets, until);
      return {};
    });
  }
  result<void> hand_back(std::span<lease_ticket> tickets, job_time now) {
    if (tickets.empty()) return {};
    return core_->change([&](jobs& j, effects& e) -> result<void> {
      j.hand_back(tickets, now, e);
      return {};
    });
  }
  result<stalled_jobs> take_back_stalled(job_time now, unsigned max_stalled) {
    static const job_text why = std::make_shared<const std::string>("stalled more often than allowed");
    return core_->change([&](jobs& j, effects& e) -> result<stalled_jobs> { return j.take_back(now, max_stalled, why, e); });
  }
  result<void> progress(const lease_type& lease, double done) {
    return core_->change([&](jobs& j, effects& e) { return j.progress({.id = lease.id(), .fence = lease.fence()}, done, e); });
  }
  result<void> log(const lease_type& lease, std::string line) {
    return core_->change([&](jobs& j, effects&) { return j.log({.id = lease.id(), .fence = lease.fence()}, line); });
  }

  result<void> pause() { return pause(true); }
  result<void> resume() { return pause(false); }

  [[nodiscard]] result<job_counts> counts() const {
    return core_->look([](reader& look) -> result<job_counts> {
      const auto seen = look.tallies_and_next();
      const detail::sqlite_tallies& t = seen.first;
      const auto of = [&t](job_state s) { return static_cast<std::size_t>(t.of(s)); };
      return job_counts{.waiting = of(job_state::waiting),
                        .delayed = of(job_state::delayed),
                        .active = of(job_state::active),
                        .completed = of(job_state::completed),
                        .failed = of(job_state::failed),
                        .waiting_children = of(job_state::waiting_children),
                        .paused = t.paused != 0,
                        .next_due = seen.second};
    });
  }
  [[nodiscard]] result<job_info> find(const job_id& id) const {
    return core_->look([&](reader& look) { return found(look.find(id)); });
  }
  [[nodiscard]] result<std::vector<job_info>> list(job_state s, std::size_t first, std::size_t count) const {
    return core_->look([&](reader& look) -> result<std::vector<job_info>> { return look.list(s, first, count); });
  }
  [[nodiscard]] result<std::vector<std::string>> logs(const job_id& id) const {
    return core_->look([&](reader& look) { return found(look.logs(id)); });
  }
  /// errc::not_found, and the codec's errors.
  [[nodiscard]] result<Payload> payload(const job_id& id) {
    const result<std::string> text = core_->look([&](reader& look) { return found(look.payload(id)); });
    if (!text) return text.error();
    return job_codec<Payload>::decode(*text);
  }

  result<void> remove(const job_id& id) {
    return core_->change([&](jobs& j, effects& e) { return j.remove(id, e); });
  }
  result<void> cancel(const job_id& id) {
    return core_->change([&](jobs& j, effects& e) { return j.cancel(id, e); });
  }
  result<void> promote(const job_id& id) {
    return core_->change([&](jobs& j, effects& e) { return j.promote(id, e); });
  }
  result<void> redrive(const job_id& id) {
    return core_->change([&](jobs& j, effects& e) { return j.redrive(id, e); });
  }
  result<std::size_t> redrive_all(std::size_t most) {
    return core_->change([&](jobs& j, effects& e) -> result<std::size_t> { return j.redrive_all(most, e); });
  }
  result<std::size_t> drain(bool delayed_too) {
    return core_->change([&](jobs& j, effects& e) -> result<std::size_t> { return j.drain(delayed_too, e); });
  }
  result<std::size_t> clean(job_state s, job_time ended_by, std::size_t most) {
    return core_->change([&](jobs& j, effects& e) -> result<std::size_t> { return j.clean(s, ended_by, most, e); });
  }
  result<void> obliterate(bool active_too) {
    return core_->change([&](jobs& j, effects& e) { return j.obliterate(active_too, e); });
  }

  [[nodiscard]] result<std::vector<job_child>> children(const job_id& id) const {
    return core_->look([&](reader& look) { return found(look.children(id)); });
  }
  /// From now on; of jobs without a group if the name is empty. Throws std::invalid_argument that names the value.
  result<void> set_group(std::string_view name, const job_group_rule& rule) {
    detail::check(rule);
    return core_->change([&](jobs& j, effects&) -> result<void> {
      j.set_group(name, rule);
      return {};
    });
  }
  /// In the order of their names.
  [[nodiscard]] result<std::vector<job_group_info>> groups() const {
    return core_->look([](reader& look) -> result<std::vector<job_group_info>> { return look.groups(); });
  }

  /// See job_schedule.hpp. errc::unsupported if it names a time zone and the store's options have none. Throws std::invalid_argument that names the value,
  /// and what the codec and the zone throw; then nothing has changed.
  result<void> put_schedule(const job_schedule_options& o, const Payload& payload, job_time now) {
    detail::check(o);
    job_time in_zone = no_time;
    if (!o.time_zone.empty()) {
      if (!time_zones_) return errc::unsupported;
      const auto zone = time_zones_(o.time_zone);
      if (zone == nullptr) throw std::invalid_argument{"penstock::sqlite_store: there is no time zone \"" + o.time_zone + "\""};
      in_zone = detail::sqlite_schedule{.options = o, .first = o.start}.times(zone).from(now);
    }
    const std::string text = job_codec<Payload>::encode(payload);
    return core_->change([&](jobs& j, effects& e) -> result<void> {
      j.put_schedule(o, text, now, in_zone, e);
      return {};
    });
  }
  /// What it has added stays. errc::not_found.
  result<void> remove_schedule(std::string_view id) {
    return core_->change([&](jobs& j, effects&) { return j.remove_schedule(id); });
  }
  /// The next one first.
  [[nodiscard]] result<std::vector<job_schedule_info>> schedules() const {
    return core_->look([](reader& look) -> result<std::vector<job_schedule_info>> { return look.schedules(); });
  }

  void subscribe(std::shared_ptr<store_listener> listener) { core_->listeners().add(std::move(listener)); }
  void unsubscribe(const store_listener& listener) noexcept { core_->listeners().remove(listener); }
  /// Events that were not told, for too many came at a time.
  [[nodiscard]] std::uint64_t events_lost() const noexcept { return core_->listeners().lost(); }
  [[nodiscard]] sqlite_store_stats stats() const noexcept { return core_->stats(); }

  /// Looks at once, without waiting for the poll_interval, for what other processes did.
  result<void> look_around() { return core_->look_around(); }

 private:
  template <class T>
  static result<T> found(std::optional<T>&& value) {
    if (!value) return errc::not_found;
    return std::move(*value);
  }
  result<void> pause(bool paused) {
    return core_->change([&](jobs& j, effects& e) -> result<void> {
      j.pause(paused, e);
      return {};
    });
  }
  /// Without a word of other processes one asks again.
  [[nodiscard]] job_fetched polled(job_fetched f, job_time now) const noexcept {
    const job_time again{detail::saturating_add(now.count(), core_->poll_interval().count())};
    if (again < f.next_due) f.next_due = again;
    return f;
  }
  /// The leases of what was fetched.
  void open(std::vector<detail::sqlite_fetched>& got, job_time now, std::vector<lease_type>& leases) {
    typename payloads::unreadable bad;
    payloads::decode(got, now, leases, bad);
    if (bad.all.empty()) return;
    static_cast<void>(core_->change([&](jobs& j, effects& e) -> result<void> {  // if that does not go, their leases run out
      j.settle(bad.all, now, e);
      return {};
    }));
  }

  std::size_t capacity_;
  const job_time_zones time_zones_;
  std::unique_ptr<core> core_;
};

}  // namespace penstock::inline v0_1
