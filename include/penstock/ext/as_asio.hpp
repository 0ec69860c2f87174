// penstock/ext/as_asio.hpp: whatever can be awaited, as an asynchronous operation of Asio's, with any completion token.
//
//   asio::awaitable<void> serve() {
//     co_await penstock::as_asio(permits.async_acquire() | penstock::with_timeout(50ms), asio::use_awaitable);   // throws asio::system_error
//     int order = co_await penstock::as_asio(orders.async_pop(), asio::use_awaitable);
//     …
//   }
//
//   penstock::as_asio(io, orders.async_pop(), [](std::error_code e, int order) { ... });                       // runs on io
//   std::future<void> done = penstock::as_asio(ready.async_wait(), asio::use_future);
//
// The operation begins in this call (with tokens that wait, such as use_awaitable, when they are awaited). Modifiers (core/modifiers.hpp) go with it. What
// the handler gets is in detail/asio_completion.hpp: an error code where a wait of the library's own gives a result, and a std::exception_ptr where
// a task, a future or anything else may throw. ec == errc::timeout, and ec == std::errc::timed_out, tell why; what was
// cancelled is asio::error::operation_aborted.
//
// Associated   the handler runs on its associated executor, or else the one given here, or else the system executor, as if by post: never inside this call, and
//              never inside the call that completes the operation (a release(), a push()). The frame, and the handler's way to the executor, use its
//              allocator; besides, a stop state comes from operator new. A request through its cancellation slot, of whatever kind, is a stop
//              request: waits end with asio::error::operation_aborted and have then taken nothing. As with all of Asio, emit it where the
//              handler would run. (Asio before 1.19 and Boost before 1.77 have no slots.)
// Work         the executor has outstanding work until the handler has run: run() does not return early.
// Tasks        begin in this call, too, and go on wherever what they await is completed: `as_asio(handle(request) | via(pool), token)` runs one on a pool,
//              and `| via(asio_scheduler{io})` on Asio's threads.
// Destruction  of a context (an io_context) while operations are under way for its handlers: it requests stop, waits until they have ended, and
//              destroys the handlers uncalled, as Asio does. Whoever ignores stop requests holds up the destructor.
// Exceptions   if there is no memory, or no thread for a timer, the handler gets that; of what else a wait throws (the pop of a channel that was closed with an
//              exception, async_load() of a batch that failed) errc::exception: await it in a task to get the exception itself. Without memory to bring the handler to its executor the program
//              terminates.
#pragma once

#include <type_traits>
#include <utility>

#include <penstock/ext/detail/asio_completion.hpp>
#include <penstock/ext/detail/asio_library.hpp>
#include <penstock/ext/detail/asio_wait.hpp>

namespace penstock::inline v0_1 {

inline namespace PENSTOCK_DETAIL_ASIO {

/// Awaits `awaitable`, and completes as `token` says.
template <class Awaitable, class Token>
  requires(!std::is_lvalue_reference_v<Awaitable> && detail::awaitable<Awaitable>)
auto as_asio(Awaitable&& awaitable, Token&& token) {
  using signature = typename detail::asio_completion_for<Awaitable>::signature;
  return detail::net::async_initiate<Token, signature>(detail::asio_wait_initiation<detail::net::system_executor>{}, token,
                                                       std::move(awaitable));
}

/// The same, where a handler without an associated executor runs on `where`: an executor, or a context that has get_executor().
template <class Where, class Awaitable, class Token>
  requires(!std::is_lvalue_reference_v<Awaitable> && detail::awaitable<Awaitable>)
auto as_asio(Where&& where, Awaitable&& awaitable, Token&& token) {
  using signature = typename detail::asio_completion_for<Awaitable>::signature;
  if constexpr (requires { where.get_executor(); }) {
    return detail::net::async_initiate<Token, signature>(
        detail::asio_wait_initiation<std::decay_t<decltype(where.get_executor())>>{where.get_executor()}, token,
        std::move(awaitable));
  } else {
    return detail::net::async_initiate<Token, signature>(detail::asio_wait_initiation<std::decay_t<Where>>{where}, token,
                                                         std::move(awaitable));
  }
}

}  // namespace PENSTOCK_DETAIL_ASIO

}  // namespace penstock::inline v0_1
