// penstock/ext/use_task.hpp: a completion token with which coroutines of penstock's await operations of Asio's.
//
//   penstock::task<> echo(asio::ip::tcp::socket client) {
//     char bytes[4096];
//     for (;;) {
//       auto got = co_await (client.async_read_some(asio::buffer(bytes), penstock::use_task) | penstock::with_timeout(30s));
//       if (!got) co_return;                                                  // result<std::size_t>: got.error() == errc::timeout
//       auto sent = co_await asio::async_write(client, asio::buffer(bytes, *got), penstock::use_task);
//       if (!sent) co_return;
//     }
//   }
//
// What it gives  of void(error_code): result<void>; of void(error_code, T): result<T>, of more: result<std::tuple<T, U>>. The same without an error code:
//                void, T, std::tuple<T, U>. With a std::exception_ptr it throws that instead. A handler that is destroyed uncalled
//                gives errc::broken_promise, as an error code or in a std::system_error, and so does the end of the context, as soon as its
//                destruction begins. (Nothing runs there then that could use a buffer; with io_uring let it outlive the socket.)
// Begins         when it is awaited, on the awaiting thread: as always, one that may use the socket then.
// Goes on        on the coroutine's scheduler; without one on Asio's thread. with_timeout, with_deadline and with_stop can be put on it.
// Cancellation   a stop request becomes a cancellation signal, which is emitted on the executor of the socket (or timer), not on the requesting
//                thread; what Asio ends with asio::error::operation_aborted gives errc::cancelled, and errc::timeout behind with_timeout. A composed
//                operation (async_read, async_write) in an io_context that several threads run needs a strand for that, as any use of its socket does.
//                If stop was requested before it begins, it does not: errc::cancelled. Asio before 1.19 and Boost before 1.77 have no
//                signals: there the operation goes on after a stop request until it ends by itself, or somebody calls cancel() on the socket.
// Thread safety  what it gives belongs to one coroutine.
// Allocation     one piece, which joins the handler with the coroutine, besides Asio's own.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include <penstock/ext/detail/asio_awaiting.hpp>
#include <penstock/ext/detail/asio_library.hpp>

namespace penstock::inline v0_1 {

inline namespace PENSTOCK_DETAIL_ASIO {

/// A completion token: `co_await timer.async_wait(penstock::use_task)`.
struct use_task_t {};
inline constexpr use_task_t use_task{};

}  // namespace PENSTOCK_DETAIL_ASIO

}  // namespace penstock::inline v0_1

template <class... Arguments>
class penstock::detail::net::async_result<penstock::use_task_t, void(Arguments...)> {
 public:
  template <class Initiation, class... InitiationArguments>
  static auto initiate(Initiation&& initiation, penstock::use_task_t, InitiationArguments&&... arguments) {
    using operation = penstock::detail::asio_awaiting<void(std::decay_t<Arguments>...), std::decay_t<Initiation>,
                                                      std::decay_t<InitiationArguments>...>;
    return operation{std::forward<Initiation>(initiation), std::forward<InitiationArguments>(arguments)...};
  }
};
