// penstock/ext/fmt.hpp: errors, results, stats and snapshots with fmt.
//
//   fmt::print("{}\n", penstock::errc::closed);            // closed
//   fmt::print("{:>8.2f}\n", price);                       // a result<double>: "   12.50", or "error: timed out"
//   fmt::print("{}\n", pool.stats());                      // worker_pool: depth=3 in_flight=4 limit=4 accepted_total=931 …
//   fmt::print("{}", all.snapshot());                      // a registry's: a line for each component (observe/metric_text.hpp)
//   fmt::print("{}", all.snapshot().since(before));        // a table (observe/metric_table.hpp)
//
//   errc           its message, as a string
//   result<T>      the value, as T; the specification is T's. An error is "error: " and its message; fill, alignment and width hold for it, too (a width
//                  that is an argument does not). result<void>: "ok"
//   stats          whatever is an aggregate and has describe() (observe/metric_sink.hpp): the stats() of penstock's components, and your own. As a string,
//                  which tells with "#" in front ({:#}) what is 0 as well
//   snapshots      registry_snapshot, component_snapshot, registry_interval, component_interval, gauge_snapshot and busy_snapshot likewise; histograms':
//                  "920: P50 1200, P99 4000, max 20300", as they were recorded
//
// Exceptions     std::bad_alloc, and what T's formatter throws.
// CMake          penstock::fmt, where fmt 9 or newer is installed (Debian: libfmt-dev). The standard's formatters: ext/format.hpp.
#pragma once

#include <fmt/format.h>

#include <type_traits>

#include <penstock/ext/detail/text_formats.hpp>

namespace penstock::inline v0_1 {

namespace detail {

// A type that cannot be formatted has a formatter that cannot be made.
template <class T>
concept formatted_by_fmt = std::is_default_constructible_v<fmt::formatter<T>>;

}  // namespace detail

}  // namespace penstock::inline v0_1

template <>
struct fmt::formatter<penstock::errc> : penstock::detail::errc_formatter<fmt::formatter<fmt::string_view>> {};

template <>
struct fmt::formatter<penstock::result<void>> : penstock::detail::result_formatter<void, fmt::formatter<fmt::string_view>> {};

template <penstock::detail::formatted_by_fmt T>
struct fmt::formatter<penstock::result<T>> : penstock::detail::result_formatter<T, fmt::formatter<T>> {};

template <penstock::detail::formatted_as_text T>
struct fmt::formatter<T> : penstock::detail::text_formatter<T, fmt::formatter<fmt::string_view>> {};
