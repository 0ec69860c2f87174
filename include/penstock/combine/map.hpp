// penstock/combine/map.hpp: what a function makes of each element of a range, computed by several threads, in the order of the range.
//
//   std::vector<image> small = penstock::map(pool, photos, [](const image& i) { return scale(i); });
//   penstock::result<std::vector<image>> some = penstock::map(pool, photos, scale, {.stop = token});
//
// Rules for threads, nesting, exceptions, stopping and ranges: bulk_options.hpp. The pipeline's map(f), a stage for streams, is another one.
//
// Results        of a type that can be made without arguments and assigned are written to their places in the vector as they come. Others are
//                collected chunk by chunk and moved together at the end; then there are for a moment two of each.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
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

namespace detail {

template <class Range, class F>
using mapped = std::remove_cvref_t<std::invoke_result_t<F&, typename bulk_range<std::remove_reference_t<Range>>::reference>>;

}  // namespace detail

/// `f(element)` for each element. errc::cancelled if options.stop came before the last chunk had begun. Throws what `f`, or moving a result,
/// threw first.
template <std::ranges::input_range Range, class F, class T = detail::mapped<Range, F>>
  requires std::movable<T>
result<std::vector<T>> map(worker_pool& pool, Range&& range, F&& f, const bulk_options& options) {
  detail::bulk_range<std::remove_reference_t<Range>> chunks{range, options.chunk, detail::pool_access::threads(pool)};
  std::vector<T> results;
  // Not bool: neighbours in a vector of that are not two objects.
  if constexpr (std::default_initializable<T> && !std::same_as<T, bool>) {
    results.resize(chunks.size());
    auto body = [&](std::size_t chunk) {
      auto at = chunks.begin_of(chunk);
      auto to = results.begin() + static_cast<std::ptrdiff_t>(chunks.first(chunk));
      for (std::size_t left = chunks.length(chunk); left > 0; --left, ++at, ++to) *to = std::invoke(f, *at);
    };
    if (auto done = detail::bulk_loop{pool, chunks.count(), options, body}.run(); !done) return done.error();
  } else {
    std::vector<std::vector<T>> parts(chunks.count());
    auto body = [&](std::size_t chunk) {
      auto at = chunks.begin_of(chunk);
      std::vector<T> part;
      part.reserve(chunks.length(chunk));
      for (std::size_t left = chunks.length(chunk); left > 0; --left, ++at) part.push_back(std::invoke(f, *at));
      parts[chunk] = std::move(part);
    };
    if (auto done = detail::bulk_loop{pool, chunks.count(), options, body}.run(); !done) return done.error();
    results.reserve(chunks.size());
    for (std::vector<T>& part : parts) {
      results.insert(results.end(), std::move_iterator{part.begin()}, std::move_iterator{part.end()});
      part = std::vector<T>{};  // frees it
    }
  }
  return results;
}

/// The same without options: there is nothing that could stop it.
template <std::ranges::input_range Range, class F, class T = detail::mapped<Range, F>>
  requires std::movable<T>
std::vector<T> map(worker_pool& pool, Range&& range, F&& f) {
  return *penstock::map(pool, range, f, bulk_options{});
}

}  // namespace penstock::inline v0_1
