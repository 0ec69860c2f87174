// penstock/pool/worker_pool.hpp: threads that run what is submitted, from a bounded queue.
//
//   penstock::worker_pool pool{{.threads = 8, .queue_capacity = 1024}};
//   penstock::future<image> thumbnail = pool.submit([&] { return scale(picture); });
//   auto page = penstock::spawn(pool, render(request));   // a coroutine that lives on the pool
//
// Queue          bounded: what post() and submit() do when it is full is the pool's overflow policy, or what the submission says itself, as it may
//                ask for a priority and for a latest start (submit_options.hpp). Besides, each worker has places of its own for what it submits
//                itself: as many as the queue, but 256 at most. Only when these are taken does it meet that policy. Coroutines that go on here
//                are no submissions: they are never refused, and need no memory.
// Order          tasks from outside begin in the order of their submission, but for those, fifteen at the most, that a worker has taken out together
//                and others not yet stolen from it. A worker's own tasks go before them, in their order, but not without end. With
//                worker_pool_options::priorities all tasks, a worker's own too, begin in the order of their urgency. Coroutines go first,
//                up to fifteen in a row.
// Errors         an exception that leaves a posted task goes to on_error and is counted (failed()); one of a submitted task goes to its future.
// Waiting inside a worker for the pool itself: a worker that posts into its own full pool never waits for room: it runs the task itself, or
//                what the policy says (the table in submit_options.hpp). One that waits for the future of a task that has not begun runs
//                it on the spot, to its end even if the wait has a deadline. One that blocks until a coroutine ends (spawned::result(),
//                wait(), its destructor, sync_wait()) runs the pool's coroutines meanwhile if no other worker is free to, one inside the
//                other up to 128 deep (deeper it counts as inside blocking(): another thread runs them, if there may be one more); a coroutine among
//                them that does `co_await` a future of a task that has not begun runs that task. So does
//                one that sync_wait() begins, if no other thread can be had for that: max_threads are there, and none of them sleeps.
//                So hold no lock while you wait for a coroutine, that another coroutine of the pool takes. What can never end (draining,
//                shutting down or destroying the pool from one of its workers) is an error at once.
//                All other waits just wait: for an event, a channel, a promise, or an async_wait() that only a *task* in the queue of this
//                pool would end there must be another worker. Such waits belong into coroutines.
// Threads        as many as `threads` says, or resize() later. With keep_alive, idle ones end after a while, down to min_threads, and who submits work
//                for which none is awake starts one again; that takes some 50 µs. If it cannot be started, the others do the work, and the next
//                submission tries again. While workers are inside blocking(), others may run in their stead, up to max_threads.
// Thread safety  every member may be called concurrently, but for construction and destruction.
// Destruction    finishes what is queued, then joins: as shutdown(). Destroying a pool inside one of its own tasks ends the program with a
//                message, for it could only hang. Coroutines that still run on the pool must have ended or come back by then. When the
//                last worker has ended (shutdown(), request_stop()), coroutines of the pool go on on the thread that completes what they await.
// Memory         the queue's slots and sixteen places for each worker, allocated at construction; a task of up to 48 bytes allocates nothing when posted,
//                but that a worker which submits many to its own pool gets more places, sixteen at a time up to 256 (without memory for them its tasks
//                go into the queue); submit() allocates once, or twice for a task that takes a stop token; starting a thread allocates, its slot too, the first time.
// Cost           a task from outside: one lock, which is shared with others when many come; one from inside: no lock.
// Fork           threads stay with the parent: in a child, posting fails with std::errc::operation_not_permitted, and so does waiting for a future
//                of the pool that was not ready; the counts are 0. What only a task of the parent would do does not happen: a wait for its
//                event hangs, and so may any use of what another thread had locked at the moment of the fork. A child that is forked inside a
//                task must not return from it: it ends by exec or _exit.
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <mutex>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/detail/blocking_help.hpp>
#include <penstock/core/detail/fork.hpp>
#include <penstock/core/detail/observers.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/range_result.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/pool/detail/helping_wait.hpp>
#include <penstock/pool/detail/pool_threads.hpp>
#include <penstock/pool/detail/task_queue.hpp>
#include <penstock/pool/detail/task_runner.hpp>
#include <penstock/pool/detail/traced_task.hpp>
#include <penstock/pool/detail/worker_stats.hpp>
#include <penstock/pool/pool_stats.hpp>
#include <penstock/pool/sizing.hpp>
#include <penstock/pool/submit_options.hpp>
#include <penstock/pool/worker_pool_options.hpp>
#include <penstock/sync/future.hpp>

