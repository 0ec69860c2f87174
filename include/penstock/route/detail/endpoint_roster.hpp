// penstock/route/detail/endpoint_roster.hpp: the places that may be picked now, as an array that is rewritten while it is read.
//
// What a reader finds in it is always the number of a place, at worst an outdated one: endpoint_use decides whether it may be used. A reader
// for whom a mixture of two rosters is not good enough (a consistent hash would send a key elsewhere) asks whether it saw one roster.
//
// Invariants     version_ is odd while the entries change. Every entry, also beyond count_, is the number of a place.
// Thread safety  assign() under the table's lock; everything else at any time. Readers never wait.
// Memory         fixed at construction.
// Source         the sequence lock, in the form of H.-J. Boehm, "Can seqlocks get along with programming language memory models?" (MSPC 2012).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class endpoint_roster {
 public:
  explicit endpoint_roster(std::size_t capacity) : entries_{std::make_unique<entry[]>(capacity)} {}

  [[nodiscard]] std::uint32_t size() const noexcept { return count_.load(std::memory_order_relaxed); }  // relaxed: see at()
  /// acquire: pairs with the release in assign(), so that unchanged() notices whatever was read of a later roster.
  [[nodiscard]] std::uint32_t at(std::size_t i) const noexcept { return entries_[i].load(std::memory_order_acquire); }

  /// Before reading a roster as a whole. An odd one is never unchanged().
  [[nodiscard]] std::uint32_t version() const noexcept {
    return version_.load(std::memory_order_acquire);
  }  // acquire: pairs with assign()'s end
  /// Whether all that was read since version() returned `seen` was one roster.
  [[nodiscard]] bool unchanged(std::uint32_t seen) const noexcept {
    return (seen & 1) == 0 && version_.load(std::memory_order_relaxed) == seen;  // relaxed: the acquires in at() come before it
  }

  void assign(std::span<const std::uint32_t> places) noexcept {
    const std::uint32_t before = version_.load(std::memory_order_relaxed);  // relaxed: changed under the caller's lock only
    version_.store(before + 1, std::memory_order_relaxed);                  // relaxed: each release below carries it along
    for (std::size_t i = 0; i < places.size(); ++i) {
      entries_[i].store(places[i], std::memory_order_release);  // release: pairs with the acquire in at()
    }
    count_.store(static_cast<std::uint32_t>(places.size()),
                 std::memory_order_release);                // release: as the entries, for size_as_part()
    version_.store(before + 2, std::memory_order_release);  // release: pairs with the acquire in version()
  }

  /// size(), for who asks unchanged() afterwards.
  [[nodiscard]] std::uint32_t size_as_part() const noexcept {
    return count_.load(std::memory_order_acquire);
  }  // acquire: as at()

 private:
  using entry = typename Sync::template atomic<std::uint32_t>;

  std::unique_ptr<entry[]> entries_;
  typename Sync::template atomic<std::uint32_t> count_{0};
  typename Sync::template atomic<std::uint32_t> version_{0};
};

}  // namespace penstock::inline v0_1::detail
