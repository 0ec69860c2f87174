// penstock/pool/resource_pool.hpp: connections, and other things that are expensive to make, shared by many callers.
//
//   penstock::resource_pool<connection> connections{[] { return connection{"db"}; }, {.max_size = 20, .validate = &connection::ping}};
//   if (auto c = connections.acquire()) (*c)->query("select 1");    // a lease: goes back at the end of the scope
//   auto c = co_await (connections.async_acquire() | penstock::with_timeout(50ms));
//
// What it does   A resource is made when somebody needs one and none is idle, up to max_size + max_overflow; otherwise callers stand in line.
//                Those that are idle for too long, too old, used up, broken or no longer valid go, and are replaced when they are needed, or, to keep
//                min_idle of them ready, at once. resource_pool_options.hpp says who connects, and has the defaults.
// Deadline       one for each acquire, from its call: it covers the line, the check and the connect. A connect that takes longer goes on, and what it
//                makes goes to the pool. On the caller's own thread (no executor) a function that blocks for longer keeps the caller for longer;
//                its connect_request::deadline tells it when to give up.
// When connects fail  Callers wait on, until their deadline (or get errc::rejected: fail_fast). There is one attempt at a time, after connect_backoff;
//                last_connect_error() says why.
// Invariants     Resources that are there, or being made or destroyed, are never more than max_size + max_overflow. A resource that exists is idle, leased,
//                being checked or being destroyed, and has one user at a time: created == in_use + idle + checking + discarded (stats()).
// Fairness       in the order of arrival in the line; nobody overtakes. A caller polls for a while before it takes its place: some 30 µs, or where
//                others want the processors one yield to them.
// Thread safety  every member may be called concurrently. The factory is called by as many threads at a time as max_connecting says, and validate by
//                more: both are const in spirit. Neither runs under a lock, and nor does T's destructor: all of them may use the pool.
// Coroutines     use async_acquire(). One that blocks its thread in acquire() holds up the coroutines that go on on that thread, connects among them. So
//                does a task that blocks the only thread of the pool's executor: nobody is left to connect, and it gets errc::timeout.
// Cancellation   a wait that is stopped or times out takes nothing; a resource that was granted before stays granted.
// Destruction    closes the pool, waits until the last lease is back and what runs in the background has ended (connects are asked to stop), and
//                destroys everything. Nobody may be in an acquiring member then, and not on a thread that these need in order to end.
// Exceptions     what the factory throws, or returns as an error, is a failed connect. T must not throw from its destructor.
// Cost           acquire and release of an idle resource: one compare-exchange each, while nothing else is going on in the pool; without a lock and a
//                look at the clock. That goes for 56 resources at a time, for order lifo, and where no limit in time is below half a second
//                (validate_after counts if there is a validate), leases are not watched (leak_threshold, nested_acquire::refuse), and somebody uses the pool
//                all the time. Otherwise a short lock each, and mostly a look at the clock. Whatever takes the lock looks at each idle one.
//                Waiting does not allocate; connecting does: the resource's place, and in the background a coroutine frame.
// Fork           a child of fork() must not use the pool: its timers, and most of the connections, are the parent's.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <source_location>
#include <stdexcept>
#include <stop_token>
#include <type_traits>
#include <utility>

#include <penstock/core/modifiers.hpp>
#include <penstock/core/result.hpp>
#include <penstock/pool/detail/resource_engine.hpp>
#include <penstock/pool/detail/resource_wait.hpp>
#include <penstock/pool/resource_lease.hpp>
#include <penstock/pool/resource_pool_options.hpp>
#include <penstock/pool/resource_pool_stats.hpp>

namespace penstock::inline v0_1 {

template <class, class, class, class>
class keyed_resource_pool;

template <class T>
class resource_pool {
  static_assert(std::is_object_v<T> && !std::is_array_v<T> && std::is_nothrow_destructible_v<T>,
                "a pool holds objects whose destructors do not throw");

 public:
  using lease = resource_lease<T>;
  using options = resource_pool_options<T>;

  /// `factory` returns a T, or a result<T>, or is a coroutine: a task<T> or task<result<T>>. It may take a const connect_request&.
  /// Throws std::invalid_argument if the options make no sense, std::system_error if the thread of the clock's timers cannot be started.
  template <class Factory>
    requires std::is_constructible_v<detail::resource_factory<T>, Factory>
  explicit resource_pool(Factory&& factory, options o = {})
      : engine_{detail::resource_factory<T>(std::forward<Factory>(factory)), std::move(o)} {}
  resource_pool(const resource_pool&) = delete;
  resource_pool& operator=(const resource_pool&) = delete;

