// penstock/job/job_store.hpp: where jobs are kept, and what a queue and its workers ask of that place.
//
// A store is the only one who changes a job's state. Its operations take many jobs at a time, and each is one step that happens wholly or not at all:
// one locked section in memory, one transaction in a database, one script in a server. It has no clock: who asks says what time it is, in nanoseconds
// since the epoch of a clock on which all who use the store agree (in memory any; across processes the system's clock).
//
//            add                 fetch                    settle: completed
//   (new) ─────────► waiting ─────────────► active ─────────────────────────► completed
//      │    promote,  ▲  ▲ ▲                │ │ │ │       settle: failed
//      │ delay due    │  │ │ redrive        │ │ │ └──────────────────────────► failed (the dead letters)
//      └──► delayed ──┘  │ └─────────────── │ │ │ ─── failed
//              ▲         └──────────────────┘ │ │ settle: retry, released; hand_back; its lease ran out
//              └──────────────────────────────┘ └── stalled too often ──────► failed
//
// Who may do what     adding, promoting, redriving, removing: everybody. Of an active job only who holds its lease: settle, extend, hand_back,
//                     progress and log name the lease's *fence*, which is greater for each lease of a job. A lease that ran out and was taken back, a job that
//                     was removed: what the former holder says is refused (errc::stale, or `stale`/`lost` in the answer) and changes nothing.
// At least once       a job is run until somebody settles it under a lease that counts. A worker that stood still past its lease may have run it, too,
//                     and what it did outside cannot be undone: handlers are idempotent, or hand the fence to what they change.
// Blocking            `blocks` says whether an operation may wait for a disk or a server. Workers of such a store renew leases on a thread of their own,
//                     and everything else happens on the thread that asks.
// Errors              a result holds the store's own error (a disk, a connection); then nothing has changed, and one may ask again. In memory
//                     only errc::full and what is written at the members.
// Listening           a store tells its listeners that there may be work. One that cannot know (other processes add to it) gives in `next_due` when
//                     it wants to be asked again.
// Families            a parent that waits for its children is in `waiting_children`, and the step that ends the last of them makes it ready (or delayed, if its
//                     delay has not passed). A child has one parent. How each child ended, and what it gave, is kept with the parent. Who fails for good
//                     has its parent fail, run at once, or not mind (child_failure), upwards to the top in the same step. A child that is removed
//                     is waited for no longer. A store that has no families says so with `static constexpr bool families = false`.
// Groups, schedules   are for the store alone: fetch() takes turns between groups, and adds what a schedule says is due.
// What it cannot do   a store says so: errc::unsupported, of an option of a job too, and nothing is added.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <penstock/core/clock.hpp>
#include <penstock/core/result.hpp>
#include <penstock/job/enqueue_options.hpp>
#include <penstock/job/job_group.hpp>
#include <penstock/job/job_id.hpp>
#include <penstock/job/job_schedule.hpp>
#include <penstock/observe/metric_sink.hpp>

