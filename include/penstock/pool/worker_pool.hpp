// penstock/pool/worker_pool.hpp: a fixed number of threads that run what is submitted, from a bounded queue.
//
//   penstock::worker_pool pool{{.threads = 8, .queue_capacity = 1024}};
//   penstock::future<image> thumbnail = pool.submit([&] { return scale(picture); });
//   auto page = penstock::spawn(pool, render(request));   // a coroutine that lives on the pool
//
// Queue          bounded: what post() and submit() do when it is full is the pool's overflow policy. Coroutines that go on here are no
//                submissions: they are never refused, and need no memory.
// Order          tasks begin in the order of their submission. Coroutines go first, up to fifteen in a row.
// Errors         an exception that leaves a posted task goes to on_error and is counted (failed()); one of a submitted task goes to its future.
// Waiting inside a worker for the pool itself: a worker that posts into its own full pool runs the task itself (at once; when it is 32 tasks
//                deep, after it has returned, up to queue_capacity of them). One that waits for the future of a task that has not begun runs
//                it on the spot, to its end even if the wait has a deadline. One that blocks until a coroutine ends (spawned::result(),
//                wait(), its destructor, sync_wait()) runs the pool's coroutines meanwhile if no other worker is free to, one inside the
//                other up to 128 deep; a coroutine among them that does `co_await` a future of a task that has not begun runs that task.
//                So hold no lock while you wait for a coroutine, that another coroutine of the pool takes. What can never end (draining,
//                shutting down or destroying the pool from one of its workers) is an error at once.
//                All other waits just wait: for an event, a channel, a promise, or an async_wait() that only a *task* in the queue of this
//                pool would end there must be another worker. Such waits belong into coroutines.
// Thread safety  every member may be called concurrently, but for construction and destruction.
// Destruction    finishes what is queued, then joins: as shutdown(). Destroying a pool inside one of its own tasks ends the program with a
//                message, for it could only hang. Coroutines that still run on the pool must have ended or come back by then. When the
//                last worker has ended (shutdown(), request_stop()), coroutines of the pool go on on the thread that completes what they await.
// Memory         the queue's slots, allocated at construction; a task of up to 48 bytes allocates nothing when posted; submit() allocates once.
// Fork           threads stay with the parent: in a child, posting fails with std::errc::operation_not_permitted, and so does waiting for a future
//                of the pool that was not ready; the counts are 0. What only a task of the parent would do does not happen: a wait for its
//                event hangs, and so may any use of what another thread had locked at the moment of the fork.
#pragma once

#include <atomic>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#endif

#include <penstock/core/detail/blocking_help.hpp>
#include <penstock/core/detail/fork.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/pool/detail/helping_wait.hpp>
#include <penstock/pool/detail/task_queue.hpp>
#include <penstock/pool/sizing.hpp>
#include <penstock/sync/future.hpp>

namespace penstock::inline v0_1 {

/// What a pool does with a task when its queue is full.
enum class overflow : unsigned char {
  wait,    ///< the submitter waits for room
  reject,  ///< the submission fails with errc::rejected
  /// The submitter runs the task itself; if it is 32 tasks deep in the same pool, after the outermost one has returned, up to queue_capacity of
  /// them, and beyond that at once again.
  caller_runs,
};

struct worker_pool_options {
  std::size_t threads = 0;            ///< 0: available_processors(), which knows affinity and containers
  std::size_t queue_capacity = 1024;  ///< tasks that wait to be run; at least 1
  std::string name = "penstock";      ///< threads are called name-0, name-1, … where the system shows names
  penstock::overflow overflow = overflow::wait;
  /// Gets what a posted task threw, on the worker; may be called by several workers at a time. Default: only counted.
  move_only_function<void(std::exception_ptr) const> on_error = {};
};

namespace detail {

template <class F>
concept submittable = (std::invocable<F&> || std::invocable<F&, std::stop_token>) && std::is_nothrow_destructible_v<F>;

}  // namespace detail

class worker_pool {
 public:
  /// Starts the threads. Throws std::invalid_argument if queue_capacity is 0; std::system_error if a thread cannot be started, after
  /// joining those that were.
  explicit worker_pool(worker_pool_options options = {});
  worker_pool(const worker_pool&) = delete;
  worker_pool& operator=(const worker_pool&) = delete;
  ~worker_pool();

  /// Runs `f()` on a worker, some time; nobody hears of its end. When the queue is full, the overflow policy decides. errc::closed after
  /// shutdown() or request_stop(), errc::rejected by policy; the task is then destroyed. Throws std::invalid_argument if there is nothing to call (a
  /// null pointer to a function, an empty std::function), and std::bad_alloc if the callable needs memory and there is none.
  template <class F>
    requires std::constructible_from<move_only_function<void()>, F>
  result<void> post(F&& f) {
    task work{callable(std::forward<F>(f))};
    return put(work);
  }
  /// The same, but waiting for room, if that is the policy, ends with errc::timeout or errc::cancelled.
  template <class F>
    requires std::constructible_from<move_only_function<void()>, F>
  result<void> post(const wait_limits& limits, F&& f) {
    task work{callable(std::forward<F>(f))};
    return put(work, limits);
  }
  /// Never waits and never runs the task here: errc::full if there is no room. Throws as post().
  template <class F>
    requires std::constructible_from<move_only_function<void()>, F>
  result<void> try_post(F&& f) {
    task work{callable(std::forward<F>(f))};
    if (origin_.forked()) return forked_error();
    return queue_.try_push(work);
  }