  /// Waits for a resource, for acquire_timeout at the longest. errc::timeout after that; errc::closed; errc::full if max_waiters wait;
  /// errc::rejected (fail_fast); errc::deadlock (nested_acquire::refuse).
  result<lease> acquire(std::source_location where = std::source_location::current()) { return engine_.acquire({}, {}, where); }
  /// Also ends when stop is requested, with errc::cancelled; at once, and without a resource, if it was before the call.
  result<lease> acquire(const std::stop_token& stop, std::source_location where = std::source_location::current()) {
    return engine_.acquire(stop, {}, where);
  }
  /// The same with a deadline by any clock, in place of acquire_timeout. What is idle is taken even if it has passed.
  result<lease> acquire(const wait_limits& limits, std::source_location where = std::source_location::current()) {
    return engine_.acquire(limits.stop, limits.deadline, where);
  }
  /// Never waits and makes nothing: errc::empty if none is idle. Without an executor it may have to check an idle one, here; with one,
  /// the check is begun, and a later call may find it done: it counts for half a second, or for validate_after if that is longer.
  result<lease> try_acquire(std::source_location where = std::source_location::current()) { return engine_.try_acquire(where); }
  /// Waits at the most for `timeout`, by the pool's clock.
  template <class Rep, class Period>
  result<lease> try_acquire_for(std::chrono::duration<Rep, Period> timeout,
                                std::source_location where = std::source_location::current()) {
    return engine_.acquire({}, engine_.clock().after(timeout), where);
  }
  result<lease> try_acquire_until(deadline until, std::source_location where = std::source_location::current()) {
    return engine_.acquire({}, until, where);
  }
  /// `co_await p.async_acquire()` is a result<lease>; observes the coroutine's stop token; takes with_timeout, with_stop and via.
  auto async_acquire(std::source_location where = std::source_location::current()) {
    return detail::resource_operation<T>{engine_, where};
  }

  /// No leases from now on: who waits gets errc::closed, idle resources are destroyed, leased ones when they come back. Idempotent.
  void close() noexcept { engine_.close(); }
  [[nodiscard]] bool is_closed() const noexcept { return engine_.is_closed(); }
  /// Closes the pool and waits until nothing is left of it: no lease, no connect. errc::timeout or errc::cancelled by `limits`.
  result<void> drain(const wait_limits& limits = {}) {
    close();
    return detail::to_result(
        detail::blocking_wait<detail::basic_join<>, detail::plain_node<detail::std_sync>>{engine_.live()}.run(limits.stop,
                                                                                                              limits.deadline));
  }
  /// The same for a coroutine. Closes the pool at once, even if it is not awaited.
  auto async_drain() noexcept {
    close();
    return detail::async_operation<detail::basic_join<>, detail::plain_node<detail::std_sync>>{engine_.live()};
  }

  /// None of the present resources is leased again, nor what a connect makes that runs now: after a failover.
  void evict_all() noexcept { engine_.evict_all(); }
  /// Sets what the options of these names said. What is too much goes, idle ones now, leased ones when they come back. Throws as the constructor;
  /// then nothing has changed.
  void resize(std::size_t min_idle, std::size_t max_size, std::size_t max_overflow = 0) {
    if (max_size == 0 || min_idle > max_size || max_overflow > static_cast<std::size_t>(-1) - max_size ||
        (min_idle != 0 && !engine_.terms().background)) {
      throw std::invalid_argument{"penstock::resource_pool: resize to what makes no sense"};
    }
    engine_.resize(min_idle, max_size, max_overflow);
  }

  /// Whether anybody has a lease or waits for one, or a connect or a check is under way.
  [[nodiscard]] bool is_used() const noexcept { return engine_.is_used(); }
  /// Throws std::bad_alloc with metrics.
  [[nodiscard]] resource_pool_stats stats() const { return engine_.stats(); }
  /// What the last connect that failed threw, also if others have succeeded since; null: none has.
  [[nodiscard]] std::exception_ptr last_connect_error() const noexcept { return engine_.last_error(); }

 private:
  template <class, class, class, class>
  friend class keyed_resource_pool;
  detail::resource_engine<T> engine_;
};

}  // namespace penstock::inline v0_1