namespace penstock::inline v0_1 {

/// Nanoseconds since the epoch of the clock that all users of a store agree on.
using job_time = std::chrono::nanoseconds;
/// Of what is due never.
inline constexpr job_time no_time = job_time::max();

/// A text that is shared, so that copying it neither allocates nor throws. Null: none.
using job_text = std::shared_ptr<const std::string>;

enum class job_state : std::uint8_t {
  waiting,           ///< to be fetched, by priority and then in order
  delayed,           ///< not before its time
  active,            ///< fetched, and not settled
  completed,         ///< over, and kept to be looked at
  failed,            ///< over: a dead letter, which can be redriven
  waiting_children,  ///< for jobs that were added with it
};
inline constexpr std::size_t job_states = 6;

/// Something happened to a job. An observer's view: events may get lost (see job_queue::events()), the state is with the store.
struct job_event {
  enum class kind : std::uint8_t {
    added,
    delayed,
    started,
    completed,
    failed,
    retried,
    released,
    stalled,
    promoted,
    redriven,
    removed,
    progress,
    waiting_children,  ///< it was run, or added, and waits for jobs that came with it; `promoted` or `delayed` when they are over
    retries_exhausted,  ///< after `failed`: no attempt was left
    duplicate,          ///< another one like it was to be added, and was not
    drained,            ///< about no job: one is over, and none waits or is active (delayed ones do not count)
    paused,             ///< about no job
    resumed,            ///< about no job
  };
  kind what = kind::added;
  job_id id = {};
  unsigned attempt = 0;  ///< the run that it is about, counted from 1; 0: none was yet
  job_text why = {};     ///< of failed, retried
  job_text value = {};   ///< of completed: what the handler gave
  double progress = 0;   ///< of progress
};

/// What is known of a job, but for its payload.
struct job_info {
  job_id id = {};
  job_state state = job_state::waiting;
  std::uint32_t priority = 0;
  unsigned attempts_made = 0;  ///< runs that completed or failed
  unsigned stalled = 0;        ///< runs whose lease ran out
  double progress = 0;         ///< what the handler said last
  job_text why = {};           ///< the last failure
  job_text value = {};         ///< of a completed one: what its handler gave
  job_text name = {};          ///< enqueue_options::name
  job_text group = {};
  job_id parent = {};
  std::size_t children = 0;  ///< that are not over
  job_time added_at{0};
  job_time due_at{0};  ///< of a delayed one; of others since when it was due the last time, no_time: nobody knows (see job_lease)
  job_time started_at = no_time;    ///< the last run
  job_time ended_at = no_time;      ///< of one that is over
  job_time leased_until = no_time;  ///< of an active one
};

/// A child as its parent sees it.
struct job_child {
  job_id id = {};
  job_text name = {};
  job_state state = job_state::waiting;  ///< completed, failed (and ignored), or any other: it is not over
  job_text text = {};                    ///< of a completed one: what its handler gave; of a failed one: why
};

struct job_counts {
  std::size_t waiting = 0;
  std::size_t delayed = 0;
  std::size_t active = 0;
  std::size_t completed = 0;  ///< that are kept
  std::size_t failed = 0;     ///< that are kept
  std::size_t waiting_children = 0;
  bool paused = false;
  /// Since when the job has been due that is next, or when it will be; no_time: there is none, or nobody knows. With priorities or groups an older one
  /// may stand behind it.
  job_time next_due = no_time;
};

/// Somebody who wants to know when a job is over. The store owns no memory for it: it links it, and unlinks it before it calls over() or forgotten(), once,
/// under no lock; afterwards it does not touch it.
class job_watch {
 public:
  job_watch() = default;
  job_watch(const job_watch&) = delete;
  job_watch& operator=(const job_watch&) = delete;
  /// completed, with what the handler gave; failed, with the reason; any other state: it was removed, or the store is gone.
  virtual void over(job_state how, const job_text& text) noexcept = 0;
  /// In place of over(), of a duplicate: the job that counts has ended and is kept no longer, so nobody knows how.
  virtual void forgotten() noexcept { over(job_state::waiting, nullptr); }

  // The store's, until it has told.
  job_watch* next = nullptr;
  job_state how = job_state::waiting;
  job_text why = {};
  bool known = true;
  void tell() noexcept { known ? over(how, why) : forgotten(); }

 protected:
  ~job_watch() = default;
};

/// A job to be added. Its payload is moved from only if it is added, and is no duplicate.
template <class Payload>
struct job_entry {
  Payload* payload;
  const enqueue_options* options;
  job_watch* watch = nullptr;  ///< of a duplicate: linked to the job that counts; told at once if that one is over
  /// The place in the same addition, before its own, of the job that is its parent: that one waits for its children. Children of a duplicate are its
  /// duplicates: they are not added, and have no id. A child that is itself a duplicate is waited for as well if the job that counts has no other parent.
  /// In job_settlement::then also `settled_job`.
  std::size_t parent = no_entry;

