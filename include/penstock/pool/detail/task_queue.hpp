// penstock/pool/detail/task_queue.hpp: what lies between those who submit to a worker pool and its workers.
//
// Work from outside comes in through one lock (injection.hpp), work from inside lies in the lanes of the worker that made it (worker_slot.hpp), from
// where the others steal. A worker that finds nothing polls for a while (a *searcher*), then stands in the line of idle workers and sleeps. Who adds
// work wakes the head of that line, but only while nobody searches; the woken one counts as a searcher at once. A searcher that has found work calls
// the next one if there is more. So a stream of small tasks wakes nobody, and a burst wakes as many as it needs, one after the other. A worker
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
// Staff       (staff.hpp) idle workers that should not be awake are not woken; if none is idle and one more should be awake, who would have woken it
//             starts a thread instead, in the same way: what is to be completed after unlocking is a node that starts one. That counts as a piece of
//             work, so nobody ends before the thread is there. A worker that leaves, or lies down though there may be work, does it under the lock
//             and only while others are awake: they look before they sleep.
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
#include <penstock/pool/detail/guest_lanes.hpp>
#include <penstock/pool/detail/injection.hpp>
#include <penstock/pool/detail/staff.hpp>
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
  using slot = worker_slot<Task, Sync>;
  using fork_lane = typename guest_lanes<Sync>::lane;

  /// `workers`: how many threads will call next() until it says false, each with a slot of its own; `most`: how many there can be at a time, if more.
  /// A lane has room for as many tasks as the queue, but for `lane_capacity` at most; with priorities it has none, and all tasks lie where they can
  /// be compared. `timed`: it keeps since when each task has waited.
  task_queue(std::size_t capacity, std::size_t workers, std::size_t lane_capacity = 256, unsigned priorities = 1,
             std::size_t most = 0, std::size_t least = 1, bool timed = false)
      : injected_{capacity, priorities, timed},
        staff_{workers, least, most > workers ? most : workers},
        target_{workers},
        slots_{this, workers, staff_.places(), priorities > 1 ? 0 : std::min(capacity, lane_capacity), lane_capacity} {
    starter_.complete = [](wait_node<Sync>& n) noexcept { static_cast<starter_node&>(n).queue->start_thread(); };
    starter_.queue = this;
  }
  ~task_queue() {
    assert((abandoned_ || (idle_.empty() && helpers_.empty() && room_.empty() && drained_.empty())) &&
           "a task queue was destroyed while somebody waits in it");
  }

  /// Of worker `index`. It stays where it is.
  [[nodiscard]] slot& slot_of(std::size_t index) noexcept { return slots_[index]; }
  [[nodiscard]] const worker_slots<Task, Sync>& slots() const noexcept { return slots_; }

  // --- for those who submit

  /// Waits for room with a task; the task is moved from if, and only if, it went in.
  struct room_node : plain_node<Sync> {
    explicit room_node(Task& t, task_label l = {}) noexcept : task{&t}, label{l} {}
    Task* task;
    task_label label;
  };

  /// errc::full or errc::closed if it cannot go in now; then the task is untouched.
  result<void> try_push(Task& task, task_label label = {}) noexcept {
    if (try_push_n(&task, 1, label) == 1) return {};
    return closed() ? errc::closed : errc::full;
  }
  /// The same for several; how many, the first ones, went in.
  std::size_t try_push_n(Task* tasks, std::size_t n, task_label label = {}) noexcept {
    if (injected_.seems_full()) return 0;
    wait_list<Sync> won;
    std::size_t pushed = 0;
    {
      std::scoped_lock guard{lock_};
      if (closed()) return 0;
      for (; pushed < n && !injected_.full(); ++pushed) insert(tasks[pushed], label);
      if (pushed != 0 && !paused()) wake_one(won);
    }
    won.complete_all();
    return pushed;
  }
  /// By the worker of the slot: into its lane, or, if that is full, as from outside.
  result<void> try_push(slot& me, Task& task, task_label label = {}) noexcept {
    if (try_push_n(me, &task, 1, label) == 1) return {};
    return closed() ? errc::closed : errc::full;
  }
  std::size_t try_push_n(slot& me, Task* tasks, std::size_t n, task_label label = {}) noexcept {
    if (closed()) return 0;
    std::size_t pushed = 0;
    while (pushed < n && me.push(tasks[pushed], label.since)) ++pushed;
    if (pushed == 0) return try_push_n(tasks, n, label);
    lane_grew(me);
    return pushed;
  }
  /// With no room, in the place of another one, which is moved to `dropped`: that counts until it is destroyed and finish_here() is told.
  /// errc::rejected: the task is the least urgent itself.
  result<void> push_over(Task& task, task_label label, displaced which, Task& dropped) noexcept;

  /// A task that did not go in is to be run by who submitted it. It counts as a piece of work until finish_here(). errc::closed: it is not to be run.
  result<void> begin_here() noexcept {
    std::scoped_lock guard{lock_};
    if (closed()) return errc::closed;
    ++added_;
    return {};
  }
  void finish_here() noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      ++finished_;
      tell_the_end(won);
    }
    won.complete_all();  // nothing of *this is touched any more: who waited for the end may destroy it
  }

  /// Not refused by close(). False: the last worker has ended, and the caller has to run it.
  bool push(work_item& item) noexcept { return inject(item, true); }
  /// By the worker of the slot, which runs it itself if nobody else does.
  void push(slot& me, work_item& item) noexcept {
    me.count_added();
    if (me.resumptions.push(&item)) {
      if (somebody_sleeps() && nobody_searches()) wake();
    } else {
      inject(item, false);
    }
  }

  /// A job of a fork-join algorithm, by the owner of the lane: a worker, whose piece of work waits for its end, or a guest. False: there is no room.
  bool fork(fork_lane& mine, work_item& job) noexcept {
    if (!mine.push(&job)) return false;
    call_for_tasks();
    return true;
  }
  /// Where threads from outside have their jobs.
  [[nodiscard]] guest_lanes<Sync>& guests() noexcept { return slots_.guests(); }

  // --- for workers

  struct worker_node : wait_node<Sync> {
    bool leaves = false;  // it has slept for long enough
  };

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

  /// A worker that waits for the end of a coroutine (helping_wait.hpp) and runs resumptions meanwhile, if nobody else would. Its outcome is
  /// granted, with a resumption, or what it was interrupted with.
  struct helper_node : wait_node<Sync> {
    explicit helper_node(slot& s) noexcept : by{&s} {}
    void finished() noexcept { by->count_finished(); }
    slot* by;
    work_item* found = nullptr;
  };

  /// Whether there seems to be something for a helper.
  [[nodiscard]] bool may_help() const noexcept { return seems_to_have_resumptions() && nobody_searches(); }
  /// For a helper that stands in no line: a resumption, which it counts as finished afterwards, or null.
  [[nodiscard]] work_item* help() noexcept {
    if (!may_help()) return nullptr;
    std::scoped_lock guard{lock_};
    return take_resumption();
  }

  /// For who has stopped searching, or was handed a piece: if there is more work, and nobody looks for it, wakes the next one.
  void call_for_help() noexcept;

  // --- for the owner

  /// Waits until nothing is queued and nothing runs, nor anything that begin_here() announced.
  struct drained_node : plain_node<Sync> {};

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
  [[nodiscard]] bool paused() const noexcept { return paused_.load(std::memory_order_acquire); }  // acquire: as fresh as a lock's

  /// Changes how many workers there should be, and says how many it were. 0: it is closed.
  std::size_t resize(std::size_t workers) noexcept;
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
    start_ = start;
    start_context_ = context;
  }
  /// How long workers sleep before they leave, if there are more than the least; by the steady clock, or that of `timers`.
  void keep_idle(nanoseconds_point how_long, basic_timer_queue<Sync>* timers) noexcept {
    keep_idle_ = how_long;
    timers_ = timers;
  }
  /// How many there are, or are being started.
  [[nodiscard]] std::size_t workers() const noexcept {
    std::scoped_lock guard{lock_};
    return staff_.size();
  }

  /// Whether what is queued is dropped: no task begins any more.
  [[nodiscard]] bool dropping() const noexcept { return dropping_.load(std::memory_order_seq_cst); }

  [[nodiscard]] std::size_t capacity() const noexcept { return injected_.capacity(); }
  /// Tasks that were ever let in.
  [[nodiscard]] std::size_t submitted() const noexcept {
    std::scoped_lock guard{lock_};
    return inserted_ + slots_.submitted();
  }
  [[nodiscard]] std::size_t queued() const noexcept {
    std::scoped_lock guard{lock_};
    return injected_.tasks() + slots_.tasks();
  }
  /// Queued and running, tasks and resumptions. Out of date when it is looked at, but never 0 before the end.
  [[nodiscard]] std::size_t outstanding() const noexcept {
    std::scoped_lock guard{lock_};
    return count_outstanding();
  }
  [[nodiscard]] std::size_t idle() const noexcept {
    std::scoped_lock guard{lock_};
    return idle_.size();
  }
  /// Who stand in line for room.
  [[nodiscard]] std::size_t room_waiters() const noexcept {
    std::scoped_lock guard{lock_};
    return room_.size();
  }

  // --- the hooks of wait_operation

  polled_mutex<Sync>& wait_lock() noexcept { return lock_; }

  bool try_pass(room_node& n) noexcept;
  // Who polls for room waits until there is a fair amount of it: taken one at a time, each place would cost the workers a look at the lock.
  bool worth_a_look(const room_node&) const noexcept { return closed() || injected_.seems_to_have_much_room(); }
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

 private:
  // --- without the lock

  [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }  // acquire: as fresh as a lock's
  // seq_cst, all: see "Lost work"
  [[nodiscard]] bool nobody_searches() const noexcept { return searching_.load(std::memory_order_seq_cst) == 0; }
  [[nodiscard]] bool somebody_idles() const noexcept { return idle_count_.load(std::memory_order_seq_cst) != 0; }
  [[nodiscard]] bool somebody_sleeps() const noexcept {
    return somebody_idles() || helper_count_.load(std::memory_order_seq_cst) != 0;
  }

  [[nodiscard]] bool seems_to_have_resumptions() const noexcept {
    return injected_.seems_to_have_resumptions() || slots_.have_resumptions();
  }
  [[nodiscard]] bool seems_to_have_work() const noexcept {
    const bool no_tasks = paused();
    return (injected_.seems_to_have_tasks() && !dropping() && !no_tasks) || injected_.seems_to_have_resumptions() ||
           slots_.have_work(!no_tasks);
  }
  void lane_grew(slot& me) noexcept {
    // seq_cst, both: either we see it, or who drops, or who resumes, sees the tasks
    if (dropping()) {
      drop_lane(me);
    } else if (!paused_.load(std::memory_order_seq_cst)) {
      call_for_tasks();
    }
  }
  void call_for_tasks() noexcept {
    if (somebody_idles() && nobody_searches()) wake();
  }
  void wake() noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      wake_one(won);
    }
    won.complete_all();
  }

  bool inject(work_item& item, bool uncounted) noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{lock_};
      if (staff_.working() == 0) return false;
      injected_.push(item);
      if (uncounted) ++added_;
      wake_one(won);
    }
    won.complete_all();
    return true;
  }

  // Destroys what was found before, and counts it as finished.
  void settle(slot& me, work<Task>& found) noexcept {
    found.release();
    found.item = nullptr;
    if (std::exchange(found.counts, false)) me.count_finished();
  }

  // What starter_ does, without the lock, on the thread of who has made work.
  void start_thread() noexcept {
    start_(start_context_);
    finish_here();
  }
  // Sleeps in the line of idle workers. False: the worker ends.
  bool lie_down() noexcept;

  // Tells those who wait for the end of all work, if it has come.
  void ran_out(slot& me) noexcept;

  // What a worker does next. Resumptions first: they are work that was begun, and finishing it frees what it holds; but a task after fifteen of them.
  // Then its own tasks, then those from outside, then what it can steal. Now and then the other way round: those from outside would wait for ever
  // behind tasks that submit themselves again, and those in the lane of a worker that is busy for long behind a stream of others.
  bool pick(slot& me, work<Task>& found) noexcept;

  bool steal(slot& me, work<Task>& found) noexcept;

  bool pick_resumption(slot& me, slot& victim, work<Task>& found) noexcept;
  bool pick_fork(slot& victim, work<Task>& found) noexcept;
  bool pick_task(slot& me, slot& victim, work<Task>& found) noexcept;

  bool pick_injected(slot& me, work<Task>& found) noexcept;

  void drop_lane(slot& me) noexcept;
  [[gnu::cold]] static void drop(slot& me, Task& task) noexcept;

  // --- with lock_ held

  void insert(Task& task, task_label label) noexcept {
    injected_.push(task, label);
    ++added_;
    ++inserted_;
  }
  // Since when it has waited.
  nanoseconds_point pop_task(Task& task, wait_list<Sync>& won) noexcept {
    const nanoseconds_point since = injected_.pop(task);
    if (auto* const waiting = static_cast<room_node*>(room_.front()); waiting != nullptr) {
      insert(*waiting->task, waiting->label);  // the place is handed over: nobody overtakes those who wait for room
      room_.win(*waiting, outcome::granted, won);
      // Nobody is woken for it: that the place was taken before has kept somebody searching, or everybody busy.
    }
    return since;
  }

  // With many tasks that wait, a worker takes some of the next ones into its lane: one lock for several of them. The others can steal them.
  bool take_along(slot& me, wait_list<Sync>& won) noexcept;

  [[nodiscard]] bool has_work() const noexcept {
    return (injected_.tasks() > 0 && !dropping() && !paused()) || injected_.has_resumptions() || slots_.have_work(!paused());
  }
  work_item* take_resumption() noexcept {
    work_item* const item = injected_.pop_resumption();
    return item != nullptr ? item : slots_.steal_resumption();
  }

  // For who has added work, or seen that there is some. Those who search find it.
  void wake_one(wait_list<Sync>& won) noexcept;
  // A resumption for one that sleeps, if nobody searches.
  void feed_helper(wait_list<Sync>& won) noexcept;

  [[nodiscard]] std::size_t count_outstanding() const noexcept { return slots_.outstanding(added_, finished_); }
  void tell_the_end(wait_list<Sync>& won) noexcept;

  // After each change to a line, and before the look that follows it. seq_cst: see "Lost work" and ran_out()
  void count_waiters() noexcept {
    const std::size_t idle = idle_.size();
    set(idle_count_, staff_.may_wake(idle) ? idle + (may_start(idle) ? 1 : 0) : 0);
    set(surplus_, staff_.has_surplus(idle) ? 1 : 0);
    set(helper_count_, helpers_.size());
    set(end_watchers_, drained_.size() + (closed() ? 1 : 0));
  }
  using count = typename Sync::template atomic<std::size_t>;
  [[nodiscard]] bool may_start(std::size_t idle) const noexcept { return start_ != nullptr && staff_.may_start(idle); }
  static void set(count& c, std::size_t n) noexcept {
    if (c.load(std::memory_order_relaxed) != n) c.store(n, std::memory_order_seq_cst);  // relaxed: written under the lock only
  }

  static constexpr unsigned now_and_then = 61;  // after so many picks
  static constexpr unsigned most_resumptions_in_a_row = 15;
  static constexpr std::size_t most_at_once = 15;

  mutable polled_mutex<Sync> lock_;
  injection<Task, Sync> injected_;  // guarded by lock_, as all that is not atomic
  std::size_t added_ = 0;           // pieces that no slot counts
  std::size_t finished_ = 0;
  std::size_t inserted_ = 0;  // tasks that came in here
  bool abandoned_ = false;
  staff staff_;
  count target_;  // staff_'s, for those without the lock
  // Completing it starts a thread. Who is about to look at it holds no lock, so it is in one list at a time: staff counts one arrival.
  struct starter_node : wait_node<Sync> {
    task_queue* queue = nullptr;
  } starter_;
  void (*start_)(void*) noexcept = nullptr;
  void* start_context_ = nullptr;
  nanoseconds_point keep_idle_ = never;
  basic_timer_queue<Sync>* timers_ = nullptr;
  wait_queue<Sync> idle_;
  wait_queue<Sync> room_;
  wait_queue<Sync> drained_;
  wait_queue<Sync> helpers_;
  worker_slots<Task, Sync> slots_;
  alignas(cache_line) typename Sync::template atomic<unsigned> searching_{0};
  count idle_count_{0};  // those that may be woken, and one more if a thread may be started
  count surplus_{0};     // 1: whoever is through with its piece looks whether it should lie down, or leave
  count helper_count_{0};
  count end_watchers_{0};
  typename Sync::template atomic<bool> closed_{false};    // written under the lock
  typename Sync::template atomic<bool> dropping_{false};  // likewise
  typename Sync::template atomic<bool> paused_{false};    // likewise
};

}  // namespace penstock::inline v0_1::detail

#include <penstock/pool/detail/task_queue_staff.hpp>
#include <penstock/pool/detail/task_queue_waits.hpp>
#include <penstock/pool/detail/task_queue_work.hpp>