  /// Runs `f()`, or `f(stop_token)` with the pool's own token, on a worker; its value or exception goes to the future. If the task is
  /// refused the future says why; if it is dropped by request_stop(), errc::cancelled. Throws as post().
  template <class F>
    requires detail::submittable<std::decay_t<F>>
  [[nodiscard]] auto submit(F&& f, const wait_limits& limits = {});

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

  [[nodiscard]] std::stop_token get_stop_token() const noexcept { return stop_.get_token(); }
  [[nodiscard]] std::size_t threads() const noexcept { return thread_count_; }
  [[nodiscard]] std::size_t queue_capacity() const noexcept { return queue_.capacity(); }
  /// Tasks that wait to be run.
  [[nodiscard]] std::size_t queued() const noexcept { return origin_.forked() ? 0 : queue_.queued(); }
  /// Submitters that wait for room.
  [[nodiscard]] std::size_t room_waiters() const noexcept { return origin_.forked() ? 0 : queue_.room_waiters(); }
  /// Posted tasks that threw.
  [[nodiscard]] std::size_t failed() const noexcept { return failed_.load(std::memory_order_relaxed); }  // relaxed: a counter

  // What any_scheduler asks of a context.
  void execute(work_item& item) noexcept {
    if (origin_.forked() || !queue_.push(item)) detail::trampoline::execute(item);  // no worker is left to run it
  }
  /// Whether the calling thread is one of this pool's workers.
  [[nodiscard]] bool running_here() const noexcept { return current_ == this; }

 private:
  using task = move_only_function<void()>;
  using queue = detail::task_queue<task>;

  template <class F, class R>
  class submitted;

  // The callable itself; throws if it is none.
  template <class F>
  static F&& callable(F&& f) {
    if constexpr (requires { f == nullptr; }) {
      if (f == nullptr) throw std::invalid_argument{"penstock::worker_pool: there is nothing to call"};
    }
    return std::forward<F>(f);
  }
  result<void> put(task& work, const wait_limits& limits = {});
  static result<void> forked_error() noexcept { return std::make_error_code(std::errc::operation_not_permitted); }
  void run_worker(std::size_t index) noexcept;
  void help_until(detail::basic_one_shot<>& end) noexcept;
  void run(detail::work<task>& found) noexcept;
  void join() noexcept;

  // A thread that runs tasks of a pool: a worker, or one that submitted to a full queue. It may be so for several pools, one inside the other.
  struct runner {
    explicit runner(const worker_pool& p) noexcept : pool{&p}, outer{innermost} { innermost = this; }
    runner(const runner&) = delete;
    runner& operator=(const runner&) = delete;
    ~runner() { innermost = outer; }
    const worker_pool* pool;
    runner* outer;
    unsigned depth = 0;           // tasks that run one inside the other because the queue was full
    std::vector<task> postponed;  // until the outermost one has returned
    static inline thread_local runner* innermost = nullptr;
  };
  // This thread's, if it runs a task of this pool.
  [[nodiscard]] runner* runner_here() const noexcept {
    runner* r = runner::innermost;
    while (r != nullptr && r->pool != this) r = r->outer;
    return r;
  }
  void run_postponed(runner& here) noexcept;

  static constexpr unsigned deepest = 32;  // of runner::depth
  static constexpr unsigned deepest_help = 128;

  static inline thread_local const worker_pool* current_ = nullptr;
  static inline thread_local unsigned helping_ = 0;  // waits for coroutines, one inside the other, that run coroutines meanwhile

