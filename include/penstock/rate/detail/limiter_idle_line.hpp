// penstock/rate/detail/limiter_idle_line.hpp: who waits until a limiter is idle: nobody waits for a turn, and nothing runs.
//
// An owner of waits (core/detail/wait_operation.hpp) beside the limiter's core, with the same lock.
#pragma once

#include <mutex>

#include <penstock/core/detail/gate.hpp>
#include <penstock/core/detail/wait_operation.hpp>
#include <penstock/core/detail/wait_queue.hpp>

namespace penstock::inline v0_1::detail {

template <class Core>
class limiter_idle_line {
 public:
  using sync = typename Core::sync;
  using node = plain_node<sync>;

  explicit limiter_idle_line(Core& core) noexcept : core_{core} {}
  typename sync::mutex& wait_lock() noexcept { return core_.lock_; }
  bool try_pass(node& n) noexcept {
    std::scoped_lock guard{core_.lock_};
    return passes(n);
  }
  step try_or_link(node& n, link_at where, wait_list<sync>&) noexcept {
    if (passes(n)) return step::passed;
    if (where == link_at::nowhere) return step::refused;
    waiters_.push_back(n);
    return step::linked;
  }
  void unlinked(node&, wait_list<sync>&) noexcept {}

  /// With the lock held: it has become idle.
  void open(wait_list<sync>& won) noexcept { waiters_.win_all(outcome::granted, won); }

 private:
  bool passes(node& n) const noexcept {
    if (!core_.state_.idle()) return false;
    n.how = outcome::granted;
    return true;
  }

  Core& core_;
  wait_queue<sync> waiters_;  // guarded by the lock
};

}  // namespace penstock::inline v0_1::detail
