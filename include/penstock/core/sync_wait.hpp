// penstock/core/sync_wait.hpp: from a thread into a coroutine.
//
//   int value = penstock::sync_wait(lookup(cache, key));
//
// Blocks the calling thread until what is awaited has ended, and gives its value or throws its exception. Do not call it on a thread that
// the awaited coroutine needs in order to go on, unless that is a worker of a pool, which runs the pool's coroutines meanwhile
// (worker_pool.hpp): it waits for ever. Nor in a coroutine that a timeout resumed without a scheduler: it runs on the thread of all timers
// (timer_service.hpp); debug builds assert that.
#pragma once

#include <coroutine>
#include <stop_token>
#include <utility>

#include <penstock/core/detail/root.hpp>

namespace penstock::inline v0_1 {

/// Coroutines inside see `stop` as their stop token, and go on wherever they are completed.
template <class Awaitable>
auto sync_wait(Awaitable&& awaitable, std::stop_token stop = {}) -> detail::await_result<Awaitable> {
  // The awaitable lives until this returns, so the coroutine may refer to it.
  using value = detail::await_result<Awaitable>;
  detail::root<value> coroutine = detail::run_root<value, Awaitable&&>(std::forward<Awaitable>(awaitable));
  {
    const detail::blocking_help::about_to_block here;
    coroutine.start(any_scheduler{}, std::move(stop));
  }
  coroutine.wait();
  return coroutine.take();
}

}  // namespace penstock::inline v0_1
