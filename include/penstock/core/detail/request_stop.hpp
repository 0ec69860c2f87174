// penstock/core/detail/request_stop.hpp: a stop request whose callbacks may destroy who holds the source.
//
//   void request_stop() noexcept { detail::request_stop(stop_); }   // *this may be gone when the first callback returns
//
// Thread safety  as std::stop_source.
#pragma once

#include <stop_token>

namespace penstock::inline v0_1::detail {

/// By value: the copy keeps the stop state until the last callback has returned.
inline void request_stop(std::stop_source source) noexcept { source.request_stop(); }

}  // namespace penstock::inline v0_1::detail
