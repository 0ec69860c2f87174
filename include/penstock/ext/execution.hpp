// penstock/ext/execution.hpp: penstock's waits, tasks and schedulers as senders and schedulers, by the members of C++26's std::execution. Needs no
// implementation of it; ext/stdexec.hpp, beman_execution.hpp and std_execution.hpp each join them with one.
//
//   struct notify {                                                       // a receiver: what happens then
//     using receiver_concept = penstock::execution::receiver_tag;
//     void set_value(penstock::result<order> o) noexcept;                 // what co_await would give
//     void set_error(std::exception_ptr why) noexcept;                    // what co_await would throw
//     void set_stopped() noexcept;                                        // stop was requested, in place of errc::cancelled
//   };
//
//   auto operation = orders.async_pop().connect(notify{});                // orders is a penstock::channel<order>
//   operation.start();
//
// Senders      every async_…() of the library with its modifiers, tasks, futures, what spawn() gave: whatever has connect(). Also what schedule() of a
//              scheduler gives, of worker_pool::get_scheduler() for example: it completes there. connect() takes from the sender, which must be an rvalue.
// Completion   exactly one, once. set_value gets what co_await would give: a result with its errors, closed and timeout among them, for those are
//              outcomes of a wait that the one who waits decides upon. But errc::cancelled, as the error of a result or thrown as a std::system_error, is
//              set_stopped(); other exceptions are set_error(std::exception_ptr). What can be had at once completes inside start().
// Stop         through the token that the receiver's environment gives: `env.query(penstock::execution::get_stop_token)`, a std::stop_token or
//              any other that has `callback_type<F>`. with_stop() replaces it. Requested before start(), nothing is taken or begun. Requested later, a
//              wait ends as one in a coroutine does, perhaps inside the request. A task is told, and waited for.
// Where        on the thread that completes what is waited for (the one that releases, pushes, requests stop, or that of the timers), behind what it
//              resumes already. With `| via(pool)` there. Who pushes with a lock held may meet its own receiver: say via().
// Schedulers   schedule() completes on the context; with set_stopped() if stop was requested, or on the calling thread if no thread of the context is left
//              (a pool that was shut down). They answer get_forward_progress_guarantee, and the sender's attributes get_completion_scheduler.
// Lifetime     an operation state is not moved. It is destroyed before start(), or when its receiver was told: inside that call is soon enough. What is
//              waited for, as ever, outlives the wait.
// Allocation   a wait allocates nothing. One of a limiter, a select and async_load() take a stop state if the token is neither a std::stop_token nor
//              unstoppable. A task needs a second frame for its receiver, which connect() allocates, and the same stop state.
// Blocking     do not block inside a coroutine or a receiver until another one has been told: that one may be queued behind it on this thread.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include <penstock/core/scheduler.hpp>
#include <penstock/ext/detail/connected_coroutine.hpp>
#include <penstock/ext/detail/connected_schedule.hpp>
#include <penstock/ext/detail/connected_wait.hpp>
#include <penstock/ext/detail/execution_queries.hpp>
#include <penstock/ext/detail/execution_signatures.hpp>

namespace penstock::inline v0_1 {

namespace execution {

/// A receiver names it, or that of an implementation of std::execution, as its receiver_concept.
struct receiver_tag {};

template <class R>
concept receiver =
    std::move_constructible<std::remove_cvref_t<R>> && std::is_nothrow_move_constructible_v<std::remove_cvref_t<R>> &&
    requires { typename std::remove_cvref_t<R>::receiver_concept; };

template <class O>
concept operation_state =
    std::destructible<O> && std::derived_from<typename O::operation_state_concept, operation_state_tag> && requires(O& o) {
      { o.start() } noexcept;
    };

/// The ways in which S completes.
template <class S>
using completion_signatures_of_t = typename detail::signatures_of<std::remove_cvref_t<S>>::type;

template <class S>
concept sender = std::move_constructible<std::remove_cvref_t<S>> && requires { typename completion_signatures_of_t<S>; };

/// A receiver that can be told of each of these completions.
template <class R, class Completions>
concept receiver_of = receiver<R> && detail::takes_all<std::remove_cvref_t<R>, Completions>::value;

template <class S, class R>
concept sender_to = sender<S> && receiver_of<R, completion_signatures_of_t<S>> && requires(S&& s, R&& r) {
  { std::forward<S>(s).connect(std::forward<R>(r)) } -> operation_state;
};

/// A scheduler in the sense of std::execution; every penstock::scheduler in an any_scheduler is one.
template <class S>
concept scheduler = std::derived_from<typename std::remove_cvref_t<S>::scheduler_concept, scheduler_tag> &&
                    std::copyable<std::remove_cvref_t<S>> && std::equality_comparable<std::remove_cvref_t<S>> && requires(S&& s) {
                      { std::forward<S>(s).schedule() } -> sender;
                    };

}  // namespace execution

}  // namespace penstock::inline v0_1
