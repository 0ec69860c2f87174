// penstock/core/detail/one_shot.hpp: something that happens once, and those who wait for it: the end of a coroutine, the value of a future.
//
// Lifetime    whoever returned from a wait may destroy the object at once (gate.hpp).
#pragma once

#include <mutex>

#include <penstock/core/detail/gate.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class basic_one_shot : public gate<basic_one_shot<Sync>, Sync> {
 public:
  static constexpr const char* known_as = "future";  // what people call the end of a coroutine or a task

  basic_one_shot() noexcept : set_{false} {}

  [[nodiscard]] bool is_set() const noexcept {
    // acquire: pairs with the release in set()
    return set_.load(std::memory_order_acquire);
  }

  /// The thing happened. Once.
  void set() noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{this->lock_};
      set_.store(true, std::memory_order_release);  // release: pairs with the acquire in is_set()
      this->waiters_.win_all(outcome::granted, won);
    }
    won.complete_all();
  }

 private:
  friend gate<basic_one_shot, Sync>;
  bool open() const noexcept { return is_set(); }
  bool enter() const noexcept {
    // relaxed: lock_ orders it after the set() that wrote it
    return set_.load(std::memory_order_relaxed);
  }

  typename Sync::template atomic<bool> set_;
};

}  // namespace penstock::inline v0_1::detail
