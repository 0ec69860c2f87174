// penstock/core/detail/node_list.hpp: an intrusive list: what waits in a line that one can leave in the middle.
#pragma once

#include <cstddef>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

/// Owns nothing, allocates nothing, and is guarded by whoever has it. A node's members `before` and `after` belong to the list that the node is in; what
/// is in none may use them for something else, and remove() leaves them as they are.
template <class Node, class Sync = std_sync>
class node_list {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Null: it is empty.
  [[nodiscard]] Node* front() const noexcept { return first_; }
  [[nodiscard]] Node* back() const noexcept { return last_; }

  void push_back(Node& n) noexcept {
    Node* const before = last_;
    n.before = before;
    n.after = nullptr;
    (before != nullptr ? before->after : first_) = &n;
    last_ = &n;
    size_ = size_ + 1;
  }
  void push_front(Node& n) noexcept {
    Node* const after = first_;
    n.before = nullptr;
    n.after = after;
    (after != nullptr ? after->before : last_) = &n;
    first_ = &n;
    size_ = size_ + 1;
  }
  void remove(Node& n) noexcept {
    Node* const before = n.before;
    Node* const after = n.after;
    (before != nullptr ? before->after : first_) = after;
    (after != nullptr ? after->before : last_) = before;
    size_ = size_ - 1;
  }
  /// The first one, taken out; null: it is empty.
  Node* pop_front() noexcept {
    Node* const n = first_;
    if (n != nullptr) remove(*n);
    return n;
  }
  /// Takes over all of another list.
  void append(node_list& other) noexcept {
    while (Node* const n = other.pop_front()) push_back(*n);
  }

 private:
  typename Sync::template var<Node*> first_{nullptr};
  typename Sync::template var<Node*> last_{nullptr};
  typename Sync::template var<std::size_t> size_{0};
};

}  // namespace penstock::inline v0_1::detail
