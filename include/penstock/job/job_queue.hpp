// penstock/job/job_queue.hpp: work that is to be done some time, at least once, by whoever has time.
//
//   penstock::job_queue<mail> mails;                                            // in memory, with a store of its own
//   penstock::job_worker sender{mails, pool, [](penstock::job<mail>& j) { send(j.payload()); }, {.concurrency = 4}};
//
//   mails.add(welcome, {.attempts = 5, .backoff = penstock::backoff::exponential(1s, 1h)}).value();
//   mails.add("newsletter", letter).value();                                    // a job with a name (job_handlers.hpp)
//   auto sent = mails.submit<int>(invoice).value();                             // a future besides, of what the handler gives
//   int pages = sent.finished.get();                                            // throws job_failed if it has failed for good
//
// The queue puts in, looks, and mends; workers (job_worker.hpp) take out. Both are views of a store, which holds the jobs and decides (job_store.hpp):
// memory_store, or a durable one. Several queues may share a store.
//
// Invariants     those of its store. A future is told once: when its job is over, removed, or the store is gone.
// Thread safety  every member may be called concurrently, but for construction and destruction.
// Fairness       who waits for room stands in line; who comes when there is some may be quicker.
// Blocking       for room, where a member says so. Not inside a handler of the same queue, nor by async_add() there: if all who make room wait for it, none
//                is made. try_add(), or job::enqueue(), for which there is always room. With a store that blocks, every member may wait for a disk or a server.
// Cancellation   who waits for room and is stopped or late has not added: the payload is the caller's still. Dropping a future changes nothing for its job.
// Destruction    its workers are gone by then. A store of its own goes with it, and the jobs in it: futures get errc::cancelled.
// Cost           that of the store; add() of a single job in memory: one lock.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <penstock/channel/broadcast.hpp>
#include <penstock/core/any_clock.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>
#include <penstock/job/detail/finished_promise.hpp>
#include <penstock/job/job.hpp>
#include <penstock/job/job_codec.hpp>
#include <penstock/job/job_flow.hpp>
#include <penstock/job/memory_store.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/sync/future.hpp>
#include <penstock/sync/mutex.hpp>

namespace penstock::inline v0_1 {

struct job_queue_options {
  any_clock clock = {};  ///< on which all who use the store agree; must outlive the queue. Calendars need a system_clock
  std::size_t event_capacity = 1024;  ///< events that a slow observer may be behind
};

/// A job with a future. R: what the handler gives; void: that does not matter.
template <class R = void>
struct submitted_job {
  job_id id = {};
  /// Ready when the job is over. get() throws job_failed with the reason if it has failed for good, std::system_error of errc::cancelled if it was
  /// removed, job_value_error if it has completed without a value, or with one that is no R (job_codec<R> reads it on the thread that settles the job).
  /// Of a duplicate: of the job that counts, also of one that has ended, and only its deduplication's ttl keeps others away; errc::not_found if that one is
  /// kept no longer (remove_on_complete, keep_completed), so that nobody knows how it ended.
  future<R> finished = {};
};

namespace detail {

/// What a store tells a queue.
template <class Payload, class Event = job_event>
class queue_observer final : public store_listener {
 public:
  explicit queue_observer(std::size_t capacity) : events{capacity, {.when_slow = slow_subscriber::lose_oldest}} {}
  [[nodiscard]] bool wants_events() const noexcept override { return events.subscribers() != 0; }
  void happened(std::span<const Event> all) noexcept override {
    for (const Event& e : all) static_cast<void>(events.try_publish(e));
  }
  void room_made() noexcept override { room.set(); }
  broadcast<Event> events;
  auto_reset_event room;  // for whose turn it is
};

}  // namespace detail

template <class Payload, job_store Store = memory_store<Payload>>
class job_queue {
  static_assert(std::same_as<typename Store::payload_type, Payload>);

 public:
  using payload_type = Payload;
  using store_type = Store;
  using entry = job_entry<Payload>;
  /// A result<T>, which nobody looks into before a queue is used: there are many, and each costs to compile.
  template <class T>
  using answer = result<detail::dependent<T, Payload>>;

  /// With a store of its own. Throws std::bad_alloc, and std::invalid_argument if event_capacity is 0.
  explicit job_queue(job_queue_options o = {})
    requires std::default_initializable<Store>
      : own_{std::make_unique<Store>()}, store_{own_.get()}, clock_{o.clock}, observer_{observe(o)} {}
  /// Over a store, which must outlive it.
  explicit job_queue(Store& store, job_queue_options o = {}) : store_{&store}, clock_{o.clock}, observer_{observe(o)} {}
  job_queue(const job_queue&) = delete;
  job_queue& operator=(const job_queue&) = delete;
  ~job_queue() {
    store_->unsubscribe(*observer_);
    own_.reset();
    observer_->events.close();
  }