  static constexpr std::size_t no_entry = static_cast<std::size_t>(-1);
  static constexpr std::size_t settled_job = static_cast<std::size_t>(-2);  ///< if that one waits for its children; else none
};
struct job_added {
  job_id id = {};
  bool duplicate = false;  ///< nothing was added: `id` is the job that counts instead; none of a child of a duplicate
};

struct fetch_request {
  std::string_view worker = {};  ///< a name for who asks
  std::size_t most = 1;
  job_time now{0};
  job_time lease_until{0};
  std::size_t runs = 1;  ///< that will divide what comes: if it is fewer jobs than these, somebody has nothing to do
};
struct job_fetched {
  bool more = false;            ///< others wait still
  job_time next_due = no_time;  ///< when it is worth asking again though nobody said so
};

enum class settle_as : std::uint8_t {
  completed,
  failed,            ///< for good
  retry,             ///< it failed, and is due again at `at`
  released,          ///< handed back: not an attempt. Due at `at`; if that has passed, before all others of its priority
  waiting_children,  ///< not over, and not an attempt: run again when its children are over; at once if they are
};
/// How a run ended.
template <class Lease>
struct job_settlement {
  Lease* lease;
  settle_as how = settle_as::completed;
  job_time at{0};
  job_text why = {};
  job_text value = {};  ///< of completed: what the handler gives
  /// Jobs that are added in the same step, if the lease counts; also beyond the store's capacity, since whoever settles cannot wait for room. One whose
  /// enqueue_options::parent is over or gone by then is added without. After the job has changed its state, so that the key of one that has ended keeps them
  /// away no longer, but for its ttl; its name does, if it is kept, and one of that name is its duplicate.
  std::span<const job_entry<typename Lease::payload_type>> then = {};
  bool stale = false;  ///< the answer: the lease was lost, and nothing was changed
};

/// A lease by its numbers: to be renewed or handed back by others than who runs the job.
struct lease_ticket {
  job_id id = {};
  std::uint64_t fence = 0;
  bool lost = false;  ///< the answer
};

struct stalled_jobs {
  std::size_t back = 0;    ///< taken back, to be run again
  std::size_t failed = 0;  ///< for they had stalled more often than allowed
};

/// Is told by a store, under no lock, of what may interest it. Shared with the store, which may call it for a short while after unsubscribe().
class store_listener {
 public:
  virtual ~store_listener() = default;
  /// There may be work, or a job that is due before the others.
  virtual void work_ready() noexcept {}
  /// An addition was refused with errc::full, and now there is room for it. It may be gone again: who waits asks again, and is told again.
  virtual void room_made() noexcept {}
  /// Whether events are worth recording; called under the store's lock, so it only looks.
  [[nodiscard]] virtual bool wants_events() const noexcept { return false; }
  /// In the order in which they happened; one call at a time.
  virtual void happened(std::span<const job_event>) noexcept {}
};

/// The right to run a job. Move-only; the payload lives as long as it does, whatever becomes of the job. It is settled, or dropped: then the job
/// stays active until the lease runs out. `due_since()`: since when it might have been begun: added, its delay over, tried again, handed back, taken back,
/// its children over, whatever came last. no_time: nobody knows, since what made it ready is no call with a time (redrive, a child's removal).
template <class L, class Payload>
concept job_lease = std::movable<L> && std::same_as<typename L::payload_type, Payload> && requires(const L& lease) {
  { lease.id() } -> std::convertible_to<job_id>;
  { lease.fence() } -> std::convertible_to<std::uint64_t>;
  { lease.attempt() } -> std::convertible_to<unsigned>;  // counted from 1
  { lease.due_since() } -> std::same_as<job_time>;
  { lease.policy() } -> std::convertible_to<const job_policy&>;
  { lease.payload() } -> std::same_as<const Payload&>;
  { lease.name() } -> std::convertible_to<std::string_view>;
};

/// A store may have cancel(id), too: as remove(), but errc::stale of one that is over. See memory_store.hpp for the meaning of each member, and tests/support/store_conformance.hpp for a test of it that every store passes.
template <class S>
concept job_store = job_lease<typename S::lease_type, typename S::payload_type> &&
                    requires(S& s, std::span<const job_entry<typename S::payload_type>> entries, std::span<job_added> added,
                             const fetch_request& request, std::span<job_settlement<typename S::lease_type>> settlements,
                             std::vector<typename S::lease_type>& leases, const typename S::lease_type& lease,
                             std::span<lease_ticket> tickets, const job_id& id, job_state state, job_time t, std::size_t n,
                             std::shared_ptr<store_listener> listener, std::string text, const job_group_rule& rule,
                             const job_schedule_options& schedule, const typename S::payload_type& payload) {
                      { S::blocks } -> std::convertible_to<bool>;
                      { s.add(entries, t, added) } -> std::same_as<result<void>>;
                      { s.fetch(request, settlements, leases) } -> std::same_as<result<job_fetched>>;
                      { s.settle(settlements, t) } -> std::same_as<result<void>>;
                      { s.extend(tickets, t, t) } -> std::same_as<result<void>>;
                      { s.hand_back(tickets, t) } -> std::same_as<result<void>>;
                      { s.take_back_stalled(t, 1u) } -> std::same_as<result<stalled_jobs>>;
                      { s.progress(lease, 0.5) } -> std::same_as<result<void>>;
                      { s.log(lease, std::move(text)) } -> std::same_as<result<void>>;
                      { s.pause() } -> std::same_as<result<void>>;
                      { s.resume() } -> std::same_as<result<void>>;
                      { s.counts() } -> std::same_as<result<job_counts>>;
                      { s.find(id) } -> std::same_as<result<job_info>>;
                      { s.list(state, n, n) } -> std::same_as<result<std::vector<job_info>>>;
                      { s.logs(id) } -> std::same_as<result<std::vector<std::string>>>;
                      { s.remove(id) } -> std::same_as<result<void>>;
                      { s.promote(id) } -> std::same_as<result<void>>;
                      { s.redrive(id) } -> std::same_as<result<void>>;
                      { s.redrive_all(n) } -> std::same_as<result<std::size_t>>;
                      { s.drain(true) } -> std::same_as<result<std::size_t>>;
                      { s.clean(state, t, n) } -> std::same_as<result<std::size_t>>;
                      { s.obliterate(true) } -> std::same_as<result<void>>;
                      { s.children(id) } -> std::same_as<result<std::vector<job_child>>>;
                      { s.set_group(text, rule) } -> std::same_as<result<void>>;
                      { s.groups() } -> std::same_as<result<std::vector<job_group_info>>>;
                      { s.put_schedule(schedule, payload, t) } -> std::same_as<result<void>>;
                      { s.remove_schedule(text) } -> std::same_as<result<void>>;
                      { s.schedules() } -> std::same_as<result<std::vector<job_schedule_info>>>;
                      s.subscribe(listener);
                      s.unsubscribe(*listener);
                    };

/// What a registry sees of a job_queue (observe/registry.hpp).
template <class = void>
void describe(const job_counts& c, metric_sink& to) {
  to.kind("job_queue");
  to.gauge(metrics::depth, c.waiting);
  to.gauge(metrics::in_flight, c.active);
  static constexpr metric kept{"jobs", "Jobs by state, those that are over and kept among them."};
  to.gauge(kept, c.waiting, {"state", "waiting"});
  to.gauge(kept, c.delayed, {"state", "delayed"});
  to.gauge(kept, c.active, {"state", "active"});
  to.gauge(kept, c.waiting_children, {"state", "waiting_children"});
  to.gauge(kept, c.completed, {"state", "completed"});
  to.gauge(kept, c.failed, {"state", "failed"});
  to.gauge({"paused", "1 if it is paused, else 0."}, c.paused);
}

}  // namespace penstock::inline v0_1