namespace penstock::inline v0_1 {

namespace detail {

template <class F>
concept submittable = (std::invocable<F&> || std::invocable<F&, std::stop_token>) && std::is_nothrow_destructible_v<F>;

struct pool_access;
template <class Sync>
class expiry;

}  // namespace detail

template <class Sync = detail::std_sync>
class basic_worker_pool {
 public:
  /// Starts the threads. Throws std::invalid_argument if queue_capacity, min_threads or time_every is 0, priorities not 1 to 16, max_threads less than threads, or
  /// keep_alive or room_timeout negative; std::system_error if a thread cannot be started or bound to its processor, and what on_thread_start throws, after joining
  /// those that were started. If there is an on_thread_start or an affinity, returns when all threads have begun.
  explicit basic_worker_pool(worker_pool_options options = {});
  basic_worker_pool(const basic_worker_pool&) = delete;
  basic_worker_pool& operator=(const basic_worker_pool&) = delete;
  ~basic_worker_pool();

  /// Runs `f()` on a worker, some time; nobody hears of its end. When the queue is full, the overflow policy decides. errc::closed after
  /// shutdown() or request_stop(), errc::rejected by policy, errc::timeout after room_timeout; the task is then destroyed. Throws std::invalid_argument if there is nothing to call (a
  /// null pointer to a function, an empty std::function), and std::bad_alloc if the callable needs memory and there is none.
  template <class F>
    requires std::constructible_from<move_only_function<void()>, F>
  result<void> post(F&& f);
  /// The same, but waiting for room, if that is the policy, ends with errc::timeout or errc::cancelled.
  template <class F>
    requires std::constructible_from<move_only_function<void()>, F>
  result<void> post(const wait_limits& limits, F&& f);
  /// The same with more to say, in braces: `post({.priority = 0, .expires_in = 50ms}, f)`. Throws std::invalid_argument, too, for a priority that the
  /// pool does not have, or two times to expire at.
  template <class F>
    requires std::constructible_from<move_only_function<void()>, F>
  result<void> post(submit_options options, F&& f);
  /// Never waits and never runs the task here: errc::full if there is no room. Throws as post().
  template <class F>
    requires std::constructible_from<move_only_function<void()>, F>
  result<void> try_post(F&& f);

  /// The same as post() for several tasks, with fewer locks and wakes: how many, the first ones, went in or were run here, and why not all. A task
  /// that went in is moved from, the others are as they were. Throws std::invalid_argument if one of them is empty, before any is posted.
  range_result post_n(std::span<move_only_function<void()>> tasks, const wait_limits& limits = {});
  /// Posts `f(0)`, `f(1)`, … `f(n - 1)`, each with a copy of `f`. Throws as post(), and what copying `f` throws: then some were posted.
  template <class F>
    requires(std::invocable<F&, std::size_t> && std::copy_constructible<F> && std::is_nothrow_destructible_v<F>)
  range_result post_n(std::size_t n, const F& f, const wait_limits& limits = {});

