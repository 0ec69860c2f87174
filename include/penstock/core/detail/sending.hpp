// penstock/core/detail/sending.hpp: what waits, tasks and schedulers have so that they are senders and schedulers of std::execution, too.
//
// Declarations only: ext/execution.hpp defines what stands behind them. Who does not include it pays nothing.
#pragma once

namespace penstock::inline v0_1 {

namespace execution {

// By these an operation state and a scheduler say what they are. An implementation of std::execution asks whether they derive from its own tags, so the
// header that joins penstock with it (ext/stdexec.hpp or a like one) defines them; elsewhere they are never complete. A name that is declared only is the
// same in every source of a program, whichever of them include that header.
struct operation_state_tag;
struct scheduler_tag;

}  // namespace execution

namespace detail {

/// The operation state of `Operation`, connected with a receiver.
template <class Operation, class Receiver>
class connected_sender;

/// What a `Who` tells whoever asks it by an object of type `Query`, as std::execution does; its function is of(const Who&).
template <class Who, class Query>
struct query_answer;

/// How an `Operation` completes, as `type`, in an implementation's own words. Without it an implementation takes the operation as what it is, an awaitable.
template <class Operation>
struct stated_completions;

template <class Who, class Query>
concept has_answer = requires(const Who& who) { query_answer<Who, Query>::of(who); };

/// A base of operations that can be awaited once: `std::move(operation).connect(receiver)`, then start(), in place of `co_await`.
template <class Operation>
struct sending {
  template <class Receiver>
  connected_sender<Operation, Receiver> connect(Receiver receiver) && {
    return connected_sender<Operation, Receiver>{static_cast<Operation&&>(*this), static_cast<Receiver&&>(receiver)};
  }
};

/// The attributes of what `Scheduler` schedules.
template <class Scheduler>
struct scheduled_attributes {
  template <class Query, class... Environment>
    requires has_answer<scheduled_attributes, Query>
  [[nodiscard]] auto query(const Query&, const Environment&...) const noexcept {
    return query_answer<scheduled_attributes, Query>::of(*this);
  }
  Scheduler to;
};

}  // namespace detail

}  // namespace penstock::inline v0_1
