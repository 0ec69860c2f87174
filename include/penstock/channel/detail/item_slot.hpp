// penstock/channel/detail/item_slot.hpp: what the rings are made of: a stamp, and memory for one item.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

enum class ring_step : unsigned char {
  done,
  full,
  empty,
  closed,
  guarded,   ///< pushes go through the owner's lock now
  rejected,  ///< by a channel's policy
  dropped,   ///< likewise
};

template <class = void>
std::size_t checked_capacity(std::size_t capacity, std::size_t slot_size) {
  if (capacity == 0) throw std::invalid_argument{"penstock::channel: capacity is 0, and there is no rendezvous: the least is 1"};
  if (capacity > std::numeric_limits<std::size_t>::max() / 16 / slot_size) {
    throw std::invalid_argument{"penstock::channel: capacity is " + std::to_string(capacity)};
  }
  return capacity;
}

template <class T, class Sync>
struct item_slot {
  typename Sync::template atomic<std::size_t> stamp{0};
  // The item, in uninitialised memory; whoever claimed the slot owns it until the next stamp.
  alignas(T) std::byte memory[sizeof(T)];
  [[no_unique_address]] typename Sync::access_check check;

  void put(T& item) noexcept {
    check.write();
    ::new (static_cast<void*>(memory)) T(std::move(item));
  }
  void take(std::optional<T>& out) noexcept {
    take([&out](T&& item) { out.emplace(std::move(item)); });
  }
  template <class Take>
  void take(Take&& to) noexcept {
    check.write();
    T* const item = std::launder(reinterpret_cast<T*>(memory));
    to(std::move(*item));
    item->~T();
  }
};

}  // namespace penstock::inline v0_1::detail
