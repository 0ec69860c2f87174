// penstock/core/acquirable.hpp: what makes its callers wait for their turn.
//
//   template <penstock::acquirable Pace>
//   void serve(Pace& pace) {
//     while (pace.acquire({.stop = token})) answer_one();
//   }
//
// A token bucket is one, and so is a semaphore whose permits somebody else gives back. What takes one (`throttle` of a pipeline) knows
// no more of it than this.
#pragma once

#include <concepts>

#include <penstock/core/deadline.hpp>
#include <penstock/core/result.hpp>

namespace penstock::inline v0_1 {

/// `acquire(limits)` waits for the turn of one item. It ends with errc::cancelled or errc::timeout as its limits say, and with any other error
/// if there will be no further turns.
template <class A>
concept acquirable = requires(A& a, const wait_limits& limits) {
  { a.acquire(limits) } -> std::same_as<result<void>>;
};

}  // namespace penstock::inline v0_1
