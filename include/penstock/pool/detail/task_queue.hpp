// penstock/pool/detail/task_queue.hpp: what lies between those who submit to a worker pool and its workers.
//
// Work from outside comes in through one lock (injection.hpp), work from inside lies in the lanes of the worker that made it (worker_slot.hpp), from
// where the others steal. A worker that finds nothing polls for a while (a *searcher*), then stands in the line of idle workers and sleeps. Who adds
// work wakes the head of that line, but only while nobody searches; the woken one counts as a searcher at once. A searcher that has found work calls
// the next one if there is more. So a stream of small tasks wakes nobody, and a burst wakes as many as it needs, one after the other; or, where each
// has a processor of its own, one for each task that waits for a searcher: being woken takes 50 µs, and the last of ten would come after 500. A worker
// that blocks until a coroutine ends stands in a line of its own, as a *helper*: it is handed resumptions, for the coroutine may be among
// them, but no tasks, and only when nobody is idle or searches.
//
// Lost work   who adds work publishes it and *then* looks whether anybody searches or sleeps; who goes to sleep stops counting as a searcher, stands
//             in line and *then* looks everywhere, under the lock; who stops searching because it found something looks once more, too. All of
//             these are seq_cst or under the lock, so one of the two sees the other.
// The end     a piece of work counts from before it can be taken until it is finished and destroyed; there is no common counter, but one of each
//             kind for every worker (and one that the lock guards). Nothing is outstanding if all `finished`, read first, are as many as all `added`,
//             read after: each finished one had been added before, and what it added itself, too. A worker that runs out of work tells those who
//             wait for that. Jobs of fork-join algorithms are parts of a piece that waits for them, and are not counted.
// Ownership   lock_ guards what comes in from outside, the lines of those who wait, the staff and the counts that no worker has. A worker's slot is its
//             own (worker_slot.hpp). What is looked at without the lock: queue_signals.hpp. No task is run or destroyed, and nobody is completed,
//             under the lock.
// The parts   task_queue_submit.hpp: work comes in · task_queue_work.hpp: workers find it, and its end · task_queue_waits.hpp: who sleeps, and is woken
//             · task_queue_staff.hpp: workers come and go.
#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <mutex>
#include <utility>

#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/gate.hpp>
#include <penstock/core/detail/polled_mutex.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/core/result.hpp>
#include <penstock/pool/detail/entrance.hpp>
#include <penstock/pool/detail/guest_lanes.hpp>
#include <penstock/pool/detail/queue_signals.hpp>
#include <penstock/pool/detail/queue_waiters.hpp>
#include <penstock/pool/detail/staff.hpp>
#include <penstock/pool/detail/thread_starter.hpp>
#include <penstock/pool/detail/work.hpp>
#include <penstock/pool/detail/worker_slots.hpp>

namespace penstock::inline v0_1::detail {

enum class at_close : unsigned char { run, drop };
/// Which queued task goes for one that finds no room.
enum class displaced : unsigned char { oldest, least_urgent };

template <class Task, class Sync = std_sync>
class task_queue {
 public:
  using sync = Sync;
  static constexpr const char* known_as = "worker_pool";
  using slot = worker_slot<Task, Sync>;
  using fork_lane = typename guest_lanes<Sync>::lane;
  using room_node = room_waiter<Task, Sync>;
  using drained_node = end_waiter<Sync>;
  using worker_node = idle_worker<Sync>;
  using helper_node = helping_worker<slot, Sync>;

  /// `workers`: how many threads will call next() until it says false, each with a slot of its own; `most`: how many there can be at a time, if more.
  /// A lane has room for as many tasks as the queue, but for `lane_capacity` at most; with priorities it has none, and all tasks lie where they can
  /// be compared. `timed`: it keeps since when each task has waited.
  task_queue(std::size_t capacity, std::size_t workers, std::size_t lane_capacity = 256, unsigned priorities = 1,
             std::size_t most = 0, std::size_t least = 1, bool timed = false)
      : outside_{capacity, priorities, timed},
        staff_{workers, least, most > workers ? most : workers, Sync::processors()},
        target_{workers},
        slots_{this, workers, staff_.places(), priorities > 1 ? 0 : std::min(capacity, lane_capacity), lane_capacity} {}
  ~task_queue() {
    assert((abandoned_ || (idle_.empty() && helpers_.empty() && outside_.waiters() == 0 && drained_.empty())) &&
           "a task queue was destroyed while somebody waits in it");
  }

