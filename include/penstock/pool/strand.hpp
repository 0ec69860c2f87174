// penstock/pool/strand.hpp: work that runs one piece at a time and in order, on a pool that runs many.
//
//   penstock::worker_pool pool;
//   penstock::strand log{pool};
//   log.post([&] { file << line; }).value();                   // never two at a time, in the order in which they were posted: no lock
//   auto size = log.submit([&] { return file.tellp(); });      // a future
//   auto session = penstock::spawn(log, talk(connection));     // a coroutine that lives on the strand
//
// A strand (Asio's word) is a serial executor without a thread of its own. While it has work it is one piece of work on the pool, which runs what
// lies in the strand's line, piece after piece; after 32 of them it stands in the pool's own line again, so that a busy strand holds
// up nobody. Different strands run in parallel.
//
// Order          pieces begin in the order of their submission, each when the last one has returned. Coroutines stand in the same line each time that
//                they go on.
// Exclusion      no two pieces overlap, whichever threads they run on, and what one wrote the next one sees. A coroutine that lives on a strand has
//                it to itself between two suspensions; while it is suspended others run. Only what goes on on the strand counts: a task that
//                is sent elsewhere (via) runs beside it.
// Queue          at most `capacity` posted functions wait; post() and submit() then wait for room, try_post() does not. Coroutines that go on here
//                count against nothing and are never refused.
// Errors         an exception that leaves a posted function goes to on_error and is counted; one of a submitted function goes to its future.
// Waiting        a piece that waits for its own strand could wait for ever: post() to the full strand, drain() and a blocking wait for the
//                future of one of its functions that has not begun fail with errc::deadlock, even with a deadline, from a call that is nested in the
//                piece too; what the future was of is then not run. Blocking for a *coroutine* of the same strand cannot be
//                recognised, and hangs: await it.
//                Another thread of the pool that waits for room, for the end, or for a future, runs the strand's work itself, if nobody does,
//                until it has what it waits for: even a pool of one thread gets on. It may then be late for its deadline, by one
//                piece. So hold no lock meanwhile that a piece takes.
// Thread safety  every member may be called concurrently, but for construction and destruction.
// Destruction    lets nothing in, and waits until what is queued has run, as drain(); inside the strand it ends the program with a message, for it
//                could only hang. Coroutines that live on the strand must have ended by then, and the pool must still be there and running.
//                Of a strand on another strand's get_scheduler(), and not on that strand itself: whoever waits for one of its futures must have
//                returned before the other strand is destroyed.
// Pools          anything that is a scheduler. Where a pool has no worker left (worker_pool after shutdown() or request_stop()) the strand's work
//                runs on the thread that brings it.
// Cost           one lock to bring a piece and one to take it. post() and submit() allocate once, the strand once at construction; resuming a
//                coroutine allocates nothing.
// Fork           in a child of fork(), posting fails with std::errc::operation_not_permitted, and destruction waits for nothing.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/detail/fork.hpp>
#include <penstock/core/modifiers.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/pool/detail/strand_work.hpp>
#include <penstock/pool/strand_stats.hpp>
#include <penstock/sync/future.hpp>

namespace penstock::inline v0_1 {

struct strand_options {
  std::size_t capacity = 1024;  ///< posted functions that wait to be run; at least 1. Memory is taken as they come
  /// Gets what a posted function threw, on the thread that ran it, as part of that piece. Default: only counted.
  move_only_function<void(std::exception_ptr) const> on_error = {};
};

template <class Sync = detail::std_sync>
class basic_strand {
  using work = detail::strand_work<Sync>;
  using posted = detail::posted_function<Sync>;

 public:
  /// Over a context: a worker_pool, a manual_executor, another strand, any scheduler. Throws std::invalid_argument if capacity is 0.
  template <class Context>
    requires(!std::same_as<std::remove_cvref_t<Context>, strand_options>)
  explicit basic_strand(Context&& context, strand_options options = {})
      : work_{new work{context_of(context), options.capacity, std::move(options.on_error)}} {
    origin_.remember();
  }
  basic_strand(const basic_strand&) = delete;
  basic_strand& operator=(const basic_strand&) = delete;
  ~basic_strand();

