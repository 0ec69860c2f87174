// penstock/combine/race.hpp: many awaited at once; the first to end, well or badly.
//
//   auto [index, value] = co_await race(read(connection), idle(30s));
//
// If the first to end fails, so does the race: the failure is the first in the combined_error, or its code is the result's (when_all.hpp). The
// others are told to stop and waited for. Of no children: a combined_error without failures; errc::empty if the children give results.
//
// All else is as in when_all.hpp.
#pragma once

#include <type_traits>
#include <utility>

#include <penstock/combine/combined_error.hpp>
#include <penstock/combine/detail/combining.hpp>
#include <penstock/combine/detail/winners.hpp>
#include <penstock/combine/limit.hpp>
#include <penstock/combine/winner.hpp>

namespace penstock::inline v0_1 {

/// Which child ended first, and its value: a winner<T>.
template <detail::combinable_range R>
[[nodiscard]] auto race(R&& children, limit most = detail::unlimited) {
  const detail::goal g{.successes_needed = 1, .failures_allowed = 0};
  return detail::combine_range<detail::ends_with_first>(detail::children_of(std::forward<R>(children)), g, most);
}

/// The same for arguments. If they give different types, the winner's value is a std::variant (winner.hpp).
template <class... C>
  requires detail::combinable_pack<C...>
[[nodiscard]] auto race(C&&... children) {
  return detail::combine_arguments<detail::ends_with_first>({.successes_needed = 1, .failures_allowed = 0},
                                                            std::forward<C>(children)...);
}

}  // namespace penstock::inline v0_1