  /// Of worker `index`. It stays where it is.
  [[nodiscard]] slot& slot_of(std::size_t index) noexcept { return slots_[index]; }
  [[nodiscard]] const worker_slots<Task, Sync>& slots() const noexcept { return slots_; }

  // --- for those who submit

  /// errc::full or errc::closed if it cannot go in now; then the task is untouched.
  result<void> try_push(Task& task, task_label label = {}) noexcept;
  /// The same for several; how many, the first ones, went in.
  std::size_t try_push_n(Task* tasks, std::size_t n, task_label label = {}) noexcept;
  /// By the worker of the slot: into its lane, or, if that is full, as from outside.
  result<void> try_push(slot& me, Task& task, task_label label = {}) noexcept;
  std::size_t try_push_n(slot& me, Task* tasks, std::size_t n, task_label label = {}) noexcept;
  /// With no room, in the place of another one, which is moved to `dropped`: that counts until it is destroyed and finish_here() is told.
  /// errc::rejected: the task is the least urgent itself.
  result<void> push_over(Task& task, task_label label, displaced which, Task& dropped) noexcept;

  /// A task that did not go in is to be run by who submitted it. It counts as a piece of work until finish_here(). errc::closed: it is not to be run.
  result<void> begin_here() noexcept;
  void finish_here() noexcept;

  /// Not refused by close(). False: the last worker has ended, and the caller has to run it.
  bool push(work_item& item) noexcept { return inject(item, true); }
  /// By the worker of the slot, which runs it itself if nobody else does.
  void push(slot& me, work_item& item) noexcept;

  /// A job of a fork-join algorithm, by the owner of the lane: a worker, whose piece of work waits for its end, or a guest. False: there is no room.
  bool fork(fork_lane& mine, work_item& job) noexcept;
  /// Where threads from outside have their jobs.
  [[nodiscard]] guest_lanes<Sync>& guests() noexcept { return slots_.guests(); }

  // --- for workers

  /// The worker of the slot has finished the piece that it got last, and waits for the next. False: closed and nothing is left, or one worker too many,
  /// and it ends: left() is to follow.
  bool next(slot& me, work<Task>& found) noexcept;

  /// Another worker is there, whose start begin_arrival() announced; or it could not be started.
  void arrive(slot& me) noexcept;
  void fail_to_arrive() noexcept;
  /// A worker has ended, and its place is free.
  void left() noexcept;

  /// The worker of the slot is about to block, and is no more: meanwhile another one may run in its stead.
  void block(slot& me) noexcept;
  void unblock(slot& me) noexcept;

  /// Whether there seems to be something for a helper.
  [[nodiscard]] bool may_help() const noexcept { return seems_to_have_resumptions() && signals_.nobody_searches(); }
  /// For a helper that stands in no line: a resumption, which it counts as finished afterwards, or null.
  [[nodiscard]] work_item* help() noexcept {
    return may_help() ? locked([this] { return take_resumption(); }) : nullptr;
  }
  /// Whether somebody else could run tasks while a worker blocks: who sleeps, or one more thread.
  [[nodiscard]] bool may_replace() const noexcept {
    return locked([this] { return !idle_.empty() || (starter_.is_set() && staff_.has_place()); });
  }
  /// For who has stopped searching, or was handed a piece: if there is more work, and nobody looks for it, wakes the next one.
  void call_for_help() noexcept;

  // --- for the owner

  /// Nothing is submitted any more; what is queued will be run, or, if it is to be dropped, is left to drop_one(). Those who wait for room
  /// get errc::closed. Idempotent.
  void close(at_close what_is_queued = at_close::run) noexcept;

  /// In a forked child, before destruction: who waits here stayed with the parent. Takes no lock, for a thread of the parent may hold it.
  void abandon() noexcept { abandoned_ = true; }

  struct destroy {
    void operator()(Task& task) const noexcept { static_cast<void>(Task{std::move(task)}); }
  };
  /// Drops one task that was not begun: `drop(task)`, which destroys it, without the lock, and only then counts it as done. False: there is none.
  template <class Drop = destroy>
  bool drop_one(Drop drop = {}) noexcept;
  /// Drops what is queued now, in the same way; how many tasks.
  template <class Drop = destroy>
  std::size_t purge(Drop drop = {}) noexcept;

  /// Lets no task begin until resume() or close(). Without effect when it is closed.
  void pause() noexcept;
  void resume() noexcept;
  [[nodiscard]] bool paused() const noexcept { return signals_.paused(); }

