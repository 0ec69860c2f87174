// penstock/rate/detail/shape.hpp: what decides who may go on, and when: a token bucket, a window, a leaky bucket.
//
// A shape decides and never waits; the line (timed_line.hpp) waits for it. It knows no clock: it is told the time, in nanoseconds since any
// epoch.
//
//   bool    try_take(now, n)        takes n and says so, or takes nothing. False, too, for more than largest()
//   int64   ready_at(now, n) const  the earliest time at which n can be had if nobody else takes any before: not before `now`, and at that time
//                                   try_take() says yes. `never` for more than largest()
//   void    give_back(now, n)       n that were taken were not needed
//   int64   available(now) const    what try_take() would give at the most; negative while there is a debt
//   int64   largest() const         the most that one request can ever have; at least 1
//   name                            of the public type, for messages
//
// Time steps back     two threads may bring the times that they read in another order, and a clock may be set: then nothing is earned until the
//                     time has come to where it was. Never a bonus.
// Thread safety       every member may be called concurrently: by newcomers without any lock, and under the line's. All noexcept.
// What makes the ready time earlier (give_back(), a higher rate) is only called under the line's lock, which then looks at its head again.
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>

namespace penstock::inline v0_1::detail {

template <class S>
concept shape = requires(S& s, const S& c, std::int64_t now, std::int64_t n) {
  { s.try_take(now, n) } noexcept -> std::same_as<bool>;
  { c.ready_at(now, n) } noexcept -> std::same_as<std::int64_t>;
  { s.give_back(now, n) } noexcept;
  { c.available(now) } noexcept -> std::same_as<std::int64_t>;
  { c.largest() } noexcept -> std::same_as<std::int64_t>;
  { S::name } -> std::convertible_to<std::string_view>;
};

}  // namespace penstock::inline v0_1::detail