  /// Runs `f()`, or `f(stop_token)`, on a worker; its value or exception goes to the future. The token is the task's own: request_stop() of the future
  /// and of the pool reach it, at the price of one allocation more. If the task is refused the future says why; if it is dropped by one of these
  /// before it has begun, errc::cancelled. Throws as post().
  template <class F>
    requires detail::submittable<std::decay_t<F>>
  [[nodiscard]] auto submit(F&& f, const wait_limits& limits = {});
  /// The same with more to say, after the task: `submit(f, {.overflow = overflow::reject})`. A task that expired gives errc::timeout, one that was
  /// dropped for another errc::rejected. Throws as post().
  template <class F>
    requires detail::submittable<std::decay_t<F>>
  [[nodiscard]] auto submit(F&& f, submit_options options);

  /// `co_await pool.schedule()` goes on on one of the workers.
  [[nodiscard]] auto schedule() noexcept { return get_scheduler().schedule(); }
  [[nodiscard]] any_scheduler get_scheduler() noexcept { return any_scheduler{*this}; }

  /// Waits until nothing is queued and nothing runs, on a worker or, by overflow::caller_runs, on a submitter; others may go on submitting
  /// meanwhile. errc::deadlock inside one of the pool's tasks.
  result<void> drain(const wait_limits& limits = {});

  /// Lets nothing in any more, finishes what is queued, waits for what runs and joins the workers. Idempotent; concurrent calls all wait for the
  /// end. errc::deadlock, and nothing happens, inside one of the pool's tasks.
  result<void> shutdown();

  /// Lets nothing in any more and drops what is queued: futures of dropped tasks get errc::cancelled. Tasks that run see it in
  /// their stop token. Does not wait.
  void request_stop() noexcept;

  /// Lets no task begin until resume() or the end: shutdown(), request_stop() and the destructor resume. What has begun goes on: running tasks, one
  /// that a worker has just taken, coroutines, and what these run themselves, because they wait for it or the queue is full. Submitting goes on,
  /// too, and drain() waits for what is queued. Returns at once. Without effect after shutdown() or request_stop().
  void pause() noexcept;
  void resume() noexcept;
  [[nodiscard]] bool paused() const noexcept { return queue_.paused(); }
  /// Drops the tasks that are queued now; how many. Their futures get errc::cancelled. Those who wait for room take their places.
  std::size_t purge() noexcept;

  /// Changes the number of threads, from 1 to max_threads. Growing starts them, and returns when they have begun, as construction. Shrinking lets as
  /// many end as are too many, each when it is through with its present piece; what they have queued is done by the others. Does not wait for that.
  /// (While such threads still end, growing to max_threads may find no place for some: those are started when there is work for them.)
  /// errc::closed after shutdown() or request_stop(). Throws std::invalid_argument if the number is out of range, and what construction throws if a
  /// thread cannot be started: then the pool has its former number, or the one that another resize() has set meanwhile.
  result<void> resize(std::size_t threads);
  /// As resize(), with what lies outside its range moved into it (core/adjustable.hpp): so an adaptive_limit can drive the pool. Without effect after
  /// shutdown() or request_stop().
  void set_limit(std::ptrdiff_t threads) {
    static_cast<void>(
        resize(static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(threads, 1, static_cast<std::ptrdiff_t>(max_threads_)))));
  }

  /// Runs `f()`, and returns what it returns. Within it this worker may block (for a file, a lock, something that another task does): if there is work
  /// that no other worker is free for, another thread runs in its stead, as long as there are no more than max_threads. It stays for the next
  /// time, but sleeps while it is one too many. On a thread that is no worker of this pool: just runs `f()`.
  template <std::invocable F>
  decltype(auto) blocking(F&& f);

