// First: Boost 1.74's awaitable.hpp lacks an include of its own.
#include <penstock/ext/boost_asio.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/defer.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#define PENSTOCK_TEST_ASIO_SLOTS 0  // Boost 1.74 has none
namespace asio = boost::asio;
#include "asio_cases.hpp"
