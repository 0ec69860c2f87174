// penstock/route/detail/endpoint_use.hpp: who uses an endpoint's place, in one word; whoever leaves a retired one last frees it.
//
// The places of a balancer's endpoints are allocated once and never move, so a thread may count itself in at any place without knowing whether
// anybody lives there: what it finds in the word says whether it may stay. That is why a pick needs no hazard pointer, epoch or lock.
//
//   bits 0–23    those inside: leases, and for a moment threads that were not let in
//   open         lets in. Changed by the table only, under its lock
//   retired      the endpoint goes when nobody is inside. Nobody opens a place that is retired
//   watched      the endpoint has failed lately or warms up: whoever chooses looks closer. A hint
//   bits 32–63   leases that ended, modulo 2^32
//
// Invariants     From a try_enter() that returned true to the leave() after it the endpoint that lived there then lives. Of retire(), the
//                leave()s and the back_out()s exactly one returns true for each retire(): it destroys the endpoint, and the word is zero.
// Thread safety  try_enter(), leave(), back_out(), load(), watch() may be called at any time by any thread; the others under the table's lock.
// Cost           one read-modify-write to come in, one to leave.
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class endpoint_use {
 public:
  using word = std::uint64_t;
  static constexpr word one = 1;
  static constexpr word inside = (word{1} << 24) - 1;
  static constexpr word open = word{1} << 24;
  static constexpr word retired = word{1} << 25;
  static constexpr word watched = word{1} << 26;
  static constexpr word ended_one = word{1} << 32;

  [[nodiscard]] static constexpr std::uint32_t in_flight(word w) noexcept { return static_cast<std::uint32_t>(w & inside); }
  [[nodiscard]] static constexpr std::uint32_t ended(word w) noexcept { return static_cast<std::uint32_t>(w >> 32); }

  /// A hint for who chooses. relaxed: what it says is confirmed by try_enter() only.
  [[nodiscard]] word load() const noexcept { return word_.load(std::memory_order_relaxed); }
  /// Whoever sees nobody inside sees what the leases did.
  [[nodiscard]] word observe() const noexcept { return word_.load(std::memory_order_acquire); }  // acquire: pairs with leave()

  /// False: it is not open, and back_out() has to follow.
  [[nodiscard]] bool try_enter() noexcept {
    // acquire: pairs with the release in let_in(), which published the endpoint (read-modify-writes between continue its release sequence)
    const word before = word_.fetch_add(one, std::memory_order_acquire);
    assert((before & inside) != inside && "more leases of an endpoint than can be counted");
    return (before & open) != 0;
  }
  /// True: the caller has to destroy the endpoint and give the place back.
  [[nodiscard]] bool back_out() noexcept {
    return left(word_.fetch_sub(one, std::memory_order_relaxed));  // relaxed: who was not let in has touched nothing
  }
  /// As back_out(), for who was let in.
  [[nodiscard]] bool leave() noexcept {
    // release: pairs with the acquire in claimed(): what was done with the endpoint comes before its destruction
    return left(word_.fetch_add(ended_one - one, std::memory_order_release));
  }

  /// Publishes an endpoint, or opens a drained one again.
  void let_in() noexcept { word_.fetch_or(open, std::memory_order_release); }    // release: pairs with the acquire in try_enter()
  void shut() noexcept { word_.fetch_and(~open, std::memory_order_relaxed); }    // relaxed: the one word decides who comes in
  void watch() noexcept { word_.fetch_or(watched, std::memory_order_relaxed); }  // relaxed: a hint
  void unwatch() noexcept { word_.fetch_and(~watched, std::memory_order_relaxed); }  // relaxed: a hint

  /// Shuts for good. True: nobody is inside, and the caller has to destroy the endpoint and give the place back.
  [[nodiscard]] bool retire() noexcept {
    shut();
    return (word_.fetch_or(retired, std::memory_order_relaxed) & inside) == 0 && claimed();  // relaxed: claimed() acquires
  }

 private:
  [[nodiscard]] bool left(word before) noexcept { return (before & (inside | retired)) == (retired | one) && claimed(); }

  // Several may find that nobody is inside any more: one of them gets the place. Who comes in meanwhile tries again when it backs out.
  [[nodiscard]] bool claimed() noexcept {
    word seen = word_.load(std::memory_order_relaxed);  // relaxed: the exchange decides
    while ((seen & (inside | retired)) == retired) {
      // acquire: pairs with the release in every leave(); relaxed, on failure: nothing was got
      if (word_.compare_exchange_weak(seen, 0, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    }
    return false;
  }

  typename Sync::template atomic<word> word_{0};
};

}  // namespace penstock::inline v0_1::detail