  /// Runs `f()` on the strand, some time. Waits for room while the strand is full. errc::closed after close(), errc::deadlock if it is full and
  /// this is one of its own pieces; `f` is then destroyed. Throws std::invalid_argument if there is nothing to call (a null pointer to a
  /// function, an empty std::function), and std::bad_alloc.
  template <class F>
    requires std::constructible_from<move_only_function<void()>, F>
  result<void> post(F&& f) {
    return post(wait_limits{}, std::forward<F>(f));
  }
  /// The same, but waiting for room ends with errc::timeout or errc::cancelled.
  template <class F>
    requires std::constructible_from<move_only_function<void()>, F>
  result<void> post(const wait_limits& limits, F&& f) {
    auto piece = std::make_unique<posted>(*work_, callable(std::forward<F>(f)));
    return accepted(put(*piece, limits), piece);
  }
  /// Never waits: errc::full if there is no room. Throws as post().
  template <class F>
    requires std::constructible_from<move_only_function<void()>, F>
  result<void> try_post(F&& f) {
    auto piece = std::make_unique<posted>(*work_, callable(std::forward<F>(f)));
    if (origin_.forked()) return forked_error();
    const result<void> how = work_->try_push_post(*piece);
    if (!how) work_->count_refusal(how.error());
    return accepted(how, piece);
  }

  /// Runs `f()` on the strand; its value or exception goes to the future, and errc::cancelled if that is told to request_stop() before `f` has begun. If
  /// it is refused, the future says why. Waits, and throws, as post().
  template <class F>
    requires std::invocable<std::decay_t<F>&>
  [[nodiscard]] auto submit(F&& f, const wait_limits& limits = {}) {
    using function = std::decay_t<F>;
    using value = std::invoke_result_t<function&>;
    using piece = detail::submitted_function<function, value, Sync>;
    std::unique_ptr<piece, typename piece::leave> of_strand{new piece{*work_, callable(std::forward<F>(f))}};
    of_strand->add_owner();
    future<value> result_of{detail::state_ref<detail::future_state<value>>{of_strand.get()}};
    const result<void> accepted = put(*of_strand, limits);
    if (accepted) {
      static_cast<void>(of_strand.release());
    } else {
      of_strand->refuse(accepted.error());
    }
    return result_of;
  }

  /// `co_await s.schedule()` goes on on the strand, behind what is there.
  [[nodiscard]] auto schedule() noexcept { return get_scheduler().schedule(); }
  [[nodiscard]] any_scheduler get_scheduler() noexcept { return any_scheduler{*this}; }

  /// Waits until nothing is queued and nothing runs; others may go on posting meanwhile. Coroutines that are suspended count as neither.
  /// errc::deadlock inside one of its pieces.
  result<void> drain(const wait_limits& limits = {});

  /// Lets no function in any more: those who wait for room get errc::closed. What is queued runs. Coroutines still go on here. Idempotent.
  void close() noexcept {
    if (!origin_.forked()) work_->close();
  }

  /// Functions that wait to be run.
  [[nodiscard]] std::size_t queued() const noexcept { return origin_.forked() ? 0 : work_->queued(); }
  [[nodiscard]] std::size_t capacity() const noexcept { return work_->capacity(); }
  /// Who wait for room.
  [[nodiscard]] std::size_t room_waiters() const noexcept { return origin_.forked() ? 0 : work_->room_waiters(); }
  /// Posted functions that threw.
  [[nodiscard]] std::size_t failed() const noexcept { return work_->errors(); }
  [[nodiscard]] strand_stats stats() const noexcept {
    if (origin_.forked()) return {};
    strand_stats s = work_->stats();
    s.errors = work_->errors();
    return s;
  }