  // Adding. The payload of what was not added (an error, or a duplicate) is the caller's still. Errors, besides errc::full, timeout and cancelled, are the
  // store's. Throws std::invalid_argument of options out of their ranges and of more jobs at a time than there is ever room for, std::bad_alloc.

  /// Waits for room. The id of the job, or of the one that counts instead (deduplication, job_id).
  answer<job_id> add(Payload&& payload, const enqueue_options& o = {}) { return add(wait_limits{}, std::move(payload), o); }
  /// Also ends when stop is requested, with errc::cancelled; at once if it was before the call.
  answer<job_id> add(const std::stop_token& stop, Payload&& payload, const enqueue_options& o = {}) {
    return add(wait_limits{.stop = stop}, std::move(payload), o);
  }
  /// Also ends at a deadline, with errc::timeout. If there is room it is used even if the deadline has passed.
  answer<job_id> add(const wait_limits& limits, Payload&& payload, const enqueue_options& o = {}) {
    return when_room(limits, [&] { return try_add(std::move(payload), o); });
  }
  /// Never waits: errc::full.
  answer<job_id> try_add(Payload&& payload, const enqueue_options& o = {}) {
    job_added added;
    const entry one{&payload, &o};
    if (auto r = store_->add({&one, 1}, now(), {&added, 1}); !r) return r.error();
    return std::move(added.id);
  }
  template <class Rep, class Period>
  answer<job_id> try_add_for(std::chrono::duration<Rep, Period> timeout, Payload&& payload, const enqueue_options& o = {}) {
    return add(wait_limits{.deadline = clock_.after(timeout)}, std::move(payload), o);
  }
  answer<job_id> try_add_until(deadline until, Payload&& payload, const enqueue_options& o = {}) {
    return add(wait_limits{.deadline = until}, std::move(payload), o);
  }
  /// `co_await q.async_add(payload)` is a result<job_id>. A stop request ends the wait with errc::cancelled. The payload is the task's: one that was not added
  /// is lost.
  task<answer<job_id>> async_add(Payload payload, enqueue_options o = {}) {
    const std::stop_token stop = co_await this_task::get_stop_token();
    if (stop.stop_requested()) co_return errc::cancelled;
    answer<job_id> added = try_add(std::move(payload), o);
    if (added || added.error() != errc::full) co_return added;
    auto lock = turn_.async_lock();
    const auto turn = co_await std::move(lock);
    if (!turn) co_return turn.error();
    for (;;) {
      added = try_add(std::move(payload), o);
      if (added || added.error() != errc::full) co_return added;
      auto room = observer_->room.async_wait();
      const result<void> made = co_await std::move(room);
      if (!made) co_return made.error();
    }
  }
  answer<job_id> add(const Payload& payload, const enqueue_options& o = {})
    requires std::copy_constructible<Payload>
  {
    return add(Payload(payload), o);
  }
  answer<job_id> try_add(const Payload& payload, const enqueue_options& o = {})
    requires std::copy_constructible<Payload>
  {
    return try_add(Payload(payload), o);
  }
  // With a name in front, in place of enqueue_options::name.
  template <std::convertible_to<std::string_view> Name, std::convertible_to<Payload> P = Payload>
  answer<job_id> add(const Name& name, P&& payload, enqueue_options o = {}) {
    return add(std::forward<P>(payload), named(o, name));
  }
  template <std::convertible_to<std::string_view> Name, std::convertible_to<Payload> P = Payload>
  answer<job_id> try_add(const Name& name, P&& payload, enqueue_options o = {}) {
    return try_add(std::forward<P>(payload), named(o, name));
  }

  /// Several with the same options: all of them or none, in one step. An id for each.
  answer<std::vector<job_id>> add_bulk(std::span<Payload> payloads, const enqueue_options& o = {},
                                       const wait_limits& limits = {}) {
    std::vector<detail::dependent<job_added, Payload>> added(payloads.size());
    if (auto r = when_room(limits, [&] { return put(payloads, o, added); }); !r) return r.error();
    return ids_of(added);
  }
  /// The same without ids: cheaper.
  result<void> put_bulk(std::span<Payload> payloads, const enqueue_options& o = {}, const wait_limits& limits = {}) {
    return when_room(limits, [&] { return put(payloads, o, {}); });
  }
  /// Never waits.
  result<void> try_put_bulk(std::span<Payload> payloads, const enqueue_options& o = {}) { return put(payloads, o, {}); }
  /// The same with options for each. Never waits.
  result<void> try_add_entries(std::span<const entry> entries, std::span<job_added> added = {}) {
    return store_->add(entries, now(), added);
  }

