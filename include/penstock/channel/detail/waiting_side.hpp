// penstock/channel/detail/waiting_side.hpp: those who wait on one side of a channel, and what their wait may carry to its end.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <utility>

#include <penstock/core/detail/wait_queue.hpp>

namespace penstock::inline v0_1::detail {

/// Producers who wait for room, or consumers who wait for an item. The line is guarded by the channel's lock; `waiting`, its length, is read
/// without it by everyone on the other side after each operation, and is all that they pay while nobody waits.
template <class Sync>
struct waiting_side {
  wait_queue<Sync> line;
  typename Sync::template atomic<std::size_t> waiting{0};

  // seq_cst: comes before the look at the indices that confirms that waiting is right, as the other side changes the indices before it
  // looks here (race 1).
  void count() noexcept { waiting.store(line.size(), std::memory_order_seq_cst); }
  void wake(std::size_t most, wait_list<Sync>& won) noexcept {
    for (; most > 0 && !line.empty(); --most) line.win(*line.front(), outcome::woken, won);
    count();
  }
  void wake_all(outcome how, wait_list<Sync>& won) noexcept {
    line.win_all(how, won);
    count();
  }
  [[nodiscard]] bool idle() const noexcept { return line.empty(); }
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
