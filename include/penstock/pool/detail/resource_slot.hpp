// penstock/pool/detail/resource_slot.hpp: what a resource pool knows of one resource, and of one caller who wants one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <source_location>

#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/node_list.hpp>
#include <penstock/core/detail/wait_queue.hpp>
#include <penstock/core/errc.hpp>

namespace penstock::inline v0_1::detail {

enum class discard_reason : std::uint8_t { none, idle, lifetime, uses, broken, invalid, evicted, surplus, closed };

/// Everything is guarded by the pool's lock, but for the resource itself and what comes last, which belong to whoever has the slot: a lease, an
/// operation (a connect or a check), whoever destroys it, or the holder of the lock.
template <class Sync>
struct resource_slot {
  static constexpr std::uint8_t no_place = 255;

  /// Once more.
  void count_use() noexcept {
    uses.store(uses.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }  // relaxed: one writer

  typename Sync::template var<resource_slot*> before{nullptr};
  typename Sync::template var<resource_slot*> after{nullptr};
  nanoseconds_point born_at = 0;
  nanoseconds_point checked_at = 0;
  nanoseconds_point leased_at = 0;
  std::uint64_t generation = 0;
  std::source_location where{};  // of the acquire
  typename Sync::thread_id holder{};
  bool built = false;             // there is a resource in it
  bool checking = false;          // the operation is a check
  bool checked_ahead = false;     // that was begun for who only looked, and has gone on
  bool reported = false;          // as a leak
  std::uint8_t place = no_place;  // on the lane
  nanoseconds_point expires_at = never;
  typename Sync::template var<nanoseconds_point> idle_since{0};
  typename Sync::template atomic<std::uint64_t> uses{0};  // also read for stats()
};

template <class Sync>
using slot_list = node_list<resource_slot<Sync>, Sync>;

/// Who borrows.
template <class Sync>
struct resource_borrower {
  std::source_location where{};
  typename Sync::thread_id thread{};  // default: nobody's, as a coroutine goes from thread to thread
};

template <class Sync>
struct resource_request : wait_node<Sync> {
  explicit resource_request(const resource_borrower<Sync>& who, bool makes = true) noexcept : borrower{who}, may_make{makes} {}

  resource_borrower<Sync> borrower;
  basic_deadline<Sync> until{};
  const bool may_make;                                             // and not only look
  typename Sync::template var<resource_slot<Sync>*> got{nullptr};  // its lease
  typename Sync::template var<resource_slot<Sync>*> job{nullptr};  // what it has to check on its own thread
  typename Sync::template var<bool> reserved{false};  // it has to connect on its own thread, and there is room for it
  bool has_waited = false;
  errc refusal = errc::empty;  // what outcome::rejected means; nothing yet
};

}  // namespace penstock::inline v0_1::detail