  // What any_scheduler asks of a context.
  void execute(work_item& item) noexcept {
    if (origin_.forked()) {
      detail::trampoline::execute(item);
    } else {
      work_->push(item);
    }
  }
  /// Whether the calling code is a piece of this strand. Not what other contexts run inside it, such as a pool whose worker blocks there.
  [[nodiscard]] bool running_here() const noexcept { return work_->running_here(); }

  /// For names (observe/named_place.hpp).
  friend std::pair<const void*, std::size_t> inner_place(const basic_strand& s) noexcept { return {s.work_, sizeof(work)}; }

 private:
  // The callable itself; throws if it is none.
  template <class F>
  static F&& callable(F&& f) {
    if constexpr (requires { f == nullptr; }) {
      if (f == nullptr) throw std::invalid_argument{"penstock::strand: there is nothing to call"};
    }
    return std::forward<F>(f);
  }
  template <class Context>
  static typename work::context context_of(Context& context) {
    if constexpr (std::same_as<Context, basic_strand>) {
      context.work_->add_owner();
      return {any_scheduler{*context.work_}, detail::state_ref<work>{context.work_}};
    } else {
      return {via(context).to, {}};
    }
  }
  static result<void> accepted(result<void> how, std::unique_ptr<posted>& piece) noexcept {
    if (how) static_cast<void>(piece.release());  // it frees itself, and may have done so by now
    return how;
  }
  static result<void> forked_error() noexcept { return std::make_error_code(std::errc::operation_not_permitted); }

  result<void> put(work_item& piece, const wait_limits& limits);
  template <class Wait>
  result<void> wait(Wait& w, const wait_limits& limits);

  work* work_;
  detail::process_origin origin_;
};

using strand = basic_strand<>;

template <class Sync>
inline basic_strand<Sync>::~basic_strand() {
  if (origin_.forked()) return;  // what is queued, and who runs it, is the parent's
  if (work_->running_on_this_thread()) {
    std::fputs("penstock::strand: a strand was destroyed inside one of its own pieces, which cannot wait for itself\n", stderr);
    std::terminate();
  }
  work_->close();
  static_cast<void>(drain());
  work_->drop_owner();
}

// The whole life of a wait for room or for the end.
template <class Sync>
template <class Wait>
result<void> basic_strand<Sync>::wait(Wait& w, const wait_limits& limits) {
  if (limits.stop.stop_requested()) return errc::cancelled;
  const auto passes = [&] { return work_->try_pass(w); };
  if (passes()) return detail::to_result(w.how);
  if (work_->running_on_this_thread()) return errc::deadlock;
  if (work_->where().running_here()) {  // the turn may be waiting for this very thread
    while (!limits.stop.stop_requested() && !limits.deadline.passed()) {
      bool passed = false;
      const auto done = [&] { return (passed = passes()) || limits.stop.stop_requested() || limits.deadline.passed(); };
      const bool helped = work_->help_until(done);
      if (passed || passes()) return detail::to_result(w.how);
      if (!helped) break;
    }
  }
  return detail::to_result(w.run(limits.stop, limits.deadline));
}

template <class Sync>
inline result<void> basic_strand<Sync>::put(work_item& piece, const wait_limits& limits) {
  if (origin_.forked()) return forked_error();
  work& mine =
      *work_;  // once the piece is in, it may run, and the strand be gone; a turn that is to be sent keeps its work alive
  detail::blocking_wait<typename work::core, typename work::room_node> room{mine, piece};
  const result<void> how = wait(room, limits);
  if (room.sends_turn) mine.sent(room);
  if (!how) [[unlikely]]
    mine.count_refusal(how.error());
  return how;
}

template <class Sync>
inline result<void> basic_strand<Sync>::drain(const wait_limits& limits) {
  if (origin_.forked()) return forked_error();
  detail::blocking_wait<typename work::core, typename work::drained_node> end{*work_};
  return wait(end, limits);
}

template <class Sync>
inline void describe(const basic_strand<Sync>& s, metric_sink& to) {
  describe(s.stats(), to);
}

}  // namespace penstock::inline v0_1
