// penstock/core/detail/carried_context.hpp: the trace context of a coroutine that is suspended lies in its promise.
//
// A coroutine is suspended in one place at a time, so there is one for each, however many waits are in its frame. It is captured where the coroutine
// suspends, or is about to begin, if somebody traces; and set around its resumption. Promises of others than this library do not have it: nothing is carried.
#pragma once

#include <coroutine>

#include <penstock/core/detail/observers.hpp>
#include <penstock/core/trace_context.hpp>

namespace penstock::inline v0_1::detail {

/// A base of promises.
struct traced_promise {
  carried_trace suspended_trace;
};

template <class Promise>
inline constexpr bool carries_trace = requires(Promise& p) { p.suspended_trace.capture(); };

/// Whether resume_traced() is to resume it. It is about to suspend, or to begin.
template <class Promise>
[[nodiscard]] bool capture_trace(std::coroutine_handle<Promise> coroutine) noexcept {
  if constexpr (carries_trace<Promise>) {
    if (observers::trace()) [[unlikely]] {
      coroutine.promise().suspended_trace.capture();
      return true;
    }
  }
  return false;
}

template <class Promise>
void resume_traced(std::coroutine_handle<> erased) {
  if constexpr (carries_trace<Promise>) {
    const auto coroutine = std::coroutine_handle<Promise>::from_address(erased.address());
    const trace_scope here{coroutine.promise().suspended_trace.context};
    coroutine.resume();  // its frame may be gone afterwards
  }
}

}  // namespace penstock::inline v0_1::detail
