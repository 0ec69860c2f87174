// penstock/combine/reduce.hpp: combines the elements of a range into one value, on several threads.
//
//   double total = penstock::reduce(pool, prices, 0.0);
//   std::size_t words = penstock::reduce(pool, pages, std::size_t{0}, std::plus<>{}, [](const page& p) { return count_words(p); });
//
// Rules for threads, nesting, exceptions, stopping and ranges: bulk_options.hpp.
//
// Result         op(… op(op(init, a), b) …), where a, b, … are what the chunks gave, in their order, and a chunk's is
//                op(… op(t(x0), t(x1)) …) over its elements in theirs. So `op` must be associative, but need not be commutative, and `init` counts once.
//                The same pool size, range and chunk give the same result, also of floating-point numbers.
// Memory         one T a chunk.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

#include <penstock/combine/bulk_options.hpp>
#include <penstock/combine/detail/bulk_loop.hpp>
#include <penstock/combine/detail/bulk_range.hpp>
#include <penstock/core/result.hpp>
#include <penstock/pool/detail/pool_access.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1 {

/// `op(T, T)` gives a T; `transform(element)` something that a T is made of. errc::cancelled if options.stop came before the last chunk had
/// begun. Throws what one of them, or moving a T, threw first.
template <std::ranges::input_range Range, std::movable T, class Op, class Transform>
  requires std::constructible_from<
               T, std::invoke_result_t<Transform&, typename detail::bulk_range<std::remove_reference_t<Range>>::reference>> &&
           std::convertible_to<std::invoke_result_t<Op&, T, T>, T>
result<T> reduce(worker_pool& pool, Range&& range, T init, Op op, Transform transform, const bulk_options& options) {
  detail::bulk_range<std::remove_reference_t<Range>> chunks{range, options.chunk, detail::pool_access::threads(pool)};
  std::vector<std::optional<T>> parts(chunks.count());
  auto body = [&](std::size_t chunk) {
    auto at = chunks.begin_of(chunk);
    T part(std::invoke(transform, *at));
    for (std::size_t left = chunks.length(chunk); --left > 0;) {
      ++at;
      part = std::invoke(op, std::move(part), T(std::invoke(transform, *at)));
    }
    parts[chunk].emplace(std::move(part));
  };
  if (auto done = detail::bulk_loop{pool, chunks.count(), options, body}.run(); !done) return done.error();
  for (std::optional<T>& part : parts) init = std::invoke(op, std::move(init), std::move(*part));
  return init;
}

template <std::ranges::input_range Range, std::movable T, class Op>
result<T> reduce(worker_pool& pool, Range&& range, T init, Op op, const bulk_options& options) {
  return penstock::reduce(pool, range, std::move(init), std::move(op), std::identity{}, options);
}

/// The same without options: there is nothing that could stop it.
template <std::ranges::input_range Range, std::movable T, class Op, class Transform>
  requires(!std::same_as<Transform, bulk_options>)
T reduce(worker_pool& pool, Range&& range, T init, Op op, Transform transform) {
  return *penstock::reduce(pool, range, std::move(init), std::move(op), std::move(transform), bulk_options{});
}
template <std::ranges::input_range Range, std::movable T, class Op>
T reduce(worker_pool& pool, Range&& range, T init, Op op) {
  return penstock::reduce(pool, range, std::move(init), std::move(op), std::identity{});
}
/// The sum.
template <std::ranges::input_range Range, std::movable T>
T reduce(worker_pool& pool, Range&& range, T init) {
  return penstock::reduce(pool, range, std::move(init), std::plus<>{}, std::identity{});
}

}  // namespace penstock::inline v0_1
