// penstock/pool/detail/pool_access.hpp: what fork-join algorithms (combine/) ask of a worker pool.
//
// A job lies in the frame of who forks it, who waits for its end before that frame goes: so jobs are parts of a piece of work, and the pool does not
// count them. Each worker has a lane of them, and a thread from outside borrows one (fork_guest): from its new end it takes back its own jobs; the
// others steal the oldest, when they have nothing else to do and while they wait for a job that was stolen from them.
//
//   if (auto* mine = pool_access::lane_here(pool); mine != nullptr && pool_access::fork(pool, *mine, job)) { g(); if (mine->pop() == &job) … }
//
// Each is a template over the pool: naming a worker_pool does not compile it, asking it something does.
//
// Thread safety  a lane's push and pop are for its owner, steal() is for all.
#pragma once

#include <cstddef>
#include <exception>
#include <utility>

#include <penstock/core/detail/sync.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/pool/detail/work_deque.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1::detail {

using fork_lane = work_deque<work_item, std_sync>;  // a guest_lanes<>::lane
template <class Pool>
class fork_guest;

struct pool_access {
  /// The calling thread's, if it is one of the pool's workers or a guest; or null. Null in a forked child, too, where nobody is left to steal.
  template <class Pool>
  [[nodiscard]] static fork_lane* lane_here(Pool& pool) noexcept;
  /// Offers a job to the others; what was forked later is to be taken back first. False: there is no room, and the caller runs it itself.
  template <class Pool>
  [[nodiscard]] static bool fork(Pool& pool, fork_lane& mine, work_item& job) noexcept {
    return pool.queue_.fork(mine, job);
  }
  /// Posts a task if there is room, and is no submission that counts as refused if there is none.
  template <class Pool, class F>
  static void invite(Pool& pool, F&& f) {
    typename Pool::task work{std::forward<F>(f)};
    if (!pool.origin_.forked()) static_cast<void>(pool.try_put(work, pool.usual_label()));
  }
  /// Runs a coroutine of the pool if the calling thread is a worker and nobody else is free to. False: it has run none.
  template <class Pool>
  static bool help_once(Pool& pool) noexcept {
    return pool.help_once();
  }
  /// How many there should be.
  template <class Pool>
  [[nodiscard]] static std::size_t threads(const Pool& pool) noexcept {
    return pool.threads();
  }
  /// An exception that nobody else gets: it is counted and goes to the pool's error handler.
  template <class Pool>
  static void report(Pool& pool, std::exception_ptr failure) noexcept {
    pool.report(std::move(failure));
  }

 private:
  template <class Pool>
  friend class fork_guest;
  template <class Pool>
  static auto& guests(Pool& pool) noexcept {
    return pool.queue_.guests();
  }
  template <class Pool>
  static bool forked(const Pool& pool) noexcept {
    return pool.origin_.forked();
  }
};

/// While one lives on its stack, a thread that is no worker of the pool has a lane there; unless none was free.
template <class Pool>
class fork_guest {
 public:
  explicit fork_guest(Pool& pool) noexcept
      : pool_{pool}, lane_{pool_access::forked(pool) ? nullptr : pool_access::guests(pool).borrow()}, outer_{innermost_} {
    innermost_ = this;
  }
  fork_guest(const fork_guest&) = delete;
  fork_guest& operator=(const fork_guest&) = delete;
  ~fork_guest() {
    innermost_ = outer_;
    if (lane_ != nullptr) pool_access::guests(pool_).give_back(*lane_);
  }

  [[nodiscard]] fork_lane* lane() const noexcept { return lane_; }
  /// The calling thread's lane in this pool, or null.
  [[nodiscard]] static fork_lane* lane_here(const Pool& pool) noexcept {
    for (const fork_guest* g = innermost_; g != nullptr; g = g->outer_) {
      if (&g->pool_ == &pool) return g->lane_;
    }
    return nullptr;
  }

 private:
  Pool& pool_;
  fork_lane* const lane_;
  fork_guest* const outer_;
  static inline thread_local fork_guest* innermost_ = nullptr;
};

template <class Pool>
inline fork_lane* pool_access::lane_here(Pool& pool) noexcept {
  if (forked(pool)) [[unlikely]]
    return nullptr;
  if (auto* const mine = pool.slot_here(); mine != nullptr) [[likely]]
    return &mine->forks;
  return fork_guest<Pool>::lane_here(pool);
}

}  // namespace penstock::inline v0_1::detail
