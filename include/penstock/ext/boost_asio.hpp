// penstock/ext/boost_asio.hpp: what asio.hpp is, with Boost.Asio (1.74 or newer). The target penstock::boost_asio.
//
//   #include <penstock/ext/boost_asio.hpp>
//   boost::asio::awaitable<void> next(penstock::channel<int>& orders) {
//     int order = co_await penstock::as_asio(orders.async_pop(), boost::asio::use_awaitable);   // throws boost::system::system_error
//     ...
//   }
//
// A source file includes this or asio.hpp, this one before the headers that asio.hpp is made of; a program may have files of both kinds. Errors are of the type
// boost::system::error_code, and compare with errc: `ec == penstock::errc::timeout`.
#pragma once

#if defined(PENSTOCK_DETAIL_ASIO) && !defined(PENSTOCK_BOOST_ASIO)
#error "penstock: this file has included the headers for standalone Asio before those for Boost.Asio"
#endif
#if !defined(PENSTOCK_BOOST_ASIO)
#define PENSTOCK_BOOST_ASIO
#endif

#include <penstock/ext/asio.hpp>
