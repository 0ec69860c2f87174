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
#include <boost/asio/version.hpp>

#if BOOST_ASIO_VERSION >= 101900  // of Boost 1.77, as in ext/detail/asio_library.hpp
#include <boost/asio/bind_cancellation_slot.hpp>
#define PENSTOCK_TEST_ASIO_SLOTS 1
#else
#define PENSTOCK_TEST_ASIO_SLOTS 0
#endif
namespace asio = boost::asio;
#include "asio_cases.hpp"
