// penstock/stream/pipeline.hpp: items flow from a source through stages to a sink, at the speed of the slowest, in bounded memory.
//
//   penstock::worker_pool pool;
//   auto p = from(penstock::lines("access.log")) | penstock::filter(is_error) | penstock::parallel_map(pool, 64, parse) |
//            penstock::batch(500) | penstock::to([&](std::vector<entry> rows) { database.insert(rows); });
//   p.run().value();              // throws what a stage threw
//   std::cout << p.report();      // where the time went, and which stage limits
//
// Pull           the sink asks, on the thread that calls run(), and each stage asks the one before it. So a slow stage slows all before it down:
//                nothing can pile up but in the queues of buffer, merge and parallel_map, which are bounded.
// Ends           when the source has, and everything that it gave is in the sink; or by the first failure: a stage throws, stop is
//                requested, the deadline passes, a channel at an end is closed. Then all stages stop, the items on their way are
//                destroyed, the channels at its ends are closed with the reason (at_end), and run() says why. It returns when every thread and
//                every task of the pipeline that has begun has ended: a user's function that runs is waited for. A task that still lies in a
//                pool's queue is not; it will do nothing.
// Order          of the items is kept but for parallel_map(…, delivery::unordered) and between the streams of merge.
// Thread safety  report() may be called by any thread at any time; run() once. Streams and stages are values that are moved into the
//                pipeline; what they refer to (channels, pools, limiters, ranges given as lvalues) must outlive the run.
// Cost           a chain of stages between two boundaries compiles into one loop; per item and stage about 2 ns for the counters. All queues are
//                allocated when run() begins; an item costs no allocation.
// Destruction    of a pipeline that runs is a precondition violation.
#pragma once

#include <atomic>
#include <cassert>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <type_traits>
#include <utility>

#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/detail/timer_queue.hpp>
#include <penstock/core/result.hpp>
#include <penstock/observe/metric_sink.hpp>
#include <penstock/stream/detail/pipeline_context.hpp>
#include <penstock/stream/detail/source_stages.hpp>
#include <penstock/stream/operators.hpp>
#include <penstock/stream/report.hpp>

namespace penstock::inline v0_1 {

/// The beginning of a pipeline that has no sink yet: a value, to be moved on.
template <class Stage>
class [[nodiscard]] stream {
 public:
  using value_type = typename Stage::value_type;

  explicit stream(Stage&& stage) : stage_{std::move(stage)} {}

  // For operator| and merge().
  [[nodiscard]] Stage&& stage() && noexcept { return std::move(stage_); }

 private:
  Stage stage_;
};

/// A stream with a sink. It can be moved while it does not run.
template <class Stage>
class [[nodiscard]] pipeline {
 public:
  explicit pipeline(Stage&& stage) : state_{std::make_unique<state>(std::move(stage))} {}

  /// Runs to the end, on this thread and the pipeline's own; may be called once (std::logic_error after that). Throws what a stage threw, and
  /// std::system_error if a thread cannot be started or a pool refuses. Otherwise
  ///   errc::cancelled  stop was requested         errc::closed    a channel at an end, or a limiter, was closed by somebody
  ///   errc::timeout    the deadline passed        errc::deadlock  this thread is a worker that a parallel_map needs; nothing has happened
  ///   any other        a source ended with it
  /// If stop was requested or the deadline had passed before the call, nothing is taken from the source.
  result<void> run(const wait_limits& limits = {}) {
    state& s = *state_;
    if (s.stage.would_deadlock()) return errc::deadlock;
    std::int64_t never = 0;
    if (!s.began.compare_exchange_strong(never, now())) throw std::logic_error{"penstock::pipeline: run() was called before"};
    {
      std::stop_callback on_stop{limits.stop, [&s]() noexcept { s.context.fail(make_error_code(errc::cancelled)); }};
      std::optional<detail::armed_timer<detail::dependent<detail::pipeline_context, Stage>>> timer;
      try {
        const deadline& d = limits.deadline;
        if (d.passed()) {
          s.context.interrupt(detail::outcome::timeout);  // now, and not when the clock's thread gets to it
        } else if (!d.is_never()) {
          timer.emplace(d.queue() != nullptr ? *d.queue() : detail::std_sync::steady_timers(), d.when(), s.context);
        }
        s.stage.start(s.context);
        s.stage.drain();
      } catch (...) {
        s.context.fail(std::current_exception());
      }
      s.context.join();
    }
    s.stage.finish(s.context);
    s.ended = now();
    if (const std::error_code error = s.context.outcome_of_run()) return error;
    return {};
  }
  result<void> run(std::stop_token stop) { return run(wait_limits{.stop = std::move(stop)}); }

