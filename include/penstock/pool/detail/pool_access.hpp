// penstock/pool/detail/pool_access.hpp: what fork-join algorithms (combine/) ask of a worker pool.
//
// A job lies in the frame of who forks it, who waits for its end before that frame goes: so jobs are parts of a piece of work, and the pool does not
// count them. Each worker has a lane of them, from whose new end it takes back its own; the others steal the oldest, when they have nothing else to
// do and, by steal_fork(), while they wait for a job that was stolen from them.
//
//   auto* const me = pool_access::here(pool);
//   if (me == nullptr || !pool_access::fork(pool, *me, job)) return both_here();
//   g();
//   if (pool_access::unfork(*me) == &job) …   // not stolen: run it here; otherwise wait for it
//
// Thread safety  fork() and unfork() are for the slot's own worker, the others for all.
#pragma once

#include <cstddef>

#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1::detail {

struct pool_access {
  using slot = worker_pool::queue::slot;

  /// The calling thread's, if it is one of the pool's workers; or null.
  [[nodiscard]] static slot* here(const worker_pool& pool) noexcept { return pool.slot_here(); }
  [[nodiscard]] static std::size_t index(const slot& s) noexcept { return s.index; }
  /// How many there are, numbered from 0.
  [[nodiscard]] static std::size_t slots(const worker_pool& pool) noexcept { return pool.thread_count_; }
  [[nodiscard]] static slot& slot_of(worker_pool& pool, std::size_t index) noexcept { return pool.queue_.slot_of(index); }

  /// Offers a job to the others; what was forked later is to be taken back first. False: there is no room, and the caller runs it itself.
  [[nodiscard]] static bool fork(worker_pool& pool, slot& me, work_item& job) noexcept { return pool.queue_.fork(me, job); }
  /// Takes the newest job back that nobody has stolen, to be run by job.run(job) or in any other way; or null.
  [[nodiscard]] static work_item* unfork(slot& me) noexcept { return me.forks.pop(); }
  /// The oldest job of another worker, or null.
  [[nodiscard]] static work_item* steal_fork(slot& victim) noexcept { return victim.forks.steal(); }
};

}  // namespace penstock::inline v0_1::detail
