// penstock/combine/when_all_settled.hpp: many awaited at once, each to its own end: a failure stops nobody.
//
//   for (auto& mirror : co_await when_all_settled(std::move(pings), limit(4)))
//     report(mirror ? "up" : mirror.error().message());
//
// It does not fail: what the children throw is in their outcomes. Stop requested from above ends it early, with the outcomes that there are then;
// children that never began have errc::cancelled.
//
// All else is as in when_all.hpp.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/combine/detail/combining.hpp>
#include <penstock/combine/limit.hpp>
#include <penstock/combine/settled.hpp>

namespace penstock::inline v0_1 {

namespace detail {

template <class A>
using settled_child = settled<stored<child_type<A>>>;

template <class A>
settled_child<A> settle(child_slot<A>& s) {
  if (s.value) return settled_child<A>{std::in_place, *std::move(s.value)};
  if (s.exception) return settled_child<A>{std::move(s.exception)};
  return settled_child<A>{s.has_error ? s.error : make_error_code(errc::cancelled)};
}

struct ends_with_each {
  template <class A>
  struct range {
    using type = std::vector<settled_child<A>>;
    range(const goal&, std::size_t children) { outcomes.reserve(children); }
    type take(combination&, std::vector<child_slot<A>>& slots) {
      for (auto& s : slots) outcomes.push_back(settle<A>(s));
      return std::move(outcomes);
    }
    type outcomes;
  };
  template <class... A>
  struct pack {
    using type = std::tuple<settled_child<A>...>;
    pack(const goal&, std::size_t) noexcept {}
    type take(combination&, std::tuple<child_slot<A>...>& slots) {
      return std::apply([](auto&... s) { return type{settle<A>(s)...}; }, slots);
    }
  };
};

}  // namespace detail

/// How each child ended, in the children's order: a std::vector of settled<T>.
template <detail::combinable_range R>
[[nodiscard]] auto when_all_settled(R&& children, limit most = detail::unlimited) {
  auto all = detail::children_of(std::forward<R>(children));
  const detail::goal g{.successes_needed = all.size(), .failures_allowed = all.size()};
  return detail::combine_range<detail::ends_with_each>(std::move(all), g, most);
}

/// The same for arguments: a std::tuple of settled<T>.
template <class... C>
  requires detail::combinable_pack<C...>
[[nodiscard]] auto when_all_settled(C&&... children) {
  constexpr std::size_t size = detail::pack_of<std::decay_t<C>...>::size;
  return detail::combine_arguments<detail::ends_with_each>({.successes_needed = size, .failures_allowed = size},
                                                           std::forward<C>(children)...);
}

}  // namespace penstock::inline v0_1
