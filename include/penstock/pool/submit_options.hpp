// penstock/pool/submit_options.hpp: what one submission to a worker pool may say.
//
//   pool.post({.overflow = overflow::drop_oldest}, [&] { show(frame); });
//   auto page = pool.submit([&] { return render(request); }, {.priority = 0, .expires_in = 200ms, .on_expired = [&] { count_late(); }});
//
// When the queue is full  `overflow` decides: the submission's, or else the pool's. A worker never waits for room in its own pool, so that a pool of
//                one with room for one goes on under each of them:
//
//                | policy      | from outside                                | from a worker of the pool, or inside a task of it            |
//                |-------------|---------------------------------------------|--------------------------------------------------------------|
//                | wait        | waits for room (errc::timeout by `limits`   | runs the task itself, at once; `limits` end nothing, but a   |
//                |             | or the pool's room_timeout, errc::cancelled | stop that was requested before refuses it                    |
//                |             | by `limits`)                                |                                                              |
//                | reject      | errc::rejected                              | errc::rejected                                               |
//                | caller_runs | runs the task itself, at once               | runs the task itself, at once                                |
//                | drop_oldest | the oldest queued task is dropped for it    | the same                                                     |
//                | drop_lowest | the least urgent queued task is dropped for | the same                                                     |
//                |             | it, or, if that is itself, errc::rejected   |                                                              |
//
//                "At once" is one task inside another, 32 deep; then up to queue_capacity tasks are kept until the outermost one has returned, and
//                what comes beyond that is run at once again. A worker that submits has its own lane first, so that "full" means full both there and
//                where tasks from outside lie; what is dropped lies in the latter.
// Dropped        a task's future gets errc::rejected; a posted task is destroyed, on the submitter's thread and under no lock. Counted: dropped().
// Priorities     a pool has as many as worker_pool_options::priorities says. 0 is the most urgent. Tasks of one priority begin in their order. So
//                that the others get on, too, each priority passes every sixteenth of its turns on to the next one that waits. A task of priority k
//                that finds p of its own before it is taken out after fewer than (p + p / 15 + 2) 16^k others: two turns of a priority have fewer
//                than 16^k of others between them, and one of sixteen is passed on. Who waits for room stands in one line, whatever the
//                priority.
// Expiry         a task that would begin at its latest start, or after it, is not run: on_expired is called where the task would have run, under no
//                lock, and then the future gets errc::timeout. Counted: expired(). It holds its place in the queue until then. What on_expired
//                throws goes to the pool's on_error, and is counted as a failure.
// Cost           what is not asked for costs nothing. A posted task that may expire is allocated, and so is the expiry of a submitted one. With
//                priorities all tasks go through the pool's lock, also those that its workers submit.
#pragma once

#include <chrono>
#include <optional>

#include <penstock/core/clock.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/sync.hpp>
#include <penstock/core/move_only_function.hpp>

namespace penstock::inline v0_1 {

/// What a pool does with a task when its queue is full; above, in full.
enum class overflow : unsigned char {
  wait,         ///< the submitter waits for room
  reject,       ///< the submission fails with errc::rejected
  caller_runs,  ///< the submitter runs the task itself
  drop_oldest,  ///< the task that has waited longest is dropped
  drop_lowest,  ///< the least urgent task is dropped: of the lowest priority the newest. Without priorities that is the one that comes
};

namespace detail {

/// A length of time in any unit. What overflows means for ever.
class timeout_length {
 public:
  constexpr timeout_length() noexcept = default;
  template <class Rep, class Period>
  constexpr timeout_length(std::chrono::duration<Rep, Period> length) noexcept : length_{saturating_nanoseconds(length)} {}

  [[nodiscard]] constexpr bool is_for_ever() const noexcept { return length_.count() == never; }
  [[nodiscard]] constexpr std::chrono::nanoseconds length() const noexcept { return length_; }

 private:
  std::chrono::nanoseconds length_{never};
};

}  // namespace detail

struct submit_options {
  std::optional<penstock::overflow> overflow = {};  ///< default: worker_pool_options::overflow
  /// End the wait for room; without a deadline worker_pool_options::room_timeout does. A stop that was requested before refuses the task anyway.
  wait_limits limits = {};
  std::optional<unsigned> priority = {};  ///< below the pool's priorities(); default: the middle one, priorities() / 2
  deadline start_before = {};             ///< the latest start, by any clock; default: never
  /// The same as a length of time from the submission on, by the pool's clock, in any unit: `50ms`. One of the two at most.
  detail::timeout_length expires_in = {};
  move_only_function<void()> on_expired = {};  ///< called when the task has expired
};

}  // namespace penstock::inline v0_1
