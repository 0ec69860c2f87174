// penstock/channel/detail/waiting_side.hpp: those who wait on one side of a channel, and what their wait may carry to its end.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <utility>

#include <penstock/core/detail/wait_operation.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync>
struct channel_node : wait_node<Sync> {
  nanoseconds_point since = 0;  // when it was linked; only where waits are timed
  std::size_t ticket = 0;       // in the order in which waiters came
  bool tentative = false;       // it may take something else instead (select): wake it, hand nothing over
};

/// Producers who wait for room, or consumers who wait for an item. The line is guarded by the channel's lock; `waiting`, its length, is read
/// without it by everyone on the other side after each operation, and is all that they pay while nobody waits or watches.
template <class Sync>
class waiting_side {
 public:
  using node = channel_node<Sync>;

  typename Sync::template atomic<std::size_t> waiting{0};

  // All below: with the lock held.

  /// Links, announces, then looks once more at what the other side changes without the lock (race 1).
  template <class Ready>
  step park(node& n, link_at where, Ready ready) noexcept {
    if (where == link_at::nowhere) return ready() ? step::look_again : step::refused;
    link(n, where == link_at::front);
    if (!ready()) return step::linked;
    unlink(n);
    return step::look_again;
  }
  void link(node& n, bool at_front) noexcept {
    if (timed_) n.since = Sync::now();
    if (at_front) {
      // In its old place: several may have been woken, looked in vain, and come back in any order.
      auto* following = first();
      while (following != nullptr && following->ticket < n.ticket)
        following = static_cast<node*>(static_cast<wait_node<Sync>*>(following->next));
      line_.insert(n, following);
    } else {
      n.ticket = ++tickets_;
      line_.push_back(n);
    }
    count();
  }
  void unlink(node& n) noexcept {
    line_.unlink(n);
    left(n);
  }
  /// The node was taken out already.
  void left(node& n) noexcept {
    if (timed_) {
      ++waits_;
      waited_ += std::chrono::nanoseconds{Sync::now() - n.since};
    }
    count();
  }
  void win(node& n, outcome how, wait_list<Sync>& won) noexcept {
    line_.win(n, how, won);
    left(n);
  }
  void wake(std::size_t most, wait_list<Sync>& won) noexcept {
    for (; most > 0 && !line_.empty(); --most) win(*first(), outcome::woken, won);
  }
  void wake_all(outcome how, wait_list<Sync>& won) noexcept {
    while (!line_.empty()) win(*first(), how, won);
  }
  [[nodiscard]] node* first() const noexcept { return static_cast<node*>(line_.front()); }
  [[nodiscard]] bool idle() const noexcept { return line_.empty(); }

  /// How many wait.
  [[nodiscard]] std::size_t length() const noexcept { return waiting.load(std::memory_order_seq_cst) & ~watched; }

  /// Before anybody waits: `waiting` is never 0, so that whoever looks there comes to hear of each operation, though nobody may wait.
  void watch() noexcept {
    base_ = watched;
    count();
  }
  /// Likewise: measure how long.
  void time_waits() noexcept { timed_ = true; }
  [[nodiscard]] std::size_t waits() const noexcept { return waits_; }
  [[nodiscard]] std::chrono::nanoseconds waited() const noexcept { return waited_; }

 private:
  // seq_cst: comes before the look at the indices that confirms that waiting is right, as the other side changes the indices before it
  // looks here (race 1).
  void count() noexcept { waiting.store(line_.size() | base_, std::memory_order_seq_cst); }

  static constexpr std::size_t watched = ~(~std::size_t{0} >> 1);

  wait_queue<Sync> line_;
  std::size_t base_ = 0;
  std::size_t tickets_ = 0;
  bool timed_ = false;
  std::size_t waits_ = 0;
  std::chrono::nanoseconds waited_{0};
};

/// The item of a wait that keeps it.
template <class T>
struct kept_item {
  explicit kept_item(T&& i) : kept{std::move(i)} {}
  T kept;
};

/// What a wait carries to its end when moving an item threw; nothing where moving cannot.
struct throwing_move {
  std::exception_ptr caught;
  void rethrow() {
    if (caught != nullptr) std::rethrow_exception(std::move(caught));
  }
};
struct nothrow_move {
  void rethrow() const noexcept {}
};

}  // namespace penstock::inline v0_1::detail
