// penstock/stream/operators.hpp: the stages that a pipeline is made of; pipeline.hpp says how they go together.
//
//   auto p = from(lines(path)) | filter(not_empty) | batch(500) | buffer(4) | parallel_map(pool, 8, parse) | named("store", to(insert));
//
// Threads        map, filter, flat_map, batch, throttle, tee and to run on the thread of the stage that takes from them: together they are one
//                loop. buffer, merge and parallel_map are boundaries: what stands before one runs on a thread of its own.
// Functions      are moved or copied into the stage (std::ref shares one) and called by one thread at a time, but for that of parallel_map.
//                They get items as rvalues, and predicates and tee as const lvalues. What they throw ends the pipeline and comes out of run().
// Memory         what each stage may hold is said with it; nothing grows with the length of the stream.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <penstock/channel/channel.hpp>
#include <penstock/core/acquirable.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/stream/detail/fused_stages.hpp>
#include <penstock/stream/detail/parallel_stage.hpp>
#include <penstock/stream/detail/queue_stages.hpp>
#include <penstock/stream/detail/sinks.hpp>

namespace penstock::inline v0_1 {

/// In which order results come out of parallel_map.
enum class delivery : unsigned char {
  ordered,    ///< in that of the items; a slow item holds those behind it up
  unordered,  ///< as they finish
};

/// What becomes of a channel at an end of a pipeline when the pipeline has ended.
enum class at_end : unsigned char {
  close,  ///< whoever reads from it sees the end: errc::closed if it is a regular one, otherwise what the pipeline failed with
          ///< Whoever pushes into that of from() gets errc::closed, if the pipeline failed or was stopped.
  keep,   ///< others go on using it
};

namespace detail {

template <class Op>
concept stage_operator = requires { typename std::remove_cvref_t<Op>::stage_operator_tag; };

/// What stands to the right of a `|`. Make is called with the stage before it and the name.
template <class Make>
struct inner_step {
  using stage_operator_tag = void;
  std::string name;
  Make make;

