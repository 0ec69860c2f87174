// penstock/combine/when_any.hpp: many awaited at once; the first success.
//
//   auto [index, page] = co_await when_any(fetch(mirror_a), fetch(mirror_b));
//
// A failure stops nobody: it fails when all have failed, with all of the failures, or if there are no children (combined_error without failures;
// errc::empty if the children give results). What would end as well after the first success is told to stop, waited for, and its value destroyed.
// Who ends first, well or badly, is race()'s question.
//
// All else is as in when_all.hpp.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include <penstock/combine/combined_error.hpp>
#include <penstock/combine/detail/combining.hpp>
#include <penstock/combine/detail/winners.hpp>
#include <penstock/combine/limit.hpp>
#include <penstock/combine/winner.hpp>

namespace penstock::inline v0_1 {

/// Which child succeeded first, and its value: a winner<T>.
template <detail::combinable_range R>
[[nodiscard]] auto when_any(R&& children, limit most = detail::unlimited) {
  auto all = detail::children_of(std::forward<R>(children));
  const detail::goal g{.successes_needed = 1, .failures_allowed = all.size() - 1};
  return detail::combine_range<detail::ends_with_first>(std::move(all), g, most);
}

/// The same for arguments. If they give different types, the winner's value is a std::variant (winner.hpp).
template <class... C>
  requires detail::combinable_pack<C...>
[[nodiscard]] auto when_any(C&&... children) {
  constexpr std::size_t size = detail::pack_of<std::decay_t<C>...>::size;
  return detail::combine_arguments<detail::ends_with_first>({.successes_needed = 1, .failures_allowed = size - 1},
                                                            std::forward<C>(children)...);
}

}  // namespace penstock::inline v0_1
