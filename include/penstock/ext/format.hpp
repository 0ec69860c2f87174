// penstock/ext/format.hpp: errors, results, stats and snapshots with std::format and std::print.
//
//   std::string line = std::format("{} of {}", pool.stats(), price);
//
// The same formats as with fmt: ext/fmt.hpp tells which. Needs a standard library with <format>: libstdc++ from GCC 13 on, libc++ from LLVM 17 on.
#pragma once

#include <format>
#include <string_view>
#include <type_traits>

#include <penstock/ext/detail/text_formats.hpp>

namespace penstock::inline v0_1 {

namespace detail {

// A type that cannot be formatted has a formatter that cannot be made.
template <class T>
concept formatted_by_standard = std::is_default_constructible_v<std::formatter<T>>;

}  // namespace detail

}  // namespace penstock::inline v0_1

template <>
struct std::formatter<penstock::errc> : penstock::detail::errc_formatter<std::formatter<std::string_view>> {};

template <>
struct std::formatter<penstock::result<void>> : penstock::detail::result_formatter<void, std::formatter<std::string_view>> {};

template <penstock::detail::formatted_by_standard T>
struct std::formatter<penstock::result<T>> : penstock::detail::result_formatter<T, std::formatter<T>> {};

template <penstock::detail::formatted_as_text T>
struct std::formatter<T> : penstock::detail::text_formatter<T, std::formatter<std::string_view>> {};
