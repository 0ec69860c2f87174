// penstock/core/detail/wait_queue.hpp: the line in which threads and coroutines stand.
//
// A wait_node lies in the waiter's own frame (a thread's stack, a coroutine's frame, an operation state), so waiting never allocates.
// A wait_queue is a passive intrusive FIFO that belongs to one primitive and is guarded by that primitive's lock.
//
// The law: unlinking under the lock is winning. Whoever takes a node out of its queue (a releaser, a timer, a stop request, close)
// owns the node's outcome: it writes it, moves the node to a list of its own, unlocks, and only then completes it, exactly once.
// Everyone else finds the node unlinked and leaves it alone.
//
// Fields      prev, next    guarded by the owner's lock while the node is linked; the winner's own afterwards, until complete()
//             queue         guarded by the owner's lock; null means "not linked". A winner's local list does not count as linked:
//                           a canceller that mistook it for the queue would unlink the node from the wrong list.
//             how           written by the winner before complete(), read by the waiter after
//             complete      written before the node is linked for the first time
// Lifetime    complete() may destroy the node, or the very primitive: the winner reads `next` before it and touches neither after.
#pragma once

#include <cstddef>
#include <cstdint>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

/// How a wait ended, or what its waiter shall do next.
enum class outcome : std::uint8_t {
  pending,    ///< not decided
  granted,    ///< the thing itself was handed over
  woken,      ///< nothing was handed over: look again
  closed,     ///< the primitive was closed
  timeout,    ///< the deadline passed
  cancelled,  ///< stop was requested
  rejected,   ///< refused by the primitive's policy
};

template <class Sync>
class wait_queue;

template <class Sync>
struct wait_node {
  using complete_function = void (*)(wait_node&) noexcept;

  wait_node() = default;
  wait_node(const wait_node&) = delete;
  wait_node& operator=(const wait_node&) = delete;

  /// With the owner's lock held: whether the outcome is still anyone's to win.
  [[nodiscard]] bool linked() const noexcept { return queue != nullptr; }

  typename Sync::template var<wait_node*> prev{nullptr};
  typename Sync::template var<wait_node*> next{nullptr};
  typename Sync::template var<wait_queue<Sync>*> queue{nullptr};
  typename Sync::template var<outcome> how{outcome::pending};
  complete_function complete = nullptr;
};

/// Nodes that were won: complete them when the lock is released.
template <class Sync>
class wait_list {
 public:
  wait_list() = default;
  wait_list(const wait_list&) = delete;
  wait_list& operator=(const wait_list&) = delete;

  void push_back(wait_node<Sync>& node) noexcept {
    node.next = nullptr;
    if (last_ != nullptr) {
      last_->next = &node;
    } else {
      first_ = &node;
    }
    last_ = &node;
  }

  /// For what must be completed before the others.
  void push_front(wait_node<Sync>& node) noexcept {
    node.next = first_;
    first_ = &node;
    if (last_ == nullptr) last_ = &node;
  }

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  /// Without any lock. Each node, and whatever owns it, may be gone when its complete() returns.
  void complete_all() noexcept {
    wait_node<Sync>* node = first_;
    first_ = last_ = nullptr;
    while (node != nullptr) {
      wait_node<Sync>* const following = node->next;  // read first (race 3)
      node->complete(*node);
      node = following;
    }
  }

 private:
  wait_node<Sync>* first_ = nullptr;
  wait_node<Sync>* last_ = nullptr;
};

template <class Sync>
class wait_queue {
 public:
  using node = wait_node<Sync>;

  wait_queue() = default;
  wait_queue(const wait_queue&) = delete;
  wait_queue& operator=(const wait_queue&) = delete;

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// The waiter that is next in line, or null.
  [[nodiscard]] node* front() const noexcept { return first_; }

  void push_back(node& n) noexcept { insert(n, nullptr); }
  /// For a waiter that was woken, looked in vain and keeps its place.
  void push_front(node& n) noexcept { insert(n, first_); }

  /// In front of one that is linked here; null: at the end.
  void insert(node& n, node* following) noexcept {
    node* const before = following != nullptr ? following->prev : last_;
    n.prev = before;
    n.next = following;
    (before != nullptr ? before->next : first_) = &n;
    (following != nullptr ? following->prev : last_) = &n;
    n.queue = this;
    size_ = size_ + 1;
  }

  /// Takes a node out: whoever calls this under the owner's lock has won it and must see to it that it is completed.
  void unlink(node& n) noexcept {
    node* const before = n.prev;
    node* const after = n.next;
    (before != nullptr ? before->next : first_) = after;
    (after != nullptr ? after->prev : last_) = before;
    n.queue = nullptr;
    size_ = size_ - 1;
  }

  /// Wins the node and hands it to the list that will be completed after unlocking.
  void win(node& n, outcome how, wait_list<Sync>& won) noexcept {
    unlink(n);
    n.how = how;
    won.push_back(n);
  }

  void win_all(outcome how, wait_list<Sync>& won) noexcept {
    while (node* const n = front()) win(*n, how, won);
  }

 private:
  typename Sync::template var<node*> first_{nullptr};
  typename Sync::template var<node*> last_{nullptr};
  typename Sync::template var<std::size_t> size_{0};
};

}  // namespace penstock::inline v0_1::detail
