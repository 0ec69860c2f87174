// penstock/combine/quorum.hpp: many awaited at once; the first so many successes.
//
//   auto acknowledged = co_await quorum(2, write(replica_a, entry), write(replica_b, entry), write(replica_c, entry));
//
// It fails, with all failures so far, as soon as so many have failed that the number cannot be reached any more.
//
// All else is as in when_all.hpp.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <penstock/combine/combined_error.hpp>
#include <penstock/combine/detail/combining.hpp>
#include <penstock/combine/detail/winners.hpp>
#include <penstock/combine/limit.hpp>
#include <penstock/combine/winner.hpp>

namespace penstock::inline v0_1 {

namespace detail {

template <class = void>
[[nodiscard]] goal quorum_of(std::size_t needed, std::size_t children) {
  if (needed == 0 || needed > children) {
    throw std::invalid_argument{"penstock::quorum: needs " + std::to_string(needed) + " of " + std::to_string(children)};
  }
  return {.successes_needed = needed, .failures_allowed = children - needed};
}

}  // namespace detail

/// The first `needed` children to succeed, in the order in which they did: a std::vector of winner<T>. Throws std::invalid_argument, at once and
/// not when it is awaited, if `needed` is zero or greater than the number of children.
template <detail::combinable_range R>
[[nodiscard]] auto quorum(std::size_t needed, R&& children, limit most = detail::unlimited) {
  auto all = detail::children_of(std::forward<R>(children));
  const detail::goal g = detail::quorum_of(needed, all.size());
  return detail::combine_range<detail::ends_with_several>(std::move(all), g, most);
}

/// The same for arguments. If they give different types, each winner's value is a std::variant (winner.hpp).
template <class... C>
  requires detail::combinable_pack<C...>
[[nodiscard]] auto quorum(std::size_t needed, C&&... children) {
  const detail::goal g = detail::quorum_of(needed, detail::pack_of<std::decay_t<C>...>::size);
  return detail::combine_arguments<detail::ends_with_several>(g, std::forward<C>(children)...);
}

}  // namespace penstock::inline v0_1
