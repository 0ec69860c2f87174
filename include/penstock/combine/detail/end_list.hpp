// penstock/combine/detail/end_list.hpp: what has ended and was not looked at yet, in the order in which it ended, and the one who waits for it.
//
// The link lies in the frame of what ends, so ending allocates nothing. Many may push; one owner waits and takes.
//
// Invariants  any_ is set exactly while the list is not empty, when the lock is free; it implies that waiters_ is empty.
// Lifetime    from push() on the owner may take the link and destroy what it lies in and, if nothing else will end, the list: push() touches
//             nothing after unlocking but the node that it won. The owner takes under the lock, which who pushed has then let go.
#pragma once

#include <mutex>

#include <penstock/core/detail/gate.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
struct end_link {
  typename Sync::template var<end_link*> next_ended{nullptr};
};

template <class Sync = std_sync>
class basic_end_list : public gate<basic_end_list<Sync>, Sync> {
 public:
  using link = end_link<Sync>;

  basic_end_list() noexcept : any_{false} {}

  /// It ended. The last touch: what `ended` lies in, and *this, may be gone when this returns.
  void push(link& ended) noexcept {
    wait_list<Sync> won;
    {
      std::scoped_lock guard{this->lock_};
      link* const last = last_;
      if (last == nullptr) {
        first_ = &ended;
      } else {
        last->next_ended = &ended;
      }
      last_ = &ended;
      any_.store(true, std::memory_order_release);  // release: pairs with the acquire in open()
      this->waiters_.win_all(outcome::granted, won);
    }
    won.complete_all();
  }

  /// What ended first; null if nothing has. Of the owner only.
  [[nodiscard]] link* take() noexcept {
    std::scoped_lock guard{this->lock_};
    link* const ended = first_;
    if (ended == nullptr) return nullptr;
    first_ = ended->next_ended;
    if (first_ == nullptr) {
      last_ = nullptr;
      any_.store(false, std::memory_order_relaxed);  // relaxed: publishes nothing
    }
    return ended;
  }

 private:
  friend gate<basic_end_list, Sync>;
  bool open() const noexcept { return any_.load(std::memory_order_acquire); }   // acquire: pairs with the release in push()
  bool enter() const noexcept { return any_.load(std::memory_order_relaxed); }  // relaxed: lock_ orders the changes

  typename Sync::template atomic<bool> any_;
  typename Sync::template var<link*> first_{nullptr};  // guarded by lock_
  typename Sync::template var<link*> last_{nullptr};   // guarded by lock_
};

}  // namespace penstock::inline v0_1::detail
