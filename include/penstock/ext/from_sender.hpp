// penstock/ext/from_sender.hpp: a sender of stdexec's, awaited by a coroutine of penstock's.
//
//   penstock::task<report> make(penstock::worker_pool& pool) {
//     auto parts = stdexec::when_all(load(1), load(2)) | stdexec::continues_on(pool.get_scheduler());
//     auto [a, b] = co_await penstock::from_sender(std::move(parts));
//     auto late = co_await (penstock::from_sender(load(3)) | penstock::with_timeout(50ms));       // result<part>
//     ...
//   }
//
// What it gives  what the sender completes with: nothing, a value, or of several a tuple. There must be one way only to complete with values (into_variant).
//                An exception is thrown, and so is an error: a std::error_code as std::system_error, others as they are. set_stopped() is a
//                std::system_error of errc::cancelled, which behind with_timeout is the result errc::timeout.
// Environment    the sender finds the coroutine's stop token, and its scheduler as get_scheduler: `on` and others use it.
// Begins         when it is awaited, once.
// Goes on        on the coroutine's scheduler; without one on the thread that completes the sender.
// Allocation     none: the sender's operation state lies in the coroutine's frame. With a modifier a task's frame and its stop state.
#pragma once

#include <type_traits>
#include <utility>

#include <penstock/ext/detail/awaited_sender.hpp>
#include <penstock/ext/detail/execution_library.hpp>

namespace penstock::inline v0_1 {

inline namespace PENSTOCK_DETAIL_EXECUTION {

/// `co_await from_sender(sender)`.
template <class Sender>
  requires detail::library::sender_in<std::remove_cvref_t<Sender>, detail::coroutine_environment>
[[nodiscard]] auto from_sender(Sender&& sender) {
  return detail::awaited_sender<std::remove_cvref_t<Sender>>{std::forward<Sender>(sender)};
}

}  // namespace PENSTOCK_DETAIL_EXECUTION

}  // namespace penstock::inline v0_1
