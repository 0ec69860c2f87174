// penstock/combine/detail/combining.hpp: the coroutines behind every combinator, one for ranges and one for packs, and the types that they give.
//
// What a combinator makes of its children's outcomes is its *ending*:
//
//   Ending::range<A>, Ending::pack<A...>                 of the children's types:
//     using type                                         what the combinator gives
//     explicit (const goal&, std::size_t children)       makes room for the values, before the first child begins
//     type take(combination&, values&)                   once all have ended
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <limits>
#include <optional>
#include <ranges>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <penstock/combine/detail/child_value.hpp>
#include <penstock/combine/detail/combination.hpp>
#include <penstock/combine/limit.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/result.hpp>
#include <penstock/core/task.hpp>

namespace penstock::inline v0_1::detail {

inline constexpr limit unlimited{std::numeric_limits<std::size_t>::max()};

template <class A>
concept combinable = std::move_constructible<A> && requires { typename await_result<A>; };
template <class R>
concept combinable_range =
    std::ranges::input_range<R> && combinable<std::ranges::range_value_t<R>> && !combinable<std::remove_cvref_t<R>>;

/// An outcome with its value.
template <class A>
struct child_slot : child_outcome {
  std::optional<stored<child_type<A>>> value;
};

/// What a combinator of such children gives: a result if one of them does.
template <class T, class... A>
using combined = std::conditional_t<(gives_result<A> || ...), result<T>, T>;

/// Awaits one child, of type A, and keeps what it gives.
template <class A, class Joinable>
combined_child run_combined(Joinable awaitable, child_slot<A>& into) {
  using given = await_result<Joinable>;
  if constexpr (std::is_void_v<given>) {
    co_await std::move(awaitable);
    into.value.emplace();
  } else if constexpr (gives_result<A>) {
    auto got = co_await std::move(awaitable);
    if (!got) {
      into.has_error = true;
      into.error = got.error();
    } else if constexpr (std::is_void_v<child_type<A>>) {
      into.value.emplace();
    } else {
      into.value.emplace(*std::move(got));
    }
  } else {
    into.value.emplace(co_await std::move(awaitable));
  }
}

/// Ends a combinator that can fail: with what `make()` gives if the goal was reached. If none of the children threw, one that gives a result ends
/// with the first failure's code.
template <class Combined, class Make>
Combined conclude(dependent<combination, Combined>& all, Make make) {
  using verdict = typename dependent<combination, Combined>::verdict;
  if (all.decided() == verdict::reached) return make();
  if constexpr (is_result<Combined>) {
    if (all.decided() == verdict::undecided) return errc::cancelled;
    bool thrown = false;
    for (const child_outcome* f = all.first_failure(); f != nullptr; f = f->next) thrown = thrown || f->exception != nullptr;
    if (!thrown) return all.first_failure() != nullptr ? all.first_failure()->error : make_error_code(errc::empty);
  }
  if (all.decided() == verdict::undecided)
    throw std::system_error{errc::cancelled, "penstock: stopped before enough children had ended"};
  throw all.take_error();
}

/// The child `number` of `all`, which keeps what it gives in `slot`.
template <class A>
void add_child(dependent<combination, A>& all, A&& child, child_slot<A>& slot, std::size_t number) {
  auto awaited = joinable<A>(std::move(child), promise_at_stop::is_let_go);
  all.add(run_combined<A>(std::move(awaited), slot), slot, number, has_begun_elsewhere<A>);
}

template <class Ending, class A>
task<typename Ending::template range<A>::type> combine_range(std::vector<A> children, goal g, limit most) {
  const std::size_t size = children.size();
  std::vector<child_slot<A>> slots(size);
  typename Ending::template range<A> ending{g, size};
  dependent<combination, Ending> all{g, size};
  for (std::size_t i = 0; i < size; ++i) add_child<A>(all, std::move(children[i]), slots[i], i);
  std::vector<A>{}.swap(children);  // they lie in their frames now
  const any_scheduler where = co_await this_task::get_scheduler();
  all.begin(most, where, co_await this_task::get_stop_token());
  static_cast<void>(co_await all.join());
  all.finish();
  co_return ending.take(all, slots);
}

template <class Ending, class... A>
task<typename Ending::template pack<A...>::type> combine_pack(std::tuple<A...> children, goal g, limit most) {
  std::tuple<child_slot<A>...> slots;
  typename Ending::template pack<A...> ending{g, sizeof...(A)};
  dependent<combination, Ending> all{g, sizeof...(A)};
  const auto add = [&]<std::size_t... I>(std::index_sequence<I...>) {
    (add_child<A>(all, std::get<I>(std::move(children)), std::get<I>(slots), I), ...);
  };
  add(std::index_sequence_for<A...>{});
  const any_scheduler where = co_await this_task::get_scheduler();
  all.begin(most, where, co_await this_task::get_stop_token());
  static_cast<void>(co_await all.join());
  all.finish();
  co_return ending.take(all, slots);
}

/// The children of a range: moved out of a container that is given away, copied (or made, by a view) otherwise.
template <class R>
auto children_of(R&& range) {
  using child = std::ranges::range_value_t<R>;
  constexpr bool given_away = !std::is_lvalue_reference_v<R> && !std::ranges::view<std::remove_cvref_t<R>>;
  if constexpr (given_away && std::same_as<R, std::vector<child>>) {
    return std::vector<child>{std::move(range)};
  } else {
    static_assert(given_away || std::constructible_from<child, std::ranges::range_reference_t<R>>,
                  "the children cannot be copied: give the range away with std::move()");
    std::vector<child> children;
    if constexpr (std::ranges::sized_range<R>) children.reserve(static_cast<std::size_t>(std::ranges::size(range)));
    for (auto&& c : range) {
      if constexpr (given_away) {
        children.push_back(std::move(c));
      } else {
        children.push_back(std::forward<decltype(c)>(c));
      }
    }
    return children;
  }
}

/// Arguments that are children, the last of them maybe a limit.
template <class... C>
struct pack_of {
  static constexpr std::size_t size = 0;
  static constexpr bool valid = false;
};
template <class... C>
  requires(sizeof...(C) > 0)
struct pack_of<C...> {
  using arguments = std::tuple<C...>;
  static constexpr bool limited = std::same_as<std::tuple_element_t<sizeof...(C) - 1, arguments>, limit>;
  static constexpr std::size_t size = sizeof...(C) - (limited ? 1 : 0);
  static constexpr bool valid = size > 0 && []<std::size_t... I>(std::index_sequence<I...>) {
    return (combinable<std::tuple_element_t<I, arguments>> && ...);
  }(std::make_index_sequence<size>{});
};
template <class... C>
concept combinable_pack = pack_of<std::decay_t<C>...>::valid;

template <class Ending, class... C>
auto combine_arguments(goal g, C&&... arguments) {
  using pack = pack_of<std::decay_t<C>...>;
  static_assert((std::constructible_from<std::decay_t<C>, C> && ...), "a child cannot be copied: give it away with std::move()");
  std::tuple<C&&...> all{std::forward<C>(arguments)...};
  const auto combine = [&]<std::size_t... I>(std::index_sequence<I...>) {
    limit most = unlimited;
    if constexpr (pack::limited) most = std::get<pack::size>(all);
    using children = std::tuple<std::tuple_element_t<I, typename pack::arguments>...>;
    return combine_pack<Ending>(children{std::get<I>(std::move(all))...}, g, most);
  };
  return combine(std::make_index_sequence<pack::size>{});
}

}  // namespace penstock::inline v0_1::detail