  template <class Up>
  auto attach(Up&& up) && {
    return std::move(make)(std::move(up), std::move(name));
  }
};
template <class Make>
inner_step<Make> make_step(const char* name, Make make) {
  return {name, std::move(make)};
}

inline std::size_t checked_count(std::size_t n, const char* what) {
  if (n == 0) throw std::invalid_argument{std::string{"penstock::"} + what + ": 0"};
  return n;
}

template <class Target>
auto sink_of(Target&& target, at_end end) {
  using plain = std::remove_cvref_t<Target>;
  if constexpr (pushable<std::remove_reference_t<Target>> || publishable<std::remove_reference_t<Target>>) {
    return channel_sink<Target>{std::forward<Target>(target), end == at_end::close};
  } else if constexpr (std::weakly_incrementable<plain>) {
    return iterator_sink<plain>{std::forward<Target>(target)};
  } else {
    return function_sink<std::decay_t<Target>>{std::forward<Target>(target)};
  }
}

template <class Sink>
struct sink_step {
  using stage_operator_tag = void;
  using sink_operator_tag = void;
  std::string name;
  Sink sink;
};

}  // namespace detail

/// The same stage under a name of your choice, for the report: `named("parse", map(parse))`.
template <detail::stage_operator Op>
[[nodiscard]] Op named(std::string name, Op op) {
  op.name = std::move(name);
  return op;
}

/// One item for each item: f(item).
template <class F>
[[nodiscard]] auto map(F f) {
  return detail::make_step("map", [f = std::move(f)](auto&& up, std::string&& name) mutable {
    return detail::map_stage<std::remove_cvref_t<decltype(up)>, F>{std::move(up), std::move(name), std::move(f)};
  });
}

/// The items of which keep(item) holds.
template <class P>
[[nodiscard]] auto filter(P keep) {
  return detail::make_step("filter", [p = std::move(keep)](auto&& up, std::string&& name) mutable {
    return detail::filter_stage<std::remove_cvref_t<decltype(up)>, P>{std::move(up), std::move(name), std::move(p)};
  });
}

/// All elements of the range f(item) (a container, a view, a generator), one after the other. An item lives as long as its range is being passed,
/// so that the range may refer to it.
template <class F>
[[nodiscard]] auto flat_map(F f) {
  return detail::make_step("flat_map", [f = std::move(f)](auto&& up, std::string&& name) mutable {
    return detail::flat_map_stage<std::remove_cvref_t<decltype(up)>, F>{std::move(up), std::move(name), std::move(f)};
  });
}

/// Vectors of `n` items; the last one may be shorter, none is empty. Throws std::invalid_argument if n is 0.
[[nodiscard]] inline auto batch(std::size_t n) {
  return detail::make_step("batch", [n = detail::checked_count(n, "batch")](auto&& up, std::string&& name) {
    const auto never = [] { return deadline{}; };
    return detail::batch_stage<std::remove_cvref_t<decltype(up)>, decltype(never)>{std::move(up), std::move(name), n, never};
  });
}

/// Vectors of up to `n` items: a batch goes on when it is full, or when `linger` has passed since its first item was taken; with what is there by
/// then. Needs a stage before it that can wait for a limited time; where that is no channel or boundary, a buffer(n) is put in between.
/// `c` must outlive the run.
template <class Rep, class Period, clock Clock>
[[nodiscard]] auto batch(std::size_t n, std::chrono::duration<Rep, Period> linger, Clock& c) {
  return detail::make_step("batch", [n = detail::checked_count(n, "batch"), linger, &c](auto&& up, std::string&& name) {
    const auto until = [linger, &c] { return deadline::after(linger, c); };
    using Up = std::remove_cvref_t<decltype(up)>;
    if constexpr (detail::timed_stage<Up>) {
      return detail::batch_stage<Up, decltype(until)>{std::move(up), std::move(name), n, until};
    } else {
      using queue = detail::queue_stage<Up>;
      return detail::batch_stage<queue, decltype(until)>{queue{n, "buffer", std::move(up)}, std::move(name), n, until};
    }
  });
}
/// By the steady clock.
template <class Rep, class Period>
[[nodiscard]] auto batch(std::size_t n, std::chrono::duration<Rep, Period> linger) {
  static constexpr std::chrono::steady_clock steady{};
  return batch(n, linger, steady);
}

/// Each item waits for its turn. The limiter must outlive the run. An error of its own ends the pipeline, and is what run() returns.
template <acquirable Limiter>
[[nodiscard]] auto throttle(Limiter& l) {
  return detail::make_step("throttle", [&l](auto&& up, std::string&& name) {
    return detail::throttle_stage<std::remove_cvref_t<decltype(up)>, Limiter>{std::move(up), std::move(name), l};
  });
}

/// A boundary: what stands before it runs on a thread of its own and may be up to `n` items ahead. Throws std::invalid_argument if n is 0.
[[nodiscard]] inline auto buffer(std::size_t n) {
  return detail::make_step("buffer", [n = detail::checked_count(n, "buffer")](auto&& up, std::string&& name) {
    return detail::queue_stage<std::remove_cvref_t<decltype(up)>>{n, std::move(name), std::move(up)};
  });
}

/// A boundary: f(item) on the pool, for up to `n` items at a time; `n` items at the most are taken and not delivered. f is called by several
/// threads at once. A thread of the pipeline's feeds the pool, so a full pool that lets submitters wait holds this pipeline back, and a
/// pool that refuses (closed, rejected) or drops its tasks ends it: run() throws std::system_error. The pool must outlive the run, and run() on one of
/// its own workers is errc::deadlock. (If all workers wait for this pipeline in a roundabout way, by what another thread does for them, that is not
/// seen: only a deadline or a stop ends it.) Throws std::invalid_argument if n is 0.
template <class F>
[[nodiscard]] auto parallel_map(worker_pool& pool, std::size_t n, F f, delivery order = delivery::ordered) {
  return detail::make_step("parallel_map", [&pool, n = detail::checked_count(n, "parallel_map"), f = std::move(f), order](
                                               auto&& up, std::string&& name) mutable {
    return detail::parallel_stage<std::remove_cvref_t<decltype(up)>, F>{std::move(up), std::move(name),           pool, n,
                                                                        std::move(f),  order == delivery::ordered};
  });
}

/// Every item goes to `target`, too: a function gets it as const T&, others, as in to(), a copy. A channel without room makes
/// the pipeline wait. A channel that somebody closes ends the pipeline: run() returns errc::closed. It is closed as soon as the last item is in it, so
/// what reads from it may be a stream that is merged into the same pipeline.
template <class Target>
[[nodiscard]] auto tee(Target&& target, at_end end = at_end::close) {
  return detail::make_step("tee", [sink = detail::sink_of(std::forward<Target>(target), end)](auto&& up,
                                                                                              std::string&& name) mutable {
    return detail::tee_stage<std::remove_cvref_t<decltype(up)>, decltype(sink)>{std::move(up), std::move(name), std::move(sink)};
  });
}

/// The end of a pipeline: a function, an output iterator, a channel, a sender or a broadcast gets every item, on the thread that calls run(). A channel
/// that somebody closes ends the pipeline: run() returns errc::closed. A sender that is moved in is the pipeline's own: when all went well
/// it is given up and not closed, so that the channel lives on while there are other senders.
template <class Target>
[[nodiscard]] auto to(Target&& target, at_end end = at_end::close) {
  auto sink = detail::sink_of(std::forward<Target>(target), end);
  return detail::sink_step<decltype(sink)>{"to", std::move(sink)};
}

}  // namespace penstock::inline v0_1
