// penstock/core/tracer.hpp: hooks from which traces are made: work is submitted, begins, ends; somebody waits.
//
//   struct exporter final : penstock::tracer {
//     void started(penstock::trace_span& s) noexcept override { s.context = new_child_of(s.parent); s.note[0] = now(); }
//     void finished(penstock::trace_span& s, penstock::trace_outcome how, const std::exception_ptr&) noexcept override { write(s, how, now()); }
//   } spans;
//   const penstock::trace_session tracing{spans};   // until it goes
//
// What has a span
//   task    one that was submitted to a worker_pool or a strand: post(), try_post(), post_n(), submit()
//   job     the run of a job by a job_worker. From a memory_store its parent is the context in which the job was added; other stores do not keep that: put
//           to_traceparent(current_trace()) into the payload
//   batch   a call of a batcher's function, and a batch of an accumulator from its first attempt to its end. The parent is the context in which its first
//           item was added; those of the others are told by linked() (a batcher's)
// and blocking and coroutine waits, once somebody really waits: not what was to be had at once, nor what a thread got by polling. Workers that sleep for want of
// work do not count as waiting, nor do coroutines that have gone on and wait for a processor.
//
// A span's life  enqueued(): `parent` is the context that is current there. If the tracer sets `context` (a span for the submission itself) that one is the
//                parent of what comes. started(), on the thread that runs it: what the tracer puts into `context` is current while the work runs, on
//                whatever threads, as its coroutines go; without, it is `parent`. finished(): with the exception that left the work, if one did. A task that
//                is refused, dropped or expires is finished as `cancelled`, without started(). A job has a trace_span of its own at enqueued(): the
//                notes do not go with it, and it is not told how the addition ended.
// Order          finished() comes before a future of the task is ready.
// Installing     one tracer at a time; while work runs, too. A span belongs to the session in which it began, and a session that is over is told
//                nothing any more: ~trace_session() lets no call begin, then waits (yielding) for those that run on other threads. So the tracer may be destroyed
//                after it. Work that was submitted before a session has no span; it may have a context.
// Hooks          are called on the thread that submits, runs or waits, by several at a time; under no lock of the library. They must not throw, and should
//                be short: hand spans to a queue. What a hook does itself with the library is not traced. It must not end its own session.
// Cost           without a tracer: one relaxed load, and a branch, for each submission and for each wait that is entered (docs/tracing.md has figures);
//                with one: an allocation for each posted task besides what the tracer does.
// Fork           a child that is to trace must exec if its parent has traced.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string_view>
#include <thread>

#include <penstock/core/detail/observers.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/errc.hpp>
#include <penstock/core/trace_context.hpp>

namespace penstock::inline v0_1 {

enum class traced : std::uint8_t { task, job, batch };

enum class trace_outcome : std::uint8_t {
  completed,
  failed,     ///< by an exception, or as the work itself says (a job_outcome, items that a batch could not write)
  cancelled,  ///< it was never begun; or a job that was handed back
};

/// A piece of work. The tracer may write to `context` and `note`.
struct trace_span {
  traced what = traced::task;
  const void* place =
      nullptr;  ///< the pool, what is behind the strand, the queue's store, the batcher's or accumulator's core (its name: name_of() of observe/who_waits.hpp)
  std::string_view name = {};  ///< of a job: enqueue_options::name. Valid within the call
  trace_context parent = {};   ///< empty: none
  trace_context context = {};  ///< its own, if the tracer gives it one
  std::uint64_t note[2] = {};  ///< the tracer's: a time, a pointer
};

/// A wait of a thread or a coroutine. The current context is that of who waits.
struct trace_wait {
  const void* place = nullptr;  ///< the primitive
  std::string_view where = {};  ///< what it is: "semaphore", "channel"
  std::string_view how = {};    ///< what for, where there are several: "push", "pop"
  bool coroutine = false;
  std::int64_t since = 0;  ///< on the steady clock, in nanoseconds
};

/// What is told of work and waits. Every hook may be left out.
class tracer {
 public:
  virtual ~tracer() = default;
  virtual void enqueued(trace_span&) noexcept {}
  virtual void started(trace_span&) noexcept {}
  /// A batch has another item, with the context of who added it.
  virtual void linked(trace_span&, const trace_context&) noexcept {}
  /// `why`: null, or what left the work. Not to be kept: exceptions belong to one thread.
  virtual void finished(trace_span&, trace_outcome, const std::exception_ptr& /*why*/) noexcept {}
  virtual void wait_begins(const trace_wait&) noexcept {}
  /// `error`: none; timeout, cancelled, closed or rejected.
  virtual void wait_ended(const trace_wait&, std::error_code /*error*/) noexcept {}
};

namespace detail {

/// How many calls of hooks run, of some threads.
struct alignas(cache_line) running_hooks {
  std::atomic<std::uint32_t> count{0};
};

/// A call of the installed tracer: while one lives, that tracer stays.
class tracer_call {
 public:
  // seq_cst, this and the load: against the store and the looks in uninstall(). Either that sees this call, or this sees no tracer.
  tracer_call() noexcept : mine_{calls_[place()].count} {
    mine_.fetch_add(1, std::memory_order_seq_cst);
    if (!inside_) tracer_ = installed_.load(std::memory_order_seq_cst);
    inside_before_ = inside_;
    inside_ = true;
  }
  tracer_call(const tracer_call&) = delete;
  tracer_call& operator=(const tracer_call&) = delete;
  ~tracer_call() {
    inside_ = inside_before_;
    mine_.fetch_sub(1, std::memory_order_release);  // release: pairs with the looks in uninstall()
  }

