// penstock/core/detail/join.hpp: children that run, the first failure among them, and those who wait for the last one to end.
//
// What one_shot is to a single coroutine, this is to a group: the owner of the wait queue of task_group::join().
//
// Invariants  running_ == 0 implies that waiters_ is empty; both change only under lock_.
// Lifetime    whoever returned from a wait may destroy the object at once: the end of the last child touches nothing
//             after unlocking but the nodes that it won (gate.hpp).
#pragma once

#include <cassert>
#include <cstddef>
#include <exception>
#include <mutex>
#include <utility>

#include <penstock/core/detail/gate.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class basic_join : public gate<basic_join<Sync>, Sync> {
 public:
  basic_join() noexcept : running_{0} {}

  /// How many run now; out of date when it is looked at, unless it is zero and nobody begins one.
  [[nodiscard]] std::size_t running() const noexcept {
    return running_.load(std::memory_order_acquire);  // acquire: pairs with the release in end_one()
  }

  /// One more child; before it begins.
  void begin_one() noexcept {
    std::scoped_lock guard{this->lock_};
    running_.store(running_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // relaxed: lock_ orders the changes
  }

  /// A child failed; before its end_one(). True: it is the first since the last take_failure(), whose exception is kept; others
  /// are dropped.
  bool fail(std::exception_ptr why) noexcept {
    std::scoped_lock guard{this->lock_};
    if (failure_ != nullptr) return false;
    failure_ = std::move(why);
    return true;
  }

  /// A child has ended. If it was the last one, *this may be gone when this returns.
  void end_one() noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{this->lock_};
      const std::size_t left = running_.load(std::memory_order_relaxed) - 1;  // relaxed: lock_ orders the changes
      running_.store(left, std::memory_order_release);                        // release: pairs with the acquire in running()
      if (left == 0) this->waiters_.win_all(outcome::granted, won);
    }
    won.complete_all();
  }

  /// The exception of the first child that failed, once; null if none did.
  [[nodiscard]] std::exception_ptr take_failure() noexcept {
    std::scoped_lock guard{this->lock_};
    return std::exchange(failure_, nullptr);
  }

 private:
  friend gate<basic_join, Sync>;
  bool open() const noexcept { return running() == 0; }
  bool enter() const noexcept { return running_.load(std::memory_order_relaxed) == 0; }  // relaxed: lock_ orders the changes

  typename Sync::template atomic<std::size_t> running_;
  std::exception_ptr failure_;  // guarded by lock_
};

}  // namespace penstock::inline v0_1::detail
