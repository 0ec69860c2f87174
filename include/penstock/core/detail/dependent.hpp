// penstock/core/detail/dependent.hpp: a type that a template does not look into before it is used.
//
// What a template says of types that do not depend on its parameters is compiled where the template is defined, in every source that includes it: a
// vector of them, a call with one. `dependent<worker_pool, F>` is worker_pool, but nobody can know that before F is known.
#pragma once

namespace penstock::inline v0_1::detail {

template <class T, class... On>
struct dependent_type {
  using type = T;
};

template <class T, class... On>
using dependent = typename dependent_type<T, On...>::type;

}  // namespace penstock::inline v0_1::detail