  /// Null: there is none, or this is a hook's own doing.
  [[nodiscard]] tracer* get() const noexcept { return tracer_; }
  /// Of which session, if there is one; never 0. relaxed: written before the tracer that was seen was installed, and not again while this lives.
  [[nodiscard]] static std::uint32_t session() noexcept { return session_.load(std::memory_order_relaxed); }
  [[nodiscard]] tracer* get(std::uint32_t of) const noexcept { return tracer_ != nullptr && session() == of ? tracer_ : nullptr; }

  static void install(tracer& t) {
    if (installing_.exchange(true, std::memory_order_acquire)) {  // acquire: pairs with the release in uninstall()
      throw std::logic_error{"penstock::trace_session: there is a tracer already"};
    }
    std::uint32_t next =
        session_.load(std::memory_order_relaxed) + 1;  // relaxed, both: who installs is alone, and the store below publishes it
    if (next == 0) next = 1;
    session_.store(next, std::memory_order_relaxed);
    installed_.store(&t, std::memory_order_seq_cst);
    observers::seen.fetch_or(observers::tracer, std::memory_order_relaxed);  // relaxed: a hint
  }
  static void uninstall() noexcept {
    observers::seen.fetch_and(~observers::tracer, std::memory_order_relaxed);  // relaxed: a hint
    installed_.store(nullptr, std::memory_order_seq_cst);
    for (running_hooks& some : calls_) {
      // seq_cst: see the constructor. What it reads of a call that has ended happened before.
      while (some.count.load(std::memory_order_seq_cst) != 0) std::this_thread::yield();
    }
    installing_.store(false, std::memory_order_release);  // release: pairs with the acquire in install()
  }

 private:
  static constexpr unsigned lines = 16;
  static unsigned place() noexcept {
    if (place_ == lines) place_ = next_place_.fetch_add(1, std::memory_order_relaxed) % lines;  // relaxed: any will do
    return place_;
  }

  static inline constinit running_hooks calls_[lines]{};
  static inline constinit std::atomic<tracer*> installed_{nullptr};
  static inline constinit std::atomic<std::uint32_t> session_{0};
  static inline constinit std::atomic<bool> installing_{false};
  static inline constinit std::atomic<unsigned> next_place_{0};
  static inline constinit thread_local unsigned place_ = lines;
  static inline constinit thread_local bool inside_ = false;

  std::atomic<std::uint32_t>& mine_;
  tracer* tracer_ = nullptr;
  bool inside_before_ = false;
};

}  // namespace detail

/// While it lives its tracer is told.
class trace_session {
 public:
  /// Throws std::logic_error if there is another session.
  explicit trace_session(tracer& t) { detail::tracer_call::install(t); }
  trace_session(const trace_session&) = delete;
  trace_session& operator=(const trace_session&) = delete;
  /// Returns when no hook runs any more.
  ~trace_session() { detail::tracer_call::uninstall(); }
};

}  // namespace penstock::inline v0_1