  /// A job and those that it waits for: all of them or none, in one step. An id for each, as they stand in the flow: a job, then those below it; none for
  /// what is below a duplicate, which is not added. The payloads of what was not added are the caller's still. Waits for room for all.
  answer<std::vector<job_id>> add_flow(job_flow<Payload>&& flow, const wait_limits& limits = {}) {
    const std::vector<entry> entries = detail::entries_of(flow);
    std::vector<detail::dependent<job_added, Payload>> added(entries.size());
    if (auto r = when_room(limits, [&] { return store_->add(entries, now(), added); }); !r) return r.error();
    return ids_of(added);
  }
  answer<std::vector<job_id>> add_flow(job_flow<Payload> const& flow, const wait_limits& limits = {})
    requires std::copy_constructible<Payload>
  {
    return add_flow(job_flow<Payload>(flow), limits);
  }

  /// With a future: `submit(mail)` of its end, `submit<int>(mail)` of the number that the handler gives. Waits for room.
  template <job_value R = void>
  result<submitted_job<R>> submit(Payload&& payload, const enqueue_options& o = {}, const wait_limits& limits = {}) {
    return when_room(limits, [&] { return try_submit<R>(std::move(payload), o); });
  }
  template <job_value R = void>
  result<submitted_job<R>> submit(const Payload& payload, const enqueue_options& o = {}, const wait_limits& limits = {})
    requires std::copy_constructible<Payload>
  {
    return submit<R>(Payload(payload), o, limits);
  }
  template <job_value R = void, std::convertible_to<std::string_view> Name, std::convertible_to<Payload> P = Payload>
  result<submitted_job<R>> submit(const Name& name, P&& payload, enqueue_options o = {}, const wait_limits& limits = {}) {
    return submit<R>(std::forward<P>(payload), named(o, name), limits);
  }
  /// Never waits: errc::full.
  template <job_value R = void>
  result<submitted_job<R>> try_submit(Payload&& payload, const enqueue_options& o = {}) {
    auto watch = std::make_unique<detail::finished_promise<R>>();
    submitted_job<R> job{.finished = watch->finished.get_future()};
    job_added added;
    const entry one{&payload, &o, watch.get()};
    if (auto r = store_->add({&one, 1}, now(), {&added, 1}); !r) return r.error();
    static_cast<void>(watch.release());  // the store's now, until it has told
    job.id = std::move(added.id);
    return job;
  }

  /// What happens to the store's jobs from now on, in order; who reads too slowly loses the oldest, and is told so (broadcast.hpp). Of more than
  /// 4,096 events in one step the later ones are told to nobody, and counted by the store. The subscription must go before the queue.
  [[nodiscard]] auto events() { return observer_->events.subscribe(); }

  // These are the store's: see memory_store.hpp.

  result<void> pause() { return store_->pause(); }
  result<void> resume() { return store_->resume(); }
  [[nodiscard]] answer<job_counts> counts() const { return store_->counts(); }
  [[nodiscard]] answer<std::vector<job_child>> children(const job_id& id) const { return store_->children(id); }
  [[nodiscard]] answer<job_info> find(const job_id& id) const { return store_->find(id); }
  [[nodiscard]] answer<std::vector<job_info>> list(job_state s, std::size_t first = 0, std::size_t count = 100) const {
    return store_->list(s, first, count);
  }
  [[nodiscard]] answer<std::vector<std::string>> logs(const job_id& id) const { return store_->logs(id); }
  [[nodiscard]] result<Payload> payload(const job_id& id)
    requires std::copy_constructible<Payload>
  {
    return store_->payload(id);
  }
  result<void> remove(const job_id& id) { return store_->remove(id); }
  result<void> promote(const job_id& id) { return store_->promote(id); }
  result<void> redrive(const job_id& id) { return store_->redrive(id); }
  answer<std::size_t> redrive_all(std::size_t most = std::size_t(-1)) { return store_->redrive_all(most); }
  /// Those dead letters, of the ones there are now, for which `wanted(const job_info&)` is true; how many. It ends where there is no room, after `most`, at
  /// the store's error, and with what `wanted` throws, which is asked about all of them before the first is redriven.
  template <std::predicate<const job_info&> Wanted>
  answer<std::size_t> redrive_if(Wanted wanted, std::size_t most = std::size_t(-1)) {
    constexpr std::size_t page = 1000;
    std::vector<detail::dependent<job_id, Payload>> chosen;
    for (std::size_t first = 0; chosen.size() < most; first += page) {
      const answer<std::vector<job_info>> failed = list(job_state::failed, first, page);
      if (!failed) return failed.error();
      for (const job_info& j : *failed) {
        if (chosen.size() < most && wanted(j)) chosen.push_back(j.id);
      }
      if (failed->size() < page) break;
    }
    std::size_t redriven = 0;
    for (const job_id& id : chosen) {
      const result<void> r = redrive(id);
      if (!r && r.error() == errc::full) break;
      if (!r && r.error() != errc::not_found) return r.error();  // or somebody else was quicker
      if (r) ++redriven;
    }
    return redriven;
  }
  answer<std::size_t> drain(bool delayed_too = false) { return store_->drain(delayed_too); }
  /// Removes those that are over for `at_least` already.
  answer<std::size_t> clean(job_state s, std::chrono::nanoseconds at_least, std::size_t most = 1000) {
    return store_->clean(s, now() - at_least, most);
  }
  result<void> obliterate(bool active_too = false) { return store_->obliterate(active_too); }

