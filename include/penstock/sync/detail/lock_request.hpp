// penstock/sync/detail/lock_request.hpp: a wait for permits of a semaphore that ends with one of std's lock guards.
#pragma once

#include <cstddef>
#include <mutex>

#include <penstock/core/result.hpp>
#include <penstock/sync/semaphore.hpp>

namespace penstock::inline v0_1::detail {

/// A guard that owns what was acquired, or why it was not.
template <class Guard>
result<Guard> adopt_if(const result<void>& acquired, typename Guard::mutex_type& mutex) {
  if (!acquired) return acquired.error();
  return Guard{mutex, std::adopt_lock};
}

template <class Sync, class Guard>
struct lock_request : basic_semaphore<Sync>::request {
  using mutex_type = typename Guard::mutex_type;

  lock_request(mutex_type* m, std::ptrdiff_t permits) noexcept : basic_semaphore<Sync>::request{permits}, mutex{m} {}
  result<Guard> take_result(outcome decided) { return adopt_if<Guard>(to_result(decided), *mutex); }

  mutex_type* mutex;
};

/// The lazy operation: `co_await` gives a result<Guard>.
template <class Guard, class Sync>
auto async_lock_of(basic_semaphore<Sync>& permits, typename Guard::mutex_type& mutex, std::ptrdiff_t n) {
  using mutex_type = typename Guard::mutex_type;
  return async_operation<basic_semaphore<Sync>, lock_request<Sync, Guard>, mutex_type*, std::ptrdiff_t>{permits, &mutex, n};
}

}  // namespace penstock::inline v0_1::detail
