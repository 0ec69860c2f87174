// penstock/pool/detail/resource_terms.hpp: what a resource pool was asked for, as its core sees it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>

#include <penstock/core/backoff.hpp>
#include <penstock/core/deadline.hpp>

namespace penstock::inline v0_1 {

template <class T>
struct resource_pool_options;

namespace detail {

/// The options that concern the core, in nanoseconds; 0 means that there is no such limit.
struct resource_terms {
  std::size_t min_idle = 0;
  std::size_t max_size = 1;
  std::size_t max_overflow = 0;
  std::size_t max_waiters = 0;
  std::size_t max_connecting = 1;
  std::int64_t idle_timeout = 0;
  std::int64_t max_lifetime = 0;
  double lifetime_jitter = 0;
  std::uint64_t max_uses = 0;
  std::int64_t validate_after = never;  // never: not on borrow
  std::int64_t keep_alive = 0;
  std::int64_t leak_threshold = 0;
  backoff connect_backoff = {};
  bool lifo = true;
  bool fail_fast = false;
  bool refuse_nested = false;
  bool background = true;  // operations run elsewhere; otherwise on the thread of who acquires

  /// Whether borrowing, or giving back, needs to know the time.
  [[nodiscard]] bool timed_borrow() const noexcept { return validate_after != never || leak_threshold != 0; }
  [[nodiscard]] bool timed_return() const noexcept {
    return idle_timeout != 0 || max_lifetime != 0 || keep_alive != 0 || validate_after != never;
  }
};

/// The options in the core's terms; std::invalid_argument if they make no sense.
template <class T>
resource_terms terms_of(const resource_pool_options<T>& o, bool background) {
  const auto refuse = [](bool bad, const char* what) {
    if (bad) throw std::invalid_argument{what};
  };
  refuse(o.max_size == 0, "penstock::resource_pool: max_size is 0");
  refuse(o.max_connecting == 0, "penstock::resource_pool: max_connecting is 0");
  refuse(o.time_every == 0, "penstock::resource_pool: time_every is 0");
  refuse(o.min_idle > o.max_size, "penstock::resource_pool: min_idle is more than max_size");
  refuse(o.max_overflow > std::numeric_limits<std::size_t>::max() - o.max_size,
         "penstock::resource_pool: max_overflow is too much");
  refuse(!(o.lifetime_jitter >= 0 && o.lifetime_jitter <= 1), "penstock::resource_pool: lifetime_jitter is not between 0 and 1");
  for (const auto length :
       {o.acquire_timeout, o.connect_timeout, o.idle_timeout, o.max_lifetime, o.validate_after, o.keep_alive, o.leak_threshold}) {
    refuse(length.count() < 0, "penstock::resource_pool: a negative duration");
  }
  refuse(o.keep_alive.count() != 0 && !o.validate, "penstock::resource_pool: keep_alive without validate");
  refuse(!background && (o.min_idle != 0 || o.keep_alive.count() != 0),
         "penstock::resource_pool: min_idle and keep_alive need an executor, or a factory that is a coroutine");
  refuse(o.keep_alive.count() != 0 && o.executor.is_inline() && !o.validate.is_coroutine(),
         "penstock::resource_pool: keep_alive needs an executor, or a validate that is a coroutine");
  return {.min_idle = o.min_idle,
          .max_size = o.max_size,
          .max_overflow = o.max_overflow,
          .max_waiters = o.max_waiters,
          .max_connecting = o.max_connecting,
          .idle_timeout = o.idle_timeout.count(),
          .max_lifetime = o.max_lifetime.count(),
          .lifetime_jitter = o.lifetime_jitter,
          .max_uses = o.max_uses,
          .validate_after = o.validate ? o.validate_after.count() : never,
          .keep_alive = o.keep_alive.count(),
          .leak_threshold = o.leak_threshold.count(),
          .connect_backoff = o.connect_backoff,
          .lifo = o.order == decltype(o.order)::lifo,
          .fail_fast = o.fail_fast,
          .refuse_nested = o.nested == decltype(o.nested)::refuse,
          .background = background};
}

}  // namespace detail

}  // namespace penstock::inline v0_1