  struct resized {
    std::size_t before;  ///< how many workers there should have been. 0: it is closed
    std::size_t which;   ///< of all changes
  };
  /// Changes how many workers there should be.
  resized resize(std::size_t workers) noexcept;
  /// As many as before again, unless somebody has changed that since.
  void undo(resized change) noexcept;
  [[nodiscard]] std::size_t target() const noexcept { return target_.load(std::memory_order_relaxed); }  // relaxed: a number
  /// Announces one more, if there should be: arrive() or fail_to_arrive() is to follow, and, when nothing is touched any more by who starts it,
  /// finish_here().
  bool begin_arrival() noexcept;
  /// Where there is no slot for a worker yet, makes it, and calls `prepare(slot)` before anybody else sees it. By one thread at a time.
  template <class Prepare>
  void provide_slot(std::size_t index, Prepare prepare);
  /// How a worker is started when there is work for one more: by start(context); arrive() or fail_to_arrive() is to follow. To be said before anything
  /// else.
  void on_short_of_workers(void (*start)(void*) noexcept, void* context) noexcept {
    starter_.set(start, context, [](void* self) noexcept { static_cast<task_queue*>(self)->finish_here(); }, this);
  }
  /// How long workers sleep before they leave, if there are more than the least; by the steady clock, or that of `timers`.
  void keep_idle(nanoseconds_point how_long, basic_timer_queue<Sync>* timers) noexcept {
    keep_idle_ = how_long;
    timers_ = timers;
  }
  /// How many there are, or are being started.
  [[nodiscard]] std::size_t workers() const noexcept;

  /// Whether what is queued is dropped: no task begins any more.
  [[nodiscard]] bool dropping() const noexcept { return signals_.dropping(); }

  [[nodiscard]] std::size_t capacity() const noexcept { return outside_.capacity(); }
  /// Tasks that were ever let in.
  [[nodiscard]] std::size_t submitted() const noexcept;
  [[nodiscard]] std::size_t queued() const noexcept;
  /// Queued and running, tasks and resumptions. Out of date when it is looked at, but never 0 before the end.
  [[nodiscard]] std::size_t outstanding() const noexcept;
  [[nodiscard]] std::size_t idle() const noexcept;
  /// Who stand in line for room.
  [[nodiscard]] std::size_t room_waiters() const noexcept;

  // --- the hooks of wait_operation

  polled_mutex<Sync>& wait_lock() noexcept { return lock_; }

  bool try_pass(room_node& n) noexcept;
  // Who polls for room waits until there is a fair amount of it: taken one at a time, each place would cost the workers a look at the lock.
  bool worth_a_look(const room_node&) const noexcept { return signals_.closed() || outside_.seems_to_have_much_room(); }
  step try_or_link(room_node& n, link_at where, wait_list<Sync>& won) noexcept;

  bool try_pass(worker_node&) noexcept { return false; }
  // Stands in line first and looks then, see "Lost work". Its outcome is granted if it shall search again, and counts as a searcher.
  step try_or_link(worker_node& n, link_at where, wait_list<Sync>& won) noexcept;

  bool try_pass(helper_node&) noexcept { return false; }
  step try_or_link(helper_node& n, link_at where, wait_list<Sync>& won) noexcept;

  bool try_pass(drained_node& n) noexcept;
  step try_or_link(drained_node& n, link_at where, wait_list<Sync>&) noexcept;

  // Nothing is owed: whoever frees a place, or runs out of work, looks at the line then.
  void unlinked(wait_node<Sync>&, wait_list<Sync>&) noexcept { count_waiters(); }
  void unlinked(worker_node& n, wait_list<Sync>&) noexcept;
  void unlinked(helper_node& n, wait_list<Sync>&) noexcept { wakes(n); }

 private:
  // --- without the lock

  [[nodiscard]] bool seems_to_have_resumptions() const noexcept {
    return outside_.seems_to_have_resumptions() || slots_.have_resumptions();
  }
  [[nodiscard]] bool seems_to_have_work() const noexcept;
  void lane_grew(slot& me) noexcept;
  void call_for_tasks() noexcept {
    if (signals_.somebody_idles() && signals_.nobody_searches()) wake();
  }
  void wake() noexcept;
  bool inject(work_item& item, bool uncounted) noexcept;

  // Destroys what was found before, and counts it as finished.
  void settle(slot& me, work<Task>& found) noexcept;

  // Sleeps in the line of idle workers. False: the worker ends.
  bool lie_down() noexcept;

  // Tells those who wait for the end of all work, if it has come.
  void ran_out(slot& me) noexcept;

