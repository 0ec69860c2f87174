// penstock/combine/for_each.hpp: a loop whose elements are visited by several threads at a time.
//
//   penstock::for_each(pool, samples, [](double& x) { x = filter(x); });
//   penstock::for_each(pool, std::views::iota(0, height), [&](int y) { render(y); });
//   if (!penstock::for_each(pool, files, scan, {.stop = token})) return;
//
// Rules for threads, nesting, exceptions, stopping and ranges: bulk_options.hpp.
//
// Order          none among chunks; within one, that of the range.
// Thread safety  any thread may call it, inside and outside of the pool.
// Cost           one chunk: that of the plain loop. More: about 50 ns, and waking a worker, 2 to 50 µs, while the loop goes on. Nothing is
//                allocated for ranges with random access.
#pragma once

#include <cstddef>
#include <functional>
#include <ranges>
#include <type_traits>

#include <penstock/combine/bulk_options.hpp>
#include <penstock/combine/detail/bulk_loop.hpp>
#include <penstock/combine/detail/bulk_range.hpp>
#include <penstock/core/result.hpp>
#include <penstock/pool/detail/pool_access.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace penstock::inline v0_1 {

/// Calls `f(element)` for each element. errc::cancelled if options.stop came before the last chunk had begun. Throws what `f` threw first.
template <std::ranges::input_range Range, class F>
  requires std::invocable<F&, typename detail::bulk_range<std::remove_reference_t<Range>>::reference>
result<void> for_each(worker_pool& pool, Range&& range, F&& f, const bulk_options& options) {
  detail::bulk_range<std::remove_reference_t<Range>> chunks{range, options.chunk, detail::pool_access::threads(pool)};
  auto body = [&](std::size_t chunk) {
    auto at = chunks.begin_of(chunk);
    for (std::size_t left = chunks.length(chunk); left > 0; --left, ++at) std::invoke(f, *at);
  };
  return detail::bulk_loop{pool, chunks.count(), options, body}.run();
}

/// The same without options: there is nothing that could stop it.
template <std::ranges::input_range Range, class F>
  requires std::invocable<F&, typename detail::bulk_range<std::remove_reference_t<Range>>::reference>
void for_each(worker_pool& pool, Range&& range, F&& f) {
  static_cast<void>(penstock::for_each(pool, range, f, bulk_options{}));
}

}  // namespace penstock::inline v0_1
