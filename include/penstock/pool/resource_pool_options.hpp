// penstock/pool/resource_pool_options.hpp: what a resource pool can be asked for.
//
//   penstock::resource_pool<connection> pool{[] { return connection{"db"}; },
//                                            {.max_size = 20, .validate = [](connection& c) { return c.ping(); }, .executor = workers.get_scheduler()}};
//
// Durations      any unit of std::chrono; 0 means that there is no such limit. All of them are counted by `clock`. A pool that is used all the time
//                looks at the clock now and then: it may count a resource as idle from a sixteenth of its shortest limit later than in truth.
// Who connects   with an executor, the executor: plain functions block one of its threads. Without one, a factory that is a coroutine is begun on
//                whichever thread finds that a resource is needed (the timers' one, too), and goes on where what it awaits resumes it; a plain
//                function is called on the thread of an acquire() that needs a resource, and nowhere else: without another thread nothing can be
//                made in the background, so min_idle and keep_alive are refused then. Nor is keep_alive taken without an executor if validate is a
//                plain function: that would block the timers' thread. A coroutine acquires where it goes on: without a scheduler of its own that may
//                be whichever thread releases, or the timers'.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <source_location>

#include <penstock/core/any_clock.hpp>
#include <penstock/core/backoff.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/core/scheduler.hpp>
#include <penstock/pool/detail/resource_functions.hpp>

namespace penstock::inline v0_1 {

/// Which idle resource is borrowed first.
enum class resource_order : unsigned char {
  lifo,  ///< the one that was used last, or one that is used often: the others get old and go, so that the pool shrinks to what is needed
  fifo,  ///< the one that has rested longest: all are used equally, and none of them long idle
};

/// A blocking acquire() that would have to wait while its thread has a lease of the same pool: two threads that do so can wait for each other.
enum class nested_acquire : unsigned char {
  allow,   ///< it waits
  refuse,  ///< errc::deadlock, at once. A lease counts for the thread that acquired it, even if it was moved to another one
};

/// A lease that is older than resource_pool_options::leak_threshold.
struct resource_leak {
  std::source_location where;  ///< of its acquire
  std::chrono::nanoseconds age{};
};

template <class T>
struct resource_pool_options {
  std::size_t min_idle = 0;   ///< how many idle ones are kept ready, as far as max_size allows; needs a background (above)
  std::size_t max_size = 10;  ///< how many there are, at least 1
  std::size_t max_overflow =
      0;  ///< how many more there may be while callers wait; they go when they are released and nobody waits
  /// Callers that wait for a lease to come back, or, while the resource is down, for the next attempt; the next one gets errc::full. Who waits for
  /// what can be made (or has to be checked first) does not count.
  std::size_t max_waiters = std::numeric_limits<std::size_t>::max();
  /// For acquires that give no deadline of their own. It covers the wait in line, the check and the connect.
  std::chrono::nanoseconds acquire_timeout = std::chrono::seconds{30};
  /// For each connect and each check: a coroutine is asked to stop then; a function is told by connect_request::deadline.
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds{10};
  std::chrono::nanoseconds idle_timeout = std::chrono::minutes{10};  ///< who is idle for longer goes, but for min_idle
  std::chrono::nanoseconds max_lifetime = std::chrono::minutes{30};  ///< who is older goes, as soon as it is idle
  double lifetime_jitter =
      0.1;                     ///< each one's lifetime is shorter by up to this share, so that they do not all go at once; 0 to 1
  std::uint64_t max_uses = 0;  ///< how often each one is leased; 0: without limit
  resource_order order = resource_order::lifo;
  /// `bool(T&)`, or the same as a coroutine, task<bool>(T&): whether it still works. Throwing means no.
  detail::resource_check<T> validate = {};
  std::chrono::nanoseconds validate_after = std::chrono::seconds{1};  ///< on borrow, if it was idle for so long; 0: each time
  std::chrono::nanoseconds keep_alive{0};  ///< idle ones are validated so long after they were last; needs a background
  std::size_t max_connecting = 2;  ///< how many connects (and checks of keep_alive) run at a time; one while the resource is down
  backoff connect_backoff =        ///< before the next connect when one has failed; at least 1 ms
      backoff::exponential(std::chrono::milliseconds{100}, std::chrono::seconds{30}).with_jitter(jitter::equal);
  /// When a connect fails and no other resource is there, those who wait, and who comes before the next attempt, get errc::rejected, at once.
  bool fail_fast = false;
  any_scheduler executor = {};  ///< for connects, checks, destructors of what has aged; outlives the pool. Default: above
  std::chrono::nanoseconds leak_threshold{0};                         ///< leases that are older are told to on_leak, once each
  move_only_function<void(const resource_leak&) const> on_leak = {};  ///< on the thread of the clock's timers; throws nothing
  nested_acquire nested = nested_acquire::allow;
  bool metrics =
      false;  ///< measure what stats() tells of times: two looks at the clock for a lease that is timed, and two for one that waits; 112 KB
  /// With metrics: where leases begin faster than every 2 µs, one in so many is timed, picked by chance, and counts as so many in hold_time. 1: each,
  /// always. At least 1.
  std::uint32_t time_every = 16;
  any_clock clock = {};    ///< outlives the pool. Default: the steady clock
  std::uint64_t seed = 0;  ///< of the jitter; 0: another one for each pool
};

}  // namespace penstock::inline v0_1