  // What a worker does next. Resumptions first: they are work that was begun, and finishing it frees what it holds; but a task after fifteen of them.
  // Then its own tasks, then those from outside, then what it can steal. Now and then the other way round: those from outside would wait for ever
  // behind tasks that submit themselves again, and those in the lane of a worker that is busy for long behind a stream of others.
  bool pick(slot& me, work<Task>& found) noexcept;
  // For a searcher among many: from outside, unless somebody else is about to take it, from its own lanes, those of `looks` others, and the guests'. Many that
  // look into each other's lanes all the time would keep their owners from them.
  bool search(slot& me, work<Task>& found, std::size_t looks) noexcept;
  bool steal(slot& me, work<Task>& found) noexcept;
  bool pick_resumption(slot& me, slot& victim, work<Task>& found) noexcept;
  bool pick_fork(slot& victim, work<Task>& found) noexcept;
  bool pick_task(slot& me, slot& victim, work<Task>& found) noexcept;
  bool pick_from(slot& me, slot& victim, work<Task>& found) noexcept;
  // `patiently`: waits for the lock.
  bool pick_injected(slot& me, work<Task>& found, bool patiently = true) noexcept;

  void drop_lane(slot& me) noexcept;
  [[gnu::cold]] static void drop(slot& me, Task& task) noexcept;

  // --- with lock_ held

  template <class F>
  auto locked(F f) const noexcept {
    std::scoped_lock guard{lock_};
    return f();
  }
  // With many tasks that wait, a worker takes some of the next ones into its lane: one lock for several of them. The others can steal them.
  bool take_along(slot& me, wait_list<Sync>& won) noexcept;

  [[nodiscard]] bool has_work() const noexcept;
  work_item* take_resumption() noexcept;

  // For who has added work, or seen that there is some. Those who search find it.
  void wake_one(wait_list<Sync>& won) noexcept;
  // One that sleeps, or a new thread. False: there is none to be had.
  bool wake_idle(wait_list<Sync>& won) noexcept;
  bool start_one(wait_list<Sync>& won) noexcept;
  void set_target(std::size_t workers, wait_list<Sync>& won) noexcept;
  // A resumption for one that sleeps, if nobody searches.
  bool feed_helper(wait_list<Sync>& won) noexcept;
  // A helper that sleeps counts as one inside blocking(): what it waits for may need a task, which helpers do not run.
  void sleeps(helper_node& n) noexcept {
    if (n.by->blocked++ == 0) staff_.block();
    count_waiters();
  }
  void wakes(helper_node& n) noexcept {
    if (--n.by->blocked == 0) staff_.unblock();
    count_waiters();
  }

  [[nodiscard]] std::size_t count_outstanding() const noexcept {
    return slots_.outstanding(outside_.let_in() + added_, finished_);
  }
  void tell_the_end(wait_list<Sync>& won) noexcept;

  // After each change to a line, and before the look that follows it.
  void count_waiters() noexcept;
  [[nodiscard]] bool may_start(std::size_t idle) const noexcept { return starter_.is_set() && staff_.may_start(idle); }

  static constexpr unsigned now_and_then = 61;  // after so many picks
  static constexpr unsigned most_resumptions_in_a_row = 15;
  static constexpr std::size_t most_at_once = 15;

  const bool crowded_ = Sync::processors() > 2;  // so many may search at a time that they would be in each other's way
  mutable polled_mutex<Sync> lock_;
  entrance<Task, Sync> outside_;  // guarded by lock_, as all that is not atomic
  std::size_t added_ = 0;         // pieces that no slot counts, but for tasks from outside
  std::size_t finished_ = 0;
  bool abandoned_ = false;
  staff staff_;
  typename Sync::template atomic<std::size_t> target_;  // staff_'s, for those without the lock
  thread_starter<Sync> starter_;
  nanoseconds_point keep_idle_ = never;
  basic_timer_queue<Sync>* timers_ = nullptr;
  wait_queue<Sync> idle_;
  wait_queue<Sync> drained_;
  wait_queue<Sync> helpers_;
  worker_slots<Task, Sync> slots_;
  queue_signals<Sync> signals_;
};

}  // namespace penstock::inline v0_1::detail

#include <penstock/pool/detail/task_queue_staff.hpp>
#include <penstock/pool/detail/task_queue_submit.hpp>
#include <penstock/pool/detail/task_queue_waits.hpp>
#include <penstock/pool/detail/task_queue_work.hpp>