  [[nodiscard]] std::stop_token get_stop_token() const noexcept { return stop_.get_token(); }
  /// How many there should be, by the options or resize().
  [[nodiscard]] std::size_t threads() const noexcept { return queue_.target(); }
  [[nodiscard]] std::size_t max_threads() const noexcept { return max_threads_; }
  /// How many there are now, awake or asleep: fewer when idle ones have ended, more while some are inside blocking(), and for some time after that.
  [[nodiscard]] std::size_t running_threads() const noexcept { return origin_.forked() ? 0 : queue_.workers(); }
  [[nodiscard]] std::size_t queue_capacity() const noexcept { return queue_.capacity(); }
  [[nodiscard]] unsigned priorities() const noexcept { return priorities_; }
  /// What it did and does; see pool_stats.hpp. Throws std::bad_alloc, with metrics.
  [[nodiscard]] pool_stats stats() const;
  /// Tasks that wait to be run, from outside and from inside.
  [[nodiscard]] std::size_t queued() const noexcept { return origin_.forked() ? 0 : queue_.queued(); }
  /// Submitters that wait for room.
  [[nodiscard]] std::size_t room_waiters() const noexcept { return origin_.forked() ? 0 : queue_.room_waiters(); }
  /// Posted tasks that threw.
  [[nodiscard]] std::size_t failed() const noexcept { return failed_.load(std::memory_order_relaxed); }  // relaxed: a counter
  /// Tasks that were not run because their latest start had passed.
  [[nodiscard]] std::size_t expired() const noexcept { return expired_.load(std::memory_order_relaxed); }  // relaxed: a counter
  /// Tasks that had to go for others, by overflow::drop_oldest or drop_lowest.
  [[nodiscard]] std::size_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }  // relaxed: a counter

  // What any_scheduler asks of a context.
  void execute(work_item& item) noexcept;
  /// Whether the calling thread is one of this pool's workers.
  [[nodiscard]] bool running_here() const noexcept { return slot_here() != nullptr; }

 private:
  using task = move_only_function<void()>;
  using queue = detail::task_queue<task, Sync>;
  using queue_slot = typename queue::slot;
  using runner = detail::task_runner<basic_worker_pool, detail::work<task>, detail::worker_record<Sync>>;
  using thread_report = detail::thread_report<Sync>;
  friend detail::pool_access;

  template <class F, class R>
  class submitted;
  class expiring;

  // How one task is to be let in.
  struct admission {
    const wait_limits& limits;
    penstock::overflow overflow;
    detail::task_label label;
  };
  // Of tasks that are submitted now: the time, if they are to be measured.
  [[nodiscard]] detail::nanoseconds_point stamp(std::size_t n = 1) const noexcept {
    if (!metrics_) [[likely]]
      return detail::untimed;
    return timed_.stamp(clock_, n);
  }
  [[nodiscard]] detail::nanoseconds_point time_if(detail::nanoseconds_point since) const noexcept {
    return since != detail::untimed ? clock_.now() : since;
  }
  [[nodiscard]] detail::task_label usual_label(std::size_t n = 1) const noexcept { return {usual_priority_, stamp(n)}; }
  [[nodiscard]] admission usual_admission(const wait_limits& limits) const noexcept { return {limits, overflow_, usual_label()}; }
  [[nodiscard]] admission admission_of(const submit_options& options) const;
  // Until when to wait for room: as long as the submission says, or else the pool.
  [[nodiscard]] deadline room_deadline(const wait_limits& limits) const noexcept {
    return limits.deadline.is_never() && !room_timeout_.is_for_ever() ? clock_.after(room_timeout_.length()) : limits.deadline;
  }

  template <class F>
  static F&& callable(F&& f);
  // Gives the task a span, if somebody traces. Throws std::bad_alloc.
  void trace(task& work) {
    if (detail::observers::trace()) [[unlikely]]
      wrap(work);
  }
  [[gnu::cold]] void wrap(task& work);
  [[gnu::cold]] result<void> put_traced(task& work, const wait_limits& limits);
  result<void> try_put(task& work, detail::task_label label) noexcept;
  result<void> put(task& work, const admission& how);
  range_result put_n(std::span<task> tasks, const wait_limits& limits);
  result<void> put_into_full(task& work, const admission& how);
  result<void> put_over(task& work, const admission& how) noexcept;
  template <class F>
  auto submit(F&& f, std::unique_ptr<detail::expiry<Sync>> when, const admission& how);
  // Counts a submission that failed.
  [[gnu::cold]] result<void> refuse(result<void> why) noexcept;
  static result<void> forked_error() noexcept { return std::make_error_code(std::errc::operation_not_permitted); }
  static std::size_t checked_threads(worker_pool_options& options);
  // `first`: one of those that the pool is made with, which the queue counts already. Throws if it does not begin; with a report nobody has waited yet.
  void start_thread(bool first);
  void start_thread(bool first, thread_report* waiting);
  void run_worker(std::size_t index, bool first, thread_report* waiting) noexcept;
  void run_pieces(queue_slot& me, runner& here) noexcept;
  void help_until(queue_slot& me, detail::basic_one_shot<>& end) noexcept;
  bool help_once() noexcept;
  void run(runner& here, detail::work<task>& found) noexcept;
  void run_inside(runner& here, detail::work<task>& found) noexcept;
  [[gnu::always_inline]] detail::fate run_to_end(runner& here, detail::work<task>& found) noexcept;
  // cold, these: lest the usual way is written around them
  [[gnu::cold]] void run_measured(runner& here, detail::work<task>& found) noexcept;
  [[gnu::cold]] void count_run_here(runner& here, detail::fate how) noexcept;
  void measure_inside(runner& here, detail::fate how, detail::nanoseconds_point since, detail::nanoseconds_point began) noexcept;
  void measure(queue_slot& slot) const;
  void drop(task& queued) noexcept;
  [[gnu::cold]] void drop_postponed(runner& here, detail::work<task>& found) noexcept;
  void report(std::exception_ptr failure) noexcept;
  void expire(detail::expiry<Sync>& missed) noexcept;

  // This thread's, if it runs a task of this pool.
  [[nodiscard]] runner* runner_here() const noexcept {
    runner* r = runner::innermost;
    while (r != nullptr && r->pool != this) r = r->outer;
    return r;
  }
  // This thread's, if it is one of the workers.
  [[nodiscard]] queue_slot* slot_here() const noexcept {
    return current_ != nullptr && current_->queue == &queue_ ? current_ : nullptr;
  }
  void run_postponed(runner& here) noexcept;

  static constexpr unsigned deepest = 32;  // of runner::depth
  static constexpr unsigned deepest_help = 128;

  static inline thread_local queue_slot* current_ = nullptr;
  static inline thread_local unsigned helping_ = 0;  // waits for coroutines, one inside the other, that run coroutines meanwhile

  const std::size_t max_threads_;
  queue queue_;
  const penstock::overflow overflow_;
  const detail::timeout_length room_timeout_;
  const unsigned priorities_;
  const unsigned usual_priority_ = priorities_ / 2;
  const any_clock clock_;
  const bool metrics_;
  const detail::event_timing timed_;  // with metrics
  const move_only_function<void(std::exception_ptr) const> on_error_;
  std::stop_source stop_;
  std::atomic<std::size_t> failed_{0};
  std::atomic<std::size_t> expired_{0};
  std::atomic<std::size_t> dropped_{0};
  detail::refusals refused_;
  detail::worker_record<Sync> outside_;  // of those who are no workers
  detail::process_origin origin_;
  detail::pool_threads<Sync> threads_;
};

using worker_pool = basic_worker_pool<>;

}  // namespace penstock::inline v0_1

#include <penstock/pool/detail/pool_statistics.hpp>
#include <penstock/pool/detail/post.hpp>
#include <penstock/pool/detail/post_n.hpp>
#include <penstock/pool/detail/submit_with_options.hpp>
#include <penstock/pool/detail/submitted.hpp>
#include <penstock/pool/detail/worker_life.hpp>
#include <penstock/pool/detail/worker_pool_members.hpp>
