// penstock/combine/detail/winners.hpp: the endings that give the first children to succeed: when_any and race give one, quorum several.
#pragma once

#include <concepts>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <penstock/combine/detail/combining.hpp>
#include <penstock/combine/winner.hpp>
#include <penstock/core/detail/dependent.hpp>

namespace penstock::inline v0_1::detail {

/// What stands for values of several types: the type itself if they are all of one.
template <class... T>
struct either {
  using type = std::variant<T...>;
};
template <class T, std::same_as<T>... U>
struct either<T, U...> {
  using type = T;
};

template <class A>
winner<stored<child_type<A>>> take_winner(const child_outcome& o, std::vector<child_slot<A>>& slots) {
  return {o.index, *std::move(slots[o.index].value)};
}

template <class... A>
using pack_winner = winner<typename either<stored<child_type<A>>...>::type>;

template <class... A, std::size_t I = 0>
pack_winner<A...> take_winner(const child_outcome& o, std::tuple<child_slot<A>...>& slots,
                              std::integral_constant<std::size_t, I> = {}) {
  using value = decltype(pack_winner<A...>::value);
  if constexpr (I + 1 < sizeof...(A)) {
    if (o.index != I) return take_winner(o, slots, std::integral_constant<std::size_t, I + 1>{});
  }
  auto& own = *std::get<I>(slots).value;
  if constexpr (std::same_as<value, std::remove_reference_t<decltype(own)>>) {
    return {o.index, std::move(own)};
  } else {
    return {o.index, value{std::in_place_index<I>, std::move(own)}};
  }
}

/// Gives the first one.
struct ends_with_first {
  template <class Winner, class... A>
  struct ending {
    using type = combined<Winner, A...>;
    ending(const goal&, std::size_t) noexcept {}
    template <class Slots>
    type take(dependent<combination, Slots>& all, Slots& slots) {
      return conclude<type>(all, [&] { return take_winner(*all.first_success(), slots); });
    }
  };
  template <class A>
  using range = ending<winner<stored<child_type<A>>>, A>;
  template <class... A>
  using pack = ending<pack_winner<A...>, A...>;
};

/// Gives as many as were needed, in the order in which they ended.
struct ends_with_several {
  template <class Winner, class... A>
  struct ending {
    using type = combined<std::vector<Winner>, A...>;
    ending(const goal& g, std::size_t) : needed{g.successes_needed} { winners.reserve(needed); }
    template <class Slots>
    type take(dependent<combination, Slots>& all, Slots& slots) {
      return conclude<type>(all, [&] {
        for (const child_outcome* o = all.first_success(); winners.size() < needed; o = o->next)
          winners.push_back(take_winner(*o, slots));
        return std::move(winners);
      });
    }
    std::size_t needed;
    std::vector<Winner> winners;
  };
  template <class A>
  using range = ending<winner<stored<child_type<A>>>, A>;
  template <class... A>
  using pack = ending<pack_winner<A...>, A...>;
};

}  // namespace penstock::inline v0_1::detail