  // Tenants: see job_group.hpp.

  result<void> set_group(std::string_view name, const job_group_rule& rule) { return store_->set_group(name, rule); }
  [[nodiscard]] answer<std::vector<job_group_info>> groups() const { return store_->groups(); }

  // What comes again: see job_schedule.hpp.

  /// In place of the schedule of that name. Throws std::invalid_argument that names the value; also of a calendar (`when`) while the queue's clock is the
  /// steady one, which knows no date: job_queue_options::clock.
  result<void> schedule(const job_schedule_options& o, const Payload& payload) {
    if (!o.when.empty() && clock_.after(std::chrono::nanoseconds{0}).queue() == nullptr) {
      throw std::invalid_argument{"penstock::job_queue: \"" + o.when +
                                  "\" needs a clock that tells the date: give job_queue_options::clock a system_clock"};
    }
    return store_->put_schedule(o, payload, now());
  }
  /// errc::not_found. What it has added stays.
  result<void> unschedule(std::string_view id) { return store_->remove_schedule(id); }
  [[nodiscard]] answer<std::vector<job_schedule_info>> schedules() const { return store_->schedules(); }

  [[nodiscard]] Store& store() noexcept { return *store_; }
  [[nodiscard]] const any_clock& clock() const noexcept { return clock_; }
  [[nodiscard]] job_time now() const noexcept { return job_time{clock_.now()}; }

 private:
  static enqueue_options& named(enqueue_options& o, std::string_view name) {
    o.name = name;
    return o;
  }
  std::shared_ptr<detail::queue_observer<Payload>> observe(const job_queue_options& o) {
    auto observer = std::make_shared<detail::queue_observer<Payload>>(o.event_capacity);
    store_->subscribe(observer);
    return observer;
  }
  // Those who wait for room stand in the line of turn_; the first of them waits for the store's word, and asks again.
  template <class Put>
  auto when_room(const wait_limits& limits, Put put_in) -> decltype(put_in()) {
    if (limits.stop.stop_requested()) return errc::cancelled;
    if (auto r = put_in(); r || r.error() != errc::full) return r;
    const auto turn = turn_.lock(limits);
    if (!turn) return turn.error();
    for (;;) {
      if (auto r = put_in(); r || r.error() != errc::full) return r;
      if (const result<void> made = observer_->room.wait(limits); !made) return made.error();
    }
  }
  static std::vector<detail::dependent<job_id, Payload>> ids_of(std::vector<detail::dependent<job_added, Payload>>& added) {
    std::vector<detail::dependent<job_id, Payload>> ids;
    ids.reserve(added.size());
    for (job_added& a : added) ids.push_back(std::move(a.id));
    return ids;
  }
  result<void> put(std::span<Payload> payloads, const enqueue_options& o, std::span<job_added> added) {
    std::vector<entry> entries;
    entries.reserve(payloads.size());
    for (Payload& p : payloads) entries.push_back({&p, &o});
    return store_->add(entries, now(), added);
  }

  std::unique_ptr<Store> own_;
  Store* store_;
  any_clock clock_;
  std::shared_ptr<detail::queue_observer<Payload>> observer_;
  basic_mutex<detail::dependent<detail::std_sync, Payload>> turn_{{.fairness = fairness::fifo}};
};

/// Asks the store: one that is elsewhere takes its time, and its errors are thrown (std::system_error), which makes the component not `up`.
template <class Payload, class Store>
void describe(const job_queue<Payload, Store>& q, metric_sink& to) {
  to.kind("job_queue");
  const job_counts c = q.counts().value();
  describe(c, to);
  if (c.next_due == no_time && c.waiting != 0) return;  // nobody knows
  const job_time now = q.now();
  to.gauge({"head_wait", "For how long the job that is next has been due."}, c.next_due < now ? now - c.next_due : job_time{0});
}

}  // namespace penstock::inline v0_1