  /// What the stages have done so far.
  [[nodiscard]] pipeline_report report() const {
    const state& s = *state_;
    pipeline_report r;
    if (const std::int64_t began = s.began; began != 0) {
      const std::int64_t ended = s.ended;
      r.elapsed = std::chrono::nanoseconds{(ended != 0 ? ended : now()) - began};
    }
    detail::report_builder b;
    s.stage.describe(b);
    r.stages = b.take();
    if (const double seconds = std::chrono::duration<double>(r.elapsed).count(); seconds > 0) {
      for (stage_report& stage : r.stages) {
        stage.rate = static_cast<double>(stage.kind == stage_kind::sink ? stage.items_in : stage.items_out) / seconds;
      }
    }
    return r;
  }

 private:
  struct state {
    explicit state(Stage&& s) : stage{std::move(s)} {}
    Stage stage;
    detail::pipeline_context context;
    std::atomic<std::int64_t> began{0};  // nanoseconds of the steady clock; 0: not yet
    std::atomic<std::int64_t> ended{0};
  };

  static std::int64_t now() noexcept {
    return std::chrono::nanoseconds{std::chrono::steady_clock::now().time_since_epoch()}.count();
  }

  std::unique_ptr<state> state_;
};

/// The elements of a range: of an lvalue, which must outlive the run, copies; of an rvalue (a container, a view, a generator), which the stream
/// owns, the elements themselves where they are its own.
template <std::ranges::input_range Range>
  requires(!detail::poppable<std::remove_reference_t<Range>>)
[[nodiscard]] auto from(Range&& range) {
  using view = std::views::all_t<Range>;
  constexpr bool owned = !std::is_lvalue_reference_v<Range> && !std::ranges::view<std::remove_cvref_t<Range>>;
  return stream{detail::range_source<view, owned>{std::views::all(std::forward<Range>(range))}};
}

/// What is pushed into a channel, until it is closed and drained. If close() was given an error or an exception, the pipeline fails with it then. An
/// item is taken when the stages behind are ready for it, and not before. If the pipeline fails or is stopped, it closes the channel (what is in it
/// stays there), so that whoever pushes does not wait for ever; at_end::keep leaves it open, for others that read from it.
/// In the same way: what comes out of a receiver, of a subscription to a broadcast, of a ticker, or of whatever has a pop(const wait_limits&) that
/// returns a result. An lvalue must outlive the run; an rvalue is the pipeline's own, and goes away at its end. A subscriber that falls behind
/// fails the pipeline: errc::lagged, errc::disconnected. (To go on after a loss, write a function that pops again.)
template <class Source>
  requires detail::poppable<std::remove_reference_t<Source>>
[[nodiscard]] auto from(Source&& source, at_end end = at_end::close) {
  return stream{detail::channel_source<Source>{std::forward<Source>(source), end == at_end::close}};
}

/// What `next()` returns, a std::optional or the like, until it is empty. Of a result<T> (or what has an error() of that kind), errc::closed is
/// the end, and any other error fails the pipeline. Where next takes a std::stop_token, it gets one that tells when the
/// pipeline ends, so that it can wait for its items.
template <class F>
  requires(!std::ranges::range<std::remove_cvref_t<F>> && !detail::poppable<std::remove_reference_t<F>> &&
           (detail::optional_source<std::decay_t<F>> || detail::stoppable_source<std::decay_t<F>>))
[[nodiscard]] auto from(F&& next) {
  return stream{detail::function_source<std::decay_t<F>>{std::forward<F>(next)}};
}

template <class Stage, detail::stage_operator Op>
[[nodiscard]] auto operator|(stream<Stage>&& s, Op op) {
  if constexpr (requires { typename Op::sink_operator_tag; }) {
    using end = detail::sink_stage<Stage, decltype(op.sink)>;
    return pipeline{end{std::move(s).stage(), std::move(op.name), std::move(op.sink)}};
  } else {
    return stream{std::move(op).attach(std::move(s).stage())};
  }
}

/// A boundary: the items of this stream and of `others`, which have the same type, as they come; each stream runs on a thread of its own, and
/// 64 items at the most are between them and the stage behind.
template <class... Stages>
  requires(sizeof...(Stages) > 0)
[[nodiscard]] auto merge(stream<Stages>... others) {
  return detail::make_step("merge", [... others = std::move(others).stage()](auto&& up, std::string&& name) mutable {
    using Up = std::remove_cvref_t<decltype(up)>;
    static_assert((std::same_as<typename Up::value_type, typename Stages::value_type> && ...),
                  "merge: streams of different types");
    return detail::queue_stage<Up, Stages...>{64, std::move(name), std::move(up), std::move(others)...};
  });
}

template <class Stage>
void describe(const pipeline<Stage>& p, metric_sink& to) {
  describe(p.report(), to);
}

}  // namespace penstock::inline v0_1