  const std::size_t thread_count_;
  queue queue_;
  const penstock::overflow overflow_;
  const move_only_function<void(std::exception_ptr) const> on_error_;
  const std::string name_;
  std::stop_source stop_;
  std::atomic<std::size_t> failed_{0};
  detail::process_origin origin_;
  std::mutex joining_;
  std::vector<std::thread> workers_;  // guarded by joining_ once the constructor is through
};

inline worker_pool::worker_pool(worker_pool_options options)
    : thread_count_{options.threads != 0 ? options.threads : available_processors()},
      queue_{options.queue_capacity, thread_count_},
      overflow_{options.overflow},
      on_error_{std::move(options.on_error)},
      name_{std::move(options.name)} {
  origin_.remember();
  workers_.reserve(thread_count_);
  try {
    for (std::size_t i = 0; i < thread_count_; ++i) workers_.emplace_back([this, i] { run_worker(i); });
  } catch (...) {
    queue_.close();
    join();
    throw;
  }
}

inline worker_pool::~worker_pool() {
  if (runner_here() != nullptr) {
    std::fputs("penstock::worker_pool: a pool was destroyed inside one of its own tasks, which cannot wait for itself\n", stderr);
    std::terminate();
  }
  if (origin_.forked()) {
    for (std::thread& worker : workers_) std::construct_at(&worker);  // forgotten: they exist in the parent only
    queue_.abandon();
    return;
  }
  static_cast<void>(shutdown());
}

inline result<void> worker_pool::put(task& work, const wait_limits& limits) {
  if (origin_.forked()) return forked_error();
  if (limits.stop.stop_requested()) return errc::cancelled;
  result<void> pushed = queue_.try_push(work);
  if (pushed || pushed.error() != errc::full) return pushed;
  if (overflow_ == overflow::reject) return errc::rejected;
  runner* const inside = runner_here();  // who waited for room inside one of the pool's tasks could wait for itself
  if (inside != nullptr) {
    // Tasks that submit themselves again and again would use up the stack: 32 deep they are kept for later, when the outermost one has returned.
    // As many as the queue may hold, though; beyond that it goes deeper.
    if (inside->depth >= deepest && inside->postponed.size() < queue_.capacity()) {
      inside->postponed.push_back(std::move(work));
      return {};
    }
    ++inside->depth;
    detail::work<task> here{std::move(work)};
    run(here);
    --inside->depth;
    return {};
  }
  if (overflow_ == overflow::caller_runs) {
    if (const auto begun = queue_.begin_here(); !begun) return begun;
    {
      runner caller{*this};
      detail::work<task> here{std::move(work)};
      run(here);
      run_postponed(caller);
    }
    queue_.finish_here();
    return {};
  }
  detail::blocking_wait<queue, queue::room_node> wait{queue_, work};
  return detail::to_result(wait.run(limits.stop, limits.deadline));
}

inline result<void> worker_pool::drain(const wait_limits& limits) {
  if (runner_here() != nullptr) return errc::deadlock;
  if (origin_.forked()) return forked_error();
  detail::blocking_wait<queue, queue::drained_node> wait{queue_};
  return detail::to_result(wait.run(limits.stop, limits.deadline));
}

inline result<void> worker_pool::shutdown() {
  if (runner_here() != nullptr) return errc::deadlock;
  if (origin_.forked()) return forked_error();
  queue_.close();
  join();
  return {};
}

inline void worker_pool::join() noexcept {
  std::scoped_lock guard{joining_};
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

inline void worker_pool::request_stop() noexcept {
  if (origin_.forked()) return;  // the tasks are the parent's
  // Before anybody hears of the stop: a task that ends because of it frees its worker, which must not begin another.
  queue_.close(detail::at_close::drop);
  stop_.request_stop();
  while (queue_.drop_one()) {
  }
}

inline void worker_pool::run_worker(std::size_t index) noexcept {
#if defined(__linux__)
  std::string name = name_.substr(0, 11) + '-' + std::to_string(index);
  name.resize(name.size() < 15 ? name.size() : 15);  // what the kernel keeps
  ::pthread_setname_np(::pthread_self(), name.c_str());
#else
  static_cast<void>(index);
#endif
  struct help : detail::blocking_help {
    explicit help(worker_pool& p) noexcept
        : blocking_help{[](blocking_help& self, detail::basic_one_shot<>& end) noexcept {
            static_cast<help&>(self).pool.help_until(end);
          }},
          pool{p} {}
    worker_pool& pool;
  } helping{*this};
  current_ = this;
  runner worker{*this};
  detail::work<task> found;
  for (bool worked = false; queue_.next(found, worked); worked = true) {
    run(found);
    if (!worker.postponed.empty()) run_postponed(worker);
  }
}

// In their order; each may postpone others. All of them are part of the piece that has just been run.
inline void worker_pool::run_postponed(runner& here) noexcept {
  detail::work<task> found;
  while (!here.postponed.empty()) {
    found.task = std::move(here.postponed.front());
    here.postponed.erase(here.postponed.begin());
    if (!stop_.stop_requested()) run(found);
    found = {};
  }
}

inline void worker_pool::help_until(detail::basic_one_shot<>& end) noexcept {
  if (helping_ >= deepest_help || origin_.forked()) return detail::blocking_help::wait_idly(end);
  ++helping_;
  detail::helping_wait<queue>{queue_, end}.run([](work_item& item) { item(); });
  --helping_;
}

inline void worker_pool::run(detail::work<task>& found) noexcept {
  try {
    found();
    found = {};  // what the task holds is released by the time it counts as done
  } catch (...) {
    failed_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a counter
    if (!on_error_) return;
    try {
      on_error_(std::current_exception());
    } catch (...) {  // a handler that fails has nobody left to tell
    }
  }
}

}  // namespace penstock::inline v0_1

#include <penstock/pool/detail/submitted.hpp>
